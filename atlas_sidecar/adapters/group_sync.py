"""One fdatasync for everybody who waits: a group commit.

Rules kept here:
- Who waits is covered by a sync that began after it asked; one sync runs at a time, in a thread.
- An error is everybody's who waited for that sync; the next one is tried afresh.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class GroupSync:
    """Syncs a file that may be replaced by another; `descriptor` returns the one of now."""

    def __init__(self, descriptor: Callable[[], int]) -> None:
        self._descriptor = descriptor
        self._asked = 0
        self._done = 0
        self._round: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"GroupSync({self._asked - self._done} waiting)"

    async def wait(self) -> None:
        """Return when everything written before this call is on the disk itself. Raises OSError."""
        self._asked += 1
        mine = self._asked
        while self._done < mine:
            if self._round is None:
                self._round = asyncio.get_running_loop().create_task(self._sync(), name="spend-log-sync")
                self._round.add_done_callback(_seen)
            await asyncio.shield(self._round)

    async def _sync(self) -> None:
        upto = self._asked
        try:
            descriptor = os.dup(self._descriptor())  # its owner may close it meanwhile
            try:
                await asyncio.to_thread(os.fdatasync, descriptor)
            finally:
                os.close(descriptor)
            self._done = upto
        finally:
            self._round = None


def _seen(task: asyncio.Task[None]) -> None:
    """Take the error of a round for which nobody waits any more."""
    if not task.cancelled():
        task.exception()
