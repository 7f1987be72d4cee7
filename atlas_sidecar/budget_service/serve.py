"""Run the budget service: open the ledger, listen, sweep, drain at SIGTERM.

Rules kept here:
- Beyond loopback: TLS, and tokens or client certificates; `insecure` says that somebody else sees to that.
- grpc.health.v1 is also served alone on `health_listen`, without TLS: a kubelet's probe speaks none.
- It prints `serving on ADDR[, ADDR]` on stdout when it can take calls. Stopping lets running calls end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from atlas_api.v1 import budget_pb2, budget_pb2_grpc
from atlas_sidecar.budget_service.access import Access, Caller
from atlas_sidecar.budget_service.coalesce import Coalescer
from atlas_sidecar.budget_service.database import store_for
from atlas_sidecar.budget_service.metrics import Metrics
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.service import BudgetService, Parts
from atlas_sidecar.budget_service.store import BudgetQuery, StoreError, StoreUnavailableError
from atlas_sidecar.budget_service.values import EVERYWHERE, LedgerError, Sweep, Swept

logger = logging.getLogger(__name__)
SERVICE_NAME = budget_pb2.DESCRIPTOR.services_by_name["Budget"].full_name
SWEEP_INTERVAL_S = 5.0
DRAIN_S = 10.0
MAX_MESSAGE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; with `client_ca_file` every client needs a certificate. Changed files hold for new connections."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How to serve. `listen`: "127.0.0.1:0", "[::1]:50061", "unix:/path"; the others: "" = none."""

    database: str = "sqlite:///var/lib/atlas/ledger.db"
    listen: tuple[str, ...] = ("127.0.0.1:50061",)
    tls: TlsFiles | None = None
    token_file: str | None = None
    insecure: bool = False
    metrics_listen: str = ""
    health_listen: str = ""
    rules: Rules = Rules()  # noqa: RUF009 # frozen


def check(settings: ServeSettings) -> None:
    """Raise StoreError when these settings would serve strangers."""
    beyond = [address for address in settings.listen if not is_local(address)]
    if not beyond or settings.insecure:
        return
    if settings.tls is None:
        raise StoreError(f"{beyond[0]} is beyond loopback: it needs TLS, or --insecure")
    if settings.token_file is None and settings.tls.client_ca_file is None:
        raise StoreError(f"{beyond[0]} is beyond loopback: it needs a token file or a client CA, or --insecure")


def is_local(address: str) -> bool:
    """Whether only this machine can reach an address."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access_of(settings: ServeSettings) -> Access:
    """Return who may call. Raises StoreError when the token file is wrong."""
    if settings.token_file is not None:
        return Access(settings.token_file)
    if settings.tls is not None and settings.tls.client_ca_file is not None:
        logger.warning("no token file: every client with a certificate may see everything; nobody may set budgets")
        return Access(None, Caller(EVERYWHERE, admin=False))
    logger.warning("NO TOKEN FILE: everybody who can reach this service may see, spend and set every budget")
    return Access(None, Caller(EVERYWHERE, admin=True))


def say(line: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(
    settings: ServeSettings, *, stop: asyncio.Event | None = None, announce: Callable[[str], None] = say
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; `announce` is told "serving on ADDR, ADDR".

    Raises StoreError: wrong settings, or a database that cannot be used. The program ends with status 2 then.
    """
    check(settings)
    stop = stop or asyncio.Event()
    access, metrics = access_of(settings), Metrics()
    store = store_for(settings.database, settings.rules)
    await store.open()
    ledger = Coalescer(store, now_ms, metrics.batch.observe)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ]
    )
    parts = Parts(store, ledger, access, metrics, settings.rules, now_ms)
    healthy = _add_services(server, parts)
    try:
        addresses = [_listen(server, address, settings.tls) for address in settings.listen]
        ledger.start()
        await server.start()
        async with contextlib.AsyncExitStack() as running:
            _serve_metrics(running, settings.metrics_listen, metrics)
            await _serve_health(running, settings.health_listen, healthy)
            sweeper = asyncio.create_task(_sweep(parts), name="sweep")
            running.callback(sweeper.cancel)
            _stop_at_signals(running, stop)
            announce(f"serving on {', '.join(addresses)}")
            await stop.wait()
            logger.info("draining")
            await healthy.enter_graceful_shutdown()
            await server.stop(DRAIN_S)
    finally:
        await ledger.close()
        await store.close()


async def migrate(database: str) -> None:
    """Bring a database to this version's schema, and close it. Raises StoreError when it cannot be used."""
    store = store_for(database, Rules())
    await store.open()
    await store.close()


def now_ms() -> int:
    """Return the time in ms since 1970."""
    return time.time_ns() // 1_000_000


def _add_services(server: grpc.aio.Server, parts: Parts) -> health.aio.HealthServicer:
    budget_pb2_grpc.add_BudgetServicer_to_server(BudgetService(parts), server)  # type: ignore[no-untyped-call, unused-ignore]
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection([SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return healthy


def _listen(server: grpc.aio.Server, address: str, tls: TlsFiles | None) -> str:
    try:
        if tls is None or address.startswith("unix:"):
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials(tls))
    except (RuntimeError, OSError) as error:
        raise StoreError(f"cannot listen on {address}: {error}") from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that follow their files. Raises OSError when they cannot be read now."""

    def read() -> tuple[bytes, bytes, bytes | None]:
        authority = Path(tls.client_ca_file).read_bytes() if tls.client_ca_file else None
        return Path(tls.cert_file).read_bytes(), Path(tls.key_file).read_bytes(), authority

    def configuration() -> grpc.ServerCertificateConfiguration:
        certificate, key, authority = read()
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    current = [read()]

    def changed() -> grpc.ServerCertificateConfiguration | None:
        try:
            latest = read()
        except OSError as error:
            logger.error("TLS files cannot be read, the old ones stay: %s", error)
            return None
        if latest == current[0]:
            return None
        current[0] = latest
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        changed,  # type: ignore[arg-type]  # None = unchanged, says grpc's documentation; the stubs forgot
        require_client_authentication=tls.client_ca_file is not None,
    )


def _serve_metrics(running: contextlib.AsyncExitStack, listen: str, metrics: Metrics) -> None:
    if not listen:
        return
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]") or "0.0.0.0", metrics.registry)
    logger.info("metrics on port %d", server.server_port)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    running.callback(close)


async def _serve_health(running: contextlib.AsyncExitStack, listen: str, healthy: health.aio.HealthServicer) -> None:
    if not listen:
        return
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    logger.info("health on %s", _listen(server, listen, None))
    await server.start()
    running.push_async_callback(server.stop, 0)


def _stop_at_signals(running: contextlib.AsyncExitStack, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread, or no Unix
            loop.add_signal_handler(number, stop.set)
            running.callback(loop.remove_signal_handler, number)


async def _sweep(parts: Parts) -> None:
    """Keep lost leases from staying ACTIVE, and the gauges current."""
    while True:
        try:
            outcome = await parts.ledger.submit(Sweep())
            if isinstance(outcome, Swept):
                parts.metrics.swept(outcome)
            for status in await parts.store.budgets(BudgetQuery("*", roots=True), parts.now_ms()):
                parts.metrics.show(status)
        except (StoreUnavailableError, LedgerError) as error:
            logger.warning("sweep: %s", error)
        except Exception:  # a task supervisor
            logger.exception("sweep")
        await asyncio.sleep(SWEEP_INTERVAL_S)
