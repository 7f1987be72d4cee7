"""What is wrong with a configuration: every mistake with its key, its line, and what would be right.

Rules kept here:
- All mistakes that can be seen at once are reported at once.
- No secret is shown, also when it was written into the wrong key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_SECRET_KEYS: Final = frozenset({"api_key", "api_key_env", "headers", "token"})
_SECRET_LOOK: Final = re.compile(
    r"(sk-|sk_|gsk_|AIza|AQ\.|xai-|key-|Bearer )\S{6,}|[A-Za-z0-9_\-+/=.]{32,}|//[^/]*@|//.*[?&]\S*="
)
_MAX_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `where`: key path ("models.local-small.price"), "" = the whole; `line` 0 = not in a file."""

    where: str
    message: str
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return ": ".join(part for part in (place, self.where, self.message) if part)


class ConfigError(Exception):
    """A configuration that cannot be served; `problems` says why, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.source, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Path) -> str:
    """Write a key path for people: ("roles", "worker", "tiers", 0) -> "roles.worker.tiers[0]"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object, path: Path = ()) -> str:
    """Show a given value, shortened; what is a secret, or looks like one, is never shown."""
    instead = len(path) == 2 and path[0] == "providers"  # a key in the place of a provider's settings
    if instead or any(part in _SECRET_KEYS for part in path):
        return "(not shown)"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else str(getattr(value, "text", value))  # a Number keeps its digits
    if _SECRET_LOOK.search(text):
        return "(not shown)"
    text = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
    return f"'{text}'" if isinstance(value, str) else text
