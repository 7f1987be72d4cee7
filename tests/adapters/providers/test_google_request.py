"""A request in Gemini's form: what is where, what is left out, what comes back word for word."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.google_request import NO_SIGNATURE, OWN_ID, Body, content_body, generation_of
from atlas_sidecar.core.types import (
    Blob,
    Content,
    GenerateRequest,
    Message,
    Opaque,
    Part,
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

SYSTEM, USER, ASSISTANT, TOOL = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL
NEW, OLD = "gemini-3-flash-preview", "gemini-2.5-flash"
ADD = Tool("add", "Adds.", '{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}')


def says(role: Role, *contents: Content | Part) -> Message:
    return Message(role, tuple(item if isinstance(item, Part) else Part(item) for item in contents))


def sent(*messages: Message, name: str = OLD, cap: int = 1000, prefill: str = "", **fields: Any) -> Body:
    request = GenerateRequest(Requirements(), messages or (says(USER, Text("hi")),), **fields)
    return content_body(call(None, request, model=model(name, "google", True), max_output_tokens=cap, prefill=prefill))


def test_roles_are_user_and_model_and_system_has_its_own_field() -> None:
    body = sent(
        says(SYSTEM, Text("be brief")),
        says(USER, Text("a"), Blob("image/png", b"\x00\x01")),
        says(USER, Blob("application/pdf", uri="gs://bucket/a.pdf")),
        says(ASSISTANT, Text("b")),
        prefill="and",
    ).body
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    assert [content["role"] for content in body["contents"]] == ["user", "model"]
    assert body["contents"][1]["parts"] == [{"text": "b"}, {"text": "and"}]
    assert body["contents"][0]["parts"] == [
        {"text": "a"},
        {"inlineData": {"mimeType": "image/png", "data": "AAE="}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/a.pdf"}},
    ]
    assert body["generationConfig"]["maxOutputTokens"] == 1000


def test_what_system_messages_show_is_in_the_first_user_turn_and_what_they_say_in_the_instruction() -> None:
    notes = Blob("text/plain", b"Be kind.", name="notes.txt")
    rules = says(SYSTEM, Text("like this"), Blob("image/png", b"x"), notes)
    image = {"inlineData": {"mimeType": "image/png", "data": "eA=="}}
    said = {"parts": [{"text": "like this"}, {"text": "notes.txt:\nBe kind."}]}
    body = sent(rules, says(USER, Text("hi"))).body
    assert (body["systemInstruction"], body["contents"]) == (said, [{"role": "user", "parts": [image, {"text": "hi"}]}])
    begun = sent(rules, says(ASSISTANT, Text("hello"))).body
    assert (begun["systemInstruction"], begun["contents"][0]) == (said, {"role": "user", "parts": [image]})
    assert sent(rules).body["contents"] == [{"role": "user", "parts": [image]}]


def test_results_of_parallel_calls_go_back_in_the_order_of_the_calls() -> None:
    body = sent(
        says(USER, Text("q")),
        says(
            ASSISTANT,
            ToolCall("c1", "one", '{"x":1}'),
            ToolCall(f"{OWN_ID}r_2", "two", ""),
            ToolCall("c3", "three", "[1]"),
        ),
        says(TOOL, ToolResult("c3", "three", (Part(Text("[3]")),))),
        says(TOOL, ToolResult("c1", "", (Part(Text('{"r": 1}')), Part(Blob("image/png", b"x"))))),
        says(TOOL, ToolResult(f"{OWN_ID}r_2", "two", (Part(Text("no")),), is_error=True)),
        says(USER, Text("go on")),
    ).body
    calls = [part["functionCall"] for part in body["contents"][1]["parts"]]
    assert calls == [
        {"name": "one", "args": {"x": 1}, "id": "c1"},
        {"name": "two", "args": {}},  # an id that we made is not theirs
        {"name": "three", "args": {"arguments": [1]}, "id": "c3"},
    ]
    *results, blob, text = body["contents"][2]["parts"]
    assert [part["functionResponse"] for part in results] == [
        {"name": "one", "response": {"r": 1}, "id": "c1"},
        {"name": "two", "response": {"error": "no"}},
        {"name": "three", "response": {"result": [3]}, "id": "c3"},
    ]
    assert ("inlineData" in blob, text) == (True, {"text": "go on"})


def test_own_signatures_and_opaque_parts_go_back_word_for_word_and_foreign_ones_do_not() -> None:
    def turn(origin: str) -> Message:
        return says(
            ASSISTANT,
            Part(Reasoning("I think"), signature=b"s0", signature_origin=origin),
            Part(Text("so"), signature=b"s1+/=", signature_origin=origin),
            Part(Text(""), signature=b"s2", signature_origin=origin),
            Part(ToolCall("c", "add", "{}"), signature=b"s3", signature_origin=origin),
            Opaque(origin, "executableCode", '{"executableCode": {"code": "1"}, "thoughtSignature": "s4"}'),
        )

    own = sent(says(USER, Text("q")), turn("vertex"), name=NEW).body["contents"][1]["parts"]
    assert own == [
        {"text": "I think", "thought": True, "thoughtSignature": "s0"},
        {"text": "so", "thoughtSignature": "s1+/="},
        {"text": "", "thoughtSignature": "s2"},
        {"functionCall": {"name": "add", "args": {}, "id": "c"}, "thoughtSignature": "s3"},
        {"executableCode": {"code": "1"}, "thoughtSignature": "s4"},
    ]
    foreign = sent(says(USER, Text("q")), turn("anthropic"), name=OLD).body["contents"][1]["parts"]
    assert foreign == [{"text": "so"}, {"functionCall": {"name": "add", "args": {}, "id": "c"}}]


def test_what_only_google_ai_knows_is_not_sent_to_vertex() -> None:
    raws = {
        "toolCall": '{"toolCall": {"id": "1", "toolType": "GOOGLE_SEARCH_WEB"}, "thoughtSignature": "s"}',
        "toolResponse": '{"toolResponse": {"id": "1"}, "partMetadata": {"a": 1}}',
        "executableCode": '{"executableCode": {"code": "1"}, "partMetadata": {"a": 1}}',
    }
    turn = says(ASSISTANT, *(Opaque("google", name, raw) for name, raw in raws.items()))
    only = says(ASSISTANT, Opaque("google", "toolCall", raws["toolCall"]))
    request = GenerateRequest(
        Requirements(), (says(USER, Text("q")), turn, says(USER, Text("r")), only, says(USER, Text("s")))
    )
    here, there = (
        content_body(call(None, request, model=model(OLD, kind))).body["contents"] for kind in ("google", "vertex")
    )
    assert [part for content in here if content["role"] == "model" for part in content["parts"]] == [
        *(json.loads(raw) for raw in raws.values()),
        json.loads(raws["toolCall"]),
    ]
    assert [content["role"] for content in there] == ["user", "model", "user"]
    assert there[1]["parts"] == [{"executableCode": {"code": "1"}}]


def test_gemini_3_gets_the_placeholder_for_the_first_call_that_has_no_signature() -> None:
    turn = says(ASSISTANT, ToolCall("a", "add", "{}"), ToolCall("b", "add", "{}"))
    new = sent(says(USER, Text("q")), turn, name=NEW).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in new] == [NO_SIGNATURE, None]
    old = sent(says(USER, Text("q")), turn, name=OLD).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in old] == [None, None]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), None),
        (ToolChoice(ToolMode.NONE), {"mode": "NONE"}),
        (ToolChoice(ToolMode.REQUIRED), {"mode": "ANY"}),
        (ToolChoice(ToolMode.NAMED, "add"), {"mode": "ANY", "allowedFunctionNames": ["add"]}),
    ],
)
def test_the_tool_choice_has_its_form(choice: ToolChoice, expected: Any) -> None:
    body = sent(tools=(ADD, Tool("bare", "", '{"type":"object"}')), tool_choice=choice).body
    assert body.get("toolConfig", {}).get("functionCallingConfig") == expected
    add, bare = body["tools"][0]["functionDeclarations"]
    assert add["parametersJsonSchema"] == {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert "parametersJsonSchema" not in bare


@pytest.mark.parametrize(
    ("parameters", "sent_schema"),
    [
        (
            '{"type":"object","additionalProperties":{"type":"string"}}',
            {"type": "object", "additionalProperties": {"type": "string"}},
        ),
        (
            '{"oneOf":[{"properties":{"a":{"type":"string"}}}]}',
            {"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]},
        ),
        (
            '{"allOf":[{"properties":{"a":{"type":"string"}}},{"required":["a"]}]}',
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        ),
        ('{"type":"object","properties":{},"title":"Empty"}', None),
        ("", None),
    ],
)
def test_parameters_are_sent_when_they_say_anything(parameters: str, sent_schema: Any) -> None:
    declaration = sent(tools=(Tool("f", "", parameters),)).body["tools"][0]["functionDeclarations"][0]
    assert declaration.get("parametersJsonSchema") == sent_schema


def test_what_gemini_cannot_be_asked_is_left_out_and_said() -> None:
    assert sent(tools=(ADD,), tool_choice=ToolChoice(disable_parallel=True)).left_out == ("disable_parallel",)


def test_stop_sequences_beyond_the_fifth_are_left_out_and_said() -> None:
    five, six = (sent(sampling=Sampling(stop=tuple("abcdef"[:count]))) for count in (5, 6))
    assert five.body["generationConfig"]["stopSequences"] == six.body["generationConfig"]["stopSequences"]
    assert (five.left_out, six.left_out) == ((), ("stop",))


def test_json_output_is_asked_for_natively_and_before_gemini_3_beside_tools_in_words() -> None:
    wanted = ResponseFormat('{"type":"object","properties":{"n":{"const":1}}}')
    config = sent(response_format=wanted).body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == {"type": "object", "properties": {"n": {"enum": [1]}}}
    assert "responseJsonSchema" in sent(name=NEW, tools=(ADD,), response_format=wanted).body["generationConfig"]
    beside = sent(name=OLD, tools=(ADD,), response_format=wanted).body
    assert "responseMimeType" not in beside["generationConfig"]
    assert '"enum": [1]' in beside["systemInstruction"]["parts"][-1]["text"]
    assert sent(response_format=ResponseFormat(json_object=True)).body["generationConfig"]["responseMimeType"]


def test_json_output_is_asked_for_in_words_where_the_tools_exclude_it() -> None:
    wanted = ResponseFormat(json_object=True)
    for choice, in_words in ((ToolMode.REQUIRED, True), (ToolMode.NONE, False)):
        body = sent(name=NEW, tools=(ADD,), tool_choice=ToolChoice(choice), response_format=wanted).body
        assert ("systemInstruction" in body, "responseMimeType" in body["generationConfig"]) == (in_words, not in_words)
    request = GenerateRequest(Requirements(), (says(USER, Text("hi")),), response_format=wanted)
    for name, in_words in ((OLD, True), (NEW, False)):
        hosted = call(None, request, model=model(name, "google"), options={"tools": [{"googleSearch": {}}]})
        assert ("systemInstruction" in content_body(hosted).body) is in_words


def test_sampling_has_its_names() -> None:
    config = sent(sampling=Sampling(temperature=1.5, top_p=0.5, stop=("END",), seed=2**40 + 7)).body["generationConfig"]
    assert config == {"maxOutputTokens": 1000, "temperature": 1.5, "topP": 0.5, "stopSequences": ["END"], "seed": 7}


@pytest.mark.parametrize(
    ("name", "effort", "expected"),
    [
        (NEW, ReasoningEffort.HIGH, {"thinkingLevel": "high", "includeThoughts": True}),
        (NEW, ReasoningEffort.MEDIUM, {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3-pro-preview", ReasoningEffort.MEDIUM, {"thinkingLevel": "high", "includeThoughts": True}),
        (NEW, ReasoningEffort.NONE, {"thinkingLevel": "minimal"}),
        ("gemini-3.1-pro-preview", ReasoningEffort.NONE, {"thinkingLevel": "low"}),
        (OLD, ReasoningEffort.NONE, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", ReasoningEffort.NONE, {"thinkingBudget": 128}),
        (OLD, ReasoningEffort.LOW, {"thinkingBudget": 1024, "includeThoughts": True}),
        (OLD, ReasoningEffort.HIGH, {"thinkingBudget": 2000, "includeThoughts": True}),  # half of the cap
        (OLD, None, None),
    ],
)
def test_effort_is_asked_for_as_the_models_generation_knows_it(
    name: str, effort: ReasoningEffort | None, expected: Any
) -> None:
    config = sent(name=name, cap=4000, sampling=Sampling(reasoning_effort=effort)).body["generationConfig"]
    assert config.get("thinkingConfig") == expected


@pytest.mark.parametrize(
    ("cap", "budget"), [(300, {"thinkingBudget": 0}), (1024, {"thinkingBudget": 512, "includeThoughts": True})]
)
def test_a_flash_lite_that_has_no_room_to_think_does_not(cap: int, budget: Any) -> None:
    body = sent(name="gemini-2.5-flash-lite", cap=cap, sampling=Sampling(reasoning_effort=ReasoningEffort.LOW))
    assert body.body["generationConfig"]["thinkingConfig"] == budget
    assert body.left_out == (() if "includeThoughts" in budget else ("reasoning_effort",))


@pytest.mark.parametrize(
    ("name", "effort", "said"),
    [
        ("gemini-3.1-pro-preview", ReasoningEffort.NONE, True),
        (NEW, ReasoningEffort.NONE, True),
        ("gemini-2.5-pro", ReasoningEffort.NONE, True),
        (OLD, ReasoningEffort.NONE, False),
        (f"projects/p/locations/l/publishers/google/models/{OLD}", ReasoningEffort.NONE, False),
        ("gemini-2.5-pro", ReasoningEffort.LOW, False),
        (NEW, ReasoningEffort.HIGH, False),
        (NEW, None, False),
    ],
)
def test_thinking_that_cannot_be_turned_off_is_said(name: str, effort: ReasoningEffort | None, said: bool) -> None:
    assert sent(name=name, sampling=Sampling(reasoning_effort=effort)).left_out == (
        ("reasoning_effort",) if said else ()
    )


def test_an_effort_of_a_model_that_does_not_reason_is_left_out_and_said() -> None:
    for effort, left_out in ((ReasoningEffort.LOW, ("reasoning_effort",)), (ReasoningEffort.NONE, ())):
        request = GenerateRequest(Requirements(), (says(USER, Text("hi")),), sampling=Sampling(reasoning_effort=effort))
        plain = replace(model("gemini-2.0-flash", "google"), capabilities=frozenset())
        assert content_body(call(None, request, model=plain)).left_out == left_out


def test_options_are_merged_last_and_deep() -> None:
    request = GenerateRequest(Requirements(), (says(USER, Text("hi")),), tools=(ADD,))
    options = {"tools": [{"googleSearch": {}}], "generationConfig": {"topK": 5}, "safetySettings": []}
    body = content_body(call(None, request, model=model(OLD, "google"), options=options)).body
    assert [next(iter(tool)) for tool in body["tools"]] == ["functionDeclarations", "googleSearch"]
    assert body["generationConfig"] == {"maxOutputTokens": 1000, "topK": 5}
    assert body["safetySettings"] == []


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("gemini-2.5-flash", (2, 5)),
        ("gemini-3-pro-preview", (3, 0)),
        ("publishers/google/models/gemini-3.1-pro", (3, 1)),
    ],
)
def test_a_models_name_tells_its_generation(name: str, generation: tuple[int, int]) -> None:
    assert generation_of(name) == generation
    assert generation_of("tunedModels/mine") > (50, 0)


TEXTS = st.text(max_size=8)
CONTENTS = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(ToolCall, TEXTS, st.just("add"), st.one_of(TEXTS, st.just('{"a":1}'))),
    st.builds(Reasoning, TEXTS, st.booleans()),
    st.builds(lambda i, text: ToolResult(i, "add", (Part(Text(text)),)), TEXTS, TEXTS),
    st.just(Blob("image/png", b"x")),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, contents: says(role, *contents), st.sampled_from(list(Role)), st.lists(CONTENTS, max_size=3)
    ),
    max_size=6,
)


@given(MESSAGES)
def test_any_conversation_alternates_has_no_empty_turn_and_is_json(messages: list[Message]) -> None:
    body = sent(*messages, says(USER, Text("end"))).body
    roles = [content["role"] for content in body["contents"]]
    assert all(first != second for first, second in pairwise(roles))
    assert all(content["parts"] for content in body["contents"])
    json.dumps(body)
