"""The budget at fleet scale, in virtual time; the full size is `make simulate`."""

from dataclasses import replace

import pytest

from atlas_sidecar.budget_service.values import OnLost, Policy
from tests.simulation import budget_fleet
from tests.simulation.budget_model import NANO, ROOT, Chances, Fleet


@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_of_trouble_stays_within_the_bound_and_loses_no_fact(seed: int) -> None:
    report = budget_fleet.day(seed, sidecars=200, hours=3.0, per_minute=0.5)
    assert report.broken == []
    assert report.exhausted_at_h is not None, "the budget must run out, or nothing is tested"
    assert report.refused > 1000
    assert all(report.terms[name] > 0 for name in "EVPZ"), report.terms
    assert report.stranded < 0.05 * report.limit


def test_equal_seeds_give_equal_days() -> None:
    first, second = (budget_fleet.day(7, sidecars=50, hours=1.0, per_minute=0.5) for _ in range(2))
    assert replace(first, elapsed_s=0, cpu_s=0) == replace(second, elapsed_s=0, cpu_s=0)


def test_an_hour_of_plenty_refuses_nobody() -> None:
    report = budget_fleet.hour(1, sidecars=100)
    assert report.broken == []
    assert report.refused <= 0.005 * report.served, "only what a lost message cost"
    assert report.overspend == 0


@pytest.mark.parametrize(("policy", "overspends"), [(Policy(), False), (Policy(on_lost=OnLost.RECLAIM), True)])
def test_only_reclaiming_what_cut_off_pods_hold_overspends(policy: Policy, overspends: bool) -> None:
    """The negative control: pods that are cut off and then come back with their spend."""
    fleet = Fleet(1, 50, [ROOT], 6.0, Chances(lost=0.0, above_reserve=0.0))
    fleet.set_limit(ROOT, 3.0, policy=policy)
    for at_s in range(10, 600, 20):
        fleet.later(at_s, lambda: fleet.cut(fleet.random.sample(fleet.sidecars, 10), 400.0))
    for at_s in range(5, 1200, 5):
        fleet.later(at_s, fleet.sweep)
    fleet.run(1200.0)
    assert (fleet.true_spend[ROOT] > 3 * NANO) is overspends
    assert max(0, fleet.true_spend[ROOT] - 3 * NANO) <= fleet.terms[ROOT].total
    assert budget_fleet.broken(fleet) == []
