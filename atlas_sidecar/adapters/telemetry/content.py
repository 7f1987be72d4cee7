"""Prompts and answers as attributes, for those who turned content capture on; nothing else in telemetry reads them.

Rules kept here:
- The JSON is that of the GenAI conventions (gen_ai.input.messages, gen_ai.output.messages, gen_ai.system_instructions).
- Bounded: long texts are cut with an ellipsis, of a long conversation the last messages are kept. Bytes stay out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.telemetry import semconv as s
from atlas_sidecar.adapters.telemetry.spans import Value
from atlas_sidecar.core.types import (
    Blob,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

MAX_TEXT: Final = 8192  # characters of one part
MAX_MESSAGES: Final = 50
_TEXT_PLAIN: Final = "text/plain"
_JSON: Final = "application/json"


def prompt_attributes(request: GenerateRequest) -> dict[str, Value]:
    """Return what was asked, as attributes of a hop."""
    system = [part for message in request.messages if message.role is Role.SYSTEM for part in message.parts]
    others = [message for message in request.messages if message.role is not Role.SYSTEM][-MAX_MESSAGES:]
    attributes: dict[str, Value] = {s.INPUT_MESSAGES: _json([_message(message) for message in others])}
    if system:
        attributes[s.SYSTEM_INSTRUCTIONS] = _json([_part(part) for part in system[:MAX_MESSAGES]])
    if others:
        said = "\n".join(part.content.text for part in others[-1].parts if isinstance(part.content, Text))
        attributes[s.INPUT_VALUE] = _cut(said)
        attributes[s.INPUT_MIME] = _TEXT_PLAIN
    return attributes


def answer_attributes(answer: Message, finish_reason: str) -> dict[str, Value]:
    """Return what was answered, as attributes of a hop; none when nothing was. Without text its parts are the value."""
    if not answer.parts:
        return {}
    message = {**_message(answer), "finish_reason": finish_reason}
    attributes: dict[str, Value] = {s.OUTPUT_MESSAGES: _json([message])}
    said = "".join(part.content.text for part in answer.parts if isinstance(part.content, Text))
    attributes[s.OUTPUT_VALUE] = _cut(said) if said else _json(message["parts"])
    attributes[s.OUTPUT_MIME] = _TEXT_PLAIN if said else _JSON
    return attributes


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role.name.lower(), "parts": [_part(part) for part in message.parts[:MAX_MESSAGES]]}


def _part(part: Part) -> dict[str, Any]:
    match part.content:
        case Text(text):
            return {"type": "text", "content": _cut(text)}
        case Reasoning(text, _):
            return {"type": "reasoning", "content": _cut(text)}
        case ToolCall(call_id, name, arguments):
            return {"type": "tool_call", "id": call_id, "name": name, "arguments": _cut(arguments)}
        case ToolResult(call_id, _, parts, _):
            said = "\n".join(inner.content.text for inner in parts if isinstance(inner.content, Text))
            return {"type": "tool_call_response", "id": call_id, "response": _cut(said)}
        case Blob(mime_type, data, uri, _):
            where = {"uri": _cut(uri)} if uri else {"bytes": len(data or b"")}
            return {"type": "uri" if uri else "blob", "mime_type": mime_type, **where}
        case Opaque(_, kind, _):
            return {"type": kind}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
