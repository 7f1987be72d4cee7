"""What usage costs: whole nano-dollars, rounded up once, never invented."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.money import LongContextPrice, Price, cost_nano_usd, format_usd
from atlas_sidecar.core.types import Usage
from tests.core import strategies as any_
from tests.core.builders import USD, price

counts = st.none() | st.integers(0, 2_000_000)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
FIELDS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


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
    bigger = replace(usage, **{field: (getattr(usage, field) or 0) + more})
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
