"""Wherever jobs run, the trees, the report and the exit code are the same; and processes end, or are done without."""

import gc
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from pfndispatchcopy import CopyOptions, State, TreeResult
from pfndispatchcopy.engine import lanes, workplace
from pfndispatchcopy.engine.workplace import cancel_everything
from pfndispatchcopy.events import ErrorEvent, Event, FileEvent, PlanEvent
from pfndispatchcopy.executors import ForkedExecutor, SerialExecutor
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.model import Symlinks
from pfndispatchcopy.nursery import Nursery
from pfndispatchcopy.tree import plan as plan_module
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.files import make_file, partials
from tests.support.tree_trial import CARD, TreeSystem, TreeTrial, snapshot

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

_PATIENCE_S = 10


def _open_nursery(on_cancel: Callable[[], None] = cancel_everything) -> Nursery:
    nursery = Nursery.open(on_cancel)
    assert nursery is not None
    return nursery


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = _open_nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def forked(nursery: Nursery) -> Iterator[ForkedExecutor]:
    executor = ForkedExecutor(nursery, 2)
    yield executor
    executor.shutdown()


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end_within(seconds: float, *pids: int) -> bool:
    until = time.monotonic() + seconds
    while any(_is_alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _pids(executor: ForkedExecutor) -> list[int]:
    return [pid for _, pid in executor._workers]


# What processes are asked to call: they know it, since they were forked from this one.


def _own_pid(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


def _add(one: int, other: int) -> int:
    return one + other


def _explode() -> None:
    raise KeyError("a bug")


def _unpicklable() -> Any:
    return lambda: None


def _kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _open_files(folder: str) -> list[str]:
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    return [name for name in names if name.startswith(folder)]


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


_was_told_to_stop = threading.Event()


def _wait_to_be_told() -> bool:
    return _was_told_to_stop.wait(_PATIENCE_S)


# -- the serial one ---------------------------------------------------------------------------------------------


def test_serial_executor_runs_at_once_in_this_thread() -> None:
    with SerialExecutor() as executor:
        future = executor.submit(threading.get_ident)
        assert future.done()
        assert future.result() == threading.get_ident()
        assert list(executor.map(_add, [1, 2], [3, 4])) == [4, 6]


def test_serial_executor_keeps_an_exception_for_the_future() -> None:
    future = SerialExecutor().submit(_explode)
    with pytest.raises(KeyError):
        future.result()


# -- processes --------------------------------------------------------------------------------------------------


def test_jobs_run_in_other_processes(forked: ForkedExecutor) -> None:
    futures = [forked.submit(_own_pid, 0.05) for _ in range(6)]
    pids = {future.result(_PATIENCE_S) for future in futures}
    assert pids == set(_pids(forked))
    assert os.getpid() not in pids


def test_results_belong_to_their_jobs(forked: ForkedExecutor) -> None:
    futures = [forked.submit(_add, number, 1000) for number in range(50)]
    assert [future.result(_PATIENCE_S) for future in futures] == [number + 1000 for number in range(50)]


def test_large_jobs_and_results_are_whole(forked: ForkedExecutor) -> None:
    data = os.urandom(5_000_000)
    assert forked.submit(bytes.upper, data).result(_PATIENCE_S) == data.upper()


def test_bug_in_a_process_is_an_exception_and_costs_that_job_alone(forked: ForkedExecutor) -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        forked.submit(_explode).result(_PATIENCE_S)
    assert forked.submit(_add, 1, 2).result(_PATIENCE_S) == 3


def test_result_that_cannot_be_sent_is_an_exception(forked: ForkedExecutor) -> None:
    with pytest.raises(RuntimeError, match=r"pickle|local object"):
        forked.submit(_unpicklable).result(_PATIENCE_S)
    assert forked.submit(_add, 1, 2).result(_PATIENCE_S) == 3


def test_named_arguments_are_refused(forked: ForkedExecutor) -> None:
    with pytest.raises(TypeError):
        forked.submit(_own_pid, seconds=0.0)


def test_job_that_was_cancelled_in_time_is_not_done(nursery: Nursery) -> None:
    executor = ForkedExecutor(nursery, 1)
    first = executor.submit(_own_pid, 0.2)
    second, third = executor.submit(_own_pid), executor.submit(_own_pid)
    assert second.cancel()
    assert third.result(_PATIENCE_S) == first.result(_PATIENCE_S)
    assert second.cancelled()
    executor.shutdown()


@pytest.mark.fault(51)
def test_killed_process_fails_its_job_and_takes_no_other(forked: ForkedExecutor) -> None:
    future = forked.submit(_kill_oneself)
    with pytest.raises(BrokenExecutor):
        future.result(_PATIENCE_S)
    futures = [forked.submit(_add, number, 1) for number in range(20)]
    assert [future.result(_PATIENCE_S) for future in futures] == [number + 1 for number in range(20)]


@pytest.mark.fault(51)
def test_process_that_is_killed_while_it_is_idle_fails_at_most_one_job(forked: ForkedExecutor) -> None:
    victim = _pids(forked)[0]
    os.kill(victim, signal.SIGKILL)
    assert _end_within(_PATIENCE_S, victim)
    futures = [forked.submit(_add, number, 1) for number in range(20)]
    wait(futures, _PATIENCE_S)
    broken = [future for future in futures if future.exception(0) is not None]
    assert len(broken) <= 1
    assert all(isinstance(future.exception(), BrokenExecutor) for future in broken)


@pytest.mark.fault(51)
def test_when_all_processes_are_killed_every_job_says_so(forked: ForkedExecutor) -> None:
    futures: list[Future[Any]] = [forked.submit(_kill_oneself) for _ in range(2)]
    futures += [forked.submit(_add, number, 1) for number in range(20)]
    done, pending = wait(futures, _PATIENCE_S)
    assert not pending
    assert len([future for future in done if isinstance(future.exception(), BrokenExecutor)]) >= 2
    with pytest.raises(BrokenExecutor):
        forked.submit(_add, 1, 2).result(_PATIENCE_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_all_processes_are_killed_a_cancelled_job_does_not_hide_the_others(nursery: Nursery) -> None:
    executor = ForkedExecutor(nursery, 1)
    running = executor.submit(_own_pid, 30.0)
    cancelled, waiting = executor.submit(_add, 1, 2), executor.submit(_add, 1, 2)
    until = time.monotonic() + _PATIENCE_S
    while not running.running() and time.monotonic() < until:
        time.sleep(0.005)
    assert cancelled.cancel()
    os.kill(_pids(executor)[0], signal.SIGKILL)
    _, pending = wait([running, waiting], 2)
    executor.shutdown()
    assert not pending


def test_process_that_was_killed_while_idle_is_not_signalled(
    forked: ForkedExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another program's by then, which the signal would end; and no job has shown that it is gone."""
    dead = forked.submit(_own_pid).result(_PATIENCE_S)
    os.kill(dead, signal.SIGKILL)
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    forked.cancel_running()
    until = time.monotonic() + _PATIENCE_S
    # A process with threads may be a zombie for a moment before the last of them has let go of the connection.
    while dead in signalled and time.monotonic() < until:
        time.sleep(0.005)
        signalled.clear()
        forked.cancel_running()
    assert signalled
    assert dead not in signalled


def test_executor_that_was_shut_down_takes_no_job(nursery: Nursery) -> None:
    executor = ForkedExecutor(nursery, 1)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(_add, 1, 2)


def test_processes_are_told_to_stop() -> None:
    _was_told_to_stop.clear()
    nursery = _open_nursery(_was_told_to_stop.set)
    executor = ForkedExecutor(nursery, 2)
    futures = [executor.submit(_wait_to_be_told) for _ in range(2)]
    until = time.monotonic() + _PATIENCE_S
    while not all(future.running() for future in futures) and time.monotonic() < until:
        time.sleep(0.005)
    executor.cancel_running()
    assert [future.result(_PATIENCE_S) for future in futures] == [True, True]
    assert not _was_told_to_stop.is_set()  # that was in the other processes
    executor.shutdown()
    nursery.close()


# -- the nursery --------------------------------------------------------------------------------------------------


def test_processes_end_with_their_executor(nursery: Nursery) -> None:
    executor = ForkedExecutor(nursery, 3)
    pids = _pids(executor)
    assert all(_is_alive(pid) for pid in pids)
    executor.shutdown()
    assert _end_within(_PATIENCE_S, *pids)
    again = ForkedExecutor(nursery, 1)  # the nursery has more
    assert again.submit(_add, 1, 2).result(_PATIENCE_S) == 3
    again.shutdown()


@pytest.mark.fault(17, 62)
@pytest.mark.parametrize("count", [0, 1])
def test_threads_that_cannot_be_had_are_an_error_of_the_system_and_leave_no_process(
    count: int, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, left = threading.Thread.start, count
    pids: list[int] = []
    give = nursery.worker

    def starting(thread: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    def worker() -> tuple[socket.socket, int]:
        link, pid = give()
        pids.append(pid)
        return link, pid

    monkeypatch.setattr(nursery, "worker", worker)
    monkeypatch.setattr(threading.Thread, "start", starting)
    with pytest.raises(OSError, match="can't start new thread"):
        ForkedExecutor(nursery, 3)
    assert len(pids) == 3
    assert _end_within(_PATIENCE_S, *pids)


def test_nursery_and_its_workers_end_when_it_is_closed() -> None:
    nursery = _open_nursery()
    executor = ForkedExecutor(nursery, 2)
    pids = _pids(executor)
    parent = psutil.Process(pids[0]).ppid()
    assert parent != os.getpid()
    nursery.close()
    assert _end_within(_PATIENCE_S, parent, *pids)
    executor.shutdown()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see the next test
def test_closed_nursery_has_no_workers_to_give() -> None:
    nursery = _open_nursery()
    nursery.close()
    with pytest.raises(OSError, match=r"."):
        nursery.worker()
    gc.collect()


@pytest.mark.fault(62)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_worker_that_is_not_to_be_had_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    nursery = _open_nursery()
    nursery.close()
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "socketpair", lambda *arguments: pair)
    with pytest.raises(OSError, match=r"."):
        nursery.worker()
    left = [each for each in pair if each.fileno() >= 0]
    for each in left:
        each.close()
    assert left == []


def test_worker_holds_none_of_the_descriptors_that_were_to_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "pipe of the front"
    with path.open("wb") as file:
        nursery = Nursery.open(lambda: None, closing=(file.fileno(),))
        assert nursery is not None
        executor = ForkedExecutor(nursery, 1)
        assert executor.submit(_open_files, str(tmp_path)).result(_PATIENCE_S) == []
        executor.shutdown()
        nursery.close()


def test_workers_have_what_the_nursery_was_prepared_with() -> None:
    def prepare() -> None:
        os.environ["PFN_TEST_PREPARED"] = "yes"

    nursery = Nursery.open(lambda: None, preparing=prepare)
    assert nursery is not None
    executor = ForkedExecutor(nursery, 1)
    assert executor.submit(os.getenv, "PFN_TEST_PREPARED").result(_PATIENCE_S) == "yes"
    assert "PFN_TEST_PREPARED" not in os.environ
    executor.shutdown()
    nursery.close()


class _Childless:
    """A nursery that has no process to give, as at a limit of processes: what was asked for ends without a word."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.nursery = Nursery(ours)
        self._thread = threading.Thread(target=self._refuse, name="childless")
        self._thread.start()

    def _refuse(self) -> None:
        while True:
            message, fds, _, _ = socket.recv_fds(self._theirs, 1, 1)
            if not message:
                return
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        self.nursery.close()
        self._thread.join()
        self._theirs.close()


@pytest.mark.fault(62)
def test_nursery_that_cannot_fork_says_so_as_an_error_of_the_system() -> None:
    childless = _Childless()
    try:
        with pytest.raises(OSError, match=r"."):
            childless.nursery.worker()
    finally:
        childless.close()


_PARENT = """
import os, sys, time
from pfndispatchcopy.executors import ForkedExecutor
from pfndispatchcopy.nursery import Nursery
nursery = Nursery.open(lambda: None)
executor = ForkedExecutor(nursery, 2)
pids = [pid for _, pid in executor._workers]
for _ in range(2):
    executor.submit(time.sleep, 60)
time.sleep(0.1)
nursery_pid = int(open(f"/proc/{pids[0]}/stat").read().rsplit(")", 1)[1].split()[1])
print(nursery_pid, *pids, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_nursery_and_its_workers_end_when_their_parent_dies() -> None:
    """Also in the middle of a job: nobody wants the result any more."""
    done = subprocess.run([sys.executable, "-c", _PARENT], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 3
    assert _end_within(_PATIENCE_S, *pids)


# -- the same everywhere ----------------------------------------------------------------------------------------


_TIMES = (1_500_000_000 * 10**9, 1_600_000_000 * 10**9 + 7)


class _Card:
    """A card with everything: large, small and empty files, links, a conflict, and files that vanish."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "src" / CARD
        make_file(self.path / "large.mov", 500_000, 1)
        make_file(self.path / "deep/er/large.mov", 450_000, 2)
        for number in range(12):
            make_file(self.path / f"small/f{number:02}", number * 100, number + 3)
        (self.path / "empty").write_bytes(b"")
        (self.path / "empty folder").mkdir()
        (self.path / "link").symlink_to("large.mov")
        (self.path / "dangling").symlink_to("nowhere")
        make_file(self.path / "conflict.mov", 3000, 50)
        make_file(self.path / "large conflict.mov", 440_000, 51)
        make_file(self.path / "same.mov", 3000, 52)
        (self.path / "small").chmod(0o750)
        self.forget_times(self.path)

    @staticmethod
    def forget_times(folder: Path) -> None:
        for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
            os.utime(path, ns=_TIMES, follow_symlinks=False)

    def copy(self, **more: Any) -> tuple[TreeResult, list[Event]]:
        """Copy it to two fresh destinations; one of them has something in the way."""
        for number in range(2):
            shutil.rmtree(self.root / f"d{number}", ignore_errors=True)
        taken = self.root / "d1" / CARD
        make_file(taken / "conflict.mov", 3000, 99)
        make_file(taken / "large conflict.mov", 10, 98)
        make_file(taken / "same.mov", 3000, 52)
        self.forget_times(taken)
        vanishing, becoming = self.path / "vanishing.mov", self.path / "small/becomes a folder"
        for path in (vanishing, becoming):
            make_file(path, 1000, 77)
        self.forget_times(self.path)
        events: list[Event] = []

        def observe(event: Event) -> None:
            events.append(event)
            if isinstance(event, PlanEvent):  # listed, and not read yet
                vanishing.unlink()
                becoming.unlink()
                becoming.mkdir()
                self.forget_times(self.path)

        result = TreeOffload(
            [str(self.path)],
            [str(self.root / f"d{number}") for number in range(2)],
            CopyOptions(jobs=2, hashes=("xxh64be", "md5"), symlinks=Symlinks.COPY),
            observer=observe,
            cancel=threading.Event(),
            system=native_system(),
            **more,
        ).run()
        becoming.rmdir()
        return result, events


def _what_came_of_it(card: _Card, **more: Any) -> list[object]:
    result, events = card.copy(**more)
    files = sorted(
        (
            event.path,
            event.size,
            event.hashes,
            [(each.label, each.location, each.state, each.bytes_written, each.error) for each in event.destinations],
        )
        for event in events
        if isinstance(event, FileEvent)
    )
    trees = []
    for number in range(2):
        found = snapshot(card.root / f"d{number}" / CARD)
        trees.append(found)
    errors = sorted(event.notice for event in events if isinstance(event, ErrorEvent))
    ends = [(each.label, each.state, each.files_ok, each.files_failed, each.bytes_ok) for each in result.destinations]
    for path in partials(card.root):
        path.unlink()
    return [result.exit_code, result.files, result.size, ends, files, trees, errors]


_EXECUTORS: dict[str, Callable[[ExitStack], dict[str, Any]]] = {
    "serial": lambda stack: {"executor": SerialExecutor()},
    "threads of the caller": lambda stack: {"executor": stack.enter_context(ThreadPoolExecutor(2))},
    "processes of the caller": lambda stack: {"executor": stack.enter_context(ForkedExecutor(_nursery(stack), 2))},
    "own processes": lambda stack: {"nursery": _nursery(stack)},
    "fresh processes": lambda stack: {
        "executor": stack.enter_context(ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")))
    },
}


def _nursery(stack: ExitStack) -> Nursery:
    nursery = _open_nursery()
    stack.callback(nursery.close)
    return nursery


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small card is several jobs, some of them of one large file, and worth processes."""
    monkeypatch.setattr(plan_module, "LARGEST_SMALL_FILE", 100_000)
    monkeypatch.setattr(plan_module, "_BATCH_FILES", 4)
    monkeypatch.setattr(plan_module, "_FILES_WORTH_PROCESSES", 1)


def _compare(name: str, tmp_path: Path) -> None:
    card = _Card(tmp_path)
    expected = _what_came_of_it(card)
    with ExitStack() as stack:
        found = _what_came_of_it(card, **_EXECUTORS[name](stack))
    assert expected[0] == 3
    for one, other in zip(expected, found, strict=True):
        assert one == other


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", _EXECUTORS)
def test_every_executor_gives_the_same_trees_the_same_report_and_the_same_exit_code(name: str, tmp_path: Path) -> None:
    _compare(name, tmp_path)


@pytest.mark.usefixtures("small_batches")
def test_batches_run_in_processes_of_the_nursery(tmp_path: Path, nursery: Nursery) -> None:
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 for number in range(20)}, jobs=2)
    result = trial.run(2, nursery=nursery)
    trial.require_good(result, 0, 1)
    (plan,) = [event for event in trial.events if isinstance(event, PlanEvent)]
    assert "in 2 processes" in plan.reason
    assert not [path for call, path in trial.system.calls if call == "open_source_name"]  # none of it was done here


@pytest.mark.fault(62)
@pytest.mark.usefixtures("small_batches")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_run_without_a_process_to_be_had_is_done_here(tmp_path: Path) -> None:
    nursery = _open_nursery()
    nursery.close()
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 for number in range(20)}, jobs=2)
    result = trial.run(2, nursery=nursery)
    trial.require_good(result, 0, 1)
    gc.collect()


@pytest.mark.fault(62)
@pytest.mark.usefixtures("small_batches")
def test_run_at_a_limit_of_processes_is_done_here(tmp_path: Path) -> None:
    childless = _Childless()
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 for number in range(20)}, jobs=2)
    try:
        result = trial.run(2, nursery=childless.nursery)
    finally:
        childless.close()
    trial.require_good(result, 0, 1)


# -- processes that are killed ----------------------------------------------------------------------------------


class _Killer:
    """Lets the systems of forked workers kill their process at a call; so often as there are lives left."""

    def __init__(self, root: Path, call: str, nth: int, lives: int) -> None:
        self.call = call
        self.nth = nth
        self.counters = [root / f"kill {number}" for number in range(lives)]

    def __call__(self) -> TreeSystem:
        system = TreeSystem()
        system.rule(self.call, self.kill, where=f"/{CARD}", nth=self.nth, times=None)
        return system

    def kill(self, real: Callable[[], Any], *arguments: Any) -> Any:
        for counter in self.counters:
            try:
                counter.mkdir()
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return real()

    @property
    def fired(self) -> int:
        return sum(counter.exists() for counter in self.counters)


def _copy_with_killed_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, lives: int
) -> tuple[TreeTrial, TreeResult]:
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    killer = _Killer(tmp_path, call, nth, lives)
    monkeypatch.setattr(workplace, "native_system", killer)
    nursery = _open_nursery()
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 + number for number in range(20)}, jobs=2)
    result = trial.run_within(30, 2, nursery=nursery)
    nursery.close()
    trial.end()
    assert killer.fired == lives
    return trial, result


_KILLS = [("open_name", 2), ("write", 1), ("flush", 2), ("read", 3), ("rename_to_free_name", 3), ("flush_folder", 1)]


@pytest.mark.fault(51)
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("lives", [1, 2])
@pytest.mark.parametrize(("call", "nth"), _KILLS)
def test_killed_process_fails_nothing_and_its_job_is_done_here(
    call: str, nth: int, lives: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, result = _copy_with_killed_workers(tmp_path, monkeypatch, call, nth, lives)
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)
    assert trial.notices(ErrorEvent) == []
    told = [event.path for event in trial.events if isinstance(event, FileEvent)]
    assert sorted(told) == sorted(trial.files)


@pytest.mark.fault(51)
@pytest.mark.usefixtures("small_batches")
def test_killed_process_leaves_no_temporary_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _copy_with_killed_workers(tmp_path, monkeypatch, "flush", 2, 1)
    left = partials(tmp_path)
    for path in left:
        path.unlink()
    assert left == []


@pytest.mark.usefixtures("small_batches")
def test_sweeping_after_a_killed_process_is_no_hang_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    killer = _Killer(tmp_path, "flush", 1, 1)
    monkeypatch.setattr(workplace, "native_system", killer)
    nursery = _open_nursery()
    trial = TreeTrial(tmp_path, {f"{number:02}/f": 100 for number in range(16)}, jobs=2)
    pause = threading.Event()

    def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
        pause.wait(0.05)
        return real()

    rule = trial.system.rule("entries", slowly, where=f"/d1/{CARD}", times=None)
    result = trial.run_within(30, 2, nursery=nursery, stall_timeout_s=0.4)
    nursery.close()
    trial.end()
    left = partials(tmp_path)
    for path in left:
        path.unlink()
    assert killer.fired == 1
    assert rule.fired >= 16
    assert result.exit_code == 0
    assert left == []


class _BreaksLater(Executor):
    """As a pool of the library whose process was killed: what is under way fails, and it takes nothing any more."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        if self.submitted > 2:
            raise BrokenExecutor("a process was killed")
        future: Future[Any] = Future()
        if self.submitted == 1:  # it is tried out
            future.set_result(fn(*args, **kwargs))
        else:
            future.set_exception(BrokenExecutor("a process was killed"))
        return future


@pytest.mark.usefixtures("small_batches")
def test_pool_of_the_caller_that_breaks_fails_nothing(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 for number in range(20)}, jobs=2)
    executor = _BreaksLater()
    result = trial.run(2, executor=executor)
    assert executor.submitted > 2
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)


@pytest.mark.usefixtures("small_batches")
def test_cancel_reaches_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they are doing is stopped; what they hold unfinished is removed."""
    started = tmp_path / "started"

    def slow_system() -> TreeSystem:
        system = TreeSystem()

        def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
            started.touch()
            time.sleep(0.02)
            return real()

        system.rule("write", slowly, where=f"/{CARD}", times=None)
        return system

    monkeypatch.setattr(workplace, "native_system", slow_system)
    monkeypatch.setattr(plan_module, "_BATCH_FILES", 200)
    nursery = _open_nursery()
    trial = TreeTrial(tmp_path, {f"f{number:03}": 100 for number in range(400)}, jobs=2)

    def cancel_soon() -> None:
        until = time.monotonic() + _PATIENCE_S
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.005)
        trial.cancel.set()

    canceller = threading.Thread(target=cancel_soon, name="canceller")
    begin = time.monotonic()
    canceller.start()
    result = trial.run_within(20, 2, nursery=nursery)
    canceller.join()
    nursery.close()
    assert started.exists()
    assert time.monotonic() - begin < 4
    assert [each.state for each in result.destinations] == [State.CANCELLED] * 2
    trial.require_nothing_false(2)
    trial.require_no_partials()


@pytest.mark.fault(27)
@pytest.mark.usefixtures("small_batches")
def test_destination_that_hangs_in_a_process_is_given_up_and_the_others_never_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hanging_system() -> TreeSystem:
        system = TreeSystem()

        def hang(real: Callable[[], Any], *arguments: Any) -> Any:
            time.sleep(60)
            return real()

        system.rule("write", hang, where=f"/d1/{CARD}", times=None)
        return system

    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    monkeypatch.setattr(workplace, "native_system", hanging_system)
    nursery = _open_nursery()
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 for number in range(40)}, jobs=2)
    begin = time.monotonic()
    result = trial.run_within(20, 3, nursery=nursery, stall_timeout_s=0.3)
    assert time.monotonic() - begin < 8
    nursery.close()
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.destinations[1].files_ok) == (State.FAILED, 0)
    assert trial.offload is not None
    assert trial.offload.has_given_up
    trial.end()
    for path in partials(tmp_path / "d1"):  # what the process that hung has left; it is no more
        path.unlink()


def _states_of(events: Sequence[Event]) -> set[State]:
    return {each.state for event in events if isinstance(event, FileEvent) for each in event.destinations}


@pytest.mark.fault(1)
@pytest.mark.usefixtures("small_batches")
def test_destination_that_fills_up_in_a_process_is_given_up_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full_system() -> TreeSystem:
        system = TreeSystem()
        system.fail("write", errno.ENOSPC, where=f"/d1/{CARD}", times=None)
        return system

    monkeypatch.setattr(workplace, "native_system", full_system)
    nursery = _open_nursery()
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 for number in range(40)}, jobs=2)
    result = trial.run_within(20, 2, nursery=nursery)
    nursery.close()
    trial.require_good(result, 0)
    each = result.destinations[1]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 0, 40)
    assert each.error is not None
    assert each.error.errno == "ENOSPC"
    assert result.exit_code == 3
    assert _states_of(trial.events) == {State.VERIFIED, State.FAILED}
