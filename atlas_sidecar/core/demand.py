"""How much is asked of a sidecar: rates that forget, so that leases and fair shares follow use.

Rules kept here:
- A rate is a decayed sum: every event counts its weight, halved each `half_life_s`; rate = sum x ln 2 / half-life,
  the limit of a steady stream. It begins at 0 and under-estimates for the first half-life: a burst at the start is no
  forecast of the day.
- Time comes in as an argument and may stand still; it never makes a rate grow.
"""

from __future__ import annotations

from math import ceil, exp, log

LN2 = log(2.0)


class Rate:
    """A decayed rate per second of weighted events."""

    __slots__ = ("_decay", "_step_s", "_sum", "_then_s")

    def __init__(self, half_life_s: float) -> None:
        self._decay = LN2 / half_life_s
        self._step_s = half_life_s / 1000.0  # within it nothing is decayed: 0.07 % at most, and cheap in a burst
        self._sum = 0.0
        self._then_s = 0.0

    def __repr__(self) -> str:
        return f"Rate({self._sum * self._decay:.3g}/s at {self._then_s:.1f} s)"

    def add(self, now_s: float, weight: float = 1.0) -> None:
        """Count an event."""
        elapsed = now_s - self._then_s
        if elapsed > self._step_s:
            self._sum *= exp(-self._decay * elapsed)
            self._then_s = now_s
        self._sum += weight

    def per_second(self, now_s: float) -> float:
        """Return the rate now."""
        elapsed = now_s - self._then_s
        return self._sum * self._decay * (exp(-self._decay * elapsed) if elapsed > 0.0 else 1.0)


def expected_requests(requests: Rate, now_s: float, left_s: float) -> float:
    """Return how many more requests a period with `left_s` seconds left will bring, at least 1."""
    return max(1.0, requests.per_second(now_s) * max(0.0, left_s))


class Peak:
    """A maximum that decays: half of it is forgotten each `half_life_s`."""

    __slots__ = ("_decay", "_step_s", "_then_s", "_value")

    def __init__(self, half_life_s: float) -> None:
        self._decay = LN2 / half_life_s
        self._step_s = half_life_s / 1000.0
        self._value = 0.0
        self._then_s = 0.0

    def __repr__(self) -> str:
        return f"Peak({self._value:.0f} at {self._then_s:.1f} s)"

    def see(self, value: int, now_s: float) -> None:
        """Note a value."""
        if value < self._value and (now_s - self._then_s <= self._step_s or value < self.value(now_s)):
            return
        self._value = float(value)
        self._then_s = now_s

    def value(self, now_s: float) -> int:
        """Return the decayed maximum, rounded up."""
        elapsed = now_s - self._then_s
        return ceil(self._value * (exp(-self._decay * elapsed) if elapsed > 0.0 else 1.0))
