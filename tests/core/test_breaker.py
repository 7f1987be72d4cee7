"""The circuit breaker: what opens it, how long, and that half-open never lets more through than its places."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from atlas_sidecar.core.breaker import TRANSITIONS, Breaker, BreakerSettings, Event, Permit
from atlas_sidecar.core.types import Circuit


def run(breaker: Breaker, event: Event | None, count: int = 1, now_s: float = 0.0) -> None:
    for _ in range(count):
        breaker.end(breaker.begin(now_s), event, now_s)


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    run(breaker, Event.FAILED, 5, now_s)
    assert breaker.state(now_s) is Circuit.OPEN
    return breaker


def test_the_table_leaves_no_state_without_a_way_out() -> None:
    assert set(TRANSITIONS) == set(Circuit)
    for state, ways in TRANSITIONS.items():
        assert set(ways.values()) - {state}


def test_four_failures_in_a_row_leave_it_closed_and_the_fifth_opens_it() -> None:
    breaker = Breaker()
    run(breaker, Event.FAILED, 4)
    assert breaker.state(0.0) is Circuit.CLOSED
    run(breaker, Event.FAILED)
    assert breaker.state(0.0) is Circuit.OPEN
    assert breaker.open_until_s == 5.0


def test_an_answer_in_between_starts_the_row_again() -> None:
    breaker = Breaker()
    for _ in range(10):
        run(breaker, Event.ANSWERED, 4)
        run(breaker, Event.FAILED, 4)  # 4 in a row, and never more than half
    assert breaker.state(0.0) is Circuit.CLOSED


def test_one_failure_of_one_call_opens_nothing() -> None:
    breaker = Breaker()
    run(breaker, Event.FAILED)
    assert breaker.state(0.0) is Circuit.CLOSED


def test_three_failures_of_ten_open_nothing() -> None:
    breaker = Breaker()
    for failed in [True, False, False] * 3 + [False]:
        run(breaker, Event.FAILED if failed else Event.ANSWERED)
    assert breaker.state(0.0) is Circuit.CLOSED


def test_more_than_half_of_at_least_ten_calls_opens_it() -> None:
    breaker = Breaker()
    for failed in [True, True, True, False, True, True, True, False, False]:  # 6 of 9: too few calls
        run(breaker, Event.FAILED if failed else Event.ANSWERED)
    assert breaker.state(0.0) is Circuit.CLOSED
    run(breaker, Event.FAILED)
    assert breaker.state(0.0) is Circuit.OPEN


def test_exactly_half_opens_nothing() -> None:
    breaker = Breaker()
    for _ in range(40):
        run(breaker, Event.ANSWERED)
        run(breaker, Event.FAILED)
    assert breaker.state(0.0) is Circuit.CLOSED


def test_failures_older_than_the_window_do_not_count_in_the_share() -> None:
    breaker = Breaker()
    for failed in [True, True, True, False, True, True, True, False, False]:  # one call short of the minimum
        run(breaker, Event.FAILED if failed else Event.ANSWERED, now_s=100.0)
    run(breaker, Event.FAILED, now_s=131.0)
    assert breaker.state(131.0) is Circuit.CLOSED
    run(breaker, Event.FAILED, 4, now_s=131.0)  # in a row they open it all the same
    assert breaker.state(131.0) is Circuit.OPEN


def test_a_trip_opens_it_at_once() -> None:
    breaker = Breaker()
    run(breaker, Event.TRIPPED)
    assert breaker.state(0.0) is Circuit.OPEN


def test_open_lasts_five_seconds_and_doubles_to_sixty() -> None:
    breaker, now_s = opened(), 0.0
    lasted = []
    for _ in range(6):
        lasted.append(breaker.open_until_s - now_s)
        now_s = breaker.open_until_s
        assert breaker.state(now_s - 0.001) is Circuit.OPEN
        assert breaker.state(now_s) is Circuit.HALF_OPEN
        run(breaker, Event.FAILED, now_s=now_s)
    assert lasted == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_closing_again_starts_at_five_seconds() -> None:
    breaker = opened()
    run(breaker, Event.FAILED, now_s=5.0)
    run(breaker, Event.ANSWERED, 2, now_s=15.0)
    assert breaker.state(15.0) is Circuit.CLOSED
    run(breaker, Event.FAILED, 5, now_s=20.0)
    assert breaker.open_until_s == 25.0


def test_half_open_admits_as_many_as_it_has_places() -> None:
    breaker = opened()
    permits = [breaker.begin(5.0) for _ in range(5)]
    assert [permit.admitted for permit in permits] == [True, True, True, False, False]
    assert not breaker.has_place(5.0)
    breaker.end(permits[0], None, 6.0)  # cancelled: the place is free again, and nothing is known
    assert breaker.has_place(6.0)
    assert breaker.state(6.0) is Circuit.HALF_OPEN


def test_two_answers_close_it() -> None:
    breaker = opened()
    run(breaker, Event.ANSWERED, now_s=5.0)
    assert breaker.state(5.0) is Circuit.HALF_OPEN
    run(breaker, Event.ANSWERED, now_s=5.0)
    assert breaker.state(5.0) is Circuit.CLOSED


def test_an_attempt_from_before_the_circuit_opened_moves_nothing() -> None:
    breaker = Breaker()
    old = [breaker.begin(0.0) for _ in range(4)]
    run(breaker, Event.FAILED, 5)
    breaker.end(old[0], Event.ANSWERED, 1.0)
    breaker.end(old[1], Event.FAILED, 1.0)
    assert breaker.state(1.0) is Circuit.OPEN
    assert breaker.open_until_s == 5.0
    assert breaker.state(5.0) is Circuit.HALF_OPEN
    breaker.end(old[2], Event.ANSWERED, 5.0)
    breaker.end(old[3], Event.FAILED, 5.0)
    assert breaker.state(5.0) is Circuit.HALF_OPEN


def test_a_last_resort_that_answers_while_open_is_the_first_trial() -> None:
    breaker = opened()
    permit = breaker.begin(1.0)
    assert not permit.admitted
    breaker.end(permit, Event.ANSWERED, 2.0)
    assert breaker.state(2.0) is Circuit.HALF_OPEN
    run(breaker, Event.ANSWERED, now_s=2.0)
    assert breaker.state(2.0) is Circuit.CLOSED


def test_a_last_resort_that_fails_while_open_does_not_prolong_it() -> None:
    breaker = opened()
    run(breaker, Event.FAILED, 20, now_s=4.0)
    assert breaker.open_until_s == 5.0


def test_try_again_gives_an_open_circuit_its_trial_now_and_leaves_a_closed_one() -> None:
    breaker = opened()
    breaker.try_again(0.5)
    assert breaker.state(0.5) is Circuit.HALF_OPEN
    closed = Breaker()
    closed.try_again(0.5)
    assert closed.state(0.5) is Circuit.CLOSED


class BreakerMachine(RuleBasedStateMachine):
    """Any order of attempts, verdicts and waiting, against what must hold always."""

    permits: Bundle[Permit] = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.settings = BreakerSettings()
        self.breaker = Breaker(self.settings)
        self.now_s = 0.0
        self.holding = 0
        self.holding_since = Circuit.CLOSED

    @rule(target=permits)
    def begin(self) -> Permit:
        before = self.breaker.state(self.now_s)
        permit = self.breaker.begin(self.now_s)
        assert permit.admitted == (
            before is Circuit.CLOSED or (before is Circuit.HALF_OPEN and self.in_places() < self.settings.places)
        )
        self.outstanding = [*getattr(self, "outstanding", []), permit]
        return permit

    def in_places(self) -> int:
        """Count the permits that hold a place of the present half-open time."""
        epoch = self.breaker.begin(self.now_s)  # look at the epoch through a permit, and give it back
        self.breaker.end(epoch, None, self.now_s)
        return sum(p.holds_place and p.epoch == epoch.epoch for p in getattr(self, "outstanding", []))

    @rule(permit=consumes(permits), event=st.sampled_from([Event.ANSWERED, Event.FAILED, Event.TRIPPED, None]))
    def end(self, permit: Permit, event: Event | None) -> None:
        self.outstanding.remove(permit)
        self.breaker.end(permit, event, self.now_s)
        if event is Event.TRIPPED:
            assert self.breaker.state(self.now_s) is Circuit.OPEN

    @rule(seconds=st.floats(0.0, 70.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def probe_answers(self) -> None:
        self.breaker.try_again(self.now_s)
        assert self.breaker.state(self.now_s) is not Circuit.OPEN

    @rule(event=st.sampled_from([Event.FAILED, Event.TRIPPED]))
    def probe_fails(self, event: Event) -> None:
        self.breaker.fail_apart(event, self.now_s)

    @invariant()
    def never_more_than_its_places(self) -> None:
        if self.breaker.state(self.now_s) is Circuit.HALF_OPEN:
            assert 0 <= self.in_places() <= self.settings.places

    @invariant()
    def open_is_never_for_longer_than_a_minute(self) -> None:
        if self.breaker.state(self.now_s) is Circuit.OPEN:
            assert self.now_s < self.breaker.open_until_s <= self.now_s + self.settings.max_open_s

    @invariant()
    def a_minute_later_it_can_be_tried(self) -> None:
        state = self.breaker.state(self.now_s)
        if state is Circuit.OPEN:
            assert self.breaker.open_until_s > self.now_s
        elif state is Circuit.CLOSED:
            assert self.breaker.has_place(self.now_s)
            assert self.breaker.open_until_s == 0.0


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
