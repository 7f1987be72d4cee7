"""Answers of Anthropic that no recording has: what is kept for the next turn, and what must not break an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.anthropic_answer import AnthropicDecoder
from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.types import (
    Finished,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    ProviderEvent,
    Requirements,
    Role,
    Text,
    UsageReport,
)
from atlas_sidecar.runtime.answer import Answer as Whole
from tests.adapters.replay import call, model

START: dict[str, Any] = {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {}}}


def block(first: dict[str, Any], *deltas: dict[str, Any], index: int = 0) -> list[Any]:
    return [
        {"type": "content_block_start", "index": index, "content_block": first},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(said: str, index: int = 0) -> list[Any]:
    return block({"type": "text", "text": ""}, {"type": "text_delta", "text": said}, index=index)


def ended(reason: str = "end_turn") -> list[Any]:
    return [{"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}, {"type": "message_stop"}]


def read(*events: Any) -> tuple[Message, Finished]:
    """Decode a stream (each event JSON, or text as it is); return the message it makes and its end."""
    out: list[ProviderEvent] = []
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    AnthropicDecoder().events([SseEvent(b"", said.encode()) for said in texts], out)
    return put_together(out)


def read_whole(*content: dict[str, Any], **fields: Any) -> tuple[Message, Finished]:
    """Decode the same answer without a stream."""
    out: list[ProviderEvent] = []
    message = {"type": "message", "content": content, "stop_reason": "end_turn", "usage": {}, **fields}
    AnthropicDecoder().whole(json.dumps(message).encode(), out)
    return put_together(out)


def put_together(out: list[ProviderEvent]) -> tuple[Message, Finished]:
    answer = Whole("anthropic")
    for event in out[:-1]:
        if not isinstance(event, UsageReport):
            answer.add(event)  # type: ignore[arg-type]  # no Head comes from a decoder, and Finished is the last
    finished = out[-1]
    assert isinstance(finished, Finished)
    return answer.message(), finished


def sent_back(message: Message) -> list[dict[str, Any]]:
    """Return the assistant's turn of the next request."""
    user = Message(Role.USER, (Part(Text("q")),))
    request = GenerateRequest(Requirements(), (user, message, user))
    blocks: list[dict[str, Any]] = messages_body(call(None, request, model=model("claude-opus-5"))).body["messages"][1][
        "content"
    ]
    return blocks


@pytest.mark.parametrize(
    "fields",
    [
        {"caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}},
        {"toolset_name": "computer", "caller": {"type": "direct"}},
    ],
)
def test_the_caller_and_the_toolset_of_a_call_come_back_on_the_next_turn(fields: dict[str, Any]) -> None:
    first = {"type": "tool_use", "id": "toolu_1", "name": "left_click", "input": {}, **fields}
    streamed, _ = read(
        START, *block(first, {"type": "input_json_delta", "partial_json": '{"x":1}'}), *text("ok", 1), *ended()
    )
    whole, _ = read_whole({**first, "input": {"x": 1}}, {"type": "text", "text": "ok"})
    expected = {**first, "input": {"x": 1}}
    if expected.get("caller") == {"type": "direct"}:
        del expected["caller"]
    assert sent_back(streamed) == sent_back(whole) == [expected, {"type": "text", "text": "ok"}]


def test_a_call_of_the_models_own_has_no_part_beside_it() -> None:
    first = {"type": "tool_use", "id": "t", "name": "add", "input": {}, "caller": {"type": "direct"}}
    message, _ = read(START, *block(first), *ended())
    assert not [part for part in message.parts if isinstance(part.content, Opaque)]
