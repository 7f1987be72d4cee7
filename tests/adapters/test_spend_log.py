import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas_sidecar.adapters import spend_log
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.adapters.spend_log_frames import FRAME, pack, pack_header, read_segment
from atlas_sidecar.core.spend_records import (
    Checkpoint,
    Fact,
    LogHeader,
)
from atlas_sidecar.ports import SpendLogError
from tests.adapters.spend_logs import EMPTY, EVERY_KIND, ROOT, crash, fact, opened, reopen, reservation, segments


def test_what_was_appended_is_there_after_a_crash(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for record in EVERY_KIND:
        log.append(record)
    crash(log)
    (past,) = reopen(tmp_path)
    assert past.records == (EMPTY, *EVERY_KIND)
    assert past.header.incarnation == "one"
    assert (past.header.sidecar_id, past.header.local) == ("pod-1", False)
    assert past.whole
    assert past.damaged == 0


def test_a_torn_tail_is_cut_off_and_costs_nothing_before_it(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(reservation())
    crash(log)
    path = segments(tmp_path)[0]
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(pack(fact(1))[:-3])
    (past,) = reopen(tmp_path)
    assert past.records == (EMPTY, reservation())
    assert past.damaged == 0
    assert path.stat().st_size == whole


def test_damage_in_the_middle_is_stepped_over_and_counted(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for seq in (1, 2, 3):
        log.append(fact(seq))
    crash(log)
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    at = data.index(pack(fact(2)))
    data[at + 40 : at + 60] = bytes(20)
    path.write_bytes(data)
    (past,) = reopen(tmp_path)
    assert past.records == (EMPTY, fact(1), fact(3))
    assert past.damaged == 1


def test_a_segment_whose_header_is_damaged_keeps_its_records_under_the_name_of_its_file(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(fact(1))
    crash(log)
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[6] ^= 0xFF
    path.write_bytes(data)
    (past,) = reopen(tmp_path)
    assert past.header.incarnation == "one"
    assert past.records == (EMPTY, fact(1))
    assert not past.whole


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_damaged_bytes_never_fails_and_never_yields_what_was_not_written(data: st.DataObject) -> None:
    written = [pack(record) for record in EVERY_KIND]
    whole = bytearray(pack_header(LogHeader(1, "one", "boot", "pod", 0.0)) + b"".join(written))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from("flip cut insert zero".split())):
            case "flip":
                whole[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del whole[at : at + data.draw(st.integers(1, 50))]
            case "insert":
                whole[at:at] = data.draw(st.binary(max_size=30))
            case _:
                whole[at : at + 30] = bytes(len(whole[at : at + 30]))
        whole = whole or bytearray(b"x")
    segment = read_segment(bytes(whole))
    name = segment.header.incarnation if segment.header else ""
    expected = [r._replace(incarnation=name) if isinstance(r, Fact) else r for r in EVERY_KIND]
    for record in segment.records:
        assert record in expected
    order = [expected.index(record) for record in segment.records]
    assert order == sorted(order)


@given(st.binary(max_size=2000))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert read_segment(data).header is None


def test_a_file_in_which_nothing_can_be_read_is_kept_aside_for_a_person(tmp_path: Path) -> None:
    tmp_path.joinpath("00000001-junk.log").write_bytes(os.urandom(5000))
    tmp_path.joinpath("00000002-torn.log").write_bytes(pack_header(LogHeader(1, "x", "b", "p", 0.0))[:20])
    assert reopen(tmp_path) == []
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["00000001-junk.damaged"]


def test_two_processes_on_one_log_are_told_apart_by_name(tmp_path: Path) -> None:
    log = opened(tmp_path)
    program = (
        "import sys; from pathlib import Path; from atlas_sidecar.adapters.spend_log import DiskSpendLog\n"
        "DiskSpendLog(Path(sys.argv[1])).open('two', 1.0)"
    )
    second = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert second.returncode != 0
    assert f"is in use by process {os.getpid()} (incarnation one)" in second.stderr
    assert "give each sidecar its own budget.spend_log" in second.stderr
    log.append(fact(1))  # the first one is not disturbed
    log.close(2.0)
    (past,) = reopen(tmp_path)
    assert past.records[1] == fact(1)


def test_a_newer_format_is_refused_by_name_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend_log, "VERSION", 2)
    log = opened(tmp_path)
    log.append(fact(1))
    crash(log)
    monkeypatch.undo()
    before = segments(tmp_path)[0].read_bytes()
    with pytest.raises(SpendLogError, match=r"written by a newer version \(format 2, this one reads up to 1\)"):
        reopen(tmp_path)
    assert segments(tmp_path)[0].read_bytes() == before


def test_a_header_of_the_future_with_more_fields_is_still_known_as_newer() -> None:
    payload = msgspec.msgpack.encode([9, {"all": "different"}])
    frame = FRAME.pack(b"\xa7L", len(payload), crc32(payload, 0), 0) + payload
    assert read_segment(frame + pack(fact(1))).newer == 9


def test_a_record_written_before_its_last_field_was_added_is_read_with_the_default() -> None:
    header = LogHeader(1, "one", "boot", "pod", 0.0)
    payload = msgspec.msgpack.encode([*header][:-1])
    frame = FRAME.pack(b"\xa7L", len(payload), crc32(payload, 0), 0) + payload
    assert read_segment(frame).header == header


def test_a_full_segment_is_followed_by_the_next_which_begins_with_the_state(tmp_path: Path) -> None:
    state = [EMPTY]
    log = DiskSpendLog(tmp_path, segment_bytes=2000)
    log.open("one", 1.0)
    log.begin(lambda: state[0])
    state[0] = Checkpoint((), (reservation(5),))
    for seq in range(1, 31):
        log.append(fact(seq))
    assert len(segments(tmp_path)) > 2
    crash(log)
    (past,) = reopen(tmp_path)
    assert [record.seq for record in past.records if isinstance(record, Fact)] == list(range(1, 31))
    assert past.records.count(state[0]) == len(segments(tmp_path)) - 1


def test_forgotten_segments_go_but_for_a_spare_and_the_log_stays_bounded(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=2000)
    for seq in range(1, 2001):
        log.append(fact(seq))
        if seq % 10 == 0:
            log.forget("one", seq - 5)
        assert log.size_bytes < 10_000
    assert len(segments(tmp_path)) <= 4
    assert sum(path.stat().st_size for path in segments(tmp_path)) == log.size_bytes
    log.close(1.0)
    (past,) = reopen(tmp_path)
    assert fact(2000) in past.records


def test_what_is_not_forgotten_stays(tmp_path: Path) -> None:
    log = opened(tmp_path, segment_bytes=2000)
    for seq in range(1, 101):
        log.append(fact(seq))
    log.forget("one", 3)
    log.forget("other", 1000)
    log.close(1.0)
    (past,) = reopen(tmp_path)
    kept = [record.seq for record in past.records if isinstance(record, Fact)]
    assert kept == list(range(kept[0], 101))
    assert kept[0] <= 4


def test_an_orderly_end_is_whole_on_any_boot_and_a_crash_only_on_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(opened(tmp_path, "crashed"))
    opened(tmp_path, "closed").close(1.0)
    assert [past.whole for past in reopen(tmp_path)] == [True, True]
    monkeypatch.setattr(spend_log, "boot_id", lambda: "another")
    assert [past.whole for past in reopen(tmp_path)] == [False, True]
    monkeypatch.setattr(spend_log, "boot_id", lambda: "")
    assert [past.whole for past in reopen(tmp_path)] == [False, True]


def test_files_are_for_the_owner_alone_and_predecessors_come_oldest_first(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "log"
    for name in ("zz", "aa", "mm"):
        opened(directory, name).close(1.0)
    assert [past.header.incarnation for past in reopen(directory)] == ["zz", "aa", "mm"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("not a directory")
    with pytest.raises(SpendLogError, match="file"):
        DiskSpendLog(tmp_path / "file").open("one", 1.0)
    with pytest.raises(SpendLogError, match="is not open"):
        DiskSpendLog(tmp_path / "never").append(fact(1))


FULL_DISK = """
import resource, sys
from pathlib import Path
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.ports import SpendLogError
from tests.adapters.test_spend_log import EMPTY, fact
log = DiskSpendLog(Path(sys.argv[1]), local=False)
log.open("one", 1.0)
log.begin(lambda: EMPTY)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
written, refused = [], 0
for seq in range(1, 40):
    try:
        log.append(fact(seq))
        written.append(seq)
    except SpendLogError as error:
        refused += 1
        assert "full" in str(error) or "large" in str(error), error
assert refused and log.size_bytes <= 3000
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(fact(1000))
print(*written, 1000)
"""


def test_a_full_disk_refuses_a_record_whole_and_takes_the_next_when_there_is_room(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr
    (past,) = reopen(tmp_path)
    assert [record.seq for record in past.records if isinstance(record, Fact)] == [int(n) for n in ran.stdout.split()]
    assert past.damaged == 0


WRITER = """
import sys
from pathlib import Path
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from tests.adapters.test_spend_log import EMPTY, fact
log = DiskSpendLog(Path(sys.argv[1]), local=False, segment_bytes=50_000)
log.open("one", 1.0)
log.begin(lambda: EMPTY)
seq = 0
while True:
    seq += 1
    log.append(fact(seq))
    sys.stdout.write(f"{seq}\\n")
    sys.stdout.flush()
"""


async def test_a_killed_process_loses_nothing_that_append_returned_from(tmp_path: Path) -> None:
    for attempt in range(2):
        directory = tmp_path / str(attempt)
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(directory), stdout=subprocess.PIPE, cwd=ROOT
        )
        assert writer.stdout is not None
        for _ in range(400 + 77 * attempt):
            await writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = (await writer.stdout.read()).split(b"\n")
        await writer.wait()
        confirmed = int(rest[-2]) if len(rest) > 1 else 400
        (past,) = reopen(directory)
        seqs = [record.seq for record in past.records if isinstance(record, Fact)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= confirmed
