"""The simulated provider does what its script says, the same way every time."""

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.simulated import CLASS_OF_STATUS, SimulatedProvider, parse_script
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Finished,
    FinishReason,
    GenerateRequest,
    Head,
    Message,
    Model,
    ModelRef,
    Part,
    ProviderCall,
    ProviderEvent,
    Requirements,
    ResponseFormat,
    Role,
    Text,
    TextDelta,
    Tool,
    ToolArguments,
    ToolCallStart,
    ToolChoice,
    ToolMode,
    UsageReport,
)


class Sleeps:
    """Counts the seconds that would have passed."""

    def __init__(self) -> None:
        self.total_s = 0.0

    async def __call__(self, seconds: float) -> None:
        self.total_s += seconds
        await asyncio.sleep(0)


def a_call(model: str = "m", *, cap: int = 1000, stream: bool = True, prefill: str = "", **fields: Any) -> ProviderCall:
    request = GenerateRequest(Requirements(), (Message(Role.USER, (Part(Text("12345678")),)),), **fields)
    ref = ModelRef(f"id-{model}", "sim", model)
    return ProviderCall(Model(ref, "simulated", 10_000, 1000, 5, 5), request, cap, stream=stream, prefill=prefill)


def a_provider(raw: Mapping[str, Any], sleeps: Sleeps | None = None) -> SimulatedProvider:
    return SimulatedProvider("sim", parse_script(raw), sleep=sleeps or Sleeps())


async def run(provider: SimulatedProvider, call: ProviderCall) -> tuple[list[ProviderEvent], ProviderError | None]:
    events: list[ProviderEvent] = []
    try:
        async for batch in provider.stream(call):
            events.extend(batch)
    except ProviderError as error:
        return events, error
    return events, None


def text_of(events: list[ProviderEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_an_answer_begins_with_a_head_and_ends_finished_with_the_usage_it_sent() -> None:
    sleeps = Sleeps()
    events, error = await run(a_provider({"output_tokens": 20, "tokens_per_s": 100}, sleeps), a_call())
    assert error is None
    assert isinstance(events[0], Head)
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.finish_reason, last.usage.input_tokens, last.usage.output_tokens) == (FinishReason.STOP, 2, 20)
    assert len([e for e in events if isinstance(e, TextDelta)]) == 20
    assert sleeps.total_s == pytest.approx(0.05 + 0.19)


async def test_a_configured_text_is_said_word_for_word() -> None:
    events, _ = await run(a_provider({"text": "Hello  there,\nworld"}), a_call())
    assert text_of(events) == "Hello  there,\nworld"
    events, _ = await run(a_provider({"text": "Hello there, world", "output_tokens": 9}), a_call())
    assert text_of(events) == "Hello there, world"
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.output_tokens == 9


@given(st.text(max_size=40), st.integers(0, 60))
async def test_any_text_and_any_number_of_tokens_give_that_many_or_none(text: str, tokens: int) -> None:
    events, error = await run(a_provider({"text": text, "output_tokens": tokens, "tokens_per_s": 1e9}), a_call())
    assert error is None
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.output_tokens == (tokens if text.strip() else 0)


async def test_a_script_is_counted_per_model_and_afterwards_every_answer_is_ok() -> None:
    provider = a_provider(
        {"models": {"m": {"script": [{"status": 503, "times": 2}, {"status": 429, "retry_after_s": 2}]}}}
    )
    outcomes = [(await run(provider, a_call()))[1] for _ in range(5)]
    assert [error and error.http_status for error in outcomes] == [503, 503, 429, None, None]
    assert outcomes[2] is not None
    assert (outcomes[2].error_class, outcomes[2].retry_after_s) == (ErrorClass.RATE_LIMITED, 2.0)
    assert (await run(provider, a_call("other")))[1] is None


async def test_a_script_may_name_the_configured_id() -> None:
    _, error = await run(a_provider({"models": {"id-m": {"script": [{"status": 401}]}}}), a_call())
    assert error is not None
    assert (error.error_class, error.scope) == (ErrorClass.AUTH, "provider")


@pytest.mark.parametrize(("status", "error_class"), [*CLASS_OF_STATUS.items(), (418, ErrorClass.INVALID_REQUEST)])
async def test_a_scripted_status_has_its_class(status: int, error_class: ErrorClass) -> None:
    events, error = await run(a_provider({"models": {"m": {"script": [{"status": status}]}}}), a_call())
    assert events == []
    assert error is not None
    assert (error.error_class, error.http_status) == (error_class, status)


@pytest.mark.parametrize(("after", "error_class"), [(3, ErrorClass.STREAM_BROKEN), (0, ErrorClass.TEMPORARY)])
async def test_a_cut_comes_after_so_many_chunks_with_their_usage(after: int, error_class: ErrorClass) -> None:
    provider = a_provider({"tokens_per_s": 100, "models": {"m": {"script": [{"cut_after": after}]}}})
    events, error = await run(provider, a_call())
    assert len([e for e in events if isinstance(e, TextDelta)]) == after
    assert error is not None
    assert error.error_class is error_class
    assert isinstance(events[-1], UsageReport)
    assert (events[-1].usage.input_tokens, events[-1].usage.output_tokens) == (2, after)


@pytest.mark.parametrize(("step", "batches"), [({"stall_after": 3}, 4), ({"silent": True}, 0)])
async def test_a_stall_and_a_silence_last_until_cancelled(step: Mapping[str, Any], batches: int) -> None:
    provider = a_provider({"tokens_per_s": 100, "models": {"m": {"script": [step]}}})
    seen: list[object] = []

    async def read() -> None:
        async for batch in provider.stream(a_call()):
            seen.append(batch)

    task = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    assert not task.done()
    assert len(seen) == batches
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_scripted_tool_call_streams_its_arguments() -> None:
    step = {"tool_call": {"name": "look_up", "arguments": {"city": "Zürich", "days": 3}}}
    events, error = await run(a_provider({"models": {"m": {"script": [step]}}}), a_call())
    assert error is None
    start = next(e for e in events if isinstance(e, ToolCallStart))
    assert (start.name, bool(start.id)) == ("look_up", True)
    arguments = "".join(e.fragment for e in events if isinstance(e, ToolArguments))
    assert json.loads(arguments) == {"city": "Zürich", "days": 3}
    assert isinstance(events[-1], Finished)
    assert events[-1].finish_reason is FinishReason.TOOL_CALLS


async def test_a_required_tool_is_called_and_a_wanted_schema_is_met() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "kind": {"enum": ["a", "b"]}},
        "required": ["n"],
    }
    tools = (Tool("first", "", json.dumps(schema)), Tool("second", "", ""))
    events, _ = await run(a_provider({}), a_call(tools=tools, tool_choice=ToolChoice(ToolMode.REQUIRED)))
    assert next(e for e in events if isinstance(e, ToolCallStart)).name == "first"
    events, _ = await run(a_provider({}), a_call(tools=tools, tool_choice=ToolChoice(ToolMode.NAMED, "second")))
    assert next(e for e in events if isinstance(e, ToolCallStart)).name == "second"
    events, _ = await run(a_provider({}), a_call(response_format=ResponseFormat(json.dumps(schema))))
    assert json.loads(text_of(events)) == {"n": 1, "kind": "a"}


async def test_the_output_limit_is_kept() -> None:
    events, _ = await run(a_provider({}), a_call(cap=7))
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.finish_reason, last.usage.output_tokens) == (FinishReason.MAX_OUTPUT_TOKENS, 7)


async def test_a_begun_answer_is_gone_on_with() -> None:
    events, _ = await run(a_provider({"text": "one two three"}), a_call(prefill="one tw"))
    assert text_of(events) == "o three"


async def test_a_whole_answer_comes_in_one_batch_after_the_same_time() -> None:
    sleeps = Sleeps()
    provider = a_provider({"output_tokens": 20, "tokens_per_s": 100}, sleeps)
    batches = [batch async for batch in provider.stream(a_call(stream=False))]
    assert len(batches) == 1
    assert isinstance(batches[0][-1], Finished)
    assert sleeps.total_s == pytest.approx(0.05 + 0.2)


async def test_faults_come_by_chance_and_the_same_seed_brings_the_same_ones() -> None:
    raw = {"seed": 7, "faults": [{"status": 503, "probability": 0.3}, {"status": 429, "probability": 0.2}]}

    async def statuses(raw: Mapping[str, Any]) -> list[int]:
        provider = a_provider(raw)
        return [error.http_status if (error := (await run(provider, a_call()))[1]) else 200 for _ in range(200)]

    first = await statuses(raw)
    assert first == await statuses(raw)
    assert first != await statuses({**raw, "seed": 8})
    assert 40 <= first.count(503) <= 80
    assert 20 <= first.count(429) <= 60


async def test_a_cancelled_answer_ends_at_once() -> None:
    provider = SimulatedProvider("sim", parse_script({"time_to_first_token_s": 60}))
    task = asyncio.create_task(run(provider, a_call()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"sed": 1}, "sed: unknown key; did you mean seed?"),
        ({"seed": "1"}, "seed: must be a whole number, not '1'"),
        ({"tokens_per_s": 0}, "tokens_per_s: must be more than 0"),
        ({"output_tokens": True}, "output_tokens: must be a whole number"),
        ({"time_to_first_token_s": float("nan")}, "time_to_first_token_s: must be between"),
        ({"models": ["a"]}, "models: must be a mapping"),
        ({"models": {"a": {"scrip": []}}}, "models.a.scrip: unknown key; did you mean script?"),
        ({"models": {"a": {"script": {"x": 1}}}}, "models.a.script: must be a list"),
        ({"faults": [{"status": 503}]}, "faults[0].probability: is missing"),
        ({"faults": [{"status": 503, "probability": 2}]}, "faults[0].probability: must be between 0 and 1"),
        ({"faults": [{"status": 503, "probability": 0.6}] * 2}, "faults: the probabilities add up to more than 1"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_the_key(raw: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_script(raw)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("no", ": must be `ok` or one of"),
        ({"status": 200}, ".status: must be between 400"),
        ({"times": 2}, ": must have exactly one of"),
        ({"statu": 503}, ".statu: unknown key; did you mean status?"),
        ({"status": 503, "silent": True}, ": must have exactly one"),
        ({"cut_after": 1, "retry_after_s": 1}, ".retry_after_s: unknown key"),
        ({"status": 503, "times": 0}, ".times: must be between 1"),
        ({"silent": False}, ".silent: must be true"),
        ({"tool_call": {}}, ".tool_call.name: must be a text"),
        ({"tool_call": {"name": "f", "arguments": {"x": {1}}}}, ".tool_call.arguments: is no JSON"),
    ],
)
def test_a_wrong_step_is_an_error_that_names_the_key(step: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"models.a.script[1]{message}")):
        parse_script({"models": {"a": {"script": ["ok", step]}}})
