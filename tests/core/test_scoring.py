"""The score by ROUTING's formula, on numbers worked out by hand, and the order of what is not eligible."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from atlas_sidecar.core.scarcity import thrifty_pick
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import (
    BudgetState,
    Candidate,
    Circuit,
    Complexity,
    Decision,
    ModelState,
    Need,
    ProviderState,
    ProviderStatus,
    Rejection,
    Requirements,
    Snapshot,
    Target,
    Weights,
)
from tests.core.builders import ANYTHING, USD, WEIGHTS, model, need, price, snapshot, targets

HIGH, MEDIUM, LOW = WEIGHTS[Complexity.HIGH], WEIGHTS[Complexity.MEDIUM], WEIGHTS[Complexity.LOW]
EQUAL = Weights(0.25, 0.25, 0.25, 0.25, 1.0)


def decide(
    role_targets: tuple[Target, ...],
    seen: Snapshot | None = None,
    weights: Weights = HIGH,
    requirements: Requirements = ANYTHING,
    asked: Need | None = None,
    tier_factor: float = 0.9,
) -> Decision:
    return rank("worker", role_targets, requirements, asked or need(), seen or snapshot(), weights, "d", tier_factor)


def candidate(decision: Decision, name: str) -> Candidate:
    return next(one for one in decision.candidates if one.target.model.ref.id == name)


def names(decision: Decision) -> list[str]:
    return [target.model.ref.id for target in decision.order]


def test_the_score_is_the_weighted_terms_times_success_rate_and_tier_factor() -> None:
    seen = snapshot(
        models={"b": ModelState(success_rate=0.9, reliability=0.8, latency_ratio=0.5)},
        providers={"p": ProviderState(reliability=0.95, in_flight=5, concurrency_limit=10)},
    )
    role = (
        *targets(model("a", cost=price(1))),
        Target(model("b", reasoning=7, speed=6, cost=price(3)), 3),
        *targets(model("c", cost=price(9))),
    )
    found = candidate(decide(role, seen, MEDIUM), "b")
    relative = math.log(7_501_000 / 2_501_000) / math.log(22_501_000 / 2_501_000)
    assert found.reasoning == 7
    assert found.reliability == pytest.approx(8)
    assert found.cost_efficiency == pytest.approx(10 * (1 - 0.3 * relative))
    assert found.speed == pytest.approx(6 * 0.5 * 0.75)
    terms = 7 * 0.3 + 8 * 0.2 + found.cost_efficiency * 0.3 + found.speed * 0.2
    assert found.score == pytest.approx(terms * 0.9 * 0.9**2)
    assert found.estimated_cost_nano_usd == 7_500_000


def test_reliability_is_the_worse_of_the_models_and_the_providers() -> None:
    role = targets(model("a"))
    seen = snapshot(models={"a": ModelState(reliability=0.9)}, providers={"p": ProviderState(reliability=0.4)})
    assert decide(role, seen).candidates[0].reliability == pytest.approx(4)


def test_a_full_concurrency_limit_halves_speed_and_a_price_difference_below_two_is_not_blown_up() -> None:
    role = targets(model("a", cost=price(1)), model("b", cost=price(1.1)))
    found = candidate(decide(role, weights=LOW), "b")
    assert found.cost_efficiency == pytest.approx(10 * (1 - math.log(2_751_000 / 2_501_000) / math.log(2)))
    assert found.cost_efficiency > 8


def test_every_use_case_that_a_model_lists_and_the_request_names_adds_half_a_point_before_the_multiplications() -> None:
    role = targets(model("a", use_cases=("x", "y")), model("b", use_cases=("x", "y", "z")))
    plain = decide(role)
    asked = decide(role, requirements=Requirements(use_cases=("x", "z", "other")))
    assert candidate(asked, "a").score == pytest.approx(candidate(plain, "a").score + 0.5)
    assert candidate(asked, "b").score == pytest.approx(candidate(plain, "b").score + 1.0 * 0.9)


def test_a_sessions_last_model_gets_ten_percent_while_it_is_eligible() -> None:
    role = targets(model("a"), model("b"))
    plain, warm = decide(role), decide(role, snapshot(affinity="b"))
    assert candidate(warm, "b").score == pytest.approx(candidate(plain, "b").score * 1.1)
    assert warm.affinity_applied
    assert not plain.affinity_applied
    gone = decide(role, snapshot(affinity="b"), requirements=Requirements(exclude_models=("b",)))
    assert not gone.affinity_applied


def test_ties_go_to_the_cheaper_then_to_the_lower_tier_then_to_the_earlier_id() -> None:
    ignoring_price = replace(HIGH, cost=0.0)
    role = (
        Target(model("d", cost=None), 1),
        Target(model("c", cost=price(2)), 1),
        Target(model("b", cost=price(1)), 2),
        Target(model("z", cost=price(1)), 1),
        Target(model("a", cost=price(1)), 1),
    )
    assert names(decide(role, weights=ignoring_price, tier_factor=1.0)) == ["a", "z", "b", "c", "d"]


def test_an_unknown_price_counts_as_the_dearest_and_is_rejected_only_under_a_finite_budget() -> None:
    role = targets(model("a", cost=price(1)), model("b", cost=price(9)), model("c", cost=None))
    free = decide(role, weights=LOW)
    assert candidate(free, "c").cost_efficiency == candidate(free, "b").cost_efficiency == 0
    assert candidate(free, "c").rejection is None
    assert candidate(free, "c").estimated_cost_nano_usd is None
    limited = decide(role, snapshot(budget=BudgetState(100 * USD, 90 * USD, 90 * USD)), LOW)
    assert candidate(limited, "c").rejection is Rejection.NO_PRICE
    capped = decide(role, asked=need(max_cost_nano_usd=USD))
    assert candidate(capped, "c").rejection is Rejection.NO_PRICE


def test_cost_optimization_begins_below_a_fifth_of_the_budget() -> None:
    role = targets(model("a", cost=price(10)), model("b", cost=price(1)))
    at_a_fifth = decide(role, snapshot(budget=BudgetState(100 * USD, 20 * USD, 20 * USD)))
    below = decide(role, snapshot(budget=BudgetState(100 * USD, 20 * USD - 1, 20 * USD)))
    assert not at_a_fifth.cost_optimization
    assert candidate(at_a_fifth, "a").cost_efficiency == 10
    assert below.cost_optimization
    assert candidate(below, "a").cost_efficiency == 0
    assert below.remaining_nano_usd == 20 * USD - 1


def test_price_counts_for_hard_work_as_far_as_the_fair_share_does_not_carry_the_dearest_model() -> None:
    role = targets(model("a", cost=price(8)), model("b", cost=price(1)))
    dearest = 2_500 * 8_000
    requests = 50 * USD / (0.75 * (dearest + 1_000))
    found = decide(role, snapshot(budget=BudgetState(100 * USD, 50 * USD, 50 * USD, requests)))
    assert candidate(found, "a").cost_efficiency == pytest.approx(10 * (1 - 0.25))
    assert candidate(found, "b").cost_efficiency == 10
    roomy = decide(role, snapshot(budget=BudgetState(100 * USD, 50 * USD, 50 * USD, 1)))
    assert candidate(roomy, "a").cost_efficiency == 10


def test_a_model_that_only_the_headroom_rejects_still_counts_when_prices_are_compared() -> None:
    role = targets(model("a", cost=price(100)), model("b", cost=price(10)), model("c", cost=price(1)))
    roomy = decide(role, snapshot(budget=BudgetState(USD, USD, USD)), LOW)
    tight = decide(role, snapshot(budget=BudgetState(USD, USD, USD // 2)), LOW)
    assert candidate(tight, "a").rejection is Rejection.BUDGET
    assert candidate(roomy, "a").rejection is None
    assert candidate(tight, "b").score == candidate(roomy, "b").score
    without = decide(role, requirements=Requirements(exclude_models=("a",)), weights=LOW)
    assert candidate(without, "b").cost_efficiency == 0 < candidate(tight, "b").cost_efficiency


def test_scarcity_does_not_move_the_pick_to_a_dearer_model_whose_score_merely_falls_more_slowly() -> None:
    weights = Weights(0.5, 0.0, 0.4, 0.0, 0.0)
    dear = model("dear", reasoning=10, cost=price(10))
    middle = model("middle", reasoning=2, cost=price(2))
    role = tuple(Target(one, 1) for one in (dear, middle, model("free", reasoning=0)))
    states = {"dear": ModelState(success_rate=0.5), "free": ModelState(success_rate=0.1)}
    roomy = decide(role, snapshot(models=states), weights)
    scarce = decide(role, snapshot(models=states, budget=BudgetState(100 * USD, USD, USD)), weights)
    assert names(roomy)[0] == "middle"
    assert names(scarce)[0] == "middle"
    assert candidate(scarce, "dear").score == candidate(scarce, "middle").score  # cut to the pick's: 2.5 by the formula


def test_the_walk_takes_each_cheaper_overtaker_in_turn_and_stops_where_the_rise_ends() -> None:
    lines = [(10.0, 8.0, 9.0), (9.0, 4.0, 5.0), (7.0, 1.0, 1.0), (8.0, 0.0, 20.0)]
    assert thrifty_pick(lines, 0.2) == 0
    assert thrifty_pick(lines, 0.25) == 1
    assert thrifty_pick(lines, 0.6) == 1
    assert thrifty_pick(lines, 1.0) == 2  # the dearer fourth leads from 0.25 on, and is never picked


def test_one_candidate_and_no_candidate_are_decisions_too() -> None:
    alone = decide(targets(model("a", cost=price(5))), weights=EQUAL)
    assert names(alone) == ["a"]
    assert alone.candidates[0].cost_efficiency == 10
    nothing = decide(())
    assert nothing.candidates == ()
    assert nothing.order == ()
    assert nothing.selected is None
    assert not nothing.last_resort


def test_when_only_the_moment_is_against_all_models_the_least_bad_one_is_the_last_resort() -> None:
    role = tuple(Target(model(name, provider=name), 1) for name in ("a", "b", "c", "d", "e", "f"))
    seen = snapshot(
        models={"c": ModelState(circuit=Circuit.HALF_OPEN, probe_free=False)},
        providers={
            "a": ProviderState(status=ProviderStatus.UNHEALTHY),
            "b": ProviderState(limited_until_s=1_060.0),
            "d": ProviderState(in_flight=4, concurrency_limit=4),
            "e": ProviderState(circuit=Circuit.OPEN, open_until_s=1_030.0),
            "f": ProviderState(requests_remaining=10),
        },
    )
    found = decide(role, seen)
    assert found.last_resort
    assert names(found) == ["f"]
    assert [c.target.model.ref.id for c in found.candidates] == ["f", "c", "d", "e", "b", "a"]
    assert [c.rejection for c in found.candidates] == [
        Rejection.RATE_LIMITED,
        Rejection.CIRCUIT_OPEN,
        Rejection.OVERLOADED,
        Rejection.CIRCUIT_OPEN,
        Rejection.RATE_LIMITED,
        Rejection.PROVIDER_UNHEALTHY,
    ]


def test_what_is_wrong_for_good_is_no_last_resort() -> None:
    role = targets(model("a", window=1_000), model("b", provider="q", retired="2026-11-23"))
    seen = snapshot(providers={"p": ProviderState(circuit=Circuit.OPEN, open_until_s=1_001.0)})
    found = decide(role, seen)
    assert found.order == ()
    assert not found.last_resort
    assert {c.rejection for c in found.candidates} == {Rejection.CONTEXT_TOO_LONG, Rejection.RETIRED}


def test_what_cannot_be_paid_is_no_last_resort_either() -> None:
    seen = snapshot(
        models={"a": ModelState(circuit=Circuit.OPEN, open_until_s=1_001.0)}, budget=BudgetState(100 * USD, 5, 5)
    )
    found = decide(targets(model("a", cost=price(1))), seen)
    assert found.order == ()
    assert found.candidates[0].rejection is Rejection.BUDGET


def test_the_decision_names_what_it_was_made_from() -> None:
    found = rank("supervisor", targets(model("a")), ANYTHING, need(), snapshot(), HIGH, "some-id")
    assert (found.decision_id, found.role, found.weights, found.config_version) == ("some-id", "supervisor", HIGH, "v1")
    assert found.remaining_nano_usd is None
