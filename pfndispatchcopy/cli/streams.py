"""The standard streams: made whole when they are missing, and written to without ever stopping the copy."""

import errno
import os
import sys
import threading
from queue import SimpleQueue

__all__ = ["Outlet", "open_missing_streams"]


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


class Outlet:
    """A standard stream behind a thread of its own: who writes to it never waits for its reader.

    A reader that has gone, or a full disk behind the stream, ends the output and nothing else.

    Args:
        fd: 1 or 2.
        encoding: of the stream; what it cannot express is written as an escape.
    """

    def __init__(self, fd: int, encoding: str | None = None) -> None:
        self.fd = fd
        self.failure: OSError | None = None
        self._stream = sys.stdout if fd == 1 else sys.stderr
        self.encoding = encoding or getattr(self._stream, "encoding", None) or "utf-8"
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name=f"pfn-outlet-{fd}", daemon=True)
        self._is_started = False

    def write(self, text: str) -> int:
        """Queue some text."""
        if not self._is_started:
            self._is_started = True
            self._thread.start()
        self._queue.put(text.encode(self.encoding, "backslashreplace"))
        return len(text)

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

    def close(self) -> None:
        """Wait until everything is written."""
        if self._is_started:
            self._queue.put(None)
            self._thread.join()

    def _drain(self) -> None:
        while (data := self._queue.get()) is not None:
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
