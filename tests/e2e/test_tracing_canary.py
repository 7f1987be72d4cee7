"""Canaries: keys, headers, prompts, answers and provider bodies sing in no span, metric, log line or error.

The real process with the real SDK, a provider that echoes all it was sent in its error bodies, and a real collector.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc
import pytest
from aiohttp import web

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from tests.adapters.telemetry.collector import Collector, grpc_collector
from tests.e2e.process import serving

KEY = "canarykey-e5a1c0de-0000"  # of no known form: only knowing it can take it out of a line
PROMPT, ANSWER, BODY = "canary-prompt-7f3a", "canary-answer-91bc", "canary-body-44d0"
HEADER, CALLER, BAGGAGE = "canary-header-22aa", "canary-caller-90ff", "canary-baggage-1e1e"
SECRETS = (KEY, BODY, HEADER, CALLER, BAGGAGE)
FAULTS: dict[str, tuple[int, dict[str, Any]]] = {
    "refused": (401, {"type": "invalid_request_error", "code": "invalid_api_key"}),
    "invalid": (400, {"type": "invalid_request_error", "code": None, "param": "messages"}),
    "broken": (500, {"type": "server_error", "code": None}),
    "limited": (429, {"type": "tokens", "code": "rate_limit_exceeded"}),
}
MODELS = (*FAULTS, "html", "midway", "fine")
pytestmark = pytest.mark.timeout(120)


class Told(NamedTuple):
    """All that the outside could read, by where it was read. `events`: what callers got, but for the answers."""

    spans: str
    log: str
    metrics: str
    events: str


@asynccontextmanager
async def provider() -> AsyncIterator[str]:
    """A provider that answers by the path's first part, and repeats key and prompt in what goes wrong."""

    async def answer(request: web.Request) -> web.StreamResponse:
        sent = f"{BODY} {await request.text()} {dict(request.headers)}"
        fault = request.match_info["fault"]
        if fault in FAULTS:
            status, error = FAULTS[fault]
            return web.json_response({"error": {**error, "message": sent}}, status=status)
        if fault == "html":
            return web.Response(text=f"<html>{sent}</html>", status=502, content_type="text/html")
        stream = web.StreamResponse(headers={"content-type": "text/event-stream", "x-request-id": "req_1"})
        await stream.prepare(request)
        for word in (ANSWER, " is", " said"):
            await stream.write(event([{"index": 0, "delta": {"content": word}, "finish_reason": None}]))
        if fault == "midway":
            await stream.write(
                b"data: " + json.dumps({"error": {"message": sent, "type": "server_error"}}).encode() + b"\n\n"
            )
            return stream
        await stream.write(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
        await stream.write(event([], usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}))
        await stream.write(b"data: [DONE]\n\n")
        return stream

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_post("/{fault}/v1/chat/completions", answer)
    app.router.add_get("/{fault}/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def config(folder: Path, url: str, collector: str, *, capture: bool) -> Path:
    of_provider = {"kind": "openai", "api_key": KEY, "headers": {"x-team": HEADER}}
    model = {"context_window": 9000, "max_output_tokens": 99, "reasoning_score": 5, "speed_score": 5}
    settings = {
        "providers": {name: {**of_provider, "base_url": f"{url}/{name}/v1"} for name in MODELS},
        "models": {name: {**model, "provider": name, "price": {"input": 1, "output": 1}} for name in MODELS},
        "roles": {"worker": {"tiers": [[name] for name in MODELS]}},
        "metrics_listen": "127.0.0.1:0",
        "log_level": "debug",
        "fallback": {"backoff_base_s": 0.01},
        "telemetry": {"otlp_endpoint": f"http://{collector}", "capture_content": capture},
    }
    path = folder / "atlas.yaml"
    path.write_text(json.dumps(settings))
    return path


async def ask(router: Any, *models: str) -> str:
    """Ask these models; return what came back but for the answer's text, status details included."""
    request = pb.GenerateRequest(
        requirements=pb.Requirements(only_models=models),
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text=PROMPT)])],
    )
    metadata = (("authorization", f"Bearer {CALLER}"), ("baggage", f"user.id={BAGGAGE}"), ("tracestate", "=bad"))
    told = []
    try:
        async for one in router.Generate(request, metadata=metadata, timeout=20):
            if one.WhichOneof("event") == "completed":
                one.completed.ClearField("message")
            if one.WhichOneof("event") != "delta":
                told.append(str(one))
    except grpc.aio.AioRpcError as error:
        told.append(f"{error.details()} {error.trailing_metadata()}")
    return "\n".join(told)


async def everything(folder: Path, *, capture: bool) -> Told:
    """Let every model be asked alone, then all in a chain; return what the outside could read."""
    async with provider() as url, grpc_collector() as collector:
        file = config(folder, url, collector.address, capture=capture)
        with serving(folder, "--config", str(file)) as served:
            async with grpc.aio.insecure_channel(served.address) as channel:
                router = RouterStub(channel)
                events = [await ask(router, name) for name in MODELS]
                events.append(await ask(router, *MODELS))
            metrics = await scrape(served.log)
            assert await asyncio.to_thread(served.stop) == 0
            log = served.log
        check_arrived(collector)
        return Told(collector.raw.decode(errors="replace"), log, metrics, "\n".join(events))


async def scrape(log: str) -> str:
    found = re.search(r"metrics on (http://[^\"\s]+)", log)
    assert found is not None, log
    async with aiohttp.ClientSession() as session, session.get(found[1]) as answer:
        return await answer.text()


def check_arrived(collector: Collector) -> None:
    names = {span.name for span in collector.spans}
    assert {f"chat {name}" for name in MODELS} <= names
    assert "attempt 1: 401" in names
    assert "atlas.attempts" in collector.metrics


async def test_without_content_capture_no_canary_sings(tmp_path: Path) -> None:
    told = await everything(tmp_path, capture=False)
    for where, text in told._asdict().items():
        for canary in (*SECRETS, PROMPT, ANSWER):
            assert canary not in text, f"{canary} in {where}"
    assert told.log.count('"logger":"atlas_sidecar.request"') == len(MODELS) + 1


async def test_with_content_capture_prompt_and_answer_are_in_spans_and_nowhere_else(tmp_path: Path) -> None:
    told = await everything(tmp_path, capture=True)
    for where, text in told._asdict().items():
        for canary in SECRETS:
            assert canary not in text, f"{canary} in {where}"
    assert PROMPT in told.spans
    assert ANSWER in told.spans
    for canary in (PROMPT, ANSWER):
        assert canary not in told.log + told.metrics + told.events
