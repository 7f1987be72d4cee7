"""Turns the wire's requests into core values, and refuses what is wrong with the field's name and what would be right.

Rules kept here:
- All that is wrong is told at once: INVALID_REQUEST with a violation for each field, by proto path ("tools[0].name").
- A message never repeats the caller's content.
- Everything is bounded: numbers, lengths, counts; nothing is read twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.errors import AtlasError, FieldViolation, Reason
from atlas_sidecar.core.json_text import parse
from atlas_sidecar.core.types import (
    Capability,
    Complexity,
    GenerateRequest,
    Limits,
    Need,
    Performance,
    ReasoningEffort,
    Requirements,
    ResponseFormat,
    Sampling,
    StreamPolicy,
    Tool,
    ToolChoice,
    ToolMode,
)
from atlas_sidecar.server.messages import messages_from

MAX_ID_CHARACTERS: Final = 256
MAX_LABELS: Final = 64
MAX_TOOLS: Final = 1024
MAX_TOKENS: Final = 1_000_000_000  # more than any window, and few enough that every cost fits the wire's int64
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_LABEL: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
# Fields of a provider's body that the sidecar sets or prices (contract, provider_options_json); without case and "_".
RESERVED_OPTIONS: Final = frozenset(
    {
        "model", "stream", "streamoptions", "n", "bestof", "candidatecount", "maxtokens", "maxcompletiontokens",
        "maxoutputtokens", "servicetier", "speed", "inferencegeo", "fallbacks", "messages", "contents", "input",
    }
)  # fmt: skip


class Problems:
    """Collects what is wrong with a request."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Note one wrong field; the hundredth and later ones are dropped."""
        if len(self._violations) < 100:
            self._violations.append(FieldViolation(field, description))

    def raise_any(self) -> None:
        """Raise AtlasError(INVALID_REQUEST) when anything is wrong."""
        if self._violations:
            first = self._violations[0]
            more = f" (and {len(self._violations) - 1} more)" if len(self._violations) > 1 else ""
            message = f"{first.field}: {first.description}{more}"
            raise AtlasError(Reason.INVALID_REQUEST, message, violations=tuple(self._violations))


def select_from(request: pb.SelectRequest) -> tuple[Requirements, Need]:
    """Return what a Select call asks; raises AtlasError(INVALID_REQUEST)."""
    problems = Problems()
    requirements = _requirements(request.requirements, problems)
    for field, value in (("context_tokens", request.context_tokens), ("max_output_tokens", request.max_output_tokens)):
        if not 0 <= value <= MAX_TOKENS:
            problems.add(field, "must not be negative" if value < 0 else f"{MAX_TOKENS:,} at most")
    problems.raise_any()
    return requirements, Need(
        input_tokens=request.context_tokens,
        max_output_tokens=request.max_output_tokens or None,
        capabilities=requirements.capabilities,
    )


def generate_from(request: pb.GenerateRequest) -> GenerateRequest:
    """Return what a Generate call asks; raises AtlasError(INVALID_REQUEST)."""
    problems = Problems()
    tools = _tools(request.tools, problems)
    parsed = GenerateRequest(
        requirements=_requirements(request.requirements, problems),
        messages=messages_from(request.messages, problems),
        tools=tools,
        tool_choice=_tool_choice(request.tool_choice, tools, problems),
        response_format=_response_format(request.response_format, problems),
        sampling=_sampling(request.sampling, problems),
        limits=_limits(request.limits, problems),
        stream_policy=_enum(StreamPolicy, request.stream_policy, "stream_policy", problems) or StreamPolicy.FAIL,
        request_id=_short(request.request_id, "request_id", problems),
        labels=_labels(request.labels, problems),
        explain=request.explain,
        idempotency_key=_short(request.idempotency_key, "idempotency_key", problems),
        provider_options=_options(request.provider_options_json, problems),
    )
    problems.raise_any()
    return parsed


def _requirements(wire: pb.Requirements, problems: Problems) -> Requirements:
    at = "requirements"
    capabilities = set()
    for i, number in enumerate(wire.capabilities):
        capability = _enum(Capability, number, f"{at}.capabilities[{i}]", problems)
        if capability is None:
            problems.add(f"{at}.capabilities[{i}]", "must name a capability")
        else:
            capabilities.add(capability)
    return Requirements(
        agent_type=_short(wire.agent_type, f"{at}.agent_type", problems),
        complexity=_enum(Complexity, wire.complexity, f"{at}.complexity", problems) or Complexity.MEDIUM,
        use_cases=tuple(wire.use_cases),
        performance=_performance(wire.performance, problems),
        capabilities=frozenset(capabilities),
        only_models=tuple(wire.only_models),
        exclude_models=tuple(wire.exclude_models),
        budget=_short(wire.budget, f"{at}.budget", problems),
        session_id=_short(wire.session_id, f"{at}.session_id", problems),
    )


def _performance(wire: pb.Performance, problems: Problems) -> Performance:
    at = "requirements.performance"
    for name, value, most in (
        ("min_reasoning_score", wire.min_reasoning_score, 10),
        ("min_speed_score", wire.min_speed_score, 10),
        ("min_success_rate", wire.min_success_rate, 1),
    ):
        if not 0 <= value <= most:
            problems.add(f"{at}.{name}", f"must be between 0 and {most}")
    return Performance(
        max_time_to_first_token_s=_seconds(wire, "max_time_to_first_token", at, problems),
        max_latency_s=_seconds(wire, "max_latency", at, problems),
        min_reasoning_score=wire.min_reasoning_score,
        min_speed_score=wire.min_speed_score,
        min_success_rate=wire.min_success_rate,
    )


def _tools(wire: Iterable[pb.Tool], problems: Problems) -> tuple[Tool, ...]:
    tools, names = [], set()
    for i, tool in enumerate(wire):
        at = f"tools[{i}]"
        if not tool.name:
            problems.add(f"{at}.name", "a tool needs a name")
        elif not _TOOL_NAME.fullmatch(tool.name):
            problems.add(f"{at}.name", "may have letters, digits, _ . : and -, 128 at most")
        elif tool.name in names:
            problems.add(f"{at}.name", "another tool has this name")
        names.add(tool.name)
        if tool.parameters_json_schema:
            _json_object(tool.parameters_json_schema, f"{at}.parameters_json_schema", problems)
        tools.append(Tool(tool.name, tool.description, tool.parameters_json_schema))
    if len(tools) > MAX_TOOLS:
        problems.add("tools", f"{MAX_TOOLS} at most")
    return tuple(tools)


def _tool_choice(wire: pb.ToolChoice, tools: tuple[Tool, ...], problems: Problems) -> ToolChoice:
    mode = _enum(ToolMode, wire.mode, "tool_choice.mode", problems) or ToolMode.AUTO
    if mode in (ToolMode.REQUIRED, ToolMode.NAMED) and not tools:
        problems.add("tool_choice.mode", "needs tools to choose from")
    elif mode is ToolMode.NAMED and wire.name not in {tool.name for tool in tools}:
        problems.add("tool_choice.name", "with NAMED, must be the name of one of the tools")
    return ToolChoice(mode, wire.name, wire.disable_parallel)


def _response_format(wire: pb.ResponseFormat, problems: Problems) -> ResponseFormat:
    if wire.json_schema:
        _json_object(wire.json_schema, "response_format.json_schema", problems)
        if wire.json_object:
            problems.add("response_format.json_object", "set json_schema or json_object, not both")
    return ResponseFormat(wire.json_schema, wire.name, wire.json_object)


def _sampling(wire: pb.Sampling, problems: Problems) -> Sampling:
    temperature = wire.temperature if wire.HasField("temperature") else None
    top_p = wire.top_p if wire.HasField("top_p") else None
    if temperature is not None and not 0 <= temperature <= 2:
        problems.add("sampling.temperature", "must be between 0 and 2")
    if top_p is not None and not 0 <= top_p <= 1:
        problems.add("sampling.top_p", "must be between 0 and 1")
    if any(not stop for stop in wire.stop):
        problems.add("sampling.stop", "a stop sequence must not be empty")
    return Sampling(
        temperature=temperature,
        top_p=top_p,
        stop=tuple(wire.stop),
        seed=wire.seed if wire.HasField("seed") else None,
        reasoning_effort=_enum(ReasoningEffort, wire.reasoning_effort, "sampling.reasoning_effort", problems),
    )


def _limits(wire: pb.Limits, problems: Problems) -> Limits:
    for name, value in (
        ("max_output_tokens", wire.max_output_tokens),
        ("max_hops", wire.max_hops),
        ("max_attempts_per_model", wire.max_attempts_per_model),
    ):
        if value < 0:
            problems.add(f"limits.{name}", "must not be negative")
    max_cost = wire.max_cost.nano_usd if wire.HasField("max_cost") else None
    if max_cost is not None and max_cost < 0:
        problems.add("limits.max_cost", "must not be negative")
    return Limits(
        max_output_tokens=wire.max_output_tokens or None,
        max_cost_nano_usd=max_cost,
        time_to_first_token_s=_seconds(wire, "time_to_first_token_timeout", "limits", problems),
        idle_s=_seconds(wire, "idle_timeout", "limits", problems),
        max_hops=wire.max_hops or None,
        max_attempts_per_model=wire.max_attempts_per_model or None,
    )


def _labels(wire: Mapping[str, str], problems: Problems) -> dict[str, str]:
    labels = dict(wire)
    if len(labels) > MAX_LABELS:
        problems.add("labels", f"{MAX_LABELS} at most")
    for name, value in labels.items():
        if not _LABEL.fullmatch(name):
            problems.add("labels", "a label's name may have letters, digits, _ . : / and -, 128 at most")
        elif len(value) > MAX_ID_CHARACTERS:
            problems.add(f"labels[{name!r}]", f"{MAX_ID_CHARACTERS} characters at most")
    return labels


def _options(wire: Mapping[str, str], problems: Problems) -> dict[str, Mapping[str, Any]]:
    options: dict[str, Mapping[str, Any]] = {}
    for name, text in wire.items():
        at = f"provider_options_json[{name!r}]"
        parsed = _json_object(text, at, problems)
        nested = parsed.get("generationConfig", {})
        if "generation_config" in parsed:  # two names of one field: Gemini might take this one in place of ours
            problems.add(f"{at}.generation_config", "write it as generationConfig")
        if not isinstance(nested, dict):  # would take the output limit away
            problems.add(f"{at}.generationConfig", "must be a JSON object")
            nested = {}
        for key in sorted({*parsed, *nested}):
            if key.replace("_", "").lower() in RESERVED_OPTIONS:
                problems.add(f"{at}.{key}", "is set or priced by the sidecar; use the request's own fields")
        options[name] = parsed
    return options


def _json_object(text: str, field: str, problems: Problems) -> dict[str, Any]:
    try:
        value = parse(text)
    except ValueError:
        problems.add(field, "is no valid JSON")
        return {}
    if not isinstance(value, dict):
        problems.add(field, "must be a JSON object")
        return {}
    return value


def _enum(kind: Any, number: int, field: str, problems: Problems) -> Any:  # any of core's IntEnums
    if number == 0:
        return None
    try:
        return kind(number)
    except ValueError:
        problems.add(field, f"unknown value {number}")
        return None


def _short(text: str, field: str, problems: Problems) -> str:
    if len(text) > MAX_ID_CHARACTERS:
        problems.add(field, f"{MAX_ID_CHARACTERS} characters at most")
        return text[:MAX_ID_CHARACTERS]
    return text


def _seconds(wire: pb.Limits | pb.Performance, name: str, at: str, problems: Problems) -> float | None:
    if not wire.HasField(name):  # type: ignore[arg-type]  # the names are those of the message's duration fields
        return None
    duration: Duration = getattr(wire, name)
    seconds = duration.seconds + duration.nanos / 1e9
    if seconds < 0 or not math.isfinite(seconds):
        problems.add(f"{at}.{name}", "must not be negative")
        return None
    return seconds or None
