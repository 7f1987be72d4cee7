"""Health as the router meets it: flights, circuits, cooldowns, snapshots, reloads and reports."""

import gc
import logging
import tracemalloc

import pytest

from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Circuit, ModelState, ProviderState, ProviderStatus, RateLimit, Target, Usage
from atlas_sidecar.runtime.health import Health
from atlas_sidecar.runtime.reports import Serving
from tests.runtime.health_world import NO_USAGE, HandClock, ScriptedProvider, attempt, attempts, failure, model

OPUS, HAIKU = model("opus", "anthropic"), model("haiku", "anthropic")
MINI = model("mini", "openai")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def health(clock: HandClock) -> Health:
    providers = {name: ScriptedProvider(name) for name in ("anthropic", "openai")}
    return Health(clock, [OPUS, HAIKU, MINI], providers)


def state(health: Health, model_id: str) -> ModelState:
    return health.states(health.now_s())[0][model_id]


def provider(health: Health, name: str) -> ProviderState:
    return health.states(health.now_s())[1][name]


def test_all_that_is_configured_has_a_state_from_the_start(health: Health) -> None:
    models, providers = health.states(1000.0)
    assert set(models) == {"opus", "haiku", "mini"}
    assert set(providers) == {"anthropic", "openai"}


def test_an_attempt_is_in_flight_until_it_ends_and_ends_once(health: Health) -> None:
    flight = health.begin(MINI)
    assert state(health, "mini").in_flight == 1
    assert provider(health, "openai").in_flight == 1
    flight.end(None, NO_USAGE, 1.0)
    flight.end(failure(ErrorClass.TEMPORARY), NO_USAGE, 1.0)
    assert state(health, "mini").in_flight == 0
    assert provider(health, "openai").in_flight == 0
    assert state(health, "mini").success_rate == 1.0


def test_a_failure_lowers_the_model_and_its_provider_by_the_prior_of_twenty(health: Health) -> None:
    attempts(health, MINI, ErrorClass.TEMPORARY, 1)
    assert state(health, "mini").success_rate == pytest.approx(20 / 21)
    assert provider(health, "openai").reliability == pytest.approx(20 / 21)
    assert provider(health, "anthropic").reliability == 1.0


def test_a_rate_limit_is_half_a_failure_for_reliability_and_cools_the_model_down(health: Health) -> None:
    attempt(health, MINI, failure(ErrorClass.RATE_LIMITED, retry_after_s=30.0))
    assert state(health, "mini").reliability == pytest.approx(20.5 / 21)
    assert state(health, "mini").success_rate == pytest.approx(20 / 21)
    assert state(health, "mini").limited_until_s == 1030.0
    assert provider(health, "openai").limited_until_s == 0.0
    attempt(health, MINI, failure(ErrorClass.RATE_LIMITED, retry_after_s=3.0))
    assert state(health, "mini").limited_until_s == 1030.0


def test_rate_limits_open_no_circuit(health: Health) -> None:
    attempts(health, MINI, ErrorClass.RATE_LIMITED, 50)
    assert state(health, "mini").circuit is Circuit.CLOSED
    assert provider(health, "openai").circuit is Circuit.CLOSED


@pytest.mark.parametrize(
    "error_class",
    [
        ErrorClass.CONTENT_FILTERED,
        ErrorClass.CONTEXT_TOO_LONG,
        ErrorClass.INVALID_REQUEST,
        ErrorClass.CANCELLED,
        ErrorClass.DEADLINE,
    ],
)
def test_what_is_not_the_models_fault_changes_nothing_but_the_load(health: Health, error_class: ErrorClass) -> None:
    before = health.states(1000.0)
    attempts(health, MINI, error_class, 50)
    assert health.states(1000.0) == before


@pytest.mark.parametrize("error_class", [ErrorClass.AUTH, ErrorClass.QUOTA_EXHAUSTED])
def test_auth_and_quota_open_the_providers_circuit_at_once(health: Health, error_class: ErrorClass) -> None:
    attempts(health, OPUS, error_class, 1)
    assert provider(health, "anthropic").circuit is Circuit.OPEN
    assert provider(health, "anthropic").status is ProviderStatus.UNHEALTHY
    assert state(health, "opus").circuit is Circuit.CLOSED


def test_a_quota_of_one_model_opens_only_its_own_circuit(health: Health) -> None:
    attempt(health, OPUS, failure(ErrorClass.QUOTA_EXHAUSTED, scope="model"))
    assert state(health, "opus").circuit is Circuit.OPEN
    assert state(health, "haiku").circuit is Circuit.CLOSED
    assert provider(health, "anthropic") == ProviderState(detail="")


def test_a_model_that_is_not_found_opens_only_its_own_circuit(health: Health) -> None:
    attempts(health, OPUS, ErrorClass.MODEL_UNAVAILABLE, 1)
    assert state(health, "opus").circuit is Circuit.OPEN
    assert state(health, "haiku").circuit is Circuit.CLOSED
    assert provider(health, "anthropic") == ProviderState(detail="")


def test_a_parameter_that_a_model_does_not_take_opens_nothing(health: Health) -> None:
    for _ in range(20):
        attempt(health, OPUS, failure(ErrorClass.MODEL_UNAVAILABLE, breaks_model=False))
    assert state(health, "opus") == ModelState()


def test_an_overloaded_model_leaves_its_siblings_in_use(health: Health) -> None:
    attempts(health, OPUS, ErrorClass.OVERLOADED, 5)
    assert state(health, "opus").circuit is Circuit.OPEN
    assert provider(health, "anthropic").circuit is Circuit.CLOSED


def test_two_models_that_fail_with_no_answer_in_between_are_the_providers_failure(health: Health) -> None:
    attempts(health, OPUS, ErrorClass.TEMPORARY, 4)
    attempts(health, HAIKU, ErrorClass.TEMPORARY, 4)
    assert provider(health, "anthropic").circuit is Circuit.CLOSED
    attempts(health, HAIKU, ErrorClass.TEMPORARY, 1)
    assert provider(health, "anthropic").circuit is Circuit.OPEN


def test_an_unreachable_endpoint_opens_the_provider_after_five(health: Health) -> None:
    for _ in range(5):
        attempt(health, OPUS, failure(ErrorClass.TEMPORARY, scope="provider"))
    assert provider(health, "anthropic").circuit is Circuit.OPEN


def test_a_providers_only_model_stands_for_the_provider(health: Health) -> None:
    attempts(health, MINI, ErrorClass.TEMPORARY, 5)
    assert provider(health, "openai").circuit is Circuit.OPEN


def test_a_circuit_goes_half_open_at_its_time_and_says_when_its_places_are_taken(
    health: Health, clock: HandClock
) -> None:
    attempts(health, OPUS, ErrorClass.TEMPORARY, 5)
    assert state(health, "opus").open_until_s == 1005.0
    clock.now_s = 1004.99
    assert state(health, "opus").circuit is Circuit.OPEN
    clock.now_s = 1005.0
    assert state(health, "opus").circuit is Circuit.HALF_OPEN
    assert state(health, "opus").probe_free
    flights = [health.begin(OPUS) for _ in range(4)]
    assert [flight.admitted for flight in flights] == [True, True, True, False]
    assert not state(health, "opus").probe_free
    flights[0].end(failure(ErrorClass.CANCELLED), NO_USAGE, 0.1)
    assert state(health, "opus").probe_free
    for flight in flights[1:]:
        flight.end(None, NO_USAGE, 0.1)
    assert state(health, "opus").circuit is Circuit.CLOSED


def test_a_circuit_that_opens_or_closes_is_logged_once(
    health: Health, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "atlas_sidecar"):
        attempts(health, OPUS, ErrorClass.TEMPORARY, 9)
        clock.now_s += 5.0
        attempt(health, OPUS)
        attempt(health, OPUS)
    assert [record.message for record in caplog.records] == [
        "circuit of model opus opened for 5 s",
        "circuit of model opus closed",
    ]


def test_memory_does_not_grow_with_attempts(health: Health, clock: HandClock) -> None:
    def run(count: int) -> None:
        for number in range(count):
            clock.now_s += 0.05
            flight = health.begin(OPUS)
            flight.head(RateLimit(requests_remaining=100))
            flight.first_content(0.1 + number % 7)
            flight.end(None if number % 3 else failure(ErrorClass.TEMPORARY), Usage(output_tokens=number), 1.0)
            health.states(clock.now_s)

    run(500)
    gc.collect()
    tracemalloc.start()
    run(2000)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000


def test_a_sole_target_can_be_tried_while_its_circuit_is_open_and_recovers_by_answering(health: Health) -> None:
    attempts(health, MINI, ErrorClass.TEMPORARY, 5)
    attempt(health, MINI)
    attempt(health, MINI)
    assert state(health, "mini").circuit is Circuit.CLOSED
    assert provider(health, "openai").circuit is Circuit.CLOSED


def test_a_sole_targets_single_rate_limit_opens_nothing_and_ends_by_the_clock(health: Health, clock: HandClock) -> None:
    attempt(health, MINI, failure(ErrorClass.RATE_LIMITED, retry_after_s=2.0))
    assert state(health, "mini").circuit is Circuit.CLOSED
    clock.now_s += 2.0
    assert state(health, "mini").limited_until_s <= clock.now_s


def test_throttling_lowers_the_concurrency_limit_and_answers_leave_it(health: Health) -> None:
    flights = [health.begin(MINI) for _ in range(10)]
    assert provider(health, "openai").concurrency_limit is None
    for flight in flights:
        flight.end(failure(ErrorClass.RATE_LIMITED), NO_USAGE, 0.1)
    assert provider(health, "openai").concurrency_limit == 7


def test_rate_limit_headers_of_an_answer_show_in_the_state(health: Health) -> None:
    flight = health.begin(MINI)
    flight.head(RateLimit(requests_remaining=5, tokens_remaining=100, requests_reset_s=10.0))
    assert provider(health, "openai").requests_remaining == 5
    flight.end(None, NO_USAGE, 1.0)
    assert provider(health, "openai").limited_until_s == 0.0


def test_retries_are_paid_from_the_quota_until_it_is_empty(health: Health) -> None:
    assert sum(health.may_retry("openai", ErrorClass.TEMPORARY) for _ in range(100)) == 10
    assert not health.may_retry("openai", ErrorClass.TEMPORARY)
    assert health.may_retry("anthropic", ErrorClass.RATE_LIMITED)
    for _ in range(14):
        attempt(health, MINI)
    assert health.may_retry("openai", ErrorClass.TEMPORARY)
    assert not health.may_retry("nobody", ErrorClass.TEMPORARY)


@pytest.mark.parametrize(
    ("error_class", "left"), [(ErrorClass.TEMPORARY, 150), (ErrorClass.RATE_LIMITED, 150 - 20 * 5)]
)
def test_retries_that_mend_a_failure_are_free_but_not_those_after_throttling(
    health: Health, error_class: ErrorClass, left: int
) -> None:
    for _ in range(20):
        attempt(health, MINI, failure(error_class, retry_after_s=0.0))
        assert health.may_retry("openai", error_class)
        health.begin(MINI, error_class).end(None, NO_USAGE, 1.0)
    openai = next(report for report in health.report()[0] if report.provider == "openai")
    assert openai.retry_tokens == left


def test_a_snapshot_is_reused_until_something_changes_and_never_changes_itself(health: Health) -> None:
    first = health.states(1000.0)
    assert health.states(1000.5) is first
    kept = dict(first[0])
    attempts(health, MINI, ErrorClass.TEMPORARY, 1)
    second = health.states(1000.5)
    assert second is not first
    assert dict(first[0]) == kept
    assert second[0]["opus"] is first[0]["opus"]
    assert second[0]["mini"] != first[0]["mini"]


def test_evidence_fades_by_time_alone(health: Health, clock: HandClock) -> None:
    attempts(health, MINI, ErrorClass.TEMPORARY, 3)
    clock.now_s += 60.0
    assert state(health, "mini").success_rate == pytest.approx(20 / 21.5)
    clock.now_s += 3600.0
    assert state(health, "mini").success_rate == pytest.approx(1.0)


def test_a_missing_key_shows_and_a_key_that_appears_is_seen_within_a_second(clock: HandClock) -> None:
    port = ScriptedProvider("openai", has_credentials=False)
    health = Health(clock, [MINI, OPUS], {"openai": port})
    assert provider(health, "openai").status is ProviderStatus.NO_CREDENTIALS
    assert not provider(health, "anthropic").has_credentials
    port.has_credentials = True
    clock.now_s += 1.0
    assert provider(health, "openai").has_credentials


def test_a_reload_keeps_the_evidence_of_what_stays_and_forgets_what_goes(health: Health) -> None:
    attempts(health, OPUS, ErrorClass.TEMPORARY, 2)
    attempts(health, MINI, ErrorClass.TEMPORARY, 2)
    before = state(health, "opus").success_rate
    old_flight = health.begin(MINI)
    moved = model("haiku", "openai")
    health.reconfigure(
        [OPUS, moved], {"anthropic": ScriptedProvider("anthropic"), "openai": ScriptedProvider("openai")}
    )
    models, _ = health.states(health.now_s())
    assert set(models) == {"opus", "haiku"}
    assert models["opus"].success_rate == before
    old_flight.end(failure(ErrorClass.TEMPORARY), NO_USAGE, 1.0)
    attempt(health, MINI, failure(ErrorClass.AUTH))  # a request that still holds the old configuration
    assert set(health.states(health.now_s())[0]) == {"opus", "haiku"}


def test_a_reload_with_a_new_key_gives_an_open_provider_its_trial_at_once(health: Health) -> None:
    attempts(health, MINI, ErrorClass.AUTH, 1)
    health.reconfigure([MINI], {"openai": ScriptedProvider("openai")})
    assert provider(health, "openai").circuit is Circuit.HALF_OPEN
    assert provider(health, "openai").status is not ProviderStatus.UNHEALTHY


def test_a_provider_that_leaves_with_a_flight_on_its_way_breaks_nothing(health: Health) -> None:
    flight = health.begin(MINI)
    health.reconfigure([OPUS], {"anthropic": ScriptedProvider("anthropic")})
    flight.head(RateLimit(requests_remaining=1))
    flight.end(None, NO_USAGE, 1.0)
    assert set(health.states(health.now_s())[1]) == {"anthropic"}


def test_the_report_tells_times_in_unix_seconds_and_errors_in_our_own_words(health: Health) -> None:
    flight = health.begin(MINI)
    flight.head(RateLimit(requests_remaining=40, tokens_remaining=900))
    flight.first_content(0.4)
    flight.end(None, Usage(output_tokens=50), 1.4)
    error = ProviderError(ErrorClass.RATE_LIMITED, "you, sk-123, are too fast", http_status=429, retry_after_s=9.0)
    attempt(health, MINI, error)
    providers, models = health.report()
    mine = next(report for report in providers if report.provider == "openai")
    assert mine.status is ProviderStatus.RATE_LIMITED
    assert (mine.requests_remaining, mine.tokens_remaining) == (40, 900)
    assert mine.limited_until_unix_s == 1_700_001_009.0
    assert mine.last_checked_unix_s == 1_700_001_000.0
    assert mine.last_error == "the provider limited the rate of requests (HTTP 429)"
    assert 0.0 < mine.error_rate < 1.0
    report = next(report for report in models if report.ref.id == "mini")
    assert report.reliability == pytest.approx(10 * 21.5 / 22)
    assert report.time_to_first_token_p50_s == pytest.approx(0.4, rel=0.1)
    assert report.output_tokens_per_s == pytest.approx(50.0)
    assert "sk-123" not in repr(providers) + repr(models) + repr(health)


def test_the_report_names_open_circuits_and_when_they_end(health: Health) -> None:
    attempts(health, OPUS, ErrorClass.MODEL_UNAVAILABLE, 1)
    _, models = health.report()
    opus = next(report for report in models if report.ref.id == "opus")
    assert (opus.circuit, opus.open_until_unix_s) == (Circuit.OPEN, 1_700_001_005.0)
    assert next(report for report in models if report.ref.id == "mini").open_until_unix_s is None


def test_one_limited_model_of_two_does_not_make_its_provider_rate_limited(health: Health) -> None:
    attempts(health, HAIKU, ErrorClass.RATE_LIMITED, 1)
    providers, _ = health.report()
    assert next(report for report in providers if report.provider == "anthropic").limited_until_unix_s is None


def test_a_role_without_its_primary_tier_is_degraded_and_without_any_model_not_serving(health: Health) -> None:
    roles = {
        "supervisor": [Target(OPUS, 1), Target(MINI, 2)],
        "worker": [Target(MINI, 1), Target(HAIKU, 1), Target(OPUS, 2)],
    }
    assert health.overall(roles) is Serving.SERVING
    attempts(health, MINI, ErrorClass.TEMPORARY, 5)
    assert health.overall(roles) is Serving.SERVING
    attempts(health, OPUS, ErrorClass.MODEL_UNAVAILABLE, 1)
    assert health.overall(roles) is Serving.DEGRADED
    attempts(health, HAIKU, ErrorClass.AUTH, 1)
    assert health.overall(roles) is Serving.NOT_SERVING
    assert health.overall({}) is Serving.NOT_SERVING
