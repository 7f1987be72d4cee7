"""The trace of one hop and of its attempts: GenAI and HTTP spans, and what the metrics learn of both.

Rules kept here:
- Nothing is done per chunk. Where the trace is not kept (`span` None) only the metrics are told.
- A hop ends with its last attempt or wait: a wait for what comes next (the budget) is not its own.
- A failed hop or attempt is an error; one that the caller cancelled is not, it only says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas_sidecar.adapters.telemetry import semconv as s
from atlas_sidecar.adapters.telemetry.content import content_attributes
from atlas_sidecar.adapters.telemetry.spans import Link, OpenSpan, SpanKind, Value, traceparent
from atlas_sidecar.adapters.telemetry.story import hop_attributes
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Attempt, GenerateRequest, Model
from atlas_sidecar.ports import HopOutcome

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from atlas_sidecar.adapters.telemetry.traces import Call


class RecordedAttempt:
    """One HTTP request; implements ports.AttemptTrace."""

    __slots__ = ("_call", "_hop", "_number", "_span")

    def __init__(self, call: Call, hop: RecordedHop, number: int, attempt_id: str) -> None:
        self._call = call
        self._hop = hop
        self._number = number
        self._span: OpenSpan | None = None
        if call.spans is not None and hop.span is not None:
            attributes: dict[str, Value] = {
                s.KIND: s.KIND_CHAIN,
                s.HTTP_METHOD: "POST",
                s.ATTEMPT_NUMBER: number,
                s.ATTEMPT_ID: attempt_id,
                **hop.peer,
            }
            if number > 1:
                attributes[s.HTTP_RESENDS] = number - 1
            now_ns = call.now_ns()
            self._span = call.spans.child(f"attempt {number}", SpanKind.CLIENT, hop.span.context, now_ns, attributes)

    @property
    def traceparent(self) -> str:
        """The W3C header that would continue the trace at the provider; the caller's own where we keep none."""
        return traceparent(self._span.context) if self._span is not None else self._call.passed_on

    def end(self, attempt: Attempt, error: ProviderError | None) -> None:
        """Close it with what happened."""
        call = self._call
        label = error.error_class.label if error is not None else ""
        call.meters.attempt_ended(attempt, label)
        self._hop.last_ns = end_ns = call.now_ns()
        span = self._span
        if span is None or call.spans is None:
            return
        status = attempt.http_status
        told = label if error is not None and status < 400 else str(status or s.OK)
        span.name = f"attempt {self._number}: {told}"
        attributes = span.attributes
        attributes[s.ATTEMPT_OUTCOME] = label or s.OK
        if status:
            attributes[s.HTTP_STATUS] = status
        if attempt.provider_request_id:
            attributes[s.ATTEMPT_PROVIDER_ID] = attempt.provider_request_id[:128]
        if error is not None and error.error_class is not ErrorClass.CANCELLED:
            attributes[s.ERROR_TYPE] = label
            if error.retry_after_s is not None:
                attributes[s.ATTEMPT_RETRY_AFTER] = round(error.retry_after_s, 3)
            span.failed(error.message)
        call.spans.end(span, end_ns)


class RecordedHop:
    """One model asked, its retries included; implements ports.HopTrace."""

    __slots__ = ("_call", "_start_ns", "error_label", "first_content_s", "last_ns", "model", "peer", "span")

    def __init__(self, call: Call, index: int, model: Model, reason: str, address: tuple[str, int]) -> None:
        self._call = call
        self.first_content_s: float | None = None
        self._start_ns = call.now_ns()
        self.last_ns = 0
        self.model = model
        self.error_label = ""
        self.peer: dict[str, Value] = {}
        self.span: OpenSpan | None = None
        if call.spans is None or call.root is None:
            return
        host, port = address
        self.peer = {s.SERVER_ADDRESS: host, s.SERVER_PORT: port} if port else {s.SERVER_ADDRESS: host}
        ref = model.ref
        attributes: dict[str, Value] = {
            s.KIND: s.KIND_LLM,
            s.OPERATION: s.CHAT,
            s.PROVIDER: s.PROVIDER_NAMES.get(model.provider_kind, model.provider_kind),
            s.REQUEST_MODEL: ref.model,
            s.MODEL_ID: ref.id,
            s.PROVIDER_ID: ref.provider,
            s.HOP_INDEX: index,
            s.HOP_REASON: reason,
            **self.peer,
            **call.asked,
        }
        name = f"chat {ref.model}"
        self.span = call.spans.child(name, SpanKind.CLIENT, call.root.context, self._start_ns, attributes)

    def continues(self, earlier: SpanContext) -> None:
        """Link to the hop whose answer this one carries on."""
        if self.span is not None:
            self.span.links = (Link(earlier),)
            self.span.attributes[s.CONTINUES] = f"{earlier.span_id:016x}"

    def restarted(self) -> None:
        """Take the continuation back: what follows is an answer of its own."""
        if self.span is not None:
            self.span.links = ()
            self.span.attributes.pop(s.CONTINUES, None)
            self.span.attributes[s.HOP_REASON] = "restart"

    def start_attempt(self, number: int, attempt_id: str) -> RecordedAttempt:
        """Open the span of one request; number counts from 1."""
        return RecordedAttempt(self._call, self, number, attempt_id)

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        """Record a wait that just ended as a span of its own."""
        self.last_ns = self._call.now_ns()
        if self.span is not None:
            self._call.waited(self.span.context, seconds, why, self.last_ns)

    def first_content(self, seconds: float) -> None:
        """Record the time from the hop's start to its first content."""
        self.first_content_s = seconds
        if self.span is not None:
            self.span.attributes[s.FIRST_CHUNK] = round(seconds, 6)

    def end(self, outcome: HopOutcome) -> None:
        """Close the hop."""
        call, end_ns = self._call, self.last_ns or self._call.now_ns()
        error_class = outcome.error_class
        self.error_label = error_class.label if error_class is not None else ""
        elapsed_s = (end_ns - self._start_ns) / 1e9
        call.meters.hop_ended(self.model, self.error_label, elapsed_s, self.first_content_s, outcome)
        span = self.span
        if span is None or call.spans is None:
            return
        attributes = span.attributes
        attributes.update(hop_attributes(outcome))
        attributes[s.HOP_OUTCOME] = self.error_label or s.OK
        if error_class is not None and error_class is not ErrorClass.CANCELLED:
            attributes[s.ERROR_TYPE] = self.error_label
            span.failed(outcome.message)
        if call.captured is not None:
            answer = outcome.answer() if outcome.answer is not None else None
            attributes.update(content_attributes(call.captured, answer, outcome.finish_reason))
        call.spans.end(span, end_ns)


def asked_attributes(request: GenerateRequest, session: str) -> dict[str, Value]:
    """Return what a request asks of every model, as attributes of its hops."""
    attributes: dict[str, Value] = {s.REQUEST_STREAM: True}
    sampling, cap = request.sampling, request.limits.max_output_tokens
    if session:
        attributes[s.CONVERSATION] = session
    if cap is not None:
        attributes[s.REQUEST_MAX_TOKENS] = cap
    if sampling.temperature is not None:
        attributes[s.REQUEST_TEMPERATURE] = sampling.temperature
    if sampling.top_p is not None:
        attributes[s.REQUEST_TOP_P] = sampling.top_p
    return attributes
