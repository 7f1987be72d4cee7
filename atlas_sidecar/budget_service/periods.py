"""Which local day an instant belongs to, and where that day begins and ends.

Rules kept here:
- A period is one local day, from its first instant to the first instant of the next: 23, 24 or 25 hours, or what the
  zone's history brings. The service computes it; nobody else does.
- Days follow each other without gap or overlap, also where clocks are set back across midnight: then the day that has
  begun goes on, although the clock on the wall shows yesterday once more.
"""

from __future__ import annotations

from datetime import UTC as UTC_OFFSET
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

FIRST_YEAR, LAST_YEAR = 2000, 2199
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
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
def first_instant_ms(day: date, tz: ZoneInfo) -> int:
    """Return the first instant of a local day.

    Midnight with fold=0 is the earlier of two midnights. Where midnight itself is skipped, fold=0 counts with the
    offset before the jump, which gives the instant of the jump when it is set at midnight, and one within the day
    otherwise: hence the search backwards.
    """
    midnight = datetime.combine(day, time.min)
    at = midnight.replace(tzinfo=tz).astimezone(UTC_OFFSET)
    while (at - _MINUTE).astimezone(tz).replace(tzinfo=None) > midnight:
        at -= _MINUTE
    return round(at.timestamp() * 1000)


@lru_cache(maxsize=4096)
def day_named(name: str, tz: ZoneInfo) -> Span | None:
    """Return the day "YYYY-MM-DD" of a zone, None when the name is no day between 2000 and 2199."""
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return None
    if day.isoformat() != name or not FIRST_YEAR <= day.year <= LAST_YEAR:
        return None
    return Span(name, first_instant_ms(day, tz), first_instant_ms(day + _DAY, tz))


def day_at(at_ms: int, tz: ZoneInfo) -> Span:
    """Return the day that an instant belongs to; those beyond 2000 to 2199 count as the first or last day."""
    lowest = round(datetime(FIRST_YEAR, 1, 2, tzinfo=UTC_OFFSET).timestamp() * 1000)
    highest = round(datetime(LAST_YEAR, 12, 30, tzinfo=UTC_OFFSET).timestamp() * 1000)
    at_ms = min(max(at_ms, lowest), highest)
    day = datetime.fromtimestamp(at_ms // 1000, tz).date()
    if at_ms >= first_instant_ms(day + _DAY, tz):
        day += _DAY
    elif at_ms < first_instant_ms(day, tz):
        day -= _DAY
    return Span(day.isoformat(), first_instant_ms(day, tz), first_instant_ms(day + _DAY, tz))
