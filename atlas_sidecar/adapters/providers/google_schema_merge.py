"""Two schemas that hold at once as one, where that is simple: Gemini knows no `allOf`. Pure.

Rules kept here:
- Properties and what is required add up, the narrower bound holds, alternatives are paired.
- What cannot be said as one keyword (two patterns, two descriptions) is that of the first schema.
- Merging counts against the bound of the reduction; when that is used up, the first schema stands.
"""

from __future__ import annotations

from typing import Any, Final

MAX_ALTERNATIVES: Final = 16  # pairs of alternatives; beyond, those of the first schema stand

_LOWER: Final = frozenset({"minimum", "exclusiveMinimum", "minItems", "minLength", "minProperties"})
_UPPER: Final = frozenset({"maximum", "exclusiveMaximum", "maxItems", "maxLength", "maxProperties"})


class Budget:
    """How many nodes may still be made."""

    def __init__(self, nodes: int) -> None:
        self._left = nodes

    def spend(self, nodes: int = 1) -> bool:
        """Take so many; return whether there are as many."""
        if nodes > self._left:
            return False
        self._left -= nodes
        return True


def merged(first: dict[str, Any], second: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Return a reduced schema that both hold for; the arguments stay as they are."""
    if not budget.spend(1 + len(first)):
        return first
    out = dict(first)
    for key, value in second.items():
        out[key] = _both(key, out[key], value, budget) if key in out else value
    return out


def _both(key: str, first: Any, second: Any, budget: Budget) -> Any:
    if key == "properties" and isinstance(first, dict) and isinstance(second, dict):
        return _merged_properties(first, second, budget)
    if isinstance(first, dict) and isinstance(second, dict):
        return merged(first, second, budget) if key in {"items", "additionalProperties"} else first
    if isinstance(first, list) and isinstance(second, list):
        if key == "required":
            return list(dict.fromkeys(name for name in (*first, *second) if isinstance(name, str)))
        if key == "anyOf":
            return _paired(first, second, budget)
        if key == "enum":
            known = set(second)  # texts and numbers
            return [value for value in first if value in known] or first
        if key != "type":
            return first
    if key == "type":
        return _common_type(first, second)
    if _is_number(first) and _is_number(second):
        if key in _LOWER:
            return max(first, second)
        return min(first, second) if key in _UPPER else first
    return first


def _merged_properties(first: dict[str, Any], second: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Return the properties of both; one that both name holds for both."""
    if not budget.spend(1 + len(first)):
        return first
    out = dict(first)
    for name, schema in second.items():
        old = out.get(name, {})
        out[name] = merged(old, schema, budget) if isinstance(old, dict) and isinstance(schema, dict) else schema
    return out


def _paired(first: list[Any], second: list[Any], budget: Budget) -> list[Any]:
    if len(first) * len(second) > MAX_ALTERNATIVES or not all(isinstance(item, dict) for item in (*first, *second)):
        return first
    copies = len(second) * sum(map(_nodes, first)) + len(first) * sum(map(_nodes, second))
    if not budget.spend(copies):
        return first
    pairs = [(one, other) for one in first for other in second if not _exclude(one, other)]
    return [merged(one, other, budget) for one, other in pairs] or first


def _nodes(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_nodes, inner))


def _exclude(first: dict[str, Any], second: dict[str, Any]) -> bool:
    types = _types(first.get("type")), _types(second.get("type"))
    return bool(types[0] and types[1]) and not _shared(*types)


def _common_type(first: Any, second: Any) -> Any:
    shared = _shared(_types(first), _types(second))
    if not shared:
        return first
    return shared[0] if len(shared) == 1 else shared


def _types(said: Any) -> list[str]:
    types = said if isinstance(said, list) else [said]
    return [one for one in types if isinstance(one, str)]


def _shared(first: list[str], second: list[str]) -> list[str]:
    """Return the types of both lists; an integer is a number too."""
    shared = [one for one in first if one in second or (one == "integer" and "number" in second)]
    return [*shared, *(one for one in second if one == "integer" and "number" in first and one not in first)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
