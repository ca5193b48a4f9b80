"""Progress for eyes: plain lines, and bars on a terminal that is only pretended."""

import io
from typing import Any, cast

import pytest

from pfndispatchcopy.cli.bars import Bars, PlainProgress
from pfndispatchcopy.cli.streams import Outlet
from tests.unit.cli import events


class _Terminal(io.StringIO):
    """Standard error as the bars see it."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self.is_behind = False
        self.fd = -1
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


def _outlet(terminal: _Terminal) -> Outlet:
    return cast("Outlet", terminal)


# -- plain lines ---------------------------------------------------------------------------------------------


def test_plain_progress_is_a_line_every_two_seconds() -> None:
    terminal = _Terminal()
    plain = PlainProgress(_outlet(terminal))
    for tick in range(81):  # eight events a second for ten seconds
        plain.event(events.progress(250), 100.0 + tick / 8)
    lines = terminal.getvalue().splitlines()
    assert lines == ["copy: 250 bytes (25%), 2.5 MB/s, 00:03 left"] * 6


def test_plain_progress_of_a_stream_has_no_percentage() -> None:
    terminal = _Terminal()
    PlainProgress(_outlet(terminal)).event(events.progress(7_300_000, None, eta_s=None), 0.0)
    assert terminal.getvalue() == "copy: 7.3 MB, 2.5 MB/s, --:-- left\n"


@pytest.mark.parametrize(
    ("eta_s", "shown"),
    [
        (None, "--:--"),
        (0.0, "00:00"),
        (59.6, "01:00"),
        (61.0, "01:01"),
        (3599.0, "59:59"),
        (3600.0, "1:00:00"),
        (90_061.0, "25:01:01"),
    ],
)
def test_time_left_is_shown_as_a_clock(eta_s: float | None, shown: str) -> None:
    terminal = _Terminal()
    PlainProgress(_outlet(terminal)).event(events.progress(eta_s=eta_s), 0.0)
    assert f" {shown} left" in terminal.getvalue()


def test_plain_progress_says_nothing_of_other_events() -> None:
    terminal = _Terminal()
    plain = PlainProgress(_outlet(terminal))
    for fields in (events.start(), events.plan(), events.file(), events.summary(), events.error()):
        plain.event(fields, 0.0)
    assert terminal.getvalue() == ""


def test_plain_progress_of_an_empty_file() -> None:
    terminal = _Terminal()
    PlainProgress(_outlet(terminal)).event(events.progress(0, 0), 0.0)
    assert terminal.getvalue().startswith("copy: 0 bytes,")


# -- bars ------------------------------------------------------------------------------------------------------


def _draw(*shown: dict[str, Any], terminal: _Terminal | None = None) -> str:
    terminal = terminal or _Terminal()
    bars = Bars(_outlet(terminal))
    for fields in shown:
        bars.event(fields, 0.0)
    bars.close()
    return terminal.getvalue()


def test_there_is_a_bar_for_the_whole_and_for_each_destination() -> None:
    drawn = _draw(events.progress(250))
    assert "copying" in drawn
    assert "25%" in drawn
    assert "2.5 MB/s" in drawn
    assert "/a/" in drawn
    assert r"/b\x1b/" in drawn
    assert "/b\x1b/" not in drawn


def test_bar_never_goes_beyond_its_end() -> None:
    assert "100%" in _draw(events.progress(5000, 1000))
    assert "500%" not in _draw(events.progress(5000, 1000))


def test_bar_of_a_stream_shows_the_amount() -> None:
    drawn = _draw(events.progress(7_300_000, None, eta_s=None))
    assert "7.3 MB" in drawn
    assert "%" not in drawn


def test_long_name_is_shown_by_its_end() -> None:
    path = "/Volumes/" + "x" * 50 + "/SHUTTLE_07"
    drawn = _draw(events.progress(destinations=[{"path": path, "bytes_done": 5, "rate": 1.0, "state": "copying"}]))
    assert "/SHUTTLE_07" in drawn
    assert "…" in drawn
    assert path not in drawn


@pytest.mark.fault(58)
def test_terminal_that_is_behind_gets_no_more_bars() -> None:
    terminal = _Terminal()
    terminal.is_behind = True
    assert _draw(events.progress(250), terminal=terminal) == ""


@pytest.mark.fault(59)
def test_terminal_without_unicode_gets_plain_bars() -> None:
    drawn = _draw(events.progress(250), terminal=_Terminal("ascii"))
    assert "#" in drawn
    assert "█" not in drawn


def test_bars_can_be_cleared_for_a_line_and_drawn_again() -> None:
    terminal = _Terminal()
    bars = Bars(_outlet(terminal))
    bars.clear()
    bars.event(events.progress(250), 0.0)
    bars.clear()
    before = len(terminal.getvalue())
    bars.event(events.progress(500), 0.1)
    assert "50%" in terminal.getvalue()[before:]
    bars.close()
    bars.close()


def test_bars_say_nothing_of_other_events() -> None:
    assert _draw(events.start(), events.plan(), events.error()) == ""
