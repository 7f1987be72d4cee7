"""What Gemini's errors mean: HTTP answers, error documents inside a 200, blocked prompts and bad ends. Pure.

Rules kept here:
- Google's structured details come first (ErrorInfo's reason, QuotaFailure's quota ids, RetryInfo's delay), then its
  status word, then message text inside a 400, then the HTTP status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from atlas_sidecar.adapters.providers.wire.errors import Fault, Taxonomy, TextRule, Verdict, fault_of_body
from atlas_sidecar.adapters.providers.wire.waits import go_duration_s
from atlas_sidecar.core.errors import ErrorClass, ProviderError

_AUTH: Final = Verdict(ErrorClass.AUTH, scope="provider")
_QUOTA: Final = Verdict(ErrorClass.QUOTA_EXHAUSTED, scope="provider")
_MODEL_QUOTA: Final = Verdict(ErrorClass.QUOTA_EXHAUSTED)
_TOO_LONG: Final = Verdict(ErrorClass.CONTEXT_TOO_LONG, breaks_model=False)
_NOT_THIS_MODEL: Final = Verdict(ErrorClass.MODEL_UNAVAILABLE, breaks_model=False)
_ONCE: Final = Verdict(ErrorClass.TEMPORARY, breaks_model=False, retry_once=True)
_KEY_REASONS: Final = frozenset(
    "API_KEY_INVALID API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED API_KEY_IP_ADDRESS_BLOCKED "
    "API_KEY_ANDROID_APP_BLOCKED API_KEY_IOS_APP_BLOCKED BILLING_DISABLED SERVICE_DISABLED CONSUMER_INVALID "
    "CONSUMER_SUSPENDED ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_SCOPE_INSUFFICIENT USER_PROJECT_DENIED "
    "LOCATION_POLICY_VIOLATED".split()
)
_BAD_REQUEST: Final = frozenset({400})
_TOO_LONG_TEXT: Final = re.compile(r"exceeds? the maximum number of tokens|request payload size exceeds", re.IGNORECASE)
_NOTHING_TEXT: Final = re.compile(r"limit: 0\b")
_MODEL_TEXT: Final = re.compile(
    r"is not (?:enabled|supported|available)|(?:does|do) not support|only (?:supported|works) (?:by|for|in|with)"
    r"|missing a thought_signature|is unsupported|unsupported mime type|can ?not be used with|cannot fetch content"
    r"|unable to process|budget \(?-?\d+\)? is invalid|is invalid\. please choose|cannot find field"
    r"|invalid function name|only .{1,80} are supported",
    re.IGNORECASE,
)

TAXONOMY: Final = Taxonomy(
    provider="google",
    codes={"FAILED_PRECONDITION": _AUTH, "UNAUTHENTICATED": _AUTH, "PERMISSION_DENIED": _AUTH},
    texts=(
        TextRule(_BAD_REQUEST | {413}, _TOO_LONG_TEXT, _TOO_LONG),
        TextRule(_BAD_REQUEST, re.compile(r"API key (?:not valid|expired|not found)", re.IGNORECASE), _AUTH),
    ),
    statuses={499: Verdict(ErrorClass.TEMPORARY)},
    status_of_kind={
        "ABORTED": 409,
        "CANCELLED": 499,
        "DEADLINE_EXCEEDED": 504,
        "INTERNAL": 500,
        "INVALID_ARGUMENT": 400,
        "NOT_FOUND": 404,
        "RESOURCE_EXHAUSTED": 429,
        "UNAVAILABLE": 503,
    },
)

FILTERED: Final = frozenset(
    "SAFETY BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT MODEL_ARMOR JAILBREAK "
    "ESCALATION".split()
)
MALFORMED: Final = frozenset(
    "MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL MALFORMED_RESPONSE TOO_MANY_TOOL_CALLS".split()
)
# They end an answer also where there is nothing in it. Any other reason, a new one too, is why there is none.
NORMAL: Final = frozenset({"", "STOP", "MAX_TOKENS", "CONTINUATION", "FINISH_REASON_UNSPECIFIED"})


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> ProviderError:
    """Return what an HTTP error answer means."""
    return error_of_fault(fault_of_body(status, body), status, headers, now_unix_s)


def error_of_fault(fault: Fault, http_status: int, headers: Mapping[str, str], now_unix_s: float) -> ProviderError:
    """Return what an error object means; `fault.error` holds it whole."""
    if fault.status < 400:
        fault = fault._replace(status=TAXONOMY.status_of_kind.get(fault.kind, fault.status))
    verdict = _detailed(fault)
    error = TAXONOMY.error(fault, http_status=http_status, headers=headers, now_unix_s=now_unix_s, verdict=verdict)
    for detail in _details(fault.error):
        delay = detail.get("retryDelay")
        wait_s = go_duration_s(delay) if isinstance(delay, str) else None
        if wait_s is not None:
            error.retry_after_s = wait_s
    return error


def bad_end(reason: str) -> ProviderError | None:
    """Return the error of a finish reason that gives no usable answer; None for one that ends an answer."""
    if reason in FILTERED:
        return TAXONOMY.filtered(reason)
    if reason in MALFORMED:
        return _ended(reason, _ONCE)
    if reason == "PUP_LIMITED_DISABLED":  # the account broke the policy on prohibited use
        return _ended(reason, _AUTH)
    return None if reason in NORMAL else _ended(reason, _NOT_THIS_MODEL)


def _ended(reason: str, verdict: Verdict) -> ProviderError:
    return TAXONOMY.error(Fault(200, code=reason), http_status=200, headers={}, now_unix_s=0.0, verdict=verdict)


def _detailed(fault: Fault) -> Verdict | None:
    """Return what the structured details say, or a message text inside a 400; None when they say nothing."""
    for detail in _details(fault.error):
        if detail.get("reason") in _KEY_REASONS:
            return _AUTH
    used_up = [violation for violation in _violations(fault) if _is_used_up(violation, fault.message)]
    if used_up:
        return _MODEL_QUOTA if all(map(_is_of_one_model, used_up)) else _QUOTA
    if TAXONOMY.verdict(fault).error_class is ErrorClass.INVALID_REQUEST and _MODEL_TEXT.search(fault.message[:4096]):
        return _NOT_THIS_MODEL
    return None


def _is_used_up(violation: Mapping[str, Any], message: str) -> bool:
    """Whether a quota is one of the day, or of nothing at all (a zero, which proto3 leaves out and the text says)."""
    if "PerDay" in str(violation.get("quotaId", "")) or str(violation.get("quotaValue", "")) == "0":
        return True
    return "quotaValue" not in violation and _NOTHING_TEXT.search(message[:4096]) is not None


def _is_of_one_model(violation: Mapping[str, Any]) -> bool:
    dimensions = violation.get("quotaDimensions")
    return "PerModel" in str(violation.get("quotaId", "")) or (
        isinstance(dimensions, Mapping) and "model" in dimensions
    )


def _violations(fault: Fault) -> Iterator[Mapping[str, Any]]:
    """Yield the quotas that a 429 names."""
    for detail in _details(fault.error) if fault.status == 429 else ():
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, Mapping):
                yield violation


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            yield detail
