"""Jobs come back once each, whatever becomes of the executors on the way."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from pfndispatchcopy import dispatch
from pfndispatchcopy.dispatch import BrokenJobError, Dispatcher, Done, UnfitWorkerError
from pfndispatchcopy.executors import SerialExecutor


class _Lossy(Executor):
    """Loses the first jobs, as a worker that dies does: some never begin, some were done and are not told of."""

    def __init__(self, losses: int, error: Exception, *, does_them: bool = False) -> None:
        self.losses = losses
        self.error = error
        self.does_them = does_them
        self.submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        if self.losses:
            self.losses -= 1
            if self.does_them:
                fn(*args, **kwargs)
            future.set_exception(self.error)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def _double(job: int) -> int:
    if job < 0:
        raise ZeroDivisionError("a bug")
    return 2 * abs(job)


@contextmanager
def _dispatcher(**options: Any) -> Iterator[Dispatcher[int, int]]:
    dispatcher = Dispatcher[int, int](_double, lambda job: job + 1000, 2, **options)
    try:
        yield dispatcher
    finally:
        dispatcher.close()


def _all(dispatcher: Dispatcher[int, int]) -> list[Done[int, int]]:
    found: list[Done[int, int]] = []
    while len(dispatcher):
        found += dispatcher.collect(5)
    return sorted(found)


@pytest.mark.parametrize("executor", [None, "serial", "threads"])
def test_every_job_comes_back_once(executor: str | None) -> None:
    with ThreadPoolExecutor(2) as threads:
        given = {"serial": SerialExecutor(), "threads": threads, None: None}[executor]
        with _dispatcher(given=given) as dispatcher:
            for job in range(20):
                dispatcher.submit(job)
            assert [(done.job, done.report) for done in _all(dispatcher)] == [(job, 2 * job) for job in range(20)]
            assert not dispatcher.has_lost


def test_bug_in_a_job_is_told_and_not_tried_again() -> None:
    given = _Lossy(0, OSError())
    with _dispatcher(given=given) as dispatcher:
        dispatcher.submit(-1)
        (done,) = _all(dispatcher)
    assert given.submitted == 1
    assert done.report is None
    assert isinstance(done.error, BrokenJobError)
    assert str(done.error) == "internal error: ZeroDivisionError: a bug"
    assert "_double" in done.error.trace


@pytest.mark.parametrize("does_them", [False, True])
@pytest.mark.parametrize("error", [BrokenExecutor("killed"), ConnectionResetError("gone"), RuntimeError("odd")])
def test_lost_job_is_done_again_by_the_same_executor(error: Exception, does_them: bool) -> None:
    given = _Lossy(1, error, does_them=does_them)
    with _dispatcher(given=given) as dispatcher:
        dispatcher.submit(1)
        assert [(done.job, done.report) for done in _all(dispatcher)] == [(1001, 2002)]
        assert dispatcher.has_lost
    assert given.submitted == 2


def test_job_that_is_lost_every_time_is_done_here() -> None:
    given = _Lossy(10**6, BrokenExecutor("killed"))
    with _dispatcher(given=given) as dispatcher:
        dispatcher.submit(1)
        (done,) = _all(dispatcher)
    assert done.report is not None
    assert given.submitted == 3


def test_executor_that_was_shut_down_is_no_reason_to_stop() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with _dispatcher(given=threads) as dispatcher:
        dispatcher.submit(1)
        assert [done.report for done in _all(dispatcher)] == [2002]
        assert dispatcher.has_lost


def test_waiting_ends_when_nothing_is_done_in_time() -> None:
    release = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(release.wait, 10)
        with _dispatcher(given=threads) as dispatcher:
            dispatcher.submit(1)
            assert dispatcher.collect(0.01) == []
            assert len(dispatcher) == 1
            release.set()
            assert [done.report for done in _all(dispatcher)] == [2]


def test_close_takes_back_what_has_not_begun() -> None:
    release = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(release.wait, 10)
        with _dispatcher(given=threads) as dispatcher:
            dispatcher.submit(-1)
        release.set()
        assert threads.submit(int).result(5) == 0


def _double_if_here(job: int) -> int:
    if not threading.current_thread().name.startswith("pfn-job"):
        raise UnfitWorkerError("there is no mount")
    return 2 * job


class _Silent(Executor):
    """Takes jobs, and does none of them: its workers are gone."""

    def __init__(self, num_workers: int | None = 0) -> None:
        self.num_workers = num_workers
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


def test_job_that_workers_cannot_do_is_done_here_and_it_is_said_why() -> None:
    given = _Lossy(0, OSError())
    dispatcher = Dispatcher[int, int](_double_if_here, lambda job: job + 1000, 2, given=given)
    dispatcher.submit(1)
    (done,) = _all(dispatcher)
    dispatcher.close()
    assert given.submitted == 3
    assert done.error is None
    assert done.report is not None
    assert dispatcher.unfit == ["there is no mount"] * 3
    assert not dispatcher.has_lost


@pytest.mark.parametrize(("workers", "at_once", "window"), [(3, 2, 6), (1, 2, 2), (0, 2, 4), (8, 1, 16), (None, 2, 64)])
def test_two_jobs_for_each_worker_are_in_flight(workers: int | None, at_once: int, window: int) -> None:
    dispatcher = Dispatcher[int, int](_double, lambda job: job, at_once, given=_Silent(workers))
    assert at_once + dispatcher.ahead == window
    dispatcher.close()


def test_executor_that_has_no_worker_left_is_not_waited_for_for_ever() -> None:
    given = _Silent()
    with _dispatcher(given=given, patience_s=0.05) as dispatcher:
        dispatcher.submit(1)
        assert [done.report for done in _all(dispatcher)] == [2002]
        assert dispatcher.has_lost
        assert "goes on alone" in dispatcher.unfit[0]
        dispatcher.submit(2)
        assert [done.report for done in _all(dispatcher)] == [4]
    assert given.futures[0].cancelled()
    assert len(given.futures) == 1


def test_executor_whose_workers_are_busy_is_waited_for() -> None:
    with _dispatcher(given=_Silent(1), patience_s=0.01) as dispatcher:
        dispatcher.submit(1)
        for _ in range(5):
            assert dispatcher.collect(0.02) == []
        assert len(dispatcher) == 1
        assert dispatcher.unfit == []


def test_after_a_cancel_nobody_elsewhere_is_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_CANCEL_PATIENCE_S", 0.1)
    given = _Silent(1)
    with _dispatcher(given=given) as dispatcher:
        dispatcher.submit(1)
        dispatcher.cancel()
        assert dispatcher.collect(0.15) == []
        dispatcher.cancel()
        assert [done.report for done in _all(dispatcher)] == [2002]
    assert given.futures[0].cancelled()


def test_job_that_was_not_done_as_a_whole_is_sent_again() -> None:
    with _dispatcher() as dispatcher:
        dispatcher.submit_again(1)
        assert [done.report for done in _all(dispatcher)] == [2002]
