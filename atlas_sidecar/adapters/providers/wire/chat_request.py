"""A request in the chat-completions dialect: OpenAI, Groq and the many servers that speak like them. Pure.

Rules kept here:
- One message of ours becomes one of theirs, but a tool message becomes one message for each result, and what a tool
  message cannot carry (images, documents) follows the results as a user message.
- Parts of an assistant turn that this wire has no place for (reasoning, opaque content, blobs) are dropped; calls of
  custom tools, which are opaque, are sent back to their kind.
- Reasoning goes back to the configured provider that made it, in the field that it came in, once tools were called:
  DeepSeek and those like it refuse the turn of a tool call without it. OpenAI's own server has no such field.
- A parameter that the model does not take is left out, and named.
- `options` are merged last. The sidecar never fetches a URI: it is passed on.
- What this wire cannot say at all raises ProviderError MODEL_UNAVAILABLE without blame on the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from atlas_sidecar.adapters.providers.wire.blobs import base64_of, data_uri, file_name, named_text, unsendable
from atlas_sidecar.adapters.providers.wire.options import merge_options
from atlas_sidecar.adapters.providers.wire.schemas import (
    is_strict,
    json_object,
    parameters_object,
    schema_object,
)
from atlas_sidecar.adapters.providers.wire.system_media import with_media_in_user_turn
from atlas_sidecar.adapters.providers.wire.tools import safe_name, wire_id, wire_name
from atlas_sidecar.core.demands import WAV, Form, form_of, plain_mime_type
from atlas_sidecar.core.types import (
    Blob,
    Capability,
    GenerateRequest,
    Opaque,
    Part,
    ProviderCall,
    Reasoning,
    ReasoningEffort,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)

JsonObject = dict[str, Any]
JSON_ONLY: Final = "Answer with one JSON object and nothing else."
MAX_STOPS: Final = 4
MAX_ID: Final = 40
REASONING_FIELDS: Final = ("reasoning_content", "reasoning")
_MARKED: Final = frozenset({Role.SYSTEM, Role.USER})  # whose messages may carry cache breakpoints
TOOL_CALL: Final = "tool_call"  # the type of an opaque part that is a call of a custom tool


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server differs. `kind`: whose opaque parts it takes.

    `effort`: its word for a reasoning effort of a model, None = say nothing.
    `refuses`: the parameters that a model with this effort does not take; they are left out.
    `strict_schemas`: whether `strict` may be true; `stream_usage`: whether usage must be asked for.
    `breakpoints`: whether a model takes marks of where the prompt is worth caching.
    `openais_limits`: whether it refuses a fifth stop sequence (left out) and long ids of tool calls (shortened).
    """

    max_tokens_field: str
    effort: Callable[[str, ReasoningEffort], str | None]
    refuses: Callable[[str, ReasoningEffort | None], frozenset[str]] = lambda _model, _effort: frozenset()
    strict_schemas: bool = True
    stream_usage: bool = True
    openais_limits: bool = False
    kind: str = "openai"
    breakpoints: Callable[[str], bool] = lambda _model: False

    @property
    def max_id(self) -> int | None:
        """The longest id of a tool call, characters; None = no bound."""
        return MAX_ID if self.openais_limits else None


class ReasoningOrigin(msgspec.Struct, omit_defaults=True):
    """Who made a part of reasoning, and the field that it came in; it is the part's signature, as JSON.

    `details`: what goes back in the place of the text, in `reasoning_details`.
    """

    provider: str = ""
    field: str = ""
    details: list[Any] = []


class Body(NamedTuple):
    """What to send; `left_out`: parameters of the request that this wire or this model does not take."""

    body: JsonObject
    left_out: tuple[str, ...]


def chat_body(call: ProviderCall, dialect: Dialect) -> Body:
    """Return the JSON body of one chat-completions call. Raises ProviderError for what the wire cannot say."""
    request = call.request
    messages = _messages(call, dialect)
    if must_say_json(request):
        if messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
            messages[0] = {"role": "system", "content": f"{messages[0]['content']}\n\n{JSON_ONLY}"}
        else:
            messages.insert(0, {"role": "system", "content": JSON_ONLY})
    if call.prefill and call.model.prefill:
        messages.append({"role": "assistant", "content": call.prefill})
    body: JsonObject = {"model": call.model.ref.model, "messages": messages}
    if call.stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if call.cap_was_asked or call.max_output_tokens < call.model.max_output_tokens:
        body[dialect.max_tokens_field] = call.max_output_tokens
    word, fields, left_out = parameters(call, dialect)
    body.update(fields)
    if word is not None:
        body["reasoning_effort"] = word
    if request.tools:
        body["tools"] = [
            {"type": "function", "function": _function(wire_name(t.name), t.description, t.parameters_json_schema)}
            for t in request.tools
        ]
        choice = tool_choice(request.tool_choice, named=lambda name: {"type": "function", "function": {"name": name}})
        if choice is not None:
            body["tool_choice"] = choice
    response_format = _response_format(request, dialect)
    if response_format is not None:
        body["response_format"] = response_format
    merge_options(body, call.options)
    return Body(body, left_out)


def parameters(
    call: ProviderCall, dialect: Dialect, unknown: frozenset[str] = frozenset()
) -> tuple[str | None, JsonObject, tuple[str, ...]]:
    """Return the word for the effort, the other parameters to send, and the names of those that are left out.

    `unknown`: what this wire has no field for.
    """
    request, model = call.request, call.model
    sampling, effort = request.sampling, request.sampling.reasoning_effort
    if Capability.REASONING not in model.capabilities:
        effort = None
    word = dialect.effort(model.ref.model, effort) if effort is not None else None
    max_stops = MAX_STOPS if dialect.openais_limits else None
    wanted = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop[:max_stops]) or None,
        "seed": sampling.seed,
        "parallel_tool_calls": False if request.tools and request.tool_choice.disable_parallel else None,
    }
    fields = {name: value for name, value in wanted.items() if value is not None}
    refused = unknown | dialect.refuses(model.ref.model, effort)
    cut = max_stops is not None and len(sampling.stop) > max_stops
    left_out = [name for name in fields if name in refused or (name == "stop" and cut)]
    if word is None and sampling.reasoning_effort not in {None, ReasoningEffort.NONE}:
        left_out.append("reasoning_effort")
    takes_breakpoints = dialect.breakpoints(model.ref.model)
    if any(
        part.cache_breakpoint and not (takes_breakpoints and message.role in _MARKED)
        for message in request.messages
        for part in message.parts
    ):
        left_out.append("cache_breakpoint")  # the server chooses by itself what it keeps
    return word, {name: value for name, value in fields.items() if name not in refused}, tuple(left_out)


def _function(name: str, description: str, schema: str) -> JsonObject:
    function: JsonObject = {"name": name, "parameters": parameters_object(schema)}
    if description:
        function["description"] = description
    return function


def tool_choice(choice: ToolChoice, named: Callable[[str], JsonObject]) -> str | JsonObject | None:
    """Return the wire's tool choice, None for auto; `named` gives the form that names one tool."""
    if choice.mode is ToolMode.NAMED:
        return named(wire_name(choice.name))
    return {ToolMode.NONE: "none", ToolMode.REQUIRED: "required"}.get(choice.mode)


def schema_name(name: str) -> str:
    """Return a name that the wire takes for a schema: 1 to 64 of A-Z a-z 0-9 _ -."""
    return safe_name(name) or "answer"


def _response_format(request: GenerateRequest, dialect: Dialect) -> JsonObject | None:
    wanted = request.response_format
    if wanted.json_schema:
        schema = schema_object(wanted.json_schema)
        described: JsonObject = {"name": schema_name(wanted.name), "schema": schema}
        if dialect.strict_schemas and is_strict(schema):
            described["strict"] = True
        return {"type": "json_schema", "json_schema": described}
    return {"type": "json_object"} if wanted.json_object else None


def must_say_json(request: GenerateRequest) -> bool:
    """Return whether JSON_ONLY must be added: "messages must contain the word 'json'", or JSON output is refused."""
    if not request.response_format.json_object or request.response_format.json_schema:
        return False
    contents = [part.content for message in request.messages for part in message.parts]
    return not any("json" in content.text.lower() for content in contents if isinstance(content, Text))


# ------------------------------------------------------------------------------------------- messages


def _messages(call: ProviderCall, dialect: Dialect) -> list[JsonObject]:
    messages, marked = with_media_in_user_turn(call.request.messages), dialect.breakpoints(call.model.ref.model)
    called = any(isinstance(part.content, ToolCall) for message in messages for part in message.parts)
    of = call.model.ref.provider if called and not dialect.openais_limits else ""
    sent: list[JsonObject] = []
    attached: list[JsonObject] = []  # blobs of tool results: they follow the last result of a row of tool messages
    for message in messages:
        results = [part.content for part in message.parts if isinstance(part.content, ToolResult)]
        for result in results:
            sent.append(_tool_message(result, wire_id(result.call_id, dialect.max_id), attached))
        others = [part for part in message.parts if not isinstance(part.content, ToolResult)]
        if results and not others:
            continue
        if attached:
            sent.append({"role": "user", "content": attached})
            attached = []
        if message.role is Role.ASSISTANT:
            turn = _assistant(others, dialect, of)
        else:
            turn = _speaker(message.role, others, marked=marked)
        if turn is not None:
            sent.append(turn)
    if attached:
        sent.append({"role": "user", "content": attached})
    return sent


def _tool_message(result: ToolResult, call_id: str, attached: list[JsonObject]) -> JsonObject:
    texts = [part.content.text for part in result.parts if isinstance(part.content, Text)]
    blobs = [part.content for part in result.parts if isinstance(part.content, Blob)]
    if blobs:
        attached.append({"type": "text", "text": f"Attached to the result of {result.name or 'the tool'}:"})
        attached.extend(_blob(blob) for blob in blobs)
        texts = texts or ["The result is attached in the next message."]
    text = "\n".join(texts)
    return {"role": "tool", "tool_call_id": call_id, "content": f"Error: {text}" if result.is_error else text}


def _assistant(parts: list[Part], dialect: Dialect, provider: str) -> JsonObject | None:
    """Return a turn of the assistant; with `provider`, the reasoning that it made."""
    text = "".join(part.content.text for part in parts if isinstance(part.content, Text))
    calls: list[JsonObject] = []
    for part in parts:
        if isinstance(part.content, ToolCall):
            id_, name, arguments = part.content
            function = {"name": wire_name(name), "arguments": arguments or "{}"}
            calls.append({"id": wire_id(id_, dialect.max_id), "type": "function", "function": function})
        elif isinstance(part.content, Opaque) and part.content[:2] == (dialect.kind, TOOL_CALL):
            calls += filter(None, [json_object(part.content.json)])
    if not text and not calls:
        return None
    turn: JsonObject = {"role": "assistant", "content": text or None}
    if calls:
        turn["tool_calls"] = calls
    for part in parts if provider else ():
        if isinstance(part.content, Reasoning) and part.signature_origin == dialect.kind:
            origin = _origin(part.signature)
            if origin.provider == provider and origin.details:
                turn["reasoning_details"] = origin.details
            elif origin.provider == provider and origin.field in REASONING_FIELDS:
                turn[origin.field] = turn.get(origin.field, "") + part.content.text
    return turn


def _origin(signature: bytes) -> ReasoningOrigin:
    try:
        return msgspec.json.decode(signature, type=ReasoningOrigin)
    except (msgspec.DecodeError, RecursionError):
        return ReasoningOrigin()


def _speaker(role: Role, parts: list[Part], *, marked: bool) -> JsonObject | None:
    contents = list(_contents(parts, marked=marked))
    if not contents:
        return None
    name = "system" if role is Role.SYSTEM else "user"
    if all(content.keys() == {"type", "text"} for content in contents):
        if role is Role.SYSTEM:  # some servers take a string only
            return {"role": name, "content": "\n\n".join(content["text"] for content in contents)}
        if len(contents) == 1:
            return {"role": name, "content": contents[0]["text"]}
    return {"role": name, "content": contents}


def _contents(parts: list[Part], *, marked: bool) -> Iterator[JsonObject]:
    for part in parts:
        if isinstance(part.content, Text):
            yield with_breakpoint({"type": "text", "text": part.content.text}, part, marked=marked)
        elif isinstance(part.content, Blob):
            yield with_breakpoint(_blob(part.content), part, marked=marked)


def with_breakpoint(content: JsonObject, part: Part, *, marked: bool) -> JsonObject:
    """Return a content part that says where its cache breakpoint is, where the model takes it (`marked`)."""
    return {**content, "prompt_cache_breakpoint": {"mode": "explicit"}} if marked and part.cache_breakpoint else content


def _blob(blob: Blob) -> JsonObject:
    """Return an image, audio or document part."""
    mime_type = plain_mime_type(blob)
    kind = mime_type.partition("/")[0]
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": blob.uri or data_uri(blob)}}
    if kind == "audio" and blob.data is not None and form_of(blob) is Form.AUDIO:
        audio = {"data": base64_of(blob), "format": "wav" if mime_type in WAV else "mp3"}
        return {"type": "input_audio", "input_audio": audio}
    if kind in {"audio", "video"}:
        raise unsendable(blob)
    if blob.data is not None:
        text = named_text(blob)
        if text is not None:
            return {"type": "text", "text": text}
        return {"type": "file", "file": {"filename": file_name(blob), "file_data": data_uri(blob)}}
    if form_of(blob) is Form.OPENAI_FILE:
        return {"type": "file", "file": {"file_id": blob.uri}}
    raise unsendable(blob)
