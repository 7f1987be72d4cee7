"""What a call does after each thing that happened to it: `next_step(plan, history, ...) -> Try | Wait | Skip | Fail`.

Theory of operation. The runtime does what a step says, appends what came of it to the history, and asks again; the same
plan, history, time and jitter always give the same step. Rules kept here (ROUTING.md, "Fallback"):
- Each class has one action (ACTION). Temporary: the same model with exponential backoff and full jitter
  (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). The others: the next model at once,
  or the end.
- Models come in the decision's order; each is checked for feasibility right before it is asked, or skipped. Before
  it is asked again, what is left of the money must still pay for it.
- When no model is left, the last resort: a model that only asked us to wait, or broke, is asked again while it has
  attempts left; one that was passed over only for its health is asked after all. A silent one is not asked again.
- No wait passes the deadline; where one would, the step is the next model or the end.
- After content was sent, FAIL ends the call; RESTART and CONTINUE go on with the next model. One that refuses to carry
  text on is asked at once to begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from atlas_sidecar.core.errors import ErrorClass, Reason
from atlas_sidecar.core.types import Rejection, StreamPolicy, Target


class Action(Enum):
    """What to do about a class of failure."""

    RETRY = "retry"  # the same model with backoff, then the next
    NEXT = "next"  # the next model at once
    FAIL = "fail"  # every model would do the same


ACTION: Final[dict[ErrorClass, Action]] = {
    ErrorClass.RATE_LIMITED: Action.NEXT,
    ErrorClass.OVERLOADED: Action.NEXT,
    ErrorClass.TEMPORARY: Action.RETRY,
    ErrorClass.TIMEOUT: Action.NEXT,
    ErrorClass.QUOTA_EXHAUSTED: Action.NEXT,
    ErrorClass.AUTH: Action.NEXT,
    ErrorClass.MODEL_UNAVAILABLE: Action.NEXT,
    ErrorClass.CONTEXT_TOO_LONG: Action.NEXT,
    ErrorClass.CONTENT_FILTERED: Action.FAIL,  # NEXT where the configuration says so
    ErrorClass.INVALID_REQUEST: Action.FAIL,
    ErrorClass.STREAM_BROKEN: Action.NEXT,
    ErrorClass.CANCELLED: Action.FAIL,
    ErrorClass.DEADLINE: Action.FAIL,
    ErrorClass.BUDGET: Action.NEXT,
    ErrorClass.OTHER: Action.NEXT,
}

# Failures after which the same model may still answer a little later.
WORTH_WAITING_FOR: Final = frozenset(
    {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED, ErrorClass.TEMPORARY, ErrorClass.STREAM_BROKEN}
)
# Failures that say the same of every model of the provider.
OF_THE_PROVIDER: Final = frozenset({ErrorClass.AUTH, ErrorClass.QUOTA_EXHAUSTED})
# Rejections that speak of the moment, not of the model: better asked than refused.
OF_THE_MOMENT: Final = frozenset(
    {Rejection.PROVIDER_UNHEALTHY, Rejection.RATE_LIMITED, Rejection.CIRCUIT_OPEN, Rejection.OVERLOADED}
)


class Plan(NamedTuple):
    """What bounds one call. `order`: the selected model first; `reserves`: rejected at selection for the moment only.

    Times are monotonic seconds; `deadline_s` may be infinite.
    """

    order: tuple[Target, ...]
    reserves: tuple[Target, ...]
    policy: StreamPolicy
    deadline_s: float
    max_hops: int = 6
    attempts_per_model: int = 3
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 8.0
    max_inline_retry_after_s: float = 0.0
    content_filter_next: bool = False


class Failed(NamedTuple):
    """An attempt that failed.

    `content_sent`: the caller saw content of it; `continuable`: plain text that a prefill can carry on.
    `prefill_refused`: it was asked to carry on such text, and does not take that. `of_model`: it says nothing of the
    provider's other models (a quota of this one).
    """

    target: Target
    hop: int
    number: int
    error_class: ErrorClass
    ended_at_s: float
    retry_after_s: float | None = None
    retry_once: bool = False
    content_sent: bool = False
    continuable: bool = False
    prefill_refused: bool = False
    of_model: bool = False


class Skipped(NamedTuple):
    """A model passed over without being asked."""

    target: Target
    verdict: Verdict


class RetryRefused(NamedTuple):
    """The retry quota did not allow to ask this model again."""

    target: Target


class Verdict(NamedTuple):
    """Why a model may not be asked now.

    `until_s`: when that ends, where known; `reason`: what the caller is told if nothing else can serve, `metadata` with
    it.
    """

    rejection: Rejection
    detail: str
    until_s: float = 0.0
    reason: Reason | None = None
    retry_after_s: float | None = None
    metadata: Mapping[str, str] = MappingProxyType({})


Event: TypeAlias = Failed | Skipped | RetryRefused
History: TypeAlias = tuple[Event, ...]
Feasible: TypeAlias = Callable[[Target], Verdict | None]


class Try(NamedTuple):
    """Ask this model. `reason`: primary | fallback | retry | continuation | restart."""

    target: Target
    hop: int
    number: int
    reason: str


class Wait(NamedTuple):
    """Let time pass, then ask; `why`: backoff | retry_after."""

    seconds: float
    why: str
    then: Try


class Skip(NamedTuple):
    """Pass this model over."""

    target: Target
    verdict: Verdict


class Fail(NamedTuple):
    """End the call. `retry_after_s`: the smallest wait that may help, where one may; `metadata`: of the error."""

    reason: Reason
    error_class: ErrorClass | None
    message: str
    retry_after_s: float | None = None
    metadata: Mapping[str, str] = MappingProxyType({})


Step: TypeAlias = Try | Wait | Skip | Fail


def next_step(plan: Plan, history: History, now_s: float, jitter: float, feasible: Feasible) -> Step:
    """Return what to do next; `jitter` is a random number in 0..1, `feasible` says why a model may not be asked now."""
    failures = [event for event in history if isinstance(event, Failed)]
    last = failures[-1] if failures else None
    if last is not None and (end := _end_after(plan, last, failures)):
        return end
    if now_s >= plan.deadline_s:
        return Fail(Reason.DEADLINE, ErrorClass.DEADLINE, "the deadline passed before a model answered")
    if last is not None and history[-1] is last:
        again = _same_again(plan, history, last, now_s, jitter)
        if again is not None and not _too_dear(feasible(last.target)):
            return again
    hops = last.hop if last else 0
    if hops < plan.max_hops:
        seen = {event.target.model.ref.id for event in history}
        for target in plan.order:
            if target.model.ref.id not in seen:
                verdict = _too_small(target, failures) or feasible(target)
                return Skip(target, verdict) if verdict else _try_next(plan, target, failures)
    return _last_resort(plan, history, failures, now_s, jitter, feasible)


def _end_after(plan: Plan, last: Failed, failures: list[Failed]) -> Fail | None:
    cls = last.error_class
    if cls is ErrorClass.CANCELLED:
        return Fail(Reason.CANCELLED, cls, "the caller cancelled")
    if cls is ErrorClass.DEADLINE:
        return Fail(Reason.DEADLINE, cls, "the deadline passed before the answer was complete")
    if plan.policy is StreamPolicy.FAIL and last.content_sent:
        return Fail(Reason.STREAM_BROKEN, cls, "the stream broke after content was sent")
    if any(failure.content_sent for failure in failures):
        return None  # the request was good enough for a model to begin to answer
    if cls is ErrorClass.INVALID_REQUEST:
        return Fail(Reason.INVALID_REQUEST, cls, "the provider refused the request as invalid; every model would")
    if cls is ErrorClass.CONTENT_FILTERED and not plan.content_filter_next:
        return Fail(Reason.CONTENT_FILTERED, cls, "the provider's content filter or the model refused to answer")
    return None


def _same_again(plan: Plan, history: History, last: Failed, now_s: float, jitter: float) -> Step | None:
    if _asked(history, last.target) >= plan.attempts_per_model or last.content_sent:
        return None
    if last.prefill_refused:
        return Try(last.target, last.hop, last.number + 1, "restart")
    asked_s = last.retry_after_s
    if ACTION[last.error_class] is Action.RETRY:
        if _had_its_retry(history, last):
            return None
        seconds = backoff_s(plan, last.number, jitter)
        if asked_s is not None:
            if asked_s > plan.backoff_cap_s:
                return None
            seconds = max(seconds, asked_s)
        why = "backoff"
    elif last.error_class is ErrorClass.RATE_LIMITED and asked_s is not None:
        if asked_s > plan.max_inline_retry_after_s:
            return None
        seconds, why = asked_s, "retry_after"
    else:
        return None
    if now_s + seconds >= plan.deadline_s:
        return None
    return Wait(seconds, why, Try(last.target, last.hop, last.number + 1, "retry"))


def _asked(history: History, target: Target) -> int:
    """Return how many requests a model got, on all its hops."""
    return sum(isinstance(event, Failed) and event.target is target for event in history)


def _had_its_retry(history: History, last: Failed) -> bool:
    """Return whether this failure is worth one more request only, and that was it."""
    return last.retry_once and any(
        isinstance(event, Failed) and event is not last and event.retry_once and event.target is last.target
        for event in history
    )


def backoff_s(plan: Plan, number: int, jitter: float) -> float:
    """Return the wait after failure `number` (1, 2, ...), seconds: full jitter over base * 2**(number - 1), capped."""
    ceiling = plan.backoff_cap_s if number > 30 else min(plan.backoff_cap_s, plan.backoff_base_s * 2.0 ** (number - 1))
    return jitter * ceiling


def _too_small(target: Target, failures: list[Failed]) -> Verdict | None:
    refused = [f.target.model.input_limit for f in failures if f.error_class is ErrorClass.CONTEXT_TOO_LONG]
    if refused and target.model.input_limit <= max(refused):
        return Verdict(
            Rejection.CONTEXT_TOO_LONG,
            f"its window of {target.model.input_limit:,} tokens is no larger than the one that was too small",
        )
    return None


def _try_next(plan: Plan, target: Target, failures: list[Failed]) -> Try:
    if not failures:
        return Try(target, 1, 1, "primary")
    return Try(target, failures[-1].hop + 1, 1, _how(plan, target, failures))


def _how(plan: Plan, target: Target, failures: list[Failed]) -> str:
    """Return how the next hop relates to what the caller has already seen."""
    seen = next((failure for failure in reversed(failures) if failure.content_sent), None)
    if seen is None:
        return "fallback"
    refused = any(failure.prefill_refused and failure.target is target for failure in failures)
    if plan.policy is StreamPolicy.CONTINUE and seen.continuable and target.model.prefill and not refused:
        return "continuation"
    return "restart"


def _last_resort(
    plan: Plan, history: History, failures: list[Failed], now_s: float, jitter: float, feasible: Feasible
) -> Step:
    helps: float | None = None
    best: Wait | None = None
    for ready_s, why, attempt in _second_chances(plan, history, failures, now_s, jitter, feasible):
        seconds = max(0.0, ready_s - now_s)
        helps = seconds if helps is None else min(helps, seconds)
        if ready_s < plan.deadline_s and (best is None or seconds < best.seconds) and attempt is not None:
            best = Wait(seconds, why, attempt)
    if best is not None:
        return best if best.seconds > 0 else best.then
    return _failure(history, failures, helps)


def _second_chances(
    plan: Plan, history: History, failures: list[Failed], now_s: float, jitter: float, feasible: Feasible
) -> Iterator[tuple[float, str, Try | None]]:
    """Yield each model worth asking after all: when it is ready, why it waits, the try (None: bounds forbid it)."""
    last = failures[-1] if failures else None
    hops = last.hop if last else 0
    spoiled = {f.target.model.ref.provider for f in failures if f.error_class in OF_THE_PROVIDER and not f.of_model}
    refused = {event.target.model.ref.id for event in history if isinstance(event, RetryRefused)}
    latest = {f.target.model.ref.id: f for f in failures}
    skipped = tuple(e.target for e in history if isinstance(e, Skipped) and e.verdict.rejection in OF_THE_MOMENT)
    for target in skipped + plan.reserves:
        if target.model.ref.id in latest or target.model.ref.provider in spoiled or _too_small(target, failures):
            continue
        verdict = feasible(target)
        if verdict is None or verdict.rejection in OF_THE_MOMENT:
            until_s = verdict.until_s if verdict and verdict.rejection is Rejection.RATE_LIMITED else now_s
            yield until_s, "retry_after", _try_next(plan, target, failures) if hops < plan.max_hops else None
    for model_id, f in latest.items():
        if f.error_class not in WORTH_WAITING_FOR or _had_its_retry(history, f) or _too_dear(feasible(f.target)):
            continue
        asked = _asked(history, f.target)
        wait_s = f.retry_after_s if f.retry_after_s is not None else backoff_s(plan, asked, jitter)
        why = "backoff" if f.retry_after_s is None else "retry_after"
        attempt: Try | None = None
        if asked < plan.attempts_per_model and model_id not in refused:
            if f is last and not f.content_sent:
                attempt = Try(f.target, f.hop, f.number + 1, "retry")
            elif hops < plan.max_hops:
                attempt = _try_next(plan, f.target, failures)
        yield f.ended_at_s + wait_s, why, attempt


def _too_dear(verdict: Verdict | None) -> bool:
    """Return whether what is left of the money does not pay for another request; nothing else forbids a repeat."""
    return verdict is not None and verdict.rejection in (Rejection.BUDGET, Rejection.NO_PRICE)


def _failure(history: History, failures: list[Failed], helps_s: float | None) -> Fail:
    if not failures:
        for event in history:
            if isinstance(event, Skipped) and event.verdict.reason is not None:
                verdict = event.verdict
                return Fail(
                    event.verdict.reason, ErrorClass.BUDGET, verdict.detail, verdict.retry_after_s, verdict.metadata
                )
        return Fail(Reason.NO_ELIGIBLE_MODEL, None, "no model may serve this request; the decision says why", helps_s)
    last = failures[-1].error_class
    if any(f.content_sent for f in failures):
        return Fail(Reason.STREAM_BROKEN, last, "the stream broke after content was sent, and no model could take over")
    if all(f.error_class is ErrorClass.CONTENT_FILTERED for f in failures):
        return Fail(Reason.CONTENT_FILTERED, last, "every model's content filter refused to answer")
    models = len({f.target.model.ref.id for f in failures})
    asked = f"{models} model{'s' if models > 1 else ''}, {len(failures)} request{'s' if len(failures) > 1 else ''}"
    return Fail(Reason.ALL_MODELS_FAILED, last, f"no model answered ({asked}; the last: {last.label})", helps_s)
