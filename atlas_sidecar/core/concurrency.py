"""How many attempts a provider may have in flight from here: additive increase, multiplicative decrease.

Rules kept here:
- No limit until the provider says for the first time that it is too much (429, 529).
- A loss cuts the limit to 0.7 of what was in flight, once per round: attempts begun before the cut say nothing new.
- An answer raises it by 1 / limit (about one per round), but only while at least half of the limit is in use.
- Never below 1, so that a sole provider can always be tried; far above any use the limit is forgotten.

Source: loss-based congestion control (Chiu and Jain 1989, as in TCP; decrease factor 0.7 as in CUBIC, RFC 9438).
"""

from __future__ import annotations

import math
from typing import Final

DECREASE: Final = 0.7
MAX_LIMIT: Final = 512.0


class ConcurrencyLimit:
    """The adaptive limit of one provider. Times are monotonic seconds."""

    __slots__ = ("_cut_at_s", "_limit")

    def __init__(self) -> None:
        self._limit: float | None = None
        self._cut_at_s = -math.inf

    def __repr__(self) -> str:
        return f"<ConcurrencyLimit {self._limit}>"

    @property
    def limit(self) -> int | None:
        """Attempts that may be in flight at once, at least 1; None = no limit."""
        return None if self._limit is None else int(self._limit)

    def answered(self, in_flight: int) -> None:
        """Count an attempt that answered; `in_flight` includes it."""
        if self._limit is None or 2 * in_flight < int(self._limit):
            return
        self._limit += 1.0 / self._limit
        if self._limit > MAX_LIMIT:
            self._limit, self._cut_at_s = None, -math.inf

    def lost(self, in_flight: int, begun_s: float, now_s: float) -> None:
        """Count an attempt that was refused as too much; `in_flight` includes it, `begun_s` is when it began."""
        if begun_s <= self._cut_at_s:
            return
        used = float(in_flight) if self._limit is None else min(float(in_flight), self._limit)
        self._limit = min(max(1.0, DECREASE * used), MAX_LIMIT)
        self._cut_at_s = now_s
