"""One attempt is one upstream request, whatever the SDK would do by itself: each adapter, counted at the upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from atlas_api.v1 import router_pb2 as pb
from tests.adapters.replay import Answer, Upstream, serving
from tests.e2e.fault_scripts import ROLE, chunk
from tests.e2e.in_process import Running, asked, running

KINDS: Final = ("openai", "groq", "anthropic", "google")
CONFIG: Final = """\
timeouts: {connect_s: 1, time_to_first_token_s: 1.0, idle_s: 1.0, total_s: 30}
fallback: {backoff_base_s: 0.01, backoff_cap_s: 0.5, max_inline_retry_after_s: 1}
default_role: worker
"""


def answer(kind: str, after: str = "end") -> Answer:
    """A short answer on the provider's wire; `cut`: its beginning only."""
    whole = after == "end"
    if kind == "google":
        part = {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "index": 0}
        first = {"candidates": [part], "responseId": "r"}
        last = {"candidates": [{**part, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1}}
        return Answer.sse(first, *([last] if whole else []), after=after, pause_s=0.002)
    if kind == "anthropic":
        usage = {"input_tokens": 1, "output_tokens": 1}
        events: list[Any] = [
            {"type": "message_start", "message": {"id": "m", "model": "m", "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        ]
        if whole:
            events += [
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
                {"type": "message_stop"},
            ]
        return Answer.sse(*events, after=after, pause_s=0.002)
    end: list[Any] = [chunk(finish="stop"), "[DONE]"] if whole else []
    return Answer.sse(ROLE, chunk("Hi"), *end, after=after, pause_s=0.002)


def status(code: int, **headers: str) -> Answer:
    body = {"error": {"message": "no", "type": "error"}, "type": "error"}
    return Answer.json(body, code, {name.replace("_", "-"): value for name, value in headers.items()})


# Every status and break that some SDK retries by itself, with the requests that our own rules send.
CASES: Final[dict[str, tuple[Answer | str, int]]] = {
    "well": ("end", 1),
    "500": (status(500), 3),
    "500 that asks to be retried": (status(500, x_should_retry="true", retry_after_ms="10"), 3),
    "408": (status(408), 3),
    "409": (status(409), 3),
    "429": (status(429, retry_after="0.1"), 3),
    "503": (status(503), 3),
    "529": (status(529), 3),
    "reset": (Answer(before="reset"), 3),
    "400": (status(400), 1),
    "401": (status(401), 1),
    "404": (status(404), 1),
    "307": (Answer(307, {"location": "/elsewhere"}), 1),
    "silence": (Answer(before="stall"), 1),
    "cut after content": ("cut", 1),
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[Running, dict[str, Upstream]]]:
    async with AsyncExitStack() as stack:
        upstreams = {kind: await stack.enter_async_context(serving()) for kind in KINDS}
        lines = [CONFIG, "providers:"]
        lines += [f'  {kind}: {{base_url: "{upstream.url}", api_key: key}}' for kind, upstream in upstreams.items()]
        lines += ["models:"]
        lines += [
            f"  {kind}-m: {{provider: {kind}, model: m, context_window: 100000, max_output_tokens: 100,"
            f" reasoning_score: 5, speed_score: 5, price: {{input: 1, output: 1}}}}"
            for kind in KINDS
        ]
        lines += [f"roles: {{worker: {{tiers: [[{', '.join(f'{kind}-m' for kind in KINDS)}]]}}}}", ""]
        yield await stack.enter_async_context(running("\n".join(lines), tmp_path)), upstreams


@pytest.mark.parametrize("kind", KINDS)
async def test_one_attempt_is_one_request(kind: str, world: tuple[Running, dict[str, Upstream]]) -> None:
    run, upstreams = world
    upstream = upstreams[kind]
    for name, (played, expected) in CASES.items():
        run.forget_evidence()
        upstream.answer(answer(kind, played) if isinstance(played, str) else played)
        before = len(upstream.requests)
        heard = await run.generate(asked(requirements=pb.Requirements(only_models=[f"{kind}-m"])), 15)
        assert len(heard.attempts) == expected, f"{name}: {[a.code for a in heard.attempts]}"
        assert len(upstream.requests) - before == expected, f"{name}: the SDK sent requests of its own"
        assert [attempt.number for attempt in heard.attempts] == list(range(1, expected + 1))
    assert sum(len(other.requests) for name, other in upstreams.items() if name != kind) == 0


async def test_a_malformed_tool_call_of_groq_is_worth_one_more_request(
    world: tuple[Running, dict[str, Upstream]],
) -> None:
    run, upstreams = world
    failed = {"message": "no", "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "<f"}
    malformed = Answer.json({"error": failed}, 400)
    only = asked(requirements=pb.Requirements(only_models=["groq-m"]))
    for played, requests, ends in (([malformed, answer("groq")], 2, "completed"), ([malformed], 2, "failed")):
        run.forget_evidence()
        upstreams["groq"].answer(*played)
        heard = await run.generate(only, 15)
        assert (len(heard.attempts), heard.last.WhichOneof("event")) == (requests, ends)
        assert "<f" not in str(heard.last)
