"""Executors: where jobs run. All have the interface of :mod:`concurrent.futures`, and any that has it will do.

The serial one runs a job when it is submitted. Threads are the standard library's. Processes are this
module's own, because those of the library are started either by a fork in the middle of a process that has
threads, or by a fresh interpreter each, which takes longer than most batches.
"""

import os
import pickle
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

__all__ = ["ForkedExecutor", "Nursery", "SerialExecutor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LENGTH = struct.Struct("!Q")
_CANCEL_SIGNAL = getattr(signal, "SIGUSR1", None)
# How long a process may take to end by itself after it was told that there is no more to do.
_ENDING_S = 2.0
# How often a worker looks whether it is an orphan.
_ORPHAN_POLL_S = 0.1


class SerialExecutor(Executor):
    """Runs everything at once, in the thread that submits it."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run *fn*, and return a future that is done."""
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future


class Nursery:
    """A process without threads, forked early, that forks workers when it is asked to.

    It has what its parent had imported when it was opened, and so have the workers.

    Args:
        link: the connection to the nursery.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = threading.Lock()

    @classmethod
    def open(cls, on_cancel: Callable[[], None], closing: Sequence[int] = ()) -> "Nursery | None":
        """Fork the nursery; None where that cannot be had. Call it before there is any thread.

        Args:
            on_cancel: what a worker does when it is told to stop.
            closing: descriptors that neither the nursery nor a worker may keep open.
        """
        if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
            return None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            return None
        if pid == 0:
            try:
                ours.close()
                for fd in closing:
                    os.close(fd)
                _raise_children(theirs, on_cancel)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours)

    def worker(self) -> tuple[socket.socket, int]:
        """Have a worker forked; returns the connection to it, and its process number.

        Raises:
            OSError: there is no process to be had.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._lock:
                socket.send_fds(self._link, [b"f"], [theirs.fileno()])
            theirs.close()
            pid = int.from_bytes(_receive_exactly(ours, 4), "big")
        except BaseException:
            ours.close()
            raise
        return ours, pid

    def close(self) -> None:
        """No more workers; those there are go on until their own connection ends."""
        self._link.close()


def _raise_children(link: socket.socket, on_cancel: Callable[[], None]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        message, fds, _, _ = socket.recv_fds(link, 1, 1)
        if not message or not fds:
            return
        if os.fork() == 0:
            link.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if _CANCEL_SIGNAL is not None:
                signal.signal(_CANCEL_SIGNAL, lambda *_: on_cancel())
            threading.Thread(target=_die_with, args=(os.getppid(),), name="pfn-orphan", daemon=True).start()
            with suppress(OSError):
                _serve(socket.socket(fileno=fds[0]))
            os._exit(0)
        os.close(fds[0])


def _die_with(parent: int) -> None:
    """End this process when its parent has: nobody wants its work any more, and nobody else would stop it."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_POLL_S)
    os._exit(0)


def _serve(link: socket.socket) -> None:
    """Do what comes over the connection until it ends."""
    link.sendall(os.getpid().to_bytes(4, "big"))
    while True:
        packed = _receive(link)
        if packed is None:
            return
        # Not from strangers: the bytes come from the process that this one was forked from.
        call, arguments = pickle.loads(packed)  # noqa: S301
        try:
            answer = pickle.dumps((True, call(*arguments)))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        _send(link, answer)


def _send(link: socket.socket, data: bytes) -> None:
    link.sendall(_LENGTH.pack(len(data)) + data)


def _receive(link: socket.socket) -> bytes | None:
    """The next message; None at the end of the connection."""
    try:
        size = _LENGTH.unpack(_receive_exactly(link, _LENGTH.size))[0]
        return _receive_exactly(link, size)
    except EOFError:
        return None


def _receive_exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = link.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


class ForkedExecutor(Executor):
    """Runs jobs in processes of a nursery; one thread for each of them carries jobs there and results back.

    A process that is killed fails the job that it was doing (``BrokenExecutor``), and takes no other.

    Args:
        nursery: where the processes come from.
        count: of the processes.

    Raises:
        OSError: there is no process to be had.
    """

    def __init__(self, nursery: Nursery, count: int) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], bytes] | None] = SimpleQueue()
        self._workers = [nursery.worker() for _ in range(count)]
        self._alive = count
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._carry, args=(link,), name=f"pfn-carrier-{number}", daemon=True)
            for number, (link, _) in enumerate(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a process call *fn*; it and its arguments have to be what pickle takes."""
        if kwargs:
            raise TypeError("a job takes no named arguments")
        future: Future[_T] = Future()
        with self._lock:
            if self._alive:
                self._waiting.put((future, pickle.dumps((fn, args))))
                return future
        future.set_exception(BrokenExecutor("all processes were killed"))
        return future

    def cancel_running(self) -> None:
        """Tell every process to stop what it is doing."""
        if _CANCEL_SIGNAL is None:
            return
        for _, pid in self._workers:
            with suppress(OSError):
                os.kill(pid, _CANCEL_SIGNAL)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when they are done; one that hangs in the kernel is left behind."""
        del cancel_futures
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            if wait:
                thread.join(_ENDING_S)

    def _carry(self, link: socket.socket) -> None:
        while (item := self._waiting.get()) is not None:
            future, packed = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                _send(link, packed)
                answer = _receive(link)
            except OSError:
                answer = None
            if answer is None:
                self._lose(future)
                break
            is_good, result = pickle.loads(answer)  # noqa: S301 - from a process that was forked from this one
            if is_good:
                future.set_result(result)
            else:
                future.set_exception(result)
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
            each.set_exception(error)
