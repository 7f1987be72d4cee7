"""Reads the caller's trace from its gRPC metadata: traceparent, tracestate and baggage of the W3C.

Rules kept here:
- What is malformed is no trace, and never an error: traceparent by https://www.w3.org/TR/trace-context/, a version
  other than 00 may carry more fields behind. Of several none is taken, where they come joined by a
  comma; of repeated entries gRPC itself passes on one.
- Of the baggage one entry is used: `session.id`, which names the conversation. Nothing of it goes anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from opentelemetry.trace import TraceState

from atlas_sidecar.adapters.telemetry.spans import remote_context

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_HEADER: Final = 8192  # characters; the W3C's own bound for baggage
MAX_SESSION: Final = 128
_NO_STATE: Final = TraceState()


def caller_span(metadata: Mapping[str, str]) -> SpanContext | None:
    """Return the caller's span, None when its metadata names none; keys are in lower case."""
    header = metadata.get("traceparent")
    if not header or len(header) > _MAX_HEADER or "," in header:
        return None
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    state = metadata.get("tracestate", "")
    known = TraceState.from_header([state]) if state and len(state) <= _MAX_HEADER else _NO_STATE
    return remote_context(int(trace_id, 16), int(span_id, 16), int(flags, 16), known)


def session_of(metadata: Mapping[str, str]) -> str:
    """Return the `session.id` of the caller's baggage, bounded; "" when there is none."""
    header = metadata.get("baggage")
    if not header or len(header) > _MAX_HEADER:
        return ""
    for member in header.split(","):
        key, _, value = member.partition("=")
        if key.strip() == "session.id":
            text = unquote(value.partition(";")[0].strip())
            return text[:MAX_SESSION] if text.isprintable() else ""
    return ""
