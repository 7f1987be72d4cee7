"""The gRPC edge of the Router: converts, admits, streams, and turns every end into a status.

Rules kept here:
- What is beyond the limits is refused at once, never queued: OVERLOADED. While draining, new calls get DRAINING.
- Text that was ready together is one message; the next read waits for the write, so a slow reader slows the upstream.
- A caller that goes away cancels the handler, which closes the chain and with it the upstream connection.
- This is the edge where an unforeseen exception becomes INTERNAL, is logged, and tells the caller nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Never, TypeAlias

import grpc
import grpc.aio

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1 import router_pb2_grpc as pb_grpc
from atlas_sidecar.core.decision_record import to_json
from atlas_sidecar.core.errors import AtlasError, Reason
from atlas_sidecar.runtime.events import Batch, Failure
from atlas_sidecar.runtime.router import CallContext, Router
from atlas_sidecar.runtime.story import FAULT
from atlas_sidecar.server.health_reply import SidecarReport, health_to
from atlas_sidecar.server.replies import EventWriter, fill_decision
from atlas_sidecar.server.requests import generate_from, select_from
from atlas_sidecar.server.statuses import Ending

_log = logging.getLogger(__name__)
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(slots=True)
class Admission:
    """How many calls and request bytes may be under way at once."""

    max_streams: int = 256
    max_in_flight_bytes: int = 64 * 1024 * 1024
    in_flight: int = 0
    in_flight_bytes: int = 0
    draining: bool = False

    def check_open(self) -> None:
        """Raise AtlasError(DRAINING) when the sidecar is going away."""
        if self.draining:
            raise AtlasError(Reason.DRAINING, "the sidecar is shutting down; call the next one", retry_after_s=1.0)

    @contextmanager
    def admitted(self, size_bytes: int) -> Iterator[None]:
        """Count one call in and out; raises AtlasError when there is no room."""
        self.check_open()
        if self.in_flight >= self.max_streams:
            message = f"{self.in_flight} calls are under way, limits.max_streams is {self.max_streams}"
            raise AtlasError(Reason.OVERLOADED, message, retry_after_s=1.0)
        if self.in_flight and self.in_flight_bytes + size_bytes > self.max_in_flight_bytes:
            message = f"{self.in_flight_bytes:,} bytes of requests are under way, limits.max_in_flight_bytes allows "
            raise AtlasError(Reason.OVERLOADED, f"{message}{self.max_in_flight_bytes:,}", retry_after_s=1.0)
        self.in_flight += 1
        self.in_flight_bytes += size_bytes
        try:
            yield
        finally:
            self.in_flight -= 1
            self.in_flight_bytes -= size_bytes


class RouterService(pb_grpc.RouterServicer):
    """Serves atlas_api.v1.Router; `report()` gathers what Health says."""

    def __init__(self, router: Router, admission: Admission, report: Callable[[], SidecarReport]) -> None:
        self._router = router
        self._admission = admission
        self._report = report

    async def Select(  # noqa: N802  # the wire's name
        self, request: pb.SelectRequest, context: Context
    ) -> pb.SelectResponse:
        """Answer which model should serve, and why."""
        try:
            with self._noted("Select", context):
                self._admission.check_open()
                requirements, need = select_from(request)
            made = self._router.select(requirements, need, _call_context(context))
            answer = pb.SelectResponse(decision_record_json=to_json(made) if request.record else "")
            fill_decision(answer.decision, made.decision)
            return answer
        except AtlasError as error:
            await _end(context, Ending.of(error))
        except Exception:  # noqa: BLE001  # the server edge
            _log.exception("Select failed unexpectedly")
            await _end(context, Ending.of(FAULT))

    async def Generate(  # type: ignore[override]  # noqa: N802  # the wire's name; writes instead of yielding
        self, request: pb.GenerateRequest, context: Context
    ) -> None:
        """Stream an answer; the last event is `completed` or `failed`."""
        ending: Ending | None = None
        try:
            with ExitStack() as admitted:
                with self._noted("Generate", context):
                    admitted.enter_context(self._admission.admitted(request.ByteSize()))
                    wanted = generate_from(request)
                ending = await _stream(self._router.generate(wanted, _call_context(context)), context)
        except AtlasError as error:
            ending = await _refused(error, context)
        except Exception:  # noqa: BLE001  # the server edge
            _log.exception("Generate failed unexpectedly")
            ending = Ending.of(FAULT)
        if ending is not None:
            await _end(context, ending)

    @contextmanager
    def _noted(self, method: str, context: Context) -> Iterator[None]:
        """Let telemetry know of a call that is refused here, before the router sees it."""
        try:
            yield
        except AtlasError as error:
            self._router.refused(method, error, _call_context(context))
            raise
        except Exception:
            self._router.refused(method, FAULT, _call_context(context))
            raise

    async def Health(  # noqa: N802  # the wire's name
        self, request: pb.HealthRequest, context: Context
    ) -> pb.HealthResponse:
        """Say what this sidecar knows."""
        del request
        try:
            with self._router.counted("Health"):
                return health_to(self._report())
        except Exception:  # noqa: BLE001  # the server edge
            _log.exception("Health failed unexpectedly")
            await _end(context, Ending.of(FAULT))


async def _stream(batches: AsyncGenerator[Batch, None], context: Context) -> Ending | None:
    """Write every event; return the status where the call did not end OK."""
    writer, write = EventWriter(), context.write
    ending = None
    async with aclosing(batches) as source:
        async for batch in source:
            for message in writer.messages(batch):
                await write(message)
            last = batch.events[-1]
            if isinstance(last, Failure):
                ending = Ending(last.reason, last.message, last.retry_after_s, last.violations, last.metadata)
    return ending


async def _refused(error: AtlasError, context: Context) -> Ending:
    """Tell a caller whose call could not begin: a `failed` event too, like every other end."""
    failure = Failure(error.reason, None, error.message)
    for message in EventWriter().messages(Batch(0, (failure,))):
        await context.write(message)
    return Ending.of(error)


async def _end(context: Context, ending: Ending) -> Never:
    await context.abort(ending.code, ending.message, ending.trailers)
    raise AssertionError("abort raises")


def _call_context(context: Context) -> CallContext:
    metadata: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):  # entries of one key are one list, as in HTTP
            metadata[key] = f"{metadata[key]},{value}" if key in metadata else value
    return CallContext(metadata, context.time_remaining())
