"""Prices from a process of its own are the prices."""

import subprocess
import sys

import pytest

from atlas_sidecar.adapters.price_process import PriceLookup, look_up

PAIRS = [
    ("anthropic", "claude-opus-5-5"),
    ("openai", "gpt-6.1-sol"),
    ("google", "gemini-4-argon"),
    ("google", "gemini-2.5-flash"),
    ("openai", "no-such"),
]


def test_the_process_finds_what_the_package_says_long_context_prices_included() -> None:
    found = PriceLookup(PAIRS).result()
    assert found == look_up(PAIRS)
    assert any(price is not None and price.long_context for price in found.values())
    assert any(price is not None and price.input_audio and price.web_search for price in found.values())
    assert found["openai", "no-such"] is None


def test_where_no_process_can_be_had_the_prices_are_looked_up_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert PriceLookup(PAIRS).result() == look_up(PAIRS)


def test_a_process_that_fails_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert PriceLookup(PAIRS).result() == look_up(PAIRS)


def test_the_process_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    real = subprocess.Popen

    def spy(*args: object, **options: object) -> object:
        seen.append(options["env"])  # type: ignore[arg-type]
        return real(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setenv("OPENAI_API_KEY", "CANARY")
    monkeypatch.setattr(subprocess, "Popen", spy)
    PriceLookup(PAIRS).result()
    assert "CANARY" not in str(seen)


def test_nothing_wanted_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert PriceLookup([]).result() == {}
