"""Which model should serve, and why: `rank(role, targets, requirements, need, snapshot, weights, ...) -> Decision`.

    score = (reasoning*w_r + reliability*w_rel + cost_efficiency*w_c + speed*w_s) * success_rate * tier_factor**(tier-1)

Rules kept here (the formula and its terms: ROUTING.md, Score):
- Pure: the same request and snapshot give the same decision, but for its id. Every model of the role is in it, with its
  terms, and, where it may not serve, with the reason.
- Ties: cheaper, then tier, then id. An unknown price counts as the dearest.
- Scarcity only ever moves towards cheaper: prices are compared among the models that are eligible but for the budget's
  headroom, so that a shrinking budget does not change the scale; and where a dearer model's score would pass the pick's
  only because of scarcity (scarcity.py), its score is cut to the pick's.
- If nothing is eligible only because of health, limits or circuits, the least bad one is tried (eligibility.badness).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

from atlas_sidecar.core.availability import SOFT, UNSEEN_MODEL, ProviderView, Rejected, badness
from atlas_sidecar.core.calibration import calibrated
from atlas_sidecar.core.costs import estimate_cost
from atlas_sidecar.core.eligibility import Eligibility
from atlas_sidecar.core.scarcity import Line, effective_sensitivity, is_cost_optimization, thrifty_pick
from atlas_sidecar.core.types import (
    Candidate,
    Decision,
    ModelState,
    Need,
    Requirements,
    Snapshot,
    Target,
    Weights,
)

E_NANO_USD: Final = 1_000  # ROUTING.md's e, 1 micro-USD: free models work, tiny differences stay tiny
USE_CASE_BONUS: Final = 0.5
AFFINITY_FACTOR: Final = 1.1
_LOG_2: Final = math.log(2.0)
_new: Final = tuple.__new__  # half the time of Candidate(...), which is a Python function

# One target before prices are compared: what is known of it, why it may not serve, what it is likely to cost.
_Row: TypeAlias = tuple[Target, ModelState, ProviderView, Rejected | None, int | None]
# One target scored: -score, cost, tier, id (the order, best first), its row's number, and what _lines needs.
_Scored: TypeAlias = tuple[float, float, int, str, int, Candidate, tuple[float, float, float]]


def rank(
    role: str,
    targets: Sequence[Target],
    requirements: Requirements,
    need: Need,
    snapshot: Snapshot,
    weights: Weights,
    decision_id: str,
    tier_factor: float = 0.9,
) -> Decision:
    """Return the decision: every target scored or rejected, and the order in which to try the eligible ones."""
    rows = _rows(targets, requirements, need, snapshot)
    prices = _Prices(rows, snapshot, weights)
    eligible, rejected = _score(rows, prices, requirements, snapshot.affinity_model, weights, tier_factor)
    eligible.sort()
    rejected.sort()
    first, last_resort = _in_order(eligible, prices, weights), False
    if not eligible:
        first = _least_bad_first(rejected, rows, snapshot.now_s)
        last_resort = bool(first)
        rejected = [one for one in rejected if one[5].rejection not in SOFT]
    order = first[:1] if last_resort else first
    return Decision(
        decision_id=decision_id,
        candidates=(*first, *[one[5] for one in rejected]),
        order=tuple([candidate.target for candidate in order]),
        weights=weights,
        role=role,
        cost_optimization=is_cost_optimization(snapshot.budget),
        remaining_nano_usd=snapshot.budget.remaining_nano_usd,
        config_version=snapshot.config_version,
        affinity_applied=bool(snapshot.affinity_model) and any(one[3] == snapshot.affinity_model for one in eligible),
        last_resort=last_resort,
    )


def _rows(targets: Sequence[Target], requirements: Requirements, need: Need, snapshot: Snapshot) -> list[_Row]:
    test = Eligibility(requirements, need, snapshot)
    check, provider, models, expected = test.check, test.provider, snapshot.models, snapshot.expected_output_tokens
    line_of, estimated = snapshot.token_lines.get, need.input_tokens
    rows: list[_Row] = []
    for target in targets:
        model = target.model
        state = models.get(model.ref.id, UNSEEN_MODEL)
        view = provider(model.ref.provider)
        line = line_of(model.ref.id)
        tokens = estimated if line is None else calibrated(line, estimated)
        cost = estimate_cost(model, need, expected, tokens)
        rows.append((target, state, view, check(model, state, view, tokens), cost))
    return rows


class _Prices:
    """How prices become 0..1 in this decision, relative_price = (ln(c + e) - floor) / span, and how much they count."""

    __slots__ = ("floor", "rise", "sensitivity", "span")

    def __init__(self, rows: Sequence[_Row], snapshot: Snapshot, weights: Weights) -> None:
        costs = [row[4] for row in rows if row[4] is not None and (row[3] is None or row[3].scarce)]
        if not costs:  # nothing to choose from: compare all, so that the terms still say something
            costs = [row[4] for row in rows if row[4] is not None] or [0]
        dearest = max(costs)
        self.floor = math.log(min(costs) + E_NANO_USD)
        self.span = max(math.log(dearest + E_NANO_USD) - self.floor, _LOG_2)
        self.sensitivity = effective_sensitivity(weights.price_sensitivity, snapshot.budget, dearest, E_NANO_USD)
        self.rise = self.sensitivity - weights.price_sensitivity


def _score(
    rows: Sequence[_Row],
    prices: _Prices,
    requirements: Requirements,
    affinity_model: str,
    weights: Weights,
    tier_factor: float,
) -> tuple[list[_Scored], list[_Scored]]:
    """Return every target's terms and score, eligible and rejected. One loop: each call in it counts thirty times."""
    w_reasoning, w_reliability, w_cost, w_speed = weights.reasoning, weights.reliability, weights.cost, weights.speed
    floor, span, sensitivity, log = prices.floor, prices.span, prices.sensitivity, math.log
    use_cases = frozenset(requirements.use_cases)
    eligible: list[_Scored] = []
    rejected_ones: list[_Scored] = []
    for number, (target, state, view, rejected, cost) in enumerate(rows):
        model, tier = target.model, target.tier
        relative = 1.0
        if cost is not None:
            relative = (log(cost + E_NANO_USD) - floor) / span
            relative = 0.0 if relative < 0.0 else 1.0 if relative > 1.0 else relative
        efficiency = 10.0 * (1.0 - sensitivity * relative)
        reliability, provider_reliability = state.reliability, view.state.reliability
        reliability = 10.0 * (reliability if reliability < provider_reliability else provider_reliability)
        reasoning, speed = model.reasoning_score, model.speed_score * state.latency_ratio * view.load
        merit = reasoning * w_reasoning + reliability * w_reliability + speed * w_speed
        if use_cases:
            merit += USE_CASE_BONUS * len(use_cases.intersection(model.use_cases))
        success_rate = multiplier = state.success_rate
        if tier > 1:
            multiplier *= tier_factor ** (tier - 1)
        model_id = model.ref.id
        if model_id == affinity_model:
            multiplier *= AFFINITY_FACTOR
        score = (merit + efficiency * w_cost) * multiplier
        kind, detail = (None, "") if rejected is None else (rejected.rejection, rejected.detail)
        terms = (target, score, reasoning, reliability, efficiency, speed, success_rate, cost, kind, detail)
        candidate = _new(Candidate, terms)
        dearness = math.inf if cost is None else cost
        one = (-score, dearness, tier, model_id, number, candidate, (merit, relative, multiplier))
        (eligible if rejected is None else rejected_ones).append(one)
    return eligible, rejected_ones


def _in_order(eligible: Sequence[_Scored], prices: _Prices, weights: Weights) -> list[Candidate]:
    """Return the eligible ones, best first; `eligible` is sorted by score."""
    candidates = [one[5] for one in eligible]
    # No need to walk where price counts as ever, or where the best is also the cheapest.
    if prices.rise <= 0.0 or not eligible or eligible[0][1] <= min([one[1] for one in eligible]):
        return candidates
    pick = thrifty_pick(_lines(eligible, weights), prices.rise)
    if pick == 0:
        return candidates
    first = candidates.pop(pick)
    return [first, *[one if one.score <= first.score else one._replace(score=first.score) for one in candidates]]


def _lines(eligible: Sequence[_Scored], weights: Weights) -> list[Line]:
    """Return each one's score without scarcity, how fast it falls with g', and its cost."""
    own, weight = weights.price_sensitivity, 10.0 * weights.cost
    return [
        ((merit + weight * (1.0 - own * relative)) * multiplier, weight * relative * multiplier, cost)
        for _, cost, _, _, _, _, (merit, relative, multiplier) in eligible
    ]


def _least_bad_first(rejected: Sequence[_Scored], rows: Sequence[_Row], now_s: float) -> list[Candidate]:
    waiting = []
    for one in rejected:
        if one[5].rejection in SOFT:
            _, state, view, _, _ = rows[one[4]]
            waiting.append((badness(state, view.state, now_s), one))
    return [one[5] for _, one in sorted(waiting)]
