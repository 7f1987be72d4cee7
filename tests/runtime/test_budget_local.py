import asyncio
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atlas_sidecar.adapters.boot import boottime_s
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.core.leases import BudgetSettings, Hold, Settlement
from atlas_sidecar.ports import SpendLogError
from atlas_sidecar.runtime.budget import Budget
from tests.runtime.budget_world import MODEL, USAGE, World
from tests.runtime.ledger_gateway import Ledger, LedgerGateway

ROOT = Path(__file__).parents[2]
SETTINGS = BudgetSettings(daily_limit_nano_usd=10_000, time_zone="Europe/Berlin")


def alone(directory: Path, settings: BudgetSettings = SETTINGS) -> World:
    return World(directory, settings, with_service=False)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = alone(tmp_path / "log")
    yield made
    await made.kill()


async def test_a_day_is_kept_over_restarts_and_crashes(world: World) -> None:
    await world.start()
    await world.spend(1000, 700)
    await world.restart()
    await world.spend(1000, 200)
    await world.budget.close()
    budget = await world.restart_after_close()
    report = budget.health()
    assert report.spent_today_nano_usd == 900
    assert report.spend["anthropic", "claude-sonnet"].attempts == 2
    assert budget.state("default").remaining_nano_usd == 9100


async def test_what_was_running_when_the_process_died_counts_as_spent_whole(world: World) -> None:
    await world.start()
    await world.reserve(4000)
    budget = await world.restart()
    row = budget.health().spend["anthropic", "claude-sonnet"]
    assert (row.cost_nano_usd, row.estimated_nano_usd) == (4000, 4000)
    await world.restart()
    assert world.budget.health().spent_today_nano_usd == 4000


async def test_past_midnight_of_the_configured_zone_the_budget_is_whole_again(world: World) -> None:
    await world.start()
    await world.spend(10_000)
    with pytest.raises(AtlasError) as error:
        await world.reserve(1)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED
    assert error.value.metadata == {"node": "default", "renews_at": "2026-11-23T23:00:00Z"}
    assert error.value.retry_after_s == 11 * 3600
    await world.clock.advance(11 * 3600)
    await world.spend(10_000)
    assert world.budget.health().period == "2026-11-24"


async def test_without_a_limit_everything_is_admitted_and_counted(tmp_path: Path) -> None:
    world = alone(tmp_path, BudgetSettings(daily_limit_nano_usd=None))
    await world.start()
    await world.spend(10**15)
    unknown = await world.reserve(None)
    world.settle(unknown, None)
    state, report = world.budget.state("default"), world.budget.health()
    assert (state.limit_nano_usd, state.remaining_nano_usd, state.headroom_nano_usd) == (None, None, None)
    assert report.spend["anthropic", "claude-sonnet"].unknown == 1
    assert not report.cost_optimization
    await world.kill()


async def test_cost_optimization_begins_below_a_fifth(world: World) -> None:
    await world.start()
    await world.spend(8000)
    assert not world.budget.health().cost_optimization
    await world.spend(1)
    assert world.budget.health().cost_optimization


async def test_without_a_service_there_is_one_node(world: World) -> None:
    await world.start()
    assert world.budget.resolve("") == world.budget.resolve("default") == "default"
    with pytest.raises(AtlasError) as below:
        world.budget.resolve("default/team")
    assert below.value.reason is Reason.UNKNOWN_BUDGET
    with pytest.raises(AtlasError) as beside:
        world.budget.resolve("other")
    assert beside.value.reason is Reason.BUDGET_NOT_ALLOWED


async def test_an_attempt_id_can_be_reserved_once(world: World) -> None:
    await world.start()
    await world.budget.reserve(Hold("default", "a", 1, MODEL))
    with pytest.raises(ValueError, match="reserved already"):
        await world.budget.reserve(Hold("default", "a", 1, MODEL))


async def test_a_cost_above_its_reservation_is_counted_whole_and_a_negative_one_as_nothing(world: World) -> None:
    await world.start()
    await world.spend(100, 500)
    await world.spend(100, -500)
    assert world.budget.health().spent_today_nano_usd == 500


async def test_a_log_in_use_is_an_error_that_names_its_holder(world: World) -> None:
    await world.start()
    with pytest.raises(SpendLogError, match="is in use by process"):
        await alone(world.directory).start()


async def test_the_sums_survive_any_number_of_segments(world: World) -> None:
    await world.start()
    for _ in range(3):
        for _ in range(300):
            await world.budget.reserve(hold := Hold("default", world.clock.new_id(), 1, MODEL))
            world.budget.settle(world.budget._open[hold.attempt_id], Settlement(1, False, USAGE))
        await world.restart()
    assert world.budget.health().spent_today_nano_usd == 900


async def test_no_reservation_is_lost_where_one_segment_ends_and_the_next_begins(world: World) -> None:
    await world.start()
    for _ in range(400):
        await world.reserve(1)
    assert len(list(world.directory.glob("*.log"))) > 2
    await world.restart()
    assert world.budget.health().spend["anthropic", "claude-sonnet"].attempts == 400


async def test_no_settlement_is_counted_twice_where_a_full_disk_meets_the_end_of_a_segment(world: World) -> None:
    await world.start()
    for _ in range(8):
        held = [await world.reserve(1) for _ in range(30)]
        with full_disk(world.log):
            for reservation in held:
                world.settle(reservation, 1)
    await world.spend(1)
    await world.restart()
    assert world.budget.health().spent_today_nano_usd == 241


@contextmanager
def full_disk(log: DiskSpendLog) -> Iterator[None]:
    """Refuse every byte more that the log would write, as a full disk does."""
    assert log._file is not None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log._file.size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_stops_spending_under_a_closed_policy_and_health_says_so(world: World) -> None:
    await world.start()
    running = await world.reserve(1000)
    with full_disk(world.log):
        with pytest.raises(AtlasError, match="spending cannot be recorded") as error:
            await world.reserve(1000)
        assert error.value.reason is Reason.BUDGET_UNAVAILABLE
        world.settle(running, 700)  # never raises, and is not lost
        assert "File too large" in world.budget.health().problem
        assert world.budget.state("default").headroom_nano_usd == 9300
        with pytest.raises(AtlasError):
            await world.reserve(1000)
    await world.spend(100)
    assert world.budget.health().problem == ""
    await world.restart()
    assert world.budget.health().spent_today_nano_usd == 800


async def test_a_full_disk_is_borne_in_memory_under_an_open_policy(tmp_path: Path) -> None:
    world = alone(tmp_path, BudgetSettings(daily_limit_nano_usd=10_000, partition_open=True))
    await world.start()
    with full_disk(world.log):
        await world.spend(1000, 600)
        assert "File too large" in world.budget.health().problem
    await world.spend(1000, 1)
    assert world.budget.health().problem == ""
    await world.restart()
    assert world.budget.health().spent_today_nano_usd == 601
    await world.kill()


async def test_a_disk_that_is_full_at_the_start_stops_spending_until_there_is_room(world: World) -> None:
    await world.start()
    await world.spend(1000, 600)
    await world.kill()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, before[1]))  # room for the lock's text, not for a segment
    try:
        await world.restart()
        assert "File too large" in world.budget.health().problem or "full" in world.budget.health().problem
        with pytest.raises(AtlasError, match="spending cannot be recorded"):
            await world.reserve(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await world.spend(1000, 1)
    assert world.budget.health().problem == ""
    await world.restart()
    assert world.budget.health().spent_today_nano_usd == 601


async def test_a_log_that_cannot_be_had_is_an_error_only_where_there_is_something_to_guard(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("no directory")
    with pytest.raises(SpendLogError, match="file"):
        await alone(tmp_path / "file").start()
    free = alone(tmp_path / "file", BudgetSettings(daily_limit_nano_usd=None))
    await free.start()
    await free.spend(1000)
    assert "file" in free.budget.health().problem
    assert free.budget.health().spent_today_nano_usd == 1000


async def test_with_group_sync_a_request_leaves_when_its_reservation_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fdatasync(descriptor: int) -> None:
        if synced == [1]:
            raise OSError(5, "Input/output error")
        synced.append(1)

    log = DiskSpendLog(tmp_path, fsync_group=True)
    budget = Budget(SETTINGS, SystemClock(), log)
    await budget.start()
    monkeypatch.setattr("os.fdatasync", fdatasync)
    budget.settle(await budget.reserve(Hold("default", "a", 1000, MODEL)), Settlement(10, False, USAGE))
    assert synced == [1]
    with pytest.raises(AtlasError, match="Input/output error"):
        await budget.reserve(Hold("default", "b", 1000, MODEL))
    monkeypatch.undo()
    waiting = asyncio.ensure_future(budget.reserve(Hold("default", "c", 1000, MODEL)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.state("default").headroom_nano_usd == 9990  # what was never sent is given back
    await budget.close()


async def test_after_the_end_nothing_is_admitted(world: World) -> None:
    await world.start()
    await world.budget.close()
    with pytest.raises(AtlasError) as error:
        await world.reserve(1)
    assert error.value.reason is Reason.DRAINING


@pytest.mark.parametrize("jump_s", [-400 * 86_400.0, -3600.0, 3600.0, 400 * 86_400.0])
async def test_a_wall_clock_that_jumps_and_returns_loses_nothing(world: World, jump_s: float) -> None:
    await world.start()
    await world.spend(9000)
    world.clock._start_unix_s += jump_s
    await world.spend(500)
    await world.restart()
    world.clock._start_unix_s -= jump_s
    assert world.budget.health().spent_today_nano_usd >= 9000
    with pytest.raises(AtlasError):
        await world.reserve(1001)


KILLED = """
import asyncio, sys
from pathlib import Path
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.core.leases import BudgetSettings, Hold, Settlement
from atlas_sidecar.runtime.budget import Budget
from tests.runtime.budget_world import MODEL, USAGE

async def main():
    clock = SystemClock()
    settings = BudgetSettings(daily_limit_nano_usd=10**15)
    budget = Budget(settings, clock, DiskSpendLog(Path(sys.argv[1]), segment_bytes=20_000))
    await budget.start()
    number = 0
    while True:
        number += 1
        reservation = await budget.reserve(Hold("default", clock.new_id(), 1000, MODEL))
        sys.stdout.write("r\\n")
        sys.stdout.flush()
        budget.settle(reservation, Settlement(1000, False, USAGE))
        sys.stdout.write("s\\n")
        sys.stdout.flush()

asyncio.run(main())
"""


async def test_every_request_that_left_a_killed_process_is_in_its_books(tmp_path: Path) -> None:
    left = 0
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, str(tmp_path), stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        said = b"".join([await process.stdout.readline() for _ in range(301)])
        process.send_signal(signal.SIGKILL)
        said += await process.stdout.read()
        await process.wait()
        left += said.count(b"r\n")
    budget = Budget(BudgetSettings(daily_limit_nano_usd=10**15), SystemClock(), DiskSpendLog(tmp_path))
    await budget.start()
    rows = budget.health().spend["anthropic", "claude-sonnet"]
    await budget.close()
    assert left <= rows.attempts <= left + 3  # one more for each kill: logged, and killed before it said so
    assert rows.cost_nano_usd == 1000 * rows.attempts


@pytest.mark.parametrize("leased", [False, True], ids=["alone", "on a lease"])
async def test_deciding_and_recording_takes_microseconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], leased: bool
) -> None:
    clock = SystemClock()
    ledger = Ledger(lambda: int(clock.unix_s() * 1000))
    ledger.set_budget("default", 10**15)
    gateway = LedgerGateway(ledger) if leased else None
    log = DiskSpendLog(tmp_path, local=not leased)
    settings = BudgetSettings(daily_limit_nano_usd=10**15, sidecar_id="pod-1")
    budget = Budget(settings, clock, log, gateway, boottime_s if leased else None)
    await budget.start()
    held = [await budget.reserve(Hold("default", clock.new_id(), 10**9, MODEL)) for _ in range(2)]  # a lease with room
    budget.settle(held[0], Settlement(0, False, USAGE))
    took_s = []
    for number in range(5000):
        hold = Hold("default", clock.new_id(), 1000, MODEL)
        settlement = Settlement(10, False, USAGE)
        began_s = time.perf_counter()
        budget.settle(await budget.reserve(hold), settlement)
        took_s.append(time.perf_counter() - began_s)
        if number % 500 == 0:
            await asyncio.sleep(0)
    await budget.close()
    median_us = statistics.median(took_s) * 1e6
    with capsys.disabled():
        name = "on a lease" if leased else "alone"
        sys.stdout.write(f"\nbudget {name}: reserve + settle with the log, median {median_us:.1f} us (bar: 10 us)\n")
    assert median_us < 100  # loose, for a loaded machine
