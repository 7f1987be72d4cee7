"""A token bucket that bounds retries by what succeeds, so that a fleet in trouble does not amplify its own load.

Rules kept here:
- A retry costs 14 tokens, a retry after throttling 5. No token, no retry.
- An answer gives back 1, and a retry that answered its 14: retrying what mends is free. After throttling it is not,
  because there the answer was only taken from somebody else.
- A failure takes 1: where half of the requests fail, answers pay for no retries.

Sources: the retry quota of the AWS SDKs' standard retry mode, 2026 version (AWS SDKs and Tools Reference Guide, "Retry
behavior"; theirs holds 500 tokens, for clients of hundreds of requests a second); that failures take tokens is gRPC's
(gRFC A6, "Throttling Retry Attempts"). tests/simulation/test_fleet.py measures what the numbers do.
"""

from __future__ import annotations

from typing import Final

CAPACITY: Final = 150
RETRY_COST: Final = 14
THROTTLE_RETRY_COST: Final = 5
ANSWER_REFILL: Final = 1
FAILURE_DRAIN: Final = 1


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

    def answered(self, retried: bool = False) -> None:
        """Refill for an attempt that answered; `retried`: it was a retry paid for, and not after throttling."""
        refill = ANSWER_REFILL + (RETRY_COST if retried else 0)
        self._tokens = min(self._capacity, self._tokens + refill)

    def failed(self) -> None:
        """Drain for an attempt that failed by the provider's fault."""
        self._tokens = max(0, self._tokens - FAILURE_DRAIN)
