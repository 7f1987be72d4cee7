"""A JSON schema as Claude's structured output takes it. Pure.

Rules kept here:
- The API knows few keywords and refuses the request for any other (platform.claude.com, structured outputs). What it
  does not know goes into `description`, where the model still reads it; the SDK does the same to Pydantic's schemas.
- Every object is closed. `oneOf` is said as `anyOf`; beside `$ref` nothing stands; `enum` and `const` need no `type`.
- Tools' schemas may say anything: they are no business of this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_NAMED: Final = frozenset({"properties", "$defs", "definitions"})  # names of the caller's own, then schemas
_CHOICES: Final = frozenset({"anyOf", "allOf"})
_BESIDE_REF: Final = frozenset({"$ref", "$defs", "definitions"})
_LITERALS: Final = frozenset({"const", "enum"})
_NO_RULES: Final = frozenset({"$schema", "$id", "$comment"})
_FORMATS: Final = frozenset("date-time time date duration email hostname uri ipv4 ipv6 uuid".split())


def closed_schema(schema: Any) -> Any:
    """Return a JSON schema with closed objects and with no keyword that Claude refuses."""
    if not isinstance(schema, dict):
        return schema
    told: dict[str, Any] = {}
    left: dict[str, Any] = {}
    refers = isinstance(schema.get("$ref"), str)
    for key, value in schema.items():
        if refers and key not in _BESIDE_REF:
            continue
        name = "anyOf" if key == "oneOf" and "anyOf" not in schema else key
        if _is_known(name, value, schema):
            told[name] = _closed(name, value)
        elif key not in _NO_RULES and not (key == "additionalProperties" and isinstance(value, bool)):
            left[key] = value
    if "properties" in told:
        told.setdefault("type", "object")
    if not _LITERALS.isdisjoint(told):
        told.pop("type", None)
    if "object" in _types(told):
        told["additionalProperties"] = False
    if left and not refers:
        rules = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in left.items())
        told["description"] = "\n\n".join(text for text in (told.get("description"), f"{{{rules}}}") if text)
    return told


def _is_known(name: str, value: Any, schema: Mapping[str, Any]) -> bool:
    match name:
        case "properties" | "$defs" | "definitions" | "items":
            return isinstance(value, dict)
        case "anyOf" | "allOf" | "required":
            return isinstance(value, list)
        case "description" | "title" | "$ref":
            return isinstance(value, str)
        case "type" | "default":
            return True
        case "const":
            return _is_plain(value)
        case "enum":
            return isinstance(value, list) and bool(value) and all(map(_is_plain, value))
        case "minItems":
            return type(value) is int and value in {0, 1}
        case "format":
            return isinstance(value, str) and value in _FORMATS and "string" in _types(schema)
    return False


def _closed(name: str, value: Any) -> Any:
    if name in _NAMED:
        return {key: closed_schema(item) for key, item in value.items()}
    if name in _CHOICES:
        return [closed_schema(item) for item in value]
    return closed_schema(value) if name == "items" else value


def _types(schema: Mapping[str, Any]) -> list[Any]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)
