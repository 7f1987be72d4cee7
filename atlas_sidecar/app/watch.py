"""Sees when the configuration's files change.

Rules kept here:
- Looks once a second at what the path leads to (stat follows links), so that an editor's rename and Kubernetes' swap of
  a mounted ConfigMap's `..data` link are seen alike; no inotify, which misses the latter on some mounts.
- A change counts when the content differs and was the same at two looks: a half-written file is not taken.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 1.0
_MAX_BYTES: Final = 8 * 1024 * 1024


class Watch:
    """Remembers what a set of files held; `changed` looks again."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self._stamps = self._look()
        self._taken = self._contents()
        self._pending: tuple[bytes, ...] | None = None

    def __repr__(self) -> str:
        return f"Watch({', '.join(self.files)})"

    def changed(self) -> bool:
        """Return True once for each change, as soon as the new content holds still."""
        stamps = self._look()
        if stamps == self._stamps and self._pending is None:
            return False
        self._stamps = stamps
        now = self._contents()
        if now == self._taken:
            self._pending = None
            return False
        if now != self._pending:
            self._pending = now
            return False
        self._taken, self._pending = now, None
        return True

    def _look(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_stamp(file) for file in self.files)

    def _contents(self) -> tuple[bytes, ...]:
        return tuple(_digest(file) for file in self.files)


def _stamp(file: str) -> tuple[int, ...]:
    try:
        status = os.stat(file)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _digest(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return hashlib.sha256(opened.read(_MAX_BYTES)).digest()
    except OSError:
        return b""
