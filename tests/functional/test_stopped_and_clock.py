"""Processes that are stopped, signals at any moment, clocks that jump: nothing is lost, and nobody is given up."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pfndispatchcopy import CheckResult, State, check_hash_lists
from tests.support.command import PROGRAM, environment, events_of, run, start
from tests.support.files import make_file, partials
from tests.support.tree_trial import TreeTrial

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

_STALL_S = 1
# Of a stop: well over the stall time-out, with which every run here begins.
_STOPPED_S = 2.5


@contextlib.contextmanager
def _started(*arguments: str, **more: Any) -> "Iterator[subprocess.Popen[str]]":
    """The command, in a session of its own; nothing of it outlives the test."""
    process = start(*arguments, start_new_session=True, **more)
    family = [psutil.Process(process.pid)]
    try:
        yield process
        family = _family(process)
    finally:
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The front, the worker, the process that forks others, and those: in this order."""
    try:
        front = psutil.Process(process.pid)
        return [front, *front.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _make_card(folder: Path, small: int) -> None:
    for number in range(small):
        make_file(folder / f"d{number % 3}/f{number:04}", 2_000, seed=number)
    make_file(folder / "clip.mov", 6_000_000)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".pfn.")
    }


def _await(done: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


# -- stopped ------------------------------------------------------------------------------------------------------


@pytest.mark.fault(52)
@pytest.mark.parametrize(
    "who",
    ["all", "worker", pytest.param("front", marks=pytest.mark.slow), pytest.param("nursery", marks=pytest.mark.slow)],
)
def test_run_that_was_stopped_for_longer_than_the_stall_time_goes_on(tmp_path: Path, who: str) -> None:
    _make_card(tmp_path / "card", 30)
    options = ("--stall-timeout", str(_STALL_S), "--bwlimit", "3M", "-b", "100000", "--mhl", "asc", "-v")
    with _started(*options, "card", "a", "b", cwd=tmp_path) as process:
        _await(lambda: list((tmp_path / "b").rglob("f*")), process)
        family = _family(process)
        assert len(family) == 3
        stopped = {"all": family, "front": family[:1], "worker": family[1:2], "nursery": family[2:]}[who]
        for each in stopped:
            each.suspend()
        time.sleep(_STOPPED_S)
        assert who == "nursery" or process.poll() is None
        for each in stopped:
            each.resume()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "hangs" not in err
    assert [line.split(",")[0] for line in out.splitlines()] == ["a: verified", "b: verified"]


@pytest.mark.fault(52)
@pytest.mark.parametrize("ends", ["goes on", "two signals"])
def test_processes_of_batches_that_are_stopped_are_waited_for_until_two_signals(tmp_path: Path, ends: str) -> None:
    _make_card(tmp_path / "card", 600)
    with _started("--stall-timeout", str(_STALL_S), "-j", "2", "card", "a", cwd=tmp_path) as process:
        # All of them, and as soon as they are there: on a busy machine one alone may have nothing to do any more.
        _await(lambda: len(_family(process)) > 4, process)
        for each in (batches := _family(process)[3:]):
            each.suspend()
        time.sleep(_STOPPED_S)
        assert process.poll() is None
        assert [each.status() for each in batches] == [psutil.STATUS_STOPPED] * 2
        if ends == "goes on":
            for each in batches:
                each.resume()
            _, err = process.communicate(timeout=30)
            assert (process.returncode, "hangs" in err) == (0, False)
            assert _files(tmp_path / "a/card") == _files(tmp_path / "card")
            return
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
        assert process.returncode == 130
        assert "stopped at once" in err
        for each in batches:
            each.kill()
    assert _files(tmp_path / "a/card").items() <= _files(tmp_path / "card").items()
    assert run("-q", "--lock-wait", "5", "card", "a", cwd=tmp_path).returncode == 0
    assert _files(tmp_path / "a/card") == _files(tmp_path / "card")
    assert partials(tmp_path) == []


@pytest.mark.fault(52)
def test_check_that_was_stopped_for_longer_than_the_stall_time_goes_on(tmp_path: Path) -> None:
    _make_card(tmp_path / "card", 10)
    assert run("-q", "--sums", "md5", "card", "a", cwd=tmp_path).returncode == 0
    options = ("--check", "--stall-timeout", str(_STALL_S), "--bwlimit", "3M")
    with _started(*options, "a/card", cwd=tmp_path) as process:
        time.sleep(0.6)
        assert process.poll() is None
        for each in (stopped := _family(process)):
            each.suspend()
        time.sleep(_STOPPED_S)
        for each in stopped:
            each.resume()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("a/card: verified, 11 files, ")


@pytest.mark.fault(56)
def test_lock_of_a_run_that_is_stopped_is_held_and_not_waited_for_for_ever(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 3_000_000)
    with _started("--bwlimit", "3M", "-b", "100000", "s", "a/", cwd=tmp_path) as process:
        _await(lambda: len(partials(tmp_path)) > 1, process)
        for each in (stopped := _family(process)):
            each.suspend()
        for options in ([], ["--lock-wait", "0.5"]):
            began = time.monotonic()
            done = run("-q", *options, "s", "a/", cwd=tmp_path)
            assert done.returncode == 2
            assert "another run is writing s: process " in done.stderr
            assert time.monotonic() - began < 5
        for each in stopped:
            each.resume()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert (tmp_path / "a/s").read_bytes() == (tmp_path / "s").read_bytes()


# -- signals ------------------------------------------------------------------------------------------------------

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(tmp_path: Path, moments: int, seed: int) -> None:
    """Send signals at random moments, to the command alone or as a terminal does to all of its processes."""
    _make_card(tmp_path / "card", 60)
    make_file(tmp_path / "s", 2_000_000)
    wanted = {**_files(tmp_path / "card"), "s": (tmp_path / "s").read_bytes()}
    chance = random.Random(seed)
    ways = itertools.cycle((["card", "a", "b"], ["s", "a/", "b/"], ["--mhl", "asc", "--sums", "md5", "card", "a"]))
    began = time.monotonic()
    run("-q", "card", "c", cwd=tmp_path)
    whole_s = time.monotonic() - began
    for moment, arguments in enumerate(itertools.islice(ways, moments)):
        for name in ("a", "b"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        number, is_twice, is_for_all = chance.choice(_NUMBERS), chance.random() < 0.3, chance.random() < 0.5
        is_in_the_middle = moment == 0  # however busy the machine is, one run is: it is slow, and seen to copy
        with _started("-q", *(["--bwlimit", "1M"] if is_in_the_middle else []), *arguments, cwd=tmp_path) as process:
            if is_in_the_middle:
                _await(lambda: list((tmp_path / "a").rglob(".pfn.*.partial")), process)
            else:
                time.sleep(chance.uniform(0, whole_s))
            for _ in range(1 + is_twice):
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if is_for_all else os.kill)(process.pid, number)
            _, err = process.communicate(timeout=20)
        told = (seed, arguments, number, is_twice, is_for_all, process.returncode, err)
        # Before the command has an answer of its own, the signal ends it: for a shell that is the same code.
        answers = [128 + number] if is_in_the_middle else [0, 128 + number, -number]
        answers += [1] * _is_of_the_interpreter(err)
        assert process.returncode in answers, told
        assert "Traceback" not in err or _is_of_the_interpreter(err), told
        for name in ("a", "b"):
            for path, data in _files(tmp_path / name).items():
                if "ascmhl" not in path and not path.endswith(".md5"):
                    assert data == wanted[path.removeprefix("card/")], told
        left = [path for path in partials(tmp_path) if "journal" not in path.name]
        assert left == [] or is_twice, (told, left)
        done = run("-q", "--lock-wait", "5", *arguments, cwd=tmp_path)
        assert done.returncode == 0, (told, done.stderr)
        assert partials(tmp_path) == []


def _is_of_the_interpreter(trace: str) -> bool:
    """Whether an interrupt came before the first line of the command was reached."""
    return trace.rstrip().endswith("KeyboardInterrupt") and "in console" not in trace


@pytest.mark.fault(48, 49, 50)
@pytest.mark.timeout(120)
def test_signal_at_a_random_moment_leaves_nothing_half_done(tmp_path: Path) -> None:
    _interrupt(tmp_path, moments=4, seed=5)


@pytest.mark.slow
@pytest.mark.fault(48, 49, 50)
@pytest.mark.timeout(280)
@pytest.mark.parametrize("seed", range(3))
def test_signal_at_forty_random_moments_leaves_nothing_half_done(tmp_path: Path, seed: int) -> None:
    _interrupt(tmp_path, moments=40, seed=seed)


@pytest.mark.fault(48, 50)
def test_signal_at_a_random_moment_ends_a_check(tmp_path: Path) -> None:
    _make_card(tmp_path / "card", 60)
    assert run("-q", "--sums", "md5", "card", "a", cwd=tmp_path).returncode == 0
    chance = random.Random(6)
    for number in _NUMBERS[:2]:
        with _started("--check", "-q", "--bwlimit", "9M", "a/card", cwd=tmp_path) as process:
            time.sleep(chance.uniform(0, 0.8))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            _, err = process.communicate(timeout=10)
        assert process.returncode in (0, 128 + number, -number), err
        assert "Traceback" not in err or _is_of_the_interpreter(err)


_DISTURBED = """
import signal, threading
from pfndispatchcopy import CopyOptions, Mhl, copy_tree_with_multiple_destinations

# An application that uses signals of its own, as for its timers: all threads are interrupted without an end.
signal.signal(signal.SIGUSR1, lambda *_: None)
sent, is_over = 0, threading.Event()

def disturb():
    global sent
    while not is_over.wait(0.0005):
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.is_alive():
                signal.pthread_kill(thread.ident, signal.SIGUSR1)
                sent += 1

threading.Thread(target=disturb, daemon=True).start()
options = CopyOptions(mhl=Mhl.ASC, sums=("md5",), bandwidth_limit=12_000_000)
result = copy_tree_with_multiple_destinations("card", ["a", "b"], options=options)
is_over.set()
print(sent, *(each.state.value for each in result.destinations))
"""


@pytest.mark.fault(15)
def test_signals_of_an_application_around_it_disturb_nothing(tmp_path: Path) -> None:
    _make_card(tmp_path / "card", 30)
    done = subprocess.run(
        [sys.executable, "-c", _DISTURBED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    sent, *states = done.stdout.split()
    assert int(sent) > 100
    assert states == ["verified"] * 2
    for name in ("a", "b"):
        assert _files(tmp_path / "card").items() <= _files(tmp_path / name / "card").items()


# -- the clock ----------------------------------------------------------------------------------------------------

_AGES = (4_102_444_800.0, 86_400.0, 1_795_313_495.0, 951_782_400.0)
"""2100, 1970, 2026, and the 29th of February 2000."""


@pytest.mark.fault(60)
@pytest.mark.parametrize("mhl", ["asc", "legacy"])
def test_clock_that_jumps_at_every_look_spoils_no_copy_and_no_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mhl: str
) -> None:
    looks = itertools.cycle(_AGES)
    rooms = ("session", "handover.asc", "handover.plain", "tree.delivery", "tree.handover")
    for room in rooms:
        monkeypatch.setattr(f"pfndispatchcopy.{room}.time", lambda: next(looks))
    monkeypatch.setattr(time, "time", lambda: next(looks))
    trial = TreeTrial(tmp_path)
    for _ in range(2):
        result = trial.run_within(30, 2, mhl=mhl, sums=("xxh64be",))
        assert [each.state for each in result.destinations] in ([State.VERIFIED] * 2, [State.IDENTICAL] * 2)
        assert result.duration >= 0
    trial.end()
    checked: CheckResult = check_hash_lists(trial.copy(0))
    assert checked["success"]


_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

/* The time of day is ten years early, then late, then early: another one at each look. */
static long jump(void) {
    static long looks;
    const char *file = getenv("PFN_TEST_LOOKS");
    if (looks++ == 20 && file) { FILE *told = fopen(file, "a"); if (told) { fputs("fired\\n", told); fclose(told); } }
    return (looks % 2 ? 1 : -1) * 315360000L;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && clock == CLOCK_REALTIME) at->tv_sec += jump();
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


@pytest.mark.kernel
@pytest.mark.fault(60)
@pytest.mark.skipif(sys.platform != "linux", reason="preloads a library as Linux does")
def test_clock_of_the_system_that_jumps_at_every_look_makes_no_time_negative(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here, to build a clock that jumps")
    (tmp_path / "clock.c").write_text(_CLOCK)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", "clock.so", "clock.c", "-ldl"], cwd=tmp_path, check=True, timeout=50
    )
    _make_card(tmp_path / "card", 60)
    looks = tmp_path / "looks"
    settings = environment({"LD_PRELOAD": str(tmp_path / "clock.so"), "PFN_TEST_LOOKS": str(looks)})
    told: list[dict[str, Any]] = []
    for arguments in (
        ["--bwlimit", "6M", "--mhl", "asc", "--sums", "md5", "card", "a", "b"],
        ["--mhl", "asc", "card", "a"],
        ["--stall-timeout", "5", "--check", "a/card"],
    ):
        done = subprocess.run(
            [PROGRAM, "--json", *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            env=settings,
        )
        assert done.returncode == 0, done.stderr
        told += events_of(done.stdout)
    assert "fired" in looks.read_text()
    years = {event["time"][:4] for event in told}
    assert len(years) > 1, years
    for event in told:
        assert event.get("rate", 0) >= 0
        assert (event.get("eta_s") or 0) >= 0
        assert 0 <= event.get("elapsed_s", 0) < 40
    for name in ("a", "b"):
        assert _files(tmp_path / "card").items() <= _files(tmp_path / name / "card").items()
        assert (tmp_path / name / "card/clip.mov").stat().st_mtime_ns == (tmp_path / "card/clip.mov").stat().st_mtime_ns
