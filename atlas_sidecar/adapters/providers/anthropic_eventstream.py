"""Amazon's binary event stream, as Bedrock sends it, turned into server-sent events.

Rules kept here:
- One frame: total length, header length, CRC of both (4 bytes each, big endian), headers, payload, CRC of all before.
  (AWS: "Event stream encoding", application/vnd.amazon.eventstream.)
- A `chunk` frame's payload holds one event's JSON in base64; an exception becomes an `error` event of its type.
- A frame that does not add up is an error, never skipped; frames are bounded.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.wire.transport import MAX_BODY_BYTES, Body

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
_PRELUDE: Final = 12
_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes of a header's value, by its type
_SIZED_TYPES: Final = {6, 7}  # bytes and text: two bytes of length, then the value


class EventStreamParser:
    """Turns network reads into server-sent events: `feed(bytes)` for each read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken: msgspec.DecodeError | None = None

    def feed(self, data: bytes) -> bytes:
        """Take one read; return the complete frames as event-stream text.

        Raises msgspec.DecodeError for a broken frame, at the next call where good frames came before it.
        """
        self.check()
        buffer = self._buffer
        buffer += data
        events: list[bytes] = []
        start = 0
        try:
            while len(buffer) - start >= _PRELUDE:
                size = int.from_bytes(buffer[start : start + 4], "big")
                if not _PRELUDE + 4 <= size <= MAX_FRAME_BYTES:
                    raise msgspec.DecodeError("a frame of impossible length")
                if len(buffer) - start < size:
                    break
                events.append(_event(bytes(buffer[start : start + size])))
                start += size
        except msgspec.DecodeError as error:
            if not events:
                raise
            self._broken = error
        del buffer[:start]
        return b"".join(events)

    def check(self) -> None:
        """Raise what was wrong with the last read, if something was."""
        if self._broken is not None:
            raise self._broken

    @property
    def is_empty(self) -> bool:
        """Whether no frame was begun and not ended."""
        return not self._buffer


def _event(frame: bytes) -> bytes:
    header_size = int.from_bytes(frame[4:8], "big")
    if (
        zlib.crc32(frame[:8]) != int.from_bytes(frame[8:12], "big")
        or zlib.crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big")
        or header_size > len(frame) - _PRELUDE - 4
    ):
        raise msgspec.DecodeError("a frame whose checksum is wrong")
    headers = _headers(frame[_PRELUDE : _PRELUDE + header_size])
    payload = frame[_PRELUDE + header_size : -4]
    kind = headers.get(":message-type", "event")
    if kind == "event":
        body = msgspec.json.decode(payload, type=_Chunk)
        try:
            return b"data: " + base64.b64decode(body.bytes, validate=True) + b"\n\n" if body.bytes else b""
        except binascii.Error:
            raise msgspec.DecodeError("a chunk that is no base64") from None
    code = headers.get(":exception-type") or headers.get(":error-code") or kind
    error = {"type": "error", "error": {"type": code, "message": _message(payload, headers)}}
    return b"data: " + msgspec.json.encode(error) + b"\n\n"


class _Chunk(msgspec.Struct):
    bytes: str = ""


def _headers(data: bytes) -> dict[str, str]:
    """Return the headers that are text; the others are passed over."""
    headers: dict[str, str] = {}
    position = 0
    while position < len(data):
        end = position + 1 + data[position]
        name, kind = data[position + 1 : end], data[end] if end < len(data) else -1
        position = end + 1
        if kind in _SIZED_TYPES:
            size = int.from_bytes(data[position : position + 2], "big")
            position += 2
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise msgspec.DecodeError("a frame's header of unknown type")
        if kind == 7:
            headers[name.decode("utf-8", "replace")] = data[position : position + size].decode("utf-8", "replace")
        position += size
    return headers


def _message(payload: bytes, headers: dict[str, str]) -> str:
    try:
        parsed: Any = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        parsed = None
    text = parsed.get("message") if isinstance(parsed, dict) else headers.get(":error-message")
    return text if isinstance(text, str) else ""


class EventStreamBody:
    """A Body that reads frames and gives server-sent events; what wire.answer reads from."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._parser = EventStreamParser()

    async def read(self) -> bytes:
        """Return the events that are there, waiting for the first; b"" at the end."""
        self._parser.check()
        while data := await self._body.read():
            events = self._parser.feed(data)
            if events:
                return events
        if not self._parser.is_empty:
            raise msgspec.DecodeError("the stream ends within a frame")
        return b""

    async def read_all(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body as it is."""
        return await self._body.read_all(max_bytes)

    def finish(self) -> None:
        """End an answer whose terminator came; see Body."""
        self._body.finish()

    def close(self) -> None:
        """Close at once; see Body."""
        self._body.close()
