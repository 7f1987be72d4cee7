"""A fake upstream fast enough not to be what is measured: one process, ready-made bytes, no parsing but HTTP's.

It answers the four providers' wires, unary or streamed (by the path, or `"stream":true` in the body), with one short
text or a stream of CHUNKS chunks: all at once, or paced. A model's name says otherwise: "m-chunks-10" has 10 chunks,
"m-paced-50" sends 50 a second.

    python -m bench.upstream        prints its port; counts of requests at GET /count
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Final

CHUNKS: Final = 100
TEXT: Final = "word "
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PACED: Final = re.compile(rb"-paced-(\d+)")
_COUNT: Final = re.compile(rb"-chunks-(\d+)")
_STREAMED: Final = re.compile(rb'"stream": ?true')


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _openai_unary() -> bytes:
    message = {"role": "assistant", "content": TEXT * 10, "refusal": None}
    return _json(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
        }
    )


def _openai_events(count: int) -> list[bytes]:
    def chunk(delta: object, finish: str | None = None, **more: object) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return b"data: " + _json({**head, "choices": choices, "usage": None, **more}) + b"\n\n"

    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    end = chunk({}, "stop")
    last = b"data: " + _json(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": usage,
        }
    )
    first = chunk({"role": "assistant", "content": "", "refusal": None})
    return [first, *[chunk({"content": TEXT})] * count, end, last + b"\n\ndata: [DONE]\n\n"]


def _groq_events(count: int) -> list[bytes]:
    events = _openai_events(count)
    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}]
    end = _json({**head, "choices": choices, "x_groq": {"id": "r", "usage": usage}})
    return [*events[: count + 1], b"data: " + end + b"\n\ndata: [DONE]\n\n"]


def _anthropic_message(usage: object, content: list[object], stop: str | None) -> dict[str, object]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _anthropic_unary() -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 10}
    return _json(_anthropic_message(usage, [{"type": "text", "text": TEXT * 10}], "end_turn"))


def _anthropic_events(count: int) -> list[bytes]:
    def event(name: str, **body: object) -> bytes:
        return f"event: {name}\ndata: ".encode() + _json({"type": name, **body}) + b"\n\n"

    start = _anthropic_message({"input_tokens": 10, "output_tokens": 1}, [], None)
    delta = event("content_block_delta", index=0, delta={"type": "text_delta", "text": TEXT})
    return [
        event("message_start", message=start)
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[delta] * count,
        event("content_block_stop", index=0)
        + event(
            "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": count}
        )
        + event("message_stop"),
    ]


def _google_answer(text: str, tokens: int, finish: str | None) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 10, "candidatesTokenCount": tokens, "totalTokenCount": 10 + tokens}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}


def _google_events(count: int) -> list[bytes]:
    body = b"data: " + _json(_google_answer(TEXT, 1, None)) + b"\r\n\r\n"
    end = b"data: " + _json(_google_answer(TEXT, count, "STOP")) + b"\r\n\r\n"
    return [body] * (count - 1) + [end]


UNARY: Final = {
    b"chat": _openai_unary(),
    b"messages": _anthropic_unary(),
    b"generateContent": _json(_google_answer(TEXT * 10, 10, "STOP")),
}
EVENTS: Final[dict[bytes, Callable[[int], list[bytes]]]] = {
    b"chat": _openai_events,
    b"groq": _groq_events,
    b"messages": _anthropic_events,
    b"streamGenerateContent": _google_events,
}


def _whole(body: bytes, content_type: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + content_type + b"\r\nx-request-id: req_1\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n" % len(body) + body + b"\r\n"


_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n"
)
WHOLE: Final = {kind: _whole(body, b"application/json") for kind, body in UNARY.items()}


@cache
def events_of(kind: bytes, count: int) -> list[bytes]:
    """Return the events of a streamed answer, each in an HTTP chunk of its own."""
    return list(map(_chunked, EVENTS[kind](count)))


@cache
def at_once(kind: bytes, count: int) -> bytes:
    """Return a whole streamed answer."""
    return _STREAM_HEAD + b"".join(events_of(kind, count)) + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection."""

    requests = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length.group(1)) if length else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._answer(head.split(b"\r\n", 1)[0], body)

    def _answer(self, line: bytes, body: bytes) -> None:
        assert self._transport is not None
        if b"/count" in line:
            self._transport.write(_whole(b"%d" % Upstream.requests, b"text/plain"))
            return
        if line.startswith(b"GET"):
            self._transport.write(_whole(b'{"object":"list","data":[]}', b"application/json"))
            return
        Upstream.requests += 1
        kind, streamed = _kind(line, body)
        if not streamed:
            self._transport.write(WHOLE[kind])
            return
        named = line + body[:4096]
        counted = _COUNT.search(named)
        count = int(counted.group(1)) if counted else CHUNKS
        if paced := _PACED.search(named):
            task = asyncio.ensure_future(self._pace(events_of(kind, count), float(paced.group(1))))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
        else:
            self._transport.write(at_once(kind, count))

    async def _pace(self, events: list[bytes], rate: float) -> None:
        assert self._transport is not None
        self._transport.write(_STREAM_HEAD)
        started, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()
        for i, event in enumerate(events):
            await asyncio.sleep(max(0.0, started + i / rate - loop.time()))
            if self._transport.is_closing():
                return
            self._transport.write(event)
        self._transport.write(b"0\r\n\r\n")


_tasks: set[asyncio.Task[None]] = set()


def _kind(line: bytes, body: bytes) -> tuple[bytes, bool]:
    if b"streamGenerateContent" in line:
        return b"streamGenerateContent", True
    if b"generateContent" in line:
        return b"generateContent", False
    streamed = _STREAMED.search(body) is not None
    if b"/messages" in line:
        return b"messages", streamed
    return (b"groq" if streamed and b"/openai/" in line else b"chat"), streamed


async def main() -> None:
    """Serve until stopped."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
