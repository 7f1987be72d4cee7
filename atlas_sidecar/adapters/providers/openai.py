"""OpenAI, Azure OpenAI, and any server that speaks chat completions.

Rules kept here:
- `kind: openai` with another `base_url` is a compatible server: the old `max_tokens` is sent there, because most know
  only that (`extra.max_tokens_field` overrules).
- A stream without `[DONE]` is broken; `extra.done_marker: false` is for servers that never send it.
- `wire` chooses the API. Unset, it is chat completions; but OpenAI's own server gets the tools of those models that
  refuse them there over the Responses API (docs/0022).
- Azure's own client class builds the address and the credentials; the model's name is the deployment's.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.openai_errors import openai_taxonomy
from atlas_sidecar.adapters.providers.openai_models import (
    effort_word,
    refused_by_openai,
    refused_parameters,
    refuses_tools_over_chat,
    takes_breakpoints,
)
from atlas_sidecar.adapters.providers.openai_responses_answer import ResponsesDecoder
from atlas_sidecar.adapters.providers.openai_responses_request import responses_body
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.answer import Decoder, read_answer
from atlas_sidecar.adapters.providers.wire.chat_answer import ChatDecoder
from atlas_sidecar.adapters.providers.wire.chat_request import Dialect, chat_body
from atlas_sidecar.adapters.providers.wire.ratelimits import openai_rate_limit
from atlas_sidecar.adapters.providers.wire.sdk import Sdk, SdkClient
from atlas_sidecar.adapters.providers.wire.tools import caller_names
from atlas_sidecar.core.types import ProviderBatch, ProviderCall, RateLimit

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
AZURE_API_VERSION: Final = "2024-10-21"
AZURE_RESPONSES_VERSION: Final = "2025-04-01-preview"
_UNSET_KEY: Final = "unset"


class OpenAIProvider:
    """Implements ports.Provider for kinds `openai` and `azure-openai`, over chat completions and the Responses API."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._azure = settings.kind == "azure-openai"
        self._taxonomy = openai_taxonomy(settings.name, settings.api_key)
        self._base_url = settings.base_url or DEFAULT_BASE_URL
        build = _azure_client if self._azure else _openai_client
        self._sdk = SdkClient(
            settings, self._base_url, self._taxonomy, functools.partial(build, settings, self._base_url)
        )
        host = f".{self._sdk.address[0]}"
        self._is_openais = not self._azure and host.endswith(".api.openai.com")  # eu.api.openai.com, too
        own_server = self._azure or self._is_openais or host.endswith(".azure.com")
        field = settings.extra.get("max_tokens_field", "max_completion_tokens" if own_server else "max_tokens")
        self._dialect = Dialect(field, effort_word, refused_parameters)
        if own_server:
            self._dialect = Dialect(field, effort_word, refused_by_openai, openais_limits=True)
        if self._is_openais:
            self._dialect = replace(self._dialect, breakpoints=takes_breakpoints)
        self._done_marker = bool(settings.extra.get("done_marker", True))

    @property
    def name(self) -> str:
        """The configured name."""
        return self._settings.name

    @property
    def kind(self) -> str:
        """`openai`, for Azure too: its parts are OpenAI's."""
        return "openai"

    @property
    def has_credentials(self) -> bool:
        """Whether a key is there now."""
        return self._sdk.has_credentials

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the base URL."""
        return self._sdk.address

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        """Send one request; see ports.Provider.stream."""
        metadata: dict[str, Any] = {}
        names = caller_names(call.request.tools)
        decoder: Decoder
        if self._speaks_responses(call):
            decoder = ResponsesDecoder(self._taxonomy, time.time(), metadata, names)
        else:
            decoder = ChatDecoder(
                self._taxonomy,
                self.kind,
                time.time(),
                metadata,
                names,
                self._done_marker,
                signs_reasoning=not self._dialect.openais_limits,
            )
        return read_answer(functools.partial(self._send, call, metadata), decoder, self._taxonomy, rate_limit_now)

    def _speaks_responses(self, call: ProviderCall) -> bool:
        if self._settings.wire:
            return self._settings.wire == "responses"
        if not self._is_openais or not call.request.tools or call.options.get("reasoning_effort") == "none":
            return False  # with that option chat completions takes the tools, and the Responses API not the option
        return refuses_tools_over_chat(call.model.ref.model)

    async def _send(self, call: ProviderCall, metadata: dict[str, Any]) -> Any:
        if self._speaks_responses(call):
            path, (body, left_out) = "/responses", responses_body(call, self._dialect)
        else:
            deployment = f"/deployments/{call.model.ref.model}" if self._azure else ""
            path, (body, left_out) = f"{deployment}/chat/completions", chat_body(call, self._dialect)
        if left_out:
            metadata["parameters_left_out"] = list(left_out)
        return await self._sdk.post(path, msgspec.json.encode(body), trace_headers(self._settings, call))

    async def probe(self) -> RateLimit | None:
        """List the models; return the rate limits in the answer's headers."""
        return rate_limit_now(await self._sdk.list_models())

    async def open(self) -> None:
        """Import the SDK and build its client."""
        await self._sdk.open()

    async def aclose(self) -> None:
        """Close connections."""
        await self._sdk.aclose()


def rate_limit_now(headers: Any) -> RateLimit | None:
    """Return what rate-limit headers say, counted from now."""
    return openai_rate_limit(headers, time.time())


def trace_headers(settings: ProviderSettings, call: ProviderCall) -> dict[str, str]:
    """Return the headers that continue the trace at the provider, none unless configured."""
    return {"traceparent": call.traceparent} if settings.propagate_traceparent and call.traceparent else {}


def _openai_client(settings: ProviderSettings, base_url: str, make_http_client: Callable[[ModuleType], Any]) -> Sdk:
    sdk, httpx = importlib.import_module("openai"), importlib.import_module("httpx2")
    client = sdk.AsyncOpenAI(
        api_key=settings.api_key() or _UNSET_KEY,
        base_url=base_url,
        max_retries=0,
        http_client=make_http_client(httpx),
    )
    client.organization, client.project = settings.organization, None  # never from the environment
    return Sdk(sdk, httpx, client)


def _azure_client(settings: ProviderSettings, base_url: str, make_http_client: Callable[[ModuleType], Any]) -> Sdk:
    sdk, httpx = importlib.import_module("openai"), importlib.import_module("httpx2")
    version = AZURE_RESPONSES_VERSION if settings.wire == "responses" else AZURE_API_VERSION
    client = sdk.AsyncAzureOpenAI(
        api_key=settings.api_key() or _UNSET_KEY,
        azure_endpoint=base_url,
        api_version=settings.extra.get("api_version", version),
        max_retries=0,
        http_client=make_http_client(httpx),
    )
    client.organization, client.project = settings.organization, None
    return Sdk(sdk, httpx, client)
