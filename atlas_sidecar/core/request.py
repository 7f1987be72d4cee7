"""What a caller asks: conversations, tools, sampling, limits and requirements, validated and frozen.

Rules kept here:
- Values only. Times are seconds (float), money is nano-USD (int).
- Enum numbers are those of atlas_api.v1, so that converting is a lookup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias


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
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    stream_policy: StreamPolicy = StreamPolicy.FAIL
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    explain: bool = False
    idempotency_key: str = ""
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
