"""Rate-limit headers as a RateLimit, for each provider's names and formats.

Rules kept here:
- Junk, negative and absurd numbers are "not said". No header said anything: None.
- Resets are seconds from now until FULL refill; they are no wait (PROVIDERS.md).
- Groq's and OpenAI's names are the same; only their windows differ (Groq: requests per day, tokens per minute).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atlas_sidecar.adapters.providers.wire.waits import reset_s
from atlas_sidecar.core.types import RateLimit

_MAX_COUNT: Final = 10**12


def openai_rate_limit(headers: Mapping[str, str], now_unix_s: float) -> RateLimit | None:
    """Return what `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` say (OpenAI, Groq, many compatible servers).

    `headers` must be case-insensitive, or have lower-case names; so everywhere here.
    """
    get = headers.get
    requests, tokens = get("x-ratelimit-remaining-requests"), get("x-ratelimit-remaining-tokens")
    if requests is None and tokens is None:
        return None
    return _said(
        RateLimit(
            requests_remaining=_count(requests),
            tokens_remaining=_count(tokens),
            requests_limit=_count(get("x-ratelimit-limit-requests")),
            tokens_limit=_count(get("x-ratelimit-limit-tokens")),
            requests_reset_s=reset_s(get("x-ratelimit-reset-requests"), now_unix_s),
            tokens_reset_s=reset_s(get("x-ratelimit-reset-tokens"), now_unix_s),
        )
    )


def anthropic_rate_limit(headers: Mapping[str, str], now_unix_s: float) -> RateLimit | None:
    """Return what `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-*` say.

    `tokens` is the most restrictive limit in force; without it the tighter of input and output tokens counts.
    """
    prefix = "anthropic-ratelimit-"
    get = headers.get
    kinds = [kind for kind in ("tokens", "input-tokens", "output-tokens") if get(f"{prefix}{kind}-remaining")]
    if not kinds and get(f"{prefix}requests-remaining") is None:
        return None
    kind = "tokens"
    if kinds and "tokens" not in kinds:
        kind = min(kinds, key=lambda name: _count_or_max(get(f"{prefix}{name}-remaining")))
    return _said(
        RateLimit(
            requests_remaining=_count(get(f"{prefix}requests-remaining")),
            tokens_remaining=_count(get(f"{prefix}{kind}-remaining")),
            requests_limit=_count(get(f"{prefix}requests-limit")),
            tokens_limit=_count(get(f"{prefix}{kind}-limit")),
            requests_reset_s=reset_s(get(f"{prefix}requests-reset"), now_unix_s),
            tokens_reset_s=reset_s(get(f"{prefix}{kind}-reset"), now_unix_s),
        )
    )


def _count(text: str | None) -> int | None:
    """Return a count of at most 10^12; None for junk."""
    if not text or len(text) > 16 or not text.isascii() or not text.isdigit():
        return None
    return min(int(text), _MAX_COUNT)


def _count_or_max(text: str | None) -> int:
    count = _count(text)
    return _MAX_COUNT if count is None else count


def _said(limit: RateLimit) -> RateLimit | None:
    """Return None instead of a RateLimit that says nothing."""
    return limit if any(value is not None for value in limit) else None
