"""What one model's and one provider's evidence becomes in their states: cooldowns, headers, throughput."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import ProviderStatus, RateLimit, Usage
from atlas_sidecar.runtime.performance import ModelPerformance, ProviderPerformance, cooldown_until
from tests.runtime.health_world import failure, model


def tracked() -> ModelPerformance:
    return ModelPerformance(model("mini").ref)


def test_a_fresh_model_is_taken_to_be_good_and_nothing_is_known_of_its_speed() -> None:
    state = tracked().state(0.0)
    assert (state.success_rate, state.reliability, state.latency_ratio) == (1.0, 1.0, 1.0)
    assert state.time_to_first_token_p50_s is None
    assert state.output_tokens_per_s is None


def test_answers_show_in_times_and_tokens_per_second() -> None:
    performance = tracked()
    for _ in range(20):
        performance.first_content(0.5, 0.0)
        performance.answered(Usage(output_tokens=100, reasoning_tokens=50), 0.5, 2.0, 0.0)
    state = performance.state(0.0)
    assert state.time_to_first_token_p50_s == pytest.approx(0.5, rel=0.1)
    assert state.latency_p95_s == pytest.approx(2.0, rel=0.1)
    assert state.output_tokens_per_s == pytest.approx(100.0)


def test_a_retry_after_is_the_cooldown_and_none_said_is_five_seconds() -> None:
    limited = ErrorClass.RATE_LIMITED
    assert cooldown_until(0.0, failure(limited, retry_after_s=60.0), 100.0) == 160.0
    assert cooldown_until(0.0, failure(limited), 100.0) == 105.0


def test_a_retry_after_of_zero_is_honoured() -> None:
    assert cooldown_until(0.0, failure(ErrorClass.RATE_LIMITED, retry_after_s=0.0), 100.0) == 0.0


def test_a_wait_of_years_is_cut_to_a_day() -> None:
    assert cooldown_until(0.0, failure(ErrorClass.RATE_LIMITED, retry_after_s=1e12), 100.0) == 100.0 + 86_400.0


def test_an_overloaded_provider_that_names_a_wait_gets_it_and_else_none() -> None:
    assert cooldown_until(0.0, failure(ErrorClass.OVERLOADED, retry_after_s=7.0), 100.0) == 107.0
    assert cooldown_until(0.0, failure(ErrorClass.OVERLOADED), 100.0) == 0.0


@given(st.floats(0, 1e4), st.sampled_from(list(ErrorClass)), st.none() | st.floats(-10, 1e4), st.floats(0, 1e4))
def test_a_cooldown_never_moves_back(old_s: float, of: ErrorClass, wait_s: float | None, now_s: float) -> None:
    error = failure(of) if wait_s is None else failure(of, retry_after_s=wait_s)
    assert cooldown_until(old_s, error, now_s) >= old_s


def test_headers_are_kept_and_a_field_not_mentioned_keeps_its_value() -> None:
    provider = ProviderPerformance("groq")
    provider.heard(RateLimit(requests_remaining=7, tokens_remaining=900, requests_reset_s=30.0), 0.0)
    provider.heard(RateLimit(tokens_remaining=800), 1.0)
    state = provider.state(2.0)
    assert (state.requests_remaining, state.tokens_remaining) == (7, 800)


def test_headers_are_forgotten_at_their_reset_but_still_reported() -> None:
    provider = ProviderPerformance("groq")
    provider.heard(RateLimit(requests_remaining=7, requests_reset_s=30.0), 0.0)
    assert provider.next_change_s(0.0) == 30.0
    assert provider.state(29.9).requests_remaining == 7
    assert provider.state(30.0).requests_remaining is None
    assert provider.last_said.requests_remaining == 7


def test_a_reset_in_a_day_keeps_nobody_out_for_more_than_a_minute() -> None:
    provider = ProviderPerformance("groq")
    provider.heard(RateLimit(requests_remaining=0, requests_reset_s=86_400.0), 0.0)
    assert provider.state(59.9).requests_remaining == 0
    assert provider.state(60.0).requests_remaining is None


def test_a_provider_is_unknown_until_it_answered() -> None:
    provider = ProviderPerformance("groq")
    assert provider.status(0.0) is ProviderStatus.UNKNOWN
    provider.ended(None, 0.0)
    assert provider.status(0.0) is ProviderStatus.HEALTHY
    provider.has_credentials = False
    assert provider.status(0.0) is ProviderStatus.NO_CREDENTIALS


def test_a_limit_of_the_whole_account_cools_the_provider_down_and_not_the_model() -> None:
    error = failure(ErrorClass.RATE_LIMITED, retry_after_s=20.0, scope="provider")
    provider, performance = ProviderPerformance("groq"), tracked()
    provider.ended(error, 0.0)
    performance.ended(error, 0.0)
    assert provider.state(0.0).limited_until_s == 20.0
    assert provider.status(19.9) is ProviderStatus.RATE_LIMITED
    assert provider.status(20.0) is not ProviderStatus.RATE_LIMITED
    assert performance.state(0.0).limited_until_s == 0.0
