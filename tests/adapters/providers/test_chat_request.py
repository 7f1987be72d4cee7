"""A request in the chat-completions dialect: what each thing a caller may ask becomes on the wire."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.groq import groq_body
from atlas_sidecar.adapters.providers.openai_models import effort_word, refused_parameters
from atlas_sidecar.adapters.providers.openai_responses_request import responses_body
from atlas_sidecar.adapters.providers.wire.chat_request import JSON_ONLY, Dialect, chat_body
from atlas_sidecar.adapters.providers.wire.schemas import is_strict
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Blob,
    Content,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    ProviderCall,
    Reasoning,
    ReasoningEffort,
    Requirements,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from tests.adapters.replay import call, model

OPENAI = Dialect("max_completion_tokens", effort_word, refused_parameters)
PNG = Blob("image/png", b"\x89PNG")
PNG_URI = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
STRICT = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
LOOSE = '{"type":"object","properties":{"a":{"type":"string"}}}'


def message(role: Role, *contents: Content) -> Message:
    return Message(role, tuple(Part(content) for content in contents))


def asked(*messages: Message, **changes: Any) -> ProviderCall:
    return call(request=GenerateRequest(Requirements(), messages or (message(Role.USER, Text("Hi")),), **changes))


def sent(*messages: Message) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat_body(asked(*messages), OPENAI).body["messages"]
    return found


def test_a_plain_call_is_small_and_asks_for_usage() -> None:
    assert chat_body(asked(), OPENAI).body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 1000,
    }
    assert "stream" not in chat_body(replace(asked(), stream=False), OPENAI).body


def test_a_prefill_is_the_last_turn_where_the_model_takes_one_and_the_responses_wire_refuses_it() -> None:
    carried = replace(asked(), prefill="So far", model=model(prefill=True))
    assert chat_body(carried, OPENAI).body["messages"][-1] == {"role": "assistant", "content": "So far"}
    assert groq_body(carried).body["messages"][-1] == {"role": "assistant", "content": "So far"}
    assert chat_body(replace(carried, model=model()), OPENAI).body["messages"][-1]["role"] == "user"
    with pytest.raises(ProviderError) as refused:
        responses_body(carried, OPENAI)
    assert (refused.value.error_class, refused.value.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)
    assert not refused.value.sent


def test_a_cap_that_nobody_asked_for_is_sent_only_where_it_is_below_the_models_own() -> None:
    not_asked = replace(asked(), cap_was_asked=False)
    assert chat_body(not_asked, OPENAI).body["max_completion_tokens"] == 1000
    assert "max_completion_tokens" not in chat_body(replace(not_asked, max_output_tokens=8192), OPENAI).body
    assert chat_body(asked(), replace(OPENAI, max_tokens_field="max_tokens")).body["max_tokens"] == 1000


def test_every_role_has_its_place() -> None:
    turn = message(
        Role.ASSISTANT,
        Reasoning("hm"),
        Text("Let me "),
        Text("look."),
        Opaque("openai", "annotations", "[]"),
        ToolCall("call_1", "look", '{"at":"x"}'),
        ToolCall("call_2", "look", ""),
    )
    results = message(
        Role.TOOL,
        ToolResult("call_2", "look", (Part(Text("b")), Part(Text("c")))),
        ToolResult("call_1", "look", (Part(Text("gone")),), is_error=True),
    )
    calls = [("call_1", '{"at":"x"}'), ("call_2", "{}")]
    system, user = message(Role.SYSTEM, Text("A"), Text("B")), message(Role.USER, Text("Hi"))
    assert sent(system, user, turn, results) == [
        {"role": "system", "content": "A\n\nB"},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": id_, "type": "function", "function": {"name": "look", "arguments": arguments}}
                for id_, arguments in calls
            ],
        },
        {"role": "tool", "tool_call_id": "call_2", "content": "b\nc"},
        {"role": "tool", "tool_call_id": "call_1", "content": "Error: gone"},
    ]


def test_a_call_of_a_custom_tool_goes_back_to_its_kind_over_chat_completions_only() -> None:
    called = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    turn = message(Role.ASSISTANT, Opaque("openai", "tool_call", json.dumps(called)))
    result = message(Role.TOOL, ToolResult("call_1", "sql", (Part(Text("1")),)))
    assert sent(turn, result) == [
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    assert [turn["role"] for turn in groq_body(asked(turn, result)).body["messages"]] == ["tool"]
    assert len(responses_body(asked(turn, result), OPENAI).body["input"]) == 1
    assert sent(message(Role.ASSISTANT, Text("a"), Opaque("openai", "tool_call", "[]"))) == [
        {"role": "assistant", "content": "a"}
    ]


def test_reasoning_never_goes_to_openais_own_server_over_chat_completions() -> None:
    signature = b'{"provider":"openai","field":"reasoning_content"}'
    thought = Part(Reasoning("hm"), signature=signature, signature_origin="openai")
    turn = Message(Role.ASSISTANT, (thought, Part(ToolCall("call_1", "f", "{}"))))
    assert chat_body(asked(turn), OPENAI).body["messages"][0]["reasoning_content"] == "hm"
    own = replace(OPENAI, openais_limits=True)
    assert "reasoning_content" not in chat_body(asked(turn), own).body["messages"][0]
    strange = thought._replace(signature=b'{"provider":"openai","field":"tool_calls"}')
    turn = Message(Role.ASSISTANT, (strange, *turn.parts[1:]))
    assert chat_body(asked(turn), OPENAI).body["messages"][0]["tool_calls"][0]["id"] == "call_1"


def test_a_turn_without_anything_sendable_is_left_out() -> None:
    empty = message(Role.ASSISTANT, Reasoning("only thoughts"))
    assert [turn["role"] for turn in sent(message(Role.USER, Text("a")), empty, message(Role.USER, Text("b")))] == [
        "user",
        "user",
    ]


def test_what_a_tool_message_cannot_carry_follows_the_last_result() -> None:
    first = message(Role.TOOL, ToolResult("1", "shot", (Part(PNG),)))
    second = message(Role.TOOL, ToolResult("2", "look", (Part(Text("ok")),)))
    assert sent(first, second, message(Role.USER, Text("And?"))) == [
        {"role": "tool", "tool_call_id": "1", "content": "The result is attached in the next message."},
        {"role": "tool", "tool_call_id": "2", "content": "ok"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Attached to the result of shot:"},
                {"type": "image_url", "image_url": {"url": PNG_URI}},
            ],
        },
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize(
    ("blob", "part"),
    [
        (PNG, {"type": "image_url", "image_url": {"url": PNG_URI}}),
        (Blob("image/png", uri="https://x/y.png"), {"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
        (Blob("audio/wav", b"R"), {"type": "input_audio", "input_audio": {"data": "Ug==", "format": "wav"}}),
        (Blob("audio/mpeg", b"R"), {"type": "input_audio", "input_audio": {"data": "Ug==", "format": "mp3"}}),
        (Blob("text/plain; charset=utf-8", b"a", name="n.txt"), {"type": "text", "text": "n.txt:\na"}),
        (Blob("application/json", b"{}"), {"type": "text", "text": "{}"}),
        (
            Blob("application/pdf", b"%"),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JQ=="}},
        ),
        (Blob("application/pdf", uri="file-1"), {"type": "file", "file": {"file_id": "file-1"}}),
    ],
)
def test_a_blob_has_its_form(blob: Blob, part: dict[str, Any]) -> None:
    assert sent(message(Role.USER, Text("see"), blob))[0]["content"] == [{"type": "text", "text": "see"}, part]


@pytest.mark.parametrize(
    "blob",
    [Blob("audio/ogg", b"x"), Blob("audio/wav", uri="https://x"), Blob("application/pdf", uri="https://x")],
)
def test_content_that_the_wire_cannot_say_is_no_fault_of_the_model(blob: Blob) -> None:
    with pytest.raises(ProviderError) as caught:
        sent(message(Role.USER, blob))
    assert (caught.value.error_class, caught.value.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)
    assert not caught.value.sent


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), {}),
        (ToolChoice(ToolMode.NONE), {"tool_choice": "none"}),
        (ToolChoice(ToolMode.REQUIRED), {"tool_choice": "required"}),
        (ToolChoice(ToolMode.NAMED, "f"), {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (ToolChoice(disable_parallel=True), {"parallel_tool_calls": False}),
    ],
)
def test_tools_and_their_choice(choice: ToolChoice, expected: dict[str, Any]) -> None:
    tools = (Tool("f", "Does f.", LOOSE), Tool("g", "", ""))
    body = chat_body(asked(tools=tools, tool_choice=choice), OPENAI).body
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": json.loads(LOOSE)}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert {name: body[name] for name in body if name in {"tool_choice", "parallel_tool_calls"}} == expected
    assert "tool_choice" not in chat_body(asked(tool_choice=choice), OPENAI).body, "without tools there is no choice"


@pytest.mark.parametrize(
    ("schema", "parameters"),
    [
        ("{}", {"type": "object", "properties": {}}),
        ('{"type":"object"}', {"type": "object", "properties": {}}),
        ('{"properties":{"a":{}}}', {"type": "object", "properties": {"a": {}}}),
        ('{"type":"array"}', {"type": "array"}),
    ],
)
def test_a_tools_parameters_are_an_object_with_properties(schema: str, parameters: dict[str, Any]) -> None:
    request = asked(tools=(Tool("f", "", schema),))
    assert chat_body(request, OPENAI).body["tools"][0]["function"]["parameters"] == parameters
    assert responses_body(request, OPENAI).body["tools"][0]["parameters"] == parameters


def test_a_schema_is_strict_only_where_the_api_would_take_it() -> None:
    def schema(text: str, dialect: Dialect = OPENAI) -> dict[str, Any]:
        wanted = ResponseFormat(text, "my answer!")
        found: dict[str, Any] = chat_body(asked(response_format=wanted), dialect).body["response_format"]["json_schema"]
        return found

    assert schema(STRICT) == {"name": "my_answer_", "schema": json.loads(STRICT), "strict": True}
    assert schema(LOOSE) == {"name": "my_answer_", "schema": json.loads(LOOSE)}
    assert "strict" not in schema(STRICT, replace(OPENAI, strict_schemas=False))
    json_object = chat_body(asked(response_format=ResponseFormat(json_object=True)), OPENAI).body
    assert json_object["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("change", "strict"),
    [
        ({}, True),
        ({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, True),
        ({"properties": {"a": {"type": "object", "properties": {}, "additionalProperties": False}}}, True),
        ({"properties": {"a": {"type": "object", "properties": {}}}}, False),
        (
            {"properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/x"}}}, "$defs": {"x": {"oneOf": []}}},
            False,
        ),
        ({"required": []}, False),
        ({"additionalProperties": True}, False),
        ({"anyOf": []}, False),
        ({"type": "array"}, False),
        ({"properties": {"a": True}}, False),
        ({"properties": {"a": {"$ref": "#"}}}, True),
        ({"properties": {"a": {"$ref": "#", "description": "x"}}}, False),
        ({"properties": {"a": {}}}, False),
        ({"properties": {"a": {"description": "x"}}}, False),
        ({"properties": {"a": {"enum": ["x"]}}}, True),
        ({"properties": {"a": {"type": "array"}}}, False),
        ({"properties": {"a": {"type": ["array", "null"]}}}, False),
        ({"properties": {"a": {"type": ["object", "null"], "properties": {}}}}, False),
        ({"properties": {"a": {"type": "array", "items": {"type": "string"}}}}, True),
        ({"properties": {"a": {"type": "array", "items": {"type": "string"}, "prefixItems": []}}}, False),
        ({"properties": {"a": {"type": "string", "format": "date-time"}}}, True),
        ({"properties": {"a": {"type": "string", "format": "uri"}}}, False),
        ({"properties": {"a": {"type": "string", "format": {}}}}, False),
    ],
)
def test_what_strict_mode_asks_of_a_schema(change: dict[str, Any], strict: bool) -> None:
    assert is_strict({**json.loads(STRICT), **change}) is strict


def test_a_schema_of_any_depth_is_judged_and_a_schema_that_is_no_object_refused() -> None:
    deep: dict[str, Any] = json.loads(STRICT)
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"], "additionalProperties": False}
    assert not is_strict(deep)
    for text in ("[]", "{", "7", "[" * 5000):
        with pytest.raises(ProviderError) as caught:
            chat_body(asked(response_format=ResponseFormat(text)), OPENAI)
        assert caught.value.error_class is ErrorClass.INVALID_REQUEST


def test_options_are_merged_last() -> None:
    options = {"max_completion_tokens": 5, "logit_bias": {"1": 2}}
    body = chat_body(replace(asked(), options=options), OPENAI).body
    assert (body["max_completion_tokens"], body["logit_bias"]) == (5, {"1": 2})
    assert responses_body(replace(asked(), options={"store": True}), OPENAI).body["store"] is True


def test_options_stand_beside_what_the_request_asks_for() -> None:
    call = replace(asked(tools=(Tool("f", "", ""),)), options={"tools": [{"type": "web_search"}]})
    for body in (chat_body(call, OPENAI).body, responses_body(call, OPENAI).body):
        assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]
    effort = asked(sampling=Sampling(reasoning_effort=ReasoningEffort.HIGH))
    body = responses_body(replace(effort, options={"reasoning": {"summary": "auto"}}), OPENAI).body
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    formatted = asked(response_format=ResponseFormat(LOOSE))
    body = chat_body(replace(formatted, options={"response_format": {"type": "text"}}), OPENAI).body
    assert body["response_format"] == {"type": "text"}


def test_json_output_is_never_asked_for_without_the_word_json() -> None:
    wanted = ResponseFormat(json_object=True)
    assert chat_body(asked(response_format=wanted), OPENAI).body["messages"][0] == {
        "role": "system",
        "content": JSON_ONLY,
    }
    assert responses_body(asked(response_format=wanted), OPENAI).body["input"][0]["content"][0]["text"] == JSON_ONLY
    rules, user = message(Role.SYSTEM, Text("Be brief.")), message(Role.USER, Text("A list"))
    body = chat_body(asked(rules, user, response_format=wanted), OPENAI).body
    assert [turn["content"] for turn in body["messages"]] == [f"Be brief.\n\n{JSON_ONLY}", "A list"]
    said = message(Role.USER, Text("As JSON"))
    assert len(chat_body(asked(said, response_format=wanted), OPENAI).body["messages"]) == 1


def groq(name: str = "openai/gpt-oss-120b", **changes: Any) -> dict[str, Any]:
    return groq_body(replace(asked(**changes), model=model(name, "groq"))).body


def test_groq_is_asked_for_parsed_reasoning_in_its_own_words() -> None:
    body = groq(sampling=Sampling(reasoning_effort=ReasoningEffort.NONE))
    assert (body["reasoning_format"], body["reasoning_effort"]) == ("parsed", "low")
    assert "stream_options" not in body
    assert (
        groq("qwen/qwen3-32b", sampling=Sampling(reasoning_effort=ReasoningEffort.HIGH))["reasoning_effort"]
        == "default"
    )
    assert (
        groq("qwen/qwen3-32b", sampling=Sampling(reasoning_effort=ReasoningEffort.NONE))["reasoning_effort"] == "none"
    )
    assert "reasoning_effort" not in groq("llama-3.3", sampling=Sampling(reasoning_effort=ReasoningEffort.HIGH))
    hidden = groq_body(replace(asked(), options={"include_reasoning": False})).body
    assert "reasoning_format" not in hidden


def test_groq_gives_a_schema_and_a_stream_only_apart() -> None:
    body = groq(response_format=ResponseFormat(STRICT))
    assert "stream" not in body
    assert "strict" not in body["response_format"]["json_schema"]


def test_responses_says_the_same_in_its_own_form() -> None:
    tools = (Tool("f", "Does f.", ""),)
    request: dict[str, Any] = {
        "tools": tools,
        "tool_choice": ToolChoice(ToolMode.NAMED, "f", disable_parallel=True),
        "response_format": ResponseFormat(STRICT, "x"),
        "sampling": Sampling(temperature=0.5, stop=("END",), seed=1, reasoning_effort=ReasoningEffort.LOW),
    }
    document = Blob("application/pdf", uri="https://x/y.pdf")
    body = responses_body(
        asked(message(Role.USER, Text("see"), PNG, document, Blob("application/pdf", b"%", name="a.pdf")), **request),
        OPENAI,
    ).body
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "detail": "auto", "image_url": PNG_URI},
        {"type": "input_file", "file_url": "https://x/y.pdf"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JQ=="},
    ]
    assert body["tools"][0]["strict"] is False
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert body["parallel_tool_calls"] is False
    assert body["text"]["format"] == {"type": "json_schema", "name": "x", "schema": json.loads(STRICT), "strict": True}
    assert body["reasoning"] == {"effort": "low"}
    assert "stop" not in body
    assert "seed" not in body
    assert responses_body(replace(asked(), max_output_tokens=1), OPENAI).body["max_output_tokens"] == 16
    with pytest.raises(ProviderError):
        responses_body(asked(message(Role.USER, Blob("audio/wav", b"x"))), OPENAI)


def test_what_a_system_message_shows_is_in_the_first_user_turn() -> None:
    system, user = sent(message(Role.SYSTEM, Text("Look"), PNG), message(Role.USER, Text("Hi")))
    assert system == {"role": "system", "content": "Look"}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
