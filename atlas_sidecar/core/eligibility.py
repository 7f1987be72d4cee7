"""Whether a model may serve a request: one test, made at selection and before every hop (ROUTING.md, Eligibility).

Rules kept here:
- What is wrong for good comes first (asked for, able, paid for), what may pass with time comes last. A model whose only
  fault is one of SOFT is therefore right in everything else, and may be tried as a last resort.
- Every sentence of a rejection is a function of its inputs: the same snapshot gives the same words.
- Input tokens are those that the model itself would count (Snapshot.token_lines): whoever asks `check` works them out.
- Money is compared with the most that the attempt may cost; unknown prices never pass a finite budget.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from atlas_sidecar.core.availability import (
    SOFT,
    UNSEEN_MODEL,
    UNSEEN_PROVIDER,
    ProviderView,
    Rejected,
    model_passing,
    view_of,
)
from atlas_sidecar.core.calibration import calibrated
from atlas_sidecar.core.costs import (
    estimate_cost,
    expected_output,
    output_cap,
    reservation,
    worst_case_cost,
)
from atlas_sidecar.core.money import TOKENS_PER_MILLION, format_usd
from atlas_sidecar.core.types import (
    BudgetState,
    Circuit,
    Model,
    ModelState,
    Need,
    Performance,
    Rejection,
    Requirements,
    Snapshot,
    Target,
)

__all__ = [
    "SOFT",
    "Eligibility",
    "HopLimits",
    "Rejected",
    "check",
    "estimate_cost",
    "expected_output",
    "output_cap",
    "reservation",
    "worst_case_cost",
]

_CLOSED: Final = Circuit.CLOSED  # an enum's attribute is slow to look up, and this is asked for every model
_NO_FLOOR: Final = Performance()


@dataclass(frozen=True, slots=True)
class HopLimits:
    """What a chain on its way adds: only larger windows after CONTEXT_TOO_LONG, what `max_cost` still leaves.

    `min_window_exclusive`: the input limit, in tokens, that was too small.
    """

    min_window_exclusive: int | None = None
    max_cost_nano_usd: int | None = None


_NO_LIMITS: Final = HopLimits()


class Eligibility:
    """The test for one request: what does not depend on the model is resolved once, `check` asks model by model."""

    def __init__(self, requirements: Requirements, need: Need, snapshot: Snapshot, hop: HopLimits = _NO_LIMITS) -> None:
        self._need = need
        self._snapshot = snapshot
        self._now_s = snapshot.now_s
        self._only = requirements.only_models
        self._excluded = requirements.exclude_models
        self._required = requirements.capabilities | need.capabilities
        self._forms = need.forms
        asked = need.max_output_tokens
        self._output_tokens = snapshot.expected_output_tokens if asked is None else asked
        self._too_small = hop.min_window_exclusive
        self._floor = None if requirements.performance == _NO_FLOOR else requirements.performance
        self._is_picky = bool(self._only or self._excluded or self._floor is not None or self._too_small is not None)
        self._max_cost = need.max_cost_nano_usd if hop.max_cost_nano_usd is None else hop.max_cost_nano_usd
        self._spendable = _spendable_nano_usd(snapshot.budget)
        self._views: dict[str, ProviderView] = {}

    def provider(self, name: str) -> ProviderView:
        """Return what the snapshot says of a provider, worked out once."""
        view = self._views.get(name)
        if view is None:
            snapshot = self._snapshot
            state = snapshot.providers.get(name, UNSEEN_PROVIDER)
            view = view_of(name, state, self._now_s, snapshot.min_requests_remaining)
            self._views[name] = view
        return view

    def check(self, model: Model, state: ModelState, provider: ProviderView, tokens: int) -> Rejected | None:
        """Return the first thing that stands against this model, None when it may serve; `tokens`: its count of the
        input.
        """
        # The usual case, nothing near a limit, is told in one go; whatever might be wrong is looked at closely.
        if (
            self._is_picky
            or model.retired
            or provider.lasting is not None
            or tokens + self._output_tokens > model.context_window
            or model.max_input_tokens is not None
            or not self._required <= model.capabilities
            or (self._forms and model.lacks)
        ):
            lasting = self._unwanted(model) or provider.lasting or self._unable(model, tokens)
            if lasting is None and self._floor is not None:
                lasting = _below_floor(model, state, self._floor)
            if lasting is not None:
                return lasting
        passing = provider.passing
        if passing is None and (state.circuit is not _CLOSED or state.limited_until_s > 0.0):
            passing = model_passing(state, self._now_s)
        if self._spendable is None and self._max_cost is None:
            return passing
        # Looked at last, so that the models which only the budget rejects are the same however little of it is left;
        # named before what passes, so that a last resort can always be paid.
        if self._is_cheap(model, tokens):
            return passing
        too_dear = self._too_dear(model, tokens) or self._beyond_headroom(model, tokens, scarce=passing is None)
        return too_dear or passing

    def _unwanted(self, model: Model) -> Rejected | None:
        if self._only and model.ref.id not in self._only:
            return Rejected(Rejection.EXCLUDED, "not among only_models")
        if self._excluded and model.ref.id in self._excluded:
            return Rejected(Rejection.EXCLUDED, "listed in exclude_models")
        if model.retired and self._snapshot.today >= model.retired:
            return Rejected(Rejection.RETIRED, f"retired on {model.retired}")
        return None

    def _unable(self, model: Model, tokens: int) -> Rejected | None:
        if not self._required <= model.capabilities:
            missing = sorted(self._required - model.capabilities)
            return Rejected(Rejection.MISSING_CAPABILITY, "lacks " + ", ".join(c.name.lower() for c in missing))
        if not self._forms.isdisjoint(model.lacks):
            untaken = sorted(form.value for form in self._forms & model.lacks)
            return Rejected(Rejection.MISSING_CAPABILITY, "takes no " + ", no ".join(untaken))
        window, limit = model.context_window, model.input_limit
        if tokens > limit:
            what = "window" if limit == window else "input limit"
            return Rejected(Rejection.CONTEXT_TOO_LONG, f"needs {tokens:,} tokens, {what} {limit:,}")
        if tokens + self._output_tokens > window:
            output = min(self._output_tokens, model.max_output_tokens)
            if tokens + output > window:
                needs = f"needs {tokens:,} tokens and {output:,} for the answer"
                return Rejected(Rejection.CONTEXT_TOO_LONG, f"{needs}, window {window:,}")
        if self._too_small is not None and limit <= self._too_small:
            return Rejected(Rejection.CONTEXT_TOO_LONG, f"window {limit:,}, and {self._too_small:,} was too small")
        return None

    def _is_cheap(self, model: Model, tokens: int) -> bool:
        """Return whether even the longest answer fits the headroom: the usual case, told in one go."""
        price = model.price
        if price is None or price.long_context or self._max_cost is not None or self._spendable is None:
            return False
        most = tokens * price.dearest_input + model.max_output_tokens * price.dearest_output
        return most <= self._spendable * TOKENS_PER_MILLION

    def _too_dear(self, model: Model, tokens: int) -> Rejected | None:
        if model.price is None:
            what = "the budget is finite" if self._max_cost is None else "the cost is capped"
            return Rejected(Rejection.NO_PRICE, f"price unknown, and {what}")
        if self._max_cost is None:
            return None
        output = min(self._output_tokens, model.max_output_tokens)
        least = worst_case_cost(model, tokens, output, self._need) or 0
        if least <= self._max_cost:
            return None
        detail = f"may cost {format_usd(least)}, max_cost leaves {format_usd(self._max_cost)}"
        return Rejected(Rejection.BUDGET, detail)

    def _beyond_headroom(self, model: Model, tokens: int, *, scarce: bool) -> Rejected | None:
        if self._spendable is None:
            return None
        most = reservation(model, replace(self._need, input_tokens=tokens), self._snapshot, self._max_cost) or 0
        if most <= self._spendable:
            return None
        detail = f"may cost {format_usd(most)}, budget headroom {format_usd(self._spendable)}"
        return Rejected(Rejection.BUDGET, detail, scarce=scarce)


def check(
    target: Target, requirements: Requirements, need: Need, snapshot: Snapshot, hop: HopLimits = _NO_LIMITS
) -> Rejected | None:
    """Return why this target may not serve now, None when it may: selection's own test, for use before each hop."""
    test = Eligibility(requirements, need, snapshot, hop)
    ref = target.model.ref
    line = snapshot.token_lines.get(ref.id)
    tokens = need.input_tokens if line is None else calibrated(line, need.input_tokens)
    return test.check(target.model, snapshot.models.get(ref.id, UNSEEN_MODEL), test.provider(ref.provider), tokens)


def _spendable_nano_usd(budget: BudgetState) -> int | None:
    if budget.headroom_nano_usd is not None:
        return max(budget.headroom_nano_usd, 0)
    if budget.remaining_nano_usd is not None:
        return max(budget.remaining_nano_usd, 0)
    return budget.limit_nano_usd


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
