import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.json_text import parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\uD83D"', "\ufffd"),
        (r'"a\udfffb"', "a\ufffdb"),
        (r'{"\ud800": ["\ud800"]}', {"\ufffd": ["\ufffd"]}),
        (r'"\\ud800"', r"\ud800"),
    ],
)
def test_half_a_character_becomes_the_replacement_character_and_nothing_else_changes(text: str, value: object) -> None:
    assert parse(text) == value


def test_endless_nesting_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested"):
        parse("[" * 100_000)


@given(JSON)
def test_what_was_read_can_be_written(value: object) -> None:
    json.dumps(parse(json.dumps(value)), ensure_ascii=False).encode()
