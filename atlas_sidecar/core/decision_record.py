"""A decision with everything it was made from, as JSON, so that it can be made again offline and compared.

Rules kept here:
- `to_json` and `from_json` are exact: floats keep their digits, money stays int, order is kept. No prompt is in it.
- `replay` runs the same `rank` on the record; the same version of the formula gives the same decision, id included.
- The values are walked by their declared types, so that a field added to one of them is in the record at once. A field
  that an old record lacks takes its default; one that this version does not know is an error.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from atlas_sidecar.core import money, request, state
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import Decision, Need, Requirements, Snapshot, Target, Weights

FORMAT: Final = 1


class DecisionRecord(NamedTuple):
    """What one decision was made from, and the decision."""

    role: str
    targets: tuple[Target, ...]
    requirements: Requirements
    need: Need
    snapshot: Snapshot
    weights: Weights
    tier_factor: float
    decision: Decision


class RecordError(ValueError):
    """A text that is no decision record of this format; the message says where."""


def to_json(record: DecisionRecord) -> str:
    """Return the record as one line of JSON."""
    body = {name: _plain(value) for name, value in record._asdict().items()}
    return json.dumps({"format": FORMAT, **body}, separators=(",", ":"), ensure_ascii=False)


def from_json(text: str) -> DecisionRecord:
    """Return the record that `to_json` wrote; raises RecordError where the text is none."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise RecordError("not JSON") from None
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise RecordError(f"not a decision record of format {FORMAT}")
    record: DecisionRecord = _value(body, DecisionRecord, "record")
    return record


def replay(record: DecisionRecord) -> Decision:
    """Make the decision again from what is in the record."""
    return rank(
        record.role,
        record.targets,
        record.requirements,
        record.need,
        record.snapshot,
        record.weights,
        record.decision.decision_id,
        record.tier_factor,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, tuple):
        if hasattr(value, "_fields"):
            return {name: _plain(item) for name, item in zip(value._fields, value, strict=True)}
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    names = {**vars(money), **vars(request), **vars(state)}
    return get_type_hints(kind, globalns={**names, **globals()})


def _value(given: Any, kind: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        if given is None and type(None) in arguments:
            return None
        return _value(given, next(one for one in arguments if one is not type(None)), where)
    if origin is not None:
        return _collection(given, origin, arguments, where)
    if issubclass(kind, Enum):
        if not isinstance(given, str) or given not in kind.__members__:
            raise RecordError(f"{where}: {kind.__name__} expected")
        return kind[given]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return _structure(given, kind, where)
    if kind is float and type(given) is int:
        return float(given)
    if type(given) is not kind:
        raise RecordError(f"{where}: {kind.__name__} expected")
    return given


def _collection(given: Any, origin: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if issubclass(origin, Mapping):
        if not isinstance(given, dict):
            raise RecordError(f"{where}: an object expected")
        return {key: _value(item, arguments[1], f"{where}.{key}") for key, item in given.items()}
    if not isinstance(given, list):
        raise RecordError(f"{where}: a list expected")
    return origin(_value(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(given))


def _structure(given: Any, kind: type, where: str) -> Any:
    hints = _hints(kind)
    if not isinstance(given, dict):
        raise RecordError(f"{where}: an object expected")
    unknown = sorted(given.keys() - hints.keys())
    if unknown:
        raise RecordError(f"{where}: unknown field {unknown[0]}")
    try:
        return kind(**{name: _value(item, hints[name], f"{where}.{name}") for name, item in given.items()})
    except TypeError:
        raise RecordError(f"{where}: a field of {kind.__name__} is missing") from None
