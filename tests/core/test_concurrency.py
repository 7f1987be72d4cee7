"""The adaptive concurrency limit of a provider."""

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.concurrency import MAX_LIMIT, ConcurrencyLimit


def test_there_is_no_limit_before_the_first_loss() -> None:
    limit = ConcurrencyLimit()
    for _ in range(1000):
        limit.answered(500)
    assert limit.limit is None


def test_a_loss_cuts_to_seven_tenths_of_what_was_in_flight() -> None:
    limit = ConcurrencyLimit()
    limit.lost(in_flight=20, begun_s=0.0, now_s=1.0)
    assert limit.limit == 14


def test_losses_of_one_round_count_once() -> None:
    limit = ConcurrencyLimit()
    for in_flight in range(20, 10, -1):
        limit.lost(in_flight, begun_s=0.0, now_s=1.0)
    assert limit.limit == 14
    limit.lost(in_flight=14, begun_s=1.5, now_s=2.0)
    assert limit.limit == 9


def test_answers_raise_it_by_about_one_a_round() -> None:
    limit = ConcurrencyLimit()
    limit.lost(in_flight=20, begun_s=0.0, now_s=1.0)
    for _ in range(15):
        limit.answered(in_flight=14)
    assert limit.limit == 15


def test_answers_while_the_limit_is_not_in_use_raise_nothing() -> None:
    limit = ConcurrencyLimit()
    limit.lost(in_flight=20, begun_s=0.0, now_s=1.0)
    for _ in range(1000):
        limit.answered(in_flight=3)
    assert limit.limit == 14


def test_far_above_any_use_the_limit_is_forgotten() -> None:
    limit = ConcurrencyLimit()
    limit.lost(in_flight=700, begun_s=0.0, now_s=1.0)
    for _ in range(40_000):
        limit.answered(in_flight=700)
    assert limit.limit is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1000), st.floats(0.0, 5.0)), max_size=200))
def test_whatever_happens_one_may_always_be_in_flight(events: list[tuple[bool, int, float]]) -> None:
    limit, now_s = ConcurrencyLimit(), 0.0
    for lost, in_flight, seconds in events:
        begun_s, now_s = now_s, now_s + seconds
        before = limit.limit
        if lost:
            limit.lost(in_flight, begun_s, now_s)
            assert limit.limit is not None
            assert before is None or limit.limit <= before
        else:
            limit.answered(in_flight)
        assert limit.limit is None or 1 <= limit.limit <= MAX_LIMIT
