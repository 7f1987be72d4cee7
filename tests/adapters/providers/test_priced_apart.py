"""What answers say of their price beside the counts, in each wire: told with the usage, or flagged, never left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.anthropic_answer import AnthropicDecoder
from atlas_sidecar.adapters.providers.google_answer import GoogleDecoder
from atlas_sidecar.adapters.providers.openai_errors import openai_taxonomy
from atlas_sidecar.adapters.providers.openai_responses_answer import ResponsesDecoder
from atlas_sidecar.adapters.providers.wire.answer import Decoder
from atlas_sidecar.adapters.providers.wire.chat_answer import DONE, ChatDecoder
from atlas_sidecar.adapters.providers.wire.fees import is_list_price
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import Finished, Particulars, ProviderEvent, Usage, UsageReport

Document = dict[str, Any]


def streamed(decoder: Decoder, *documents: Document | bytes) -> list[ProviderEvent]:
    """Return the events of a stream, each document a network read of its own."""
    out: list[ProviderEvent] = []
    for document in documents:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        decoder.events([SseEvent(b"", data)], out)
    if not decoder.finished:
        decoder.end(out)
    return out


def whole(decoder: Decoder, document: Document) -> Usage:
    out: list[ProviderEvent] = []
    decoder.whole(json.dumps(document).encode(), out)
    return finished(out)


def finished(events: list[ProviderEvent]) -> Usage:
    assert isinstance(events[-1], Finished)
    return events[-1].usage


# ------------------------------------------------------------------------------------------- Anthropic


def claude(usage: Document, **message: Any) -> Usage:
    """Return the usage of a whole message."""
    counts = {"input_tokens": 10, "cache_creation_input_tokens": 100, "output_tokens": 5, "service_tier": "standard"}
    content = [{"type": "text", "text": "a"}]
    return whole(AnthropicDecoder(), {"type": "message", "content": content, **message, "usage": {**counts, **usage}})


@pytest.mark.parametrize(
    ("said", "apart"),
    [
        ({"cache_creation": {"ephemeral_1h_input_tokens": 60}}, Particulars(cache_write_1h=60)),
        ({"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}}, Particulars(web_searches=3)),
        ({"inference_geo": "us"}, Particulars(token_percent=110)),
        ({"inference_geo": "eu"}, Particulars(unpriced=True)),
        ({"service_tier": "priority"}, Particulars(unpriced=True)),
        ({"speed": "fast"}, Particulars(unpriced=True)),
        ({"iterations": [{"type": "message"}, {"type": "compaction", "input_tokens": 9}]}, Particulars(unpriced=True)),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 100}}, None),
        ({"cache_creation": None, "server_tool_use": None, "iterations": None, "inference_geo": None}, None),
        ({"server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 2}, "speed": "standard"}, None),
        ({"inference_geo": "global", "iterations": [{"type": "message"}]}, None),
        ({"inference_geo": "not_available"}, None),
    ],
)
def test_claude_says_what_is_priced_apart(said: Document, apart: Particulars | None) -> None:
    assert claude(said).of_which == apart


def test_claudes_container_is_flagged_unless_it_came_with_a_search() -> None:
    container = {"id": "c", "expires_at": "2026-11-28T00:00:00Z"}
    assert claude({}, container=container).of_which == Particulars(unpriced=True)
    searched = claude({"server_tool_use": {"web_search_requests": 1}}, container=container)
    assert searched.of_which == Particulars(web_searches=1)


def test_what_claude_says_at_the_start_of_a_stream_holds_until_it_says_otherwise() -> None:
    start = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_1h_input_tokens": 60},
    }
    events = streamed(
        AnthropicDecoder(),
        {"type": "message_start", "message": {"usage": {**start, "inference_geo": "us"}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_delta", "usage": {"output_tokens": 4, "server_tool_use": {"web_search_requests": 2}}},
        {"type": "message_stop"},
    )
    first = next(event for event in events if isinstance(event, UsageReport)).usage
    assert first.of_which == Particulars(cache_write_1h=60, token_percent=110)
    assert finished(events).of_which == Particulars(cache_write_1h=60, web_searches=2, token_percent=110)


# ------------------------------------------------------------------------------------------- Gemini


def details(**tokens: int) -> list[Document]:
    return [{"modality": name, "tokenCount": count} for name, count in tokens.items()]


def gemini(
    usage: Document | None = None,
    grounding: Document | None = None,
    model: str = "gemini-3-flash-preview",
    kind: str = "google",
) -> Usage:
    candidate = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    counts = {"promptTokenCount": 100, "candidatesTokenCount": 50, **(usage or {})}
    return whole(GoogleDecoder(kind), {"candidates": [candidate], "modelVersion": model, "usageMetadata": counts})


@pytest.mark.parametrize(
    ("said", "apart"),
    [
        ({"promptTokensDetails": details(TEXT=20, AUDIO=80)}, Particulars(audio_input=80)),
        (
            {
                "cachedContentTokenCount": 40,
                "promptTokensDetails": details(TEXT=20, AUDIO=80),
                "cacheTokensDetails": details(AUDIO=30, TEXT=10),
                "toolUsePromptTokensDetails": details(AUDIO=5),
            },
            Particulars(audio_input=55, audio_cache_read=30),
        ),
        ({"candidatesTokensDetails": details(TEXT=10, IMAGE=40)}, Particulars(image_output=40)),
        ({"candidatesTokensDetails": details(AUDIO=50)}, Particulars(audio_output=50)),
        ({"candidatesTokensDetails": details(VIDEO=50)}, Particulars(unpriced=True)),
        ({"serviceTier": "priority"}, Particulars(unpriced=True)),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, Particulars(unpriced=True)),
        ({"promptTokensDetails": details(TEXT=100), "candidatesTokensDetails": details(TEXT=50)}, None),
        ({"promptTokensDetails": None, "serviceTier": "standard", "trafficType": "ON_DEMAND"}, None),
    ],
)
def test_gemini_says_what_is_priced_apart(said: Document, apart: Particulars | None) -> None:
    assert gemini(said).of_which == apart


def test_images_and_films_that_gemini_is_shown_cost_as_text() -> None:
    seen = gemini({"promptTokensDetails": details(IMAGE=20, VIDEO=50, DOCUMENT=10, TEXT=20)})
    assert seen.of_which is None


def test_gemini_is_charged_for_each_query_and_before_its_third_generation_for_each_prompt() -> None:
    grounding = {"webSearchQueries": ["a", "", "b", "a"], "groundingChunks": [{"web": {"uri": "u"}}]}
    assert gemini(grounding=grounding).of_which == Particulars(web_searches=2)
    assert gemini(grounding=grounding, model="gemini-2.5-pro").of_which == Particulars(web_searches=1)
    assert gemini(grounding=grounding, model="models/gemini-2.0-flash").of_which == Particulars(web_searches=1)
    assert gemini(grounding={"searchEntryPoint": {}, "groundingChunks": []}).of_which is None


@pytest.mark.parametrize(
    ("grounding", "kind", "flagged"),
    [
        ({"groundingChunks": [{"maps": {"uri": "u"}}]}, "google", True),
        ({"groundingChunks": [{"web": {"uri": "u"}}]}, "google", True),  # a search that no query tells of
        ({"groundingChunks": [{"retrievedContext": {"uri": "u"}}]}, "vertex", True),
        ({"retrievalQueries": ["a"]}, "vertex", True),
        ({"groundingChunks": [{"retrievedContext": {"uri": "u"}}]}, "google", False),
        ({"groundingChunks": "junk", "webSearchQueries": 5}, "google", False),
    ],
)
def test_what_else_gemini_was_grounded_in_is_flagged(grounding: Document, kind: str, flagged: bool) -> None:
    assert gemini(grounding=grounding, kind=kind).of_which == (Particulars(unpriced=True) if flagged else None)


def test_queries_that_a_stream_of_gemini_tells_in_pieces_are_counted_together() -> None:
    said: list[Document] = [
        {"groundingChunks": [{"web": {"uri": "u"}}]},
        {"webSearchQueries": ["a"]},
        {"webSearchQueries": ["b", "a"]},
    ]
    chunks = [{"candidates": [{"groundingMetadata": grounding}]} for grounding in said]
    end: Document = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
    counts = {"promptTokenCount": 1}
    usage = finished(streamed(GoogleDecoder(), *chunks, {**end, "modelVersion": "gemini-4", "usageMetadata": counts}))
    assert usage.of_which == Particulars(web_searches=2)


def test_a_stream_of_gemini_tells_audio_from_its_first_report_on() -> None:
    heard = {"promptTokenCount": 100, "promptTokensDetails": details(AUDIO=80, TEXT=20)}
    events = streamed(
        GoogleDecoder(),
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": heard},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"candidatesTokenCount": 5}},
    )
    reports = [event.usage for event in events if isinstance(event, UsageReport)]
    assert [usage.of_which for usage in [*reports, finished(events)]] == [Particulars(audio_input=80)] * 3


# ------------------------------------------------------------------------------------------- OpenAI and its like


def chat(usage: Document, message: Document | None = None, **more: Any) -> Usage:
    decoder = ChatDecoder(openai_taxonomy("openai"), "openai", 0.0)
    choice = {"index": 0, "message": {"content": "a", **(message or {})}, "finish_reason": "stop"}
    counts = {"prompt_tokens": 100, "completion_tokens": 50, **usage}
    return whole(decoder, {"id": "c", "choices": [choice], "usage": counts, **more})


@pytest.mark.parametrize(
    ("said", "apart"),
    [
        ({"prompt_tokens_details": {"audio_tokens": 80}}, Particulars(audio_input=80)),
        (
            {"prompt_tokens_details": {"audio_tokens": 80, "cached_tokens": 40}},
            Particulars(audio_input=60, audio_cache_read=20),
        ),
        ({"completion_tokens_details": {"audio_tokens": 45}}, Particulars(audio_output=45)),
        ({"prompt_tokens_details": {"audio_tokens": 0}, "completion_tokens_details": {"audio_tokens": 0}}, None),
        ({"prompt_tokens_details": {"audio_tokens": -1}}, None),
    ],
)
def test_a_chat_answer_says_what_of_it_is_audio(said: Document, apart: Particulars | None) -> None:
    assert chat(said).of_which == apart


@pytest.mark.parametrize(
    "message",
    [
        {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://x"}}]},
        {"executed_tools": [{"type": "search"}]},
    ],
)
def test_a_chat_answer_that_searched_is_flagged(message: Document) -> None:
    assert chat({}, message).of_which == Particulars(unpriced=True)


def test_another_tier_of_a_chat_answer_is_flagged_wherever_it_is_said() -> None:
    assert chat({}, service_tier="priority").of_which == Particulars(unpriced=True)
    assert chat({}, service_tier="default").of_which is None
    events = streamed(
        ChatDecoder(openai_taxonomy("openai"), "openai", 0.0),
        {
            "id": "c",
            "service_tier": "flex",
            "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}],
        },
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        DONE,
    )
    assert finished(events).of_which == Particulars(unpriced=True)


def responses(*output: Document, **more: Any) -> list[ProviderEvent]:
    response = {"status": "completed", "output": output, "usage": {"input_tokens": 9, "output_tokens": 7}, **more}
    decoder = ResponsesDecoder(openai_taxonomy("openai"), 0.0)
    events = [{"type": "response.output_item.done", "output_index": i, "item": item} for i, item in enumerate(output)]
    out: list[ProviderEvent] = []
    try:
        for event in [*events, {"type": f"response.{response['status']}", "response": response}]:
            decoder.events([SseEvent(b"", json.dumps(event).encode())], out)
    except ProviderError:
        pass
    return out


@pytest.mark.parametrize(
    ("output", "apart"),
    [
        (
            [
                {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
                {"type": "web_search_call", "action": {"type": "open_page", "url": "https://x"}},
                {"type": "web_search_call", "action": None},
            ],
            Particulars(web_searches=2),
        ),
        ([{"type": "file_search_call"}], Particulars(file_searches=1)),
        ([{"type": "code_interpreter_call", "container_id": "c"}], Particulars(unpriced=True)),
        (
            [{"type": "image_generation_call"}, {"type": "file_search_call"}],
            Particulars(file_searches=1, unpriced=True),
        ),
        ([{"type": "mcp_call"}, {"type": "computer_call"}, {"type": "mcp_list_tools"}], None),
        ([{"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}], None),
    ],
)
def test_a_responses_answer_says_which_hosted_tools_it_used(output: list[Document], apart: Particulars | None) -> None:
    assert finished(responses(*output)).of_which == apart


def test_a_search_of_gpt_4_costs_what_no_count_tells() -> None:
    search = {"type": "web_search_call", "action": {"type": "search"}}
    old, new = (finished(responses(search, model=name)).of_which for name in ("gpt-4o-mini-2024-07-18", "gpt-5.2"))
    assert old == Particulars(web_searches=1, unpriced=True)
    assert new == Particulars(web_searches=1)
    assert finished(responses(model="gpt-4o-mini")).of_which is None


def test_another_tier_of_a_responses_answer_is_flagged() -> None:
    assert finished(responses(service_tier="priority")).of_which == Particulars(unpriced=True)
    assert finished(responses(service_tier="default")).of_which is None


@pytest.mark.parametrize(
    "end",
    [
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        {"status": "failed", "error": {"code": "server_error", "message": "m"}},
    ],
)
def test_what_a_responses_answer_without_content_used_is_told_all_the_same(end: Document) -> None:
    assert responses(**end)[-1] == UsageReport(Usage(9, None, None, 7, None))


# ------------------------------------------------------------------------------------------- whatever they say


def test_a_tier_that_is_no_text_is_not_taken_for_the_usual_one() -> None:
    assert is_list_price(None)
    assert is_list_price("STANDARD")
    assert not is_list_price(5)
    assert not is_list_price("scale")


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**13) | st.sampled_from(["AUDIO", "us", "1h", "priority"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "modality", "web"]), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["webSearchQueries", "imageSearchQueries", "groundingChunks", "retrievalQueries"]), junk
    )
)
def test_whatever_gemini_says_of_its_sources_is_read(grounding: Document) -> None:
    usage = gemini(grounding=grounding).bounded()
    assert usage.counts() == Usage(100, None, None, 50, None)


@given(st.dictionaries(st.sampled_from(["web_search_requests", "web_fetch_requests", "other"]), junk), junk)
def test_whatever_claude_says_of_its_tools_is_read(tools: Document, speed: Any) -> None:
    usage = claude({"server_tool_use": tools, "speed": speed}).bounded()
    assert usage.counts() == Usage(10, None, 100, 5, None)
