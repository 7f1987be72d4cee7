"""Every recorded chat answer of OpenAI and Groq, through the real SDK in the real adapter, held against its bytes."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.groq import GroqProvider
from atlas_sidecar.adapters.providers.openai import OpenAIProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import FinishReason
from tests.adapters.replay import Answer, Got, Recording, Upstream, call, collect, load, name_of

CHAT = load("openai", "chat") + load("groq", "chat")

# What an error means, by the recording's line; every error recording must be here.
ERRORS = {
    69: ErrorClass.TEMPORARY,
    73: ErrorClass.TEMPORARY,
    74: ErrorClass.MODEL_UNAVAILABLE,
    101: ErrorClass.MODEL_UNAVAILABLE,
    102: ErrorClass.INVALID_REQUEST,
    103: ErrorClass.AUTH,
    104: ErrorClass.AUTH,
    105: ErrorClass.MODEL_UNAVAILABLE,
    106: ErrorClass.MODEL_UNAVAILABLE,
    134: ErrorClass.RATE_LIMITED,
    135: ErrorClass.CONTEXT_TOO_LONG,
    137: ErrorClass.TEMPORARY,
    140: ErrorClass.RATE_LIMITED,
    141: ErrorClass.CONTEXT_TOO_LONG,
    142: ErrorClass.TEMPORARY,
    143: ErrorClass.TEMPORARY,
}
WAITS_S = {134: 0.174, 140: 578.016}
FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.MAX_OUTPUT_TOKENS,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


def provider_for(recording: Recording, upstream: Upstream) -> OpenAIProvider | GroqProvider:
    settings = ProviderSettings(recording.provider, recording.provider, upstream.url, lambda: "test-key")
    return GroqProvider(settings) if recording.provider == "groq" else OpenAIProvider(settings)


class Oracle:
    """Reads the same bytes plainly: `json`, and lines split by hand."""

    def __init__(self, recording: Recording) -> None:
        self.text = self.reasoning = self.refusal = ""
        self.tools: dict[int, list[str]] = {}
        self.finish: str | None = None
        self.usage: dict[str, Any] = {}
        if recording.is_sse:
            lines = recording.body.decode().replace("\r\n", "\n").split("\n")
            documents = [json.loads(line[6:]) for line in lines if line.startswith("data: ") and "[DONE]" not in line]
        else:
            documents = [json.loads(recording.body)]
        for document in documents:
            self._read(document)

    def _read(self, document: dict[str, Any]) -> None:
        self.usage = document.get("usage") or (document.get("x_groq") or {}).get("usage") or self.usage
        for choice in document.get("choices") or []:
            said = choice.get("delta") or choice.get("message") or {}
            self.text += said.get("content") or ""
            self.reasoning += said.get("reasoning") or said.get("reasoning_content") or ""
            self.refusal += said.get("refusal") or ""
            for place, tool in enumerate(said.get("tool_calls") or []):
                known = self.tools.setdefault(tool.get("index", place), ["", "", ""])
                known[0] += tool.get("id") or ""
                known[1] += tool["function"].get("name") or ""
                known[2] += tool["function"].get("arguments") or ""
            if "function_call" in said:  # the old form has no id
                self.tools[0] = ["", said["function_call"]["name"], said["function_call"]["arguments"]]
            self.finish = choice.get("finish_reason") or self.finish


def hold(got: Got, recording: Recording) -> None:
    """Hold what came out against the recording."""
    oracle = Oracle(recording)
    expected = ERRORS.get(recording.line)
    if expected is not None:
        assert got.error is not None
        assert got.error.error_class is expected
        assert got.error.http_status == recording.status
        if recording.line in WAITS_S:
            assert got.error.retry_after_s == pytest.approx(WAITS_S[recording.line])
        if recording.status == 200:
            assert (got.text, got.reasoning) == (oracle.text, oracle.reasoning)
        return
    assert got.error is None, got.error
    assert got.finished is not None
    assert (got.text, got.reasoning, got.refusal) == (oracle.text, oracle.reasoning, oracle.refusal)
    expected_tools = [(id_, name, arguments or "{}") for id_, name, arguments in oracle.tools.values()]
    assert [tool[1:] for tool in got.tools] == [tool[1:] for tool in expected_tools]
    assert all(got_id == id_ for (got_id, _, _), (id_, _, _) in zip(got.tools, expected_tools, strict=True) if id_)
    for _, _, arguments in got.tools:
        json.loads(arguments)
    assert got.finished.raw_finish_reason == oracle.finish
    refused = bool(oracle.refusal) and not oracle.text
    wanted = FinishReason.REFUSAL if refused else FINISH[oracle.finish or "stop"]
    assert got.finished.finish_reason is wanted
    if oracle.usage:
        assert got.usage.total_input_tokens == oracle.usage["prompt_tokens"]
        assert got.usage.total_output_tokens == oracle.usage["completion_tokens"]
        details = oracle.usage.get("completion_tokens_details") or {}
        assert got.usage.reasoning_tokens == details.get("reasoning_tokens")
        assert got.usage.cache_read_tokens == (oracle.usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    else:
        assert not got.usage.reported


def test_every_recording_of_chat_completions_is_here() -> None:
    if not CHAT:
        pytest.skip("../shared/recordings is absent")
    assert len(CHAT) == 50
    failed = {r.line for r in CHAT if r.status >= 400 or "midstream_error" in r.kinds}
    assert failed == set(ERRORS)


@pytest.mark.parametrize("recording", CHAT, ids=name_of)
async def test_a_recorded_answer_means_what_its_bytes_say(recording: Recording, upstream: Upstream) -> None:
    async with aclosing(provider_for(recording, upstream)) as provider:
        upstream.answer(Answer.of(recording))
        hold(await collect(provider, call(recording)), recording)
        assert len(upstream.requests) == 1
        for seed in (1, 2, 3):
            # One of them with pauses, so that every piece is a network read of its own.
            upstream.answer(replace(Answer.of(recording, seed), pause_s=0.001 if seed == 3 else 0.0))
            hold(await collect(provider, call(recording)), recording)


@pytest.mark.parametrize("recording", [r for r in CHAT if r.line not in ERRORS], ids=name_of)
async def test_a_recorded_answer_comes_with_or_without_being_asked_to_stream(
    recording: Recording, upstream: Upstream
) -> None:
    async with aclosing(provider_for(recording, upstream)) as provider:
        upstream.answer(Answer.of(recording))
        hold(await collect(provider, call(recording, stream=not recording.streaming)), recording)
