"""What is said to the ledger and what it answers: frozen values, free of protobuf and SQL.

Rules kept here:
- Money is int nano-USD; None is unknown (a cost) or no limit. Times are int milliseconds since 1970, UTC.
- Enum numbers are those of atlas_api.v1, so that converting is a lookup.
- A request is checked where it is converted (convert.py); a fact is checked by the ledger, which sets aside what it
  cannot apply, because a refused request would hold up every fact behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from atlas_sidecar.core.types import Usage

EVERYWHERE = "*"  # the subtree of a token that may see and name every node


class LedgerErrorCode(IntEnum):
    """Why a call is refused as a whole; numbers are gRPC's status codes."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    ABORTED = 10


class LedgerError(Exception):
    """A call that changes nothing: its code, and a message that is safe to show."""

    def __init__(self, code: LedgerErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class OnPartition(IntEnum):
    """What a sidecar does without lease and service."""

    CLOSED = 1
    OPEN = 2


class OnLost(IntEnum):
    """What becomes of a lost pod's lease."""

    PRESUME_SPENT = 1
    RECLAIM = 2


class Policy(NamedTuple):
    """A node's policy; None = the parent's. `open_allowance`: what one sidecar may spend unseen in a period."""

    on_partition: OnPartition | None = None
    open_allowance_nano_usd: int | None = None
    on_lost: OnLost | None = None


NO_POLICY = Policy()
HARD_POLICY = Policy(
    OnPartition.CLOSED, 0, OnLost.PRESUME_SPENT
)  # what holds where no node of the chain says otherwise

# ------------------------------------------------------------------------------------------- facts


class Settle(NamedTuple):
    """What one attempt cost. `period` is the local day of admission; times in ms; `cost` None = unknown price."""

    attempt_id: str
    lease_id: str
    budget: str
    period: str
    cost_nano_usd: int | None
    estimated: bool = False
    usage: Usage = Usage()
    provider: str = ""
    model_id: str = ""
    model: str = ""
    outcome: int = 0
    request_id: str = ""
    provider_request_id: str = ""
    labels: Mapping[str, str] = {}
    admitted_at_ms: int = 0


class Release(NamedTuple):
    """Nothing more will be settled on this lease."""

    lease_id: str


class Finish(NamedTuple):
    """The predecessor's log is replayed whole: its leases can be closed."""

    predecessor: str


class Skip(NamedTuple):
    """The facts from `first` to this one's seq are lost; what they held stays in suspense."""

    first: int


class Unreadable(NamedTuple):
    """A fact whose kind this version does not know."""

    reason: str


FactBody: TypeAlias = Settle | Release | Finish | Skip | Unreadable


class Fact(NamedTuple):
    """One entry of a sidecar's log; `raw` is its wire form, kept if it must be set aside."""

    incarnation: str
    seq: int
    body: FactBody
    raw: bytes = b""


# ------------------------------------------------------------------------------------------- commands


class Want(NamedTuple):
    """A request for a lease: so much is wished, so little is still useful; the longest attempt on it, in ms."""

    want_id: str
    budget: str
    amount_nano_usd: int
    minimum_nano_usd: int
    longest_ms: int


class Sync(NamedTuple):
    """A sidecar's call. `held`: ids of the leases that it holds; `subtree`: what its token may name."""

    sidecar_id: str
    incarnation: str
    sync_seq: int
    facts: tuple[Fact, ...] = ()
    held: tuple[str, ...] = ()
    wants: tuple[Want, ...] = ()
    final: bool = False
    subtree: str = EVERYWHERE


@dataclass(frozen=True, slots=True)
class Reserve:
    """A want for one request, answered at once."""

    sidecar_id: str
    incarnation: str
    want: Want
    subtree: str = EVERYWHERE


@dataclass(frozen=True, slots=True)
class SetBudget:
    """An administrator's definition of a node: it replaces the whole node. No `etag`: whatever is there."""

    budget: str
    daily_limit_nano_usd: int | None = None
    time_zone: str = ""
    policy: Policy = NO_POLICY
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Move leases whose time is over, with every margin, out of ACTIVE; at most `limit` of them."""

    limit: int = 500


Command: TypeAlias = Sync | Reserve | SetBudget | Sweep

# ------------------------------------------------------------------------------------------- answers


class Grant(NamedTuple):
    """A lease, new or renewed; `ttl_ms` counts from when the sidecar sent its request."""

    lease_id: str
    want_id: str
    budget: str
    period: str
    amount_nano_usd: int
    ttl_ms: int


class DenialReason(IntEnum):
    """Why a want got nothing. UNSPECIFIED: this want, or this incarnation, has had its turn."""

    UNSPECIFIED = 0
    EXHAUSTED = 1
    UNKNOWN_BUDGET = 2
    USE_RESERVE = 3


class Denial(NamedTuple):
    """A want that got nothing; `budget`: the node that is out; `retry_at_ms`: when its next period begins."""

    want_id: str
    budget: str
    reason: DenialReason
    retry_at_ms: int = 0


class Quarantined(NamedTuple):
    """A fact that was set aside."""

    incarnation: str
    seq: int
    reason: str


class NodeView(NamedTuple):
    """A node in one period, as its account stands, with the policy that holds for it."""

    budget: str
    period: str
    limit_nano_usd: int | None
    settled_nano_usd: int
    leased_nano_usd: int
    suspense_nano_usd: int
    policy: Policy
    ends_at_ms: int


@dataclass(slots=True)
class SyncDone:
    """The answer to a Sync. `posted` counts new spend; `complete`: all of its facts are on the ledger now."""

    applied_seq: dict[str, int] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    nodes: list[NodeView] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    posted: int = 0
    stale: bool = False
    complete: bool = True


class Swept(NamedTuple):
    """What a Sweep did: leases put in suspense, leases reclaimed, and how much was reclaimed (term U at its most)."""

    suspended: int
    reclaimed: int
    reclaimed_nano_usd: int


class NodeDefinition(NamedTuple):
    """A node as it was set. `policy` is its own, not the inherited one."""

    budget: str
    daily_limit_nano_usd: int | None
    time_zone: str
    policy: Policy
    etag: str


class NodeStatus(NamedTuple):
    """A node for people: its definition, its account in a period, and how many sidecars hold leases at or below it."""

    definition: NodeDefinition
    view: NodeView
    active_sidecars: int


Outcome: TypeAlias = SyncDone | Grant | Denial | NodeStatus | Swept | LedgerError
