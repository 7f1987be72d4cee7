"""The budget at fleet scale, in virtual time; the full size is `make simulate`."""

import sys
from dataclasses import replace

import pytest

from tests.simulation import budget_fleet


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


@pytest.mark.parametrize("name", budget_fleet.MODES)
def test_overspend_is_within_the_bound_in_every_mode(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Reclaiming is the negative control: it must overspend, or nothing was tested."""
    term = budget_fleet.MODES[name][0]
    report = budget_fleet.mode(name, 1)
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {report.lines()[4]}\n")
    assert report.broken == []
    assert report.overspend <= sum(report.terms.values())
    assert {letter for letter, amount in report.terms.items() if amount} == set(term)
    assert report.spent > 0.95 * report.limit
    assert report.terms["P"] <= 50 * 0.03, "no sidecar spends more than its allowance unseen"
    if term in ("", "U"):
        assert (report.overspend > 0) is (term == "U")
