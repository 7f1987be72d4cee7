"""A call along its chain, with real health, budget and simulated providers: what is told, and what it costs."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from atlas_sidecar.core.errors import AtlasError, ErrorClass, Reason
from atlas_sidecar.core.types import Limits, Requirements, StreamPolicy, TextDelta
from atlas_sidecar.runtime.engine import FallbackSettings, Timeouts
from atlas_sidecar.runtime.events import HopFailed, Reset, Started
from atlas_sidecar.runtime.router import CallContext
from tests.runtime.rig import FastClock, ask, completed, failed, model, names, rig
from tests.runtime.virtual_time import LoopClock, run

FAST = Timeouts(time_to_first_token_s=0.15, idle_s=0.15)


def text_of(events: list[tuple[int, Any]]) -> str:
    """Return the text as a caller that honours `reset` has it."""
    parts: list[str] = []
    for _, event in events:
        if isinstance(event, Reset):
            parts.clear()
        elif isinstance(event, TextDelta):
            parts.append(event.text)
    return "".join(parts)


async def test_one_good_answer_streams_and_is_paid_once(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"], "b": ["ok"]})
    events = await r.generate(ask())
    done = completed(events)
    assert names(events) == ["Started", "delta", "Completed"]
    assert [a.model.id for a in done.attempts] == ["a"]
    assert done.usage.output_tokens == 10
    assert done.cost_nano_usd == (done.usage.input_tokens or 0) * 1000 + 10 * 2000
    assert not done.cost_estimated
    assert text_of(events) == done.message.parts[0].content[0]
    assert r.budget.health().spent_today_nano_usd == done.cost_nano_usd


@pytest.mark.parametrize(
    ("status", "cls", "requests"),
    [
        (429, ErrorClass.RATE_LIMITED, 1),
        (503, ErrorClass.OVERLOADED, 1),
        (500, ErrorClass.TEMPORARY, 3),
        (402, ErrorClass.QUOTA_EXHAUSTED, 1),
        (401, ErrorClass.AUTH, 1),
        (404, ErrorClass.MODEL_UNAVAILABLE, 1),
    ],
)
async def test_a_failing_model_hands_over_to_the_next(
    tmp_path: Path, status: int, cls: ErrorClass, requests: int
) -> None:
    r = await rig(tmp_path, {"a": [{"status": status, "times": 9}], "b": ["ok"]})
    events = await r.generate(ask())
    assert names(events) == ["HopFailed", "Started", "delta", "Completed"]
    told = events[0][1]
    assert isinstance(told, HopFailed)
    assert (told.error_class, told.attempts, told.next and told.next.id) == (cls, requests, "b")
    assert [hop for hop, _ in events][-1] == 2
    done = completed(events)
    assert [a.model.id for a in done.attempts] == ["a"] * requests + ["b"]
    assert [a.http_status for a in done.attempts] == [status] * requests + [200]
    assert done.model.id == "b"


async def test_all_failed_lists_every_attempt_and_the_wait_that_helps(tmp_path: Path) -> None:
    scripts = {"a": [{"status": 404, "times": 9}], "b": [{"status": 429, "retry_after_s": 7200, "times": 9}]}
    r = await rig(tmp_path, scripts)
    events = await r.generate(ask())
    assert names(events) == ["HopFailed", "HopFailed", "Failure"]
    end = failed(events)
    assert end.reason is Reason.ALL_MODELS_FAILED
    assert [(a.model.id, a.error_class) for a in end.attempts] == [
        ("a", ErrorClass.MODEL_UNAVAILABLE),
        ("b", ErrorClass.RATE_LIMITED),
    ]
    assert end.retry_after_s == pytest.approx(7200, abs=5)
    last_hop = events[1][1]
    assert isinstance(last_hop, HopFailed)
    assert last_hop.next is None


async def test_an_invalid_request_is_not_tried_elsewhere(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"status": 400}], "b": ["ok"]})
    end = failed(await r.generate(ask()))
    assert end.reason is Reason.INVALID_REQUEST
    assert len(end.attempts) == 1


async def test_fail_ends_where_the_stream_breaks(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"cut_after": 3}], "b": ["ok"]})
    events = await r.generate(ask())
    assert names(events) == ["Started", "delta", "HopFailed", "Failure"]
    end = failed(events)
    assert (end.reason, end.error_class) == (Reason.STREAM_BROKEN, ErrorClass.STREAM_BROKEN)
    assert end.cost_estimated


async def test_restart_resets_and_sends_the_whole_answer(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"cut_after": 3}], "b": ["ok"]})
    events = await r.generate(ask(policy=StreamPolicy.RESTART))
    assert names(events) == ["Started", "delta", "HopFailed", "Reset", "Started", "delta", "Completed"]
    done = completed(events)
    assert text_of(events) == done.message.parts[0].content[0]
    assert (done.usage.output_tokens, done.total_usage.output_tokens) == (10, 13)
    assert done.cost_nano_usd == sum(a.cost_nano_usd or 0 for a in done.attempts)


async def test_continue_goes_on_where_the_text_broke_off(tmp_path: Path) -> None:
    models = [model("a", "a", 9.0), model("b", "b", 8.0, prefill=True)]
    r = await rig(tmp_path, {"a": [{"cut_after": 3}], "b": ["ok"]}, models=models)
    events = await r.generate(ask(policy=StreamPolicy.CONTINUE))
    assert names(events) == ["Started", "delta", "HopFailed", "Started", "delta", "Completed"]
    done = completed(events)
    assert len(done.message.parts) == 1
    assert text_of(events) == done.message.parts[0].content[0]


async def test_buffer_tells_nothing_before_the_whole_answer(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"cut_after": 3}], "b": ["ok"]})
    events = await r.generate(ask(policy=StreamPolicy.BUFFER))
    assert names(events) == ["HopFailed", "Completed"]
    assert completed(events).message.parts[0].content[0]


async def test_a_silent_model_is_left_after_the_first_token_timeout(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"silent": True}], "b": ["ok"]}, timeouts=FAST)
    done = completed(await r.generate(ask()))
    assert done.attempts[0].error_class is ErrorClass.TIMEOUT
    assert done.attempts[0].elapsed_s == pytest.approx(0.15, abs=0.1)


async def test_a_stall_after_content_breaks_the_stream(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"stall_after": 2}], "b": ["ok"]}, timeouts=FAST)
    done = completed(await r.generate(ask(policy=StreamPolicy.RESTART)))
    assert done.attempts[0].error_class is ErrorClass.STREAM_BROKEN


@pytest.mark.parametrize(("time_left_s", "margin_s"), [(0.4, 0.02), (20.0, 0.05)])
def test_the_caller_hears_of_its_deadline_before_it_passes(tmp_path: Path, time_left_s: float, margin_s: float) -> None:
    async def main() -> None:
        r = await rig(tmp_path, {"a": [{"silent": True}]}, clock=LoopClock())
        r.context = CallContext({}, time_left_s=time_left_s)
        started_s = r.clock.monotonic_s()
        end = failed(await r.generate(ask()))
        assert r.clock.monotonic_s() - started_s == pytest.approx(time_left_s - margin_s, abs=0.005)
        assert (end.reason, end.error_class) == (Reason.DEADLINE, ErrorClass.DEADLINE)

    run(main())


async def test_a_sole_rate_limited_model_is_waited_for(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"status": 429, "retry_after_s": 20}]})
    done = completed(await r.generate(ask()))
    assert [a.error_class for a in done.attempts] == [ErrorClass.RATE_LIMITED, None]
    assert isinstance(r.clock, FastClock)
    assert any(wait == pytest.approx(20, abs=1) for wait in r.clock.waits)


async def test_a_caller_that_leaves_is_charged_what_came_and_nothing_stays_reserved(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"]})
    async with aclosing(r.router.generate(ask(), r.context)) as batches:
        async for _ in batches:
            break
    assert r.health.states(r.clock.monotonic_s())[0]["a"].in_flight == 0
    spent = r.budget.health().spent_today_nano_usd
    assert 0 < spent < 40_000


async def test_a_budget_that_is_spent_refuses_before_anything_is_sent(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"], "b": ["ok"]}, daily_limit_nano_usd=1000)
    end = failed(await r.generate(ask()))
    assert end.reason is Reason.BUDGET_EXHAUSTED
    assert end.attempts == ()
    assert end.retry_after_s is not None


async def test_max_cost_caps_the_chain(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"]})
    end = failed(await r.generate(ask(limits=Limits(max_cost_nano_usd=100))))
    assert end.reason is Reason.MAX_COST
    done = completed(await r.generate(ask(limits=Limits(max_cost_nano_usd=10_000_000))))
    assert done.cost_nano_usd <= 10_000_000


async def test_an_unknown_model_is_refused_by_name(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"]})
    with pytest.raises(AtlasError) as raised:
        await r.generate(ask(requirements=Requirements(only_models=("nope",))))
    assert raised.value.reason is Reason.UNKNOWN_MODEL
    assert "nope" in raised.value.message


async def test_a_second_call_with_the_key_of_a_running_one_is_a_duplicate(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"]})
    request = ask(idempotency_key="k")
    async with aclosing(r.router.generate(request, r.context)) as batches:
        await anext(batches)
        with pytest.raises(AtlasError) as raised:
            await r.generate(request)
        assert raised.value.reason is Reason.DUPLICATE
    completed(await r.generate(request))


async def test_explain_sends_the_decision_once(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"cut_after": 1}], "b": ["ok"]})
    events = await r.generate(ask(policy=StreamPolicy.RESTART, explain=True))
    started = [event for _, event in events if isinstance(event, Started)]
    assert [event.decision is not None for event in started] == [True, False]


async def test_the_retry_quota_bounds_retries(tmp_path: Path) -> None:
    r = await rig(
        tmp_path,
        {"a": [{"status": 500, "times": 900}], "b": ["ok"]},
        fallback=FallbackSettings(backoff_base_s=0.001),
    )
    asked = 0
    for _ in range(30):
        asked += len([a for a in completed(await r.generate(ask())).attempts if a.model.id == "a"])
    assert asked < 90
