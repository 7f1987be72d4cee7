"""What past attempts say about a model: decayed means, quantiles and rates, each in constant memory.

Rules kept here:
- Time is an argument, in monotonic seconds. A clock that stands still or steps back decays nothing.
- Evidence halves every half-life; a prior of successes stays, so that silence leads back to the prior.
- Means stay within 0..1. Nothing here grows with the number of attempts.
"""

from __future__ import annotations

import math
from typing import Final

PRIOR_SUCCESSES: Final = 20.0
HALF_LIFE_S: Final = 60.0
LONG_HALF_LIFE_S: Final = 3600.0
QUANTILE_HALF_LIFE_S: Final = 300.0
LATENCY_PRIOR: Final = 3.0

_LOWEST_S: Final = 0.001
_GROWTH: Final = 1.15
_BUCKETS: Final = 96  # 1 ms x 1.15**95 is about 580 s, which is the longest that an attempt may take
_LOG_GROWTH: Final = math.log(_GROWTH)
_RESCALE_HALF_LIVES: Final = 32.0


def decay(elapsed_s: float, half_life_s: float) -> float:
    """Return the weight, 0..1, that is left of evidence which is `elapsed_s` old."""
    if elapsed_s <= 0.0:
        return 1.0
    return math.exp2(-min(elapsed_s / half_life_s, 1000.0))


class DecayedMean:
    """A mean of values 0..1 over recent attempts, drawn towards 1 by a prior of successes.

    The posterior mean of a Beta distribution whose evidence decays:
    (prior + sum of decayed values) / (prior + sum of decayed weights).
    """

    __slots__ = ("_at_s", "_half_life_s", "_prior", "_total", "_weight")

    def __init__(self, prior: float = PRIOR_SUCCESSES, half_life_s: float = HALF_LIFE_S) -> None:
        self._prior = prior
        self._half_life_s = half_life_s
        self._weight = 0.0
        self._total = 0.0
        self._at_s = 0.0

    def add(self, value: float, now_s: float) -> None:
        """Count one attempt of this value, 0..1."""
        left = decay(now_s - self._at_s, self._half_life_s)
        self._weight = self._weight * left + 1.0
        self._total = self._total * left + value
        self._at_s = max(self._at_s, now_s)

    def mean(self, now_s: float) -> float:
        """Return the posterior mean, 0..1; 1 without evidence."""
        if self._weight == self._total:
            return 1.0
        left = decay(now_s - self._at_s, self._half_life_s)
        return min(1.0, (self._prior + self._total * left) / (self._prior + self._weight * left))

    def failure_share(self, now_s: float) -> float:
        """Return the share of failures for people: with one prior success only, a full outage shows as one."""
        left = decay(now_s - self._at_s, self._half_life_s)
        return max(0.0, (self._weight - self._total) * left / (1.0 + self._weight * left))


class Slowness:
    """How slow something is against itself: its long-run latency over its recent one.

    The recent mean is drawn towards the long-run one by a few observations: one long answer is no slowness, and a model
    that nobody asks any more because it was slow is forgiven as the evidence fades.
    """

    __slots__ = ("_at_s", "_long_total_s", "_long_weight", "_recent_total_s", "_recent_weight")

    def __init__(self) -> None:
        self._long_weight = 0.0
        self._long_total_s = 0.0
        self._recent_weight = 0.0
        self._recent_total_s = 0.0
        self._at_s = 0.0

    def add(self, latency_s: float, now_s: float) -> None:
        """Count one answer's latency in seconds."""
        long_left = decay(now_s - self._at_s, LONG_HALF_LIFE_S)
        recent_left = decay(now_s - self._at_s, HALF_LIFE_S)
        self._long_weight = self._long_weight * long_left + 1.0
        self._long_total_s = self._long_total_s * long_left + latency_s
        self._recent_weight = self._recent_weight * recent_left + 1.0
        self._recent_total_s = self._recent_total_s * recent_left + latency_s
        self._at_s = max(self._at_s, now_s)

    def ratio(self, now_s: float) -> float:
        """Return min(1, long-run / recent latency): 1 = as fast as ever or no evidence, 0.5 = twice as slow."""
        if self._long_total_s <= 0.0:
            return 1.0
        long_s = self._long_total_s / self._long_weight
        left = decay(now_s - self._at_s, HALF_LIFE_S)
        recent_s = (LATENCY_PRIOR * long_s + self._recent_total_s * left) / (LATENCY_PRIOR + self._recent_weight * left)
        return min(1.0, long_s / recent_s) if recent_s > 0.0 else 1.0


class Quantiles:
    """Quantiles of durations over recent attempts, within 7 %, from 1 ms to 10 minutes.

    A histogram with logarithmic buckets (as DDSketch, Masson et al., VLDB 2019) whose weights decay forward (Cormode et
    al., "Forward Decay", ICDE 2009): a later attempt weighs more, so that adding touches one bucket.
    """

    __slots__ = ("_buckets", "_half_life_s", "_origin_s", "_total")

    def __init__(self, half_life_s: float = QUANTILE_HALF_LIFE_S) -> None:
        self._half_life_s = half_life_s
        self._buckets: list[float] = [0.0] * _BUCKETS
        self._total = 0.0
        self._origin_s: float | None = None

    def add(self, duration_s: float, now_s: float) -> None:
        """Count one duration in seconds."""
        if self._origin_s is None:
            self._origin_s = now_s
        age = (now_s - self._origin_s) / self._half_life_s
        if age > _RESCALE_HALF_LIVES:
            self._rescale(now_s)
            age = 0.0
        weight = math.exp2(max(age, -_RESCALE_HALF_LIVES))
        self._buckets[_bucket_of(duration_s)] += weight
        self._total += weight

    def quantile(self, share: float) -> float | None:
        """Return the duration in seconds that this share (0..1) of attempts did not exceed; None without evidence."""
        if self._total <= 0.0:
            return None
        wanted = share * self._total
        seen = 0.0
        last = 0
        for index, weight in enumerate(self._buckets):
            if weight <= 0.0:
                continue
            last = index
            if seen + weight >= wanted:
                return _duration_s(index - 1 + max(0.0, wanted - seen) / weight)
            seen += weight
        return _duration_s(last)  # rounding left a hair between the sum and the total

    def _rescale(self, now_s: float) -> None:
        if self._origin_s is None:
            return
        factor = decay(now_s - self._origin_s, self._half_life_s)
        self._buckets = [weight * factor for weight in self._buckets]
        self._total = math.fsum(self._buckets)
        self._origin_s = now_s


def _bucket_of(duration_s: float) -> int:
    """Return the bucket whose upper bound, 1 ms x 1.15**index, is the first that is not below the duration."""
    if duration_s <= _LOWEST_S:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(duration_s / _LOWEST_S) / _LOG_GROWTH))


def _duration_s(bucket: float) -> float:
    """Return the duration at a bucket's upper bound; between two bounds it grows evenly on the logarithmic scale."""
    return _LOWEST_S * math.exp(bucket * _LOG_GROWTH)


class Throughput:
    """Output tokens per second over recent answers: decayed tokens over decayed seconds of generation."""

    __slots__ = ("_at_s", "_seconds", "_tokens")

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self._at_s = 0.0

    def add(self, tokens: int, seconds: float, now_s: float) -> None:
        """Count an answer's output tokens and the seconds from its first content to its end."""
        if tokens <= 0 or seconds <= 0.0:
            return
        left = decay(now_s - self._at_s, QUANTILE_HALF_LIFE_S)
        self._tokens = self._tokens * left + tokens
        self._seconds = self._seconds * left + seconds
        self._at_s = max(self._at_s, now_s)

    def tokens_per_s(self) -> float | None:
        """Return output tokens per second; None without evidence."""
        return self._tokens / self._seconds if self._seconds > 0.0 else None
