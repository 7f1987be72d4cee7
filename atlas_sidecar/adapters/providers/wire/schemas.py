"""What OpenAI's strict mode asks of a JSON schema. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_MAX_DEPTH: Final = 32
_UNKNOWN_TO_STRICT: Final = frozenset(
    "allOf not dependentRequired dependentSchemas if then else patternProperties propertyNames unevaluatedProperties "
    "unevaluatedItems contains minContains maxContains uniqueItems oneOf default minProperties maxProperties".split()
)


def is_strict(schema: dict[str, Any]) -> bool:
    """Return whether a schema may be sent with `strict: true`.

    That asks (developers.openai.com, structured outputs): the root is an object and no anyOf; each object names all of
    its properties as required and takes no others; only known keywords. Anything else would be refused with a 400.
    """
    return schema.get("type") == "object" and "anyOf" not in schema and _is_strict(schema, 0)


def _is_strict(node: dict[str, Any], depth: int) -> bool:
    if depth > _MAX_DEPTH or not _UNKNOWN_TO_STRICT.isdisjoint(node):
        return False
    properties = node.get("properties")
    if node.get("type") == "object" or properties is not None:
        if not isinstance(properties, dict) or node.get("additionalProperties") is not False:
            return False
        required = node.get("required", [])
        if not isinstance(required, list) or set(properties) != {name for name in required if isinstance(name, str)}:
            return False
    return all(isinstance(child, dict) and _is_strict(child, depth + 1) for child in _children(node))


def _children(node: dict[str, Any]) -> Iterator[Any]:
    for key in ("properties", "$defs", "definitions"):
        named = node.get(key)
        if isinstance(named, dict):
            yield from named.values()
    if "items" in node:
        yield node["items"]
    choices = node.get("anyOf", [])
    yield from choices if isinstance(choices, list) else [None]
