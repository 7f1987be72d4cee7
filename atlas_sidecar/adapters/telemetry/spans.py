"""Spans without the tracer: each is made once, when it has ended, with its parent named by hand.

Theory of operation. The SDK's tracer takes locks, copies attributes and hangs the current span on a context variable,
which leaks over the yields of an async generator. Here an open span is a few fields; when it ends it becomes the SDK's
ReadableSpan and goes to the SDK's span processors. Rules kept here:
- No context variable is read or written.
- A whole trace lies on one clock: the wall clock at its start, and monotonic time from there.
- Parent-based ratio sampling, as the SDK's TraceIdRatioBased decides it: the low 64 bits of the trace id.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

Value: TypeAlias = str | bool | int | float | Sequence[str]

SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)
_UNSET: Final = Status(StatusCode.UNSET)
_LOW_64: Final = (1 << 64) - 1
MAX_DESCRIPTION: Final = 300  # characters

__all__ = ["NOT_SAMPLED", "SAMPLED", "Link", "OpenSpan", "SpanKind", "Spans", "Value", "traceparent"]


class OpenSpan:
    """A span that has begun. `attributes` may be added to until it ends."""

    __slots__ = ("attributes", "context", "kind", "links", "name", "parent", "start_ns", "status")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        start_ns: int,
        attributes: dict[str, Value],
    ) -> None:
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.start_ns = start_ns
        self.attributes = attributes
        self.links: Sequence[Link] = ()
        self.status = _UNSET

    def failed(self, description: str) -> None:
        """Mark it as an error, with a sentence of ours."""
        self.status = Status(StatusCode.ERROR, description[:MAX_DESCRIPTION])


class Spans:
    """Makes ids, decides on sampling, and hands ended spans to the processors. `ratio`: share of new traces kept."""

    def __init__(self, processors: Sequence[SpanProcessor], resource: Resource, version: str, ratio: float) -> None:
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - 50 ms that only who traces pays
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - as above

        self._readable = ReadableSpan
        self._processors = tuple(processors)
        self._resource = resource
        self._scope = InstrumentationScope("atlas_sidecar", version)
        self._bound = round(ratio * (1 << 64))
        self._bits = random.Random().getrandbits  # noqa: S311 - ids, no secrets

    def root_context(self, parent: SpanContext | None) -> SpanContext:
        """Return the context of a trace's first span here: the caller's trace goes on, sampled as the caller did."""
        if parent is not None:
            return SpanContext(parent.trace_id, self._span_id(), False, parent.trace_flags, parent.trace_state)
        trace_id = self._bits(128) or 1
        sampled = (trace_id & _LOW_64) < self._bound
        return SpanContext(trace_id, self._span_id(), False, SAMPLED if sampled else NOT_SAMPLED)

    def child(
        self, name: str, kind: SpanKind, parent: SpanContext, start_ns: int, attributes: dict[str, Value]
    ) -> OpenSpan:
        """Open a span under another."""
        context = SpanContext(parent.trace_id, self._span_id(), False, parent.trace_flags, parent.trace_state)
        return OpenSpan(name, kind, context, parent, start_ns, attributes)

    def end(self, span: OpenSpan, end_ns: int) -> None:
        """Close a span; it may not be changed any more."""
        readable = self._readable(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=self._resource,
            attributes=span.attributes,
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=span.start_ns,
            end_time=max(end_ns, span.start_ns),
            instrumentation_scope=self._scope,
        )
        for processor in self._processors:
            processor.on_end(readable)

    def _span_id(self) -> int:
        return self._bits(64) or 1


def traceparent(context: SpanContext) -> str:
    """Return the W3C header that continues this span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def remote_context(trace_id: int, span_id: int, flags: int, state: TraceState) -> SpanContext:
    """Return the caller's span, as its headers named it."""
    return SpanContext(trace_id, span_id, True, SAMPLED if flags & 1 else NOT_SAMPLED, state)
