"""Probes: one free call to a provider of which nothing was heard, or whose circuit is open.

Rules kept here:
- Only when idle for an interval, or while the circuit is open or probes fail; live attempts are the better evidence.
- One probe of a provider at a time; its result is cached (aiocache) for a jittered TTL, and stays in use while the next
  one runs (stale-while-revalidate). Nobody who selects a model waits for it.
- A failed probe is evidence about the provider only. One that the provider merely does not offer (a gateway without a
  model list, a key that may not list) is no evidence at all.
- The supervisor survives whatever a probe raises, and logs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiocache import SimpleMemoryCache  # type: ignore[import-untyped]  # it ships no types

from atlas_sidecar.core.breaker import Event
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Circuit
from atlas_sidecar.core.verdict import sentence
from atlas_sidecar.ports import Clock, Provider
from atlas_sidecar.runtime.performance import ProviderPerformance

_log: Final = logging.getLogger(__name__)
_NOT_OFFERED: Final = frozenset({403, 404, 405, 501})
_TELLING: Final = frozenset(
    {ErrorClass.TEMPORARY, ErrorClass.TIMEOUT, ErrorClass.OVERLOADED, ErrorClass.STREAM_BROKEN, ErrorClass.AUTH}
)


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """How providers are probed; seconds. `tick_s`: how often the supervisor looks whether a probe is due."""

    probe_interval_s: float = 30.0
    probe_timeout_s: float = 5.0
    retry_interval_s: float = 5.0
    tick_s: float = 1.0
    jitter_share: float = 0.2


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a probe went; fresh until the monotonic time `fresh_until_s`. `error` None = it answered."""

    checked_at_s: float
    fresh_until_s: float
    response_time_s: float
    error: ErrorClass | None


class Probes:
    """Probes providers in the background and feeds what they say into the evidence."""

    def __init__(
        self,
        clock: Clock,
        settings: HealthSettings,
        tracked: Mapping[str, ProviderPerformance],
        ports: Mapping[str, Provider],
        touch: Callable[[ProviderPerformance], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._tracked = tracked
        self._ports = ports
        self._touch = touch
        self._cache = SimpleMemoryCache()
        self._running: dict[str, asyncio.Task[ProbeResult]] = {}  # single-flight
        self._supervisor: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the supervisor; idempotent."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name="health-probes")

    async def close(self) -> None:
        """Cancel the supervisor and the probes on their way, and wait for them; idempotent."""
        tasks: list[asyncio.Task[None] | asyncio.Task[ProbeResult]] = list(self._running.values())
        if self._supervisor is not None:
            tasks.append(self._supervisor)
            self._supervisor = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cache.clear()

    async def check(self, name: str) -> ProbeResult:
        """Return the provider's fresh result, or the one of a probe that is on its way, or of a new one."""
        cached: ProbeResult | None = await self._cache.get(name)
        if cached is not None and self._clock.monotonic_s() < cached.fresh_until_s:
            return cached
        return await asyncio.shield(self._launch(name))

    async def _supervise(self) -> None:
        """Look at every tick which providers need a probe; the first look waits a little, so that a fleet spreads."""
        await self._clock.sleep(self._settings.retry_interval_s * self._clock.jitter())
        while True:
            try:
                for name in list(self._ports):
                    if self._is_due(name) and await self._is_stale(name):
                        self._launch(name)
            except Exception:  # noqa: BLE001  # a supervisor survives what it did not foresee
                _log.exception("looking for due probes failed")
            await self._clock.sleep(self._settings.tick_s)

    def _is_due(self, name: str) -> bool:
        provider = self._tracked.get(name)
        if provider is None or name in self._running or not self._ports[name].has_credentials:
            return False
        now_s = self._clock.monotonic_s()
        in_trouble = provider.failed_probes > 0 or provider.breaker.state(now_s) is Circuit.OPEN
        idle = provider.in_flight == 0 and now_s - provider.last_attempt_s >= self._settings.probe_interval_s
        return in_trouble or idle

    async def _is_stale(self, name: str) -> bool:
        cached: ProbeResult | None = await self._cache.get(name)
        if cached is None:
            return True
        now_s = self._clock.monotonic_s()
        in_trouble = self._tracked[name].breaker.state(now_s) is Circuit.OPEN
        soon_s = cached.checked_at_s + self._settings.retry_interval_s if in_trouble else cached.fresh_until_s
        return now_s >= min(soon_s, cached.fresh_until_s)

    def _launch(self, name: str) -> asyncio.Task[ProbeResult]:
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(self._probe(self._tracked[name], self._ports[name]), name=f"probe-{name}")
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def _probe(self, provider: ProviderPerformance, port: Provider) -> ProbeResult:
        started_s = self._clock.monotonic_s()
        error: ProviderError | None = None
        try:
            async with asyncio.timeout(self._settings.probe_timeout_s):
                rate_limit = await port.probe()
            if rate_limit is not None:
                provider.heard(rate_limit, self._clock.monotonic_s())
        except ProviderError as failure:
            error = failure
        except TimeoutError:
            error = ProviderError(ErrorClass.TIMEOUT, "the probe got no answer in time")
        except Exception:  # noqa: BLE001  # our own fault, and no evidence about the provider
            _log.exception("probing %s failed unexpectedly", provider.name)
            error = ProviderError(ErrorClass.OTHER, "the probe itself failed")
        result = self._result(started_s, error)
        self._count(provider, result, error)
        await self._cache.set(provider.name, result, ttl=4.0 * self._settings.probe_interval_s)
        return result

    def _result(self, started_s: float, error: ProviderError | None) -> ProbeResult:
        now_s = self._clock.monotonic_s()
        ttl_s = self._settings.probe_interval_s if error is None else self._settings.retry_interval_s
        ttl_s *= 1.0 + self._settings.jitter_share * (2.0 * self._clock.jitter() - 1.0)
        return ProbeResult(now_s, now_s + ttl_s, now_s - started_s, error.error_class if error else None)

    def _count(self, provider: ProviderPerformance, result: ProbeResult, error: ProviderError | None) -> None:
        now_s = result.checked_at_s
        if error is None:
            if provider.failed_probes:
                _log.info("probe of %s answers again", provider.name)
            provider.probed(result.response_time_s, now_s)
        elif error.error_class in _TELLING and error.http_status not in _NOT_OFFERED:
            provider.ended(error, now_s)
            provider.failed_probes += 1
            tripped = error.error_class is ErrorClass.AUTH
            provider.breaker.fail_apart(Event.TRIPPED if tripped else Event.FAILED, now_s)
            if provider.failed_probes == 1:  # once, not at every probe of an outage
                _log.warning("probe of %s failed: %s", provider.name, sentence(error))
        self._touch(provider)
