from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.errors import ErrorClass, Reason
from atlas_sidecar.core.fallback import (
    Event,
    Fail,
    Failed,
    Feasible,
    Plan,
    RetryRefused,
    Skip,
    Skipped,
    Step,
    Try,
    Verdict,
    Wait,
    backoff_s,
    next_step,
)
from atlas_sidecar.core.types import Model, ModelRef, Rejection, StreamPolicy, Target


def target(name: str, window: int = 100_000, *, prefill: bool = False, provider: str = "") -> Target:
    ref = ModelRef(name, provider or name, name)
    return Target(Model(ref, "simulated", window, 4096, 8.0, 8.0, prefill=prefill), 1)


A, B, C = target("a"), target("b"), target("c", 200_000, prefill=True)


def plan(
    *order: Target, policy: StreamPolicy = StreamPolicy.RESTART, deadline_s: float = math.inf, **more: Any
) -> Plan:
    return Plan(order=order or (A, B, C), reserves=(), policy=policy, deadline_s=deadline_s)._replace(**more)


def fine(_: Target) -> Verdict | None:
    return None


def failed(which: Target, cls: ErrorClass, hop: int = 1, number: int = 1, **more: Any) -> Failed:
    return Failed(which, hop, number, cls, 0.0)._replace(**more)


def step(p: Plan, *history: Event, now_s: float = 0.0, jitter: float = 0.5, feasible: Feasible = fine) -> Step:
    return next_step(p, history, now_s, jitter, feasible)


def test_the_selected_model_is_asked_first() -> None:
    assert step(plan()) == Try(A, 1, 1, "primary")


@pytest.mark.parametrize(
    "cls",
    [
        ErrorClass.RATE_LIMITED,
        ErrorClass.OVERLOADED,
        ErrorClass.TIMEOUT,
        ErrorClass.QUOTA_EXHAUSTED,
        ErrorClass.AUTH,
        ErrorClass.MODEL_UNAVAILABLE,
        ErrorClass.OTHER,
    ],
)
def test_these_classes_go_to_the_next_model_at_once(cls: ErrorClass) -> None:
    assert step(plan(), failed(A, cls)) == Try(B, 2, 1, "fallback")


def test_a_temporary_failure_is_retried_with_full_jitter_then_the_next_model() -> None:
    first, second, third = (failed(A, ErrorClass.TEMPORARY, number=n) for n in (1, 2, 3))
    assert step(plan(), first) == Wait(0.25, "backoff", Try(A, 1, 2, "retry"))
    assert step(plan(), first, second) == Wait(0.5, "backoff", Try(A, 1, 3, "retry"))
    assert step(plan(), first, second, third) == Try(B, 2, 1, "fallback")


def test_a_failure_worth_one_retry_is_retried_once() -> None:
    first = failed(A, ErrorClass.TEMPORARY, retry_once=True)
    second = failed(A, ErrorClass.TEMPORARY, number=2, retry_once=True)
    assert isinstance(step(plan(), first), Wait)
    assert step(plan(), first, second) == Try(B, 2, 1, "fallback")


def test_a_short_retry_after_is_waited_for_inline_where_the_configuration_allows_it() -> None:
    limited = failed(A, ErrorClass.RATE_LIMITED, retry_after_s=1.5)
    assert step(plan(), limited) == Try(B, 2, 1, "fallback")
    assert step(plan(max_inline_retry_after_s=2.0), limited) == Wait(1.5, "retry_after", Try(A, 1, 2, "retry"))


def test_a_sole_rate_limited_model_is_waited_for() -> None:
    limited = failed(A, ErrorClass.RATE_LIMITED, retry_after_s=60.0)
    assert step(plan(A), limited) == Wait(60.0, "retry_after", Try(A, 1, 2, "retry"))


def test_a_wait_never_passes_the_deadline_and_the_caller_is_told_how_long_it_would_be() -> None:
    limited = failed(A, ErrorClass.RATE_LIMITED, retry_after_s=60.0)
    end = step(plan(A, deadline_s=30.0), limited)
    assert isinstance(end, Fail)
    assert (end.reason, end.retry_after_s) == (Reason.ALL_MODELS_FAILED, 60.0)


def test_the_last_resort_is_the_model_that_is_ready_first() -> None:
    limited = failed(A, ErrorClass.RATE_LIMITED, hop=1, retry_after_s=9.0)
    other = failed(B, ErrorClass.RATE_LIMITED, hop=2, retry_after_s=3.0)
    assert step(plan(A, B), limited, other) == Wait(3.0, "retry_after", Try(B, 2, 2, "retry"))
    assert step(plan(A, B), other._replace(hop=1), limited._replace(hop=2)) == Wait(
        3.0, "retry_after", Try(B, 3, 1, "fallback")
    )


def test_a_silent_model_is_not_asked_again_and_one_that_was_only_passed_over_is() -> None:
    silent = failed(A, ErrorClass.TIMEOUT)
    assert isinstance(step(plan(A), silent), Fail)
    over = Verdict(Rejection.CIRCUIT_OPEN, "open for 5 s")
    skipped = Skipped(B, over)
    assert step(plan(A, B), silent, skipped, feasible=lambda t: over if t is B else None) == Try(B, 2, 1, "fallback")


def test_a_model_without_credentials_is_skipped_and_never_a_last_resort() -> None:
    verdict = Verdict(Rejection.NO_CREDENTIALS, "no key")
    assert step(plan(A), feasible=lambda _: verdict) == Skip(A, verdict)
    end = step(plan(A), Skipped(A, verdict), feasible=lambda _: verdict)
    assert isinstance(end, Fail)
    assert end.reason is Reason.NO_ELIGIBLE_MODEL


def test_other_models_of_a_provider_that_refused_the_key_are_no_last_resort() -> None:
    first, second = target("one", provider="p"), target("two", provider="p")
    over = Verdict(Rejection.CIRCUIT_OPEN, "open")
    end = step(plan(first, second), failed(first, ErrorClass.AUTH), Skipped(second, over), feasible=lambda _: over)
    assert isinstance(end, Fail)


def test_a_quota_of_one_model_leaves_its_siblings_as_a_last_resort() -> None:
    first, second = target("one", provider="p"), target("two", provider="p")
    over = Verdict(Rejection.OVERLOADED, "over")
    spent = failed(first, ErrorClass.QUOTA_EXHAUSTED, of_model=True)
    tried = step(plan(first, second), spent, Skipped(second, over), feasible=lambda _: over)
    assert tried == Try(second, 2, 1, "fallback")
    whole = step(plan(first, second), spent._replace(of_model=False), Skipped(second, over), feasible=lambda _: over)
    assert isinstance(whole, Fail)


def test_after_too_long_a_context_only_larger_windows_are_asked() -> None:
    history = (failed(A, ErrorClass.CONTEXT_TOO_LONG),)
    skip = step(plan(), *history)
    assert isinstance(skip, Skip)
    assert (skip.target, skip.verdict.rejection) == (B, Rejection.CONTEXT_TOO_LONG)
    assert step(plan(), *history, Skipped(B, skip.verdict)) == Try(C, 2, 1, "fallback")


def test_what_was_too_small_and_what_is_larger_are_input_limits_not_windows() -> None:
    wide = Target(replace(target("wide", 1_050_000).model, max_input_tokens=922_000), 1)
    whole = target("whole", 1_000_000)
    history = (failed(wide, ErrorClass.CONTEXT_TOO_LONG),)
    assert step(plan(wide, whole), *history) == Try(whole, 2, 1, "fallback")
    skip = step(plan(whole, wide), failed(whole, ErrorClass.CONTEXT_TOO_LONG))
    assert isinstance(skip, Skip)
    assert "922,000" in skip.verdict.detail


def test_an_invalid_request_ends_the_call() -> None:
    end = step(plan(), failed(A, ErrorClass.INVALID_REQUEST))
    assert isinstance(end, Fail)
    assert end.reason is Reason.INVALID_REQUEST


def test_a_filtered_answer_ends_the_call_or_goes_on_by_configuration() -> None:
    filtered = failed(A, ErrorClass.CONTENT_FILTERED)
    end = step(plan(), filtered)
    assert isinstance(end, Fail)
    assert end.reason is Reason.CONTENT_FILTERED
    assert step(plan(content_filter_next=True), filtered) == Try(B, 2, 1, "fallback")


def test_after_content_the_policy_decides() -> None:
    broken = failed(A, ErrorClass.STREAM_BROKEN, content_sent=True, continuable=True)
    end = step(plan(policy=StreamPolicy.FAIL), broken)
    assert isinstance(end, Fail)
    assert end.reason is Reason.STREAM_BROKEN
    assert step(plan(), broken) == Try(B, 2, 1, "restart")
    carry_on = plan(A, C, policy=StreamPolicy.CONTINUE)
    assert step(carry_on, broken) == Try(C, 2, 1, "continuation")
    assert step(carry_on, broken._replace(continuable=False)) == Try(C, 2, 1, "restart")
    assert step(plan(policy=StreamPolicy.CONTINUE), broken) == Try(B, 2, 1, "restart")  # b takes no prefill


def test_a_model_that_refuses_to_carry_on_is_asked_at_once_to_begin_anew_and_never_again_to_carry_on() -> None:
    carry_on = plan(A, C, policy=StreamPolicy.CONTINUE)
    broken = failed(A, ErrorClass.STREAM_BROKEN, content_sent=True, continuable=True)
    refused = failed(C, ErrorClass.INVALID_REQUEST, hop=2, continuable=True, prefill_refused=True)
    assert step(carry_on, broken, refused) == Try(C, 2, 2, "restart")
    overloaded = failed(C, ErrorClass.OVERLOADED, hop=2, number=2, ended_at_s=0.0, continuable=True)
    again = step(carry_on._replace(order=(C,), attempts_per_model=4), broken._replace(target=C), refused, overloaded)
    assert isinstance(again, Wait)
    assert again.then.reason == "retry"
    elsewhere = step(carry_on._replace(order=(C,), attempts_per_model=4), broken._replace(target=C), refused)
    assert elsewhere == Try(C, 2, 2, "restart")
    once = step(carry_on._replace(attempts_per_model=1), broken, refused)
    assert isinstance(once, Fail)


def test_content_that_was_sent_stays_to_be_carried_on_when_a_later_hop_says_nothing() -> None:
    broken = failed(A, ErrorClass.STREAM_BROKEN, content_sent=True, continuable=True)
    silent = failed(B, ErrorClass.OVERLOADED, hop=2, continuable=True)
    assert step(plan(policy=StreamPolicy.CONTINUE), broken, silent) == Try(C, 3, 1, "continuation")


def test_a_sole_model_whose_stream_broke_is_asked_again_from_the_beginning() -> None:
    broken = failed(A, ErrorClass.STREAM_BROKEN, content_sent=True)
    again = step(plan(A), broken)
    assert isinstance(again, Wait)
    assert again.then == Try(A, 2, 1, "restart")


def test_a_refused_retry_goes_to_the_next_model() -> None:
    history = (failed(A, ErrorClass.TEMPORARY), RetryRefused(A))
    assert step(plan(), *history) == Try(B, 2, 1, "fallback")


def test_hops_are_bounded() -> None:
    end = step(plan(max_hops=1), failed(A, ErrorClass.MODEL_UNAVAILABLE))
    assert isinstance(end, Fail)


@pytest.mark.parametrize("cls", [ErrorClass.CANCELLED, ErrorClass.DEADLINE])
def test_cancel_and_deadline_stop_at_once(cls: ErrorClass) -> None:
    assert isinstance(step(plan(), failed(A, cls)), Fail)


def test_after_the_deadline_nothing_is_asked() -> None:
    end = step(plan(deadline_s=5.0), now_s=5.0)
    assert isinstance(end, Fail)
    assert end.reason is Reason.DEADLINE


@given(number=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded(number: int, jitter: float) -> None:
    assert 0 <= backoff_s(plan(), number, jitter) < 8.0


CLASSES = st.sampled_from([c for c in ErrorClass if c not in (ErrorClass.CANCELLED, ErrorClass.DEADLINE)])


@given(st.data())
def test_every_chain_ends_within_its_bounds(data: st.DataObject) -> None:
    """Whatever fails, however: no model gets more requests than allowed, hops stay bounded, waits end in time."""
    deadline_s = data.draw(st.sampled_from([1.0, 30.0, math.inf]))
    p = plan(A, B, C, policy=data.draw(st.sampled_from(StreamPolicy)), deadline_s=deadline_s, max_hops=4)
    rejections = data.draw(st.lists(st.sampled_from([None, *Rejection]), min_size=3, max_size=3))
    verdicts = {t.model.ref.id: r and Verdict(r, "") for t, r in zip((A, B, C), rejections, strict=True)}
    history: tuple[Event, ...] = ()
    asked: dict[str, int] = {}
    now_s = 0.0
    for _ in range(100):
        next_one = next_step(p, history, now_s, data.draw(st.floats(0, 0.99)), lambda t: verdicts[t.model.ref.id])
        if isinstance(next_one, Fail):
            return
        if isinstance(next_one, Skip):
            history += (Skipped(next_one.target, next_one.verdict),)
            continue
        if isinstance(next_one, Wait):
            now_s += next_one.seconds
            assert now_s < deadline_s
            next_one = next_one.then
        model_id = next_one.target.model.ref.id
        asked[model_id] = asked.get(model_id, 0) + 1
        assert asked[model_id] <= p.attempts_per_model
        assert next_one.hop <= p.max_hops
        wait_s = data.draw(st.sampled_from([None, 0.0, 2.0, 100.0]))
        sent = data.draw(st.booleans()) and p.policy is not StreamPolicy.BUFFER
        history += (
            failed(
                next_one.target,
                data.draw(CLASSES),
                next_one.hop,
                next_one.number,
                ended_at_s=now_s,
                retry_after_s=wait_s,
                content_sent=sent,
            ),
        )
    pytest.fail("the chain did not end")
