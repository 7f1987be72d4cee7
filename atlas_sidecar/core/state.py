"""What is configured, what is known at one moment, and what was decided from both: the values of selection.

Rules kept here:
- Values only, no behaviour beyond reading themselves. Times are monotonic seconds, money is nano-USD (int).
- Enum numbers are those of atlas_api.v1, so that converting is a lookup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.request import Capability

# ------------------------------------------------------------------------------------------- what is configured


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Names a model: the configuration's id, the configured provider, the provider's own model name."""

    id: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model. Scores 0..10; windows in tokens; `price` None = unknown.

    `provider_kind`: anthropic, openai, google, groq, simulated, ...; `max_input_tokens` None = the window.
    `retired`: ISO date from which the provider no longer serves it, "" = never. `prefill`: takes an assistant prefill.
    `lacks`: forms of content that its API has no room for, whatever the model could make of them.
    """

    ref: ModelRef
    provider_kind: str
    context_window: int
    max_output_tokens: int
    reasoning_score: float
    speed_score: float
    max_input_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    use_cases: tuple[str, ...] = ()
    price: Price | None = None
    retired: str = ""
    prefill: bool = False
    lacks: frozenset[Form] = frozenset()

    @property
    def input_limit(self) -> int:
        """The most input tokens it takes."""
        return self.context_window if self.max_input_tokens is None else self.max_input_tokens


@dataclass(frozen=True, slots=True)
class Target:
    """A model in its tier of a role; tier 1 = primary."""

    model: Model
    tier: int


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the four score terms for one complexity, and its price sensitivity g (0..1)."""

    reasoning: float
    reliability: float
    cost: float
    speed: float
    price_sensitivity: float


# ------------------------------------------------------------------------------------------- what is known


class Circuit(IntEnum):
    """State of a circuit breaker; numbers of atlas_api.v1.ModelHealth.Circuit."""

    CLOSED = 1
    HALF_OPEN = 2
    OPEN = 3


class ProviderStatus(IntEnum):
    """What is known of a provider; numbers of atlas_api.v1.ProviderHealth.Status."""

    UNKNOWN = 1
    HEALTHY = 2
    UNHEALTHY = 3
    RATE_LIMITED = 4
    NO_CREDENTIALS = 5


@dataclass(frozen=True, slots=True)
class ModelState:
    """Live evidence of one model. Means are posterior means 0..1; `latency_ratio` = min(1, long-run / recent latency).

    `circuit` HALF_OPEN with `probe_free` False admits nobody. `open_until_s`, `limited_until_s`: monotonic seconds.
    """

    success_rate: float = 1.0
    reliability: float = 1.0
    latency_ratio: float = 1.0
    in_flight: int = 0
    circuit: Circuit = Circuit.CLOSED
    probe_free: bool = True
    open_until_s: float = 0.0
    limited_until_s: float = 0.0
    time_to_first_token_p50_s: float | None = None
    time_to_first_token_p95_s: float | None = None
    latency_p95_s: float | None = None
    output_tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class ProviderState:
    """Live evidence of one provider. `concurrency_limit` None = no limit yet; `limited_until_s`: monotonic seconds."""

    status: ProviderStatus = ProviderStatus.UNKNOWN
    reliability: float = 1.0
    has_credentials: bool = True
    requests_remaining: int | None = None
    tokens_remaining: int | None = None
    limited_until_s: float = 0.0
    in_flight: int = 0
    concurrency_limit: int | None = None
    circuit: Circuit = Circuit.CLOSED
    probe_free: bool = True
    open_until_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What a request may spend, at the tightest node. All None = no limit.

    `remaining`: limit - spent of the period. `headroom`: what this sidecar may spend now without asking (the largest
    single reservation that can succeed, a Reserve at the service included). `expected_requests`: requests still
    expected from this sidecar in the period, >= 1. `fair_share` = remaining / expected_requests, of the caller.
    """

    limit_nano_usd: int | None = None
    remaining_nano_usd: int | None = None
    headroom_nano_usd: int | None = None
    expected_requests: float = 1.0
    node: str = ""


class TokenLine(NamedTuple):
    """What a model makes of an estimate of input tokens: overhead + slope * estimate (calibration.py)."""

    slope: float
    overhead: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision depends on beside the request: two equal snapshots give equal decisions.

    `expected_output_tokens`: what the role learned; `reserve_output_tokens`: its p95, which sizes a reservation where
    the caller set no output cap (None = the model's own cap). `today`: ISO date, for retired models. `token_lines`: by
    model id, for a request of this shape; a model without one takes the estimate as it is.
    """

    now_s: float
    models: Mapping[str, ModelState]
    providers: Mapping[str, ProviderState]
    budget: BudgetState = BudgetState()
    expected_output_tokens: int = 500
    affinity_model: str = ""
    today: str = ""
    config_version: str = ""
    min_requests_remaining: int = 10
    reserve_output_tokens: int | None = None
    token_lines: Mapping[str, TokenLine] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """What one request needs of a model: token estimates, and capabilities and forms derived from its content.

    `max_output_tokens` None = the caller did not ask for a number; `max_cost_nano_usd` None = no cap on the chain.
    """

    input_tokens: int
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    max_cost_nano_usd: int | None = None
    forms: frozenset[Form] = frozenset()


# ------------------------------------------------------------------------------------------- what was decided


class Rejection(IntEnum):
    """Why a model may not serve; numbers of atlas_api.v1.Rejection."""

    CONTEXT_TOO_LONG = 1
    PROVIDER_UNHEALTHY = 2
    RATE_LIMITED = 3
    CIRCUIT_OPEN = 4
    MISSING_CAPABILITY = 5
    BUDGET = 6
    PERFORMANCE = 7
    EXCLUDED = 8
    NO_CREDENTIALS = 9
    OVERLOADED = 10
    RETIRED = 11
    NO_PRICE = 12


class Candidate(NamedTuple):
    """One model of a decision with its four terms (0..10), its score, or why it was rejected."""

    target: Target
    score: float
    reasoning: float
    reliability: float
    cost_efficiency: float
    speed: float
    success_rate: float
    estimated_cost_nano_usd: int | None
    rejection: Rejection | None = None
    rejection_detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What selection decided. `candidates`: best first, rejected last; `order`: models to try, the selected first.

    `last_resort`: nothing was eligible but for health, limits or circuits, so the least bad one is tried.
    """

    decision_id: str
    candidates: tuple[Candidate, ...]
    order: tuple[Target, ...]
    weights: Weights
    role: str
    cost_optimization: bool
    remaining_nano_usd: int | None
    config_version: str
    affinity_applied: bool = False
    last_resort: bool = False

    @property
    def selected(self) -> Target | None:
        """The first model to try; None when nothing is eligible."""
        return self.order[0] if self.order else None
