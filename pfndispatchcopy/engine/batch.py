"""The batch path: many small files in one tight loop, made durable and compared as a group.

Each file is read whole into one buffer and written to every destination before the next one is read. What a
medium is slow at, it is then asked for once for the whole group: begin to write everything, wait for each,
read everything back, give all the names, flush the folders. One failing file, or destination, costs the others
nothing.

A file of the right size that is there already is compared in its turn, and not written. Where anything else has the
name, this loop leaves the file to those who compare and decide.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence

from pfndispatchcopy.engine.batch_target import BatchTarget, Pending
from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.existing import is_as_old
from pfndispatchcopy.engine.jobs import FATAL_FOR_DESTINATION, FATAL_FOR_SOURCE, FileReport, JobFile, Outcome
from pfndispatchcopy.engine.lanes import SOURCE, Pulse
from pfndispatchcopy.engine.links import make_link, read_link
from pfndispatchcopy.engine.second_reading import digest_again
from pfndispatchcopy.engine.source import BandwidthLimit
from pfndispatchcopy.errors import (
    ConflictError,
    IncompleteStreamError,
    MismatchError,
    OperationCancelledError,
    PfnDispatchCopyError,
    SourceChangedError,
)
from pfndispatchcopy.events import ErrorEvent, WarningEvent
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.metadata import PERMISSION_BITS, apply_metadata
from pfndispatchcopy.fileio.names import temporary_name_with
from pfndispatchcopy.fileio.readback import open_past_cache
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.model import (
    Conflict,
    Identity,
    Notice,
    Preserve,
    ReadBack,
    SourceSnapshot,
    State,
    Verify,
    VerifySource,
)
from pfndispatchcopy.notices import errno_name, failure_notice, reason_of
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.printable import printable

__all__ = ["LARGEST_SMALL_FILE", "Batch", "buffer_size"]

# A file up to this size is held whole in memory by the batch path (benchmarks/exp_small_file.py).
LARGEST_SMALL_FILE = 4 << 20
# What is made durable at once (benchmarks/exp_batch.py). Every file of a group is open on every destination.
_GROUP_FILES = 100
_GROUP_BYTES = 32 << 20
_GROUP_DESCRIPTORS = 600
# Folders that are kept open between groups.
_OPEN_FOLDERS = 64
# So many of these one after another, and a destination is given up: each may take a sick disk half a minute.
_PATIENCE = 10
_SICK = frozenset({"EIO", "EREMOTEIO", "ETIMEDOUT"})
_EMPTY_WRITES_TOLERATED = 3
_PAGE = 4096
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
# Status of a source, and the extended attributes that are to be kept.
_Found = tuple[os.stat_result, tuple[tuple[str, bytes], ...]]


def buffer_size(largest_small: int) -> int:
    """Bytes of memory of a batch: one byte more than the largest file shows that a file has grown."""
    return largest_small + _PAGE


class _Read:
    """What is known of one file of the group at hand."""

    __slots__ = ("digests", "file", "is_left", "mtime_ns", "outcomes", "size")

    def __init__(self, file: JobFile) -> None:
        self.file = file
        self.size = file.size
        self.mtime_ns = 0
        self.digests: dict[str, str] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.is_left = False


class Batch:
    """Copies the files of a job. Runs in a lane, which its supervisor may give up.

    Args:
        system: the calls.
        source_root: the open folder that the files are below.
        source_label: as the caller spelled it.
        targets: the destinations.
        options: how to copy.
        follow: whether links in the source are followed.
        algorithms: digests to take: those asked for, and the one to compare by.
        comparison: the one to compare by.
        largest_small: bytes of the largest file that is taken.
        limit: keeps the reading slow where that is wished.
        cancel: stops before the next file.
        pulse: shows that the loop goes on.

    Attributes:
        reports: of the groups that are done.
        left: files, each with the destinations, where something has the name already.
        notices: warnings and errors so far.
        source_gone: why the source is of no use any more.
        is_given_up: set from outside: whatever is done from now on is not wanted.
    """

    def __init__(
        self,
        system: System,
        source_root: FolderHandle,
        source_label: str,
        targets: Sequence[BatchTarget],
        options: CopyOptions,
        *,
        follow: bool,
        algorithms: tuple[str, ...],
        comparison: str,
        largest_small: int,
        limit: BandwidthLimit,
        cancel: threading.Event,
        pulse: Pulse,
    ) -> None:
        self.reports: list[FileReport] = []
        self.left: dict[JobFile, set[int]] = {}
        self.notices: list[ErrorEvent | WarningEvent] = []
        self.source_gone: Notice | None = None
        self.is_given_up = False
        self._system = system
        self._source_label = source_label
        self._follow = follow
        self._folders = OpenFolders(system, source_root, follow=self._follow)
        self.targets = targets
        self._options = options
        self._algorithms = algorithms
        self._comparison = comparison
        self._limit = limit
        self._cancel = cancel
        self._pulse = pulse
        self._is_fresh = all(target.is_fresh for target in targets)
        self._verifies = options.verify is Verify.DESTINATION
        self._proves_source = options.verify_source is VerifySource.PER_FILE
        self._keeps_xattrs = Preserve.XATTR in options.preserve
        self._is_plain = options.preserve >= {Preserve.MODE, Preserve.TIMES} and Preserve.OWNER not in options.preserve
        self._largest_small = largest_small
        self._buffer = page_aligned_buffer(buffer_size(largest_small))
        self._token = ""

    def run(self, files: Sequence[JobFile]) -> None:
        """Copy *files*, group by group."""
        self._pulse.is_busy = True
        try:
            for group in self._groups(files):
                self._copy_group(group)
        finally:
            self._pulse.is_busy = False
            for target in self.targets:
                self._drop_pending(target)
                target.folders.close()
            self._folders.close()

    def leftovers(self) -> list[tuple[int, str, str]]:
        """Temporary names that a loop that hangs has left: destination, path of the folder, name."""
        return [
            (target.number, pending.folder_path, pending.name)
            for target in self.targets
            for pending in tuple(target.pending)
            if not pending.is_existing
        ]

    # -- one group --------------------------------------------------------------------------------------

    def _groups(self, files: Sequence[JobFile]) -> Iterator[list[JobFile]]:
        most = max(1, min(_GROUP_FILES, _GROUP_DESCRIPTORS // max(1, len(self.targets))))
        group: list[JobFile] = []
        total = 0
        for file in files:
            if group and (len(group) >= most or total + file.size > _GROUP_BYTES):
                yield group
                group, total = [], 0
            group.append(file)
            total += file.size
        if group:
            yield group

    def _copy_group(self, group: Sequence[JobFile]) -> None:
        reads = [_Read(file) for file in group]
        self._token = self._system.random_token()[:6]
        for target in self.targets:
            if target.death is None:
                self._for_target(target, "stat", target.root.check_identity)
        for index, read in enumerate(reads):
            if self._is_over():
                break
            self._copy_file(index, read)
        if not (self.is_given_up or self._cancel.is_set()):
            for step in (self._flush, self._verify):
                for target in self.targets:
                    step(reads, target)
            if self._proves_source:
                self._prove_source(reads)
            for target in self.targets:
                self._commit(reads, target)
            for target in self.targets:
                self._flush_folders(reads, target)
        for target in self.targets:
            self._drop_pending(target)
            target.trim(_OPEN_FOLDERS)
        self._folders.trim(_OPEN_FOLDERS)
        self._report(reads)

    def _is_over(self) -> bool:
        if self.is_given_up or self._cancel.is_set() or self.source_gone is not None:
            return True
        for target in self.targets:  # noqa: SIM110 - for each file: a generator would cost more than the look
            if target.death is None or target.pending:
                return False
        return True

    def _for_target(self, target: BatchTarget, operation: str, step: Callable[[], object]) -> bool:
        """Do something that, when it fails, costs the whole destination."""
        self._at(target.number, operation)
        try:
            step()
        except OSError as error:
            self._bury(target, self._notice(target, target.root.handle.path, operation, error))
            return False
        return True

    def _bury(self, target: BatchTarget, notice: Notice) -> None:
        if target.death is None:
            target.death = notice
            self.notices.append(ErrorEvent(notice))

    def _at(self, owner: int, operation: str) -> None:
        pulse = self._pulse
        pulse.owner = owner
        pulse.operation = operation
        pulse.beats += 1

    # -- reading ----------------------------------------------------------------------------------------

    def _copy_file(self, index: int, read: _Read) -> None:
        file = read.file
        targets = [target for target in self.targets if target.death is None]
        try:
            if file.is_link:
                self._copy_link(read, targets)
                return
            there = {} if self._is_fresh else self._look(file, targets)
            if there is None:
                self._leave(read, targets)
                return
            if self._options.quick_check and len(there) == len(targets) and self._is_identical_by_time(read, there):
                return
            found = self._read(read)
        except OSError as error:
            self._fail_source(read, error)
            return
        except PfnDispatchCopyError as error:
            self._fail_source(read, error)
            return
        if found is None or (there and read.size != file.size):
            self._leave(read, targets)
            return
        data = self._buffer[: read.size]
        read.digests = digests_of(self._algorithms, data)
        # The same in every folder: it is as random there. The number keeps those of a group apart.
        temporary = temporary_name_with(f"{self._token}{index:02x}", file.name)
        for target in targets:
            if target.number in there:
                self._open_existing(index, read, target)
            else:
                self._write(index, read, target, data, found, temporary)
        if self._limit.is_set:
            self._pulse.is_busy = False
            self._limit.pace(read.size)
            self._pulse.is_busy = True

    def _copy_link(self, read: _Read, targets: Sequence[BatchTarget]) -> None:
        """Make a symbolic link anew on every destination.

        Raises:
            OSError: the link cannot be read.
        """
        file = read.file
        self._at(SOURCE, "read the link")
        link = read_link(self._system, self._folders.get(file.folder), file.name)
        read.size, read.mtime_ns = 0, link.mtime_ns
        for target in targets:
            self._at(target.number, "make the link")
            try:
                folder_path, folder = target.enter(file)
                state = make_link(self._system, folder, file.name, link, self._options)
            except (OSError, ConflictError, MismatchError) as error:
                self._fail(read, target, error, None)
                continue
            if state is State.SKIPPED:
                text = f"{target.path_of(file)}: something else is there already: skipped, left as it is"
                self._warn(target, file, "skip", text)
            elif state is not State.IDENTICAL:
                target.touched[folder_path] = folder
                state = State.VERIFIED if self._verifies and target.is_forced else State.COPIED
            read.outcomes[target.number] = Outcome(target.number, state)

    def _look(self, file: JobFile, targets: Sequence[BatchTarget]) -> dict[int, os.stat_result] | None:
        """Look at what has a file's name on the destinations.

        Returns:
            Where a file of its size lies already, by number: only its content tells. None when anything else is in
            the way somewhere.
        """
        there: dict[int, os.stat_result] = {}
        for target in targets:
            if target.is_fresh:
                continue
            self._at(target.number, "stat")
            try:
                status = self._system.status_of_name(target.enter(file)[1], file.name)
            except OSError:  # nothing is there; what else is wrong shows when it is written to
                continue
            if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
                return None
            there[target.number] = status
        return there

    def _is_identical_by_time(self, read: _Read, there: dict[int, os.stat_result]) -> bool:
        """Whether size and time already say that all copies are there, and that is enough: nothing is read then."""
        self._at(SOURCE, "stat")
        status = self._look_at_source(read.file)
        if status.st_size != read.size or not all(is_as_old(copy, status.st_mtime_ns) for copy in there.values()):
            return False
        read.mtime_ns = status.st_mtime_ns
        read.outcomes.update((number, Outcome(number, State.IDENTICAL)) for number in there)
        return True

    def _look_at_source(self, file: JobFile) -> os.stat_result:
        folder = self._folders.get(file.folder)
        if self._follow:
            return self._system.followed_status_of_name(folder, file.name)
        return self._system.status_of_name(folder, file.name)

    def _leave(self, read: _Read, targets: Sequence[BatchTarget]) -> None:
        read.is_left = True
        self.left.setdefault(read.file, set()).update(target.number for target in targets)

    def _read(self, read: _Read) -> _Found | None:
        """Read a file whole into the buffer; None when it has become too large for that.

        Raises:
            OSError: it cannot be read.
            SourceChangedError: it changed meanwhile, or is no file any more.
        """
        system, file, buffer = self._system, read.file, self._buffer
        self._at(SOURCE, "open")
        folder = self._folders.get(file.folder)
        fd = system.open_source_name(folder, file.name, follow=self._follow)
        try:
            before = system.status_of_file(fd)
            if not stat.S_ISREG(before.st_mode):
                raise SourceChangedError("the source is no regular file any more")
            size = before.st_size
            if size > self._largest_small:
                return None
            self._at(SOURCE, "read")
            count = 0
            while count < size:
                got = system.read(fd, buffer[count:])
                if got == 0:
                    break
                count += got
            try:
                after = self._look_at_source(file)
            except FileNotFoundError:
                raise SourceChangedError("the source was removed or renamed while it was read") from None
            if (after.st_ino, after.st_dev) != (before.st_ino, before.st_dev):
                raise SourceChangedError("another file was put in the place of the source while it was read")
            if count != size or (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
                size,
                before.st_mtime_ns,
                before.st_ctime_ns,
            ):
                raise SourceChangedError("the source was changed while it was read")
            xattrs = system.xattrs(fd) if self._keeps_xattrs else ()
        finally:
            system.close(fd)
        read.size = size
        read.mtime_ns = before.st_mtime_ns
        return before, xattrs

    def _fail_source(self, read: _Read, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            error = SourceChangedError("the source has vanished since it was listed")
        notice = failure_notice(
            error,
            path=os.path.join(self._source_label, read.file.path),
            operation=self._pulse.operation,
            aftermath="No destination got this file.",
        )
        self.notices.append(ErrorEvent(notice))
        for target in self.targets:
            read.outcomes[target.number] = Outcome(target.number, State.FAILED, error=notice)
        if notice.errno in FATAL_FOR_SOURCE:
            self.source_gone = notice

    # -- writing ----------------------------------------------------------------------------------------

    def _write(
        self, index: int, read: _Read, target: BatchTarget, data: memoryview, found: _Found, temporary: str
    ) -> None:
        if self.is_given_up or target.death is not None:
            return
        system, pulse, file = self._system, self._pulse, read.file
        pending: Pending | None = None
        self._at(target.number, "create")
        try:
            folder_path, folder = target.enter(file)
            fd = system.open_name(folder, temporary, _CREATE)
            pending = Pending(index, file, folder, folder_path, temporary, fd, read.size)
            target.pending.append(pending)
            pulse.operation = "write"
            pulse.beats += 1
            taken = system.write(fd, data)
            if taken != read.size:
                self._write_rest(fd, data[taken:])
            length = system.length(fd)
            if length != read.size:
                raise IncompleteStreamError(f"{read.size} bytes were written, and the file has {length}")
            pulse.operation = "set metadata"
            pulse.beats += 1
            status, xattrs = found
            if self._is_plain and not xattrs:
                try:
                    system.set_mode(fd, status.st_mode & PERMISSION_BITS)
                    system.set_times(fd, status.st_atime_ns, status.st_mtime_ns)
                except (OSError, NotImplementedError):
                    self._set_metadata(target, file, fd, found)
            else:
                self._set_metadata(target, file, fd, found)
        except (OSError, IncompleteStreamError) as error:
            self._fail(read, target, error, pending)
            return
        if not (target.is_on_disk or self._verifies or self._proves_source):  # there is nothing to wait for
            self._give_name(read, target, pending)
            if target.pending and target.pending[-1] is pending:
                target.pending.pop()

    def _open_existing(self, index: int, read: _Read, target: BatchTarget) -> None:
        """Take part with a file of the right size that is there already: it is compared, not written."""
        if self.is_given_up or target.death is not None:
            return
        file = read.file
        self._at(target.number, "open")
        try:
            folder_path, folder = target.enter(file)
            fd = self._system.open_name(folder, file.name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            self._fail(read, target, error, None)
            return
        pending = Pending(index, file, folder, folder_path, file.name, fd, read.size)
        pending.is_existing = True
        target.pending.append(pending)

    def _differ(self, read: _Read, target: BatchTarget, pending: Pending) -> None:
        """What was there already turned out to differ: what the conflict rule says."""
        rule = self._options.on_conflict
        if rule is Conflict.ERROR:
            error = ConflictError(
                "another file with different content is there already; it was left as it is."
                " --on-conflict skip, overwrite or rename says what else to do"
            )
            self._fail(read, target, error, pending)
            return
        self._remove(target, pending)
        if rule is Conflict.SKIP:
            text = f"{target.path_of(read.file)}: another file with different content is there already: skipped,"
            self._warn(target, read.file, "skip", f"{text} left as it is")
            read.outcomes[target.number] = Outcome(target.number, State.SKIPPED)
        else:  # it is to be replaced: the one case in which the source is read again without being asked to
            self.left.setdefault(read.file, set()).add(target.number)

    def _write_rest(self, fd: int, data: memoryview) -> None:
        """Write what a first call did not take."""
        empty_writes = 0
        while data:
            taken = self._system.write(fd, data)
            empty_writes = 0 if taken else empty_writes + 1
            if empty_writes > _EMPTY_WRITES_TOLERATED:
                raise IncompleteStreamError("the system took no bytes and named no reason")
            data = data[taken:]

    def _set_metadata(self, target: BatchTarget, file: JobFile, fd: int, found: _Found) -> None:
        """Set everything that is to be kept, and tell of what could not be."""
        status, xattrs = found
        snapshot = SourceSnapshot(
            Identity(status.st_dev, status.st_ino),
            status.st_size,
            stat.S_IMODE(status.st_mode),
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_atime_ns,
            status.st_uid,
            status.st_gid,
            xattrs,
        )
        for what, error in apply_metadata(self._system, fd, snapshot, self._options.preserve):
            text = f"{target.path_of(file)}: {what} could not be kept: {reason_of(error)}"
            self._warn(target, file, "preserve", text, errno_name(error))

    def _warn(self, target: BatchTarget, file: JobFile, operation: str, text: str, errno: str | None = None) -> None:
        notice = Notice(printable(text), target.path_of(file), operation, errno, target.label)
        self.notices.append(WarningEvent(notice))

    def _notice(
        self, target: BatchTarget, path: str, operation: str, error: BaseException, aftermath: str = ""
    ) -> Notice:
        return failure_notice(error, path=path, operation=operation, destination=target.label, aftermath=aftermath)

    def _fail(self, read: _Read, target: BatchTarget, error: BaseException, pending: Pending | None) -> None:
        """One file failed on one destination: remove it there, and say so."""
        operation = self._pulse.operation
        state = State.FAILED
        if isinstance(error, MismatchError):
            state, operation = State.MISMATCH, "verify"
            aftermath = self._set_aside(target, pending) if pending is not None else ""
        elif pending is None:
            aftermath = "Nothing was written there."
        else:
            aftermath = self._remove(target, pending)
        way = pending.way if pending is not None and state is State.MISMATCH else ReadBack.NONE
        path = target.path_of(read.file)
        if isinstance(error, ConflictError):
            notice = Notice(printable(f"{path}: {error}"), path, "conflict", None, target.label)
        else:
            notice = self._notice(target, path, operation, error, aftermath)
        self.notices.append(ErrorEvent(notice))
        read.outcomes[target.number] = Outcome(target.number, state, way, error=notice)
        target.failures_in_a_row += notice.errno in _SICK
        if notice.errno in FATAL_FOR_DESTINATION or target.failures_in_a_row >= _PATIENCE:
            target.death = notice

    def _close(self, pending: Pending) -> None:
        fd, pending.fd = pending.fd, -1
        if fd >= 0:
            self._system.close(fd)

    def _remove(self, target: BatchTarget, pending: Pending) -> str:
        """Close a pending file and remove its temporary name; returns in a sentence what is left."""
        if pending in target.pending:
            target.pending.remove(pending)
        with contextlib.suppress(OSError):
            self._close(pending)
        if pending.is_existing:
            return "What was there was left as it is."
        try:
            self._system.remove_name(pending.folder, pending.name)
        except FileNotFoundError:
            pass
        except OSError as error:
            path = os.path.join(pending.folder.path, pending.name)
            return f"Left behind, because it could not be removed ({reason_of(error)}): {path}."
        return "Nothing of it was left behind."

    def _set_aside(self, target: BatchTarget, pending: Pending) -> str:
        """Keep a bad copy under a name that says so; returns in a sentence what is left."""
        corrupt_name = f"{pending.file.name}.corrupt"
        try:
            self._system.rename_to_free_name(pending.folder, pending.name, corrupt_name)
        except OSError:
            left = self._remove(target, pending)
            return left if left.startswith("Left behind") else "The bad copy was removed."
        target.pending.remove(pending)
        with contextlib.suppress(OSError):
            self._close(pending)
        return f"The bad copy was set aside as {os.path.join(pending.folder.path, corrupt_name)}."

    def _drop_pending(self, target: BatchTarget) -> None:
        for pending in tuple(target.pending):
            left = self._remove(target, pending)
            if left.startswith("Left behind"):
                self._warn(target, pending.file, "remove", f"{target.path_of(pending.file)}: {left}")

    # -- durable, compared, named -----------------------------------------------------------------------

    def _flush(self, reads: Sequence[_Read], target: BatchTarget) -> None:
        if not target.is_on_disk:
            return
        system = self._system
        for pending in target.pending:
            self._at(target.number, "start the write-back")
            system.start_write_back(pending.fd, 0, 0)
        for pending in tuple(target.pending):
            if pending.is_existing and not self._verifies:
                continue
            self._at(target.number, "flush")
            try:
                system.flush(pending.fd)
            except OSError as error:
                self._fail(reads[pending.index], target, error, pending)

    def _verify(self, reads: Sequence[_Read], target: BatchTarget) -> None:
        opened: list[tuple[Pending, int]] = []
        for pending in target.pending:
            if not (self._verifies or pending.is_existing):
                continue
            self._at(target.number, "drop the cache")
            fd, pending.way = pending.fd, ReadBack.CACHED
            if target.is_forced and self._verifies:
                fd, pending.way = open_past_cache(
                    self._system,
                    pending.fd,
                    pending.size,
                    is_memory=target.is_memory,
                    open_direct=lambda pending=pending: self._open_direct(pending),  # type: ignore[misc]
                )
                if pending.way is ReadBack.EVICTED:
                    self._system.start_reading(fd)
            opened.append((pending, fd))
        for pending, fd in opened:
            self._at(target.number, "read back")
            read = reads[pending.index]
            try:
                self._compare(pending, fd, read)
            except (OSError, MismatchError) as error:
                if not pending.is_existing:
                    self._fail(read, target, _as_mismatch(error), pending)
                elif isinstance(error, MismatchError):
                    self._differ(read, target, pending)
                else:
                    self._fail(read, target, error, pending)

    def _open_direct(self, pending: Pending) -> int:
        fd = self._system.open_direct(pending.folder, pending.name)
        if self._system.status_of_file(fd).st_ino != self._system.status_of_file(pending.fd).st_ino:
            self._system.close(fd)
            raise FileNotFoundError(pending.name)
        return fd

    def _compare(self, pending: Pending, fd: int, read: _Read) -> None:
        try:
            try:
                digest = self._digest(fd)
            except OSError as error:
                # Some file systems take the flag for direct reads and refuse the reads themselves.
                if pending.way is not ReadBack.DIRECT or errno_name(error) not in ("EINVAL", "EOPNOTSUPP"):
                    raise
                pending.way = ReadBack.CACHED
                digest = self._digest(pending.fd)
        finally:
            if fd != pending.fd:
                self._system.close(fd)
        expected = read.digests[self._comparison]
        if digest != expected:
            raise MismatchError(
                f"read back as {self._comparison}:{digest}, but the source is {self._comparison}:{expected}"
            )

    def _digest(self, fd: int) -> str:
        system, buffer = self._system, self._buffer
        system.rewind(fd)
        count = 0
        while count < len(buffer) and (got := system.read(fd, buffer[count:])):
            count += got
        return digests_of((self._comparison,), buffer[:count])[self._comparison]

    def _prove_source(self, reads: Sequence[_Read]) -> None:
        """Read the sources of the group a second time, past the page cache."""
        for read in reads:
            if not read.digests or self._is_over():
                continue
            self._at(SOURCE, "read again")
            try:
                folder = self._folders.get(read.file.folder)
                digest = digest_again(self._system, folder, read.file.name, self._digest, follow=self._follow)
                if digest != read.digests[self._comparison]:
                    raise MismatchError(
                        f"the second reading gave {self._comparison}:{digest}, the first one"
                        f" {self._comparison}:{read.digests[self._comparison]}"
                    )
            except (OSError, MismatchError) as error:
                self._distrust(read, error)

    def _distrust(self, read: _Read, error: OSError | MismatchError) -> None:
        is_mismatch = isinstance(error, MismatchError)
        notice = failure_notice(
            error,
            path=os.path.join(self._source_label, read.file.path),
            operation="verify-source",
            aftermath="No copy of it can be trusted: the card, its reader or the cable gives changing bytes.",
        )
        self.notices.append(ErrorEvent(notice))
        for target in self.targets:
            for pending in tuple(target.pending):
                if pending.file is read.file:
                    if is_mismatch and not pending.is_existing:  # what was there before stays as it is
                        self._set_aside(target, pending)
                    else:
                        self._remove(target, pending)
                    state = State.MISMATCH if is_mismatch else State.FAILED
                    read.outcomes[target.number] = Outcome(target.number, state, error=notice)

    def _commit(self, reads: Sequence[_Read], target: BatchTarget) -> None:
        if not target.pending or not self._for_target(target, "stat", target.root.check_identity):
            return
        for pending in tuple(target.pending):
            if self.is_given_up:
                return
            self._give_name(reads[pending.index], target, pending)
        target.pending = [pending for pending in target.pending if target.number not in reads[pending.index].outcomes]

    def _give_name(self, read: _Read, target: BatchTarget, pending: Pending) -> None:
        """Close what is complete, and give it its final name, or not where it turns out to be taken."""
        system, pulse = self._system, self._pulse
        self._at(target.number, "close")
        try:
            if self._verifies and not pending.is_existing:
                pending.inode = system.status_of_file(pending.fd).st_ino
            fd, pending.fd = pending.fd, -1
            system.close(fd)
            if not pending.is_existing:
                if self._verifies:
                    self._require_same_file(pending)
                pulse.operation = "rename"
                pulse.beats += 1
                system.rename_to_free_name(pending.folder, pending.name, pending.file.name)
        except FileExistsError:
            # Another program was quicker. Whoever compares and decides gets it; nothing is lost.
            self._remove(target, pending)
            self.left.setdefault(read.file, set()).add(target.number)
            return
        except OSError as error:
            self._fail(read, target, error, pending)
            return
        target.failures_in_a_row = 0
        target.touched[pending.folder_path] = pending.folder
        read.outcomes[target.number] = self._good_outcome(target, pending, read)

    def _require_same_file(self, pending: Pending) -> None:
        """Make sure that the name leads to what was verified.

        Raises:
            OSError: it does not (``ESTALE``).
        """
        if self._system.status_of_name(pending.folder, pending.name).st_ino != pending.inode:
            raise OSError(errno.ESTALE, "another file was put in the place of the temporary one", pending.name)

    def _good_outcome(self, target: BatchTarget, pending: Pending, read: _Read) -> Outcome:
        way = pending.way
        outcome = target.good.get((way, pending.is_existing))
        if outcome is None:
            is_verified = target.is_forced and way.is_proof
            state = State.VERIFIED if is_verified else State.COPIED
            outcome = Outcome(target.number, State.IDENTICAL if pending.is_existing else state, way)
            target.good[way, pending.is_existing] = outcome
        if way is ReadBack.CACHED and target.is_forced and self._verifies:
            notice = Notice(
                printable(
                    f"{target.path_of(read.file)}: the copy is complete, but it could only be compared in the page"
                    " cache, never on the medium: it does not count as verified. Unmount and mount the volume, then"
                    " run the same command again"
                ),
                target.path_of(read.file),
                "verify",
                None,
                target.label,
            )
            self.notices.append(ErrorEvent(notice))
            return outcome._replace(error=notice)
        return outcome

    def _flush_folders(self, reads: Sequence[_Read], target: BatchTarget) -> None:
        """Make the new names durable, and those of folders that were made for them."""
        touched, target.touched = target.touched, {}
        if not touched:
            return
        if target.is_on_disk:
            self._flush_each_folder(reads, target, touched)
        self._at(target.number, "stat")
        try:
            target.root.check_identity()
        except OSError as error:
            # The flushes have proven nothing: XFS says that it has flushed a folder when its disk is gone.
            self._doubt(reads, target, "", error, operation="stat", with_all_below=True)

    def _flush_each_folder(self, reads: Sequence[_Read], target: BatchTarget, touched: dict[str, FolderHandle]) -> None:
        parents = target.folders.take_parents_of_new()
        for path in parents:
            try:
                touched.setdefault(path, target.folders.get(path))
            except OSError as error:
                self._doubt(reads, target, path, error, with_all_below=True)
        for path, handle in touched.items():
            self._at(target.number, "flush the folder")
            try:
                if not self._system.flush_folder(handle):
                    self._warn_of_unflushed(target, handle)
            except OSError as error:
                self._doubt(reads, target, path, error, with_all_below=path in parents)

    def _warn_of_unflushed(self, target: BatchTarget, handle: FolderHandle) -> None:
        text = (
            f"{handle.path}: this file system cannot force a folder to the medium: whether the new names would"
            " outlast a power cut in the next seconds is not known"
        )
        notice = Notice(printable(text), handle.path, "flush the folder", None, target.label)
        self.notices.append(WarningEvent(notice))

    def _doubt(
        self,
        reads: Sequence[_Read],
        target: BatchTarget,
        folder_path: str,
        error: OSError,
        *,
        operation: str = "flush the folder",
        with_all_below: bool,
    ) -> None:
        """A folder could not be flushed: its files, or with new folders in it all that is below, may not stay."""
        path = os.path.join(target.root.handle.path, folder_path)
        aftermath = "The complete copies are there under their names, but whether they are durable is not proven."
        notice = self._notice(target, path, operation, error, aftermath)
        self.notices.append(ErrorEvent(notice))
        if with_all_below and target.death is None:  # what is below may go with a power cut, now and later
            target.death = notice
        for read in reads:
            outcome = read.outcomes.get(target.number)
            its_folder = target.folder_of(read.file)
            is_below = with_all_below and (not folder_path or its_folder.startswith(f"{folder_path}/"))
            is_concerned = is_below or its_folder == folder_path
            if outcome is not None and outcome.state.is_complete and is_concerned:
                read.outcomes[target.number] = Outcome(target.number, State.FAILED, error=notice)

    # -- the report -------------------------------------------------------------------------------------

    def _report(self, reads: Sequence[_Read]) -> None:
        asked = self._options.hashes
        count = len(self.targets)
        for read in reads:
            if read.is_left:
                continue
            outcomes = read.outcomes
            if len(outcomes) < count:
                for target in self.targets:
                    if target.number not in outcomes and target.number not in self.left.get(read.file, ()):
                        outcomes[target.number] = self._missing(target)
            digests = tuple([read.digests[name] for name in asked]) if read.digests else ()
            self.reports.append(
                FileReport(read.file.number, read.size, read.mtime_ns, digests, tuple(outcomes.values()))
            )

    def _missing(self, target: BatchTarget) -> Outcome:
        """The outcome of a file that a destination was not asked to take any more."""
        if target.death is not None:
            return Outcome(target.number, State.FAILED, error=target.death)
        if self.source_gone is not None:
            return Outcome(target.number, State.FAILED, error=self.source_gone)
        return Outcome(target.number, State.CANCELLED, error=_cancelled(target))


def _as_mismatch(error: OSError | MismatchError) -> MismatchError:
    if isinstance(error, MismatchError):
        return error
    return MismatchError(f"the copy could not be read back: {reason_of(error)}")


def _cancelled(target: BatchTarget) -> Notice:
    return failure_notice(
        OperationCancelledError("cancelled"),
        path=target.root.handle.path,
        operation="copy",
        destination=target.label,
        aftermath="Nothing of it was left behind.",
    )
