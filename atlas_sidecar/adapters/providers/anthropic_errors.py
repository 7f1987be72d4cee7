"""What Anthropic's errors mean: HTTP answers and `error` documents inside a 200. Pure.

Rules kept here:
- The body's type first, message text only inside 400 and 413, then the status. The one exception is a 429 of a spend
  limit: it has the type and the status of a rate limit, and only its text tells that waiting a minute does not help.
- Bedrock names an error's type in a header.
- A 400 ends the whole chain, so one that another model or platform would not give is MODEL_UNAVAILABLE, blaming nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from atlas_sidecar.adapters.providers.anthropic_json import decoded
from atlas_sidecar.adapters.providers.wire.errors import (
    Fault,
    Taxonomy,
    TextRule,
    Verdict,
    fault_of_body,
    fault_of_object,
)
from atlas_sidecar.core.errors import ErrorClass, ProviderError

_QUOTA: Final = Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider")
_TOO_LONG: Final = Verdict(ErrorClass.CONTEXT_TOO_LONG, breaks_model=False)
_NOT_THIS_MODEL: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE, breaks_model=False)
_BAD_REQUEST: Final = frozenset({400, 413})
_TOO_LONG_TEXT: Final = r"prompt is too long|exceeds? (?:the )?context (?:limit|window)|input is too long"
_QUOTA_TEXT: Final = r"credit balance is too low|usage limits?\b|spend(?:ing)? limit"
_DISABLED_TEXT: Final = r"this organization has been disabled"
_FILTERED_TEXT: Final = r"blocked by content filtering policy"
_NO_SUCH_MODEL_TEXT: Final = r"model identifier is invalid|with on-demand throughput isn.t supported"
_MODEL_TEXT: Final = (
    r"this model (?:does not|doesn't|cannot)|(?:for|by|on|with) this model|does not support|(?:is|are) not supported"
    r"|> \d+, which is the maximum"
)
# Limits of files, schemas and names that are Claude's own, thinking that another conversation or account signed, and
# hosted calls (srvtoolu_...) without their results: no other model is sent them.
_CLAUDES_OWN_TEXT: Final = (
    r"image exceeds \d+ \w+ maximum|maximum of \d+ PDF pages|could not process (?:image|pdf|document)"
    r"|unable to download|media_type: input should be"
    r"|grammar is too large|schema is too complex|tool names must be unique"
    r"|\btool(?:s|_use|_result)\..{0,200}string should match pattern"
    r"|invalid `?signature`? in `?thinking`?|bound to a different (?:conversation|model|account)|\bsrvtoolu_"
)


_ANY: Final = msgspec.json.Decoder()


def _rule(pattern: str, verdict: Verdict, statuses: frozenset[int] = _BAD_REQUEST) -> TextRule:
    return TextRule(statuses, re.compile(pattern, re.IGNORECASE), verdict)


TAXONOMY: Final = Taxonomy(
    provider="anthropic",
    codes={"billing_error": _QUOTA, "ServiceQuotaExceededException": _QUOTA},
    texts=(
        _rule(_TOO_LONG_TEXT, _TOO_LONG),
        _rule(_QUOTA_TEXT, _QUOTA, _BAD_REQUEST | {429}),
        _rule(_DISABLED_TEXT, Verdict(ErrorClass.AUTH, scope="provider")),
        _rule(_FILTERED_TEXT, Verdict(ErrorClass.CONTENT_FILTERED, breaks_model=False)),
        _rule(_NO_SUCH_MODEL_TEXT, Verdict(ErrorClass.MODEL_UNAVAILABLE)),
        _rule(f"{_MODEL_TEXT}|{_CLAUDES_OWN_TEXT}", _NOT_THIS_MODEL),
    ),
    statuses={424: Verdict(ErrorClass.TEMPORARY)},  # Bedrock: the model failed
    status_of_kind={
        "api_error": 500,
        "authentication_error": 401,
        "billing_error": 402,
        "invalid_request_error": 400,
        "not_found_error": 404,
        "overloaded_error": 529,
        "permission_error": 403,
        "rate_limit_error": 429,
        "request_too_large": 413,
        "timeout_error": 504,
        # Bedrock's exceptions within an event stream.
        "internalServerException": 500,
        "modelStreamErrorException": 500,
        "modelTimeoutException": 504,
        "serviceUnavailableException": 503,
        "throttlingException": 429,
        "validationException": 400,
    },
)


def fault_of_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Return what a refusal says, its body and, for an error without a type, Bedrock's header of the type."""
    fault = fault_of_body(status, body)
    named = headers.get("x-amzn-errortype", "").partition(":")[0]  # a URL may follow
    return fault if fault.kind else fault._replace(kind=named)


def error_of(data: bytes) -> ProviderError:
    """Return what an `error` document inside a 200 means: its type decides, the status says nothing."""
    fault = fault_of_object(200, decoded(_ANY, data))
    fault = fault._replace(status=TAXONOMY.status_of_kind.get(fault.kind, 200))
    return TAXONOMY.error(fault, http_status=200, headers={}, now_unix_s=0.0)


def context_full() -> ProviderError:
    """Return the error of an answer without content whose context window was full."""
    fault = Fault(200, code="model_context_window_exceeded")
    return TAXONOMY.error(fault, http_status=200, headers={}, now_unix_s=0.0, verdict=_TOO_LONG)
