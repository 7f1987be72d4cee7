"""What tracing costs: CPU time of a sidecar with everything on, over one with everything off.

Two sidecars serve the same short answers of one fast fake provider through the real OpenAI SDK; blocks of calls go to
each in turn, so that the machine's moods meet both. CPU is user + system of the sidecar's process, the export thread
included. Run: `.venv/bin/python -m bench.tracing [--calls 400] [--rounds 6]`; exits 1 above 25 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import yaml
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub

BAR = 0.25


def chunk(delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> str:
    """Return one event of a streamed answer."""
    choices = [] if more else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return f"data: {json.dumps(body)}\n\n"


WORDS = chunk({"content": "word "}) * 3
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
ANSWER = (WORDS + chunk({}, "stop") + chunk({}, usage=USAGE) + "data: [DONE]\n\n").encode()


class Sidecar(NamedTuple):
    """A sidecar in its own process, and a way to call it."""

    process: subprocess.Popen[str]
    stub: Any

    def cpu_s(self) -> float:
        """Return the CPU time of its process, seconds, threads that have ended included; counted in nanoseconds."""
        return time.clock_gettime(~self.process.pid << 3 | 2)  # Linux: CPUCLOCK_SCHED of another process


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Takes everything and counts spans."""

    spans = 0

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the call
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            return metrics_service_pb2.ExportMetricsServiceResponse()
        self.spans += sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans)
        return trace_service_pb2.ExportTraceServiceResponse()


async def provider() -> tuple[web.AppRunner, str]:
    """Serve short answers in OpenAI's dialect."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=ANSWER, content_type="text/event-stream")

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


def start(folder: Path, base_url: str, telemetry: dict[str, Any], name: str) -> Sidecar:
    """Start a sidecar and wait until it serves."""
    config = {
        "listen": ["127.0.0.1:0"],
        "catalog": "default",
        "providers": {"local": {"kind": "openai", "base_url": base_url, "api_key": "none"}},
        "models": {
            "m": {
                "provider": "local",
                "model": "m",
                "context_window": 100_000,
                "max_output_tokens": 4096,
                "reasoning_score": 8,
                "speed_score": 8,
                "price": {"input": 1, "output": 2},
            }
        },
        "roles": {"worker": {"tiers": [["m"]]}},
        "budget": {"spend_log": str(folder / name), "daily_limit_usd": 100},
        **telemetry,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", "from atlas_sidecar.cli import main; raise SystemExit(main())"]
    log = (folder / f"{name}.log").open("w")
    process = subprocess.Popen(
        [*command, "serve", "--config", str(path)], stdout=subprocess.PIPE, stderr=log, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("serving on "):
        raise SystemExit(f"{name} does not serve:\n{(folder / f'{name}.log').read_text()}")
    return Sidecar(process, RouterStub(grpc.aio.insecure_channel(line.removeprefix("serving on ").strip())))


async def block(sidecar: Sidecar, calls: int) -> float:
    """Make calls, one after the other; return the CPU time per call, seconds."""
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="say three words")])
    request = pb.GenerateRequest(messages=[message], requirements=pb.Requirements(agent_type="worker"))
    before_s = sidecar.cpu_s()
    for _ in range(calls):
        last = None
        async for event in sidecar.stub.Generate(request):
            last = event
        if last is None or not last.HasField("completed"):
            raise SystemExit(f"a call did not complete: {last}")
    return (sidecar.cpu_s() - before_s) / calls


async def measure(calls: int, rounds: int) -> bool:
    """Print the table; return whether the bar holds."""
    runner, base_url = await provider()
    server, collector = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    everything = {
        "metrics_listen": "127.0.0.1:0",
        "telemetry": {"otlp_endpoint": f"http://127.0.0.1:{port}", "sample_ratio": 1.0},
    }
    with tempfile.TemporaryDirectory() as folder:
        off = start(Path(folder), base_url, {}, "off")
        on = start(Path(folder), base_url, everything, "on")
        try:
            for sidecar in (off, on):
                await block(sidecar, 100)  # warm up: imports, connections, caches
            pairs = []
            for number in range(rounds):
                order = (off, on) if number % 2 else (on, off)
                cost = {id(sidecar): await block(sidecar, calls) for sidecar in order}
                pairs.append((cost[id(off)], cost[id(on)]))
        finally:
            for sidecar in (off, on):
                sidecar.process.terminate()
                sidecar.process.wait(30)
    await server.stop(1)
    await runner.cleanup()
    return report(pairs, collector.spans)


def report(pairs: list[tuple[float, float]], spans: int) -> bool:
    """Print what was measured; return whether the bar holds."""
    ratios = [on / off - 1 for off, on in pairs]
    print(f"CPU per short Generate, {len(pairs)} pairs of blocks, {spans} spans exported")
    print(f"  off   {statistics.median(off for off, _ in pairs) * 1e3:6.3f} ms")
    print(f"  on    {statistics.median(on for _, on in pairs) * 1e3:6.3f} ms")
    added = statistics.median(ratios)
    print(f"  added {added:6.1%}  (pairs: {', '.join(f'{ratio:.0%}' for ratio in ratios)}; bar {BAR:.0%})")
    return added <= BAR


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=400, help="calls in a block")
    parser.add_argument("--rounds", type=int, default=6, help="pairs of blocks")
    options = parser.parse_args()
    return 0 if asyncio.run(measure(options.calls, options.rounds)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
