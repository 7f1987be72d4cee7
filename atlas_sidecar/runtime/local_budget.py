"""Books kept alone: a daily limit without a service, on the sidecar's own disk.

Rules kept here:
- There is one node, the configuration's, with its limit and its time zone's days.
- A fact is on the ledger once it is in the log; the log's next segment begins with the sums, so older segments may go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo

from atlas_sidecar.core.demand import Rate, expected_requests
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.leases import BudgetReport, BudgetSettings, Hold, is_scarce
from atlas_sidecar.core.local_books import LocalBooks
from atlas_sidecar.core.recovery import Recovered
from atlas_sidecar.core.spend_records import Fact, FactBody, Reservation
from atlas_sidecar.core.totals import Totals
from atlas_sidecar.core.types import BudgetState

FORGET_EVERY: Final = 1000  # facts
EVERYTHING: Final = 2**63


class LocalBudget:
    """Implements runtime.budget.Books without a service. `forget`: the spend log's."""

    def __init__(self, settings: BudgetSettings, forget: Callable[[str, int], None]) -> None:
        self._settings = settings
        self._forget = forget
        self._zone = ZoneInfo(settings.time_zone)
        self._incarnation = ""
        self._past: list[str] = []
        self._seq = 0
        self._take(Totals())

    def __repr__(self) -> str:
        return repr(self._books)

    def resume(self, recovered: Recovered, incarnation: str) -> None:
        """Go on with the sums that the log holds."""
        self._incarnation = incarnation
        self._past = recovered.local
        self._take(recovered.totals)

    async def start(self) -> None:
        """Let the predecessors' local segments go: this incarnation's first checkpoint has their sums."""
        for incarnation in self._past:
            self._forget(incarnation, EVERYTHING)

    async def close(self) -> None:
        """Nothing is left to do: everything is in the log."""

    def resolve(self, node: str) -> str:
        """Refuse every node but the own one. Raises AtlasError UNKNOWN_BUDGET."""
        raise AtlasError(
            Reason.UNKNOWN_BUDGET,
            f"budget {node[:256]} is unknown: without a budget service there is only {self._settings.node}",
            metadata={"node": node[:256]},
        )

    def number(self, body: FactBody) -> Fact:
        """Make a fact of what happened."""
        self._seq += 1
        if self._seq % FORGET_EVERY == 0:
            self._forget(self._incarnation, self._seq)
        return Fact(self._incarnation, self._seq, body)

    def admit(self, hold: Hold, unix_s: float) -> Reservation:
        """Reserve from what the day has left. Raises AtlasError BUDGET_EXHAUSTED."""
        return self._books.reserve(hold, unix_s)

    async def obtain(self, hold: Hold) -> Reservation:
        """Never needed: admit() knows everything."""
        raise AtlasError(Reason.INTERNAL, f"local books have no one to ask for {hold.attempt_id}")

    def end(self, reservation: Reservation, cost_nano_usd: int) -> None:
        """Give back what was put aside."""
        self._books.end(reservation)

    def guards(self) -> bool:
        """Return whether a limit would go unguarded if spending were not recorded."""
        return self._settings.daily_limit_nano_usd is not None and not self._settings.partition_open

    def state(self, node: str, requests: Rate, now_s: float, unix_s: float) -> BudgetState:
        """Return what a request may spend."""
        books = self._books
        left_s = books.period(unix_s).ends_unix_s - unix_s
        return BudgetState(
            books.limit_nano_usd,
            books.remaining_nano_usd(unix_s),
            books.headroom_nano_usd(unix_s),
            expected_requests(requests, now_s, left_s),
            node,
        )

    def report(self, requests: Rate, now_s: float, unix_s: float) -> BudgetReport:
        """Return how the day stands."""
        state = self.state(self._settings.node, requests, now_s, unix_s)
        period = self._books.period(unix_s)
        return BudgetReport(
            self._settings.node,
            state,
            self._totals.spent_nano_usd(period.name),
            is_scarce(state.remaining_nano_usd, state.limit_nano_usd),
            period=period.name,
            period_ends_unix_s=period.ends_unix_s,
            spend=self._totals.by_model(period.name),
        )

    def _take(self, totals: Totals) -> None:
        self._totals = totals
        settings = self._settings
        self._books = LocalBooks(settings.node, settings.daily_limit_nano_usd, self._zone, totals)
