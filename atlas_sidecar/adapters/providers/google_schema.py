"""JSON schemas in the dialect that Gemini reads. Pure.

Rules kept here:
- `$ref` is replaced by what it names, `allOf` is merged (google_schema_merge), `oneOf` becomes `anyOf`, `const` becomes
  an `enum` of one. `additionalProperties` stays where it is a schema. What only a validator needs is dropped.
- What refers to itself ends after a few levels as "anything", and is not required there: else it would never end.
- An `enum` holds texts and numbers only; another constant is told by its type, and in words.
- The result is bounded: a schema that would unfold beyond the bound is cut the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from atlas_sidecar.adapters.providers.google_schema_merge import Budget, merged

MAX_REF_DEPTH: Final = 3  # how often a definition may stand within itself
MAX_NODES: Final = 20_000

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS: Final = ("$anchor", "$dynamicAnchor", "$id")  # before 2019, "$id": "#name" was an anchor
_DROPPED: Final = frozenset(
    "$anchor $comment $defs $dynamicAnchor $id $recursiveAnchor $schema $vocabulary additional_properties definitions "
    "deprecated else if not patternProperties propertyNames readOnly then unevaluatedItems unevaluatedProperties "
    "writeOnly".split()
)
_APART: Final = frozenset({"allOf", "oneOf", "const", "enum", *_REFERENCES})
_TOLD_BESIDE: Final = frozenset({"type", "title", "description", "default", "example", "examples", "propertyOrdering"})
_LITERAL: Final = frozenset({"default", "example", "examples", "required", "propertyOrdering"})
_TYPES: Final = {type(None): "null", bool: "boolean", dict: "object", list: "array"}


def reduced_schema(schema: Any) -> Any:
    """Return a JSON schema (decoded JSON) in Gemini's dialect; the argument stays as it is."""
    return _Reduction(schema).reduce(schema, ())


def says_nothing(schema: Any) -> bool:
    """Whether a reduced schema of parameters says no more than that they are an object."""
    if not isinstance(schema, dict):
        return True
    told = {key for key, value in schema.items() if value or key not in {"properties", "required"}}
    return schema.get("type", "object") == "object" and told <= _TOLD_BESIDE


class _Reduction:
    """One walk through a schema: the root for its references, and how much is left of the bound."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._budget = Budget(MAX_NODES)
        self._anchors: dict[str, Any] | None = None
        self._was_cut = False  # whether the last node that was reduced was cut

    def reduce(self, node: Any, path: tuple[str, ...]) -> Any:
        """Return a reduced node; `path` holds the references that led here."""
        if isinstance(node, list):
            return [self.reduce(item, path) for item in node]
        if not isinstance(node, dict):
            return node
        if not self._budget.spend() or len(path) > 64:
            self._was_cut = True
            return {}
        reference = next((node[name] for name in _REFERENCES if isinstance(node.get(name), str)), None)
        if reference is not None:
            return self._resolved(node, reference, path)
        out = self._reduced(node, path)
        self._was_cut = False
        return out

    def _reduced(self, node: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        cut: set[str] = set()
        for key, value in node.items():
            if key in _DROPPED or key in _APART:
                continue
            if key == "properties" and isinstance(value, dict):
                out[key] = self._properties(value, path, cut)
            elif key == "additionalProperties":
                more = self.reduce(value, path)
                if isinstance(more, dict) and more:
                    out[key] = more
            else:
                out[key] = value if key in _LITERAL else self.reduce(value, path)
        required = out.get("required")
        if cut and isinstance(required, list):
            out["required"] = [name for name in required if not isinstance(name, str) or name not in cut]
        if "const" in node:
            _add_choice(out, [node["const"]])
        elif isinstance(node.get("enum"), list):
            _add_choice(out, node["enum"])
        if isinstance(node.get("oneOf"), list):
            out = merged(out, {"anyOf": self.reduce(node["oneOf"], path)}, self._budget)
        all_of = node.get("allOf")
        for member in all_of if isinstance(all_of, list) else ():
            found = self.reduce(member, path)
            if isinstance(found, dict):
                out = merged(out, found, self._budget)
        return out

    def _properties(self, properties: Mapping[str, Any], path: tuple[str, ...], cut: set[str]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, item in properties.items():
            self._was_cut = False
            out[name] = self.reduce(item, path)
            if self._was_cut:
                cut.add(name)
        return out

    def _resolved(self, node: Mapping[str, Any], reference: str, path: tuple[str, ...]) -> Any:
        beside = self._reduced(node, path)
        if path.count(reference) >= MAX_REF_DEPTH:
            self._was_cut = True
            return beside
        self._was_cut = False
        found = self.reduce(self._find(reference), (*path, reference))
        return merged(beside, found, self._budget) if beside and isinstance(found, dict) else found

    def _find(self, reference: str) -> Any:
        """Return what a local reference names (a JSON pointer or an anchor), {} for any other."""
        if not reference.startswith("#"):
            return {}
        pointer = unquote(reference[1:])
        if pointer and not pointer.startswith("/"):
            if self._anchors is None:
                self._anchors = dict(_anchors(self._root))
            return self._anchors.get(pointer, {})
        target = self._root
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(target):
                target = target[int(name[:9])]
            else:
                return {}
        return target


def _anchors(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield each named place of a schema with its name, of the first MAX_NODES ones."""
    waiting = [root]
    for _ in range(MAX_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, dict):
            yield from ((node[key].lstrip("#"), node) for key in _ANCHORS if isinstance(node.get(key), str))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _add_choice(out: dict[str, Any], values: list[Any]) -> None:
    """Say that a value is one of these."""
    kept = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    if kept:
        out["enum"] = kept
        if None in values and "type" not in out and all(isinstance(value, str) for value in kept):
            out["type"] = ["string", "null"]
        return
    types = sorted({_TYPES[type(value)] for value in values})
    if types and "type" not in out:
        out["type"] = types[0] if len(types) == 1 else types
    if len(values) == 1 and values[0] is not None and "description" not in out:
        out["description"] = f"Always {json.dumps(values[0])}."
