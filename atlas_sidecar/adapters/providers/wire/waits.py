"""How long a provider asks us to wait, in every form that providers use.

Rules kept here:
- Pure: the time of now comes in as Unix seconds. Junk is "not said" (None), never an error.
- A wait is finite, at least 0 and at most a week.
- Headers first, message text last (PROVIDERS.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_WAIT_S: Final = 7 * 86_400.0

_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TERM: Final = r"\d{1,12}(?:\.\d{1,12})?(?:ns|us|µs|ms|s|m|h|d)"
_DURATION: Final = re.compile(rf"(?:{_TERM}){{1,8}}")
_TERMS: Final = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ns|us|µs|ms|s|m|h|d)")
_IN_MESSAGE: Final = re.compile(rf"(?:try again|retry) in ((?:{_TERM}){{1,8}})", re.IGNORECASE)
_IN_WORDS: Final = re.compile(
    r"(?:try again|retry) (?:in|after) (\d{1,9}(?:\.\d{1,9})?) ?(milliseconds?|seconds?|minutes?|hours?)", re.IGNORECASE
)
_WORD_S: Final = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
_SEARCHED_CHARACTERS: Final = 4096


def bounded_s(seconds: float) -> float | None:
    """Return a wait within 0 and a week; None for what is no finite number."""
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), MAX_WAIT_S)


def number_s(text: str) -> float | None:
    """Return plain seconds ("2", "0.5"); None when the text is none."""
    try:
        return bounded_s(float(text))
    except ValueError:
        return None


def go_duration_s(text: str) -> float | None:
    """Return the seconds of a Go duration ("6m0s", "1h2m59.56s", "12ms"), and of Gemini's "34.4s"; None for junk."""
    text = text.strip()
    if not _DURATION.fullmatch(text):
        return None
    return bounded_s(sum(float(amount) * _UNIT_S[unit] for amount, unit in _TERMS.findall(text)))


def rfc3339_s(text: str, now_unix_s: float) -> float | None:
    """Return the seconds from now until an RFC 3339 time; None for junk. A time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return bounded_s(moment.timestamp() - now_unix_s)
    except (ValueError, OverflowError):
        return None


def http_date_s(text: str, now_unix_s: float) -> float | None:
    """Return the seconds from now until an HTTP date ("Wed, 21 Oct 2015 07:28:00 GMT"); None for junk."""
    try:
        moment = parsedate_to_datetime(text)
        return bounded_s((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_unix_s)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def reset_s(text: str | None, now_unix_s: float) -> float | None:
    """Return the seconds until a rate-limit reset in any known form: Go duration, plain seconds, RFC 3339."""
    if not text or len(text) > 64:
        return None
    for seconds in (go_duration_s(text), number_s(text)):
        if seconds is not None:
            return seconds
    return rfc3339_s(text, now_unix_s)


def header_wait_s(headers: Mapping[str, str], now_unix_s: float) -> float | None:
    """Return the wait of `retry-after-ms` or `retry-after` (seconds, float, HTTP date); None when neither says one.

    `headers` must be case-insensitive, or have lower-case names.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds:
        seconds = number_s(milliseconds)
        if seconds is not None:
            return seconds / 1000.0
    after = headers.get("retry-after")
    if not after or len(after) > 64:
        return None
    for seconds in (number_s(after), go_duration_s(after)):
        if seconds is not None:
            return seconds
    return http_date_s(after, now_unix_s)


def message_wait_s(message: str) -> float | None:
    """Return the wait that a message names ("try again in 9m38.016s", "retry after 20 seconds"); None when none."""
    text = message[:_SEARCHED_CHARACTERS]
    found = _IN_MESSAGE.search(text)
    if found:
        return go_duration_s(found.group(1))
    words = _IN_WORDS.search(text)
    if words:
        return bounded_s(float(words.group(1)) * _WORD_S[words.group(2).lower().rstrip("s")])
    return None
