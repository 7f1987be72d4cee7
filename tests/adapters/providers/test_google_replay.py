"""Every recorded answer of Gemini, through the real SDK in the real adapter, held against its bytes."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.google import GoogleProvider
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

ROWS = load("google")

# What an error means, by the recording's line; every row that is no answer must be here.
ERRORS = {
    48: ErrorClass.AUTH,
    49: ErrorClass.MODEL_UNAVAILABLE,
    50: ErrorClass.MODEL_UNAVAILABLE,
    51: ErrorClass.RATE_LIMITED,
    52: ErrorClass.RATE_LIMITED,  # a quota of the minute
    62: ErrorClass.AUTH,
    63: ErrorClass.MODEL_UNAVAILABLE,
    144: ErrorClass.OVERLOADED,
    145: ErrorClass.AUTH,  # the region
    146: ErrorClass.OVERLOADED,
    147: ErrorClass.TEMPORARY,  # a malformed function call: worth one more try
}
WAITS_S = {52: 48.0}
FINISH = {"STOP": FinishReason.STOP, "MAX_TOKENS": FinishReason.MAX_OUTPUT_TOKENS}


class Oracle:
    """Reads the same bytes plainly: `json`, lines split by hand."""

    def __init__(self, recording: Recording) -> None:
        self.parts: list[dict[str, Any]] = []
        self.usage: dict[str, Any] = {}
        self.finish = ""
        self.grounding: Any = None
        text = recording.body.decode()
        if text.startswith("data:"):
            chunks = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]
        else:
            chunks = [json.loads(text)]
        for chunk in chunks:
            self.usage.update({key: n for key, n in chunk.get("usageMetadata", {}).items() if n is not None})
            for candidate in chunk.get("candidates", []):
                self.parts += candidate.get("content", {}).get("parts", [])
                self.finish = candidate.get("finishReason") or self.finish
                self.grounding = candidate.get("groundingMetadata") or self.grounding

    def text(self, thought: bool) -> str:
        return "".join(part.get("text", "") for part in self.parts if part.get("thought", False) is thought)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [part["functionCall"] for part in self.parts if "functionCall" in part]


def hold(got: Got, recording: Recording) -> None:
    """Hold what came out against the recording."""
    oracle = Oracle(recording)
    assert (got.text, got.reasoning) == (oracle.text(thought=False), oracle.text(thought=True))
    expected = ERRORS.get(recording.line)
    if expected is not None:
        assert got.error is not None
        assert got.error.error_class is expected
        assert got.error.http_status == recording.status
        assert got.error.retry_after_s == WAITS_S.get(recording.line)
        assert got.error.retry_once is (recording.line == 147)
        return
    assert got.error is None, got.error
    assert got.finished is not None
    tools = [(name, json.loads(arguments)) for _, name, arguments in got.tools]
    assert tools == [(entry["name"], entry["args"]) for entry in oracle.calls]
    assert all(ours == entry.get("id", ours) for (ours, _, _), entry in zip(got.tools, oracle.calls, strict=True))
    assert len({tool_id for tool_id, _, _ in got.tools}) == len(got.tools)
    known = [part for part in oracle.parts if "text" in part or "functionCall" in part]
    signatures = [part["thoughtSignature"] for part in known if "thoughtSignature" in part]
    assert [signature.decode() for signature in got.signatures.values()] == signatures
    assert [json.loads(part.json) for part in got.opaque] == [part for part in oracle.parts if part not in known]
    finish = FinishReason.TOOL_CALLS if oracle.calls else FINISH[oracle.finish]
    assert (got.finished.finish_reason, got.finished.raw_finish_reason) == (finish, oracle.finish)
    assert got.finished.metadata.get("grounding_metadata") == oracle.grounding
    usage, said = got.finished.usage, oracle.usage
    assert usage.total_input_tokens == said.get("promptTokenCount", 0) + said.get("toolUsePromptTokenCount", 0)
    assert usage.cache_read_tokens == said.get("cachedContentTokenCount")
    assert usage.output_tokens == said.get("candidatesTokenCount", 0)
    assert usage.reasoning_tokens == said.get("thoughtsTokenCount")
    if "totalTokenCount" in said:
        assert usage.total_input_tokens + usage.total_output_tokens == said["totalTokenCount"]


def provider_for(upstream: Upstream) -> GoogleProvider:
    return GoogleProvider(ProviderSettings("google", "google", upstream.url, lambda: "test-key"))


def test_every_recording_of_gemini_is_here() -> None:
    if not ROWS:
        pytest.skip("../shared/recordings is absent")
    assert len(ROWS) == 34
    malformed = {"midstream_error", "malformed_function_call"}
    assert {row.line for row in ROWS if row.status >= 400 or set(row.kinds) & malformed} == set(ERRORS)


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


def given_back(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the parts of an answer must be when they are sent back: plain neighbours of one kind joined."""
    back: list[dict[str, Any]] = []
    for part in parts:
        if part.get("text") == "" and "thoughtSignature" not in part:
            continue
        plain = set(part) == {"text"}
        if plain and back and set(back[-1]) == {"text"}:
            back[-1] = {"text": back[-1]["text"] + part["text"]}
        elif not part.get("thought") or "thoughtSignature" in part:  # unsigned thoughts are left out
            back.append(part)
        else:
            back.append({})  # a border between texts
    return [part for part in back if part]


@pytest.mark.parametrize("recording", [row for row in ROWS if row.line not in ERRORS], ids=name_of)
async def test_an_answer_goes_back_word_for_word_to_gemini_and_without_its_signatures_to_others(
    recording: Recording, upstream: Upstream
) -> None:
    async with aclosing(provider_for(upstream)) as provider:
        upstream.answer(Answer.of(recording))
        got = await collect(provider, call(recording))
    whole = Whole("google")
    for batch in got.batches:
        for event in batch:
            if not isinstance(event, Head | UsageReport | Finished):
                whole.add(event)
    question = Message(Role.USER, (Part(Text("Hello")),))
    request = GenerateRequest(Requirements(), (question, whole.message()))
    expected = given_back(Oracle(recording).parts)
    asked = call(None, request, model=model("gemini-2.5-flash", "google"))
    assert [part for content in content_body(asked).body["contents"][1:] for part in content["parts"]] == expected
    foreign = json.dumps(messages_body(call(None, request, model=model("claude-sonnet-5-5", "anthropic"))).body)
    for signature in got.signatures.values():
        assert signature.decode() not in foreign
    assert not any(part.json in foreign for part in got.opaque)
