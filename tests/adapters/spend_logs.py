"""Records and logs on disk for the tests of the spend log."""

import os
from collections.abc import Sequence
from pathlib import Path

from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.spend_records import (
    Applied,
    Checkpoint,
    Closed,
    Fact,
    Finish,
    LogRecord,
    PastLog,
    Release,
    Reservation,
    Settle,
    Skip,
    estimated_settle,
)
from atlas_sidecar.core.types import ModelRef, Usage

MODEL = ModelRef("sonnet", "anthropic", "claude-sonnet")
EMPTY = Checkpoint((), ())
ROOT = Path(__file__).parents[2]


def reservation(number: int = 1) -> Reservation:
    return Reservation(f"a{number}", "L1", "acme", "2026-11-23", 100, MODEL, "req-ü", {"team": "a"}, 1.5)


def settle(number: int = 1) -> Settle:
    usage = Usage(1, None, 3, 4, None)
    return estimated_settle(reservation(number))._replace(usage=usage, outcome=ErrorClass.TIMEOUT)


def fact(seq: int, incarnation: str = "one") -> Fact:
    return Fact(incarnation, seq, settle(seq))


EVERY_KIND: list[LogRecord] = [
    reservation(),
    fact(1),
    Fact("one", 2, Release("L1")),
    Fact("one", 3, Finish("zero")),
    Fact("one", 5, Skip(4)),
    Applied("one", 3, 9.5),
    EMPTY,
    Checkpoint((), (reservation(7),)),
    reservation(2)._replace(amount_nano_usd=None, labels={}),
    Closed(12.0),
]


def opened(directory: Path, incarnation: str = "one", segment_bytes: int = 100_000) -> DiskSpendLog:
    log = DiskSpendLog(directory, sidecar_id="pod-1", local=False, segment_bytes=segment_bytes)
    log.open(incarnation, 1.0)
    log.begin(lambda: EMPTY)
    return log


def crash(log: DiskSpendLog) -> None:
    """Let go of everything as a killed process does."""
    os.close(log._fd)
    log._fd = -1
    log._drop_lock()


def reopen(directory: Path) -> Sequence[PastLog]:
    log = DiskSpendLog(directory, sidecar_id="pod-1", local=False)
    found = log.open("next", 2.0)
    log.close(2.0)
    return found


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))
