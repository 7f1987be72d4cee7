"""The walk of the pick while prices begin to count: only ever towards cheaper, and never past something better."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.scarcity import effective_sensitivity, is_cost_optimization, thrifty_pick
from atlas_sidecar.core.types import BudgetState
from tests.core.builders import USD

tenths = st.integers(0, 100).map(lambda number: number / 8)  # coarse, so that lines meet, touch and coincide
lines = st.lists(st.tuples(tenths, tenths, st.integers(0, 5).map(float)), min_size=1, max_size=7)


@given(lines, st.lists(st.integers(0, 16).map(lambda number: number / 16), min_size=2, max_size=6).map(sorted))
def test_the_further_the_sensitivity_rises_the_cheaper_the_pick(
    given_lines: list[tuple[float, float, float]], rises: list[float]
) -> None:
    costs = [given_lines[thrifty_pick(given_lines, rise)][2] for rise in rises]
    assert costs == sorted(costs, reverse=True)


@given(lines, st.integers(0, 16).map(lambda number: number / 16))
def test_nothing_that_costs_no_more_stands_above_the_pick(
    given_lines: list[tuple[float, float, float]], rise: float
) -> None:
    start, slope, cost = given_lines[thrifty_pick(given_lines, rise)]
    for its_start, its_slope, its_cost in given_lines:
        if its_cost <= cost:
            assert its_start - its_slope * rise <= start - slope * rise + 1e-9


@given(lines)
def test_without_a_rise_the_pick_is_the_best_and_of_equals_the_cheapest(
    given_lines: list[tuple[float, float, float]],
) -> None:
    start, _, cost = given_lines[thrifty_pick(given_lines, 0.0)]
    best = max(line[0] for line in given_lines)
    assert start == best
    assert cost == min(line[2] for line in given_lines if line[0] == best)


def test_the_sensitivity_is_the_own_one_without_a_limit_and_one_when_less_than_a_fifth_is_left() -> None:
    assert effective_sensitivity(0.3, BudgetState(), USD, 1_000) == 0.3
    assert effective_sensitivity(0.3, BudgetState(100 * USD, 19 * USD), 1, 1_000) == 1.0
    assert effective_sensitivity(0.3, BudgetState(100 * USD, 50 * USD, None, 1), USD, 1_000) == 0.3
    assert effective_sensitivity(0.3, BudgetState(100 * USD, 0, None, 1), USD, 1_000) == 1.0
    assert effective_sensitivity(0.0, BudgetState(None, 500, None, 1), 0, 1_000) == 0.5


def test_an_overspent_budget_is_the_scarcest_and_a_limit_of_nothing_is_not_below_a_fifth_of_itself() -> None:
    assert is_cost_optimization(BudgetState(100, -5))
    assert not is_cost_optimization(BudgetState(0, 0))
    assert effective_sensitivity(0.0, BudgetState(0, 0), USD, 1_000) == 1.0
