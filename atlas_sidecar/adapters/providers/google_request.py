"""A GenerateRequest as the body of Gemini's generateContent. Pure.

Rules kept here:
- Roles are `user` and `model`, neighbours of one role are one content; system messages go to `systemInstruction`, what
  they show (images) into the first user turn.
- Results of parallel calls go back in the order of the calls, whatever order they came in.
- Thought signatures and opaque parts go back to Gemini only. Gemini 3 refuses a function call without a signature:
  one that another provider made gets the placeholder that Google documents for that.
- `options` are merged last, over everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from atlas_sidecar.adapters.providers.google_schema import reduced_schema, says_nothing
from atlas_sidecar.adapters.providers.wire.blobs import base64_of, named_text
from atlas_sidecar.adapters.providers.wire.json_in_words import json_beside_tools
from atlas_sidecar.adapters.providers.wire.options import merge_options
from atlas_sidecar.adapters.providers.wire.system_media import with_media_in_user_turn
from atlas_sidecar.adapters.providers.wire.tools import GEMINIS_NAME, wire_name
from atlas_sidecar.core.demands import is_text_document, plain_mime_type
from atlas_sidecar.core.json_text import parse
from atlas_sidecar.core.types import (
    Blob,
    Capability,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    ProviderCall,
    Reasoning,
    ReasoningEffort,
    Role,
    Text,
    ToolCall,
    ToolMode,
    ToolResult,
)

FAMILY: Final = frozenset({"google", "vertex"})
OWN_ID: Final = "gemini_"  # the beginning of ids that we made, because Gemini gave none
NO_SIGNATURE: Final = "skip_thought_signature_validator"
MAX_STOPS: Final = 5
_GENERATION: Final = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?")
_BUDGETS: Final = {ReasoningEffort.LOW: 1024, ReasoningEffort.MEDIUM: 8192, ReasoningEffort.HIGH: 24_576}
_NOT_ON_VERTEX: Final = frozenset({"toolCall", "toolResponse", "partMetadata"})
_MODES: Final = {ToolMode.AUTO: "AUTO", ToolMode.NONE: "NONE", ToolMode.REQUIRED: "ANY", ToolMode.NAMED: "ANY"}


class Body(NamedTuple):
    """What to send; `left_out`: parameters that Gemini does not take, or not as they were asked for."""

    body: dict[str, Any]
    left_out: tuple[str, ...]


def generation_of(model: str) -> tuple[int, int]:
    """Return the generation that a model's name says: (2, 5) for "gemini-2.5-flash"; the newest for any other name."""
    found = _GENERATION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def content_body(call: ProviderCall) -> Body:
    """Return the body of one call. Raises ValueError for a schema or an opaque part that is no JSON."""
    request, generation = call.request, generation_of(call.model.ref.model)
    messages = tuple(with_media_in_user_turn(request.messages))
    if call.prefill and call.model.prefill:
        messages = (*messages, Message(Role.ASSISTANT, (Part(Text(call.prefill)),)))
    if call.model.provider_kind == "vertex":
        messages = tuple(message._replace(parts=_known_to_vertex(message.parts)) for message in messages)
    body: dict[str, Any] = {"contents": _contents(messages, strict=generation >= (3, 0))}
    system = _system(request.messages)
    config: dict[str, Any] = {"maxOutputTokens": call.max_output_tokens}
    left_out: list[str] = []
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
        choice = request.tool_choice
        if choice.mode is not ToolMode.AUTO:
            calling: dict[str, Any] = {"mode": _MODES[choice.mode]}
            if choice.mode is ToolMode.NAMED:
                calling["allowedFunctionNames"] = [wire_name(choice.name, GEMINIS_NAME)]
            body["toolConfig"] = {"functionCallingConfig": calling}
        if choice.disable_parallel:
            left_out.append("disable_parallel")
    _response_format(request, config, system, in_words=_excludes_json(call, generation))
    _sampling(request, config, left_out)
    thinking, met = _thinking(call, generation)
    config.update(thinking)
    if not met:
        left_out.append("reasoning_effort")
    if system:
        body["systemInstruction"] = {"parts": system}
    body["generationConfig"] = config
    merge_options(body, call.options)
    return Body(body, tuple(left_out))


def _system(messages: Sequence[Message]) -> list[dict[str, Any]]:
    contents = [part.content for message in messages if message.role is Role.SYSTEM for part in message.parts]
    texts = [named_text(one) if isinstance(one, Blob) else one.text for one in contents if isinstance(one, Blob | Text)]
    return [{"text": text} for text in texts if text]


def _contents(messages: Sequence[Message], *, strict: bool) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    calls: dict[str, tuple[int, str]] = {}  # call id -> its place in the conversation, and the tool's name
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        role = "model" if message.role is Role.ASSISTANT else "user"
        parts = _model_parts(message, calls, strict) if role == "model" else _user_parts(message, calls)
        if not parts:
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    for content in contents:
        if content["role"] == "user":
            content["parts"] = [part for _, part in sorted(content["parts"], key=lambda placed: placed[0])]
    return contents


def _known_to_vertex(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts without what only Google AI knows; an opaque one that holds nothing else is left out."""
    kept: list[Part] = []
    for part in parts:
        content = part.content
        if isinstance(content, Opaque) and content.provider in FAMILY:
            known = {key: value for key, value in _part(content.json).items() if key not in _NOT_ON_VERTEX}
            if known.keys() <= {"thought", "thoughtSignature"}:
                continue
            content = content._replace(json=json.dumps(known))
        kept.append(part._replace(content=content))
    return tuple(kept)


def _model_parts(message: Message, calls: dict[str, tuple[int, str]], strict: bool) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    needs_signature = strict  # of parallel calls, only the first one carries it
    for part in message.parts:
        signature = part.signature.decode() if part.signature_origin in FAMILY else ""
        match part.content:
            case Text(text) if text or signature:
                parts.append(_signed({"text": text}, signature))
            case ToolCall(identity, name, arguments):
                calls[identity] = (len(calls), name)
                entry: dict[str, Any] = {"name": wire_name(name, GEMINIS_NAME), "args": _object(arguments)}
                if not identity.startswith(OWN_ID):
                    entry["id"] = identity
                if needs_signature:
                    signature = signature or NO_SIGNATURE
                needs_signature = False
                parts.append(_signed({"functionCall": entry}, signature))
            case Reasoning(text) if signature:
                parts.append(_signed({"text": text, "thought": True}, signature))
            case Blob() as blob:
                parts.append(_signed(_blob(blob), signature))
            case Opaque(provider, _, raw) if provider in FAMILY:
                parts.append(_part(raw))
            case _:
                pass  # foreign reasoning and opaque parts
    return parts


def _user_parts(message: Message, calls: Mapping[str, tuple[int, str]]) -> list[tuple[int, dict[str, Any]]]:
    """Return parts with their places: results by their calls, and before whatever else the turn says."""
    last = len(calls)
    parts: list[tuple[int, dict[str, Any]]] = []
    for part in message.parts:
        match part.content:
            case Text(text) if text:
                parts.append((last, {"text": text}))
            case Blob() as blob:
                parts.append((last, _blob(blob)))
            case ToolResult() as result:
                place, name = calls.get(result.call_id, (last, result.name))
                parts.append((place, _function_response(result, result.name or name)))
                parts += [(last, _blob(inner.content)) for inner in result.parts if isinstance(inner.content, Blob)]
            case Opaque(provider, _, raw) if provider in FAMILY:
                parts.append((last, _part(raw)))
            case _:
                pass
    return parts


def _function_response(result: ToolResult, name: str) -> dict[str, Any]:
    text = "".join(part.content.text for part in result.parts if isinstance(part.content, Text))
    response = {"error": text} if result.is_error else _response(text)
    entry: dict[str, Any] = {"name": wire_name(name, GEMINIS_NAME), "response": response}
    if result.call_id and not result.call_id.startswith(OWN_ID):
        entry["id"] = result.call_id
    return {"functionResponse": entry}


def _response(text: str) -> dict[str, Any]:
    """Return a tool's text as the object that Gemini wants: itself when it is one, else under `result`."""
    try:
        value = parse(text)
    except ValueError:
        return {"result": text}
    return value if isinstance(value, dict) else {"result": value}


def _object(arguments_json: str) -> dict[str, Any]:
    try:
        value = parse(arguments_json) if arguments_json.strip() else {}
    except ValueError:
        return {"arguments": arguments_json}
    return value if isinstance(value, dict) else {"arguments": value}


def _part(raw: str) -> dict[str, Any]:
    part = parse(raw)
    if not isinstance(part, dict):
        raise ValueError("an opaque part is no content part")
    return part


def _signed(part: dict[str, Any], signature: str) -> dict[str, Any]:
    if signature:
        part["thoughtSignature"] = signature
    return part


def _blob(blob: Blob) -> dict[str, Any]:
    mime_type = plain_mime_type(blob)
    if is_text_document(mime_type) and not mime_type.startswith("text/"):
        mime_type = "text/plain"  # JSON and its like are refused by their own names
    if blob.data is None:
        return {"fileData": {"mimeType": mime_type, "fileUri": blob.uri}}
    return {"inlineData": {"mimeType": mime_type, "data": base64_of(blob)}}


def _declaration(tool: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": wire_name(tool.name, GEMINIS_NAME), "description": tool.description}
    if tool.parameters_json_schema:
        schema = reduced_schema(parse(tool.parameters_json_schema))
        if not says_nothing(schema):  # an object without properties is refused; none means none
            entry["parametersJsonSchema"] = {"type": "object", **schema}
    return entry


def _excludes_json(call: ProviderCall, generation: tuple[int, int]) -> bool:
    """Whether JSON output is refused beside the tools: before Gemini 3 beside any, since then beside a forced call."""
    tools, forced = call.request.tools, call.request.tool_choice.mode in {ToolMode.REQUIRED, ToolMode.NAMED}
    return bool(tools and forced) if generation >= (3, 0) else bool(tools or call.options.get("tools"))


def _response_format(
    request: GenerateRequest, config: dict[str, Any], system: list[dict[str, Any]], *, in_words: bool
) -> None:
    wanted = request.response_format
    if not (wanted.json_schema or wanted.json_object):
        return
    schema = reduced_schema(parse(wanted.json_schema)) if wanted.json_schema else None
    if in_words:
        system.append({"text": json_beside_tools(json.dumps(schema) if schema else "")})
        return
    config["responseMimeType"] = "application/json"
    if schema is not None:
        config["responseJsonSchema"] = schema


def _sampling(request: GenerateRequest, config: dict[str, Any], left_out: list[str]) -> None:
    sampling = request.sampling
    if sampling.temperature is not None:
        config["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        config["topP"] = sampling.top_p
    if sampling.stop:
        config["stopSequences"] = list(sampling.stop[:MAX_STOPS])
        if len(sampling.stop) > MAX_STOPS:
            left_out.append("stop")
    if sampling.seed is not None:
        config["seed"] = sampling.seed & 0x7FFFFFFF  # an int32 on their side


def _thinking(call: ProviderCall, generation: tuple[int, int]) -> tuple[dict[str, Any], bool]:
    """Return the fields that ask for the effort, and whether they ask for what was wished."""
    effort, model = call.request.sampling.reasoning_effort, call.model.ref.model.rpartition("/")[2]  # not "projects/"
    if effort is None or Capability.REASONING not in call.model.capabilities:
        return {}, effort in {None, ReasoningEffort.NONE}
    config: dict[str, Any]
    if generation >= (3, 0):
        least = "minimal" if "flash" in model else "low"  # thinking cannot be turned off
        level = least if effort is ReasoningEffort.NONE else effort.name.lower()
        if level == "medium" and generation == (3, 0) and "pro" in model:
            level = "high"  # the first one knows low and high only
        config, met = {"thinkingLevel": level}, effort is not ReasoningEffort.NONE
    else:
        budget = _budget(model, effort, call.max_output_tokens)
        config, met = {"thinkingBudget": budget}, (budget == 0) is (effort is ReasoningEffort.NONE)
    if effort is not ReasoningEffort.NONE and config.get("thinkingBudget") != 0:
        config["includeThoughts"] = True
    return {"thinkingConfig": config}, met


def _budget(model: str, effort: ReasoningEffort, cap: int) -> int:
    """Return the tokens to think with: half of the cap at most, but no fewer than the model takes; 0: none."""
    if effort is ReasoningEffort.NONE:
        return 128 if "pro" in model else 0  # pro cannot do without
    budget = min(_BUDGETS[effort], cap // 2)
    if "flash-lite" in model:
        return budget if budget >= 512 else 0
    return max(128, budget)
