"""What a request may cost before it is sent: the dearest of what it may bring, and no dearer than that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.costs import estimate_cost, output_cap, reservation, worst_case_cost
from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.eligibility import check
from atlas_sidecar.core.money import Price, cost_nano_usd
from atlas_sidecar.core.types import BudgetState, Capability, Need, Particulars, Target, Usage
from tests.core.builders import ANYTHING, USD, model, need, snapshot

HEARD = frozenset({Capability.AUDIO_INPUT})
ALL_KINDS = Price(
    *(USD, 2 * USD, USD // 10, 5 * USD // 4),
    cache_write_1h=2 * USD,
    input_audio=3 * USD,
    output_audio=8 * USD,
    output_image=30 * USD,
)


@pytest.mark.parametrize(
    ("asked", "each"),
    [
        (need(), 1.25),
        (need(capabilities=HEARD), 3),
        (need(forms=frozenset({Form.VIDEO})), 3),
        (need(forms=frozenset({Form.VIDEO_BY_ADDRESS})), 3),
        (need(forms=frozenset({Form.STORAGE_OBJECT})), 3),  # whatever it is
        (need(forms=frozenset({Form.PDF})), 1.25),
        (need(forms=frozenset({Form.CACHE_FOR_AN_HOUR})), 2),
        (None, 3),
    ],
)
def test_input_is_reserved_at_the_dearest_price_of_what_the_request_brings(asked: Need | None, each: float) -> None:
    one = model(cost=ALL_KINDS)
    assert worst_case_cost(one, 1_000, 0, asked) == 1_000_000 * each


def test_an_answer_is_reserved_and_capped_at_the_dearest_price_that_its_model_has_for_one() -> None:
    one = model(cost=ALL_KINDS)
    assert worst_case_cost(one, 0, 1_000, need()) == 30_000_000
    assert worst_case_cost(model(cost=replace(ALL_KINDS, output_image=None)), 0, 1_000, need()) == 8_000_000
    assert reservation(one, need(1_000, 100), snapshot()) == 1_250_000 + 3_000_000
    assert output_cap(one, need(1_000), max_cost_nano_usd=1_250_000 + 300_000) == 10


def test_a_dear_kind_of_token_must_fit_the_headroom_too() -> None:
    one = Target(model(cost=ALL_KINDS), 1)
    seen = snapshot(budget=BudgetState(USD, USD, 4_000_000))
    text, audio = need(1_000, 90), need(1_000, 90, HEARD)
    assert check(one, ANYTHING, text, seen) is None
    rejected = check(one, ANYTHING, audio, seen)
    assert rejected is not None
    assert rejected.detail == "may cost $0.0057, budget headroom $0.004"
    short = Target(model(cost=ALL_KINDS, max_output=100), 1)  # so that even its longest answer might fit
    assert (
        check(short, ANYTHING, need(1_000, 100, HEARD), snapshot(budget=BudgetState(USD, USD, 5_999_999))) is not None
    )
    assert check(short, ANYTHING, need(1_000, 100, HEARD), snapshot(budget=BudgetState(USD, USD, 6_000_000))) is None


def test_a_cap_on_the_cost_is_compared_with_what_this_request_may_cost() -> None:
    one = Target(model(cost=ALL_KINDS), 1)
    assert check(one, ANYTHING, need(1_000, 90, max_cost_nano_usd=3_950_000), snapshot()) is None
    assert check(one, ANYTHING, need(1_000, 90, max_cost_nano_usd=3_949_999), snapshot()) is not None
    assert check(one, ANYTHING, need(1_000, 90, HEARD, max_cost_nano_usd=5_699_999), snapshot()) is not None


def test_speech_is_expected_to_cost_what_audio_costs() -> None:
    one = model(cost=ALL_KINDS)
    assert estimate_cost(one, need(1_000), 100) == 1_200_000
    assert estimate_cost(one, need(1_000, capabilities=HEARD), 100) == 3_200_000


amounts = st.integers(0, 100 * USD)
own = st.none() | amounts
all_prices = st.builds(
    lambda plain, output, write, hour, audio, said, drawn, share: Price(
        *(plain, output, plain * share // 100, write),
        cache_write_1h=hour,
        input_audio=audio,
        cache_read_audio=None if audio is None else audio * share // 100,
        output_audio=said,
        output_image=drawn,
    ),
    *(amounts, amounts, own, own, own, own, own, st.integers(0, 100)),
)
counts = st.integers(0, 10_000)


@given(all_prices, st.builds(Usage, counts, counts, counts, counts, counts), st.builds(Particulars, *[counts] * 5))
def test_no_answer_within_its_estimate_and_cap_costs_more_than_was_reserved(
    full: Price, usage: Usage, apart: Particulars
) -> None:
    counted = replace(usage, of_which=apart).bounded()
    input_tokens, output_tokens = usage.total_input_tokens, usage.total_output_tokens
    cost = cost_nano_usd(counted, full)
    most = worst_case_cost(model(cost=full), input_tokens, output_tokens)
    assert cost is not None
    assert most is not None
    assert cost <= most
    silent = replace(apart, audio_input=0, audio_cache_read=0, cache_write_1h=0).within(usage)
    plain = cost_nano_usd(replace(usage, of_which=silent), full)
    reserved = worst_case_cost(model(cost=full), input_tokens, output_tokens, need())
    assert plain is not None
    assert reserved is not None
    assert plain <= reserved <= most
