"""The gRPC client of the budget service.

Rules kept here:
- Every call has a deadline and raises GatewayError, nothing else but asyncio.CancelledError. No retry here: the runtime
  repeats what is safe to repeat, at its own pace.
- The token is asked for at every call and shows in no error and no repr. Certificate files are looked at before a
  call; when one changed, a new channel is made with them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import grpc
import grpc.aio

from atlas_api.v1 import budget_pb2 as pb
from atlas_api.v1 import budget_pb2_grpc
from atlas_sidecar.adapters.budget_wire import (
    denial_from_wire,
    grant_from_wire,
    sync_from_wire,
    sync_to_wire,
    want_to_wire,
)
from atlas_sidecar.core.sync import Denial, Grant, SyncAnswer, SyncCall, Want
from atlas_sidecar.ports import GatewayError

_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
_MAX_MESSAGE: Final = 200
_Answer = TypeVar("_Answer")
_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class BudgetClientSettings:
    """Where the service is and how to prove who asks.

    `token` is asked for at every call, None = send none. `tls` False: plain text; True with no files: the system's
    authorities. `cert_file` and `key_file` together: mutual TLS.
    """

    target: str
    token: Callable[[], str | None] = field(default=lambda: None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class GrpcBudgetGateway:
    """Implements ports.BudgetGateway over one channel."""

    def __init__(self, settings: BudgetClientSettings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._stub: budget_pb2_grpc.BudgetAsyncStub | None = None
        self._stamp: _Stamp = ()

    def __repr__(self) -> str:
        return f"GrpcBudgetGateway({self._settings.target!r}, tls={self._settings.tls})"

    async def sync(self, call: SyncCall, timeout_s: float) -> SyncAnswer:
        """Report facts, show leases held, ask for more. Raises GatewayError."""
        stub = await self._open()
        answer = await self._asked(stub.Sync(sync_to_wire(call), timeout=timeout_s, metadata=self._metadata()))
        return sync_from_wire(answer)

    async def reserve(self, sidecar_id: str, incarnation: str, want: Want, timeout_s: float) -> Grant | Denial:
        """Ask for a lease for one request. Raises GatewayError."""
        stub = await self._open()
        request = pb.ReserveRequest(sidecar_id=sidecar_id, incarnation=incarnation, want=want_to_wire(want))
        answer = await self._asked(stub.Reserve(request, timeout=timeout_s, metadata=self._metadata()))
        match answer.WhichOneof("outcome"):
            case "grant":
                return grant_from_wire(answer.grant)
            case "denial":
                return denial_from_wire(answer.denial)
            case _:
                raise GatewayError("the budget service answered a Reserve with nothing")

    async def close(self) -> None:
        """Close the channel. Idempotent."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close()

    async def _asked(self, call: Awaitable[_Answer]) -> _Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            code = error.code()
            details = (error.details() or "").splitlines()
            message = f"{self._settings.target}: {code.name}: {details[0] if details else ''}"
            raise GatewayError(message[:_MAX_MESSAGE], refused=code in _REFUSALS) from None
        except asyncio.CancelledError:
            raise
        except grpc.aio.UsageError as error:  # the channel was closed under a call that was late
            raise GatewayError(f"{self._settings.target}: the connection is closed") from error

    def _metadata(self) -> Sequence[tuple[str, str]]:
        token = self._settings.token()
        return (("authorization", f"Bearer {token}"),) if token else ()

    async def _open(self) -> budget_pb2_grpc.BudgetAsyncStub:
        settings = self._settings
        stamp = _stamp(settings) if settings.tls else ()
        if self._stub is not None and stamp == self._stamp:
            return self._stub
        await self.close()
        if settings.tls:
            channel = grpc.aio.secure_channel(settings.target, _credentials(settings), options=_OPTIONS)
        else:
            channel = grpc.aio.insecure_channel(settings.target, options=_OPTIONS)
        self._channel, self._stamp = channel, stamp
        self._stub = budget_pb2_grpc.BudgetStub(channel)
        return self._stub


def _stamp(settings: BudgetClientSettings) -> _Stamp:
    """Return what tells a certificate file's versions apart. Raises GatewayError when one cannot be seen."""
    found = []
    for path in (settings.ca_file, settings.cert_file, settings.key_file):
        if path is not None:
            try:
                status = os.stat(path)
            except OSError as error:
                raise GatewayError(f"{path}: {error.strerror or 'unreadable'}") from error
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _credentials(settings: BudgetClientSettings) -> grpc.ChannelCredentials:
    try:
        ca, key, cert = (
            Path(path).read_bytes() if path is not None else None
            for path in (settings.ca_file, settings.key_file, settings.cert_file)
        )
    except OSError as error:
        raise GatewayError(f"{error.filename}: {error.strerror or 'unreadable'}") from error
    return grpc.ssl_channel_credentials(ca, key, cert)
