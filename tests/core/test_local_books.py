from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.demand import Peak, Rate, expected_requests
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.leases import Hold
from atlas_sidecar.core.local_books import LocalBooks
from atlas_sidecar.core.spend_records import Reservation, Settle, estimated_settle
from atlas_sidecar.core.totals import KEPT_PERIODS, MAX_MODELS, Totals
from atlas_sidecar.core.types import ModelRef, Usage

MODEL = ModelRef("sonnet", "anthropic", "claude-sonnet")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


def books(limit: int | None = 1000, zone: str = "UTC") -> tuple[LocalBooks, Totals]:
    totals = Totals()
    return LocalBooks("default", limit, ZoneInfo(zone), totals), totals


def hold(amount: int | None) -> Hold:
    return Hold("default", "attempt", amount, MODEL)


def settled(reservation: Reservation, cost: int | None, model: ModelRef = MODEL) -> Settle:
    return estimated_settle(reservation)._replace(cost_nano_usd=cost, estimated=False, model=model)


def test_reserved_and_spent_never_pass_the_limit_together() -> None:
    day, totals = books(1000)
    first = day.reserve(hold(600), NOON)
    with pytest.raises(AtlasError):
        day.reserve(hold(401), NOON)
    second = day.reserve(hold(400), NOON)
    for reservation, cost in ((first, 100), (second, 400)):
        day.end(reservation)
        totals.add(settled(reservation, cost))
    assert day.remaining_nano_usd(NOON) == 500
    assert day.headroom_nano_usd(NOON) == 500


def test_an_exhausted_day_says_which_node_and_when_it_renews() -> None:
    day, _ = books(1000, "Europe/Berlin")
    with pytest.raises(AtlasError) as error:
        day.reserve(hold(1001), NOON)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED
    assert error.value.metadata == {"node": "default", "renews_at": "2026-11-23T23:00:00Z"}
    assert error.value.retry_after_s == 11 * HOUR


def test_a_new_day_begins_empty_and_the_old_one_keeps_what_it_admitted() -> None:
    day, totals = books(1000)
    late = day.reserve(hold(1000), NOON)
    tomorrow = NOON + 13 * HOUR
    fresh = day.reserve(hold(1000), tomorrow)
    day.end(late)
    totals.add(settled(late, 900))
    assert (late.period, fresh.period) == ("2026-11-23", "2026-11-24")
    assert day.remaining_nano_usd(tomorrow) == 1000
    assert totals.spent_nano_usd("2026-11-23") == 900


def test_a_clock_that_is_set_back_finds_its_day_as_it_was() -> None:
    day, totals = books(1000)
    reservation = day.reserve(hold(800), NOON)
    totals.add(settled(reservation, 800))
    day.end(reservation)
    day.reserve(hold(1000), NOON + 400 * 24 * HOUR)
    with pytest.raises(AtlasError):
        day.reserve(hold(201), NOON)


def test_no_limit_admits_everything_also_what_has_no_known_price() -> None:
    day, _ = books(None)
    assert day.reserve(hold(10**15), NOON).amount_nano_usd == 10**15
    assert day.reserve(hold(None), NOON).amount_nano_usd is None
    assert day.headroom_nano_usd(NOON) is None


def test_under_a_limit_an_unknown_price_is_refused_and_a_free_model_never() -> None:
    day, totals = books(1000)
    with pytest.raises(AtlasError, match="the price of sonnet is unknown"):
        day.reserve(hold(None), NOON)
    totals.add(settled(day.reserve(hold(0), NOON), 5000))
    assert day.remaining_nano_usd(NOON) == -4000
    day.reserve(hold(0), NOON)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), max_size=40), st.integers(0, 2000))
def test_what_true_caps_admit_never_passes_the_limit(attempts: list[tuple[int, int]], limit: int) -> None:
    day, totals = books(limit)
    running: list[tuple[Reservation, int]] = []
    for amount, percent in attempts:
        try:
            running.append((day.reserve(hold(amount), NOON), amount * percent // 100))
        except AtlasError:
            if running:
                reservation, cost = running.pop(0)
                day.end(reservation)
                totals.add(settled(reservation, cost))
        assert totals.spent_nano_usd("2026-11-23") + sum(r.amount_nano_usd or 0 for r, _ in running) <= limit


def test_sums_are_kept_by_provider_and_model_and_survive_saving() -> None:
    day, totals = books(None)
    other = ModelRef("mini", "openai", "gpt-mini")
    totals.add(settled(day.reserve(hold(9), NOON), 9)._replace(usage=Usage(5, 1, None, 7, 2), lease_id="L"))
    totals.add(estimated_settle(day.reserve(hold(3), NOON)))
    totals.add(settled(day.reserve(hold(None), NOON), None, other))
    again = Totals(totals.save())
    for sums in (totals, again):
        rows = sums.by_model("2026-11-23")
        assert rows["anthropic", "claude-sonnet"] == (2, 12, 3, 0, 6, 9)
        assert rows["openai", "gpt-mini"] == (1, 0, 0, 1, 0, 0)
        assert sums.spent_nano_usd("2026-11-23") == 12
        assert sums.unleased_nano_usd("2026-11-23") == 3


def test_sums_are_bounded_in_periods_and_models() -> None:
    _, totals = books()
    base = estimated_settle(Reservation("a", "", "n", "2026-01-01", 1, MODEL, "", {}, 0.0))
    for number in range(20):
        totals.add(base._replace(period=f"2026-01-{number + 1:02}"))
    assert len(totals.save()) == KEPT_PERIODS
    for number in range(MAX_MODELS + 50):
        totals.add(base._replace(period="2026-01-20", model=ModelRef("m", "p", f"m{number}")))
    assert len(totals.by_model("2026-01-20")) <= MAX_MODELS + 1
    assert totals.spent_nano_usd("2026-01-20") == MAX_MODELS + 51


def test_a_steady_stream_gives_its_rate_and_silence_halves_it() -> None:
    rate = Rate(60.0)
    for second in range(1000):
        rate.add(float(second), 3.0)
    assert rate.per_second(999.0) == pytest.approx(3.0, rel=0.03)
    assert rate.per_second(1059.0) == pytest.approx(1.5, rel=0.03)
    assert expected_requests(rate, 1059.0, 1000.0) == pytest.approx(1500, rel=0.03)
    assert expected_requests(rate, 1059.0, -5.0) == 1.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e9)), max_size=50))
def test_a_rate_never_grows_without_an_event(steps: list[tuple[float, float]]) -> None:
    rate, now_s = Rate(60.0), 0.0
    for pause_s, weight in steps:
        before = rate.per_second(now_s)
        now_s += pause_s
        assert rate.per_second(now_s) <= before
        rate.add(now_s, weight)


def test_a_peak_is_kept_and_fades() -> None:
    peak = Peak(60.0)
    peak.see(1000, 0.0)
    peak.see(10, 30.0)
    assert peak.value(60.0) == 500
    peak.see(600, 60.0)
    assert peak.value(60.0) == 600
