"""The standard streams: made whole when they are missing, and written to without ever stopping the copy."""

import errno
import os
import sys
import threading
from queue import SimpleQueue

__all__ = ["ERROR", "INFO", "WARNING", "Outlet", "open_missing_streams", "say"]

# The priorities of syslog, by which the journal of systemd sorts lines.
ERROR, WARNING, INFO = 3, 4, 6


def open_missing_streams() -> frozenset[int]:
    """Open ``/dev/null`` on each of the descriptors 0, 1 and 2 that is closed.

    Otherwise the first file that is opened gets one of these numbers, and whatever is printed later goes
    into a destination.

    Returns:
        The descriptors that were closed.
    """
    missing = set()
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            missing.add(fd)
            # The lowest free number is taken, which is this one: those below are open by now.
            os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)
            os.set_inheritable(fd, True)
    return frozenset(missing)


def _is_journal(fd: int) -> bool:
    """Whether a stream is the one that systemd reads: it names it by device and inode, and that is inherited."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Outlet:
    """A standard stream behind a thread of its own: who writes to it never waits for its reader.

    A reader that has gone, or a full disk behind the stream, ends the output and nothing else. Where the journal of
    systemd reads standard error, each line begins with its priority (``<3>``), which it takes away.

    Args:
        fd: 1 or 2.
        encoding: of the stream; what it cannot express is written as an escape.
    """

    def __init__(self, fd: int, encoding: str | None = None) -> None:
        self.fd = fd
        self.failure: OSError | None = None
        self._stream = sys.stdout if fd == 1 else sys.stderr
        self.encoding = encoding or getattr(self._stream, "encoding", None) or "utf-8"
        self._has_priorities = fd == 2 and "JOURNAL_STREAM" in os.environ and _is_journal(fd)
        self._queue: SimpleQueue[bytes | threading.Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name=f"pfn-outlet-{fd}", daemon=True)
        self._is_started = False
        self._is_closing = False
        self._has_thread = True

    def write(self, text: str, priority: int = INFO) -> int:
        """Queue some text, a line or a part of one."""
        if self._has_priorities:
            text = f"<{priority}>{text}"
        data = text.encode(self.encoding, "backslashreplace")
        if not self._is_started:
            self._start()
        if self._has_thread:
            self._queue.put(data)
        else:
            self._put(data)
        return len(text)

    def _start(self) -> None:
        self._is_started = True
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread left: to wait for the reader is better than to say nothing
            self._has_thread = False

    def flush(self) -> None:
        """Nothing to do: the thread writes as fast as the reader reads."""

    def fileno(self) -> int:
        """The descriptor, for those who ask for the width of the terminal."""
        return self.fd

    def isatty(self) -> bool:
        """Whether a person is looking."""
        return os.isatty(self.fd)

    @property
    def is_behind(self) -> bool:
        """Whether the reader has not yet taken what was written before."""
        return not self._queue.empty()

    def settle(self, patience_s: float) -> None:
        """Wait until everything so far is written, but not longer: before the other stream of a terminal goes on."""
        if self._is_started and self._has_thread and not self._is_closing:
            is_written = threading.Event()
            self._queue.put(is_written)
            is_written.wait(patience_s)

    def close(self, patience_s: float | None = None) -> bool:
        """Wait until everything is written, or for so many seconds; returns whether it is."""
        if not (self._is_started and self._has_thread):
            return True
        if not self._is_closing:
            self._is_closing = True
            self._queue.put(None)
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _drain(self) -> None:
        while (data := self._queue.get()) is not None:
            if isinstance(data, threading.Event):
                data.set()
            else:
                self._put(data)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self.failure is None:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                os.set_blocking(self.fd, True)
            except OSError as error:
                self.failure = error

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody reads any more, which is the reader's good right."""
        return self.failure is not None and self.failure.errno == errno.EPIPE


def say(text: str, fd: int = 1) -> OSError | None:
    """Write a text to a standard stream, and wait until it is read; returns why it was not, if so."""
    out = Outlet(fd)
    out.write(text, INFO if fd == 1 else ERROR)
    out.close()
    return None if out.is_abandoned else out.failure
