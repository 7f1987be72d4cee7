"""What one model makes of our token estimates: reported = overhead + slope * estimated, learned from its answers.

Rules kept here:
- The overhead depends on what a request uses (tools, a schema, reasoning: providers add preambles for each); the slope,
  its tokenizer, does not. Least squares over decayed sums, weighted for relative error.
- A weak prior, what is known of the provider's kind, holds the line until answers say otherwise. Everything is bounded:
  one strange answer cannot spoil it. Constant memory.
- Whoever observes leaves out requests with provider options: hosted tools and cached prompts are not in our estimate.
"""

from __future__ import annotations

import math
from typing import Final

from atlas_sidecar.core.types import Capability, TokenLine

_TOOLS, _SCHEMA, _REASONING = Capability.TOOLS, Capability.JSON_SCHEMA, Capability.REASONING
SHAPES: Final = frozenset({_TOOLS, _SCHEMA, _REASONING})
AS_ESTIMATED: Final = TokenLine(1.0, 0.0)
_MOST_SLOPE: Final = 2.0
_MOST_OVERHEAD: Final = 1_000.0
_STEP: Final = 2.0  # an answer counts as no more than twice or half of what was believed, and a preamble
_STEP_TOKENS: Final = 100.0
_DECAY: Final = 0.98  # an answer counts half after 34 more of its shape
_PRIOR_AT: Final = (50.0, 2_000.0)  # estimates, in tokens, at which the prior counts as one observation together
_PRIOR_WEIGHT: Final = 0.25

# Tokens that kinds of provider add to what estimate_input_tokens counts: to each request, and where it has tools, a
# schema, reasoning; the slope of their tokenizers. Anthropic documents its tool preamble (pricing of tool use).
_PRIORS: Final[dict[str, tuple[float, float, dict[Capability, float]]]] = {
    "anthropic": (2.0, 1.05, {_TOOLS: 450.0, _SCHEMA: 155.0, _REASONING: 30.0}),
    "google": (-4.0, 1.0, {_TOOLS: -20.0, _SCHEMA: -15.0}),
}
_SAME_AS: Final = {"anthropic-bedrock": "anthropic", "anthropic-vertex": "anthropic", "vertex": "google"}


class _Sums:
    """Decayed, weighted sums of one shape of requests."""

    __slots__ = ("n", "x", "xx", "xy", "y")

    def __init__(self, slope: float, overhead: float) -> None:
        self.n = self.x = self.y = self.xx = self.xy = 0.0
        for x in _PRIOR_AT:
            y = max(1.0, slope * x + overhead)
            self.add(x, y, _PRIOR_WEIGHT)

    def add(self, x: float, y: float, count: float = 1.0) -> None:
        weight = count / (x * y)
        self.n += weight
        self.x += weight * x
        self.y += weight * y
        self.xx += weight * x * x
        self.xy += weight * x * y

    def decay(self) -> None:
        self.n *= _DECAY
        self.x *= _DECAY
        self.y *= _DECAY
        self.xx *= _DECAY
        self.xy *= _DECAY


def calibrated(line: TokenLine, estimated: int) -> int:
    """Return an estimate as the line's model would count it, in tokens; at least 1. Asked for every candidate."""
    slope, overhead = line
    tokens = math.ceil(overhead + slope * estimated)
    if overhead < 0.0 and tokens * _MOST_SLOPE < estimated:
        tokens = math.ceil(estimated / _MOST_SLOPE)
    return tokens if tokens > 1 else 1


class Calibration:
    """Corrects estimates for one model. `provider_kind`: whose preambles to expect before anything was reported."""

    __slots__ = ("_base", "_extra", "_prior_slope", "_slope", "_sums")

    def __init__(self, provider_kind: str = "") -> None:
        kind = _SAME_AS.get(provider_kind, provider_kind)
        self._base, self._prior_slope, self._extra = _PRIORS.get(kind, (0.0, 1.0, {}))
        self._slope = self._prior_slope
        self._sums: dict[frozenset[Capability], _Sums] = {}

    def observe(self, estimated: int, reported: int, uses: frozenset[Capability] = frozenset()) -> None:
        """Take in one answer: the uncalibrated estimate, the total input that was reported, what the request used."""
        if estimated <= 0 or reported <= 0:
            return
        shape = uses & SHAPES
        believed = self.apply(estimated, shape)
        told = min(max(float(reported), believed / _STEP), believed * _STEP + _STEP_TOKENS)
        sums = self._sums.get(shape)
        if sums is None:
            sums = self._sums[shape] = _Sums(self._prior_slope, self._prior_overhead(shape))
        sums.decay()
        sums.add(float(estimated), told)
        self._slope = self._common_slope()

    def apply(self, estimated: int, uses: frozenset[Capability] = frozenset()) -> int:
        """Return the estimate as this model would count it, in tokens; at least 1."""
        return calibrated(self.line(uses), estimated)

    def line(self, uses: frozenset[Capability] = frozenset()) -> TokenLine:
        """Return what this model makes of the estimates of requests that use these capabilities."""
        shape = uses & SHAPES
        sums = self._sums.get(shape)
        overhead = self._prior_overhead(shape)
        if sums is not None:
            overhead = (sums.y - self._slope * sums.x) / sums.n
        return TokenLine(self._slope, min(max(overhead, -_MOST_OVERHEAD), _MOST_OVERHEAD))

    def _prior_overhead(self, shape: frozenset[Capability]) -> float:
        return self._base + sum(self._extra.get(capability, 0.0) for capability in shape)

    def _common_slope(self) -> float:
        """Return the slope that fits all shapes, each around its own mean."""
        products = squares = 0.0
        for sums in self._sums.values():
            products += sums.xy - sums.x * sums.y / sums.n
            squares += sums.xx - sums.x * sums.x / sums.n
        slope = products / squares if squares > 0.0 else self._prior_slope
        return min(max(slope, 1.0 / _MOST_SLOPE), _MOST_SLOPE)
