"""Streams, logs and configurations that are closed, full, endless, or at whose other end nobody is: no copy waits."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.check_trial import write_sums
from tests.support.command import PROGRAM, environment, events_of, run, start
from tests.support.files import make_file, partials

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full, and pipes of a size that can be set")

_PAGE = 4096


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card with enough files for their lines to fill a pipe of one page many times."""
    for number in range(120):
        make_file(tmp_path / f"card/{number % 3}/{'n' * 60}{number:03}", 500 + number, seed=number)
    make_file(tmp_path / "card/clip.mov", 5_000_000)
    files = [str(path.relative_to(tmp_path / "card")) for path in (tmp_path / "card").rglob("*") if path.is_file()]
    write_sums(tmp_path / "card/card.xxh64", files)
    return tmp_path / "card"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=50, check=False, env=environment()
    )


@pytest.mark.fault(58)
@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_closed_streams_get_into_no_copy_of_a_tree_and_into_no_check(tmp_path: Path, card: Path, closed: str) -> None:
    command = f"'{PROGRAM}' --json -v --progress bar"
    done = _shell(
        f"{command} card a {closed}; echo $? >codes; {command} --check a/card {closed}; echo $? >>codes", tmp_path
    )
    assert (tmp_path / "codes").read_text() == "0\n0\n", done.stderr
    assert _files(tmp_path / "a/card") == _files(card)


@pytest.mark.fault(58)
def test_full_streams_change_no_exit_code(tmp_path: Path, card: Path) -> None:
    full = "standard output could not be written: No space left on device"
    done = _shell(f"'{PROGRAM}' --json card a >/dev/full; echo $?", tmp_path)
    assert (done.stdout, done.stderr.count(full)) == ("0\n", 1)
    assert _files(tmp_path / "a/card") == _files(card)
    (tmp_path / "a/card/clip.mov").write_bytes(b"changed")
    done = _shell(f"'{PROGRAM}' --json -v --progress plain --check a/card >/dev/full 2>/dev/full; echo $?", tmp_path)
    assert (done.stdout, done.stderr) == ("4\n", "")
    for option in ("--help", "--version"):
        done = _shell(f"'{PROGRAM}' {option} >/dev/full; echo $?; '{PROGRAM}' {option} >&-; echo $?", tmp_path)
        assert done.stdout == "2\n0\n"
        assert done.stderr.count(full) == len(done.stderr.splitlines()) == 1


@contextlib.contextmanager
def _narrow_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds one page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PAGE)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            os.close(writer)


@contextlib.contextmanager
def _started(*arguments: str, **more: Any) -> "Iterator[subprocess.Popen[str]]":
    """The command; it does not outlive a test that fails."""
    process = start(*arguments, **more)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _await(what: Path, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 20
    while not what.exists():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)


def _drain(fd: int) -> bytes:
    data = b""
    with contextlib.suppress(OSError):  # the end of a terminal is EIO
        while more := os.read(fd, 1 << 16):
            data += more
    return data


@pytest.mark.fault(58)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_reader_that_does_not_read_holds_up_no_tree(tmp_path: Path, card: Path, stream: str) -> None:
    options = ("--json",) if stream == "stdout" else ("-v", "--progress", "plain")
    with (
        _narrow_pipe() as (reader, writer),
        _started(*options, "--sums", "md5", "card", "a", cwd=tmp_path, **{stream: writer}) as process,
    ):
        os.close(writer)
        _await(tmp_path / "a/card/card.md5", process)  # the last thing that is written
        time.sleep(0.3)
        assert process.poll() is None, "nothing was left to be read: this test has lost its meaning"
        assert _files(card).items() <= _files(tmp_path / "a/card").items()
        assert partials(tmp_path) == []
        data = _drain(reader)
        assert process.wait(20) == 0
    assert len(data) > 4 * _PAGE
    assert stream == "stderr" or events_of(data.decode())[-1]["exit_code"] == 0


@pytest.mark.fault(58)
def test_terminal_that_takes_no_more_holds_up_no_bars(tmp_path: Path, card: Path) -> None:
    keeper, terminal = pty.openpty()
    options = ("--progress", "bar", "-v", "--sums", "md5")
    with _started(*options, "card", "a", cwd=tmp_path, stderr=terminal) as process:
        os.close(terminal)
        _await(tmp_path / "a/card/card.md5", process)
        drawn = _drain(keeper)
        assert process.wait(20) == 0
    os.close(keeper)
    assert drawn.count(b"INFO: copying") == 1 + len(_files(card))


@pytest.mark.fault(48, 58)
def test_signal_ends_a_check_whose_output_nobody_reads(tmp_path: Path, card: Path) -> None:
    with (
        _narrow_pipe() as (reader, writer),
        _started("--json", "--bwlimit", "1M", "--check", "card", cwd=tmp_path, stdout=writer) as process,
    ):
        os.close(writer)
        assert select.select([reader], [], [], 20)[0]  # it has begun to say something
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)
    assert process.returncode == 130
    assert "stopping" in err


# -- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.fault(58)
def test_log_that_nobody_reads_is_refused_and_one_whose_reader_sleeps_ends(tmp_path: Path, card: Path) -> None:
    os.mkfifo(tmp_path / "log")
    done = run("--log-file", "log", "card", "a", cwd=tmp_path)
    assert done.returncode == 2
    assert "log: the log cannot be opened: No such device or address" in done.stderr
    assert not (tmp_path / "a").exists()
    sleeper = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(sleeper, fcntl.F_SETPIPE_SZ, _PAGE)
        done = run("--log-file", "log", "card", "a", cwd=tmp_path)
    finally:
        os.close(sleeper)
    assert done.returncode == 0
    assert done.stderr.count("the log ends here, it cannot be written: Resource temporarily unavailable") == 1
    assert _files(tmp_path / "a/card") == _files(card)


# -- the configuration ----------------------------------------------------------------------------------------------


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "folder", "binary", "huge", "endless", "deep"])
def test_configuration_that_is_none_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    make_file(tmp_path / "s", 10)
    path = tmp_path / "config.toml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 8 << 30)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes({"binary": bytes(range(256)) * 100, "deep": b"x = " + b"[" * 100_000}[kind])
    began = time.monotonic()
    done = subprocess.run(
        [PROGRAM, "--json", "s", "a/"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment({"PFNDISPATCHCOPY_CONFIG": str(path)}),
    )
    assert time.monotonic() - began < 10
    assert done.returncode == 2
    assert done.stderr.startswith(f"pfndispatchcopy: error: {path}: the configuration ")
    assert len(done.stderr.splitlines()) == 1
    assert events_of(done.stdout)[-1]["exit_code"] == 2
    assert not (tmp_path / "a").exists()


def test_empty_device_is_an_empty_configuration(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 10)
    assert run("--config", "/dev/null", "s", "a/", cwd=tmp_path).returncode == 0
