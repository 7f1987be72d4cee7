"""The ledger's state: nodes, days, accounts, incarnations, leases and spend, with what changed since it was loaded.

Rules kept here:
- These are plain tables. A store loads the rows that a command may touch, the ledger decides over them, the store
  writes back what is in `changed`, all in one transaction. In a simulation the same tables hold everything, for ever.
- A lease's remainder (amount - settled, never below 0) counts as `leased` while it is ACTIVE, as `suspense` while it is
  SUSPENDED, and as nothing when CLOSED: on its node and every ancestor, by the methods below and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from atlas_sidecar.budget_service.periods import UTC, Span, day_at, day_named, zone
from atlas_sidecar.budget_service.values import HARD_POLICY, NO_POLICY, Policy, Quarantined, Settle

MAX_PATH_LENGTH = 256
MAX_DEPTH = 8
_PATH = re.compile(r"[A-Za-z0-9._@:+-]{1,64}(/[A-Za-z0-9._@:+-]{1,64}){0,7}")


@lru_cache(maxsize=65_536)
def is_path(path: str) -> bool:
    """Whether this is a node path: 1 to 8 segments of letters, digits and ._@:+- , divided by slashes."""
    return len(path) <= MAX_PATH_LENGTH and _PATH.fullmatch(path) is not None


def root_of(path: str) -> str:
    """Return the first segment of a path: the organisation."""
    return path.partition("/")[0]


@lru_cache(maxsize=65_536)
def chain_of(path: str) -> tuple[str, ...]:
    """Return the path and its ancestors, the node first, the root last."""
    chain = [path]
    while "/" in path:
        path = path.rpartition("/")[0]
        chain.append(path)
    return tuple(chain)


def within(path: str, subtree: str) -> bool:
    """Whether a path is at or below a subtree; `*` is everywhere."""
    return subtree in ("*", path) or path.startswith(subtree + "/")


def lease_id_of(incarnation: str, want_id: str) -> str:
    """Return the one lease id that a want can have: granting it twice is impossible, whoever asks and however late."""
    return blake2b(f"{incarnation}\0{want_id}".encode(), digest_size=16).hexdigest()


class LeaseState(IntEnum):
    """Where the remainder of a lease counts."""

    ACTIVE = 1
    SUSPENDED = 2
    CLOSED = 3


class IncarnationState(IntEnum):
    """Whether a process may still get grants."""

    OPEN = 1
    FINAL = 2  # it said goodbye
    FINISHED = 3  # its successor has replayed its log


@dataclass(slots=True)
class Node:
    """A budget. `version` is its etag; `descendants` counts the tree, on a root only."""

    path: str
    depth: int
    daily_limit: int | None = None
    time_zone: str = ""
    policy: Policy = NO_POLICY
    version: int = 1
    descendants: int = 0


class Day(NamedTuple):
    """A period of a whole tree."""

    root: str
    span: Span


@dataclass(slots=True, eq=False)
class Account:
    """A node in one period. `active` counts ACTIVE leases at or below; `chain`: itself and its ancestors.
    `key`: where the books keep it.
    """

    node: str
    period: str
    limit: int | None
    settled: int = 0
    leased: int = 0
    suspense: int = 0
    active: int = 0
    chain: tuple[Account, ...] = ()
    key: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        self.key = (self.node, self.period)

    @property
    def headroom(self) -> int | None:
        """What may still be granted here, below 0 when the limit was lowered; None = no limit."""
        return None if self.limit is None else self.limit - self.settled - self.leased - self.suspense


@dataclass(slots=True, eq=False)
class Incarnation:
    """One run of a sidecar's process."""

    incarnation: str
    sidecar_id: str
    state: IncarnationState = IncarnationState.OPEN
    applied_seq: int = 0
    sync_seq: int = 0
    last_seen_ms: int = 0


@dataclass(slots=True, eq=False)
class Lease:
    """Money held by one incarnation. `lossy`: facts about it may be lost, so its remainder is never freed."""

    lease_id: str
    incarnation: str
    want_id: str
    node: str
    period: str
    amount: int
    longest_ms: int
    expires_at_ms: int
    settled: int = 0
    state: LeaseState = LeaseState.ACTIVE
    lossy: bool = False
    closed_at_ms: int = 0

    @property
    def remainder(self) -> int:
        """What is not settled yet."""
        return max(0, self.amount - self.settled)


class Posted(NamedTuple):
    """A line of the ledger: an attempt's spend, as posted on a node in a period."""

    settle: Settle
    period: str
    incarnation: str
    seq: int


class Known(NamedTuple):
    """What is remembered of an attempt that is on the ledger."""

    node: str
    cost: int | None


class SetAside(NamedTuple):
    """A quarantined fact, with whose it was and its wire form."""

    sidecar_id: str
    entry: Quarantined
    raw: bytes


@dataclass(slots=True)
class Changes:
    """What has to be written back."""

    nodes: dict[str, Node] = field(default_factory=dict)
    days: dict[tuple[str, str], Day] = field(default_factory=dict)
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    incarnations: dict[str, Incarnation] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    spend: list[Posted] = field(default_factory=list)
    quarantine: list[SetAside] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what changed: it is written, or nobody asks."""
        for table in (self.nodes, self.days, self.accounts, self.incarnations, self.leases):
            table.clear()
        for lines in (self.spend, self.quarantine):
            lines.clear()


@dataclass(slots=True)
class Books:
    """The tables. `spend`: by attempt id, what is on the ledger; `open`: by incarnation, leases that are not CLOSED."""

    nodes: dict[str, Node] = field(default_factory=dict)
    days: dict[tuple[str, str], Day] = field(default_factory=dict)
    current: dict[str, Day] = field(default_factory=dict)
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    incarnations: dict[str, Incarnation] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    open: dict[str, dict[str, Lease]] = field(default_factory=dict)
    spend: dict[str, Known] = field(default_factory=dict)
    changed: Changes = field(default_factory=Changes)
    policies: dict[str, Policy] = field(default_factory=dict)

    # ---------------------------------------------------------------- the tree and its days

    def add_day(self, day: Day) -> None:
        """Take a day in; the one that ends last is where the next one starts."""
        self.days[day.root, day.span.name] = day
        latest = self.current.get(day.root)
        if latest is None or day.span.ends_at_ms >= latest.span.ends_at_ms:
            self.current[day.root] = day

    def today(self, root: str, now_ms: int) -> Span:
        """Return the period of a tree that holds now, creating it when it is new.

        A new time zone of the root holds from the end of the running period on: the first day then is shorter, or,
        where the new zone's date is that of a day that is over, that day goes on.
        """
        latest = self.current.get(root)
        if latest is not None and now_ms < latest.span.ends_at_ms:
            return latest.span if now_ms >= latest.span.starts_at_ms else self._earlier(root, now_ms)
        span = day_at(now_ms, zone(self.nodes[root].time_zone) or UTC)
        if latest is not None:
            known = self.days.get((root, span.name))
            starts_at_ms = known.span.starts_at_ms if known else max(span.starts_at_ms, latest.span.ends_at_ms)
            span = Span(span.name, starts_at_ms, span.ends_at_ms)
        self._create_day(root, span)
        return span

    def _earlier(self, root: str, now_ms: int) -> Span:
        """Return the day of an instant before the latest day: this clock is behind another, or one jumped ahead.

        Where a jump left days out, the missing one is made, between those that are there.
        """
        spans = [day.span for (of, _), day in self.days.items() if of == root]
        for span in spans:
            if span.starts_at_ms <= now_ms < span.ends_at_ms:
                return span
        span = day_at(now_ms, zone(self.nodes[root].time_zone) or UTC)
        if known := self.days.get((root, span.name)):
            return known.span
        starts_at_ms = max([span.starts_at_ms, *(other.ends_at_ms for other in spans if other.ends_at_ms <= now_ms)])
        ends_at_ms = min([span.ends_at_ms, *(other.starts_at_ms for other in spans if other.starts_at_ms > now_ms)])
        span = Span(span.name, starts_at_ms, ends_at_ms)
        self._create_day(root, span)
        return span

    def day(self, root: str, name: str) -> Span | None:
        """Return the named day of a tree, creating it; None when the name is none."""
        known = self.days.get((root, name))
        if known is not None:
            return known.span
        span = day_named(name, zone(self.nodes[root].time_zone) or UTC)
        latest = self.current.get(root)
        if span is not None and (latest is None or span.ends_at_ms <= latest.span.starts_at_ms):
            self._create_day(root, span)
        return span

    def _create_day(self, root: str, span: Span) -> None:
        day = Day(root, span)
        self.add_day(day)
        self.changed.days[root, span.name] = day

    def ensure_node(self, path: str, max_descendants: int) -> Node | None:
        """Return a node, creating it below an existing root; None without root, or when the tree is full."""
        node = self.nodes.get(path)
        if node is not None:
            return node
        root = self.nodes.get(root_of(path))
        if root is None or not is_path(path) or root.descendants >= max_descendants:
            return None
        for depth, missing in enumerate(reversed(chain_of(path))):
            if missing not in self.nodes:
                self.put_node(Node(missing, depth))
                root.descendants += 1
                self.changed.nodes[root.path] = root
        return self.nodes[path]

    def put_node(self, node: Node) -> None:
        """Store a node, new or changed."""
        self.nodes[node.path] = node
        self.changed.nodes[node.path] = node
        self.policies.clear()

    def policy_of(self, path: str) -> Policy:
        """Return the policy that holds for a node: each part from the nearest node that sets it."""
        known = self.policies.get(path)
        if known is None:
            known = self.policies[path] = self._policy_of(path)
        return known

    def _policy_of(self, path: str) -> Policy:
        on_partition = allowance = on_lost = None
        for name in chain_of(path):
            node = self.nodes.get(name)
            if node is None:
                continue
            if on_partition is None and node.policy.on_partition is not None:
                on_partition, allowance = node.policy.on_partition, node.policy.open_allowance_nano_usd
            on_lost = node.policy.on_lost if on_lost is None else on_lost
        return Policy(
            HARD_POLICY.on_partition if on_partition is None else on_partition,
            allowance or 0,
            HARD_POLICY.on_lost if on_lost is None else on_lost,
        )

    def account(self, path: str, period: str) -> Account:
        """Return a node's account in a period, creating it, and its ancestors', with the limits of now."""
        account = self.accounts.get((path, period))
        if account is None:
            account = Account(path, period, self.nodes[path].daily_limit)
            self.accounts[path, period] = account
            self.changed.accounts[path, period] = account
        if not account.chain:
            parent = path.rpartition("/")[0]
            account.chain = (account, *self.account(parent, period).chain) if parent else (account,)
        return account

    def prune(self, before_ms: int) -> None:
        """Forget leases closed before an instant: no message about them is on its way any more."""
        gone = [lease.lease_id for lease in self.leases.values() if 0 < lease.closed_at_ms < before_ms]
        for lease_id in gone:
            del self.leases[lease_id]

    # ---------------------------------------------------------------- money

    def settle(self, account: Account, cost: int) -> None:
        """Post spend on a node and its ancestors."""
        for each in account.chain:
            each.settled += cost
            self.changed.accounts[each.key] = each

    def draw(self, lease: Lease, cost: int) -> None:
        """Take a settled cost out of a lease's remainder; what exceeds it comes from nowhere (term E)."""
        before = lease.remainder
        lease.settled += cost
        self._hold(lease, lease.remainder - before, 0)
        self.changed.leases[lease.lease_id] = lease

    def open_lease(self, lease: Lease) -> None:
        """Count a new lease on its node and every ancestor."""
        self.leases[lease.lease_id] = lease
        self.open.setdefault(lease.incarnation, {})[lease.lease_id] = lease
        self._hold(lease, lease.amount, 1)
        self.changed.leases[lease.lease_id] = lease

    def move(self, lease: Lease, state: LeaseState, now_ms: int) -> None:
        """Count a lease's remainder elsewhere. A lossy lease does not close: what it held may be spent."""
        if state is LeaseState.CLOSED and lease.lossy:
            state = LeaseState.SUSPENDED
        if state is lease.state:
            return
        self._hold(lease, -lease.remainder, -1)
        lease.state = state
        self._hold(lease, lease.remainder, 1)
        if state is LeaseState.CLOSED:
            lease.closed_at_ms = now_ms
            self.open.get(lease.incarnation, {}).pop(lease.lease_id, None)
        self.changed.leases[lease.lease_id] = lease

    def _hold(self, lease: Lease, delta: int, count: int) -> None:
        if lease.state is LeaseState.CLOSED:
            return
        for account in self.account(lease.node, lease.period).chain:
            if lease.state is LeaseState.ACTIVE:
                account.leased += delta
                account.active += count
            else:
                account.suspense += delta
            self.changed.accounts[account.key] = account
