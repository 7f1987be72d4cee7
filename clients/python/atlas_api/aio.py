"""The thin client of `atlas_api.client` for asyncio: the same names, awaited.

Rules kept here:
- An answer is read once; leaving it early, and cancelling the task that reads it, cancels the call.
- `failed` and the status become one AtlasError, raised after the last event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

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
    """Return a client of the sidecar; see atlas_api.client.connect. Call it where an event loop runs."""
    target = target_or_default(target)
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
    else:
        channel = grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)
    return Router(channel, patience_s)


class Router:
    """A connection to one sidecar; an async context manager. `stub` is the generated stub, for all that is not here."""

    def __init__(self, channel: grpc.aio.Channel, patience_s: float = DEFAULT_PATIENCE_S) -> None:
        self._channel = channel
        self._patience_s = patience_s
        self._was_ready = False
        self.stub: Any = RouterStub(channel)  # the same stub serves both kinds of channel

    async def __aenter__(self) -> Router:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection and every call on it."""
        await self._channel.close()

    def generate(
        self, request: pb.GenerateRequest, timeout_s: float = DEFAULT_TIMEOUT_S, metadata: Metadata = ()
    ) -> Answer:
        """Return the answer to read; the request goes out when reading begins. `metadata`: e.g. a traceparent."""

        async def start(patience: Patience) -> Any:
            await self._await_connection(patience.wait_s())
            return self.stub.Generate(request, timeout=patience.left_s(), metadata=tuple(metadata))

        return Answer(start, Patience(timeout_s, self._patience_s))

    async def _await_connection(self, wait_s: float) -> None:
        """Wait for the first connection: its time is not the sidecar's. Later ones gRPC makes itself."""
        if self._was_ready:
            return
        try:
            await asyncio.wait_for(self._channel.channel_ready(), wait_s)
            self._was_ready = True
        except asyncio.TimeoutError:  # noqa: UP041  # on Python 3.10 it is no TimeoutError; the call says nobody is there
            pass

    async def select(
        self, request: pb.SelectRequest, timeout_s: float = QUICK_TIMEOUT_S, metadata: Metadata = ()
    ) -> pb.Decision:
        """Return which model should serve, and why; raises AtlasError."""
        try:
            response: pb.SelectResponse = await self.stub.Select(request, timeout=timeout_s, metadata=tuple(metadata))
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None
        return response.decision

    async def health(self, timeout_s: float = QUICK_TIMEOUT_S) -> pb.HealthResponse:
        """Return what the sidecar knows of its providers, models, budget and itself; raises AtlasError."""
        try:
            response: pb.HealthResponse = await self.stub.Health(pb.HealthRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None
        return response


class Answer:
    """One answer while it comes: iterate it for events, or read `text()` or `collect()`; once, in one of these ways."""

    def __init__(self, start: Callable[[Patience], Awaitable[Any]], patience: Patience) -> None:
        self._start = start
        self._patience = patience
        self._call: Any = None
        self._cancelled = False
        self._events = self._read()

    def __aiter__(self) -> AsyncIterator[pb.GenerateEvent]:
        """Yield every event, the last one too; raises AtlasError after it where the call failed."""
        return self._events

    async def text(self, on_reset: Callable[[], None] | None = None) -> AsyncIterator[str]:
        """Yield the text as it comes; see atlas_api.client.Answer.text."""
        said = False
        async for event in self._events:
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
                for part in event.completed.message.parts:
                    if part.WhichOneof("kind") == "text":
                        yield part.text

    async def collect(self) -> pb.Completed:
        """Return the end of the answer: the whole message, the model, usage, cost, attempts; raises AtlasError."""
        completed: pb.Completed | None = None
        async for event in self._events:
            if event.WhichOneof("event") == "completed":
                completed = event.completed
        if completed is None:
            raise AtlasError(grpc.StatusCode.INTERNAL, "the stream ended without `completed`")
        return completed

    def cancel(self) -> None:
        """Cancel the call; whoever reads it gets AtlasError with code CANCELLED."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def _read(self) -> AsyncIterator[pb.GenerateEvent]:
        while True:
            held: pb.GenerateEvent | None = None
            error: AtlasError | None = None
            self._call = await self._start(self._patience)
            if self._cancelled:
                self._call.cancel()
            try:
                async for event in self._call:
                    if event.WhichOneof("event") == "failed":
                        held = event
                    else:
                        yield event
                return
            except grpc.aio.AioRpcError as raised:
                error = error_of(raised, held.failed if held is not None else None)
            except asyncio.CancelledError:
                if not self._cancelled:
                    raise  # the task that reads was cancelled, not the call
                error = AtlasError(grpc.StatusCode.CANCELLED, "the caller cancelled the call")
            finally:
                self._call.cancel()
            pause_s = None if self._cancelled else self._patience.pause_s(error)
            if pause_s is None:
                if held is not None:
                    yield held
                raise error
            await asyncio.sleep(pause_s)
