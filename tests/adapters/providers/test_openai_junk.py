"""Both OpenAI decoders on answers that nobody would send: an answer, or an error of its class, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.openai_errors import openai_taxonomy
from atlas_sidecar.adapters.providers.openai_responses_answer import ResponsesDecoder
from atlas_sidecar.adapters.providers.wire.answer import Decoder, merged
from atlas_sidecar.adapters.providers.wire.chat_answer import DONE, ChatDecoder
from atlas_sidecar.adapters.providers.wire.sse import SseEvent
from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import Finished, ProviderEvent, TextDelta, ToolArguments, ToolCallStart

TAXONOMY = openai_taxonomy("openai")
TEXT = st.text(max_size=4)
LEAF = st.none() | st.integers(-2, 2) | st.integers() | TEXT | st.booleans() | st.floats(allow_nan=False)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects in which any field may be missing, and now and then be something else."""
    return st.fixed_dictionaries(
        {}, optional={name: st.one_of(field, field, field, LEAF) for name, field in fields.items()}
    )


COUNT = st.none() | st.integers(-5, 10**18)
FUNCTION = objects(name=TEXT, arguments=TEXT | objects(a=LEAF))
TOOL = objects(index=st.integers(0, 2), id=TEXT, function=FUNCTION, custom=objects(name=TEXT, input=TEXT))
DELTA = objects(
    content=TEXT | st.lists(objects(text=TEXT, thinking=st.lists(objects(text=TEXT), max_size=2)), max_size=2),
    reasoning=TEXT,
    reasoning_content=TEXT,
    reasoning_details=st.lists(objects(type=TEXT, index=COUNT, text=TEXT, summary=TEXT, data=TEXT), max_size=2),
    refusal=TEXT,
    tool_calls=st.lists(TOOL, max_size=3),
    function_call=FUNCTION,
    annotations=st.lists(LEAF, max_size=2),
    audio=objects(data=TEXT, transcript=TEXT, id=LEAF),
    executed_tools=LEAF,
)
CHAT_USAGE = objects(
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    prompt_tokens_details=objects(cached_tokens=COUNT, cache_write_tokens=COUNT),
    completion_tokens_details=objects(reasoning_tokens=COUNT),
)
FINISH = st.sampled_from([None, "stop", "length", "tool_calls", "content_filter", "error", "?"])
LOGPROBS = objects(content=st.lists(objects(top_logprobs=st.lists(LEAF, max_size=2)), max_size=2))
CHOICE = objects(index=st.just(0), logprobs=LOGPROBS, delta=DELTA, message=DELTA, finish_reason=FINISH)
CHUNK = objects(
    id=TEXT,
    model=TEXT,
    choices=st.lists(CHOICE, max_size=2),
    usage=CHAT_USAGE,
    x_groq=objects(usage=CHAT_USAGE),
)
CONTENT = objects(type=TEXT, text=TEXT, refusal=TEXT, annotations=st.lists(LEAF, max_size=1))
ITEM = objects(
    type=st.sampled_from(["message", "reasoning", "function_call", "web_search_call", ""]),
    id=TEXT,
    call_id=TEXT,
    name=TEXT,
    arguments=TEXT,
    encrypted_content=TEXT,
    summary=st.lists(CONTENT, max_size=2),
    content=st.lists(CONTENT, max_size=2),
)
RESPONSE = objects(
    id=TEXT,
    status=st.sampled_from(["completed", "incomplete", "failed", "queued"]),
    error=objects(code=TEXT, message=TEXT),
    incomplete_details=objects(reason=st.sampled_from(["max_output_tokens", "content_filter", "?"])),
    output=st.lists(ITEM, max_size=3),
    usage=objects(
        input_tokens=COUNT,
        output_tokens=COUNT,
        input_tokens_details=objects(cached_tokens=COUNT, cache_write_tokens=COUNT),
    ),
)
EVENT = objects(
    type=st.sampled_from(
        [f"response.{name}" for name in ("completed", "incomplete", "failed", "output_item.added", "output_item.done")]
        + [f"response.{name}.delta" for name in ("output_text", "refusal", "reasoning_text", "function_call_arguments")]
        + ["response.reasoning_summary_text.delta", "error", "?"]
    ),
    delta=TEXT,
    output_index=st.integers(0, 2),
    content_index=st.integers(0, 2),
    summary_index=st.integers(0, 2),
    item=ITEM,
    response=RESPONSE,
)


def hold(decoder: Decoder, run: Callable[[list[ProviderEvent]], None]) -> None:
    """Decode; whatever comes out must be well-formed, and what is raised must be one of the errors that are handled."""
    out: list[ProviderEvent] = []
    try:
        run(out)
    except (ProviderError, msgspec.DecodeError):
        assert not decoder.finished
    started: set[int] = set()
    for event in merged(out):
        match event:
            case ToolCallStart(index, id_, name):
                assert index not in started
                assert id_
                assert name
                started.add(index)
            case ToolArguments(index, fragment):
                assert index in started
                assert isinstance(fragment, str)
            case TextDelta(_, text):
                assert text
                assert decoder.has_content
            case Finished(_, _, usage, _):
                assert event is out[-1]
                counts = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens)
                assert all(count is None or 0 <= count <= 10**12 for count in counts)
    assert decoder.finished == (bool(out) and isinstance(out[-1], Finished))


def encoded(documents: list[dict[str, Any]]) -> list[SseEvent]:
    return [SseEvent(b"", json.dumps(document).encode()) for document in documents]


@given(st.lists(CHUNK, max_size=5))
def test_chat_chunks_of_any_form_are_decoded_or_refused(chunks: list[dict[str, Any]]) -> None:
    decoder = ChatDecoder(TAXONOMY, "openai", 0.0, signs_reasoning=True)
    hold(decoder, lambda out: decoder.events([*encoded(chunks), SseEvent(b"", DONE)], out))
    whole = ChatDecoder(TAXONOMY, "openai", 0.0)
    hold(whole, lambda out: whole.whole(json.dumps(chunks[0] if chunks else {}).encode(), out))


@given(st.lists(EVENT, max_size=6))
def test_responses_events_of_any_form_are_decoded_or_refused(events: list[dict[str, Any]]) -> None:
    decoder = ResponsesDecoder(TAXONOMY, 0.0)
    hold(decoder, lambda out: decoder.events(encoded(events), out))
    whole = ResponsesDecoder(TAXONOMY, 0.0)
    response = events[0].get("response", {}) if events else {}
    hold(whole, lambda out: whole.whole(json.dumps(response).encode(), out))
