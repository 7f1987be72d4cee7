"""Hosts the Router service: its listeners, grpc.health.v1, reflection, and an orderly end.

Rules kept here:
- An address that another server holds is refused: ports are shared among the workers of one sidecar only, and a socket
  file is removed only when nobody answers behind it.
- A Unix socket is open to its owner and group (umask 007), so that a pod's fsGroup can connect.
- Draining: health says NOT_SERVING first; new calls are refused with DRAINING; those in flight finish within the grace.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from atlas_api.v1 import router_pb2, router_pb2_grpc
from atlas_sidecar.server.tls import TlsFiles, server_credentials

ROUTER: Final = router_pb2.DESCRIPTOR.services_by_name["Router"].full_name
_UNIX: Final = "unix:"
_CONNECT_TIMEOUT_S: Final = 1.0
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING


class HostError(Exception):
    """An address that cannot be served; the message says which and why."""


class Drainable(Protocol):
    """The calls of the Router service, as the host ends them."""

    def drain(self) -> None:
        """Refuse new calls with DRAINING from now on."""
        ...

    async def idle(self) -> None:
        """Return when no call is in flight."""
        ...


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where and how to listen. Addresses: "HOST:PORT" or "unix:/PATH"; `health_listen` "" = none.

    `shared`: the TCP ports belong to several workers, among whom the kernel deals the connections.
    """

    listen: tuple[str, ...]
    health_listen: str = ""
    tls: TlsFiles | None = None
    max_message_bytes: int = 33_554_432
    shared: bool = False


class Host:
    """The gRPC servers of one process: `start`, then `drain`."""

    def __init__(self, settings: HostSettings, service: router_pb2_grpc.RouterServicer, calls: Drainable) -> None:
        self._settings = settings
        self._service = service
        self._calls = calls
        self._health = health.aio.HealthServicer()
        self._servers: list[grpc.aio.Server] = []
        self._sockets: list[tuple[Path, tuple[int, int]]] = []

    def __repr__(self) -> str:
        return f"Host({', '.join(self._settings.listen)})"

    async def start(self) -> tuple[tuple[str, ...], str]:
        """Listen and say SERVING; return the Router's addresses, and the health address, with the real ports.

        Raises:
            HostError: an address cannot be served; nothing is left listening.
        """
        try:
            addresses = await self._start_router()
            health_address = await self._start_health()
        except HostError:
            await self._stop(0)
            raise
        for name in ("", ROUTER):
            await self._health.set(name, _SERVING)
        return addresses, health_address

    async def drain(self, grace_s: float) -> bool:
        """End in order; return whether every call finished within the grace, seconds."""
        await self._health.enter_graceful_shutdown()
        self._calls.drain()
        finished = True
        try:
            await asyncio.wait_for(self._calls.idle(), grace_s)
        except TimeoutError:
            finished = False
        await self._stop(0.1 if finished else 0)
        return finished

    async def _start_router(self) -> tuple[str, ...]:
        size = self._settings.max_message_bytes
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
                # Not shared, or else a second sidecar would silently take half of the calls.
                ("grpc.so_reuseport", int(self._settings.shared)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ]
        )
        self._servers.append(server)
        router_pb2_grpc.add_RouterServicer_to_server(self._service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((ROUTER, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        addresses = tuple(self._bind(server, address) for address in self._settings.listen)
        await server.start()
        return addresses

    async def _start_health(self) -> str:
        if not self._settings.health_listen:
            return ""
        server = grpc.aio.server(options=[("grpc.so_reuseport", int(self._settings.shared))])
        self._servers.append(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        address = _bind_tcp(server, self._settings.health_listen, None)
        await server.start()
        return address

    def _bind(self, server: grpc.aio.Server, address: str) -> str:
        if not address.startswith(_UNIX):
            return _bind_tcp(server, address, self._settings.tls)
        path = Path(address.removeprefix(_UNIX))
        with _locked(path.parent), _umask(0o007):
            _remove_stale(path)
            try:
                server.add_insecure_port(address)
            except RuntimeError:
                raise HostError(f"cannot listen on {address}: {_why_not(path)}") from None
            status = path.stat()
        self._sockets.append((path, (status.st_dev, status.st_ino)))
        return address

    async def _stop(self, grace_s: float) -> None:
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
        self._servers.clear()
        for path, identity in self._sockets:
            with suppress(OSError):
                status = path.stat()
                if (status.st_dev, status.st_ino) == identity:  # not a successor's
                    path.unlink()
        self._sockets.clear()


def _bind_tcp(server: grpc.aio.Server, address: str, tls: TlsFiles | None) -> str:
    host, _, wanted = address.rpartition(":")
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, server_credentials(tls))
    except RuntimeError:
        raise HostError(f"cannot listen on {address}: {_why_not_tcp(host.strip('[]'), int(wanted))}") from None
    return f"{host}:{port}"


def _why_not_tcp(host: str, port: int) -> str:
    """Find out why an address could not be bound: gRPC does not say."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "the address could not be bound"


def _why_not(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}"
    return "the socket could not be made there" if os.access(path.parent, os.W_OK) else "permission denied"


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(f"cannot listen on {_UNIX}{path}: {error.strerror}") from None
    if not stat.S_ISSOCK(status.st_mode):
        raise HostError(f"cannot listen on {_UNIX}{path}: there is a file that is no socket; it was left as it is")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise HostError(f"cannot listen on {_UNIX}{path}: {error.strerror or error}") from None
    raise HostError(f"cannot listen on {_UNIX}{path}: another server is listening there")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one sidecar at a time look at, remove and make socket files of this directory."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"cannot listen in {directory}: {(error.strerror or '').lower()}") from None
    try:
        with suppress(OSError):  # a file system without locks: then the last one wins
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
