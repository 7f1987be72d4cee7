"""Gemini's adapter when things go wrong, and its ways of asking: over real sockets, through the real SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.google import GoogleProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    FinishReason,
    GenerateRequest,
    Message,
    Part,
    ReasoningDelta,
    Requirements,
    Role,
    Text,
    TextDelta,
    Usage,
)
from tests.adapters.replay import Answer, Upstream, call, collect, model

INVALID, EXHAUSTED = "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"
USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14}


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "r1", "modelVersion": "gemini", **more}


HELLO = chunk({"text": "Hello"})


def refused(code: int, status: str, message: str = "", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def quota(quota_id: str, value: str = "10") -> dict[str, Any]:
    violations = [{"quotaId": quota_id, "quotaValue": value} if value else {"quotaId": quota_id}]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with aclosing(GoogleProvider(ProviderSettings("gemini", "google", upstream.url, lambda: "k-1"))) as made:
        yield made


async def error_of(provider: GoogleProvider, upstream: Upstream, answer: Answer) -> ProviderError:
    upstream.answer(answer)
    got = await collect(provider, call())
    assert got.error is not None
    return got.error


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, refused(400, INVALID, "wrong"), ErrorClass.INVALID_REQUEST),
        (400, refused(400, INVALID, "", reason("API_KEY_INVALID")), ErrorClass.AUTH),
        (400, refused(400, "FAILED_PRECONDITION", "billing"), ErrorClass.AUTH),
        (
            400,
            refused(400, INVALID, "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
            ErrorClass.CONTEXT_TOO_LONG,
        ),
        (
            400,
            refused(400, INVALID, "JSON mode is not enabled for this model"),
            ErrorClass.MODEL_UNAVAILABLE,
        ),
        (401, refused(401, "UNAUTHENTICATED"), ErrorClass.AUTH),
        (403, refused(403, "PERMISSION_DENIED"), ErrorClass.AUTH),
        (404, refused(404, "NOT_FOUND"), ErrorClass.MODEL_UNAVAILABLE),
        (429, refused(429, EXHAUSTED, "", quota("RequestsPerMinute"), RETRY), ErrorClass.RATE_LIMITED),
        (
            429,
            refused(429, EXHAUSTED, "", quota("RequestsPerDayPerProject"), RETRY),
            ErrorClass.QUOTA_EXHAUSTED,
        ),
        (429, refused(429, EXHAUSTED, "", quota("RequestsPerMinute", "0")), ErrorClass.QUOTA_EXHAUSTED),
        (
            429,
            refused(429, EXHAUSTED, "limit: 0, model: n", quota("PerMinute", "")),
            ErrorClass.QUOTA_EXHAUSTED,
        ),
        (429, refused(429, EXHAUSTED), ErrorClass.RATE_LIMITED),
        (500, refused(500, "INTERNAL"), ErrorClass.TEMPORARY),
        (503, refused(503, "UNAVAILABLE"), ErrorClass.OVERLOADED),
        (504, refused(504, "DEADLINE_EXCEEDED"), ErrorClass.TIMEOUT),
        (499, refused(499, "CANCELLED"), ErrorClass.TEMPORARY),
    ],
)
async def test_each_refusal_has_its_class(
    provider: GoogleProvider, upstream: Upstream, status: int, body: dict[str, Any], expected: ErrorClass
) -> None:
    error = await error_of(provider, upstream, Answer.json(body, status))
    assert (error.error_class, error.http_status) == (expected, status)
    assert error.retry_after_s == (34.4 if RETRY in body["error"]["details"] else None)
    message = body["error"]["message"]
    assert not message or message not in error.message
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [413, 429, 500, 503])
@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"", b"\xff\xfe", b"[]", b'{"error": {"details": [7, {"violations": 3}]}}']
)
async def test_a_refusal_of_any_shape_is_classified_by_its_status(
    provider: GoogleProvider, upstream: Upstream, status: int, body: bytes
) -> None:
    error = await error_of(provider, upstream, Answer(status, {"content-type": "text/html"}, [body] if body else []))
    classes = {413: ErrorClass.CONTEXT_TOO_LONG, 429: ErrorClass.RATE_LIMITED, 500: ErrorClass.TEMPORARY}
    assert error.error_class is classes.get(status, ErrorClass.OVERLOADED)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([refused(503, "UNAVAILABLE")], ErrorClass.OVERLOADED),
        ([HELLO, refused(429, EXHAUSTED, "", quota("PerDay"))], ErrorClass.QUOTA_EXHAUSTED),
        ([{"error": {"status": "UNAVAILABLE"}}], ErrorClass.OVERLOADED),
        ([{"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": USAGE}], ErrorClass.CONTENT_FILTERED),
        ([chunk(finish="SAFETY")], ErrorClass.CONTENT_FILTERED),
        ([{"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}], ErrorClass.CONTENT_FILTERED),
        ([{"candidates": [{"finishReason": "RECITATION", "content": {}}]}], ErrorClass.MODEL_UNAVAILABLE),
        ([chunk(finish="LANGUAGE")], ErrorClass.MODEL_UNAVAILABLE),
        ([chunk(finish="MALFORMED_FUNCTION_CALL")], ErrorClass.TEMPORARY),
        ([HELLO, chunk(finish="MALFORMED_FUNCTION_CALL")], ErrorClass.TEMPORARY),
        ([HELLO], ErrorClass.STREAM_BROKEN),  # no finish reason
        ([{"usageMetadata": USAGE}], ErrorClass.TEMPORARY),
        ([HELLO, {"candidates": []}], ErrorClass.STREAM_BROKEN),
        ([HELLO, '{"candidates": [{"con'], ErrorClass.STREAM_BROKEN),
        ([], ErrorClass.TEMPORARY),
    ],
)
async def test_a_stream_that_goes_wrong_has_its_class(
    provider: GoogleProvider, upstream: Upstream, chunks: list[Any], expected: ErrorClass
) -> None:
    error = await error_of(provider, upstream, Answer.sse(*chunks))
    assert (error.error_class, error.http_status) == (expected, 200)
    if expected is ErrorClass.MODEL_UNAVAILABLE:
        assert error.breaks_model is False


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("SAFETY", FinishReason.CONTENT_FILTER),
        ("RECITATION", FinishReason.OTHER),
        ("MAX_TOKENS", FinishReason.MAX_OUTPUT_TOKENS),
        ("CONTINUATION", FinishReason.PAUSE),
        ("SOMETHING_NEW", FinishReason.OTHER),
    ],
)
async def test_with_content_every_end_is_an_answer(
    provider: GoogleProvider, upstream: Upstream, word: str, expected: FinishReason
) -> None:
    upstream.answer(Answer.sse(HELLO, chunk(finish=word, usageMetadata=USAGE)))
    got = await collect(provider, call())
    assert got.finished is not None
    assert (got.text, got.finished.finish_reason, got.finished.raw_finish_reason) == ("Hello", expected, word)
    assert got.usage == Usage(input_tokens=9, output_tokens=5)


@pytest.mark.parametrize(
    "answer",
    [
        chunk(finish="STOP"),
        {"candidates": [{"content": {}, "finishReason": "STOP"}]},
        {"candidates": [{"finishReason": "STOP"}]},
        {"candidates": [{"content": {"parts": None}, "finishReason": "STOP"}]},
        {"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}]},
        {"candidates": [], "usageMetadata": USAGE},
        {"candidates": []},
    ],
)
async def test_an_empty_answer_is_an_answer(provider: GoogleProvider, upstream: Upstream, answer: Any) -> None:
    for form in (Answer.sse(answer), Answer.json(answer), Answer.json([answer])):
        upstream.answer(form)
        got = await collect(provider, call())
        assert got.finished is not None
        assert (got.text, got.finished.finish_reason) == ("", FinishReason.STOP)


async def test_a_whole_answer_without_candidates_is_no_answer(provider: GoogleProvider, upstream: Upstream) -> None:
    error = await error_of(provider, upstream, Answer.json({"modelVersion": "gemini"}))
    assert error.error_class is ErrorClass.TEMPORARY
    upstream.answer(Answer.json({"usageMetadata": USAGE}))  # an empty list is left out: it was counted, so it is one
    got = await collect(provider, call())
    assert (got.error, got.text, got.usage) == (None, "", Usage(input_tokens=9, output_tokens=5))


async def test_the_last_said_count_holds_and_one_that_is_dropped_keeps_its_value(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    first = {"promptTokenCount": 90, "cachedContentTokenCount": 40, "thoughtsTokenCount": 3}
    last = {"promptTokenCount": 100, "candidatesTokenCount": 7, "toolUsePromptTokenCount": 5}
    upstream.answer(Answer.sse({**HELLO, "usageMetadata": first}, chunk(finish="STOP", usageMetadata=last)))
    assert (await collect(provider, call())).usage == Usage(65, 40, None, 7, 3)


async def test_calls_without_an_id_get_stable_ones_and_their_own_are_kept(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    calls: list[dict[str, Any]] = [{"functionCall": {"name": "a", "args": {"x": 1}}}, {"functionCall": {"name": "a"}}]
    upstream.answer(Answer.sse(chunk(*calls, {"functionCall": {"name": "b", "id": "own"}}, finish="STOP")))
    first, second = await collect(provider, call()), await collect(provider, call())
    assert first.tools == second.tools
    assert [arguments for _, _, arguments in first.tools] == ['{"x": 1}', "{}", "{}"]
    ids = [tool_id for tool_id, _, _ in first.tools]
    assert (ids[2], len(set(ids))) == ("own", 3)
    assert first.finished is not None
    assert first.finished.finish_reason is FinishReason.TOOL_CALLS


async def test_a_part_with_a_signature_stays_apart_and_plain_neighbours_are_one(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    upstream.answer(
        Answer.sse(
            chunk({"text": "why", "thought": True}, {"text": "a"}),
            chunk({"text": "b"}),
            chunk({"text": "c", "thoughtSignature": "c2ln"}, {"text": "d"}),
            chunk({"inlineData": {"mimeType": "image/png", "data": "AA=="}}, {"text": "e"}),
            chunk({"text": "", "thoughtSignature": "ZW5k"}, finish="STOP"),
        )
    )
    got = await collect(provider, call())
    texts: dict[int, str] = {}
    for batch in got.batches:
        for event in batch:
            if isinstance(event, TextDelta | ReasoningDelta):
                texts[event.index] = texts.get(event.index, "") + event.text
    assert texts == {0: "why", 1: "ab", 2: "c", 3: "d", 5: "e", 6: ""}
    assert got.signatures == {2: b"c2ln", 6: b"ZW5k"}
    assert [(part.provider, part.type) for part in got.opaque] == [("google", "inlineData")]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(before="reset"), "reset"),
        (Answer.sse({"usageMetadata": USAGE}, after="cut"), "connection_cut"),
        (Answer(headers={"content-type": "text/html"}, chunks=[b"<html>"]), "stream_broken"),
        (Answer(headers={"content-type": "application/json"}, chunks=[b'{"candidates": [']), "stream_broken"),
    ],
)
async def test_what_breaks_before_content_is_temporary(
    provider: GoogleProvider, upstream: Upstream, answer: Answer, code: str
) -> None:
    error = await error_of(provider, upstream, answer)
    assert (error.error_class, error.code) == (ErrorClass.TEMPORARY, code)
    assert len(upstream.requests) == 1


async def test_a_cut_after_a_finish_reason_is_still_a_broken_stream(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(chunk({"text": "Hello"}, finish="STOP"), after="cut", pause_s=0.005))
    got = await collect(provider, call())
    assert got.error is not None
    assert (got.text, got.error.error_class) == ("Hello", ErrorClass.STREAM_BROKEN)


async def test_closing_the_answer_closes_the_connection_at_once(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.answer(Answer.sse(HELLO, after="stall"))
    stream = provider.stream(call())
    await anext(stream)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator, as the port says
    await asyncio.wait_for(upstream.disconnected.wait(), 1)


async def test_cancelling_before_the_head_closes_the_connection_at_once(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer(before="stall"))
    task = asyncio.create_task(collect(provider, call()))
    await asyncio.wait_for(upstream.arrived.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(upstream.disconnected.wait(), 1)


async def test_many_answers_at_once_are_not_mixed_up(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.answer(*[Answer.sse(chunk({"text": str(i)}, finish="STOP"), pause_s=0.01) for i in range(20)], Answer())
    answers = await asyncio.gather(*(collect(provider, call()) for _ in range(20)))
    assert sorted(int(got.text) for got in answers) == list(range(20))


async def test_deltas_of_one_read_come_as_one(provider: GoogleProvider, upstream: Upstream) -> None:
    many = [json.dumps(item) for item in (*([{**HELLO, "usageMetadata": USAGE}] * 100), chunk(finish="STOP"))]
    upstream.answer(Answer(chunks=["".join(f"data: {text}\r\n\r\n" for text in many).encode()]))
    got = await collect(provider, call())
    assert got.text == "Hello" * 100
    assert len(got.batches) <= 3


async def test_the_key_of_now_is_sent_and_without_one_nothing_is(upstream: Upstream) -> None:
    key: list[str | None] = ["k-1"]
    settings = ProviderSettings(
        "gemini", "google", upstream.url, lambda: key[0], {"x-team": "blue"}, propagate_traceparent=True
    )
    async with aclosing(GoogleProvider(settings)) as provider:
        await provider.open()
        key[0] = "k-2"
        upstream.answer(Answer.sse(chunk(finish="STOP")))
        asked = call(model=model("gemini-2.5-flash", "google"), traceparent="00-11-22-01")
        assert (await collect(provider, asked)).error is None
        seen = upstream.requests[0]
        assert seen.headers["x-goog-api-key"] == "k-2"
        assert (seen.headers["x-team"], seen.headers["traceparent"]) == ("blue", "00-11-22-01")
        assert seen.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
        await collect(provider, call(model=model("tunedModels/mine", "google"), stream=False))
        assert upstream.requests[1].path == "/v1beta/tunedModels/mine:generateContent"
        key[0] = None
        got = await collect(provider, call())
        assert got.error is not None
        assert (got.error.error_class, got.error.code) == (ErrorClass.AUTH, "no_credentials")
        assert len(upstream.requests) == 2
        assert "k-2" not in repr(provider)


async def test_what_is_sent_is_the_converters_body_and_nothing_else(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(chunk(finish="STOP")))
    request = GenerateRequest(Requirements(), (Message(Role.USER, (Part(Text("grüß dich")),)),))
    await collect(provider, call(None, request))
    assert upstream.requests[0].json == {
        "contents": [{"role": "user", "parts": [{"text": "grüß dich"}]}],
        "generationConfig": {"maxOutputTokens": 1000},
    }


async def test_a_probe_lists_a_model_and_says_why_it_cannot(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.answer(Answer.json({"models": []}))
    await provider.probe()
    assert (upstream.requests[0].method, upstream.requests[0].path) == ("GET", "/v1beta/models?pageSize=1")
    upstream.answer(Answer.json(refused(403, "PERMISSION_DENIED"), 403))
    with pytest.raises(ProviderError) as caught:
        await provider.probe()
    assert (caught.value.error_class, caught.value.scope) == (ErrorClass.AUTH, "provider")


async def test_a_server_without_a_list_of_models_is_alive(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.answer(Answer(404, {"content-type": "text/plain"}, [b"no"]))
    assert await provider.probe() is None


async def test_a_key_that_is_no_header_value_is_an_error_of_ours(upstream: Upstream) -> None:
    settings = ProviderSettings("p", "google", upstream.url, lambda: "k-\n\u20ac")
    async with aclosing(GoogleProvider(settings)) as provider:
        got = await collect(provider, call())
    assert got.error is not None
    assert "\u20ac" not in got.error.message
    assert upstream.requests == []
