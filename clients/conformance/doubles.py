"""Sidecars that behave as a real one does only in rare moments: leaving, lost on the way, of a later version.

Rules kept here:
- They speak the contract over real sockets; only what they say is scripted.
- Each run of a runner gets new ones, as they count their calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterServicer, add_RouterServicer_to_server

LATER_FIELD = b"\xc2\x3e\x05later"  # field 1000, a string: nothing that today's messages know


class Double(RouterServicer):
    """Answers, and counts its calls; subclasses fail first."""

    def __init__(self) -> None:
        self.calls = 0

    def Generate(  # noqa: N802  # the wire's name
        self, request: pb.GenerateRequest, context: Any
    ) -> Iterator[pb.GenerateEvent]:
        """Answer."""
        self.calls += 1
        yield from self.events(context)
        yield pb.GenerateEvent(seq=1, completed=pb.Completed(finish_reason=pb.FINISH_REASON_STOP))

    def Select(self, request: pb.SelectRequest, context: Any) -> pb.SelectResponse:  # noqa: N802  # the wire's name
        """Answer, the second time."""
        self.calls += 1
        if self.calls == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "once")
        return pb.SelectResponse(decision=pb.Decision(selected=pb.ModelRef(id="a")))

    def Health(self, request: pb.HealthRequest, context: Any) -> pb.HealthResponse:  # noqa: N802  # the wire's name
        """Answer."""
        return pb.HealthResponse(status=pb.HealthResponse.STATUS_SERVING)

    def events(self, context: Any) -> Iterator[pb.GenerateEvent]:
        """Yield what comes before the answer."""
        yield from ()


class Leaving(Double):
    """Shuts down: refuses the first `refused` calls with DRAINING, as a real one does until its successor answers."""

    def __init__(self, refused: int = 2) -> None:
        super().__init__()
        self._refused = refused

    def events(self, context: Any) -> Iterator[pb.GenerateEvent]:
        """Refuse."""
        if self.calls <= self._refused:
            yield pb.GenerateEvent(seq=1, failed=pb.Failure(reason="DRAINING"))
            status = Status(code=14, message="going")
            status.details.add().Pack(ErrorInfo(reason="DRAINING", domain="atlas.sidecar"))
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "going")


class Lost(Double):
    """Vanishes in the first call, without a word why: after an event, or before any. It may have asked a model."""

    def __init__(self, *, started: bool = False) -> None:
        super().__init__()
        self._started = started

    def events(self, context: Any) -> Iterator[pb.GenerateEvent]:
        """Vanish."""
        if self.calls == 1:
            if self._started:
                yield pb.GenerateEvent(seq=1, started=pb.Started())
            context.abort(grpc.StatusCode.UNAVAILABLE, "lost")


class Later(Double):
    """Is of a later version: sends fields, enum values and an event that today's messages do not know."""

    def Generate(  # noqa: N802  # the wire's name
        self, request: pb.GenerateRequest, context: Any
    ) -> Iterator[pb.GenerateEvent]:
        """Answer in a later version's words."""
        yield _later(pb.GenerateEvent(seq=1, started=pb.Started(decision_id="d")))
        yield _later(pb.GenerateEvent(seq=2))  # an event of a kind that is not known
        failed = pb.HopFailed(error_class=99)  # type: ignore[arg-type]  # a later version's
        yield pb.GenerateEvent(seq=3, hop_failed=failed)
        yield pb.GenerateEvent(seq=4, delta=pb.PartDelta(text="understood"))
        completed = pb.Completed(finish_reason=99)  # type: ignore[arg-type]  # a later version's
        yield _later(pb.GenerateEvent(seq=5, completed=completed))


def _later(event: pb.GenerateEvent) -> pb.GenerateEvent:
    return pb.GenerateEvent.FromString(event.SerializeToString() + LATER_FIELD)


@contextmanager
def serving(service: RouterServicer) -> Iterator[str]:
    """Serve until the block ends; yield the address."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_RouterServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextmanager
def doubles() -> Iterator[dict[str, str]]:
    """Serve one of each; yield their addresses by the names that scenarios give them."""
    kinds = {
        "leaving": Leaving(),
        "lost": Lost(),
        "lost-midway": Lost(started=True),
        "later": Later(),
        "away": Double(),
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(serving(service)) for name, service in kinds.items()}
