"""Prices as genai-prices knows them, in our units: exactly, with their steps and dates."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot

from atlas_sidecar.adapters.prices import PROVIDER_ID_OF_KIND, GenaiPrices
from atlas_sidecar.core.money import NANO_PER_USD, LongContextPrice, Price, cost_nano_usd
from atlas_sidecar.core.types import Usage

NOVEMBER = datetime(2026, 11, 23, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
USD = NANO_PER_USD


def prices(now: datetime = NOVEMBER) -> GenaiPrices:
    return GenaiPrices(lambda: now)


def test_a_model_of_the_default_catalog_has_its_price_with_its_long_context_step() -> None:
    found = prices().price("openai", "gpt-6.1-sol")
    long = Price(4 * USD, 15 * USD, USD // 5, 5 * USD)
    assert found == Price(2 * USD, 10 * USD, USD // 10, 5 * USD // 2, (LongContextPrice(272_000, long),))


def test_a_price_that_changes_on_a_date_is_the_days_own() -> None:
    before, after = (prices(now).price("google", "models/gemini-4-argon") for now in (NOVEMBER, DECEMBER))
    assert before is not None
    assert after is not None
    assert (before.input, before.output) == (2 * USD, 10 * USD)
    assert (after.input, after.output) == (4 * USD, 20 * USD)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("openai", "no-such-model"), ("simulated", "gpt-4o"), ("openai", ""), ("openai", "text-embedding-3-small")],
)
def test_what_is_not_known_or_answers_no_tokens_has_no_price(kind: str, name: str) -> None:
    assert prices().price(kind, name) is None


def test_the_same_model_is_found_in_the_clouds_that_resell_it() -> None:
    for kind, name in (
        ("azure-openai", "gpt-4o"),
        ("vertex", "gemini-2.5-pro"),
        ("anthropic-vertex", "claude-sonnet-4-5"),
        ("anthropic-bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ):
        assert prices().price(kind, name) is not None, (kind, name)


def test_every_price_in_the_package_converts_or_is_unknown_and_costs_what_the_package_says() -> None:
    converted = 0
    usage = Usage(100_000, 200_000, None, 30_000)
    for kind in ("anthropic", "openai", "google", "groq"):
        provider = next(p for p in get_snapshot().providers if p.id == PROVIDER_ID_OF_KIND[kind])
        for info in provider.models:
            found = prices().price(kind, info.id)
            if found is None:
                continue
            theirs = info.get_prices(NOVEMBER)
            if theirs.cache_read_mtok is None or getattr(theirs, "output_reasoning_mtok", None) is not None:
                continue
            said = calc_price(
                GenaiUsage(input_tokens=300_000, cache_read_tokens=200_000, output_tokens=30_000),
                info.id,
                provider_id=provider.id,
                genai_request_timestamp=NOVEMBER,
            )
            exact = said.total_price * Decimal(NANO_PER_USD)
            if getattr(theirs, "requests_kcount", None) is None:
                assert cost_nano_usd(usage, found) == exact, info.id
                converted += 1
    assert converted > 50


def test_the_package_is_imported_only_when_a_price_is_asked_for() -> None:
    code = (
        "import sys; from datetime import datetime, UTC; from atlas_sidecar.adapters.prices import GenaiPrices;"
        "p = GenaiPrices(lambda: datetime.now(UTC)); assert 'genai_prices' not in sys.modules;"
        "p.price('openai', 'gpt-4o'); assert 'genai_prices' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
