"""Turns recorded provider requests back into the GenerateRequest that they could have come from, for token estimates.

Not every field of a provider's API has a place in ours; what has none (hosted tools, cached content) is left out, as it
would travel in provider options.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from atlas_sidecar.core.types import (
    Blob,
    Content,
    GenerateRequest,
    Message,
    Part,
    ReasoningEffort,
    Requirements,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "provider_recordings.jsonl"
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "model": Role.ASSISTANT, "tool": Role.TOOL}
Json = Mapping[str, Any]


class Recorded(NamedTuple):
    """One recorded request that was answered, and the input tokens that the provider reported, cache included."""

    provider: str
    model: str
    request: GenerateRequest
    reported_input_tokens: int
    has_hosted_parts: bool


def recorded_requests() -> list[Recorded]:
    """Return every recording with a request body and reported input tokens."""
    found = []
    for line in RECORDINGS.read_text("utf-8").splitlines():
        row = json.loads(line)
        body, tokens = row["request_body"], _reported_input(row)
        if body and tokens:
            model = body.get("model") or row["url"].partition("models/")[2].partition(":")[0]
            request, hosted = _CONVERTERS[row["endpoint"]](body)
            found.append(Recorded(row["provider"], model, request, tokens, hosted))
    return found


def _reported_input(row: Json) -> int:
    largest = 0
    for document in _documents(row["response_body"]):
        usage = document.get("usage") or document.get("usageMetadata") or document.get("x_groq", {}).get("usage")
        usage = usage or document.get("message", {}).get("usage") or (document.get("response") or {}).get("usage") or {}
        total = usage.get("promptTokenCount") or usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        total += (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
        largest = max(largest, total)
    return largest


def _documents(body: str) -> Iterable[Json]:
    try:
        whole = json.loads(body)
    except ValueError:
        lines = [line.removeprefix("data:").strip() for line in body.splitlines() if line.startswith("data:")]
        documents = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    else:
        documents = whole if isinstance(whole, list) else [whole]
    return [{k: v for k, v in document.items() if v is not None} for document in documents]


def _request(
    messages: list[Message], tools: list[Tool], schema: Any = None, *, hosted: bool, thinks: bool = False
) -> tuple[GenerateRequest, bool]:
    answer = ResponseFormat(json_schema=json.dumps(schema)) if schema else ResponseFormat()
    sampling = Sampling(reasoning_effort=ReasoningEffort.LOW if thinks else None)
    found = GenerateRequest(Requirements(), tuple(messages), tuple(tools), response_format=answer, sampling=sampling)
    return found, hosted


def _message(role: Role, contents: Iterable[Content]) -> Message:
    return Message(role, tuple(Part(content) for content in contents))


def _texts(content: Any) -> list[Content]:
    """Return the contents of a string or of a list of OpenAI or Anthropic blocks."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    return [found for block in content for found in _block(block)]


def _block(block: Json) -> list[Content]:
    kind = block.get("type", "")
    if kind in {"text", "input_text", "output_text"}:
        return [Text(block["text"])]
    if kind == "tool_use":
        return [ToolCall(block["id"], block["name"], json.dumps(block["input"]))]
    if kind == "tool_result":
        return [ToolResult(block["tool_use_id"], "", tuple(Part(c) for c in _texts(block.get("content"))))]
    if kind == "image_url":
        return [Blob("image/jpeg", uri=block["image_url"]["url"])]
    if kind in {"image", "document"}:
        source = block["source"]
        data = source.get("data", "")
        raw = data.encode() if source.get("type") == "text" else base64.b64decode(data)
        return [Blob(source.get("media_type", "image/png"), data=raw)]
    return []


def _function(entry: Json, schema_key: str) -> Tool:
    schema = entry.get(schema_key)
    return Tool(entry["name"], entry.get("description", ""), json.dumps(schema) if schema else "")


def _anthropic(body: Json) -> tuple[GenerateRequest, bool]:
    messages = [_message(Role.SYSTEM, _texts(body["system"]))] if body.get("system") else []
    messages += [_message(_ROLES[m["role"]], _texts(m["content"])) for m in body["messages"]]
    tools = [_function(tool, "input_schema") for tool in body.get("tools", ()) if "input_schema" in tool]
    schema = body.get("output_config", {}).get("format", {}).get("schema")
    hosted = len(tools) < len(body.get("tools", ()))
    return _request(messages, tools, schema, hosted=hosted, thinks="thinking" in body)


def _chat(body: Json) -> tuple[GenerateRequest, bool]:
    messages = []
    for message in body["messages"]:
        contents = _texts(message.get("content"))
        for call in message.get("tool_calls", ()):
            contents.append(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]))
        if message["role"] == "tool":
            contents = [ToolResult(message["tool_call_id"], "", tuple(Part(c) for c in contents))]
        messages.append(_message(_ROLES.get(message["role"], Role.SYSTEM), contents))
    entries = [tool["function"] for tool in body.get("tools", ()) if "function" in tool] + body.get("functions", [])
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    return _request(messages, [_function(entry, "parameters") for entry in entries], schema, hosted=False)


def _responses(body: Json) -> tuple[GenerateRequest, bool]:
    messages = [_message(Role.SYSTEM, [Text(body["instructions"])])] if body.get("instructions") else []
    given = body["input"]
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages += [_message(_ROLES.get(t.get("role", ""), Role.USER), _texts(t.get("content"))) for t in turns]
    tools = [_function(tool, "parameters") for tool in body.get("tools", ()) if tool["type"] == "function"]
    schema = body.get("text", {}).get("format", {}).get("schema")
    return _request(messages, tools, schema, hosted=len(tools) < len(body.get("tools", ())))


def _gemini(body: Json) -> tuple[GenerateRequest, bool]:
    turns = [body["systemInstruction"]] if "systemInstruction" in body else []
    turns = turns + body["contents"]
    messages = []
    for turn in turns:
        role = Role.SYSTEM if turn is body.get("systemInstruction") else _ROLES[turn.get("role", "user")]
        messages.append(_message(role, [content for part in turn["parts"] for content in _gemini_part(part)]))
    tools = []
    for tool in body.get("tools", ()):
        for entry in tool.get("functionDeclarations", ()):
            key = "parameters" if "parameters" in entry else "parameters_json_schema"
            tools.append(_function(entry, key))
    config = body.get("generationConfig", {})
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    hosted = "cachedContent" in body or any("functionDeclarations" not in tool for tool in body.get("tools", ()))
    return _request(messages, tools, schema, hosted=hosted)


def _gemini_part(part: Json) -> list[Content]:
    if "text" in part:
        return [Text(part["text"])]
    if "functionCall" in part:
        return [ToolCall("", part["functionCall"]["name"], json.dumps(part["functionCall"].get("args", {})))]
    if "functionResponse" in part:
        answer = json.dumps(part["functionResponse"].get("response", {}))
        return [ToolResult("", part["functionResponse"]["name"], (Part(Text(answer)),))]
    if "inlineData" in part:
        return [Blob(part["inlineData"]["mimeType"], data=base64.b64decode(part["inlineData"]["data"]))]
    return []


_CONVERTERS = {
    "messages": _anthropic,
    "chat": _chat,
    "responses": _responses,
    "generateContent": _gemini,
    "streamGenerateContent": _gemini,
}
