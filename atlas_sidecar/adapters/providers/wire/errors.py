"""From what a provider said to a ProviderError: one reader of error bodies, one table for each provider.

Rules kept here:
- The body's code or type where the table knows it, else the HTTP status. Message text only refines what these two
  cannot tell apart, by rules that name their statuses (400 and 413; 429 for "Request too large"). No body is searched
  for digits.
- A message is made of our own words and the provider's code, never of the provider's text: that may repeat a prompt,
  a key or a tool's arguments (shown.py).
- What is read is bounded, and any body is legal: JSON of any shape, HTML, text, nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from atlas_sidecar.adapters.providers.wire.shown import (
    KNOB_FIELDS,
    first_field,
    repeats,
    safe_code,
    safe_id,
    safe_param,
)
from atlas_sidecar.adapters.providers.wire.waits import header_wait_s, message_wait_s
from atlas_sidecar.core.errors import ErrorClass, ProviderError

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "x-goog-request-id", "apim-request-id")

# What each class says to people. The provider's name, its code and the status are added.
SENTENCES: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.RATE_LIMITED: "the rate limit is reached",
    ErrorClass.OVERLOADED: "the provider is overloaded",
    ErrorClass.TEMPORARY: "the provider failed for the moment",
    ErrorClass.TIMEOUT: "the provider did not answer in time",
    ErrorClass.QUOTA_EXHAUSTED: "the account's quota or credit is used up",
    ErrorClass.AUTH: "the provider does not accept the credentials",
    ErrorClass.MODEL_UNAVAILABLE: "the model is not available for this request",
    ErrorClass.CONTEXT_TOO_LONG: "the request is too long for the model or for this key",
    ErrorClass.CONTENT_FILTERED: "the provider's content filter refused the request",
    ErrorClass.INVALID_REQUEST: "the provider finds the request invalid",
    ErrorClass.STREAM_BROKEN: "the answer broke off",
    ErrorClass.OTHER: "the provider gave an answer that has no known meaning",
}


class Verdict(NamedTuple):
    """What a signal means; the fields are those of ProviderError."""

    error_class: ErrorClass
    breaks_model: bool = True
    retry_once: bool = False
    scope: str = "model"


class TextRule(NamedTuple):
    """A verdict by message text, for some statuses only."""

    statuses: frozenset[int]
    pattern: re.Pattern[str]
    verdict: Verdict


class Fault(NamedTuple):
    """What an answer said, before it has a class. `message` is never shown.

    `status`: the status that rules look at: that of HTTP, or the one that an error inside a 200 stream names.
    `kind`: the body's `type` (Google: `status`); `error`: the whole error object, for what only one provider has.
    """

    status: int
    code: str = ""
    kind: str = ""
    message: str = ""
    param: str = ""
    error: Mapping[str, Any] = {}


_AUTH: Final = Verdict(ErrorClass.AUTH, scope="provider")
_MODEL: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE)
_TEMPORARY: Final = Verdict(ErrorClass.TEMPORARY)
_INVALID: Final = Verdict(ErrorClass.INVALID_REQUEST, breaks_model=False)
_TOO_LONG: Final = Verdict(ErrorClass.CONTEXT_TOO_LONG, breaks_model=False)

COMMON_STATUSES: Final[Mapping[int, Verdict]] = {
    400: _INVALID,
    401: _AUTH,
    402: Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider"),
    403: _AUTH,
    404: _MODEL,
    405: _MODEL,
    408: _TEMPORARY,
    409: _TEMPORARY,
    410: _MODEL,
    413: _TOO_LONG,
    414: _TOO_LONG,
    422: _INVALID,
    425: _TEMPORARY,
    429: Verdict(ErrorClass.RATE_LIMITED),
    498: Verdict(ErrorClass.OVERLOADED),
    500: _TEMPORARY,
    502: _TEMPORARY,
    503: Verdict(ErrorClass.OVERLOADED),
    504: Verdict(ErrorClass.TIMEOUT),
    529: Verdict(ErrorClass.OVERLOADED),
}


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """One provider's table. `codes`: by `code`, then by `kind`; `status_of_kind`: for errors inside a 200 stream.

    `further`: what a fault means that neither codes nor texts know, by what its fields say together; None = the status.
    `secret`: the key in use, which nothing that is shown may repeat.
    """

    provider: str
    codes: Mapping[str, Verdict] = field(default_factory=dict)
    texts: Sequence[TextRule] = ()
    statuses: Mapping[int, Verdict] = field(default_factory=dict)
    status_of_kind: Mapping[str, int] = field(default_factory=dict)
    further: Callable[[Fault], Verdict | None] = lambda _fault: None
    secret: Callable[[], str | None] = field(default=lambda: None, repr=False)

    def verdict(self, fault: Fault) -> Verdict:
        """Return what the fault means; OTHER when no rule speaks."""
        for rule in self.texts:
            if fault.status in rule.statuses and rule.pattern.search(fault.message[:4096]):
                return rule.verdict
        for code in (fault.code, fault.kind):
            if code in self.codes:
                return self.codes[code]
        status = self.status_of_kind.get(fault.kind, fault.status) if fault.status < 400 else fault.status
        further = self.further(fault._replace(status=status))
        if further is not None:
            return further
        known = self.statuses.get(status) or COMMON_STATUSES.get(status)
        if known is not None:
            return known
        if status >= 500 or status == 200:  # 200: an error inside a stream that says no more than that
            return _TEMPORARY
        return _INVALID if 400 <= status < 500 else Verdict(ErrorClass.OTHER)

    def error(
        self,
        fault: Fault,
        *,
        http_status: int,
        headers: Mapping[str, str],
        now_unix_s: float,
        verdict: Verdict | None = None,
    ) -> ProviderError:
        """Return the error of a fault; `verdict` overrules the table. `http_status` is the real one."""
        chosen = verdict or self.verdict(fault)
        wait_s = header_wait_s(headers, now_unix_s) if http_status >= 400 else None
        if wait_s is None and chosen.error_class in {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED}:
            wait_s = message_wait_s(fault.message)
        code = self.shown(fault.code) or self.shown(fault.kind)
        error = ProviderError(
            chosen.error_class,
            self.sentence(chosen.error_class, code, http_status, fault.param),
            code=code,
            http_status=http_status,
            retry_after_s=wait_s,
            breaks_model=chosen.breaks_model,
            retry_once=chosen.retry_once,
        )
        error.scope = chosen.scope
        error.provider_request_id = request_id(headers)
        return error

    def shown(self, code: str) -> str:
        """Return a provider's code as it may be shown; "" for what could be text or a key."""
        known = code in self.codes or code in self.status_of_kind
        return code if known else "" if repeats(code, self.secret()) else safe_code(code)

    def sentence(self, error_class: ErrorClass, code: str, http_status: int, param: str = "") -> str:
        """Return a message that is safe to show ("openai: the rate limit is reached (HTTP 429, tokens)")."""
        notes = [f"HTTP {http_status}"] if http_status else []
        notes += [code] if code else []
        path = "" if any(repeats(piece, self.secret()) for piece in (param, *param.split("."))) else safe_param(param)
        notes += [f"parameter {path}"] if path else []
        sentence = f"{self.provider}: {SENTENCES.get(error_class, SENTENCES[ErrorClass.OTHER])}"
        return f"{sentence} ({', '.join(notes)})" if notes else sentence

    def broken(
        self, why: str, *, has_content: bool, http_status: int = 0, provider_request_id: str = ""
    ) -> ProviderError:
        """Return the error of an answer that cannot be read to its end: STREAM_BROKEN, before content TEMPORARY.

        `why` is shown: our own words only ("the stream ended without its terminator").
        """
        error = ProviderError(
            ErrorClass.STREAM_BROKEN if has_content else ErrorClass.TEMPORARY,
            f"{self.provider}: {why}",
            code="stream_broken",
            http_status=http_status,
        )
        error.provider_request_id = provider_request_id
        return error

    def filtered(self, code: str, *, http_status: int = 200, provider_request_id: str = "") -> ProviderError:
        """Return the error of a 200 that ends in a refusal or a filter without any content."""
        error = ProviderError(
            ErrorClass.CONTENT_FILTERED,
            self.sentence(ErrorClass.CONTENT_FILTERED, self.shown(code), http_status),
            code=self.shown(code),
            http_status=http_status,
            breaks_model=False,
        )
        error.provider_request_id = provider_request_id
        return error


def refused_knob(fault: Fault) -> Verdict | None:
    """Return MODEL_UNAVAILABLE without blame for a 400 about how to answer: another model may take it.

    For a Taxonomy's `further`.
    """
    known = fault.status in {400, 422} and first_field(fault.param) in KNOB_FIELDS
    return Verdict(ErrorClass.MODEL_UNAVAILABLE, breaks_model=False) if known else None


def request_id(headers: Mapping[str, str]) -> str:
    """Return the provider's id of the request, at most 128 characters of printable ASCII, "" without one."""
    return next((safe_id(headers[name]) for name in REQUEST_ID_HEADERS if headers.get(name)), "")


def fault_of_body(http_status: int, body: bytes) -> Fault:
    """Read an error answer of any shape; what is not JSON gives a Fault that has its status only."""
    try:
        parsed = msgspec.json.decode(body[:MAX_ERROR_BODY_BYTES])
    except (msgspec.DecodeError, RecursionError):
        return Fault(http_status)
    return fault_of_object(http_status, parsed)


def fault_of_object(http_status: int, parsed: Any) -> Fault:
    """Read a decoded error: `{"error": {...}}`, `{"error": "text"}`, `[{"error": ...}]`, vLLM's and FastAPI's shapes.

    A numeric code (Google, vLLM) or `status_code` (Groq) within a 200 becomes the Fault's status.
    """
    if isinstance(parsed, list):
        parsed = parsed[0] if parsed else None
    if not isinstance(parsed, dict):
        return Fault(http_status)
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return Fault(http_status, message=error, error=parsed)
    if not isinstance(error, dict):
        return Fault(http_status)
    status = http_status
    if status < 400:
        numbers = (error.get("status_code"), error.get("code"), error.get("status"))
        status = next((n for n in map(_status_number, numbers) if n), http_status)
    return Fault(
        status,
        code=_text(error.get("code")),
        kind=_text(error.get("type")) or _text(error.get("status")),
        message=_text(error.get("message")) or _text(error.get("detail")),
        param=_text(error.get("param")),
        error=error,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _status_number(value: Any) -> int:
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else 0


def cause_of(error: BaseException) -> ProviderError | None:
    """Return the ProviderError that our transport raised and an SDK wrapped; None when there is none."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None or isinstance(seen, ProviderError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
