"""Providers that say what no provider says: huge, negative and broken numbers, half characters, endless nesting.

Whatever comes, the call ends with `completed` or `failed`, the books stay within the wire's numbers, and the sidecar
goes on serving.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.types import Delta, Opaque, OpaqueDelta, SignatureDelta, TextDelta, ToolCallStart
from atlas_sidecar.runtime.answer import Answer as Told
from tests.adapters.replay import Answer, Upstream
from tests.adapters.replay import serving as upstream_serving
from tests.e2e.in_process import Heard, Running, asked, running

HUGE = 10**30
COUNTS = (HUGE, -HUGE, -1, 2**63, 0)
KINDS = ("openai", "anthropic", "google", "groq")
pytestmark = pytest.mark.timeout(60)


def openai(count: int, text: str = "hi", extra: dict[str, Any] | None = None) -> list[Any]:
    usage = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}], "usage": usage}
    return [{**chunk, **(extra or {})}, "[DONE]"]


def anthropic(count: int, text: str = "hi", extra: dict[str, Any] | None = None) -> list[Any]:
    usage = {"input_tokens": count, "cache_read_input_tokens": count, "output_tokens": count}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": count}}
    return [
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": usage, **(extra or {})}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {**ended, "usage": {"output_tokens": count, "output_tokens_details": {"thinking_tokens": count}}},
        {"type": "message_stop"},
    ]


def google(count: int, text: str = "hi", extra: dict[str, Any] | None = None) -> list[Any]:
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", **(extra or {})}
    usage = {"promptTokenCount": count, "candidatesTokenCount": count, "thoughtsTokenCount": count}
    return [{"candidates": [candidate], "usageMetadata": {**usage, "cachedContentTokenCount": count}}]


SAYS = {"openai": openai, "anthropic": anthropic, "google": google, "groq": openai}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstream_serving() as server:
        yield server


def config(kind: str, url: str) -> str:
    return (
        f"providers: {{it: {{kind: {kind}, api_key: k-1, base_url: '{url}'}}}}\n"
        "models: {m: {provider: it, context_window: 90000, max_output_tokens: 99, reasoning_score: 5, speed_score: 5, "
        "price: {input: 1, output: 1, cache_read: 1, cache_write: 1}}}\n"
        "roles: {worker: {tiers: [[m]]}}\n"
        "fallback: {attempts_per_model: 1}\n"
        "health: {probe_interval_s: 3600}\nbudget: {daily_limit_usd: null}\n"
    )


async def heard(sidecar: Running, upstream: Upstream, answer: Answer) -> Heard:
    upstream.answer(answer)
    sidecar.forget_evidence()
    return await sidecar.generate(asked())


@pytest.mark.parametrize("kind", KINDS)
async def test_no_count_leaves_the_wires_numbers_or_pays_back(kind: str, tmp_path: Path, upstream: Upstream) -> None:
    async with running(config(kind, upstream.url), tmp_path) as sidecar:
        for count in COUNTS:
            got = await heard(sidecar, upstream, Answer.sse(*SAYS[kind](count)))
            assert got.code is grpc.StatusCode.OK, (count, got)
            usage = got.last.completed.usage
            said = (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens)
            assert all(0 <= one < 2**63 for one in said)
            assert 0 <= got.last.completed.cost.nano_usd < 2**63
            assert got.last.completed.cost.nano_usd >= sum(said[:2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [r"\ud800", r"\udfff", r"a\u0000b", r"\uffff\u202e", "\\u001b[2J"])
async def test_half_characters_end_a_call_in_order(kind: str, text: str, tmp_path: Path, upstream: Upstream) -> None:
    events = [json.dumps(one) if not isinstance(one, str) else one for one in SAYS[kind](1, "HERE")]
    async with running(config(kind, upstream.url), tmp_path) as sidecar:
        got = await heard(sidecar, upstream, Answer.sse(*(one.replace("HERE", text) for one in events)))
        assert got.last.WhichOneof("event") in ("completed", "failed")
        assert got.code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        assert (got.code is grpc.StatusCode.OK) == (kind == "anthropic" or "\\ud" not in text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "odd",
    [10**400, -(10**400), {"deep": 150}, {"deep": 400}, [[]] * 50, {"": {"": None}}, "\x00"],
    ids=lambda v: str(v)[:12],
)
async def test_what_is_said_beside_an_answer_never_breaks_it(
    kind: str, odd: Any, tmp_path: Path, upstream: Upstream
) -> None:
    if isinstance(odd, dict) and "deep" in odd:
        depth, odd = odd["deep"], {"x": 1}
        for _ in range(depth):
            odd = {"x": odd}
    extra = {
        "anthropic": {"container": odd, "context_management": odd},
        "google": {"groundingMetadata": odd, "citationMetadata": {"list": [odd]}},
    }.get(kind, {"metadata": odd})
    async with running(config(kind, upstream.url), tmp_path) as sidecar:
        got = await heard(sidecar, upstream, Answer.sse(*SAYS[kind](1, extra=extra)))
        assert got.code is grpc.StatusCode.OK
        assert got.text == "hi"


@pytest.mark.parametrize("kind", KINDS)
async def test_headers_of_any_bytes_never_break_an_answer(kind: str, tmp_path: Path, upstream: Upstream) -> None:
    odd = b"\xff\xfe\xed\xa0\x80".decode("utf-8", "surrogateescape")
    names = ("x-request-id", "request-id", "x-goog-request-id", "retry-after", "x-ratelimit-remaining-requests")
    headers = {"content-type": "text/event-stream", **dict.fromkeys(names, odd)}
    async with running(config(kind, upstream.url), tmp_path) as sidecar:
        for status in (200, 200, 200, 200, 429, 500, 200):  # the third and later ones go past the SDK
            upstream_headers = headers if status == 200 else {**headers, "content-type": "application/json"}
            told = SAYS[kind](1) if status == 200 else [{"error": {"message": "\ud800", "code": "x"}}]
            answer = Answer(status, upstream_headers, Answer.sse(*told).chunks)
            got = await heard(sidecar, upstream, answer)
            assert got.last.WhichOneof("event") == ("completed" if status == 200 else "failed"), got
            assert got.reason in ("", "ALL_MODELS_FAILED")


def conversation(text: str) -> pb.GenerateRequest:
    """Return a request that holds this JSON wherever JSON may stand."""
    call, result = pb.ToolCall(id="1", name="f", arguments_json=text), pb.ToolResult(call_id="1", name="f")
    result.parts.append(pb.Part(text=text))
    opaque = [pb.Opaque(provider=kind, type="server_tool_use", json=text) for kind in KINDS]
    said = [pb.Part(text="t"), pb.Part(opaque=pb.Opaque(provider="anthropic", type="citations", json=f"[{text}]"))]
    request = asked(provider_options_json={"it": text}, tools=[pb.Tool(name="f")])
    request.messages.add(role=pb.ChatMessage.ROLE_ASSISTANT, parts=[*said, *(pb.Part(opaque=one) for one in opaque)])
    request.messages.add(role=pb.ChatMessage.ROLE_ASSISTANT, parts=[pb.Part(tool_call=call)])
    request.messages.add(role=pb.ChatMessage.ROLE_TOOL, parts=[pb.Part(tool_result=result)])
    return request


@pytest.mark.parametrize("kind", KINDS)
async def test_half_characters_of_a_caller_are_sent_as_replaced_ones(
    kind: str, tmp_path: Path, upstream: Upstream
) -> None:
    capable = config(kind, upstream.url).replace("price:", "capabilities: [tools], price:")
    upstream.answer(Answer.sse(*SAYS[kind](1)))
    async with running(capable, tmp_path) as sidecar:
        got = await sidecar.generate(conversation(r'{"type": "object", "a": "cut \ud83d", "\udfff": {}}'))
        assert got.code is grpc.StatusCode.OK, got
        assert "cut" in upstream.requests[-1].body.decode()
        for text in ("{" * 5000, '{"a":' * 900 + "1" + "}" * 900):
            got = await sidecar.generate(conversation(text))
            assert got.code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)


def test_every_piece_of_an_answer_counts_towards_its_bound() -> None:
    pieces: list[Callable[[int], Delta]] = [
        lambda index: TextDelta(index, "x" * 100_000),
        lambda index: SignatureDelta(0, b"x" * 100_000),
        lambda index: OpaqueDelta(index, Opaque("openai", "thing", "x" * 100_000)),
        lambda index: ToolCallStart(index, "", "f"),
    ]
    for piece in pieces:
        answer, count = Told("openai"), 0
        while not answer.is_too_large:
            answer.add(piece(count))
            count += 1
            assert count < 200_000


async def test_an_answer_without_end_is_ended(tmp_path: Path, upstream: Upstream) -> None:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * 500_000}}]}
    async with running(config("openai", upstream.url), tmp_path) as sidecar:
        got = await heard(sidecar, upstream, Answer.sse(*[chunk] * 40, after="stall"))
        assert (got.code, got.reason) == (grpc.StatusCode.ABORTED, "STREAM_BROKEN")
        assert got.attempts[0].code == "answer_too_large"
        await asyncio.wait_for(upstream.disconnected.wait(), 5)
