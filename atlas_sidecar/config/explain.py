"""Says what pydantic found in the words of this configuration: key, line, what was given, what is right.

Rules kept here:
- An unknown key names the nearest right one, or all that are right there when none is near.
- A wrong value is answered with the key's own description, so that the reader need not look it up.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from atlas_sidecar.config.errors import Path, Problem, shown
from atlas_sidecar.config.yaml_source import Document

_WANTED: Final = {
    "bool_type": "true or false",
    "int_type": "a whole number, without quotes",
    "int_from_float": "a whole number",
    "float_type": "a number, without quotes",
    "is_instance_of": "a number, without quotes",
    "decimal_parsing": "a number, without quotes",
    "decimal_type": "an amount, such as 0.40, without quotes",
    "string_type": "text; put it in quotes",
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "finite_number": "a finite number",
}
_PATTERNS: Final = {
    "base_url": "must be an http:// or https:// URL without user, query or fragment",
    "api_key_env": "must be the NAME of an environment variable, such as OPENAI_API_KEY; "
    "a key itself belongs into api_key, or better into a file that api_key_file names",
}


def explain(error: ValidationError, model: type[BaseModel], document: Document) -> list[Problem]:
    """Turn a validation error into problems, one for each place."""
    problems: dict[Path, Problem] = {}
    for detail in error.errors(include_url=False):
        path = real_path(model, detail["loc"])
        if path in problems:
            continue  # the other branches of a union: the first one says it
        problems[path] = document.problem(path, _message(detail, path, model))
    inner = {path[:length] for path in problems for length in range(1, len(path))}
    return [problem for path, problem in problems.items() if path not in inner]  # what lies deeper says more


def real_path(model: type[BaseModel], loc: Iterable[str | int]) -> Path:
    """Drop what pydantic adds to a place for the branches of a union; keep keys and list positions."""
    return tuple(part for part in loc if not (isinstance(part, str) and _is_branch(part)))


def _is_branch(part: str) -> bool:
    return part.startswith(("literal[", "function-", "constrained-", "lax-or-strict", "json-or-python")) or part in {
        "SimulatedStep",
        "[key]",
    }


def _message(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]), _keys_at(model, path[:-1]))
    field = _field_at(model, path)
    about = f" ({field.description})" if field is not None and field.description else ""
    if kind == "missing":
        return f"is missing; it is required{about}"
    given = shown(detail["input"], path)
    return f"{given} {_wrong(detail, path)}{about}"


def _wrong(detail: ErrorDetails, path: Path) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _WANTED:
        return f"is wrong: must be {_WANTED[kind]}"
    if kind == "value_error":
        return str(context.get("error", "is wrong"))
    if kind == "literal_error":
        return f"is wrong: must be {_listed(context['expected'])}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(path[-1]), "must be a name without spaces")
    bounds = {
        "greater_than": "is too small: must be greater than {gt}",
        "greater_than_equal": "is too small: must be at least {ge}",
        "less_than_equal": "is too large: must be at most {le}",
        "string_too_short": "must not be empty",
        "string_too_long": "is longer than {max_length} characters",
        "too_short": "must not be empty",
        "too_long": "has more than {max_length} entries",
        "decimal_max_places": "has more than {decimal_places} places after the point",
    }
    return bounds[kind].format(**context) if kind in bounds else f"is wrong: {detail['msg'].lower()}"


def _listed(expected: object) -> str:
    return str(expected).replace("'", "").replace(" or ", ", or ").replace(", or ", " or ")


def unknown_key(key: str, right: Iterable[str]) -> str:
    """Say that a key is unknown, and which one may be meant."""
    keys = sorted(right)
    near = nearest(key, keys)
    if near:
        return f"unknown key; did you mean {near}?"
    return f"unknown key; known here: {', '.join(keys)}" if keys else "unknown key"


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word most like this one, "" when none is near; upper and lower case, - and _ are the same."""
    plain = {_plain(candidate): candidate for candidate in words}
    found = difflib.get_close_matches(_plain(word), list(plain), n=1, cutoff=0.6)
    if found:
        return plain[found[0]]
    parts = [
        candidate for candidate in plain if _plain(word) and (_plain(word) in candidate or candidate in _plain(word))
    ]
    return plain[min(parts, key=len)] if parts else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Union, UnionType}:
        return [model for branch in get_args(annotation) for model in _models_in(branch)]
    if get_origin(annotation) is Annotated:
        return _models_in(get_args(annotation)[0])
    return []


def _step(annotation: Any, part: str | int) -> Any:
    """Return the type of what lies under a key or position, None when nothing can."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _step(arguments[0], part)
    if origin in {Union, UnionType}:
        found = (_step(branch, part) for branch in arguments)
        return next((step for step in found if step is not None), None)
    if origin is tuple and isinstance(part, int):
        return arguments[0]
    if origin in {dict, Mapping}:
        return arguments[1]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(part, str):
        field = annotation.model_fields.get(part)
        return field.annotation if field else None
    return None


def _type_at(model: type[BaseModel], path: Path) -> Any:
    annotation: Any = model
    for part in path:
        annotation = _step(annotation, part)
    return annotation


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    return [key for found in _models_in(_type_at(model, path)) for key in found.model_fields]


def _field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if not path or not isinstance(path[-1], str):
        return None
    found = (parent.model_fields.get(path[-1]) for parent in _models_in(_type_at(model, path[:-1])))
    return next((field for field in found if field is not None), None)
