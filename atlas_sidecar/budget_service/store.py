"""The port to where the ledger is kept, the questions it answers, and a store in memory.

Rules kept here:
- `transact` applies commands in their order, all or none of them lasting when it returns.
- A command that is refused does not stop the others: its outcome is the LedgerError.
- MemoryStore is what tests and simulations hold the other stores against: the same books, never thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from atlas_sidecar.budget_service.books import Books, LeaseState, Node, Posted, within
from atlas_sidecar.budget_service.ledger import decide
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.tree import definition_of, view
from atlas_sidecar.budget_service.values import Command, NodeStatus, NodeView, Outcome

DEFAULT_ROOT = "default"  # the node of a sidecar that was not told another; made with the store, without a limit


class StoreError(Exception):
    """The database cannot be used as it is: a wrong URL, a missing driver, a newer schema. Says what to do."""


class StoreUnavailableError(Exception):
    """The database did not answer, or not in time; the same call may succeed later."""


class BudgetQuery(NamedTuple):
    """Which nodes to show: one, or with `recursive` all below it after path `after`; `period` "" = the running one.

    `roots`: every root instead, without counting who holds leases.
    """

    budget: str
    period: str = ""
    recursive: bool = False
    limit: int = 100
    after: str = ""
    roots: bool = False


class SpendQuery(NamedTuple):
    """Which spend to sum: a node and all below it, admitted in [start_ms, end_ms), grouped, rows from `offset` on."""

    budget: str
    start_ms: int = 0
    end_ms: int = 2**62
    group_by: tuple[str, ...] = ()
    limit: int = 100
    offset: int = 0


class SpendRow(NamedTuple):
    """A group's sums; token counts None = nobody reported any."""

    group: tuple[str, ...]
    attempts: int
    cost_nano_usd: int
    estimated_nano_usd: int
    usage: tuple[int | None, ...]  # input, cache read, cache write, output, reasoning


GROUPS = ("provider", "model", "budget", "period", "outcome")  # and "label:NAME"


class Store(Protocol):
    """Where the ledger is kept. All methods raise StoreUnavailableError, and `open` StoreError."""

    async def open(self) -> None:
        """Connect, and bring the schema to this version."""
        ...

    async def close(self) -> None:
        """Let go of the database. Idempotent."""
        ...

    async def transact(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        """Apply commands in one transaction; return one outcome for each."""
        ...

    async def budgets(self, query: BudgetQuery, now_ms: int) -> list[NodeStatus]:
        """Return nodes by path, the asked one first; empty when it does not exist."""
        ...

    async def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Return sums by group, in the order of the groups."""
        ...


class MemoryStore:
    """Books in memory: for tests and simulations."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.books = Books()
        self.posted: list[Posted] = []

    async def open(self) -> None:
        """Create the default root."""
        self.books.put_node(Node(DEFAULT_ROOT, 0, time_zone="UTC"))

    async def close(self) -> None:
        """Do nothing."""

    async def transact(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        """Apply commands to the books."""
        outcomes = [decide(self.books, command, now_ms, self.rules) for command in commands]
        self.posted += self.books.changed.spend
        self.books.changed.clear()
        return outcomes

    async def budgets(self, query: BudgetQuery, now_ms: int) -> list[NodeStatus]:
        """Return nodes as the books have them."""
        paths = [path for path in sorted(self.books.nodes) if within(path, query.budget) and path > query.after]
        if query.roots:
            paths = [path for path in sorted(self.books.nodes) if "/" not in path]
        elif not query.recursive:
            paths = [path for path in paths if path == query.budget]
        found = []
        for path in paths[: query.limit]:
            seen: NodeView = view(self.books, path, now_ms, query.period)
            leases = [
                lease
                for open_leases in self.books.open.values()
                for lease in open_leases.values()
                if lease.state is LeaseState.ACTIVE and lease.period == seen.period and within(lease.node, path)
            ]
            active = len({lease.incarnation for lease in leases})
            found.append(NodeStatus(definition_of(self.books.nodes[path]), seen, active))
        return found

    async def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Sum what was posted."""
        sums: dict[tuple[str, ...], list[Posted]] = {}
        for posted in self.posted:
            settle = posted.settle
            if within(settle.budget, query.budget) and query.start_ms <= settle.admitted_at_ms < query.end_ms:
                sums.setdefault(tuple(_key(posted, name) for name in query.group_by), []).append(posted)
        rows = [_sum(group, sums[group]) for group in sorted(sums)]
        return rows[query.offset : query.offset + query.limit]


def _key(posted: Posted, name: str) -> str:
    settle = posted.settle
    if name.startswith("label:"):
        return settle.labels.get(name.removeprefix("label:"), "")
    values = {
        "provider": settle.provider,
        "model": settle.model_id,
        "budget": settle.budget,
        "period": posted.period,
        "outcome": str(settle.outcome),
    }
    return values[name]


def _sum(group: tuple[str, ...], lines: list[Posted]) -> SpendRow:
    settles = [line.settle for line in lines]
    usages = [
        (u.input_tokens, u.cache_read_tokens, u.cache_write_tokens, u.output_tokens, u.reasoning_tokens)
        for u in (settle.usage for settle in settles)
    ]
    columns = ([each for each in column if each is not None] for column in zip(*usages, strict=True))
    return SpendRow(
        group,
        len(lines),
        sum(settle.cost_nano_usd or 0 for settle in settles),
        sum(settle.cost_nano_usd or 0 for settle in settles if settle.estimated),
        tuple(sum(column) if column else None for column in columns),
    )
