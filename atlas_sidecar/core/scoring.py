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
from dataclasses import replace
from typing import Final, NamedTuple

from atlas_sidecar.core.eligibility import (
    SOFT,
    UNSEEN_MODEL,
    UNSEEN_PROVIDER,
    Eligibility,
    Rejected,
    badness,
    estimate_cost,
)
from atlas_sidecar.core.scarcity import Line, effective_sensitivity, is_cost_optimization, thrifty_pick
from atlas_sidecar.core.types import (
    Candidate,
    Decision,
    Model,
    ModelState,
    Need,
    ProviderState,
    Requirements,
    Snapshot,
    Target,
    Weights,
)

E_NANO_USD: Final = 1_000  # ROUTING.md's e, 1 micro-USD: free models work, tiny differences stay tiny
USE_CASE_BONUS: Final = 0.5
AFFINITY_FACTOR: Final = 1.1
_LOG_2: Final = math.log(2.0)


class _Row(NamedTuple):
    """What is known of one target before prices are compared."""

    target: Target
    state: ModelState
    provider: ProviderState
    rejected: Rejected | None
    cost: int | None


class _Scored(NamedTuple):
    """One target scored. `merit` and `relative_price` give its score at any sensitivity."""

    row: _Row
    candidate: Candidate
    merit: float
    relative_price: float
    multiplier: float


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
    scorer = _Scorer(rows, requirements, snapshot, weights, tier_factor)
    scored = [scorer.score(row) for row in rows]
    eligible = [one for one in scored if one.row.rejected is None]
    rejected = [one for one in scored if one.row.rejected is not None]
    last_resort = False
    if eligible:
        candidates = _in_order(eligible, scorer)
        order = tuple([candidate.target for candidate in candidates])
    else:
        candidates = _least_bad_first(rejected, snapshot.now_s)
        last_resort = bool(candidates)
        order = tuple([candidate.target for candidate in candidates[:1]])
        rejected = [one for one in rejected if one.row.rejected is None or one.row.rejected.rejection not in SOFT]
    if rejected:
        candidates += [one.candidate for one in sorted(rejected, key=_best_first)]
    return Decision(
        decision_id=decision_id,
        candidates=tuple(candidates),
        order=order,
        weights=weights,
        role=role,
        cost_optimization=is_cost_optimization(snapshot.budget),
        remaining_nano_usd=snapshot.budget.remaining_nano_usd,
        config_version=snapshot.config_version,
        affinity_applied=any(one.row.target.model.ref.id == snapshot.affinity_model for one in eligible),
        last_resort=last_resort,
    )


def _rows(targets: Sequence[Target], requirements: Requirements, need: Need, snapshot: Snapshot) -> list[_Row]:
    check = Eligibility(requirements, need, snapshot).check
    models, providers = snapshot.models, snapshot.providers
    expected = snapshot.expected_output_tokens
    rows = []
    for target in targets:
        model = target.model
        state = models.get(model.ref.id, UNSEEN_MODEL)
        provider = providers.get(model.ref.provider, UNSEEN_PROVIDER)
        rejected = check(model, state, provider)
        rows.append(_Row(target, state, provider, rejected, estimate_cost(model, need, expected)))
    return rows


class _Scorer:
    """The formula, with everything that does not depend on the model resolved."""

    __slots__ = ("_affinity", "_floor", "_rise", "_sensitivity", "_span", "_tier_factor", "_use_cases", "_weights")

    def __init__(
        self, rows: Sequence[_Row], requirements: Requirements, snapshot: Snapshot, weights: Weights, tier_factor: float
    ) -> None:
        costs = [row.cost for row in rows if row.cost is not None and (row.rejected is None or row.rejected.scarce)]
        if not costs:  # nothing to choose from: compare all, so that the terms still say something
            costs = [row.cost for row in rows if row.cost is not None] or [0]
        dearest = max(costs)
        self._floor = math.log(min(costs) + E_NANO_USD)
        self._span = max(math.log(dearest + E_NANO_USD) - self._floor, _LOG_2)
        self._sensitivity = effective_sensitivity(weights.price_sensitivity, snapshot.budget, dearest, E_NANO_USD)
        self._rise = self._sensitivity - weights.price_sensitivity
        self._weights = weights
        self._use_cases = frozenset(requirements.use_cases)
        self._tier_factor = tier_factor
        self._affinity = snapshot.affinity_model

    def score(self, row: _Row) -> _Scored:
        """Return one target's terms and score."""
        target, state, provider, rejected, cost = row
        model, weights = target.model, self._weights
        relative = 1.0
        if cost is not None:
            relative = (math.log(cost + E_NANO_USD) - self._floor) / self._span
            relative = 0.0 if relative < 0.0 else 1.0 if relative > 1.0 else relative
        efficiency = 10.0 * (1.0 - self._sensitivity * relative)
        reliability = 10.0 * (state.reliability if state.reliability < provider.reliability else provider.reliability)
        speed = _speed(model, state, provider)
        merit = model.reasoning_score * weights.reasoning + reliability * weights.reliability + speed * weights.speed
        if self._use_cases:
            merit += USE_CASE_BONUS * len(self._use_cases.intersection(model.use_cases))
        multiplier = state.success_rate
        if target.tier > 1:
            multiplier *= self._tier_factor ** (target.tier - 1)
        if model.ref.id == self._affinity:
            multiplier *= AFFINITY_FACTOR
        candidate = Candidate(
            target,
            (merit + efficiency * weights.cost) * multiplier,
            model.reasoning_score,
            reliability,
            efficiency,
            speed,
            state.success_rate,
            cost,
            None if rejected is None else rejected.rejection,
            "" if rejected is None else rejected.detail,
        )
        return _Scored(row, candidate, merit, relative, multiplier)

    def thrifty(self, eligible: Sequence[_Scored]) -> int:
        """Return the index of the pick; `eligible` is sorted, best first."""
        if self._rise <= 0.0 or len(eligible) == 1:
            return 0
        own, weight = self._weights.price_sensitivity, 10.0 * self._weights.cost
        lines = [
            Line(
                start=(one.merit + weight * (1.0 - own * one.relative_price)) * one.multiplier,
                slope=weight * one.relative_price * one.multiplier,
                cost=math.inf if one.row.cost is None else one.row.cost,
            )
            for one in eligible
        ]
        return thrifty_pick(lines, self._rise)


def _speed(model: Model, state: ModelState, provider: ProviderState) -> float:
    speed = model.speed_score * state.latency_ratio
    limit, in_flight = provider.concurrency_limit, provider.in_flight
    if limit is None or in_flight <= 0:
        return speed
    return speed * (0.5 if in_flight >= limit else 1.0 - 0.5 * in_flight / limit)


def _best_first(one: _Scored) -> tuple[float, float, int, str]:
    candidate = one.candidate
    cost = candidate.estimated_cost_nano_usd
    target = candidate.target
    return -candidate.score, math.inf if cost is None else cost, target.tier, target.model.ref.id


def _in_order(eligible: list[_Scored], scorer: _Scorer) -> list[Candidate]:
    eligible.sort(key=_best_first)
    pick = scorer.thrifty(eligible)
    if pick == 0:
        return [one.candidate for one in eligible]
    first = eligible.pop(pick)
    most = first.candidate.score
    return [first.candidate, *(_cut(one.candidate, most) for one in eligible)]


def _cut(candidate: Candidate, most: float) -> Candidate:
    return candidate if candidate.score <= most else replace(candidate, score=most)


def _least_bad_first(rejected: Sequence[_Scored], now_s: float) -> list[Candidate]:
    waiting = []
    for one in rejected:
        candidate, row = one.candidate, one.row
        if candidate.rejection in SOFT and row.rejected is not None:
            waiting.append(
                (badness(row.rejected.rejection, row.state, row.provider, now_s), _best_first(one), candidate)
            )
    return [candidate for _, _, candidate in sorted(waiting, key=lambda entry: entry[:2])]
