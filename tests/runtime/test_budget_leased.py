import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from atlas_sidecar.budget_service.values import OnLost, OnPartition, Policy
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.leases import BudgetSettings, Hold
from atlas_sidecar.core.spend_records import Settle
from tests.runtime.budget_world import MODEL, NODE, World
from tests.runtime.ledger_gateway import USD


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "log")
    yield made
    await made.kill()


async def test_the_first_request_brings_a_lease_and_the_next_ones_ask_nobody(world: World) -> None:
    await world.start()
    await world.spend(USD // 100, 1000)
    asked = len(world.ledger.syncs)
    for _ in range(20):
        hold = Hold(NODE, world.clock.new_id(), USD // 1000, MODEL)
        reservation = await world.budget.reserve(hold)  # would hang if it waited: nobody moves the time on
        world.settle(reservation, 100)
    assert len(world.ledger.syncs) == asked
    assert world.ledger.reserves == []


async def test_a_burst_of_first_requests_shares_one_sync(world: World) -> None:
    await world.start()
    await world.clock.advance(1)
    asked = len(world.ledger.syncs)
    holds = [Hold(NODE, world.clock.new_id(), USD // 100, MODEL) for _ in range(50)]
    tasks = [asyncio.ensure_future(world.budget.reserve(hold)) for hold in holds]
    await world.clock.advance(0.1)
    assert all(task.done() for task in tasks)
    assert len(world.ledger.syncs) == asked + 1
    assert {(await task).period for task in tasks} == {"2026-11-23"}


async def test_what_was_spent_is_on_the_ledger_within_five_seconds(world: World) -> None:
    await world.start()
    reservation = await world.spend(USD // 100, 4321)
    await world.clock.advance(5.1)
    assert world.ledger.spend() == {reservation.attempt_id: (NODE, 4321)}
    assert world.budget.health().unreported_facts == 0


async def test_settling_twice_counts_once(world: World) -> None:
    await world.start()
    reservation = await world.reserve(1000)
    world.settle(reservation, 10)
    world.settle(reservation, 999)
    await world.clock.advance(6)
    assert world.ledger.account(NODE)[0] == 10


async def test_a_cost_that_is_unknown_under_a_limit_counts_as_all_that_was_put_aside(world: World) -> None:
    await world.start()
    reservation = await world.reserve(1000)
    world.settle(reservation, None)
    await world.clock.advance(6)
    assert world.ledger.account(NODE)[0] == 1000
    settle = next(fact.body for call in world.ledger.syncs for fact in call.facts if isinstance(fact.body, Settle))
    assert settle.estimated


async def test_an_idle_lease_goes_back_after_fifteen_seconds(world: World) -> None:
    await world.start()
    await world.spend(USD // 100, 1000)
    assert world.ledger.account("acme")[1] > 0
    await world.clock.advance(75)
    assert world.ledger.account("acme") == (1000, 0, 0)


async def test_a_lease_in_use_is_renewed_beyond_its_first_deadline(world: World) -> None:
    await world.start()
    leases = set()
    for _ in range(40):
        leases.add((await world.spend(USD // 100, 1000)).lease_id)
        await world.clock.advance(10)
    assert len(leases) == 1
    assert world.ledger.account("acme")[0] == 40_000


async def test_a_lease_counts_from_when_its_sync_was_sent_and_serves_nobody_after_its_end(world: World) -> None:
    await world.start()
    await world.spend(USD // 100, 1000)
    world.gateway.cut = True
    for _ in range(8):
        await world.clock.advance(10)
        await world.spend(USD // 100, 1000)
    await world.clock.advance(10)
    with pytest.raises(AtlasError) as error:
        await world.reserve(USD // 100)
    assert error.value.reason is Reason.BUDGET_UNAVAILABLE
    assert error.value.metadata == {"node": NODE}


async def test_nobody_waits_for_a_service_that_did_not_answer_last_time(world: World) -> None:
    world.gateway.cut = True
    await world.start()
    await world.clock.advance(1)
    with pytest.raises(AtlasError):
        await world.budget.reserve(Hold(NODE, "a", 1000, MODEL))  # would hang if it waited


async def test_after_the_line_is_mended_spending_goes_on_within_ten_seconds(world: World) -> None:
    world.gateway.cut = True
    await world.start()
    await world.clock.advance(60)
    world.gateway.cut = False
    await world.clock.advance(10)
    await world.spend(1000)


async def test_before_the_first_sync_the_configured_policy_opens_the_configured_limit(tmp_path: Path) -> None:
    settings = BudgetSettings(node=NODE, sidecar_id="pod-1", partition_open=True, daily_limit_nano_usd=3000)
    world = World(tmp_path, settings)
    world.gateway.cut = True
    await world.start()
    for _ in range(3):
        reservation = await world.spend(1000)
        assert reservation.lease_id == ""
        assert reservation.period == "2026-11-23"
    with pytest.raises(AtlasError) as error:
        await world.reserve(1)
    assert error.value.reason is Reason.BUDGET_UNAVAILABLE
    await world.restart()
    with pytest.raises(AtlasError):  # the allowance is the sidecar's, not the process's
        await world.reserve(1)
    world.gateway.cut = False
    await world.clock.advance(20)
    assert world.ledger.account(NODE)[0] == 3000
    await world.kill()


async def test_an_open_policy_of_the_node_replaces_a_closed_configuration(world: World) -> None:
    world.ledger.set_budget(NODE, None, policy=Policy(OnPartition.OPEN, 5000, OnLost.PRESUME_SPENT))
    await world.start()
    await world.clock.advance(1)
    world.gateway.cut = True
    await world.clock.advance(100)
    reservation = await world.spend(5000)
    assert reservation.lease_id == ""
    with pytest.raises(AtlasError):
        await world.reserve(1)


async def test_an_exhausted_budget_says_which_node_and_when_it_renews(world: World) -> None:
    world.ledger.set_budget("acme", 1000)
    await world.start()
    await world.spend(1000)
    await world.clock.advance(6)
    with pytest.raises(AtlasError) as error:
        await world.reserve(500)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED
    assert error.value.metadata == {"node": "acme", "renews_at": "2026-11-24T00:00:00Z"}
    assert error.value.retry_after_s == pytest.approx(12 * 3600, abs=30)
    assert error.value.status_code == 8


async def test_a_budget_that_running_requests_hold_is_worth_another_try_soon(world: World) -> None:
    world.ledger.set_budget("acme", 1000)
    await world.start()
    running = await world.reserve(900)
    with pytest.raises(AtlasError) as error:
        await world.reserve(500)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED
    assert error.value.retry_after_s == 15
    world.settle(running, 100)
    await world.clock.advance(15)
    await world.spend(500)


async def test_a_raised_limit_is_felt_at_once_when_the_last_denial_is_a_second_old(world: World) -> None:
    world.ledger.set_budget("acme", 1000)
    await world.start()
    await world.spend(1000)
    with pytest.raises(AtlasError):
        await world.reserve(500)
    world.ledger.set_budget("acme", 10_000)
    await world.clock.advance(1.1)
    await world.spend(500)


async def test_an_exhausted_sidecar_asks_less_and_less_often(world: World) -> None:
    world.ledger.set_budget("acme", 1000)
    await world.start()
    await world.spend(1000)
    await world.clock.advance(10)
    asked = len(world.ledger.syncs) + len(world.ledger.reserves)
    for _ in range(600):
        with pytest.raises(AtlasError):
            await world.reserve(500)
        await world.clock.advance(0.1)
    assert len(world.ledger.syncs) + len(world.ledger.reserves) - asked < 25


async def test_a_raised_limit_is_felt_within_a_sync_interval_and_a_second_however_long_it_was_exhausted(
    world: World,
) -> None:
    world.ledger.set_budget("acme", 1000)
    await world.start()
    await world.spend(1000)
    for _ in range(600):
        with pytest.raises(AtlasError):
            await world.reserve(500)
        await world.clock.advance(1)
    world.ledger.set_budget("acme", 10_000)
    waited_s = 0
    while True:
        try:
            await world.spend(500)
            break
        except AtlasError:
            await world.clock.advance(1)
            waited_s += 1
    assert waited_s <= 31


async def test_a_lease_whose_use_is_steady_is_not_asked_about_all_the_time(world: World) -> None:
    await world.start()
    held = [await world.reserve(USD // 100) for _ in range(8)]
    for _ in range(20):
        await world.clock.advance(1)
        held = [await world.spend(USD // 100, 0) for _ in held]
    asked = len(world.ledger.syncs)
    for _ in range(60):
        await world.clock.advance(1)
        held = [await world.spend(USD // 100, 0) for _ in held]
    assert len(world.ledger.syncs) - asked <= 60 / 5 + 3


async def test_a_lowered_limit_refuses_at_the_next_sync(world: World) -> None:
    await world.start()
    await world.spend(USD, USD)
    world.ledger.set_budget("acme", USD // 2)
    await world.clock.advance(40)
    with pytest.raises(AtlasError) as error:
        await world.reserve(1000)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED


async def test_a_node_without_limits_needs_no_lease_and_takes_unknown_prices(world: World) -> None:
    world.ledger.set_budget("acme", None)
    await world.start()
    reservation = await world.reserve(None)
    world.settle(reservation, None)
    assert reservation.lease_id == ""
    assert world.budget.state(NODE).limit_nano_usd is None
    await world.clock.advance(6)
    assert world.ledger.spend() == {reservation.attempt_id: (NODE, None)}
    assert world.budget.health().spend["anthropic", "claude-sonnet"].unknown == 1


async def test_an_unknown_price_under_a_limit_is_refused(world: World) -> None:
    await world.start()
    with pytest.raises(AtlasError, match="price of sonnet is unknown") as error:
        await world.reserve(None)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED


async def test_what_costs_nothing_is_admitted_under_an_exhausted_budget(world: World) -> None:
    world.ledger.set_budget("acme", 0)
    await world.start()
    await world.clock.advance(1)
    reservation = await world.spend(0)
    await world.clock.advance(6)
    assert world.ledger.spend() == {reservation.attempt_id: (NODE, 0)}


async def test_an_unknown_root_is_an_unknown_budget(tmp_path: Path) -> None:
    world = World(tmp_path, BudgetSettings(node="nowhere/x", sidecar_id="pod-1"))
    await world.start()
    with pytest.raises(AtlasError) as error:
        await world.reserve(1000)
    assert error.value.reason is Reason.UNKNOWN_BUDGET
    assert world.budget.health().problem == "the service knows no budget nowhere/x"
    world.ledger.set_budget("nowhere", USD)
    await world.clock.advance(20)
    await world.spend(1000)
    assert world.budget.health().problem == ""
    await world.kill()


@pytest.mark.parametrize("node", [f"{NODE}/a b", f"{NODE}//x", f"{NODE}/" + "x" * 300, f"{NODE}/a/b/c/d/e/f/g/h"])
async def test_a_path_that_no_service_takes_is_an_unknown_budget(world: World, node: str) -> None:
    with pytest.raises(AtlasError) as error:
        world.budget.resolve(node)
    assert error.value.reason is Reason.UNKNOWN_BUDGET


async def test_a_node_beside_the_own_one_is_not_allowed(world: World) -> None:
    for node in ("acme", "acme/other", f"{NODE}s"):
        with pytest.raises(AtlasError) as error:
            world.budget.resolve(node)
        assert error.value.reason is Reason.BUDGET_NOT_ALLOWED


async def test_a_node_below_spends_from_leases_of_its_own(world: World) -> None:
    await world.start()
    reservation = await world.reserve(1000, f"{NODE}/planner")
    world.settle(reservation, 1000)
    await world.clock.advance(6)
    assert world.ledger.account(f"{NODE}/planner")[0] == 1000
    assert world.ledger.account("acme")[0] == 1000


async def test_in_tail_mode_each_request_asks_by_reserve_and_gives_the_rest_back(world: World) -> None:
    world.ledger.set_budget("acme", 100_000)
    other = World(world.directory.parent / "other", replace(world.settings, sidecar_id="pod-2"), world.clock)
    other.ledger = world.ledger
    other.gateway.ledger = world.ledger
    other.budget = other._make()
    await world.start()
    await other.start()
    mine, theirs = await world.reserve(60_000), await other.reserve(15_000)
    third = await world.reserve(20_000)  # 25,000 left is less than two sidecars' largest reservations
    assert [want.amount_nano_usd for want in world.ledger.reserves] == [20_000]
    world.settle(third, 5000)
    await world.clock.advance(1)
    assert third.lease_id not in {held.lease_id for held in world.ledger.syncs[-1].held}
    world.settle(mine, 60_000)
    other.settle(theirs, 15_000)
    await world.clock.advance(30)
    fourth = await other.reserve(20_000)
    other.settle(fourth, 20_000)
    await world.clock.advance(30)
    assert world.ledger.account("acme")[0] == 100_000
    await other.kill()


async def test_fragments_go_back_when_a_larger_request_needs_them(world: World) -> None:
    world.ledger.set_budget("acme", 10_000)
    await world.start()
    held = [await world.reserve(1500) for _ in range(5)]
    for reservation in held:
        world.settle(reservation, 0)
    await world.clock.advance(0.5)
    await world.spend(9000)


async def test_the_headroom_of_the_state_is_what_a_reservation_can_get(world: World) -> None:
    await world.start()
    await world.spend(USD // 100, USD // 200)
    state = world.budget.state(NODE)
    assert state.limit_nano_usd == 10 * USD
    assert state.remaining_nano_usd == 10 * USD - USD // 200
    assert state.node == "acme"
    assert state.headroom_nano_usd is not None
    await world.spend(state.headroom_nano_usd - USD // 10)
