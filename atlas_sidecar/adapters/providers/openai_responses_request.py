"""A request in the dialect of OpenAI's Responses API. Pure.

Rules kept here:
- Nothing is stored at the provider (`store: false`): the conversation is sent whole, and reasoning comes back encrypted
  as the part's signature, to be sent again with the next turn. `options` may overrule.
- A turn of the assistant becomes one item for each part, in order. Reasoning without our signature of this kind and
  opaque content of another kind are dropped.
- The wire knows neither `stop` nor `seed`: they are left out, and named. It takes no audio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.wire.blobs import data_uri, file_name, named_text, unsendable
from atlas_sidecar.adapters.providers.wire.chat_request import (
    JSON_ONLY,
    NO_PARAMETERS,
    Body,
    Dialect,
    JsonObject,
    must_say_json,
    parameters,
    schema_name,
    schema_object,
    tool_choice,
)
from atlas_sidecar.adapters.providers.wire.options import merge_options
from atlas_sidecar.adapters.providers.wire.schemas import is_strict
from atlas_sidecar.core.demands import Form, form_of, plain_mime_type
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Blob,
    Capability,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    ProviderCall,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

KIND: Final = "openai"  # the kind whose signatures and opaque items this wire makes and takes
MIN_OUTPUT_TOKENS: Final = 16  # the API refuses less
_UNKNOWN: Final = frozenset({"stop", "seed"})


class ReasoningSignature(msgspec.Struct):
    """What a reasoning item needs to be sent again; it is the part's signature, as JSON."""

    id: str
    encrypted_content: str


def responses_body(call: ProviderCall, dialect: Dialect) -> Body:
    """Return the JSON body of one Responses call. Raises ProviderError for what the wire cannot say."""
    request, model = call.request, call.model
    if call.prefill:  # `prefill: true` was configured by mistake: the answer begins anew
        refused = ProviderError(
            ErrorClass.MODEL_UNAVAILABLE, "the Responses API takes no prefill", code="prefill", breaks_model=False
        )
        refused.sent = False  # nothing may be charged
        raise refused
    body: JsonObject = {"model": model.ref.model, "input": list(_items(request.messages)), "store": False}
    if must_say_json(request):
        body["input"].insert(0, {"role": "system", "content": [{"type": "input_text", "text": JSON_ONLY}]})
    if call.stream:
        body["stream"] = True
    if call.cap_was_asked or call.max_output_tokens < model.max_output_tokens:
        body["max_output_tokens"] = max(MIN_OUTPUT_TOKENS, call.max_output_tokens)
    word, fields, left_out = parameters(call, dialect, _UNKNOWN)
    body.update(fields)
    if Capability.REASONING in model.capabilities:
        body["include"] = ["reasoning.encrypted_content"]
    if word is not None:
        body["reasoning"] = {"effort": word}
    _add_tools(body, request)
    _add_format(body, request)
    merge_options(body, call.options)
    return Body(body, left_out)


def _add_tools(body: JsonObject, request: GenerateRequest) -> None:
    if not request.tools:
        return
    body["tools"] = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": schema_object(tool.parameters_json_schema) if tool.parameters_json_schema else NO_PARAMETERS,
            "strict": False,  # the API's own default is true here
        }
        for tool in request.tools
    ]
    choice = tool_choice(request.tool_choice, named=lambda name: {"type": "function", "name": name})
    if choice is not None:
        body["tool_choice"] = choice


def _add_format(body: JsonObject, request: GenerateRequest) -> None:
    wanted = request.response_format
    if wanted.json_schema:
        schema = schema_object(wanted.json_schema)
        described = {"name": schema_name(wanted.name), "schema": schema, "strict": is_strict(schema)}
        body["text"] = {"format": {"type": "json_schema", **described}}
    elif wanted.json_object:
        body["text"] = {"format": {"type": "json_object"}}


def _items(messages: Iterable[Message]) -> Iterator[JsonObject]:
    for message in messages:
        for part in message.parts:
            if isinstance(part.content, ToolResult):
                yield _result(part.content)
        others = [part for part in message.parts if not isinstance(part.content, ToolResult)]
        if message.role is Role.ASSISTANT:
            yield from _assistant(others)
        else:
            contents = [_content(part.content) for part in others if isinstance(part.content, Text | Blob)]
            if contents:
                yield {"role": "system" if message.role is Role.SYSTEM else "user", "content": contents}


def _assistant(parts: Iterable[Part]) -> Iterator[JsonObject]:
    for part in parts:
        make = _ASSISTANT_PARTS.get(type(part.content))
        item = make(part) if make else None
        if item is not None:
            yield item


def _text_item(part: Part) -> JsonObject | None:
    text: str = part.content.text  # type: ignore[union-attr]  # by the table below
    return {"role": "assistant", "content": text} if text else None


def _call_item(part: Part) -> JsonObject | None:
    call: Any = part.content
    return {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments_json or "{}",
    }


def _reasoning_item(part: Part) -> JsonObject | None:
    if not part.signature or part.signature_origin != KIND:
        return None
    try:
        signature = msgspec.json.decode(part.signature, type=ReasoningSignature)
    except msgspec.DecodeError:
        return None
    text: str = part.content.text  # type: ignore[union-attr]  # by the table below
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {
        "type": "reasoning",
        "id": signature.id,
        "summary": summary,
        "encrypted_content": signature.encrypted_content,
    }


def _opaque_item(part: Part) -> JsonObject | None:
    """Return a hosted tool's item as it came; None for what is no item (annotations) or not ours."""
    opaque: Any = part.content
    if opaque.provider != KIND:
        return None
    try:
        item = msgspec.json.decode(opaque.json)
    except (msgspec.DecodeError, RecursionError):
        return None
    return item if isinstance(item, dict) and item.get("type") == opaque.type else None


_ASSISTANT_PARTS: Final[dict[type, Callable[[Part], JsonObject | None]]] = {
    Text: _text_item,
    ToolCall: _call_item,
    Reasoning: _reasoning_item,
    Opaque: _opaque_item,
}


def _result(result: ToolResult) -> JsonObject:
    contents = [_content(part.content) for part in result.parts if isinstance(part.content, Text | Blob)]
    output: str | list[JsonObject] = contents
    if all(content["type"] == "input_text" for content in contents):
        text = "\n".join(content["text"] for content in contents)
        output = f"Error: {text}" if result.is_error else text
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _content(content: Text | Blob) -> JsonObject:
    if isinstance(content, Text):
        return {"type": "input_text", "text": content.text}
    kind, uploaded = plain_mime_type(content).partition("/")[0], form_of(content) is Form.OPENAI_FILE
    if kind == "image":
        source = {"file_id": content.uri} if uploaded else {"image_url": content.uri or data_uri(content)}
        return {"type": "input_image", "detail": "auto", **source}
    if kind in {"audio", "video"}:
        raise unsendable(content)
    if content.data is None:
        return {"type": "input_file", "file_id" if uploaded else "file_url": content.uri}
    text = named_text(content)
    if text is not None:
        return {"type": "input_text", "text": text}
    return {"type": "input_file", "filename": file_name(content), "file_data": data_uri(content)}
