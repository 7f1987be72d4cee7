"""How records of the spend log become bytes: frames that prove themselves, so that a torn or damaged file says so.

Rules kept here:
- frame = magic (2 bytes), payload length (4), CRC-32 of the payload seeded with the kind (4), kind (1), payload
  (MessagePack).
- Records are arrays: what an earlier version wrote is read, missing last fields by their defaults; whoever adds a field
  or a kind raises VERSION, so that an earlier version refuses the log instead of losing what it cannot read.
- Reading never raises on bytes: what cannot be read is stepped over to the next frame that proves itself, and counted.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from atlas_sidecar.core.spend_records import (
    Applied,
    Checkpoint,
    Closed,
    Fact,
    Finish,
    LogHeader,
    LogRecord,
    Release,
    Reservation,
    Settle,
    Skip,
)

VERSION: Final = 1
MAGIC: Final = b"\xa7L"
FRAME: Final = struct.Struct("<2sIIB")
MAX_PAYLOAD: Final = 16 * 1024 * 1024  # a checkpoint of thousands of open reservations stays far below

HEADER_KIND: Final = 0
_KIND_OF: Final[dict[type, int]] = {
    Reservation: 1,
    Settle: 2,
    Release: 3,
    Finish: 4,
    Skip: 5,
    Checkpoint: 6,
    Applied: 7,
    Closed: 8,
}
_BODY_KINDS: Final = frozenset({2, 3, 4, 5})
_encode: Final = msgspec.msgpack.Encoder().encode
_DECODERS: Final[dict[int, msgspec.msgpack.Decoder[Any]]] = {
    HEADER_KIND: msgspec.msgpack.Decoder(LogHeader),
    1: msgspec.msgpack.Decoder(Reservation),
    2: msgspec.msgpack.Decoder(tuple[int, Settle]),
    3: msgspec.msgpack.Decoder(tuple[int, Release]),
    4: msgspec.msgpack.Decoder(tuple[int, Finish]),
    5: msgspec.msgpack.Decoder(tuple[int, Skip]),
    6: msgspec.msgpack.Decoder(Checkpoint),
    7: msgspec.msgpack.Decoder(Applied),
    8: msgspec.msgpack.Decoder(Closed),
}


def pack(record: LogRecord) -> bytes:
    """Return the frame of one record."""
    if type(record) is Fact:
        kind = _KIND_OF[type(record.body)]
        payload = _encode((record.seq, record.body))
    else:
        kind = _KIND_OF[type(record)]
        payload = _encode(record)
    return FRAME.pack(MAGIC, len(payload), crc32(payload, kind), kind) + payload


def pack_header(header: LogHeader) -> bytes:
    """Return the frame that begins a segment."""
    payload = _encode(header)
    return FRAME.pack(MAGIC, len(payload), crc32(payload, HEADER_KIND), HEADER_KIND) + payload


class Segment(NamedTuple):
    """What a segment's bytes held. `good_bytes`: where its last good frame ends; `damaged`: stretches stepped over
    before it.

    `header` None = the file does not begin with one that can be read. `newer` = its version, when that is unknown here.
    """

    header: LogHeader | None
    records: tuple[LogRecord, ...]
    good_bytes: int
    damaged: int
    newer: int = 0


def read_segment(data: bytes) -> Segment:
    """Return every record of a segment that proves itself, in order."""
    header: LogHeader | None = None
    records: list[LogRecord] = []
    at = good = damaged = 0
    while at < len(data):
        frame = _frame(data, at)
        if frame is None:
            following = _next_frame(data, at + 1)
            if following < 0:
                break  # a torn tail, not damage
            damaged += 1
            at = following
            continue
        kind, payload, end = frame
        if kind == HEADER_KIND and at == 0:
            version = _version(payload)
            if version > VERSION:
                return Segment(None, (), good, damaged, version)
        value = _decode(kind, payload)
        if value is None:
            damaged += 1
        elif isinstance(value, LogHeader):
            header = value
        elif kind in _BODY_KINDS:
            records.append(Fact(header.incarnation if header else "", *value))
        else:
            records.append(value)
        at = good = end
    return Segment(header, tuple(records), good, damaged)


def _frame(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Return (kind, payload, end) of the frame at this place, None when there is none that proves itself."""
    start = at + FRAME.size
    if start > len(data):
        return None
    magic, length, checksum, kind = FRAME.unpack_from(data, at)
    if magic != MAGIC or length > MAX_PAYLOAD or start + length > len(data):
        return None
    payload = data[start : start + length]
    return (kind, payload, start + length) if crc32(payload, kind) == checksum else None


def _next_frame(data: bytes, at: int) -> int:
    while (at := data.find(MAGIC, at)) >= 0:
        if _frame(data, at) is not None:
            return at
        at += 1
    return -1


def _version(payload: bytes) -> int:
    """Return the version that a header of any version begins with, 0 when it is none."""
    try:
        fields = msgspec.msgpack.decode(payload, type=list[Any])
    except msgspec.MsgspecError:
        return 0
    return fields[0] if fields and isinstance(fields[0], int) else 0


def _decode(kind: int, payload: bytes) -> Any:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return None
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError:
        return None
