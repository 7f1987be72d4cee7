"""One Generate call along its fallback chain: asks core/fallback what to do next, does it, and tells the caller.

Rules kept here:
- core/fallback decides; this file only lets it happen. Everything that happened is appended to the history.
- First-content gate: nothing but `hop_failed` reaches the caller before a hop's first content or its end.
- Every request that was sent is an Attempt, in order; costs and usage of all of them are in the totals.
- The events come in the contract's order (runtime/events.py), and there is always a last one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from atlas_sidecar.core.calibration import calibrated
from atlas_sidecar.core.eligibility import HopLimits, check, output_cap, reservation
from atlas_sidecar.core.errors import AtlasError, ErrorClass, ProviderError, Reason
from atlas_sidecar.core.fallback import (
    Event,
    Fail,
    Failed,
    Feasible,
    RetryRefused,
    Skip,
    Skipped,
    Step,
    Try,
    Verdict,
    Wait,
    next_step,
)
from atlas_sidecar.core.leases import Hold, Reservation, Settlement
from atlas_sidecar.core.types import (
    Finished,
    Model,
    Need,
    ProviderCall,
    Rejection,
    StreamPolicy,
    Target,
    Usage,
)
from atlas_sidecar.ports import Clock, HopTrace, RequestTrace
from atlas_sidecar.runtime.answer import Answer
from atlas_sidecar.runtime.attempt import AttemptBounds, AttemptRun, AttemptTools, blank_attempt
from atlas_sidecar.runtime.budget import Budget
from atlas_sidecar.runtime.events import Batch, Reset, RouterEvent, Started
from atlas_sidecar.runtime.health import Health
from atlas_sidecar.runtime.learning import Learning
from atlas_sidecar.runtime.snapshots import Snapshots
from atlas_sidecar.runtime.story import Call, Hop, Story

WORTH_SHOWING_S = 0.005  # of a wait for the budget


@dataclass(frozen=True, slots=True)
class ChainTools:
    """What every chain works with; it lives as long as the sidecar."""

    health: Health
    budget: Budget
    learning: Learning
    snapshots: Snapshots
    clock: Clock


class Chain:
    """Runs one call; iterate `events()` once."""

    def __init__(self, call: Call, tools: ChainTools) -> None:
        self._call = call
        self._tools = tools
        self._history: tuple[Event, ...] = ()
        self._story = Story(call, tools.clock)
        self._run: AttemptRun | None = None
        self._held: Reservation | None = None
        self._own_need = call.need  # in the tokens of the model that is asked
        self._seen: Answer | None = None  # what the caller has in hand
        self._explained = False
        self._waited_s = 0.0
        self._retry_after: ErrorClass | None = None  # what the retry quota was paid for
        self._sends = call.request.stream_policy is not StreamPolicy.BUFFER

    async def events(self) -> AsyncGenerator[Batch, None]:
        """Yield what the caller is told, to its end; closing the iterator closes the upstream connection."""
        try:
            while not self._story.ended:
                step = self._next_step()
                if isinstance(step, Skip):
                    self._skip(step.target, step.verdict)
                    continue
                if isinstance(step, Fail):
                    yield self._story.fail(step)
                    return
                if not self._may_repeat(step.then if isinstance(step, Wait) else step):
                    continue
                if isinstance(step, Wait):
                    if failed := self._story.leave_hop(step.then):
                        yield failed
                    await self._wait(step)
                    step = step.then
                if not await self._reserve(step):
                    continue
                if failed := self._story.leave_hop(step):
                    yield failed
                async with aclosing(self._try(step)) as batches:
                    async for batch in batches:
                        yield batch
        finally:
            self._end_unfinished()

    # ------------------------------------------------------------------------------- deciding

    def _next_step(self) -> Step:
        clock = self._tools.clock
        return next_step(self._call.plan, self._history, clock.monotonic_s(), clock.jitter(), self._feasible())

    def _feasible(self) -> Feasible:
        """Return selection's own test against what is known now; the first hop was selected just before."""
        call, snapshot = self._call, None

        def feasible(target: Target) -> Verdict | None:
            nonlocal snapshot
            if not self._history and target is call.decision.selected:
                return None
            if snapshot is None:
                requirements, role = call.request.requirements, call.decision.role
                snapshot = self._tools.snapshots.take(call.engine, requirements, call.need, role)
            left = self._money_left()
            rejected = check(target, call.request.requirements, call.need, snapshot, HopLimits(max_cost_nano_usd=left))
            if rejected is None or rejected.scarce:
                return None  # where only headroom is short, the reservation has the last word, and says why
            capped = left is not None and rejected.rejection in (Rejection.BUDGET, Rejection.NO_PRICE)
            reason = Reason.MAX_COST if capped else None
            return Verdict(rejected.rejection, rejected.detail, rejected.until_s, reason)

        return feasible

    def _skip(self, target: Target, verdict: Verdict) -> None:
        self._call.trace.skipped(target.model.ref, verdict.rejection, verdict.detail)
        self._history += (Skipped(target, verdict),)

    def _may_repeat(self, step: Try) -> bool:
        """Ask the retry quota, where this model failed before; False, and noted, when it does not allow a repeat."""
        model = step.target.model.ref
        before = [e for e in self._history if isinstance(e, Failed) and e.target.model.ref.id == model.id]
        if not before:
            return True
        self._retry_after = before[-1].error_class
        if self._tools.health.may_retry(model.provider, before[-1].error_class):
            return True
        self._call.trace.repeat_refused(model)
        self._history += (RetryRefused(step.target),)
        return False

    async def _wait(self, step: Wait) -> None:
        """Let the wait pass, visibly, also where the caller does not wait for its end."""
        clock = self._tools.clock
        started_s, started_unix_s = clock.monotonic_s(), clock.unix_s()
        try:
            await clock.sleep(step.seconds)
        finally:
            self._waited_s = clock.monotonic_s() - started_s
            self._trace_of(step.then).waited(started_unix_s, self._waited_s, step.why)

    def _trace_of(self, step: Try) -> HopTrace | RequestTrace:
        """Return what a wait before this try belongs to: the hop that goes on, or the call."""
        hop = self._story.hop
        return hop.trace if hop is not None and hop.index == step.hop else self._call.trace

    # ------------------------------------------------------------------------------- asking

    async def _reserve(self, step: Try) -> bool:
        """Hold what the attempt may cost; False when the budget does not allow it."""
        call, model = self._call, step.target.model
        need = self._own_need = self._need_of(model)
        amount = reservation(model, need, call.snapshot, self._money_left())
        longest_s = min(call.deadline_s - self._tools.clock.monotonic_s(), call.engine.timeouts.total_s)
        attempt_id = self._tools.clock.new_id()
        request = call.request
        hold = Hold(call.node, attempt_id, amount, model.ref, request.request_id, request.labels, max(longest_s, 0.0))
        try:
            async with asyncio.timeout(max(longest_s, 0.0)):
                self._held = await self._hold(hold, step)
        except TimeoutError:
            message = "the deadline passed while the budget was asked"
            self._skip(step.target, Verdict(Rejection.BUDGET, message, 0.0, Reason.BUDGET_UNAVAILABLE))
            return False
        except AtlasError as denied:
            verdict = Verdict(
                Rejection.BUDGET, denied.message, 0.0, denied.reason, denied.retry_after_s, denied.metadata
            )
            self._skip(step.target, verdict)
            return False
        return True

    async def _hold(self, hold: Hold, step: Try) -> Reservation:
        """Reserve; a wait for it (a lease round, a slow disk) is seen, where it was one."""
        clock, turns = self._tools.clock, list[None]()
        asyncio.get_running_loop().call_soon(turns.append, None)  # others had their turn: a busy machine is no wait
        started_s, started_unix_s = clock.monotonic_s(), clock.unix_s()
        try:
            return await self._tools.budget.reserve(hold)
        finally:
            waited_s = clock.monotonic_s() - started_s
            if turns and waited_s > WORTH_SHOWING_S:
                self._trace_of(step).waited(started_unix_s, waited_s, "budget")

    async def _try(self, step: Try) -> AsyncGenerator[Batch, None]:
        hop = self._story.enter_hop(step)
        hop.attempts += 1
        answer = self._answer_for(hop)
        run = self._run = self._begin(step, hop, answer)
        opened = False
        async with aclosing(run.deltas(answer)) as contents:
            async for deltas in contents:
                if run.first_batch:
                    self._story.content_came(hop)
                if self._sends:
                    yield Batch(step.hop, deltas if opened else [*self._opening(hop, answer), *deltas])
                    opened = True
        self._run = None
        self._story.attempts.append(run.attempt)
        if run.finished is None:
            self._note_failure(step, hop, run, opened)
            return
        opening = [*self._opening(hop, answer)] if self._sends and not opened else []
        self._learn(hop, run.finished)
        yield Batch(step.hop, [*opening, self._story.complete(hop, run.finished, answer)])

    def _learn(self, hop: Hop, finished: Finished) -> None:
        call, model = self._call, hop.target.model
        estimable = not call.request.provider_options
        self._tools.learning.observe(call.decision.role, model, call.need, finished.usage, estimable=estimable)
        self._tools.snapshots.remember(call.request.requirements.session_id, model.ref.id)

    def _answer_for(self, hop: Hop) -> Answer:
        kind = hop.target.model.provider_kind
        if hop.reason == "continuation" and self._seen is not None:
            self._seen.carry_on(kind)
            return self._seen
        return Answer(kind)

    def _opening(self, hop: Hop, answer: Answer) -> Sequence[RouterEvent]:
        """What comes before a hop's first content: `reset` where earlier content is void, then `started`."""
        call = self._call
        decision = call.decision if call.request.explain and not self._explained else None
        self._explained = True
        started = Started(hop.target.model.ref, call.decision.decision_id, decision, call.trace.trace_id)
        void = self._seen is not None and self._seen is not answer
        self._seen = answer
        return (Reset(0), started) if void else (started,)

    def _begin(self, step: Try, hop: Hop, answer: Answer) -> AttemptRun:
        call, clock, model, held = self._call, self._tools.clock, step.target.model, self._held
        assert held is not None  # noqa: S101  # _reserve said yes
        self._held = None
        attempt_id = held.attempt_id
        trace = hop.trace.start_attempt(step.number, attempt_id)
        blank = blank_attempt(attempt_id, model.ref, step.hop, step.number, clock.unix_s(), self._waited_s)
        self._waited_s = 0.0
        provider = call.engine.providers[model.ref.provider]
        flight = self._tools.health.begin(model, self._retry_after)
        self._retry_after = None
        tools = AttemptTools(provider, self._tools.budget, held, flight, trace, clock)
        prefill = answer.prefill() if hop.reason == "continuation" else ""
        provider_call = self._provider_call(step, prefill, trace.traceparent)
        return AttemptRun(blank, provider_call, self._own_need.input_tokens, self._bounds(), tools)

    def _provider_call(self, step: Try, prefill: str, traceparent: str) -> ProviderCall:
        call, model = self._call, step.target.model
        left = self._money_left()
        options = call.request.provider_options
        return ProviderCall(
            model=model,
            request=call.request,
            max_output_tokens=output_cap(model, self._own_need, left),
            options={**options.get(model.provider_kind, {}), **options.get(model.ref.provider, {})} if options else {},
            prefill=prefill,
            traceparent=traceparent,
            cap_was_asked=call.need.max_output_tokens is not None or left is not None,
        )

    def _bounds(self) -> AttemptBounds:
        limits, timeouts = self._call.request.limits, self._call.engine.timeouts
        first_s, idle_s = limits.time_to_first_token_s, limits.idle_s
        return AttemptBounds(
            timeouts.time_to_first_token_s if first_s is None else first_s,
            timeouts.idle_s if idle_s is None else idle_s,
            self._call.deadline_s,
            impatient=first_s is not None and first_s < timeouts.time_to_first_token_s,
        )

    def _need_of(self, model: Model) -> Need:
        """Return the need in this model's own tokens, as its answers taught us to count them."""
        need, line = self._call.need, self._call.snapshot.token_lines.get(model.ref.id)
        return need if line is None else replace(need, input_tokens=calibrated(line, need.input_tokens))

    def _money_left(self) -> int | None:
        max_cost = self._call.request.limits.max_cost_nano_usd
        return None if max_cost is None else max(0, max_cost - self._story.totals().cost_nano_usd)

    # ------------------------------------------------------------------------------- ending

    def _note_failure(self, step: Try, hop: Hop, run: AttemptRun, sent: bool) -> None:
        error = run.error or ProviderError(ErrorClass.OTHER, "the attempt ended without a reason")
        hop.error = error
        self._history += (
            Failed(
                step.target,
                step.hop,
                step.number,
                error.error_class,
                self._tools.clock.monotonic_s(),
                error.retry_after_s,
                error.retry_once,
                content_sent=sent,
                continuable=self._continuable(),
                prefill_refused=hop.reason == "continuation" and not sent and _does_not_suit(error),
                of_model=error.scope == "model",
            ),
        )

    def _continuable(self) -> bool:
        request = self._call.request
        formatted = request.response_format.json_schema or request.response_format.json_object
        return self._seen is not None and self._seen.plain_text and not request.tools and not formatted

    def _end_unfinished(self) -> None:
        """Close what a caller that went away, or a fault of ours, left open."""
        if self._held is not None:
            settlement = Settlement(0, False, Usage(), ErrorClass.CANCELLED, "")
            self._tools.budget.settle(self._held, settlement)  # it was never sent
            self._held = None
        if self._story.ended:
            return
        if self._run is not None:
            self._story.attempts.append(self._run.attempt)
        went_away = isinstance(sys.exception(), (asyncio.CancelledError, GeneratorExit))
        self._story.cancel() if went_away else self._story.break_off()


def _does_not_suit(error: ProviderError) -> bool:
    """Return whether the provider refused this request as it was made, where it may well serve another form of it."""
    refused = error.error_class in (ErrorClass.INVALID_REQUEST, ErrorClass.MODEL_UNAVAILABLE)
    return refused and not error.breaks_model
