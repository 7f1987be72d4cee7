"""What a chain does once content has come: time, prefill, what may be carried on; providers are scripts of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from atlas_sidecar.core.errors import ErrorClass, ProviderError, Reason
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.types import (
    Blob,
    Finished,
    FinishReason,
    Head,
    Limits,
    Message,
    Part,
    Particulars,
    ProviderBatch,
    ProviderCall,
    ProviderEvent,
    RateLimit,
    ReasoningDelta,
    ResponseFormat,
    Role,
    StreamPolicy,
    TextDelta,
    Tool,
    Usage,
    UsageReport,
)
from atlas_sidecar.runtime.engine import FallbackSettings, Timeouts
from tests.runtime.rig import Rig, ask, completed, failed, model, names, rig

HEAD = Head(200, "req")
CUT = ProviderError(ErrorClass.STREAM_BROKEN, "cut")


def done(reason: FinishReason = FinishReason.STOP) -> Finished:
    return Finished(reason, reason.name.lower(), Usage(input_tokens=5, output_tokens=2))


class Script:
    """A provider that plays one list for each request: events, errors, and pauses (floats, seconds)."""

    name = kind = "a"
    has_credentials = True
    address = ("127.0.0.1", 1)

    def __init__(self, *answers: list[ProviderEvent | ProviderError | float]) -> None:
        self._answers = list(answers)
        self.calls: list[ProviderCall] = []

    async def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        self.calls.append(call)
        for step in self._answers.pop(0):
            if isinstance(step, ProviderError):
                raise step
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield [step]

    async def probe(self) -> RateLimit | None:
        return None

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


async def scripted(
    tmp_path: Path,
    first: Script,
    second: Script,
    *,
    timeouts: Timeouts | None = None,
    fallback: FallbackSettings | None = None,
    price: Price = Price(1_000_000_000, 2_000_000_000),  # noqa: B008 - frozen
) -> Rig:
    models = [model("a", "a", 9.0, price=price), model("b", "b", 8.0, prefill=True)]
    r = await rig(tmp_path, {"a": ["ok"], "b": ["ok"]}, models=models, timeouts=timeouts, fallback=fallback)
    assert isinstance(r.engine.providers, dict)
    r.engine.providers.update({"a": first, "b": second})
    return r


def text(message: Any) -> str:
    return "".join(part.content.text for part in message.parts)


async def test_the_first_token_limit_begins_anew_with_each_attempt_and_ends_with_the_first_content(
    tmp_path: Path,
) -> None:
    first = Script([0.3, HEAD, ProviderError(ErrorClass.TEMPORARY, "no")], [0.3, HEAD, TextDelta(0, "Hi"), 0.6, done()])
    r = await scripted(tmp_path, first, Script(), timeouts=Timeouts(time_to_first_token_s=0.5, idle_s=2.0))
    end = completed(await r.generate(ask()))
    assert [a.error_class for a in end.attempts] == [ErrorClass.TEMPORARY, None]


async def test_a_head_and_usage_are_no_first_content(tmp_path: Path) -> None:
    first = Script([HEAD, 5.0])
    second = Script([HEAD, TextDelta(0, "Hi"), done()])
    r = await scripted(tmp_path, first, second, timeouts=Timeouts(time_to_first_token_s=0.1, idle_s=9.0))
    end = completed(await r.generate(ask()))
    assert [a.error_class for a in end.attempts] == [ErrorClass.TIMEOUT, None]


async def test_the_next_model_is_asked_with_the_text_so_far_and_goes_on_in_the_same_part(tmp_path: Path) -> None:
    second = Script([HEAD, TextDelta(0, " "), TextDelta(0, " two"), done()])
    r = await scripted(tmp_path, Script([HEAD, TextDelta(0, "one "), CUT]), second)
    events = await r.generate(ask(policy=StreamPolicy.CONTINUE))
    assert second.calls[0].prefill == "one"
    assert names(events) == ["Started", "delta", "HopFailed", "Started", "delta", "Completed"]
    assert text(completed(events).message) == "one  two"
    assert [event.text for _, event in events if isinstance(event, TextDelta)] == ["one ", " two"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": (Tool("f", "", ""),)},
        {"response_format": ResponseFormat(json_object=True)},
        {"response_format": ResponseFormat(json_schema='{"type": "object"}')},
    ],
)
async def test_tools_and_json_are_never_carried_on(tmp_path: Path, changes: dict[str, Any]) -> None:
    second = Script([HEAD, TextDelta(0, "whole"), done()])
    r = await scripted(tmp_path, Script([HEAD, TextDelta(0, "half"), CUT]), second)
    events = await r.generate(ask(policy=StreamPolicy.CONTINUE, **changes))
    assert second.calls[0].prefill == ""
    assert "Reset" in names(events)
    assert text(completed(events).message) == "whole"


async def test_an_answer_with_reasoning_is_never_carried_on(tmp_path: Path) -> None:
    second = Script([HEAD, TextDelta(0, "whole"), done()])
    r = await scripted(tmp_path, Script([HEAD, ReasoningDelta(0, "hm"), TextDelta(1, "half"), CUT]), second)
    events = await r.generate(ask(policy=StreamPolicy.CONTINUE))
    assert second.calls[0].prefill == ""
    assert text(completed(events).message) == "whole"


async def test_a_refused_prefill_is_followed_by_the_same_model_from_the_beginning(tmp_path: Path) -> None:
    refusal = ProviderError(ErrorClass.INVALID_REQUEST, "no", http_status=400, breaks_model=False)
    second = Script([refusal], [HEAD, TextDelta(0, "whole"), done()])
    r = await scripted(tmp_path, Script([HEAD, TextDelta(0, "half"), CUT]), second)
    events = await r.generate(ask(policy=StreamPolicy.CONTINUE))
    assert [call.prefill for call in second.calls] == ["half", ""]
    assert names(events) == ["Started", "delta", "HopFailed", "Reset", "Started", "delta", "Completed"]
    assert [(a.model.id, a.hop, a.number) for a in completed(events).attempts] == [
        ("a", 1, 1),
        ("b", 2, 1),
        ("b", 2, 2),
    ]


@pytest.mark.parametrize("reason", [FinishReason.REFUSAL, FinishReason.CONTENT_FILTER])
async def test_a_refusal_without_content_is_a_failure_and_with_content_an_answer_with_that_finish(
    tmp_path: Path, reason: FinishReason
) -> None:
    r = await scripted(tmp_path, Script([HEAD, done(reason)], [HEAD, TextDelta(0, "No."), done(reason)]), Script())
    end = failed(await r.generate(ask()))
    assert (end.reason, len(end.attempts)) == (Reason.CONTENT_FILTERED, 1)
    assert end.cost_nano_usd > 0, "the provider billed it"
    answered = completed(await r.generate(ask()))
    assert answered.finish_reason is reason


async def test_a_full_window_before_any_content_goes_to_a_larger_window(tmp_path: Path) -> None:
    second = Script([HEAD, TextDelta(0, "whole"), done()])
    r = await scripted(tmp_path, Script([HEAD, done(FinishReason.MAX_CONTEXT)]), second)
    end = failed(await r.generate(ask()))
    assert end.attempts[0].error_class is ErrorClass.CONTEXT_TOO_LONG
    assert second.calls == [], "its window is no larger"


async def test_a_failed_hops_usage_and_the_answers_are_summed(tmp_path: Path) -> None:
    half: list[ProviderEvent | ProviderError | float] = [HEAD, TextDelta(0, "half"), CUT]
    r = await scripted(tmp_path, Script(half), Script([HEAD, TextDelta(0, "whole"), done()]))
    end = completed(await r.generate(ask(policy=StreamPolicy.RESTART)))
    assert end.usage == Usage(input_tokens=5, output_tokens=2)
    assert end.total_usage.output_tokens == 2 + 1
    assert end.cost_nano_usd == sum(a.cost_nano_usd or 0 for a in end.attempts)
    assert [a.cost_estimated for a in end.attempts] == [True, False]


@pytest.mark.parametrize(
    ("huge", "counted"),
    [
        (Usage(10**30, output_tokens=10**30), Usage(9, output_tokens=100)),
        (Usage(5, reasoning_tokens=10**9, output_tokens=1), Usage(5, output_tokens=100)),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
async def test_usage_beyond_all_that_a_request_can_have_used_is_estimated_instead(
    tmp_path: Path, huge: Usage, counted: Usage, broken: bool
) -> None:
    end = CUT if broken else Finished(FinishReason.STOP, "stop", huge)
    first = Script([HEAD, TextDelta(0, "a" * 400), UsageReport(huge), end])
    r = await scripted(tmp_path, first, Script([HEAD, TextDelta(0, "b"), done()]))
    attempt = completed(await r.generate(ask(policy=StreamPolicy.RESTART))).attempts[0]
    assert (attempt.usage, attempt.cost_estimated) == (counted, True)
    assert attempt.cost_nano_usd == counted.total_input_tokens * 1000 + 100 * 2000


async def test_reasoning_beyond_the_callers_cap_is_believed_where_the_model_may_have_thought_that_long(
    tmp_path: Path,
) -> None:
    thought = Usage(5, output_tokens=10, reasoning_tokens=4_000)
    first = Script([HEAD, TextDelta(0, "a"), Finished(FinishReason.STOP, "stop", thought)])
    r = await scripted(tmp_path, first, Script())
    end = completed(await r.generate(ask(limits=Limits(max_output_tokens=50))))
    assert (end.usage, end.cost_estimated) == (thought, False)


async def test_a_cost_that_lacks_a_price_is_incomplete_and_an_estimate_to_the_ledger(tmp_path: Path) -> None:
    heard = Usage(input_tokens=100, output_tokens=2, of_which=Particulars(audio_input=80))
    r = await scripted(
        tmp_path, Script([HEAD, TextDelta(0, "a"), Finished(FinishReason.STOP, "stop", heard)]), Script()
    )
    end = completed(await r.generate(ask()))
    assert (end.cost_nano_usd, end.cost_incomplete, end.cost_estimated) == (104_000, True, False)
    assert end.usage == end.total_usage == end.attempts[0].usage == heard.counts()
    (total,) = r.budget.health().spend.values()
    assert (total.cost_nano_usd, total.estimated_nano_usd, total.unknown) == (104_000, 104_000, 0)


async def test_a_cost_whose_prices_are_all_known_is_whole(tmp_path: Path) -> None:
    heard = Usage(input_tokens=100, output_tokens=2, of_which=Particulars(audio_input=80, web_searches=1))
    price = Price(1_000_000_000, 2_000_000_000, input_audio=10_000_000_000, web_search=10_000_000_000_000)
    finished = Finished(FinishReason.STOP, "stop", heard)
    r = await scripted(tmp_path, Script([HEAD, TextDelta(0, "a"), finished]), Script(), price=price)
    end = completed(await r.generate(ask()))
    assert (end.cost_nano_usd, end.cost_incomplete) == (20_000 + 800_000 + 4_000 + 10_000_000, False)


async def test_speech_whose_answer_broke_before_its_usage_is_estimated_as_speech(tmp_path: Path) -> None:
    price = Price(1_000_000_000, 2_000_000_000, input_audio=10_000_000_000)
    r = await scripted(tmp_path, Script([HEAD, TextDelta(0, "half"), CUT]), Script(), price=price)
    message = Message(Role.USER, (Part(Blob("audio/wav", b"x" * 50_000)),))
    (attempt,) = failed(await r.generate(ask(messages=(message,)))).attempts
    assert attempt.usage.input_tokens is not None
    assert attempt.usage.input_tokens >= 100
    assert attempt.cost_nano_usd == attempt.usage.input_tokens * 10_000 + 2_000
    assert attempt.cost_estimated
    assert not attempt.cost_incomplete


async def test_a_chain_lacks_a_price_when_any_of_its_attempts_does(tmp_path: Path) -> None:
    heard = UsageReport(Usage(input_tokens=100, output_tokens=2, of_which=Particulars(audio_input=80)))
    r = await scripted(
        tmp_path, Script([HEAD, heard, TextDelta(0, "a"), CUT]), Script([HEAD, TextDelta(0, "b"), done()])
    )
    end = completed(await r.generate(ask(policy=StreamPolicy.RESTART)))
    assert [attempt.cost_incomplete for attempt in end.attempts] == [True, False]
    assert end.cost_incomplete
