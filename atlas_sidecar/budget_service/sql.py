"""The ledger in SQL, for every database that speaks enough of it: load what commands may touch, decide, write back.

Rules kept here:
- Locks are taken in one order: nodes by (depth, path), so the root of a tree first, then incarnations. Whoever changes
  anything of a tree (its accounts, days, leases) holds its root's row, so nothing read after that can move.
- Which trees a call touches may only be seen from its leases, which are read before they are locked: when they turn
  out to be of yet another tree, the transaction starts over with that one too (Restart).
- A row that a command may look at is loaded, or the ledger would take it for absent: `needs` and `load` are the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from atlas_sidecar.budget_service import tree
from atlas_sidecar.budget_service.books import (
    Account,
    Books,
    Day,
    Incarnation,
    IncarnationState,
    Known,
    Lease,
    LeaseState,
    Node,
    chain_of,
    is_path,
    lease_id_of,
    root_of,
)
from atlas_sidecar.budget_service.ledger import decide
from atlas_sidecar.budget_service.periods import Span
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.sql_write import write_back
from atlas_sidecar.budget_service.values import (
    Command,
    Finish,
    LedgerError,
    OnLost,
    OnPartition,
    Outcome,
    Policy,
    Release,
    Reserve,
    SetBudget,
    Settle,
    Sweep,
    Sync,
)

Row = tuple[Any, ...]
LEASE_COLUMNS = (
    "lease_id, incarnation, want_id, node, period, amount, longest_ms, expires_at_ms, settled, state, lossy"
    ", closed_at_ms"
)
DAYS_LOADED_MS = 3 * 86_400_000
KEEP_CLOSED_MS = 48 * 3_600_000  # how long a want is known to have been granted
KEEP_SILENT_MS = 40 * 86_400_000  # how long a sidecar may be silent and still be known
PRUNED_AT_ONCE = 1000


class Session(Protocol):
    """A connection inside a transaction. SQL is written with `?`; IN lists with `member` and `array`."""

    lock: str  # what follows a SELECT to lock its rows, "" where the whole database is locked

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return what a query yields."""
        ...

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Insert rows: `INSERT ... VALUES (?, ...) ...`, every value a parameter, no two rows with the same key."""
        ...

    def member(self, column: str) -> str:
        """Return the condition that a column is in an array parameter."""
        ...

    def array(self, values: Iterable[str]) -> Any:
        """Return the parameter for `member`."""
        ...


class Restart(Exception):  # noqa: N818 # not an error: the transaction starts over with more locks
    """The leases just locked are of trees that were not locked."""


@dataclass(slots=True)
class Needs:
    """Keys of the rows that commands may look at."""

    nodes: set[str] = field(default_factory=set)
    incarnations: dict[str, str] = field(default_factory=dict)  # with the sidecar_id that named it
    leases: set[str] = field(default_factory=set)
    attempts: set[str] = field(default_factory=set)
    periods: set[str] = field(default_factory=set)
    new_roots: set[str] = field(default_factory=set)
    sweep: int = 0


def needs_of(commands: Iterable[Command]) -> Needs:
    """Return the keys that commands name themselves."""
    needs = Needs()
    for command in commands:
        if isinstance(command, Sync):
            _needs_of_sync(needs, command)
        elif isinstance(command, Reserve):
            needs.incarnations.setdefault(command.incarnation, command.sidecar_id)
            _need_node(needs, command.want.budget)
            needs.leases.add(lease_id_of(command.incarnation, command.want.want_id))
        elif isinstance(command, SetBudget) and _possible(command):
            needs.nodes.add(command.budget)
            if not command.etag:
                needs.new_roots.add(root_of(command.budget))
        elif isinstance(command, Sweep):
            needs.sweep += command.limit
    return needs


def _need_node(needs: Needs, path: str) -> None:
    if is_path(path):
        needs.nodes.add(path)


def _possible(command: SetBudget) -> bool:
    try:
        tree.check(command)
    except LedgerError:
        return False
    return True


def _needs_of_sync(needs: Needs, sync: Sync) -> None:
    needs.incarnations.setdefault(sync.incarnation, sync.sidecar_id)
    needs.leases.update(sync.held)
    for want in sync.wants:
        _need_node(needs, want.budget)
        needs.leases.add(lease_id_of(sync.incarnation, want.want_id))
    for fact in sync.facts:
        needs.incarnations.setdefault(fact.incarnation, sync.sidecar_id)
        if isinstance(fact.body, Settle):
            _need_node(needs, fact.body.budget)
            if "\0" not in fact.body.attempt_id:  # no text column takes it, nor the ledger
                needs.attempts.add(fact.body.attempt_id)
            needs.leases.add(fact.body.lease_id)
            needs.periods.add(fact.body.period)
        elif isinstance(fact.body, Release):
            needs.leases.add(fact.body.lease_id)
        elif isinstance(fact.body, Finish):
            needs.incarnations.setdefault(fact.body.predecessor, sync.sidecar_id)


def transact(
    session: Session, commands: Sequence[Command], now_ms: int, rules: Rules, trees: set[str]
) -> list[Outcome]:
    """Run commands inside the session's transaction. Raises Restart, with `trees` saying what to lock too."""
    books = load(session, needs_of(commands), now_ms, rules, trees)
    outcomes = [decide(books, command, now_ms, rules) for command in commands]
    write_back(session, books.changed, now_ms)
    if any(isinstance(command, Sweep) for command in commands):
        prune(session, now_ms)
    return outcomes


def prune(session: Session, now_ms: int) -> None:
    """Forget some of what is so old that no message about it can be on its way.

    A sidecar that comes back after all is a new one: it skips what it cannot send again, and an attempt that is on the
    ledger stays there once.
    """
    session.rows(
        "DELETE FROM lease WHERE lease_id IN (SELECT lease_id FROM lease WHERE state = 3 AND closed_at_ms < ?"
        " ORDER BY closed_at_ms LIMIT ?) RETURNING lease_id",
        (now_ms - KEEP_CLOSED_MS, PRUNED_AT_ONCE),
    )
    session.rows(
        "DELETE FROM lease WHERE lease_id IN (SELECT lease_id FROM lease WHERE state = 2 AND expires_at_ms < ?"
        " ORDER BY expires_at_ms LIMIT ?) RETURNING lease_id",
        (now_ms - KEEP_SILENT_MS, PRUNED_AT_ONCE),
    )
    session.rows(
        "DELETE FROM incarnation WHERE incarnation IN (SELECT incarnation FROM incarnation AS old"
        " WHERE last_seen_ms > 0 AND last_seen_ms < ? AND NOT EXISTS"
        " (SELECT 1 FROM lease WHERE lease.incarnation = old.incarnation AND state <> 3)"
        " ORDER BY last_seen_ms LIMIT ?) RETURNING incarnation",
        (now_ms - KEEP_SILENT_MS, PRUNED_AT_ONCE),
    )


def load(session: Session, needs: Needs, now_ms: int, rules: Rules, trees: set[str]) -> Books:
    """Lock and read every row that the needs imply."""
    books = Books()
    early = _leases(session, needs, now_ms, rules)
    paths = {name for path in needs.nodes for name in chain_of(path)} | trees
    paths |= {name for lease in early for name in chain_of(lease.node)}
    _load_nodes(session, books, paths)
    _create_roots(session, books, needs.new_roots)
    _load_incarnations(session, books, {*needs.incarnations, *(lease.incarnation for lease in early)})
    _create_incarnations(session, books, needs.incarnations)
    for lease in _leases(session, needs, now_ms, rules):
        books.leases[lease.lease_id] = lease
        if lease.state is not LeaseState.CLOSED:
            books.open.setdefault(lease.incarnation, {})[lease.lease_id] = lease
    nodes = {name for lease in books.leases.values() for name in chain_of(lease.node)}
    unlocked = {lease.node for lease in books.leases.values() if lease.node not in paths}
    if unlocked or any(lease.incarnation not in books.incarnations for lease in books.leases.values()):
        trees.update(name for path in unlocked for name in chain_of(path))
        raise Restart
    _load_days(session, books, {root_of(path) for path in books.nodes}, needs.periods, now_ms)
    _load_accounts(session, books, needs, paths | nodes, now_ms)
    _load_attempts(session, books, needs.attempts)
    return books


def _leases(session: Session, needs: Needs, now_ms: int, rules: Rules) -> list[Lease]:
    found = session.rows(
        f"SELECT {LEASE_COLUMNS} FROM lease WHERE {session.member('lease_id')}"
        f" UNION SELECT {LEASE_COLUMNS} FROM lease WHERE state <> 3 AND {session.member('incarnation')}",
        (session.array(needs.leases), session.array(needs.incarnations)),
    )
    if needs.sweep:
        found += session.rows(
            f"SELECT {LEASE_COLUMNS} FROM lease WHERE state = 1 AND expires_at_ms + longest_ms < ?"
            " ORDER BY expires_at_ms + longest_ms, lease_id LIMIT ?",
            (now_ms - rules.skew_ms, needs.sweep),
        )
    return [_lease(row) for row in found]


def _lease(row: Row) -> Lease:
    values = (*row[:9], LeaseState(row[9]), bool(row[10]), row[11])
    return Lease(*values)


def _load_nodes(session: Session, books: Books, paths: Iterable[str]) -> None:
    for row in session.rows(
        "SELECT path, depth, daily_limit, time_zone, on_partition, open_allowance, on_lost, version, descendants"
        f" FROM budget_node WHERE {session.member('path')} ORDER BY depth, path{session.lock}",
        (session.array(paths),),
    ):
        books.nodes[row[0]] = node_of(row)


def node_of(row: Row) -> Node:
    """Return a node from its row."""
    policy = Policy(row[4] and OnPartition(row[4]), row[5], row[6] and OnLost(row[6]))
    return Node(row[0], row[1], row[2], row[3], policy, row[7], row[8])


def _load_incarnations(session: Session, books: Books, names: Iterable[str]) -> None:
    for row in session.rows(
        "SELECT incarnation, sidecar_id, state, applied_seq, sync_seq, last_seen_ms FROM incarnation"
        f" WHERE {session.member('incarnation')} ORDER BY incarnation{session.lock}",
        (session.array(names),),
    ):
        books.incarnations[row[0]] = Incarnation(row[0], row[1], IncarnationState(row[2]), *row[3:])


def _create_roots(session: Session, books: Books, roots: Iterable[str]) -> None:
    """Make and lock the rows of new roots, so that two replicas that create one meet here and not in its upsert."""
    missing = sorted(root for root in roots if root not in books.nodes)
    if missing and session.lock:
        session.run_many(
            "INSERT INTO budget_node (path, depth, time_zone, version, descendants) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (path) DO NOTHING",
            [(root, 0, "UTC", 0, 0) for root in missing],
        )
        _load_nodes(session, books, missing)


def _create_incarnations(session: Session, books: Books, named: Mapping[str, str]) -> None:
    """Make and lock the rows of new incarnations, for the same reason."""
    missing = sorted(name for name in named if name not in books.incarnations)
    if missing and session.lock:
        session.run_many(
            "INSERT INTO incarnation (incarnation, sidecar_id, state, applied_seq, sync_seq, last_seen_ms)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (incarnation) DO NOTHING",
            [(name, named[name], int(IncarnationState.OPEN), 0, 0, 0) for name in missing],
        )
        _load_incarnations(session, books, missing)


def _load_days(session: Session, books: Books, roots: Iterable[str], periods: Iterable[str], now_ms: int) -> None:
    roots = list(roots)
    for root, *span in session.rows(
        f"SELECT root, period, starts_at_ms, ends_at_ms FROM budget_day WHERE {session.member('root')}"
        f" AND (ends_at_ms > ? OR {session.member('period')})",
        (session.array(roots), now_ms - DAYS_LOADED_MS, session.array(periods)),
    ):
        books.add_day(Day(root, Span(*span)))
    for root in roots:
        if root not in books.current:
            for _, *span in session.rows(
                "SELECT root, period, starts_at_ms, ends_at_ms FROM budget_day WHERE root = ?"
                " ORDER BY ends_at_ms DESC LIMIT 1",
                (root,),
            ):
                books.add_day(Day(root, Span(*span)))


def _load_accounts(session: Session, books: Books, needs: Needs, paths: Iterable[str], now_ms: int) -> None:
    periods = needs.periods | {lease.period for lease in books.leases.values()}
    # A root without any day has no account; its first day waits for the command that may set its time zone.
    periods |= {books.today(root, now_ms).name for root in books.current}
    for row in session.rows(
        "SELECT node, period, limit_nano_usd, settled, leased, suspense, active FROM budget_period"
        f" WHERE {session.member('node')} AND {session.member('period')}",
        (session.array(paths), session.array(periods)),
    ):
        books.accounts[row[0], row[1]] = Account(*row)


def _load_attempts(session: Session, books: Books, attempts: Iterable[str]) -> None:
    for attempt_id, node, cost in session.rows(
        f"SELECT attempt_id, node, cost FROM spend WHERE {session.member('attempt_id')}",
        (session.array(attempts),),
    ):
        books.spend[attempt_id] = Known(node, cost)
