"""Dates as hash lists spell them: UTC, ISO 8601."""

from datetime import UTC, datetime, timedelta

__all__ = ["microseconds_with_offset", "name_date", "seconds_with_offset", "seconds_with_z"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The years 1 to 9999, which is what the formats can spell. A file system can hold wilder dates than that.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799


def _at(seconds: float) -> datetime:
    return _EPOCH + timedelta(seconds=min(max(seconds, _FIRST), _LAST))


def seconds_with_z(seconds: float) -> str:
    """Return ``2026-11-22T02:16:04Z`` for seconds since the epoch; a fraction is dropped."""
    return f"{_at(seconds // 1).replace(tzinfo=None).isoformat()}Z"


def seconds_with_offset(seconds: float) -> str:
    """Return ``2026-11-22T02:16:04+00:00`` for seconds since the epoch; a fraction is dropped."""
    return _at(seconds // 1).isoformat()


def microseconds_with_offset(seconds: float) -> str:
    """Return ``2026-11-22T02:16:04.521651+00:00`` for seconds since the epoch."""
    return _at(seconds).isoformat(timespec="microseconds")


def name_date(seconds: float) -> str:
    """Return ``2026-11-22_021604``, as it is part of the names of lists."""
    date, _, clock = seconds_with_z(seconds).partition("T")
    return f"{date}_{clock.rstrip('Z').replace(':', '')}"
