"""The trace of one call: a server span made by hand, selection, hops, skips; implements ports.Telemetry.

Rules kept here (TRACING):
- Parents are named, never taken from a context variable: a call is an async generator, and those leak over a yield.
- The server span is an error only for the statuses of semconv.SERVER_ERRORS: a refused request is no fault of ours.
- Where the trace is not kept, no span is made: metrics and the log line are all there is.
- What could name a caller's text (prompts, keys, headers, query strings, provider bodies) never comes here, but with
  content capture on.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.trace import SpanContext, SpanKind

from atlas_sidecar.adapters.telemetry import semconv as s
from atlas_sidecar.adapters.telemetry.hops import RecordedHop, asked_attributes
from atlas_sidecar.adapters.telemetry.logs import RequestLine
from atlas_sidecar.adapters.telemetry.meters import Meters
from atlas_sidecar.adapters.telemetry.propagation import MAX_SESSION, caller_span, session_of
from atlas_sidecar.adapters.telemetry.spans import OpenSpan, Spans, Value, traceparent
from atlas_sidecar.adapters.telemetry.story import MAX_TEXT, decision_attributes, outcome_attributes, planned
from atlas_sidecar.core.types import Decision, GenerateRequest, Model, ModelRef, Rejection
from atlas_sidecar.ports import Clock, RequestOutcome

_id_bits: Final = random.Random().getrandbits  # noqa: S311 - ids, no secrets


@dataclass(slots=True)
class Call:
    """What every part of one call's trace needs. `spans` None = this trace is not kept.

    `asked`: attributes of every hop; `captured`: the request, where content is captured; `passed_on`: the traceparent
    for a provider where no span of ours can be named.
    """

    clock: Clock
    offset_s: float
    meters: Meters
    spans: Spans | None
    root: OpenSpan | None
    passed_on: str = ""
    asked: dict[str, Value] = field(default_factory=dict)
    captured: GenerateRequest | None = None

    def now_ns(self) -> int:
        """Return the time of now: the wall clock at the call's start, and monotonic time from there."""
        return int((self.clock.monotonic_s() + self.offset_s) * 1e9)

    def waited(self, parent: SpanContext, seconds: float, why: str, end_ns: int) -> None:
        """Record a wait that ended then."""
        if self.spans is None:
            return
        told = f"{seconds:.1f}".removesuffix(".0") if seconds >= 0.1 else f"{seconds:.2f}"
        attributes: dict[str, Value] = {s.KIND: s.KIND_CHAIN, s.WAIT_REASON: why}
        start_ns = end_ns - int(seconds * 1e9)
        self.spans.end(self.spans.child(f"{why} {told}s", SpanKind.INTERNAL, parent, start_ns, attributes), end_ns)


class RecordedRequest:
    """One Generate or Select call; implements ports.RequestTrace."""

    def __init__(self, call: Call, method: str, trace_id: str, line: RequestLine) -> None:
        self._call = call
        self._method = method
        self._trace_id = trace_id
        self._line = line
        self._start_ns = call.now_ns()
        self._role = s.OTHER  # until selection has named a configured one: a caller's text is no label
        self._hop: RecordedHop | None = None
        self._said: RecordedHop | None = None  # the last that gave content: what a continuation carries on
        self._skips: set[tuple[str, str]] = set()

    @property
    def trace_id(self) -> str:
        """32 hex digits: the caller's trace or a new one, also where no trace is kept; the log line has it too."""
        return self._trace_id

    def selected(self, decision: Decision, started_unix_s: float, seconds: float) -> None:
        """Record the selection that just ended."""
        call = self._call
        self._role = decision.role
        if call.spans is None or call.root is None:
            return
        call.root.attributes[s.ROLE] = decision.role
        if decision.order:
            call.root.attributes[s.PLANNED] = planned(decision.order)
        end_ns = call.now_ns()
        start_ns, attributes = end_ns - int(seconds * 1e9), decision_attributes(decision)
        span = call.spans.child("atlas.select", SpanKind.INTERNAL, call.root.context, start_ns, attributes)
        call.spans.end(span, end_ns)

    def start_hop(self, index: int, model: Model, reason: str, address: tuple[str, int]) -> RecordedHop:
        """Open a hop; `reason`: primary | fallback | continuation | restart."""
        earlier, hop = self._hop, RecordedHop(self._call, index, model, reason, address)
        if earlier is not None:
            self._call.meters.moved_on(earlier.model.ref.id, model.ref.id, earlier.error_label)
            if earlier.first_content_s is not None:
                self._said = earlier
            if reason == "continuation" and self._said is not None and self._said.span is not None:
                hop.continues(self._said.span.context)
        self._hop = hop
        return hop

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        """Record a wait between two hops, that just ended."""
        if self._call.root is not None:
            self._call.waited(self._call.root.context, seconds, why, self._call.now_ns())

    def skipped(self, model: ModelRef, rejection: Rejection | None, detail: str) -> None:
        """Record that a model was passed over without being asked; once for each reason."""
        self._skip(model, rejection.name.lower() if rejection is not None else "unknown", detail)

    def repeat_refused(self, model: ModelRef) -> None:
        """Record that a model was not asked again; once."""
        self._skip(model, s.RETRY_QUOTA, "it fails too often to be asked again")

    def _skip(self, model: ModelRef, label: str, detail: str) -> None:
        call = self._call
        if (model.id, label) in self._skips:
            return
        self._skips.add((model.id, label))
        call.meters.skipped(label)
        if call.spans is None or call.root is None:
            return
        attributes: dict[str, Value] = {
            s.KIND: s.KIND_CHAIN,
            s.SKIP_REASON: label,
            s.SKIP_DETAIL: detail[:MAX_TEXT],
            s.MODEL_ID: model.id,
            s.PROVIDER_ID: model.provider,
        }
        now_ns = call.now_ns()
        name = f"skip {model.model}: {label}"
        call.spans.end(call.spans.child(name, SpanKind.INTERNAL, call.root.context, now_ns, attributes), now_ns)

    def end(self, outcome: RequestOutcome) -> None:
        """Close the call: span, metrics and one log line."""
        call, end_ns = self._call, self._call.now_ns()
        elapsed_s = (end_ns - self._start_ns) / 1e9
        call.meters.request_ended(self._method, self._role, elapsed_s, outcome)
        if call.spans is not None and call.root is not None:
            root = call.root
            root.attributes.update(outcome_attributes(outcome))
            if outcome.status_code in s.SERVER_ERRORS:
                root.attributes[s.ERROR_TYPE] = outcome.reason.value if outcome.reason else s.OTHER
                root.failed(outcome.message)
            call.spans.end(root, end_ns)
        self._line.write(outcome, elapsed_s)


@dataclass(frozen=True, slots=True)
class TraceTools:
    """What calls are traced with. `spans` None = no trace goes anywhere."""

    clock: Clock
    meters: Meters
    spans: Spans | None
    capture_content: bool = False


class OtelTelemetry:
    """Traces, metrics and logs of calls; implements ports.Telemetry."""

    def __init__(self, tools: TraceTools) -> None:
        self._tools = tools

    @property
    def meters(self) -> Meters:
        """The metrics, for who exports them."""
        return self._tools.meters

    def start_request(
        self, method: str, metadata: Mapping[str, str], request: GenerateRequest | None
    ) -> RecordedRequest:
        """Open the server span of `method` ("Generate", "Select"), continuing the caller's trace from its metadata."""
        tools = self._tools
        clock, caller = tools.clock, caller_span(metadata)
        call = Call(clock, clock.unix_s() - clock.monotonic_s(), tools.meters, None, None)
        trace_id = f"{caller.trace_id:032x}" if caller is not None else ""
        if tools.spans is not None:
            context = tools.spans.root_context(caller)
            trace_id = f"{context.trace_id:032x}"
            if context.trace_flags.sampled:
                call.spans = tools.spans
                call.root = _root(call, method, context, caller)
                self._describe(call, request, metadata)
            call.passed_on = traceparent(caller or context)
        elif caller is not None:
            call.passed_on = traceparent(caller)
        else:  # no trace goes anywhere: an id that the caller and the log line share
            trace_id = f"{_id_bits(128) or 1:032x}"
        line = RequestLine(method, trace_id, request.request_id if request is not None else "")
        return RecordedRequest(call, method, trace_id, line)

    def counted(self, method: str, elapsed_s: float, status_code: int) -> None:
        """Record a call that leaves no trace, as what asks for health every few seconds should not."""
        self._tools.meters.call_ended(method, elapsed_s, status_code)

    def _describe(self, call: Call, request: GenerateRequest | None, metadata: Mapping[str, str]) -> None:
        if request is None or call.root is None:
            return
        needs = request.requirements
        session = needs.session_id[:MAX_SESSION] or session_of(metadata)
        call.asked = asked_attributes(request, session)
        attributes = call.root.attributes
        attributes[s.COMPLEXITY] = needs.complexity.name.lower()
        if request.request_id:
            attributes[s.REQUEST_ID] = request.request_id[:MAX_TEXT]
        if session:
            attributes[s.CONVERSATION] = session
        if self._tools.capture_content:
            call.captured = request


def _root(call: Call, method: str, context: SpanContext, caller: SpanContext | None) -> OpenSpan:
    name = f"{s.SERVICE}/{method}"
    attributes: dict[str, Value] = {s.KIND: s.KIND_CHAIN, s.RPC_SYSTEM: "grpc", s.RPC_METHOD: name}
    return OpenSpan(name, SpanKind.SERVER, context, caller, call.now_ns(), attributes)
