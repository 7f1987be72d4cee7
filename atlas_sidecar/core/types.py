"""The frozen values that every layer shares: what is asked, what is known, what was decided, what happened.

Rules kept here:
- Values only, no behaviour beyond reading themselves. Times are seconds (float), money is nano-USD (int).
- Enum numbers are those of atlas_api.v1, so that converting is a lookup.
- What is made once per chunk is a NamedTuple (cheap); what is made once per request is a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from atlas_sidecar.core.errors import ErrorClass
    from atlas_sidecar.core.money import Price

# ------------------------------------------------------------------------------------------- what is asked


class Complexity(IntEnum):
    """How hard the task is; UNSPECIFIED on the wire becomes MEDIUM."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Capability(IntEnum):
    """What a model can do; configuration names are these in lower case ("json_schema")."""

    TOOLS = 1
    JSON_SCHEMA = 2
    IMAGE_INPUT = 3
    DOCUMENT_INPUT = 4
    AUDIO_INPUT = 5
    REASONING = 6


class Role(IntEnum):
    """Who speaks in a conversation."""

    SYSTEM = 1
    USER = 2
    ASSISTANT = 3
    TOOL = 4


class ToolMode(IntEnum):
    """Whether the model may, may not or must call tools."""

    AUTO = 1
    NONE = 2
    REQUIRED = 3
    NAMED = 4


class ReasoningEffort(IntEnum):
    """How long the model should think."""

    NONE = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4


class StreamPolicy(IntEnum):
    """What to do when a stream breaks after content was sent."""

    FAIL = 1
    RESTART = 2
    CONTINUE = 3
    BUFFER = 4


class FinishReason(IntEnum):
    """Why an answer ended."""

    STOP = 1
    MAX_OUTPUT_TOKENS = 2
    MAX_CONTEXT = 3
    TOOL_CALLS = 4
    CONTENT_FILTER = 5
    REFUSAL = 6
    PAUSE = 7
    OTHER = 8


class Text(NamedTuple):
    """Plain text."""

    text: str


class Blob(NamedTuple):
    """Bytes or a URI (exactly one is set) with a MIME type; the sidecar never fetches the URI."""

    mime_type: str
    data: bytes | None = None
    uri: str = ""
    name: str = ""


class ToolCall(NamedTuple):
    """A call of a tool that the model asks for."""

    id: str
    name: str
    arguments_json: str


class ToolResult(NamedTuple):
    """What a tool answered; `parts` are Text and Blob parts."""

    call_id: str
    name: str
    parts: tuple[Part, ...]
    is_error: bool = False


class Reasoning(NamedTuple):
    """What the model thought; redacted: no text, only the part's signature."""

    text: str
    redacted: bool = False


class Opaque(NamedTuple):
    """Content that only its kind of provider understands, kept word for word."""

    provider: str
    type: str
    json: str


Content: TypeAlias = Text | Blob | ToolCall | ToolResult | Reasoning | Opaque


class Part(NamedTuple):
    """One part of a message. `signature` is the provider's opaque proof, `signature_origin` the kind that made it."""

    content: Content
    cache_breakpoint: bool = False
    signature: bytes = b""
    signature_origin: str = ""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]


class Tool(NamedTuple):
    """A function that the model may call; `parameters_json_schema` is JSON text, empty = no parameters."""

    name: str
    description: str
    parameters_json_schema: str


class ToolChoice(NamedTuple):
    """How tools may be used; `name` with NAMED."""

    mode: ToolMode = ToolMode.AUTO
    name: str = ""
    disable_parallel: bool = False


class ResponseFormat(NamedTuple):
    """The wanted form of the answer: a JSON schema (text), or any JSON object, or neither."""

    json_schema: str = ""
    name: str = ""
    json_object: bool = False


class Sampling(NamedTuple):
    """Sampling parameters; None = the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None


class Limits(NamedTuple):
    """Bounds the caller set; None = the configuration's. Durations in seconds."""

    max_output_tokens: int | None = None
    max_cost_nano_usd: int | None = None
    time_to_first_token_s: float | None = None
    idle_s: float | None = None
    max_hops: int | None = None
    max_attempts_per_model: int | None = None


@dataclass(frozen=True, slots=True)
class Performance:
    """A floor for the model; None = no floor. Scores 0..10, success rate 0..1, durations in seconds."""

    max_time_to_first_token_s: float | None = None
    max_latency_s: float | None = None
    min_reasoning_score: float = 0.0
    min_speed_score: float = 0.0
    min_success_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the caller needs from a model."""

    agent_type: str = ""
    complexity: Complexity = Complexity.MEDIUM
    use_cases: tuple[str, ...] = ()
    performance: Performance = Performance()
    capabilities: frozenset[Capability] = frozenset()
    only_models: tuple[str, ...] = ()
    exclude_models: tuple[str, ...] = ()
    budget: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A Generate call, validated. `provider_options`: by provider name or kind, a JSON object merged last."""

    requirements: Requirements
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    response_format: ResponseFormat = ResponseFormat()
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    stream_policy: StreamPolicy = StreamPolicy.FAIL
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    explain: bool = False
    idempotency_key: str = ""
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------- what is configured


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Names a model: the configuration's id, the configured provider, the provider's own model name."""

    id: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model. Scores 0..10; windows in tokens; `price` None = unknown.

    `provider_kind`: anthropic, openai, google, groq, simulated, ...; `max_input_tokens` None = the window.
    `retired`: ISO date from which the provider no longer serves it, "" = never. `prefill`: takes an assistant prefill.
    """

    ref: ModelRef
    provider_kind: str
    context_window: int
    max_output_tokens: int
    reasoning_score: float
    speed_score: float
    max_input_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    use_cases: tuple[str, ...] = ()
    price: Price | None = None
    retired: str = ""
    prefill: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A model in its tier of a role; tier 1 = primary."""

    model: Model
    tier: int


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the four score terms for one complexity, and its price sensitivity g (0..1)."""

    reasoning: float
    reliability: float
    cost: float
    speed: float
    price_sensitivity: float


# ------------------------------------------------------------------------------------------- what is known


class Circuit(IntEnum):
    """State of a circuit breaker; numbers of atlas_api.v1.ModelHealth.Circuit."""

    CLOSED = 1
    HALF_OPEN = 2
    OPEN = 3


class ProviderStatus(IntEnum):
    """What is known of a provider; numbers of atlas_api.v1.ProviderHealth.Status."""

    UNKNOWN = 1
    HEALTHY = 2
    UNHEALTHY = 3
    RATE_LIMITED = 4
    NO_CREDENTIALS = 5


@dataclass(frozen=True, slots=True)
class ModelState:
    """Live evidence of one model. Means are posterior means 0..1; `latency_ratio` = min(1, long-run / recent latency).

    `circuit` HALF_OPEN with `probe_free` False admits nobody. `open_until_s`, `limited_until_s`: monotonic seconds.
    """

    success_rate: float = 1.0
    reliability: float = 1.0
    latency_ratio: float = 1.0
    in_flight: int = 0
    circuit: Circuit = Circuit.CLOSED
    probe_free: bool = True
    open_until_s: float = 0.0
    limited_until_s: float = 0.0
    time_to_first_token_p50_s: float | None = None
    time_to_first_token_p95_s: float | None = None
    latency_p95_s: float | None = None
    output_tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class ProviderState:
    """Live evidence of one provider. `concurrency_limit` None = no limit yet; `limited_until_s`: monotonic seconds."""

    status: ProviderStatus = ProviderStatus.UNKNOWN
    reliability: float = 1.0
    has_credentials: bool = True
    requests_remaining: int | None = None
    tokens_remaining: int | None = None
    limited_until_s: float = 0.0
    in_flight: int = 0
    concurrency_limit: int | None = None
    circuit: Circuit = Circuit.CLOSED
    probe_free: bool = True
    open_until_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What a request may spend, at the tightest node. All None = no limit.

    `remaining`: limit - spent of the period. `headroom`: what this sidecar may spend now without asking (the largest
    single reservation that can succeed, a Reserve at the service included). `expected_requests`: requests still
    expected from this sidecar in the period, >= 1. `fair_share` = remaining / expected_requests, of the caller.
    """

    limit_nano_usd: int | None = None
    remaining_nano_usd: int | None = None
    headroom_nano_usd: int | None = None
    expected_requests: float = 1.0
    node: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision depends on beside the request: two equal snapshots give equal decisions."""

    now_s: float
    models: Mapping[str, ModelState]
    providers: Mapping[str, ProviderState]
    budget: BudgetState = BudgetState()
    expected_output_tokens: int = 500
    affinity_model: str = ""
    today: str = ""
    config_version: str = ""
    min_requests_remaining: int = 10


@dataclass(frozen=True, slots=True)
class Need:
    """What one request needs of a model, in numbers: token estimates, and capabilities derived from its content.

    `max_output_tokens` None = the caller did not ask for a number.
    """

    input_tokens: int
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()


# ------------------------------------------------------------------------------------------- what was decided


class Rejection(IntEnum):
    """Why a model may not serve; numbers of atlas_api.v1.Rejection."""

    CONTEXT_TOO_LONG = 1
    PROVIDER_UNHEALTHY = 2
    RATE_LIMITED = 3
    CIRCUIT_OPEN = 4
    MISSING_CAPABILITY = 5
    BUDGET = 6
    PERFORMANCE = 7
    EXCLUDED = 8
    NO_CREDENTIALS = 9
    OVERLOADED = 10
    RETIRED = 11
    NO_PRICE = 12


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model of a decision with its four terms (0..10), its score, or why it was rejected."""

    target: Target
    score: float
    reasoning: float
    reliability: float
    cost_efficiency: float
    speed: float
    success_rate: float
    estimated_cost_nano_usd: int | None
    rejection: Rejection | None = None
    rejection_detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What selection decided. `candidates`: best first, rejected last; `order`: models to try, the selected first.

    `last_resort`: nothing was eligible but for health, limits or circuits, so the least bad one is tried.
    """

    decision_id: str
    candidates: tuple[Candidate, ...]
    order: tuple[Target, ...]
    weights: Weights
    role: str
    cost_optimization: bool
    remaining_nano_usd: int | None
    config_version: str
    affinity_applied: bool = False
    last_resort: bool = False

    @property
    def selected(self) -> Target | None:
        """The first model to try; None when nothing is eligible."""
        return self.order[0] if self.order else None


# ------------------------------------------------------------------------------------------- what happened


@dataclass(frozen=True, slots=True)
class Usage:
    """Disjoint token counts; None = not reported. Total input = input + cache_read + cache_write; total output = output + reasoning."""

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total_input_tokens(self) -> int:
        """All input tokens, cached ones included; not reported counts as 0."""
        return (self.input_tokens or 0) + (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)

    @property
    def total_output_tokens(self) -> int:
        """All output tokens, reasoning included; not reported counts as 0."""
        return (self.output_tokens or 0) + (self.reasoning_tokens or 0)

    @property
    def reported(self) -> bool:
        """Whether the provider reported both directions."""
        return self.input_tokens is not None and self.output_tokens is not None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            _add(self.input_tokens, other.input_tokens),
            _add(self.cache_read_tokens, other.cache_read_tokens),
            _add(self.cache_write_tokens, other.cache_write_tokens),
            _add(self.output_tokens, other.output_tokens),
            _add(self.reasoning_tokens, other.reasoning_tokens),
        )


def _add(a: int | None, b: int | None) -> int | None:
    if a is None:
        return b
    return a if b is None else a + b


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent. `started_at_s`: Unix seconds; `error_class` None = it answered."""

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

    index: int
    text: str


class ReasoningDelta(NamedTuple):
    """More reasoning text of part `index`; `redacted`: the part has no text, a SignatureDelta follows."""

    index: int
    text: str
    redacted: bool = False


class RefusalDelta(NamedTuple):
    """More refusal text of part `index`."""

    index: int
    text: str


class ToolCallStart(NamedTuple):
    """Part `index` is a tool call; the id is never empty."""

    index: int
    id: str
    name: str


class ToolArguments(NamedTuple):
    """A fragment of the arguments' JSON of part `index`."""

    index: int
    fragment: str


class SignatureDelta(NamedTuple):
    """The provider's proof for part `index`, word for word (later ones of one part are appended)."""

    index: int
    signature: bytes


class OpaqueDelta(NamedTuple):
    """Part `index`, whole, that only this kind of provider understands."""

    index: int
    opaque: Opaque


class UsageReport(NamedTuple):
    """Usage so far: cumulative, the later report replaces the earlier one."""

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
