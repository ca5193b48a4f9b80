"""Standard streams that are closed, full, or read by nobody: the copy goes on, and so does its exit code."""

import os
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, environment, start
from tests.support.files import make_file


def _shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=50, check=False, env=environment()
    )


@pytest.mark.fault(58)
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- >&-"])
def test_closed_streams_never_get_into_a_destination(tmp_path: Path, closed: str) -> None:
    data = make_file(tmp_path / "s", 500_000)
    done = _shell(f"'{PROGRAM}' -v s a/ b/ {closed}", tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "a/s").read_bytes() == data == (tmp_path / "b/s").read_bytes()


@pytest.mark.fault(58)
def test_reader_that_leaves_does_not_end_the_copy(tmp_path: Path) -> None:
    data = make_file(tmp_path / "s", 3_000_000)
    done = _shell(f"'{PROGRAM}' --json --bwlimit 5M s a/ | head -n 1; sleep 0.2", tmp_path)
    assert done.stderr == ""
    until = time.monotonic() + 10
    while not (tmp_path / "a/s").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert (tmp_path / "a/s").read_bytes() == data


@pytest.mark.fault(58)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_standard_output_is_a_warning_and_the_copy_counts(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 1000)
    done = _shell(f"'{PROGRAM}' s a/ > /dev/full", tmp_path)
    assert done.returncode == 0
    assert "standard output could not be written: No space left on device" in done.stderr


@pytest.mark.fault(58)
def test_unread_output_does_not_hold_the_copy(tmp_path: Path) -> None:
    data = make_file(tmp_path / "s", 1_000_000)
    destinations = [f"{'d' * 200}{number}/" for number in range(60)]
    process = start("--json", "s", *destinations, cwd=tmp_path)
    until = time.monotonic() + 20
    while time.monotonic() < until and not all((tmp_path / each / "s").exists() for each in destinations):
        time.sleep(0.05)
    assert all((tmp_path / each / "s").read_bytes() == data for each in destinations)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert len(out) > 65536


@pytest.mark.fault(59)
def test_bars_vanish_without_a_terminal_and_lines_can_be_had(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 1_000_000)
    assert _shell(f"TERM=xterm '{PROGRAM}' s a/", tmp_path).stderr == ""
    plain = _shell(f"'{PROGRAM}' --progress plain --bwlimit 2M -b 50000 s b/", tmp_path).stderr
    assert plain.startswith("copy: ")
    assert "\x1b" not in plain


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_log_that_cannot_be_written_is_said_once_and_the_copy_goes_on(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 1000)
    done = _shell(f"'{PROGRAM}' --log-file /dev/full s a/", tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("the log ends here") == 1


def test_summary_comes_after_the_bars_are_gone(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 300_000)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):  # as a terminal that is slow to draw
        while os.write(write_end, b"." * 4096):
            pass
    os.set_blocking(write_end, True)
    process = start("--progress", "bar", "--bwlimit", "500K", "-b", "20K", "s", "a/", cwd=tmp_path, stderr=write_end)
    os.close(write_end)
    assert process.stdout is not None
    until = time.monotonic() + 20
    while not (tmp_path / "a/s").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not select.select([process.stdout], [], [], 0.5)[0]
    drawn = b""
    while more := os.read(read_end, 65536):
        drawn += more
    os.close(read_end)
    assert process.stdout.read().startswith("a/s: verified, ")
    process.communicate(timeout=10)
    assert drawn.endswith(b"\x1b[J")
