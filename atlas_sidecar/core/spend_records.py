"""What a sidecar writes down about its spending: reservations, numbered facts, checkpoints.

Rules kept here:
- A fact happened: it is numbered once, 1, 2, 3, ... within its incarnation, and neither changed nor dropped before
  the ledger has it.
- A Reservation is on disk before its request leaves; a Settle closes it. What is open when a process dies was perhaps
  spent, whole.
- A Checkpoint replaces everything before it but the facts: it is one record, so that it is there whole or not at all.
- Values only. How they become bytes is the spend log's affair, how they become protobuf the budget client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import ModelRef, Usage


class Reservation(NamedTuple):
    """Capacity put aside for one attempt, and what its Settle will need; `lease_id` "" = of no lease.

    `amount_nano_usd` None = the price is unknown (no limit holds then). `period`: the day of admission.
    """

    attempt_id: str
    lease_id: str
    node: str
    period: str
    amount_nano_usd: int | None
    model: ModelRef
    request_id: str
    labels: Mapping[str, str]
    admitted_unix_s: float


class Settle(NamedTuple):
    """What one attempt cost. `cost_nano_usd` None = its price is unknown; `outcome` None = it answered."""

    attempt_id: str
    lease_id: str
    node: str
    period: str
    cost_nano_usd: int | None
    estimated: bool
    usage: Usage
    model: ModelRef
    outcome: ErrorClass | None
    request_id: str
    provider_request_id: str
    labels: Mapping[str, str]
    admitted_unix_s: float


class Release(NamedTuple):
    """Nothing more will be settled on this lease."""

    lease_id: str


class Finish(NamedTuple):
    """That predecessor's log is replayed whole: its leases may be closed."""

    predecessor: str


class Skip(NamedTuple):
    """The facts from `first` to this one's own number are lost; what they held stays in suspense."""

    first: int


FactBody: TypeAlias = Settle | Release | Finish | Skip


class Fact(NamedTuple):
    """Something that happened, under its number."""

    incarnation: str
    seq: int
    body: FactBody


class SpendTotal(NamedTuple):
    """The sum of one model's attempts. `unknown`: how many had no known price, so that `cost` lacks theirs."""

    attempts: int = 0
    cost_nano_usd: int = 0
    estimated_nano_usd: int = 0
    unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class PeriodTotals(NamedTuple):
    """What this sidecar spent in one period: by (provider, model), and how much of it without a lease (unseen)."""

    period: str
    by_model: tuple[tuple[str, str, SpendTotal], ...]
    unleased_nano_usd: int = 0


class Checkpoint(NamedTuple):
    """The state that a log's earlier records led to: totals of the latest periods, and what is still open.

    `seq`: the facts of this incarnation up to it are in the totals, also those that are written after it (a full disk).
    """

    totals: tuple[PeriodTotals, ...]
    open: tuple[Reservation, ...]
    seq: int = 0


class Applied(NamedTuple):
    """The ledger said at this time that it holds this incarnation's facts up to `seq`."""

    incarnation: str
    seq: int
    unix_s: float


class Closed(NamedTuple):
    """The process ended in order, and everything before this is on the disk itself."""

    unix_s: float


LogRecord: TypeAlias = Reservation | Fact | Checkpoint | Applied | Closed


class LogHeader(NamedTuple):
    """Who wrote a segment of the log: it belongs to one incarnation, of one boot of the machine.

    `local`: its books were kept without a service, so that none is ever sent its facts. `synced`: no request left
    before its reservation was on the disk itself, so that nothing of worth can be missing at its end.
    """

    version: int
    incarnation: str
    boot_id: str
    sidecar_id: str
    created_unix_s: float
    local: bool = True
    synced: bool = False


class PastLog(NamedTuple):
    """One predecessor's part of the log as found at open, in the order in which it was written.

    `whole`: nothing at its end can be missing (same boot, or closed in order, or every record was synced).
    `damaged`: how many stretches of it could not be read.
    """

    header: LogHeader
    records: tuple[LogRecord, ...]
    whole: bool
    damaged: int = 0


def estimated_settle(reservation: Reservation) -> Settle:
    """Return what a reservation becomes whose process died: spent whole, as far as anyone knows."""
    return Settle(
        reservation.attempt_id,
        reservation.lease_id,
        reservation.node,
        reservation.period,
        reservation.amount_nano_usd,
        True,
        Usage(),
        reservation.model,
        ErrorClass.OTHER,
        reservation.request_id,
        "",
        reservation.labels,
        reservation.admitted_unix_s,
    )
