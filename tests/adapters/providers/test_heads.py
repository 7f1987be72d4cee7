"""Heads that an SDK made are used again, and nobody on either side can tell."""

from __future__ import annotations

import json
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.google import GoogleProvider
from atlas_sidecar.adapters.providers.groq import GroqProvider
from atlas_sidecar.adapters.providers.openai import OpenAIProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.heads import Heads
from atlas_sidecar.adapters.providers.wire.transport import Answer as Short
from atlas_sidecar.adapters.providers.wire.transport import Road, body_of
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from tests.adapters.chat_servers import GOOD
from tests.adapters.replay import Answer, Seen, Upstream, call, collect

KINDS = {
    "openai": OpenAIProvider,
    "groq": GroqProvider,
    "anthropic": AnthropicProvider,
    "google": GoogleProvider,
}
ANSWERS: dict[str, Any] = {
    "anthropic": Answer.json(
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    ),
    "google": Answer.json({"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}),
}


def made(kind: str, url: str, **changes: Any) -> Any:
    settings = {"name": kind, "kind": kind, "base_url": url, "api_key": lambda: "key-one", **changes}
    return KINDS[kind](ProviderSettings(**settings))


def answer_of(kind: str) -> Answer:
    answer: Answer = ANSWERS.get(kind, Answer.sse(*GOOD))
    return answer


def compared(seen: Seen) -> tuple[str, str, dict[str, str], Any]:
    headers = {name: value for name, value in seen.headers.items() if name != "content-length"}  # spaces in the JSON
    return seen.method, seen.path, headers, json.loads(seen.body)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_request_without_the_sdk_is_the_very_same_request(kind: str, upstream: Upstream) -> None:
    async with aclosing(made(kind, upstream.url, headers={"X-Team": "blue"}, propagate_traceparent=True)) as provider:
        upstream.answer(answer_of(kind))
        for _ in range(4):
            assert (await collect(provider, call(traceparent="00-11-22-01"))).text == "Hello"
    first, *others = [compared(seen) for seen in upstream.requests]
    assert first[2]["traceparent"] == "00-11-22-01"
    assert first[2]["x-team"] == "blue"
    assert [one == first for one in others] == [True, True, True], (first, others)


async def test_the_third_request_does_not_ask_the_sdk(
    kind: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    learn = Heads._learn

    def counted(self: Heads, *told: Any) -> None:
        asked.append("sdk")
        learn(self, *told)

    monkeypatch.setattr(Heads, "_learn", counted)
    async with aclosing(made(kind, upstream.url)) as provider:
        upstream.answer(answer_of(kind))
        for _ in range(5):
            await collect(provider, call())
    assert len(upstream.requests) == 5
    assert len(asked) == 2


async def test_a_rotated_key_is_used_by_the_next_request_without_the_sdk_too(kind: str, upstream: Upstream) -> None:
    keys = ["key-one"]
    async with aclosing(made(kind, upstream.url, api_key=lambda: keys[0])) as provider:
        upstream.answer(answer_of(kind))
        for key in ["key-one"] * 3 + ["key-two"] * 3 + ["key-one"]:
            keys[0] = key
            await collect(provider, call())
    header = "x-goog-api-key" if kind == "google" else "authorization"
    assert [seen.headers[header].split()[-1] for seen in upstream.requests] == [
        *["key-one"] * 3,
        *["key-two"] * 3,
        "key-one",
    ]


async def test_each_traceparent_is_the_calls_own(kind: str, upstream: Upstream) -> None:
    async with aclosing(made(kind, upstream.url, propagate_traceparent=True)) as provider:
        upstream.answer(answer_of(kind))
        for number in range(4):
            await collect(provider, call(traceparent=f"00-{number}"))
        await collect(provider, call())
    assert [seen.headers.get("traceparent") for seen in upstream.requests] == ["00-0", "00-1", "00-2", "00-3", None]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_a_refusal_is_the_same_with_and_without_the_sdk(kind: str, status: int, upstream: Upstream) -> None:
    refused = Answer.json({"error": {"message": "no", "type": "x"}}, status, {"retry-after": "7", "x-request-id": "r1"})
    async with aclosing(made(kind, upstream.url)) as provider:
        upstream.answer(refused)
        through = (await collect(provider, call())).error
        upstream.answer(answer_of(kind))
        for _ in range(3):
            await collect(provider, call())
        upstream.answer(refused)
        without = (await collect(provider, call())).error
    assert through is not None
    assert without is not None
    fields = ("error_class", "code", "message", "http_status", "retry_after_s", "scope", "breaks_model", "sent")
    assert [getattr(through, name) for name in fields] == [getattr(without, name) for name in fields]


async def test_a_broken_connection_is_temporary_without_the_sdk_too(kind: str, upstream: Upstream) -> None:
    async with aclosing(made(kind, upstream.url)) as provider:
        upstream.answer(answer_of(kind))
        for _ in range(3):
            await collect(provider, call())
        upstream.answer(Answer(before="reset"))
        error = (await collect(provider, call())).error
    assert error is not None
    assert (error.error_class, error.scope) == (ErrorClass.TEMPORARY, "provider")


async def test_a_head_that_changes_is_always_made_by_the_sdk(upstream: Upstream) -> None:
    upstream.answer(Answer.json({}))
    road = Road(ProviderSettings("p", "openai", upstream.url, lambda: "k"), upstream.url)
    heads, count = Heads(road, lambda *_: ProviderError(ErrorClass.OTHER, "")), 0

    async def ask_sdk() -> Any:
        nonlocal count
        count += 1
        headers = {"date": str(count)}  # as a signed request has
        answer = Short(await road.send("POST", upstream.url, headers, b"{}"), road)
        request = SimpleNamespace(url=upstream.url, headers=headers)
        return SimpleNamespace(request=request, extensions=answer.extensions)

    try:
        for _ in range(4):
            body_of(await heads.post("/", "k", {}, b"{}", ask_sdk)).close()
    finally:
        await road.aclose()
    assert [seen.headers["date"] for seen in upstream.requests] == ["1", "2", "3", "4"]


async def test_what_is_remembered_is_bounded_and_not_shown(upstream: Upstream) -> None:
    upstream.answer(Answer.sse(*GOOD))
    async with aclosing(made("openai", upstream.url, api_key=lambda: "sk-secret-0123456789")) as provider:
        for _ in range(3):
            await collect(provider, call())
        assert "secret" not in repr(provider._sdk._heads)
        heads = provider._sdk._heads
        for number in range(600):
            request = SimpleNamespace(url="http://x", headers={"a": str(number)})
            heads._learn((f"/{number}", "", ()), request)
        assert len(heads._heads) <= 256
        assert len(heads._prepared) <= 256
