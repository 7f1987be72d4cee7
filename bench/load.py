"""The load generator: grpc.aio, bytes in and out, so that it is light; or as an agent with the typed stubs.

Commands, each answered when its calls are done:
  {"address", "method", "request": hex, "calls", "at_once"} -> {"first_s", "elapsed_s", "messages", "refused"}
  {"address", "request": hex, "calls", "agent": true}                  -> the same, through atlas_api's typed stub
  {"address", "method", "request", "calls", "gaps": true, ...}         -> also the gaps between messages, as percentiles
A call that is refused with RESOURCE_EXHAUSTED is counted; any other failure ends the generator.

    python -m bench.load
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc
import grpc.aio

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from bench.processes import serve_commands

SELECT: Final = "/atlas_api.v1.Router/Select"
GENERATE: Final = "/atlas_api.v1.Router/Generate"
_channels: dict[tuple[str, int], grpc.aio.Channel] = {}


class Run:
    """One command's calls and what came of them. Times in seconds."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.left = command["calls"]
        self.gapless = not command.get("gaps")
        self.first_s: list[float] = []
        self.whole_s: list[float] = []
        self.refused_s: list[float] = []
        self.gaps_s: list[float] = []
        self.messages = 0

    async def streams(self, call: Any, request: Any) -> None:
        """Make calls one after the other until none is left."""
        while self.left > 0:
            self.left -= 1
            await self.stream(call(request))

    async def stream(self, answer: Any) -> None:
        """Read one streamed answer. Its first message is `started`, or the first content."""
        started_s = last_s = time.perf_counter()
        count = 0
        try:
            async for _ in answer:
                count += 1
                if count == 1 or not self.gapless:
                    now_s = time.perf_counter()
                    if count == 1:
                        self.first_s.append(now_s - started_s)
                    elif count > 2:
                        self.gaps_s.append(now_s - last_s)
                    last_s = now_s
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            self.refused_s.append(time.perf_counter() - started_s)
            return
        self.whole_s.append(time.perf_counter() - started_s)
        self.messages += count

    async def agent(self, call: Any, request: Any) -> None:
        """Read typed answers one after the other, as an agent does: its first content is the first delta."""
        while self.left > 0:
            self.left -= 1
            started_s, first, text = time.perf_counter(), True, ""
            async for event in call(request):
                if event.WhichOneof("event") == "delta":
                    if first:
                        self.first_s.append(time.perf_counter() - started_s)
                        first = False
                    text += event.delta.text
            assert text
            self.messages += 1

    async def unary(self, call: Any, request: Any) -> None:
        """Make unary calls one after the other until none is left."""
        while self.left > 0:
            self.left -= 1
            started_s = time.perf_counter()
            await call(request)
            self.whole_s.append(time.perf_counter() - started_s)
            self.messages += 1


async def handle(command: dict[str, Any]) -> Any:
    """Carry out one command."""
    address, request, run = command["address"], bytes.fromhex(command["request"]), Run(command)
    channels = [_channel(address, number) for number in range(command.get("connections", 1))]
    channel = channels[0]
    started_s = time.perf_counter()
    if command.get("agent"):
        await run.agent(RouterStub(channel).Generate, pb.GenerateRequest.FromString(request))
    else:
        streamed = command["method"].endswith(("Generate", "Stream"))
        calls: list[Any] = [(c.unary_stream if streamed else c.unary_unary)(command["method"]) for c in channels]
        one = run.streams if streamed else run.unary
        at_once = range(command.get("at_once", 1))
        await asyncio.gather(*(one(calls[number % len(calls)], request) for number in at_once))
    return {
        "elapsed_s": time.perf_counter() - started_s,
        "first_s": run.first_s,
        "whole_s": run.whole_s,
        "messages": run.messages,
        "refused": len(run.refused_s),
        "refused_max_s": max(run.refused_s, default=0.0),
        "gaps": percentiles(run.gaps_s),
    }


def _channel(address: str, number: int) -> grpc.aio.Channel:
    """Return a connection of its own for each number."""
    found = _channels.get((address, number))
    if found is None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        found = _channels[address, number] = grpc.aio.insecure_channel(address, options)
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50, p99 and the largest."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[len(ordered) * 99 // 100], "max": ordered[-1]}


if __name__ == "__main__":
    serve_commands(handle)
