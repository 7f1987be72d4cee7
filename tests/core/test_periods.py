from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.periods import iso, period_after, period_at

ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "America/Havana", "Africa/Cairo", "Pacific/Apia"]
ZONES += ["America/Santiago", "Atlantic/Azores", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Scoresbysund"]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "instant", "name", "hours"),
    [
        ("UTC", "2026-11-23T23:59:59", "2026-11-23", 24),
        ("UTC", "2026-11-24T00:00:00", "2026-11-24", 24),
        ("Europe/Berlin", "2026-11-23T23:00:00", "2026-11-24", 24),
        ("Europe/Berlin", "2026-03-29T12:00:00", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00", "2026-10-25", 25),
        ("America/Sao_Paulo", "2018-11-04T12:00:00", "2018-11-04", 23),  # midnight does not exist: it begins at 01:00
        ("Asia/Beirut", "2022-03-27T12:00:00", "2022-03-27", 23),
        ("America/Havana", "2026-11-01T12:00:00", "2026-11-01", 25),
        ("Pacific/Apia", "2011-12-30T20:00:00", "2011-12-31", 24),  # the 30th was left out
        ("Australia/Lord_Howe", "2026-10-04T01:00:00", "2026-10-04", 23.5),
    ],
)
def test_a_day_is_that_of_the_zone(zone: str, instant: str, name: str, hours: float) -> None:
    period = period_at(at(instant), ZoneInfo(zone))
    assert period.name == name
    assert (period.ends_unix_s - period.starts_unix_s) / 3600 == hours


@given(st.sampled_from(ZONES), st.floats(3e8, 2.2e9))
def test_days_hold_their_instants_and_follow_each_other_without_gap(zone: str, unix_s: float) -> None:
    tz = ZoneInfo(zone)
    period = period_at(unix_s, tz)
    assert period.starts_unix_s <= unix_s < period.ends_unix_s
    following = period_at(period.ends_unix_s, tz)
    assert following.starts_unix_s == period.ends_unix_s
    assert following.name > period.name
    assert period_at(period.starts_unix_s, tz) == period
    shown = datetime.fromtimestamp(unix_s, UTC).astimezone(tz).date().isoformat()
    assert shown == period.name or unix_s - period.starts_unix_s < 86_400 * 1.1


def test_without_the_zone_days_are_counted_on() -> None:
    ends = at("2026-11-23T23:00:00")
    assert period_after("2026-11-23", ends, ends - 1) == "2026-11-23"
    assert period_after("2026-11-23", ends, ends) == "2026-11-24"
    assert period_after("2026-11-23", ends, ends + 86_400 * 9) == "2026-12-03"


def test_instants_are_written_in_utc() -> None:
    assert iso(at("2026-11-24T00:00:00")) == "2026-11-24T00:00:00Z"
