"""Leased budgets when something fails: killed processes, lost answers, clocks that jump, a ledger that went back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atlas_sidecar.core.errors import AtlasError, ErrorClass
from atlas_sidecar.core.leases import Settlement
from atlas_sidecar.core.spend_records import Finish, Release, Settle
from atlas_sidecar.core.types import Usage
from tests.runtime.budget_world import NODE, World
from tests.runtime.ledger_gateway import USD


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "log")
    yield made
    await made.kill()


async def test_every_attempt_of_a_killed_process_reaches_the_ledger_once(world: World) -> None:
    await world.start()
    world.gateway.cut = False
    settled = await world.spend(1000, 700)
    world.gateway.cut = True
    unreported = await world.spend(1000, 300)
    running = await world.reserve(1000)
    await world.restart()
    world.gateway.cut = False
    await world.clock.advance(20)
    assert world.ledger.spend() == {
        settled.attempt_id: (NODE, 700),
        unreported.attempt_id: (NODE, 300),
        running.attempt_id: (NODE, 1000),
    }
    assert world.ledger.account("acme")[1:] == (0, 0)  # its leases are closed by Finish
    estimated = [
        fact
        for call in world.ledger.syncs
        for fact in call.facts
        if isinstance(fact.body, Settle) and fact.body.attempt_id == running.attempt_id
    ]
    assert all(fact.body.estimated and fact.body.outcome is ErrorClass.OTHER for fact in estimated)  # type: ignore[union-attr]
    assert {fact.incarnation for fact in estimated} == {world.ledger.syncs[-1].incarnation}


async def test_a_log_of_another_boot_is_skipped_at_its_end_and_not_finished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.start()
    await world.spend(1000, 700)
    running = await world.reserve(1000)
    monkeypatch.setattr("atlas_sidecar.adapters.spend_log.boot_id", lambda: "another boot")
    await world.restart()
    await world.clock.advance(20)
    facts = [fact for call in world.ledger.syncs for fact in call.facts]
    assert not any(isinstance(fact.body, Finish) for fact in facts)
    assert running.attempt_id in world.ledger.spend()
    assert world.ledger.account("acme")[2] > 0  # what may be lost stays in suspense
    assert world.budget.health().unreported_facts == 0


async def test_an_orderly_end_reports_all_and_holds_nothing(world: World) -> None:
    await world.start()
    first = await world.spend(1000, 700)
    cut_off = await world.reserve(1000)
    closing = asyncio.ensure_future(world.budget.close())
    await world.clock.run(closing)
    assert world.ledger.spend() == {first.attempt_id: (NODE, 700), cut_off.attempt_id: (NODE, 1000)}
    assert world.ledger.account("acme")[1:] == (0, 0)
    assert world.ledger.syncs[-1].final
    assert world.gateway.closed
    world.settle(cut_off, 1)  # too late: it is counted
    await world.restart_after_close()


async def test_an_end_without_the_service_takes_no_longer_than_the_close_timeout(world: World) -> None:
    await world.start()
    reservation = await world.spend(1000)
    world.gateway.cut = True
    began_s = world.clock.monotonic_s()
    await world.clock.run(asyncio.ensure_future(world.budget.close()))
    assert world.clock.monotonic_s() - began_s <= 3.5
    world.gateway.cut = False
    await world.restart_after_close()
    await world.clock.advance(10)
    assert world.ledger.spend() == {reservation.attempt_id: (NODE, 1000)}


async def test_a_lost_answer_loses_no_lease_and_doubles_no_fact(world: World) -> None:
    await world.start()
    await world.spend(1000, 700)
    world.gateway.lose_answers = True
    await world.spend(1000, 300)
    await world.clock.advance(20)
    world.gateway.lose_answers = False
    await world.clock.advance(40)
    assert world.ledger.account("acme") == (1000, 0, 0)


async def test_a_lease_of_a_reserve_whose_answer_was_lost_comes_back_with_a_sync(world: World) -> None:
    world.ledger.set_budget("acme", 1000)
    await world.start()
    world.gateway.lose_answers = True
    with pytest.raises(AtlasError):
        await world.reserve(800)
    world.gateway.lose_answers = False
    await world.clock.advance(3)
    await world.spend(800)


async def test_a_ledger_that_went_back_is_sent_again_what_it_lost(world: World) -> None:
    import copy  # noqa: PLC0415

    await world.start()
    await world.spend(1000, 100)
    await world.clock.advance(6)
    backup = copy.deepcopy(world.ledger.books)
    attempts = [await world.spend(1000, 10) for _ in range(5)]
    await world.clock.advance(6)
    world.ledger.books = backup
    await world.clock.advance(60)
    assert {attempt.attempt_id for attempt in attempts} <= set(world.ledger.spend())
    assert world.ledger.account("acme")[0] == 150


async def test_past_midnight_spending_counts_for_the_new_day(world: World) -> None:
    await world.start()
    await world.spend(1000)
    running = await world.reserve(1000)
    await world.clock.advance(12 * 3600 + 1)
    fresh = await world.spend(500)
    world.settle(running, 1000)
    await world.clock.advance(10)
    assert (running.period, fresh.period) == ("2026-11-23", "2026-11-24")
    assert world.ledger.account("acme")[0] == 500
    assert world.ledger.books.account("acme", "2026-11-23").settled == 2000


async def test_a_wall_clock_that_jumps_ends_no_lease(world: World) -> None:
    await world.start()
    first = await world.spend(USD // 100, 10)
    world.clock._start_unix_s -= 7 * 86_400
    second = await world.spend(USD // 100, 10)
    assert second.lease_id == first.lease_id


async def test_a_refused_sync_is_a_problem_that_health_shows(world: World) -> None:
    world.gateway.refuse = "PERMISSION_DENIED: the token is not bound to acme"
    await world.start()
    await world.clock.advance(1)
    report = world.budget.health()
    assert report.problem == "PERMISSION_DENIED: the token is not bound to acme"
    assert not report.service_reachable
    assert report.service_configured


async def test_releases_are_facts_and_a_released_lease_is_never_used_again(world: World) -> None:
    await world.start()
    first = await world.spend(USD // 100, 10)
    await world.clock.advance(60)
    second = await world.spend(USD // 100, 10)
    assert second.lease_id != first.lease_id
    released = [
        fact.body.lease_id for call in world.ledger.syncs for fact in call.facts if isinstance(fact.body, Release)
    ]
    assert first.lease_id in released


async def test_without_room_for_another_fact_nothing_new_is_admitted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas_sidecar.runtime.leased_budget.MAX_PENDING", 3)
    await world.start()
    await world.spend(1000)
    world.gateway.cut = True
    await world.spend(100)
    await world.spend(100)
    with pytest.raises(AtlasError, match="wait for the budget service"):
        await world.reserve(100)
    await world.restart()
    world.gateway.cut = False
    await world.spend(100)  # what predecessors left holds up nobody


async def test_expected_requests_follow_the_rate_and_the_time_left(world: World) -> None:
    await world.start()
    await world.clock.advance(1)
    assert world.budget.state(NODE).expected_requests == 1
    for _ in range(3000):
        world.budget.request_arrived(NODE)
        await world.clock.advance(1)
    expected = world.budget.state(NODE).expected_requests
    left_s = 12 * 3600 - 3001
    assert 0.8 * left_s < expected < 1.1 * left_s


async def test_a_settlement_of_an_attempt_that_was_never_sent_costs_nothing(world: World) -> None:
    await world.start()
    reservation = await world.reserve(1000)
    world.budget.settle(reservation, Settlement(0, False, Usage(), ErrorClass.CANCELLED))
    await world.clock.advance(6)
    assert world.ledger.spend() == {reservation.attempt_id: (NODE, 0)}
