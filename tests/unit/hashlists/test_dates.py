"""Dates, in UTC whatever the machine's own time is."""

import time

import pytest

from pfndispatchcopy.hashlists.dates import microseconds_with_offset, name_date, seconds_with_offset, seconds_with_z
from tests.support.hash_lists import AT


@pytest.fixture(autouse=True, params=["UTC", "Pacific/Kiritimati"])
def somewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_spellings() -> None:
    assert seconds_with_z(AT) == "2026-11-22T02:11:35Z"
    assert seconds_with_offset(AT) == "2026-11-22T02:11:35+00:00"
    assert microseconds_with_offset(AT) == "2026-11-22T02:11:35.521651+00:00"
    assert microseconds_with_offset(int(AT)) == "2026-11-22T02:11:35.000000+00:00"
    assert name_date(AT) == "2026-11-22_021135"


def test_dates_before_the_epoch_are_rounded_down_as_well() -> None:
    assert seconds_with_z(-0.5) == "1969-12-31T23:59:59Z"


@pytest.mark.parametrize("seconds", [2**63, -(2**63), 1e300, -1e300])
def test_dates_that_cannot_be_spelled_become_the_nearest_that_can(seconds: float) -> None:
    year = "9999" if seconds > 0 else "0001"
    assert seconds_with_z(seconds).startswith(year)
    assert seconds_with_offset(seconds).startswith(year)
    assert microseconds_with_offset(seconds).startswith(year)
    assert name_date(seconds).startswith(year)
