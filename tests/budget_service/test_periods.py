"""Days of a time zone: contiguous, of the right length, whatever the clocks do."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.budget_service.periods import day_at, day_named, zone

ZONES = sorted(available_timezones())
HOUR_MS = 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-11-23", 24),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Havana", "2026-03-08", 23),  # midnight itself is skipped
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("Africa/Cairo", "2026-10-29", 25),  # 24:00 is set back to 23:00
        ("America/St_Johns", "2006-10-29", 25),  # 00:01 is set back to 23:01
        ("Pacific/Apia", "2011-12-30", 0),  # a day that never was
        ("Pacific/Apia", "2011-12-31", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(name: str, day: str, hours: float) -> None:
    span = day_named(day, ZoneInfo(name))
    assert span is not None
    assert (span.ends_at_ms - span.starts_at_ms) / HOUR_MS == hours


@pytest.mark.parametrize("name", ZONES)
def test_days_follow_each_other_without_gap_or_overlap_in_every_zone(name: str) -> None:
    tz = ZoneInfo(name)
    at, spans = ms("2026-01-01T00:00"), []
    while at < ms("2027-01-02T00:00"):
        spans.append(day_at(at, tz))
        at = spans[-1].ends_at_ms
    assert all(a.ends_at_ms == b.starts_at_ms and a.name < b.name for a, b in pairwise(spans))
    assert all(
        22 <= (span.ends_at_ms - span.starts_at_ms) / HOUR_MS <= 26 for span in spans
    )  # Troll changes by two hours
    assert 366 <= len(spans) <= 368


@given(st.integers(ms("2000-01-05T00:00"), ms("2199-12-20T00:00")), st.sampled_from(ZONES))
def test_an_instant_lies_in_its_day_and_the_day_is_found_by_its_name(at: int, name: str) -> None:
    tz = ZoneInfo(name)
    span = day_at(at, tz)
    assert span.starts_at_ms <= at < span.ends_at_ms
    assert day_named(span.name, tz) == span
    assert day_at(span.starts_at_ms, tz) == span
    assert day_at(span.ends_at_ms - 1, tz) == span
    assert day_at(span.ends_at_ms, tz).starts_at_ms == span.ends_at_ms


@pytest.mark.parametrize(
    "name", ["", "20261123", "2026-11-31", "2026-W48-1", "1999-12-31", "2200-01-01", "2026-1-1", "x"]
)
def test_what_is_no_day_has_no_span(name: str) -> None:
    assert day_named(name, ZoneInfo("UTC")) is None


@pytest.mark.parametrize("name", ["Mars/Olympus", "../UTC", "America", "\0", "UTC " * 200])
def test_what_is_no_zone_is_none(name: str) -> None:
    assert zone(name) is None


def test_instants_beyond_the_calendar_have_a_day_too() -> None:
    assert day_at(0, ZoneInfo("UTC")).name == "2000-01-03"
    assert day_at(2**62, ZoneInfo("Pacific/Kiritimati")).name.startswith("2199-12-")
