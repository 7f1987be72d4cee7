"""The road that all SDKs share: each makes its request on its own httpx client, whose transport is ours, on aiohttp.

Rules kept here:
- One aiohttp session for each provider; connections are kept alive and reused. No retries, no redirects, no cookies, no
  timeout but the connect one: the runtime keeps the others.
- The answer's bytes go around httpx: `body_of(response)` reads what has arrived in one piece, as large as it is, so
  that many events become one batch. Reading through httpx works too.
- Whatever aiohttp raises becomes a ProviderError here, the only place that knows aiohttp's errors: TEMPORARY, and
  within a body with `code="connection_cut"`; whoever reads it knows whether there was content (answer.py).
- `close()` is immediate: an unfinished answer closes its connection, a finished one gives it back.
- An error answer (status >= 400) is read here, at most 64 KiB and 5 seconds of it.

- aiohttp takes 0.3 s of CPU to import: that happens in `Road.open()`, in a thread, long after this module's import.

SDKs are on two generations of one library (`httpx`, `httpx2`), so the classes are made for the module that is given.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.errors import MAX_ERROR_BODY_BYTES, REQUEST_ID_HEADERS
from atlas_sidecar.adapters.providers.wire.shown import repeats
from atlas_sidecar.core.errors import ErrorClass, ProviderError

if TYPE_CHECKING:
    import aiohttp

BODY_EXTENSION: Final = "atlas_body"
# Codes of failures after which the provider may have worked, although no head of an answer came.
MAYBE_SENT: Final = frozenset({"reset", "connection_failed", "not_http"})
CONNECTION_CUT: Final = "connection_cut"  # the code of a ProviderError that a body raised
MAX_BODY_BYTES: Final = 64 * 1024 * 1024  # of an answer that is one JSON document
_ERROR_BODY_TIMEOUT_S: Final = 5.0
_DRAIN_S: Final = 1.0
_KEEP_ALIVE_S: Final = 30.0
_REQUEST_IDS: Final = frozenset(name.encode() for name in REQUEST_ID_HEADERS)
_HOP_BY_HOP: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"connection"})


class Body:
    """An answer's body as it arrives."""

    __slots__ = ("_drains", "_provider", "_response")

    def __init__(self, response: aiohttp.ClientResponse, provider: str, drains: set[asyncio.Task[None]]) -> None:
        self._response = response
        self._provider = provider
        self._drains = drains

    async def read(self) -> bytes:
        """Return all bytes that are there, waiting for the first; b"" at the end. Raises ProviderError when cut."""
        try:
            return await self._response.content.readany()
        except _failures() as error:
            raise connection_error(error, self._provider, code=CONNECTION_CUT) from None

    async def read_all(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body. Raises ProviderError when it is cut or longer than `max_bytes`."""
        blocks: list[bytes] = []
        size = 0
        while block := await self.read():
            size += len(block)
            if size > max_bytes:
                raise ProviderError(
                    ErrorClass.TEMPORARY, f"{self._provider}: the answer is too large", code="answer_too_large"
                )
            blocks.append(block)
        return b"".join(blocks)

    def finish(self) -> None:
        """End an answer whose terminator came: its connection is given back when its end comes within a second.

        That end is often a read of its own; closing instead would cost the next request a TLS handshake.
        """
        if self._response.content.at_eof():
            self.close()
            return
        drain = asyncio.get_running_loop().create_task(self._drain())
        self._drains.add(drain)
        drain.add_done_callback(self._drained)

    def _drained(self, drain: asyncio.Task[None]) -> None:
        self.close()  # here, because a task that is cancelled before its first step runs no `finally`
        self._drains.discard(drain)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN_S):
                left = MAX_ERROR_BODY_BYTES
                while left > 0 and (block := await self.read()):
                    left -= len(block)
        except (TimeoutError, ProviderError):
            pass

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it at once. Idempotent."""
        self._response.release()


async def _read_error_body(body: Body) -> bytes:
    """Return the beginning of an error answer: what came within 5 seconds, at most 64 KiB."""
    blocks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT_S):
            while size < MAX_ERROR_BODY_BYTES and (block := await body.read()):
                blocks.append(block)
                size += len(block)
    except (TimeoutError, ProviderError):
        pass  # the status and what was read must do
    finally:
        body.close()
    return b"".join(blocks)[:MAX_ERROR_BODY_BYTES]


def connection_error(error: BaseException, provider: str, code: str = "") -> ProviderError:
    """Return the ProviderError of a transport failure; the message names its kind, never an address or a body."""
    why, named = "the connection failed", "connection_failed"
    for kinds, text, name in _connection_errors():
        if isinstance(error, kinds):
            why, named = text, name
            break
    failure = ProviderError(ErrorClass.TEMPORARY, f"{provider}: {why}", code=code or named)
    failure.scope = "provider"
    return failure


@cache
def _connection_errors() -> tuple[tuple[tuple[type[BaseException], ...], str, str], ...]:
    """Return aiohttp's errors, the special ones first, each with its sentence and its code."""
    import aiohttp  # noqa: PLC0415 - loaded by now

    return (
        ((aiohttp.ConnectionTimeoutError,), "connecting took too long", "connect_timeout"),
        ((aiohttp.ClientConnectorCertificateError,), "its TLS certificate is not trusted", "tls_certificate"),
        ((aiohttp.ClientConnectorSSLError, ssl.SSLError), "the TLS handshake failed", "tls_failed"),
        ((aiohttp.ClientConnectorDNSError,), "its host name does not resolve", "dns_failed"),
        ((aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), "the proxy failed", "proxy_failed"),
        ((aiohttp.ClientConnectorError,), "it cannot be connected to", "connect_failed"),
        (
            (aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError),
            "it closed the connection",
            "reset",
        ),
        ((aiohttp.InvalidURL,), "its address is not a URL", "invalid_url"),
        ((aiohttp.ClientPayloadError,), "the answer was cut", "connection_cut"),
        ((aiohttp.ClientResponseError,), "its answer is not HTTP", "not_http"),
        ((TimeoutError,), "connecting took too long", "connect_timeout"),
    )


@cache
def _failures() -> tuple[type[Exception], ...]:
    """Return what a connection raises when it fails."""
    import aiohttp  # noqa: PLC0415 - loaded by now

    return (aiohttp.ClientError, OSError)  # ssl.SSLError and TimeoutError are OSErrors


def ssl_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities (certifi's where it has none) and those of `ca_file`."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        import certifi  # noqa: PLC0415 - only where the system has no authorities (slim images)

        context.load_verify_locations(certifi.where())
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


async def system_context() -> ssl.SSLContext:
    """Return the context that all providers without a `ca_file` share: reading the system's takes 30 ms and 1 MB."""
    return await asyncio.to_thread(_system_context)


@cache
def _system_context() -> ssl.SSLContext:
    return ssl_context(None)


def proxy_for(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a URL, None for a direct connection."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class Prepared(NamedTuple):
    """A request without its body: a yarl.URL, and every header that is sent but the body's own. Not to be shown."""

    url: Any
    headers: Mapping[str, str]


class Road:
    """The aiohttp session of one provider: what every transport made here sends on."""

    def __init__(self, settings: ProviderSettings, base_url: str) -> None:
        self.provider = settings.name
        self._settings = settings
        self._proxy = proxy_for(base_url)
        self._headers = {name.lower(): value for name, value in settings.headers.items()}
        self._session: aiohttp.ClientSession | None = None
        self.drains: set[asyncio.Task[None]] = set()

    async def send(self, method: str, url: str, headers: Any, body: Any) -> aiohttp.ClientResponse:
        """Send one request; return its answer at the head. Raises ProviderError (TEMPORARY)."""
        prepared = self.prepare(url, headers.items())
        return await self._request(method, prepared.url, prepared.headers, body)

    def prepare(self, url: str, headers: Iterable[tuple[str, str]]) -> Prepared:
        """Return where and with what headers a request goes, ready to be sent many times."""
        import yarl  # noqa: PLC0415 - loaded by now, with aiohttp

        sent = {name: value for name, value in headers if name not in _NOT_SENT}
        sent["accept-encoding"] = "identity"  # a compressed stream would wait for its blocks
        sent.update(self._headers)
        return Prepared(yarl.URL(url, encoded=True), sent)

    async def post(self, prepared: Prepared, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a prepared POST with a few headers more; return its answer at the head. Raises ProviderError."""
        sent = {**headers, **prepared.headers} if headers else prepared.headers
        return Answer(await self._request("POST", prepared.url, sent, body), self)

    async def _request(self, method: str, url: Any, headers: Mapping[str, str], body: Any) -> aiohttp.ClientResponse:
        session = self._session or await self.open()
        try:
            return await session.request(
                method, url, headers=headers, data=body, allow_redirects=False, proxy=self._proxy
            )
        except _failures() as error:
            raise connection_error(error, self.provider) from None

    def shows(self, headers: Mapping[str, str]) -> bool:
        """Return whether the ids in an answer's headers may be shown: they may, unless one repeats the key."""
        said = "\n".join(headers[name] for name in REQUEST_ID_HEADERS if name in headers)
        return not said or not repeats(said, self._settings.api_key())

    async def open(self) -> aiohttp.ClientSession:
        """Import aiohttp, read the certificates (both in a thread) and make the session. Idempotent.

        Raises ProviderError when `ca_file` cannot be read.
        """
        if self._session is not None:
            return self._session
        try:
            ca_file = self._settings.ca_file
            context = await asyncio.to_thread(ssl_context, ca_file) if ca_file else await system_context()
            aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
        except OSError as error:  # ssl.SSLError is one
            raise ProviderError(
                ErrorClass.OTHER, f"{self.provider}: its ca_file cannot be used", code=type(error).__name__
            ) from None
        if self._session is None:  # still
            connector = aiohttp.TCPConnector(
                limit=0,  # bounded above us: by max_streams
                keepalive_timeout=_KEEP_ALIVE_S,
                ssl=context,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=2**18,
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        drains = tuple(self.drains)
        for drain in drains:
            drain.cancel()
        await asyncio.gather(*drains, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class Answer:
    """An answer that came without an SDK; what read_answer reads of an httpx Response. `headers` ignore case."""

    __slots__ = ("extensions", "headers", "status_code")

    def __init__(self, response: aiohttp.ClientResponse, road: Road) -> None:
        self.status_code = response.status
        self.headers = response.headers if road.shows(response.headers) else _without_ids(response.headers)
        self.extensions = {BODY_EXTENSION: Body(response, road.provider, road.drains)}

    async def error_body(self) -> bytes:
        """Return the beginning of an error answer; its connection is given back or closed."""
        return await _read_error_body(self.extensions[BODY_EXTENSION])


def _without_ids(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in REQUEST_ID_HEADERS}


_NOT_SENT: Final = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})


def http_client(httpx: ModuleType, road: Road) -> Any:
    """Return an `AsyncClient` of the given module (httpx or httpx2) that sends on `road`, for an SDK's `http_client`.

    Headers that the SDK sends can be overruled by the settings' `headers`. Closing it closes the road.
    """
    return httpx.AsyncClient(
        transport=_transport_class(httpx)(road), timeout=None, follow_redirects=False, trust_env=False
    )


def body_of(response: Any) -> Body:
    """Return the body of an httpx (or httpx2) Response that came over our transport, to be read around httpx."""
    body: Body = response.extensions[BODY_EXTENSION]
    return body


@cache
def _transport_class(httpx: ModuleType) -> Any:
    class Stream(httpx.AsyncByteStream):  # type: ignore[misc, name-defined]  # a base that is known at run time only
        """The body for those who read through httpx."""

        def __init__(self, body: Body) -> None:
            self._body = body

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while block := await self._body.read():
                yield block

        async def aclose(self) -> None:
            self._body.close()

    class Transport(httpx.AsyncBaseTransport):  # type: ignore[misc, name-defined]  # as above
        """Sends httpx's requests with aiohttp."""

        def __init__(self, road: Road) -> None:
            self._road = road

        async def handle_async_request(self, request: Any) -> Any:
            data = await request.aread()
            answer = await self._road.send(request.method, str(request.url), request.headers, data or None)
            body = Body(answer, self._road.provider, self._road.drains)
            hidden = _HOP_BY_HOP if self._road.shows(answer.headers) else _HOP_BY_HOP | _REQUEST_IDS
            headers = [(k, v) for k, v in answer.raw_headers if k.lower() not in hidden]
            if answer.status >= 400:
                content = await _read_error_body(body)
                return httpx.Response(answer.status, headers=headers, content=content, request=request)
            return httpx.Response(
                answer.status,
                headers=headers,
                stream=Stream(body),
                request=request,
                extensions={BODY_EXTENSION: body, "http_version": b"HTTP/1.1"},
            )

        async def aclose(self) -> None:
            await self._road.aclose()

    return Transport
