"""Groq: chat completions with its own codes, its usage in `x_groq`, and reasoning in `reasoning`.

Rules kept here:
- `base_url` is the SDK's ("https://api.groq.com"); one ending in "/openai/v1", as OpenAI clients write it, works.
- Reasoning is asked for in its own field (`reasoning_format: parsed`), never as tags within the text.
- A JSON schema is asked for without a stream: Groq offers the two only apart. The answer is read the same way.
- JSON output beside tools is asked for in words: Groq refuses a response format there.
- A malformed tool call (`tool_use_failed`) is worth one more request; the failed text goes nowhere.
"""

from __future__ import annotations

import functools
import importlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire.answer import read_answer
from atlas_sidecar.adapters.providers.wire.chat_answer import ChatDecoder
from atlas_sidecar.adapters.providers.wire.chat_request import Body, Dialect, chat_body
from atlas_sidecar.adapters.providers.wire.errors import Taxonomy, TextRule, Verdict, refused_knob
from atlas_sidecar.adapters.providers.wire.json_in_words import json_beside_tools
from atlas_sidecar.adapters.providers.wire.ratelimits import openai_rate_limit
from atlas_sidecar.adapters.providers.wire.sdk import Sdk, SdkClient
from atlas_sidecar.adapters.providers.wire.tools import caller_names
from atlas_sidecar.core.errors import ErrorClass
from atlas_sidecar.core.types import (
    Capability,
    Message,
    Part,
    ProviderBatch,
    ProviderCall,
    RateLimit,
    ReasoningEffort,
    ResponseFormat,
    Role,
    Text,
)

DEFAULT_BASE_URL: Final = "https://api.groq.com"
_PATH: Final = "/openai/v1"
_GPT_OSS: Final = re.compile(r"(?:^|/)gpt-oss")
_QWEN: Final = re.compile(r"qwen-?(\d{1,2})(?:\.(\d{1,2}))?(?![\db])")  # "qwen-32b" says a size

_TOO_LONG: Final = Verdict(ErrorClass.CONTEXT_TOO_LONG, breaks_model=False)
_FAILED_TOOL: Final = Verdict(ErrorClass.TEMPORARY, breaks_model=False, retry_once=True)
_MODEL: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE)
_REFUSED_PARAMETER: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE, breaks_model=False)
_AUTH: Final = Verdict(ErrorClass.AUTH, scope="provider")

_CODES: Final[Mapping[str, Verdict]] = {
    "tool_use_failed": _FAILED_TOOL,
    "json_validate_failed": _FAILED_TOOL,
    "rate_limit_exceeded": Verdict(ErrorClass.RATE_LIMITED),
    "context_length_exceeded": _TOO_LONG,
    "request_too_large": _TOO_LONG,
    "over_capacity": Verdict(ErrorClass.OVERLOADED),
    "capacity_exceeded": Verdict(ErrorClass.OVERLOADED),
    "model_not_found": _MODEL,
    "model_decommissioned": _MODEL,
    "model_terms_required": _MODEL,
    "model_permission_blocked_org": _MODEL,
    "model_permission_blocked_project": _MODEL,
    "unsupported_parameter": _REFUSED_PARAMETER,
    "unsupported_value": _REFUSED_PARAMETER,
    "content_filter": Verdict(ErrorClass.CONTENT_FILTERED, breaks_model=False),
    "invalid_api_key": _AUTH,
    "expired_api_key": _AUTH,
    "organization_restricted": _AUTH,
    "insufficient_quota": Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider"),
    "spend_limit_reached": Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider"),
    "blocked_api_access": Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider"),  # over the spend limit
}
_TEXTS: Final = (
    TextRule(frozenset({413, 429}), re.compile(r"^Request too large\b"), _TOO_LONG),
    TextRule(frozenset({400}), re.compile(r"reduce the length of the messages"), _TOO_LONG),
    # What only Groq or this model refuses. (A failed tool call has its code, whatever its text quotes.)
    TextRule(
        frozenset({400}),
        re.compile(
            r"^(?!Failed to |Tool call validation).*(?:is not supported|is unsupported|does not support"
            r"|cannot be combined|must be a string|must be less than or equal to|maximum number of items)",
            re.IGNORECASE | re.DOTALL,
        ),
        _REFUSED_PARAMETER,
    ),
)


def groq_taxonomy(provider: str, secret: Callable[[], str | None] = lambda: None) -> Taxonomy:
    """Return Groq's table for a configured provider (PROVIDERS.md; console.groq.com/docs/errors)."""
    return Taxonomy(
        provider,
        codes=_CODES,
        texts=_TEXTS,
        status_of_kind={"invalid_request_error": 400, "internal_server_error": 500},
        further=refused_knob,
        secret=secret,
    )


def effort_word(model: str, effort: ReasoningEffort) -> str | None:
    """Return Groq's word: gpt-oss cannot do without reasoning; Qwen before 3.8 knows only with or without."""
    if _GPT_OSS.search(model):
        return "low" if effort is ReasoningEffort.NONE else effort.name.lower()
    if "qwen" in model.lower():
        version = _QWEN.search(model.lower())
        knows_effort = version is not None and (int(version[1]), int(version[2] or 0)) >= (3, 8)
        return effort.name.lower() if knows_effort or effort is ReasoningEffort.NONE else "default"
    return None


# Usage comes in `x_groq` unasked; `strict` is known to two models only.
_DIALECT: Final = Dialect(
    "max_completion_tokens", effort_word, strict_schemas=False, stream_usage=False, openais_limits=True, kind="groq"
)


def groq_body(call: ProviderCall) -> Body:
    """Return the JSON body of one call, and what is left out of it."""
    call = _with_format_apart(call)
    body, left_out = chat_body(call, _DIALECT)
    if Capability.REASONING in call.model.capabilities:
        if "include_reasoning" not in body:
            body.setdefault("reasoning_format", "parsed")
        if call.request.sampling.reasoning_effort is ReasoningEffort.NONE and body.get("reasoning_effort") != "none":
            left_out = (*left_out, "reasoning_effort")
    return Body(body, left_out)


def _with_format_apart(call: ProviderCall) -> ProviderCall:
    """Return a call without what Groq takes only apart: a response format beside tools, a schema beside a stream."""
    request = call.request
    wanted = request.response_format
    if (request.tools or call.options.get("tools")) and (wanted.json_schema or wanted.json_object):
        messages = _with_system_text(request.messages, json_beside_tools(wanted.json_schema))
        return replace(call, request=replace(request, messages=messages, response_format=ResponseFormat()))
    return replace(call, stream=False) if wanted.json_schema else call


def _with_system_text(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    first, added = (messages[0] if messages else None), Part(Text(text))
    if first is not None and first.role is Role.SYSTEM:
        return (first._replace(parts=(*first.parts, added)), *messages[1:])
    return (Message(Role.SYSTEM, (added,)), *messages)


class GroqProvider:
    """Implements ports.Provider for Groq."""

    kind = "groq"

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._taxonomy = groq_taxonomy(settings.name, settings.api_key)
        base_url = (settings.base_url or DEFAULT_BASE_URL).rstrip("/").removesuffix(_PATH)
        self._sdk = SdkClient(settings, base_url, self._taxonomy, functools.partial(_client, settings, base_url))

    @property
    def name(self) -> str:
        """The configured name."""
        return self._settings.name

    @property
    def has_credentials(self) -> bool:
        """Whether a key is there now."""
        return self._sdk.has_credentials

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the base URL."""
        return self._sdk.address

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        """Send one chat completion; see ports.Provider.stream."""
        metadata: dict[str, Any] = {}
        decoder = ChatDecoder(self._taxonomy, self.kind, time.time(), metadata, caller_names(call.request.tools))
        return read_answer(functools.partial(self._send, call, metadata), decoder, self._taxonomy, _rate_limit)

    async def _send(self, call: ProviderCall, metadata: dict[str, Any]) -> Any:
        body, left_out = groq_body(call)
        if left_out:
            metadata["parameters_left_out"] = list(left_out)
        headers = {"traceparent": call.traceparent} if self._settings.propagate_traceparent and call.traceparent else {}
        return await self._sdk.post(f"{_PATH}/chat/completions", msgspec.json.encode(body), headers)

    async def probe(self) -> RateLimit | None:
        """List the models; return the rate limits in the answer's headers."""
        return _rate_limit(await self._sdk.list_models(f"{_PATH}/models"))

    async def open(self) -> None:
        """Import the SDK and build its client."""
        await self._sdk.open()

    async def aclose(self) -> None:
        """Close connections."""
        await self._sdk.aclose()


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    return openai_rate_limit(headers, time.time())


def _client(settings: ProviderSettings, base_url: str, make_http_client: Callable[[ModuleType], Any]) -> Sdk:
    sdk, httpx = importlib.import_module("groq"), importlib.import_module("httpx")
    client = sdk.AsyncGroq(
        api_key=settings.api_key() or "unset",
        base_url=base_url,
        max_retries=0,
        http_client=make_http_client(httpx),
    )
    return Sdk(sdk, httpx, client)
