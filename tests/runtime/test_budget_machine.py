"""Two sidecars, one ledger, and everything that can go wrong between them, in any order.

What must hold whatever happens: true spend never exceeds the limit (closed policy, reservations are true caps); at
every step recorded + suspense + leased covers what was truly spent; after healing every attempt is on the ledger
exactly once.
"""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.spend_records import Reservation
from tests.runtime.budget_world import NODE, World

LIMIT = 10_000
amounts = st.one_of(st.integers(1, 600), st.integers(600, 4000))


class Fleet(RuleBasedStateMachine):
    """The machine: rules are what may happen, `truth` is what was truly spent."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.truth: dict[str, int] = {}
        self.running: list[tuple[int, Reservation]] = []
        first = World(self.directory / "0")
        second = World(self.directory / "1", replace(first.settings, sidecar_id="pod-2"), first.clock)
        second.ledger = first.ledger
        second.gateway.ledger = first.ledger
        self.worlds = [first, second]
        self.ledger, self.clock = first.ledger, first.clock

    @initialize()
    def begin(self) -> None:
        self.ledger.set_budget("acme", LIMIT)
        for world in self.worlds:
            self.runner.run(world.start())

    @rule(which=st.integers(0, 1), amount=amounts)
    def reserve(self, which: int, amount: int) -> None:
        async def attempt() -> None:
            try:
                reservation = await self.worlds[which].reserve(amount)
            except AtlasError as error:
                assert error.reason in {Reason.BUDGET_EXHAUSTED, Reason.BUDGET_UNAVAILABLE}  # noqa: PT017 - anything else is a fault
                return
            self.running.append((which, reservation))

        self.runner.run(attempt())

    @precondition(lambda self: self.running)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        which, reservation = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        cost = int((reservation.amount_nano_usd or 0) * share)
        self.truth[reservation.attempt_id] = cost
        self.worlds[which].settle(reservation, cost)

    @rule(seconds=st.sampled_from([0.1, 1, 4, 7, 20, 100, 800]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(self.clock.advance(seconds))

    @rule(which=st.integers(0, 1))
    def cut_the_line(self, which: int) -> None:
        self.worlds[which].gateway.cut = True

    @rule(which=st.integers(0, 1))
    def lose_answers(self, which: int) -> None:
        self.worlds[which].gateway.lose_answers = True

    @rule()
    def mend(self) -> None:
        for world in self.worlds:
            world.gateway.cut = world.gateway.lose_answers = False

    @rule(which=st.integers(0, 1))
    def kill_and_restart(self, which: int) -> None:
        for _, reservation in [each for each in self.running if each[0] == which]:
            self.truth[reservation.attempt_id] = reservation.amount_nano_usd or 0
        self.running = [each for each in self.running if each[0] != which]
        self.runner.run(self.worlds[which].restart())

    @rule(which=st.integers(0, 1))
    def stop_and_start(self, which: int) -> None:
        for _, reservation in [each for each in self.running if each[0] == which]:
            self.truth[reservation.attempt_id] = reservation.amount_nano_usd or 0
        self.running = [each for each in self.running if each[0] != which]

        async def again() -> None:
            closing = asyncio.ensure_future(self.worlds[which].budget.close())
            await self.clock.run(closing)
            await closing
            await self.worlds[which].restart_after_close()

        self.runner.run(again())

    @invariant()
    def true_spend_stays_within_the_limit(self) -> None:
        reserved = sum(reservation.amount_nano_usd or 0 for _, reservation in self.running)
        assert sum(self.truth.values()) + reserved <= LIMIT

    @invariant()
    def the_ledger_covers_what_was_spent(self) -> None:
        settled, leased, suspense = self.ledger.account("acme")
        assert settled + leased + suspense <= LIMIT
        assert settled + leased + suspense >= sum(self.truth.values())

    def teardown(self) -> None:
        for which, reservation in self.running:
            self.truth[reservation.attempt_id] = reservation.amount_nano_usd or 0
            self.worlds[which].settle(reservation, reservation.amount_nano_usd)
        self.mend()
        self.runner.run(self.clock.advance(120))
        try:
            assert {attempt_id: cost for attempt_id, (_, cost) in self.ledger.spend().items()} == self.truth
            assert {node for node, _ in self.ledger.spend().values()} <= {NODE}
            assert self.ledger.account("acme") == (sum(self.truth.values()), 0, 0)
            assert [world.budget.health().unreported_facts for world in self.worlds] == [0, 0]
        finally:
            for world in self.worlds:
                self.runner.run(world.kill())
            self.runner.close()
            shutil.rmtree(self.directory)


Fleet.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_no_attempt_is_lost_or_doubled_and_no_limit_is_passed = Fleet.TestCase
