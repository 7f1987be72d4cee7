"""Remembers the heads of requests that an SDK made, and sends the next ones of the same kind without asking it again.

An SDK takes 0.3-0.5 ms of CPU to make a request whose head is the same every time: address, authentication, versions.
Rules kept here:
- The SDK makes the head; it is used again only after two requests in a row, of the same path, key and headers, came out
  of the SDK with the very same one. A head that changes (a signature, a date, a random id) is never used again.
- The key is part of what a head is remembered by: a rotated key is a new head, made by the SDK.
- The traceparent is the only header that differs from call to call; it is set here as it would be there.
- What is remembered is bounded, and never shown: it holds the key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from atlas_sidecar.adapters.providers.wire.transport import Prepared, Road
from atlas_sidecar.core.errors import ProviderError

TRACEPARENT: Final = "traceparent"
_MAX_HEADS: Final = 256
_OF_THE_BODY: Final = frozenset({"content-length", TRACEPARENT})

# What makes two requests alike: path, key, and the headers that the adapter adds.
Likeness: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...]]
Refusal: TypeAlias = Callable[[int, Any, bytes], ProviderError]


class _Head(NamedTuple):
    """A head as the SDK made it."""

    url: str
    headers: tuple[tuple[str, str], ...]


class Heads:
    """The remembered heads of one provider."""

    __slots__ = ("_heads", "_prepared", "_refusal", "_road")

    def __init__(self, road: Road, refusal: Refusal) -> None:
        self._road = road
        self._refusal = refusal
        self._heads: dict[Likeness, _Head] = {}
        self._prepared: dict[Likeness, Prepared] = {}

    def __repr__(self) -> str:
        return f"Heads({len(self._prepared)} of {len(self._heads)})"

    async def post(
        self, path: str, key: str, headers: Mapping[str, str], content: bytes, ask_sdk: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Send one POST; return its answer, unread: a transport.Answer, or the SDK's httpx Response.

        Raises ProviderError. `ask_sdk` sends the same request through the SDK; whatever it raises passes.
        """
        trace = headers.get(TRACEPARENT, "")
        likeness = (path, key, tuple([item for item in headers.items() if item[0] != TRACEPARENT]))
        prepared = self._prepared.get(likeness)
        if prepared is None:
            response = await ask_sdk()
            self._learn(likeness, response.request)
            return response
        answer = await self._road.post(prepared, {TRACEPARENT: trace} if trace else {}, content)
        if answer.status_code >= 400:
            raise self._refusal(answer.status_code, answer.headers, await answer.error_body())
        return answer

    def _learn(self, likeness: Likeness, request: Any) -> None:
        headers = tuple((name, value) for name, value in request.headers.items() if name not in _OF_THE_BODY)
        head = _Head(str(request.url), headers)
        if self._heads.get(likeness) == head:
            self._prepared[likeness] = self._road.prepare(head.url, headers)
            return
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
            self._prepared.clear()
        self._heads[likeness] = head
