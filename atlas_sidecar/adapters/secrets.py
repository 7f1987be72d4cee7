"""Keys from the configuration and from files that may change under us (a rotated Kubernetes secret).

Rules kept here:
- A key shows in no repr. A file is looked at (stat, about a microsecond) whenever its key is asked for, so that the
  next request has the new one, and read only when it changed.
- A file that is gone, empty or unreadable for a moment keeps the last good key; before the first there is none.
"""

from __future__ import annotations

import logging
import os
from typing import Final

_log: Final = logging.getLogger(__name__)
_MAX_BYTES: Final = 64 * 1024


class FixedSecret:
    """A key that stays as it is; None = there is none."""

    __slots__ = ("_value",)

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"FixedSecret({'set' if self._value else 'none'})"

    def __call__(self) -> str | None:
        """Return the key."""
        return self._value


class FileSecret:
    """A key in a file."""

    __slots__ = ("_identity", "_path", "_value", "_warned")

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity: tuple[int, int, int, int] | None = None
        self._value: str | None = None
        self._warned = ""

    def __repr__(self) -> str:
        return f"FileSecret({self._path!r}, {'set' if self._value else 'none'})"

    def __call__(self) -> str | None:
        """Return the key of now, None when the file never held one."""
        self._look()
        return self._value

    def _look(self) -> None:
        try:
            status = os.stat(self._path)  # follows the symlinks that Kubernetes swaps
            identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if identity == self._identity:
                return
            with open(self._path, "rb") as file:
                text = file.read(_MAX_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            self._warn(error.strerror or "unreadable" if isinstance(error, OSError) else "no UTF-8 text")
            return
        if not text:
            self._warn("empty")
            return
        if self._identity is not None:
            _log.info("key file %s changed: the new key is in use", self._path)
        self._identity, self._value, self._warned = identity, text, ""

    def _warn(self, why: str) -> None:
        if why != self._warned:
            self._warned = why
            kept = "the last key stays in use" if self._value else "there is no key"
            _log.warning("key file %s: %s; %s", self._path, why, kept)
