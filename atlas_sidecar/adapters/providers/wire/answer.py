"""The one loop that reads an answer: network reads in, batches of core events out.

Rules kept here:
- Head first, one batch for each network read, Finished last. Without Finished the iterator raises, and what was decoded
  before a failure is yielded before it is raised.
- `text/event-stream` goes through the SSE parser; a JSON body is the whole answer, asked for or not; any other body of
  a 200 is an error. A stream that ends without the wire's terminator is an error, however good it looked.
- TEMPORARY before content, STREAM_BROKEN after: for a cut, a malformed event, a missing terminator.
- Closing the iterator closes the upstream connection at once; a finished answer gives its connection back.
- Only ProviderError (and CancelledError) comes out; `sent` says whether the provider can have seen anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from atlas_sidecar.adapters.providers.wire.errors import Taxonomy, request_id
from atlas_sidecar.adapters.providers.wire.sse import SseEvent, SseOverflowError, SseParser
from atlas_sidecar.adapters.providers.wire.transport import CONNECTION_CUT, MAYBE_SENT, Body, body_of
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import (
    Head,
    ProviderBatch,
    ProviderEvent,
    RateLimit,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArguments,
)


class Decoder(Protocol):
    """Turns one answer's documents into core events; one instance for each answer, pure.

    Each method appends to `out`, so that what came before a failure is not lost. They raise ProviderError for an error
    that the answer reports, and msgspec.DecodeError (ValidationError is one) for what cannot be read.
    """

    @property
    def has_content(self) -> bool:
        """Whether a delta was appended so far."""
        ...

    @property
    def finished(self) -> bool:
        """Whether Finished was appended: nothing more is read then."""
        ...

    def events(self, events: Sequence[SseEvent], out: list[ProviderEvent]) -> None:
        """Take the SSE events of one network read."""
        ...

    def whole(self, body: bytes, out: list[ProviderEvent]) -> None:
        """Take a JSON body that is the whole answer; appends Finished or raises."""
        ...

    def end(self, out: list[ProviderEvent]) -> None:
        """The stream ended cleanly: append Finished where that end is this wire's terminator, else do nothing."""
        ...


async def read_answer(
    send: Callable[[], Awaitable[Any]],
    decoder: Decoder,
    taxonomy: Taxonomy,
    rate_limit: Callable[[Mapping[str, str]], RateLimit | None],
) -> AsyncIterator[ProviderBatch]:
    """Send the request and yield its answer's batches; an adapter's `stream()` returns this generator as it is.

    `send` returns the SDK's httpx Response, sent over our transport in streaming mode, and raises ProviderError only.
    `rate_limit` reads the answer's headers.
    """
    try:
        response = await send()
    except ProviderError as error:
        error.sent = error.http_status > 0 or error.code in MAYBE_SENT
        raise
    reader = _Reader(body_of(response), response.headers.get("content-type", ""), decoder, taxonomy)
    status, identity = int(response.status_code), request_id(response.headers)
    try:
        yield [Head(status, identity, rate_limit(response.headers))]
        failure: ProviderError | None = None
        while failure is None and not decoder.finished:
            out: list[ProviderEvent] = []
            failure = await reader.next(out)
            if out:
                yield merged(out)
        if failure is not None:
            failure.http_status = failure.http_status or status
            failure.provider_request_id = failure.provider_request_id or identity
            raise failure
    finally:
        reader.close()


class _Reader:
    """Reads a body piece by piece into a decoder."""

    def __init__(self, body: Body, content_type: str, decoder: Decoder, taxonomy: Taxonomy) -> None:
        self._body = body
        self._streamed = content_type.startswith("text/event-stream")
        self._readable = self._streamed or content_type.startswith("application/json")
        self._decoder = decoder
        self._taxonomy = taxonomy
        self._parser = SseParser()
        self._ended = False

    async def next(self, out: list[ProviderEvent]) -> ProviderError | None:
        """Take one network read, append its events to `out`; return what ended the answer early, if something did."""
        decoder = self._decoder
        try:
            if self._streamed and not self._ended:
                data = await self._body.read()
                self._ended = not data
                events = self._parser.feed(data) if data else self._parser.close()
                if events:
                    decoder.events(events, out)
                if self._ended and not decoder.finished:
                    decoder.end(out)
                return None
            if self._readable and not self._ended:
                self._ended = True
                decoder.whole(await self._body.read_all(), out)
                return None
        except ProviderError as error:
            return _placed(error, decoder.has_content)
        except _UNREADABLE:
            return self._taxonomy.broken("a part of the answer cannot be read", has_content=decoder.has_content)
        why = "the answer ended without its terminator" if self._ended else "the answer is neither events nor JSON"
        return self._taxonomy.broken(why, has_content=decoder.has_content)

    def close(self) -> None:
        """Give the connection back after a finished answer, close it at once otherwise."""
        if self._decoder.finished:
            self._body.finish()
        else:
            self._body.close()


_UNREADABLE: Final = (msgspec.DecodeError, SseOverflowError, UnicodeDecodeError, RecursionError)


def _placed(error: ProviderError, has_content: bool) -> ProviderError:
    """Return a failure of the connection as what it is after content; any other error as it is."""
    if has_content and error.code == CONNECTION_CUT:
        error.error_class = ErrorClass.STREAM_BROKEN
    return error


def merged(events: list[ProviderEvent]) -> list[ProviderEvent]:
    """Return one read's events with neighbouring deltas of one part joined: one message for many small deltas."""
    if len(events) < 2:
        return events
    joined: list[ProviderEvent] = []
    start, count = 0, len(events)
    while start < count:
        first: Any = events[start]
        kind = type(first)
        stop = start + 1
        if kind in _JOINED:
            following: Any
            while stop < count and type(following := events[stop]) is kind and following[0] == first[0]:
                stop += 1
            if stop - start > 1:
                first = kind(first[0], "".join([event[1] for event in events[start:stop]]))  # type: ignore[misc]
        joined.append(first)
        start = stop
    return joined


# Their first two fields are the part's index and its text. (Redacted reasoning has no text; one event tells of it.)
_JOINED: Final = frozenset({TextDelta, ReasoningDelta, RefusalDelta, ToolArguments})
