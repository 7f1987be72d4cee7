"""Answers of Anthropic that no recording has: what is kept for the next turn, and what must not break an answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from atlas_sidecar.adapters.providers.anthropic_answer import AnthropicDecoder
from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Finished,
    FinishReason,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    ProviderEvent,
    Requirements,
    Role,
    Text,
    ToolCall,
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


def test_a_hosted_call_that_the_token_limit_cut_does_not_take_the_answer_with_it() -> None:
    hosted = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    cut = {"type": "input_json_delta", "partial_json": '{"query": "a'}
    message, finished = read(START, *text("Searching"), *block(hosted, cut, index=1), *ended("max_tokens"))
    assert finished.finish_reason is FinishReason.MAX_OUTPUT_TOKENS
    assert sent_back(message) == [{"type": "text", "text": "Searching"}, hosted]


NULLS: dict[str, tuple[dict[str, Any], ...]] = {
    "text": ({"type": "text", "text": None, "citations": [None]}, {"type": "text_delta", "text": None}),
    "thinking": (
        {"type": "thinking", "thinking": None, "signature": None},
        {"type": "thinking_delta", "thinking": None},
        {"type": "signature_delta", "signature": None},
    ),
    "huge": ({"type": "tool_use", "id": "t", "name": "add", "input": {}, "caller": {"type": None, "x": 10**400}},),
    "call": (
        {"type": "tool_use", "id": None, "name": "add", "input": None, "caller": None, "toolset_name": None},
        {"type": "input_json_delta", "partial_json": None},
    ),
    "hosted": (
        {"type": "server_tool_use", "id": None, "name": None, "input": {}},
        {"type": "input_json_delta", "partial_json": None},
    ),
    "citation": ({"type": "text", "text": ""}, {"type": "citations_delta", "citation": None}),
    "unknown": ({"type": "text", "text": ""}, {"type": None}),
    "no type": ({"type": None},),
}


@pytest.mark.parametrize("name", NULLS)
def test_null_stands_for_what_is_not_said(name: str) -> None:
    start = {"type": "message_start", "message": {"id": None, "model": None, "content": None, "usage": None}}
    first, *deltas = NULLS[name]
    message, finished = read(start, *block(first, *deltas), {"type": None}, *text("fine", 1), *ended())
    assert message.parts[-1].content == Text("fine")
    assert finished.finish_reason is FinishReason.STOP
    whole, _ = read_whole(first, {"type": "text", "text": "fine"}, id=None, model=None, stop_reason=None)
    assert whole == message
    if name == "call":
        assert message.parts[0].content == ToolCall("call_0", "add", "{}")


HALF = "\ud83d"  # of an emoji


def test_half_a_character_does_not_break_an_answer() -> None:
    hosted = {"type": "web_search_tool_result", "tool_use_id": "s", "content": HALF}
    arguments = {"type": "input_json_delta", "partial_json": json.dumps({"a": HALF})}
    call_start = {"type": "tool_use", "id": "t", "name": "add", "input": {}}
    beside = {"type": "ping", "half": HALF, "huge": 10**400}
    message, _ = read(
        START, beside, *text(f"a{HALF}"), *block(call_start, arguments, index=1), *block(hosted, index=2), *ended()
    )
    said = [
        {"type": "text", "text": "a\ufffd"},
        {**call_start, "input": {"a": "\ufffd"}},
        {**hosted, "content": "\ufffd"},
    ]
    assert sent_back(message) == said
    whole, _ = read_whole({"type": "text", "text": f"a{HALF}"}, {**call_start, "input": {"a": HALF}}, hosted)
    assert sent_back(whole) == said


def test_half_a_character_in_an_error_hides_nothing() -> None:
    with pytest.raises(ProviderError) as caught:
        read(START, {"type": "error", "error": {"type": "overloaded_error", "message": HALF}})
    assert caught.value.error_class is ErrorClass.OVERLOADED


@pytest.mark.parametrize("data", ['{"type": "ping", "x": "\\ud83d}', '{"type": 7, "x": "\\ud83d"}'])
def test_what_is_wrong_beside_half_a_character_stays_wrong(data: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(START, data)


def test_a_compaction_is_kept_whole_and_pauses_the_turn() -> None:
    first = {"type": "compaction", "content": None, "signature": "s"}
    delta = {"type": "compaction_delta", "content": "what was said", "encrypted_content": "E"}
    iterations = [{"type": "compaction", "input_tokens": 9, "output_tokens": 3}]
    counted = {"type": "message_delta", "delta": {}, "usage": {"iterations": iterations}}
    message, finished = read(START, *block(first, delta), counted, *ended("compaction"))
    assert sent_back(message) == [{**first, "content": "what was said", "encrypted_content": "E"}]
    assert (finished.finish_reason, finished.raw_finish_reason) == (FinishReason.PAUSE, "compaction")
    assert finished.metadata["iterations"] == iterations


def test_what_the_api_says_of_the_request_is_in_the_metadata() -> None:
    noted = {
        "diagnostics": {"cache_miss_reason": {"type": "system_changed"}},
        "input_transformations": [{"type": "thinking_dropped"}],
    }
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {}, **noted}}
    _, streamed = read(start, *text("a"), *ended())
    _, whole = read_whole({"type": "text", "text": "a"}, **noted)
    for finished in (streamed, whole):
        assert {key: finished.metadata[key] for key in noted} == noted
    later = {"type": "message_delta", "delta": {}, "usage": {}, "input_transformations": [{"type": "other"}]}
    assert read(start, *text("a"), later, *ended())[1].metadata["input_transformations"] == [{"type": "other"}]
