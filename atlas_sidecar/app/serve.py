"""The life of `atlas-sidecar serve`: SERVING first, what is heavy behind it, an orderly end.

Rules kept here:
- The process says SERVING before an SDK or price data is imported; calls that come before these are there wait.
- SIGTERM and SIGINT drain: health first, then the calls in flight within the grace, then the books. A second signal
  ends at once.
- An end that nobody asked for is a failure, exit status 1.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from atlas_sidecar import __version__
from atlas_sidecar.adapters.boot import boottime_s
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.spend_log import DiskSpendLog
from atlas_sidecar.app import check
from atlas_sidecar.app import telemetry as telemetry_parts
from atlas_sidecar.app.build import Builder, budget_gateway, budget_settings, health_settings
from atlas_sidecar.app.live import Live
from atlas_sidecar.app.places import SIMULATED_ROOT, host_name, reports_to_service, spend_log_directory
from atlas_sidecar.app.workers import Worker
from atlas_sidecar.config import Configuration
from atlas_sidecar.ports import SpendLogError
from atlas_sidecar.runtime.budget import Budget
from atlas_sidecar.runtime.chain import ChainTools
from atlas_sidecar.runtime.health import Health
from atlas_sidecar.runtime.learning import Learning
from atlas_sidecar.runtime.router import Router
from atlas_sidecar.runtime.snapshots import Snapshots
from atlas_sidecar.server.gate import Gate
from atlas_sidecar.server.health_reply import SidecarReport
from atlas_sidecar.server.host import Host, HostError, HostSettings
from atlas_sidecar.server.router_service import Admission, RouterService

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_log: Final = logging.getLogger(__name__)
DRAIN_GRACE_S: Final = 25.0  # Kubernetes kills after 30 s, and the books want a few of them
DONE: Final = 0
FAILED: Final = 1
WRONG_CONFIGURATION: Final = 2


class StartError(Exception):
    """The sidecar cannot start; the message says why and what to do. `status`: the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class Sidecar:
    """One sidecar in this process: `start`, then `close`."""

    def __init__(
        self,
        configuration: Configuration,
        environ: Mapping[str, str],
        clock: SystemClock,
        processors: Sequence[SpanProcessor] = (),
        worker: Worker | None = None,
    ) -> None:
        self._worker = worker.number if worker is not None else 0
        self._clock = clock
        self._started_s = clock.monotonic_s()
        settings = configuration.settings
        sidecar_id = settings.budget.sidecar_id or host_name()
        if wrong := [*check.mistakes(configuration), *check.missing_here(configuration)]:
            raise StartError("; ".join(wrong), WRONG_CONFIGURATION)
        try:
            telemetry = telemetry_parts.build(configuration, clock, processors)
        except ValueError as error:  # an extra that is not installed
            raise StartError(f"telemetry: {error}") from None
        self.telemetry = telemetry
        gateway = budget_gateway(configuration)
        log = DiskSpendLog(
            spend_log_directory(configuration, environ, f"worker-{worker.number}" if worker is not None else ""),
            sidecar_id=sidecar_id,
            local=gateway is None,
            fsync_group=settings.budget.fsync == "group",
        )
        self.budget = Budget(budget_settings(configuration, sidecar_id), clock, log, gateway, boottime_s)
        self.health = Health(clock, (), {}, health_settings(configuration))
        self.live = Live(configuration, Builder(), self.health, telemetry_parts.set_up_log)
        telemetry.watch(self.health.report, self.budget.health)
        self._admission = Admission(settings.limits.max_streams, settings.limits.max_in_flight_bytes)
        learning = Learning()
        snapshots = Snapshots(self.health, self.budget, learning, clock)
        tools = ChainTools(self.health, self.budget, learning, snapshots, clock)
        service = RouterService(Router(self.live.engine, tools, telemetry), self._admission, self.report)
        self._gate = Gate(service, self._admission, self.live.ready)
        self.host = Host(_host_settings(configuration, shared=worker is not None), self._gate, self._gate)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> tuple[tuple[str, ...], str]:
        """Become SERVING and return the addresses; what is heavy follows in the background. Raises StartError."""
        try:
            await self._start_metrics()
            await self.budget.start()
            return await self.host.start()
        except (SpendLogError, HostError) as error:
            await self.budget.close()
            await self.telemetry.close()
            raise StartError(str(error)) from None

    async def _start_metrics(self) -> None:
        try:
            await self.telemetry.start()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise HostError(f"metrics_listen: cannot listen there: {why}") from None
        if self.telemetry.metrics_address:
            _log.info("metrics on http://%s/metrics", self.telemetry.metrics_address)

    def spawn(self, work: Coroutine[Any, Any, None], on_failure: Callable[[], None]) -> None:
        """Run work in the background; `on_failure` is called when it ends by an exception."""
        task = asyncio.create_task(work)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                _log.error("background work failed", exc_info=error)
                on_failure()

        task.add_done_callback(ended)
        self._tasks.append(task)

    async def warm(self) -> None:
        """Build the engine, open the providers, begin to watch them."""
        await self.live.start()
        await self.health.start()
        # What was imported stays: a full collection that walks through it all would stop every stream for 0.1 s.
        gc.collect()
        gc.freeze()

    async def close(self, grace_s: float = DRAIN_GRACE_S) -> bool:
        """Drain, then close everything; return whether every call finished."""
        finished = await self.host.drain(grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.health.close()
        await self.live.close()
        await self.budget.close()
        await self.telemetry.close()
        return finished

    def report(self) -> SidecarReport:
        """Gather what Health says."""
        engine = self.live.engine()
        providers, models = self.health.report()
        return SidecarReport(
            serving=self.health.overall(engine.roles),
            providers=providers,
            models=models,
            budget=self.budget.health(),
            version=__version__,
            config_version=engine.config_version,
            config_problem=self.live.problem,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            in_flight=self._admission.in_flight,
            worker=self._worker,
        )


def _host_settings(configuration: Configuration, *, shared: bool) -> HostSettings:
    settings = configuration.settings
    files = check.tls_files(configuration)
    return HostSettings(settings.listen, settings.health_listen, files, settings.limits.max_message_bytes, shared)


async def serve(
    configuration: Configuration,
    load: Callable[[], Configuration],
    clock: SystemClock,
    announce: Callable[[str], None],
    worker: Worker | None = None,
) -> int:
    """Serve until a signal; return the exit status. `announce` gets the line for stdout. Raises StartError."""
    sidecar = Sidecar(configuration, os.environ, clock, worker=worker)
    stop, broken = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # at once: process 1 of a container ignores what it does not handle
        loop.add_signal_handler(number, _on_signal, stop)
    if worker is not None:  # the supervisor holds the other end
        loop.add_reader(sys.stdin, _on_orphaned, loop, stop)
    addresses, health_address = await sidecar.start()
    announce(f"serving on {', '.join(addresses)}")
    _log.info("serving on %s%s", ", ".join(addresses), f", health on {health_address}" if health_address else "")
    log_sources(configuration)

    def fail() -> None:
        broken.set()
        stop.set()

    sidecar.spawn(sidecar.warm(), fail)
    if configuration.files:
        sidecar.spawn(sidecar.live.follow(load), fail)
    await stop.wait()
    _log.info("draining: new calls are refused, those in flight have %g s", DRAIN_GRACE_S)
    if not await sidecar.close():
        _log.warning("some calls did not finish within the grace and were ended")
    _log.info("stopped")
    return FAILED if broken.is_set() else DONE


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        with suppress(Exception):
            sys.stderr.write("ended at once\n")
        os._exit(FAILED)
    stop.set()


def _on_orphaned(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """End in order when the supervisor is gone: its end of our stdin is closed then."""
    if not os.read(sys.stdin.fileno(), 1):
        loop.remove_reader(sys.stdin)
        stop.set()


def log_sources(configuration: Configuration) -> None:
    """Log where the configuration comes from, who serves, and what is missing."""
    who = "simulated providers answer, no key is used" if configuration.simulate else ", ".join(configuration.providers)
    _log.info("configuration %s from %s; providers: %s", configuration.version, configuration.source, who)
    budget = configuration.settings.budget
    if budget.service and not reports_to_service(configuration):
        _log.warning(
            "simulated costs stay here: the budget service %s is not told of them; a node below the root %s would be",
            budget.service,
            SIMULATED_ROOT,
        )
    for name, key in configuration.keys.items():
        if key.is_missing and not configuration.simulate:
            _log.warning("provider %s has no key (%s is not set): its models are passed over", name, key.origin)
