"""The two processes of the command, and the pipes between them.

A thread that hangs in the kernel cannot be ended, and a process cannot end before its threads. So a
worker process does the copying, and the front, which the shell waits for, goes home when it has heard
the end, whatever became of the worker. The worker is forked first of all: before there is any thread,
and so that it loads the engine while the front reads the arguments.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

__all__ = ["WorkerProcess", "is_started_by_mpi", "start_worker"]

_FORWARDED = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)


class WorkerProcess:
    """The front's end of the worker.

    Attributes:
        event_fd: what the worker tells, in JSON lines.
        control_fd: what the worker is told: the request, then the numbers of signals. Its end ends the worker.
        pid: of the process; 0 where it is only a thread.
    """

    def __init__(self, event_fd: int, control_fd: int, pid: int) -> None:
        self.event_fd = event_fd
        self.control_fd = control_fd
        self.pid = pid

    def send(self, data: bytes) -> None:
        """Tell the worker something; one that has gone hears nothing."""
        view = memoryview(data)
        with suppress(OSError):
            while view:
                view = view[os.write(self.control_fd, view) :]

    def kill(self) -> None:
        """End it at once, with whatever it is doing."""
        if self.pid:
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Whether it is no more; never waits."""
        if not self.pid:
            return True
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def wait_signal(self) -> int | None:
        """Wait for its end; returns the signal that killed it, or None."""
        if not self.pid:
            return None
        try:
            status = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:  # whoever started this command has told the system to forget children
            return None
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def is_started_by_mpi() -> bool:
    """Whether this process is a rank of MPI already: it must not be forked then."""
    return "mpi4py.MPI" in sys.modules


def start_worker(serve: Callable[[int, int], None]) -> WorkerProcess:
    """Start the worker.

    Args:
        serve: what it runs, with the pipe that it writes events to and the pipe that it is told through.

    Raises:
        OSError: the system has no process to give.
    """
    event_read, event_write = os.pipe()
    control_read, control_write = os.pipe()
    # Windows, and MPI: a thread; one that hangs then holds the command.
    if not hasattr(os, "fork") or is_started_by_mpi():
        import threading  # noqa: PLC0415

        threading.Thread(target=serve, args=(event_write, control_read), name="pfn-worker", daemon=True).start()
        return WorkerProcess(event_read, control_write, 0)
    # A signal that arrives before the worker has said that it ignores it waits for a moment.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        pid = os.fork()
        if pid == 0:
            # From here on nothing may return to the caller: this is another process.
            try:
                for number in _FORWARDED:
                    signal.signal(number, signal.SIG_IGN)  # the front hears them, and says what is to be done
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                os.close(event_read)
                os.close(control_write)
                for fd in (1, 2):
                    put_null_on(fd, os.O_WRONLY)
                serve(event_write, control_read)
            finally:
                os._exit(1)  # without Python's ending, which would wait for threads
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(event_write)
    os.close(control_read)
    return WorkerProcess(event_read, control_write, pid)


def put_null_on(fd: int, flags: int) -> None:
    """Put ``/dev/null`` in the place of a standard stream."""
    null = os.open(os.devnull, flags)
    os.dup2(null, fd)
    os.close(null)
