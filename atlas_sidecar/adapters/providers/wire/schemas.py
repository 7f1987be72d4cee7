"""JSON schemas of requests as the wires take them, and what OpenAI's strict mode asks of one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from atlas_sidecar.core.errors import ErrorClass, ProviderError

_MAX_DEPTH: Final = 32
_UNKNOWN_TO_STRICT: Final = frozenset(
    "allOf not dependentRequired dependentSchemas if then else patternProperties propertyNames unevaluatedProperties "
    "unevaluatedItems prefixItems contains minContains maxContains uniqueItems oneOf default minProperties "
    "maxProperties".split()
)
_SAYS_WHAT_IT_IS: Final = frozenset({"type", "anyOf", "$ref", "enum", "const"})
_FORMATS: Final = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")


def json_object(text: str) -> dict[str, Any] | None:
    """Return a JSON object's text as that object, None for anything else."""
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def schema_object(schema: str) -> dict[str, Any]:
    """Return a JSON schema's text as an object. Raises ProviderError INVALID_REQUEST when it is none."""
    parsed = json_object(schema)
    if parsed is None:
        raise ProviderError(ErrorClass.INVALID_REQUEST, "a JSON schema of the request is no JSON object", code="schema")
    return parsed


def parameters_object(schema: str) -> dict[str, Any]:
    """Return the schema of a tool's parameters: an object with properties, because the APIs ask for both words.

    `schema` "": no parameters. Raises ProviderError INVALID_REQUEST when it is no JSON object.
    """
    parsed = schema_object(schema) if schema else {}
    if parsed.get("type") is None:
        parsed = {**parsed, "type": "object"}
    return {"properties": {}, **parsed} if parsed["type"] == "object" else parsed


def is_strict(schema: dict[str, Any]) -> bool:
    """Return whether a schema may be sent with `strict: true`.

    That asks (developers.openai.com, structured outputs): the root is an object and no anyOf; each object names all of
    its properties as required and takes no others; each node says what it is; only known keywords and formats; no
    `$ref` with anything beside it. Anything else would be refused with a 400.
    """
    return schema.get("type") == "object" and "anyOf" not in schema and _is_strict(schema, 0)


def _is_strict(node: dict[str, Any], depth: int) -> bool:
    if depth > _MAX_DEPTH or not _UNKNOWN_TO_STRICT.isdisjoint(node) or _SAYS_WHAT_IT_IS.isdisjoint(node):
        return False
    if ("$ref" in node and len(node) > 1) or ("format" in node and node["format"] not in _FORMATS):
        return False
    types = node.get("type")
    types = types if isinstance(types, list) else [types]
    if "array" in types and "items" not in node:
        return False
    if ("object" in types or "properties" in node) and not _names_its_properties(node):
        return False
    return all(isinstance(child, dict) and _is_strict(child, depth + 1) for child in _children(node))


def _names_its_properties(node: dict[str, Any]) -> bool:
    properties, required = node.get("properties"), node.get("required", [])
    if not isinstance(properties, dict) or node.get("additionalProperties") is not False:
        return False
    return isinstance(required, list) and set(properties) == {name for name in required if isinstance(name, str)}


def _children(node: dict[str, Any]) -> Iterator[Any]:
    for key in ("properties", "$defs", "definitions"):
        named = node.get(key)
        if isinstance(named, dict):
            yield from named.values()
    if "items" in node:
        yield node["items"]
    choices = node.get("anyOf", [])
    yield from choices if isinstance(choices, list) else [None]
