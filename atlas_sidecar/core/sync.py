"""What a sidecar and the budget service say to each other, as values: the core's side of budget.proto.

Rules kept here:
- Money is nano-USD, instants are Unix seconds, durations seconds. None as a limit = no limit.
- Names and meanings are those of atlas_api.v1; numbers of enums too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from atlas_sidecar.core.spend_records import Fact


class Held(NamedTuple):
    """A lease that the sidecar still counts on."""

    lease_id: str
    used_nano_usd: int
    reserved_nano_usd: int


class Want(NamedTuple):
    """A wish for capacity at a node: `amount` if it can be, at least `minimum`; it repeats until answered."""

    want_id: str
    node: str
    amount_nano_usd: int
    minimum_nano_usd: int
    longest_attempt_s: float


class Grant(NamedTuple):
    """Capacity given, or renewed (same lease_id): `ttl_s` counts from when the request was sent."""

    lease_id: str
    want_id: str
    node: str
    period: str
    amount_nano_usd: int
    ttl_s: float


class DenialReason(IntEnum):
    """Why a want was not met; numbers of atlas_api.v1.Denial.Reason."""

    UNSPECIFIED = 0
    EXHAUSTED = 1
    UNKNOWN_BUDGET = 2
    USE_RESERVE = 3


class Denial(NamedTuple):
    """A want not met: `node` is the one that is out, possibly an ancestor; `retry_at_unix_s`: when its next period
    begins.
    """

    want_id: str
    node: str
    reason: DenialReason
    retry_at_unix_s: float | None


class NodePolicy(NamedTuple):
    """What holds without the service: nothing (closed), or an allowance per period (open; None = without bound)."""

    partition_open: bool = False
    open_allowance_nano_usd: int | None = 0


class NodeState(NamedTuple):
    """A node's books as the service last said them. `limit_nano_usd` None = no limit; `policy` None = it said none."""

    node: str
    period: str
    limit_nano_usd: int | None
    spent_nano_usd: int
    leased_nano_usd: int
    suspense_nano_usd: int
    policy: NodePolicy | None = None
    period_ends_unix_s: float | None = None

    @property
    def free_nano_usd(self) -> int | None:
        """What the node can still grant, never below 0; None = no limit."""
        if self.limit_nano_usd is None:
            return None
        return max(0, self.limit_nano_usd - self.spent_nano_usd - self.leased_nano_usd - self.suspense_nano_usd)


class Quarantined(NamedTuple):
    """A fact that the ledger set aside because it cannot be applied; it counts as applied."""

    incarnation: str
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class SyncCall:
    """One Sync: everything that the service must know, safe to repeat."""

    sidecar_id: str
    incarnation: str
    sync_seq: int
    facts: tuple[Fact, ...] = ()
    held: tuple[Held, ...] = ()
    wants: tuple[Want, ...] = ()
    final: bool = False


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """What the service said. `applied`: by incarnation, up to which fact the ledger is; `next_sync_s` None = as
    configured.
    """

    applied: Mapping[str, int] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    denials: tuple[Denial, ...] = ()
    recalled: tuple[str, ...] = ()
    next_sync_s: float | None = None
    nodes: tuple[NodeState, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
