"""JSON schemas for Claude's structured output: what is closed, what is said in words, what stays as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.anthropic_schema import closed_schema

REFUSED = {
    "minimum": 1,
    "maximum": 5,
    "exclusiveMinimum": 0,
    "exclusiveMaximum": 9,
    "multipleOf": 2,
    "minLength": 1,
    "maxLength": 3,
    "pattern": 'a(?="b")',
    "maxItems": 4,
    "uniqueItems": True,
    "minProperties": 1,
    "patternProperties": {"^x": {"type": "string"}},
    "not": {"type": "null"},
}


@pytest.mark.parametrize("keyword", REFUSED)
def test_a_keyword_that_claude_refuses_is_said_in_the_description(keyword: str) -> None:
    value = REFUSED[keyword]
    told = closed_schema({"type": "string", keyword: value})
    assert told == {"type": "string", "description": f"{{{keyword}: {json.dumps(value)}}}"}


def test_what_is_said_follows_the_schemas_own_description() -> None:
    told = closed_schema({"type": "integer", "minimum": 1, "maximum": 5, "description": "A number"})
    assert told == {"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 5}"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "array", "minItems": 1}, {"type": "array", "minItems": 1}),
        ({"type": "array", "minItems": 3}, {"type": "array", "description": "{minItems: 3}"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": ["string", "null"], "format": "date"}, {"type": ["string", "null"], "format": "date"}),
        ({"type": "string", "format": "phone"}, {"type": "string", "description": '{format: "phone"}'}),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        (
            {"oneOf": [{"type": "null"}], "anyOf": [{"type": "null"}]},
            {"anyOf": [{"type": "null"}], "description": '{oneOf: [{"type": "null"}]}'},
        ),
        ({"type": "string", "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"const": None}, {"const": None}),
        ({"type": "array", "enum": [[]]}, {"type": "array", "description": "{enum: [[]]}"}),
        ({"type": "object", "const": None}, {"const": None}),
        ({"$ref": 7}, {"description": "{$ref: 7}"}),
        ({"$ref": "#/$defs/A", "description": "an A"}, {"$ref": "#/$defs/A"}),
        ({"$schema": "https://json-schema.org/", "type": "null"}, {"type": "null"}),
        (True, True),
    ],
)  # fmt: skip
def test_each_keyword_has_the_form_that_claude_takes(schema: Any, expected: Any) -> None:
    assert closed_schema(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {}},
        {"properties": {"a": {"type": "null"}}},
        {"type": ["object", "null"], "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ],
)
def test_whatever_is_an_object_is_closed(schema: Any) -> None:
    told = closed_schema(schema)
    assert told["additionalProperties"] is False
    assert "object" in told["type"]


NAMES = st.sampled_from(["a", "default", "minimum", "properties", "type"])  # a property may be called like a keyword
NUMBERS = st.integers(0, 3)
LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])}, optional={"minimum": NUMBERS, "multipleOf": NUMBERS}
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={"format": st.sampled_from(["date", "phone"]), "maxLength": NUMBERS, "pattern": st.just("^a$")},
    ),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["x", 1, None]), min_size=1)}),
    st.fixed_dictionaries({"$ref": st.just("#/$defs/a")}, optional={"title": st.just("T")}),
)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(NAMES, inner, max_size=3)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": named},
            optional={
                "required": st.just(["a"]),
                "additionalProperties": st.just(True),
                "minProperties": NUMBERS,
                "$defs": named,
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner}, optional={"minItems": NUMBERS, "maxItems": NUMBERS}
        ),
        st.dictionaries(st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner), min_size=1, max_size=1),
    )


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=8)


def schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all the schemas within it."""
    if not isinstance(schema, dict):
        return
    yield schema
    inner = [schema.get("items"), *schema.get("anyOf", ()), *schema.get("allOf", ())]
    for key in ("properties", "$defs", "definitions"):
        inner += schema.get(key, {}).values()
    for one in inner:
        yield from schemas_in(one)


def without_words(schema: Any) -> Any:
    """Return a schema without the descriptions: the SDK words them in Python's way."""
    if isinstance(schema, list):
        return [without_words(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: without_words(value) for key, value in schema.items() if key != "description"}


@given(SCHEMAS)
def test_a_schema_is_told_as_the_sdk_tells_it(schema: Any) -> None:
    from anthropic import transform_schema  # noqa: PLC0415 - takes a second, and only this test needs it

    assert without_words(closed_schema(schema)) == without_words(transform_schema(schema))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "type properties items anyOf oneOf allOf enum const format minItems required description $ref pattern "
                "additionalProperties title default $defs".split()
            ),
            st.one_of(inner, st.sampled_from(["object", "string", "date", ["object", "null"]])),
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(st.one_of(SCHEMAS, JSON))
def test_any_json_is_closed_has_known_keywords_only_and_is_not_changed_by_a_second_time(schema: Any) -> None:
    before = json.dumps(schema)
    told = closed_schema(schema)
    assert json.dumps(schema) == before
    assert closed_schema(told) == told
    known = set("$ref $defs definitions type anyOf allOf enum const properties required items minItems format".split())
    for one in schemas_in(told):
        assert set(one) <= known | {"additionalProperties", "description", "title", "default"}
        kind = one.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind):
            assert one["additionalProperties"] is False
