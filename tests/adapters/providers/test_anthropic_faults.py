"""Anthropic's adapter when things go wrong, and its ways of asking: over real sockets, through the real SDK."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.anthropic_answer import AnthropicDecoder
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    FinishReason,
    GenerateRequest,
    Message,
    Part,
    Requirements,
    Role,
    Sampling,
    Text,
    Usage,
)
from tests.adapters.junk import decode_or_refuse, documents
from tests.adapters.replay import Answer, Upstream, call, collect, model

START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}},
}
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
HELLO = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
CLOSE = {"type": "content_block_stop", "index": 0}
STOP = {"type": "message_stop"}
INVALID = "invalid_request_error"


def ended(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}


def refused(kind: str, message: str = "") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[AnthropicProvider]:
    async with aclosing(
        AnthropicProvider(ProviderSettings("claude", "anthropic", upstream.url, lambda: "k-1"))
    ) as made:
        yield made


async def error_of(provider: AnthropicProvider, upstream: Upstream, answer: Answer) -> ProviderError:
    upstream.answer(answer)
    got = await collect(provider, call())
    assert got.error is not None
    return got.error


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            ErrorClass.CONTEXT_TOO_LONG,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit",
            ErrorClass.CONTEXT_TOO_LONG,
        ),
        (400, "invalid_request_error", "Your credit balance is too low", ErrorClass.QUOTA_EXHAUSTED),
        (400, "invalid_request_error", "You have reached your specified API usage limits", ErrorClass.QUOTA_EXHAUSTED),
        (400, "invalid_request_error", "`temperature` is deprecated for this model.", ErrorClass.MODEL_UNAVAILABLE),
        (400, "invalid_request_error", "messages.0: wrong", ErrorClass.INVALID_REQUEST),
        (401, "authentication_error", "", ErrorClass.AUTH),
        (402, "billing_error", "", ErrorClass.QUOTA_EXHAUSTED),
        (403, "permission_error", "", ErrorClass.AUTH),
        (404, "not_found_error", "", ErrorClass.MODEL_UNAVAILABLE),
        (408, "", "", ErrorClass.TEMPORARY),
        (413, "request_too_large", "", ErrorClass.CONTEXT_TOO_LONG),
        (429, "rate_limit_error", "", ErrorClass.RATE_LIMITED),
        (429, "rate_limit_error", "would exceed your organization's monthly spend limit", ErrorClass.QUOTA_EXHAUSTED),
        (500, "api_error", "", ErrorClass.TEMPORARY),
        (503, "", "", ErrorClass.OVERLOADED),
        (504, "timeout_error", "", ErrorClass.TIMEOUT),
        (529, "overloaded_error", "", ErrorClass.OVERLOADED),
    ],
)
async def test_each_refusal_has_its_class(
    provider: AnthropicProvider, upstream: Upstream, status: int, kind: str, message: str, expected: ErrorClass
) -> None:
    error = await error_of(provider, upstream, Answer.json(refused(kind, message), status, {"request-id": "req_7"}))
    assert (error.error_class, error.http_status, error.provider_request_id) == (expected, status, "req_7")
    assert message not in error.message or not message
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [413, 429, 500, 529])
@pytest.mark.parametrize("body", [b"<html>no</html>", b"", b"\xff\xfe", b"[]"])
async def test_a_refusal_without_json_is_classified_by_its_status(
    provider: AnthropicProvider, upstream: Upstream, status: int, body: bytes
) -> None:
    error = await error_of(provider, upstream, Answer(status, {"content-type": "text/html"}, [body] if body else []))
    classes = {413: ErrorClass.CONTEXT_TOO_LONG, 429: ErrorClass.RATE_LIMITED, 500: ErrorClass.TEMPORARY}
    assert error.error_class is classes.get(status, ErrorClass.OVERLOADED)


async def test_a_wait_is_taken_from_the_header_of_a_refusal_and_never_of_an_answer(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    headers = {"retry-after": "13", "anthropic-ratelimit-requests-remaining": "0"}
    error = await error_of(provider, upstream, Answer.json(refused("rate_limit_error"), 429, headers))
    assert error.retry_after_s == 13
    said = {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"}
    upstream.answer(Answer.json(said, headers={**headers, "anthropic-ratelimit-requests-remaining": "41"}))
    got = await collect(provider, call())
    assert got.text == "x"
    assert got.head is not None
    assert got.head.rate_limit is not None
    assert got.head.rate_limit.requests_remaining == 41


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([START, refused("overloaded_error")], ErrorClass.OVERLOADED),
        ([START, OPEN, HELLO, refused("overloaded_error")], ErrorClass.OVERLOADED),
        ([refused("rate_limit_error")], ErrorClass.RATE_LIMITED),
        ([refused("invalid_request_error", "prompt is too long")], ErrorClass.CONTEXT_TOO_LONG),
        ([refused("something_new")], ErrorClass.TEMPORARY),
        ([START, ended("refusal"), STOP], ErrorClass.CONTENT_FILTERED),
        ([START, ended("model_context_window_exceeded"), STOP], ErrorClass.CONTEXT_TOO_LONG),
        ([START, OPEN, CLOSE], ErrorClass.TEMPORARY),  # no terminator, no content
        ([START, OPEN, HELLO, CLOSE, ended("end_turn")], ErrorClass.STREAM_BROKEN),
        ([START, "{not json"], ErrorClass.TEMPORARY),
        ([START, OPEN, HELLO, '{"type": 7}'], ErrorClass.STREAM_BROKEN),
        ([START, HELLO], ErrorClass.TEMPORARY),  # a delta of no block
        ([], ErrorClass.TEMPORARY),
    ],
)
async def test_a_stream_that_goes_wrong_has_its_class(
    provider: AnthropicProvider, upstream: Upstream, events: list[Any], expected: ErrorClass
) -> None:
    error = await error_of(provider, upstream, Answer.sse(*events))
    assert (error.error_class, error.http_status) == (expected, 200)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("refusal", FinishReason.REFUSAL),
        ("pause_turn", FinishReason.PAUSE),
        ("model_context_window_exceeded", FinishReason.MAX_CONTEXT),
        ("stop_sequence", FinishReason.STOP),
        ("something_new", FinishReason.OTHER),
    ],
)
async def test_with_content_every_end_is_an_answer(
    provider: AnthropicProvider, upstream: Upstream, reason: str, expected: FinishReason
) -> None:
    upstream.answer(Answer.sse(START, OPEN, HELLO, CLOSE, ended(reason), STOP))
    got = await collect(provider, call())
    assert got.finished is not None
    assert (got.text, got.finished.finish_reason, got.finished.raw_finish_reason) == ("Hello", expected, reason)
    assert got.usage == Usage(input_tokens=9, output_tokens=5)


async def test_an_empty_answer_is_an_answer(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.answer(Answer.sse(START, ended("end_turn"), STOP))
    got = await collect(provider, call())
    assert (got.error, got.text) == (None, "")


async def test_a_later_usage_wins_and_is_never_added(provider: AnthropicProvider, upstream: Upstream) -> None:
    start = {"input_tokens": 9, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 2, "output_tokens": 1}
    end = {"input_tokens": 8, "cache_read_input_tokens": 3, "cache_creation_input_tokens": None, "output_tokens": 7}
    end["output_tokens_details"] = {"thinking_tokens": 4}  # type: ignore[assignment]
    first = {"type": "message_start", "message": {"usage": start}}
    upstream.answer(Answer.sse(first, {"type": "message_delta", "delta": {}, "usage": end}, STOP))
    assert (await collect(provider, call())).usage == Usage(8, 3, 2, 3, 4)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(before="reset"), "reset"),
        (Answer.sse(START, after="cut"), "connection_cut"),
        (Answer(headers={"content-type": "text/html"}, chunks=[b"<html>"]), "stream_broken"),
        (Answer(headers={"content-type": "application/json"}, chunks=[b'{"type": "mess']), "stream_broken"),
    ],
)
async def test_what_breaks_before_content_is_temporary(
    provider: AnthropicProvider, upstream: Upstream, answer: Answer, code: str
) -> None:
    error = await error_of(provider, upstream, answer)
    assert (error.error_class, error.code) == (ErrorClass.TEMPORARY, code)
    assert len(upstream.requests) == 1


async def test_a_cut_after_content_keeps_the_content_and_is_a_broken_stream(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(START, OPEN, HELLO, after="cut", pause_s=0.005))
    got = await collect(provider, call())
    assert got.error is not None
    assert (got.text, got.error.error_class) == ("Hello", ErrorClass.STREAM_BROKEN)
    assert got.usage == Usage(input_tokens=9)  # the placeholder of the output count is not told


async def test_closing_the_answer_closes_the_connection_at_once(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(START, OPEN, HELLO, after="stall"))
    stream = provider.stream(call())
    await anext(stream)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator, as the port says
    await asyncio.wait_for(upstream.disconnected.wait(), 1)


async def test_cancelling_before_the_head_closes_the_connection_at_once(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer(before="stall"))
    task = asyncio.create_task(collect(provider, call()))
    await asyncio.wait_for(upstream.arrived.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(upstream.disconnected.wait(), 1)


async def test_answers_share_one_connection(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.answer(Answer.sse(START, OPEN, HELLO, CLOSE, ended("end_turn"), STOP))
    for _ in range(3):
        await collect(provider, call())
        await asyncio.sleep(0.01)
    assert (len(upstream.requests), upstream.connections) == (3, 1)


async def test_deltas_of_one_read_come_as_one(provider: AnthropicProvider, upstream: Upstream) -> None:
    many = [json.dumps(event) for event in (START, OPEN, *([HELLO] * 100), CLOSE, ended("end_turn"), STOP)]
    upstream.answer(Answer(chunks=["".join(f"data: {text}\n\n" for text in many).encode()]))
    got = await collect(provider, call())
    assert got.text == "Hello" * 100
    assert len(got.batches) <= 3


async def test_the_key_of_now_is_sent_and_without_one_nothing_is(upstream: Upstream) -> None:
    keys = iter(["k-1", "k-2", None])
    settings = ProviderSettings(
        "claude", "anthropic", upstream.url, lambda: next(keys), {"x-team": "blue"}, propagate_traceparent=True
    )
    async with aclosing(AnthropicProvider(settings)) as provider:
        await asyncio.to_thread(__import__, "anthropic")
        upstream.answer(Answer.sse(START, ended("end_turn"), STOP))
        await provider.open()
        assert (await collect(provider, call(traceparent="00-11-22-01"))).error is None
        seen = upstream.requests[0]
        assert "k-2" in seen.headers["authorization"]
        assert (seen.headers["x-team"], seen.headers["traceparent"]) == ("blue", "00-11-22-01")
        assert seen.path == "/v1/messages"
        got = await collect(provider, call())
        assert got.error is not None
        assert (got.error.error_class, got.error.code) == (ErrorClass.AUTH, "no_credentials")
        assert len(upstream.requests) == 1
        assert "k-2" not in repr(provider)


async def test_a_probe_lists_a_model_and_says_why_it_cannot(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.answer(Answer.json({"data": []}, headers={"anthropic-ratelimit-requests-remaining": "7"}))
    limit = await provider.probe()
    assert limit is not None
    assert limit.requests_remaining == 7
    assert (upstream.requests[0].method, upstream.requests[0].path) == ("GET", "/v1/models?limit=1")
    upstream.answer(Answer.json(refused("authentication_error"), 401))
    with pytest.raises(ProviderError) as caught:
        await provider.probe()
    assert (caught.value.error_class, caught.value.scope) == (ErrorClass.AUTH, "provider")


async def test_a_parameter_that_the_model_does_not_take_is_named_in_the_answer(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(START, ended("end_turn"), STOP))
    messages = (Message(Role.USER, (Part(Text("hi")),)),)
    request = GenerateRequest(Requirements(), messages, sampling=Sampling(temperature=0.5))
    got = await collect(provider, call(None, request, model=model("claude-opus-5", "anthropic")))
    assert got.finished is not None
    assert got.finished.metadata["parameters_left_out"] == ["temperature"]
    assert got.finished.metadata["id"] == "msg_1"


async def test_nothing_answers_at_a_closed_port() -> None:
    settings = ProviderSettings("claude", "anthropic", "http://127.0.0.1:1", lambda: "k")
    async with aclosing(AnthropicProvider(settings)) as provider:
        started = time.monotonic()
        got = await collect(provider, call())
        assert got.error is not None
        assert (got.error.error_class, got.error.http_status) == (ErrorClass.TEMPORARY, 0)
        assert time.monotonic() - started < 5


async def test_a_server_without_a_list_of_models_is_alive(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.answer(Answer(404, {"content-type": "text/plain"}, [b"no"]))
    assert await provider.probe() is None


async def test_a_key_that_is_no_header_value_is_an_error_of_ours(upstream: Upstream) -> None:
    settings = ProviderSettings("p", "anthropic", upstream.url, lambda: "k-\n\u20ac")
    async with aclosing(AnthropicProvider(settings)) as provider:
        got = await collect(provider, call())
    assert got.error is not None
    assert "\u20ac" not in got.error.message
    assert upstream.requests == []


WORDS = (
    "type index delta content_block message usage text thinking partial_json signature data citation "
    "content stop_reason input_tokens output_tokens text_delta input_json_delta signature_delta "
    "thinking_delta citations_delta message_start content_block_start content_block_delta "
    "content_block_stop message_delta message_stop tool_use server_tool_use redacted_thinking error "
    "input id name refusal"
)


@given(documents(WORDS), st.booleans())
def test_any_documents_are_an_answer_or_an_error(given_: list[Any], whole: bool) -> None:
    decode_or_refuse(AnthropicDecoder(), given_, whole=whole)
