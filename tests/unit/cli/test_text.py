"""What people read: errors always, the summary unless it is not wanted, and the historic lines of -v."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from pfndispatchcopy import CopyOptions
from pfndispatchcopy.cli.request import Request
from pfndispatchcopy.cli.text import TextLines
from tests.unit.cli import events

if TYPE_CHECKING:
    from pfndispatchcopy.cli.streams import Outlet


class _Stream:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str, priority: int = 6) -> int:
        self.text += text
        return len(text)


def _show(*fields: dict[str, Any], source: str = "clip.mov", **named: Any) -> tuple[str, str]:
    out, err = _Stream(), _Stream()
    lines = TextLines(Request((source,), ("/a/",), CopyOptions(), **named), cast("Outlet", out), cast("Outlet", err))
    for number, each in enumerate(fields):
        lines.event(each, 100.0 + number)
    return out.text, err.text


def test_finished_run_prints_a_line_for_each_destination() -> None:
    out, err = _show(events.start(), events.plan(), events.file("/a/clip.mov", "/b/clip.mov"), events.summary(2))
    assert err == ""
    assert out.splitlines() == [
        f"/{letter}/clip.mov: verified, 1 file, 1000 bytes, 12.3 MB/s, xxh64be:0123456789abcdef" for letter in "ab"
    ]


def test_failed_destination_shows_no_digest() -> None:
    out, _ = _show(events.file(state="failed"), events.summary(ok=False, state="failed"))
    assert out == "/a/clip.mov: failed, 0 files, 0 bytes, 12.3 MB/s\n"


def test_line_without_a_digest_ends_cleanly() -> None:
    out, _ = _show(events.file(hashes={}, state="identical"), events.summary(state="identical"))
    assert out == "/a/clip.mov: identical, 1 file, 1000 bytes, 12.3 MB/s\n"


def test_empty_file_has_a_digest() -> None:
    out, _ = _show(events.file(size=0), events.summary(size=0))
    assert out.endswith("0 bytes, 12.3 MB/s, xxh64be:0123456789abcdef\n")


@pytest.mark.parametrize("named", [{}, {"quiet": True}, {"json": True}, {"verbose": True}])
def test_errors_and_warnings_always_go_to_standard_error(named: dict[str, Any]) -> None:
    out, err = _show(events.error(), events.error("hm", "warning"), **named)
    assert out == ""
    assert err.splitlines() == ["pfndispatchcopy: error: it broke", "pfndispatchcopy: warning: hm"]


@pytest.mark.parametrize("named", [{"quiet": True}, {"json": True}])
def test_quiet_and_json_print_no_summary_and_no_plan(named: dict[str, Any]) -> None:
    shown = (events.start(), events.plan(), events.progress(), events.file(), events.summary())
    assert _show(*shown, **named) == ("", "")
    assert _show(*shown, dry_run=True, **named) == ("", "")


@pytest.mark.fault(78)
def test_hostile_names_are_shown_safely() -> None:
    name = "/a/x\n\x1b[2J\u202e\udce9"
    out, err = _show(
        events.start(name), events.error(name), events.file(name), events.summary(), source=name, verbose=True
    )
    assert len(out.splitlines()) == 1
    assert (out + err).replace("\n", "").isprintable()
    assert r"x\n\x1b[2J\u202e\xe9" in out


@pytest.mark.fault(86)
def test_crash_shows_its_trace_safely() -> None:
    trace = 'Traceback:\n  File "x.py", line 1\nValueError: /a/\x1b[2J\u202e\n'
    _, err = _show({"event": "crash", "message": "ValueError('\\x1b')", "trace": trace})
    lines = err.splitlines()
    assert lines[0].startswith("pfndispatchcopy: internal error: ")
    assert 'File "x.py", line 1' in err
    assert all(line.isprintable() for line in lines)


def test_dry_run_prints_the_plan_and_why() -> None:
    out, err = _show(events.start(), events.plan(), dry_run=True)
    assert err == ""
    assert out.splitlines() == [
        "plan: 1 file, 1000 bytes, from clip.mov",
        "  to /a/: 5.0 MB free",
        r"  to /b\x1b/: free space unknown",
        "strategy: single (asked for)",
        "chunk size: 4096 bytes",
        "queue depth: 1",
        "jobs: 1",
        "memory bound: 8192 bytes",
        "nothing was written",
    ]


def test_dry_run_of_a_stream_has_no_size() -> None:
    assert "unknown size" in _show(events.plan(bytes=None), dry_run=True)[0]


# -- the historic lines ------------------------------------------------------------------------------------


def test_verbose_prints_the_historic_lines_on_standard_error() -> None:
    _, err = _show(events.start(), events.progress(250), events.file(), events.summary(), verbose=True)
    assert err.splitlines() == [
        "INFO: copying clip.mov...",
        "INFO: copied 250 of 1000 bytes (25%)",
        "INFO: copied 1000 of 1000 bytes (100%)",
        "INFO: copy speed 1000 bytes in 0.500 sec (12.35 MB/sec)",
        "INFO: hash XXH64BE:0123456789abcdef",
        "INFO: done.",
    ]


def test_historic_summary_still_goes_to_standard_output() -> None:
    out, _ = _show(events.file(), events.summary(), verbose=True)
    assert out.startswith("/a/clip.mov: verified")


@pytest.mark.parametrize("total", [None, 1000])
def test_historic_progress_of_a_stream_has_no_total(total: int | None) -> None:
    _, err = _show(events.progress(250, total), source="-", verbose=True)
    assert err == "INFO: copied 250 bytes\n"


def test_historic_progress_of_an_empty_file_is_whole() -> None:
    _, err = _show(events.progress(0, 0), verbose=True)
    assert err == "INFO: copied 0 of 0 bytes (100%)\n"


def test_historic_progress_comes_about_twice_a_second() -> None:
    err = _Stream()
    lines = TextLines(
        Request(("clip.mov",), ("/a/",), CopyOptions(), verbose=True), cast("Outlet", _Stream()), cast("Outlet", err)
    )
    for tick in range(80):  # eight events a second for ten seconds
        lines.event(events.progress(tick), 100.0 + tick / 8)
    assert err.text.count("INFO: copied") == 20


def test_historic_progress_is_that_of_the_copying_only() -> None:
    assert _show(events.progress(phase="verify"), verbose=True) == ("", "")


def test_failed_run_is_not_done() -> None:
    _, err = _show(events.start(), events.file(state="failed"), events.summary(ok=False, state="failed"), verbose=True)
    assert "INFO: done." not in err
    assert "INFO: copied" not in err


def test_every_digest_has_its_historic_line() -> None:
    _, err = _show(events.file(hashes={"md5": "aa", "xxh3": "bb"}), events.summary(), verbose=True)
    assert [line for line in err.splitlines() if "hash" in line] == ["INFO: hash MD5:aa", "INFO: hash XXH3:bb"]


def test_run_that_copied_no_file_has_no_summary_lines() -> None:
    assert _show(events.summary(ok=False, state="failed")) == ("", "")
