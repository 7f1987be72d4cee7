"""Names and ids of tools in the form that the wires take, and the names back. Pure.

Rules kept here:
- What fits is sent as it is. What does not fit has one form, the same in tools, choice, calls and results.
- An answer's calls have the caller's own names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from atlas_sidecar.core.types import Tool

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
GEMINIS_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


def wire_name(name: str, fitting: re.Pattern[str] = _NAME) -> str:
    """Return a tool's name as it is where it fits, by default within 64 of A-Z a-z 0-9 _ -.

    One that does not ends in 8 digits that tell it from others, and begins with a letter or _.
    """
    if fitting.fullmatch(name):
        return name
    made = f"{safe_name(name)[:54]}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
    return made if made[0].isalpha() else f"_{made}"


def safe_name(name: str) -> str:
    """Return at most 64 characters of a name, with _ for those that no wire takes."""
    return _NOT_IN_A_NAME.sub("_", name)[:64]


def caller_names(tools: Iterable[Tool], fitting: re.Pattern[str] = _NAME) -> dict[str, str]:
    """Return the caller's names by those that are sent, where the two differ."""
    return {wire_name(tool.name, fitting): tool.name for tool in tools if not fitting.fullmatch(tool.name)}


def wire_id(identity: str, most: int | None) -> str:
    """Return a tool call's id within `most` characters (at least 37): a hash stands for a longer one."""
    if most is None or len(identity) <= most:
        return identity
    return f"call_{hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()}"
