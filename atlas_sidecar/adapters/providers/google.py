"""Gemini at Google AI (`google`) and on Google Cloud (`vertex`).

Rules kept here:
- The official SDK makes the request: authentication, token refresh, base URL, project path, headers. It sends it
  through an httpx client of ours, from which the answer is taken before the SDK reads it (docs: google-raw-bytes).
- Its retries, its automatic function calls and continuations never run: they live above the call that is made here.
- The SDK is imported in `open()` only, in a thread, as that takes up to two seconds.
- The key is asked for before every request, so that a rotated one is used by the next.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import time
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.google_answer import GoogleDecoder
from atlas_sidecar.adapters.providers.google_errors import TAXONOMY, error_of_answer
from atlas_sidecar.adapters.providers.google_request import content_body
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.answer import read_answer
from atlas_sidecar.adapters.providers.wire.errors import cause_of
from atlas_sidecar.adapters.providers.wire.google_cloud import vertex_url
from atlas_sidecar.adapters.providers.wire.heads import Heads
from atlas_sidecar.adapters.providers.wire.sdk import host_and_port
from atlas_sidecar.adapters.providers.wire.tools import GEMINIS_NAME, caller_names
from atlas_sidecar.adapters.providers.wire.transport import Road, http_client
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import ProviderBatch, ProviderCall, RateLimit

_DEFAULT_URL: Final = "https://generativelanguage.googleapis.com"
_NO_MODEL_LIST: Final = frozenset({404, 405})  # a compatible server answered, and that is what a probe asks
_API_VERSIONS: Final = {"google": "v1beta", "vertex": "v1beta1"}

# The answer that arrived for the request that this task makes: set below the SDK, read above it.
_ANSWER: Final[ContextVar[list[Any]]] = ContextVar("google_answer")


@dataclass(frozen=True, slots=True)
class _Sdk:
    """What `open()` made. `errors`: what a request raises; among them `credential_errors` of Google's library."""

    client: Any
    errors: tuple[type[BaseException], ...]
    credential_errors: tuple[type[BaseException], ...]
    heads: Heads


class GoogleProvider:
    """One configured provider of Gemini models.

    `settings.extra`: `api_version`; for Vertex `project` and `location`, whose credentials are Google Cloud's own
    (GOOGLE_APPLICATION_CREDENTIALS and so on) unless there is an API key.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._sdk: _Sdk | None = None
        self._road: Road | None = None

    def __repr__(self) -> str:
        return f"GoogleProvider({self.name!r}, kind={self.kind!r}, address={self.address!r})"

    @property
    def name(self) -> str:
        """The configured name."""
        return self._settings.name

    @property
    def kind(self) -> str:
        """`google` or `vertex`."""
        return self._settings.kind

    @property
    def has_credentials(self) -> bool:
        """Whether a key is there now; Google Cloud's own credentials are found out by the first call."""
        return self.kind == "vertex" or bool(self._settings.api_key())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that calls go to."""
        return host_and_port(self._base_url())

    async def open(self) -> None:
        """Import the SDK and build the client. Idempotent. Raises ProviderError."""
        await self._client()

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        self._sdk = None
        if self._road is not None:
            await self._road.aclose()

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        """Send exactly one request and yield its answer; see ports.Provider."""
        metadata: dict[str, Any] = {}
        decoder = GoogleDecoder(self.kind, metadata, caller_names(call.request.tools, GEMINIS_NAME))
        return read_answer(lambda: self._send(call, metadata), decoder, TAXONOMY, _no_limits)

    async def probe(self) -> RateLimit | None:
        """List one model: free, and answered with the key's rights. Vertex has no such call for every account."""
        if self.kind == "google":
            sdk = await self._client()
            try:
                await sdk.client.aio.models.list(config={"page_size": 1, "http_options": {"headers": self._headers()}})
            except sdk.errors as error:
                failure = self._failure(sdk, error)
                if failure.http_status not in _NO_MODEL_LIST:
                    raise failure from None
        return None

    async def _send(self, call: ProviderCall, metadata: dict[str, Any]) -> Any:
        sdk = await self._client()
        headers = self._headers()
        if self._settings.propagate_traceparent and call.traceparent:
            headers["traceparent"] = call.traceparent
        try:
            body, left_out = content_body(call)
        except (ValueError, RecursionError):
            raise ProviderError(
                ErrorClass.INVALID_REQUEST,
                f"{self.name}: a part of the request is no JSON",
                code="invalid_json",
            ) from None
        if left_out:
            metadata["parameters_left_out"] = list(left_out)
        path = f"{self._model_path(call.model.ref.model)}:"
        path += "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        ask_sdk = functools.partial(self._ask_sdk, sdk, path, body, headers)
        if self.kind == "vertex":  # its token changes
            return await ask_sdk()
        return await sdk.heads.post(path, "", headers, msgspec.json.encode(body), ask_sdk)

    async def _ask_sdk(self, sdk: _Sdk, path: str, body: Any, headers: dict[str, str]) -> Any:
        answer: list[Any] = []
        token = _ANSWER.set(answer)
        try:
            # The SDK's own request, without its conversions: they would copy the prompt three times (docs: as above).
            await sdk.client._api_client.async_request_streamed("post", path, body, {"headers": headers})
        except sdk.errors as error:
            raise self._failure(sdk, error) from None
        finally:
            _ANSWER.reset(token)
        return answer[0]

    def _model_path(self, model: str) -> str:
        if self.kind == "google":
            return model if "/" in model else f"models/{model}"
        return model if model.startswith(("publishers/", "projects/")) else f"publishers/google/models/{model}"

    def _headers(self) -> dict[str, str]:
        key = self._settings.api_key()
        if self.kind == "google" and not key:
            raise ProviderError(ErrorClass.AUTH, f"{self.name}: there is no API key", code="no_credentials")
        return {"x-goog-api-key": key} if key else {}

    def _failure(self, sdk: _Sdk, error: BaseException) -> ProviderError:
        ours = cause_of(error)
        if ours is not None:
            return ours
        if isinstance(error, sdk.credential_errors):
            return ProviderError(ErrorClass.AUTH, f"{self.name}: no credentials were found", code="no_credentials")
        name = type(error).__name__  # a key that is no header value, an address that is no URL
        return ProviderError(ErrorClass.OTHER, f"{self.name}: the request could not be made ({name})", code=name)

    def _base_url(self) -> str:
        if self._settings.base_url:
            return self._settings.base_url
        if self.kind == "google":
            return _DEFAULT_URL
        return vertex_url(self._settings.extra.get("location") or "global")

    async def _client(self) -> _Sdk:
        if self._sdk is None:
            async with self._opening:
                if self._sdk is None:
                    self._road = self._road or Road(self._settings, self._base_url())
                    await self._road.open()
                    self._sdk = await asyncio.to_thread(self._build, self._road)
        return self._sdk

    def _build(self, road: Road) -> _Sdk:
        settings, extra = self._settings, self._settings.extra
        genai, httpx = importlib.import_module("google.genai"), importlib.import_module("httpx2")
        auth = importlib.import_module("google.auth.exceptions")
        client = http_client(httpx, road)
        client.event_hooks = {"response": [_take]}
        options = genai.types.HttpOptions(
            base_url=self._base_url(),
            api_version=extra.get("api_version") or _API_VERSIONS[self.kind],
            httpx_async_client=client,
            httpx_client=httpx.Client(
                transport=httpx.HTTPTransport(verify=False)
            ),  # never used; made, it would cost 40 ms
        )
        key = settings.api_key()
        places = {"project": extra.get("project"), "location": extra.get("location") or (None if key else "global")}
        try:
            if self.kind == "google":
                made = genai.Client(vertexai=False, api_key=key or "none", http_options=options)
            else:
                made = genai.Client(vertexai=True, api_key=key or None, http_options=options, **places)
        except (ValueError, auth.GoogleAuthError) as error:  # neither key nor project; no credentials
            raise ProviderError(
                ErrorClass.AUTH, f"{self.name}: no credentials were found", code="no_credentials"
            ) from error
        raised = (ProviderError, genai.errors.APIError, httpx.InvalidURL, RuntimeError, TypeError, ValueError)
        return _Sdk(made, (*raised, auth.GoogleAuthError), (auth.GoogleAuthError,), Heads(road, _refusal))


def _refusal(status: int, headers: Any, body: bytes) -> ProviderError:
    return error_of_answer(status, headers, body, time.time())


def _refuse(_request: Any) -> Any:
    raise ProviderError(ErrorClass.OTHER, "google: a synchronous call was made", code="synchronous")


async def _take(response: Any) -> None:
    """Keep the answer from the SDK: an error becomes ours here, a good one is read by the shared wire."""
    if response.status_code >= 400:
        body = await response.aread()
        raise _refusal(response.status_code, response.headers, body)
    taken = _ANSWER.get(None)
    if taken is not None:
        taken.append(response)


def _no_limits(_headers: Mapping[str, str]) -> RateLimit | None:
    """Gemini sends no rate headers."""
    return None
