"""The budget as the router sees it: reserve before a request leaves, settle when it ended, never wait where a lease
has room.

Rules kept here:
- reserve() returns only after its RESERVE record is in the spend log; settle() counts an attempt exactly once and
  never raises.
- A record that the disk refused stays in memory and is written before the next one. Until then the policy decides:
  closed refuses new reservations, open (or nothing to guard) goes on in memory; health says so either way.
- Where the capacity comes from is the Books' affair: local_budget.py keeps them alone, leased_budget.py with the
  service.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from atlas_sidecar.core.demand import Rate
from atlas_sidecar.core.errors import AtlasError, ErrorClass, Reason
from atlas_sidecar.core.leases import BudgetReport, BudgetSettings, Hold, Settlement
from atlas_sidecar.core.recovery import Recovered, recover
from atlas_sidecar.core.spend_records import (
    Checkpoint,
    Fact,
    FactBody,
    LogRecord,
    Reservation,
    Settle,
    estimated_settle,
)
from atlas_sidecar.core.totals import Totals
from atlas_sidecar.core.types import BudgetState, Usage
from atlas_sidecar.ports import BudgetGateway, Clock, SpendLog, SpendLogError
from atlas_sidecar.runtime.leased_budget import LeasedBudget
from atlas_sidecar.runtime.local_budget import LocalBudget

REQUEST_HALF_LIFE_S: Final = 600.0
MAX_UNWRITTEN: Final = 10_000


class Books(Protocol):
    """Where capacity comes from and where facts go."""

    def resume(self, recovered: Recovered, incarnation: str) -> None:
        """Take over what predecessors left."""
        ...

    def number(self, body: FactBody) -> Fact:
        """Make a fact of what happened: the next number, kept until the ledger has it."""
        ...

    def resolve(self, node: str) -> str:
        """Return a node below the own one as it is to be used. Raises AtlasError UNKNOWN_BUDGET."""
        ...

    def admit(self, hold: Hold, unix_s: float) -> Reservation | None:
        """Reserve at once, without waiting; None = only obtain() can tell. Raises AtlasError."""
        ...

    async def obtain(self, hold: Hold) -> Reservation:
        """Reserve, asking whoever must be asked. Raises AtlasError BUDGET_EXHAUSTED, BUDGET_UNAVAILABLE,
        UNKNOWN_BUDGET.
        """
        ...

    def end(self, reservation: Reservation, cost_nano_usd: int) -> None:
        """Give back a reservation of which this much was used."""
        ...

    def state(self, node: str, requests: Rate, now_s: float, unix_s: float) -> BudgetState:
        """Return what a request at this node may spend."""
        ...

    def report(self, requests: Rate, now_s: float, unix_s: float) -> BudgetReport:
        """Return how the own node stands."""
        ...

    def guards(self) -> bool:
        """Return whether spending must stop when it cannot be recorded."""
        ...

    async def start(self) -> None:
        """Begin what happens in the background."""
        ...

    async def close(self) -> None:
        """End it, within the settings' close timeout."""
        ...


class Budget:
    """This sidecar's budget. Without a gateway it keeps the books alone, on its own disk.

    `boottime_s`: seconds since boot, suspended time included, for lease deadlines; the clock's monotonic time by
    default.
    """

    def __init__(
        self,
        settings: BudgetSettings,
        clock: Clock,
        log: SpendLog,
        gateway: BudgetGateway | None = None,
        boottime_s: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._totals = Totals()
        self._requests = Rate(REQUEST_HALF_LIFE_S)
        self._open: dict[str, Reservation] = {}
        self._unwritten: deque[LogRecord] = deque(maxlen=MAX_UNWRITTEN)
        self._problem = ""
        self._seq = 0
        self._incarnation = clock.new_id()
        self._started = False
        self._books: Books = (
            LocalBudget(settings, log.forget)
            if gateway is None
            else LeasedBudget(settings, clock, gateway, self, boottime_s or clock.monotonic_s)
        )

    def __repr__(self) -> str:
        return f"Budget({self._books!r}, {len(self._open)} open, problem={self._problem!r})"

    # ------------------------------------------------------------------------------------- for the router

    def resolve(self, node: str) -> str:
        """Return the budget node a request names, "" = the sidecar's own. Raises AtlasError UNKNOWN_BUDGET,
        BUDGET_NOT_ALLOWED.
        """
        own = self._settings.node
        if not node or node == own:
            return own
        if not node.startswith(f"{own}/"):
            raise AtlasError(
                Reason.BUDGET_NOT_ALLOWED,
                f"budget {node[:256]} is not at or below this sidecar's own, {own}",
                metadata={"node": node[:256]},
            )
        return self._books.resolve(node)

    def request_arrived(self, node: str) -> None:
        """Count a request for the learned rate."""
        self._requests.add(self._clock.monotonic_s())

    def state(self, node: str) -> BudgetState:
        """Return what a request at this node may spend; never waits."""
        return self._books.state(node, self._requests, self._clock.monotonic_s(), self._clock.unix_s())

    async def reserve(self, hold: Hold) -> Reservation:
        """Put the most that an attempt can cost aside, on disk before this returns.

        Completes without suspending while a lease has headroom. Raises AtlasError BUDGET_EXHAUSTED (metadata: node,
        renews_at), BUDGET_UNAVAILABLE, UNKNOWN_BUDGET.
        """
        if not self._started:
            raise AtlasError(Reason.DRAINING, "the budget's books are closed")
        if hold.attempt_id in self._open:
            raise ValueError(f"attempt {hold.attempt_id} is reserved already")
        if self._unwritten:
            self._write_down()
            self._check_recordable()
        reservation = self._books.admit(hold, self._clock.unix_s())
        if reservation is None:
            reservation = await self._books.obtain(hold)
        self._open[hold.attempt_id] = reservation  # before it is written: a checkpoint may be due with it
        try:
            self._log.append(reservation)
        except SpendLogError as error:
            self._refused(reservation, str(error))
        else:
            if self._problem and not self._unwritten:
                self._problem = ""
        if self._log.waits:
            await self._durable(reservation)
        return reservation

    def settle(self, reservation: Reservation, settlement: Settlement) -> None:
        """Record how an attempt ended and give back what it did not use; a second time changes nothing."""
        if self._open.pop(reservation.attempt_id, None) is None:
            return
        cost = settlement.cost_nano_usd
        estimated = settlement.estimated
        if cost is None and reservation.amount_nano_usd is not None:
            cost, estimated = reservation.amount_nano_usd, True  # under a limit nothing may be spent for free
        elif cost is not None and cost < 0:
            cost = 0
        settle = Settle(
            reservation.attempt_id,
            reservation.lease_id,
            reservation.node,
            reservation.period,
            cost,
            estimated,
            settlement.usage,
            reservation.model,
            settlement.outcome,
            reservation.request_id,
            settlement.provider_request_id,
            reservation.labels,
            reservation.admitted_unix_s,
        )
        self._totals.add(settle)
        self._books.end(reservation, cost or 0)
        self.record(settle)

    def health(self) -> BudgetReport:
        """Return how the budget stands, problems included."""
        report = self._books.report(self._requests, self._clock.monotonic_s(), self._clock.unix_s())
        return replace(report, problem=self._problem) if self._problem else report

    # ------------------------------------------------------------------------------------- its life

    async def start(self) -> None:
        """Take over what predecessors left on disk and begin.

        Raises SpendLogError when the log cannot be had and spending must not go unrecorded.
        """
        if self._started:
            return
        recovered = self._recover()
        self._totals = recovered.totals
        self._open = dict(recovered.open)
        self._books.resume(recovered, self._incarnation)
        try:
            self._log.begin(self._checkpoint)
        except SpendLogError as error:  # it is tried again with every record
            self._problem = str(error)
        for reservation in recovered.open.values():
            settle = estimated_settle(reservation)
            self._open.pop(reservation.attempt_id)
            self._totals.add(settle)
            self.record(settle)
        self._started = True
        await self._books.start()

    async def close(self) -> None:
        """Report what is unreported, release what is held, and close the log; a few seconds at most. Idempotent."""
        if not self._started:
            return
        self._started = False
        for reservation in list(self._open.values()):  # cut off by the shutdown: perhaps spent, whole
            self.settle(reservation, Settlement(None, True, Usage(), ErrorClass.CANCELLED))
        await self._books.close()
        self._write_down()
        self._log.close(self._clock.unix_s())

    # ------------------------------------------------------------------------------------- inside

    def _recover(self) -> Recovered:
        now_s = self._clock.unix_s()
        try:
            return recover(self._log.open(self._incarnation, now_s), now_s - self._settings.keep_applied_s)
        except SpendLogError as error:
            if self._books.guards():
                raise
            self._problem = str(error)
            return Recovered()

    def record(self, body: FactBody) -> Fact:
        """Number a fact and write it; one that the disk refuses is written later."""
        fact = self._books.number(body)
        self._seq = fact.seq
        if self._unwritten:
            self._unwritten.append(fact)
            self._write_down()
            return fact
        try:
            self._log.append(fact)
        except SpendLogError as error:
            self._problem = str(error)
            self._unwritten.append(fact)
        return fact

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self._totals.save(), tuple(self._open.values()), self._seq)

    def note(self, record: LogRecord) -> None:
        """Write what may be lost without harm."""
        with contextlib.suppress(SpendLogError):
            self._log.append(record)

    def forget(self, incarnation: str, seq: int) -> None:
        """Let facts go from disk."""
        self._log.forget(incarnation, seq)

    def _write_down(self) -> None:
        """Write what the disk refused before, as far as it takes it now."""
        while self._unwritten:
            try:
                self._log.append(self._unwritten[0])
            except SpendLogError as error:
                self._problem = str(error)
                return
            self._unwritten.popleft()
        self._problem = ""

    def _check_recordable(self) -> None:
        if self._problem and self._books.guards():
            raise AtlasError(Reason.BUDGET_UNAVAILABLE, f"spending cannot be recorded: {self._problem}")

    async def _durable(self, reservation: Reservation) -> None:
        try:
            await self._log.durable()
        except SpendLogError as error:
            self._problem = str(error)
            if self._books.guards():
                self._never_sent(reservation)
                self._check_recordable()
        except asyncio.CancelledError:
            self._never_sent(reservation)
            raise

    def _never_sent(self, reservation: Reservation) -> None:
        self.settle(reservation, Settlement(0, False, Usage(), ErrorClass.CANCELLED))

    def _refused(self, reservation: Reservation, problem: str) -> None:
        """The disk refused a RESERVE: give it back and stop, or go on in memory, as the policy says."""
        self._problem = problem
        if self._books.guards():
            del self._open[reservation.attempt_id]
            self._books.end(reservation, 0)
            self._check_recordable()
        self._unwritten.append(reservation)
