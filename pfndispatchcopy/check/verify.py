"""The job of a check: some files, read past the page cache and held against what lists say of them.

A job can be pickled; it is done by :func:`check_files`, in whatever thread or process that is called. What fails in
it is in its report. All files of a batch are opened first, and the medium is asked for all of them together; then
each is read whole. A large file is read in blocks.
"""

import errno
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from pfndispatchcopy.check.statements import Expectation, expectation, unpack
from pfndispatchcopy.check.survey import LARGEST_SMALL_FILE, Piece, kind_in_words
from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.lanes import Pulse, Supervisor
from pfndispatchcopy.engine.source import BandwidthLimit
from pfndispatchcopy.errors import OperationCancelledError, SourceChangedError
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.readback import open_past_cache
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import LISTED_ALGORITHMS, digests_of
from pfndispatchcopy.model import Identity, Notice, Phase, ReadBack, State
from pfndispatchcopy.notices import failure_notice
from pfndispatchcopy.printable import printable
from pfndispatchcopy.progress import ProgressTracker

__all__ = [
    "CheckJob",
    "CheckReport",
    "CheckRoot",
    "CheckSetup",
    "Checker",
    "Verdict",
    "Verified",
    "cancel_everything",
    "check_files",
]

_ALIGNMENT = 4096
# Some file systems take the flag for direct reads and refuse the reads themselves.
_NO_DIRECT_READS = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
# After one of these, what comes later would fail as well.
_GONE = frozenset({"ENODEV", "ENXIO", "ENOTCONN", "ESTALE", "ESHUTDOWN"})
_OPEN_FOLDERS = 64
# Of a large file, so much is read at once, in bytes (benchmarks/exp_check.py).
_BLOCK = 1 << 20
# Behind the reader the cache is emptied in pieces of this size: pages that are used again and again are quicker to
# fill than new ones (1.3 times the rate, benchmarks/exp_check.py).
_FORGOTTEN_AT_ONCE = 32 << 20


_Digests = tuple[tuple[str, tuple[str, ...]], ...]


class CheckRoot(NamedTuple):
    """A folder whose files are checked.

    Attributes:
        number: its place among the arguments.
        label: the argument as it was spelled.
        shown: path of the folder, for messages.
        path: the same, absolute: another process may be elsewhere.
        identity: of the folder when its lists were read.
        is_memory: whether the medium is memory.
    """

    number: int
    label: str
    shown: str
    path: str
    identity: Identity
    is_memory: bool


class CheckSetup(NamedTuple):
    """What all jobs of a run have in common.

    Attributes:
        key: by which a process knows the run.
        stall_timeout_s: how long one operation may take, in seconds; 0 is for ever.
        bandwidth_limit: bytes a second, or None.
        wants_files: whether good files are reported one by one.
    """

    key: str
    stall_timeout_s: float
    bandwidth_limit: int | None
    wants_files: bool


class CheckJob(NamedTuple):
    """Files of one root, in the order in which they are to be read."""

    setup: CheckSetup
    root: CheckRoot
    pieces: tuple[Piece, ...]

    @property
    def files(self) -> int:
        """How many."""
        return sum([piece.files for piece in self.pieces])

    @property
    def size(self) -> int:
        """Of all of them, in bytes, as they are listed."""
        return sum([piece.size for piece in self.pieces])


class Verdict(NamedTuple):
    """A file that is not as it has to be.

    Attributes:
        path: below the root.
        size: in bytes, as found.
        state: ``mismatch``; ``failed`` for what could not be compared; ``copied`` for what is equal, but was only
            compared in the page cache.
        read_back: how it was read.
        hashes: what was found, by name of the digest.
        notice: what is wrong.
        is_missing: whether it is not there any more.
        is_link: whether a link is where a list has a file: no honest list leads there.
    """

    path: str
    size: int
    state: State
    read_back: ReadBack
    hashes: dict[str, str]
    notice: Notice
    is_missing: bool = False
    is_link: bool = False


class Verified(NamedTuple):
    """A good file: path below the root, size in bytes, how it was read, digests by name."""

    path: str
    size: int
    read_back: ReadBack
    hashes: dict[str, str]


class CheckReport(NamedTuple):
    """What became of a job.

    Attributes:
        verified: number of good files.
        bytes_verified: of them.
        verdicts: on all files that are not good.
        files: the good ones, where they are wanted.
        gone: why nothing more can be read from this root, or None.
        untouched: files that were not checked any more.
        has_given_up: whether a thread was left behind in the kernel.
        is_counted: whether the progress of the bytes is known already.
    """

    verified: int
    bytes_verified: int
    verdicts: tuple[Verdict, ...]
    files: tuple[Verified, ...]
    gone: Notice | None
    untouched: int
    has_given_up: bool
    is_counted: bool


_checkers: dict[str, "Checker"] = {}
_cancel = threading.Event()


def check_files(job: CheckJob) -> CheckReport:
    """Do a job, in whatever thread or process this is."""
    checker = _checkers.get(job.setup.key)
    if checker is None:
        checker = Checker(job.setup, native_system(), _cancel)
        checker.open()
    return checker.run(job)


def cancel_everything() -> None:
    """Stop what this process is doing, for checkers that were made by :func:`check_files`."""
    _cancel.set()


class _Bench:
    """A lane, and the buffer that its files are read into."""

    def __init__(self, supervisor: Supervisor, number: int) -> None:
        self.supervisor = supervisor
        self.lane = supervisor.lane(f"pfn-check-{number}")
        self.buffer = page_aligned_buffer(LARGEST_SMALL_FILE + _ALIGNMENT)


class Checker:
    """Does the jobs of one run, in one process.

    Args:
        setup: what all jobs have in common.
        system: the calls.
        cancel: stops everything.
        trackers: told of the progress, one for each root; empty where nobody asks.
    """

    def __init__(
        self,
        setup: CheckSetup,
        system: System,
        cancel: threading.Event,
        *,
        trackers: Sequence[ProgressTracker] = (),
    ) -> None:
        self.setup = setup
        self.system = system
        self.cancel = cancel
        self.trackers = trackers
        self.limit = BandwidthLimit(setup.bandwidth_limit, cancel)
        self._benches: list[_Bench] = []
        self._free: list[_Bench] = []
        self._lock = threading.Lock()

    def open(self) -> None:
        """Be there for :func:`check_files` in this process."""
        _checkers[self.setup.key] = self

    def close(self) -> None:
        """End all threads that can be ended."""
        _checkers.pop(self.setup.key, None)
        for bench in self._benches:
            bench.supervisor.close()

    @property
    def has_given_up(self) -> bool:
        """Whether a thread was left behind in the kernel."""
        return any(bench.supervisor.has_given_up for bench in self._benches)

    def run(self, job: CheckJob) -> CheckReport:
        """Do one job; from several threads at once, if that is wished."""
        bench = self._take_bench()
        pulse = Pulse(bench.supervisor.clock)
        reading = _Reading(self, job, pulse, bench.buffer)
        task = bench.lane.submit(reading.run, pulse)
        bench.supervisor.wait([task])
        if task.hung_watch is not None:
            # What it holds stays its own: the buffer, too.
            assert task.error is not None
            reading.give_up(task.error)
            bench.lane = bench.supervisor.lane("pfn-check")
            bench.buffer = page_aligned_buffer(len(bench.buffer))
        elif task.error is not None:
            raise task.error
        with self._lock:
            self._free.append(bench)
        return reading.report(has_given_up=bench.supervisor.has_given_up)

    def _take_bench(self) -> _Bench:
        with self._lock:
            if self._free:
                return self._free.pop()
            number = len(self._benches)
        bench = _Bench(Supervisor(self.setup.stall_timeout_s, self.cancel), number)
        with self._lock:
            self._benches.append(bench)
        return bench


class _Open:
    """A file of the job that is open."""

    __slots__ = ("expected", "fd", "folder", "is_memory", "name", "path", "size", "used", "way")

    def __init__(
        self, folder: FolderHandle, path: str, name: str, fd: int, size: int, expected: Expectation, *, is_memory: bool
    ) -> None:
        self.folder = folder
        self.path = path
        self.name = name
        self.fd = self.used = fd
        self.size = size
        self.expected = expected
        self.is_memory = is_memory
        self.way = ReadBack.MEMORY if is_memory else ReadBack.CACHED


class _Reading:
    """One job, in a lane."""

    def __init__(self, checker: Checker, job: CheckJob, pulse: Pulse, buffer: memoryview) -> None:
        self.is_given_up = False
        self._checker = checker
        self._system = checker.system
        self._job = job
        self._root = job.root
        self._pulse = pulse
        self._buffer = buffer
        self._wants_files = checker.setup.wants_files
        self._tracker = checker.trackers[job.root.number] if checker.trackers else None
        self._at = ""  # what is being read, for a notice when it hangs
        self._counted = 0
        self._verified = 0
        self._bytes_verified = 0
        self._verdicts: list[Verdict] = []
        self._files: list[Verified] = []
        self._gone: Notice | None = None

    def report(self, *, has_given_up: bool) -> CheckReport:
        """Say what became of it."""
        if self._tracker is not None:
            self._tracker.advance(0, self._job.size - self._counted, Phase.VERIFY)
        return CheckReport(
            self._verified,
            self._bytes_verified,
            tuple(self._verdicts),
            tuple(self._files),
            self._gone,
            self._job.files - self._verified - len(self._verdicts),
            has_given_up,
            self._tracker is not None,
        )

    def give_up(self, error: BaseException) -> None:
        """It hangs in the kernel: say so. What the lane does when it comes back counts no more."""
        self.is_given_up = True
        if not isinstance(error, OperationCancelledError):
            self._gone = self._notice(self._shown(self._at), error, "The rest was not checked.")

    # -- the loop -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read all files of the job."""
        pulse, system = self._pulse, self._system
        pulse.is_busy = True
        folders: OpenFolders | None = None
        opened: list[_Open] = []
        try:
            self._begin("open the folder", "")
            root = system.open_folder(self._root.path)
            folders = OpenFolders(system, root)
            if root.identity != self._root.identity:
                raise OSError(errno.ESTALE, "the path leads to another folder than at the start")
            for piece in self._job.pieces:
                self._open_piece(folders, piece, opened)
            self._read_all(opened)
        except OSError as error:  # of the root; those of a file are its own
            self._gone = self._notice(self._root.shown, error, "Nothing more was checked.")
        finally:
            for file in opened:
                self._close(file)
            if folders is not None:
                folders.close()
                with suppress(OSError):
                    system.close_folder(folders.root)
            pulse.is_busy = False

    def _is_over(self) -> bool:
        return self.is_given_up or self._gone is not None or self._checker.cancel.is_set()

    def _begin(self, operation: str, path: str) -> None:
        pulse = self._pulse
        pulse.operation = operation
        pulse.beats += 1
        self._at = path

    def _open_piece(self, folders: OpenFolders, piece: Piece, opened: list[_Open]) -> None:
        """Open the files of a piece, drop what the cache has of them, and leave out those that are bad already."""
        system, pulse, prefix = self._system, self._pulse, f"{piece.folder}/" if piece.folder else ""
        self._begin("open the folder", piece.folder)
        found = unpack(piece.packed)
        try:
            folders.trim(_OPEN_FOLDERS, keep=piece.folder)
            folder = folders.get(piece.folder)
        except OSError as error:
            for name, _ in found:
                self._cannot_read(f"{prefix}{name}", error, is_link=error.errno in (errno.ENOTDIR, errno.ELOOP))
            return
        device = self._root.identity.device
        pulse.operation = "open"
        is_cancelled = self._checker.cancel.is_set
        for name, facts in found:
            if is_cancelled() or self.is_given_up or self._gone is not None:
                return
            path = self._at = f"{prefix}{name}"
            pulse.beats += 1
            try:
                fd = system.open_source_name(folder, name, follow=False)
            except OSError as error:
                self._cannot_read(path, error, is_link=error.errno == errno.ELOOP)
                continue
            try:
                status = system.status_of_file(fd)
            except OSError as error:
                system.close(fd)
                self._cannot_read(path, error)
                continue
            size, expected = status.st_size, expectation(facts)
            is_memory = self._root.is_memory and status.st_dev == device
            file = _Open(folder, path, name, fd, size, expected, is_memory=is_memory)
            sizes, digests, _ = expected
            is_plain = sizes == (size,) and digests and stat.S_ISREG(status.st_mode)
            if not is_plain and self._is_bad_already(file, status.st_mode):
                system.close(fd)
                continue
            if not is_memory:
                system.avoid_cache(fd)
                system.drop_cache(fd)
            opened.append(file)

    def _is_bad_already(self, file: _Open, mode: int) -> bool:
        """Whether nothing has to be read to know that a file is not as it has to be."""
        sizes, digests, is_only_failed = file.expected
        if not stat.S_ISREG(mode):
            self._judge(file, State.FAILED, f"{kind_in_words(mode)} is where the list has a file")
        elif any(size != file.size for size in sizes):
            listed = next(size for size in sizes if size != file.size)
            self._judge(file, State.MISMATCH, f"changed: it has {file.size} bytes, and the list says {listed}")
        elif digests:
            return False
        elif is_only_failed:
            self._judge(
                file, State.MISMATCH, "its history knows it only as a file that did not match: no digest is good"
            )
        else:
            self._judge(file, State.FAILED, "the list has no digest of it that could be compared: it is not verified")
        return True

    def _read_all(self, opened: list[_Open]) -> None:
        system, pulse = self._system, self._pulse
        pulse.operation = "drop the cache"
        for file in opened:
            if file.is_memory:
                continue
            if self._is_over():
                return
            pulse.beats += 1
            self._at = file.path
            if system.is_cached(file.fd, file.size) is False:
                file.way = ReadBack.EVICTED
                if file.size <= LARGEST_SMALL_FILE:
                    system.start_reading(file.fd)
                else:
                    system.advise_sequential(file.fd)
            else:
                self._go_around_cache(file)
        pulse.operation = "read"
        limit, is_cancelled = self._checker.limit, self._checker.cancel.is_set
        opened.reverse()
        while opened:
            if is_cancelled() or self.is_given_up or self._gone is not None:
                return
            file = opened[-1]
            pulse.beats += 1
            self._at = file.path
            try:
                hashes = self._digest(file)
            except (OSError, SourceChangedError) as error:
                self._cannot_read(file.path, error, size=file.size, way=file.way)
            else:
                if hashes is not None:
                    self._compare(file, hashes)
            opened.pop()
            self._close(file)
            if limit.is_set:
                limit.pace(file.size if file.size <= LARGEST_SMALL_FILE else 0)

    def _go_around_cache(self, file: _Open) -> None:
        """Find another way past the cache for a file that stays in it, as one does that was written just now."""
        system = self._system
        with suppress(OSError):  # whether that has worked is what is looked at next
            system.finish_write_back(file.fd, 0, file.size)
        file.used, file.way = open_past_cache(
            system, file.fd, file.size, is_memory=False, open_direct=lambda: self._open_direct(file)
        )

    def _open_direct(self, file: _Open) -> int:
        fd = self._system.open_direct(file.folder, file.name)
        one, other = self._system.status_of_file(fd), self._system.status_of_file(file.fd)
        if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):
            self._system.close(fd)
            raise OSError(errno.ESTALE, "another file was put in its place", file.name)
        return fd

    def _digest(self, file: _Open) -> dict[str, str] | None:
        """Return the digests of what a file holds, by name; None when there is no time for it any more.

        Raises:
            OSError: it cannot be read.
            SourceChangedError: it is longer or shorter than it was.
        """
        digests = file.expected.digests
        read = self._read_whole if file.size <= LARGEST_SMALL_FILE else self._read_in_blocks
        try:
            return read(file, digests)
        except OSError as error:
            if file.way is not ReadBack.DIRECT or error.errno not in _NO_DIRECT_READS:
                raise
        file.way = ReadBack.CACHED
        self._system.close(file.used)
        file.used = file.fd
        return read(file, digests)

    def _read_whole(self, file: _Open, digests: _Digests) -> dict[str, str]:
        read, buffer, size, fd = self._system.read, self._buffer, file.size, file.used
        # One byte more than there is: so the end is seen without asking again. Reads around the cache are of pages.
        room = size + 1 if file.way is not ReadBack.DIRECT else (size // _ALIGNMENT + 1) * _ALIGNMENT
        count = read(fd, buffer[:room])
        while 0 < count < size:
            more = read(fd, buffer[count:room])
            if not more:
                break
            count += more
        if count != size:
            raise SourceChangedError(f"it has changed while it was read: {count} bytes instead of {size}")
        return digests_of([name for name, _ in digests], buffer[:size])

    def _read_in_blocks(self, file: _Open, digests: _Digests) -> dict[str, str] | None:
        system, pulse, limit = self._system, self._pulse, self._checker.limit
        hashers = {name: LISTED_ALGORITHMS[name].new() for name, _ in digests}
        block, count, forgotten = self._buffer[:_BLOCK], 0, 0
        while not self._is_over():
            got = system.read(file.used, block)
            pulse.beats += 1
            if not got:
                break
            for hasher in hashers.values():
                hasher.update(block[:got])
            count += got
            if count - forgotten >= _FORGOTTEN_AT_ONCE and file.way is ReadBack.EVICTED:
                system.forget_range(file.used, forgotten, count - forgotten)
                forgotten = count
            self._count(got)
            limit.pace(got)
        else:
            return None
        if count != file.size:
            raise SourceChangedError(f"it has changed while it was read: {count} bytes instead of {file.size}")
        return {name: hasher.hexdigest() for name, hasher in hashers.items()}

    def _count(self, count: int) -> None:
        if self._tracker is not None and not self.is_given_up:
            self._counted += count
            self._tracker.advance(0, count, Phase.VERIFY)

    def _close(self, file: _Open) -> None:
        if file.used != file.fd:
            with suppress(OSError):
                self._system.close(file.used)
        try:  # noqa: SIM105 - suppress() costs as much as the call, for each of thousands of files
            self._system.close(file.fd)
        except OSError:
            pass

    # -- what is found ------------------------------------------------------------------------------------

    def _compare(self, file: _Open, hashes: dict[str, str]) -> None:
        for name, accepted in file.expected.digests:
            if hashes[name] not in accepted:
                listed = " or ".join(accepted)
                text = f"changed: it is {name}:{hashes[name]}, and the list says {name}:{listed}"
                self._judge(file, State.MISMATCH, text, hashes)
                return
        if file.way is ReadBack.CACHED:
            self._judge(
                file,
                State.COPIED,
                "it is equal, but could only be compared in the page cache, never on the medium: it does not count as"
                " verified. Unmount and mount the volume, then check again",
                hashes,
            )
            return
        self._verified += 1
        self._bytes_verified += file.size
        if self._wants_files:
            self._files.append(Verified(file.path, file.size, file.way, hashes))

    def _judge(self, file: _Open, state: State, text: str, hashes: dict[str, str] | None = None) -> None:
        shown = self._shown(file.path)
        notice = Notice(printable(f"{shown}: {text}"), shown, "verify", None, self._root.label)
        way = file.way if hashes is not None else ReadBack.NONE
        self._verdicts.append(Verdict(file.path, file.size, state, way, hashes or {}, notice))

    def _cannot_read(
        self,
        path: str,
        error: OSError | SourceChangedError,
        *,
        size: int = 0,
        way: ReadBack = ReadBack.NONE,
        is_link: bool = False,
    ) -> None:
        """A file could not be opened or read to its end."""
        shown, is_missing = self._shown(path), isinstance(error, FileNotFoundError)
        notice = self._notice(shown, error, "It is not verified.")
        if is_missing:
            notice = Notice(printable(f"{shown}: missing"), shown, "open", "ENOENT", self._root.label)
        self._verdicts.append(
            Verdict(path, size, State.FAILED, way, {}, notice, is_missing=is_missing, is_link=is_link)
        )
        if notice.errno in _GONE:
            self._gone = notice

    def _shown(self, path: str) -> str:
        return os.path.join(self._root.shown, path) if path else self._root.shown or self._root.label

    def _notice(self, shown: str, error: BaseException, aftermath: str) -> Notice:
        return failure_notice(
            error,
            path=shown,
            operation=self._pulse.operation,
            destination=self._root.label,
            aftermath=aftermath,
        )
