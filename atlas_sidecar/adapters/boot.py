"""Since when this machine runs: which boot it is, and a clock that also counts while it is suspended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it; macOS's own clock counts on


def boot_id() -> str:
    """Return what names this boot of the machine, "" where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def boottime_s() -> float:
    """Return seconds that never go back and count suspended time: a lease runs out while a laptop sleeps."""
    return time.clock_gettime(_CLOCK)
