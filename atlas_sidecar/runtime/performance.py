"""Live evidence of one model and of one provider, as the attempts leave it: what score, load and report read.

Rules kept here:
- Constant memory per model and provider; nothing grows with requests.
- States are frozen and rebuilt only after something changed; whoever keeps one keeps a snapshot.
- Cooldown deadline = max(old, new). `retry-after` on an answer never comes here.
- What rate-limit headers said is forgotten at their reset, and after a minute at the latest: a number that nobody
  refreshes must not keep a provider out for a day.
"""

from __future__ import annotations

import math
from typing import Final

from atlas_sidecar.core.breaker import Breaker
from atlas_sidecar.core.concurrency import ConcurrencyLimit
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.evidence import DecayedMean, Quantiles, Slowness, Throughput
from atlas_sidecar.core.retry_quota import RetryQuota
from atlas_sidecar.core.types import (
    Circuit,
    ModelRef,
    ModelState,
    ProviderState,
    ProviderStatus,
    RateLimit,
    Usage,
)
from atlas_sidecar.core.verdict import NOTHING, sentence, verdict

DEFAULT_COOLDOWN_S: Final = 5.0
MAX_COOLDOWN_S: Final = 86_400.0
RATE_LIMIT_MEMORY_S: Final = 60.0
FAILED_PROBES_TO_EVICT: Final = 3


def cooldown_until(old_s: float, error: ProviderError, now_s: float) -> float:
    """Return the cooldown deadline after this failure: max(old, new). A wait of 0 is honoured, no wait said is 5 s."""
    if error.error_class is ErrorClass.RATE_LIMITED:
        wait_s = DEFAULT_COOLDOWN_S if error.retry_after_s is None else error.retry_after_s
    elif error.error_class is ErrorClass.OVERLOADED and error.retry_after_s is not None:
        wait_s = error.retry_after_s
    else:
        return old_s
    return max(old_s, now_s + min(wait_s, MAX_COOLDOWN_S)) if wait_s > 0.0 else old_s


class ModelPerformance:
    """The evidence of one model."""

    __slots__ = (
        "_latencies",
        "_limited_until_s",
        "_quantiles",
        "_reliability",
        "_slowness",
        "_success",
        "_throughput",
        "_times_to_first_token",
        "breaker",
        "in_flight",
        "last_error",
        "ref",
    )

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self.breaker = Breaker()
        self.in_flight = 0
        self.last_error = ""
        self._limited_until_s = 0.0
        self._success = DecayedMean()
        self._reliability = DecayedMean()
        self._slowness = Slowness()
        self._throughput = Throughput()
        self._times_to_first_token = Quantiles()
        self._latencies = Quantiles()
        self._quantiles: tuple[float | None, float | None, float | None] | None = (None, None, None)

    def first_content(self, elapsed_s: float, now_s: float) -> None:
        """Count an attempt's time to its first content."""
        self._times_to_first_token.add(elapsed_s, now_s)
        self._quantiles = None

    def answered(self, usage: Usage, first_content_s: float | None, elapsed_s: float, now_s: float) -> None:
        """Count an answer: its latency, and its tokens over the time after the first content."""
        self._slowness.add(elapsed_s, now_s)
        self._latencies.add(elapsed_s, now_s)
        self._quantiles = None
        tokens = (usage.output_tokens or 0) + (usage.reasoning_tokens or 0)
        if first_content_s is not None:
            self._throughput.add(tokens, elapsed_s - first_content_s, now_s)

    def ended(self, error: ProviderError | None, now_s: float) -> None:
        """Count an attempt's end in the means and the cooldown; circuits are the caller's."""
        counts = verdict(error)
        if counts.success is not None:
            self._success.add(counts.success, now_s)
        if counts.reliability is not None:
            self._reliability.add(counts.reliability, now_s)
        if error is not None and counts.success is not None:
            self.last_error = sentence(error)
            if error.scope != "provider":
                self._limited_until_s = cooldown_until(self._limited_until_s, error, now_s)

    def state(self, now_s: float) -> ModelState:
        """Return the frozen state as of now."""
        if self._quantiles is None:
            first = self._times_to_first_token
            self._quantiles = (first.quantile(0.5), first.quantile(0.95), self._latencies.quantile(0.95))
        circuit = self.breaker.state(now_s)
        p50, p95, latency_p95 = self._quantiles
        return ModelState(
            success_rate=self._success.mean(now_s),
            reliability=self._reliability.mean(now_s),
            latency_ratio=self._slowness.ratio(now_s),
            in_flight=self.in_flight,
            circuit=circuit,
            probe_free=self.breaker.has_place(now_s),
            open_until_s=self.breaker.open_until_s if circuit is Circuit.OPEN else 0.0,
            limited_until_s=self._limited_until_s,
            time_to_first_token_p50_s=p50,
            time_to_first_token_p95_s=p95,
            latency_p95_s=latency_p95,
            output_tokens_per_s=self._throughput.tokens_per_s(),
        )

    def next_change_s(self, now_s: float) -> float:
        """Return when the state changes by time alone, decay apart; infinity when it does not."""
        until_s = self.breaker.open_until_s
        return until_s if until_s > now_s else math.inf


class ProviderPerformance:
    """The evidence of one provider: of all its models' attempts, of its probes and of its headers."""

    __slots__ = (
        "_answered",
        "_failing_model",
        "_limited_until_s",
        "_rate_limit",
        "_rate_limit_until_s",
        "_reliability",
        "breaker",
        "concurrency",
        "failed_probes",
        "has_credentials",
        "in_flight",
        "last_attempt_s",
        "last_error",
        "last_heard_s",
        "name",
        "quota",
        "response_time_s",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.breaker = Breaker()
        self.concurrency = ConcurrencyLimit()
        self.quota = RetryQuota()
        self.in_flight = 0
        self.failed_probes = 0
        self.has_credentials = True
        self.last_attempt_s = -math.inf
        self.last_heard_s: float | None = None
        self.last_error = ""
        self.response_time_s: float | None = None
        self._answered = False
        self._failing_model = ""
        self._limited_until_s = 0.0
        self._rate_limit = RateLimit()
        self._rate_limit_until_s = 0.0
        self._reliability = DecayedMean()

    def heard(self, rate_limit: RateLimit, now_s: float) -> None:
        """Keep what rate-limit headers said; a field that they did not mention keeps its last value."""
        old = self._rate_limit
        requests, tokens = rate_limit.requests_remaining, rate_limit.tokens_remaining
        self._rate_limit = rate_limit._replace(
            requests_remaining=old.requests_remaining if requests is None else requests,
            tokens_remaining=old.tokens_remaining if tokens is None else tokens,
        )
        if requests is not None:
            reset_s = RATE_LIMIT_MEMORY_S if rate_limit.requests_reset_s is None else rate_limit.requests_reset_s
            self._rate_limit_until_s = now_s + min(max(reset_s, 0.0), RATE_LIMIT_MEMORY_S)

    def ended(self, error: ProviderError | None, now_s: float) -> None:
        """Count an attempt's or a probe's end in the mean, the cooldown and the status; circuits are the caller's."""
        counts = verdict(error)
        if counts.provider_reliability is not None:
            self._reliability.add(counts.provider_reliability, now_s)
        if counts is not NOTHING:
            self.last_heard_s = now_s
        if error is None:
            self._answered, self.failed_probes = True, 0
        elif counts.provider_reliability is not None:
            self.last_error = sentence(error)
            if error.scope == "provider":
                self._limited_until_s = cooldown_until(self._limited_until_s, error, now_s)

    def probed(self, response_time_s: float, now_s: float) -> None:
        """Count a probe that answered. After one that failed it is a change: an open circuit gets its trial at once.

        It is no answer for the means: a model list says nothing about how well models answer.
        """
        self.response_time_s = response_time_s
        self.last_heard_s = now_s
        self._answered = True
        if self.failed_probes:
            self.failed_probes = 0
            self.breaker.try_again(now_s)

    def shares_end(self, error: ProviderError | None, model_id: str, alone: bool) -> bool:
        """Tell whether this end of a model's attempt says something about the provider's circuit too.

        One model's failures in a row are its own, so that an overloaded model leaves its siblings in use. They are the
        provider's when the error says so, when the model is the provider's only one, or when another model failed with
        no answer in between. While the provider's circuit is not closed every failure counts.
        """
        if error is None:
            self._failing_model = ""
            return True
        if error.scope == "provider" or alone or self.breaker.open_until_s > 0.0:
            return True
        if not self._failing_model:
            self._failing_model = model_id
        return self._failing_model != model_id

    def status(self, now_s: float) -> ProviderStatus:
        """Return what is known; an open circuit or three failed probes in a row are unhealthy."""
        if not self.has_credentials:
            return ProviderStatus.NO_CREDENTIALS
        circuit = self.breaker.state(now_s)
        if circuit is Circuit.OPEN or self.failed_probes >= FAILED_PROBES_TO_EVICT:
            return ProviderStatus.UNHEALTHY
        if self._limited_until_s > now_s:
            return ProviderStatus.RATE_LIMITED
        return ProviderStatus.HEALTHY if self._answered and circuit is Circuit.CLOSED else ProviderStatus.UNKNOWN

    def state(self, now_s: float) -> ProviderState:
        """Return the frozen state as of now."""
        circuit = self.breaker.state(now_s)
        fresh = self._rate_limit if now_s < self._rate_limit_until_s else RateLimit()
        return ProviderState(
            status=self.status(now_s),
            reliability=self._reliability.mean(now_s),
            has_credentials=self.has_credentials,
            requests_remaining=fresh.requests_remaining,
            tokens_remaining=fresh.tokens_remaining,
            limited_until_s=self._limited_until_s,
            in_flight=self.in_flight,
            concurrency_limit=self.concurrency.limit,
            circuit=circuit,
            probe_free=self.breaker.has_place(now_s),
            open_until_s=self.breaker.open_until_s if circuit is Circuit.OPEN else 0.0,
            detail=self.last_error,
        )

    def next_change_s(self, now_s: float) -> float:
        """Return when the state changes by time alone, decay apart; infinity when it does not."""
        times = (self.breaker.open_until_s, self._limited_until_s, self._rate_limit_until_s)
        return min((until_s for until_s in times if until_s > now_s), default=math.inf)

    @property
    def last_said(self) -> RateLimit:
        """What the headers last said, however old."""
        return self._rate_limit

    def error_rate(self, now_s: float) -> float:
        """Return the decayed share of failures, 0..1."""
        return self._reliability.failure_share(now_s)
