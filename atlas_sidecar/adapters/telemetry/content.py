"""Prompts and answers as attributes, for those who turned content capture on; nothing else in telemetry reads them.

Rules kept here:
- The JSON is that of the GenAI conventions (gen_ai.input.messages, gen_ai.output.messages, gen_ai.system_instructions).
- Bounded: long texts are cut with an ellipsis, and what one hop carries, answer and prompt, stays below MAX_BYTES: the
  newest messages are kept. Bytes stay out, those of a data: URI too.
- Of a URI only what names the thing is told: signed links carry their key in the query, others in front of the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
MAX_TEXT_BYTES: Final = 12 * 1024  # of one part, as UTF-8
MAX_MESSAGES: Final = 50
MAX_BYTES: Final = 64 * 1024  # of one hop, as UTF-8
_AROUND_A_MESSAGE: Final = 80  # bytes: its role, its finish reason, brackets
_TEXT_PLAIN: Final = "text/plain"
_JSON: Final = "application/json"
_NOT_THE_PLACE: Final = re.compile(r"[?#].*", re.DOTALL)


class Room:
    """How many bytes may still be told."""

    def __init__(self, size_bytes: int = MAX_BYTES) -> None:
        self.left = size_bytes

    def take(self, text: str) -> bool:
        """Return whether a text fits, and take its room if so."""
        size = len(text) if text.isascii() else len(text.encode())
        if size >= self.left:
            return False
        self.left -= size + 1  # a comma
        return True


def content_attributes(request: GenerateRequest, answer: Message | None, finish_reason: str) -> dict[str, Value]:
    """Return what was asked and answered, as attributes of a hop; the answer takes half of the room at most."""
    of_answer = Room(MAX_BYTES // 2)
    attributes = answer_attributes(answer, finish_reason, of_answer) if answer is not None else {}
    return attributes | prompt_attributes(request, Room(MAX_BYTES // 2 + of_answer.left))


def prompt_attributes(request: GenerateRequest, room: Room) -> dict[str, Value]:
    """Return what was asked, as attributes of a hop."""
    system = [part for message in request.messages if message.role is Role.SYSTEM for part in message.parts]
    others = [message for message in request.messages if message.role is not Role.SYSTEM][-MAX_MESSAGES:]
    attributes: dict[str, Value] = {}
    if others:
        said = _cut("\n".join(part.content.text for part in others[-1].parts if isinstance(part.content, Text)))
        if room.take(said):
            attributes[s.INPUT_VALUE] = said
            attributes[s.INPUT_MIME] = _TEXT_PLAIN
    attributes[s.INPUT_MESSAGES] = _messages(others, room)
    if system:
        attributes[s.SYSTEM_INSTRUCTIONS] = _list(_parts(system, room))
    return attributes


def answer_attributes(answer: Message, finish_reason: str, room: Room) -> dict[str, Value]:
    """Return what was answered, as attributes of a hop; none when nothing was. Without text its parts are the value."""
    if not answer.parts:
        return {}
    attributes: dict[str, Value] = {}
    said = _cut("".join(part.content.text for part in answer.parts if isinstance(part.content, Text)))
    value = said or _list(_parts(answer.parts, Room(room.left // 2)))
    if room.take(value):
        attributes[s.OUTPUT_VALUE] = value
        attributes[s.OUTPUT_MIME] = _TEXT_PLAIN if said else _JSON
    room.left -= _AROUND_A_MESSAGE
    end = f',"finish_reason":{_json(finish_reason)}'
    attributes[s.OUTPUT_MESSAGES] = _list([_message(answer, _parts(answer.parts, room), end)])
    return attributes


def _messages(messages: Sequence[Message], room: Room) -> str:
    """Return the newest messages that there is room for, in their order; of the first that is cut the first parts."""
    told: list[str] = []
    for message in reversed(messages):
        room.left -= _AROUND_A_MESSAGE
        parts = _parts(message.parts, room)
        if message.parts and not parts:
            break
        told.append(_message(message, parts))
        if len(parts) < len(message.parts):
            break
    return _list(reversed(told))


def _message(message: Message, parts: Sequence[str], end: str = "") -> str:
    return f'{{"role":{_json(message.role.name.lower())},"parts":{_list(parts)}{end}}}'


def _parts(parts: Sequence[Part], room: Room) -> list[str]:
    told: list[str] = []
    for part in parts[:MAX_MESSAGES]:
        text = _json(_part(part))
        if not room.take(text):
            break
        told.append(text)
    return told


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
            where = _place(uri) if uri else {"bytes": len(data or b"")}
            return {"type": "uri" if uri else "blob", "mime_type": mime_type, **where}
        case Opaque(_, kind, _):
            return {"type": kind}


def _place(uri: str) -> dict[str, Any]:
    if uri[:5].lower() == "data:":
        return {"uri": "data:", "characters": len(uri)}
    scheme, mark, rest = _NOT_THE_PLACE.sub("", uri).partition("//")
    host, slash, path = rest.partition("/")
    return {"uri": _cut(scheme + mark + host.rpartition("@")[2] + slash + path)}


def _cut(text: str) -> str:
    cut = text[:MAX_TEXT]
    if not cut.isascii() and len(told := cut.encode()) > MAX_TEXT_BYTES:
        cut = told[:MAX_TEXT_BYTES].decode(errors="ignore")
    return text if len(cut) == len(text) else f"{cut[:-1]}…"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _list(told: Iterable[str]) -> str:
    return f"[{','.join(told)}]"
