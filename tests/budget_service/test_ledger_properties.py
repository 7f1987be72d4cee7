"""Whatever sidecars, networks, operators and clocks do, in whatever order, the ledger keeps its promises."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from atlas_sidecar.budget_service.values import OnLost, Policy, Settle
from tests.budget_service.fleet_machine import LIMIT, Fleet, Sidecar


class RecklessFleet(Fleet):
    """The negative control: leases of pods that are only cut off are given to others."""

    policy = Policy(on_lost=OnLost.RECLAIM)
    destroys_logs = False

    @invariant()
    def the_root_is_never_overspent(self) -> None:
        for (path, _), account in self.books.accounts.items():
            if path == "acme":
                assert account.settled <= LIMIT


def test_the_invariants_hold_whatever_happens() -> None:
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_reclaiming_the_leases_of_lost_pods_overspends_as_it_must() -> None:
    """Without this the invariants above might hold because nothing ever happens."""
    fleet = RecklessFleet()
    fleet.create()
    lost, others = fleet.sidecars[0], fleet.sidecars[1:]
    for sidecar, amount in ((lost, 150), (lost, 100)):
        fleet.ask_for_one_request(fleet.sidecars.index(sidecar), amount, "acme")
        answer(fleet)
    spend_all(fleet, lost)
    fleet.time_passes(200)
    fleet.sweep()
    for sidecar in others:
        for _ in range(8):
            fleet.ask_for_one_request(fleet.sidecars.index(sidecar), 60, "acme")
            answer(fleet)
        spend_all(fleet, sidecar)
        fleet.send_sync(sidecar)
        answer(fleet)
    fleet.send_sync(lost)
    answer(fleet)
    account = fleet.books.account("acme", fleet.books.today("acme", fleet.now_ms).name)
    overspend = account.settled - LIMIT
    unseen = 250  # U: granted - settled over the reclaimed leases
    assert 0 < overspend <= unseen
    with pytest.raises(AssertionError):
        fleet.the_root_is_never_overspent()


def answer(fleet: Fleet) -> None:
    sidecar, _, sent_ms, command = fleet.in_flight.pop()
    fleet.hear(sidecar, fleet.tell(command), sent_ms)


def spend_all(fleet: Fleet, sidecar: Sidecar) -> None:
    for held in sidecar.held.values():
        attempt = f"a{len(fleet.attempts)}"
        cost = held.grant.amount_nano_usd - held.used
        held.used += cost
        fleet.attempts[attempt] = cost
        sidecar.write(Settle(attempt, held.grant.lease_id, "acme", held.grant.period, cost))
