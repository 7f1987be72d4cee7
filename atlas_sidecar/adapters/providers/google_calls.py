"""A function call as Gemini sends it: with its arguments, or (Vertex, where asked) with pieces of them. Sans-I/O.

Rules kept here:
- A piece names its place by a JSON path ("$.trip.stops[0].city", RFC 9535) and holds a value, or more of a text.
- Places are made as they are named; one that does not follow from what is there makes the answer unreadable.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

_MAX_DEPTH: Final = 64
_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")


class Piece(msgspec.Struct, rename="camel"):
    """A piece of the arguments; without any value it is a null, or the end of a text."""

    json_path: str = ""
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None


class FunctionCall(msgspec.Struct, rename="camel"):
    """A call, or a part of one that goes on: that has no name."""

    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    partial_args: list[Piece] | None = None
    will_continue: bool | None = None

    @property
    def arguments(self) -> str:
        """The whole arguments, as JSON text."""
        text = bytes(self.args).decode()
        return "{}" if text in {"", "null"} else text


class StreamedArguments:
    """Puts pieces together."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._texts: dict[str, tuple[Any, str | int, list[str]]] = {}  # path -> holder, key, what came so far

    def add(self, piece: Piece) -> None:
        """Take one piece. Raises msgspec.ValidationError for a place that cannot be."""
        path, text = piece.json_path, piece.string_value
        if path in self._texts:
            self._texts[path][2].append(text or "")
            return
        holder, key = self._place(_steps(path))
        value = piece.number_value if piece.bool_value is None else piece.bool_value
        if text is not None:
            self._texts[path] = (holder, key, [text])
        if isinstance(holder, list) and key == len(holder):
            holder.append(value)
        else:
            holder[key] = value

    def json(self) -> str:
        """Return the arguments, as far as they came."""
        for holder, key, texts in self._texts.values():
            holder[key] = "".join(texts)
        return msgspec.json.encode(self._root).decode()

    def _place(self, steps: list[str | int]) -> tuple[Any, str | int]:
        holder: Any = self._root
        for place, step in enumerate(steps):
            if isinstance(step, int):
                fits = isinstance(holder, list) and step <= len(holder)
            else:
                fits = isinstance(holder, dict)
            if not fits:
                raise msgspec.ValidationError("a piece of arguments has no place")
            if place == len(steps) - 1:
                break
            made: Any = [] if isinstance(steps[place + 1], int) else {}
            if isinstance(step, str):
                holder = holder.setdefault(step, made)
            else:
                if step == len(holder):
                    holder.append(made)
                holder = holder[step]
        return holder, steps[-1]


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    end = 1
    for found in _STEP.finditer(path, 1):
        if found.start() != end or len(steps) >= _MAX_DEPTH:
            break
        end = found.end()
        name, index, single, double = found.groups()
        quoted = double if single is None else single
        steps.append(int(index) if index else re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else name)
    if not path.startswith("$") or not steps or end != len(path):
        raise msgspec.ValidationError("a piece of arguments has a path that cannot be read")
    return steps
