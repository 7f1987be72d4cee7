"""JSON schemas in Gemini's dialect: what is replaced, merged, kept and cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.google_schema import MAX_NODES, reduced_schema, says_nothing


def test_a_schema_is_reduced_to_what_gemini_reads() -> None:
    schema = {
        "$schema": "x",
        "$defs": {"Kind": {"const": "a"}, "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        "type": "object",
        "properties": {
            "kind": {"$ref": "#/$defs/Kind", "description": "which"},
            "const": {"type": "string"},
            "one": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "node": {"$ref": "#/$defs/Node"},
            "lost": {"$ref": "https://example.com/schema"},
        },
        "required": ["const"],
        "additionalProperties": False,
    }
    reduced = reduced_schema(schema)
    assert set(reduced) == {"type", "properties", "required"}
    assert reduced["properties"]["kind"] == {"enum": ["a"], "description": "which"}
    assert reduced["properties"]["const"] == {"type": "string"}  # a property may be called like a keyword
    assert reduced["properties"]["one"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert reduced["properties"]["lost"] == {}
    assert "$ref" not in json.dumps(reduced)
    assert json.dumps(reduced).count('"next"') == 3


STRING, INTEGER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}


def of(*properties: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(properties, STRING), **more}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "object", "additionalProperties": {"const": 1}},
            {"type": "object", "additionalProperties": {"enum": [1]}},
        ),
        ({"type": "object", "additionalProperties": True}, {"type": "object"}),
        ({"type": "object", "additionalProperties": {}}, {"type": "object"}),
        ({"anyOf": [STRING, NULL], "oneOf": [INTEGER, STRING]}, {"anyOf": [STRING]}),
        ({"oneOf": [INTEGER, NULL], "anyOf": [{"type": "number"}, NULL]}, {"anyOf": [INTEGER, NULL]}),
        ({"oneOf": [STRING], "anyOf": [INTEGER]}, {"anyOf": [INTEGER]}),  # nothing fits: as if one were not there
        ({"const": None}, NULL),
        ({"const": True}, {"type": "boolean", "description": "Always true."}),
        ({"const": {"a": 1}}, {"type": "object", "description": 'Always {"a": 1}.'}),
        ({"const": "a", "enum": ["a", "b"]}, {"enum": ["a"]}),
        ({"enum": ["a", "b"], "const": "a"}, {"enum": ["a"]}),
        ({"enum": ["a", None]}, {"enum": ["a"], "type": ["string", "null"]}),
        ({"enum": [True, False]}, {"type": "boolean"}),
        ({"enum": [True, None], "type": ["boolean", "null"]}, {"type": ["boolean", "null"]}),
        ({"allOf": [of("a", required=["a"]), of("b", required=["b"])]}, of("a", "b", required=["a", "b"])),
        ({"allOf": [of("a")], "description": "d"}, of("a", description="d")),
        ({"allOf": [{"minimum": 1, "maximum": 9}, {"minimum": 2, "maximum": 10}]}, {"minimum": 2, "maximum": 9}),
        ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, {"enum": ["b"]}),
        ({"type": "number", "allOf": [INTEGER]}, INTEGER),
        ({"type": ["string", "null"], "allOf": [STRING]}, STRING),
        ({"allOf": [{"items": of("a")}, {"items": of("b")}]}, {"items": of("a", "b")}),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}, True, 7]}, {"pattern": "a"}),
        ({"allOf": 7, "oneOf": 7, "enum": 7, "$ref": 7}, {}),
    ],
)
def test_what_has_no_keyword_of_its_own_is_said_with_others(schema: Any, expected: Any) -> None:
    assert reduced_schema(schema) == expected
    assert reduced_schema({"properties": {"x": schema}}) == {"properties": {"x": expected}}


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("#/$defs/List%5Bint%5D", {"type": "array", "items": INTEGER}),
        ("#/$defs/a~1b%25", STRING),
        ("#/$defs/Either/anyOf/1", INTEGER),
        ("#/$defs/Either/anyOf/2", {}),
        ("#/$defs/Either/anyOf/-1", {}),
        ("#named", of("q")),
        ("#old", NULL),
        ("#nothing", {}),
        ("other.json#/a", {}),
    ],
)
def test_a_reference_finds_what_it_names(reference: str, found: Any) -> None:
    definitions = {
        "List[int]": {"type": "array", "items": INTEGER},
        "a/b%": STRING,
        "Either": {"anyOf": [STRING, INTEGER]},
        "Named": {"$anchor": "named", **of("q")},
        "Old": {"$id": "#old", **NULL},
    }
    for name in ("$ref", "$dynamicRef"):
        schema = {"$defs": definitions, "properties": {"x": {name: reference}}}
        assert reduced_schema(schema)["properties"]["x"] == found


def test_what_stands_beside_a_reference_adds_to_what_it_names() -> None:
    schema = {"$defs": {"A": of("a", required=["a"])}, "$ref": "#/$defs/A", "properties": {"b": INTEGER}}
    assert reduced_schema(schema) == {**of("a", required=["a"]), "properties": {"b": INTEGER, "a": STRING}}


def test_what_was_cut_is_not_required_there() -> None:
    node = {"type": "object", "properties": {"v": STRING, "next": {"$ref": "#"}}, "required": ["v", "next"]}
    reduced, levels = reduced_schema(node), 0
    while reduced["required"] == ["v", "next"]:
        reduced, levels = reduced["properties"]["next"], levels + 1
    assert (reduced["required"], reduced["properties"]["next"], levels) == (["v"], {}, 3)


@pytest.mark.parametrize(
    ("schema", "nothing"),
    [
        ({"type": "object"}, True),
        ({}, True),
        (True, True),
        ({"type": "object", "title": "Empty", "properties": {}, "required": []}, True),
        ({"type": "object", "properties": {"a": STRING}}, False),
        ({"type": "object", "additionalProperties": STRING}, False),
        ({"anyOf": [of("a")]}, False),
        ({"type": "string"}, False),
    ],
)
def test_parameters_that_say_no_more_than_object_say_nothing(schema: Any, nothing: bool) -> None:
    assert says_nothing(schema) is nothing


NAMES = st.sampled_from(["A", "B", "C"])
SCHEMAS = st.recursive(
    st.one_of(
        st.sampled_from(
            [STRING, {"const": 1}, {"const": None}, {"enum": ["a", None, True]}, True, {}, {"$anchor": "x"}]
        ),
        NAMES.map(lambda name: {"$ref": f"#/$defs/{name}"}),
        st.sampled_from([{"$ref": "#"}, {"$ref": "#x"}, {"$ref": "#/$defs/A/anyOf/0"}, {"$dynamicRef": "#x"}]),
    ),
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p, "required": list(p)}
        ),
        inner.map(lambda item: {"type": "array", "items": item}),
        inner.map(lambda item: {"additionalProperties": item}),
        st.dictionaries(
            st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, min_size=1, max_size=3), min_size=1
        ),
        st.tuples(inner, NAMES).map(lambda pair: {"items": pair[0], "$ref": f"#/$defs/{pair[1]}"}),
    ),
    max_leaves=8,
)


def nodes(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict) + sum(map(nodes, inner))


@given(st.dictionaries(NAMES, SCHEMAS, max_size=3), SCHEMAS)
def test_any_recursion_ends_and_no_reference_is_left(definitions: dict[str, Any], schema: Any) -> None:
    whole = {"$defs": definitions, "properties": {"x": schema}}
    before = json.dumps(whole)
    reduced = reduced_schema(whole)
    assert json.dumps(whole) == before
    text = json.dumps(reduced)
    assert not any(f'"{word}"' in text for word in ("$ref", "$dynamicRef", "$defs", "$anchor", "allOf", "oneOf"))
    assert nodes(reduced) <= 4 * MAX_NODES


@pytest.mark.parametrize("how", ["allOf", "anyOf", "oneOf"])
def test_a_schema_that_would_unfold_without_end_is_bounded(how: str) -> None:
    wide = {f"p{i}": {"$ref": f"#/$defs/{i % 4}"} for i in range(8)}
    definitions = {str(i): {how: [of(f"a{i}"), {"type": "object", "properties": wide}]} for i in range(4)}
    assert nodes(reduced_schema({"$defs": definitions, "$ref": "#/$defs/0"})) <= 4 * MAX_NODES


def test_alternatives_that_multiply_are_bounded() -> None:
    node: dict[str, Any] = of("end")
    for level in range(40):
        both = [{"anyOf": [of(f"{side}{i}{level}") for i in range(4)]} for side in "ab"]
        both[0]["anyOf"][0]["properties"]["deeper"] = node
        node = {"type": "object", "allOf": both}
    assert nodes(reduced_schema(node)) <= 4 * MAX_NODES
