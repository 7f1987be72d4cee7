"""Books kept with the budget service: spend from leases, report facts, ask for more before it runs out.

Rules kept here:
- admit() never waits: a live lease with room, or a node without limits. obtain() asks: a Sync first (it brings a
  lease for many requests, and gives back fragments), then Reserve (tail mode), then the partition policy decides.
- Nobody waits for a service that did not answer last time: then leases serve while they live, and afterwards the
  policy.
- What is spent without a lease (no limit, no cost, an open policy's allowance) is a fact like any other, with no
  lease id.
- Everything unreported is bounded: beyond `MAX_PENDING` facts nothing new is admitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo

from atlas_sidecar.core.demand import Rate, expected_requests
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.leases import BudgetReport, BudgetSettings, Hold, is_scarce
from atlas_sidecar.core.local_books import exhausted
from atlas_sidecar.core.money import format_usd
from atlas_sidecar.core.node_books import NODE_PATH, chain_of
from atlas_sidecar.core.periods import period_at
from atlas_sidecar.core.recovery import Recovered
from atlas_sidecar.core.spend_records import Fact, FactBody, Finish, Reservation
from atlas_sidecar.core.sync import Denial, DenialReason, NodePolicy
from atlas_sidecar.core.totals import Totals
from atlas_sidecar.core.types import BudgetState
from atlas_sidecar.ports import BudgetGateway, Clock
from atlas_sidecar.runtime.lease_exchange import MAX_BATCH, Journal, LeaseExchange
from atlas_sidecar.runtime.sync_loop import SyncLoop

MAX_PENDING: Final = 50_000
MAX_LEASES: Final = 1000
ROUNDS: Final = 3
ASK_AGAIN_S: Final = 1.0  # between Syncs that only fill up leases
GIVE_BACK_S: Final = 0.2  # until a lease goes back that others may wait for
DAY_S: Final = 86_400.0


class LeasedBudget:
    """Implements runtime.budget.Books with the service behind a gateway."""

    def __init__(
        self,
        settings: BudgetSettings,
        clock: Clock,
        gateway: BudgetGateway,
        journal: Journal,
        boottime_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._zone = ZoneInfo(settings.time_zone)
        self._exchange = LeaseExchange(settings, clock, gateway, journal, boottime_s)
        self._book = self._exchange.book
        self._nodes = self._exchange.nodes
        self._now_s = boottime_s
        self._journal = journal
        self._totals = Totals()
        self._finish: list[str] = []
        self._unleased: dict[str, int] = {}
        self._loop = SyncLoop(clock, self._round, self._due_s)
        self._last_round_s = float("-inf")
        self._spread = 1.0
        self._soon_s = float("inf")
        self._look_s = float("-inf")

    def __repr__(self) -> str:
        return f"LeasedBudget({self._exchange!r}, {self._loop!r})"

    # ------------------------------------------------------------------------------------- its life

    def resume(self, recovered: Recovered, incarnation: str) -> None:
        """Take over what predecessors left for the ledger."""
        self._exchange.begin(incarnation)
        for past in recovered.past:
            self._exchange.outbox.take_over(past.incarnation, past.facts, lossy=past.lossy)
        self._totals = recovered.totals
        self._finish = recovered.finish

    async def start(self) -> None:
        """Finish the predecessors and begin to Sync."""
        for predecessor in self._finish:
            self._journal.record(Finish(predecessor))
        self._loop.start()

    async def close(self) -> None:
        """Report everything, give everything back, within the close timeout."""
        await self._loop.stop()
        ends_s = self._clock.monotonic_s() + self._settings.close_timeout_s
        while self._clock.monotonic_s() < ends_s:
            pending = self._exchange.outbox.pending
            if await self._exchange.sync(final=True):
                if self._exchange.outbox.pending == 0:
                    break
                if self._exchange.outbox.pending < pending:
                    continue
            await self._clock.sleep(0.1)
        await self._exchange.close()

    # ------------------------------------------------------------------------------------- spending

    def resolve(self, node: str) -> str:
        """Return a node below the own one. Raises AtlasError UNKNOWN_BUDGET when it is no path, or was denied."""
        denial = self._nodes.denied(node, 0, self._now_s())
        if not NODE_PATH.fullmatch(node) or (denial is not None and denial.reason is DenialReason.UNKNOWN_BUDGET):
            raise unknown(node)
        return node

    def number(self, body: FactBody) -> Fact:
        """Make a fact of what happened, to be sent."""
        outbox = self._exchange.outbox
        fact = outbox.add(body, self._clock.monotonic_s())
        if outbox.pending == 1:
            self._loop.changed()
        return fact

    def admit(self, hold: Hold, unix_s: float) -> Reservation | None:
        """Reserve on a live lease with room, or without one where none is needed; None = only obtain() can tell."""
        now_s = self._now_s()
        if self._exchange.outbox.own_pending >= MAX_PENDING:
            raise AtlasError(Reason.BUDGET_UNAVAILABLE, f"{MAX_PENDING} facts wait for the budget service")
        amount = hold.amount_nano_usd
        if amount:
            lease = self._book.find(hold.node, amount, now_s)
            if lease is not None:
                if self._book.take(lease, amount, hold.longest_s, now_s) and now_s >= self._look_s:
                    self._fill_up(now_s)
                return _reservation(hold, lease.lease_id, lease.period, unix_s)
        if self._nodes.unlimited(hold.node, now_s) or (amount == 0 and self._nodes.knows(hold.node)):
            return self._unleased_reservation(hold, unix_s)
        return None

    async def obtain(self, hold: Hold) -> Reservation:
        """Ask for capacity. Raises AtlasError BUDGET_EXHAUSTED, BUDGET_UNAVAILABLE, UNKNOWN_BUDGET."""
        exchange = self._exchange
        if len(self._book) >= MAX_LEASES:
            raise AtlasError(Reason.BUDGET_UNAVAILABLE, f"{MAX_LEASES} leases are held at once")
        for _ in range(ROUNDS):
            self._raise_denied(hold)
            if not exchange.reachable:
                self._ask_soon(self._clock.monotonic_s())
                break
            if not (hold.node in exchange.tail and hold.amount_nano_usd):
                answered = await self._round_for(hold)
                found = self.admit(hold, self._clock.unix_s())
                if found is not None:
                    return found
                if not answered:
                    continue
                self._raise_denied(hold)
            if hold.amount_nano_usd is None:
                self._raise_unpriced(hold)
                continue
            if await exchange.reserve(hold, hold.amount_nano_usd) is None:
                continue
            found = self.admit(hold, self._clock.unix_s())
            if found is not None:
                return found
        self._raise_denied(hold)
        return self._by_policy(hold)

    def end(self, reservation: Reservation, cost_nano_usd: int) -> None:
        """Give back what was not used."""
        amount = reservation.amount_nano_usd or 0
        self._exchange.unseen_nano_usd += cost_nano_usd
        if not reservation.lease_id:
            self._unleased[reservation.period] = self._unleased.get(reservation.period, 0) - amount
            return
        if self._book.end(reservation.lease_id, amount, cost_nano_usd, self._now_s()):
            self._ask_soon(self._clock.monotonic_s() + GIVE_BACK_S)

    # ------------------------------------------------------------------------------------- asking

    async def _round_for(self, hold: Hold) -> bool:
        amount = hold.amount_nano_usd
        if not amount:
            self._exchange.curious.add(hold.node)
            return await self._loop.next_round()
        self._book.wait(hold.node, amount, hold.longest_s, self._now_s())
        try:
            return await self._loop.next_round()
        finally:
            self._book.wait_over(hold.node, amount)

    async def _round(self) -> bool:
        self._soon_s = float("inf")
        answered = await self._exchange.sync()
        self._last_round_s = self._clock.monotonic_s()
        self._spread = 0.8 + 0.4 * self._clock.jitter()
        return answered

    def _due_s(self) -> float:
        """When the next Sync should be, monotonic seconds."""
        if self._exchange.outbox.pending > MAX_BATCH:  # the last batch was not all: go on at once
            return float("-inf")
        interval_s = self._exchange.interval_s
        due_s = min(self._last_round_s + interval_s * self._spread, self._soon_s)
        oldest_s = self._exchange.outbox.oldest_s
        return due_s if oldest_s is None else min(due_s, oldest_s + min(self._settings.fact_age_s, interval_s))

    def _fill_up(self, now_s: float) -> None:
        """Ask for more where it is needed and not being refused; looked at once a second at most."""
        self._look_s = now_s + ASK_AGAIN_S
        if any(need.node not in self._exchange.tail for need in self._book.needs(now_s)):
            self._ask_soon(self._last_round_s + ASK_AGAIN_S)

    def _ask_soon(self, at_s: float) -> None:
        if at_s < self._soon_s:
            self._soon_s = at_s
            self._loop.changed()

    # ------------------------------------------------------------------------------------- without a lease

    def _by_policy(self, hold: Hold) -> Reservation:
        """Admit within the open policy's allowance. Raises AtlasError BUDGET_UNAVAILABLE."""
        policy = self._policy(hold.node)
        why = self._exchange.problem or "it gave no lease"
        if not policy.partition_open:
            raise AtlasError(
                Reason.BUDGET_UNAVAILABLE,
                f"no lease of budget {hold.node} is left, and the budget service did not help: {why}",
                metadata={"node": hold.node},
            )
        left = self._allowance_left(hold.node, policy, self._clock.unix_s())
        if left is not None and (hold.amount_nano_usd is None or hold.amount_nano_usd > left):
            raise AtlasError(
                Reason.BUDGET_UNAVAILABLE,
                f"the budget service is out of reach ({why}), and {format_usd(left)} is left of the allowance for that",
                metadata={"node": hold.node},
            )
        return self._unleased_reservation(hold, self._clock.unix_s())

    def _policy(self, node: str) -> NodePolicy:
        settings = self._settings
        return self._nodes.policy(node) or NodePolicy(settings.partition_open, settings.daily_limit_nano_usd)

    def _allowance_left(self, node: str, policy: NodePolicy, unix_s: float) -> int | None:
        if policy.open_allowance_nano_usd is None:
            return None
        period = self._period(node, unix_s)
        spent = self._totals.unleased_nano_usd(period) + self._unleased.get(period, 0)
        return max(0, policy.open_allowance_nano_usd - spent)

    def _unleased_reservation(self, hold: Hold, unix_s: float) -> Reservation:
        period = self._period(hold.node, unix_s)
        if period not in self._unleased:
            self._unleased = {name: left for name, left in self._unleased.items() if left > 0}
        self._unleased[period] = self._unleased.get(period, 0) + (hold.amount_nano_usd or 0)
        return _reservation(hold, "", period, unix_s)

    def _period(self, node: str, unix_s: float) -> str:
        """Return the day of admission: the service's, or, before it spoke, the configured time zone's."""
        return self._nodes.period(node, unix_s) or period_at(unix_s, self._zone).name

    def _raise_denied(self, hold: Hold) -> None:
        denial = self._nodes.denied(hold.node, hold.amount_nano_usd or 0, self._now_s())
        if denial is None:
            return
        if denial.reason is DenialReason.UNKNOWN_BUDGET:
            raise unknown(hold.node)
        if hold.amount_nano_usd != 0:
            raise self._exhausted(hold, denial)

    def _raise_unpriced(self, hold: Hold) -> None:
        if self._nodes.knows(hold.node) and not self._nodes.unlimited(hold.node, self._now_s()):
            what = f"the price of {hold.model.id} is unknown, and the budget has a limit"
            raise exhausted(hold.node, what, None, self._clock.unix_s())

    def _exhausted(self, hold: Hold, denial: Denial) -> AtlasError:
        state = self._nodes.state(denial.node)
        renews = denial.retry_at_unix_s or (state.period_ends_unix_s if state else None)
        amount = hold.amount_nano_usd or 0
        what = f"{hold.model.id} may cost up to {format_usd(amount)}"
        error = exhausted(denial.node, what, renews, self._clock.unix_s())
        if (
            state is not None
            and state.free_nano_usd is not None
            and amount <= state.free_nano_usd + state.leased_nano_usd
        ):
            error.retry_after_s = self._settings.idle_release_s  # running requests hold it; what they leave comes back
        return error

    # ------------------------------------------------------------------------------------- saying

    def _nowhere(self) -> str:
        own = self._settings.node
        synced = self._exchange.last_sync_unix_s is not None
        return f"the service knows no budget {own}" if synced and not self._nodes.knows(own) else ""

    def guards(self) -> bool:
        """Return whether spending must stop when it cannot be recorded: always, but under an open policy."""
        return not self._policy(self._settings.node).partition_open

    def state(self, node: str, requests: Rate, now_s: float, unix_s: float) -> BudgetState:
        """Return what a request at this node may spend; all None before the service has spoken."""
        said = self._nodes.state(node) or self._nodes.state(self._settings.node)
        ends = said.period_ends_unix_s if said is not None else None
        expected = expected_requests(requests, now_s, DAY_S if ends is None else ends - unix_s)
        least = self._nodes.tightest(node) or self._nodes.tightest(self._settings.node)
        if least is None or least.remaining_nano_usd is None:
            return BudgetState(expected_requests=expected, node=node)
        boot_s = self._now_s()
        headroom: int | None = self._book.largest_nano_usd(node, boot_s)
        if self._exchange.reachable:
            headroom = max(headroom or 0, (least.free_nano_usd or 0) + self._book.idle_nano_usd(chain_of(node)[:1]))
        elif (policy := self._policy(node)).partition_open:
            left = self._allowance_left(node, policy, unix_s)
            headroom = None if left is None else max(headroom or 0, left)
        remaining = least.remaining_nano_usd - self._exchange.unseen_nano_usd
        return BudgetState(least.limit_nano_usd, remaining, headroom, expected, least.node)

    def report(self, requests: Rate, now_s: float, unix_s: float) -> BudgetReport:
        """Return how the own node stands."""
        own = self._settings.node
        state = self.state(own, requests, now_s, unix_s)
        said = self._nodes.state(own)
        period = self._period(own, unix_s)
        least = self._nodes.tightest(own)
        spent = least.spent_nano_usd + self._exchange.unseen_nano_usd if least else self._totals.spent_nano_usd(period)
        return BudgetReport(
            own,
            state,
            spent,
            is_scarce(state.remaining_nano_usd, state.limit_nano_usd),
            service_configured=True,
            service_reachable=self._exchange.reachable and self._exchange.last_sync_unix_s is not None,
            unreported_facts=self._exchange.outbox.pending,
            last_sync_unix_s=self._exchange.last_sync_unix_s,
            period=period,
            period_ends_unix_s=said.period_ends_unix_s if said else None,
            spend=self._totals.by_model(period),
            problem=self._exchange.problem or self._nowhere(),
        )


def _reservation(hold: Hold, lease_id: str, period: str, unix_s: float) -> Reservation:
    return Reservation(
        hold.attempt_id,
        lease_id,
        hold.node,
        period,
        hold.amount_nano_usd,
        hold.model,
        hold.request_id,
        hold.labels,
        unix_s,
    )


def unknown(node: str) -> AtlasError:
    """Return the error of a budget node that does not exist."""
    return AtlasError(Reason.UNKNOWN_BUDGET, f"there is no budget {node[:256]}", metadata={"node": node[:256]})
