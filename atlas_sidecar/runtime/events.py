"""What a Generate call tells its caller, as values; server/convert.py makes the wire's messages of them.

Rules kept here (contract, "Order of events"):
- `[hop_failed]* (started delta*)? completed`; after content `... hop_failed reset? started delta* completed`;
  any other end `... hop_failed* failed`. BUFFER: `hop_failed* completed`.
- Completed or Failure is the last one, and there is always one, but for a caller that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from atlas_sidecar.core.errors import ErrorClass, FieldViolation, Reason
from atlas_sidecar.core.types import Attempt, Decision, Delta, FinishReason, Message, ModelRef, Usage


class Started(NamedTuple):
    """A hop begins to answer; `decision` only on the first one of a call that asked to explain."""

    model: ModelRef
    decision_id: str
    decision: Decision | None
    trace_id: str


class HopFailed(NamedTuple):
    """A hop was asked and failed; `next` None: the chain ends."""

    model: ModelRef
    error_class: ErrorClass
    code: str
    message: str
    attempts: int
    elapsed_s: float
    retry_after_s: float | None
    next: ModelRef | None


class Reset(NamedTuple):
    """Discard the parts from this index on."""

    from_index: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The whole answer. Cost and `total_usage` are of the whole chain, `usage` of the answering hop."""

    model: ModelRef
    finish_reason: FinishReason
    raw_finish_reason: str
    usage: Usage
    total_usage: Usage
    cost_nano_usd: int
    cost_estimated: bool
    cost_incomplete: bool
    attempts: Sequence[Attempt]
    message: Message
    provider_request_id: str
    time_to_first_token_s: float | None
    elapsed_s: float
    metadata: Mapping[str, Any]
    trace_id: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The call ends without an answer. `retry_after_s`: the smallest wait that may help."""

    reason: Reason
    error_class: ErrorClass | None
    message: str
    attempts: Sequence[Attempt] = ()
    total_usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int = 0
    cost_estimated: bool = False
    cost_incomplete: bool = False
    decision: Decision | None = None
    trace_id: str = ""
    retry_after_s: float | None = None
    violations: tuple[FieldViolation, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


RouterEvent: TypeAlias = Started | Delta | HopFailed | Reset | Completed | Failure


class Batch(NamedTuple):
    """Events that came together, and the hop they belong to."""

    hop: int
    events: Sequence[RouterEvent]
