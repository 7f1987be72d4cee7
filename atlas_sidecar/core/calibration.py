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
from collections.abc import Mapping
from typing import Final, NamedTuple

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


class Prior(NamedTuple):
    """What to expect of a model before it answered: tokens beside the estimate, `extra` for what a request uses."""

    overhead: float = 0.0
    extra: Mapping[Capability, float] = {}

    def of(self, shape: frozenset[Capability]) -> float:
        """Return the overhead of requests of this shape, in tokens."""
        return self.overhead + sum([self.extra.get(capability, 0.0) for capability in shape])


AS_IT_IS: Final = Prior()
# The medians of what the recorded answers report beside the estimate, rounded; a test works them out again, and holds
# that they say something of models that they were not made from. Anthropic documents its tool preamble (pricing).
_PRIORS: Final[dict[str, Prior]] = {
    "anthropic": Prior(0.0, {_TOOLS: 500.0, _SCHEMA: 150.0, _REASONING: 35.0}),
    "google": Prior(-6.0, {_TOOLS: -33.0}),
}
_SAME_AS: Final = {"anthropic-bedrock": "anthropic", "anthropic-vertex": "anthropic", "vertex": "google"}


def prior_of(provider_kind: str) -> Prior:
    """Return what is known of a kind of provider; that of openai and of compatible servers is the estimate itself."""
    return _PRIORS.get(_SAME_AS.get(provider_kind, provider_kind), AS_IT_IS)


class _Sums:
    """Decayed, weighted sums of one shape of requests."""

    __slots__ = ("n", "x", "xx", "xy", "y")

    def __init__(self, overhead: float) -> None:
        self.n = self.x = self.y = self.xx = self.xy = 0.0
        for x in _PRIOR_AT:
            self.add(x, max(1.0, x + overhead), _PRIOR_WEIGHT)

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
    """Corrects estimates for one model; `prior`: what to expect of it before anything was reported."""

    __slots__ = ("_prior", "_slope", "_sums")

    def __init__(self, prior: Prior = AS_IT_IS) -> None:
        self._prior = prior
        self._slope = 1.0
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
            sums = self._sums[shape] = _Sums(self._prior.of(shape))
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
        overhead = self._prior.of(shape)
        if sums is not None:
            overhead = (sums.y - self._slope * sums.x) / sums.n
        return TokenLine(self._slope, min(max(overhead, -_MOST_OVERHEAD), _MOST_OVERHEAD))

    def _common_slope(self) -> float:
        """Return the slope that fits all shapes, each around its own mean."""
        products = squares = 0.0
        for sums in self._sums.values():
            products += sums.xy - sums.x * sums.y / sums.n
            squares += sums.xx - sums.x * sums.x / sums.n
        slope = products / squares if squares > 0.0 else 1.0
        return min(max(slope, 1.0 / _MOST_SLOPE), _MOST_SLOPE)
