"""What only Groq does: its limits on a request, its refusals, its usage. Over real sockets, through the real SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.groq import GroqProvider, effort_word
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import (
    Blob,
    GenerateRequest,
    Message,
    Part,
    ReasoningEffort,
    Requirements,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Tool,
    Usage,
)
from tests.adapters.replay import Answer, Got, Upstream, call, collect, model

SCHEMA = '{"type":"object","properties":{"a":{"type":"string"}}}'
ADD = Tool("add", "Adds.", "")
QUESTION = Message(Role.USER, (Part(Text("Hello")),))


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


HELLO = Answer.sse(chunk(content="Hello"), chunk("stop"), "[DONE]")


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[GroqProvider]:
    upstream.answer(HELLO)
    async with aclosing(GroqProvider(ProviderSettings("groq", "groq", upstream.url, lambda: "k-1"))) as made:
        yield made


async def ask(
    provider: GroqProvider, *messages: Message, name: str = "openai/gpt-oss-120b", options: Any = None, **fields: Any
) -> Got:
    request = GenerateRequest(Requirements(), messages or (QUESTION,), **fields)
    return await collect(provider, call(None, request, model=model(name, "groq"), options=options or {}))


@pytest.mark.parametrize("wanted", [ResponseFormat(SCHEMA), ResponseFormat(json_object=True)])
async def test_json_output_beside_tools_is_asked_for_in_words_and_streamed(
    provider: GroqProvider, upstream: Upstream, wanted: ResponseFormat
) -> None:
    rules = Message(Role.SYSTEM, (Part(Text("Be brief.")),))
    assert (await ask(provider, rules, QUESTION, tools=(ADD,), response_format=wanted)).text == "Hello"
    await ask(provider, tools=(ADD,), response_format=wanted)
    hosted = {"tools": [{"type": "browser_search"}]}
    await ask(provider, options=hosted, response_format=wanted)
    for seen in upstream.requests:
        body = seen.json
        assert "response_format" not in body
        assert (body["stream"], len(body["tools"])) == (True, 1)
        assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
        assert "one JSON object" in body["messages"][0]["content"]
        assert (SCHEMA in body["messages"][0]["content"]) is bool(wanted.json_schema)
    assert upstream.requests[0].json["messages"][0]["content"].startswith("Be brief.\n\n")


async def test_json_output_without_tools_is_asked_for_in_its_own_field(
    provider: GroqProvider, upstream: Upstream
) -> None:
    await ask(provider, response_format=ResponseFormat(SCHEMA))
    await ask(provider, response_format=ResponseFormat(json_object=True))
    schema, anything = (seen.json for seen in upstream.requests)
    assert (schema["response_format"]["type"], schema.get("stream")) == ("json_schema", None)
    assert (anything["response_format"], anything["stream"]) == ({"type": "json_object"}, True)


@pytest.mark.parametrize(
    "text",
    [
        "`reasoning_format` is not supported with this model",
        "This model does not support response format `json_schema`.",
        "json mode cannot be combined with tool/function calling",
        "'messages.0' : the following must be satisfied[('messages.0.content' : value must be a string)]",
        "invalid schema for response format: response_format/json_schema/next_step: minItems is not supported",
        "'tools' : maximum number of items is 128",
        "property 'store' is unsupported, did you mean 'stop'?",
        "`max_completion_tokens` must be less than or equal to `16384`",
    ],
)
async def test_what_only_this_model_refuses_lets_the_chain_go_on(
    provider: GroqProvider, upstream: Upstream, text: str
) -> None:
    upstream.answer(Answer.json({"error": {"message": text, "type": "invalid_request_error"}}, 400))
    error = (await ask(provider)).error
    assert error is not None
    assert (error.error_class, error.breaks_model) == (ErrorClass.MODEL_UNAVAILABLE, False)


async def test_a_failed_tool_call_is_one_whatever_its_text_quotes(provider: GroqProvider, upstream: Upstream) -> None:
    text = "Tool call validation failed: parameters for tool f did not match schema: errors: [`/a`: must be a string]"
    failure = {"message": text, "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "{}"}
    upstream.answer(Answer.json({"error": failure}, 400))
    error = (await ask(provider)).error
    assert error is not None
    assert (error.error_class, error.retry_once) == (ErrorClass.TEMPORARY, True)


def whole(**more: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    return Answer.json({"id": "c1", "choices": [choice], **more})


COUNTS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


async def test_counts_are_read_from_where_they_are(provider: GroqProvider, upstream: Upstream) -> None:
    upstream.answer(whole(usage=COUNTS, x_groq={"id": "r", "usage": {"dram_cached_tokens": 3}}))
    assert (await ask(provider)).usage == Usage(input_tokens=10, output_tokens=5)
    last = {"id": "c1", "choices": [], "x_groq": {"id": "r", "usage": COUNTS}}
    upstream.answer(Answer.sse(chunk(content="Hello"), chunk("stop"), last, "[DONE]"))
    assert (await ask(provider)).usage == Usage(input_tokens=10, output_tokens=5)


async def test_what_a_compound_system_did_is_in_the_metadata(provider: GroqProvider, upstream: Upstream) -> None:
    breakdown, listed = {"models": [{"model": "m-1", "usage": COUNTS}]}, [{"id": "l1", "tools": []}]
    upstream.answer(whole(usage_breakdown=breakdown, mcp_list_tools=listed))
    got = await ask(provider)
    assert got.finished is not None
    assert (got.finished.metadata["usage_breakdown"], got.finished.metadata["mcp_list_tools"]) == (breakdown, listed)
    last = {**chunk("stop"), "x_groq": {"usage": COUNTS, "usage_breakdown": breakdown}}
    upstream.answer(Answer.sse(chunk(content="Hello"), last, "[DONE]"))
    got = await ask(provider)
    assert got.finished is not None
    assert got.finished.metadata["usage_breakdown"] == breakdown


@pytest.mark.parametrize(
    ("name", "effort", "word"),
    [
        ("qwen/qwen3.8-27b", ReasoningEffort.NONE, "none"),
        ("qwen/qwen3.8-27b", ReasoningEffort.LOW, "low"),
        ("qwen/qwen3.8-27b", ReasoningEffort.HIGH, "high"),
        ("qwen/qwen4-70b", ReasoningEffort.MEDIUM, "medium"),
        ("qwen/qwen3.6-27b", ReasoningEffort.LOW, "default"),
        ("qwen/qwen3-32b", ReasoningEffort.HIGH, "default"),
        ("qwen-qwq-32b", ReasoningEffort.HIGH, "default"),
        ("deepseek-r1-distill-qwen-32b", ReasoningEffort.HIGH, "default"),
    ],
)
def test_each_qwen_is_asked_in_the_words_that_it_knows(name: str, effort: ReasoningEffort, word: str) -> None:
    assert effort_word(name, effort) == word


async def test_an_image_in_the_system_message_is_shown_in_the_first_user_turn(
    provider: GroqProvider, upstream: Upstream
) -> None:
    notes = Blob("text/plain", b"Be kind.", name="notes.txt")
    rules = Message(Role.SYSTEM, (Part(Text("Be brief.")), Part(Blob("image/png", b"x")), Part(notes)))
    await ask(provider, rules, QUESTION, name="qwen/qwen3.8-27b")
    system, user = upstream.requests[0].json["messages"]
    assert system == {"role": "system", "content": "Be brief.\n\nnotes.txt:\nBe kind."}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]


def left_out(got: Got) -> Any:
    assert got.finished is not None
    return got.finished.metadata.get("parameters_left_out")


async def test_stop_sequences_beyond_the_fourth_are_left_out_and_said(
    provider: GroqProvider, upstream: Upstream
) -> None:
    assert left_out(await ask(provider, sampling=Sampling(stop=tuple("abcd")))) is None
    assert left_out(await ask(provider, sampling=Sampling(stop=tuple("abcde")))) == ["stop"]
    assert [seen.json["stop"] for seen in upstream.requests] == [list("abcd")] * 2


@pytest.mark.parametrize(
    ("name", "effort", "said"),
    [
        ("openai/gpt-oss-120b", ReasoningEffort.NONE, True),
        ("moonshotai/kimi-k2-thinking", ReasoningEffort.NONE, True),
        ("moonshotai/kimi-k2-thinking", ReasoningEffort.HIGH, True),
        ("openai/gpt-oss-120b", ReasoningEffort.LOW, False),
        ("qwen/qwen3.8-27b", ReasoningEffort.NONE, False),
        ("qwen/qwen3.8-27b", None, False),
    ],
)
async def test_an_effort_that_cannot_be_had_is_said(
    provider: GroqProvider, name: str, effort: ReasoningEffort | None, said: bool
) -> None:
    got = await ask(provider, name=name, sampling=Sampling(reasoning_effort=effort))
    assert left_out(got) == (["reasoning_effort"] if said else None)
