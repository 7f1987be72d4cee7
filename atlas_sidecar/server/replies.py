"""Turns decisions and events into the wire's messages.

Rules kept here:
- One event, one message, numbered 1, 2, 3, ... without gaps; neighbouring text of one network read becomes one delta.
- A message is filled in its place: protobuf copies what is made apart and put in, level by level.
- Money that is unknown is unset, never 0; durations and times are exact to the nanosecond of the float given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.types import (
    Attempt,
    Candidate,
    Decision,
    Delta,
    ModelRef,
    Opaque,
    OpaqueDelta,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    TextDelta,
    ToolArguments,
    ToolCallStart,
    Usage,
)
from atlas_sidecar.runtime.answer import merge_text
from atlas_sidecar.runtime.events import Batch, Completed, Failure, HopFailed, Reset, Started
from atlas_sidecar.server.messages import fill_message

MAX_METADATA_DEPTH: Final = 24  # each level is up to three messages on the wire, and parsers stop at 100
_LARGEST_EXACT: Final = 2**53  # of the whole numbers that a double holds exactly
_LONGEST_NUMBER: Final = 1024  # bits


class EventWriter:
    """Numbers the events of one call; `last_seq` is that of the last event made."""

    __slots__ = ("last_seq",)

    def __init__(self) -> None:
        self.last_seq = 0

    def messages(self, batch: Batch) -> Iterator[pb.GenerateEvent]:
        """Yield the wire's messages of one batch."""
        events: Sequence[Any] = batch.events
        for event in merge_text(events) if len(events) > 1 else events:
            self.last_seq += 1
            message = pb.GenerateEvent(seq=self.last_seq, hop=batch.hop)
            if isinstance(event, TextDelta):  # most of them
                delta = message.delta
                delta.index, delta.text = event
            else:
                self._fill(message, event)
            yield message

    def _fill(self, message: pb.GenerateEvent, event: Any) -> None:  # any RouterEvent
        match event:
            case Started():
                _fill_started(message.started, event)
            case HopFailed():
                _fill_hop_failed(message.hop_failed, event)
            case Reset(from_index):
                message.reset.from_index = from_index
            case Completed():
                _fill_completed(message.completed, event)
            case Failure():
                _fill_failure(message.failed, event, self.last_seq - 1)
            case _:
                _fill_delta(message.delta, event)


def _fill_delta(wire: pb.PartDelta, delta: Delta) -> None:
    wire.index = delta.index
    match delta:
        case ReasoningDelta(_, text):
            wire.reasoning = text
        case ToolCallStart(_, call_id, name):
            wire.tool_call.id, wire.tool_call.name = call_id, name
        case ToolArguments(_, fragment):
            wire.tool_arguments_json = fragment
        case SignatureDelta(_, signature):
            wire.signature = signature
        case RefusalDelta(_, text):
            wire.refusal = text
        case OpaqueDelta(_, Opaque(provider, kind, text)):
            wire.opaque.provider, wire.opaque.type, wire.opaque.json = provider, kind, text
        case TextDelta(_, text):
            wire.text = text


def _fill_started(wire: pb.Started, event: Started) -> None:
    _fill_model(wire.model, event.model)
    wire.decision_id = event.decision_id
    wire.trace_id = event.trace_id
    if event.decision:
        fill_decision(wire.decision, event.decision)


def _fill_hop_failed(wire: pb.HopFailed, event: HopFailed) -> None:
    _fill_model(wire.model, event.model)
    wire.error_class = event.error_class.value  # type: ignore[assignment]  # the numbers are the wire's
    wire.code = event.code
    wire.message = event.message
    wire.attempts = event.attempts
    _fill_duration(wire.elapsed, event.elapsed_s)
    _fill_duration(wire.retry_after, event.retry_after_s)
    if event.next:
        _fill_model(wire.next, event.next)


def _fill_completed(wire: pb.Completed, event: Completed) -> None:
    _fill_model(wire.model, event.model)
    wire.finish_reason = event.finish_reason.value  # type: ignore[assignment]  # the numbers are the wire's
    wire.raw_finish_reason = event.raw_finish_reason
    _fill_usage(wire.usage, event.usage)
    _fill_usage(wire.total_usage, event.total_usage)
    wire.cost.nano_usd = event.cost_nano_usd
    wire.cost_estimated = event.cost_estimated
    wire.cost_incomplete = event.cost_incomplete
    for attempt in event.attempts:
        _fill_attempt(wire.attempts.add(), attempt)
    fill_message(wire.message, event.message)
    wire.provider_request_id = event.provider_request_id
    _fill_duration(wire.time_to_first_token, event.time_to_first_token_s)
    _fill_duration(wire.elapsed, event.elapsed_s)
    wire.trace_id = event.trace_id
    if event.metadata:
        wire.provider_metadata.update(_told(event.metadata, 0))


def _told(value: Any, depth: int) -> Any:  # any JSON
    """Return a provider's JSON as a Struct can carry it: large numbers as text, null for what is nested too deep.

    A Struct's numbers are doubles, and protobuf refuses to parse what is nested deeper than 100 messages.
    """
    if isinstance(value, dict | list | tuple) and depth >= MAX_METADATA_DEPTH:
        return None
    if isinstance(value, dict):
        return {str(key): _told(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one, depth + 1) for one in value]
    if isinstance(value, int) and abs(value) > _LARGEST_EXACT and not isinstance(value, bool):
        return str(value) if value.bit_length() <= _LONGEST_NUMBER else None
    return value


def _fill_failure(wire: pb.Failure, event: Failure, last_seq: int) -> None:
    if event.error_class:
        wire.error_class = event.error_class.value  # type: ignore[assignment]  # the numbers are the wire's
    for attempt in event.attempts:
        _fill_attempt(wire.attempts.add(), attempt)
    wire.last_seq = last_seq
    wire.cost.nano_usd = event.cost_nano_usd
    wire.cost_estimated = event.cost_estimated
    wire.cost_incomplete = event.cost_incomplete
    if event.decision:
        fill_decision(wire.decision, event.decision)
    wire.trace_id = event.trace_id
    wire.reason = event.reason.value
    wire.message = event.message
    _fill_usage(wire.total_usage, event.total_usage)


def decision_to(decision: Decision) -> pb.Decision:
    """Return a decision as the wire has it."""
    wire = pb.Decision()
    fill_decision(wire, decision)
    return wire


def fill_decision(wire: pb.Decision, decision: Decision) -> None:
    """Write a decision into the wire's message."""
    wire.decision_id = decision.decision_id
    if decision.order:
        _fill_model(wire.selected, decision.order[0].model.ref)
    for target in decision.order[1:]:
        _fill_model(wire.fallbacks.add(), target.model.ref)
    add = wire.candidates.add
    for candidate in decision.candidates:
        _fill_candidate(add(), candidate)
    weights = wire.weights
    weights.reasoning, weights.reliability = decision.weights.reasoning, decision.weights.reliability
    weights.cost, weights.speed = decision.weights.cost, decision.weights.speed
    wire.cost_optimization = decision.cost_optimization
    if decision.remaining_nano_usd is not None:
        wire.remaining_budget.nano_usd = decision.remaining_nano_usd
    wire.config_version = decision.config_version
    wire.session_affinity = decision.affinity_applied
    wire.last_resort = decision.last_resort


def _fill_candidate(wire: pb.Candidate, candidate: Candidate) -> None:
    (target, wire.score, wire.reasoning, wire.reliability, wire.cost_efficiency, wire.speed, wire.success_rate) = (
        candidate[:7]
    )
    _fill_model(wire.model, target.model.ref)
    wire.tier = target.tier
    if candidate.estimated_cost_nano_usd is not None:
        wire.estimated_cost.nano_usd = candidate.estimated_cost_nano_usd
    if candidate.rejection:
        wire.rejection = candidate.rejection.value  # type: ignore[assignment]  # the numbers are the wire's
        wire.rejection_detail = candidate.rejection_detail


def _fill_attempt(wire: pb.Attempt, attempt: Attempt) -> None:
    wire.attempt_id = attempt.attempt_id
    _fill_model(wire.model, attempt.model)
    wire.hop, wire.number = attempt.hop, attempt.number
    if attempt.error_class:
        wire.error_class = attempt.error_class.value  # type: ignore[assignment]  # the numbers are the wire's
    wire.code = attempt.code
    wire.http_status = attempt.http_status
    micros = round(attempt.started_at_s * 1e6)
    started_at = wire.started_at
    started_at.seconds, started_at.nanos = micros // 1_000_000, micros % 1_000_000 * 1000
    _fill_duration(wire.elapsed, attempt.elapsed_s)
    _fill_duration(wire.waited_before, attempt.waited_before_s)
    _fill_usage(wire.usage, attempt.usage)
    if attempt.cost_nano_usd is not None:
        wire.cost.nano_usd = attempt.cost_nano_usd
    wire.cost_estimated = attempt.cost_estimated


def _fill_model(wire: pb.ModelRef, ref: ModelRef) -> None:
    wire.id, wire.provider, wire.model = ref.id, ref.provider, ref.model


def _fill_usage(wire: pb.Usage, usage: Usage) -> None:
    """Write token counts; what was not reported stays unset."""
    wire.SetInParent()
    if usage.input_tokens is not None:
        wire.input_tokens = usage.input_tokens
    if usage.cache_read_tokens is not None:
        wire.cache_read_tokens = usage.cache_read_tokens
    if usage.cache_write_tokens is not None:
        wire.cache_write_tokens = usage.cache_write_tokens
    if usage.output_tokens is not None:
        wire.output_tokens = usage.output_tokens
    if usage.reasoning_tokens is not None:
        wire.reasoning_tokens = usage.reasoning_tokens


def _fill_duration(wire: Duration, seconds: float | None) -> None:
    """Write a duration; None leaves it unset."""
    if seconds is not None:
        nanos = round(seconds * 1e9)
        wire.seconds, wire.nanos = nanos // 1_000_000_000, nanos % 1_000_000_000


def model_ref(ref: ModelRef) -> pb.ModelRef:
    """Return a model's name as the wire has it."""
    return pb.ModelRef(id=ref.id, provider=ref.provider, model=ref.model)


def money(nano_usd: int | None) -> pb.Money | None:
    """Return an amount, None (unset) when it is unknown or there is no limit."""
    return None if nano_usd is None else pb.Money(nano_usd=nano_usd)


def duration(seconds: float | None) -> Duration | None:
    """Return a duration, None (unset) for None."""
    if seconds is None:
        return None
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def timestamp(unix_s: float | None) -> Timestamp | None:
    """Return a point in time, None (unset) for None."""
    if unix_s is None:
        return None
    micros = round(unix_s * 1e6)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
