"""Sends jobs to where they are done, and takes back what came of them, or that it was lost on the way.

There are three places: an executor that the caller gave, processes that were forked for it, and threads of this
process. A job that is lost with a process, a worker or a connection is done again: by the caller's executor where
there is one, and in this process when that has lost it several times. So a job may be done twice, even at the same
time, and has to be one that finds what is there already. What goes wrong *in* a job is not lost: a bug stays a bug.
A worker that cannot do jobs of this run says so (:class:`UnfitWorkerError`), and its job goes to another one.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from pfndispatchcopy.errors import NoThreadError, PfnDispatchCopyError
from pfndispatchcopy.executors import ForkedExecutor, count_workers
from pfndispatchcopy.notices import reason_of
from pfndispatchcopy.nursery import Nursery

__all__ = ["Answer", "BrokenJobError", "Dispatcher", "Done", "UnfitWorkerError", "attempt"]

_J = TypeVar("_J")
_R = TypeVar("_R")
# How often a caller's executor may lose one job. Dask gives a job up by itself after three workers.
_MOST_LOSSES = 3
# For each worker of a caller's executor: one job that it does, and one that waits, so that it is never idle.
_JOBS_FOR_A_WORKER = 2
# What an executor is taken to have that does not tell: a few jobs too many cost it nothing.
_WORKERS_OF_THE_SILENT = 32
# After a cancel, how long workers elsewhere may take to say what they have done; then they are not waited for.
_CANCEL_PATIENCE_S = 10.0


class BrokenJobError(PfnDispatchCopyError):
    """A job ended by a bug in it.

    Attributes:
        trace: the traceback, of wherever that was.
    """

    def __init__(self, bug: str, trace: str) -> None:
        super().__init__(bug)
        self.trace = trace


class UnfitWorkerError(PfnDispatchCopyError):
    """Whoever was asked cannot do this job, and another one may; the message says where that was, and why."""


class Answer(NamedTuple, Generic[_R]):
    """What a job came to: its report, the bug that ended it with its traceback, or why it was not begun at all."""

    report: _R | None
    bug: str = ""
    trace: str = ""
    unfit: str = ""


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


def attempt(call: Callable[[_J], _R], job: _J) -> Answer[_R]:
    """Do a job, wherever this is: its bugs are an answer, so that every other failure is one of the way."""
    try:
        return Answer(call(job))
    except UnfitWorkerError as error:
        return Answer(None, unfit=str(error))
    except Exception as error:  # noqa: BLE001 - handed back by the dispatcher
        import traceback  # noqa: PLC0415 - 5 ms that a run without bugs does not need

        return Answer(None, reason_of(error), "".join(traceback.format_exception(error)))


class Dispatcher(Generic[_J, _R]):
    """Keeps jobs in flight.

    Args:
        call: does a job; a function of a module, so that it can be sent elsewhere.
        again: what a job is when it is done again, after it may have been done in part.
        threads: jobs at once in this process.
        given: the caller's executor; every job goes there.
        nursery: where processes come from, for the jobs that go to one.
        processes: how many; 0 for none.
        patience_s: how long the caller's executor may be without any worker; 0 is for ever.

    Attributes:
        has_lost: whether a job was lost on the way, which may have left something behind.
        unfit: what workers said that could not do jobs of this run, and whether there were none left.
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
        patience_s: float = 0.0,
    ) -> None:
        self._call = call
        self._again = again
        self._at_once = threads
        self._given = given
        self._threads: ThreadPoolExecutor | None = None
        self._processes: ForkedExecutor | None = None
        self._running: dict[Future[Answer[_R]], _Sent[_J]] = {}
        if given is None and nursery is not None and processes:
            with suppress(OSError):  # this process does it all, then
                self._processes = ForkedExecutor(nursery, processes)
        self._beside = processes
        self._cancelled_at: float | None = None
        self._patience_s = patience_s
        self._deserted_at: float | None = None
        self.has_lost = False
        self.unfit: list[str] = []

    @property
    def ahead(self) -> int:
        """Jobs that may wait beside those that run, so that nobody is ever idle."""
        if self._given is not None:
            workers = count_workers(self._given)
            workers = _WORKERS_OF_THE_SILENT if workers is None else workers or self._at_once
            return max(0, _JOBS_FOR_A_WORKER * workers - self._at_once)
        return self._beside if self._processes is not None else 0

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

    def submit_again(self, job: _J) -> None:
        """Send a job that was not done as a whole."""
        self._send(self._again(job), self._given, 0)

    def _send(self, job: _J, executor: Executor | None, losses: int) -> None:
        if executor is not None:
            try:
                future = executor.submit(attempt, self._call, job)
            except RuntimeError:  # broken, or shut down: it takes no more jobs
                self.has_lost = True
                job = self._again(job)
            else:
                self._running[future] = _Sent(job, losses, is_here=False)
                return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="pfn-job")
        try:
            here = self._threads.submit(attempt, self._call, job)
        except RuntimeError as error:
            raise NoThreadError(f"the system has no thread left: {error}") from error
        self._running[here] = _Sent(job, losses, is_here=True)

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
            if answer.unfit:
                self.unfit.append(answer.unfit)
                self._resend(sent)
                continue
            bug = BrokenJobError(answer.bug, answer.trace) if answer.bug else None
            done.append(Done(sent.job, answer.report, bug))
        if self._given is not None and not done:
            self._look_for_workers(self._given)
        return done

    def _look_for_workers(self, given: Executor) -> None:
        """Do the rest here, when the last worker has been gone for long: an engine would wait for another for ever."""
        now = monotonic()
        if count_workers(given) != 0:
            self._deserted_at = None
            return
        self._deserted_at = self._deserted_at or now
        if self._patience_s and now - self._deserted_at >= self._patience_s:
            self.unfit.append(f"the executor has had no worker for {self._patience_s:g} s: this process goes on alone")
            self._take_back()
            self._given = None
            self.has_lost = True

    def _lose(self, sent: _Sent[_J], error: BaseException) -> None:
        import logging  # noqa: PLC0415 - 8 ms that most runs do not need

        self.has_lost = True
        logging.getLogger("pfndispatchcopy").warning("a job was lost, and is done again: %r", error)
        self._resend(sent)

    def _resend(self, sent: _Sent[_J]) -> None:
        losses = sent.losses + 1
        is_worth_it = losses < _MOST_LOSSES and self._cancelled_at is None
        self._send(self._again(sent.job), self._given if is_worth_it else None, losses)

    def cancel(self) -> None:
        """Tell the processes to stop what they are doing; to be called again until nothing is in flight.

        Workers elsewhere learn of it by other ways. What they do not give back in time is taken back: this process,
        which has been told to stop, says of it that it was not done.
        """
        if self._processes is not None:
            self._processes.cancel_running()
        if self._cancelled_at is None:
            self._cancelled_at = monotonic()
        if monotonic() - self._cancelled_at < _CANCEL_PATIENCE_S:
            return
        if self._given is not None:
            self._take_back()

    def _take_back(self) -> None:
        """Do here what was sent elsewhere. Whoever has it may go on with it: what is done twice is not made twice."""
        for future, sent in list(self._running.items()):
            if not sent.is_here:
                future.cancel()
                del self._running[future]
                self._send(self._again(sent.job), None, sent.losses)

    def close(self) -> None:
        """Take back what has not begun, wait for what has, and end what was started here; not the caller's executor."""
        for future in self._running:
            future.cancel()
        if self._threads is not None:
            self._threads.shutdown()
        if self._processes is not None:
            self._processes.shutdown()
