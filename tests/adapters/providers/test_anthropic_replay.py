"""Every recorded answer of Anthropic, through the real SDK in the real adapter, held against its bytes."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.anthropic import AnthropicProvider
from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.google_request import content_body
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import (
    Finished,
    FinishReason,
    GenerateRequest,
    Head,
    Message,
    Part,
    Requirements,
    Role,
    Text,
    UsageReport,
)
from atlas_sidecar.runtime.answer import Answer as Whole
from tests.adapters.replay import Answer, Got, Recording, Upstream, call, collect, load, model, name_of

ROWS = load("anthropic")

# What an error means, by the recording's line; every row that is no answer must be here.
ERRORS = {
    28: ErrorClass.CONTENT_FILTERED,  # a refusal without any content
    29: ErrorClass.INVALID_REQUEST,
    30: ErrorClass.MODEL_UNAVAILABLE,  # an effort that this model alone refuses
    31: ErrorClass.AUTH,
    32: ErrorClass.AUTH,
    33: ErrorClass.MODEL_UNAVAILABLE,
    130: ErrorClass.OVERLOADED,
    131: ErrorClass.RATE_LIMITED,
    132: ErrorClass.QUOTA_EXHAUSTED,
    133: ErrorClass.OVERLOADED,
}
FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "tool_use": FinishReason.TOOL_CALLS,
}


class Oracle:
    """Reads the same bytes plainly: `json`, lines split by hand, whole blocks rebuilt from their deltas."""

    def __init__(self, recording: Recording) -> None:
        self.blocks: dict[int, dict[str, Any]] = {}
        self.usage: dict[str, Any] = {}
        self.stop = ""
        if recording.is_sse:
            for line in recording.body.decode().split("\n"):
                if line.startswith("data: "):
                    self._event(json.loads(line[6:]))
        else:
            message = json.loads(recording.body)
            self.blocks = dict(enumerate(message.get("content", [])))
            self.usage, self.stop = message.get("usage", {}), message.get("stop_reason")
        for block in self.blocks.values():
            if "partial" in block:
                block["input"] = json.loads(block.pop("partial") or "{}")

    def _event(self, event: dict[str, Any]) -> None:
        if event["type"] == "message_start":
            self.usage.update(event["message"]["usage"])
        elif event["type"] == "content_block_start":
            self.blocks[event["index"]] = event["content_block"]
        elif event["type"] == "content_block_delta":
            block, delta = self.blocks[event["index"]], dict(event["delta"])
            kind = delta.pop("type")
            if kind == "input_json_delta":
                block["partial"] = block.get("partial", "") + delta["partial_json"]
            elif kind == "citations_delta":
                block.setdefault("citations", []).append(delta["citation"])
            else:
                for key, value in delta.items():
                    block[key] = block.get(key, "") + value
        elif event["type"] == "message_delta":
            self.usage.update({key: value for key, value in event["usage"].items() if value is not None})
            self.stop = event["delta"]["stop_reason"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [block for block in self.blocks.values() if block["type"] == kind]


def hold(got: Got, recording: Recording) -> None:
    """Hold what came out against the recording."""
    oracle = Oracle(recording)
    assert got.text == "".join(block["text"] for block in oracle.of("text"))
    expected = ERRORS.get(recording.line)
    if expected is not None:
        assert got.error is not None
        assert got.error.error_class is expected
        assert got.error.http_status == recording.status
        assert got.usage.total_input_tokens == oracle.usage.get("input_tokens", 0)  # told all the same
        return
    assert got.error is None, got.error
    assert got.finished is not None
    assert got.reasoning == "".join(block["thinking"] for block in oracle.of("thinking"))
    tools = [(tool_id, name, json.loads(arguments)) for tool_id, name, arguments in got.tools]
    assert tools == [(block["id"], block["name"], block["input"]) for block in oracle.of("tool_use")]
    signatures = [b.get("signature", b.get("data")) for b in oracle.of("thinking") + oracle.of("redacted_thinking")]
    assert [signature.decode() for signature in got.signatures.values()] == signatures
    hosted = [
        b for b in oracle.blocks.values() if b["type"] not in {"text", "thinking", "redacted_thinking", "tool_use"}
    ]
    assert [json.loads(part.json) for part in got.opaque if part.type != "citations"] == hosted
    cited = [block["citations"] for block in oracle.of("text") if block.get("citations")]
    assert [json.loads(part.json) for part in got.opaque if part.type == "citations"] == cited
    assert (got.finished.finish_reason, got.finished.raw_finish_reason) == (FINISH[oracle.stop], oracle.stop)
    usage, said = got.finished.usage, oracle.usage
    assert usage.input_tokens == said["input_tokens"]
    assert usage.cache_read_tokens == said.get("cache_read_input_tokens")
    assert usage.cache_write_tokens == said.get("cache_creation_input_tokens")
    assert usage.total_output_tokens == said["output_tokens"]
    assert usage.reasoning_tokens == said.get("output_tokens_details", {}).get("thinking_tokens")


def provider_for(upstream: Upstream) -> AnthropicProvider:
    return AnthropicProvider(ProviderSettings("anthropic", "anthropic", upstream.url, lambda: "test-key"))


def test_every_recording_of_anthropic_is_here() -> None:
    if not ROWS:
        pytest.skip("../shared/recordings is absent")
    assert len(ROWS) == 38
    assert {row.line for row in ROWS if row.status >= 400 or set(row.kinds) & {"midstream_error", "refusal"}} == set(
        ERRORS
    )


@pytest.mark.parametrize("recording", ROWS, ids=name_of)
async def test_a_recorded_answer_means_what_its_bytes_say(recording: Recording, upstream: Upstream) -> None:
    async with aclosing(provider_for(upstream)) as provider:
        upstream.answer(Answer.of(recording))
        hold(await collect(provider, call(recording)), recording)
        assert len(upstream.requests) == 1
        for seed in (1, 2, 3):
            upstream.answer(Answer.of(recording, seed))
            hold(await collect(provider, call(recording)), recording)


@pytest.mark.parametrize("recording", [row for row in ROWS if row.line not in ERRORS], ids=name_of)
async def test_a_recorded_answer_comes_with_or_without_being_asked_to_stream(
    recording: Recording, upstream: Upstream
) -> None:
    async with aclosing(provider_for(upstream)) as provider:
        upstream.answer(Answer.of(recording))
        hold(await collect(provider, call(recording, stream=not recording.streaming)), recording)


def given_back(block: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a block of an answer must be when it is sent back; None for what is left out."""
    if block["type"] == "tool_use":
        return {key: block[key] for key in ("type", "id", "name", "input")}
    if block["type"] == "text":
        return {key: value for key, value in block.items() if value} if block["text"].strip() else None
    return block if block["type"] != "thinking" or block.get("signature") else None


@pytest.mark.parametrize("recording", [row for row in ROWS if row.line not in ERRORS], ids=name_of)
async def test_an_answer_goes_back_word_for_word_to_claude_and_without_its_signatures_to_others(
    recording: Recording, upstream: Upstream
) -> None:
    async with aclosing(provider_for(upstream)) as provider:
        upstream.answer(Answer.of(recording))
        got = await collect(provider, call(recording))
    whole = Whole("anthropic")
    for batch in got.batches:
        for event in batch:
            if not isinstance(event, Head | UsageReport | Finished):
                whole.add(event)
    question = Message(Role.USER, (Part(Text("Hello")),))
    request = GenerateRequest(Requirements(), (question, whole.message()))
    blocks = Oracle(recording).blocks.values()
    expected = [back for block in blocks if (back := given_back(block)) is not None]
    body = messages_body(call(None, request, model=model("claude-sonnet-5-5", "anthropic"))).body
    assert (body["messages"][1]["content"] if expected else []) == expected
    foreign = json.dumps(content_body(call(None, request, model=model("gemini-3-flash", "google"))).body)
    for signature in got.signatures.values():
        assert signature.decode() not in foreign
    assert not any(part.json in foreign for part in got.opaque)
