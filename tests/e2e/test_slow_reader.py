"""A caller that reads slowly slows the upstream: what is in between stays bounded, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.app.serve import Sidecar
from atlas_sidecar.config import load

CHUNK_BYTES = 16_384
WHOLE_BYTES = 128 * 1024 * 1024
# Socket buffers of the kernel (6 MB at most each way), aiohttp's 0.5 MB, one batch, gRPC's window.
MOST_ON_THE_WAY_BYTES = 24 * 1024 * 1024
MORE_BYTES = 1024 * 1024

CONFIG = """
listen: ["127.0.0.1:0"]
budget: {{spend_log: {folder}, daily_limit_usd: null}}
providers: {{local: {{kind: openai, base_url: "{url}/v1", api_key: none}}}}
models: {{m: {{provider: local, context_window: 100000, max_output_tokens: 4096,
  reasoning_score: 8, speed_score: 8, price: {{input: 1, output: 2}}}}}}
roles: {{worker: {{tiers: [[m]]}}}}
"""


def event(text: str, finish: str | None = None) -> bytes:
    chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    body = f"data: {json.dumps(chunk)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(body), body)


class Fountain:
    """An upstream that sends as fast as it is read."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.closed = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"data":[]}')
            return
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        piece = event("x" * CHUNK_BYTES)
        try:
            while self.sent_bytes < WHOLE_BYTES:
                writer.write(piece)
                await writer.drain()
                self.sent_bytes += CHUNK_BYTES
            end = b"data: [DONE]\n\n"
            writer.write(event("", "stop") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
            await writer.drain()
        except ConnectionError:
            self.closed.set()
        finally:
            with suppress(OSError):
                writer.close()

    async def still(self) -> int:
        """Return what was sent, once nothing more is."""
        before = -1
        while before != self.sent_bytes:
            before = self.sent_bytes
            await asyncio.sleep(0.5)
        return before


@pytest.fixture
async def fountain() -> AsyncIterator[tuple[Fountain, str]]:
    found = Fountain()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    async with server:
        yield found, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()


@pytest.fixture
async def channel(fountain: tuple[Fountain, str], tmp_path: Path) -> AsyncIterator[Any]:
    file = tmp_path / "atlas.yaml"
    file.write_text(CONFIG.format(folder=tmp_path / "log", url=fountain[1]))
    sidecar = Sidecar(load(str(file), {}), {}, SystemClock())
    addresses, _ = await sidecar.start()
    await sidecar.live.start()
    limits = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(addresses[0], limits) as found:
        yield found
    await sidecar.close(1)


def asked(channel: Any) -> Any:
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="go on and on")])
    return RouterStub(channel).Generate(pb.GenerateRequest(messages=[message]))


async def test_a_reader_that_stops_stops_the_upstream(channel: Any, fountain: tuple[Fountain, str]) -> None:
    upstream, _ = fountain
    answer = asked(channel)
    assert (await answer.read()).HasField("started")
    on_the_way = await upstream.still()
    assert on_the_way < MOST_ON_THE_WAY_BYTES, (
        f"{on_the_way:,} bytes were taken from the upstream, and nobody read them"
    )
    got = 0
    while upstream.sent_bytes < on_the_way + MORE_BYTES:  # reading goes on, and so does the upstream
        got += len((await answer.read()).delta.text)
    assert upstream.sent_bytes - got < MOST_ON_THE_WAY_BYTES
    answer.cancel()
    await asyncio.wait_for(upstream.closed.wait(), 10)


async def test_a_reader_slower_than_the_upstream_gets_every_byte(channel: Any, fountain: tuple[Fountain, str]) -> None:
    upstream, _ = fountain
    answer, got = asked(channel), 0
    upstream.sent_bytes = WHOLE_BYTES - 8 * 1024 * 1024  # a short rest
    async for one in answer:
        if one.HasField("delta"):
            got += len(one.delta.text)
            await asyncio.sleep(0.002)
        if one.HasField("completed"):
            assert len(one.completed.message.parts[0].text) == got
    assert got == 8 * 1024 * 1024
