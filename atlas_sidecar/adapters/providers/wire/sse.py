"""Server-sent events from bytes, incrementally; sans-I/O.

Rules kept here:
- Bytes in, whole events out, in any split: within a UTF-8 character, between CR and LF, anywhere.
- Lines end with LF, CRLF or CR; a byte order mark at the start, comments, `id` and `retry` are skipped; the data lines
  of an event are joined with LF; an event without data is not dispatched (WHATWG HTML, 9.2.6).
- Nothing is decoded: JSON decoders take bytes. What is buffered is bounded; beyond it SseOverflowError is raised.
- The usual stream (LF only, one data line an event) costs a few bytes methods for each event, no loop over bytes.
- Unlike a browser, `close()` dispatches a last event that lacks its blank line: some servers end so after their
  terminator, and a cut event betrays itself, because half a JSON document does not decode.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class SseOverflowError(ValueError):
    """One event grew beyond the bound."""


class SseEvent(NamedTuple):
    """A dispatched event: its type (b"" = none was named) and its data, both as sent."""

    event: bytes
    data: bytes


class SseParser:
    """Turns network reads into events: `feed(bytes)` for each read, `close()` at the end."""

    __slots__ = ("_buffer", "_max_event_bytes", "_scanned", "_skip_lf", "_started")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # no event ends before here: a long event in small reads is not searched again and again
        self._max_event_bytes = max_event_bytes
        self._started = False
        self._skip_lf = False  # the last read ended with CR: an LF that comes first belongs to it

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take one read; return the events that are complete now. Raises SseOverflowError."""
        if not data:
            return []
        if self._skip_lf or b"\r" in data:
            data = self._normalized(data)
        if not self._started:
            data = self._without_bom(data)
        if self._buffer:
            self._buffer += data
            end = self._buffer.rfind(b"\n\n", self._scanned)
            block = bytes(self._buffer[:end]) if end >= 0 else b""
            if end >= 0:
                del self._buffer[: end + 2]
        else:
            end = data.rfind(b"\n\n")
            block = data[:end] if end >= 0 else b""
            self._buffer += data[end + 2 :] if end >= 0 else data
        self._scanned = max(0, len(self._buffer) - 1)
        if len(self._buffer) > self._max_event_bytes:
            raise SseOverflowError(f"an event is longer than {self._max_event_bytes} bytes")
        return self._events(block) if block else []

    def close(self) -> list[SseEvent]:
        """End the input; return the event that was still open, if there is one."""
        left = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return self._events(left)

    def _normalized(self, data: bytes) -> bytes:
        """Return the read with every line end as LF, also one that is split over two reads."""
        if self._skip_lf and data[:1] == b"\n":
            data = data[1:]
        self._skip_lf = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, data: bytes) -> bytes:
        """Return the beginning of the stream without its byte order mark, which may come byte by byte."""
        whole = bytes(self._buffer) + data
        if len(whole) < len(_BOM) and _BOM.startswith(whole):
            return data
        self._started = True
        self._buffer.clear()
        return whole.removeprefix(_BOM)

    def _events(self, block: bytes) -> list[SseEvent]:
        events: list[SseEvent] = []
        append = events.append
        for piece in block.split(b"\n\n"):
            if piece[:6] == b"data: " and b"\n" not in piece:
                append(SseEvent(b"", piece[6:]))
            elif piece:
                event = _parse(piece)
                if event is not None:
                    append(event)
        return events


def _parse(piece: bytes) -> SseEvent | None:
    """Return the event of some lines, None when they hold no data."""
    name = b""
    data: list[bytes] = []
    for line in piece.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value[1:] if value[:1] == b" " else value)
        elif field == b"event":
            name = value[1:] if value[:1] == b" " else value
    return SseEvent(name, data[0] if len(data) == 1 else b"\n".join(data)) if data else None
