"""Parameters in Anthropic's form: what each generation of Claude takes, and what is told of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.anthropic_rules import version_of
from atlas_sidecar.core.types import (
    GenerateRequest,
    Part,
    ReasoningEffort,
    Requirements,
    ResponseFormat,
    Sampling,
    Text,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from tests.adapters.claude_requests import ADD, ASSISTANT, NEW, OLD, SYSTEM, TOOL, USER, says, sent
from tests.adapters.replay import call, model

ADAPTIVE = {"type": "adaptive"}
SHOWN = {"type": "adaptive", "display": "summarized"}


def test_the_last_four_breakpoints_are_kept_because_the_api_refuses_more() -> None:
    marked = [says(USER, Part(Text(str(i)), cache_breakpoint=True)) for i in range(6)]
    made = sent(says(SYSTEM, Part(Text("long"), cache_breakpoint=True)), *marked)
    blocks = [*made.body["system"], *made.body["messages"][0]["content"]]
    assert [block["text"] for block in blocks if "cache_control" in block] == ["2", "3", "4", "5"]
    assert made.left_out == ("cache_breakpoints_beyond_4",)
    assert sent(*marked[:4]).left_out == ()


@pytest.mark.parametrize(
    "options",
    [
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"tools": [{"type": "web_search", "cache_control": {"type": "ephemeral"}}, {"type": "bash"}]},
        {"system": [{"type": "text", "text": "mine", "cache_control": {"type": "ephemeral"}}]},
    ],
)
def test_breakpoints_of_the_options_count_and_stay(options: dict[str, Any]) -> None:
    before = json.dumps(options)
    marked = [says(USER, Part(Text(str(i)), cache_breakpoint=True)) for i in range(4)]
    body = sent(says(SYSTEM, Text("long")), *marked, options=options).body
    kept = [block["text"] for block in body["messages"][0]["content"] if "cache_control" in block]
    assert kept == ["1", "2", "3"]
    assert json.dumps(options) == before
    assert json.dumps(body).count("cache_control") == 4


def test_a_json_schema_is_closed_for_structured_output() -> None:
    schema = {
        "type": "object",
        "properties": {
            "default": {"type": "object", "properties": {}},
            "n": {"type": "integer", "default": {"type": "object"}},
        },
        "$defs": {"A": {"type": "object"}},
    }
    output = sent(response_format=ResponseFormat(json.dumps(schema))).body["output_config"]
    assert output["format"]["type"] == "json_schema"
    closed = output["format"]["schema"]
    assert closed["additionalProperties"] is False
    assert closed["properties"]["default"]["additionalProperties"] is False  # a property may be called like a keyword
    assert closed["properties"]["n"]["default"] == {"type": "object"}
    assert closed["$defs"]["A"]["additionalProperties"] is False
    assert "JSON" in sent(response_format=ResponseFormat(json_object=True)).body["system"][-1]["text"]


@pytest.mark.parametrize(
    ("name", "effort", "expected"),
    [
        (NEW, ReasoningEffort.HIGH, {"thinking": SHOWN, "output_config": {"effort": "high"}}),
        (NEW, ReasoningEffort.NONE, {"thinking": {"type": "between_tools"}}),
        ("claude-sonnet-5", ReasoningEffort.NONE, {"thinking": {"type": "disabled"}}),
        ("anthropic.claude-opus-5-v1", ReasoningEffort.NONE, {"thinking": {"type": "disabled"}}),
        ("claude-haiku-5-5", ReasoningEffort.NONE, {"thinking": {"type": "disabled"}}),
        ("claude-opus-5-5", ReasoningEffort.NONE, {"output_config": {"effort": "low"}}),
        ("claude-fable-5-1", ReasoningEffort.NONE, {"output_config": {"effort": "low"}}),
        ("my-deployment", ReasoningEffort.NONE, {"output_config": {"effort": "low"}}),
        ("claude-opus-4-6", ReasoningEffort.NONE, {}),
        (
            "claude-opus-4-6",
            ReasoningEffort.LOW,
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (OLD, ReasoningEffort.LOW, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (OLD, ReasoningEffort.HIGH, {"thinking": {"type": "enabled", "budget_tokens": 4000}}),  # half of the cap
        (OLD, ReasoningEffort.NONE, {}),
        (OLD, None, {}),
    ],
)
def test_effort_becomes_what_the_models_generation_knows(
    name: str, effort: ReasoningEffort | None, expected: Any
) -> None:
    body = sent(name=name, cap=8000, sampling=Sampling(reasoning_effort=effort)).body
    assert {key: body[key] for key in ("thinking", "output_config") if key in body} == expected


def test_a_budget_gives_way_to_a_forced_tool_a_small_cap_and_another_models_tool_turn() -> None:
    effort = Sampling(reasoning_effort=ReasoningEffort.HIGH)
    forced: dict[str, Any] = {"tools": (ADD,), "tool_choice": ToolChoice(ToolMode.REQUIRED), "sampling": effort}
    assert "thinking" not in sent(name=OLD, cap=8000, **forced).body
    assert sent(name="claude-opus-4-6", **forced).body["thinking"] == ADAPTIVE
    assert "thinking" not in sent(name=OLD, cap=1500, sampling=effort).body
    turn = (says(USER, Text("q")), says(ASSISTANT, ToolCall("t", "add", "{}")), says(TOOL, ToolResult("t", "add", ())))
    assert "thinking" not in sent(*turn, name=OLD, cap=8000, tools=(ADD,), sampling=effort).body
    assert "thinking" in sent(*turn, name=NEW, cap=8000, tools=(ADD,), sampling=effort).body


def test_sampling_goes_where_the_model_takes_it_under_the_version_that_has_it() -> None:
    wanted = Sampling(temperature=1.7, top_p=0.5, stop=("END", " "), seed=7)
    old = sent(name=OLD, sampling=wanted)
    assert (old.body["temperature"], "top_p" in old.body, old.body["stop_sequences"]) == (1.0, False, ["END"])
    assert old.headers == {"anthropic-version": "2023-06-01"}
    assert old.left_out == ("seed", "stop_of_white_space", "top_p", "temperature_above_1")
    new = sent(name=NEW, sampling=wanted)
    assert "temperature" not in new.body
    assert (new.headers, new.left_out) == ({}, ("seed", "stop_of_white_space", "temperature", "top_p"))
    assert "stop_sequences" not in sent(sampling=Sampling(stop=(" ",))).body
    vertex = sent(name=OLD, kind="anthropic-vertex", sampling=wanted)
    assert (vertex.body["anthropic_version"], vertex.headers) == ("vertex-2023-10-16", {})
    bedrock = sent(name="us.anthropic.claude-sonnet-4-5-20250929-v1:0", kind="anthropic-bedrock")
    assert bedrock.body["anthropic_version"] == "bedrock-2023-05-31"


@pytest.mark.parametrize("options", [{"top_k": 40}, {"temperature": 0.2}, {"top_p": 0.5}])
def test_sampling_by_the_callers_options_is_asked_under_the_version_that_has_it(options: dict[str, Any]) -> None:
    for name in (OLD, NEW):  # a new model says that it does not take them; under the new version the body is invalid
        assert sent(name=name, options=options).headers == {"anthropic-version": "2023-06-01"}
    vertex = sent(name=OLD, kind="anthropic-vertex", options=options)
    assert vertex.body["anthropic_version"] == "vertex-2023-10-16"
    chosen = sent(name=OLD, kind="anthropic-vertex", options={**options, "anthropic_version": "mine"})
    assert chosen.body["anthropic_version"] == "mine"
    assert sent(name=OLD, options={"metadata": {}}).headers == {}


def test_a_prefill_is_sent_only_to_models_that_take_one() -> None:
    assert sent(name=OLD, prefill="Once upon \n").body["messages"][-1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "Once upon"}],
    }
    assert sent(name=NEW, prefill="Once").body["messages"][-1]["role"] == "user"


def test_a_prefill_excludes_thinking_and_structured_output() -> None:
    wanted: dict[str, Any] = {
        "sampling": Sampling(reasoning_effort=ReasoningEffort.HIGH),
        "response_format": ResponseFormat("{}"),
    }
    assert {"thinking", "output_config"} <= set(sent(name=OLD, cap=8000, **wanted).body)
    assert not {"thinking", "output_config"} & set(sent(name=OLD, cap=8000, prefill="Once", **wanted).body)


def test_options_are_merged_last() -> None:
    request = GenerateRequest(
        Requirements(), (says(USER, Text("hi")),), tools=(ADD,), response_format=ResponseFormat('{"type":"object"}')
    )
    options = {"tools": [{"type": "web_search"}], "output_config": {"effort": "max"}, "metadata": {"user_id": "u"}}
    body = messages_body(call(None, request, model=model(NEW, "anthropic"), options=options)).body
    assert [tool.get("name", tool.get("type")) for tool in body["tools"]] == ["add", "web_search"]
    assert set(body["output_config"]) == {"format", "effort"}
    assert body["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("claude-sonnet-5-5", (5, 5)),
        ("claude-opus-5", (5, 0)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-opus-4-5-20251101", (4, 5)),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)),
        ("anthropic.claude-opus-4-6-v1", (4, 6)),
        ("claude-opus-4-1@20250805", (4, 1)),
        ("claude-3-7-sonnet-latest", (3, 7)),
        ("claude-3-opus-20240229", (3, 0)),
        ("claude-mythos-preview", (99, 0)),
        ("my-deployment", (99, 0)),
    ],
)
def test_a_models_name_tells_its_generation(name: str, version: tuple[int, int]) -> None:
    assert version_of(name) == version
