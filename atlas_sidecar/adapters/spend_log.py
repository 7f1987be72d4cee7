"""The spend log on disk: a durable outbox of numbered segments that survives a crash of the process or its container.

Rules kept here:
- One directory, one process: `lock` is flock'ed for as long as the log is open, and names its holder.
- One record, one write(2) at the end of the file: what append() returned from survives the process. A record that was
  written in part is cut off again before the error is raised, so that the file always ends with a whole frame.
- A segment belongs to one incarnation; it begins with a header and a checkpoint, and is never written to again by
  another. A full segment is followed by the next; a segment is deleted once its facts are forgotten and a later one's
  checkpoint stands on the disk. The last full one is kept as a spare, in case the newest checkpoint is damaged.
- Nothing of prompts, answers or keys is ever written here. Files are the owner's alone (0600).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from atlas_sidecar.adapters.boot import boot_id
from atlas_sidecar.adapters.group_sync import GroupSync
from atlas_sidecar.adapters.spend_log_frames import FRAME, VERSION, Segment, pack, pack_header, read_segment
from atlas_sidecar.core.spend_records import Checkpoint, Closed, Fact, LogHeader, LogRecord, PastLog
from atlas_sidecar.ports import SpendLogError

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SUFFIX: Final = ".log"


@dataclass(slots=True)
class _File:
    """One segment on disk. `last_seq`: of its facts; `size`: bytes of whole frames."""

    path: Path
    index: int
    incarnation: str
    size: int = 0
    last_seq: int = 0


@dataclass(slots=True)
class _Past:
    header: LogHeader
    records: list[LogRecord] = field(default_factory=list)
    damaged: int = 0


class DiskSpendLog:
    """An append-only log in a directory; implements ports.SpendLog.

    `local`: these books are kept without a service, so that no service is ever sent what is in them. `fsync_group`:
    durable() brings records onto the disk itself, one sync for all that wait; without it the machine's crash may cost
    a tail.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sidecar_id: str = "",
        local: bool = True,
        fsync_group: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self._sidecar_id = sidecar_id
        self._local = local
        self._segment_bytes = segment_bytes
        self._group = GroupSync(lambda: self._fd) if fsync_group else None
        self._lock = -1
        self._fd = -1
        self._incarnation = ""
        self._not_open = f"spend log {directory} is not open"
        self._now_s = 0.0
        self._file: _File | None = None
        self._full: list[_File] = []
        self._rotate_at = segment_bytes
        self._checkpoint: Callable[[], Checkpoint] = lambda: Checkpoint((), ())

    def __repr__(self) -> str:
        size = self._file.size if self._file else 0
        return f"DiskSpendLog({str(self._directory)!r}, {len(self._full)} full segments, {size} bytes in the newest)"

    def open(self, incarnation: str, unix_s: float) -> Sequence[PastLog]:
        """Lock the directory and return what predecessors left, oldest first; a torn tail is cut off."""
        self._incarnation = incarnation
        self._now_s = unix_s
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            return self._read_past()
        except OSError as error:
            self._drop_lock()
            self._not_open = f"spend log {self._directory}: {error.strerror or error}"
            raise SpendLogError(self._not_open) from error
        except SpendLogError as error:
            self._drop_lock()
            self._not_open = str(error)
            raise

    def begin(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Start this incarnation's first segment; `checkpoint` is asked for the state whenever a segment begins."""
        self._checkpoint = checkpoint
        self._start_segment()

    def append(self, record: LogRecord) -> None:
        """Write one record; when this returns, a crash of the process does not lose it."""
        file = self._file
        if file is None:
            file = self._start_segment()  # the disk did not take it when the log began
        frame = pack(record)
        self._write(file, frame)
        if type(record) is Fact:
            file.last_seq = record.seq
        if file.size >= self._rotate_at:
            self._rotate(file)

    @property
    def waits(self) -> bool:
        """Whether a record must be waited for with durable()."""
        return self._group is not None

    async def durable(self) -> None:
        """Return when everything appended so far is on the disk itself. Raises SpendLogError."""
        if self._group is not None:
            try:
                await self._group.wait()
            except OSError as error:
                raise SpendLogError(f"spend log {self._directory}: {error.strerror or error}") from error

    def forget(self, incarnation: str, seq: int) -> None:
        """Delete full segments of this incarnation whose facts all have numbers up to `seq`."""
        keep: list[_File] = []
        spare = self._full[-1] if self._full else None
        for file in self._full:
            if file.incarnation == incarnation and file.last_seq <= seq and file is not spare:
                with contextlib.suppress(OSError):  # it is tried again at the next start
                    file.path.unlink()
            else:
                keep.append(file)
        self._full = keep

    @property
    def size_bytes(self) -> int:
        """All that the log takes on disk."""
        return sum(file.size for file in self._full) + (self._file.size if self._file else 0)

    def sync(self) -> None:
        """Bring what was appended onto the disk itself; blocks for as long as the disk takes."""
        if self._fd >= 0:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise SpendLogError(f"spend log {self._directory}: {error.strerror or error}") from error

    def close(self, unix_s: float) -> None:
        """Say that the end is in order, sync, and let the directory go. Idempotent; never raises."""
        if self._fd >= 0:
            with contextlib.suppress(SpendLogError, OSError):  # without the last record the log reads as after a crash
                self.sync()
                self.append(Closed(unix_s))
                self.sync()
            os.close(self._fd)
        self._fd = -1
        self._file = None
        self._drop_lock()

    # ------------------------------------------------------------------------------------- writing

    def _write(self, file: _File, frame: bytes) -> None:
        try:
            written = os.write(self._fd, frame)
        except OSError as error:
            raise SpendLogError(f"spend log {self._directory}: {error.strerror or error}") from error
        if written != len(frame):
            with contextlib.suppress(OSError):  # a reader steps over what could not be cut off
                os.ftruncate(self._fd, file.size)
            raise SpendLogError(f"spend log {self._directory}: the disk is full")
        file.size += written

    def _rotate(self, file: _File) -> None:
        """Begin the next segment; when the disk does not allow it, go on in this one for now."""
        try:
            self._start_segment()
        except SpendLogError:
            self._rotate_at = file.size + self._segment_bytes // 4

    def _start_segment(self) -> _File:
        if self._lock < 0:
            raise SpendLogError(self._not_open)
        old, old_fd = self._file, self._fd
        index = max((file.index for file in (*self._full, *([old] if old else []))), default=0) + 1
        file = _File(self._directory / f"{index:08d}-{self._incarnation}{SUFFIX}", index, self._incarnation)
        header = LogHeader(
            VERSION, self._incarnation, boot_id(), self._sidecar_id, self._now_s, self._local, self.waits
        )
        try:
            if old is not None and self.waits:
                os.fdatasync(old_fd)  # who waits for it will sync the new one
            self._fd = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._write(file, pack_header(header) + pack(self._checkpoint()))
            os.fsync(self._fd)
        except (OSError, SpendLogError) as error:
            if self._fd not in {-1, old_fd}:
                os.close(self._fd)
            self._fd = old_fd
            file.path.unlink(missing_ok=True)
            if isinstance(error, SpendLogError):
                raise
            raise SpendLogError(f"spend log {self._directory}: {error.strerror or error}") from error
        if old is not None:
            os.close(old_fd)
            self._full.append(old)
        self._file = file
        self._rotate_at = max(self._segment_bytes, 2 * file.size)
        return file

    # ------------------------------------------------------------------------------------- taking over

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 200).decode(errors="replace").strip() or "another process"
            raise SpendLogError(
                f"spend log {self._directory} is in use by {holder}; give each sidecar its own budget.spend_log"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()} (incarnation {self._incarnation})\n".encode(), 0)

    def _drop_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _read_past(self) -> list[PastLog]:
        past: dict[str, _Past] = {}
        boot = boot_id()
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            data = path.read_bytes()
            segment = read_segment(data)
            if segment.newer:
                raise SpendLogError(
                    f"spend log {path} was written by a newer version (format {segment.newer}, this one reads up to"
                    f" {VERSION}): run the newer version once more, or give this one another budget.spend_log"
                )
            if segment.header is None and not segment.records:
                self._set_aside(path, data)
                continue
            self._adopt(path, segment, len(data), past)
        return [
            PastLog(found.header, tuple(found.records), self._is_whole(found, boot), found.damaged)
            for found in past.values()
        ]

    def _adopt(self, path: Path, segment: Segment, size: int, past: dict[str, _Past]) -> None:
        index, _, name = path.name.removesuffix(SUFFIX).partition("-")
        header = segment.header or LogHeader(VERSION, name, "", self._sidecar_id, 0.0, self._local)
        if size > segment.good_bytes:
            os.truncate(path, segment.good_bytes)
        records = [r._replace(incarnation=header.incarnation) if isinstance(r, Fact) else r for r in segment.records]
        seqs = [record.seq for record in records if isinstance(record, Fact)]
        number = int(index) if index.isdigit() else 0
        self._full.append(_File(path, number, header.incarnation, segment.good_bytes, max(seqs, default=0)))
        found = past.setdefault(header.incarnation, _Past(header))
        found.records.extend(records)
        found.damaged += segment.damaged + (segment.header is None)

    def _set_aside(self, path: Path, data: bytes) -> None:
        """Keep a file in which nothing can be read for a person to look at; one cut off in its header is no loss."""
        if len(data) <= FRAME.size + 256:
            path.unlink(missing_ok=True)
        else:
            path.rename(path.with_suffix(".damaged"))

    def _is_whole(self, found: _Past, boot: str) -> bool:
        closed = bool(found.records) and isinstance(found.records[-1], Closed)
        return closed or found.header.synced or (found.header.boot_id == boot != "")
