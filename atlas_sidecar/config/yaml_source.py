"""Reads YAML as plain values, and remembers on which line each key stands.

Rules kept here:
- Scalars follow YAML 1.2's core schema: no dates, no base-60 numbers, no yes/no/on/off.
- Numbers with a fraction keep their digits (`Number.text`): a price becomes exact decimal money, never a rounded float.
- Bounded: size, depth and number of values (aliases count each time they are used). A key that occurs twice is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from atlas_sidecar.config.errors import ConfigError, Path, Problem, dotted

MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_DEPTH: Final = 24
_MAX_VALUES: Final = 100_000
_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in "null bool int float str seq map timestamp value merge".split()
)
_INT: Final = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Number(float):
    """A number with a fraction, and the text that it was written as."""

    text: str

    @classmethod
    def read(cls, text: str) -> Number:
        """Read a number's text."""
        number = cls(text)
        number.text = text
        return number


@dataclass(slots=True)
class Document:
    """A parsed file: its value, and the line of every key and list item."""

    source: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)  # what is wrong, but does not keep the rest from being read

    def line_of(self, path: Path) -> int:
        """Return the line of a key, or of the nearest key above it; 0 when the file says nothing of it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return 0

    def problem(self, path: Path, message: str) -> Problem:
        """Make a Problem of a key of this file."""
        return Problem(dotted(path), message, self.line_of(path), self.source)


def parse(text: str, source: str) -> Document:
    """Parse YAML text; raises ConfigError for what is no YAML or too large. Keys that occur twice become `problems`."""
    document = Document(source)
    if len(text) > MAX_BYTES:
        raise ConfigError([Problem("", f"larger than {MAX_BYTES // 1024**2} MiB: this is no configuration", 0, source)])
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        message = f"no valid YAML: {error.problem or 'cannot be read'}"
        if error.context:
            message += f" ({error.context})"
        raise ConfigError([Problem("", message, mark.line + 1 if mark else 0, source)]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        first_line = str(error).split("\n", 1)[0]
        raise ConfigError([Problem("", f"no valid YAML: {first_line}", 0, source)]) from None
    if node is not None:
        document.value = _Reader(document).read(node, ())
    return document


class _Reader:
    """Turns nodes into values; collects what is wrong with them."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.values += 1
        if self.values > _MAX_VALUES or len(path) > _MAX_DEPTH:
            what = "too deep" if len(path) > _MAX_DEPTH else "too many values"
            raise ConfigError([Problem(dotted(path), what, node.start_mark.line + 1, self.document.source)])
        if node.tag not in _PLAIN_TAGS:
            message = f"YAML tags such as {node.tag} are not supported"
            problem = Problem(dotted(path), message, node.start_mark.line + 1, self.document.source)
            raise ConfigError([*self.document.problems, problem])
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._child(item, (*path, index), item) for index, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.problems.append(Problem(dotted(path), "a key must be text", line, self.document.source))
                continue
            key = key_node.value
            if key in result:
                first = self.document.lines[(*path, key)]
                message = f"occurs twice; the first one is on line {first}"
                self.document.problems.append(Problem(dotted((*path, key)), message, line, self.document.source))
                continue
            result[key] = self._child(value_node, (*path, key), key_node)
        return result

    def _child(self, node: yaml.Node, path: Path, at: yaml.Node) -> Any:
        self.document.lines[path] = at.start_mark.line + 1
        return self.read(node, path)


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.match(text):
        return int(text) if len(text) <= 40 else text
    if _FLOAT.match(text):
        return Number.read(text)
    return text
