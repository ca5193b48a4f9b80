"""The log of a run in a file, in the system's log, and in the journal of systemd."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, environment, run, start
from tests.support.files import make_file, partials
from tests.support.mounts import in_namespace, needs_namespace

_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z pfndispatchcopy\[\d+\] (ERROR|WARNING|INFO) (.*)")


def _log(path: Path) -> list[tuple[str, str]]:
    """Level and text of each line."""
    found = [_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(found), path.read_text()
    return [(each[1], each[2]) for each in found if each]


def test_two_runs_at_once_share_a_log(tmp_path: Path) -> None:
    for card in ("A001", "B001"):
        for number in range(120):
            make_file(tmp_path / card / f"clip {number}.mov", 100, seed=number)
    runs = [start("--log-file", "both.log", card, "raid", cwd=tmp_path) for card in ("A001", "B001")]
    assert [each.communicate(timeout=50) and each.returncode for each in runs] == [0, 0]
    lines = _log(tmp_path / "both.log")
    for card in ("A001", "B001"):
        copies = {text.split(": ")[2] for _, text in lines if f"raid/{card}/" in text and text.startswith("file: ")}
        assert {each.partition(" verified")[0] for each in copies} == {
            f"raid/{card}/clip {number}.mov" for number in range(120)
        }
    assert [text.split(",")[0] for _, text in lines if text.startswith("end")] == ["end: exit code 0"] * 2


def test_log_tells_what_failed_and_how_it_ended(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 1000)
    make_file(tmp_path / "a/s", 1000, seed=2)
    assert run("--log-file", "run.log", "s", "a/", "b/", cwd=tmp_path).returncode == 3
    lines = _log(tmp_path / "run.log")
    assert [level for level, _ in lines] == ["INFO", "INFO", "ERROR", "INFO", "ERROR"]
    assert lines[2][1].startswith("a/s: ")
    assert lines[4][1].startswith("end: exit code 3, ")


def test_log_tells_who_was_told_to_stop(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 4_000_000)
    process = start("--log-file", "run.log", "--bwlimit", "1M", "-b", "50K", "s", "a/", cwd=tmp_path)
    until = time.monotonic() + 20
    while not partials(tmp_path) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert ("WARNING", "SIGTERM: stopping at the next chunk") in _log(tmp_path / "run.log")


@pytest.mark.parametrize("arguments", [("s", "a/"), ("card", "a/"), ("--check", "card")])
def test_log_in_what_is_read_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    make_file(tmp_path / "s", 10)
    make_file(tmp_path / "card/clip.mov", 10)
    before = sorted(tmp_path.rglob("*"))
    log = "s" if "s" in arguments else "card/run.log"
    done = run("--log-file", log, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "the log would lie in" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_log_in_a_source_is_possible_where_it_is_left_out(tmp_path: Path) -> None:
    make_file(tmp_path / "card/clip.mov", 10)
    done = run("--log-file", "card/run.log", "--exclude", "*.log", "card", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "a/card").iterdir()] == ["clip.mov"]


# -- the system's log -------------------------------------------------------------------------------------

_LISTENER = """
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
    log.bind("/dev/log")
    log.settimeout(20)
    print("ready", flush=True)
    while True:
        message = log.recv(65536)
        sys.stdout.buffer.write(message.rstrip(b"\\0") + b"\\n")
        if b" end: " in message:
            break
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/log is Linux's")
def test_system_log_gets_each_event_with_its_priority(tmp_path: Path) -> None:
    needs_namespace()
    make_file(tmp_path / "s", 1000)
    make_file(tmp_path / "a/s", 1000, seed=2)
    (tmp_path / "listen.py").write_text(_LISTENER)
    done = in_namespace(
        # A /dev of our own, so that the machine's is left alone.
        "mkdir dev && mount -t tmpfs t dev && for each in null urandom; do"
        " touch dev/$each && mount --bind /dev/$each dev/$each; done && mount --rbind dev /dev || exit 77\n"
        f"'{sys.executable}' listen.py > log & "
        "for n in 1 2 3 4 5 6 7 8 9 10; do grep -q ready log 2>&1 && break; sleep 0.2; done\n"
        f"HOME=/nonexistent '{PROGRAM}' --syslog s a/ b/; echo $?; wait",
        tmp_path,
    )
    if done.returncode == 77:
        pytest.skip(f"no /dev of our own here: {done.stderr}")
    assert done.stdout.endswith("\n3\n"), done.stderr
    lines = (tmp_path / "log").read_text().splitlines()[1:]
    assert all(re.match(r"<1[1-4]>\w{3} [ \d]\d \d\d:\d\d:\d\d pfndispatchcopy\[\d+\]: ", line) for line in lines)
    texts = {re.sub(r"^<(\d+)>.{15} pfndispatchcopy\[\d+\]: (\w+).*", r"\1 \2", line) for line in lines}
    # Facility "user" is 8; added to that 3 for errors, 6 for what there is to say otherwise.
    assert texts == {"14 start", "14 plan", "14 file", "11 a", "11 end"}


def test_system_log_without_a_listener_is_refused(tmp_path: Path) -> None:
    if sys.platform != "linux" or os.path.exists("/dev/log"):
        pytest.skip("this machine has a system log")
    make_file(tmp_path / "s", 10)
    done = run("--syslog", "s", "a/", cwd=tmp_path)
    assert done.returncode == 2
    assert "--syslog: nothing listens at /dev/log here" in done.stderr
    assert not (tmp_path / "a").exists()


# -- the journal ------------------------------------------------------------------------------------------


def _journal(folder: Path, *arguments: str, stream: str | None = None) -> list[str]:
    """Run the command as systemd does, its standard error a stream that is named in the environment."""
    with open(folder / "journal", "w+b") as journal:
        status = os.fstat(journal.fileno())
        subprocess.run(
            [PROGRAM, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=journal,
            env=environment({"JOURNAL_STREAM": stream or f"{status.st_dev}:{status.st_ino}"}),
            timeout=50,
            check=False,
        )
        journal.seek(0)
        return journal.read().decode().splitlines()


def test_lines_for_the_journal_begin_with_their_priority(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 1000)
    make_file(tmp_path / "a/s", 1000, seed=2)
    lines = _journal(tmp_path, "-v", "--on-finish", "exit 7", "s", "a/", "b/")
    found = {line[:3]: line[3:] for line in lines}
    assert set(found) == {"<3>", "<4>", "<6>"}
    assert found["<3>"].startswith("pfndispatchcopy: error: a/s: ")
    assert found["<4>"] == "pfndispatchcopy: warning: the --on-finish command ended with 7"
    assert "<6>INFO: copying s..." in lines


def test_refusal_for_the_journal_is_an_error(tmp_path: Path) -> None:
    (line,) = _journal(tmp_path, "missing", "a/")
    assert line.startswith("<3>pfndispatchcopy: error: missing: ")
    (line,) = _journal(tmp_path, "--frobnicate")
    assert line.startswith("<3>pfndispatchcopy: error: ")


@pytest.mark.parametrize("stream", ["1:2", "", "nonsense"])
def test_streams_that_are_not_the_journal_have_no_priorities(tmp_path: Path, stream: str) -> None:
    (line,) = _journal(tmp_path, "missing", "a/", stream=stream or "0:0")
    assert line.startswith("pfndispatchcopy: error: ")
