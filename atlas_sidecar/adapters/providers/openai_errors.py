"""What OpenAI's codes mean, for Azure and compatible servers too (PROVIDERS.md; the API's guide to error codes)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from atlas_sidecar.adapters.providers.wire.errors import Taxonomy, TextRule, Verdict
from atlas_sidecar.core.errors import ErrorClass

_QUOTA: Final = Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider")
_AUTH: Final = Verdict(ErrorClass.AUTH, scope="provider")
_LIMITED: Final = Verdict(ErrorClass.RATE_LIMITED)
_OVERLOADED: Final = Verdict(ErrorClass.OVERLOADED)
_TEMPORARY: Final = Verdict(ErrorClass.TEMPORARY)
_MODEL: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE)
_REFUSED_PARAMETER: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE, breaks_model=False)
_TOO_LONG: Final = Verdict(ErrorClass.CONTEXT_TOO_LONG, breaks_model=False)
_FILTERED: Final = Verdict(ErrorClass.CONTENT_FILTERED, breaks_model=False)

_CODES: Final[Mapping[str, Verdict]] = {
    "insufficient_quota": _QUOTA,
    "billing_hard_limit_reached": _QUOTA,
    "billing_not_active": _QUOTA,
    "credit_limit_reached": _QUOTA,
    "spend_limit_reached": _QUOTA,
    "usage_limit_reached": _QUOTA,
    "usage_limit_exceeded": _QUOTA,
    "rate_limit_exceeded": _LIMITED,
    "slow_down": _LIMITED,
    "server_is_overloaded": _OVERLOADED,
    "service_unavailable_error": _OVERLOADED,
    "overloaded_error": _OVERLOADED,
    "engine_overloaded": _OVERLOADED,
    "server_error": _TEMPORARY,
    "internal_error": _TEMPORARY,
    "context_length_exceeded": _TOO_LONG,
    "string_above_max_length": _TOO_LONG,
    "content_policy_violation": _FILTERED,
    "content_filter": _FILTERED,
    "invalid_prompt": _FILTERED,
    "unsupported_parameter": _REFUSED_PARAMETER,
    "unsupported_value": _REFUSED_PARAMETER,
    "unsupported_content": _REFUSED_PARAMETER,
    "model_not_found": _MODEL,
    "model_not_available": _MODEL,
    "DeploymentNotFound": _MODEL,
    "invalid_api_key": _AUTH,
    "invalid_organization": _AUTH,
    "account_deactivated": _AUTH,
    "unsupported_country_region_territory": _AUTH,
}

# The same status and code as a rate limit, but no wait helps: the request exceeds the key's tokens per minute.
REQUEST_TOO_LARGE: Final = TextRule(frozenset({413, 429}), re.compile(r"^Request too large\b"), _TOO_LONG)
# Compatible servers (vLLM, llama.cpp) say so in words only.
_TOO_LONG_IN_WORDS: Final = TextRule(
    frozenset({400}),
    re.compile(r"maximum context length|exceeds? the (?:available )?context (?:size|window)|context_length_exceeded"),
    _TOO_LONG,
)


def openai_taxonomy(provider: str) -> Taxonomy:
    """Return the table for a configured provider of kind openai."""
    return Taxonomy(
        provider,
        codes=_CODES,
        texts=(REQUEST_TOO_LARGE, _TOO_LONG_IN_WORDS),
        status_of_kind={"invalid_request_error": 400, "authentication_error": 401, "permission_error": 403},
    )
