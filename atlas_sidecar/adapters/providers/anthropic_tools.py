"""Tools in Anthropic's form. Pure.

Rules kept here:
- A conversation with tool calls in it is refused unless tools are declared: where the request has none, they are
  declared by name and forbidden, unless the caller's options bring tools (hosted ones, as bash_20250124): those may be
  the very ones that were called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atlas_sidecar.adapters.providers.wire.tools import wire_name
from atlas_sidecar.core.json_text import parse
from atlas_sidecar.core.types import GenerateRequest, ToolCall, ToolMode


def tool_fields(request: GenerateRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tools` and, where it is not the default, `tool_choice`; `options` are merged with them later."""
    tools: list[dict[str, Any]] = []
    for tool in request.tools:
        entry: dict[str, Any] = {"name": wire_name(tool.name)}
        if tool.description:
            entry["description"] = tool.description
        schema = parse(tool.parameters_json_schema) if tool.parameters_json_schema else {}
        entry["input_schema"] = {"type": "object", "properties": {}, **schema} if "type" not in schema else schema
        tools.append(entry)
    if not tools and options.get("tools"):
        return {}
    if not tools:
        names = dict.fromkeys(
            wire_name(part.content.name)
            for message in request.messages
            for part in message.parts
            if isinstance(part.content, ToolCall)
        )
        if not names:
            return {}
        bare = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in names]
        return {"tools": bare, "tool_choice": {"type": "none"}}
    choice = request.tool_choice
    wanted: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode is ToolMode.NAMED:
        wanted["name"] = wire_name(choice.name)
    if choice.disable_parallel and choice.mode is not ToolMode.NONE:
        wanted["disable_parallel_tool_use"] = True
    return {"tools": tools} if wanted == {"type": "auto"} else {"tools": tools, "tool_choice": wanted}


_CHOICES: Final = {ToolMode.AUTO: "auto", ToolMode.NONE: "none", ToolMode.REQUIRED: "any", ToolMode.NAMED: "tool"}
