"""Calls through an SDK's client: the SDK makes the request, the raw answer comes back, errors become ProviderError.

Rules kept here:
- The SDKs of OpenAI, Groq and Anthropic are made by one generator: the same client class, the same `post` and `get`.
- The key of now goes into the client before every request. No key: AUTH, and nothing is sent.
- A head that the SDK made twice alike is used again without it (heads.py).
- Exactly one HTTP request; the answer is not read here (but the body of an error).
- The SDK is imported and its client built in a thread: the event loop goes on. One at a time, and nothing is asked of
  an SDK while `httpx` is half imported: OpenAI's uses what it finds of it, and Groq's imports it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.errors import Taxonomy, cause_of, fault_of_body
from atlas_sidecar.adapters.providers.wire.heads import Heads
from atlas_sidecar.adapters.providers.wire.transport import Road, body_of, http_client
from atlas_sidecar.core.errors import ErrorClass, ProviderError

MAX_MODEL_LIST_BYTES = 8 * 1024 * 1024
_NO_MODEL_LIST = frozenset({404, 405})
_BUILDING = threading.Lock()


class Sdk(NamedTuple):
    """An imported SDK: the module of its errors, the httpx generation it speaks, and its client."""

    module: ModuleType
    httpx: ModuleType
    client: Any


class SdkClient:
    """One provider's SDK client. `build` imports the SDK and makes its client over the given `make_http_client(httpx)`.

    `build` runs in a thread; it sets max_retries=0 and any key, which is replaced before each request.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        base_url: str,
        taxonomy: Taxonomy,
        build: Callable[[Callable[[ModuleType], Any]], Sdk],
    ) -> None:
        self._settings = settings
        self._taxonomy = taxonomy
        self._build = build
        self._road = Road(settings, base_url)
        self._heads = Heads(self._road, functools.partial(_refusal, taxonomy))
        self._sdk: Sdk | None = None
        self._opening = asyncio.Lock()
        self.address = host_and_port(base_url)

    @property
    def has_credentials(self) -> bool:
        """Whether a key is there now."""
        return bool(self._settings.api_key())

    async def open(self) -> None:
        """Import the SDK and build its client. Idempotent."""
        await self._opened()

    async def _opened(self) -> Sdk:
        if self._sdk is None:
            async with self._opening:
                if self._sdk is None:
                    await self._road.open()
                    self._sdk = await asyncio.to_thread(self._built)
        return self._sdk

    def _built(self) -> Sdk:
        with _BUILDING:
            return self._build(lambda httpx: http_client(httpx, self._road))

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        await self._road.aclose()

    async def post(self, path: str, content: bytes, headers: Mapping[str, str]) -> Any:
        """Send a JSON body; return the httpx Response at its head, unread. Raises ProviderError."""
        sdk = await self._ready()

        async def ask_sdk() -> Any:
            with self._errors(sdk):
                return await sdk.client.post(
                    path,
                    cast_to=sdk.httpx.Response,
                    content=content,
                    options={"headers": {"Content-Type": "application/json", **headers}},
                    stream=True,
                    stream_cls=sdk.module.AsyncStream[Any],
                )

        return await self._heads.post(path, sdk.client.api_key, headers, content, ask_sdk)

    async def list_models(self, path: str = "/models") -> Mapping[str, str]:
        """Ask for the list of models (free of charge); return the answer's headers. Raises ProviderError.

        A compatible server that has no such list answered nevertheless: that is no failure.
        """
        sdk = await self._ready()
        try:
            with self._errors(sdk):
                response = await sdk.client.get(
                    path, cast_to=sdk.httpx.Response, stream=True, stream_cls=sdk.module.AsyncStream[Any]
                )
        except ProviderError as error:
            if error.http_status in _NO_MODEL_LIST:
                return {}
            raise
        body = body_of(response)
        try:
            await body.read_all(MAX_MODEL_LIST_BYTES)
        finally:
            body.close()
        headers: Mapping[str, str] = response.headers
        return headers

    async def _ready(self) -> Sdk:
        sdk = self._sdk or await self._opened()
        spec = getattr(sys.modules.get("httpx"), "__spec__", None)
        if getattr(spec, "_initializing", False):  # by another thread; importing it too waits for that
            await asyncio.to_thread(importlib.import_module, "httpx")
        key = self._settings.api_key()
        if not key:
            raise ProviderError(
                ErrorClass.AUTH, f"{self._settings.name}: there are no credentials", code="no_credentials"
            )
        if sdk.client.api_key != key:
            sdk.client.api_key = key
        return sdk

    def _errors(self, sdk: Sdk) -> _Errors:
        return _Errors(sdk, self._taxonomy)


def host_and_port(url: str) -> tuple[str, int]:
    """Return where a base URL leads, with the scheme's port when it names none; ("", 0) for what is no URL."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return "", 0


def _refusal(taxonomy: Taxonomy, status: int, headers: Any, content: bytes) -> ProviderError:
    return taxonomy.error(fault_of_body(status, content), http_status=status, headers=headers, now_unix_s=time.time())


class _Errors:
    """A context that turns what an SDK raises into ProviderError; a class, because it is entered for every request."""

    __slots__ = ("_sdk", "_taxonomy")

    def __init__(self, sdk: Sdk, taxonomy: Taxonomy) -> None:
        self._sdk = sdk
        self._taxonomy = taxonomy

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None or isinstance(error, ProviderError) or not isinstance(error, Exception):
            return
        raise self._translated(error) from None

    def _translated(self, error: Exception) -> ProviderError:
        if isinstance(error, self._sdk.module.APIStatusError):
            response = error.response
            return _refusal(self._taxonomy, response.status_code, response.headers, response.content)
        cause = cause_of(error)
        if cause is not None:
            return cause
        # What is left is a request that could not be made: a key that is no header value, an address that is no URL.
        name = type(error).__name__
        return ProviderError(
            ErrorClass.OTHER, f"{self._taxonomy.provider}: the request could not be made ({name})", code=name
        )
