"""What OpenAI's codes mean, for Azure and compatible servers too (PROVIDERS.md; the API's guide to error codes).

Rules kept here:
- The request as such was validated at the edge. What one model or one server refuses of it, another may take: that is
  MODEL_UNAVAILABLE without blame, so that the chain goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from atlas_sidecar.adapters.providers.wire.errors import Fault, Taxonomy, TextRule, Verdict, refused_knob
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
    "content_policy_violation": _FILTERED,
    "content_filter": _FILTERED,
    "invalid_prompt": _FILTERED,
    "unsupported_parameter": _REFUSED_PARAMETER,
    "unsupported_value": _REFUSED_PARAMETER,
    "unsupported_content": _REFUSED_PARAMETER,
    "unknown_parameter": _REFUSED_PARAMETER,
    "invalid_value": _REFUSED_PARAMETER,
    "array_above_max_length": _REFUSED_PARAMETER,
    "invalid_function_parameters": _REFUSED_PARAMETER,
    "invalid_json_schema": _REFUSED_PARAMETER,
    "invalid_encrypted_content": _REFUSED_PARAMETER,  # reasoning of another organisation's key
    "OperationNotSupported": _REFUSED_PARAMETER,  # Azure: the deployment has no such API
    "data_residency_mismatch": _REFUSED_PARAMETER,
    "invalid_image": _REFUSED_PARAMETER,
    "invalid_image_format": _REFUSED_PARAMETER,
    "invalid_image_mode": _REFUSED_PARAMETER,
    "invalid_image_url": _REFUSED_PARAMETER,
    "invalid_base64_image": _REFUSED_PARAMETER,
    "image_parse_error": _REFUSED_PARAMETER,
    "image_too_large": _REFUSED_PARAMETER,
    "image_too_small": _REFUSED_PARAMETER,
    "image_file_too_large": _REFUSED_PARAMETER,
    "image_file_not_found": _REFUSED_PARAMETER,
    "empty_image_file": _REFUSED_PARAMETER,
    "unsupported_image_media_type": _REFUSED_PARAMETER,
    "failed_to_download_image": _REFUSED_PARAMETER,
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
# Compatible servers (vLLM, SGLang, llama.cpp, xAI) say so in words only.
_TOO_LONG_IN_WORDS: Final = TextRule(
    frozenset({400}),
    re.compile(
        r"maximum context length|exceeds? the (?:available )?context (?:size|window)|context_length_exceeded|"
        r"longer than the (?:maximum model|model's context) length|too long to fit into the model|maximum prompt length"
    ),
    _TOO_LONG,
)
_UNRECOGNIZED: Final = TextRule(frozenset({400}), re.compile(r"^Unrecognized request argument"), _REFUSED_PARAMETER)
# DeepSeek: of a turn that another model made, "must be passed back"; others: not to be passed back.
_REASONING_BACK: Final = TextRule(frozenset({400, 422}), re.compile(r"\breasoning_content\b"), _REFUSED_PARAMETER)

_POLICY: Final = re.compile(r"\w+_policy(?:_violation)?")  # image_content_policy_violation, cyber_policy
_CONTENT: Final = re.compile(r"messages\[\d+\]\.content\b|input\b(?!.*\.(?:id|call_id|name)$)|instructions\b|prompt\b")


def _further(fault: Fault) -> Verdict | None:
    """Return what a fault means that has no code of the table."""
    if _POLICY.fullmatch(fault.code):
        return _FILTERED
    if fault.code == "string_above_max_length":  # of a text, or of an id or a name that other models take
        return _TOO_LONG if not fault.param or _CONTENT.match(fault.param) else _REFUSED_PARAMETER
    return refused_knob(fault)


def openai_taxonomy(provider: str, secret: Callable[[], str | None] = lambda: None) -> Taxonomy:
    """Return the table for a configured provider of kind openai; `secret` returns the key in use."""
    return Taxonomy(
        provider,
        codes=_CODES,
        texts=(REQUEST_TOO_LARGE, _TOO_LONG_IN_WORDS, _UNRECOGNIZED, _REASONING_BACK),
        status_of_kind={"invalid_request_error": 400, "authentication_error": 401, "permission_error": 403},
        further=_further,
        secret=secret,
    )
