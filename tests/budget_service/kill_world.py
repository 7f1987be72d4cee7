"""Real sidecar processes and an upstream that counts: everything in it can be killed, every line can be cut.

Every request names itself in its prompt and in `request_id`, so that what the upstream charged and what the ledger
holds can be compared request by request, also where neither heard the other's last word.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from atlas_api.v1 import router_pb2 as router
from atlas_api.v1.router_pb2_grpc import RouterStub

INPUT_PRICE, OUTPUT_PRICE = 1000, 4000  # nano-USD per token: 1 and 4 USD per million
INPUT_TOKENS, OUTPUT_CAP = 5, 60  # below what sidecars estimate: their reserve is a true cap
CALL = re.compile(rb"call-\d+-\d+")
USER = router.ChatMessage.Role.ROLE_USER
CONFIG = """
listen: ["127.0.0.1:{port}"]
log_level: error
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: "a-test-key"}}
models:
  m1: {{provider: up, model: m1, context_window: 8000, max_output_tokens: {cap}, reasoning_score: 5, speed_score: 5,
       price: {{input: 1.0, output: 4.0}}}}
roles:
  worker: {{tiers: [[m1]]}}
budget: {{node: acme/team{team}, service: "127.0.0.1:{service}", sidecar_id: "sidecar-{number}", spend_log: "{log}"}}
"""


@dataclass
class Upstream:
    """An OpenAI-compatible server: which request asked, what each answer cost, and which answers were told whole.

    It charges for an answer from the moment it was asked, whatever becomes of the connection.
    """

    chance: random.Random
    cost: dict[str, int] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    port: int = 0
    cuts: float = 0.04  # the part of the answers that breaks off

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next((int(x.split(":")[1]) for x in head.splitlines() if x.startswith("content-length:")), 0)
                asked = CALL.search(await reader.readexactly(length))
                if head.startswith("get"):
                    body = b'{"object": "list", "data": []}'
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + _length(body) + body)
                elif not await self._answer(writer, asked.group().decode() if asked else ""):
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, call: str) -> bool:
        """Stream an answer; False when it was cut on purpose."""
        number = f"req-{len(self.cost)}"
        self.asked[number] = call
        cut = self.chance.random() < self.cuts
        tokens = 3 if cut else self.chance.randint(5, OUTPUT_CAP)
        self.cost[number] = INPUT_TOKENS * INPUT_PRICE + tokens * OUTPUT_PRICE
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
        writer.write(f"{head}x-request-id: {number}\r\n\r\n".encode())
        for _ in range(3):
            writer.write(_event({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}))
            await writer.drain()
            await asyncio.sleep(0.02 * self.chance.random())
        if cut:
            return False
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": tokens, "total_tokens": INPUT_TOKENS + tokens}
        writer.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        writer.write(_event({"choices": [], "usage": usage}))
        writer.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self.whole.add(number)
        return True


def _length(body: bytes) -> bytes:
    return f"content-length: {len(body)}\r\n\r\n".encode()


def _event(parts: dict[str, object]) -> bytes:
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m1", **parts}
    return _chunk(b"data: " + json.dumps(event).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@dataclass
class SidecarProcess:
    """`atlas-sidecar serve` with a spend log of its own, on a port of its own."""

    number: int
    port: int
    directory: Path
    kills: int = 0
    process: asyncio.subprocess.Process | None = None
    answered: int = 0
    failed: int = 0
    exhausted: int = 0
    calls: int = 0
    heard: dict[str, int] = field(default_factory=dict)  # what callers were told of attempts, and what each cost

    def configure(self, upstream: int, service: int) -> None:
        text = CONFIG.format(
            port=self.port, upstream=upstream, service=service, number=self.number, team=self.number % 3,
            cap=OUTPUT_CAP, log=self.directory / f"spend-{self.number}",
        )  # fmt: skip
        (self.directory / f"{self.number}.yaml").write_text(text)

    async def start(self) -> None:
        log = (self.directory / f"{self.number}.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "atlas_sidecar", "serve", "--config",
            str(self.directory / f"{self.number}.yaml"), stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
        log.close()
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line.startswith(b"serving on"), (self.directory / f"{self.number}.log").read_text()[-2000:]

    async def end(self, number: int) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
            self.kills += number == signal.SIGKILL
        return await asyncio.wait_for(self.process.wait(), 60)

    async def load(self, until_s: float) -> None:
        """Call Generate over and over, as an agent would, whatever comes back."""
        loop = asyncio.get_running_loop()
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options) as channel:
            stub = RouterStub(channel)
            while loop.time() < until_s:
                self.calls += 1
                try:
                    await self._call(stub, f"call-{self.number}-{self.calls}")
                    self.answered += 1
                except grpc.aio.AioRpcError as error:
                    self.failed += 1
                    self.exhausted += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                    await asyncio.sleep(0.05)

    async def _call(self, stub: Any, name: str) -> None:
        said = router.ChatMessage(role=USER, parts=[router.Part(text=f"Say a word. {name}")])
        async for event in stub.Generate(router.GenerateRequest(messages=[said], request_id=name), timeout=10):
            for end in (event.completed, event.failed):
                for attempt in end.attempts:
                    self.heard[attempt.attempt_id] = attempt.cost.nano_usd

    async def unreported(self) -> int:
        """How many facts wait for the ledger, as its Health says."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            said: Any = RouterStub(channel)
            health = await said.Health(router.HealthRequest(), timeout=5, wait_for_ready=True)
        count: int = health.budget.unreported_facts
        return count
