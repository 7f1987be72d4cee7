"""Every recorded answer of every provider, replayed to the real SDKs inside the real sidecar, over a real channel.

Each recording has a provider, a model and a base URL of its own, so that no failure of one touches another. What the
bytes say is read by the oracles of the adapters' tests, which know nothing of the adapters.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.errors import ErrorClass
from tests.adapters.providers import (
    test_anthropic_replay,
    test_google_replay,
    test_openai_replay,
    test_openai_responses,
)
from tests.adapters.replay import Answer, Recording, Seen, load, name_of, serving
from tests.e2e import process

ROWS = [row for provider in ("anthropic", "google", "groq", "openai") for row in load(provider)]
ERRORS: dict[int, ErrorClass] = {
    **test_anthropic_replay.ERRORS,
    **test_google_replay.ERRORS,
    **test_openai_replay.ERRORS,
    **test_openai_responses.ERRORS,
}
CONFIGURATION = """\
  r{line}: {{kind: {kind}, base_url: "{url}/r/{line}", api_key: test-key{wire}}}
"""
MODEL = """\
  m{line}: {{provider: r{line}, model: {model}, context_window: 200000, max_output_tokens: 8000, reasoning_score: 5,
    speed_score: 5, price: {{input: 1, output: 2}}, capabilities: [tools]}}
"""


class Said(NamedTuple):
    """What an answer's bytes say."""

    text: str
    tools: list[str]
    input_tokens: int | None
    output_tokens: int | None
    finish: str | None


def said(row: Recording) -> Said:
    """Read an answer with the oracle of its provider."""
    if row.endpoint == "responses":
        last = test_openai_responses.last_response(row)
        parts = [part for item in last["output"] if item["type"] == "message" for part in item["content"]]
        text = "".join(part.get("text", "") for part in parts)
        names = [item["name"] for item in last["output"] if item["type"] == "function_call"]
        finish = (last.get("incomplete_details") or {}).get("reason") or last["status"]
        return Said(text, names, last["usage"]["input_tokens"], last["usage"]["output_tokens"], finish)
    if row.provider == "anthropic":
        claude = test_anthropic_replay.Oracle(row)
        text = "".join(block["text"] for block in claude.of("text"))
        cached = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        tokens = sum(claude.usage.get(name) or 0 for name in cached)
        names = [block["name"] for block in claude.of("tool_use")]
        return Said(text, names, tokens, claude.usage["output_tokens"], claude.stop)
    if row.provider == "google":
        gemini = test_google_replay.Oracle(row)
        usage = gemini.usage
        asked = usage.get("promptTokenCount")
        asked = None if asked is None else asked + usage.get("toolUsePromptTokenCount", 0)
        made = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        return Said(gemini.text(thought=False), [c["name"] for c in gemini.calls], asked, made, gemini.finish)
    chat = test_openai_replay.Oracle(row)
    names = [name for _, name, _ in chat.tools.values()]
    return Said(chat.text, names, chat.usage.get("prompt_tokens"), chat.usage.get("completion_tokens"), chat.finish)


class Replaying(threading.Thread):
    """The upstream, in a thread with a loop of its own: answers by the row's number in the path."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.url = ""
        self.requests: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._closing = asyncio.Event()

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        rows = {str(row.line): row for row in ROWS}
        async with serving() as upstream:
            self.url, self.requests = upstream.url, upstream.requests

            def choose(seen: Seen) -> Answer:
                if seen.method == "GET":  # a probe
                    return Answer.json({"data": [], "models": []})
                return Answer.of(rows[seen.path.split("/")[2]], seed=5)

            upstream.choose = choose
            self._ready.set()
            await self._closing.wait()

    def __enter__(self) -> Replaying:
        self.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self.join(10)


class Running(NamedTuple):
    """The sidecar's stub and the requests that the upstream saw."""

    router: Any
    requests: list[Seen]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("recordings")
    with Replaying() as upstream:
        lines = ["budget: {daily_limit_usd: null}", "health: {probe_interval_s: 3600}", "providers:"]
        for row in ROWS:
            wire = ", wire: responses" if row.endpoint == "responses" else ""
            lines.append(CONFIGURATION.format(line=row.line, kind=row.provider, url=upstream.url, wire=wire).rstrip())
        lines.append("models:")
        for row in ROWS:
            name = json.dumps((row.request or {}).get("model") or f"some-{row.provider}-model")
            lines.append(MODEL.format(line=row.line, model=name).rstrip())
        lines.append(f"roles: {{worker: {{tiers: [[m{ROWS[0].line}]]}}}}" if ROWS else "")
        configuration = home / "atlas.yaml"
        configuration.write_text("\n".join(lines))
        with process.serving(home, "--config", str(configuration)) as served:
            channel, router = served.router()
            with channel:
                yield Running(router, upstream.requests)


def ask(row: Recording) -> pb.GenerateRequest:
    """Return a call that only this row's model may answer, once."""
    return pb.GenerateRequest(
        requirements=pb.Requirements(agent_type="worker", only_models=[f"m{row.line}"]),
        messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="Hello")])],
        limits=pb.Limits(max_hops=1, max_attempts_per_model=1, max_output_tokens=1000),
    )


def test_every_recording_is_here() -> None:
    if not ROWS:
        pytest.skip("../shared/recordings is absent")
    assert len(ROWS) == 148
    assert sum(row.endpoint != "responses" for row in ROWS) == 122


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_recorded_answer_reaches_the_caller_as_its_bytes_say(row: Recording, running: Running) -> None:
    events: list[pb.GenerateEvent] = []
    status = grpc.StatusCode.OK
    try:
        for event in running.router.Generate(ask(row), timeout=20):
            events.append(event)
    except grpc.RpcError as error:
        status = error.code()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    sent = [seen for seen in running.requests if seen.method == "POST" and seen.path.split("/")[2] == str(row.line)]
    assert len(sent) == 1, "one attempt is one request"
    expected = ERRORS.get(row.line)
    if expected is not None:
        assert status is not grpc.StatusCode.OK
        failure = events[-1].failed
        assert [attempt.error_class for attempt in failure.attempts] == [int(expected)]
        assert failure.attempts[0].http_status == row.status
        return
    assert status is grpc.StatusCode.OK
    bytes_say = said(row)
    completed = events[-1].completed
    assert "".join(event.delta.text for event in events) == bytes_say.text
    refusal = "".join(event.delta.refusal for event in events)
    assert "".join(part.text for part in completed.message.parts) == bytes_say.text + refusal
    calls = [part.tool_call for part in completed.message.parts if part.HasField("tool_call")]
    assert [call.name for call in calls] == bytes_say.tools
    assert all(call.id for call in calls)
    assert completed.raw_finish_reason == (bytes_say.finish or "")
    usage = completed.usage
    if bytes_say.input_tokens is not None:
        assert usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens == bytes_say.input_tokens
        assert not completed.cost_estimated
    if bytes_say.output_tokens is not None:
        assert usage.output_tokens + usage.reasoning_tokens == bytes_say.output_tokens
