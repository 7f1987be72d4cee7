"""One trace as a tree in the terminal: names, durations, a bar on the call's time, what failed and why.

Rules kept here:
- Colours only where they were asked for (a terminal); without them a failure still shows, by its mark.
- Plain functions of finished spans: the demo collects them with `TraceCollector` and prints `render(...)`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from atlas_sidecar.adapters.telemetry import semconv as s
from atlas_sidecar.core.money import format_usd

MAX_TRACES: Final = 100
MAX_SPANS: Final = 1000  # of one trace
BAR: Final = 24  # characters
_RED, _GREEN, _YELLOW, _DIM, _BOLD, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


class TraceCollector(SpanProcessor):
    """Keeps the spans of the last MAX_TRACES traces."""

    def __init__(self) -> None:
        self._traces: OrderedDict[int, list[ReadableSpan]] = OrderedDict()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a finished span."""
        if span.context is None:
            return
        spans = self._traces.setdefault(span.context.trace_id, [])
        if len(spans) < MAX_SPANS:
            spans.append(span)
        while len(self._traces) > MAX_TRACES:
            self._traces.popitem(last=False)

    def take(self, trace_id: str) -> list[ReadableSpan]:
        """Return one trace's spans and forget them; `trace_id`: 32 hex digits."""
        return self._traces.pop(int(trace_id, 16), [])


class _Row(NamedTuple):
    branch: str
    span: ReadableSpan


def render(spans: Sequence[ReadableSpan], *, color: bool = False) -> str:
    """Return the tree of one trace; "" when there are no spans."""
    rows = list(_rows(spans))
    if not rows:
        return ""
    start_ns = min(row.span.start_time or 0 for row in rows)
    end_ns = max(row.span.end_time or 0 for row in rows)
    width = max(len(row.branch) + len(row.span.name) for row in rows)
    return "\n".join(_line(row, width, start_ns, max(end_ns - start_ns, 1), color) for row in rows)


def _rows(spans: Sequence[ReadableSpan]) -> Iterator[_Row]:
    known = {span.context.span_id for span in spans if span.context}
    children: dict[int, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda one: (one.start_time or 0, one.end_time or 0)):
        parent = span.parent.span_id if span.parent is not None and span.parent.span_id in known else 0
        children.setdefault(parent, []).append(span)

    def below(span: ReadableSpan, indent: str) -> Iterator[_Row]:
        mine = children.get(span.context.span_id, []) if span.context else []
        for number, child in enumerate(mine, start=1):
            last = number == len(mine)
            yield _Row(indent + ("└─ " if last else "├─ "), child)
            yield from below(child, indent + ("   " if last else "│  "))

    for root in children.get(0, []):
        yield _Row("", root)
        yield from below(root, "")


def _line(row: _Row, width: int, start_ns: int, total_ns: int, color: bool) -> str:
    span = row.span
    begin, end = span.start_time or 0, span.end_time or 0
    failed = span.status.status_code is StatusCode.ERROR
    paint = _RED if failed else _YELLOW if _is_aside(span) else _GREEN if _served(span) else ""
    name = row.branch + _painted(span.name, paint, color) + " " * (width - len(row.branch) - len(span.name))
    duration = "" if begin == end else _duration((end - begin) / 1e9)
    first = min(BAR - 1, (begin - start_ns) * BAR // total_ns)
    length = max(1, round((end - begin) * BAR / total_ns))
    bar = (" " * first + ("█" * length if begin != end else "·"))[:BAR].ljust(BAR)
    note = ("✗ " if failed else "") + _note(span)
    return f"{name}  {duration:>8}  {_painted(bar, paint or _DIM, color)}  {_painted(note, paint, color)}".rstrip()


def _is_aside(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    return s.WAIT_REASON in attributes or s.SKIP_REASON in attributes


def _served(span: ReadableSpan) -> bool:
    return (span.attributes or {}).get(s.HOP_OUTCOME) == s.OK


def _note(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    if s.OUTCOME in attributes:
        cost = attributes.get(s.COST)
        counts = [_count(attributes.get(s.HOPS), "hop"), _count(attributes.get(s.ATTEMPTS), "attempt")]
        parts = [str(attributes[s.OUTCOME]), *counts]
        return " · ".join([*parts, format_usd(cost if isinstance(cost, int) else None)])
    if span.status.status_code is StatusCode.ERROR:
        return span.status.description or str(attributes.get(s.ERROR_TYPE, ""))
    if s.HOP_OUTCOME in attributes:
        tokens = f"{attributes.get(s.INPUT_TOKENS, '?')!s} → {attributes.get(s.OUTPUT_TOKENS, '?')!s} tokens"
        cost = attributes.get(s.HOP_COST)
        return f"{attributes[s.HOP_REASON]!s} · {tokens} · {format_usd(cost if isinstance(cost, int) else None)}"
    if s.SKIP_DETAIL in attributes:
        return str(attributes[s.SKIP_DETAIL])
    return str(attributes.get(s.DECISION_SELECTED, ""))


def _count(number: object, noun: str) -> str:
    return f"{number!s} {noun}" if number == 1 else f"{number!s} {noun}s"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"


def _painted(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{_PLAIN}" if color and code and text.strip() else text
