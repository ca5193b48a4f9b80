"""The log: one safe line an event, appended to a file or sent to the system."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pfndispatchcopy.cli.record
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
        (events.summary(ok=False, state="failed"), "ERROR", ["exit code 1", "/a/ failed"]),
        ({"event": "crash", "message": "bug", "trace": "line 1\nline 2"}, "ERROR", ["bug", "line 1\\nline 2"]),
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


@pytest.mark.fault(78)
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


# Each process tells of a name as long as a path may be, so that a line is longer than what a pipe takes at once.
_WRITER = """
import sys
from pfndispatchcopy.cli.record import LogFile
log = LogFile(sys.argv[1])
sys.stdin.read(1)
for number in range(400):
    log.event({"event": "warning", "message": f"{sys.argv[2]} {number} " + sys.argv[2] * 5000}, 0.0)
"""


def test_lines_of_two_runs_at_once_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "copy.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, path, letter], stdin=subprocess.PIPE) for letter in "xy"
    ]
    for each in writers:
        assert each.stdin is not None
        each.stdin.close()
    assert [each.wait(timeout=30) for each in writers] == [0, 0]
    lines = _lines(tmp_path)
    assert len(lines) == 800
    for letter in "xy":
        mine = [line for line in lines if line.endswith(letter)]
        assert [line.split()[4] for line in mine] == [str(number) for number in range(400)]
        assert all(
            re.fullmatch(rf"\S+Z pfndispatchcopy\[\d+\] WARNING {letter} \d+ {letter * 5000}", line) for line in mine
        )
    assert len({line.split()[1] for line in lines}) == 2


@pytest.mark.parametrize("log_path", ["card/copy.log", "card/day 1/copy.log", "card", "elsewhere/../card/x", "link/x"])
def test_log_in_a_source_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_path: str
) -> None:
    for folder in ("card/day 1", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("card")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="would lie in"):
        LogFile(log_path, ["-", "elsewhere", "card/"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["card", "day 1", "elsewhere", "link"]


def test_log_beside_a_source_is_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    os.close(LogFile(str(tmp_path / "card.log"), [str(tmp_path / "card"), "-"])._fd)
    assert (tmp_path / "card.log").exists()


def test_line_that_is_written_in_part_is_an_error(log: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[int | OSError] = [3, OSError(errno.ENOSPC, "No space left on device")]

    def write(fd: int, data: bytes) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        log.event(events.error(), 0.0)


def test_log_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing/copy.log"):
        with pytest.raises(UsageError, match="the log cannot be opened"):
            LogFile(str(path))


def test_systems_log_gets_the_same_lines_with_its_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    syslog = pytest.importorskip("syslog")
    seen: list[tuple[int, str]] = []
    monkeypatch.setattr(pfndispatchcopy.cli.record, "_SYSLOG_SOCKET", os.devnull)
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems send to their log in other ways")
def test_system_log_that_nobody_reads_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pfndispatchcopy.cli.record, "_SYSLOG_SOCKET", str(tmp_path / "log"))
    with pytest.raises(UsageError, match=r"nothing listens at .*--log-file"):
        SystemLog()
