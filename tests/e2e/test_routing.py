"""Routing as a caller sees it: a whole sidecar in this process, a real channel, loopback providers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.app.replay import replay_text
from atlas_sidecar.config import Configuration, load
from tests.adapters.replay import Upstream, serving
from tests.e2e.fault_scripts import GOOD, SILENT, TEXT, Script, paused, status
from tests.e2e.in_process import Heard, Running, asked, running

WORKER = pb.Requirements(complexity=pb.COMPLEXITY_HIGH)


def configuration(first: Upstream, second: Upstream, *, names: tuple[str, str] = ("first", "second")) -> str:
    """Two models of nearly the same worth, a tier each."""
    models = "\n".join(
        f"  {name}: {{provider: {name}, model: m, context_window: 100000, max_output_tokens: 1000,"
        f" reasoning_score: 8, speed_score: 5, price: {{input: 1, output: 2}}}}"
        for name in names
    )
    return f"""\
routing: {{tier_factor: 0.95}}
timeouts: {{connect_s: 1, time_to_first_token_s: 20, idle_s: 10, total_s: 30}}
fallback: {{backoff_base_s: 0.02, backoff_cap_s: 0.1}}
providers:
  {names[0]}: {{kind: openai, base_url: "{first.url}", api_key: none}}
  {names[1]}: {{kind: openai, base_url: "{second.url}", api_key: none}}
models:
{models}
roles:
  worker: {{tiers: [[{names[0]}], [{names[1]}]]}}
  supervisor: {{tiers: [[{names[0]}], [{names[1]}]]}}
"""


@dataclass
class World:
    run: Running
    first: Upstream
    second: Upstream

    def load(self) -> Configuration:
        return load(str(self.run.config), {"ATLAS_LISTEN": "127.0.0.1:0"})

    async def select(self, **fields: object) -> pb.SelectResponse:
        requirements = fields.pop("requirements", WORKER)
        answer: pb.SelectResponse = await self.run.router.Select(
            pb.SelectRequest(requirements=requirements, **fields),  # type: ignore[arg-type]  # named by the tests
            timeout=5,
        )
        return answer

    async def health(self) -> pb.HealthResponse:
        answer: pb.HealthResponse = await self.run.router.Health(pb.HealthRequest(), timeout=5)
        return answer


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving() as first, serving() as second:
        first.choose, second.choose = Script([GOOD]), Script([GOOD])
        async with running(configuration(first, second), tmp_path) as run:
            yield World(run, first, second)


# ------------------------------------------------------------------------------------------- deadlines


async def test_the_caller_hears_why_before_its_own_deadline_cuts_the_line(world: World) -> None:
    world.first.choose = world.second.choose = Script([SILENT])
    heard = Heard()
    for _ in range(5):  # the sidecar ends 50 ms before: less than a busy machine may stand still
        world.run.forget_evidence()
        heard = await world.run.generate(asked(requirements=WORKER), 1.0)
        if heard.reason:
            break
    assert (heard.code, heard.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE")
    assert heard.kinds == ["failed"], "not a failure of the model: no hop_failed"
    assert heard.last.failed.error_class == pb.ERROR_CLASS_DEADLINE
    assert [attempt.error_class for attempt in heard.attempts] == [pb.ERROR_CLASS_DEADLINE]


async def test_a_wait_that_would_pass_the_deadline_is_not_begun_and_is_told(world: World) -> None:
    world.first.choose = world.second.choose = Script([status(429, retry_after="7")])
    began = time.monotonic()
    heard = await world.run.generate(asked(requirements=WORKER), 3.0)
    assert time.monotonic() - began < 2.0
    assert (heard.code, heard.reason) == (grpc.StatusCode.UNAVAILABLE, "ALL_MODELS_FAILED")
    assert heard.retry_after_s == pytest.approx(7, abs=1)
    assert heard.kinds == ["hop_failed", "hop_failed", "failed"]
    waits = [event.hop_failed.retry_after.seconds for event in heard.events[:2]]
    assert waits == [7, 7]
    assert [(a.model.id, a.http_status) for a in heard.attempts] == [("first", 429), ("second", 429)]


async def test_what_only_the_moment_rejects_is_tried_and_what_nothing_can_serve_is_refused_with_reasons(
    world: World,
) -> None:
    world.first.choose = world.second.choose = Script([status(401)])
    await world.run.generate(asked(requirements=WORKER))
    decision = (await world.select()).decision
    assert decision.last_resort
    assert decision.selected.id
    assert {c.rejection for c in decision.candidates} == {pb.REJECTION_CIRCUIT_OPEN}
    world.first.choose = world.second.choose = Script([GOOD])
    heard = await world.run.generate(asked(requirements=WORKER))
    assert heard.message_text == TEXT
    able = pb.Requirements(capabilities=[pb.CAPABILITY_AUDIO_INPUT])
    refused = await world.run.generate(asked(requirements=able))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_MODEL")
    assert refused.retry_after_s is None, "waiting does not help"
    reasons = {c.rejection for c in refused.last.failed.decision.candidates}
    assert reasons == {pb.REJECTION_MISSING_CAPABILITY}


# ------------------------------------------------------------------------------------------- health


async def test_health_shows_circuits_degraded_roles_and_the_configuration(world: World) -> None:
    before = await world.health()
    assert before.status == pb.HealthResponse.STATUS_SERVING
    assert before.config_version == (await world.select()).decision.config_version != ""
    world.first.choose = Script([status(404)])
    heard = await world.run.generate(asked(requirements=WORKER))
    assert heard.message_text == TEXT
    degraded = await world.health()
    assert degraded.status == pb.HealthResponse.STATUS_DEGRADED, "the role has lost its primary tier"
    circuits = {model.model.id: model.circuit for model in degraded.models}
    assert circuits["first"] == pb.ModelHealth.CIRCUIT_OPEN
    assert {circuits[name] for name in circuits if name != "first"} == {pb.ModelHealth.CIRCUIT_CLOSED}
    opened = next(model for model in degraded.models if model.model.id == "first")
    assert opened.open_until.seconds >= time.time() - 1
    world.second.choose = Script([status(404)])
    await world.run.generate(asked(requirements=pb.Requirements(only_models=["second"])))
    assert (await world.health()).status == pb.HealthResponse.STATUS_NOT_SERVING


# ------------------------------------------------------------------------------------------- sessions


async def test_a_session_stays_on_the_model_that_answered_it_last_and_the_decision_says_so(world: World) -> None:
    mine = pb.Requirements(complexity=pb.COMPLEXITY_HIGH, session_id="mine")
    assert (await world.select(requirements=mine)).decision.selected.id == "first"
    world.first.choose = Script([status(503), GOOD])
    heard = await world.run.generate(asked(requirements=mine))
    assert heard.last.completed.model.id == "second"
    world.run.forget_evidence()
    again = (await world.select(requirements=mine)).decision
    assert (again.selected.id, again.session_affinity) == ("second", True)
    other = (await world.select()).decision
    assert (other.selected.id, other.session_affinity) == ("first", False)
    world.second.choose = Script([status(404)])
    await world.run.generate(asked(requirements=pb.Requirements(only_models=["second"])))
    left = (await world.select(requirements=mine)).decision
    assert (left.selected.id, left.session_affinity) == ("first", False), "only while it is eligible"


# ------------------------------------------------------------------------------------------- records


async def test_a_record_of_a_decision_replays_offline_to_the_same_answer(world: World) -> None:
    world.first.choose = Script([status(503), status(429, retry_after="30")])
    await world.run.generate(asked(requirements=WORKER))
    await world.run.generate(asked(requirements=WORKER))
    answer = await world.select(record=True, context_tokens=1234)
    replayed = replay_text(answer.decision_record_json)
    assert replayed.same
    assert replayed.again == replayed.recorded == answer.decision
    assert answer.decision.config_version in answer.decision_record_json
    assert (await world.select()).decision_record_json == ""


async def test_a_record_that_was_tampered_with_replays_to_another_decision(world: World) -> None:
    record = (await world.select(record=True)).decision_record_json
    assert not replay_text(record.replace('"reasoning_score":8.0', '"reasoning_score":1.0', 1)).same


# ------------------------------------------------------------------------------------------- reload


async def test_a_call_in_flight_keeps_its_configuration_to_its_last_hop(world: World) -> None:
    world.first.choose = Script([SILENT])
    request = asked(requirements=WORKER)
    request.limits.time_to_first_token_timeout.FromMilliseconds(700)
    call = asyncio.create_task(world.run.generate(request))
    await world.first.arrived.wait()
    async with serving() as third:
        third.choose = Script([GOOD])
        world.run.config.write_text(configuration(third, third, names=("third", "fourth")))
        assert await world.run.sidecar.live.reload(world.load)
        heard = await world.run.generate(asked(requirements=WORKER))
        assert heard.last.completed.model.id == "third"
        old = await call
    assert old.message_text == TEXT
    assert [attempt.model.id for attempt in old.attempts] == ["first", "second"]


async def test_an_invalid_file_is_refused_and_health_says_why_until_it_is_mended(world: World) -> None:
    good, version = world.run.config.read_text(), (await world.health()).config_version
    world.run.config.write_text(good + "fallbak: {max_hops: 1}\n")
    assert not await world.run.sidecar.live.reload(world.load)
    health = await world.health()
    assert health.config_version == version
    assert "fallbak: unknown key; did you mean fallback?" in health.config_problem
    assert (await world.run.generate(asked())).message_text == TEXT
    world.run.config.write_text(good.replace("tier_factor: 0.95", "tier_factor: 0.9"))
    assert await world.run.sidecar.live.reload(world.load)
    health = await world.health()
    assert (health.config_problem, health.config_version == version) == ("", False)


# ------------------------------------------------------------------------------------------- leaving


async def test_a_caller_that_leaves_closes_the_upstream_connection(world: World) -> None:
    world.first.choose = Script([SILENT])
    call = world.run.router.Generate(asked(requirements=WORKER), timeout=20)
    await world.first.arrived.wait()
    call.cancel()
    await asyncio.wait_for(world.first.disconnected.wait(), 5)


# ------------------------------------------------------------------------------------------- the edges


async def test_a_refused_connection_falls_back_like_a_5xx_and_alone_it_is_unavailable(tmp_path: Path) -> None:
    async with serving() as gone, serving() as second:
        second.choose = Script([GOOD])
        config = configuration(gone, second).replace(gone.url, "http://127.0.0.1:1")
        async with running(config, tmp_path) as run:
            heard = await run.generate(asked(requirements=WORKER))
            assert heard.message_text == TEXT
            assert [a.error_class for a in heard.attempts] == [pb.ERROR_CLASS_TEMPORARY] * 3 + [0]
            assert {(a.http_status, a.cost.nano_usd) for a in heard.attempts[:3]} == {(0, 0)}
            for _ in range(2):
                alone = await run.generate(asked(requirements=pb.Requirements(only_models=["first"])))
                assert (alone.code, alone.reason) == (grpc.StatusCode.UNAVAILABLE, "ALL_MODELS_FAILED")
                assert alone.retry_after_s is not None


async def test_labels_ids_and_sessions_never_reach_a_provider(world: World) -> None:
    canary = "CANARY-7"
    mine = pb.Requirements(agent_type=f"worker {canary}", session_id=canary, use_cases=[canary])
    request = asked(requirements=mine, request_id=canary, idempotency_key=canary, labels={canary: canary})
    heard = await world.run.generate(request)
    assert heard.message_text == TEXT
    (seen,) = world.first.requests
    assert canary not in str(seen.headers) + seen.body.decode()


async def test_beyond_its_own_limit_of_calls_the_sidecar_refuses_at_once(tmp_path: Path) -> None:
    async with serving() as first, serving() as second:
        first.choose = Script([paused(GOOD, 3, 0.5)])
        config = configuration(first, second) + "limits: {max_streams: 5}\n"
        async with running(config, tmp_path) as run:
            heard = await asyncio.gather(*(run.generate(asked(requirements=WORKER)) for _ in range(10)))
    assert sorted(one.reason for one in heard) == [""] * 5 + ["OVERLOADED"] * 5
    refused = [one for one in heard if one.reason]
    assert {one.code for one in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(one.retry_after_s for one in refused)
    assert len(first.requests) == 5
