"""The log: one safe line an event, appended to a file or sent to the system."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.cli.record import LogFile, SystemLog, log_line
from pfndispatchcopy.errors import UsageError
from tests.unit.cli import events

_TIME = "2026-01-02T03:04:05.678Z"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    made = LogFile(str(tmp_path / "copy.log"))
    yield made
    os.close(made._fd)


def _lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "copy.log").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("fields", "level", "words"),
    [
        (events.start("clip.mov", "/a/", "/b/"), "INFO", ["start", "clip.mov", "/a/, /b/"]),
        (events.plan(), "INFO", ["1000 bytes", "single", "asked for"]),
        (events.file("/a/clip.mov"), "INFO", ["clip.mov", "0123456789abcdef", "/a/clip.mov verified (direct)"]),
        (events.summary(), "INFO", ["exit code 0", "/a/ verified"]),
        (events.error("it broke"), "ERROR", ["it broke"]),
        (events.error("hm", "warning"), "WARNING", ["hm"]),
        ({"event": "crash", "message": "bug", "trace": ""}, "ERROR", ["bug"]),
    ],
    ids=lambda each: each["event"] if isinstance(each, dict) else "",
)
def test_event_has_a_line_with_its_level(fields: dict[str, Any], level: str, words: list[str]) -> None:
    found = log_line(fields)
    assert found is not None
    assert found[0] == level
    for word in words:
        assert word in found[1]


def test_progress_is_not_for_a_log() -> None:
    assert log_line(events.progress()) is None
    assert log_line({"event": "partial", "path": "x", "exists": True}) is None


def test_lines_have_time_process_and_level(log: LogFile, tmp_path: Path) -> None:
    log.event({**events.error(), "time": _TIME}, 0.0)
    log.event(events.progress(), 0.0)
    log.event(events.error("second"), 0.0)
    first, second = _lines(tmp_path)
    assert first == f"{_TIME} pfndispatchcopy[{os.getpid()}] ERROR it broke"
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ pfndispatchcopy\[", second)


def test_hostile_names_stay_on_their_line(log: LogFile, tmp_path: Path) -> None:
    name = "x\n2026-01-01T00:00:00Z pfndispatchcopy[1] INFO all is well\x1b[2J\u202e\udce9\x85"
    for fields in (events.start(name, name), events.file(name), events.error(name)):
        log.event(fields, 0.0)
    lines = (tmp_path / "copy.log").read_bytes().split(b"\n")
    assert len(lines) == 4
    assert all(line.decode("utf-8").isprintable() for line in lines)


def test_log_is_appended_to_and_shared(log: LogFile, tmp_path: Path) -> None:
    other = LogFile(str(tmp_path / "copy.log"))
    for number in range(3):
        log.event(events.error(f"one {number}"), 0.0)
        other.event(events.error(f"other {number}"), 0.0)
    os.close(other._fd)
    assert [line.split("ERROR ")[1] for line in _lines(tmp_path)] == [
        f"{who} {number}" for number in range(3) for who in ("one", "other")
    ]


def test_log_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing/copy.log"):
        with pytest.raises(UsageError, match="the log cannot be opened"):
            LogFile(str(path))


def test_systems_log_gets_the_same_lines_with_its_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    syslog = pytest.importorskip("syslog")
    seen: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "openlog", lambda *arguments: None)
    monkeypatch.setattr(syslog, "syslog", lambda level, text: seen.append((level, text)))
    log = SystemLog()
    for fields in (events.error(), events.error("hm", "warning"), events.start(), events.progress()):
        log.event(fields, 0.0)
    assert seen == [
        (syslog.LOG_ERR, "it broke"),
        (syslog.LOG_WARNING, "hm"),
        (syslog.LOG_INFO, "start: clip.mov to /a/"),
    ]


def test_missing_system_log_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "syslog", None)
    with pytest.raises(UsageError, match="--syslog"):
        SystemLog()
