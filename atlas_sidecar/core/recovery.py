"""What a new process makes of the logs that its predecessors left.

Rules kept here:
- A checkpoint replaces totals and open reservations that came before it, never facts.
- A reservation is closed by a Settle of its attempt, by whichever incarnation.
- What the service is sent of a predecessor is what its log holds, under its own numbers; a gap between them is a Skip.
- A log that may lack its end (another boot, not synced) gets a Skip behind its last fact, and no Finish: what its
  leases held stays in suspense. Local books are nobody else's: a service is never sent them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from atlas_sidecar.core.spend_records import (
    Applied,
    Checkpoint,
    Fact,
    Finish,
    LogRecord,
    PastLog,
    Reservation,
    Settle,
    Skip,
)
from atlas_sidecar.core.totals import Totals


@dataclass(frozen=True, slots=True)
class Predecessor:
    """One predecessor's line for the ledger: its facts in order; `lossy`: its end may be missing, so it is not
    finished.
    """

    incarnation: str
    facts: tuple[Fact, ...]
    lossy: bool


@dataclass(slots=True)
class Recovered:
    """What was found: sums, reservations never settled, lines for the ledger, who can be finished, who kept local
    books.

    `damaged`: how many stretches of the logs could not be read.
    """

    totals: Totals = field(default_factory=Totals)
    open: dict[str, Reservation] = field(default_factory=dict)
    past: list[Predecessor] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)
    local: list[str] = field(default_factory=list)
    damaged: int = 0


def recover(logs: Sequence[PastLog], applied_before_unix_s: float = float("inf")) -> Recovered:
    """Return what the predecessors' logs, oldest first, add up to.

    Facts that the ledger confirmed before `applied_before_unix_s` are not sent again; younger ones are, because a
    failover may have lost them.
    """
    found = Recovered()
    applied: dict[str, int] = {}
    finished: set[str] = set()
    for log in logs:
        counted = 0
        found.damaged += log.damaged
        for record in log.records:
            if isinstance(record, Applied):
                if record.unix_s < applied_before_unix_s:
                    applied[record.incarnation] = max(record.seq, applied.get(record.incarnation, 0))
            else:
                counted = _replay(found, record, finished, counted)
    for log in logs:
        incarnation = log.header.incarnation
        if log.header.local:
            found.local.append(incarnation)
            continue
        facts = [record for record in log.records if isinstance(record, Fact)]
        lossy = not log.whole or log.damaged > 0
        found.past.append(Predecessor(incarnation, tuple(with_skips(facts, applied.get(incarnation, 0))), lossy))
        if not lossy and incarnation not in finished:
            found.finish.append(incarnation)
    return found


def _replay(found: Recovered, record: LogRecord, finished: set[str], counted: int) -> int:
    """Add one record; return up to which fact of its log the totals are."""
    match record:
        case Reservation():
            found.open[record.attempt_id] = record
        case Fact(seq=seq, body=Settle() as settle):
            found.open.pop(settle.attempt_id, None)
            if seq > counted:
                found.totals.add(settle)
        case Fact(body=Finish(predecessor=predecessor)):
            finished.add(predecessor)
        case Checkpoint():
            found.totals = Totals(record.totals)
            found.open = {reservation.attempt_id: reservation for reservation in record.open}
            return record.seq
        case _:
            pass
    return counted


def with_skips(facts: Iterable[Fact], applied: int) -> Iterable[Fact]:
    """Yield facts in order of number, each gap between them (and behind `applied`) filled by a Skip that ends it."""
    expected = applied + 1
    for fact in sorted(facts, key=lambda fact: fact.seq):
        if fact.seq < expected:
            continue
        if fact.seq > expected:
            yield Fact(fact.incarnation, fact.seq - 1, Skip(expected))
        yield fact
        expected = fact.seq + 1
