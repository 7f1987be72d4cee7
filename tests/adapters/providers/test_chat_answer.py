"""The chat-completions decoder alone: fragments, missing ids, foreign dialects, counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.openai_errors import openai_taxonomy
from atlas_sidecar.adapters.providers.wire.answer import merged
from atlas_sidecar.adapters.providers.wire.chat_answer import DONE, ChatDecoder
from atlas_sidecar.adapters.providers.wire.chat_held import MAX_LOGPROBS, Logprobs
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Finished,
    FinishReason,
    OpaqueDelta,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    ToolArguments,
    ToolCallStart,
    Usage,
    UsageReport,
)


def decode(*documents: Any, done: bool = True) -> list[ProviderEvent]:
    decoder = ChatDecoder(openai_taxonomy("openai"), "openai", 0.0)
    out: list[ProviderEvent] = []
    events = [SseEvent(b"", json.dumps(document).encode()) for document in documents]
    decoder.events([*events, SseEvent(b"", DONE)] if done else events, out)
    assert decoder.finished is done
    return out


def whole(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> list[ProviderEvent]:
    decoder = ChatDecoder(openai_taxonomy("openai"), "openai", 0.0)
    out: list[ProviderEvent] = []
    document = {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}
    decoder.whole(json.dumps(document).encode(), out)
    return out


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def tool(index: int | None = None, id_: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    fields = {"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [{key: value for key, value in fields.items() if value is not None}]}


def tools(events: list[ProviderEvent]) -> list[tuple[str, str, str]]:
    found: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallStart):
            found[event.index] = [event.id, event.name, ""]
        elif isinstance(event, ToolArguments):
            found[event.index][2] += event.fragment
    return [(id_, name, arguments) for id_, name, arguments in found.values()]


def finish(events: list[ProviderEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def test_parallel_calls_keep_their_fragments_apart() -> None:
    events = decode(
        delta(**tool(0, "a", "f", "")),
        delta(**tool(1, "b", "g", '{"x"')),
        delta(**tool(0, None, None, '{"y":1}')),
        delta(**tool(1, None, None, ":2}")),
        delta("tool_calls"),
    )
    assert tools(events) == [("a", "f", '{"y":1}'), ("b", "g", '{"x":2}')]


def test_a_missing_id_is_made_and_is_the_same_for_the_same_answer() -> None:
    documents = (delta(**tool(0, None, "f", "{}")), delta(**tool(1, None, "g", "{}")), delta("stop"))
    first, again = tools(decode(*documents)), tools(decode(*documents))
    assert first == again
    assert len({id_ for id_, _, _ in first}) == 2
    assert all(id_.startswith("call_") and len(id_) <= 40 for id_, _, _ in first)
    assert finish(decode(*documents)).finish_reason is FinishReason.TOOL_CALLS, "a call is a call, whatever was said"


def test_fragments_without_an_index_belong_to_the_last_call() -> None:
    events = decode(
        delta(**tool(None, "a", "f", "{")),
        delta(**tool(None, "a", "f", '"x":')),
        delta(**tool(None, None, None, "1}")),
        delta(**tool(None, "b", "f", "{}")),
        delta("tool_calls"),
    )
    assert tools(events) == [("a", "f", '{"x":1}'), ("b", "f", "{}")]


def test_two_calls_under_one_index_are_two_calls() -> None:
    events = decode(delta(**tool(0, "a", "f", "{}")), delta(**tool(0, "b", "g", "{}")), delta("tool_calls"))
    assert [name for _, name, _ in tools(events)] == ["f", "g"]


def test_a_name_that_comes_late_keeps_the_arguments_waiting() -> None:
    events = decode(delta(**tool(0, "a", None, "{")), delta(**tool(0, None, "f", "}")), delta("tool_calls"))
    assert tools(events) == [("a", "f", "{}")]
    with pytest.raises(ProviderError) as caught:
        decode(delta(**tool(0, "a", None, "{}")), delta("tool_calls"))
    assert caught.value.error_class is ErrorClass.TEMPORARY


@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
def test_a_call_without_arguments_has_an_empty_object(arguments: Any) -> None:
    message = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]}
    assert tools(whole(message, "tool_calls")) == [("a", "f", "{}")]


def test_reasoning_comes_under_either_name_and_in_lists() -> None:
    events = decode(delta(reasoning="a"), delta(reasoning_content="b"), delta(content="c"), delta("stop"))
    assert events[:3] == [ReasoningDelta(0, "a"), ReasoningDelta(0, "b"), TextDelta(1, "c")]
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}, {"type": "text", "text": "b"}]
    assert whole({"content": parts})[:2] == [ReasoningDelta(0, "a"), TextDelta(1, "b")]


def test_what_only_the_provider_understands_is_passed_on() -> None:
    annotations = [{"type": "url_citation", "url_citation": {"url": "https://x"}}]
    events = whole({"content": "a", "annotations": annotations, "audio": None})
    assert isinstance(events[1], OpaqueDelta)
    assert (events[1].opaque.type, json.loads(events[1].opaque.json)) == ("annotations", annotations)
    assert len(whole({"content": "a", "annotations": []})) == 2


def opaque(events: list[ProviderEvent]) -> list[tuple[int, str, Any]]:
    found = [event for event in events if isinstance(event, OpaqueDelta)]
    return [(event.index, event.opaque.type, json.loads(event.opaque.json)) for event in found]


def custom(index: int, id_: str | None = None, **said: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": id_, "type": "custom", "custom": said}]}


def test_a_call_of_a_custom_tool_is_an_opaque_part() -> None:
    called = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    assert opaque(whole({"content": None, "tool_calls": [called]}, "tool_calls")) == [(0, "tool_call", called)]
    pieces = (custom(0, "call_1", name="sql"), tool(1, "call_2", "f", "{}"), custom(0, input="sel"))
    events = decode(*[delta(**piece) for piece in pieces], delta(**custom(0, input="ect 1")), delta("tool_calls"))
    assert opaque(events) == [(0, "tool_call", called)]
    assert tools(events) == [("call_2", "f", "{}")]
    assert finish(events).finish_reason is FinishReason.TOOL_CALLS


def test_streamed_audio_is_one_opaque_part() -> None:
    pieces = [{"id": "a1", "transcript": "He"}, {"data": "YQ=="}, {"transcript": "llo"}, {"data": "Yg=="}]
    events = decode(*[delta(audio=piece) for piece in pieces], delta(audio={"expires_at": 1}), delta("stop"))
    assert opaque(events) == [(0, "audio", {"id": "a1", "expires_at": 1, "data": "YWI=", "transcript": "Hello"})]
    strange = decode(delta(audio={"data": "a"}), delta(audio={"data": "b"}), delta("stop"))
    assert opaque(strange) == [(0, "audio", {"data": "ab"})]


def test_log_probabilities_and_azures_filters_are_among_the_metadata() -> None:
    def token(text: str) -> dict[str, Any]:
        return {"logprobs": {"content": [{"token": text, "logprob": -0.5}], "refusal": None}}

    filters = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}]
    documents = [delta(content=text) for text in "abc"]
    for document, text in zip(documents, "abc", strict=True):
        document["choices"][0].update(token(text))
    events = decode({"id": "", "choices": [], "prompt_filter_results": filters}, *documents, delta("stop"))
    metadata = finish(events).metadata
    assert [one["token"] for one in metadata["logprobs"]["content"]] == ["a", "b", "c"]
    assert metadata["prompt_filter_results"] == filters


def test_log_probabilities_are_bounded() -> None:
    logprobs, one = Logprobs(), {"token": "a", "top_logprobs": [{}] * 19}
    for _ in range(MAX_LOGPROBS // 10):
        logprobs.add({"content": [one, 7], "refusal": 8})
    assert logprobs.said["cut"]
    assert MAX_LOGPROBS // 21 - 1 <= len(logprobs.said["content"]) // 2 <= MAX_LOGPROBS // 21


def test_only_the_first_choice_is_read() -> None:
    choices = [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]
    assert decode({"choices": choices}, delta("stop"))[0] == TextDelta(0, "yes")


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Usage(10, None, None, 5, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, None, None, 0, None)),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1}},
            Usage(5, 4, 1, None, None),
        ),
        (
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8}, "total_tokens": 9},
            Usage(None, None, None, 1, 8),
        ),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 8},
                "total_tokens": 18,
            },
            Usage(1, None, None, 9, 8),
        ),
        ({"prompt_tokens": 3, "prompt_cache_hit_tokens": 2}, Usage(1, 2, None, None, None)),
        ({"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3, None, None, None, None)),
        ({"prompt_tokens": -3, "completion_tokens": 10**18}, Usage(0, None, None, 10**12, None)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(0, 5, None, None, None)),
    ],
)
def test_counts_become_disjoint(reported: dict[str, Any], usage: Usage) -> None:
    events = decode(delta("stop"), {"choices": [], "usage": reported})
    assert finish(events).usage == usage
    assert UsageReport(usage) in events


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_disjoint_counts_add_up_to_what_was_reported(prompt: int, cached: int, completion: int, thought: int) -> None:
    cached, thought = min(cached, prompt), min(thought, completion)
    reported = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    usage = finish(decode(delta("stop"), {"choices": [], "usage": reported})).usage
    assert (usage.total_input_tokens, usage.total_output_tokens) == (prompt, completion)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("length", FinishReason.MAX_OUTPUT_TOKENS),
        ("model_length", FinishReason.MAX_CONTEXT),
        ("eos", FinishReason.STOP),
        ("something_new", FinishReason.OTHER),
    ],
)
def test_a_finish_reason_is_mapped_and_its_word_kept(raw: str, reason: FinishReason) -> None:
    found = finish(decode(delta(content="a"), delta(raw)))
    assert (found.finish_reason, found.raw_finish_reason) == (reason, raw)


def test_an_error_in_any_place_is_raised() -> None:
    for document in (
        {"error": {"code": "server_is_overloaded"}},
        {"error": "server_is_overloaded"},
        {"choices": [], "x_groq": {"error": "server_is_overloaded"}},
        {"choices": [{"index": 0, "error": {"code": "server_is_overloaded"}}]},
    ):
        with pytest.raises(ProviderError) as caught:
            decode(document)
        assert caught.value.error_class is ErrorClass.OVERLOADED
    with pytest.raises(ProviderError):
        decode(delta("error"))


def test_the_answers_own_facts_are_kept() -> None:
    facts = {"model": "m-1", "system_fingerprint": "fp", "service_tier": "default"}
    assert finish(decode({**delta("stop"), **facts})).metadata == {"id": "c1", **facts}


def test_the_tier_that_answered_is_noted_whenever_it_comes() -> None:
    first = {**delta(content="a"), "service_tier": "auto"}
    assert finish(decode(first, {**delta("stop"), "service_tier": "priority"})).metadata["service_tier"] == "priority"
    assert finish(decode(delta(content="a"), {**delta("stop"), "service_tier": "flex"})).metadata == {
        "id": "c1",
        "service_tier": "flex",
    }


def test_neighbouring_deltas_of_one_part_are_joined_and_no_others() -> None:
    events: list[ProviderEvent] = [
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        TextDelta(1, "c"),
        ReasoningDelta(2, "d"),
        TextDelta(0, "e"),
        ToolArguments(3, "{"),
        ToolArguments(3, "}"),
    ]
    assert merged(events) == [
        TextDelta(0, "ab"),
        TextDelta(1, "c"),
        ReasoningDelta(2, "d"),
        TextDelta(0, "e"),
        ToolArguments(3, "{}"),
    ]
