"""What one valid configuration gives the runtime, frozen: a reload makes a new Engine, calls in flight keep theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atlas_sidecar.core.types import Complexity, Model, Target, Weights
from atlas_sidecar.ports import Provider


@dataclass(frozen=True, slots=True)
class FallbackSettings:
    """Bounds on a chain; the defaults are the contract's. `on_content_filter`: "fail" or "next"."""

    max_hops: int = 6
    attempts_per_model: int = 3
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 8.0
    max_inline_retry_after_s: float = 0.0
    on_content_filter: str = "fail"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds on one attempt (connect, first token, idle) and on the whole call (total), seconds."""

    connect_s: float = 5.0
    time_to_first_token_s: float = 30.0
    idle_s: float = 20.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Engine:
    """Models, roles, providers and settings of one configuration.

    `roles`: role name -> its targets in tier order. `models`: every configured model by id. `providers`: by configured
    name; a model whose provider is not in it has no credentials.
    """

    config_version: str
    models: Mapping[str, Model]
    roles: Mapping[str, tuple[Target, ...]]
    default_role: str
    providers: Mapping[str, Provider]
    weights: Mapping[Complexity, Weights]
    tier_factor: float = 0.9
    min_requests_remaining: int = 10
    fallback: FallbackSettings = field(default_factory=FallbackSettings)
    timeouts: Timeouts = field(default_factory=Timeouts)
    simulated: bool = False
