"""A small fleet played against the pure ledger.

The machine plays a small fleet against the pure ledger: sidecars keep honest logs and leases (they spend only within a
lease, until the deadline counted from when they sent the Sync), all else is chaos: messages are lost, delayed and
repeated, pods die with and without their disk, the clock goes on, limits move. What was truly spent is counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from atlas_sidecar.budget_service.books import Books, LeaseState, Node, within
from atlas_sidecar.budget_service.ledger import decide
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.values import (
    Command,
    Fact,
    FactBody,
    Finish,
    Grant,
    LedgerError,
    OnLost,
    Outcome,
    Policy,
    Release,
    Reserve,
    SetBudget,
    Settle,
    Skip,
    Sweep,
    Sync,
    SyncDone,
    Want,
)
from tests.budget_service.say import NOON

RULES = Rules(ttl_ms=60_000, skew_ms=1000)
LONGEST_MS = 30_000
LIMIT = 600
NODES = ("acme", "acme/a", "acme/a/x", "acme/b")
SIDECARS = 4


@dataclass
class Held:
    """A lease as the sidecar sees it: what it used, and until when it may admit."""

    grant: Grant
    deadline_ms: int
    used: int = 0


@dataclass
class Sidecar:
    """An honest sidecar: its log, its leases, and its incarnations."""

    name: str
    number: int = 0
    sync_seq: int = 0
    seq: int = 0
    acked: int = 0
    log: list[Fact] = field(default_factory=list)  # not acknowledged yet, predecessors' included
    held: dict[str, Held] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    predecessor: str = ""
    alive: bool = True

    @property
    def incarnation(self) -> str:
        return f"{self.name}.{self.number}"

    def write(self, body: FactBody) -> None:
        self.seq += 1
        self.log.append(Fact(self.incarnation, self.seq, body))


def first_of(fact: Fact) -> int:
    """Return the first seq that is lost with a fact: a lost Skip loses again what it skipped."""
    return fact.body.first if isinstance(fact.body, Skip) else fact.seq


class Fleet(RuleBasedStateMachine):
    """A fleet and its ledger."""

    policy = Policy()
    destroys_logs = True

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.now_ms = NOON
        self.sidecars = [Sidecar(f"s{n}") for n in range(SIDECARS)]
        self.in_flight: list[tuple[Sidecar, str, int, Command]] = []  # with the incarnation and when it was sent
        self.past: list[Command] = []
        self.attempts: dict[str, int] = {}  # what was truly spent, all of it
        self.destroyed: set[str] = set()  # attempts whose only record is gone
        self.wants = 0
        self.lowered = False
        self.period = ""

    @initialize()
    def create(self) -> None:
        self.books.put_node(Node("acme", 0, time_zone="UTC"))
        self.tell(SetBudget("acme", LIMIT, "UTC", self.policy))
        self.tell(SetBudget("acme/a", LIMIT * 2 // 3))

    def tell(self, command: Command) -> Outcome:
        outcome = decide(self.books, command, self.now_ms, RULES)
        self.books.changed.clear()
        assert not isinstance(outcome, LedgerError), outcome.message
        return outcome

    # ------------------------------------------------------------------------------------------- sidecars

    @rule(
        which=st.integers(0, SIDECARS - 1),
        amount=st.integers(1, 400),
        minimum=st.integers(1, 40),
        node=st.sampled_from(NODES),
    )
    def ask_for_a_lease(self, which: int, amount: int, minimum: int, node: str) -> None:
        self.wants += 1
        self.send_sync(self.sidecars[which], Want(f"w{self.wants}", node, amount, minimum, LONGEST_MS))

    @rule(which=st.integers(0, SIDECARS - 1))
    def sync(self, which: int) -> None:
        self.send_sync(self.sidecars[which])

    @rule(which=st.integers(0, SIDECARS - 1), amount=st.integers(1, 60), node=st.sampled_from(NODES))
    def ask_for_one_request(self, which: int, amount: int, node: str) -> None:
        sidecar = self.sidecars[which]
        if sidecar.alive:
            self.wants += 1
            want = Want(f"w{self.wants}", node, amount, amount, LONGEST_MS)
            self.send(sidecar, Reserve(sidecar.name, sidecar.incarnation, want))

    def send_sync(self, sidecar: Sidecar, *wants: Want, final: bool = False) -> None:
        if not sidecar.alive:
            return
        sidecar.sync_seq += 1
        held = tuple(sidecar.held)
        facts = tuple(sidecar.log)
        self.send(sidecar, Sync(sidecar.name, sidecar.incarnation, sidecar.sync_seq, facts, held, wants, final))

    def send(self, sidecar: Sidecar, command: Command) -> None:
        self.in_flight.append((sidecar, sidecar.incarnation, self.now_ms, command))
        self.past.append(command)

    @rule(
        which=st.integers(0, SIDECARS - 1),
        amount=st.integers(1, 400),
        node=st.sampled_from(NODES),
        answered=st.booleans(),
    )
    def ask_and_be_heard_at_once(self, which: int, amount: int, node: str, answered: bool) -> None:
        if self.sidecars[which].alive:
            self.ask_for_a_lease(which, amount, 1 + amount // 10, node)
            self.deliver_one(len(self.in_flight) - 1, answered)

    @rule(which=st.integers(0, SIDECARS - 1), amount=st.integers(1, 100), node=st.sampled_from(NODES))
    def ask_for_one_request_and_be_heard(self, which: int, amount: int, node: str) -> None:
        if self.sidecars[which].alive:
            self.ask_for_one_request(which, amount, node)
            self.deliver_one(len(self.in_flight) - 1, answered=True)

    @rule(which=st.integers(0, SIDECARS - 1), quarters=st.integers(1, 4))
    def spend(self, which: int, quarters: int) -> None:
        sidecar = self.sidecars[which]
        for held in sidecar.held.values():
            cost = (held.grant.amount_nano_usd - held.used) * quarters // 4
            if sidecar.alive and self.now_ms < held.deadline_ms and cost:
                held.used += cost
                attempt = f"a{len(self.attempts)}"
                self.attempts[attempt] = cost
                sidecar.write(Settle(attempt, held.grant.lease_id, held.grant.budget, held.grant.period, cost))

    @rule(which=st.integers(0, SIDECARS - 1))
    def release(self, which: int) -> None:
        sidecar = self.sidecars[which]
        if sidecar.alive and sidecar.held:
            self.let_go(sidecar, next(iter(sidecar.held)))

    def let_go(self, sidecar: Sidecar, lease_id: str) -> None:
        del sidecar.held[lease_id]
        sidecar.released.add(lease_id)
        sidecar.write(Release(lease_id))

    # ------------------------------------------------------------------------------------------- the network

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), answered=st.booleans())
    def deliver(self, data: st.DataObject, answered: bool) -> None:
        self.deliver_one(data.draw(st.integers(0, len(self.in_flight) - 1)), answered)

    def deliver_one(self, which: int, answered: bool) -> None:
        sidecar, incarnation, sent_ms, command = self.in_flight.pop(which)
        outcome = self.tell(command)
        if answered and sidecar.alive and sidecar.incarnation == incarnation:
            self.hear(sidecar, outcome, sent_ms)

    def hear(self, sidecar: Sidecar, outcome: Outcome, sent_ms: int) -> None:
        grants = [outcome] if isinstance(outcome, Grant) else []
        if isinstance(outcome, SyncDone):
            assert outcome.quarantined == []
            applied = outcome.applied_seq
            sidecar.log = [fact for fact in sidecar.log if fact.seq > applied.get(fact.incarnation, 0)]
            for lease_id in outcome.recalled:
                if lease_id in sidecar.held:
                    self.let_go(sidecar, lease_id)
            grants = outcome.grants
        for grant in grants:
            if grant.lease_id not in sidecar.released:
                deadline_ms = sent_ms + grant.ttl_ms
                held = sidecar.held.setdefault(grant.lease_id, Held(grant, deadline_ms))
                held.deadline_ms = max(held.deadline_ms, deadline_ms)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def repeat_an_old_message(self, data: st.DataObject) -> None:
        before = self.granted()
        command = data.draw(st.sampled_from(self.past))
        stale = isinstance(command, Sync) and command.sync_seq <= self.sync_seq_of(command.incarnation)
        outcome = self.tell(command)
        if stale:
            assert isinstance(outcome, SyncDone)
            assert outcome.grants == []
            assert self.granted() <= before, "a stale message gained capacity"

    def sync_seq_of(self, incarnation: str) -> int:
        known = self.books.incarnations.get(incarnation)
        return known.sync_seq if known else 0

    def granted(self) -> int:
        return sum(lease.amount for lease in self.books.leases.values() if lease.state is LeaseState.ACTIVE)

    @precondition(lambda self: self.in_flight)
    @rule()
    def lose_everything_in_flight(self) -> None:
        self.in_flight.clear()

    # ------------------------------------------------------------------------------------------- chaos

    @rule(which=st.integers(0, SIDECARS - 1))
    def crash_and_recover_from_the_log(self, which: int) -> None:
        sidecar = self.sidecars[which]
        if sidecar.alive:
            self.restart(sidecar)
            sidecar.write(Finish(sidecar.predecessor))

    @precondition(lambda self: self.destroys_logs)
    @rule(which=st.integers(0, SIDECARS - 1))
    def crash_and_lose_the_tail_of_the_log(self, which: int) -> None:
        sidecar = self.sidecars[which]
        if not sidecar.alive:
            return
        lost = [fact for fact in sidecar.log if fact.incarnation == sidecar.incarnation]
        kept, tail = lost[: len(lost) // 2], lost[len(lost) // 2 :]
        self.destroyed |= {fact.body.attempt_id for fact in tail if isinstance(fact.body, Settle)}
        older = [fact for fact in sidecar.log if fact.incarnation != sidecar.incarnation]
        first = first_of(tail[0]) if tail else sidecar.seq + 1
        skip = Fact(sidecar.incarnation, max(sidecar.seq, first) + 100, Skip(first))
        self.restart(sidecar)
        sidecar.log = [*older, *kept, skip]

    @precondition(lambda self: self.destroys_logs)
    @rule(which=st.integers(0, SIDECARS - 1))
    def lose_part_of_the_log_and_go_on(self, which: int) -> None:
        sidecar = self.sidecars[which]
        lost = [fact for fact in sidecar.log if fact.incarnation == sidecar.incarnation]
        if sidecar.alive and lost:
            self.destroyed |= {fact.body.attempt_id for fact in lost if isinstance(fact.body, Settle)}
            sidecar.log = [fact for fact in sidecar.log if fact.incarnation != sidecar.incarnation]
            sidecar.write(Skip(first_of(lost[0])))

    @rule(which=st.integers(0, SIDECARS - 1))
    def lose_a_pod_for_good(self, which: int) -> None:
        sidecar = self.sidecars[which]
        if sidecar.alive and self.destroys_logs and sidecar is not self.sidecars[0]:
            sidecar.alive = False
            self.destroyed |= {fact.body.attempt_id for fact in sidecar.log if isinstance(fact.body, Settle)}
            sidecar.log.clear()

    def restart(self, sidecar: Sidecar) -> None:
        sidecar.predecessor = sidecar.incarnation
        sidecar.number += 1
        sidecar.seq = sidecar.sync_seq = 0
        sidecar.held.clear()

    @rule(seconds=st.sampled_from([1, 10, 30, 61, 95, 200, 3600, 43_200]))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    @rule()
    def sweep(self) -> None:
        self.tell(Sweep())

    @rule(amount=st.sampled_from([None, 0, LIMIT // 3, LIMIT * 3]), node=st.sampled_from(["acme/a", "acme/b"]))
    def move_a_limit(self, amount: int | None, node: str) -> None:
        self.tell(SetBudget(node, amount))

    # ------------------------------------------------------------------------------------------- what always holds

    @invariant()
    def accounts_are_the_sums_of_their_leases_and_spend(self) -> None:
        for (path, period), account in self.books.accounts.items():
            leases = [each for each in self.books.leases.values() if each.period == period and within(each.node, path)]
            by_state = {s: sum(each.remainder for each in leases if each.state is s) for s in LeaseState}
            assert account.leased == by_state[LeaseState.ACTIVE]
            assert account.suspense == by_state[LeaseState.SUSPENDED]
            assert account.active == sum(each.state is LeaseState.ACTIVE for each in leases)
            assert min(account.settled, account.leased, account.suspense, account.active) >= 0

    @invariant()
    def the_root_is_never_overspent(self) -> None:
        for (path, _), account in self.books.accounts.items():
            if path == "acme" and self.policy.on_lost is not OnLost.RECLAIM:
                assert account.settled + account.leased + account.suspense <= LIMIT

    @invariant()
    def an_attempt_is_posted_at_most_once_with_its_cost(self) -> None:
        posted = sum(known.cost or 0 for known in self.books.spend.values())
        roots = sum(account.settled for (path, _), account in self.books.accounts.items() if path == "acme")
        assert posted == roots
        assert all(self.attempts[attempt] == known.cost for attempt, known in self.books.spend.items())

    @invariant()
    def what_is_recorded_and_in_suspense_covers_what_was_truly_spent(self) -> None:
        if self.policy.on_lost is OnLost.RECLAIM:
            return
        covered = sum(
            a.settled + a.leased + a.suspense for (path, _), a in self.books.accounts.items() if path == "acme"
        )
        assert covered >= sum(self.attempts.values())

    def teardown(self) -> None:
        """Heal everything: every fact whose record exists is posted exactly once, and headroom gives a grant."""
        if not self.books.nodes:
            return
        for sidecar in self.sidecars:
            if not sidecar.alive:
                continue
            self.in_flight.clear()
            self.send_sync(sidecar)
            _, _, sent_ms, command = self.in_flight.pop()
            self.hear(sidecar, self.tell(command), sent_ms)
            assert sidecar.log == [] or all(isinstance(fact.body, Release) for fact in sidecar.log)
        missing = {attempt for attempt in self.attempts if attempt not in self.books.spend}
        assert missing <= self.destroyed
        self.check_progress()

    def check_progress(self) -> None:
        sidecar = self.sidecars[0]
        today = self.books.today("acme", self.now_ms)
        room = self.books.account("acme", today.name).headroom or 0
        if room < 1:
            return
        self.wants += 1
        want = Want(f"w{self.wants}", "acme", 1, 1, LONGEST_MS)
        sidecar.sync_seq += 1
        outcome = self.tell(Sync(sidecar.name, sidecar.incarnation, sidecar.sync_seq, (), tuple(sidecar.held), (want,)))
        assert isinstance(outcome, SyncDone)
        if any(grant.want_id == want.want_id for grant in outcome.grants):
            return
        outcome = self.tell(Reserve(sidecar.name, sidecar.incarnation, want))
        assert isinstance(outcome, Grant), "headroom and connectivity give a grant within two calls"
