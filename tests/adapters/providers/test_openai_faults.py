"""What goes wrong on the way: each fault its class, nothing truncated passes for an answer, nothing hangs."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest

from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import (
    FinishReason,
    Head,
    ProviderEvent,
    RateLimit,
    ReasoningEffort,
    Sampling,
    TextDelta,
)
from tests.adapters.chat_servers import GOOD, KEY, Adapter, chunk, failed, make
from tests.adapters.replay import Answer, Upstream, call, collect, model


@pytest.fixture(params=["openai", "groq"])
async def provider(request: pytest.FixtureRequest, upstream: Upstream) -> AsyncIterator[Adapter]:
    async with aclosing(make(request.param, upstream.url)) as adapter:
        yield adapter


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ErrorClass.INVALID_REQUEST),
        (401, ErrorClass.AUTH),
        (402, ErrorClass.QUOTA_EXHAUSTED),
        (403, ErrorClass.AUTH),
        (404, ErrorClass.MODEL_UNAVAILABLE),
        (408, ErrorClass.TEMPORARY),
        (409, ErrorClass.TEMPORARY),
        (413, ErrorClass.CONTEXT_TOO_LONG),
        (418, ErrorClass.INVALID_REQUEST),
        (422, ErrorClass.INVALID_REQUEST),
        (429, ErrorClass.RATE_LIMITED),
        (498, ErrorClass.OVERLOADED),
        (500, ErrorClass.TEMPORARY),
        (502, ErrorClass.TEMPORARY),
        (503, ErrorClass.OVERLOADED),
        (504, ErrorClass.TIMEOUT),
        (529, ErrorClass.OVERLOADED),
        (599, ErrorClass.TEMPORARY),
        (302, ErrorClass.OTHER),
    ],
)
@pytest.mark.parametrize("body", [b"<html>401 Hello, 429</html>", b"", b'{"error": "Hello"}', b'[1, {"a"', b"null"])
async def test_a_status_alone_says_the_class_whatever_the_body(
    status: int, expected: ErrorClass, body: bytes, provider: Adapter, upstream: Upstream
) -> None:
    headers = {"content-type": "text/html", "location": "http://127.0.0.1:1/"}
    upstream.answer(Answer(status, headers, [body] if body else []))
    error = failed(await collect(provider, call()))
    assert (error.error_class, error.http_status) == (expected, status)
    assert "Hello" not in error.message
    assert len(upstream.requests) == 1, "one attempt is one request: no SDK retries, no redirects"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("insufficient_quota", 429, ErrorClass.QUOTA_EXHAUSTED),
        ("billing_hard_limit_reached", 400, ErrorClass.QUOTA_EXHAUSTED),
        ("rate_limit_exceeded", 429, ErrorClass.RATE_LIMITED),
        ("slow_down", 503, ErrorClass.RATE_LIMITED),
        ("server_is_overloaded", 500, ErrorClass.OVERLOADED),
        ("context_length_exceeded", 400, ErrorClass.CONTEXT_TOO_LONG),
        ("string_above_max_length", 400, ErrorClass.CONTEXT_TOO_LONG),
        ("content_policy_violation", 400, ErrorClass.CONTENT_FILTERED),
        ("content_filter", 400, ErrorClass.CONTENT_FILTERED),
        ("invalid_prompt", 400, ErrorClass.CONTENT_FILTERED),
        ("model_not_found", 404, ErrorClass.MODEL_UNAVAILABLE),
        ("unsupported_value", 400, ErrorClass.MODEL_UNAVAILABLE),
        ("something_new", 400, ErrorClass.INVALID_REQUEST),
    ],
)
async def test_openais_code_says_the_class_before_the_status(
    code: str, status: int, expected: ErrorClass, upstream: Upstream
) -> None:
    body = {"error": {"message": f"secret words {KEY}", "type": "invalid_request_error", "param": None, "code": code}}
    async with aclosing(make("openai", upstream.url)) as adapter:
        upstream.answer(Answer.json(body, status, {"retry-after": "7", "x-request-id": "req_1"}))
        error = failed(await collect(adapter, call()))
        assert (error.error_class, error.code, error.retry_after_s) == (expected, code, 7.0)
        assert error.provider_request_id == "req_1"
        assert "secret words" not in error.message
        if status != 503:  # the same code inside a stream, where only the code can tell
            upstream.answer(Answer.sse({"error": {**body["error"], "type": "x"}}, "[DONE]"))
            in_stream = failed(await collect(adapter, call()))
            assert in_stream.error_class is (ErrorClass.TEMPORARY if code == "something_new" else expected)


async def test_an_error_within_a_stream_comes_after_what_was_good(provider: Adapter, upstream: Upstream) -> None:
    upstream.answer(Answer.sse(chunk("Hel"), chunk("lo"), {"error": {"code": 503, "message": "busy"}}))
    got = await collect(provider, call())
    assert got.text == "Hello"
    assert failed(got).error_class is ErrorClass.OVERLOADED


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize(
    "tail",
    [
        Answer(),
        Answer(after="cut"),
        Answer(chunks=[b'data: {"choices": [{"index": 0, "delta": {"content": \n\n']),
        Answer(chunks=[b"data: <html>\n\n"]),
        Answer(chunks=[b'data: {"choices": 7}\n\n']),
        Answer(chunks=[b'data: {"choices": [{"index": 0, "delta": {"content": "\xff"}}]}\n\n']),
        Answer(chunks=[b"data: [DONE]\n\n"]),
        Answer(chunks=[b"data: [DO"]),
        Answer(chunks=[b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n']),
        Answer(chunks=[b"data: " + b"[" * 100_000 + b"\n\n"]),
    ],
)
async def test_a_stream_that_is_not_whole_is_never_an_answer(
    content: bool, tail: Answer, provider: Adapter, upstream: Upstream
) -> None:
    start = [*Answer.sse(chunk("Hello")).chunks] if content else []
    upstream.answer(Answer(chunks=[*start, *tail.chunks], after=tail.after, pause_s=0.005))
    got = await collect(provider, call())
    assert got.text == ("Hello" if content else "")
    error = failed(got)
    assert error.error_class is (ErrorClass.STREAM_BROKEN if content else ErrorClass.TEMPORARY)
    assert error.http_status in {0, 200}


async def test_a_compatible_server_may_be_allowed_to_end_without_the_marker(upstream: Upstream) -> None:
    async with aclosing(make("openai", upstream.url, extra={"done_marker": False})) as adapter:
        upstream.answer(Answer.sse(*GOOD[:-1]))
        assert (await collect(adapter, call())).text == "Hello"
        upstream.answer(Answer.sse(*GOOD[:-2]))
        assert failed(await collect(adapter, call())).error_class is ErrorClass.STREAM_BROKEN


@pytest.mark.parametrize(
    "answer",
    [
        Answer(headers={"content-type": "text/html"}, chunks=[b"<html>welcome</html>"]),
        Answer(headers={"content-type": "application/json"}, chunks=[b"<html>welcome</html>"]),
        Answer(headers={"content-type": "application/json"}),
        Answer(headers={"content-type": "application/json"}, chunks=[b'{"choices": []}']),
        Answer(headers={"content-type": "application/json"}, chunks=[b'{"choices": [{"message": {"con'], after="cut"),
        Answer(headers={}, chunks=[b"data: [DONE]\n\n"]),
        Answer(),
    ],
)
async def test_a_200_that_is_no_answer_is_temporary(answer: Answer, provider: Adapter, upstream: Upstream) -> None:
    upstream.answer(answer)
    assert failed(await collect(provider, call())).error_class is ErrorClass.TEMPORARY


async def test_a_json_body_is_the_whole_answer_where_a_stream_was_asked(provider: Adapter, upstream: Upstream) -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": None}
    upstream.answer(Answer.json({"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": None}]}))
    got = await collect(provider, call())
    assert got.text == "Hello"
    assert got.finished is not None
    assert got.finished.finish_reason is FinishReason.STOP


async def test_a_filter_without_content_is_an_error_and_with_content_an_answer(
    provider: Adapter, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(chunk(finish="content_filter"), "[DONE]"))
    error = failed(await collect(provider, call()))
    assert (error.error_class, error.breaks_model) == (ErrorClass.CONTENT_FILTERED, False)
    upstream.answer(Answer.sse(chunk("Hel"), chunk(finish="content_filter"), "[DONE]"))
    got = await collect(provider, call())
    assert got.finished is not None
    assert (got.text, got.finished.finish_reason) == ("Hel", FinishReason.CONTENT_FILTER)


async def test_an_empty_answer_is_an_answer(provider: Adapter, upstream: Upstream) -> None:
    upstream.answer(Answer.sse(chunk(finish="stop"), "[DONE]"))
    got = await collect(provider, call())
    assert got.finished is not None
    assert got.text == ""


async def test_closing_the_iterator_closes_the_upstream_connection_at_once(
    provider: Adapter, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(chunk("Hello"), after="stall"))
    stream = provider.stream(call())
    seen: list[ProviderEvent] = []
    while not any(isinstance(event, TextDelta) for event in seen):
        seen += await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # the port promises it
    await asyncio.wait_for(upstream.disconnected.wait(), 1)


@pytest.mark.parametrize("answer", [Answer(before="stall"), Answer(after="stall"), Answer(503, {}, [], after="stall")])
async def test_cancelling_the_task_closes_the_upstream_connection_at_once(
    answer: Answer, provider: Adapter, upstream: Upstream
) -> None:
    upstream.answer(answer)
    task = asyncio.create_task(collect(provider, call()))
    await upstream.arrived.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    await asyncio.wait_for(upstream.disconnected.wait(), 1)


async def test_finished_answers_share_one_connection_even_if_their_end_comes_late(
    provider: Adapter, upstream: Upstream
) -> None:
    upstream.answer(Answer(chunks=[b"".join(Answer.sse(*GOOD).chunks)], pause_s=0.02))
    for _ in range(3):
        assert (await collect(provider, call())).text == "Hello"
        await asyncio.sleep(0.05)
    assert upstream.connections == 1


async def test_what_arrives_together_is_one_batch_with_one_text(provider: Adapter, upstream: Upstream) -> None:
    chunks = Answer.sse(*[chunk(f"{number} ") for number in range(100)], chunk(finish="stop"), "[DONE]").chunks
    upstream.answer(Answer(chunks=[b"".join(chunks)]))
    got = await collect(provider, call())
    assert got.text == "".join(f"{number} " for number in range(100))
    assert len(got.batches) <= 4
    assert sum(isinstance(event, TextDelta) for batch in got.batches for event in batch) <= 3


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_server_that_is_not_there_is_temporary(kind: str, upstream: Upstream) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{unused.getsockname()[1]}"
    https = upstream.url.replace("http:", "https:")
    for url, code in (
        (refused, "connect_failed"),
        ("http://no-such-host.invalid", "dns_failed"),
        (https, "tls_failed"),
    ):
        async with aclosing(make(kind, url)) as adapter:
            error = failed(await collect(adapter, call()))
            assert (error.error_class, error.http_status, error.code) == (ErrorClass.TEMPORARY, 0, code)
            assert not error.sent, "nothing can have been charged"


async def test_a_connection_closed_before_the_head_is_temporary(provider: Adapter, upstream: Upstream) -> None:
    upstream.answer(Answer(before="reset"))
    error = failed(await collect(provider, call()))
    assert (error.error_class, error.http_status, error.code) == (ErrorClass.TEMPORARY, 0, "reset")
    assert error.sent, "the provider may have worked"


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_connecting_has_its_own_timeout(kind: str) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:  # fill the backlog: further connections are not answered
                one.setblocking(False)
                with suppress(BlockingIOError):
                    one.connect(full.getsockname())
            started = time.monotonic()
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with aclosing(make(kind, url, connect_timeout_s=0.2)) as adapter:
                await adapter.open()
                error = failed(await collect(adapter, call()))
            assert (error.error_class, error.code) == (ErrorClass.TEMPORARY, "connect_timeout")
            assert time.monotonic() - started < 5
        finally:
            for one in waiting:
                one.close()


async def test_the_head_comes_before_any_content_with_its_limits(provider: Adapter, upstream: Upstream) -> None:
    headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "x-request-id": "req_9",
        "retry-after": "30",  # on a 200 it means nothing
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-tokens": "2m59.56s",
    }
    upstream.answer(Answer(headers=headers, chunks=Answer.sse(*GOOD).chunks))
    got = await collect(provider, call())
    limit = RateLimit(requests_remaining=3, tokens_reset_s=179.56)
    assert got.batches[0] == [Head(200, "req_9", limit)]


async def test_an_answer_tells_what_was_left_out_of_its_request(provider: Adapter, upstream: Upstream) -> None:
    upstream.answer(Answer.sse(*GOOD))
    sampling = Sampling(temperature=0.5, reasoning_effort=ReasoningEffort.HIGH)
    asked = call(model=replace(model(), capabilities=frozenset()))
    got = await collect(provider, replace(asked, request=replace(asked.request, sampling=sampling)))
    assert got.finished is not None
    assert got.finished.metadata["parameters_left_out"] == ["reasoning_effort"]
    assert got.finished.metadata["id"] == "c1"


async def test_an_error_body_without_end_is_read_in_part(provider: Adapter, upstream: Upstream) -> None:
    upstream.answer(Answer(500, {"content-type": "text/plain"}, [b"x" * 65536] * 4, after="stall"))
    error = failed(await asyncio.wait_for(collect(provider, call()), 3))
    assert error.error_class is ErrorClass.TEMPORARY
