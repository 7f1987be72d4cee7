"""What the Health RPC tells people: reports of providers and models, and the sum for the roles.

Rules kept here:
- Frozen values with Unix times; a deadline that has passed is None.
- An error is told in our own sentence, never in the provider's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from atlas_sidecar.core.types import (
    Circuit,
    ModelRef,
    ModelState,
    ProviderState,
    ProviderStatus,
    Target,
)
from atlas_sidecar.runtime.performance import ModelPerformance, ProviderPerformance


class Serving(IntEnum):
    """What the sidecar can do for its roles; numbers of atlas_api.v1.HealthResponse.Status."""

    SERVING = 1
    DEGRADED = 2
    NOT_SERVING = 3


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What is known of a model, for people. `reliability` 0..10 is the score's term; times are Unix seconds."""

    ref: ModelRef
    circuit: Circuit
    open_until_unix_s: float | None
    limited_until_unix_s: float | None
    success_rate: float
    reliability: float
    time_to_first_token_p50_s: float | None
    time_to_first_token_p95_s: float | None
    latency_p95_s: float | None
    output_tokens_per_s: float | None
    in_flight: int
    last_error: str


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """What is known of a provider, for people. `error_rate` 0..1, decayed; times are Unix seconds, None = not set.

    `limited_until_unix_s`: when the provider, or where all its models are limited the first of them, may be asked.
    `last_checked_unix_s`: when it was last heard of, by a probe or by an attempt. `has_credentials`: whether it is
    configured and has a key; the catalog names providers that are not.
    """

    provider: str
    status: ProviderStatus
    response_time_s: float | None
    requests_remaining: int | None
    tokens_remaining: int | None
    limited_until_unix_s: float | None
    last_checked_unix_s: float | None
    last_error: str
    error_rate: float
    circuit: Circuit
    open_until_unix_s: float | None
    in_flight: int
    concurrency_limit: int | None
    retry_tokens: int
    has_credentials: bool


class Times:
    """Turns monotonic seconds into Unix seconds."""

    __slots__ = ("now_s", "offset_s")

    def __init__(self, now_s: float, unix_s: float) -> None:
        self.now_s = now_s
        self.offset_s = unix_s - now_s

    def past(self, at_s: float | None) -> float | None:
        """Return a past time; None stays None."""
        return None if at_s is None else at_s + self.offset_s

    def coming(self, at_s: float) -> float | None:
        """Return a deadline, None when it has passed."""
        return at_s + self.offset_s if at_s > self.now_s else None


def model_report(model: ModelPerformance, state: ModelState, provider: ProviderState, times: Times) -> ModelReport:
    """Describe a model by its state and its provider's."""
    return ModelReport(
        ref=model.ref,
        circuit=state.circuit,
        open_until_unix_s=times.coming(state.open_until_s),
        limited_until_unix_s=times.coming(state.limited_until_s),
        success_rate=state.success_rate,
        reliability=10.0 * min(state.reliability, provider.reliability),
        time_to_first_token_p50_s=state.time_to_first_token_p50_s,
        time_to_first_token_p95_s=state.time_to_first_token_p95_s,
        latency_p95_s=state.latency_p95_s,
        output_tokens_per_s=state.output_tokens_per_s,
        in_flight=state.in_flight,
        last_error=model.last_error,
    )


def provider_report(
    provider: ProviderPerformance, state: ProviderState, models: Iterable[ModelState], times: Times
) -> ProviderReport:
    """Describe a provider by its state and its models'."""
    limited_until_s = max(state.limited_until_s, min((model.limited_until_s for model in models), default=0.0))
    status = state.status
    if limited_until_s > times.now_s and status in (ProviderStatus.HEALTHY, ProviderStatus.UNKNOWN):
        status = ProviderStatus.RATE_LIMITED
    return ProviderReport(
        provider=provider.name,
        status=status,
        response_time_s=provider.response_time_s,
        requests_remaining=provider.last_said.requests_remaining,
        tokens_remaining=provider.last_said.tokens_remaining,
        limited_until_unix_s=times.coming(limited_until_s),
        last_checked_unix_s=times.past(provider.last_heard_s),
        last_error=provider.last_error,
        error_rate=provider.error_rate(times.now_s),
        circuit=state.circuit,
        open_until_unix_s=times.coming(state.open_until_s),
        in_flight=state.in_flight,
        concurrency_limit=state.concurrency_limit,
        retry_tokens=provider.quota.tokens,
        has_credentials=state.has_credentials,
    )


def overall(
    roles: Mapping[str, Sequence[Target]],
    models: Mapping[str, ModelState],
    providers: Mapping[str, ProviderState],
    now_s: float,
) -> Serving:
    """Sum up the roles: degraded when one has no usable model in its first tier, not serving when none has any."""
    any_usable = degraded = False
    for targets in roles.values():
        good = {target.tier for target in targets if _usable(target.model.ref, models, providers, now_s)}
        any_usable = any_usable or bool(good)
        degraded = degraded or min((target.tier for target in targets), default=0) not in good
    if not any_usable:
        return Serving.NOT_SERVING
    return Serving.DEGRADED if degraded else Serving.SERVING


def _usable(
    ref: ModelRef, models: Mapping[str, ModelState], providers: Mapping[str, ProviderState], now_s: float
) -> bool:
    model, provider = models.get(ref.id), providers.get(ref.provider)
    return (
        model is not None
        and provider is not None
        and provider.has_credentials
        and provider.status is not ProviderStatus.UNHEALTHY
        and Circuit.OPEN not in (model.circuit, provider.circuit)
        and now_s >= max(model.limited_until_s, provider.limited_until_s)
    )
