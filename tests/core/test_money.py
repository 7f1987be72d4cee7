"""What usage costs: whole nano-dollars, rounded up once, never invented."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.money import LongContextPrice, Price, cost_nano_usd, format_usd, is_priced
from atlas_sidecar.core.types import Particulars, Usage
from atlas_sidecar.core.usage import MAX_COUNT, MAX_SEARCHES
from tests.core import strategies as any_
from tests.core.builders import USD, price

counts = st.none() | st.integers(0, 2_000_000)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
FIELDS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


wild = st.integers(-(10**12), 10**12)
particulars = st.builds(
    Particulars, *[counts.map(lambda n: n or 0)] * 5, *[st.integers(0, 50)] * 2, st.sampled_from([100, 110])
)
itemized = st.builds(lambda usage, apart: replace(usage, of_which=apart.within(usage)), usages, particulars)
OWN_PRICES = (
    *("cache_write_1h", "input_audio", "cache_read_audio", "output_audio", "output_image"),
    *("web_search", "file_search"),
)


def exact(usage: Usage, flat: Price) -> Fraction:
    """Return the cost as a fraction, at a price without steps."""
    read = flat.input if flat.cache_read is None else flat.cache_read
    write = flat.input if flat.cache_write is None else flat.cache_write
    total = (usage.input_tokens or 0) * flat.input + usage.total_output_tokens * flat.output
    total += (usage.cache_read_tokens or 0) * read + (usage.cache_write_tokens or 0) * write
    return Fraction(total, 1_000_000)


@given(usages, any_.flat_prices)
def test_a_cost_is_the_exact_one_rounded_up_once(usage: Usage, flat: Price) -> None:
    cost = cost_nano_usd(usage, flat)
    assert type(cost) is int
    assert exact(usage, flat) <= cost < exact(usage, flat) + 1


@given(usages, any_.flat_prices, st.sampled_from(FIELDS), st.integers(0, 10_000))
def test_more_usage_never_costs_less(usage: Usage, flat: Price, field: str, more: int) -> None:
    grown: dict[str, Any] = {field: (getattr(usage, field) or 0) + more}
    bigger = replace(usage, **grown)
    before, after = cost_nano_usd(usage, flat), cost_nano_usd(bigger, flat)
    assert before is not None
    assert after is not None
    assert before <= after


@given(usages, any_.prices)
def test_the_price_of_the_highest_step_that_the_total_input_passes_holds_for_all_of_it(
    usage: Usage, stepped: Price
) -> None:
    holding = replace(stepped, long_context=())
    for step in stepped.long_context:
        if usage.total_input_tokens > step.above_input_tokens:
            holding = step.price
    assert cost_nano_usd(usage, stepped) == cost_nano_usd(usage, holding)


@given(usages, usages, any_.flat_prices)
def test_two_attempts_cost_at_most_a_nano_dollar_more_than_their_sum_would(
    first: Usage, second: Usage, flat: Price
) -> None:
    together, one, other = (cost_nano_usd(usage, flat) for usage in (first + second, first, second))
    assert together is not None
    assert one is not None
    assert other is not None
    assert together <= one + other <= together + 1


def with_prices(flat: Price, own_: dict[str, Any]) -> Price:
    return replace(flat, **own_)


def own(price_: Price, name: str, otherwise: int) -> int:
    value: int | None = getattr(price_, name)
    return otherwise if value is None else value


@given(itemized, any_.flat_prices)
def test_every_token_is_charged_once_at_its_own_price_and_every_search_at_its_fee(usage: Usage, full: Price) -> None:
    apart = usage.of_which
    assert apart is not None
    read = own(full, "cache_read", full.input)
    write = own(full, "cache_write", full.input)
    audio_read = own(full, "cache_read_audio", own(full, "input_audio", read))
    output, made = usage.output_tokens or 0, apart.audio_output + apart.image_output
    total = ((usage.input_tokens or 0) - apart.audio_input) * full.input
    total += apart.audio_input * own(full, "input_audio", full.input)
    total += ((usage.cache_read_tokens or 0) - apart.audio_cache_read) * read + apart.audio_cache_read * audio_read
    total += ((usage.cache_write_tokens or 0) - apart.cache_write_1h) * write
    total += apart.cache_write_1h * own(full, "cache_write_1h", write)
    total += (output - made + (usage.reasoning_tokens or 0)) * full.output
    total += apart.audio_output * own(full, "output_audio", full.output)
    total += apart.image_output * own(full, "output_image", full.output)
    searches = apart.web_searches * own(full, "web_search", 0) + apart.file_searches * own(full, "file_search", 0)
    expected = (Fraction(total * apart.token_percent, 100) + searches) / 1_000_000
    cost = cost_nano_usd(usage, full)
    assert type(cost) is int
    assert 0 <= expected <= cost < expected + 1


@given(itemized, any_.flat_prices)
def test_what_has_a_dearer_price_of_its_own_never_costs_less_than_the_counts_alone(usage: Usage, full: Price) -> None:
    usual = {
        "cache_write_1h": own(full, "cache_write", full.input),
        "cache_read_audio": own(full, "cache_read", full.input),
    }
    least = {name: usual.get(name, full.output if "output" in name else full.input) for name in OWN_PRICES}
    known = {name: getattr(full, name) for name in OWN_PRICES}
    dearer = with_prices(full, {name: None if v is None else max(v, least[name]) for name, v in known.items()})
    if dearer.cache_read_audio is None and dearer.input_audio is not None:
        dearer = replace(dearer, input_audio=max(dearer.input_audio, least["cache_read_audio"]))
    apart, plain = cost_nano_usd(usage, dearer), cost_nano_usd(usage.counts(), dearer)
    assert apart is not None
    assert plain is not None
    assert apart >= plain


@given(itemized, any_.flat_prices, st.sampled_from(OWN_PRICES))
def test_a_cost_that_lacks_a_price_says_so(usage: Usage, full: Price, lacking: str) -> None:
    apart = usage.of_which
    assert apart is not None
    whole = with_prices(full, {name: own(full, name, 1) for name in OWN_PRICES})
    assert is_priced(usage, whole)
    occurs = {
        "cache_write_1h": apart.cache_write_1h and own(full, "cache_write", full.input),
        "input_audio": apart.audio_input and full.input,
        "cache_read_audio": 0,  # then as the audio of the input
        "output_audio": apart.audio_output and full.output,
        "output_image": apart.image_output and full.output,
        "web_search": apart.web_searches,
        "file_search": apart.file_searches,
    }
    assert is_priced(usage, with_prices(whole, {lacking: None})) is not bool(occurs[lacking])
    assert not is_priced(usage.with_unknown_fee(), whole)
    assert is_priced(usage.counts(), Price(1, 1))
    assert not is_priced(usage.counts(), None)


@given(st.builds(Usage, *[st.none() | wild] * 5), st.builds(Particulars, *[wild] * 7), st.booleans())
def test_whatever_a_provider_reports_a_part_is_no_larger_than_its_count(
    usage: Usage, apart: Particulars, believed: bool
) -> None:
    bounded = replace(usage, of_which=apart).bounded()
    if believed:
        bounded = bounded.believed(1_000, 1_000)
    parts = bounded.of_which
    assert parts is not None
    assert 0 <= parts.audio_input <= (bounded.input_tokens or 0) <= MAX_COUNT
    assert 0 <= parts.audio_cache_read <= (bounded.cache_read_tokens or 0) <= MAX_COUNT
    assert 0 <= parts.cache_write_1h <= (bounded.cache_write_tokens or 0) <= MAX_COUNT
    assert 0 <= parts.audio_output + parts.image_output <= (bounded.output_tokens or 0) <= MAX_COUNT
    assert min(parts.web_searches, parts.file_searches) >= 0
    assert max(parts.web_searches, parts.file_searches) <= MAX_SEARCHES
    assert bounded.counts() == (usage.bounded().believed(1_000, 1_000) if believed else usage.bounded())


def test_usage_of_which_nothing_is_priced_apart_is_left_as_it_is() -> None:
    usage = Usage(1, 2, 3, 4, 5)
    assert usage.with_particulars(Particulars()) is usage.counts() is usage.bounded() is usage


@given(usages)
def test_an_unknown_price_gives_an_unknown_cost_and_a_free_one_costs_nothing(usage: Usage) -> None:
    assert cost_nano_usd(usage, None) is None
    assert cost_nano_usd(usage, Price(0, 0)) == 0


@pytest.mark.parametrize(
    ("usage", "charged", "expected"),
    [
        (Usage(1, 0, 0, 0, 0), price(0.0375), 38),  # 37.5, rounded up
        (Usage(100, None, None, 10, 5), price(3, 15), 525_000),  # reasoning is output, and not counted again
        (Usage(80, 0, 20), Price(10 * USD, 0, 1 * USD, 12 * USD), 1_040_000),
        (Usage(70, 5, 10), Price(10 * USD, 0, 1 * USD, 12 * USD), 825_000),
        (Usage(0, 100, 100), price(2), 400_000),  # no price of its own: the cache is charged as input
        (Usage(10, None, None, 16), price(1.8, 15.75), 270_000),
        (Usage(), price(3, 15), 0),
        (
            Usage(19_210, output_tokens=50, of_which=Particulars(audio_input=19_200)),
            Price(300_000_000, 2_500_000_000, input_audio=USD),
            19_328_000,  # 10 of text, 19,200 of audio, 50 of the answer
        ),
        (Usage(10, 0, 100, 0, of_which=Particulars(cache_write_1h=60)), Price(USD, USD, 0, 1_250_000_000), 135_000),
        (
            Usage(10, 0, 100, 0, of_which=Particulars(cache_write_1h=60)),
            Price(USD, USD, 0, 1_250_000_000, cache_write_1h=2 * USD),
            180_000,
        ),
        (
            Usage(10, output_tokens=10, of_which=Particulars(web_searches=2, token_percent=110)),
            Price(USD, USD, web_search=10_000 * USD),
            20_022_000,  # a cent each; inference in the US makes tokens dearer, searches not
        ),
    ],
)
def test_costs_worked_out_by_hand(usage: Usage, charged: Price, expected: int) -> None:
    assert cost_nano_usd(usage, charged) == expected


def test_cached_input_counts_towards_a_long_context_step() -> None:
    stepped = Price(USD, USD, USD, USD, (LongContextPrice(272_000, price(2)),))
    assert cost_nano_usd(Usage(72_000, 200_000), stepped) == 272_000_000
    assert cost_nano_usd(Usage(72_000, 200_001), stepped) == 2 * 272_001_000


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (USD, "$1.00"),
        (1_234_567_890_000, "$1,234.56789"),
        (-1_500_000_000, "-$1.50"),
    ],
)
def test_an_amount_for_people_keeps_every_digit_and_at_least_cents(amount: int | None, text: str) -> None:
    assert format_usd(amount) == text
