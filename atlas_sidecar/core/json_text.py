r"""JSON that others wrote, read so that it can be written again.

Rules kept here:
- JSON may name half of a character ("\ud83d", an emoji that was cut): legal, but no text that can be encoded. Each
  half becomes U+FFFD, as in any decoder that replaces.
- Whatever is wrong is a ValueError, nesting without end too.
"""

from __future__ import annotations

import json
from typing import Any


def parse(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError (json.JSONDecodeError is one)."""
    try:
        value = json.loads(text)
        return _whole(value) if "\\ud" in text or "\\uD" in text else value
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value
