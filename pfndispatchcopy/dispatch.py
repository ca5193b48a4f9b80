"""Sends jobs to where they are done, and takes back what came of them, or that it was lost on the way.

There are three places: an executor that the caller gave, processes that were forked for it, and threads of this
process. A job that is lost with a process, a worker or a connection is done again: by the caller's executor where
there is one, and in this process when that has lost it several times. So a job may be done twice, even at the same
time, and has to be one that finds what is there already. What goes wrong *in* a job is not lost: a bug stays a bug.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from pfndispatchcopy.errors import PfnDispatchCopyError
from pfndispatchcopy.executors import ForkedExecutor
from pfndispatchcopy.nursery import Nursery

__all__ = ["BrokenJobError", "Dispatcher", "Done"]

_J = TypeVar("_J")
_R = TypeVar("_R")
# How often a caller's executor may lose one job. Dask gives a job up by itself after three workers.
_MOST_LOSSES = 3


class BrokenJobError(PfnDispatchCopyError):
    """A job ended by a bug in it.

    Attributes:
        trace: the traceback, of wherever that was.
    """

    def __init__(self, bug: str, trace: str) -> None:
        super().__init__(f"internal error: {bug}")
        self.trace = trace


class _Answer(NamedTuple, Generic[_R]):
    """What a job came to: its report, or the bug that ended it, with its traceback."""

    report: _R | None
    bug: str = ""
    trace: str = ""


class _Sent(NamedTuple, Generic[_J]):
    job: _J
    losses: int
    is_here: bool


class Done(NamedTuple, Generic[_J, _R]):
    """A job that has ended.

    Attributes:
        job: as it was submitted.
        report: what it returned; None after a bug.
        error: the bug.
    """

    job: _J
    report: _R | None
    error: BrokenJobError | None


def _attempt(call: Callable[[_J], _R], job: _J) -> _Answer[_R]:
    """Do a job, wherever this is: its bugs are an answer, so that every other failure is one of the way."""
    try:
        return _Answer(call(job))
    except Exception as error:  # noqa: BLE001 - handed back by the dispatcher
        import traceback  # noqa: PLC0415 - 5 ms that a run without bugs does not need

        return _Answer(None, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


class Dispatcher(Generic[_J, _R]):
    """Keeps jobs in flight.

    Args:
        call: does a job; a function of a module, so that it can be sent elsewhere.
        again: what a job is when it is done again, after it may have been done in part.
        threads: jobs at once in this process.
        given: the caller's executor; every job goes there.
        nursery: where processes come from, for the jobs that go to one.
        processes: how many; 0 for none.

    Attributes:
        ahead: jobs that may wait beside those that run, so that no process is ever idle.
        has_lost: whether a job was lost on the way, which may have left something behind.
    """

    def __init__(
        self,
        call: Callable[[_J], _R],
        again: Callable[[_J], _J],
        threads: int,
        *,
        given: Executor | None = None,
        nursery: Nursery | None = None,
        processes: int = 0,
    ) -> None:
        self._call = call
        self._again = again
        self._at_once = threads
        self._given = given
        self._threads: ThreadPoolExecutor | None = None
        self._processes: ForkedExecutor | None = None
        self._running: dict[Future[_Answer[_R]], _Sent[_J]] = {}
        if given is None and nursery is not None and processes:
            with suppress(OSError):  # this process does it all, then
                self._processes = ForkedExecutor(nursery, processes)
        self.ahead = processes if self._processes is not None else 0
        self.has_lost = False

    def __len__(self) -> int:
        """Number of jobs in flight."""
        return len(self._running)

    def submit(self, job: _J, *, to_process: bool = False) -> None:
        """Send a job.

        Args:
            job: the job.
            to_process: whether a process of its own pays, where there is one.
        """
        executor = self._processes if to_process and self._given is None else self._given
        self._send(job, executor, 0)

    def _send(self, job: _J, executor: Executor | None, losses: int) -> None:
        if executor is not None:
            try:
                future = executor.submit(_attempt, self._call, job)
            except RuntimeError:  # broken, or shut down: it takes no more jobs
                self.has_lost = True
                job = self._again(job)
            else:
                self._running[future] = _Sent(job, losses, is_here=False)
                return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="pfn-job")
        self._running[self._threads.submit(_attempt, self._call, job)] = _Sent(job, losses, is_here=True)

    def collect(self, timeout_s: float) -> list[Done[_J, _R]]:
        """Wait until a job has ended, but not longer than *timeout_s*; what was lost is sent again."""
        done: list[Done[_J, _R]] = []
        for future in wait(self._running, timeout=timeout_s, return_when=FIRST_COMPLETED).done:
            sent = self._running.pop(future)
            try:
                answer = future.result()
            except Exception as error:
                if sent.is_here:  # there is no way on which it could have been lost
                    raise
                self._lose(sent, error)
                continue
            bug = BrokenJobError(answer.bug, answer.trace) if answer.bug else None
            done.append(Done(sent.job, answer.report, bug))
        return done

    def _lose(self, sent: _Sent[_J], error: BaseException) -> None:
        import logging  # noqa: PLC0415 - 8 ms that most runs do not need

        self.has_lost = True
        logging.getLogger("pfndispatchcopy").warning("a job was lost, and is done again: %r", error)
        losses = sent.losses + 1
        self._send(self._again(sent.job), self._given if losses < _MOST_LOSSES else None, losses)

    def cancel(self) -> None:
        """Tell the processes to stop what they are doing."""
        if self._processes is not None:
            self._processes.cancel_running()

    def close(self) -> None:
        """Take back what has not begun, wait for what has, and end what was started here; not the caller's executor."""
        for future in self._running:
            future.cancel()
        if self._threads is not None:
            self._threads.shutdown()
        if self._processes is not None:
            self._processes.shutdown()
