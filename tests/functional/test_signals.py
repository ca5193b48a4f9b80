"""Signals: the first one stops gracefully, the second one at once; a kill loses nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.functional.test_faults import _wait_for_partial
from tests.support.command import PROGRAM, environment, events_of, run, start
from tests.support.files import make_file, partials

SLOW = ("--bwlimit", "2M", "-b", "100000")


@pytest.mark.fault(48, 50)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_first_signal_stops_and_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    make_file(tmp_path / "s", 20_000_000)
    process = start(*SLOW, "--json", "s", "a/", "b/", cwd=tmp_path)
    _wait_for_partial(tmp_path / "a")
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "stopping" in err
    summary = events_of(out)[-1]
    assert (summary["event"], summary["exit_code"]) == ("summary", code)
    assert [each["state"] for each in summary["destinations"]] == ["cancelled", "cancelled"]
    assert sorted(os.listdir(tmp_path)) == ["s"]
    assert run("s", "a/", "b/", cwd=tmp_path).returncode == 0


_AT_THE_WORST_MOMENT = """
import os, signal, sys, types
import pickle
import pfndispatchcopy.cli.front as front
from pfndispatchcopy.cli.main import console

def dumps(request):
    os.kill(os.getpid(), signal.SIGTERM)  # it hears signals, and the worker has no request yet
    return pickle.dumps(request)

front.pickle = types.SimpleNamespace(dumps=dumps)
console()
"""


@pytest.mark.fault(50)
def test_signal_before_the_worker_knows_what_to_do_is_heard(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 20_000_000)
    done = subprocess.run(
        [sys.executable, "-c", _AT_THE_WORST_MOMENT, *SLOW, "s", "a/"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment(),
    )
    assert done.returncode == 143, done.stderr
    assert "SIGTERM: stopping" in done.stderr
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.fault(48)
def test_waiting_for_a_silent_stream_is_ended_by_the_first_signal(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    try:
        process = start("-", "a/x", cwd=tmp_path, stdin=read_end)
        os.write(write_end, b"x" * 1000)
        until = time.monotonic() + 10
        while len(partials(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=3)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert process.returncode == 130
    assert os.listdir(tmp_path) == []


def test_signal_that_timeout_sends_twice_is_one(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 20_000_000)
    process = start("--bwlimit", "200K", "-b", "100K", "s", "a/", cwd=tmp_path)
    _wait_for_partial(tmp_path / "a")
    process.send_signal(signal.SIGINT)
    time.sleep(0.005)  # or the system itself would take them for one
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "SIGINT: stopping at the next chunk" in err
    assert "stopped at once" not in err
    assert sorted(os.listdir(tmp_path)) == ["s"]


@pytest.mark.fault(49)
def test_second_signal_ends_at_once_and_names_what_is_left(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 20_000_000)
    process = start(*SLOW, "s", "a/x", cwd=tmp_path)
    _wait_for_partial(tmp_path / "a")
    # Both are there before the front can pass the first one on: the graceful stop never has its time.
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=3)
    assert process.returncode in (130, 143)
    assert "stopped at once; left behind: a/.pfn." in err
    assert not (tmp_path / "a/x").exists()
    assert run("s", "a/x", cwd=tmp_path).returncode == 0
    assert partials(tmp_path) == []


@pytest.mark.fault(51)
def test_kill_at_any_moment_is_followed_by_a_complete_run(tmp_path: Path) -> None:
    data = make_file(tmp_path / "s", 3_000_000)
    for step in range(8):
        process = start("-b", "50000", "--bwlimit", "20M", "s", "a/", "b/", cwd=tmp_path)
        time.sleep(0.05 + 0.04 * step)
        process.kill()
        process.communicate(timeout=10)
        for copy in (tmp_path / "a/s", tmp_path / "b/s"):
            assert not copy.exists() or copy.read_bytes() == data
        done = run("s", "a/", "b/", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert partials(tmp_path) == []
        for copy in (tmp_path / "a/s", tmp_path / "b/s"):
            assert copy.read_bytes() == data
            copy.unlink()


@pytest.mark.fault(51)
def test_killed_worker_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 20_000_000)
    process = start(*SLOW, "--json", "s", "a/", cwd=tmp_path)
    _wait_for_partial(tmp_path / "a")
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    if children.returncode != 0:
        process.kill()
        process.communicate()
        pytest.skip("no pgrep here")
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "killed by signal 9" in err
    assert events_of(out)[-1]["exit_code"] == 1
    assert run("s", "a/", cwd=tmp_path).returncode == 0
    assert partials(tmp_path) == []


@pytest.mark.fault(50)
def test_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 2_000_000)
    process = subprocess.Popen(
        ["nohup", PROGRAM, *SLOW, "-q", "s", "a/"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    _wait_for_partial(tmp_path / "a")
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=20) == 0


@pytest.mark.fault(52)
def test_stopped_process_does_not_count_as_stalled(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 3_000_000)
    process = start(*SLOW, "--stall-timeout", "1", "s", "a/", cwd=tmp_path, start_new_session=True)
    _wait_for_partial(tmp_path / "a")
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(2.5)
    os.killpg(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
