"""Prices as genai-prices knows them, in our units: exactly, with their steps and dates."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as GenaiUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot

from atlas_sidecar.adapters.prices import PROVIDER_ID_OF_KIND, GenaiPrices
from atlas_sidecar.core.money import NANO_PER_USD, LongContextPrice, Price, cost_nano_usd, is_priced
from atlas_sidecar.core.types import Particulars, Usage

NOVEMBER = datetime(2026, 11, 23, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
USD = NANO_PER_USD


def prices(now: datetime = NOVEMBER) -> GenaiPrices:
    return GenaiPrices(lambda: now)


def test_a_model_of_the_default_catalog_has_its_price_with_its_long_context_step() -> None:
    found = prices().price("openai", "gpt-6.1-sol")
    a_million = 1_000_000 * USD
    web, file = a_million // 100, a_million // 400
    long = Price(4 * USD, 15 * USD, USD // 5, 5 * USD, web_search=web, file_search=file)
    steps = (LongContextPrice(272_000, long),)
    assert found == Price(2 * USD, 10 * USD, USD // 10, 5 * USD // 2, steps, web_search=web, file_search=file)


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


@pytest.mark.parametrize(
    "path", ["", "models/", "publishers/google/models/", "projects/p/locations/l/publishers/google/models/"]
)
@pytest.mark.parametrize("kind", ["google", "vertex"])
def test_a_gemini_model_has_its_price_by_any_of_its_names(kind: str, path: str) -> None:
    assert prices().price(kind, f"{path}gemini-2.5-pro") == prices().price("google", "gemini-2.5-pro") is not None


def test_audio_has_the_price_that_is_stated_and_geminis_that_of_text_where_none_is() -> None:
    flash, pro, speech = (
        prices().price("google", name) for name in ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-pro-preview-tts")
    )
    spoken, unknown = (prices().price("openai", name) for name in ("gpt-audio-mini", "gpt-4o-audio-preview"))
    assert flash is not None
    assert (flash.input, flash.input_audio, flash.cache_read_audio) == (300_000_000, USD, 100_000_000)
    assert flash.output_audio is None
    assert pro is not None
    assert (pro.input_audio, pro.cache_read_audio) == (pro.input, pro.cache_read)
    long = pro.long_context[0].price
    assert (long.input_audio, long.cache_read_audio) == (long.input, long.cache_read) != (pro.input, pro.cache_read)
    assert speech is not None
    assert speech.output_audio == speech.output
    assert spoken is not None
    assert (spoken.input_audio, spoken.output_audio) == (10 * USD, 20 * USD)
    assert unknown is not None
    assert (unknown.input_audio, unknown.output_audio) == (None, None)


def test_a_model_with_a_price_for_what_is_not_counted_apart_has_none() -> None:
    assert prices().price("google", "gemini-omni-1.1-flash") is None  # video of its own
    assert prices().price("openai", "gpt-realtime") is None  # images of the input


def test_the_hours_cache_and_searches_have_their_prices() -> None:
    found = prices().price("anthropic", "claude-sonnet-5-5")
    assert found is not None
    assert (found.cache_write, found.cache_write_1h, found.web_search) == (5 * USD // 2, 4 * USD, 10_000 * USD)


KEYS = {
    "input_audio_mtok": "input_audio_tokens",
    "cache_audio_read_mtok": "cache_audio_read_tokens",
    "output_audio_mtok": "output_audio_tokens",
    "output_image_mtok": "output_image_tokens",
    "cache_write_1h_mtok": "cache_write_1h_tokens",
    "web_searches_kcount": "web_searches",
    "storage_searches_kcount": "storage_searches",
}


def test_what_is_priced_apart_costs_what_the_package_says_for_every_model_that_has_such_a_price() -> None:
    usage = Usage(100_000, 20_000, 10_000, 30_000)
    seen: set[str] = set()
    for kind in ("anthropic", "openai", "google", "anthropic-bedrock"):
        provider = next(p for p in get_snapshot().providers if p.id == PROVIDER_ID_OF_KIND[kind])
        for info in provider.models:
            found = prices().price(kind, info.id)
            own = {key for key in KEYS if getattr(info.get_prices(NOVEMBER), key) is not None}
            if found is None or not own:
                continue
            heard = 7_000 if "input_audio_mtok" in own else 0
            parts = Particulars(
                audio_input=heard,
                audio_cache_read=3_000 if "cache_audio_read_mtok" in own else 0,
                audio_output=9_000 if "output_audio_mtok" in own else 0,
                image_output=1_290 if "output_image_mtok" in own else 0,
                cache_write_1h=6_000 if "cache_write_1h_mtok" in own else 0,
                web_searches=3 if "web_searches_kcount" in own else 0,
                file_searches=2 if "storage_searches_kcount" in own else 0,
            )
            counts = {
                "input_audio_tokens": heard + parts.audio_cache_read,
                "cache_audio_read_tokens": parts.audio_cache_read,
                "output_audio_tokens": parts.audio_output,
                "output_image_tokens": parts.image_output,
                "cache_write_1h_tokens": parts.cache_write_1h,
                "web_searches": parts.web_searches,
                "storage_searches": parts.file_searches,
            }
            said = calc_price(
                GenaiUsage(
                    input_tokens=130_000,
                    cache_read_tokens=20_000,
                    cache_write_tokens=10_000,
                    output_tokens=30_000,
                    **{name: count for name, count in counts.items() if count},
                ),
                info.id,
                provider_id=provider.id,
                genai_request_timestamp=NOVEMBER,
            )
            whole = replace(usage, of_which=parts)
            assert cost_nano_usd(whole, found) == said.total_price * NANO_PER_USD, info.id
            assert is_priced(whole, found), info.id
            seen |= own
    assert seen == set(KEYS)


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
