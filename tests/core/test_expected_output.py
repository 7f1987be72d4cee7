"""How long answers are expected to be, after any history of them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.expected_output import FIRST_TOKENS, MOST_TOKENS, ExpectedOutput


def test_before_any_answer_500_tokens_are_expected_and_no_p95_is_known() -> None:
    fresh = ExpectedOutput()
    assert fresh.expected_tokens == FIRST_TOKENS == 500
    assert fresh.p95_tokens is None


@given(st.lists(st.integers(-10, 10**9), max_size=200))
def test_whatever_was_seen_both_numbers_stay_within_bounds(answers: list[int]) -> None:
    learned = ExpectedOutput()
    for tokens in answers:
        learned.observe(tokens)
    assert 1 <= learned.expected_tokens <= MOST_TOKENS
    if len(answers) < 20:
        assert learned.p95_tokens is None
    else:
        assert learned.p95_tokens is not None
        assert learned.expected_tokens <= learned.p95_tokens <= MOST_TOKENS


@given(st.integers(1, 100_000))
def test_equal_answers_are_soon_expected(tokens: int) -> None:
    learned = ExpectedOutput()
    for _ in range(400):
        learned.observe(tokens)
    assert abs(learned.expected_tokens - tokens) <= 1 + tokens * 0.01


def test_the_p95_lies_where_about_one_answer_in_twenty_is_longer() -> None:
    chance = random.Random(7)
    learned = ExpectedOutput()
    longer = 0
    for number in range(6_000):
        tokens = round(chance.lognormvariate(6, 1))
        bound = learned.p95_tokens
        longer += number >= 1_000 and bound is not None and tokens > bound
        learned.observe(tokens)
    assert 0.02 < longer / 5_000 < 0.08


def test_a_change_of_habit_is_followed() -> None:
    learned = ExpectedOutput()
    for tokens in [200] * 300 + [2_000] * 150:
        learned.observe(tokens)
    assert learned.expected_tokens > 1_800
    assert (learned.p95_tokens or 0) > 1_800
