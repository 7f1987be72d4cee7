"""What a chat-completions answer says in pieces that mean something only together. Pure.

Rules kept here:
- Audio is one document: the pieces of its sound and of its transcript are joined, of anything else the last counts.
- Details of reasoning (OpenRouter) are a list; pieces of one text in it are joined, for they are refused apart.
- Log probabilities are bounded, for they are told with the last event: what is beyond is left away, and that is said.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

_TEXTS: Final = ("text", "summary")
MAX_LOGPROBS: Final = 20_000


class Audio:
    """The audio of one answer."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}
        self._pieces: dict[str, list[str]] = {"data": [], "transcript": []}

    def add(self, fragment: dict[str, Any]) -> int:
        """Take a fragment in; return the characters that it holds."""
        size = 0
        for name, value in fragment.items():
            if name in self._pieces and isinstance(value, str):
                self._pieces[name].append(value)
                size += len(value)
            elif value is not None:
                self._said[name] = value
        return size

    def json(self) -> str:
        """Return the whole as JSON."""
        joined = {"data": _joined_base64(self._pieces["data"]), "transcript": "".join(self._pieces["transcript"])}
        said = {**self._said, **{name: text for name, text in joined.items() if self._pieces[name]}}
        return msgspec.json.encode(said).decode()


def _joined_base64(pieces: list[str]) -> str:
    if len(pieces) == 1:
        return pieces[0]
    try:  # each piece may have padding of its own
        return base64.b64encode(b"".join([base64.b64decode(piece) for piece in pieces])).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)


class Logprobs:
    """The log probabilities of one answer, by what they are of ("content", "refusal")."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self._left = MAX_LOGPROBS

    def add(self, fragment: dict[str, Any]) -> None:
        """Take a chunk's in; of a form that is not known nothing is kept."""
        for name, tokens in fragment.items():
            if not isinstance(tokens, list):
                continue
            for token in tokens:
                tops = token.get("top_logprobs") if isinstance(token, dict) else None
                self._left -= 1 + (len(tops) if isinstance(tops, list) else 0)
                if self._left < 0:
                    self.said["cut"] = True
                    return
                self.said.setdefault(name, []).append(token)


class ReasoningDetails:
    """The `reasoning_details` of one answer."""

    def __init__(self) -> None:
        self._details: list[tuple[dict[str, Any], list[str]]] = []  # each with the pieces of its text

    def __bool__(self) -> bool:
        return bool(self._details)

    def add(self, details: list[Any]) -> int:
        """Take a chunk's in; return the characters that they hold."""
        size = 0
        for detail in details:
            if not isinstance(detail, dict):
                continue
            size += len(str(detail))
            name = next((name for name in _TEXTS if isinstance(detail.get(name), str)), "")
            rest = {key: value for key, value in detail.items() if key != name and value is not None}
            last = self._details[-1] if self._details else ({}, [])
            if not name or "index" not in rest or any(last[0].get(key) != rest.get(key) for key in ("type", "index")):
                last = (rest, [])
                self._details.append(last)
            last[0].update(rest)
            if name:
                last[0][name] = ""
                last[1].append(detail[name])
        return size

    def whole(self) -> list[dict[str, Any]]:
        """Return the details as they go back."""
        return [
            {name: "".join(pieces) if name in _TEXTS and pieces else value for name, value in detail.items()}
            for detail, pieces in self._details
        ]
