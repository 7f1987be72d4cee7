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
from typing import NamedTuple

from atlas_sidecar.core.types import BudgetState

SCARCE_BELOW = 5  # cost optimization: less than a fifth of the budget is left


class Line(NamedTuple):
    """One eligible model's score: `start` without scarcity, falling by `slope` for each 1 of g'; `cost` in nano-USD."""

    start: float
    slope: float
    cost: float


def thrifty_pick(lines: Sequence[Line], rise: float) -> int:
    """Return the index of the pick after g' rose by `rise`; ties go to the cheaper, then to the earlier. Not empty."""
    pick = max(range(len(lines)), key=lambda i: (lines[i].start, -lines[i].cost, -i))
    risen = 0.0
    while True:
        current, following = lines[pick], -1
        nearest = (rise, math.inf)
        for index, line in enumerate(lines):
            if line.cost > current.cost or line.slope >= current.slope:
                continue
            met = max(risen, (current.start - line.start) / (current.slope - line.slope))
            if (met, line.cost) <= nearest and (following < 0 or (met, line.cost) < nearest):
                nearest, following = (met, line.cost), index
        if following < 0:
            return pick
        pick, risen = following, nearest[0]


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
