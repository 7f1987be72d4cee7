"""Claude at Anthropic, on Amazon Bedrock (`anthropic-bedrock`) and on Google Cloud (`anthropic-vertex`).

Rules kept here:
- The official SDK makes the request: authentication, signature, base URL, headers, API version. Its retries, timeouts
  and tracing are off. A head that it made twice alike is used again (wire/heads.py). The answer's bytes are ours: read,
  decoded and closed by the shared wire.
- The SDK is imported in `open()` only, in a thread, as that takes up to two seconds.
- The key is asked for before every request, so that a rotated one is used by the next.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.anthropic_answer import AnthropicDecoder
from atlas_sidecar.adapters.providers.anthropic_errors import TAXONOMY, fault_of_refusal
from atlas_sidecar.adapters.providers.anthropic_eventstream import CONTENT_TYPE, EventStreamBody
from atlas_sidecar.adapters.providers.anthropic_request import messages_body
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.answer import read_answer
from atlas_sidecar.adapters.providers.wire.errors import cause_of
from atlas_sidecar.adapters.providers.wire.google_cloud import vertex_url
from atlas_sidecar.adapters.providers.wire.heads import Heads
from atlas_sidecar.adapters.providers.wire.ratelimits import anthropic_rate_limit
from atlas_sidecar.adapters.providers.wire.sdk import host_and_port
from atlas_sidecar.adapters.providers.wire.tools import caller_names
from atlas_sidecar.adapters.providers.wire.transport import BODY_EXTENSION, Road, body_of, http_client
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import ProviderBatch, ProviderCall, RateLimit

_DEFAULT_URL: Final = "https://api.anthropic.com"
_SAID_TIMEOUT_S: Final = 3600.0  # in a header; our transport keeps no timeout but that of connecting
_NO_MODEL_LIST: Final = frozenset({404, 405})  # a compatible server answered, and that is what a probe asks
_CREDENTIAL_ERRORS: Final = {
    "anthropic-bedrock": (("builtins", "RuntimeError"), ("botocore.exceptions", "BotoCoreError")),
    "anthropic-vertex": (("builtins", "RuntimeError"), ("google.auth.exceptions", "GoogleAuthError")),
}


@dataclass(frozen=True, slots=True)
class _Sdk:
    """What `open()` made. `errors`: what a request raises; among them `credential_errors` of the platform's library."""

    module: Any
    httpx: Any
    client: Any
    errors: tuple[type[BaseException], ...]
    credential_errors: tuple[type[BaseException], ...]
    heads: Heads


class AnthropicProvider:
    """One configured provider of Claude models.

    `settings.extra` for Bedrock: `aws_region`, `aws_profile`; for Google Cloud: `project_id`, `region`. Without an API
    key these two find credentials where their platform keeps them.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._sdk: _Sdk | None = None
        self._road: Road | None = None

    def __repr__(self) -> str:
        return f"AnthropicProvider({self.name!r}, kind={self.kind!r}, address={self.address!r})"

    @property
    def name(self) -> str:
        """The configured name."""
        return self._settings.name

    @property
    def kind(self) -> str:
        """`anthropic`, `anthropic-bedrock` or `anthropic-vertex`."""
        return self._settings.kind

    @property
    def has_credentials(self) -> bool:
        """Whether a key is there now; the platforms' own credentials are found out by the first call."""
        return self.kind != "anthropic" or bool(self._settings.api_key())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that calls go to."""
        return host_and_port(self._base_url() if self._sdk is None else str(self._sdk.client.base_url))

    async def open(self) -> None:
        """Import the SDK and build the client. Idempotent. Raises ProviderError, as when an extra is not installed."""
        await self._client()

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        self._sdk = None
        if self._road is not None:
            await self._road.aclose()

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        """Send exactly one request and yield its answer; see ports.Provider."""
        metadata: dict[str, Any] = {}
        decoder = AnthropicDecoder(self.kind, metadata, caller_names(call.request.tools))
        return read_answer(lambda: self._send(call, metadata), decoder, TAXONOMY, _rate_limit)

    async def probe(self) -> RateLimit | None:
        """List one model: free, and answered with the key's rights. The platforms have no such call."""
        if self.kind != "anthropic":
            return None
        sdk = await self._client()
        self._use_key(sdk.client)
        try:
            response = await sdk.client.get("/v1/models?limit=1", cast_to=sdk.httpx.Response)
        except sdk.errors as error:
            failure = self._failure(sdk, error)
            if failure.http_status in _NO_MODEL_LIST:
                return None
            raise failure from None
        return _rate_limit(response.headers)

    async def _send(self, call: ProviderCall, metadata: dict[str, Any]) -> Any:
        sdk = await self._client()
        self._use_key(sdk.client)
        try:
            body, headers, left_out = messages_body(call, self.kind)
        except (ValueError, RecursionError):
            raise ProviderError(
                ErrorClass.INVALID_REQUEST,
                f"{self.name}: a schema or part of the request is no JSON",
                code="invalid_json",
            ) from None
        if left_out:
            metadata["parameters_left_out"] = list(left_out)
        if self._settings.propagate_traceparent and call.traceparent:
            headers["traceparent"] = call.traceparent
        if self.kind != "anthropic":  # their SDKs rewrite the body, and sign or date the head
            response = await self._ask_sdk(sdk, headers, body=body)
            return _reframed(response) if self.kind == "anthropic-bedrock" else response
        content = msgspec.json.encode(body)
        told = {"Content-Type": "application/json", **headers}
        ask_sdk = functools.partial(self._ask_sdk, sdk, told, content=content)
        return await sdk.heads.post("", sdk.client.api_key, headers, content, ask_sdk)

    async def _ask_sdk(self, sdk: _Sdk, headers: Mapping[str, str], **body: Any) -> Any:
        try:
            return await sdk.client.post(
                "/v1/messages",
                cast_to=sdk.httpx.Response,
                options={"headers": headers, "timeout": _SAID_TIMEOUT_S},
                stream=True,  # the body stays unread, whatever it holds
                stream_cls=sdk.module.AsyncStream,
                **body,
            )
        except sdk.errors as error:
            raise self._failure(sdk, error) from None

    def _use_key(self, client: Any) -> None:
        key = self._settings.api_key()
        if self.kind == "anthropic":
            if not key:
                raise ProviderError(ErrorClass.AUTH, f"{self.name}: there is no API key", code="no_credentials")
            client.api_key = key
        elif key:
            setattr(client, "access_token" if self.kind == "anthropic-vertex" else "api_key", key)

    def _failure(self, sdk: _Sdk, error: BaseException) -> ProviderError:
        ours = cause_of(error)
        if ours is not None:
            return ours
        response = getattr(error, "response", None)
        if response is not None:
            return _refusal(response.status_code, _with_request_id(response.headers), response.content)
        if isinstance(error, sdk.credential_errors):
            return ProviderError(ErrorClass.AUTH, f"{self.name}: no credentials were found", code="no_credentials")
        name = type(error).__name__  # a key that is no header value, an address that is no URL
        return ProviderError(ErrorClass.OTHER, f"{self.name}: the request could not be made ({name})", code=name)

    def _base_url(self) -> str:
        settings, extra = self._settings, self._settings.extra
        if settings.base_url:
            return settings.base_url
        if self.kind == "anthropic-bedrock":
            return f"https://bedrock-runtime.{extra.get('aws_region') or 'us-east-1'}.amazonaws.com"
        if self.kind == "anthropic-vertex":
            return f"{vertex_url(extra.get('region') or 'global')}/v1"
        return _DEFAULT_URL

    async def _client(self) -> _Sdk:
        if self._sdk is None:
            async with self._opening:
                if self._sdk is None:
                    self._road = self._road or Road(self._settings, self._base_url())
                    await self._road.open()
                    self._sdk = await asyncio.to_thread(self._build, self._road)
        return self._sdk

    def _build(self, road: Road) -> _Sdk:
        try:
            named = [(importlib.import_module(m), name) for m, name in _CREDENTIAL_ERRORS.get(self.kind, ())]
            module, httpx = importlib.import_module("anthropic"), importlib.import_module("httpx2")
            client = self._made(module, http_client(httpx, road))
        except (ImportError, ValueError) as error:  # the extra is not installed; no region, no project
            why = "its extra is not installed" if isinstance(error, ImportError) else "its place is not configured"
            raise ProviderError(ErrorClass.OTHER, f"{self.name}: {why}", code="not_usable") from error
        credential_errors = tuple(getattr(found, name) for found, name in named)
        raised = (module.AnthropicError, httpx.InvalidURL, TypeError, ValueError, *credential_errors)
        return _Sdk(module, httpx, client, raised, credential_errors, Heads(road, _refusal))

    def _made(self, module: Any, transport: Any) -> Any:
        settings, extra = self._settings, self._settings.extra
        common: dict[str, Any] = {
            "max_retries": 0,
            "timeout": _SAID_TIMEOUT_S,
            "open_telemetry": False,  # spans are ours to make
            "http_client": transport,
        }
        if self.kind == "anthropic-bedrock":
            return module.AsyncAnthropicBedrock(
                base_url=settings.base_url or None,  # the SDK knows the region, also one of the environment
                aws_region=extra.get("aws_region") or None,
                aws_profile=extra.get("aws_profile") or None,
                # Signed with the request, so it must be what the road sends.
                default_headers={"accept-encoding": "identity"},
                **common,
            )
        if self.kind == "anthropic-vertex":
            places = {name: extra[name] for name in ("project_id", "region") if extra.get(name)}
            return module.AsyncAnthropicVertex(base_url=self._base_url(), **{"region": "global", **places}, **common)
        return module.AsyncAnthropic(base_url=self._base_url(), api_key=settings.api_key() or "none", **common)


def _refusal(status: int, headers: Any, content: bytes) -> ProviderError:
    fault = fault_of_refusal(status, headers, content)
    return TAXONOMY.error(fault, http_status=status, headers=headers, now_unix_s=time.time())


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    return anthropic_rate_limit(headers, time.time())


def _with_request_id(headers: Any) -> Any:
    if "x-amzn-requestid" in headers:
        headers["request-id"] = headers["x-amzn-requestid"]
    return headers


def _reframed(response: Any) -> Any:
    """Return Bedrock's answer as one that the shared reader knows."""
    _with_request_id(response.headers)
    if response.headers.get("content-type", "").startswith(CONTENT_TYPE):
        response.extensions[BODY_EXTENSION] = EventStreamBody(body_of(response))
        response.headers["content-type"] = "text/event-stream"
    return response
