"""What this sidecar knows of its models and providers: passive evidence first, probes where nothing was heard.

Rules kept here:
- `states` never waits and is asked for every request: frozen states are reused until something changed. Means decay in
  steps of a second; circuits, cooldowns and headers change at their exact time.
- Every attempt is a Flight: it takes places when it begins and gives its verdict exactly once when it ends.
- A model that left the configuration ends its flights in peace, and they touch nothing that is still there.
- A hot reload keeps the evidence of what stays.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from atlas_sidecar.core.breaker import Breaker, Event, Permit
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Circuit,
    Model,
    ModelState,
    ProviderState,
    RateLimit,
    Target,
    Usage,
)
from atlas_sidecar.core.verdict import verdict
from atlas_sidecar.ports import Clock, Provider
from atlas_sidecar.runtime.performance import ModelPerformance, ProviderPerformance
from atlas_sidecar.runtime.probes import HealthSettings, ProbeResult, Probes
from atlas_sidecar.runtime.reports import (
    ModelReport,
    ProviderReport,
    Serving,
    Times,
    model_report,
    overall,
    provider_report,
)

_log: Final = logging.getLogger(__name__)
QUANTUM_S: Final = 1.0
THROTTLES: Final = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED})
_NEVER: Final = -math.inf


def end_permit(what: str, name: str, breaker: Breaker, permit: Permit, event: Event | None, now_s: float) -> None:
    """Give a circuit its verdict, and log where that moves it."""
    before = breaker.state(now_s)
    breaker.end(permit, event, now_s)
    after = breaker.state(now_s)
    if after is Circuit.OPEN and before is not Circuit.OPEN:
        _log.warning("circuit of %s %s opened for %.0f s", what, name, breaker.open_until_s - now_s)
    elif after is Circuit.CLOSED and before is not Circuit.CLOSED:
        _log.info("circuit of %s %s closed", what, name)


class Flight:
    """One attempt on its way. `admitted` False: a circuit had no place, it goes as a last resort."""

    __slots__ = (
        "_begun_s",
        "_ended",
        "_first_content_s",
        "_health",
        "_model",
        "_model_permit",
        "_provider",
        "_provider_permit",
        "_retried",
    )

    def __init__(
        self, health: Health, model: ModelPerformance, provider: ProviderPerformance, now_s: float, retried: bool
    ) -> None:
        self._health = health
        self._model = model
        self._provider = provider
        self._begun_s = now_s
        self._retried = retried
        self._first_content_s: float | None = None
        self._ended = False
        self._model_permit: Permit = model.breaker.begin(now_s)
        self._provider_permit: Permit = provider.breaker.begin(now_s)
        model.in_flight += 1
        provider.in_flight += 1

    @property
    def admitted(self) -> bool:
        """Whether the circuits of the model and its provider wanted this attempt."""
        return self._model_permit.admitted and self._provider_permit.admitted

    def head(self, rate_limit: RateLimit | None) -> None:
        """Take note of the answer's head: the response time, and the rate limits its headers said."""
        now_s = self._health.now_s()
        self._provider.response_time_s = now_s - self._begun_s
        if rate_limit is not None:
            self._provider.heard(rate_limit, now_s)
            self._health.touch(self._model, self._provider)

    def first_content(self, elapsed_s: float) -> None:
        """Take note of the first content, this many seconds after the attempt began."""
        if self._first_content_s is None:
            self._first_content_s = elapsed_s
            self._model.first_content(elapsed_s, self._health.now_s())

    def end(self, error: ProviderError | None, usage: Usage, elapsed_s: float) -> None:
        """Give the verdict; None = it answered. A second end is ignored."""
        if self._ended:
            return
        self._ended = True
        now_s = self._health.now_s()
        model, provider, counts = self._model, self._provider, verdict(error)
        if error is None:
            model.answered(usage, self._first_content_s, elapsed_s, now_s)
            provider.quota.answered(self._retried)
            provider.concurrency.answered(provider.in_flight)
        elif counts.provider_reliability is not None:
            provider.quota.failed()
            if counts.throttled:
                provider.concurrency.lost(provider.in_flight, self._begun_s, now_s)
        model.ended(error, now_s)
        provider.ended(error, now_s)
        end_permit("model", model.ref.id, model.breaker, self._model_permit, counts.model_event, now_s)
        event = self._provider_event(error, counts.provider_event)
        end_permit("provider", provider.name, provider.breaker, self._provider_permit, event, now_s)
        model.in_flight -= 1
        provider.in_flight -= 1
        provider.last_attempt_s = now_s
        self._health.touch(model, provider)

    def _provider_event(self, error: ProviderError | None, event: Event | None) -> Event | None:
        if event is None or event is Event.TRIPPED:
            return event
        alone = self._health.models_of(self._provider.name) <= 1
        return event if self._provider.shares_end(error, self._model.ref.id, alone) else None


class Health:
    """The live state of all models and providers."""

    def __init__(
        self,
        clock: Clock,
        models: Sequence[Model],
        providers: Mapping[str, Provider],
        settings: HealthSettings | None = None,
    ) -> None:
        self._clock = clock
        self._models: dict[str, ModelPerformance] = {}
        self._providers: dict[str, ProviderPerformance] = {}
        self._ports: dict[str, Provider] = {}
        self._model_count: Counter[str] = Counter()
        self._model_states: dict[str, ModelState] = {}
        self._provider_states: dict[str, ProviderState] = {}
        self._view: tuple[Mapping[str, ModelState], Mapping[str, ProviderState]] = ({}, {})
        self._changed_models: set[str] = set()
        self._changed_providers: set[str] = set()
        self._rebuild_at_s = _NEVER
        self._probes = Probes(clock, settings or HealthSettings(), self._providers, self._ports, self._touch_provider)
        self.reconfigure(models, providers)

    def __repr__(self) -> str:
        open_ones = [name for name, state in self._model_states.items() if state.circuit is not Circuit.CLOSED]
        return f"<Health models={len(self._models)} providers={len(self._providers)} not_closed={open_ones}>"

    def now_s(self) -> float:
        """Return the clock's monotonic seconds."""
        return self._clock.monotonic_s()

    def models_of(self, provider: str) -> int:
        """Return how many configured models a provider has."""
        return self._model_count[provider]

    def states(self, now_s: float) -> tuple[Mapping[str, ModelState], Mapping[str, ProviderState]]:
        """Return the state of each model by id and of each provider by name. Never waits; the mappings never change."""
        if now_s >= self._rebuild_at_s:
            self._refresh_credentials()
            self._changed_models.update(self._models)
            self._changed_providers.update(self._providers)
            self._rebuild(now_s)
            self._schedule(now_s)
        elif self._changed_providers or self._changed_models:
            self._rebuild(now_s)
        return self._view

    def begin(self, model: Model, retry_after: ErrorClass | None = None) -> Flight:
        """Begin an attempt: in flight + 1, and a place where a circuit is half-open. Never refuses.

        `retry_after`: the class of the failure for which `may_retry` was paid to make this attempt.
        """
        tracked = self._models.get(model.ref.id)
        if tracked is None or tracked.ref != model.ref:  # a request that outlived the configuration it began under
            tracked = ModelPerformance(model.ref)
        provider = self._providers.get(model.ref.provider) or ProviderPerformance(model.ref.provider)
        retried = retry_after is not None and retry_after not in THROTTLES
        flight = Flight(self, tracked, provider, self.now_s(), retried)
        self.touch(tracked, provider)
        return flight

    def may_retry(self, provider: str, error_class: ErrorClass) -> bool:
        """Pay for one more request to the same provider from its retry quota; False when it is used up."""
        tracked = self._providers.get(provider)
        return tracked is not None and tracked.quota.take(throttled=error_class in THROTTLES)

    def touch(self, model: ModelPerformance, provider: ProviderPerformance) -> None:
        """Note that these changed; a model or provider that was reconfigured away is not touched."""
        if self._models.get(model.ref.id) is model:
            self._changed_models.add(model.ref.id)
        self._touch_provider(provider)

    def reconfigure(self, models: Sequence[Model], providers: Mapping[str, Provider]) -> None:
        """Take over a new configuration, keeping the evidence of what stays.

        A provider whose port is a new object may have a new key or address: its open circuit gets a trial at once.
        """
        now_s = self.now_s()
        names = dict.fromkeys([*providers, *(model.ref.provider for model in models)])
        for name in names:
            kept = self._providers.setdefault(name, ProviderPerformance(name))
            if name in providers and self._ports.get(name) is not providers[name]:
                kept.breaker.try_again(now_s)
                kept.failed_probes = 0
        for name in set(self._providers) - set(names):
            del self._providers[name]
        self._ports.clear()
        self._ports.update(providers)
        old = self._models
        self._models = {}
        for model in models:
            known = old.get(model.ref.id)
            self._models[model.ref.id] = known if known and known.ref == model.ref else ModelPerformance(model.ref)
        self._model_count = Counter(model.ref.provider for model in models)
        self._model_states = {}
        self._provider_states = {}
        self._changed_models.clear()
        self._changed_providers.clear()
        self._rebuild_at_s = _NEVER

    async def start(self) -> None:
        """Start probing in the background."""
        await self._probes.start()

    async def close(self) -> None:
        """Stop probing and wait for what is on its way."""
        await self._probes.close()

    async def check(self, provider: str) -> ProbeResult:
        """Probe a provider, or return its cached result while that is fresh; those who ask at once share one probe."""
        return await self._probes.check(provider)

    def report(self) -> tuple[list[ProviderReport], list[ModelReport]]:
        """Return what the Health RPC shows, in the order of the configuration."""
        times = Times(self.now_s(), self._clock.unix_s())
        models, providers = self.states(times.now_s)
        of_provider: dict[str, list[ModelState]] = {name: [] for name in providers}
        for name, model in self._models.items():
            of_provider[model.ref.provider].append(models[name])
        return (
            [provider_report(p, providers[name], of_provider[name], times) for name, p in self._providers.items()],
            [model_report(m, models[name], providers[m.ref.provider], times) for name, m in self._models.items()],
        )

    def overall(self, roles: Mapping[str, Sequence[Target]]) -> Serving:
        """Sum up the roles: degraded when one has no usable model in its first tier, not serving when none has any."""
        now_s = self.now_s()
        models, providers = self.states(now_s)
        return overall(roles, models, providers, now_s)

    def _touch_provider(self, provider: ProviderPerformance) -> None:
        if self._providers.get(provider.name) is provider:
            self._changed_providers.add(provider.name)

    def _refresh_credentials(self) -> None:
        for name, provider in self._providers.items():
            port = self._ports.get(name)
            provider.has_credentials = port is not None and port.has_credentials

    def _rebuild(self, now_s: float) -> None:
        model_states, provider_states = self._model_states, self._provider_states
        for name in self._changed_models:
            model_states[name] = self._models[name].state(now_s)
            self._rebuild_at_s = min(self._rebuild_at_s, self._models[name].next_change_s(now_s))
        for name in self._changed_providers:
            provider_states[name] = self._providers[name].state(now_s)
            self._rebuild_at_s = min(self._rebuild_at_s, self._providers[name].next_change_s(now_s))
        self._changed_models.clear()
        self._changed_providers.clear()
        self._view = (MappingProxyType(model_states.copy()), MappingProxyType(provider_states.copy()))

    def _schedule(self, now_s: float) -> None:
        """Find when the whole is next rebuilt by time alone: the next second, or the next exact deadline before it."""
        deadlines = [model.next_change_s(now_s) for model in self._models.values()]
        deadlines += [provider.next_change_s(now_s) for provider in self._providers.values()]
        self._rebuild_at_s = min([now_s + QUANTUM_S, *deadlines])
