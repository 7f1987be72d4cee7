"""Runs a sidecar as a process: logging and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.telemetry.native_lines import native_lines
from atlas_sidecar.app import telemetry
from atlas_sidecar.app.serve import StartError, serve
from atlas_sidecar.app.supervisor import Plan, PortError, Supervisor
from atlas_sidecar.app.workers import Worker, of_worker
from atlas_sidecar.config import Configuration

__all__ = ["StartError", "run", "run_workers"]


def run(
    configuration: Configuration,
    load: Callable[[], Configuration],
    announce: Callable[[str], None],
    worker: Worker | None = None,
) -> int:
    """Serve until a signal; return the exit status. Raises StartError."""
    clock = SystemClock()
    mine = of_worker(configuration, worker)
    with native_lines() as stderr:
        telemetry.set_up_log(configuration, stderr)
        return asyncio.run(serve(mine, lambda: of_worker(load(), worker), clock, announce, worker))


def run_workers(
    configuration: Configuration, command: Sequence[str], count: int, announce: Callable[[str], None]
) -> int:
    """Let `count` workers serve until a signal; `command` starts one. Return the exit status. Raises StartError."""
    telemetry.set_up_log(configuration)
    try:
        return asyncio.run(Supervisor(Plan(command, count), configuration).run(announce))
    except PortError as error:
        raise StartError(str(error)) from None
