"""Canaries in the errors of every kind of provider: its bodies, headers and events repeat the key and the prompt.

What the caller hears, every span, every metric and every line at debug is searched for them.
"""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.adapters.telemetry.logs import configure_logging
from atlas_sidecar.adapters.telemetry.otlp_wire import encode_spans
from tests.adapters.replay import Answer, Seen, Upstream
from tests.adapters.replay import serving as upstream_serving
from tests.adapters.telemetry.trees import Keeper
from tests.e2e.in_process import asked, running

KEY, PROMPT, BODY, NAME = "canarykey-5d1e-0000", "canary-prompt-11", "canary-body-22", "canary-header-33"
STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 498, 500, 503, 529)
KINDS = {
    "openai": "kind: openai",
    "responses": "kind: openai, wire: responses",
    "azure": "kind: azure-openai, api_version: 2024-10-21",
    "groq": "kind: groq",
    "anthropic": "kind: anthropic",
    "google": "kind: google",
}


def answers(said: str) -> Iterator[Answer]:
    """Yield every way in which an error may repeat what was sent."""
    error = {"type": "x_error", "code": "odd", "status": "ODD", "param": said, "message": said, "details": [said]}
    headers = {"content-type": "application/json", "x-request-id": "req_1", "x-echo": NAME, "retry-after": BODY}
    for status in STATUSES:
        yield Answer(status, headers, [json.dumps({"type": "error", "error": error}).encode()])
    yield Answer(500, headers, [json.dumps({**error, "code": said, "type": said, "status": said}).encode()])
    for name in error:  # the key alone, where a code or a path is looked for
        one = {"type": "error", "error": {**error, "param": "messages", name: KEY}}
        yield Answer(400, {**headers, "x-request-id": KEY, "request-id": f"req_{KEY}"}, [json.dumps(one).encode()])
        yield Answer.sse(one)
    yield Answer(502, {"content-type": "text/html"}, [f"<html>{said}</html>".encode()])
    yield Answer(200, {"content-type": "text/event-stream", "x-goog-request-id": KEY}, [b"data: {}\n\n"])
    yield Answer(302, {"location": f"http://127.0.0.1:9/{BODY}"})
    yield Answer(200, {"content-type": "text/html"}, [said.encode()])
    yield Answer(200, {"content-type": "application/json"}, [f'{{"broken": "{BODY}'.encode()])
    yield Answer.sse({"type": "error", "error": error})
    yield Answer.sse({"type": "response.failed", "response": {"status": "failed", "error": error}})
    yield Answer.sse({"promptFeedback": {"blockReason": said}, "error": error})
    yield Answer.sse(f"{BODY} no JSON")
    yield Answer(200, {"content-type": "text/event-stream"}, [f"{BODY}: {said[:50]}\n\n".encode()], after="cut")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstream_serving() as server:
        yield server


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log as `serve` keeps it at debug, but its last filter knows no key: nothing may get as far as that."""
    stream, root = io.StringIO(), logging.getLogger()
    before = root.level, root.handlers[:]
    configure_logging("debug", stream)
    yield stream
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.mark.parametrize("kind", KINDS)
async def test_no_error_of_any_provider_repeats_what_it_was_sent(
    kind: str, tmp_path: Path, upstream: Upstream, log: io.StringIO
) -> None:
    provider = f"{KINDS[kind]}, api_key: {KEY}, headers: {{x-team: {NAME}}}, base_url: '{upstream.url}'"
    config = (
        f"providers: {{it: {{{provider}}}}}\n"
        "models: {m: {provider: it, context_window: 9000, max_output_tokens: 99, reasoning_score: 5, speed_score: 5, "
        "price: {input: 1, output: 1}}}\n"
        "roles: {worker: {tiers: [[m]]}}\nfallback: {attempts_per_model: 1}\nhealth: {probe_interval_s: 3600}\n"
    )
    chosen: list[Answer] = []

    def echo(seen: Seen) -> Answer:
        said = f"{BODY} {KEY} {PROMPT} {dict(seen.headers)} {seen.body.decode()}"
        chosen.extend(answers(said) if not chosen else ())
        return chosen.pop(0)

    upstream.choose = echo
    keeper, heard = Keeper(), []
    async with running(config, tmp_path, processors=[keeper]) as sidecar:
        for _ in answers(""):
            sidecar.forget_evidence()
            got = await sidecar.generate(asked(PROMPT))
            heard.append(f"{got.events} {got.status}")
        told = {
            "what callers hear": "\n".join(heard),
            "spans": encode_spans(keeper.spans).decode(errors="replace"),
            "the log": log.getvalue(),
            "metrics": str(sidecar.sidecar.telemetry.meters.collect()),
            "health": str(await sidecar.router.Health(pb.HealthRequest())),
        }
    assert len(upstream.requests) >= len(list(answers("")))
    assert told["the log"].count('"logger":"atlas_sidecar.request"') == len(heard)
    assert PROMPT in upstream.requests[0].body.decode()
    assert KEY in str(upstream.requests[0].headers) + upstream.requests[0].path
    for where, text in told.items():
        assert text
        for canary in (KEY, PROMPT, BODY, NAME):
            assert canary not in text, f"{canary} in {where}"
