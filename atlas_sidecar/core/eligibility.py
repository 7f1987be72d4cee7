"""Whether a model may serve a request: one test, made at selection and before every hop (ROUTING.md, Eligibility).

Rules kept here:
- What is wrong for good comes first (asked for, able, paid for), what may pass with time comes last. A model whose only
  fault is one of SOFT is therefore right in everything else, and may be tried as a last resort.
- Every sentence of a rejection is a function of its inputs: the same snapshot gives the same words.
- An amount of money is compared with what the attempt may cost at most; unknown prices never pass a finite budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from atlas_sidecar.core.money import Price, format_usd, tokens_cost_nano_usd
from atlas_sidecar.core.types import (
    BudgetState,
    Circuit,
    Model,
    ModelState,
    Need,
    Performance,
    ProviderState,
    ProviderStatus,
    Rejection,
    Requirements,
    Snapshot,
    Target,
)

# What passes with time: nothing else stands against the model, and trying it is better than refusing the request.
SOFT: Final = frozenset(
    {Rejection.PROVIDER_UNHEALTHY, Rejection.RATE_LIMITED, Rejection.CIRCUIT_OPEN, Rejection.OVERLOADED}
)
UNSEEN_MODEL: Final = ModelState()
UNSEEN_PROVIDER: Final = ProviderState()
_NO_FLOOR: Final = Performance()


class Rejected(NamedTuple):
    """Why a model may not serve, for programs and for people.

    `until_s`: when that ends, monotonic seconds, 0 = not known. `scarce`: only the budget's headroom is against it.
    """

    rejection: Rejection
    detail: str
    until_s: float = 0.0
    scarce: bool = False


@dataclass(frozen=True, slots=True)
class HopLimits:
    """What a chain on its way adds: only larger windows after CONTEXT_TOO_LONG, what `max_cost` still leaves."""

    min_window_exclusive: int | None = None
    max_cost_nano_usd: int | None = None


NO_LIMITS: Final = HopLimits()


def input_limit(model: Model) -> int:
    """Return how many input tokens a model takes at most."""
    return model.context_window if model.max_input_tokens is None else model.max_input_tokens


def expected_output(model: Model, need: Need, expected_output_tokens: int) -> int:
    """Return how many output tokens to expect: what the role learned, within the caller's and the model's cap."""
    asked = need.max_output_tokens
    cap = model.max_output_tokens if asked is None or asked > model.max_output_tokens else asked
    return cap if cap < expected_output_tokens else expected_output_tokens


def estimate_cost(model: Model, need: Need, expected_output_tokens: int) -> int | None:
    """Return what the request is likely to cost at this model in nano-USD (ROUTING.md's c); None = price unknown."""
    if model.price is None:
        return None
    output_tokens = expected_output(model, need, expected_output_tokens)
    return tokens_cost_nano_usd(model.price, need.input_tokens, output_tokens)


def worst_case_cost(model: Model, input_tokens: int, output_cap: int) -> int | None:
    """Return the most an attempt can cost in nano-USD (the reservation r of BUDGET.md); None = price unknown.

    A provider may write the whole input to its cache, which some charge dearer than plain input.
    """
    price = model.price
    if price is None:
        return None
    price = price.for_input(input_tokens)
    dearest_input = price.input if price.cache_write is None else max(price.input, price.cache_write)
    return tokens_cost_nano_usd(Price(dearest_input, price.output), input_tokens, output_cap)


def output_cap(model: Model, need: Need, max_cost_nano_usd: int | None = None) -> int:
    """Return the most output tokens to ask this model for: the caller's cap, the model's, the window's, the money's.

    `max_cost_nano_usd`: what the chain may still spend; None = no cap. Never below 1, which no provider takes.
    """
    cap = model.max_output_tokens if need.max_output_tokens is None else need.max_output_tokens
    cap = min(cap, model.max_output_tokens, model.context_window - need.input_tokens)
    price = model.price
    if max_cost_nano_usd is not None and price is not None:
        price = price.for_input(need.input_tokens)
        left = max_cost_nano_usd - (worst_case_cost(model, need.input_tokens, 0) or 0)
        if price.output > 0:
            cap = min(cap, left * 1_000_000 // price.output)
    return max(cap, 1)


def reservation(model: Model, need: Need, snapshot: Snapshot, max_cost_nano_usd: int | None = None) -> int | None:
    """Return what to reserve for one attempt, in nano-USD; None = price unknown.

    Where the caller set no output cap and the role's p95 is known, that sizes the reservation (BUDGET.md, step 1).
    """
    cap = output_cap(model, need, max_cost_nano_usd)
    usual = snapshot.reserve_output_tokens
    if need.max_output_tokens is None and usual is not None and usual < cap:
        cap = usual
    return worst_case_cost(model, need.input_tokens, cap)


class Eligibility:
    """The test for one request: what does not depend on the model is resolved once, `check` asks model by model."""

    __slots__ = (
        "_excluded",
        "_floor",
        "_hop",
        "_max_cost",
        "_need",
        "_now_s",
        "_only",
        "_requirements",
        "_snapshot",
        "_spendable",
    )

    def __init__(self, requirements: Requirements, need: Need, snapshot: Snapshot, hop: HopLimits = NO_LIMITS) -> None:
        self._requirements = requirements
        self._need = need
        self._snapshot = snapshot
        self._hop = hop
        self._now_s = snapshot.now_s
        self._only = requirements.only_models
        self._excluded = requirements.exclude_models
        self._floor = None if requirements.performance == _NO_FLOOR else requirements.performance
        self._max_cost = need.max_cost_nano_usd if hop.max_cost_nano_usd is None else hop.max_cost_nano_usd
        self._spendable = _spendable_nano_usd(snapshot.budget)

    def check(self, model: Model, state: ModelState, provider: ProviderState) -> Rejected | None:
        """Return the first thing that stands against this model, None when it may serve."""
        lasting = (
            self._asked_for(model, provider)
            or self._able(model)
            or (None if self._floor is None else _below_floor(model, state, self._floor))
        )
        if lasting is not None:
            return lasting
        passing = self._reachable(model, state, provider)
        if self._spendable is None and self._max_cost is None:
            return passing
        # Money last, so that which models only the budget rejects does not depend on how much of it is left; but before
        # what passes with time, so that a last resort can always be paid.
        return self._too_dear(model) or self._beyond_headroom(model, scarce=passing is None) or passing

    def _asked_for(self, model: Model, provider: ProviderState) -> Rejected | None:
        model_id = model.ref.id
        if self._only and model_id not in self._only:
            return Rejected(Rejection.EXCLUDED, "not among only_models")
        if self._excluded and model_id in self._excluded:
            return Rejected(Rejection.EXCLUDED, "listed in exclude_models")
        if model.retired and self._snapshot.today >= model.retired:
            return Rejected(Rejection.RETIRED, f"retired on {model.retired}")
        if not provider.has_credentials or provider.status is ProviderStatus.NO_CREDENTIALS:
            return Rejected(Rejection.NO_CREDENTIALS, f"provider {model.ref.provider} has no credentials")
        return None

    def _able(self, model: Model) -> Rejected | None:
        need = self._need
        asked = self._requirements.capabilities
        if not (need.capabilities <= model.capabilities and asked <= model.capabilities):
            missing = sorted((need.capabilities | asked) - model.capabilities)
            return Rejected(Rejection.MISSING_CAPABILITY, "lacks " + ", ".join(c.name.lower() for c in missing))
        tokens, window = need.input_tokens, model.context_window
        limit = window if model.max_input_tokens is None else model.max_input_tokens
        if tokens > limit:
            what = "window" if limit == window else "input limit"
            return Rejected(Rejection.CONTEXT_TOO_LONG, f"needs {tokens:,} tokens, {what} {limit:,}")
        output = self._output_tokens(model)
        if tokens + output > window:
            needs = f"needs {tokens:,} tokens and {output:,} for the answer"
            return Rejected(Rejection.CONTEXT_TOO_LONG, f"{needs}, window {window:,}")
        floor = self._hop.min_window_exclusive
        if floor is not None and limit <= floor:
            return Rejected(
                Rejection.CONTEXT_TOO_LONG, f"window {limit:,} is not larger than {floor:,}, which was too small"
            )
        return None

    def _output_tokens(self, model: Model) -> int:
        asked = self._need.max_output_tokens
        tokens = self._snapshot.expected_output_tokens if asked is None else asked
        return tokens if tokens < model.max_output_tokens else model.max_output_tokens

    def _too_dear(self, model: Model) -> Rejected | None:
        if model.price is None:
            what = "the budget is finite" if self._max_cost is None else "the cost is capped"
            return Rejected(Rejection.NO_PRICE, f"price unknown, and {what}")
        if self._max_cost is None:
            return None
        least = worst_case_cost(model, self._need.input_tokens, self._output_tokens(model)) or 0
        if least <= self._max_cost:
            return None
        detail = f"may cost {format_usd(least)}, max_cost leaves {format_usd(self._max_cost)}"
        return Rejected(Rejection.BUDGET, detail)

    def _beyond_headroom(self, model: Model, *, scarce: bool) -> Rejected | None:
        if self._spendable is None:
            return None
        most = reservation(model, self._need, self._snapshot, self._max_cost) or 0
        if most <= self._spendable:
            return None
        detail = f"may cost {format_usd(most)}, budget headroom {format_usd(self._spendable)}"
        return Rejected(Rejection.BUDGET, detail, scarce=scarce)

    def _reachable(self, model: Model, state: ModelState, provider: ProviderState) -> Rejected | None:
        now_s, name = self._now_s, model.ref.provider
        if provider.circuit is not Circuit.CLOSED and (provider.circuit is Circuit.OPEN or not provider.probe_free):
            return _circuit(f"provider {name}", provider.circuit, provider.open_until_s, now_s)
        if state.circuit is not Circuit.CLOSED and (state.circuit is Circuit.OPEN or not state.probe_free):
            return _circuit("model", state.circuit, state.open_until_s, now_s)
        if provider.status is ProviderStatus.UNHEALTHY:
            return Rejected(Rejection.PROVIDER_UNHEALTHY, f"provider {name} is unhealthy")
        until_s = max(provider.limited_until_s, state.limited_until_s)
        if until_s > now_s:
            return Rejected(Rejection.RATE_LIMITED, f"rate limited for {until_s - now_s:.1f} s", until_s)
        if provider.status is ProviderStatus.RATE_LIMITED:
            return Rejected(Rejection.RATE_LIMITED, f"provider {name} is rate limited")
        remaining = provider.requests_remaining
        if remaining is not None and remaining <= self._snapshot.min_requests_remaining:
            kept = self._snapshot.min_requests_remaining
            return Rejected(Rejection.RATE_LIMITED, f"{remaining:,} requests remaining, {kept:,} are kept back")
        limit = provider.concurrency_limit
        if limit is not None and provider.in_flight >= limit:
            return Rejected(Rejection.OVERLOADED, f"{provider.in_flight:,} in flight, limit {limit:,}")
        return None


def check(
    target: Target, requirements: Requirements, need: Need, snapshot: Snapshot, hop: HopLimits = NO_LIMITS
) -> Rejected | None:
    """Return why this target may not serve now, None when it may: selection's own test, for use before each hop."""
    state, provider = states_of(target.model, snapshot)
    return Eligibility(requirements, need, snapshot, hop).check(target.model, state, provider)


def states_of(model: Model, snapshot: Snapshot) -> tuple[ModelState, ProviderState]:
    """Return what the snapshot knows of a model and its provider; never seen = nothing held against it."""
    ref = model.ref
    return snapshot.models.get(ref.id, UNSEEN_MODEL), snapshot.providers.get(ref.provider, UNSEEN_PROVIDER)


def badness(rejection: Rejection, state: ModelState, provider: ProviderState, now_s: float) -> tuple[int, float]:
    """Return how bad a SOFT rejection is: the smaller pair is tried first as a last resort.

    0: requests nearly used up. 1: half-open, its probe under way. 2: this sidecar's own concurrency limit.
    3: open circuit or cool-down, by how many seconds it still lasts. 4: unhealthy, with no time known.
    """
    if rejection is Rejection.OVERLOADED:
        return 2, 0.0
    if rejection is Rejection.PROVIDER_UNHEALTHY:
        return 4, 0.0
    open_until_s = [s.open_until_s for s in (state, provider) if s.circuit is Circuit.OPEN]
    wait_s = max(state.limited_until_s, provider.limited_until_s, *open_until_s) - now_s
    if open_until_s or wait_s > 0:
        return 3, max(wait_s, 0.0)
    if rejection is Rejection.CIRCUIT_OPEN:
        return 1, 0.0
    return (3, 0.0) if provider.status is ProviderStatus.RATE_LIMITED else (0, 0.0)


def _spendable_nano_usd(budget: BudgetState) -> int | None:
    if budget.headroom_nano_usd is not None:
        return max(budget.headroom_nano_usd, 0)
    if budget.remaining_nano_usd is not None:
        return max(budget.remaining_nano_usd, 0)
    return budget.limit_nano_usd


def _circuit(whose: str, circuit: Circuit, until_s: float, now_s: float) -> Rejected:
    if circuit is Circuit.OPEN:
        left_s = max(until_s - now_s, 0.0)
        return Rejected(Rejection.CIRCUIT_OPEN, f"circuit of {whose} is open for {left_s:.1f} s", until_s)
    return Rejected(Rejection.CIRCUIT_OPEN, f"circuit of {whose} is half-open and its probe is under way")


def _below_floor(model: Model, state: ModelState, floor: Performance) -> Rejected | None:
    for what, value, least in (
        ("reasoning score", model.reasoning_score, floor.min_reasoning_score),
        ("speed score", model.speed_score, floor.min_speed_score),
        ("success rate", state.success_rate, floor.min_success_rate),
    ):
        if value < least:
            return Rejected(Rejection.PERFORMANCE, f"{what} {value:.3g}, at least {least:.3g} is asked for")
    for what, seen_s, most_s in (
        ("time to first token", state.time_to_first_token_p95_s, floor.max_time_to_first_token_s),
        ("latency", state.latency_p95_s, floor.max_latency_s),
    ):
        if seen_s is not None and most_s is not None and seen_s > most_s:
            return Rejected(Rejection.PERFORMANCE, f"{what} p95 {seen_s:.3g} s, at most {most_s:.3g} s is asked for")
    return None
