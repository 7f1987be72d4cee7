"""The use cases of the Router service: select a model, generate an answer along the chain, say how the sidecar is.

Rules kept here:
- Select calls no provider and waits for nothing.
- A call keeps the configuration that it began with, whatever is reloaded meanwhile.
- A request that names unknown models or budgets is refused before anything is reserved.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import NamedTuple

from atlas_sidecar.core.availability import UNSEEN_MODEL, UNSEEN_PROVIDER, badness
from atlas_sidecar.core.decision_record import DecisionRecord
from atlas_sidecar.core.demands import demands_of
from atlas_sidecar.core.errors import AtlasError, FieldViolation, Reason
from atlas_sidecar.core.fallback import OF_THE_MOMENT, Plan
from atlas_sidecar.core.roles import role_of, targets_for
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.tokens import estimate_input_tokens
from atlas_sidecar.core.types import (
    Decision,
    GenerateRequest,
    Need,
    Rejection,
    Requirements,
    Snapshot,
    Target,
    Usage,
)
from atlas_sidecar.ports import RequestOutcome, RequestTrace, Telemetry
from atlas_sidecar.runtime.chain import Chain, ChainTools
from atlas_sidecar.runtime.engine import Engine
from atlas_sidecar.runtime.events import Batch
from atlas_sidecar.runtime.story import FAULT, Call

# Why a model was passed over that a reader of the trace wants to see: what may be otherwise tomorrow.
WORTH_TELLING = OF_THE_MOMENT | {Rejection.BUDGET, Rejection.NO_PRICE}


class CallContext(NamedTuple):
    """What comes with a call beside its request. `time_left_s` None = the caller set no deadline."""

    metadata: Mapping[str, str]
    time_left_s: float | None = None


class Router:
    """Selects and generates; `engine()` returns the configuration that holds now."""

    def __init__(self, engine: Callable[[], Engine], tools: ChainTools, telemetry: Telemetry) -> None:
        self._engine = engine
        self._tools = tools
        self._telemetry = telemetry
        self._running_keys: set[str] = set()

    def select(self, requirements: Requirements, need: Need, context: CallContext) -> DecisionRecord:
        """Return which model should serve, in what order the others follow, and why, with all that it was made from.

        Raises AtlasError.
        """
        trace = self._telemetry.start_request("Select", context.metadata, None)
        engine, clock = self._engine(), self._tools.clock
        started_s, started_unix_s = clock.monotonic_s(), clock.unix_s()
        with _ended_early(trace, requirements.agent_type):
            record = self._decide(engine, requirements, need)
            trace.selected(record.decision, started_unix_s, clock.monotonic_s() - started_s)
        trace.end(_selected(record.decision))
        return record

    async def generate(self, request: GenerateRequest, context: CallContext) -> AsyncGenerator[Batch, None]:
        """Yield what the caller is told, to its end; raises AtlasError when the call cannot even begin."""
        key = request.idempotency_key
        trace = self._telemetry.start_request("Generate", context.metadata, request)
        with _ended_early(trace, request.requirements.agent_type):
            if key and key in self._running_keys:
                raise AtlasError(Reason.DUPLICATE, "a call with this idempotency_key is still running")
            call = self._call(request, context, trace)
        if key:
            self._running_keys.add(key)
        try:
            async with aclosing(Chain(call, self._tools).events()) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._running_keys.discard(key)

    def refused(self, method: str, error: AtlasError, context: CallContext) -> None:
        """Record a call that the edge refused before it came here: overload, draining, a malformed request."""
        self._telemetry.start_request(method, context.metadata, None).end(_no_answer(error, ""))

    @contextmanager
    def counted(self, method: str) -> Iterator[None]:
        """Count a call that the router has no part in, and how long it takes."""
        clock, status_code = self._tools.clock, FAULT.status_code
        started_s = clock.monotonic_s()
        try:
            yield
            status_code = 0
        finally:
            self._telemetry.counted(method, clock.monotonic_s() - started_s, status_code)

    def _call(self, request: GenerateRequest, context: CallContext, trace: RequestTrace) -> Call:
        engine, clock = self._engine(), self._tools.clock
        arrived_s, arrived_unix_s = clock.monotonic_s(), clock.unix_s()
        demands = demands_of(request)
        need = Need(
            input_tokens=estimate_input_tokens(request),
            max_output_tokens=request.limits.max_output_tokens,
            capabilities=demands.capabilities,
            forms=demands.forms,
            max_cost_nano_usd=request.limits.max_cost_nano_usd,
        )
        _check_options(request, engine)
        node = self._tools.budget.resolve(request.requirements.budget)
        self._tools.budget.request_arrived(node)
        record = self._decide(engine, request.requirements, need)
        decision, snapshot = record.decision, record.snapshot
        trace.selected(decision, arrived_unix_s, clock.monotonic_s() - arrived_s)
        for candidate in decision.candidates:
            if candidate.rejection in WORTH_TELLING and candidate.target not in decision.order:
                trace.skipped(candidate.target.model.ref, candidate.rejection, candidate.rejection_detail)
        deadline_s = arrived_s + min(engine.timeouts.total_s, _usable(context.time_left_s))
        plan = _plan(engine, request, decision, snapshot, deadline_s)
        return Call(engine, request, need, snapshot, decision, plan, node, arrived_s, deadline_s, trace)

    def _decide(self, engine: Engine, requirements: Requirements, need: Need) -> DecisionRecord:
        role = role_of(requirements.agent_type, engine.roles, engine.default_role)
        targets, unknown = targets_for(engine.roles[role], engine.models, requirements.only_models)
        unknown += tuple(m for m in requirements.exclude_models if m not in engine.models)
        if unknown:
            raise _unknown_models(unknown, requirements, engine)
        snapshot = self._tools.snapshots.take(engine, requirements, need, role)
        weights = engine.weights[requirements.complexity]
        decision_id, tier_factor = self._tools.clock.new_id(), engine.tier_factor
        decision = rank(role, targets, requirements, need, snapshot, weights, decision_id, tier_factor)
        return DecisionRecord(role, targets, requirements, need, snapshot, weights, tier_factor, decision)


@contextmanager
def _ended_early(trace: RequestTrace, role: str) -> Iterator[None]:
    """End the trace of a call that cannot begin: it is refused, or a fault of ours came first."""
    ended_by: AtlasError | None = FAULT
    try:
        yield
        ended_by = None
    except AtlasError as error:
        ended_by = error
        raise
    finally:
        if ended_by is not None:
            trace.end(_no_answer(ended_by, role))


def _plan(engine: Engine, request: GenerateRequest, decision: Decision, snapshot: Snapshot, deadline_s: float) -> Plan:
    settings, limits = engine.fallback, request.limits
    order = decision.order or _last_coins(decision)
    return Plan(
        order=order,
        reserves=_reserves(decision, snapshot, order),
        policy=request.stream_policy,
        deadline_s=deadline_s,
        max_hops=settings.max_hops if limits.max_hops is None else limits.max_hops,
        attempts_per_model=(
            settings.attempts_per_model if limits.max_attempts_per_model is None else limits.max_attempts_per_model
        ),
        backoff_base_s=settings.backoff_base_s,
        backoff_cap_s=settings.backoff_cap_s,
        max_inline_retry_after_s=settings.max_inline_retry_after_s,
        content_filter_next=settings.on_content_filter == "next",
    )


def _reserves(decision: Decision, snapshot: Snapshot, order: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return the models that only the moment rejects, the least bad first, as selection itself would rank them."""
    waiting = [c.target for c in decision.candidates if c.rejection in OF_THE_MOMENT and c.target not in order]
    if len(waiting) > 1:
        models, providers = snapshot.models, snapshot.providers
        waiting.sort(
            key=lambda target: badness(
                models.get(target.model.ref.id, UNSEEN_MODEL),
                providers.get(target.model.ref.provider, UNSEEN_PROVIDER),
                snapshot.now_s,
            )
        )
    return tuple(waiting)


def _last_coins(decision: Decision) -> tuple[Target, ...]:
    """Return the models that only the budget rejects, cheapest first: the reservation has the last word."""
    broke = [c for c in decision.candidates if c.rejection is Rejection.BUDGET]
    broke.sort(key=lambda c: math.inf if c.estimated_cost_nano_usd is None else c.estimated_cost_nano_usd)
    return tuple(c.target for c in broke)


def _usable(time_left_s: float | None) -> float:
    """Return how long the call may take: a little less than the caller's deadline, so that it still hears why."""
    return math.inf if time_left_s is None else max(0.0, time_left_s - min(0.05, 0.05 * time_left_s))


def _unknown_models(unknown: tuple[str, ...], requirements: Requirements, engine: Engine) -> AtlasError:
    field = "only_models" if unknown[0] in requirements.only_models else "exclude_models"
    known = ", ".join(sorted(engine.models))
    message = f"unknown model {unknown[0]!r}; configured are: {known}"
    return AtlasError(Reason.UNKNOWN_MODEL, message, violations=(FieldViolation(f"requirements.{field}", message),))


def _check_options(request: GenerateRequest, engine: Engine) -> None:
    if not request.provider_options:
        return
    known = set(engine.providers) | {model.provider_kind for model in engine.models.values()}
    known |= {model.ref.provider for model in engine.models.values()}
    for name in request.provider_options:
        if name not in known:
            message = f"no provider is called {name!r} or of that kind; configured are: {', '.join(sorted(known))}"
            violation = FieldViolation(f"provider_options_json[{name!r}]", message)
            raise AtlasError(Reason.INVALID_REQUEST, message, violations=(violation,))


def _no_answer(error: AtlasError, role: str) -> RequestOutcome:
    return RequestOutcome(
        outcome="failed",
        status_code=error.status_code,
        reason=error.reason,
        message=error.message,
        attempts=(),
        hops=0,
        served_by=None,
        chain_taken=(),
        cost_nano_usd=0,
        cost_estimated=False,
        usage=Usage(),
        budget_node="",
        role=role,
    )


def _selected(decision: Decision) -> RequestOutcome:
    return RequestOutcome(
        outcome="ok",
        status_code=0,
        reason=None,
        message="",
        attempts=(),
        hops=0,
        served_by=decision.selected.model.ref if decision.selected else None,
        chain_taken=(),
        cost_nano_usd=0,
        cost_estimated=False,
        usage=Usage(),
        budget_node="",
        role=decision.role,
    )
