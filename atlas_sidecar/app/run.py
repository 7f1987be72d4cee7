"""Runs a sidecar as a process: logging, telemetry, the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from atlas_sidecar.app import logs
from atlas_sidecar.app.quiet import Quiet
from atlas_sidecar.app.serve import StartError, serve
from atlas_sidecar.config import Configuration

__all__ = ["StartError", "run"]


def run(configuration: Configuration, load: Callable[[], Configuration], announce: Callable[[str], None]) -> int:
    """Serve until a signal; return the exit status. Raises StartError."""
    logs.set_up(configuration.settings.log_level)
    return asyncio.run(serve(configuration, load, Quiet(), announce))
