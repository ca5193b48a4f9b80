"""The source: opened once, read once, and known to be the same file at the end as at the beginning."""

import os
import select
import stat
import threading
from time import monotonic
from typing import NamedTuple

from pfndispatchcopy.engine.lanes import OperationWatch
from pfndispatchcopy.errors import (
    MismatchError,
    OperationCancelledError,
    PfnDispatchCopyError,
    RefusedError,
    SourceChangedError,
)
from pfndispatchcopy.fileio.readback import open_past_cache, read_to_end
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import STANDARD_INPUT, Identity, Notice, ReadBack, SourceSnapshot
from pfndispatchcopy.notices import errno_name, failure_notice

__all__ = [
    "BandwidthLimit",
    "SourceEnd",
    "SourceFailureError",
    "SourceFile",
    "SourceName",
    "SourceOutcome",
]


class SourceFailureError(PfnDispatchCopyError):
    """The source failed, and with it every destination that was still waiting for it.

    Attributes:
        notice: what happened, said once for all destinations.
        is_mismatch: whether it gave different bytes when it was read a second time.
    """

    def __init__(self, notice: Notice, *, is_mismatch: bool = False) -> None:
        super().__init__(notice.message)
        self.notice = notice
        self.is_mismatch = is_mismatch


class SourceEnd(NamedTuple):
    """What reaching the end of the source tells.

    Attributes:
        size: bytes read.
        digest: the one that copies are compared by.
    """

    size: int
    digest: str


# How often a wait for standard input looks whether it was cancelled.
_CANCEL_POLL_S = 0.1


class SourceOutcome:
    """How reading the source ended, for those who wait for it. Pessimistic until somebody says otherwise."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._end: SourceEnd | None = None
        self._is_proven = False
        self._cause: BaseException | None = None

    def set_read(self, end: SourceEnd) -> None:
        """The source was read to its end and did not change."""
        with self._condition:
            self._end = end
            self._condition.notify_all()

    def set_proven(self) -> None:
        """Nothing more is to be known about the source: copies of it may get their final names."""
        with self._condition:
            self._is_proven = True
            self._condition.notify_all()

    def fail(self, cause: BaseException) -> None:
        """The source is not to be trusted; the first cause counts, and only before it was proven."""
        with self._condition:
            if self._cause is None and not self._is_proven:
                self._cause = cause
            self._condition.notify_all()

    def wait_read(self) -> SourceEnd:
        """Wait for the end of the source.

        Raises:
            BaseException: the cause of its failure.
        """
        with self._condition:
            while self._end is None and self._cause is None:
                self._condition.wait()
            if self._end is None:
                assert self._cause is not None
                raise self._cause
            return self._end

    def wait_proven(self) -> None:
        """Wait until copies may get their final names.

        Raises:
            BaseException: the cause of its failure.
        """
        with self._condition:
            while not self._is_proven and self._cause is None:
                self._condition.wait()
            if not self._is_proven:
                assert self._cause is not None
                raise self._cause


class BandwidthLimit:
    """Keeps reading under a number of bytes a second, that of all who share it together.

    Args:
        rate: bytes a second; None for no limit.
        cancel: ends a wait.
    """

    def __init__(self, rate: int | None, cancel: threading.Event) -> None:
        self._rate = rate
        self._cancel = cancel
        self._due = monotonic()
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self._rate is not None

    def pace(self, count: int) -> None:
        """Wait for as long as *count* bytes may take. Time that was not used is not saved up."""
        if self._rate is None:
            return
        with self._lock:
            now = monotonic()
            self._due = due = max(self._due, now) + count / self._rate
        self._cancel.wait(max(0.0, due - now))


class SourceName(NamedTuple):
    """Where a source in a tree is: a name in an open folder, and whether the name may be a link to it."""

    folder: FolderHandle
    name: str
    follow: bool


class SourceFile:
    """One open source.

    Attributes:
        path: as the caller spelled it; ``-`` is standard input.
        snapshot: what it was when it was opened.
        position: bytes read so far.
    """

    def __init__(
        self,
        system: System,
        path: str,
        watch: OperationWatch,
        cancel: threading.Event,
        below: SourceName | None = None,
    ) -> None:
        """Open it: by its path, or *below* a folder that is open already; *path* is then for messages only.

        Raises:
            RefusedError: it is no regular file, or cannot be read.
        """
        self.path = path
        self.watch = watch
        self.position = 0
        self._system = system
        self._cancel = cancel
        self._below = below
        try:
            with watch("open"):
                self._fd = self._open()
        except OSError as error:
            raise RefusedError(
                f"cannot open the source: {error.strerror}",
                path=path,
                operation="open",
                errno=errno_name(error),
            ) from error
        try:
            self.snapshot = self._take_snapshot()
        except BaseException:
            self.close()
            raise

    def opened_again(self, watch: OperationWatch) -> "SourceFile":
        """Open the same source once more, at its beginning; see :meth:`__init__`."""
        return SourceFile(self._system, self.path, watch, self._cancel, self._below)

    @property
    def is_stream(self) -> bool:
        """Whether it can be read only once."""
        return self.path == STANDARD_INPUT

    def _open(self) -> int:
        if self.is_stream:
            fd = os.dup(0)
            os.set_blocking(fd, True)
            return fd
        if self._below is not None:
            return self._system.open_source_name(self._below.folder, self._below.name, follow=self._below.follow)
        return self._system.open_source(self.path)

    def _status_by_name(self) -> os.stat_result:
        if self._below is None:
            return self._system.status(self.path)
        folder, name, follow = self._below
        return (
            self._system.followed_status_of_name(folder, name) if follow else self._system.status_of_name(folder, name)
        )

    def _take_snapshot(self) -> SourceSnapshot:
        status = self._system.status_of_file(self._fd)
        identity = Identity(status.st_dev, status.st_ino)
        if self.is_stream:
            if stat.S_ISDIR(status.st_mode):
                self._refuse("standard input is a folder")
            return SourceSnapshot(identity, None)
        if stat.S_ISDIR(status.st_mode):
            self._refuse("the source is a folder; a file is needed")
        if not stat.S_ISREG(status.st_mode):
            self._refuse("the source is no regular file but a FIFO, a socket or a device")
        self._system.avoid_cache(self._fd)
        self._system.advise_sequential(self._fd)
        return SourceSnapshot(
            identity=identity,
            size=status.st_size,
            mode=stat.S_IMODE(status.st_mode),
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            atime_ns=status.st_atime_ns,
            owner=status.st_uid,
            group=status.st_gid,
            xattrs=self._system.xattrs(self._fd),
        )

    def _refuse(self, reason: str) -> None:
        raise RefusedError(reason, path=self.path, operation="open")

    def fill(self, buffer: memoryview) -> int:
        """Read until *buffer* is full or the source ends; returns the bytes read.

        Raises:
            OSError: a read failed.
            SourceChangedError: it has grown.
        """
        count = 0
        while count < len(buffer):
            with self.watch("read", self.position):
                if self.is_stream:
                    self._wait_for_input()
                got = self._system.read(self._fd, buffer[count:])
            if got == 0:
                break
            count += got
            self.position += got
        size = self.snapshot.size
        if size is not None and self.position > size:
            raise SourceChangedError(f"the source has grown beyond its {size} bytes while it was read")
        return count

    def _wait_for_input(self) -> None:
        """Wait until a stream has something to give, and hear a cancel meanwhile.

        Raises:
            OperationCancelledError: it came.
        """
        if os.name != "posix":  # there select knows sockets only
            return
        while not select.select([self._fd], [], [], _CANCEL_POLL_S)[0]:
            if self._cancel.is_set():
                raise OperationCancelledError("cancelled while waiting for standard input")

    def require_unchanged(self) -> None:
        """Make sure, at the end of reading, that this is the file that was opened, as it was then.

        Raises:
            SourceChangedError: size, times or identity differ.
        """
        if self.is_stream:
            return
        before = self.snapshot
        if self.position != before.size:
            raise SourceChangedError(
                f"the source ended after {self.position} of its {before.size} bytes while it was read"
            )
        with self.watch("stat"):
            after = self._system.status_of_file(self._fd)
            try:
                by_name = self._status_by_name()
            except FileNotFoundError:
                raise SourceChangedError("the source was removed or renamed while it was read") from None
        if Identity(by_name.st_dev, by_name.st_ino) != before.identity:
            raise SourceChangedError("another file was put in the place of the source while it was read")
        if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
            before.size,
            before.mtime_ns,
            before.ctime_ns,
        ):
            raise SourceChangedError("the source was changed while it was read")

    def rewind(self) -> None:
        """Go back to the beginning, to read it again."""
        with self.watch("seek"):
            self._system.rewind(self._fd)
        self.position = 0

    def failure(self, error: BaseException) -> SourceFailureError | OperationCancelledError:
        """Put what went wrong with the source into words, once for all destinations."""
        if isinstance(error, SourceFailureError | OperationCancelledError):
            return error
        is_io = isinstance(error, OSError)
        notice = failure_notice(
            error,
            path=self.path,
            operation=self.watch.operation,
            offset=self.watch.offset if is_io else None,
            aftermath="No destination got this file.",
        )
        return SourceFailureError(notice)

    def prove(self, end: SourceEnd, algorithm: str, buffer: memoryview) -> ReadBack:
        """Read the source a second time, past the page cache, and compare; returns how it was read.

        Raises:
            SourceFailureError: it cannot be read again, or gave different bytes.
            OperationCancelledError: the run was cancelled.
        """
        try:
            digest, way = self._read_again(algorithm, buffer)
        except BaseException as error:
            raise self.failure(error) from error
        if digest != end.digest:
            notice = failure_notice(
                MismatchError(f"the second reading gave {algorithm}:{digest}, the first one {algorithm}:{end.digest}"),
                path=self.path,
                operation="verify-source",
                aftermath="No copy of it can be trusted: the card, its reader or the cable gives changing bytes.",
            )
            raise SourceFailureError(notice, is_mismatch=True)
        return way

    def _read_again(self, algorithm: str, buffer: memoryview) -> tuple[str, ReadBack]:
        self.rewind()
        size = self.snapshot.size or 0
        with self.watch("open for the second reading"):
            fd, way = open_past_cache(self._system, self._fd, size, is_memory=False, open_direct=self._open_direct)
        calculator = HashCalculator([algorithm])
        try:
            views = read_to_end(self._system, fd, buffer)
            while True:
                with self.watch("read again", self.position):
                    view = next(views, None)
                if view is None:
                    break
                if self._cancel.is_set():
                    raise OperationCancelledError("cancelled while the source was read again")
                calculator.update(view)
                self.position += len(view)
        finally:
            if fd != self._fd:
                self._system.close(fd)
        return calculator.hexdigests()[algorithm], way

    def _open_direct(self) -> int:
        if self._below is not None:
            fd = self._system.open_direct(self._below.folder, self._below.name)
        else:
            folder = self._system.open_folder(os.path.dirname(os.path.abspath(self.path)))
            try:
                fd = self._system.open_direct(folder, os.path.basename(self.path))
            finally:
                self._system.close_folder(folder)
        status = self._system.status_of_file(fd)
        if Identity(status.st_dev, status.st_ino) != self.snapshot.identity:
            self._system.close(fd)
            raise SourceChangedError("another file was put in the place of the source while it was read")
        return fd

    def close(self) -> None:
        """Close it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._system.close(fd)
