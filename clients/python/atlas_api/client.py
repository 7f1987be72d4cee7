"""A thin client of the sidecar: connect, read the stream as events, as text or as one message, and hear one error type.

Everything else is the generated stub (`Router.stub`) and the messages of `atlas_api.v1.router_pb2`. `atlas_api.aio` is
the same for asyncio.

Rules kept here:
- An answer is read once; leaving it early cancels the call.
- `failed` and the status become one AtlasError, raised after the last event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from atlas_api.errors import AtlasError, TextWithdrawn, error_of
from atlas_api.settings import (
    CHANNEL_OPTIONS,
    DEFAULT_PATIENCE_S,
    DEFAULT_TIMEOUT_S,
    QUICK_TIMEOUT_S,
    Patience,
    target_or_default,
)
from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub

__all__ = ["Answer", "AtlasError", "Metadata", "Router", "TextWithdrawn", "connect"]

Metadata = Sequence[tuple[str, str]]


def connect(
    target: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    *,
    patience_s: float = DEFAULT_PATIENCE_S,
) -> Router:
    """Return a client of the sidecar at "HOST:PORT" or "unix:/PATH"; without one: ATLAS_TARGET, else 127.0.0.1:50051.

    Nothing is sent yet. `patience_s`: how long a call goes on trying while no sidecar takes it (starting, restarting).
    """
    target = target_or_default(target)
    if credentials is None:
        channel = grpc.insecure_channel(target, CHANNEL_OPTIONS)
    else:
        channel = grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
    return Router(channel, patience_s)


class Router:
    """A connection to one sidecar; a context manager. `stub` is the generated stub, for all that is not here."""

    def __init__(self, channel: grpc.Channel, patience_s: float = DEFAULT_PATIENCE_S) -> None:
        self._channel = channel
        self._patience_s = patience_s
        self._was_ready = False
        self.stub = RouterStub(channel)

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def generate(
        self, request: pb.GenerateRequest, timeout_s: float = DEFAULT_TIMEOUT_S, metadata: Metadata = ()
    ) -> Answer:
        """Return the answer to read; the request goes out when reading begins. `metadata`: e.g. a traceparent."""

        def start(patience: Patience) -> Any:
            self._await_connection(patience.wait_s())
            return self.stub.Generate(request, timeout=patience.left_s(), metadata=tuple(metadata))

        return Answer(start, Patience(timeout_s, self._patience_s))

    def _await_connection(self, wait_s: float) -> None:
        """Wait for the first connection: its time is not the sidecar's. Later ones gRPC makes itself."""
        if self._was_ready:
            return
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=wait_s)
            self._was_ready = True
        except grpc.FutureTimeoutError:
            ready.cancel()  # the call will say that nobody is there

    def select(
        self, request: pb.SelectRequest, timeout_s: float = QUICK_TIMEOUT_S, metadata: Metadata = ()
    ) -> pb.Decision:
        """Return which model should serve, and why; raises AtlasError."""
        try:
            response: pb.SelectResponse = self.stub.Select(request, timeout=timeout_s, metadata=tuple(metadata))
        except grpc.RpcError as error:
            raise error_of(error) from None
        return response.decision

    def health(self, timeout_s: float = QUICK_TIMEOUT_S) -> pb.HealthResponse:
        """Return what the sidecar knows of its providers, models, budget and itself; raises AtlasError."""
        try:
            response: pb.HealthResponse = self.stub.Health(pb.HealthRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_of(error) from None
        return response


class Answer:
    """One answer while it comes: iterate it for events, or read `text()` or `collect()`; once, in one of these ways."""

    def __init__(self, start: Callable[[Patience], Any], patience: Patience) -> None:
        self._start = start
        self._patience = patience
        self._call: Any = None
        self._cancelled = False
        self._events = self._read()

    def __iter__(self) -> Iterator[pb.GenerateEvent]:
        """Yield every event, the last one too; raises AtlasError after it where the call failed."""
        return self._events

    def text(self, on_reset: Callable[[], None] | None = None) -> Iterator[str]:
        """Yield the text as it comes; raises AtlasError.

        With a policy that may start over (RESTART, CONTINUE), `on_reset` is called when all text so far is void;
        without it TextWithdrawn is raised then. With BUFFER the whole text comes at once.
        """
        said = False
        for event in self._events:
            kind = event.WhichOneof("event")
            if kind == "delta" and event.delta.WhichOneof("delta") == "text":
                said = True
                yield event.delta.text
            elif kind == "reset" and said:
                if on_reset is None:
                    self.cancel()
                    raise TextWithdrawn("the answer starts over; pass on_reset, or read the events")
                said = False
                on_reset()
            elif kind == "completed" and not said:
                yield from (part.text for part in event.completed.message.parts if part.WhichOneof("kind") == "text")

    def collect(self) -> pb.Completed:
        """Return the end of the answer: the whole message, the model, usage, cost, attempts; raises AtlasError."""
        completed: pb.Completed | None = None
        for event in self._events:
            if event.WhichOneof("event") == "completed":
                completed = event.completed
        if completed is None:
            raise AtlasError(grpc.StatusCode.INTERNAL, "the stream ended without `completed`")
        return completed

    def cancel(self) -> None:
        """Cancel the call; whoever reads it gets AtlasError with code CANCELLED. Safe from another thread."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _read(self) -> Iterator[pb.GenerateEvent]:
        while True:
            held: pb.GenerateEvent | None = None
            self._call = self._start(self._patience)
            if self._cancelled:
                self._call.cancel()
            try:
                for event in self._call:
                    if event.WhichOneof("event") == "failed":
                        held = event
                    else:
                        yield event
                return
            except grpc.RpcError as raised:
                error = error_of(raised, held.failed if held is not None else None)
            finally:
                self._call.cancel()
            pause_s = None if self._cancelled else self._patience.pause_s(error)
            if pause_s is None:
                if held is not None:
                    yield held
                raise error
            time.sleep(pause_s)
