"""What a simulated model says: its chunks, its usage, its events.

Rules kept here:
- A token is a chunk. The answer depends on the request and the script alone.
- What a request insists on (a tool call, JSON of a schema) is given in its smallest form, so that demos are sensible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from atlas_sidecar.adapters.providers.simulated_script import DEFAULT_TEXT, CallTool, ModelScript, Ok, Step
from atlas_sidecar.core.types import (
    Blob,
    Finished,
    FinishReason,
    GenerateRequest,
    Opaque,
    ProviderCall,
    ProviderEvent,
    Reasoning,
    Text,
    TextDelta,
    ToolArguments,
    ToolCall,
    ToolCallStart,
    ToolMode,
    ToolResult,
    Usage,
)

CHARS_PER_TOKEN: Final = 4
MAX_SCHEMA_DEPTH: Final = 8


class Answer:
    """One answer, cut into chunks of one token each, as events."""

    def __init__(self, call: ProviderCall, script: ModelScript, step: Step, request_id: str) -> None:
        request = call.request
        self.request_id = request_id
        self.input_tokens = estimate_input_tokens(request)
        self.tool = step if isinstance(step, CallTool) else _demanded_call(request) if isinstance(step, Ok) else None
        if self.tool is not None:
            self.chunks = _slices(self.tool.arguments_json, -(-len(self.tool.arguments_json) // CHARS_PER_TOKEN))
            self.finish = (FinishReason.TOOL_CALLS, "tool_calls")
        else:
            self.chunks = _text_chunks(request, script, call.prefill)
            self.finish = (FinishReason.STOP, "stop")
        if len(self.chunks) > call.max_output_tokens:
            del self.chunks[call.max_output_tokens :]
            self.finish = (FinishReason.MAX_OUTPUT_TOKENS, "length")

    def events(self, start: int, stop: int) -> list[ProviderEvent]:
        """Return the chunks from `start` to `stop` as at most two events."""
        if start >= stop:
            return []
        text = "".join(self.chunks[start:stop])
        if self.tool is None:
            return [TextDelta(0, text)]
        events: list[ProviderEvent] = [] if start else [ToolCallStart(0, f"call_{self.request_id}", self.tool.name)]
        events.append(ToolArguments(0, text))
        return events

    def usage(self, sent: int) -> Usage:
        """Return what was used when `sent` chunks were sent."""
        return Usage(input_tokens=self.input_tokens, output_tokens=sent)

    def finished(self, sent: int) -> Finished:
        """Return the last event."""
        return Finished(*self.finish, self.usage(sent), {"simulated": True})


def estimate_input_tokens(request: GenerateRequest) -> int:
    """Return the input tokens a request is said to have: a token for every four characters, at least one."""
    size = sum(len(tool.name) + len(tool.description) + len(tool.parameters_json_schema) for tool in request.tools)
    size += len(request.response_format.json_schema)
    for message in request.messages:
        for part in message.parts:
            size += _size(part.content)
    return max(1, -(-size // CHARS_PER_TOKEN))


def _size(content: object) -> int:
    match content:
        case Text(text) | Reasoning(text):
            return len(text)
        case Blob(data=data):
            return len(data or b"")
        case ToolCall(_, name, arguments):
            return len(name) + len(arguments)
        case ToolResult(parts=parts):
            return sum(_size(part.content) for part in parts)
        case Opaque(json=raw):
            return len(raw)
    return 0


def _text_chunks(request: GenerateRequest, script: ModelScript, prefill: str) -> list[str]:
    wanted = request.response_format
    if wanted.json_schema or wanted.json_object:
        value = _example(_load(wanted.json_schema), 0) if wanted.json_schema else {"simulated": True}
        text = json.dumps(value, ensure_ascii=False)
        return _slices(text, -(-len(text) // CHARS_PER_TOKEN))
    chunks = _pieces(script.text, script.output_tokens)
    return _after(chunks, prefill) if prefill else chunks


def _pieces(text: str, count: int | None) -> list[str]:
    """Cut a text into `count` chunks: a configured one whole; too short a one, and our own, by words in a round."""
    words = re.split(r"(?<=\s)(?=\S)", text) if text.strip() else []
    if count is None or not words:
        return words
    if text is not DEFAULT_TEXT and count and len(text) >= count:
        return _slices(text, count)
    if count > len(words) and not words[-1][-1].isspace():
        words[-1] += " "
    chunks = [words[i % len(words)] for i in range(count)]
    if chunks:
        chunks[-1] = chunks[-1].rstrip()
    return chunks


def _after(chunks: list[str], prefill: str) -> list[str]:
    """Return what is left to say after `prefill`; everything, when the answer does not begin with it."""
    whole = "".join(chunks)
    if not whole.startswith(prefill):
        return chunks
    skip = len(prefill)
    rest: list[str] = []
    for chunk in chunks:
        if skip < len(chunk):
            rest.append(chunk[skip:])
        skip = max(0, skip - len(chunk))
    return rest


def _slices(text: str, count: int) -> list[str]:
    """Cut a text into `count` pieces of nearly the same length; needs 0 <= count <= len(text)."""
    return [text[i * len(text) // count : (i + 1) * len(text) // count] for i in range(count)]


def _demanded_call(request: GenerateRequest) -> CallTool | None:
    """Return the tool call that the request insists on: the named tool or the first one."""
    mode = request.tool_choice.mode
    if mode not in (ToolMode.REQUIRED, ToolMode.NAMED):
        return None
    for tool in request.tools:
        if mode is ToolMode.REQUIRED or tool.name == request.tool_choice.name:
            return CallTool(tool.name, json.dumps(_example(_load(tool.parameters_json_schema), 0), ensure_ascii=False))
    return None


def _load(schema: str) -> Any:
    try:
        return json.loads(schema) if schema else {"type": "object"}
    except ValueError:
        return {"type": "object"}


_EXAMPLES: Final[Mapping[str, Any]] = {
    "string": "simulated",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def _example(schema: Any, depth: int) -> Any:
    """Return a small value that fits a JSON schema's enum, type, properties and items; {} for what it cannot read."""
    if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH:
        return {}
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0] if key == "enum" else _example(schema[key][0], depth + 1)
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0] if kind else "object"
    if kind == "array":
        return [_example(schema.get("items"), depth + 1)] * max(0, min(int(schema.get("minItems") or 0), 3))
    if kind != "object":
        return _EXAMPLES.get(kind, {})
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _example(value, depth + 1) for name, value in properties.items()}
