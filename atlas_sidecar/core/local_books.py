"""The books of a sidecar that has no budget service: one node, one limit per local day, no one to ask.

Rules kept here:
- spent + reserved never exceeds the limit at a reservation; what an attempt really cost is counted even if it is more.
- An attempt counts for the day on which it was admitted. The day follows the wall clock: a new one begins empty, and
  a clock that is set back finds its day's sums as they were.
- What costs nothing needs nothing; what has no known price is refused under a limit and counted as unknown without one.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.leases import Hold
from atlas_sidecar.core.money import format_usd
from atlas_sidecar.core.periods import Period, iso, period_at
from atlas_sidecar.core.spend_records import Reservation
from atlas_sidecar.core.totals import Totals


class LocalBooks:
    """One node's day: what is spent, what is put aside, what is left. `limit_nano_usd` None = no limit."""

    def __init__(self, node: str, limit_nano_usd: int | None, zone: ZoneInfo, totals: Totals) -> None:
        self._node = node
        self._limit = limit_nano_usd
        self._zone = zone
        self._totals = totals
        self._period = Period("", 0.0, 0.0)
        self._reserved: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"LocalBooks({self._node!r}, limit={self._limit}, reserved={self._reserved}, {self._totals!r})"

    @property
    def limit_nano_usd(self) -> int | None:
        """The daily limit, None = none."""
        return self._limit

    def period(self, unix_s: float) -> Period:
        """Return the day that holds this instant."""
        period = self._period
        if not period.starts_unix_s <= unix_s < period.ends_unix_s:
            period = self._period = period_at(unix_s, self._zone)
        return period

    def remaining_nano_usd(self, unix_s: float) -> int | None:
        """Return limit - spent of the day, below 0 when it is overspent; None = no limit."""
        if self._limit is None:
            return None
        return self._limit - self._totals.spent_nano_usd(self.period(unix_s).name)

    def headroom_nano_usd(self, unix_s: float) -> int | None:
        """Return the largest hold that can succeed now; None = any."""
        remaining = self.remaining_nano_usd(unix_s)
        return None if remaining is None else max(0, remaining - self._reserved.get(self.period(unix_s).name, 0))

    def reserve(self, hold: Hold, unix_s: float) -> Reservation:
        """Put the hold's amount aside. Raises AtlasError BUDGET_EXHAUSTED."""
        period = self.period(unix_s)
        amount = hold.amount_nano_usd
        if self._limit is not None and amount != 0:
            self._check(amount, period, hold.model.id, unix_s)
        name = period.name
        self._reserved[name] = self._reserved.get(name, 0) + (amount or 0)
        return Reservation(
            hold.attempt_id, "", hold.node, name, amount, hold.model, hold.request_id, hold.labels, unix_s
        )

    def end(self, reservation: Reservation) -> None:
        """Give back what was put aside; whoever settles adds the cost to the totals."""
        name = reservation.period
        left = self._reserved.get(name, 0) - (reservation.amount_nano_usd or 0)
        if left > 0 or name == self._period.name:
            self._reserved[name] = left
        else:
            self._reserved.pop(name, None)

    def _check(self, amount: int | None, period: Period, model_id: str, unix_s: float) -> None:
        left = self.headroom_nano_usd(unix_s) or 0
        if amount is not None and amount <= left:
            return
        what = (
            f"the price of {model_id} is unknown, and the budget has a limit"
            if amount is None
            else f"{model_id} may cost up to {format_usd(amount)}, {format_usd(left)} is left"
        )
        raise exhausted(self._node, what, period.ends_unix_s, unix_s)


def exhausted(node: str, what: str, renews_unix_s: float | None, unix_s: float) -> AtlasError:
    """Return the error that says which budget node is out and when it renews (metadata: node, renews_at)."""
    metadata = {"node": node}
    when = ""
    wait_s = None
    if renews_unix_s is not None:
        wait_s = max(0.0, renews_unix_s - unix_s)
        metadata["renews_at"] = iso(renews_unix_s)
        when = f"; it renews at {metadata['renews_at']}"
    return AtlasError(
        Reason.BUDGET_EXHAUSTED,
        f"budget {node} is exhausted: {what}{when}",
        retry_after_s=wait_s,
        metadata=metadata,
    )
