"""Sidecars and their ledger in virtual time: the real pure parts (lease book, outbox, ledger), everything else a model.

A sidecar that has nothing to say is not run: its Syncs change nothing in the ledger, so they are only counted. An
exchange takes no time, and is lost on its way there or back at the rate of `Chances.lost`.
"""

from __future__ import annotations

import copy
import heapq
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from atlas_sidecar.budget_service import ledger
from atlas_sidecar.budget_service.books import Books, LeaseState, Node, chain_of
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.values import (
    Fact,
    FactBody,
    Finish,
    Grant,
    LedgerError,
    OnPartition,
    Release,
    Reserve,
    SetBudget,
    Settle,
    Skip,
    Sweep,
    Sync,
    Want,
)
from atlas_sidecar.core import spend_records, sync
from atlas_sidecar.core.lease_book import Lease as HeldLease
from atlas_sidecar.core.lease_book import LeaseBook
from atlas_sidecar.core.outbox import Outbox
from atlas_sidecar.core.types import ModelRef, Usage
from tests.budget_service.say import DAY, NOON

MIDNIGHT = NOON - 12 * 3_600_000
ROOT = "acme"
REFRESH_S = 30.0
FACT_AGE_S = 5.0
LONGEST_S = 120.0
NANO = 1_000_000_000
ARRIVE, END, SYNC, CALL = range(4)
NO_USAGE, NO_MODEL = Usage(), ModelRef("", "", "")


@dataclass(frozen=True)
class Chances:
    """How likely things are: per exchange, per attempt."""

    lost: float = 0.002
    above_reserve: float = 0.0005


@dataclass(slots=True, eq=False)
class Sidecar:
    """One pod. `open`: attempts on their way, with what they reserved and will cost."""

    number: int
    node: str
    book: LeaseBook
    outbox: Outbox
    life: int = 1
    sync_seq: int = 0
    due_s: float = float("inf")
    synced_s: float = 0.0
    cut_until_s: float = 0.0
    alive: bool = True
    unseen_nano_usd: int = 0  # of the day's allowance
    open: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"s{self.number}"

    @property
    def incarnation(self) -> str:
        return f"s{self.number}.{self.life}"


@dataclass
class Terms:
    """The overspend bound's parts, nano-USD: cost above the reserve, reclaimed, failover, offline, limit lowered."""

    e: int = 0
    u: int = 0
    v: int = 0
    p: int = 0
    z: int = 0

    @property
    def total(self) -> int:
        return self.e + self.u + self.v + self.p + self.z


class Fleet:
    """A whole organisation in virtual time; equal seeds give equal runs."""

    def __init__(
        self, seed: int, sidecars: int, nodes: list[str], per_minute: float, chances: Chances | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.rules = Rules()
        self.books = Books()
        self.books.put_node(Node(ROOT, 0, time_zone="UTC"))
        self.now_s = 0.0
        self.chances = chances or Chances()
        self.per_s = per_minute / 60.0
        self.sidecars = [self._sidecar(number, nodes[number % len(nodes)]) for number in range(sidecars)]
        self.events: list[tuple[float, int, int, object]] = []
        self.order = count()
        self.ids = count()
        self.true_spend: dict[str, int] = defaultdict(int)
        self.terms: dict[str, Terms] = defaultdict(Terms)
        self.exchanges = self.idle_syncs = self.served = self.refused = 0
        self.destroyed_nano_usd = self.guessed_nano_usd = 0
        for sidecar in self.sidecars:
            self.at(self.random.expovariate(self.per_s), ARRIVE, sidecar)

    def _sidecar(self, number: int, node: str) -> Sidecar:
        return Sidecar(number, node, LeaseBook(REFRESH_S), Outbox(f"s{number}.1"))

    @property
    def now_ms(self) -> int:
        return MIDNIGHT + int(self.now_s * 1000)

    def at(self, time_s: float, kind: int, what: object) -> None:
        heapq.heappush(self.events, (time_s, next(self.order), kind, what))

    def later(self, time_s: float, call: Callable[[], None]) -> None:
        self.at(time_s, CALL, call)

    def set_limit(self, node: str, usd: float | None, **more: object) -> None:
        """Set a limit, and count what is already promised beyond it (Z)."""
        limit = None if usd is None else round(usd * NANO)
        self.spread(node, "z", self.committed(node) - limit if limit is not None else 0)
        outcome = ledger.decide(self.books, SetBudget(node, limit, **more), self.now_ms, self.rules)  # type: ignore[arg-type]
        assert not isinstance(outcome, LedgerError), outcome

    def committed(self, node: str) -> int:
        account = self.books.accounts.get((node, DAY))
        return account.settled + account.leased + account.suspense if account else 0

    def spread(self, node: str, term: str, amount: int) -> None:
        """Count a term on a node and its ancestors."""
        if amount > 0:
            for name in chain_of(node):
                setattr(self.terms[name], term, getattr(self.terms[name], term) + amount)

    def run(self, until_s: float) -> None:
        """Let time pass."""
        events = self.events
        while events and events[0][0] <= until_s:
            self.now_s, _, kind, what = heapq.heappop(events)
            if kind == ARRIVE:
                self._arrive(what)  # type: ignore[arg-type]
            elif kind == END:
                self._end(*what)  # type: ignore[misc]
            elif kind == SYNC:
                sidecar: Sidecar = what  # type: ignore[assignment]
                if sidecar.due_s == self.now_s and sidecar.alive:
                    self.sync(sidecar)
            else:
                what()  # type: ignore[operator]
        self.now_s = until_s

    # ------------------------------------------------------------------------------------------- one sidecar

    def _due(self, sidecar: Sidecar, time_s: float) -> None:
        if time_s < sidecar.due_s or sidecar.due_s <= self.now_s:
            sidecar.due_s = max(time_s, self.now_s + 1e-6)
            self.at(sidecar.due_s, SYNC, sidecar)

    def _arrive(self, sidecar: Sidecar) -> None:
        if not sidecar.alive:
            return
        chance = self.random
        self.at(self.now_s + chance.expovariate(self.per_s), ARRIVE, sidecar)
        reserve = int(0.004 * NANO * (1 + 9 * chance.random() ** 3))
        lease = self._obtain(sidecar, reserve)
        cost = int(reserve * (0.15 + 0.85 * chance.random()))
        if chance.random() < self.chances.above_reserve:
            cost = reserve + reserve // 10
        if lease is None and not self._offline(sidecar, reserve, cost):
            self.refused += 1
            return
        self.served += 1
        attempt = f"a{next(self.ids)}"
        lease_id = ""
        if lease is not None:
            lease_id = lease.lease_id
            if sidecar.book.take(lease, reserve, LONGEST_S, self.now_s):
                self._due(sidecar, max(self.now_s, sidecar.synced_s + 1.0))
        sidecar.open[attempt] = (lease_id, reserve, cost)
        for name in chain_of(sidecar.node):
            self.true_spend[name] += cost
        self.spread(sidecar.node, "e", cost - reserve)
        self.at(self.now_s + 0.5 + chance.expovariate(0.25), END, (sidecar, sidecar.life, attempt))

    def _obtain(self, sidecar: Sidecar, reserve: int) -> HeldLease | None:
        book = sidecar.book
        lease = book.find(sidecar.node, reserve, self.now_s)
        if lease is not None:
            return lease
        book.wait(sidecar.node, reserve, LONGEST_S, self.now_s)
        answered = self.sync(sidecar)
        book.wait_over(sidecar.node, reserve)
        lease = book.find(sidecar.node, reserve, self.now_s)
        if lease is None and answered:
            want = Want(f"r{next(self.ids)}", sidecar.node, reserve, reserve, int(LONGEST_S * 1000))
            self.exchanges += 1
            answer = ledger.decide(
                self.books, Reserve(sidecar.name, sidecar.incarnation, want), self.now_ms, self.rules
            )
            self.books.changed.clear()
            if isinstance(answer, Grant):
                book.adopt(grant_of(answer), self.now_s, self.now_s, single=True)
                lease = book.find(sidecar.node, reserve, self.now_s)
        return lease

    def _offline(self, sidecar: Sidecar, reserve: int, cost: int) -> bool:
        """Spend the open policy's allowance while cut off (P)."""
        policy = self.books.policy_of(sidecar.node)
        if sidecar.cut_until_s <= self.now_s or policy.on_partition is not OnPartition.OPEN:
            return False
        if sidecar.unseen_nano_usd + reserve > (policy.open_allowance_nano_usd or 0):
            return False
        sidecar.unseen_nano_usd += cost
        self.spread(sidecar.node, "p", cost)
        return True

    def _end(self, sidecar: Sidecar, life: int, attempt: str) -> None:
        if life == sidecar.life and sidecar.alive and attempt in sidecar.open:
            self.finish(sidecar, attempt)

    def finish(self, sidecar: Sidecar, attempt: str) -> None:
        """End an attempt: settle it on its lease, and write it down."""
        lease_id, reserve, cost = sidecar.open.pop(attempt)
        if lease_id:
            sidecar.book.end(lease_id, reserve, cost, self.now_s)
        sidecar.outbox.add(settle_of(attempt, lease_id, sidecar.node, cost), self.now_s)
        self._due(sidecar, self.now_s + FACT_AGE_S)

    def sync(self, sidecar: Sidecar) -> bool:
        """Exchange everything once; return whether the answer arrived."""
        sidecar.due_s = float("inf")
        now_s, book, outbox = self.now_s, sidecar.book, sidecar.outbox
        if now_s - sidecar.synced_s > REFRESH_S:
            self.idle_syncs += int((now_s - sidecar.synced_s) / REFRESH_S)
        sidecar.synced_s = now_s
        if now_s < sidecar.cut_until_s:
            self._due(sidecar, min(now_s + 10.0, sidecar.cut_until_s))
            return False
        needs = book.needs(now_s)
        for lease_id in book.to_release(now_s, needs):
            book.release(lease_id, outbox.add(spend_records.Release(lease_id), now_s).seq, now_s)
        wants = tuple([
            Want(f"w{next(self.ids)}", need.node, need.amount_nano_usd, need.minimum_nano_usd, int(LONGEST_S * 1000))
            for need in needs
        ])  # fmt: skip
        facts, applied = outbox.batch(1000), outbox.applied
        held = tuple([each.lease_id for each in book.held()])
        sidecar.sync_seq += 1
        self.exchanges += 1
        lost = self.random.random()
        if lost < self.chances.lost:
            self._due(sidecar, now_s + 2.0)
            return False
        call = Sync(sidecar.name, sidecar.incarnation, sidecar.sync_seq, tuple(map(fact_of, facts)), held, wants)
        done = ledger.sync(self.books, call, self.now_ms, self.rules)
        assert done.quarantined == []
        if lost < 2 * self.chances.lost:
            self._due(sidecar, now_s + 2.0)
            return False
        outbox.acknowledge(facts, done.applied_seq, now_s)
        if sidecar.life > 1:
            outbox.forgettable()  # drops predecessors that are done
        for grant in done.grants:
            book.adopt(grant_of(grant), now_s, now_s)
        book.recall(done.recalled)
        book.forget_released(applied, now_s)
        if outbox.pending or held or done.grants:
            self._due(sidecar, now_s + REFRESH_S * (0.8 + 0.4 * self.random.random()))
        return True

    # ------------------------------------------------------------------------------------------- what goes wrong

    def cut(self, sidecars: list[Sidecar], seconds: float) -> None:
        """Cut sidecars off from the service."""
        for sidecar in sidecars:
            sidecar.cut_until_s = self.now_s + seconds

    def lose(self, sidecar: Sidecar) -> None:
        """Destroy a pod with its disk: nobody will ever report what is in its log."""
        sidecar.alive = False
        facts = [fact.body for fact in sidecar.outbox.batch(10**6)]
        self.destroyed_nano_usd += sum(b.cost_nano_usd or 0 for b in facts if isinstance(b, spend_records.Settle))
        self.destroyed_nano_usd += sum(cost for _, _, cost in sidecar.open.values())

    def crash(self, sidecar: Sidecar) -> None:
        """Kill a process; its successor finds the log: open reservations become estimated settlements, whole."""
        if not sidecar.alive:
            return
        predecessor, past = sidecar.incarnation, sidecar.outbox
        sidecar.life += 1
        sidecar.sync_seq = 0
        sidecar.book = LeaseBook(REFRESH_S)
        sidecar.outbox = Outbox(sidecar.incarnation)
        sidecar.outbox.take_over(predecessor, past.batch(10**6), lossy=False)
        for attempt, (lease_id, reserve, cost) in sidecar.open.items():
            sidecar.outbox.add(settle_of(attempt, lease_id, sidecar.node, reserve), self.now_s)
            self.guessed_nano_usd += reserve - cost
        sidecar.open.clear()
        sidecar.outbox.add(spend_records.Finish(predecessor), self.now_s)
        self._due(sidecar, self.now_s + 1.0)

    def sweep(self) -> None:
        """What the service does every few seconds; reclaimed remainders are U."""
        before = {lease.lease_id: lease for leases in self.books.open.values() for lease in leases.values()}
        ledger.sweep(self.books, Sweep(100_000), self.now_ms, self.rules)
        for lease in before.values():
            if lease.state is LeaseState.CLOSED:
                self.spread(lease.node, "u", lease.remainder)
        if self.now_s % 600 < 60:
            self.books.prune(self.now_ms - 3_600_000)
        self.books.changed.clear()

    def fail_over(self, lost_s: float) -> None:
        """Take a copy of the ledger now, and go back to it after `lost_s`: what was acknowledged in between is gone."""
        copied = copy.deepcopy(self.books)

        def promote() -> None:
            fresh = [lease for lease_id, lease in self.books.leases.items() if lease_id not in copied.leases]
            for lease in fresh:
                self.spread(lease.node, "v", lease.amount)
            self.books = copied
            for sidecar in self.sidecars:  # each Syncs within 30 s, and hears then what the ledger has
                if sidecar.alive:
                    self._due(sidecar, self.now_s + REFRESH_S * self.random.random())

        self.later(self.now_s + lost_s, promote)


def settle_of(attempt: str, lease_id: str, node: str, cost: int) -> spend_records.Settle:
    return spend_records.Settle(attempt, lease_id, node, DAY, cost, False, NO_USAGE, NO_MODEL, None, "", "", {}, 0.0)


def fact_of(fact: spend_records.Fact) -> Fact:
    """Say a sidecar's fact in the ledger's words."""
    body = fact.body
    said: FactBody
    if isinstance(body, spend_records.Settle):
        said = Settle(body.attempt_id, body.lease_id, body.node, body.period, body.cost_nano_usd)
    elif isinstance(body, spend_records.Release):
        said = Release(body.lease_id)
    elif isinstance(body, spend_records.Finish):
        said = Finish(body.predecessor)
    else:
        said = Skip(body.first)
    return Fact(fact.incarnation, fact.seq, said)


def grant_of(grant: Grant) -> sync.Grant:
    """Say a grant in the sidecar's words."""
    ttl_s = grant.ttl_ms / 1000
    return sync.Grant(grant.lease_id, grant.want_id, grant.budget, grant.period, grant.amount_nano_usd, ttl_s)
