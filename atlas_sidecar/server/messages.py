"""Turns the wire's conversation into core messages, and messages back; wrong parts are named by their path.

Rules kept here:
- Content is copied word for word: text, bytes, ids, signatures, JSON.
- A tool call stands in an assistant's message, a tool result in a tool's or a user's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Protocol
from urllib.parse import unquote_to_bytes

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.types import (
    Blob,
    Content,
    Message,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)


class Problems(Protocol):
    """Takes in what is wrong."""

    def add(self, field: str, description: str) -> None:
        """Note one wrong field."""
        ...


def messages_from(wire: Sequence[pb.ChatMessage], problems: Problems) -> tuple[Message, ...]:
    """Return the conversation; what is wrong goes to `problems`."""
    messages = []
    for i, message in enumerate(wire):
        at = f"messages[{i}]"
        try:
            role = Role(message.role)
        except ValueError:
            problems.add(f"{at}.role", "must be SYSTEM, USER, ASSISTANT or TOOL")
            role = Role.USER
        if not message.parts:
            problems.add(f"{at}.parts", "a message needs at least one part")
        parts = tuple(_part(part, f"{at}.parts[{j}]", role, problems) for j, part in enumerate(message.parts))
        messages.append(Message(role, parts))
    if not messages:
        problems.add("messages", "a request needs at least one message")
    elif all(message.role is Role.SYSTEM for message in messages):
        problems.add("messages", "a request needs a message that is not SYSTEM")
    elif _is_blank(part for message in wire if message.role != pb.ChatMessage.ROLE_SYSTEM for part in message.parts):
        problems.add("messages", "a request needs content: every text is blank")
    return tuple(messages)


def _is_blank(parts: Iterable[pb.Part]) -> bool:
    texts = [part.text if part.WhichOneof("kind") == "text" else "other content" for part in parts]
    return bool(texts) and not any(text.strip() for text in texts)


def _part(wire: pb.Part, at: str, role: Role, problems: Problems) -> Part:
    content = _content(wire, at, role, problems)
    if wire.signature and not _is_utf8(wire.signature):
        problems.add(f"{at}.signature", "must be the UTF-8 that the answer had")
    return Part(content, wire.cache_breakpoint, wire.signature, wire.signature_origin)


def _content(wire: pb.Part, at: str, role: Role, problems: Problems) -> Content:
    kind = wire.WhichOneof("kind")
    if kind == "text":
        return Text(wire.text)
    if kind == "blob":
        return _blob(wire.blob, f"{at}.blob", problems)
    if kind == "tool_call":
        return _tool_call(wire.tool_call, f"{at}.tool_call", role, problems)
    if kind == "tool_result":
        return _tool_result(wire.tool_result, f"{at}.tool_result", role, problems)
    if kind == "reasoning":
        return Reasoning(wire.reasoning.text, wire.reasoning.redacted)
    if kind == "opaque":
        if not _is_json(wire.opaque.json):
            problems.add(f"{at}.opaque.json", "is no valid JSON")
        return Opaque(wire.opaque.provider, wire.opaque.type, wire.opaque.json)
    problems.add(at, "a part needs a kind: text, blob, tool_call, tool_result, reasoning or opaque")
    return Text("")


def _blob(wire: pb.Blob, at: str, problems: Problems) -> Blob:
    source = wire.WhichOneof("source")
    if "/" not in wire.mime_type:
        problems.add(f"{at}.mime_type", 'must be a MIME type such as "image/png"')
    if source is None or (source == "data" and not wire.data) or (source == "uri" and not wire.uri):
        problems.add(at, "needs data or a uri")
    if source == "uri" and wire.uri[:5].lower() == "data:":  # bytes, whatever the field's name
        data = _data_of(wire.uri)
        if not data:
            problems.add(f"{at}.uri", 'is no data URI with content ("data:image/png;base64,...")')
        return Blob(wire.mime_type, data, "", wire.name)
    return Blob(wire.mime_type, wire.data if source == "data" else None, wire.uri, wire.name)


def _data_of(uri: str) -> bytes:
    """Return the bytes of a data URI (RFC 2397), none where it is malformed."""
    header, _, content = uri.partition(",")
    raw = unquote_to_bytes(content)
    if not header.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        return b""


def _tool_call(wire: pb.ToolCall, at: str, role: Role, problems: Problems) -> ToolCall:
    if role is not Role.ASSISTANT:
        problems.add(at, "a tool call stands in an ASSISTANT message")
    if not wire.name:
        problems.add(f"{at}.name", "must not be empty")
    if not wire.id:
        problems.add(f"{at}.id", "must not be empty: its result refers to it")
    if wire.arguments_json and not _is_json_object(wire.arguments_json):
        problems.add(f"{at}.arguments_json", "must be a JSON object")
    return ToolCall(wire.id, wire.name, wire.arguments_json or "{}")


def _tool_result(wire: pb.ToolResult, at: str, role: Role, problems: Problems) -> ToolResult:
    if role not in (Role.TOOL, Role.USER):
        problems.add(at, "a tool result stands in a TOOL message")
    if not wire.call_id:
        problems.add(f"{at}.call_id", "must be the id of the tool call that it answers")
    parts = []
    for i, part in enumerate(wire.parts):
        if part.WhichOneof("kind") not in ("text", "blob"):
            problems.add(f"{at}.parts[{i}]", "a tool result has text and blob parts only")
            continue
        parts.append(_part(part, f"{at}.parts[{i}]", role, problems))
    return ToolResult(wire.call_id, wire.name, tuple(parts), wire.is_error)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def message_to(message: Message) -> pb.ChatMessage:
    """Return a message as the wire has it."""
    wire = pb.ChatMessage()
    fill_message(wire, message)
    return wire


def fill_message(wire: pb.ChatMessage, message: Message) -> None:
    """Write a message into the wire's."""
    wire.role = message.role.value  # type: ignore[assignment]  # the numbers are the wire's
    for part in message.parts:
        _fill_part(wire.parts.add(), part)


def _fill_part(wire: pb.Part, part: Part) -> None:
    if part.cache_breakpoint:
        wire.cache_breakpoint = True
    if part.signature or part.signature_origin:
        wire.signature, wire.signature_origin = part.signature, part.signature_origin
    content = part.content
    match content:
        case Text(text):
            wire.text = text
        case Blob(mime_type, data, uri, name):
            wire.blob.mime_type, wire.blob.name = mime_type, name
            if data is not None:
                wire.blob.data = data
            else:
                wire.blob.uri = uri
        case ToolCall(call_id, name, arguments):
            call = wire.tool_call
            call.id, call.name, call.arguments_json = call_id, name, arguments
        case ToolResult(call_id, name, parts, is_error):
            result = wire.tool_result
            result.call_id, result.name, result.is_error = call_id, name, is_error
            for inner in parts:
                _fill_part(result.parts.add(), inner)
        case Reasoning(text, redacted):
            wire.reasoning.text, wire.reasoning.redacted = text, redacted
        case Opaque(provider, kind, text):
            wire.opaque.provider, wire.opaque.type, wire.opaque.json = provider, kind, text
