"""Token estimates and calibration: sane on any text, fast, and near enough on what providers really reported."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.calibration import Calibration, prior_of
from atlas_sidecar.core.tokens import estimate_input_tokens, text_tokens
from atlas_sidecar.core.types import (
    Blob,
    Capability,
    GenerateRequest,
    Message,
    Part,
    Requirements,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolResult,
)


def request(*contents: Text | Blob | ToolResult, tools: tuple[Tool, ...] = (), schema: str = "") -> GenerateRequest:
    message = Message(Role.USER, tuple(Part(content) for content in contents))
    return GenerateRequest(Requirements(), (message,), tools, response_format=ResponseFormat(json_schema=schema))


@given(st.text())
def test_any_text_has_between_nothing_and_three_tokens_a_character(text: str) -> None:
    assert 0 <= text_tokens(text) <= 3 * len(text)


@given(st.text(), st.text())
def test_more_text_never_has_fewer_tokens(first: str, second: str) -> None:
    assert text_tokens(first + second) >= text_tokens(first)


def test_lone_surrogates_are_counted_and_not_refused() -> None:
    assert text_tokens("\ud800 broken") > 0


def test_a_long_text_is_sampled_and_stays_within_a_percent_of_its_parts() -> None:
    paragraph = "The sidecar picks a model for each request; when one fails, it asks the next (see 3.2).\n"
    assert text_tokens(paragraph * 5_000) == pytest.approx(text_tokens(paragraph) * 5_000, rel=0.01)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog.", 0.18, 0.28),
        ("def add(a, b):\n    return a + b\n", 0.18, 0.5),
        ("Привет, друзья, какая сегодня погода?", 0.25, 0.6),
        ("今日は天気がいいですね。", 0.5, 1.2),
        ("\N{GRINNING FACE}" * 3, 1.0, 3.0),
        ("3.14159265358979", 0.3, 0.7),
    ],
    ids=["english", "code", "cyrillic", "japanese", "emoji", "digits"],
)
def test_every_script_has_its_own_share_of_tokens_a_character(text: str, least: float, most: float) -> None:
    assert least <= text_tokens(text) / len(text) <= most


def test_tools_schemas_images_and_results_all_count() -> None:
    bare = estimate_input_tokens(request(Text("Hello")))
    schema = '{"type": "object", "properties": {"city": {"type": "string"}}}'
    assert estimate_input_tokens(request(Text("Hello"), tools=(Tool("f", "Finds a city.", schema),))) > bare + 20
    assert estimate_input_tokens(request(Text("Hello"), schema=schema)) > bare + 10
    assert estimate_input_tokens(request(Text("Hello"), Blob("image/png", b"x"))) > bare + 500
    assert estimate_input_tokens(request(Text("Hello"), Blob("audio/wav", b"x" * 1_600_000))) > bare + 1_000
    assert estimate_input_tokens(request(Text("Hello"), Blob("text/plain", b"word " * 1_000))) > bare + 800
    assert estimate_input_tokens(request(ToolResult("c", "f", (Part(Text("Berlin " * 100)),)))) > bare + 100


def test_an_estimate_of_eight_thousand_characters_takes_microseconds() -> None:
    message = request(Text("The sidecar picks a model for each request; it asks the next. " * 130))
    best = min(_seconds(message) for _ in range(50))
    print(f"estimate of {8_060:,} characters: {best * 1e6:.0f} us")  # noqa: T201 - pytest -s shows it
    assert best < 0.001  # some tens of microseconds; the bound leaves room for a busy machine


def _seconds(message: GenerateRequest) -> float:
    began = time.perf_counter()
    estimate_input_tokens(message)
    return time.perf_counter() - began


def test_calibration_learns_a_tokenizers_slope_and_a_preamble() -> None:
    calibration = Calibration()
    for estimated in (100, 1_000, 10_000, 300, 5_000) * 20:
        calibration.observe(estimated, round(50 + 1.3 * estimated))
    assert calibration.apply(2_000) == pytest.approx(2_650, rel=0.05)


def test_the_preamble_of_tools_is_learned_apart_from_plain_requests() -> None:
    calibration = Calibration()
    tools = frozenset({Capability.TOOLS})
    for estimated in (40, 80, 120, 200) * 20:
        calibration.observe(estimated, estimated)
        calibration.observe(estimated, estimated + 600, tools)
    assert calibration.apply(100) == pytest.approx(100, abs=15)
    assert calibration.apply(100, tools) == pytest.approx(700, abs=50)


def test_one_strange_answer_moves_a_calibration_by_no_more_than_about_twice() -> None:
    calibration = Calibration()
    calibration.observe(100, 1_000_000)
    assert calibration.apply(100) <= 310
    assert calibration.apply(10_000) <= 20_100


@given(st.lists(st.tuples(st.integers(-5, 10**7), st.integers(-5, 10**7)), max_size=30), st.integers(1, 10**7))
def test_whatever_was_reported_a_calibrated_estimate_stays_within_its_bounds(
    seen: list[tuple[int, int]], estimated: int
) -> None:
    calibration = Calibration(prior_of("anthropic"))
    for guess, reported in seen:
        calibration.observe(guess, reported)
    assert max(1, estimated // 2) <= calibration.apply(estimated) <= 2 * estimated + 1_001
