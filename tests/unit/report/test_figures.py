"""Numbers and names as people read them."""

import pytest

from pfndispatchcopy.report.figures import count, duration, moment, rate, short_names


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (2472, "41 min 12 s"), (11260, "3 h 7 min")],
)
def test_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_rates_and_times() -> None:
    assert (count(1, "file"), count(0, "file"), count(1204, "file")) == ("1 file", "0 files", "1,204 files")
    assert (rate(7.31), rate(241.4), rate(12345.6)) == ("7.3 MB/s", "241 MB/s", "12,346 MB/s")
    assert moment("2026-11-25T14:30:05.123Z") == "2026-11-25 14:30:05 UTC"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/mnt/raid/day1", "/mnt/shuttle/day1"], ["raid", "shuttle"]),
        (["/mnt/raid/day1/"], ["day1"]),
        (["/"], ["/"]),
        (["a", "a/b"], ["a", "a/b"]),
        (["/x/a/1", "/x/b/2"], ["a/1", "b/2"]),
        (["/same", "/same"], ["1. same", "2. same"]),
        (["/a\u202e", "/b\x1b"], ["a\\u202e", "b\\x1b"]),
        ([f"/{'n' * 30}1", f"/{'n' * 30}2"], [f"1. {'n' * 23}…", f"2. {'n' * 23}…"]),
    ],
)
def test_short_names_tell_paths_apart(paths: list[str], names: list[str]) -> None:
    assert short_names(paths) == names
