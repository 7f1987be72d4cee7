"""Spans as the bytes of OTLP, four times as fast as by building a message for every attribute.

Measured: exporting is most of what tracing costs, and building messages most of that. The field numbers are those of
opentelemetry/proto/trace/v1/trace.proto and common.proto, which are stable. Rules kept here:
- What comes out, parsed, equals what the SDK's own encoder makes (tests/adapters/telemetry/test_otlp_wire.py).
- Spans are ours: of one resource and scope, with attributes of str, bool, int, float and sequences of str.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link, SpanContext, Status, TraceState

_LENGTHS: Final = tuple(bytes((n,)) for n in range(128))
_TWO_TIMES: Final = struct.Struct("<BQBQ")  # start and end, fixed64 fields 7 and 8
_DOUBLE: Final = struct.Struct("<Bd")
_LOCAL_PARENT: Final = b"\x85\x01\x00\x01\x00\x00"  # flags, field 16: the parent is known not to be remote
_REMOTE_PARENT: Final = b"\x85\x01\x00\x03\x00\x00"
_LINK_LOCAL: Final = b"\x35\x00\x01\x00\x00"  # the same of a link, field 6
_LINK_REMOTE: Final = b"\x35\x00\x03\x00\x00"


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return the bytes of an ExportTraceServiceRequest; raises IndexError when there are no spans."""
    resource: list[bytes] = []
    _add_attributes(resource, b"\x0a", spans[0].resource.attributes)
    named = spans[0].instrumentation_scope
    scope = _message(b"\x0a", named.name.encode()) + _message(b"\x12", (named.version or "").encode()) if named else b""
    scope_spans = b"".join((_message(b"\x0a", scope), *(_message(b"\x12", _span(span)) for span in spans)))
    return _message(b"\x0a", _message(b"\x0a", b"".join(resource)) + _message(b"\x12", scope_spans))


def _span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    assert context is not None  # noqa: S101  # ours have one
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        context.span_id.to_bytes(8, "big"),
    ]
    if context.trace_state:
        parts.append(_state(b"\x1a", context.trace_state))
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    parts += (
        _message(b"\x2a", span.name.encode()),
        b"\x30",
        _LENGTHS[span.kind.value + 1],
        _TWO_TIMES.pack(0x39, span.start_time or 0, 0x41, span.end_time or 0),
    )
    attributes = span.attributes
    if attributes:
        _add_attributes(parts, b"\x4a", attributes)
    parts += [_link(link) for link in span.links]
    parts += (_status(span.status), _REMOTE_PARENT if parent is not None and parent.is_remote else _LOCAL_PARENT)
    return b"".join(parts)


def _add_attributes(parts: list[bytes], tag: bytes, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        kind = type(value)
        if kind is str:
            text = value.encode()
            told = _message(b"\x0a", text)
        elif kind is bool:
            told = b"\x10\x01" if value else b"\x10\x00"
        elif kind is int:
            told = b"\x18" + _varint(value)
        elif kind is float:
            told = _DOUBLE.pack(0x21, value)
        else:
            told = _message(b"\x2a", b"".join(_message(b"\x0a", _message(b"\x0a", one.encode())) for one in value))
        parts.append(_message(tag, _key(key) + _message(b"\x12", told)))


@lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    return _message(b"\x0a", name.encode())


def _status(status: Status) -> bytes:
    if status.is_unset:
        return b"\x7a\x00"
    message = _message(b"\x12", status.description.encode()) if status.description else b""
    return _message(b"\x7a", message + b"\x18" + _LENGTHS[status.status_code.value])


def _link(link: Link) -> bytes:
    context: SpanContext = link.context
    ids = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    return _message(b"\x6a", ids + (_LINK_REMOTE if context.is_remote else _LINK_LOCAL))


def _state(tag: bytes, state: TraceState) -> bytes:
    return _message(tag, ",".join(f"{key}={value}" for key, value in state.items()).encode())


def _message(tag: bytes, body: bytes) -> bytes:
    size = len(body)
    return tag + (_LENGTHS[size] if size < 128 else _varint(size)) + body


def _varint(value: int) -> bytes:
    if 0 <= value < 128:
        return _LENGTHS[value]
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
