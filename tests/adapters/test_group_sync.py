"""Syncs to the disk in groups: one for all that wait, and a failure for exactly those."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from atlas_sidecar.adapters import spend_log
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from tests.adapters.spend_logs import EMPTY, crash, fact, reopen, segments


class SlowDisk:
    """Counts syncs, each of which takes a moment; `error` makes the next ones fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.error: OSError | None = None
        monkeypatch.setattr("os.fdatasync", self.fdatasync)

    def fdatasync(self, descriptor: int) -> None:
        os.fstat(descriptor)
        self.syncs += 1
        time.sleep(0.01)
        if self.error is not None:
            raise self.error


async def test_group_sync_is_shared_by_all_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    log = DiskSpendLog(tmp_path, fsync_group=True, segment_bytes=5000)
    log.open("one", 1.0)
    log.begin(lambda: EMPTY)
    before = disk.syncs

    async def one(seq: int) -> None:
        log.append(fact(seq))
        await log.durable()

    await asyncio.gather(*(one(seq) for seq in range(1, 51)))
    assert 1 <= disk.syncs - before <= 2 + len(segments(tmp_path))
    crash(log)
    monkeypatch.setattr(spend_log, "boot_id", lambda: "another boot")
    (past,) = reopen(tmp_path)
    assert past.whole
    assert past.header.synced


async def test_a_group_sync_that_fails_is_an_error_for_those_that_waited_and_the_next_is_tried_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    log = DiskSpendLog(tmp_path, fsync_group=True)
    log.open("one", 1.0)
    log.begin(lambda: EMPTY)
    disk.error = OSError(5, "Input/output error")
    log.append(fact(1))
    answers = await asyncio.gather(*(log.durable() for _ in range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == [f"spend log {tmp_path}: Input/output error"] * 3
    disk.error = None
    await log.durable()
    log.close(1.0)


async def test_who_waits_no_longer_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    log = DiskSpendLog(tmp_path, fsync_group=True)
    log.open("one", 1.0)
    log.begin(lambda: EMPTY)
    first, second = asyncio.ensure_future(log.durable()), asyncio.ensure_future(log.durable())
    await asyncio.sleep(0)
    first.cancel()
    await second
    disk.error = OSError(5, "Input/output error")
    third = asyncio.ensure_future(log.durable())
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.sleep(0.05)
    assert third.cancelled()
    log.close(1.0)
