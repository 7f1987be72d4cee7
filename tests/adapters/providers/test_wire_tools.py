"""Names and ids that the wires do not take: one form in all of a request, the caller's own in the answer."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.google import GoogleProvider
from atlas_sidecar.adapters.providers.google_request import content_body
from atlas_sidecar.adapters.providers.openai_models import effort_word, refused_by_openai
from atlas_sidecar.adapters.providers.openai_responses_request import responses_body
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.chat_request import Dialect, chat_body
from atlas_sidecar.adapters.providers.wire.tools import GEMINIS_NAME, caller_names, wire_id, wire_name
from atlas_sidecar.core.types import (
    GenerateRequest,
    Message,
    Part,
    ProviderCall,
    Requirements,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from tests.adapters.chat_servers import make
from tests.adapters.replay import Answer, Upstream, call, collect

NAME, ID = "mcp.server:get", "chatcmpl-tool-" + "0" * 60
OWN = Dialect("max_completion_tokens", effort_word, refused_by_openai, openais_limits=True)
COMPATIBLE = Dialect("max_tokens", effort_word)


def asked() -> ProviderCall:
    messages = (
        Message(Role.USER, (Part(Text("Hi")),)),
        Message(Role.ASSISTANT, (Part(ToolCall(ID, NAME, "{}")),)),
        Message(Role.TOOL, (Part(ToolResult(ID, NAME, (Part(Text("ok")),))),)),
    )
    tools, choice = (Tool(NAME, "", ""), Tool("plain", "", "")), ToolChoice(ToolMode.NAMED, NAME)
    return call(request=GenerateRequest(Requirements(), messages, tools=tools, tool_choice=choice))


def test_a_name_has_one_form_in_tools_choice_and_calls() -> None:
    chat = chat_body(asked(), OWN).body
    name = chat["tools"][0]["function"]["name"]
    assert re.fullmatch(r"mcp_server_get_[0-9a-f]{8}", name)
    assert chat["tools"][1]["function"]["name"] == "plain"
    assert chat["tool_choice"]["function"]["name"] == name
    assert chat["messages"][1]["tool_calls"][0]["function"]["name"] == name
    responses = responses_body(asked(), OWN).body
    assert [responses["tools"][0]["name"], responses["tool_choice"]["name"], responses["input"][1]["name"]] == [
        name
    ] * 3
    claude = messages_body(asked()).body
    assert [claude["tools"][0]["name"], claude["tool_choice"]["name"], claude["messages"][1]["content"][0]["name"]] == [
        name
    ] * 3
    assert caller_names(asked().request.tools) == {name: NAME}


def test_an_id_that_is_too_long_has_one_short_form_in_a_call_and_its_result() -> None:
    chat = chat_body(asked(), OWN).body["messages"]
    short = chat[1]["tool_calls"][0]["id"]
    assert (len(short) <= 40, chat[2]["tool_call_id"]) == (True, short)
    items = responses_body(asked(), OWN).body["input"]
    assert [items[1]["call_id"], items[2]["call_id"]] == [short, short]
    assert chat_body(asked(), COMPATIBLE).body["messages"][2]["tool_call_id"] == ID
    between = replace(asked().request, messages=(Message(Role.ASSISTANT, (Part(ToolCall("c" * 64, "f", "{}")),)),))
    assert responses_body(replace(asked(), request=between), OWN).body["input"][0]["call_id"] == "c" * 64


@given(st.text(min_size=1, max_size=130), st.text(min_size=1, max_size=130))
def test_any_name_becomes_one_that_is_taken_and_no_two_the_same(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}|" + re.escape(one), wire_name(one))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wire_name(one))
    assert GEMINIS_NAME.fullmatch(wire_name(one, GEMINIS_NAME))
    assert (wire_name(one) == wire_name(other)) == (one == other)
    assert wire_name(wire_name(one)) == wire_name(one)
    assert len(wire_id(one, 40)) <= 40


@pytest.mark.parametrize("wire", ["openai", "groq", "responses"])
async def test_an_answers_calls_have_the_callers_names(wire: str, upstream: Upstream) -> None:
    function = {"name": wire_name(NAME), "arguments": "{}"}
    message = {"tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    answer: dict[str, Any] = {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    if wire == "responses":
        answer = {"status": "completed", "output": [{"type": "function_call", "call_id": "call_1", **function}]}
    upstream.answer(Answer.json(answer))
    kind, changes = ("openai", {"wire": "responses"}) if wire == "responses" else (wire, {})
    async with aclosing(make(kind, upstream.url, **changes)) as adapter:
        assert (await collect(adapter, asked())).tools == [("call_1", NAME, "{}")]


async def test_a_name_that_gemini_alone_refuses_has_another_there(upstream: Upstream) -> None:
    asked_ = call(request=replace(asked().request, tools=(Tool("3d.render", "", ""), Tool("mcp.server:get", "", ""))))
    sent = content_body(asked_).body
    changed, kept = [entry["name"] for entry in sent["tools"][0]["functionDeclarations"]]
    assert (re.fullmatch(r"_3d_render_[0-9a-f]{8}", changed) is not None, kept) == (True, "mcp.server:get")
    part = {"functionCall": {"name": changed, "id": "call_1", "args": {}}}
    upstream.answer(Answer.json({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}))
    settings = ProviderSettings("google", "google", base_url=upstream.url, api_key=lambda: "k")
    async with aclosing(GoogleProvider(settings)) as adapter:
        assert (await collect(adapter, asked_)).tools == [("call_1", "3d.render", "{}")]


async def test_claudes_calls_have_the_callers_names(upstream: Upstream) -> None:
    block = {"type": "tool_use", "id": "call_1", "name": wire_name(NAME), "input": {}}
    upstream.answer(Answer.json({"type": "message", "content": [block], "stop_reason": "tool_use"}))
    settings = ProviderSettings("anthropic", "anthropic", base_url=upstream.url, api_key=lambda: "k")
    async with aclosing(AnthropicProvider(settings)) as adapter:
        assert (await collect(adapter, asked())).tools == [("call_1", NAME, "{}")]
