"""The Responses wire: recorded answers held against their own bytes, what errors mean, a conversation sent back."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.openai import OpenAIProvider
from atlas_sidecar.adapters.providers.openai_responses_items import Items
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import (
    Blob,
    Finished,
    FinishReason,
    GenerateRequest,
    Head,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningDelta,
    Requirements,
    Role,
    Sampling,
    SignatureDelta,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    UsageReport,
)
from atlas_sidecar.runtime.answer import Answer as PutTogether
from tests.adapters.replay import Answer, Got, Recording, Upstream, call, collect, load, name_of

RECORDINGS = load("openai", "responses")
ERRORS = {
    111: ErrorClass.TEMPORARY,  # a stream of no bytes
    124: ErrorClass.QUOTA_EXHAUSTED,
    125: ErrorClass.MODEL_UNAVAILABLE,
    126: ErrorClass.MODEL_UNAVAILABLE,
    127: ErrorClass.QUOTA_EXHAUSTED,
    128: ErrorClass.AUTH,
    129: ErrorClass.AUTH,
    136: ErrorClass.RATE_LIMITED,
    138: ErrorClass.OVERLOADED,
    139: ErrorClass.CONTEXT_TOO_LONG,
}


def make(upstream: Upstream) -> OpenAIProvider:
    return OpenAIProvider(ProviderSettings("openai", "openai", upstream.url, lambda: "test-key", wire="responses"))


def last_response(recording: Recording) -> dict[str, Any]:
    """Return the answer's last full object, read plainly."""
    if not recording.is_sse:
        document: dict[str, Any] = json.loads(recording.body)
        return document
    lines = recording.body.decode().replace("\r\n", "\n").split("\n")
    documents = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    response: dict[str, Any] = documents[-1]["response"]
    return response


def hold(got: Got, recording: Recording) -> None:
    if recording.line in ERRORS:
        assert got.error is not None
        assert got.error.error_class is ERRORS[recording.line]
        assert got.error.http_status == recording.status
        return
    assert got.error is None, got.error
    assert got.finished is not None
    said = last_response(recording)
    output = said["output"]
    contents = [content for item in output if item["type"] == "message" for content in item["content"]]
    assert got.text == "".join(content["text"] for content in contents if content["type"] == "output_text")
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in output if item["type"] == "function_call"]
    assert got.tools == calls
    thoughts = [item for item in output if item["type"] == "reasoning"]
    summaries = ["\n\n".join(part["text"] for part in item["summary"]) for item in thoughts]
    assert got.reasoning == "".join(summaries)
    signatures = [json.loads(signature) for signature in got.signatures.values()]
    encrypted = [signature for signature in signatures if "encrypted_content" in signature]
    assert [signature["id"] for signature in encrypted] == [t["id"] for t in thoughts if t.get("encrypted_content")]
    phases = [item["phase"] for item in output if item.get("phase")]
    assert [signature["phase"] for signature in signatures if "phase" in signature] == phases
    for signature in encrypted:  # encrypted anew for each event that carries it
        assert signature["encrypted_content"].encode() in recording.body
    known = {"message", "reasoning", "function_call"}
    hosted = [item for item in output if item["type"] not in known]
    assert [json.loads(o.json) for o in got.opaque if o.type != "annotations"] == hosted
    assert got.usage.total_input_tokens == said["usage"]["input_tokens"]
    assert got.usage.total_output_tokens == said["usage"]["output_tokens"]
    assert got.usage.cache_read_tokens == said["usage"]["input_tokens_details"]["cached_tokens"]
    assert got.usage.reasoning_tokens == said["usage"]["output_tokens_details"]["reasoning_tokens"]
    reason = (said.get("incomplete_details") or {}).get("reason")
    finish = FinishReason.MAX_OUTPUT_TOKENS if reason else FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    assert got.finished.finish_reason is finish
    assert got.finished.raw_finish_reason == (reason or said["status"])


def test_every_recording_of_responses_is_here() -> None:
    if not RECORDINGS:
        pytest.skip("../shared/recordings is absent")
    assert len(RECORDINGS) == 26
    failed = {r.line for r in RECORDINGS if r.status >= 400 or {"midstream_error", "truncated_stream"} & set(r.kinds)}
    assert failed == set(ERRORS)


@pytest.mark.parametrize("recording", RECORDINGS, ids=name_of)
async def test_a_recorded_response_means_what_its_bytes_say(recording: Recording, upstream: Upstream) -> None:
    async with aclosing(make(upstream)) as provider:
        upstream.answer(Answer.of(recording))
        hold(await collect(provider, call(recording)), recording)
        assert upstream.requests[0].path == "/responses"
        for seed in (1, 2, 3):
            # One of them with pauses, so that every piece is a network read of its own.
            upstream.answer(replace(Answer.of(recording, seed), pause_s=0.001 if seed == 3 else 0.0))
            hold(await collect(provider, call(recording)), recording)


@pytest.mark.parametrize("recording", [r for r in RECORDINGS if r.line not in ERRORS], ids=name_of)
async def test_a_stream_and_its_last_object_mean_the_same(recording: Recording, upstream: Upstream) -> None:
    async with aclosing(make(upstream)) as provider:
        upstream.answer(Answer.json(last_response(recording)))
        hold(await collect(provider, call(recording)), recording)


def completed(output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "r1", "status": "completed", "output": output, **more}}


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
FUNCTION = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": '{"a":1}'}


async def test_a_refusal_is_streamed_and_finishes_as_one(upstream: Upstream) -> None:
    refusal = {"type": "response.refusal.delta", "output_index": 0, "content_index": 0}
    done = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    upstream.answer(Answer.sse({**refusal, "delta": "I "}, {**refusal, "delta": "cannot."}, completed([done])))
    async with aclosing(make(upstream)) as provider:
        got = await collect(provider, call())
    assert got.finished is not None
    assert (got.refusal, got.finished.finish_reason) == ("I cannot.", FinishReason.REFUSAL)


async def test_a_filter_without_content_is_an_error_and_with_content_an_answer(upstream: Upstream) -> None:
    end = {"id": "r1", "status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}
    text = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hel"}
    async with aclosing(make(upstream)) as provider:
        upstream.answer(Answer.sse({"type": "response.incomplete", "response": end}))
        got = await collect(provider, call())
        assert got.error is not None
        assert got.error.error_class is ErrorClass.CONTENT_FILTERED
        upstream.answer(Answer.sse(text, {"type": "response.incomplete", "response": end}))
        got = await collect(provider, call())
    assert got.finished is not None
    assert (got.text, got.finished.finish_reason) == ("Hel", FinishReason.CONTENT_FILTER)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "try again in 2s"}, ErrorClass.RATE_LIMITED),
        ({"type": "error", "error": {"type": "server_error", "code": None}}, ErrorClass.TEMPORARY),
        ({"type": "error", "message": "?"}, ErrorClass.TEMPORARY),
        ({"type": "error", "error": {"code": "context_length_exceeded"}}, ErrorClass.CONTEXT_TOO_LONG),
        (
            {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}},
            ErrorClass.TEMPORARY,
        ),
        (
            {"type": "response.failed", "response": {"status": "failed", "error": {"code": "invalid_prompt"}}},
            ErrorClass.CONTENT_FILTERED,
        ),
        ({"type": "response.failed", "response": {"status": "failed"}}, ErrorClass.TEMPORARY),
        ({"type": "response.cancelled", "response": {"status": "cancelled"}}, ErrorClass.TEMPORARY),
        ({"type": "response.output_text.delta", "delta": {"a": 1}}, ErrorClass.TEMPORARY),
        ({"type": "response.completed", "response": 7}, ErrorClass.TEMPORARY),
        ({"type": "response.new_event_of_tomorrow", "delta": {"a": 1}}, ErrorClass.TEMPORARY),  # ignored: no end
    ],
)
async def test_a_failure_within_a_stream_has_its_class(
    event: dict[str, Any], expected: ErrorClass, upstream: Upstream
) -> None:
    upstream.answer(Answer.sse(event))
    async with aclosing(make(upstream)) as provider:
        got = await collect(provider, call())
    assert got.error is not None
    assert got.error.error_class is expected
    if expected is ErrorClass.RATE_LIMITED:
        assert got.error.retry_after_s == 2.0


@pytest.mark.parametrize(
    "end",
    [
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []},
        {"status": "failed", "error": {"code": "server_error"}},
        {"status": "cancelled"},
    ],
)
async def test_what_an_answer_cost_is_told_though_it_ends_in_an_error(end: dict[str, Any], upstream: Upstream) -> None:
    usage = {"input_tokens": 1000, "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 40}}
    upstream.answer(Answer.sse({"type": f"response.{end['status']}", "response": {**end, "usage": usage}}))
    async with aclosing(make(upstream)) as provider:
        got = await collect(provider, call())
    assert got.error is not None
    assert got.usage == Usage(1000, None, None, 10, 40)


async def test_an_answer_tells_what_was_left_out_of_its_request(upstream: Upstream) -> None:
    upstream.answer(Answer.sse(completed([])))
    asked = call()
    async with aclosing(make(upstream)) as provider:
        got = await collect(provider, replace(asked, request=replace(asked.request, sampling=Sampling(seed=7))))
    assert got.finished is not None
    assert got.finished.metadata == {"id": "r1", "parameters_left_out": ["seed"]}


async def test_encrypted_reasoning_without_a_summary_is_a_redacted_part_with_a_signature(upstream: Upstream) -> None:
    upstream.answer(Answer.sse(completed([REASONING, FUNCTION])))
    async with aclosing(make(upstream)) as provider:
        got = await collect(provider, call())
    events = [event for batch in got.batches for event in batch]
    assert ReasoningDelta(0, "", redacted=True) in events
    assert any(isinstance(event, SignatureDelta) and event.index == 0 for event in events)
    assert got.tools == [("call_1", "add", '{"a":1}')]


async def test_a_conversation_is_sent_back_with_our_signatures_and_without_foreign_ones(upstream: Upstream) -> None:
    signature = json.dumps({"id": "rs_1", "encrypted_content": "gAAA"}).encode()
    hosted = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    turn = (
        Part(Reasoning("", redacted=True), signature=signature, signature_origin="openai"),
        Part(Reasoning("foreign"), signature=b"xyz", signature_origin="anthropic"),
        Part(Reasoning("broken"), signature=b"{", signature_origin="openai"),
        Part(Opaque("openai", "web_search_call", json.dumps(hosted))),
        Part(Opaque("openai", "annotations", "[{}]")),
        Part(Opaque("anthropic", "server_tool_use", '{"type": "server_tool_use"}')),
        Part(Text("So")),
        Part(ToolCall("call_1", "add", "")),
    )
    result = ToolResult("call_1", "add", (Part(Text("no")),), is_error=True)
    messages = (
        Message(Role.SYSTEM, (Part(Text("Be brief.")),)),
        Message(Role.USER, (Part(Text("Add.")),)),
        Message(Role.ASSISTANT, turn),
        Message(Role.TOOL, (Part(result),)),
    )
    upstream.answer(Answer.sse(completed([])))
    async with aclosing(make(upstream)) as provider:
        await collect(provider, call(request=GenerateRequest(Requirements(), messages)))
    body = upstream.requests[0].json
    assert body["input"] == [
        {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Add."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        hosted,
        {"role": "assistant", "content": "So"},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Error: no"},
    ]
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["max_output_tokens"] == 1000


@pytest.mark.parametrize("streamed", [True, False])
async def test_what_an_item_has_beside_its_content_comes_back_with_the_next_turn(
    streamed: bool, upstream: Upstream
) -> None:
    text = {"type": "output_text", "text": "let me"}
    caller = {"type": "program", "caller_id": "p1"}
    items: list[dict[str, Any]] = [
        REASONING,
        {"type": "message", "id": "msg_1", "phase": "commentary", "content": [text]},
    ]
    items += [{**FUNCTION, "namespace": "crm", "caller": caller}]
    whole = completed(items)
    said = {"type": "response.output_text.delta", "output_index": 1, "delta": "let me"}
    upstream.answer(Answer.sse(said, whole) if streamed else Answer.json(whole["response"]), Answer.sse(completed([])))
    answer, user = PutTogether("openai"), Message(Role.USER, (Part(Text("Hi")),))
    async with aclosing(make(upstream)) as provider:
        got = await collect(provider, call())
        for event in (event for batch in got.batches for event in batch):
            if not isinstance(event, Head | Finished | UsageReport):
                answer.add(event)
        result = Message(Role.TOOL, (Part(ToolResult("call_1", "add", (Part(Text("3")),))),))
        messages = (user, answer.message(), result)
        await collect(provider, call(request=GenerateRequest(Requirements(), messages)))
    sent = sorted(upstream.requests[1].json["input"][1:], key=lambda item: item.get("type", ""))
    assert sent == [
        {"role": "assistant", "content": "let me", "phase": "commentary"},
        {key: value for key, value in items[2].items() if key != "id"},
        {"type": "function_call_output", "call_id": "call_1", "output": "3", "caller": caller},
        REASONING,
    ]


def input_of(*messages: Message, provider: str = "openai") -> list[dict[str, Any]]:
    return list(Items(provider).of(messages))


def test_reasoning_that_another_configured_provider_made_is_dropped() -> None:
    signature = json.dumps({"id": "rs_1", "encrypted_content": "gAAA", "provider": "openai-eu"}).encode()
    turn = Message(Role.ASSISTANT, (Part(Reasoning("hm"), signature=signature, signature_origin="openai"),))
    assert input_of(turn) == []
    assert [item["id"] for item in input_of(turn, provider="openai-eu")] == ["rs_1"]


def test_opaque_items_of_any_role_are_sent_in_their_order() -> None:
    approval: dict[str, Any] = {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}
    custom = {"type": "custom_tool_call_output", "call_id": "c", "output": "o"}
    user = Message(Role.USER, (Part(Opaque("openai", approval["type"], json.dumps(approval))), Part(Text("Go on"))))
    results = Message(
        Role.TOOL,
        (
            Part(Opaque("openai", custom["type"], json.dumps(custom))),
            Part(Opaque("google", "x", '{"type": "x"}')),
            Part(ToolResult("call_1", "add", (Part(Text("3")),))),
        ),
    )
    assert input_of(user, results) == [
        approval,
        {"role": "user", "content": [{"type": "input_text", "text": "Go on"}]},
        custom,
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
    ]


def test_an_error_is_said_also_where_the_result_is_an_image() -> None:
    shot = Part(Blob("image/png", b"x"))
    (item,) = input_of(Message(Role.TOOL, (Part(ToolResult("call_1", "shot", (shot,), is_error=True)),)))
    assert [content["type"] for content in item["output"]] == ["input_text", "input_image"]
    assert item["output"][0]["text"] == "Error:"


async def test_what_the_caller_wants_included_stands_beside_what_the_sidecar_needs(upstream: Upstream) -> None:
    upstream.answer(Answer.sse(completed([])))
    wanted = ["web_search_call.action.sources", "reasoning.encrypted_content"]
    async with aclosing(make(upstream)) as provider:
        await collect(provider, call(options={"include": wanted}))
    assert upstream.requests[0].json["include"] == wanted[::-1]
