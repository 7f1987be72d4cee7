import asyncio
import logging
from collections.abc import Callable

import pytest

from atlas_sidecar.adapters.clock import VirtualClock
from atlas_sidecar.runtime.sync_loop import SyncLoop


class Line:
    """Rounds that end as told, and when they began."""

    def __init__(
        self, clock: VirtualClock, answer: Callable[[int], bool] = lambda _: True, takes_s: float = 0.0
    ) -> None:
        self.clock, self.answer, self.takes_s = clock, answer, takes_s
        self.began_s: list[float] = []
        self.due_s = 0.0

    async def exchange(self) -> bool:
        self.began_s.append(self.clock.monotonic_s())
        await self.clock.sleep(self.takes_s)
        self.due_s = self.clock.monotonic_s() + 30.0
        return self.answer(len(self.began_s))

    def loop(self) -> SyncLoop:
        made = SyncLoop(self.clock, self.exchange, lambda: self.due_s)
        made.start()
        return made


async def test_rounds_come_when_they_are_due() -> None:
    line = Line(clock := VirtualClock())
    loop = line.loop()
    await clock.advance(95)
    await loop.stop()
    assert line.began_s == [0, 30, 60, 90]


async def test_who_asks_while_a_round_is_under_way_waits_for_the_next_one() -> None:
    line = Line(clock := VirtualClock(), takes_s=1.0)
    loop = line.loop()
    await clock.advance(0.5)
    asked = asyncio.ensure_future(loop.next_round())
    await clock.advance(0.6)
    assert not asked.done()
    await clock.advance(1.0)
    assert await asked
    assert line.began_s == [0, 1]
    await loop.stop()


async def test_a_failure_is_told_and_followed_by_pauses_that_grow() -> None:
    line = Line(clock := VirtualClock(), answer=lambda _: False)
    line.due_s = 0.0
    loop = SyncLoop(clock, line.exchange, lambda: 0.0)
    loop.start()
    asked = asyncio.ensure_future(loop.next_round())
    await clock.advance(200)
    await loop.stop()
    assert not await asked
    pauses = [b - a for a, b in zip(line.began_s, line.began_s[1:], strict=False)]
    assert all(0 < pause <= 10 for pause in pauses)
    assert pauses[0] <= 0.25
    assert pauses[-1] >= 5
    assert len(line.began_s) < 60


async def test_a_request_that_waits_does_not_wait_for_a_long_pause() -> None:
    line = Line(clock := VirtualClock(), answer=lambda number: number > 12)
    loop = SyncLoop(clock, line.exchange, lambda: 0.0)
    loop.start()
    while len(line.began_s) < 12:
        await clock.advance(0.5)
    began_s = clock.monotonic_s()
    asked = asyncio.ensure_future(loop.next_round())
    await clock.run(asked)
    assert await asked
    assert clock.monotonic_s() - began_s <= 0.25
    await loop.stop()


async def test_a_fault_of_our_own_ends_nothing_but_its_round(caplog: pytest.LogCaptureFixture) -> None:
    def answer(number: int) -> bool:
        if number == 1:
            raise ZeroDivisionError
        return True

    line = Line(clock := VirtualClock(), answer)
    loop = line.loop()
    asked = asyncio.ensure_future(loop.next_round())
    with caplog.at_level(logging.ERROR):
        await clock.advance(40)
    assert await asked  # the next round
    assert len(line.began_s) >= 2
    assert "a budget Sync failed on our side" in caplog.text
    await loop.stop()


async def test_the_end_tells_everybody_and_nobody_waits_after_it() -> None:
    line = Line(clock := VirtualClock(), takes_s=100.0)
    loop = line.loop()
    await clock.advance(1)
    asked = asyncio.ensure_future(loop.next_round())
    await asyncio.sleep(0)
    await loop.stop()
    assert not await asked
    assert not await loop.next_round()
    await loop.stop()


async def test_who_gives_up_waiting_is_forgotten() -> None:
    line = Line(clock := VirtualClock(), takes_s=10.0)
    loop = line.loop()
    await clock.advance(1)
    asked = asyncio.ensure_future(loop.next_round())
    await asyncio.sleep(0)
    asked.cancel()
    await clock.advance(15)
    assert line.began_s == [0]
    await loop.stop()
