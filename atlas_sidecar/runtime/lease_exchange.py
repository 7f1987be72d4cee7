"""One exchange with the budget service: what is said in a Sync, and what its answer changes.

Rules kept here:
- Facts go with every Sync until the ledger has them; leases held are shown; a want keeps its id until it is answered.
- What should go back is released by a fact of the same Sync, before the wants that may need it.
- A lease counts from when its call was SENT. An answer to an older call cannot come: one call at a time, dropped at
  its end.
- A want of nothing asks how a node stands; its denial says nothing about capacity.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from atlas_sidecar.core.lease_book import LeaseBook, Need
from atlas_sidecar.core.leases import BudgetSettings, Hold
from atlas_sidecar.core.node_books import NodeBooks
from atlas_sidecar.core.outbox import Outbox
from atlas_sidecar.core.spend_records import Applied, Fact, FactBody, LogRecord, Release
from atlas_sidecar.core.sync import Denial, DenialReason, Grant, SyncAnswer, SyncCall, Want
from atlas_sidecar.ports import BudgetGateway, Clock, GatewayError

MAX_BATCH: Final = 1000
MAX_WANTS: Final = 64  # as the service takes them in one call
MAX_HELD: Final = 1024
_log: Final = logging.getLogger(__name__)


class Journal(Protocol):
    """Where facts and notes are written down; the Budget is it."""

    def record(self, body: FactBody) -> Fact:
        """Number a fact and write it."""
        ...

    def note(self, record: LogRecord) -> None:
        """Write what may be lost without harm."""
        ...

    def forget(self, incarnation: str, seq: int) -> None:
        """Let facts go from disk."""
        ...


class LeaseExchange:
    """What this incarnation holds and knows, and the calls that change it. `boottime_s`: suspended time included."""

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
        self._gateway = gateway
        self._journal = journal
        self.now_s = boottime_s
        self.book = LeaseBook(settings.sync_interval_s, settings.idle_release_s, settings.keep_applied_s)
        self.nodes = NodeBooks()
        self.outbox = Outbox("")
        self.curious: set[str] = set()
        self.tail: set[str] = set()
        self.reachable = True
        self.problem = ""
        self.last_sync_unix_s: float | None = None
        self.interval_s = settings.sync_interval_s
        self.unseen_nano_usd = 0
        self._incarnation = ""
        self._sync_seq = 0
        self._wants: dict[str, Want] = {}
        self._batch = MAX_BATCH

    def __repr__(self) -> str:
        return f"LeaseExchange({self.book!r}, {self.outbox!r}, reachable={self.reachable})"

    def begin(self, incarnation: str) -> None:
        """Start as this incarnation."""
        self._incarnation = incarnation
        self.outbox = Outbox(incarnation, self._settings.keep_applied_s)

    # ------------------------------------------------------------------------------------- Sync

    async def sync(self, *, final: bool = False) -> bool:
        """Exchange facts, leases and wants once; return whether the service answered."""
        wants = () if final else self._plan()
        facts = self.outbox.batch(self._batch)
        last = final and len(facts) == self.outbox.pending
        self._sync_seq += 1
        call = SyncCall(
            self._settings.sidecar_id,
            self._incarnation,
            self._sync_seq,
            facts,
            self.book.held()[:MAX_HELD],
            wants,
            last,
        )
        sent_s, applied = self.now_s(), self.outbox.applied
        unseen, self.unseen_nano_usd = self.unseen_nano_usd, 0
        try:
            answer = await self._gateway.sync(call, self._settings.call_timeout_s)
        except GatewayError as error:
            self.unseen_nano_usd += unseen
            self._failed(error)
            return False
        self._apply(call, answer, sent_s, applied)
        return True

    def _plan(self) -> tuple[Want, ...]:
        """Release what should go back, and return what to ask for."""
        now_s = self.now_s()
        needs = self.book.needs(now_s)
        watched = {self._settings.node} | self.curious
        for lease_id in self.book.to_release(now_s, needs):
            self.release(lease_id)
        asked = {need.node for need in needs}
        self._wants = {node: want for node, want in self._wants.items() if node in asked or node in watched}
        for need in needs:
            self._want(need)
        for node in watched - asked:
            if not self.book.holds(node):
                self._want(Need(node, 0, 0, 0.0))
        return tuple(self._wants.values())[:MAX_WANTS]

    def _want(self, need: Need) -> None:
        """Ask anew, or again under the same id; a want that was sent is not changed but by asking under a new one."""
        old = self._wants.get(need.node)
        if (
            old is not None
            and old.amount_nano_usd >= need.amount_nano_usd
            and old.minimum_nano_usd >= need.minimum_nano_usd
        ):
            return
        self._wants[need.node] = Want(
            self._clock.new_id(), need.node, need.amount_nano_usd, need.minimum_nano_usd, need.longest_s
        )

    def release(self, lease_id: str) -> None:
        """Give a lease back."""
        fact = self._journal.record(Release(lease_id))
        self.book.release(lease_id, fact.seq, self.now_s())

    def _apply(self, call: SyncCall, answer: SyncAnswer, sent_s: float, applied_when_sent: int) -> None:
        now_s = self.now_s()
        self._answered()
        self.last_sync_unix_s = self._clock.unix_s()
        self._batch = min(MAX_BATCH, self._batch * 2)
        self.outbox.acknowledge(call.facts, answer.applied, now_s)
        for incarnation, seq in answer.applied.items():
            if incarnation != self._incarnation or seq > applied_when_sent:
                self._journal.note(Applied(incarnation, seq, self._clock.unix_s()))
        for incarnation, seq in self.outbox.forgettable():
            self._journal.forget(incarnation, seq)
        self.nodes.update(answer.nodes, sent_s)
        self.curious.clear()
        for grant in answer.grants:
            self.adopt(grant, sent_s)
        self.book.recall(answer.recalled)
        for denial in answer.denials:
            self._denied(denial, now_s)
        self.book.forget_released(applied_when_sent, now_s)
        if answer.next_sync_s is not None and answer.next_sync_s > 0:
            self.interval_s = min(answer.next_sync_s, self._settings.sync_interval_s)
        if answer.quarantined:
            first = answer.quarantined[0]
            _log.error("the ledger set %d facts aside; the first: %s", len(answer.quarantined), first.reason)

    def adopt(self, grant: Grant, sent_s: float, *, single: bool = False) -> None:
        """Take up a lease that an answer brought."""
        self.book.adopt(grant, sent_s, self.now_s(), single=single)
        want = self._wants.get(grant.node)
        if want is not None and want.want_id == grant.want_id:  # not a renewal, nor a Reserve's
            del self._wants[grant.node]
            if grant.amount_nano_usd > 0:
                self.tail.discard(grant.node)
                self.nodes.allow((grant.node,))

    def _denied(self, denial: Denial, now_s: float) -> None:
        want = next((want for want in self._wants.values() if want.want_id == denial.want_id), None)
        if want is None:
            return
        del self._wants[want.node]
        if denial.reason is DenialReason.UNKNOWN_BUDGET or (
            want.amount_nano_usd > 0 and denial.reason is DenialReason.EXHAUSTED
        ):
            self.nodes.deny(want.node, want.minimum_nano_usd, denial, now_s)
        elif want.amount_nano_usd > 0 and denial.reason is DenialReason.USE_RESERVE:
            if len(self.tail) >= MAX_HELD:
                self.tail.clear()
            self.tail.add(want.node)

    # ------------------------------------------------------------------------------------- Reserve

    async def reserve(self, hold: Hold, amount: int) -> Grant | Denial | None:
        """Ask for a lease for one request and take it up; None = the service did not answer."""
        want = Want(self._clock.new_id(), hold.node, amount, amount, hold.longest_s)
        sent_s = self.now_s()
        try:
            answer = await self._gateway.reserve(
                self._settings.sidecar_id, self._incarnation, want, self._settings.call_timeout_s
            )
        except GatewayError as error:
            self._failed(error)
            return None
        self._answered()
        if isinstance(answer, Grant):
            self.adopt(answer, sent_s, single=True)
        elif answer.reason in {DenialReason.EXHAUSTED, DenialReason.UNKNOWN_BUDGET}:
            self.nodes.deny(hold.node, amount, answer, self.now_s())
        return answer

    async def close(self) -> None:
        """Close the connection."""
        await self._gateway.close()

    def _answered(self) -> None:
        self.reachable = True
        self.problem = ""

    def _failed(self, error: GatewayError) -> None:
        self.reachable = False
        self.problem = error.message
        if error.refused:  # perhaps too large: smaller ones may pass
            self._batch = max(1, self._batch // 2)
