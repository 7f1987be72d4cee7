"""Lets calls in when the sidecar knows its models: SERVING comes first, prices and providers a moment later.

Rules kept here:
- A call that arrives in that moment waits for it; afterwards the gate costs one comparison.
- While draining, nobody waits: the service itself refuses.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc.aio

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1 import router_pb2_grpc as pb_grpc
from atlas_sidecar.server.router_service import Admission, RouterService

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_LOOK_EVERY_S = 0.02


class Gate(pb_grpc.RouterServicer):
    """Passes calls on to the service once `ready` is set; also ends them in order (host.Drainable)."""

    def __init__(self, service: RouterService, admission: Admission, ready: asyncio.Event) -> None:
        self._service = service
        self._admission = admission
        self._ready = ready

    async def Select(  # noqa: N802  # the wire's name
        self, request: pb.SelectRequest, context: Context
    ) -> pb.SelectResponse:
        """Pass the call on."""
        if not self._ready.is_set():
            await self._ready.wait()
        return await self._service.Select(request, context)

    async def Generate(  # type: ignore[override]  # noqa: N802  # the wire's name; writes instead of yielding
        self, request: pb.GenerateRequest, context: Context
    ) -> None:
        """Pass the call on."""
        if not self._ready.is_set() and not self._admission.draining:
            await self._ready.wait()
        await self._service.Generate(request, context)

    async def Health(  # noqa: N802  # the wire's name
        self, request: pb.HealthRequest, context: Context
    ) -> pb.HealthResponse:
        """Pass the call on."""
        if not self._ready.is_set():
            await self._ready.wait()
        return await self._service.Health(request, context)

    def drain(self) -> None:
        """Refuse new calls with DRAINING from now on."""
        self._admission.draining = True

    async def idle(self) -> None:
        """Return when no call is in flight."""
        while self._admission.in_flight:  # noqa: ASYNC110 - once in a process's life; an event would cost every call
            await asyncio.sleep(_LOOK_EVERY_S)
