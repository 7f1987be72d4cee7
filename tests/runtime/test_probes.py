"""Probes: only where nothing is heard or a circuit is open, one at a time, cached, and never in anybody's way."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import Circuit, ProviderState, ProviderStatus, RateLimit
from atlas_sidecar.runtime.health import Health
from atlas_sidecar.runtime.probes import HealthSettings
from tests.runtime.health_world import HandClock, ScriptedProvider, attempt, failure, model

MINI = model("mini", "openai")
DOWN = failure(ErrorClass.TEMPORARY, http_status=503)


class World:
    def __init__(self, health: Health, clock: HandClock, port: ScriptedProvider) -> None:
        self.health, self.clock, self.port = health, clock, port

    def state(self) -> ProviderState:
        return self.health.states(self.clock.now_s)[1]["openai"]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    clock, port = HandClock(), ScriptedProvider("openai")
    health = Health(clock, [MINI], {"openai": port}, HealthSettings(probe_timeout_s=0.2))
    await health.start()
    await asyncio.sleep(0)
    yield World(health, clock, port)
    await health.close()


async def test_an_idle_provider_is_probed_once_an_interval(world: World) -> None:
    world.port.outcome = RateLimit(requests_remaining=77)
    await world.clock.advance(10.0)
    assert world.port.probes == 1
    assert world.state().status is ProviderStatus.HEALTHY
    assert world.state().requests_remaining == 77
    await world.clock.advance(120.0)
    assert 4 <= world.port.probes <= 6


async def test_a_provider_in_use_is_not_probed(world: World) -> None:
    await world.clock.advance(10.0)
    before = world.port.probes
    for _ in range(30):
        attempt(world.health, MINI)
        await world.clock.advance(10.0)
    assert world.port.probes == before


async def test_an_open_circuit_is_probed_though_the_provider_is_in_use(world: World) -> None:
    await world.clock.advance(10.0)
    before = world.port.probes
    attempt(world.health, MINI, failure(ErrorClass.AUTH))
    await world.clock.advance(4.5)
    assert world.port.probes == before + 1


async def test_a_provider_without_a_key_is_not_probed(world: World) -> None:
    world.port.has_credentials = False
    await world.clock.advance(120.0)
    assert world.port.probes == 0
    assert world.state().status is ProviderStatus.NO_CREDENTIALS


async def test_one_failed_probe_evicts_nobody_and_three_do_until_one_answers(world: World) -> None:
    world.port.outcome = DOWN
    await world.clock.advance(5.0)
    assert world.port.probes == 1
    assert world.state().status is not ProviderStatus.UNHEALTHY
    assert world.state().reliability < 1.0
    await world.clock.advance(15.0)
    assert world.port.probes >= 3
    assert world.state().status is ProviderStatus.UNHEALTHY
    world.port.outcome = None
    await world.clock.advance(10.0)
    assert world.state().status is ProviderStatus.HEALTHY


async def test_a_failed_probe_says_nothing_about_the_models(world: World) -> None:
    before = world.health.states(world.clock.now_s)[0]["mini"]
    world.port.outcome = DOWN
    await world.clock.advance(60.0)
    assert world.health.states(world.clock.now_s)[0]["mini"] == before


async def test_a_live_answer_outweighs_failed_probes(world: World) -> None:
    world.port.outcome = DOWN
    await world.clock.advance(16.0)
    assert world.state().status is ProviderStatus.UNHEALTHY
    attempt(world.health, MINI)
    assert world.state().status is not ProviderStatus.UNHEALTHY


async def test_a_refused_key_opens_the_circuit_and_a_probe_that_answers_later_gives_it_its_trial(world: World) -> None:
    world.port.outcome = failure(ErrorClass.AUTH, http_status=401)
    await world.clock.advance(5.0)
    assert world.state().circuit is Circuit.OPEN
    await world.clock.advance(60.0)
    assert world.state().status is ProviderStatus.UNHEALTHY
    world.port.outcome = None
    await world.clock.advance(8.0)
    assert world.state().circuit is Circuit.HALF_OPEN


@pytest.mark.parametrize("http_status", [403, 404, 405])
async def test_a_probe_that_is_not_offered_is_no_evidence(world: World, http_status: int) -> None:
    world.port.outcome = failure(ErrorClass.AUTH, http_status=http_status)
    await world.clock.advance(200.0)
    assert world.port.probes > 1
    assert world.state() == ProviderState()


async def test_a_probe_that_hangs_is_cut_off_and_counts_as_silence(world: World) -> None:
    world.port.gate = asyncio.Event()
    await world.clock.advance(5.0)
    await asyncio.sleep(0.3)
    assert world.port.at_once == 0
    assert world.state().detail == "the provider did not answer in time"


async def test_selection_never_waits_for_a_probe_and_sees_what_was_known_before(world: World) -> None:
    await world.clock.advance(5.0)
    assert world.state().status is ProviderStatus.HEALTHY
    world.port.gate = asyncio.Event()
    await world.clock.advance(40.0)
    assert world.port.at_once == 1
    assert world.state().status is ProviderStatus.HEALTHY


async def test_many_who_ask_at_once_share_one_probe_and_then_its_cached_result(world: World) -> None:
    world.port.gate = asyncio.Event()
    askers = [asyncio.create_task(world.health.check("openai")) for _ in range(20)]
    await asyncio.sleep(0.01)
    world.port.gate.set()
    results = await asyncio.gather(*askers)
    assert world.port.probes == 1
    assert all(result is results[0] for result in results)
    assert await world.health.check("openai") is results[0]
    world.clock.now_s = results[0].fresh_until_s
    assert await world.health.check("openai") is not results[0]
    assert world.port.most_at_once == 1


async def test_one_who_stops_waiting_does_not_cancel_the_probe_of_the_others(world: World) -> None:
    world.port.gate = asyncio.Event()
    quitter, stayer = (asyncio.create_task(world.health.check("openai")) for _ in range(2))
    await asyncio.sleep(0.01)
    quitter.cancel()
    await asyncio.sleep(0)
    world.port.gate.set()
    assert (await stayer).error is None


async def test_the_supervisor_survives_what_a_probe_should_never_raise(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.port.outcome = RuntimeError("a bug")
    with caplog.at_level(logging.ERROR):
        await world.clock.advance(5.0)
    assert "probing openai failed unexpectedly" in caplog.text
    assert world.state() == ProviderState()
    world.port.outcome = None
    await world.clock.advance(10.0)
    assert world.state().status is ProviderStatus.HEALTHY


async def test_a_provider_that_appears_by_reload_is_probed_and_one_that_left_is_not(world: World) -> None:
    await world.clock.advance(5.0)
    before, new = world.port.probes, ScriptedProvider("groq")
    world.health.reconfigure([model("llama", "groq")], {"groq": new})
    await world.clock.advance(100.0)
    assert world.port.probes == before
    assert new.probes >= 3


async def test_closing_twice_or_before_starting_is_fine() -> None:
    health = Health(HandClock(), [MINI], {"openai": ScriptedProvider("openai")})
    await health.close()
    await health.start()
    await health.start()
    await health.close()
    await health.close()
