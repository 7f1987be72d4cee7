"""Reasoning of compatible servers: it goes back to the server that made it, in the field that it came in."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from atlas_sidecar.core.types import (
    Finished,
    Head,
    Message,
    ModelRef,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
    UsageReport,
)
from atlas_sidecar.runtime.answer import Answer as PutTogether
from tests.adapters.chat_servers import GOOD, chunk, make
from tests.adapters.replay import Answer, Upstream, call, collect, model


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_of_a_compatible_server_goes_back_to_it_with_the_turn_of_a_tool_call(
    field: str, upstream: Upstream
) -> None:
    tool = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = [
        {"choices": [{"index": 0, "delta": delta}]} for delta in ({field: "h"}, {field: "m"}, {"tool_calls": [tool]})
    ]
    upstream.answer(Answer.sse(*said, chunk(finish="tool_calls"), "[DONE]"), Answer.sse(*GOOD))
    answer = PutTogether("openai")
    asked = call(model=replace(model(), ref=ModelRef("m", "deepseek", "m")))
    user, result = asked.request.messages[0], ToolResult("call_1", "f", (Part(Text("1")),))
    async with aclosing(make("openai", upstream.url, name="deepseek")) as adapter:
        for event in (event for batch in (await collect(adapter, asked)).batches for event in batch):
            if not isinstance(event, Head | UsageReport | Finished):
                answer.add(event)
        again = replace(asked.request, messages=(user, answer.message(), Message(Role.TOOL, (Part(result),))))
        await collect(adapter, replace(asked, request=again))
        plain = replace(again, messages=(user, without_calls(answer.message()), user))
        await collect(adapter, replace(asked, request=plain))
    async with aclosing(make("openai", upstream.url, name="another")) as another:
        await collect(another, call(request=again))
    turns = [seen.json["messages"][1] for seen in upstream.requests[1:]]
    assert turns[0][field] == "hm"
    assert turns[0]["tool_calls"][0]["id"] == "call_1"
    assert [{"reasoning_content", "reasoning"} & set(turn) for turn in turns[1:]] == [set(), set()]


async def test_details_of_reasoning_go_back_whole_and_in_the_place_of_its_text(upstream: Upstream) -> None:
    piece, tool = {"type": "reasoning.text", "index": 0}, {"index": 0, "id": "call_1", "function": {"name": "f"}}
    secret = {"type": "reasoning.encrypted", "data": "ENC", "index": 1}
    deltas: list[dict[str, Any]] = [
        {"reasoning": "h", "reasoning_details": [{**piece, "text": "h"}]},
        {"reasoning": "m", "reasoning_details": [{**piece, "text": "m", "signature": None}, 7]},
        {"reasoning_details": [{**piece, "text": "", "signature": "SIG"}, secret]},
        {"reasoning_details": [secret], "tool_calls": [tool]},
    ]
    said = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    hidden = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas[3:]]
    end = (chunk(finish="tool_calls"), "[DONE]")
    asked = call()
    async with aclosing(make("openai", upstream.url)) as adapter:
        for chunks, expected in (
            (said, [{**piece, "text": "hm", "signature": "SIG"}, secret, secret]),
            (hidden, [secret]),
        ):
            upstream.answer(Answer.sse(*chunks, *end), Answer.sse(*GOOD))
            answer = PutTogether("openai")
            for event in (event for batch in (await collect(adapter, asked)).batches for event in batch):
                if not isinstance(event, Head | UsageReport | Finished):
                    answer.add(event)
            await collect(adapter, replace(asked, request=replace(asked.request, messages=(answer.message(),))))
            turn = upstream.requests[-1].json["messages"][0]
            assert turn["reasoning_details"] == expected
            assert "reasoning" not in turn


def without_calls(turn: Message) -> Message:
    return Message(
        turn.role, tuple(p._replace(content=Text("So")) if isinstance(p.content, ToolCall) else p for p in turn.parts)
    )
