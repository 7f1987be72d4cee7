"""When to Sync: one at a time, soon when something waits for it, seldom when nothing does, less often while it fails.

Rules kept here:
- Who waits for a round waits for one that begins after it asked; then it is told whether the service answered.
- A failed round is followed by a pause that doubles, with jitter; for a request that waits it is the shortest one.
- Whatever a round raises, the loop goes on: a fault is logged and counts as a failed round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from atlas_sidecar.ports import Clock

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
_log: Final = logging.getLogger(__name__)


class SyncLoop:
    """Runs rounds. `exchange` makes one and returns whether it succeeded; `due_s` says when the next one should be."""

    def __init__(self, clock: Clock, exchange: Callable[[], Awaitable[bool]], due_s: Callable[[], float]) -> None:
        self._clock = clock
        self._exchange = exchange
        self._due_s = due_s
        self._changed = asyncio.Event()
        self._waiting: list[asyncio.Future[bool]] = []
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._failed_s = float("-inf")
        self._pause_s = 0.0

    def __repr__(self) -> str:
        return f"SyncLoop({len(self._waiting)} waiting, {self._failures} failures)"

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="budget-sync")

    async def stop(self) -> None:
        """End; a round under way is abandoned. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self._tell(self._waiting, answered=False)

    def changed(self) -> None:
        """Look again at when the next round is due."""
        self._changed.set()

    async def next_round(self) -> bool:
        """Ask for a round, wait for it, and return whether the service answered; False at once when the loop has
        ended.
        """
        if self._task is None:
            return False
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self._changed.set()
        try:
            return await told
        finally:
            if told in self._waiting:
                self._waiting.remove(told)

    async def _run(self) -> None:
        while True:
            await self._until_due()
            waiting, self._waiting = self._waiting, []
            answered = False
            try:
                answered = await self._exchange()
            except Exception:  # noqa: BLE001 - a supervisor: the loop must outlive a fault in one round
                _log.exception("a budget Sync failed on our side")
            finally:
                self._tell(waiting, answered=answered)
            self._pace(answered=answered)

    async def _until_due(self) -> None:
        while True:
            self._changed.clear()
            due_s = float("-inf") if self._waiting else self._due_s()
            pause_s = min(self._pause_s, FIRST_PAUSE_S) if self._waiting else self._pause_s
            left_s = max(due_s, self._failed_s + pause_s) - self._clock.monotonic_s()
            if left_s <= 0:
                return
            await self._sleep_unless_changed(left_s)

    async def _sleep_unless_changed(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ends = (loop.create_task(self._clock.sleep(seconds)), loop.create_task(self._changed.wait()))
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _pace(self, *, answered: bool) -> None:
        if answered:
            self._failures = 0
            self._pause_s = 0.0
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._failed_s = self._clock.monotonic_s()
        self._pause_s = pause_s * (0.5 + 0.5 * self._clock.jitter())

    @staticmethod
    def _tell(waiting: list[asyncio.Future[bool]], *, answered: bool) -> None:
        for told in waiting:
            if not told.done():
                told.set_result(answered)
