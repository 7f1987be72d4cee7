"""What stands against a model, in which order it is looked at, and the sentence that says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atlas_sidecar.core.availability import badness
from atlas_sidecar.core.costs import estimate_cost, expected_output, output_cap, reservation, worst_case_cost
from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.eligibility import HopLimits, check
from atlas_sidecar.core.money import LongContextPrice, Price
from atlas_sidecar.core.types import (
    BudgetState,
    Capability,
    Circuit,
    Model,
    ModelState,
    Need,
    Performance,
    ProviderState,
    ProviderStatus,
    Rejection,
    Requirements,
    Snapshot,
    Target,
    TokenLine,
)
from tests.core.builders import ANYTHING, FREE, USD, model, need, price, snapshot


def against(
    one: Model | None = None,
    *,
    requirements: Requirements = ANYTHING,
    asked: Need | None = None,
    seen: Snapshot | None = None,
    hop: HopLimits | None = None,
) -> tuple[Rejection, str] | None:
    found = check(Target(one or model(), 1), requirements, asked or need(), seen or snapshot(), hop or HopLimits())
    return None if found is None else (found.rejection, found.detail)


def test_nothing_stands_against_a_model_that_was_never_seen() -> None:
    assert against() is None


@pytest.mark.parametrize(
    ("one", "asked", "detail"),
    [
        (model(window=128_000), need(210_000), "needs 210,000 tokens, window 128,000"),
        (model(window=1_050_000, max_input=922_000), need(922_001), "needs 922,001 tokens, input limit 922,000"),
        (model(window=3_000), need(2_600), "needs 2,600 tokens and 500 for the answer, window 3,000"),
        (model(window=3_000), need(2_000, 1_001), "needs 2,000 tokens and 1,001 for the answer, window 3,000"),
    ],
)
def test_what_does_not_fit_the_window_is_too_long(one: Model, asked: Need, detail: str) -> None:
    assert against(one, asked=asked) == (Rejection.CONTEXT_TOO_LONG, detail)


def test_what_just_fits_the_window_fits_and_an_output_cap_counts_no_further_than_the_models_own() -> None:
    assert against(model(window=3_000), asked=need(2_500)) is None
    assert against(model(window=3_000, max_output=800), asked=need(2_200, 5_000)) is None
    assert against(model(window=900, max_output=400), asked=need(500)) is None
    assert against(model(window=1_050_000, max_input=922_000), asked=need(922_000)) is None


def test_after_context_too_long_only_a_larger_window_will_do() -> None:
    hop = HopLimits(min_window_exclusive=100_000)
    assert against(model(window=100_000), hop=hop) == (
        Rejection.CONTEXT_TOO_LONG,
        "window 100,000, and 100,000 was too small",
    )
    assert against(model(window=100_001), hop=hop) is None


def test_missing_capabilities_are_named_whether_asked_for_or_derived() -> None:
    asked = need(capabilities=frozenset({Capability.IMAGE_INPUT}))
    wanted = Requirements(capabilities=frozenset({Capability.TOOLS}))
    found = against(model(capabilities=frozenset()), asked=asked, requirements=wanted)
    assert found == (Rejection.MISSING_CAPABILITY, "lacks tools, image_input")
    assert against(model(), asked=asked, requirements=wanted) is None


def test_a_form_that_the_models_api_has_no_room_for_is_named() -> None:
    lacking = replace(model(), lacks=frozenset({Form.VIDEO, Form.PDF_BY_ADDRESS, Form.GIF}))
    asked = need(forms=frozenset({Form.PDF_BY_ADDRESS, Form.GIF}))
    assert against(lacking, asked=asked) == (
        Rejection.MISSING_CAPABILITY,
        "takes no GIF image, no PDF by its address",
    )
    assert against(lacking, asked=need(forms=frozenset({Form.HEIC}))) is None
    assert against(model(), asked=asked) is None


def test_only_and_exclude_are_kept() -> None:
    assert against(requirements=Requirements(only_models=("x",))) == (Rejection.EXCLUDED, "not among only_models")
    assert against(requirements=Requirements(only_models=("x", "m"))) is None
    excluded = Requirements(only_models=("m",), exclude_models=("m",))
    assert against(requirements=excluded) == (Rejection.EXCLUDED, "listed in exclude_models")


@pytest.mark.parametrize(("retired", "rejected"), [("", False), ("2026-11-24", False), ("2026-11-23", True)])
def test_a_model_is_retired_from_its_day_on(retired: str, rejected: bool) -> None:
    expected = (Rejection.RETIRED, f"retired on {retired}") if rejected else None
    assert against(model(retired=retired)) == expected


@pytest.mark.parametrize(
    ("floor", "detail"),
    [
        (Performance(min_reasoning_score=8.1), "reasoning score 8, at least 8.1 is asked for"),
        (Performance(min_speed_score=9), "speed score 8, at least 9 is asked for"),
        (Performance(min_success_rate=0.95), "success rate 0.9, at least 0.95 is asked for"),
        (Performance(max_time_to_first_token_s=1), "time to first token p95 1.5 s, at most 1 s is asked for"),
        (Performance(max_latency_s=7.5), "latency p95 8 s, at most 7.5 s is asked for"),
    ],
)
def test_a_performance_floor_rejects_what_is_below_it(floor: Performance, detail: str) -> None:
    state = ModelState(success_rate=0.9, time_to_first_token_p95_s=1.5, latency_p95_s=8.0)
    seen = snapshot(models={"m": state})
    assert against(requirements=Requirements(performance=floor), seen=seen) == (Rejection.PERFORMANCE, detail)
    met = Performance(1.5, 8.0, 8.0, 8.0, 0.9)
    assert against(requirements=Requirements(performance=met), seen=seen) is None


def test_a_latency_that_was_never_measured_meets_every_floor() -> None:
    assert against(requirements=Requirements(performance=Performance(0.001, 0.001))) is None


@pytest.mark.parametrize(
    ("provider", "rejection", "detail"),
    [
        (ProviderState(has_credentials=False), Rejection.NO_CREDENTIALS, "provider p has no credentials"),
        (ProviderState(ProviderStatus.NO_CREDENTIALS), Rejection.NO_CREDENTIALS, "provider p has no credentials"),
        (ProviderState(ProviderStatus.UNHEALTHY), Rejection.PROVIDER_UNHEALTHY, "provider p is unhealthy"),
        (ProviderState(ProviderStatus.RATE_LIMITED), Rejection.RATE_LIMITED, "provider p is rate limited"),
        (
            ProviderState(limited_until_s=1012.34),
            Rejection.RATE_LIMITED,
            "provider p is rate limited for 12.3 s",
        ),
        (
            ProviderState(requests_remaining=10),
            Rejection.RATE_LIMITED,
            "provider p has 10 requests remaining, 10 are kept back",
        ),
        (
            ProviderState(circuit=Circuit.OPEN, open_until_s=1005.0),
            Rejection.CIRCUIT_OPEN,
            "circuit of provider p is open for 5.0 s",
        ),
        (
            ProviderState(circuit=Circuit.HALF_OPEN, probe_free=False),
            Rejection.CIRCUIT_OPEN,
            "circuit of provider p is half-open and its probe is under way",
        ),
        (
            ProviderState(in_flight=4, concurrency_limit=4),
            Rejection.OVERLOADED,
            "provider p has 4 in flight, limit 4",
        ),
    ],
)
def test_what_stands_against_a_provider_stands_against_its_models(
    provider: ProviderState, rejection: Rejection, detail: str
) -> None:
    assert against(seen=snapshot(providers={"p": provider})) == (rejection, detail)


@pytest.mark.parametrize(
    "provider",
    [
        ProviderState(ProviderStatus.UNKNOWN),
        ProviderState(ProviderStatus.HEALTHY, requests_remaining=11, limited_until_s=1000.0),
        ProviderState(circuit=Circuit.HALF_OPEN, in_flight=3, concurrency_limit=4),
    ],
)
def test_a_provider_that_is_fine_or_has_a_probe_free_may_serve(provider: ProviderState) -> None:
    assert against(seen=snapshot(providers={"p": provider})) is None


def test_a_models_own_circuit_and_cool_down_count_too() -> None:
    opened = snapshot(models={"m": ModelState(circuit=Circuit.OPEN, open_until_s=1005.0)})
    assert against(seen=opened) == (Rejection.CIRCUIT_OPEN, "circuit of the model is open for 5.0 s")
    limited = snapshot(models={"m": ModelState(limited_until_s=1002.0)})
    assert against(seen=limited) == (Rejection.RATE_LIMITED, "the model is rate limited for 2.0 s")
    assert against(seen=snapshot(models={"m": ModelState(circuit=Circuit.HALF_OPEN)})) is None


def test_the_most_that_an_attempt_may_cost_must_fit_the_headroom() -> None:
    one, asked = model(cost=price(10)), need(1_000, 100)
    assert worst_case_cost(one, 1_000, 100) == 11_000_000
    fits = snapshot(budget=BudgetState(USD, USD, 11_000_000))
    short = snapshot(budget=BudgetState(USD, USD, 10_999_999))
    assert against(one, asked=asked, seen=fits) is None
    detail = "may cost $0.011, budget headroom $0.010999999"
    assert against(one, asked=asked, seen=short) == (Rejection.BUDGET, detail)
    assert against(model(cost=FREE), asked=asked, seen=snapshot(budget=BudgetState(0, -5, -5))) is None


def test_without_a_headroom_the_remaining_budget_bounds() -> None:
    assert against(model(cost=price(10)), seen=snapshot(budget=BudgetState(USD, 5))) is not None
    assert against(model(cost=price(10)), seen=snapshot(budget=BudgetState(USD, USD))) is None


def test_what_max_cost_leaves_bounds_what_the_expected_answer_may_cost() -> None:
    one = model(cost=price(10))
    assert against(one, asked=need(1_000, max_cost_nano_usd=15_000_000)) is None
    found = against(one, asked=need(1_000, max_cost_nano_usd=14_999_999))
    assert found == (Rejection.BUDGET, "may cost $0.015, max_cost leaves $0.014999999")
    left = HopLimits(max_cost_nano_usd=10)
    assert against(one, asked=need(1_000, max_cost_nano_usd=USD), hop=left) is not None


def test_the_output_cap_is_the_smallest_of_the_callers_the_models_the_windows_and_the_moneys() -> None:
    one = model(window=10_000, max_output=4_000, cost=price(10, 20))
    assert output_cap(one, need(1_000)) == 4_000
    assert output_cap(one, need(1_000, 9_000)) == 4_000
    assert output_cap(one, need(1_000, 300)) == 300
    assert output_cap(one, need(7_500)) == 2_500
    assert output_cap(one, need(1_000), max_cost_nano_usd=10_000_000 + 20_000 * 700) == 700
    assert output_cap(one, need(1_000), max_cost_nano_usd=5) == 1
    assert output_cap(model(cost=FREE), need(1_000), max_cost_nano_usd=0) == 4_000


def test_a_reservation_holds_the_output_cap_or_where_none_was_asked_for_the_roles_p95() -> None:
    one = model(max_output=4_000, cost=price(10))
    assert reservation(one, need(1_000), snapshot()) == 50_000_000
    assert reservation(one, need(1_000), snapshot(reserve_output_tokens=1_000)) == 20_000_000
    assert reservation(one, need(1_000, 2_000), snapshot(reserve_output_tokens=1_000)) == 30_000_000
    assert reservation(model(cost=None), need(), snapshot()) is None


def test_writing_the_cache_and_long_context_are_in_the_worst_case() -> None:
    long = Price(4 * USD, 8 * USD, None, 5 * USD)
    one = model(cost=Price(2 * USD, 4 * USD, USD, 3 * USD, (LongContextPrice(10_000, long),)))
    assert worst_case_cost(one, 10_000, 1_000) == 34_000_000
    assert worst_case_cost(one, 10_001, 1_000) == 58_005_000
    assert estimate_cost(one, need(10_001), 1_000) == 48_004_000


def test_an_answer_is_expected_within_the_callers_and_the_models_cap() -> None:
    assert expected_output(model(), need(), 500) == 500
    assert expected_output(model(), need(1, 100), 500) == 100
    assert expected_output(model(), need(1, 900), 500) == 500
    assert expected_output(model(max_output=50), need(1, 900), 500) == 50


def test_where_only_headroom_is_missing_the_rejection_says_scarce() -> None:
    budget = BudgetState(USD, 5, 5)
    target = Target(model(cost=price(10)), 1)
    scarce = check(target, ANYTHING, need(), snapshot(budget=budget))
    assert scarce is not None
    assert scarce.scarce
    down = {"p": ProviderState(ProviderStatus.UNHEALTHY)}
    both = check(target, ANYTHING, need(), snapshot(budget=budget, providers=down))
    assert both is not None
    assert both.rejection is Rejection.BUDGET
    assert not both.scarce


def test_the_rejection_says_until_when_it_holds_where_that_is_known() -> None:
    limited = check(
        Target(model(), 1), ANYTHING, need(), snapshot(providers={"p": ProviderState(limited_until_s=1012.0)})
    )
    assert limited is not None
    assert limited.until_s == 1012.0


def test_the_longest_of_several_waits_counts_and_unhealthy_is_worst() -> None:
    opened = ModelState(circuit=Circuit.OPEN, open_until_s=1010.0)
    assert badness(opened, ProviderState(limited_until_s=1020.0), 1000.0) == (3, 20.0)
    assert badness(ModelState(limited_until_s=990.0), ProviderState(), 1000.0) == (0, 0.0)
    assert badness(opened, ProviderState(ProviderStatus.UNHEALTHY), 1000.0) == (4, 0.0)


def test_the_window_the_money_and_the_score_are_measured_in_the_models_own_tokens() -> None:
    one = model(window=3_000, cost=price(1.0))
    asked = need(2_000, 500)
    assert against(one, asked=asked) is None
    longer = replace(snapshot(), token_lines={"m": TokenLine(1.25, 100.0)})
    detail = "needs 2,600 tokens and 500 for the answer, window 3,000"
    assert against(one, asked=asked, seen=longer) == (Rejection.CONTEXT_TOO_LONG, detail)
    roomy = model(window=100_000, cost=price(1.0))
    poor = replace(longer, budget=BudgetState(headroom_nano_usd=3_000_000))
    assert against(roomy, asked=asked, seen=replace(poor, token_lines={})) is None
    assert against(roomy, asked=asked, seen=poor) == (
        Rejection.BUDGET,
        "may cost $0.0031, budget headroom $0.003",
    )
