"""An answer in the making: parts, and the seam where one model carries on the text of another."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.types import (
    Delta,
    Part,
    Reasoning,
    ReasoningDelta,
    SignatureDelta,
    Text,
    TextDelta,
    ToolArguments,
    ToolCall,
    ToolCallStart,
)
from atlas_sidecar.runtime.answer import Answer, merge_text


def said(answer: Answer, *deltas: Delta) -> str:
    """Return the text that the caller sees of these deltas."""
    seen = [answer.add(delta) for delta in deltas]
    return "".join(delta.text for delta in seen if isinstance(delta, TextDelta))


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


@given(
    st.text(alphabet="ab \n\t\u00a0", max_size=30),
    st.lists(st.integers(0, 100), max_size=6),
    st.lists(st.integers(0, 100), max_size=6),
    st.integers(0, 30),
)
def test_a_text_carried_on_anywhere_is_the_whole_text_with_no_white_space_lost_or_doubled(
    text: str, first_cuts: list[int], second_cuts: list[int], broken_at: int
) -> None:
    begun = text[:broken_at]
    answer = Answer("one")
    seen = said(answer, *[TextDelta(0, piece) for piece in pieces(begun, first_cuts)])
    assert seen == begun
    answer.carry_on("two")
    prefill = answer.prefill()
    assert prefill == begun.rstrip()
    seen += said(answer, *[TextDelta(0, piece) for piece in pieces(text[len(prefill) :], second_cuts)])
    assert seen == answer.text() == text


def test_a_model_that_does_not_repeat_the_white_space_loses_nothing() -> None:
    answer = Answer("one")
    said(answer, TextDelta(0, "Hello, "))
    answer.carry_on("two")
    assert said(answer, TextDelta(3, "world")) == "world"
    assert answer.message().parts == (Part(Text("Hello, world")),)


def test_what_is_no_text_after_the_seam_is_a_part_of_its_own() -> None:
    answer = Answer("one")
    said(answer, TextDelta(0, "Hello "))
    answer.carry_on("two")
    moved = answer.add(ToolCallStart(0, "c1", "f"))
    assert moved == ToolCallStart(1, "c1", "f")
    assert answer.add(ToolArguments(0, "{}")) == ToolArguments(1, "{}")
    assert answer.message().parts == (Part(Text("Hello ")), Part(ToolCall("c1", "f", "{}")))


@pytest.mark.parametrize("delta", [ReasoningDelta(1, "hm"), ToolCallStart(1, "c", "f"), SignatureDelta(0, b"s")])
def test_an_answer_with_anything_but_text_is_not_plain(delta: Delta) -> None:
    answer = Answer("one")
    answer.add(TextDelta(0, "Hello"))
    assert answer.plain_text
    answer.add(delta)
    assert not answer.plain_text


def test_signatures_carry_the_kind_that_made_them() -> None:
    answer = Answer("anthropic")
    answer.add(ReasoningDelta(0, "hm"))
    answer.add(SignatureDelta(0, b"a"))
    answer.add(SignatureDelta(0, b"b"))
    answer.add(TextDelta(1, "Hi"))
    signed = Part(Reasoning("hm"), signature=b"ab", signature_origin="anthropic")
    assert answer.message().parts == (signed, Part(Text("Hi")))


def test_neighbouring_text_of_one_part_becomes_one_delta() -> None:
    deltas: list[Delta] = [
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        TextDelta(1, "c"),
        ToolCallStart(2, "i", "f"),
        TextDelta(3, "d"),
    ]
    merged = [TextDelta(0, "ab"), TextDelta(1, "c"), ToolCallStart(2, "i", "f"), TextDelta(3, "d")]
    assert list(merge_text(deltas)) == merged
