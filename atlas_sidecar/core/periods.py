"""Budget days: from one local midnight of a time zone to the next.

Rules kept here:
- A day runs from its first instant to the next day's first instant: 23, 24 or 25 hours where clocks change, and where
  midnight itself does not exist (some zones change at 0:00) it begins at the first instant that does.
- Instants are Unix seconds; a day's name is its ISO date ("2026-11-23").
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Period(NamedTuple):
    """One day: its name and its bounds, Unix seconds, the end excluded."""

    name: str
    starts_unix_s: float
    ends_unix_s: float


def first_instant(day: date, zone: ZoneInfo) -> float:
    """Return the Unix second at which this local day begins.

    fold=0 takes the earlier of two midnights; a midnight inside a gap maps onto the offset before the gap, which is
    the gap's end plus what the gap cut off, so that step back is undone by asking what the clock shows just there.
    """
    local = datetime.combine(day, time(), tzinfo=zone)
    instant = local.astimezone(UTC)
    shown = instant.astimezone(zone)
    if shown.replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant.timestamp()
    before = local.utcoffset() or timedelta()  # PEP 495: fold=0 in a gap gives the offset before it
    after = local.replace(fold=1).utcoffset() or timedelta()
    gap = after - before
    return _transition(instant - gap, instant, zone)


def _transition(low: datetime, high: datetime, zone: ZoneInfo) -> float:
    """Return the second in (low, high] at which the zone's offset changes, by halving."""
    first = low.astimezone(zone).utcoffset()
    a, b = int(low.timestamp()), int(high.timestamp())
    while b - a > 1:
        middle = (a + b) // 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).utcoffset() == first:
            a = middle
        else:
            b = middle
    return float(b)


def period_at(unix_s: float, zone: ZoneInfo) -> Period:
    """Return the local day that holds this instant."""
    day = datetime.fromtimestamp(unix_s, UTC).astimezone(zone).date()
    starts = first_instant(day, zone)
    if unix_s < starts:  # a day whose clock was set back over midnight shows its date before it begins again
        day -= timedelta(days=1)
        starts = first_instant(day, zone)
    ends = first_instant(day + timedelta(days=1), zone)
    if unix_s >= ends:
        day += timedelta(days=1)
        starts, ends = ends, first_instant(day + timedelta(days=1), zone)
    return Period(day.isoformat(), starts, ends)


def period_after(name: str, ends_unix_s: float, unix_s: float) -> str:
    """Return the name of the day that holds `unix_s`, counted in days of 24 h from a day whose end is known.

    For a sidecar cut off from the service, which alone knows the time zone: right but within an hour of midnight
    after a clock change.
    """
    if unix_s < ends_unix_s:
        return name
    return (date.fromisoformat(name) + timedelta(days=1 + int((unix_s - ends_unix_s) // 86_400))).isoformat()


def iso(unix_s: float) -> str:
    """Return an instant as ISO 8601 in UTC, to the second ("2026-11-24T00:00:00Z")."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
