"""The leases a sidecar holds, and what it should ask for and give back: headroom, reserve, settle, when to renew.

Rules kept here:
- A reservation fits one lease whole: used + reserved never exceeds the amount when it is taken. The tightest lease that
  fits is taken, so that the others stay whole.
- Nothing new is taken on a lease that is past its deadline, recalled or released; what runs on it is still settled on
  it.
- A lease goes back when nothing is reserved on it and it is idle, recalled, expired, made for one request, or too small
  for what is asked. A released id is never taken up again while an answer on its way may still name it.
- Leases follow active use: a node wants what was lately reserved at once, and what two refreshes will spend; it asks
  for more while it is in use and half of the latter is gone.
- Instants are seconds since boot, suspended time included; a lease counts from when its Sync was SENT.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from atlas_sidecar.core.demand import Peak, Rate
from atlas_sidecar.core.sync import Grant, Held

MAX_NODES: Final = 256
SPEND_HALF_LIFE_S: Final = 60.0


@dataclass(slots=True, eq=False)
class Lease:
    """Capacity that this sidecar may spend at one node. `single`: made for one request (Reserve)."""

    lease_id: str
    node: str
    period: str
    amount_nano_usd: int
    deadline_s: float
    used_s: float
    single: bool = False
    used_nano_usd: int = 0
    reserved_nano_usd: int = 0
    open: int = 0
    recalled: bool = False

    @property
    def headroom_nano_usd(self) -> int:
        """What may still be reserved, below 0 when attempts cost more than they reserved."""
        return self.amount_nano_usd - self.used_nano_usd - self.reserved_nano_usd

    def live(self, now_s: float) -> bool:
        """Whether something new may be reserved on it."""
        return not self.recalled and now_s < self.deadline_s


@dataclass(slots=True, eq=False)
class NodeUse:
    """How a node is used. Peaks are of reservation sizes and of what was reserved at once, nano-USD."""

    spend: Rate = field(default_factory=lambda: Rate(SPEND_HALF_LIFE_S))
    largest: Peak = field(default_factory=lambda: Peak(SPEND_HALF_LIFE_S))
    at_once: Peak = field(default_factory=lambda: Peak(SPEND_HALF_LIFE_S))
    asked_s: float = float("-inf")
    leases: list[Lease] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    longest_s: float = 0.0


class LeaseBook:
    """All leases of one incarnation. `refresh_s`: the pace of Syncs; `idle_s`: after how long an unused lease goes
    back.
    """

    def __init__(self, refresh_s: float = 30.0, idle_s: float = 15.0, remember_s: float = 900.0) -> None:
        self._refresh_s = refresh_s
        self._idle_s = idle_s
        self._remember_s = remember_s
        self._leases: dict[str, Lease] = {}
        self._nodes: dict[str, NodeUse] = {}
        self._released: dict[str, tuple[int, float]] = {}

    def __repr__(self) -> str:
        leases = ", ".join(
            f"{lease.lease_id[:8]}@{lease.node} {lease.used_nano_usd}+{lease.reserved_nano_usd}/{lease.amount_nano_usd}"
            for lease in self._leases.values()
        )
        return f"LeaseBook([{leases}])"

    def __len__(self) -> int:
        return len(self._leases)

    # ------------------------------------------------------------------------------------- spending

    def find(self, node: str, amount: int, now_s: float) -> Lease | None:
        """Return the live lease on which this amount fits most tightly, None when it fits on none."""
        use = self._nodes.get(node)
        if use is None:
            return None
        best: Lease | None = None
        best_room = 0
        for lease in use.leases:
            room = lease.amount_nano_usd - lease.used_nano_usd - lease.reserved_nano_usd
            if (
                room >= amount
                and not lease.recalled
                and now_s < lease.deadline_s
                and (best is None or room < best_room)
            ):
                best, best_room = lease, room
        return best

    def take(self, lease: Lease, amount: int, longest_s: float, now_s: float) -> bool:
        """Reserve on a lease that find() returned; True = the node should ask for more soon (half of it is used)."""
        lease.reserved_nano_usd += amount
        lease.open += 1
        lease.used_s = now_s
        use = self._nodes[lease.node]
        use.asked_s = now_s
        use.longest_s = max(use.longest_s, longest_s)
        use.largest.see(amount, now_s)
        use.at_once.see(lease.reserved_nano_usd, now_s)
        return 2 * lease.headroom_nano_usd < lease.amount_nano_usd

    def end(self, lease_id: str, reserved: int, cost: int, now_s: float) -> bool:
        """Settle one reservation of a lease; True = the lease should go back soon. An unknown lease changes nothing."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return False
        lease.reserved_nano_usd -= reserved
        lease.used_nano_usd += cost
        lease.open -= 1
        lease.used_s = now_s
        self._nodes[lease.node].spend.add(now_s, cost)
        return lease.open == 0 and (lease.single or lease.recalled)

    def largest_nano_usd(self, node: str, now_s: float) -> int:
        """Return the largest headroom of a live lease at this node, 0 without one."""
        use = self._nodes.get(node)
        rooms = (lease.headroom_nano_usd for lease in use.leases if lease.live(now_s)) if use else ()
        return max(rooms, default=0)

    def idle_nano_usd(self, nodes: Iterable[str]) -> int:
        """Return what leases at these nodes on which nothing runs would give back."""
        return sum(
            max(0, lease.headroom_nano_usd)
            for node in nodes
            if node in self._nodes
            for lease in self._nodes[node].leases
            if lease.open == 0
        )

    # ------------------------------------------------------------------------------------- asking

    def wait(self, node: str, amount: int, longest_s: float, now_s: float) -> None:
        """Note that a request waits for capacity."""
        use = self._use(node)
        use.asked_s = now_s
        use.longest_s = max(use.longest_s, longest_s)
        use.waiting.append(amount)
        use.largest.see(amount, now_s)
        use.at_once.see(sum(lease.reserved_nano_usd for lease in use.leases) + sum(use.waiting), now_s)

    def wait_over(self, node: str, amount: int) -> None:
        """Note that a request waits no longer, whatever came of it."""
        use = self._nodes.get(node)
        if use is not None and amount in use.waiting:
            use.waiting.remove(amount)

    def needs(self, now_s: float) -> list[Need]:
        """Return what to ask for: for each node in use of whose target less than half is left, the difference."""
        found: list[Need] = []
        for node, use in self._nodes.items():
            if not use.waiting and now_s - use.asked_s >= self._idle_s:
                continue
            left = 0
            for lease in use.leases:
                if lease.used_nano_usd < lease.amount_nano_usd and lease.live(now_s):
                    left += lease.amount_nano_usd - lease.used_nano_usd
            largest = max([*use.waiting, use.largest.value(now_s)])
            at_once = use.at_once.value(now_s)
            running = int(2 * self._refresh_s * use.spend.per_second(now_s))
            target = max(2 * largest, at_once + at_once // 4 + running)
            unmet = any(self.find(node, amount, now_s) is None for amount in use.waiting)
            if unmet or left < max(largest, at_once + running // 2):
                amount = max(target - left, largest)
                found.append(Need(node, amount, largest, use.longest_s))
        return found

    # ------------------------------------------------------------------------------------- leases come and go

    def adopt(self, grant: Grant, sent_s: float, now_s: float, *, single: bool = False) -> Lease | None:
        """Take up a lease, or its renewal, from an answer to a call sent at `sent_s`; None = it was released."""
        if grant.lease_id in self._released:
            return None
        deadline_s = sent_s + grant.ttl_s
        lease = self._leases.get(grant.lease_id)
        if lease is not None:
            lease.deadline_s = max(lease.deadline_s, deadline_s)
            return lease
        lease = Lease(grant.lease_id, grant.node, grant.period, grant.amount_nano_usd, deadline_s, now_s, single)
        self._leases[grant.lease_id] = lease
        self._use(grant.node).leases.append(lease)
        return lease

    def recall(self, lease_ids: Iterable[str]) -> None:
        """Take nothing new on these leases; they go back when nothing runs on them."""
        for lease_id in lease_ids:
            lease = self._leases.get(lease_id)
            if lease is not None:
                lease.recalled = True

    def holds(self, node: str) -> bool:
        """Return whether some lease at this node is held."""
        use = self._nodes.get(node)
        return use is not None and bool(use.leases)

    def to_release(self, now_s: float, needs: Iterable[Need] = ()) -> list[str]:
        """Return the leases that should go back now; `needs` will be asked for, what is too small for them goes too."""
        minimum = {need.node: need.minimum_nano_usd for need in needs}
        return [
            lease.lease_id
            for lease in self._leases.values()
            if lease.open == 0
            and (
                lease.recalled
                or lease.single
                or now_s >= lease.deadline_s
                or now_s - lease.used_s >= self._idle_s
                or lease.headroom_nano_usd < minimum.get(lease.node, 1)
            )
        ]

    def release(self, lease_id: str, seq: int, now_s: float) -> None:
        """Forget a lease whose Release is fact number `seq`; its id is ignored from now on."""
        lease = self._leases.pop(lease_id)
        self._nodes[lease.node].leases.remove(lease)
        self._released[lease_id] = (seq, now_s)

    def forget_released(self, applied_when_sent: int, now_s: float) -> None:
        """Drop ids that no answer names: a Sync sent after their Release was applied is answered, and time passed."""
        while self._released:
            lease_id = next(iter(self._released))  # the oldest: numbers and instants only rise
            seq, at_s = self._released[lease_id]
            if seq > applied_when_sent or now_s - at_s < self._remember_s:
                return
            del self._released[lease_id]

    def held(self) -> tuple[Held, ...]:
        """Return every lease that is counted on, for a Sync."""
        return tuple([
            Held(lease.lease_id, lease.used_nano_usd, lease.reserved_nano_usd) for lease in self._leases.values()
        ])  # fmt: skip

    def _use(self, node: str) -> NodeUse:
        use = self._nodes.get(node)
        if use is None:
            if len(self._nodes) >= MAX_NODES:
                self._drop_one()
            use = self._nodes[node] = NodeUse()
        return use

    def _drop_one(self) -> None:
        """Forget how the node was used that has been unused for longest, if one holds nothing."""
        unused = [(use.asked_s, node) for node, use in self._nodes.items() if not use.leases and not use.waiting]
        if unused:
            del self._nodes[min(unused)[1]]


@dataclass(frozen=True, slots=True)
class Need:
    """What to ask for at a node: as much as `amount`, at least `minimum`, for attempts of up to `longest_s`."""

    node: str
    amount_nano_usd: int
    minimum_nano_usd: int
    longest_s: float
