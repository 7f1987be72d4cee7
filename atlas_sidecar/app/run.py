"""Runs a sidecar as a process: logging and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.app import telemetry
from atlas_sidecar.app.serve import StartError, serve
from atlas_sidecar.config import Configuration

__all__ = ["StartError", "run"]


def run(configuration: Configuration, load: Callable[[], Configuration], announce: Callable[[str], None]) -> int:
    """Serve until a signal; return the exit status. Raises StartError."""
    clock = SystemClock()
    telemetry.set_up_log(configuration)
    return asyncio.run(serve(configuration, load, clock, announce))
