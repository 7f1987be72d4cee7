"""`serve --workers N`: starts N sidecars that share the TCP ports, restarts one that dies, drains all.

Rules kept here:
- Workers are processes of their own, started afresh and not forked: gRPC does not survive a fork. This process serves
  nothing.
- It holds the ports, bound but not listening, so that an address in use is refused at the start, port 0 is one port for
  all, and nobody takes the port over while a worker restarts.
- SIGTERM and SIGINT drain all workers; a second one ends them at once. Workers notice the end of this process by their
  stdin, and drain.
- A worker that dies is started again, at once the first time, then after 1, 2, 4 ... 30 s; one that lived for a minute
  begins anew. A worker that cannot start in the beginning ends the sidecar with that worker's status.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from atlas_sidecar.app.workers import Worker
from atlas_sidecar.config import Configuration

_log: Final = logging.getLogger(__name__)
_LONGEST_WAIT_S: Final = 30.0
_GOOD_LIFE_S: Final = 60.0
_ANNOUNCED: Final = b"serving on "


class PortError(Exception):
    """An address that cannot be served; the message says which and why."""


class Plan(NamedTuple):
    """`command`: the arguments of a worker, but for its number; `workers`: how many."""

    command: Sequence[str]
    workers: int


class Supervisor:
    """Runs the workers until it is told to stop: `run` once."""

    def __init__(self, plan: Plan, configuration: Configuration) -> None:
        self._plan = plan
        self._configuration = configuration
        self._reserved: list[socket.socket] = []
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()
        self._failed = 0

    def __repr__(self) -> str:
        return f"Supervisor({self._plan.workers} workers, {len(self._processes)} alive)"

    async def run(self, announce: Callable[[str], None]) -> int:
        """Serve until a signal; return the exit status. Raises PortError."""
        loop = asyncio.get_running_loop()
        addresses = [self._reserve(address) for address in self._configuration.settings.listen]
        environ = {**os.environ, "ATLAS_LISTEN": ",".join(addresses)}
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        started = [asyncio.Event() for _ in range(self._plan.workers)]
        keepers = [
            loop.create_task(self._keep(Worker(place + 1, self._plan.workers), environ, started[place]))
            for place in range(self._plan.workers)
        ]
        all_started = loop.create_task(_all(started))
        stopped = loop.create_task(self._stop.wait())
        await asyncio.wait({all_started, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.is_set():
            announce(f"serving on {', '.join(addresses)}")
            _log.info("%d workers serve on %s", self._plan.workers, ", ".join(addresses))
        await asyncio.gather(*keepers)
        all_started.cancel()
        stopped.cancel()
        for reserved in self._reserved:
            reserved.close()
        return self._failed

    def _reserve(self, address: str) -> str:
        """Bind a TCP address without listening; return it with its real port."""
        if address.startswith("unix:"):
            return address
        host, _, port = address.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            family, kind, protocol, _, where = found[0]
            with socket.socket(family, kind, protocol) as probe:  # without sharing: is it free of everyone else?
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                where = probe.getsockname()
            reserved = socket.socket(family, kind, protocol)
            self._reserved.append(reserved)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(where)
        except OSError as error:
            raise PortError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from None
        return f"{host}:{where[1]}"

    async def _keep(self, worker: Worker, environ: dict[str, str], started: asyncio.Event) -> None:
        """Run one worker again and again until all are to stop."""
        loop, wait_s = asyncio.get_running_loop(), 0.0
        while not self._stop.is_set():
            began_s = loop.time()
            status = await self._one_life(worker, environ, started)
            if self._stop.is_set():
                self._failed = self._failed or status
                return
            if not started.is_set():
                self._failed = status or 1
                self._end_all()
                return
            if loop.time() - began_s >= _GOOD_LIFE_S:
                wait_s = 0.0
            _log.error("worker %d ended with status %d; it starts again in %g s", worker.number, status, wait_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)
            wait_s = min(max(1.0, wait_s * 2), _LONGEST_WAIT_S)

    async def _one_life(self, worker: Worker, environ: dict[str, str], started: asyncio.Event) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._plan.command,
            "--worker",
            f"{worker.number}/{worker.of}",
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C comes here first, and only here
        )
        self._processes[worker.number] = process
        if self._stop.is_set():
            process.terminate()
        assert process.stdout is not None  # noqa: S101  # asked for above
        async for line in process.stdout:
            if line.startswith(_ANNOUNCED):
                started.set()
        status = await process.wait()
        del self._processes[worker.number]
        return status

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            _log.warning("ended at once")
        else:
            _log.info("draining %d workers", len(self._processes))
        self._end_all(number)

    def _end_all(self, number: int = signal.SIGTERM) -> None:
        self._stop.set()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)


async def _all(events: Sequence[asyncio.Event]) -> None:
    for event in events:
        await event.wait()
