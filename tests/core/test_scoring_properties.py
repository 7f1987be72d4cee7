"""What selection must hold for any request, models and evidence."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atlas_sidecar.core.availability import SOFT
from atlas_sidecar.core.calibration import calibrated
from atlas_sidecar.core.costs import estimate_cost, reservation
from atlas_sidecar.core.eligibility import check
from atlas_sidecar.core.money import TOKENS_PER_MILLION
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import (
    BudgetState,
    Candidate,
    Decision,
    Model,
    ModelRef,
    ModelState,
    Need,
    Requirements,
    Snapshot,
    Target,
    TokenLine,
    Weights,
)
from tests.core import strategies as any_
from tests.core.builders import ANYTHING, USD

ROOMY = Need(1_000, 500)
healthy = any_.snapshots(any_.healthy_model_states, any_.healthy_provider_states, st.just(BudgetState()))


def decide(
    targets: tuple[Target, ...],
    snapshot: Snapshot,
    weights: Weights,
    requirements: Requirements = ANYTHING,
    need: Need = ROOMY,
) -> Decision:
    return rank("worker", targets, requirements, need, snapshot, weights, "decision")


@settings(max_examples=60)
@given(any_.target_lists(), any_.requirements, any_.needs, any_.snapshots(), any_.weights)
def test_the_same_request_and_snapshot_give_the_same_decision_but_for_its_id(
    targets: tuple[Target, ...], requirements: Requirements, need: Need, snapshot: Snapshot, weights: Weights
) -> None:
    first = rank("worker", targets, requirements, need, snapshot, weights, "one")
    again = rank("worker", targets[::-1], requirements, need, snapshot, weights, "two")
    assert replace(again, decision_id="one") == first


def counted(model: Model, need: Need, snapshot: Snapshot) -> Need:
    """Return the need in the model's own tokens."""
    line = snapshot.token_lines.get(model.ref.id)
    return need if line is None else replace(need, input_tokens=calibrated(line, need.input_tokens))


@settings(max_examples=60)
@given(any_.target_lists(), any_.requirements, any_.needs, any_.snapshots(), any_.weights)
def test_every_target_is_a_candidate_with_finite_terms_in_range(
    targets: tuple[Target, ...], requirements: Requirements, need: Need, snapshot: Snapshot, weights: Weights
) -> None:
    decision = decide(targets, snapshot, weights, requirements, need)
    assert {c.target.model.ref.id for c in decision.candidates} == {t.model.ref.id for t in targets}
    assert len(decision.candidates) == len(targets)
    for one in decision.candidates:
        for term in (one.reasoning, one.reliability, one.cost_efficiency, one.speed):
            assert 0 <= term <= 10
        assert 0 <= one.success_rate <= 1
        assert math.isfinite(one.score)
        assert 0 <= one.score <= 1.1 * (40 + 2 * 0.5)
        own = counted(one.target.model, need, snapshot)
        assert one.estimated_cost_nano_usd == estimate_cost(one.target.model, own, snapshot.expected_output_tokens)
        assert (one.rejection is None) == (one.rejection_detail == "")


@settings(max_examples=60)
@given(any_.target_lists(), any_.requirements, any_.needs, any_.snapshots(), any_.weights)
def test_a_rejected_model_is_never_selected_but_as_the_last_resort(
    targets: tuple[Target, ...], requirements: Requirements, need: Need, snapshot: Snapshot, weights: Weights
) -> None:
    decision = decide(targets, snapshot, weights, requirements, need)
    rejection = {c.target.model.ref.id: c.rejection for c in decision.candidates}
    tried = [rejection[target.model.ref.id] for target in decision.order]
    eligible = [c for c in decision.candidates if c.rejection is None]
    if decision.last_resort:
        assert len(tried) == 1
        assert tried[0] in SOFT
        assert not eligible
    else:
        assert tried == [None] * len(eligible)
        assert bool(eligible) or not any(c.rejection in SOFT for c in decision.candidates)


@settings(max_examples=60)
@given(any_.target_lists(), any_.requirements, any_.needs, any_.snapshots(), any_.weights)
def test_selection_and_the_check_before_a_hop_agree(
    targets: tuple[Target, ...], requirements: Requirements, need: Need, snapshot: Snapshot, weights: Weights
) -> None:
    for one in decide(targets, snapshot, weights, requirements, need).candidates:
        again = check(one.target, requirements, need, snapshot)
        assert (again.rejection, again.detail) == (one.rejection, one.rejection_detail) if again else not one.rejection


@settings(max_examples=60)
@given(any_.target_lists(), any_.requirements, any_.needs, any_.snapshots(), any_.weights)
def test_candidates_and_order_go_from_best_to_worst(
    targets: tuple[Target, ...], requirements: Requirements, need: Need, snapshot: Snapshot, weights: Weights
) -> None:
    decision = decide(targets, snapshot, weights, requirements, need)
    eligible = [c for c in decision.candidates if c.rejection is None]
    assert list(decision.candidates[: len(eligible)]) == eligible
    assert [c.score for c in eligible] == sorted((c.score for c in eligible), reverse=True)
    if eligible:
        assert decision.order == tuple(c.target for c in eligible)


def _twin(
    target: Target, state: ModelState, cheaper: int, gains: tuple[float, float, float, float]
) -> tuple[Target, ModelState]:
    """Return a model of the same tier and provider that is at least as good in every term, and strictly cheaper."""
    model = target.model
    assert model.price is not None
    price = replace(model.price, input=model.price.input - cheaper, cache_write=None, cache_read=None)
    up = [
        lambda value, gain=gain, top=top: value + (top - value) * gain
        for gain, top in zip(gains, (10, 10, 1, 1), strict=True)
    ]
    better = replace(
        model,
        ref=ModelRef("z", model.ref.provider, "z"),
        reasoning_score=min(10.0, up[0](model.reasoning_score)),
        speed_score=min(10.0, up[1](model.speed_score)),
        price=price,
    )
    stronger = replace(
        state,
        reliability=min(1.0, up[2](state.reliability)),
        success_rate=min(1.0, up[3](state.success_rate)),
    )
    return Target(better, target.tier), stronger


@given(
    any_.target_lists(any_.flat_prices),
    healthy,
    any_.weights,
    any_.unit,
    st.tuples(any_.unit, any_.unit, any_.unit, any_.unit),
    st.booleans(),
)
def test_within_a_tier_what_is_as_good_in_every_term_and_cheaper_never_ranks_lower(
    targets: tuple[Target, ...],
    snapshot: Snapshot,
    weights: Weights,
    share: float,
    gains: tuple[float, float, float, float],
    scarce: bool,
) -> None:
    first = targets[0]
    least = TOKENS_PER_MILLION // ROOMY.input_tokens  # below a nano-dollar nothing is cheaper
    assume(first.model.price is not None and first.model.price.input >= least)
    assume(weights.price_sensitivity > 0)
    assert first.model.price is not None
    cheaper = least + int(share * (first.model.price.input - least))
    state = snapshot.models.get(first.model.ref.id, ModelState())
    twin, stronger = _twin(first, state, cheaper, gains)
    budget = BudgetState(100 * USD, 10 * USD, 100_000 * USD) if scarce else BudgetState()
    lines = {**snapshot.token_lines}
    if (line := lines.get(first.model.ref.id)) is not None:
        # Both count alike, and no less than was estimated: what is cheaper a token is then so by a nano-dollar.
        lines["z"] = lines[first.model.ref.id] = TokenLine(max(line.slope, 1.0), max(line.overhead, 0.0))
    seen = replace(
        snapshot, models={**snapshot.models, "z": stronger}, budget=budget, affinity_model="", token_lines=lines
    )
    decision = decide((*targets, twin), seen, weights)
    names = [target.model.ref.id for target in decision.order]
    if first.model.ref.id in names:
        assert names.index("z") < names.index(first.model.ref.id)


def _paid(decision: Decision) -> Candidate | None:
    """Return the selected candidate, if there is one."""
    return decision.candidates[0] if decision.order else None


@settings(max_examples=200)
@given(
    any_.target_lists(any_.flat_prices),
    healthy,
    any_.weights,
    st.integers(1, 100 * USD),
    st.tuples(st.integers(0, 100 * USD), st.integers(0, 100 * USD)).map(sorted),
    st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)).map(sorted),
)
def test_a_scarcer_budget_never_moves_the_pick_to_a_dearer_model(
    targets: tuple[Target, ...],
    snapshot: Snapshot,
    weights: Weights,
    limit: int,
    remaining: list[int],
    requests: list[float],
) -> None:
    picks = []
    for left, expected in ((None, 1.0), (remaining[1], requests[0]), (remaining[0], requests[1])):
        budget = BudgetState() if left is None else BudgetState(limit, left, 10**18, expected)
        picks.append(_paid(decide(targets, replace(snapshot, budget=budget), weights)))
    costs = [pick.estimated_cost_nano_usd for pick in picks if pick is not None]
    assert len(costs) in {0, 3}
    assert costs == sorted(costs, key=lambda cost: -(cost or 0))


@settings(max_examples=150)
@given(
    any_.target_lists(any_.flat_prices),
    healthy,
    any_.weights,
    st.tuples(st.integers(0, USD), st.integers(0, USD)).map(sorted),
    st.floats(1, 1e5),
)
def test_less_headroom_moves_the_pick_to_a_dearer_model_only_if_the_cheaper_ones_reserve_more(
    targets: tuple[Target, ...], snapshot: Snapshot, weights: Weights, left: list[int], requests: float
) -> None:
    need = Need(1_000, 500)
    roomy, tight = (
        _paid(decide(targets, replace(snapshot, budget=BudgetState(USD, money, money, requests)), weights, need=need))
        for money in (left[1], left[0])
    )
    assert roomy is not None or tight is None
    if roomy is not None and tight is not None:
        dearer = (tight.estimated_cost_nano_usd or 0) > (roomy.estimated_cost_nano_usd or 0)
        own = counted(roomy.target.model, need, snapshot)
        still_paid = (reservation(roomy.target.model, own, snapshot) or 0) <= left[0]
        assert not (dearer and still_paid)


@given(any_.target_lists(any_.any_price), healthy, any_.weights)
def test_free_models_unknown_prices_and_single_candidates_all_get_a_decision_without_a_limit(
    targets: tuple[Target, ...], snapshot: Snapshot, weights: Weights
) -> None:
    decision = decide(targets, snapshot, weights)
    for one in decision.candidates:
        if one.estimated_cost_nano_usd is None:
            assert one.cost_efficiency == 10 * (1 - weights.price_sensitivity)
            assert one.rejection is None or one.rejection.name != "NO_PRICE"
    alone = decide(targets[:1], snapshot, weights).candidates[0]
    if alone.estimated_cost_nano_usd is not None:
        assert alone.cost_efficiency == 10
