"""Requests to Claude, said briefly: what the tests of its converter share."""

from __future__ import annotations

from typing import Any

from atlas_sidecar.adapters.providers.anthropic_request import Body, messages_body
from atlas_sidecar.core.types import (
    Content,
    GenerateRequest,
    Message,
    Part,
    Requirements,
    Role,
    Text,
    Tool,
)
from tests.adapters.replay import call, model

SYSTEM, USER, ASSISTANT, TOOL = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL
NEW, OLD = "claude-sonnet-5-5", "claude-sonnet-4-5"
ADD = Tool("add", "Adds.", '{"type":"object","properties":{"a":{"type":"integer"}}}')


def says(role: Role, *contents: Content | Part) -> Message:
    return Message(role, tuple(item if isinstance(item, Part) else Part(item) for item in contents))


def sent(
    *messages: Message,
    name: str = NEW,
    cap: int = 1000,
    kind: str = "anthropic",
    prefill: str = "",
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> Body:
    request = GenerateRequest(Requirements(), messages or (says(USER, Text("hi")),), **fields)
    asked = model(name, kind, prefill=name == OLD)
    return messages_body(
        call(None, request, model=asked, max_output_tokens=cap, prefill=prefill, options=options or {}), kind
    )
