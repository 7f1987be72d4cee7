"""Which model a session used last, so that it stays there while that model is good (prompt caches are per model).

Rules kept here:
- Bounded in number, in length and in time; the session that was quiet longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_SESSIONS: Final = 10_000
MAX_ID_CHARACTERS: Final = 256
TTL_S: Final = 3600.0


class Sessions:
    """The last model of each session. Times are monotonic seconds."""

    __slots__ = ("_last", "_max_sessions", "_ttl_s")

    def __init__(self, max_sessions: int = MAX_SESSIONS, ttl_s: float = TTL_S) -> None:
        self._max_sessions = max_sessions
        self._ttl_s = ttl_s
        self._last: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def last_model(self, session_id: str, now_s: float) -> str:
        """Return the id of the session's last model, "" when there is none or it is forgotten."""
        entry = self._last.get(session_id)
        if entry is None:
            return ""
        model_id, at_s = entry
        if now_s - at_s > self._ttl_s:
            del self._last[session_id]
            return ""
        return model_id

    def remember(self, session_id: str, model_id: str, now_s: float) -> None:
        """Note that this model answered the session; an empty or overlong session id is not kept."""
        if not session_id or len(session_id) > MAX_ID_CHARACTERS:
            return
        self._last[session_id] = (model_id, now_s)
        self._last.move_to_end(session_id)
        while len(self._last) > self._max_sessions:
            self._last.popitem(last=False)
