"""A token bucket that bounds retries by what succeeds, so that a fleet in trouble does not amplify its own load.

Rules kept here:
- A retry costs 14 tokens, a retry after throttling 5; an answer gives back 1. No token, no retry.
- So retries are at most (capacity + answers) / cost over any span, whatever fails.

Source: the retry quota of the AWS SDKs' standard retry mode, 2026 version (AWS SDKs and Tools Reference Guide,
"Retry behavior"). Theirs holds 500 tokens, for clients of hundreds of requests a second; ours 100, for one agent's pod.
"""

from __future__ import annotations

from typing import Final

CAPACITY: Final = 100
RETRY_COST: Final = 14
THROTTLE_RETRY_COST: Final = 5
ANSWER_REFILL: Final = 1


class RetryQuota:
    """What one provider's retries may still cost."""

    __slots__ = ("_capacity", "_tokens")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._tokens = capacity

    def __repr__(self) -> str:
        return f"<RetryQuota {self._tokens}/{self._capacity}>"

    @property
    def tokens(self) -> int:
        """Tokens left, 0 to the capacity."""
        return self._tokens

    def take(self, throttled: bool) -> bool:
        """Pay for one retry; False, and nothing paid, when too few tokens are left."""
        cost = THROTTLE_RETRY_COST if throttled else RETRY_COST
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def answered(self) -> None:
        """Refill for an attempt that answered."""
        self._tokens = min(self._capacity, self._tokens + ANSWER_REFILL)
