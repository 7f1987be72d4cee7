"""What providers are told of a trace: nothing, but where the configuration says so; and callers, its id."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from aiohttp import web

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from tests.adapters.telemetry.collector import grpc_collector
from tests.e2e.process import serving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"), ("tracestate", "v=1"), ("baggage", "user.id=me"))


@asynccontextmanager
async def provider(seen: dict[str, dict[str, str]]) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        seen[request.match_info["name"]] = {key.lower(): value for key, value in request.headers.items()}
        choices = [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        return web.Response(text=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{name}/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_only_a_provider_that_is_configured_so_continues_the_trace(tmp_path: Path) -> None:
    seen: dict[str, dict[str, str]] = {}
    async with provider(seen) as url, grpc_collector() as collector:
        model = {"context_window": 9000, "max_output_tokens": 99, "reasoning_score": 5, "speed_score": 5}
        names = {"mine": True, "theirs": False}
        settings = {
            "providers": {
                name: {
                    "kind": "openai",
                    "api_key": "none",
                    "base_url": f"{url}/{name}/v1",
                    "propagate_traceparent": told,
                }
                for name, told in names.items()
            },
            "models": {name: {**model, "provider": name, "price": {"input": 1, "output": 1}} for name in names},
            "roles": {"worker": {"tiers": [list(names)]}},
            "telemetry": {"otlp_endpoint": f"http://{collector.address}"},
        }
        file = tmp_path / "atlas.yaml"
        file.write_text(json.dumps(settings))
        with serving(tmp_path, "--config", str(file)) as served:
            async with grpc.aio.insecure_channel(served.address) as channel:
                for name in names:
                    request = pb.GenerateRequest(
                        requirements=pb.Requirements(only_models=[name]),
                        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="hello")])],
                    )
                    events = [one async for one in RouterStub(channel).Generate(request, metadata=CALLER, timeout=20)]
                    assert events[0].started.trace_id == TRACE
                    assert events[-1].completed.trace_id == TRACE
            assert await asyncio.to_thread(served.stop) == 0  # which flushes, and needs this loop's collector
    assert not {"traceparent", "tracestate", "baggage"} & set(seen["theirs"])
    assert not {"tracestate", "baggage"} & set(seen["mine"])
    _, trace_id, span_id, flags = seen["mine"]["traceparent"].split("-")
    assert (trace_id, flags) == (TRACE, "01")
    attempts = {span.span_id.hex() for span in collector.spans if span.name.startswith("attempt")}
    assert span_id in attempts
    roots = [span for span in collector.spans if span.name == "atlas_api.v1.Router/Generate"]
    assert {root.parent_span_id.hex() for root in roots} == {"00f067aa0ba902b7"}
