"""Turns decisions and events into the wire's messages.

Rules kept here:
- One event, one message, numbered 1, 2, 3, ... without gaps; neighbouring text of one network read becomes one delta.
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
from atlas_sidecar.server.messages import message_to

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
            if isinstance(event, TextDelta):  # most of them
                delta = pb.PartDelta(index=event.index, text=event.text)
                yield pb.GenerateEvent(seq=self.last_seq, hop=batch.hop, delta=delta)
            else:
                yield self._other(batch.hop, event)

    def _other(self, hop: int, event: Any) -> pb.GenerateEvent:  # any RouterEvent
        message = pb.GenerateEvent(seq=self.last_seq, hop=hop)
        match event:
            case Started():
                message.started.CopyFrom(_started(event))
            case HopFailed():
                message.hop_failed.CopyFrom(_hop_failed(event))
            case Reset(from_index):
                message.reset.CopyFrom(pb.Reset(from_index=from_index))
            case Completed():
                message.completed.CopyFrom(_completed(event))
            case Failure():
                message.failed.CopyFrom(_failure(event, self.last_seq - 1))
            case _:
                message.delta.CopyFrom(_delta(event))
        return message


def _delta(delta: Delta) -> pb.PartDelta:
    match delta:
        case ReasoningDelta(index, text):
            return pb.PartDelta(index=index, reasoning=text)
        case ToolCallStart(index, call_id, name):
            return pb.PartDelta(index=index, tool_call=pb.ToolCallStart(id=call_id, name=name))
        case ToolArguments(index, fragment):
            return pb.PartDelta(index=index, tool_arguments_json=fragment)
        case SignatureDelta(index, signature):
            return pb.PartDelta(index=index, signature=signature)
        case RefusalDelta(index, text):
            return pb.PartDelta(index=index, refusal=text)
        case OpaqueDelta(index, Opaque(provider, kind, text)):
            return pb.PartDelta(index=index, opaque=pb.Opaque(provider=provider, type=kind, json=text))
        case TextDelta(index, text):
            return pb.PartDelta(index=index, text=text)


def _started(event: Started) -> pb.Started:
    return pb.Started(
        model=model_ref(event.model),
        decision_id=event.decision_id,
        decision=decision_to(event.decision) if event.decision else None,
        trace_id=event.trace_id,
    )


def _hop_failed(event: HopFailed) -> pb.HopFailed:
    return pb.HopFailed(
        model=model_ref(event.model),
        error_class=event.error_class.value,  # type: ignore[arg-type]  # the numbers are the wire's
        code=event.code,
        message=event.message,
        attempts=event.attempts,
        elapsed=duration(event.elapsed_s),
        retry_after=duration(event.retry_after_s),
        next=model_ref(event.next) if event.next else None,
    )


def _completed(event: Completed) -> pb.Completed:
    completed = pb.Completed(
        model=model_ref(event.model),
        finish_reason=event.finish_reason.value,  # type: ignore[arg-type]  # the numbers are the wire's
        raw_finish_reason=event.raw_finish_reason,
        usage=usage_to(event.usage),
        cost=pb.Money(nano_usd=event.cost_nano_usd),
        cost_estimated=event.cost_estimated,
        attempts=[attempt_to(attempt) for attempt in event.attempts],
        message=message_to(event.message),
        provider_request_id=event.provider_request_id,
        time_to_first_token=duration(event.time_to_first_token_s),
        elapsed=duration(event.elapsed_s),
        trace_id=event.trace_id,
        total_usage=usage_to(event.total_usage),
        cost_incomplete=event.cost_incomplete,
    )
    if event.metadata:
        completed.provider_metadata.update(_told(event.metadata, 0))
    return completed


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


def _failure(event: Failure, last_seq: int) -> pb.Failure:
    return pb.Failure(
        error_class=event.error_class.value if event.error_class else 0,  # type: ignore[arg-type]  # the wire's numbers
        attempts=[attempt_to(attempt) for attempt in event.attempts],
        last_seq=last_seq,
        cost=pb.Money(nano_usd=event.cost_nano_usd),
        cost_estimated=event.cost_estimated,
        decision=decision_to(event.decision) if event.decision else None,
        trace_id=event.trace_id,
        reason=event.reason.value,
        message=event.message,
        total_usage=usage_to(event.total_usage),
        cost_incomplete=event.cost_incomplete,
    )


def decision_to(decision: Decision) -> pb.Decision:
    """Return a decision as the wire has it."""
    weights = decision.weights
    return pb.Decision(
        decision_id=decision.decision_id,
        selected=model_ref(decision.order[0].model.ref) if decision.order else None,
        fallbacks=[model_ref(target.model.ref) for target in decision.order[1:]],
        candidates=[
            pb.Candidate(
                model=model_ref(c.target.model.ref),
                tier=c.target.tier,
                score=c.score,
                reasoning=c.reasoning,
                reliability=c.reliability,
                cost_efficiency=c.cost_efficiency,
                speed=c.speed,
                success_rate=c.success_rate,
                estimated_cost=money(c.estimated_cost_nano_usd),
                rejection=c.rejection.value if c.rejection else 0,  # type: ignore[arg-type]  # the wire's numbers
                rejection_detail=c.rejection_detail,
            )
            for c in decision.candidates
        ],
        weights=pb.ScoreWeights(
            reasoning=weights.reasoning, reliability=weights.reliability, cost=weights.cost, speed=weights.speed
        ),
        cost_optimization=decision.cost_optimization,
        remaining_budget=money(decision.remaining_nano_usd),
        config_version=decision.config_version,
        session_affinity=decision.affinity_applied,
        last_resort=decision.last_resort,
    )


def attempt_to(attempt: Attempt) -> pb.Attempt:
    """Return an attempt as the wire has it."""
    return pb.Attempt(
        attempt_id=attempt.attempt_id,
        model=model_ref(attempt.model),
        hop=attempt.hop,
        number=attempt.number,
        error_class=attempt.error_class.value if attempt.error_class else 0,  # type: ignore[arg-type]  # wire's numbers
        code=attempt.code,
        http_status=attempt.http_status,
        started_at=timestamp(attempt.started_at_s),
        elapsed=duration(attempt.elapsed_s),
        waited_before=duration(attempt.waited_before_s),
        usage=usage_to(attempt.usage),
        cost=money(attempt.cost_nano_usd),
        cost_estimated=attempt.cost_estimated,
    )


def model_ref(ref: ModelRef) -> pb.ModelRef:
    """Return a model's name as the wire has it."""
    return pb.ModelRef(id=ref.id, provider=ref.provider, model=ref.model)


def usage_to(usage: Usage) -> pb.Usage:
    """Return token counts as the wire has them; what was not reported stays unset."""
    return pb.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


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
