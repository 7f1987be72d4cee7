"""A whole sidecar in this process, served over a real socket and asked over a real channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.sdk.trace import SpanProcessor

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.app.serve import Sidecar
from atlas_sidecar.config import load

DETAILS: Final = "grpc-status-details-bin"


@dataclass
class Heard:
    """What one Generate call told its caller. `retry_after_s` None: no RetryInfo; `reason` "" when it ended OK."""

    events: list[pb.GenerateEvent] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    retry_after_s: float | None = None
    status: str = ""  # the status' message and trailers, where it is not OK

    @property
    def kinds(self) -> list[str]:
        """The events' names in order, neighbouring deltas as one."""
        names: list[str] = []
        for event in self.events:
            name = event.WhichOneof("event") or ""
            if name != "delta" or names[-1:] != ["delta"]:
                names.append(name)
        return names

    @property
    def text(self) -> str:
        """The text as a caller that honours `reset` has it; BUFFER's from the message."""
        text = ""
        for event in self.events:
            if event.HasField("reset"):
                text = ""
            elif event.HasField("delta"):
                text += event.delta.text
        return text

    @property
    def last(self) -> pb.GenerateEvent:
        """The last event."""
        return self.events[-1]

    @property
    def message_text(self) -> str:
        """The text of the message in `completed`."""
        return "".join(part.text for part in self.last.completed.message.parts)

    @property
    def attempts(self) -> list[pb.Attempt]:
        """Every request that was sent."""
        end = self.last.completed if self.last.HasField("completed") else self.last.failed
        return list(end.attempts)


@dataclass
class Running:
    """A sidecar and a stub of its Router."""

    sidecar: Sidecar
    router: Any
    config: Path

    async def generate(self, request: pb.GenerateRequest, timeout_s: float = 10.0) -> Heard:
        """Return all that the caller hears."""
        heard = Heard()
        try:
            async for event in self.router.Generate(request, timeout=timeout_s):
                heard.events.append(event)
        except grpc.aio.AioRpcError as error:
            heard.code, heard.status = error.code(), f"{error.details()} {error.trailing_metadata()}"
            for detail in details_of(error):
                info, wait = ErrorInfo(), RetryInfo()
                if detail.Unpack(info):
                    heard.reason = info.reason
                elif detail.Unpack(wait):
                    heard.retry_after_s = wait.retry_delay.seconds + wait.retry_delay.nanos / 1e9
        return heard

    def forget_evidence(self) -> None:
        """Let health begin anew, as after a start."""
        engine = self.sidecar.live.engine()
        self.sidecar.health.reconfigure((), {})
        self.sidecar.health.reconfigure(list(engine.models.values()), engine.providers)


def details_of(error: grpc.aio.AioRpcError) -> list[Any]:
    """Return the google.rpc details in the trailers."""
    status = Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS:
            status.ParseFromString(value if isinstance(value, bytes) else value.encode())
    return list(status.details)


@asynccontextmanager
async def running(
    config: str, home: Path, *, simulate: bool = False, processors: Sequence[SpanProcessor] = ()
) -> AsyncIterator[Running]:
    """Serve a configuration (YAML) on a free port; providers are opened, nothing is probed."""
    path = _written(config, home)
    environ = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "ATLAS_LISTEN": "127.0.0.1:0"}
    sidecar = Sidecar(load(str(path), environ, simulate=simulate), environ, SystemClock(), processors)
    addresses, _ = await sidecar.start()
    try:
        await sidecar.live.start()
        async with grpc.aio.insecure_channel(addresses[0]) as channel:
            yield Running(sidecar, RouterStub(channel), path)
    finally:
        await sidecar.close(0.5)


def _written(config: str, home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / "atlas.yaml"
    path.write_text(config)
    return path


def asked(text: str = "hello", **fields: Any) -> pb.GenerateRequest:
    """Return a request of one user message."""
    said = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text=text)])
    return pb.GenerateRequest(messages=[said], **fields)
