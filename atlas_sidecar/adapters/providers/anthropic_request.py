"""A GenerateRequest as the body of Anthropic's Messages API. Pure.

Rules kept here:
- Roles alternate: neighbours of one role become one turn; in a user turn tool results come first. Empty text is left
  out, because the API refuses it.
- System messages before all others go to `system`. A later one stays where it is, so that what was cached and signed
  before it stays valid: as a turn of its own where the model takes that, else as marked text of a user turn.
- Signatures, reasoning and opaque parts go back to where they came from only; all platforms of Claude are one origin.
- What a model would refuse is not sent: see anthropic_rules. `options` are merged last, over everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from atlas_sidecar.adapters.providers.anthropic_calls import CALL_FIELDS, Calls
from atlas_sidecar.adapters.providers.anthropic_parameters import limit_breakpoints, set_sampling, set_version
from atlas_sidecar.adapters.providers.anthropic_rules import takes_later_system, thinking_fields
from atlas_sidecar.adapters.providers.anthropic_schema import closed_schema
from atlas_sidecar.adapters.providers.anthropic_tools import tool_fields
from atlas_sidecar.adapters.providers.wire.blobs import base64_of, document_text, named_text, unsendable
from atlas_sidecar.adapters.providers.wire.options import merge_options
from atlas_sidecar.adapters.providers.wire.system_media import with_media_in_user_turn
from atlas_sidecar.adapters.providers.wire.tools import wire_name
from atlas_sidecar.core.demands import PDF, plain_mime_type
from atlas_sidecar.core.errors import ErrorClass, ProviderError
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
    Role,
    Text,
    ToolCall,
    ToolMode,
    ToolResult,
)

FAMILY: Final = frozenset({"anthropic", "anthropic-bedrock", "anthropic-vertex"})
CITATIONS: Final = "citations"  # our opaque type: the citations of the text part before it
_EPHEMERAL: Final = {"type": "ephemeral"}
_ROLES: Final = {Role.SYSTEM: "system", Role.ASSISTANT: "assistant"}
_JSON_ONLY: Final = "Answer with one JSON object and nothing else."


class Body(NamedTuple):
    """What to send. `headers`: beside those of the SDK; `left_out`: parameters that are not sent as asked."""

    body: dict[str, Any]
    headers: dict[str, str]
    left_out: tuple[str, ...]


def messages_body(call: ProviderCall, kind: str = "anthropic") -> Body:
    """Return the body and headers of one call. Raises ProviderError for content that Claude has no form for,
    ValueError for a schema or an opaque part that is no JSON.
    """
    request, model = call.request, call.model.ref.model
    body: dict[str, Any] = {"model": model, "max_tokens": call.max_output_tokens, "stream": call.stream}
    system = _system(request)
    if system:
        body["system"] = system
    messages = with_media_in_user_turn(request.messages)
    body["messages"] = _turns(messages, takes_later_system(model, kind))
    begun = call.prefill.rstrip() if call.model.prefill else ""  # the API refuses white space at its end
    if not body["messages"]:
        raise _nothing_to_say()
    if begun:
        _prefill(body["messages"], begun)
    body.update(tool_fields(request, call.options))
    if not begun:  # neither goes together with a prefill
        body.update(_thinking(call, body["messages"]))
    if request.response_format.json_schema and not begun:
        schema = closed_schema(parse(request.response_format.json_schema))
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
    left_out = set_sampling(call, body)
    blocks = itertools.chain(system, *(turn["content"] for turn in body["messages"]))
    left_out += limit_breakpoints(blocks, call.options)
    merge_options(body, call.options)
    headers: dict[str, str] = {}
    set_version(body, headers, model, kind)
    return Body(body, headers, tuple(left_out))


def _nothing_to_say() -> ProviderError:
    refused = ProviderError(
        ErrorClass.MODEL_UNAVAILABLE,
        "anthropic: the conversation holds nothing that Claude takes as a message",
        code="no_messages",
        breaks_model=False,
    )
    refused.sent = False
    return refused


def _system(request: GenerateRequest) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for message in itertools.takewhile(_is_system, request.messages):
        blocks += _system_blocks(message)
    if request.response_format.json_object and not request.response_format.json_schema:
        blocks.append({"type": "text", "text": _JSON_ONLY})
    return blocks


def _is_system(message: Message) -> bool:
    return message.role is Role.SYSTEM


def _system_blocks(message: Message) -> list[dict[str, Any]]:
    said = [(part, part.content.text if isinstance(part.content, Text) else _readable(part)) for part in message.parts]
    return [_cached({"type": "text", "text": text}, part) for part, text in said if text.strip()]


def _readable(part: Part) -> str:
    """Return the text of a text document; what a system message shows beside that is in the first user turn."""
    return (named_text(part.content) or "") if isinstance(part.content, Blob) else ""


def _turns(messages: Sequence[Message], takes_system: bool) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    calls = Calls()
    for message in itertools.dropwhile(_is_system, messages):
        role = _ROLES.get(message.role, "user")
        if blocks := _blocks(message, role, calls):
            _append(said, role, blocks)
    turns: list[dict[str, Any]] = []
    for turn, following in itertools.zip_longest(said, said[1:]):
        role, blocks = turn["role"], turn["content"]
        if role == "system":
            follows_user = bool(turns) and turns[-1]["role"] == "user"
            if not (takes_system and follows_user and (following is None or following["role"] == "assistant")):
                role = "user"
                blocks = [{**block, "text": f"<system>\n{block['text']}\n</system>"} for block in blocks]
        _append(turns, role, blocks)
    for turn in turns:
        if turn["role"] == "user":  # a stable sort: the results' own order stays
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return turns


def _append(turns: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _blocks(message: Message, role: str, calls: Calls) -> list[dict[str, Any]]:
    if role == "system":
        return _system_blocks(message)
    return _assistant_blocks(message, calls) if role == "assistant" else _user_blocks(message, calls)


def _user_blocks(message: Message, calls: Calls) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in message.parts:
        match part.content:
            case Text(text) if text.strip():
                blocks.append(_cached({"type": "text", "text": text}, part))
            case Blob() as blob:
                blocks.append(_cached(_blob(blob), part))
            case ToolResult() as result:
                blocks.append(_cached(_tool_result(result, calls), part))
            case Opaque(provider, _, raw) if provider in FAMILY:
                blocks.append(_cached(_block(raw), part))
            case _:
                pass
    return blocks


def _assistant_blocks(message: Message, calls: Calls) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in message.parts:
        match part.content:
            case Text(text) if text.strip():
                blocks.append(_cached({"type": "text", "text": text}, part))
            case ToolCall(identity, name, arguments):
                block = {"type": "tool_use", "id": calls.id(identity), "name": wire_name(name)}
                blocks.append(_cached({**block, "input": _arguments(arguments)}, part))
            case Reasoning(text, redacted) if part.signature and part.signature_origin in FAMILY:
                signature = part.signature.decode()
                blocks.append(
                    {"type": "redacted_thinking", "data": signature}
                    if redacted
                    else {"type": "thinking", "thinking": text, "signature": signature}
                )
            case Opaque(provider, kind, raw) if provider in FAMILY:
                if kind not in _OF_THE_BLOCK_BEFORE:
                    blocks.append(_cached(_block(raw), part))
                elif blocks and blocks[-1]["type"] == _OF_THE_BLOCK_BEFORE[kind]:
                    _complete(_cached(blocks[-1], part), raw, calls)
            case _:
                pass  # foreign reasoning and opaque parts; Claude's own turns hold no images or documents
    return blocks


_OF_THE_BLOCK_BEFORE: Final = {CITATIONS: "text", CALL_FIELDS: "tool_use"}


def _complete(block: dict[str, Any], raw: str, calls: Calls) -> None:
    if block["type"] == "text":
        block[CITATIONS] = parse(raw)
    else:
        calls.add_fields(block, raw)


def _tool_result(result: ToolResult, calls: Calls) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for part in result.parts:
        if isinstance(part.content, Text) and part.content.text:
            content.append({"type": "text", "text": part.content.text})
        elif isinstance(part.content, Blob):
            content.append(_blob(part.content))
    block = calls.result(result.call_id, content)
    if any(part.cache_breakpoint for part in result.parts):
        block["cache_control"] = _EPHEMERAL  # the block's own, which holds all that is within
    if result.is_error:
        block["is_error"] = True
    return block


def _blob(blob: Blob) -> dict[str, Any]:
    mime_type = plain_mime_type(blob)
    kind = "image" if mime_type.startswith("image/") else "document"
    text = document_text(blob)
    source: dict[str, Any]
    if text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif kind != "image" and mime_type != PDF:
        raise unsendable(blob)
    elif blob.data is None:
        source = {"type": "url", "url": blob.uri}
    else:
        source = {"type": "base64", "media_type": mime_type, "data": base64_of(blob)}
    block: dict[str, Any] = {"type": kind, "source": source}
    if blob.name and kind == "document":
        block["title"] = blob.name
    return block


def _thinking(call: ProviderCall, turns: list[dict[str, Any]]) -> dict[str, Any]:
    request, effort = call.request, call.request.sampling.reasoning_effort
    if effort is None or Capability.REASONING not in call.model.capabilities:
        return {}
    must_call = bool(request.tools) and request.tool_choice.mode in {ToolMode.REQUIRED, ToolMode.NAMED}
    fields = thinking_fields(call.model.ref.model, effort, call.max_output_tokens, must_call)
    if fields.get("thinking", {}).get("type") == "enabled" and _unthought_tool_turn(turns):
        return {}  # "a final assistant message must start with a thinking block": another model began this tool turn
    return fields


def _unthought_tool_turn(turns: list[dict[str, Any]]) -> bool:
    """Whether the answer goes on a tool turn whose assistant message has no thinking of Claude's own."""
    if len(turns) < 2 or turns[-1]["content"][0]["type"] != "tool_result":
        return False
    return turns[-2]["content"][0]["type"] not in {"thinking", "redacted_thinking"}


def _prefill(turns: list[dict[str, Any]], text: str) -> None:
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"].append({"type": "text", "text": text})
    else:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": text}]})


def _cached(block: dict[str, Any], part: Part) -> dict[str, Any]:
    if part.cache_breakpoint:
        block["cache_control"] = _EPHEMERAL
    return block


def _block(raw: str) -> dict[str, Any]:
    """Return an opaque part's content block. Raises ValueError when it is none."""
    block = parse(raw)
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise ValueError("an opaque part is no content block")
    return block


def _arguments(arguments_json: str) -> dict[str, Any]:
    """Return a call's arguments as the object that the API wants, also when they are no JSON object."""
    try:
        value = parse(arguments_json) if arguments_json.strip() else {}
    except ValueError:
        return {"arguments": arguments_json}
    return value if isinstance(value, dict) else {"arguments": value}
