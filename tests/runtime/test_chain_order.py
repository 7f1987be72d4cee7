"""Which models a call asks, in what order and how often, and what each of them is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atlas_sidecar.core.errors import ErrorClass, ProviderError, Reason
from atlas_sidecar.core.leases import Hold, Reservation
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.types import FinishReason, Limits, Requirements, StreamPolicy, TextDelta
from atlas_sidecar.runtime.engine import FallbackSettings, Timeouts
from atlas_sidecar.runtime.events import HopFailed
from atlas_sidecar.runtime.router import CallContext
from tests.runtime.rig import ask, completed, failed, model, names, rig
from tests.runtime.test_chain_content import CUT, HEAD, Script, done, scripted
from tests.runtime.virtual_time import LoopClock, run

DOWN = [{"status": 503, "times": 99}]


async def test_the_chain_is_walked_to_the_model_that_answers_and_says_how_far(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": DOWN, "b": [{"status": 404, "times": 9}], "c": [{"status": 401}], "d": ["ok"]})
    events = await r.generate(ask())
    told = [event for _, event in events if isinstance(event, HopFailed)]
    assert [(t.model.id, t.next.id if t.next else "") for t in told] == [("a", "b"), ("b", "c"), ("c", "d")]
    assert [hop for hop, _ in events][-1] == 4
    assert [a.model.id for a in completed(events).attempts] == ["a", "b", "c", "d"]


async def test_one_hop_and_one_attempt_are_exactly_one_request_with_its_own_error(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"status": 500}], "b": ["ok"]})
    end = failed(await r.generate(ask(limits=Limits(max_hops=1, max_attempts_per_model=1))))
    assert [(a.model.id, a.http_status) for a in end.attempts] == [("a", 500)]
    assert (end.reason, end.error_class) == (Reason.ALL_MODELS_FAILED, ErrorClass.TEMPORARY)


@pytest.mark.parametrize("bound", [Requirements(only_models=("a",)), Requirements(exclude_models=("b",))])
async def test_what_the_caller_excludes_is_excluded_from_every_hop(tmp_path: Path, bound: Requirements) -> None:
    r = await rig(tmp_path, {"a": [{"status": 404, "times": 9}], "b": ["ok"]})
    end = failed(await r.generate(ask(requirements=bound)))
    assert {a.model.id for a in end.attempts} == {"a"}


async def test_a_filtered_answer_goes_on_where_the_configuration_says_so(tmp_path: Path) -> None:
    first, second = Script([HEAD, done(FinishReason.REFUSAL)]), Script([HEAD, TextDelta(0, "yes"), done()])
    r = await scripted(tmp_path, first, second, fallback=FallbackSettings(on_content_filter="next"))
    end = completed(await r.generate(ask()))
    assert [a.error_class for a in end.attempts] == [ErrorClass.CONTENT_FILTERED, None]
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_each_hop_gets_its_own_cap_and_options_and_the_request_as_it_came(tmp_path: Path) -> None:
    models = [model("a", "a", 9.0, max_output_tokens=1000), model("b", "b", 8.0, max_output_tokens=300)]
    first, second = Script([HEAD]), Script([HEAD, TextDelta(0, "yes"), done()])
    r = await rig(tmp_path, {"a": ["ok"], "b": ["ok"]}, models=models, fallback=FallbackSettings(attempts_per_model=1))
    assert isinstance(r.engine.providers, dict)
    r.engine.providers.update({"a": first, "b": second})
    request = ask(
        limits=Limits(max_output_tokens=500), provider_options={"a": {"x": 1}, "simulated": {"y": 2}, "b": {"y": 3}}
    )
    completed(await r.generate(request))
    assert [(c.max_output_tokens, c.options) for c in first.calls] == [(500, {"x": 1, "y": 2})]
    assert [(c.max_output_tokens, c.options) for c in second.calls] == [(300, {"y": 3})]
    assert first.calls[0].request is second.calls[0].request is request


def test_each_try_has_its_timeout_and_the_deadline_ends_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        silent = [{"silent": True, "times": 9}]
        timeouts = Timeouts(time_to_first_token_s=5.0, idle_s=5.0)
        r = await rig(tmp_path, {"a": silent, "b": silent, "c": silent}, timeouts=timeouts, clock=LoopClock())
        r.context = CallContext({}, time_left_s=12.0)
        end = failed(await r.generate(ask()))
        classes = [a.error_class for a in end.attempts]
        assert classes == [ErrorClass.TIMEOUT, ErrorClass.TIMEOUT, ErrorClass.DEADLINE]
        assert end.reason is Reason.DEADLINE

    run(main())


async def test_the_failures_of_every_hop_are_evidence(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": DOWN, "b": DOWN, "c": ["ok"]})
    completed(await r.generate(ask()))
    states, _ = r.health.states(r.clock.monotonic_s())
    assert max(states["a"].success_rate, states["b"].success_rate) < 0.96 < states["c"].success_rate


async def test_a_flaky_model_answers_on_its_retry_and_only_that_is_paid(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"status": 500}, "ok"], "b": ["ok"]})
    events = await r.generate(ask())
    assert names(events) == ["Started", "delta", "Completed"], "no hop failed"
    end = completed(events)
    assert [(a.model.id, a.number, a.cost_nano_usd) for a in end.attempts] == [("a", 1, 0), ("a", 2, end.cost_nano_usd)]
    assert r.budget.health().spent_today_nano_usd == end.cost_nano_usd


async def test_a_limited_model_is_passed_over_until_its_time_and_comes_back(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"status": 429, "retry_after_s": 0.3}], "b": ["ok"]})
    served = [completed(await r.generate(ask())).model.id for _ in range(3)]
    assert served == ["b", "b", "b"]
    last = r.health.states(r.clock.monotonic_s())[0]["a"]
    assert last.limited_until_s > 0
    await asyncio.sleep(0.35)
    assert completed(await r.generate(ask())).model.id == "a"


async def test_the_cost_cap_is_the_whole_chains(tmp_path: Path) -> None:
    dear = Price(1_000_000_000, 2_000_000_000_000)  # 2 USD a thousand tokens of output
    models = [model("a", "a", 9.0, price=dear), model("b", "b", 8.0, price=dear)]
    first, second = Script([HEAD, TextDelta(0, "x" * 400), CUT]), Script([HEAD, TextDelta(0, "yes"), done()])
    r = await rig(tmp_path, {"a": ["ok"], "b": ["ok"]}, models=models)
    assert isinstance(r.engine.providers, dict)
    r.engine.providers.update({"a": first, "b": second})
    cap = 210_000_000  # about 105 tokens; the first hop says 100 before it breaks
    limits = Limits(max_cost_nano_usd=cap, max_output_tokens=100)
    end = failed(await r.generate(ask(policy=StreamPolicy.RESTART, limits=limits)))
    assert second.calls == [], "what is left does not pay for its answer"
    assert 200_000_000 <= end.cost_nano_usd <= cap


async def test_hop_failed_is_told_while_the_next_model_is_still_silent(tmp_path: Path) -> None:
    slow = Script([0.5, HEAD, TextDelta(0, "yes"), done()])
    r = await scripted(tmp_path, Script([ProviderError(ErrorClass.OVERLOADED, "no", http_status=503)]), slow)
    told_s: dict[str, float] = {}
    began_s = r.clock.monotonic_s()
    async for batch in r.router.generate(ask(), r.context):
        for event in batch.events:
            told_s.setdefault(type(event).__name__, r.clock.monotonic_s() - began_s)
    assert told_s["HopFailed"] < 0.4 < told_s["Started"]


async def test_a_call_without_a_deadline_ends_at_the_configured_total(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"silent": True}], "b": ["ok"]}, timeouts=Timeouts(total_s=0.3))
    end = failed(await r.generate(ask()))
    assert (end.reason, [a.error_class for a in end.attempts]) == (Reason.DEADLINE, [ErrorClass.DEADLINE])


async def test_an_attempt_says_how_long_was_waited_before_it(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": [{"status": 500}, {"status": 500}, "ok"]})
    attempts = completed(await r.generate(ask())).attempts
    assert attempts[0].waited_before_s == 0
    assert all(attempt.waited_before_s > 0 for attempt in attempts[1:])
    assert attempts[1].started_at_s > attempts[0].started_at_s


def test_a_budget_that_does_not_answer_ends_with_the_deadline_and_holds_nothing(tmp_path: Path) -> None:
    async def never(hold: Hold) -> Reservation:
        await asyncio.sleep(60)
        raise AssertionError(hold)

    async def main() -> None:
        r = await rig(tmp_path, {"a": ["ok"]}, clock=LoopClock())
        r.budget.reserve = never  # type: ignore[method-assign]  # a budget service that hangs
        r.context = CallContext({}, time_left_s=10.0)
        began_s = r.clock.monotonic_s()
        end = failed(await r.generate(ask()))
        assert r.clock.monotonic_s() - began_s == pytest.approx(9.95, abs=0.01)
        assert (end.reason, end.attempts) == (Reason.DEADLINE, ())

    run(main())
