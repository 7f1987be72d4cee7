"""Which local day an instant belongs to, in ms, and the day of a name.

Rules kept here:
- A period is one local day, from its first instant to the first instant of the next. The service computes it; a sidecar
  is told. How days begin where clocks change is core/periods.py's knowledge.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from atlas_sidecar.core.periods import first_instant, period_at

FIRST_YEAR, LAST_YEAR = 2000, 2199
LOWEST_S, HIGHEST_S = 946_900_000, 7_258_000_000  # within those years in every zone
UTC = ZoneInfo("UTC")


class Span(NamedTuple):
    """A named day and its bounds in ms since 1970: starts_at <= t < ends_at."""

    name: str
    starts_at_ms: int
    ends_at_ms: int


def zone(name: str) -> ZoneInfo | None:
    """Return the IANA time zone of this name, None when there is none; an empty name is UTC."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a key ("../x"); a directory ("America")
        return None


@lru_cache(maxsize=4096)
def day_named(name: str, tz: ZoneInfo) -> Span | None:
    """Return the day "YYYY-MM-DD" of a zone, None when the name is no day between 2000 and 2199."""
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return None
    if day.isoformat() != name or not FIRST_YEAR <= day.year <= LAST_YEAR:
        return None
    return Span(name, round(first_instant(day, tz) * 1000), round(first_instant(day + timedelta(days=1), tz) * 1000))


def day_at(at_ms: int, tz: ZoneInfo) -> Span:
    """Return the day that an instant belongs to; those beyond 2000 to 2199 count as the first or last day."""
    name, starts_s, ends_s = period_at(min(max(at_ms // 1000, LOWEST_S), HIGHEST_S), tz)
    return Span(name, round(starts_s * 1000), round(ends_s * 1000))
