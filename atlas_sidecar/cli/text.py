"""Text for a terminal: aligned tables, a little colour where the output is a terminal, numbers that people read.

Rules kept here:
- Colour only on a terminal, and not with NO_COLOR or TERM=dumb: what is piped is plain.
- What came from elsewhere is shown without control characters.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final, TextIO

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
_NANO_PER_USD: Final = 1_000_000_000


class Style:
    """Colours text for one stream, or leaves it plain."""

    def __init__(self, stream: TextIO) -> None:
        self.on = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def __call__(self, text: str, *names: str) -> str:
        """Return the text in these styles: bold, dim, red, green, yellow, cyan."""
        if not self.on or not names or not text:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def width_of(text: str) -> int:
    """Return how many columns a text takes, escapes not counted, wide characters twice."""
    plain = _ESCAPES.sub("", text)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in plain)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Return the lines of a table, its columns aligned; `right`: columns that align to the right (numbers)."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(width_of(cell) for cell in column) for column in columns]
    return [_row(cells, widths, right) for cells in (header, *rows)]


def _row(cells: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    padded = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        gap = " " * (width - width_of(cell))
        padded.append(gap + cell if column in right else cell + gap)
    return "  ".join(padded).rstrip()


def safe(text: str, limit: int = 400) -> str:
    """Return text of others in one line, without control characters, and not longer than `limit`."""
    line = " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def printable(text: str) -> str:
    """Return text of others for a terminal: line breaks and tabs stay, other control characters go."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def usd(nano_usd: int) -> str:
    """Write an amount exactly: "$1.2345"; trailing zeros cut to cents."""
    whole, rest = divmod(abs(nano_usd), _NANO_PER_USD)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano_usd < 0 else ''}${whole:,}.{digits}"


def seconds(value: float) -> str:
    """Write a duration: "340 ms", "2.5 s", "3 min 20 s", "5 h 02 min"."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def tokens(count: int) -> str:
    """Write a number of tokens: "128,000"."""
    return f"{count:,}"


def say(*lines: str) -> None:
    """Write lines of the answer to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def note(*lines: str) -> None:
    """Write lines beside the answer to stderr."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
