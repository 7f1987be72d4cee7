r"""JSON of Anthropic's answers, read fast, and in spite of half characters. Pure.

Rule kept here: msgspec refuses a document in which a string names half of a character ("\ud83d": an emoji that was cut
between two deltas). Such a one is read slowly, each half as U+FFFD; whatever else is wrong stays a DecodeError.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from atlas_sidecar.core.json_text import parse

_Read = TypeVar("_Read")


def decoded(decoder: msgspec.json.Decoder[_Read], data: bytes | msgspec.Raw) -> _Read:
    """Return what a decoder makes of JSON. Raises msgspec.DecodeError."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        raw = bytes(data)
        if b"\\ud" not in raw and b"\\uD" not in raw:
            raise
        try:
            whole = msgspec.json.encode(parse(raw.decode()))
        except ValueError:
            raise msgspec.DecodeError("no JSON") from None
        return decoder.decode(whole)


def is_json(text: str) -> bool:
    """Return whether a text is a whole JSON value."""
    try:
        parse(text)
    except ValueError:
        return False
    return True
