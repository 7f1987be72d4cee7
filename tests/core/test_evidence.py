"""Decayed evidence: bounds, the way back to the prior, quantiles, slowness; and what each class of failure counts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.breaker import Event
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.evidence import DecayedMean, Quantiles, Slowness, Throughput, decay
from atlas_sidecar.core.verdict import NOTHING, VERDICTS, sentence, verdict

STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1e4)), max_size=100)


def test_evidence_halves_every_half_life() -> None:
    assert decay(60.0, 60.0) == 0.5
    assert decay(120.0, 60.0) == 0.25
    assert decay(-1.0, 60.0) == 1.0


def test_without_evidence_a_model_is_taken_to_answer() -> None:
    assert DecayedMean().mean(123.0) == 1.0


def test_the_prior_is_twenty_successes() -> None:
    mean = DecayedMean()
    mean.add(0.0, 0.0)
    assert mean.mean(0.0) == pytest.approx(20 / 21)
    mean.add(0.5, 0.0)
    assert mean.mean(0.0) == pytest.approx(20.5 / 22)


def test_after_a_half_life_a_failure_weighs_half() -> None:
    mean = DecayedMean()
    mean.add(0.0, 0.0)
    assert mean.mean(60.0) == pytest.approx(20 / 20.5)


def test_after_a_half_life_successes_weigh_half_too() -> None:
    mean = DecayedMean()
    for value in [1.0] * 10 + [0.0] * 10:
        mean.add(value, 0.0)
    assert mean.mean(60.0) == pytest.approx((20 + 5) / (20 + 10))


@given(STEPS)
def test_a_mean_stays_within_its_bounds(steps: list[tuple[float, float]]) -> None:
    mean, now_s = DecayedMean(), 0.0
    for value, seconds in steps:
        now_s += seconds
        mean.add(value, now_s)
        assert 0.0 <= mean.mean(now_s) <= 1.0
        assert 0.0 <= mean.failure_share(now_s) <= 1.0


@given(STEPS)
def test_silence_leads_back_to_the_prior_and_never_away_from_it(steps: list[tuple[float, float]]) -> None:
    mean, now_s = DecayedMean(), 0.0
    for value, seconds in steps:
        now_s += seconds
        mean.add(value, now_s)
    later = [mean.mean(now_s + seconds) for seconds in (0.0, 1.0, 30.0, 300.0, 3000.0, 1e9)]
    assert all(before <= after + 1e-12 for before, after in pairwise(later))
    assert later[-1] == pytest.approx(1.0)


def test_a_full_outage_shows_as_one_to_people() -> None:
    mean = DecayedMean()
    for _ in range(50):
        mean.add(0.0, 0.0)
    assert mean.failure_share(0.0) > 0.97
    assert mean.failure_share(3600.0) < 0.01


def test_memory_does_not_grow_with_attempts() -> None:
    quantiles = Quantiles()
    buckets = len(quantiles._buckets)
    for number in range(10_000):
        quantiles.add(number / 10, float(number))
    assert len(quantiles._buckets) == buckets


@given(st.lists(st.floats(0.001, 500.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_within_a_bucket_of_the_true_one(durations: list[float], share: float) -> None:
    quantiles = Quantiles()
    for duration_s in durations:
        quantiles.add(duration_s, 0.0)
    found = quantiles.quantile(share)
    assert found is not None
    ordered = sorted(durations)
    at = share * len(ordered)
    near = [ordered[max(0, min(len(ordered) - 1, index))] for index in (int(at) - 1, int(at), int(at) + 1)]
    assert near[0] / 1.16 <= found <= near[2] * 1.16


def test_quantiles_forget_what_is_old() -> None:
    quantiles = Quantiles(half_life_s=60.0)
    for _ in range(1000):
        quantiles.add(10.0, 0.0)
    for number in range(10):
        quantiles.add(0.1, 1200.0 + number)
    assert quantiles.quantile(0.95) == pytest.approx(0.1, rel=0.16)


def test_quantiles_survive_years_of_silence() -> None:
    quantiles = Quantiles(half_life_s=60.0)
    quantiles.add(10.0, 0.0)
    quantiles.add(0.5, 1e9)
    assert quantiles.quantile(0.5) == pytest.approx(0.5, rel=0.16)
    assert Quantiles().quantile(0.5) is None


def test_a_steady_model_is_not_slow_and_a_faster_one_gains_nothing() -> None:
    slowness = Slowness()
    for number in range(100):
        slowness.add(2.0, number * 10.0)
    assert slowness.ratio(1000.0) == pytest.approx(1.0)
    for number in range(50):
        slowness.add(0.1, 1000.0 + number)
    assert slowness.ratio(1050.0) == 1.0


def test_a_model_five_times_slower_than_usual_shows_as_slow_and_is_forgiven_when_nobody_asks_it() -> None:
    slowness = Slowness()
    for number in range(360):
        slowness.add(2.0, number * 10.0)
    for number in range(20):
        slowness.add(10.0, 3600.0 + number)
    assert slowness.ratio(3620.0) < 0.4
    assert slowness.ratio(3620.0 + 3600.0) > 0.95


def test_one_long_answer_is_no_slowness() -> None:
    slowness = Slowness()
    for number in range(360):
        slowness.add(2.0, number * 10.0)
    slowness.add(6.0, 3601.0)
    assert slowness.ratio(3601.0) > 0.7


@given(st.lists(st.tuples(st.floats(0.0, 1e3), st.floats(0.0, 1e4)), max_size=100))
def test_slowness_stays_within_its_bounds(steps: list[tuple[float, float]]) -> None:
    slowness, now_s = Slowness(), 0.0
    for latency_s, seconds in steps:
        now_s += seconds
        slowness.add(latency_s, now_s)
        assert 0.0 <= slowness.ratio(now_s) <= 1.0


def test_throughput_is_tokens_over_the_seconds_of_generation() -> None:
    throughput = Throughput()
    assert throughput.tokens_per_s() is None
    throughput.add(100, 2.0, 0.0)
    throughput.add(300, 2.0, 0.0)
    throughput.add(0, 0.0, 0.0)
    assert throughput.tokens_per_s() == pytest.approx(100.0)


def test_every_class_of_failure_has_a_verdict() -> None:
    assert set(VERDICTS) == set(ErrorClass)


@pytest.mark.parametrize(
    "error_class",
    [
        ErrorClass.INVALID_REQUEST,
        ErrorClass.CONTENT_FILTERED,
        ErrorClass.CONTEXT_TOO_LONG,
        ErrorClass.CANCELLED,
        ErrorClass.DEADLINE,
    ],
)
def test_what_is_the_callers_counts_nothing(error_class: ErrorClass) -> None:
    assert VERDICTS[error_class] == NOTHING


def test_answered_counts_one_rate_limited_half_and_broken_nothing() -> None:
    assert verdict(None)[:3] == (1.0, 1.0, 1.0)
    assert VERDICTS[ErrorClass.RATE_LIMITED][:3] == (0.0, 0.5, 0.5)
    for broken in (ErrorClass.OVERLOADED, ErrorClass.TEMPORARY, ErrorClass.TIMEOUT, ErrorClass.STREAM_BROKEN):
        assert VERDICTS[broken][:3] == (0.0, 0.0, 0.0)
        assert VERDICTS[broken].model_event is Event.FAILED


def test_a_fault_of_one_prompt_counts_nothing_whatever_its_class() -> None:
    assert verdict(ProviderError(ErrorClass.MODEL_UNAVAILABLE, "no such parameter", breaks_model=False)) == NOTHING
    assert verdict(ProviderError(ErrorClass.MODEL_UNAVAILABLE, "not found")).model_event is Event.TRIPPED


def test_the_sentence_of_an_error_holds_nothing_of_the_providers_text() -> None:
    error = ProviderError(ErrorClass.AUTH, "bad key sk-secret", code="sk-secret", http_status=401)
    assert sentence(error) == "the provider refused the credentials (HTTP 401)"
    assert all(sentence(ProviderError(error_class, "x")) for error_class in ErrorClass)
