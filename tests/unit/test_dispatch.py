"""Jobs come back once each, whatever becomes of the executors on the way."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from pfndispatchcopy.dispatch import BrokenJobError, Dispatcher, Done
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
