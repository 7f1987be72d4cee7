"""JSON schemas in the dialect that Gemini reads. Pure.

Rules kept here:
- `$ref` is replaced by what it names, `const` becomes an `enum` of one, `additionalProperties` and what only a
  validator needs is dropped. What refers to itself ends after a few levels as "anything".
- The result is bounded: a schema that would unfold beyond the bound is cut the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_REF_DEPTH: Final = 3  # how often a definition may stand within itself
MAX_NODES: Final = 20_000

_DROPPED: Final = frozenset(
    "$anchor $comment $defs $id $schema additionalProperties additional_properties definitions deprecated else if not "
    "patternProperties propertyNames readOnly then unevaluatedItems unevaluatedProperties writeOnly".split()
)
_LITERAL: Final = frozenset({"default", "enum", "example", "examples", "required", "propertyOrdering"})


def reduced_schema(schema: Any) -> Any:
    """Return a JSON schema (decoded JSON) in Gemini's dialect; the argument stays as it is."""
    return _Reduction(schema).reduce(schema, ())


class _Reduction:
    """One walk through a schema: the root for its references, and how much is left of the bound."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = MAX_NODES

    def reduce(self, node: Any, path: tuple[str, ...]) -> Any:
        """Return a reduced node; `path` holds the references that led here."""
        self._left -= 1
        if self._left < 0 or len(path) > 64:
            return {}
        if isinstance(node, list):
            return [self.reduce(item, path) for item in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._resolved(node, reference, path)
        out: dict[str, Any] = {}
        for key, value in node.items():
            if key in _DROPPED:
                continue
            if key == "const":
                out["enum"] = [value]
            elif key == "properties" and isinstance(value, dict):
                out[key] = {name: self.reduce(item, path) for name, item in value.items()}
            elif key == "oneOf":
                out["anyOf"] = self.reduce(value, path)
            elif key == "allOf" and isinstance(value, list) and len(value) == 1:
                merged = self.reduce(value[0], path)
                out = {**merged, **out} if isinstance(merged, dict) else out
            else:
                out[key] = value if key in _LITERAL else self.reduce(value, path)
        return out

    def _resolved(self, node: Mapping[str, Any], reference: str, path: tuple[str, ...]) -> Any:
        if path.count(reference) >= MAX_REF_DEPTH:
            return {}
        target = self._find(reference)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        found = self.reduce(target, (*path, reference))
        if not beside or not isinstance(found, dict):
            return found
        return {**found, **self.reduce(beside, path)}

    def _find(self, reference: str) -> Any:
        """Return what a local reference names, {} for any other."""
        if not reference.startswith("#"):
            return {}
        target = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            else:
                return {}
        return target
