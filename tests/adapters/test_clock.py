"""The clocks: ids that sort, and time that passes only when everybody waits."""

import asyncio
import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.clock import SystemClock, VirtualClock, _IdSource


def test_ids_are_uuid7_of_now_and_sort_in_the_order_they_were_made() -> None:
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert abs((parsed.int >> 80) / 1000 - time.time()) < 5


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**64 - 1)), max_size=50))
def test_ids_rise_whatever_the_clock_does(moments: list[tuple[int, int]]) -> None:
    source = _IdSource()
    ids = [source.make(unix_ms, bits) for unix_ms, bits in moments]
    assert ids == sorted(ids)
    assert all(uuid.UUID(text).version == 7 for text in ids)


async def test_sleepers_wake_in_the_order_of_their_moments_without_real_waiting() -> None:
    clock, woken = VirtualClock(), list[tuple[str, float]]()

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic_s()))

    started = time.monotonic()
    sleepers = asyncio.gather(sleep("late", 3600), sleep("early", 60))
    await clock.advance(59)
    assert woken == []
    await clock.advance(3541)
    await sleepers
    assert woken == [("early", 60), ("late", 3600)]
    assert time.monotonic() - started < 1


async def test_run_moves_the_time_on_until_the_task_is_done() -> None:
    clock = VirtualClock(start_unix_s=1000)

    async def work() -> float:
        for _ in range(10):
            await clock.sleep(30)
        return clock.unix_s()

    task = asyncio.create_task(work())
    await clock.run(task)
    assert task.result() == 1300


async def test_a_cancelled_sleeper_moves_no_time() -> None:
    clock = VirtualClock()
    cancelled = asyncio.create_task(clock.sleep(1000))
    other = asyncio.create_task(clock.sleep(2000))
    await asyncio.sleep(0)
    cancelled.cancel()
    await clock.run(other)
    assert clock.monotonic_s() == 2000


def test_the_same_seed_gives_the_same_chance_and_ids() -> None:
    one, other = VirtualClock(seed=7), VirtualClock(seed=7)
    assert [one.jitter(), one.new_id()] == [other.jitter(), other.new_id()]
    assert VirtualClock(seed=8).jitter() != VirtualClock(seed=7).jitter()
