"""How long the answers of a role are: a decayed mean for the expected cost, a p95 that sizes reservations.

Rules kept here:
- Constant memory, pure: what was seen decides, not when.
- Half the weight of an answer is gone after about 34 more. Before there is any, 500 tokens are expected.
- The p95 moves by a share of itself up or down with each answer, 19 : 1 (Robbins-Monro on the logarithm); it is told
  only after enough answers, and never below the mean.
"""

from __future__ import annotations

import math
from typing import Final

FIRST_TOKENS: Final = 500
MOST_TOKENS: Final = 1_000_000
_DECAY: Final = 0.98
_PRIOR_ANSWERS: Final = 2.0  # so many answers does the first guess weigh; it decays like them
_ENOUGH: Final = 20
_QUANTILE: Final = 0.95
_STEP: Final = 0.5


class ExpectedOutput:
    """Learns one role's output length, tokens (reasoning included)."""

    __slots__ = ("_log_p95", "_seen", "_sum", "_weight")

    def __init__(self) -> None:
        self._weight = _PRIOR_ANSWERS
        self._sum = _PRIOR_ANSWERS * FIRST_TOKENS
        self._seen = 0
        self._log_p95 = math.log(FIRST_TOKENS)

    def observe(self, output_tokens: int) -> None:
        """Take in one complete answer."""
        tokens = min(max(output_tokens, 1), MOST_TOKENS)
        self._weight = self._weight * _DECAY + 1.0
        self._sum = self._sum * _DECAY + tokens
        self._seen = min(self._seen + 1, _ENOUGH)
        step = _STEP if self._seen < _ENOUGH else _STEP / 2
        above = math.log(tokens) > self._log_p95
        self._log_p95 += step * _QUANTILE if above else -step * (1.0 - _QUANTILE)

    @property
    def expected_tokens(self) -> int:
        """How many tokens an answer usually has; at least 1."""
        return max(1, round(self._sum / self._weight))

    @property
    def p95_tokens(self) -> int | None:
        """How many tokens 95 % of the answers stay within; None while fewer than 20 were seen."""
        if self._seen < _ENOUGH:
            return None
        return max(self.expected_tokens, min(math.ceil(math.exp(self._log_p95)), MOST_TOKENS))
