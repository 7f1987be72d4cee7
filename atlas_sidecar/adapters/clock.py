"""Time, waiting, chance and ids: the real ones, and a virtual clock that removes the waiting.

Rules kept here:
- Ids are UUIDv7 (RFC 9562, 5.7): they sort by the time they were made, also within one millisecond of one process.
- With a VirtualClock time moves only when everybody waits: then it jumps to the next moment that somebody waits for.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import time
from typing import Final

_MAX_COUNTER: Final = 0xFFF
_READY_ROUNDS: Final = 20  # how often tasks that are ready may run before time moves on


class SystemClock:
    """The machine's clock; implements ports.Clock."""

    def __init__(self) -> None:
        self._ids = _IdSource()

    def monotonic_s(self) -> float:
        """Seconds that never go back; the zero is arbitrary."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        """A random number, 0 <= x < 1."""
        return random.random()  # noqa: S311 - spreads retries, keeps no secret

    def new_id(self) -> str:
        """A UUIDv7, as text."""
        return self._ids.make(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(8), "big"))


class VirtualClock:
    """A clock without waiting, for tests and simulations; implements ports.Clock.

    `sleep` returns when the virtual time has come. `run` moves the time on while a task waits, `advance` by hand.
    Chance and ids repeat for the same seed.
    """

    def __init__(self, start_unix_s: float = 1_800_000_000.0, seed: int = 1) -> None:
        self._start_unix_s = start_unix_s
        self._now_s = 0.0
        self._random = random.Random(seed)  # noqa: S311 - repeats on purpose
        self._ids = _IdSource()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = 0

    def __repr__(self) -> str:
        return f"VirtualClock(now={self._now_s:g} s, sleeping={len(self._sleepers)})"

    def monotonic_s(self) -> float:
        """Virtual seconds since the start."""
        return self._now_s

    def unix_s(self) -> float:
        """Virtual seconds since 1970."""
        return self._start_unix_s + self._now_s

    async def sleep(self, seconds: float) -> None:
        """Return when the virtual time has moved by this much."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._now_s + seconds, self._order, wake))
        await wake

    def jitter(self) -> float:
        """A random number, 0 <= x < 1; the same ones for the same seed."""
        return self._random.random()

    def new_id(self) -> str:
        """A UUIDv7 of the virtual time."""
        return self._ids.make(int(self.unix_s() * 1000), self._random.getrandbits(64))

    async def advance(self, seconds: float) -> None:
        """Move the time on by this much; whoever waits for a moment on the way goes on at that moment."""
        end_s = self._now_s + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._wake_next()
            await self._settle()
        self._now_s = max(self._now_s, end_s)

    async def run(self, task: asyncio.Task[object]) -> None:
        """Move the time on until the task is done; returns early when nobody waits for time."""
        await self._settle()
        while not task.done() and self._sleepers:
            self._wake_next()
            await self._settle()

    def _wake_next(self) -> None:
        at_s, _, wake = heapq.heappop(self._sleepers)
        if not wake.done():  # a cancelled sleeper
            self._now_s = max(self._now_s, at_s)
            wake.set_result(None)

    async def _settle(self) -> None:
        for _ in range(_READY_ROUNDS):
            await asyncio.sleep(0)


class _IdSource:
    """Makes UUIDv7 that rise within one process: a counter in rand_a orders those of one millisecond."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._counter = 0

    def make(self, unix_ms: int, random_bits: int) -> str:
        if unix_ms > self._last_ms:
            self._last_ms, self._counter = unix_ms, 0
        elif self._counter < _MAX_COUNTER:
            self._counter += 1
        else:  # 4096 ids in a millisecond, or a clock that went far back: borrow from the future
            self._last_ms, self._counter = self._last_ms + 1, 0
        head = (self._last_ms & 0xFFFFFFFFFFFF) << 16 | 0x7 << 12 | self._counter
        tail = 0b10 << 62 | random_bits & ((1 << 62) - 1)
        text = f"{head << 64 | tail:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
