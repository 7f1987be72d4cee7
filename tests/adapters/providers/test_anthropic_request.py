"""A request in Anthropic's form: what is where, what is left out, what comes back word for word."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.anthropic_calls import Calls
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Blob,
    Message,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from tests.adapters.claude_requests import ADD, ASSISTANT, NEW, OLD, SYSTEM, TOOL, USER, says, sent


def test_system_goes_to_its_own_field_and_neighbours_of_one_role_become_one_turn() -> None:
    body = sent(
        says(SYSTEM, Text("be brief")),
        says(SYSTEM, Text("and kind")),
        says(USER, Text("a")),
        says(USER, Text("b")),
        says(ASSISTANT, Text("c")),
        says(USER, Text(" "), Text("d")),
    ).body
    assert [block["text"] for block in body["system"]] == ["be brief", "and kind"]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [[block["text"] for block in turn["content"]] for turn in body["messages"]] == [["a", "b"], ["c"], ["d"]]
    assert (body["max_tokens"], body["stream"], body["model"]) == (1000, True, NEW)


def test_what_system_messages_show_is_in_the_first_user_turn_and_what_they_say_in_the_field() -> None:
    note = Blob("application/json", b'{"a":1}', name="a.json")
    body = sent(says(SYSTEM, Text("look"), note, Blob("image/png", b"x")), says(USER, Text("hi"))).body
    assert [block["text"] for block in body["system"]] == ["look", 'a.json:\n{"a":1}']
    assert [block["type"] for block in body["messages"][0]["content"]] == ["image", "text"]


def roles_and_texts(body: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(turn["role"], [block["text"] for block in turn["content"]]) for turn in body["messages"]]


LATER = (
    says(SYSTEM, Text("be brief")),
    says(USER, Text("q")),
    says(SYSTEM, Part(Text("in French"), cache_breakpoint=True)),
    says(SYSTEM, Text("please")),
    says(ASSISTANT, Text("a")),
    says(USER, Text("q2")),
    says(SYSTEM, Text("in Greek")),
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("claude-opus-4-8", "anthropic"),
        ("claude-opus-5", "anthropic"),
        ("claude-opus-5-5", "anthropic-vertex"),
        (NEW, "anthropic"),
        ("claude-haiku-5-5", "anthropic"),
        ("claude-fable-5-1", "anthropic"),
    ],
)
def test_a_later_system_message_keeps_its_place_where_the_model_takes_it(name: str, kind: str) -> None:
    body = sent(*LATER, name=name, kind=kind).body
    assert [block["text"] for block in body["system"]] == ["be brief"]
    assert roles_and_texts(body) == [
        ("user", ["q"]),
        ("system", ["in French", "please"]),
        ("assistant", ["a"]),
        ("user", ["q2"]),
        ("system", ["in Greek"]),
    ]
    assert "cache_control" in body["messages"][1]["content"][0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (OLD, "anthropic"),
        ("claude-opus-4-7", "anthropic"),
        ("claude-sonnet-5", "anthropic"),
        ("claude-mythos-preview", "anthropic"),
        ("my-deployment", "anthropic"),
        ("anthropic.claude-opus-5-5", "anthropic-bedrock"),
    ],
)
def test_a_later_system_message_is_marked_text_in_its_place_elsewhere(name: str, kind: str) -> None:
    body = sent(*LATER, name=name, kind=kind).body
    assert [block["text"] for block in body["system"]] == ["be brief"]
    assert roles_and_texts(body) == [
        ("user", ["q", "<system>\nin French\n</system>", "<system>\nplease\n</system>"]),
        ("assistant", ["a"]),
        ("user", ["q2", "<system>\nin Greek\n</system>"]),
    ]
    assert "cache_control" in body["messages"][0]["content"][1]


def test_a_system_message_where_the_api_takes_none_is_text_of_that_user_turn() -> None:
    among_users = sent(says(USER, Text("a")), says(SYSTEM, Text("b")), says(USER, Text("c"))).body
    assert roles_and_texts(among_users) == [("user", ["a", "<system>\nb\n</system>", "c"])]
    after_an_answer = sent(says(USER, Text("a")), says(ASSISTANT, Text("b")), says(SYSTEM, Text("c"))).body
    assert roles_and_texts(after_an_answer)[-1] == ("user", ["<system>\nc\n</system>"])
    turn = (says(USER, Text("q")), says(ASSISTANT, ToolCall("t", "add", "{}")), says(SYSTEM, Text("s")))
    before_results = sent(*turn, says(TOOL, ToolResult("t", "add", ())), tools=(ADD,)).body
    assert [block["type"] for block in before_results["messages"][-1]["content"]] == ["tool_result", "text"]


def test_tool_results_come_first_in_their_turn_and_keep_their_order() -> None:
    body = sent(
        says(ASSISTANT, ToolCall("toolu_1", "add", '{"a":1}'), ToolCall("call.2", "add", "")),
        says(USER, Text("by the way")),
        says(TOOL, ToolResult("call.2", "add", (Part(Text("two")),), is_error=True)),
        says(TOOL, ToolResult("toolu_1", "add", (Part(Text("one")), Part(Blob("image/png", b"png"))))),
        tools=(ADD,),
    ).body
    calls, answers = body["messages"]
    assert [(block["id"], block["input"]) for block in calls["content"]] == [("toolu_1", {"a": 1}), ("call_2", {})]
    assert [block["type"] for block in answers["content"]] == ["tool_result", "tool_result", "text"]
    assert answers["content"][0]["tool_use_id"] == "call_2"  # the same in call and result, in the characters allowed
    assert answers["content"][0]["is_error"] is True
    assert [block["type"] for block in answers["content"][1]["content"]] == ["text", "image"]


def test_two_ids_never_become_one_and_what_comes_later_changes_none() -> None:
    ids = ["call.2", "call_2", "call:2", "", "call", "toolu_1"]
    asked = says(ASSISTANT, *(ToolCall(identity, "add", "{}") for identity in ids))
    answered = says(TOOL, *(ToolResult(identity, "add", ()) for identity in reversed(ids)))
    calls, results = (turn["content"] for turn in sent(asked, answered, tools=(ADD,)).body["messages"])
    given = [block["id"] for block in calls]
    assert given == ["call_2", "call_2_2", "call_2_3", "call", "call_3", "toolu_1"]
    assert [block["tool_use_id"] for block in results] == given[::-1]


@given(st.lists(st.text("a._:2", max_size=4), unique=True))
def test_any_ids_stay_different_in_the_characters_that_the_api_takes(ids: list[str]) -> None:
    calls = Calls()
    given_first = [calls.id(identity) for identity in ids]
    assert len(set(given_first)) == len(ids)
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", identity) for identity in given_first)
    assert [calls.id(identity) for identity in ids] == given_first


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), None),
        (ToolChoice(disable_parallel=True), {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.NONE, disable_parallel=True), {"type": "none"}),
        (ToolChoice(ToolMode.REQUIRED), {"type": "any"}),
        (
            ToolChoice(ToolMode.NAMED, "add", disable_parallel=True),
            {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_the_tool_choice_has_its_form(choice: ToolChoice, expected: Any) -> None:
    body = sent(tools=(ADD, Tool("bare", "", "")), tool_choice=choice).body
    assert body.get("tool_choice") == expected
    assert body["tools"][0] == {
        "name": "add",
        "description": "Adds.",
        "input_schema": json.loads(ADD.parameters_json_schema),
    }
    assert body["tools"][1] == {"name": "bare", "input_schema": {"type": "object", "properties": {}}}


def test_a_conversation_with_calls_in_it_declares_its_tools_and_forbids_them() -> None:
    messages = (says(ASSISTANT, ToolCall("t", "add", "{}")), says(TOOL, ToolResult("t", "add", ())))
    body = sent(*messages).body
    assert [tool["name"] for tool in body["tools"]] == ["add"]
    assert body["tool_choice"] == {"type": "none"}
    assert "tools" not in sent().body


def test_tools_of_the_options_are_declared_alone_and_may_be_called() -> None:
    messages = (says(ASSISTANT, ToolCall("t", "bash", "{}")), says(TOOL, ToolResult("t", "bash", ())))
    bash = {"type": "bash_20250124", "name": "bash"}
    body = sent(*messages, options={"tools": [bash]}).body
    assert body["tools"] == [bash]
    assert "tool_choice" not in body
    assert [tool["name"] for tool in sent(*messages, options={"tools": []}).body["tools"]] == ["bash"]


def test_images_and_documents_have_their_sources() -> None:
    body = sent(
        says(
            USER,
            Blob("image/png", b"\x00\x01"),
            Blob("image/jpeg", uri="https://example.com/a.jpg"),
            Blob("application/pdf", b"%PDF", name="a.pdf"),
            Blob("text/plain; charset=utf-8", "grüß".encode()),
        )
    ).body
    image, linked, pdf, text = body["messages"][0]["content"]
    assert image == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAE="}}
    assert linked == {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}}
    assert (pdf["type"], pdf["title"], pdf["source"]["media_type"]) == ("document", "a.pdf", "application/pdf")
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "grüß"}


@pytest.mark.parametrize(
    "blob",
    [Blob("audio/wav", b"RIFF"), Blob("audio/wav", None, "https://a/b"), Blob("text/plain", None, "https://a/b")],
)
def test_a_file_that_claude_has_no_form_for_is_refused_before_the_call_for_this_model_only(blob: Blob) -> None:
    with pytest.raises(ProviderError) as caught:
        sent(says(USER, blob))
    assert (caught.value.error_class, caught.value.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)
    assert not caught.value.sent


def test_cache_breakpoints_stay_where_they_are() -> None:
    body = sent(
        says(SYSTEM, Part(Text("long"), cache_breakpoint=True)),
        says(USER, Text("a"), Part(Text("b"), cache_breakpoint=True)),
    ).body
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert ["cache_control" in block for block in body["messages"][0]["content"]] == [False, True]


def test_a_breakpoint_within_a_tools_result_is_the_results() -> None:
    marked = Part(Text("doc"), cache_breakpoint=True)
    asked = says(ASSISTANT, ToolCall("t", "add", "{}"), ToolCall("u", "add", "{}"))
    answered = says(TOOL, ToolResult("t", "add", (marked,)), ToolResult("u", "add", (Part(Text("x")),)))
    results = sent(asked, answered, tools=(ADD,)).body["messages"][1]["content"]
    assert [result.get("cache_control") for result in results] == [{"type": "ephemeral"}, None]
    assert results[0]["content"] == [{"type": "text", "text": "doc"}]


@pytest.mark.parametrize(
    "message", [says(USER, Opaque("google", "x", "{}")), says(USER, Text(" ")), says(SYSTEM, Text("be brief"))]
)
def test_a_conversation_without_anything_for_claude_is_refused_before_the_call_for_this_model_only(
    message: Message,
) -> None:
    with pytest.raises(ProviderError) as caught:
        sent(message)
    assert (caught.value.error_class, caught.value.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)
    assert not caught.value.sent


def test_own_signatures_and_opaque_parts_go_back_word_for_word_and_foreign_ones_do_not() -> None:
    def turn(origin: str) -> Message:
        return says(
            ASSISTANT,
            Part(Reasoning("I think"), signature=b"sig+/=", signature_origin=origin),
            Part(Reasoning("", redacted=True), signature=b"secret", signature_origin=origin),
            Part(Reasoning("unsigned")),
            Text("so"),
            Opaque(origin, "citations", '[{"type":"char_location"}]'),
            Opaque(origin, "server_tool_use", '{"type":"server_tool_use","id":"s"}'),
        )

    own = sent(says(USER, Text("q")), turn("anthropic-vertex")).body["messages"][1]["content"]
    assert own == [
        {"type": "thinking", "thinking": "I think", "signature": "sig+/="},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "text", "text": "so", "citations": [{"type": "char_location"}]},
        {"type": "server_tool_use", "id": "s"},
    ]
    foreign = sent(says(USER, Text("q")), turn("google")).body["messages"][1]["content"]
    assert foreign == [{"type": "text", "text": "so"}]


def test_what_a_call_said_of_its_caller_and_toolset_goes_back_in_call_and_result() -> None:
    fields = {"caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}, "toolset_name": "computer"}
    kept = Part(Opaque("anthropic", "tool_use_fields", json.dumps({**fields, "id": "not ours"})), cache_breakpoint=True)
    body = sent(
        says(ASSISTANT, ToolCall("toolu.1", "left_click", "{}"), kept, ToolCall("toolu.2", "add", "{}")),
        says(TOOL, ToolResult("toolu.1", "left_click", ()), ToolResult("toolu.2", "add", ())),
        tools=(ADD,),
    ).body
    (click, add), (clicked, added) = (turn["content"] for turn in body["messages"])
    assert {key: click[key] for key in ("id", "caller", "toolset_name")} == {"id": "toolu_1", **fields}
    assert "cache_control" in click
    assert (clicked["toolset_name"], clicked["tool_use_id"]) == ("computer", "toolu_1")
    assert not {"caller", "toolset_name"} & {*add, *added}
    foreign = says(ASSISTANT, ToolCall("t", "a", "{}"), Opaque("google", "tool_use_fields", json.dumps(fields)))
    assert "caller" not in sent(foreign).body["messages"][0]["content"][0]


TEXTS = st.text(max_size=8)
CONTENTS = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(ToolCall, TEXTS, st.just("add"), st.one_of(TEXTS, st.just('{"a":1}'))),
    st.builds(Reasoning, TEXTS, st.booleans()),
    st.builds(lambda text: ToolResult("t", "add", (Part(Text(text)),)), TEXTS),
    st.just(Blob("image/png", b"x")),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, contents: says(role, *contents), st.sampled_from(list(Role)), st.lists(CONTENTS, max_size=3)
    ),
    max_size=6,
)


@given(MESSAGES, st.sampled_from([NEW, OLD]))
def test_any_conversation_alternates_has_no_empty_turn_and_is_json(messages: list[Message], name: str) -> None:
    body = sent(*messages, says(USER, Text("end")), name=name).body
    roles = [turn["role"] for turn in body["messages"]]
    assert all(first != second for first, second in pairwise(roles))
    assert all(first == "user" for first, second in pairwise(roles) if second == "system")
    assert all(second == "assistant" for first, second in pairwise(roles) if first == "system")
    assert roles[0] != "system"
    assert all(turn["content"] for turn in body["messages"])
    for turn in body["messages"]:
        results = [block["type"] == "tool_result" for block in turn["content"]]
        assert turn["role"] != "user" or results == sorted(results, reverse=True)
    json.dumps(body)
