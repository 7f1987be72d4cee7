"""Waits that are cut, and waits that are not."""

from __future__ import annotations

import asyncio

import pytest

from atlas_sidecar.runtime.patience import Patience
from tests.runtime.virtual_time import run


async def wait(patience: Patience, limit_s: float, takes_s: float) -> str:
    """Wait as an attempt does; return how it ended."""
    patience.begin(limit_s)
    try:
        await asyncio.sleep(takes_s)
    except asyncio.CancelledError:
        if patience.was_cut():
            return "cut"
        raise
    finally:
        patience.end()
    return "came"


@pytest.mark.parametrize(
    "waits",
    [
        [(5.0, 1.0, "came"), (5.0, 4.0, "came"), (5.0, 6.0, "cut")],
        [(30.0, 1.0, "came"), (2.0, 1.5, "came"), (2.0, 3.0, "cut"), (2.0, 1.0, "came"), (2.0, 2.5, "cut")],
        [(0.0, 1.0, "cut"), (1.0, 0.5, "came")],
    ],
)
def test_each_wait_has_its_own_limit_to_the_moment(waits: list[tuple[float, float, str]]) -> None:
    async def main() -> None:
        patience, loop = Patience(), asyncio.get_running_loop()
        for limit_s, takes_s, ends in waits:
            began_s = loop.time()
            assert await wait(patience, limit_s, takes_s) == ends
            assert loop.time() - began_s == pytest.approx(min(limit_s, takes_s), abs=1e-3)
            await asyncio.sleep(100)  # a slow reader is not cut
        patience.close()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


def test_a_cancel_from_outside_stays_one_also_at_the_very_limit() -> None:
    async def main() -> None:
        for at_s in (1.0, 2.0, 3.0):
            patience = Patience()
            waiting = asyncio.create_task(wait(patience, 2.0, 10.0))
            await asyncio.sleep(at_s)
            if at_s < 3.0:
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            else:
                assert await waiting == "cut"

    run(main())


def test_a_stream_of_many_reads_arms_one_timer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        patience, armed = Patience(), 0
        call_at = loop.call_at

        def counted(*arguments: object, **more: object) -> asyncio.TimerHandle:
            nonlocal armed
            armed += 1
            return call_at(*arguments, **more)  # type: ignore[arg-type]  # passed on as they came

        loop.call_at = counted  # type: ignore[method-assign]  # counts what the loop is asked for
        for _ in range(1000):
            patience.begin(20.0)
            await asyncio.sleep(0)
            patience.end()
        assert armed == 1

    run(main())
