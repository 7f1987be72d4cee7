"""The story of one call: the hop that is being asked, every attempt so far, and how hop and call end.

Rules kept here:
- What the caller is told (events), what the trace is told (outcomes) and what is learned come from the same attempts.
- A hop's end is told when the chain leaves it; the call's end is told exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from atlas_sidecar.core.errors import AtlasError, ErrorClass, ProviderError, Reason
from atlas_sidecar.core.fallback import Fail, Plan, Try
from atlas_sidecar.core.types import Attempt, Decision, Finished, GenerateRequest, Need, Snapshot, Target
from atlas_sidecar.ports import Clock, HopOutcome, HopTrace, RequestOutcome, RequestTrace
from atlas_sidecar.runtime.answer import Answer
from atlas_sidecar.runtime.engine import Engine
from atlas_sidecar.runtime.events import Batch, Completed, Failure, HopFailed
from atlas_sidecar.runtime.outcome import Totals, taken, totals

FAULT = AtlasError(Reason.INTERNAL, "the sidecar failed; its log says why")  # what is told of a fault of ours


class Call(NamedTuple):
    """One validated call with what was decided for it. `deadline_s`: monotonic seconds, may be infinite."""

    engine: Engine
    request: GenerateRequest
    need: Need
    snapshot: Snapshot
    decision: Decision
    plan: Plan
    node: str
    arrived_s: float
    deadline_s: float
    trace: RequestTrace


@dataclass(slots=True)
class Hop:
    """The model that is being asked; `error`: of its last attempt."""

    target: Target
    index: int
    reason: str
    trace: HopTrace
    started_s: float
    attempts: int = 0
    error: ProviderError | None = None


@dataclass(slots=True)
class Story:
    """What happened to one call so far."""

    call: Call
    clock: Clock
    attempts: list[Attempt] = field(default_factory=list)
    hop: Hop | None = None
    first_content_s: float | None = None
    ended: bool = False

    def totals(self) -> Totals:
        """Return what all attempts so far cost and used."""
        return totals(self.attempts)

    def enter_hop(self, step: Try) -> Hop:
        """Return the hop of this try, opened where it is new."""
        if self.hop is not None:
            if step.reason == "restart":  # it refused to carry the text on
                self.hop.reason = step.reason
                self.hop.trace.restarted()
            return self.hop
        model = step.target.model
        reason = "fallback" if step.reason == "retry" else step.reason
        address = self.call.engine.providers[model.ref.provider].address
        trace = self.call.trace.start_hop(step.hop, model, reason, address)
        self.hop = Hop(step.target, step.hop, reason, trace, self.clock.monotonic_s())
        return self.hop

    def content_came(self, hop: Hop) -> None:
        """Note the first content of the call and of the hop."""
        now_s = self.clock.monotonic_s()
        if self.first_content_s is None:
            self.first_content_s = now_s - self.call.arrived_s
        hop.trace.first_content(now_s - hop.started_s)

    def leave_hop(self, upcoming: Try | None) -> Batch | None:
        """Close the hop unless the upcoming try belongs to it; return what the caller is told of it."""
        hop = self.hop
        if hop is None or hop.error is None or (upcoming is not None and upcoming.hop == hop.index):
            return None
        self.hop = None
        error = hop.error
        self._end_hop_trace(hop, error, None, None)
        told = HopFailed(
            hop.target.model.ref,
            error.error_class,
            error.code,
            error.message,
            hop.attempts,
            self.clock.monotonic_s() - hop.started_s,
            error.retry_after_s,
            upcoming.target.model.ref if upcoming else None,
        )
        return Batch(hop.index, (told,))

    def complete(self, hop: Hop, finished: Finished, answer: Answer) -> Completed:
        """End the call with an answer; return its last event."""
        call, sums, last = self.call, self.totals(), self.attempts[-1]
        self._end_hop_trace(hop, None, finished, answer)
        self.hop = None
        self._end("ok" if len(self.attempts) == 1 else "recovered", None, 0, "")
        return Completed(
            model=hop.target.model.ref,
            finish_reason=finished.finish_reason,
            raw_finish_reason=finished.raw_finish_reason,
            usage=last.usage,
            total_usage=sums.usage,
            cost_nano_usd=sums.cost_nano_usd,
            cost_estimated=sums.estimated,
            cost_incomplete=sums.incomplete,
            attempts=tuple(self.attempts),
            message=answer.message(),
            provider_request_id=last.provider_request_id,
            time_to_first_token_s=self.first_content_s,
            elapsed_s=self.clock.monotonic_s() - call.arrived_s,
            metadata=finished.metadata,
            trace_id=call.trace.trace_id,
        )

    def fail(self, step: Fail) -> Batch:
        """End the call without an answer; return its last events."""
        call, sums = self.call, self.totals()
        index = self.attempts[-1].hop if self.attempts else 0
        quiet = step.error_class in (ErrorClass.CANCELLED, ErrorClass.DEADLINE)
        told = self.leave_hop(None)
        self._end("failed", step.reason, AtlasError(step.reason, step.message).status_code, step.message)
        failure = Failure(
            reason=step.reason,
            error_class=step.error_class,
            message=step.message,
            attempts=tuple(self.attempts),
            total_usage=sums.usage,
            cost_nano_usd=sums.cost_nano_usd,
            cost_estimated=sums.estimated,
            cost_incomplete=sums.incomplete,
            decision=call.decision,
            trace_id=call.trace.trace_id,
            retry_after_s=step.retry_after_s,
            metadata=step.metadata,
        )
        return Batch(index, (failure,) if quiet or told is None else (*told.events, failure))

    def cancel(self) -> None:
        """End a call whose caller went away; nobody is left to tell but the trace."""
        if self.hop is not None:
            error = self.hop.error or ProviderError(ErrorClass.CANCELLED, "the caller cancelled")
            self._end_hop_trace(self.hop, error, None, None)
            self.hop = None
        self._end("cancelled", Reason.CANCELLED, 1, "the caller cancelled")

    def break_off(self) -> None:
        """End a call that a fault of ours ended; the edge logs it and tells the caller."""
        message = FAULT.message
        if self.hop is not None:
            self._end_hop_trace(self.hop, ProviderError(ErrorClass.OTHER, message), None, None)
            self.hop = None
        self._end("failed", Reason.INTERNAL, 13, message)

    def _end_hop_trace(
        self, hop: Hop, error: ProviderError | None, finished: Finished | None, answer: Answer | None
    ) -> None:
        of_hop = totals([attempt for attempt in self.attempts if attempt.hop == hop.index])
        said = finished.metadata if finished else {}
        hop.trace.end(
            HopOutcome(
                error.error_class if error else None,
                error.message if error else "",
                of_hop.usage,
                None if of_hop.incomplete else of_hop.cost_nano_usd,
                of_hop.estimated,
                finish_reason=finished.finish_reason.name.lower() if finished else "",
                response_id=str(said.get("id") or ""),
                response_model=str(said.get("model") or ""),
                answer=answer.message if answer else None,
                chunks=answer.chunks if answer else 0,
            )
        )

    def _end(self, outcome: str, reason: Reason | None, status_code: int, message: str) -> None:
        self.ended = True
        call, sums = self.call, self.totals()
        call.trace.end(
            RequestOutcome(
                outcome=outcome,
                status_code=status_code,
                reason=reason,
                message=message,
                attempts=tuple(self.attempts),
                hops=self.attempts[-1].hop if self.attempts else 0,
                served_by=self.attempts[-1].model if reason is None else None,
                chain_taken=taken(self.attempts),
                cost_nano_usd=None if sums.incomplete else sums.cost_nano_usd,
                cost_estimated=sums.estimated,
                usage=sums.usage,
                budget_node=call.node,
                role=call.decision.role,
                time_to_first_token_s=self.first_content_s,
            )
        )
