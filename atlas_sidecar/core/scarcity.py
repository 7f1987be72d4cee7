"""What scarcity may change: it only ever moves the pick towards cheaper (ROUTING.md, Score).

The score of a model falls with the price sensitivity g' along a straight line. How steeply depends on its price, but on
its tier and success rate too, so a dearer model's line can be the flatter one, and g' alone, raised far enough, would
move the pick to it. So the pick walks instead: it starts as the best at the sensitivity without scarcity, and while g'
rises, goes over to a model only when that one overtakes it and costs no more. The walk's events do not depend on how
far g' rises; a scarcer budget only sees more of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from atlas_sidecar.core.types import BudgetState

SCARCE_BELOW = 5  # cost optimization: less than a fifth of the budget is left


# One eligible model's score: without scarcity, its fall for each 1 of g', and the cost in nano-USD (infinite: unknown).
Line: TypeAlias = tuple[float, float, float]


def thrifty_pick(lines: Sequence[Line], rise: float) -> int:
    """Return the index of the pick after g' rose by `rise`; ties go to the cheaper, then to the earlier. Not empty."""
    pick = _best_at_start(lines)
    risen = 0.0
    while True:
        score, slope, cost = lines[pick]
        nearest, nearest_cost, following = rise, math.inf, -1
        for index, (its_score, its_slope, its_cost) in enumerate(lines):
            if its_cost > cost or its_slope >= slope:
                continue
            met = (score - its_score) / (slope - its_slope)
            met = met if met > risen else risen
            if met < nearest or (met == nearest and (following < 0 or its_cost < nearest_cost)):
                nearest, nearest_cost, following = met, its_cost, index
        if following < 0:
            return pick
        pick, risen = following, nearest


def _best_at_start(lines: Sequence[Line]) -> int:
    scores = [line[0] for line in lines]
    best = max(scores)
    if scores.count(best) == 1:
        return scores.index(best)
    return min((line[2], index) for index, line in enumerate(lines) if line[0] == best)[1]


def is_cost_optimization(budget: BudgetState) -> bool:
    """Return whether less than 20 % of the budget is left, so that price counts fully."""
    limit, remaining = budget.limit_nano_usd, budget.remaining_nano_usd
    return limit is not None and remaining is not None and remaining * SCARCE_BELOW < limit


def effective_sensitivity(own: float, budget: BudgetState, dearest_cost_nano_usd: int, e_nano_usd: int) -> float:
    """Return ROUTING.md's g' for the complexity's own sensitivity g and the dearest estimated cost c_max."""
    if is_cost_optimization(budget):
        return 1.0
    if budget.remaining_nano_usd is None:
        return own
    fair_share = max(budget.remaining_nano_usd, 0) / max(budget.expected_requests, 1.0)
    return max(own, 1.0 - min(1.0, fair_share / (dearest_cost_nano_usd + e_nano_usd)))
