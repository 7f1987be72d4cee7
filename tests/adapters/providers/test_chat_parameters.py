"""Which parameters go along in OpenAI's dialects, which are left out for a model, and that they are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.groq import groq_body
from atlas_sidecar.adapters.providers.openai_models import (
    effort_word,
    refused_by_openai,
    refused_parameters,
    takes_breakpoints,
)
from atlas_sidecar.adapters.providers.openai_responses_request import responses_body
from atlas_sidecar.adapters.providers.wire.chat_request import Dialect, chat_body
from atlas_sidecar.core.types import (
    GenerateRequest,
    Message,
    Part,
    ProviderCall,
    ReasoningEffort,
    Requirements,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)
from tests.adapters.replay import call, model

OPENAI = Dialect("max_completion_tokens", effort_word, refused_parameters)
HI = Message(Role.USER, (Part(Text("Hi")),))


def asked(*messages: Message, **changes: Any) -> ProviderCall:
    return call(request=GenerateRequest(Requirements(), messages or (HI,), **changes))


def test_sampling_goes_along_but_not_where_a_reasoning_model_refuses_it() -> None:
    sampling = Sampling(0.2, 0.9, ("END",), 7, ReasoningEffort.LOW)
    body = chat_body(replace(asked(sampling=sampling), model=model("gpt-4.1")), OPENAI).body
    expected = {"temperature": 0.2, "top_p": 0.9, "stop": ["END"], "seed": 7, "reasoning_effort": "low"}
    assert {name: body[name] for name in expected} == expected
    body = chat_body(replace(asked(sampling=sampling), model=model("gpt-5-mini")), OPENAI).body
    assert "temperature" not in body
    assert "top_p" not in body
    assert body["seed"] == 7
    plain = replace(model("gpt-4.1"), capabilities=frozenset())
    assert "reasoning_effort" not in chat_body(replace(asked(sampling=sampling), model=plain), OPENAI).body


def test_what_is_left_out_is_named() -> None:
    sampling = Sampling(0.2, 0.9, ("END",), 7, ReasoningEffort.LOW)
    kept = Message(Role.USER, (Part(Text("Hi"), cache_breakpoint=True),))
    reasons, plain = model("gpt-5-mini"), replace(model("gpt-4.1"), capabilities=frozenset())
    asked_all = replace(asked(kept, sampling=sampling), model=reasons)
    assert chat_body(asked_all, OPENAI).left_out == ("temperature", "top_p", "cache_breakpoint")
    assert responses_body(asked_all, OPENAI).left_out == ("temperature", "top_p", "stop", "seed", "cache_breakpoint")
    assert chat_body(replace(asked(sampling=sampling), model=plain), OPENAI).left_out == ("reasoning_effort",)
    assert groq_body(replace(asked(sampling=sampling), model=model("llama-3.3"))).left_out == ("reasoning_effort",)
    assert chat_body(asked(sampling=Sampling(temperature=0.0)), OPENAI).left_out == ()


@pytest.mark.parametrize(
    ("name", "stops", "left_out"),
    [
        ("gpt-4.1", ["a", "b", "c", "d"], ("stop",)),
        ("gpt-5-mini", None, ("stop",)),
        ("gpt-5-chat-latest", ["a", "b", "c", "d"], ("stop",)),
        ("o4-mini", None, ("stop", "parallel_tool_calls")),
    ],
)
def test_openais_own_server_gets_no_stop_and_no_parallel_choice_that_it_refuses(
    name: str, stops: list[str] | None, left_out: tuple[str, ...]
) -> None:
    tools: dict[str, Any] = {"tools": (Tool("f", "", ""),), "tool_choice": ToolChoice(disable_parallel=True)}
    request = replace(asked(sampling=Sampling(stop=("a", "b", "c", "d", "e")), **tools), model=model(name))
    own = chat_body(request, Dialect("max_completion_tokens", effort_word, refused_by_openai, openais_limits=True))
    assert (own.body.get("stop"), own.left_out) == (stops, left_out)
    assert own.body.get("parallel_tool_calls", True) is ("parallel_tool_calls" in left_out)
    compatible = chat_body(request, OPENAI)
    assert (compatible.body["stop"], compatible.body["parallel_tool_calls"]) == (["a", "b", "c", "d", "e"], False)
    assert compatible.left_out == ()


@pytest.mark.parametrize(
    ("name", "effort", "word", "refuses"),
    [
        ("gpt-5", ReasoningEffort.NONE, "minimal", True),
        ("gpt-5-nano-2025-08-07", ReasoningEffort.HIGH, "high", True),
        ("gpt-5.1", ReasoningEffort.NONE, "none", False),
        ("gpt-5.5-mini", ReasoningEffort.MEDIUM, "medium", True),
        ("gpt-5-chat-latest", ReasoningEffort.LOW, "low", False),
        ("gpt-6-sol", ReasoningEffort.NONE, "none", False),
        ("gpt-6-luna", ReasoningEffort.NONE, "none", False),
        ("gpt-6-astra", ReasoningEffort.NONE, "low", True),
        ("gpt-6.1-sol", ReasoningEffort.NONE, "low", True),
        ("gpt-6.1-astra-2026-10-01", ReasoningEffort.NONE, "low", True),
        ("gpt-6.2-mini", ReasoningEffort.MEDIUM, "medium", True),
        ("gpt-5-pro", ReasoningEffort.NONE, "high", True),
        ("gpt-5.2-pro", ReasoningEffort.LOW, "medium", True),
        ("gpt-5-codex", ReasoningEffort.NONE, "low", True),
        ("codex-mini-latest", ReasoningEffort.NONE, "low", True),
        ("o3", ReasoningEffort.NONE, "low", True),
        ("ft:o4-mini-2025-04-16:chatty::x", ReasoningEffort.NONE, "low", True),
        ("openai/o3", ReasoningEffort.NONE, "low", True),
        ("gpt-4o", ReasoningEffort.NONE, "none", False),
        ("qwen3-8b", ReasoningEffort.NONE, "none", False),
    ],
)
def test_an_effort_has_the_word_that_the_model_knows(
    name: str, effort: ReasoningEffort, word: str, refuses: bool
) -> None:
    assert (effort_word(name, effort), "top_p" in refused_parameters(name, effort)) == (word, refuses)


def marking(name: str) -> ProviderCall:
    """A call to OpenAI's own server whose every part is a cache breakpoint."""
    parts = (Part(Text("rules"), cache_breakpoint=True), Part(Text("more")))
    turns = (Message(Role.SYSTEM, parts), Message(Role.USER, (Part(Text("Hi"), cache_breakpoint=True),)))
    return replace(asked(*turns), model=model(name))


MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
OWN = replace(OPENAI, breakpoints=takes_breakpoints)


def test_cache_breakpoints_go_to_models_that_take_them() -> None:
    chat = chat_body(marking("gpt-6-luna"), OWN)
    system, user = chat.body["messages"]
    assert system["content"] == [{"type": "text", "text": "rules", **MARK}, {"type": "text", "text": "more"}]
    assert user["content"] == [{"type": "text", "text": "Hi", **MARK}]
    responses = responses_body(marking("gpt-5.6-sol"), OWN)
    assert responses.body["input"][0]["content"][0] == {"type": "input_text", "text": "rules", **MARK}
    assert (chat.left_out, responses.left_out) == ((), ())


@pytest.mark.parametrize("name", ["gpt-5.5", "gpt-4o", "o3"])
def test_cache_breakpoints_are_left_out_and_named_elsewhere(name: str) -> None:
    chat = chat_body(marking(name), OWN)
    assert [turn["content"] for turn in chat.body["messages"]] == ["rules\n\nmore", "Hi"]
    assert chat.left_out == ("cache_breakpoint",)
    assert responses_body(marking(name), OWN).left_out == ("cache_breakpoint",)
    assert chat_body(marking("gpt-6-luna"), OPENAI).left_out == ("cache_breakpoint",)


def test_a_breakpoint_in_an_assistants_turn_is_named() -> None:
    turn = Message(Role.ASSISTANT, (Part(Text("Well"), cache_breakpoint=True),))
    assert chat_body(replace(asked(turn), model=model("gpt-6-luna")), OWN).left_out == ("cache_breakpoint",)
