"""How long an attempt waits for each read: one timer for all of them, because arming one for each would cost most of
what a chunk costs.

Rules kept here:
- Only a wait between `begin` and `end` is ever cut; what the caller takes its time for is not.
- The timer is left running while limits move away, and armed anew only where one comes nearer.
- A cancel from outside stays a cancel, also when it comes together with ours (as in asyncio.timeout).
"""

from __future__ import annotations

import asyncio


class Patience:
    """Cuts one task's waits. Seconds are relative; the loop's own clock is used."""

    __slots__ = ("_cancels", "_cut", "_loop", "_task", "_timer", "_timer_at_s", "_until_s", "_waiting")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._until_s = 0.0
        self._cancels = 0
        self._waiting = False
        self._cut = False

    def __repr__(self) -> str:
        return f"Patience(waiting={self._waiting}, until={self._until_s - self._loop.time():+.3f} s)"

    def begin(self, seconds: float) -> None:
        """Begin a wait of the current task of at most so many seconds."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # there is always one in a coroutine
        self._task, self._cancels = task, task.cancelling()
        until_s = self._until_s = self._loop.time() + seconds
        self._waiting = True
        if self._timer is None or until_s < self._timer_at_s:
            self._arm(until_s)

    def was_cut(self) -> bool:
        """Return whether the CancelledError that just came is ours; it is taken back then."""
        if not self._cut or self._task is None:
            return False
        self._cut = False
        return self._task.uncancel() <= self._cancels

    def end(self) -> None:
        """End the wait."""
        self._waiting = False
        if self._cut and self._task is not None:  # it came too late to be felt
            self._cut = False
            self._task.uncancel()
        self._task = None

    def close(self) -> None:
        """Let the timer go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at_s = self._loop.call_at(at_s, self._ring), at_s

    def _ring(self) -> None:
        self._timer = None
        if not self._waiting or self._task is None:
            return
        if self._loop.time() < self._until_s:
            self._arm(self._until_s)
            return
        self._cut = True
        self._task.cancel()
