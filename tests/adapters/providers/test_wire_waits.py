"""Waits and resets in every form that providers use, and junk."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.wire.ratelimits import anthropic_rate_limit, openai_rate_limit
from atlas_sidecar.adapters.providers.wire.waits import (
    MAX_WAIT_S,
    go_duration_s,
    header_wait_s,
    message_wait_s,
    reset_s,
)
from atlas_sidecar.core.types import RateLimit

NOW = 1_750_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1m0s", 60.0),
        ("2m59.56s", 179.56),
        ("59.9s", 59.9),
        ("120ms", 0.12),
        ("9m38.016s", 578.016),
        ("34.4s", 34.4),
        ("1h2m3s", 3723.0),
        ("0s", 0.0),
        ("5us", 5e-6),
        ("17µs", 17e-6),
        ("999999999999h", MAX_WAIT_S),
        ("6m 0s", None),
        ("-5s", None),
        ("s", None),
        ("", None),
        ("1x", None),
        ("1" * 400 + "s", None),
    ],
)
def test_a_go_duration_is_read(text: str, seconds: float | None) -> None:
    assert go_duration_s(text) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "384", "retry-after": "1"}, 0.384),
        ({"retry-after-ms": "junk", "retry-after": "1"}, 1.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)}, 90.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True)}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, MAX_WAIT_S),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "x" * 10_000}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_a_retry_header_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert header_wait_s(headers, NOW) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 9m38.016s. Need more tokens?", 578.016),
        ("Please try again in 174ms. Visit https://x", 0.174),
        ("please retry after 20 seconds", 20.0),
        ("Please try again in 1 minute.", 60.0),
        ("Please retry in 34.4s.", 34.4),
        ("Limit 30000, Requested 11159", None),
        ("try again in a while", None),
        ("", None),
        ("x" * 5000 + "try again in 2s", None),
    ],
)
def test_a_message_is_read_for_its_wait(message: str, seconds: float | None) -> None:
    assert message_wait_s(message) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-06-15T15:07:40Z", 60.0),
        ("2025-06-15T15:07:40+00:00", 60.0),
        ("2025-06-15T15:07:40", 60.0),
        ("2020-01-01T00:00:00Z", 0.0),
        ("1m0s", 60.0),
        ("60", 60.0),
        (None, None),
        ("junk", None),
        ("0001-01-01T00:00:00+23:59", 0.0),
    ],
)
def test_a_reset_is_read_in_any_form(text: str | None, seconds: float | None) -> None:
    assert reset_s(text, NOW) == (seconds if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=80))
def test_junk_is_not_said_or_a_finite_wait_and_never_an_error(text: str) -> None:
    headers = {"retry-after": text, "retry-after-ms": text, "x-ratelimit-remaining-tokens": text}
    for seconds in (header_wait_s(headers, NOW), message_wait_s(text), reset_s(text, NOW), go_duration_s(text)):
        assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= MAX_WAIT_S)
    openai_rate_limit(headers, NOW)
    anthropic_rate_limit({"anthropic-ratelimit-tokens-remaining": text}, NOW)


def test_openai_and_groq_headers_become_a_rate_limit() -> None:
    headers = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-requests": "14399",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-reset-tokens": "1.57s",
    }
    assert openai_rate_limit(headers, NOW) == RateLimit(14399, 0, 14400, 6000, 6.0, 1.57)
    assert openai_rate_limit({"content-type": "text/event-stream"}, NOW) is None
    assert openai_rate_limit({"x-ratelimit-remaining-requests": "many"}, NOW) is None
    assert openai_rate_limit({"x-ratelimit-remaining-requests": "9" * 15}, NOW) == RateLimit(10**12)


def test_anthropic_headers_become_a_rate_limit_of_the_tightest_tokens() -> None:
    prefix = "anthropic-ratelimit-"
    headers = {
        f"{prefix}requests-limit": "4000",
        f"{prefix}requests-remaining": "3999",
        f"{prefix}requests-reset": "2025-06-15T15:07:40Z",
        f"{prefix}input-tokens-limit": "400000",
        f"{prefix}input-tokens-remaining": "390000",
        f"{prefix}input-tokens-reset": "2025-06-15T15:06:50Z",
        f"{prefix}output-tokens-limit": "80000",
        f"{prefix}output-tokens-remaining": "1000",
        f"{prefix}output-tokens-reset": "2025-06-15T15:06:41Z",
    }
    assert anthropic_rate_limit(headers, NOW) == RateLimit(3999, 1000, 4000, 80000, 60.0, 1.0)
    combined = {**headers, f"{prefix}tokens-remaining": "480000", f"{prefix}tokens-limit": "480000"}
    found = anthropic_rate_limit(combined, NOW)
    assert found is not None
    assert found.tokens_remaining == 480000
    assert anthropic_rate_limit({"retry-after": "1"}, NOW) is None
