"""Replays provider answers to real adapters over real sockets: recordings, and faults that no recording has.

How to use it (every provider's tests do):

    @pytest.mark.parametrize("recording", load("groq"), ids=name_of)
    async def test_...(recording: Recording, upstream: Upstream) -> None:      # fixture of tests/adapters/conftest.py
        upstream.answer(Answer.of(recording))                                  # or Answer.of(recording, seed=7): splits
        provider = GroqProvider(ProviderSettings("groq", "groq", base_url=upstream.url, api_key=lambda: "test-key"))
        got = await collect(provider, call(recording))                         # never raises ProviderError: got.error
        assert got.text == ...
        await provider.aclose()

`Upstream` speaks HTTP/1.1 by hand, so that it can cut, stall and reset where a server library would not. It keeps the
requests it saw in `requests` (`arrived` is set by the first); `disconnected` is set when the client closes while an
answer stalls or is being sent.
`load` gives an empty list where ../shared/recordings is absent: parametrized tests are then skipped by pytest.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import (
    Capability,
    Finished,
    GenerateRequest,
    Head,
    Message,
    Model,
    ModelRef,
    Opaque,
    OpaqueDelta,
    Part,
    ProviderBatch,
    ProviderCall,
    ProviderEvent,
    ReasoningDelta,
    RefusalDelta,
    Requirements,
    Role,
    SignatureDelta,
    Text,
    TextDelta,
    ToolArguments,
    ToolCallStart,
    Usage,
    UsageReport,
)

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "provider_recordings.jsonl"
_NOT_REPLAYED = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Recording:
    """One line of the recordings. `id`: provider-endpoint-line-sha, stable while the line is."""

    id: str
    line: int
    provider: str
    endpoint: str
    streaming: bool
    status: int
    headers: Mapping[str, str]
    body: bytes
    kinds: tuple[str, ...]
    request: Any

    @property
    def is_sse(self) -> bool:
        """Whether the body is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")


def load(provider: str, endpoint: str = "") -> list[Recording]:
    """Return the recordings of a provider, of one endpoint if named; an empty list where there are none."""
    if not RECORDINGS.exists():
        return []
    found: list[Recording] = []
    for line, text in enumerate(RECORDINGS.read_text(encoding="utf-8").splitlines()):
        row = json.loads(text)
        if row["provider"] != provider or (endpoint and row["endpoint"] != endpoint):
            continue
        sha = hashlib.sha256(text.encode()).hexdigest()[:8]
        found.append(
            Recording(
                id=f"{provider}-{row['endpoint']}-{line}-{sha}",
                line=line,
                provider=provider,
                endpoint=row["endpoint"],
                streaming=row["streaming"],
                status=row["status"],
                headers={name.lower(): value for name, value in row["response_headers"].items()},
                body=(row["response_body"] or "").encode(),
                kinds=tuple(row["kinds"]),
                request=row["request_body"],
            )
        )
    return found


def name_of(recording: Recording) -> str:
    """Return a recording's id, for pytest's `ids`."""
    return recording.id


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream does with one request.

    `before`: "" | "reset" (close without a head) | "stall" (never answer). `after` the chunks: "end" | "cut" (close
    without the end of the body) | "stall". `pause_s` lies between chunks, so that each is a network read of its own.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    chunks: Sequence[bytes] = ()
    before: str = ""
    after: str = "end"
    pause_s: float = 0.0

    @classmethod
    def of(cls, recording: Recording, seed: int | None = None) -> Answer:
        """Return a recording's answer: whole, or with a seed in random splits of its bytes."""
        headers = {name: value for name, value in recording.headers.items() if name not in _NOT_REPLAYED}
        chunks = [recording.body] if seed is None else splits(recording.body, seed)
        return cls(recording.status, headers, [chunk for chunk in chunks if chunk])

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Return a JSON answer."""
        return cls(status, {"content-type": "application/json", **(headers or {})}, [json.dumps(value).encode()])

    @classmethod
    def sse(cls, *data: Any, after: str = "end", pause_s: float = 0.0) -> Answer:
        """Return an event stream: each argument is one event's data, JSON unless it is a string."""
        texts = [item if isinstance(item, str) else json.dumps(item) for item in data]
        return cls(chunks=[f"data: {text}\n\n".encode() for text in texts], after=after, pause_s=pause_s)


def splits(body: bytes, seed: int, most: int = 40) -> list[bytes]:
    """Return the bytes in up to `most` + 1 pieces at random places."""
    chosen = random.Random(seed)
    cuts = sorted(chosen.sample(range(1, len(body)), min(most, len(body) - 1))) if len(body) > 1 else []
    return [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Upstream:
    """A loopback server that answers by a list: the last answer repeats."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Seen] = []
        self.connections = 0
        self.arrived = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.choose: Callable[[Seen], Answer] | None = None  # instead of the list: by the request
        self._answers: list[Answer] = [Answer()]

    def answer(self, *answers: Answer) -> None:
        """Set what the next requests get."""
        self._answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        try:
            while (seen := await _request(reader)) is not None:
                self.requests.append(seen)
                self.arrived.set()
                if self.choose is not None:
                    answer = self.choose(seen)
                else:
                    answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if not await self._send(answer, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.disconnected.set()
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        finally:
            writer.close()

    async def _send(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one answer; return whether the connection goes on."""
        if answer.before == "reset":
            return False
        if answer.before == "stall":
            return await self._stall(reader)
        head = [f"HTTP/1.1 {answer.status} Answer", *(f"{name}: {value}" for name, value in answer.headers.items())]
        writer.write("\r\n".join([*head, "transfer-encoding: chunked", "", ""]).encode("utf-8", "surrogateescape"))
        for chunk in answer.chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
            await asyncio.sleep(answer.pause_s)
        if answer.after == "cut":
            return False
        if answer.after == "stall":
            return await self._stall(reader)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _stall(self, reader: asyncio.StreamReader) -> bool:
        with suppress(ConnectionError):
            await reader.read()  # returns when the client closes
        self.disconnected.set()
        return False


async def _request(reader: asyncio.StreamReader) -> Seen | None:
    """Read one request; None when the client closed instead."""
    try:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS handshake: not spoken here
            raise ConnectionError("TLS")
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, path, headers, body)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """Run an Upstream on 127.0.0.1 at a free port."""
    upstream = Upstream()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(upstream.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    upstream.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ------------------------------------------------------------------------------------------- what comes out


class Streams(Protocol):
    """The part of ports.Provider that is needed here."""

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]: ...


@dataclass(slots=True)
class Got:
    """What an adapter yielded, put together. `tools`: (id, name, arguments' JSON) in order of their parts."""

    head: Head | None = None
    batches: list[list[ProviderEvent]] = field(default_factory=list)
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tools: list[tuple[str, str, str]] = field(default_factory=list)
    opaque: list[Opaque] = field(default_factory=list)
    signatures: dict[int, bytes] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    finished: Finished | None = None
    error: ProviderError | None = None


async def collect(provider: Streams, asked: ProviderCall) -> Got:
    """Run one call to its end; hold the order of events to the port's promise."""
    got = Got()
    try:
        async for batch in provider.stream(asked):
            assert batch, "an empty batch"
            assert got.finished is None, "something came after Finished"
            got.batches.append(list(batch))
    except ProviderError as error:
        got.error = error
    _put_together(got)
    assert (got.finished is None) != (got.error is None), "an answer ends with Finished or an error"
    return got


def _put_together(got: Got) -> None:
    tools: dict[int, list[str]] = {}
    for place, event in enumerate(event for batch in got.batches for event in batch):
        assert isinstance(event, Head) == (place == 0), "Head comes first, once"
        assert got.finished is None, "something came after Finished"
        match event:
            case Head():
                got.head = event
            case TextDelta(_, text):
                got.text += text
            case ReasoningDelta(_, text):
                got.reasoning += text
            case RefusalDelta(_, text):
                got.refusal += text
            case ToolCallStart(index, id_, name):
                assert index not in tools, "one start for each part"
                assert id_, "a tool call without an id"
                assert name, "a tool call without a name"
                tools[index] = [id_, name, ""]
            case ToolArguments(index, fragment):
                tools[index][2] += fragment
            case SignatureDelta(index, signature):
                got.signatures[index] = got.signatures.get(index, b"") + signature
            case OpaqueDelta(_, opaque):
                got.opaque.append(opaque)
            case UsageReport(usage):
                got.usage = usage
            case Finished():
                got.finished, got.usage = event, event.usage
    got.tools = [(id_, name, arguments) for id_, name, arguments in tools.values()]


def model(name: str = "some-model", kind: str = "openai", prefill: bool = False) -> Model:
    """Return a model that can do everything."""
    return Model(
        ModelRef(name, kind, name), kind, 200_000, 8192, 5.0, 5.0, capabilities=frozenset(Capability), prefill=prefill
    )


def call(recording: Recording | None = None, request: GenerateRequest | None = None, **changes: Any) -> ProviderCall:
    """Return a call for what a recording answers: its model, streamed or not; `changes` are ProviderCall's fields."""
    asked = (recording.request or {}) if recording else {}
    kind = recording.provider if recording else "openai"
    values: dict[str, Any] = {
        "model": model(asked.get("model") or "some-model", kind),
        "request": request or GenerateRequest(Requirements(), (Message(Role.USER, (Part(Text("Hello")),)),)),
        "max_output_tokens": 1000,
        "stream": recording.streaming if recording else True,
    }
    return ProviderCall(**{**values, **changes})
