"""Executors: where jobs run. All have the interface of :mod:`concurrent.futures`, and any that has it will do.

The serial one runs a job when it is submitted. Threads are the standard library's. Processes are this
module's own, because those of the library are started either by a fork in the middle of a process that has
threads, or by a fresh interpreter each, which takes longer than most batches.
"""

import errno
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pfndispatchcopy.nursery import CANCEL_SIGNAL, is_connected, receive, send

if TYPE_CHECKING:
    import socket

    from pfndispatchcopy.nursery import Nursery

__all__ = ["ForkedExecutor", "SerialExecutor", "count_workers"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
# How long a process may take to end by itself after it was told that there is no more to do.
_ENDING_S = 2.0


def count_workers(executor: Executor) -> int | None:
    """Number of jobs that an executor does at once, as far as it tells; None when it does not."""
    # The pools of the standard library, and loky, which is made like them, have no other name for it.
    for name in ("num_workers", "_max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int):
            return count
    return None


class SerialExecutor(Executor):
    """Runs everything at once, in the thread that submits it."""

    num_workers = 1

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run *fn*, and return a future that is done."""
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future


class ForkedExecutor(Executor):
    """Runs jobs in processes of a nursery; one thread for each of them carries jobs there and results back.

    A process that is killed fails the job that it was doing (``BrokenExecutor``), and takes no other.

    Args:
        nursery: where the processes come from.
        count: of the processes.

    Raises:
        OSError: there is no process to be had, or no thread.
    """

    def __init__(self, nursery: "Nursery", count: int) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], bytes] | None] = SimpleQueue()
        self._workers = [nursery.worker() for _ in range(count)]
        self.num_workers = count
        self._alive = count
        self._pids = {pid for _, pid in self._workers}
        self._is_shut_down = False
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._carry, args=(link, pid), name=f"pfn-carrier-{number}", daemon=True)
            for number, (link, pid) in enumerate(self._workers)
        ]
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            self._disband()
            raise OSError(errno.EAGAIN, str(error)) from error

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a process call *fn*; it and its arguments have to be what pickle takes."""
        if kwargs:
            raise TypeError("a job takes no named arguments")
        future: Future[_T] = Future()
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("no job can be submitted after the shutdown")
            if self._alive:
                self._waiting.put((future, pickle.dumps((fn, args))))
                return future
        future.set_exception(BrokenExecutor("all processes were killed"))
        return future

    def cancel_running(self) -> None:
        """Tell every process to stop what it is doing."""
        if CANCEL_SIGNAL is None:
            return
        with self._lock:
            alive = [pid for link, pid in self._workers if pid in self._pids and is_connected(link)]
        for pid in alive:
            with suppress(OSError):
                os.kill(pid, CANCEL_SIGNAL)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when they are done; one that hangs in the kernel is left behind."""
        del cancel_futures
        with self._lock:
            self._is_shut_down = True
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            if wait:
                thread.join(_ENDING_S)

    def _disband(self) -> None:
        """Not all threads could be started: let the processes go, each by whoever holds its connection."""
        for (link, _), thread in zip(self._workers, self._threads, strict=True):
            self._waiting.put(None)
            if thread.ident is None:
                link.close()

    def _carry(self, link: "socket.socket", pid: int) -> None:
        while (item := self._waiting.get()) is not None:
            future, packed = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                send(link, packed)
                answer = receive(link)
            except OSError:
                answer = None
            if answer is None:
                with self._lock:
                    self._pids.discard(pid)
                self._lose(future)
                break
            is_good, result = pickle.loads(answer)  # noqa: S301 - from a process that was forked from this one
            if is_good:
                future.set_result(result)
            else:
                future.set_exception(result)
        with self._lock:
            self._pids.discard(pid)
        link.close()

    def _lose(self, future: Future[Any]) -> None:
        """A process is gone; when it was the last one, so is whatever waits for one."""
        error = BrokenExecutor("a process that copies was killed")
        with self._lock:
            self._alive -= 1
            orphans: list[Future[Any]] = [future]
            while not self._alive and not self._waiting.empty():
                item = self._waiting.get()
                if item is not None:
                    orphans.append(item[0])
        for each in orphans:
            if each is future or each.set_running_or_notify_cancel():
                each.set_exception(error)
