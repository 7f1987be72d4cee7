"""What happened: usage, attempts, and the events of one provider call.

Rules kept here:
- What is made once per chunk is a NamedTuple (cheap); what is made once per request is a frozen dataclass.
- Token counts are disjoint, money is nano-USD (int), times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from atlas_sidecar.core.request import FinishReason, GenerateRequest, Opaque
from atlas_sidecar.core.state import Model, ModelRef
from atlas_sidecar.core.usage import Usage

if TYPE_CHECKING:
    from atlas_sidecar.core.errors import ErrorClass

# ------------------------------------------------------------------------------------------- what happened


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent. `started_at_s`: Unix seconds; `error_class` None = it answered.

    `cost_incomplete`: some of it has no known price, so that it costs more than `cost_nano_usd`.
    """

    attempt_id: str
    model: ModelRef
    hop: int
    number: int
    error_class: ErrorClass | None
    code: str
    http_status: int
    started_at_s: float
    elapsed_s: float
    waited_before_s: float
    usage: Usage
    cost_nano_usd: int | None
    cost_estimated: bool
    message: str = ""
    retry_after_s: float | None = None
    provider_request_id: str = ""
    cost_incomplete: bool = False


# ------------------------------------------------------------------------------------------- a provider's call


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One attempt, as a provider adapter gets it: exactly one HTTP request.

    `max_output_tokens`: the cap to send (already within the model's). `stream` False: the unary call may be used.
    `options`: the request's provider_options for this provider (name over kind), merged last into the body.
    `prefill`: text with which the answer begins (CONTINUE). `traceparent`: header to send, "" = none.
    `cap_was_asked`: the caller set the cap; providers with an optional cap may omit it otherwise.
    """

    model: Model
    request: GenerateRequest
    max_output_tokens: int
    stream: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    prefill: str = ""
    traceparent: str = ""
    cap_was_asked: bool = True


class Head(NamedTuple):
    """The answer's head: it comes first. Rate limits as the headers said them (monotonic or relative seconds)."""

    http_status: int
    provider_request_id: str = ""
    rate_limit: RateLimit | None = None


class RateLimit(NamedTuple):
    """What rate-limit headers said; resets in seconds from now; None = not said."""

    requests_remaining: int | None = None
    tokens_remaining: int | None = None
    requests_limit: int | None = None
    tokens_limit: int | None = None
    requests_reset_s: float | None = None
    tokens_reset_s: float | None = None


class TextDelta(NamedTuple):
    """More text of part `index`."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    text: str


class ReasoningDelta(NamedTuple):
    """More reasoning text of part `index`; `redacted`: the part has no text, a SignatureDelta follows."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    text: str
    redacted: bool = False


class RefusalDelta(NamedTuple):
    """More refusal text of part `index`."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    text: str


class ToolCallStart(NamedTuple):
    """Part `index` is a tool call; the id is never empty."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    id: str
    name: str


class ToolArguments(NamedTuple):
    """A fragment of the arguments' JSON of part `index`."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    fragment: str


class SignatureDelta(NamedTuple):
    """The provider's proof for part `index`, word for word (later ones of one part are appended)."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    signature: bytes


class OpaqueDelta(NamedTuple):
    """Part `index`, whole, that only this kind of provider understands."""

    index: int  # type: ignore[assignment]  # nobody searches a delta as a tuple
    opaque: Opaque


class UsageReport(NamedTuple):
    """Usage so far, with what is priced apart: cumulative, the later report replaces the earlier one."""

    usage: Usage


class Finished(NamedTuple):
    """The provider said that the answer is complete: always the last event, and never without the wire's terminator."""

    finish_reason: FinishReason
    raw_finish_reason: str
    usage: Usage
    metadata: Mapping[str, Any] = {}


Delta: TypeAlias = (
    TextDelta | ReasoningDelta | RefusalDelta | ToolCallStart | ToolArguments | SignatureDelta | OpaqueDelta
)
ProviderEvent: TypeAlias = Head | Delta | UsageReport | Finished
ProviderBatch: TypeAlias = Sequence[ProviderEvent]
