"""One source file on its way to one destination: every step, in the order that makes it durable.

Both copy paths use the same steps; they differ only in who calls them. What goes wrong is captured here,
for this destination alone, and put into words.
"""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import NamedTuple

from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.existing import Existing, free_name, look
from pfndispatchcopy.engine.lanes import OperationWatch
from pfndispatchcopy.engine.source import SourceEnd, SourceFailureError, SourceOutcome
from pfndispatchcopy.errors import (
    ConflictError,
    MismatchError,
    OperationCancelledError,
    PfnDispatchCopyError,
)
from pfndispatchcopy.events import ErrorEvent, Observer, PartialEvent, WarningEvent
from pfndispatchcopy.fileio.folders import DestinationFolder
from pfndispatchcopy.fileio.metadata import apply_metadata
from pfndispatchcopy.fileio.partial import PartialFile
from pfndispatchcopy.fileio.readback import open_past_cache, read_to_end
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import (
    Conflict,
    DestinationResult,
    Notice,
    Phase,
    ReadBack,
    SourceSnapshot,
    State,
    Verify,
)
from pfndispatchcopy.notices import errno_name, failure_notice, reason_of
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.printable import printable
from pfndispatchcopy.progress import ProgressTracker

__all__ = ["CopyContext", "DestinationCopy", "Target"]

# How long the removal of a given-up partial may take before it is left behind.
_REMOVAL_PATIENCE_S = 1.0
_LEFT_BEHIND = "Left behind"
_NOT_PROVEN = "The complete copy is there under its name, but whether it is durable is not proven."
# Said of a call that makes the temporary file and has not come back: nobody knows its name yet.
_MAY_COME = "A temporary file may be left behind; the next run removes it."


class Target(NamedTuple):
    """Where one copy goes.

    Attributes:
        number: its place among the destinations.
        label: the destination as the caller spelled it.
        folder: path of the folder.
        name: of the file in it.
        is_memory: whether the medium is memory, so that there is nothing to read back past a cache.
        is_forced: whether it is forced to stable storage.
    """

    number: int
    label: str
    folder: str
    name: str
    is_memory: bool = False
    is_forced: bool = True

    @property
    def path(self) -> str:
        """The full path of the copy."""
        return os.path.join(self.folder, self.name)


class CopyContext(NamedTuple):
    """What all destinations of one file share while it is copied."""

    system: System
    options: CopyOptions
    comparison: str
    read_back_size: int
    tracker: ProgressTracker
    observer: Observer
    cancel: threading.Event
    started_at: float


class DestinationCopy:
    """One destination of one file.

    Attributes:
        target: where it goes.
        watch: shows what it is doing in the operating system.
        wants_bytes: whether it takes part in the copying; after :meth:`begin`.
        wants_second_pass: whether what is there turned out to differ and is to be replaced.
    """

    def __init__(
        self,
        target: Target,
        folder: DestinationFolder,
        source: SourceSnapshot,
        watch: OperationWatch,
        context: CopyContext,
    ) -> None:
        self.target = target
        self.watch = watch
        self.wants_bytes = False
        self.wants_second_pass = False
        self._folder = folder
        self._source = source
        self._context = context
        self._system = context.system
        self._lock = threading.Lock()
        self._result: DestinationResult | None = None
        self._partial: PartialFile | None = None
        self._existing = Existing()
        self._alike: dict[str, tuple[str, ReadBack]] = {}
        self._replaces = False
        self._final_name = target.name
        self._read_back = ReadBack.NONE
        self._failure_in_hand: tuple[BaseException, str, int | None] | None = None

    # -- the steps, in order -------------------------------------------------------------------------

    def begin(self, *, is_known_to_differ: bool = False) -> None:
        """Look at what is there, and make the partial if there is something to write.

        Args:
            is_known_to_differ: what is there was compared already, and is to be replaced.

        Raises:
            OSError: the destination does not let itself be looked at or written to.
            ConflictError: something else is there.
        """
        size = self._source.size
        if size is not None and not is_known_to_differ:
            with self.watch("stat"):
                self._existing = look(
                    self._system,
                    self._folder.handle,
                    self.target.name,
                    size=size,
                    mtime_ns=self._source.mtime_ns if self._context.options.quick_check else None,
                    on_conflict=self._context.options.on_conflict,
                )
            if self._existing.identical is not None:
                self._settle_identical(self._existing.identical)
                return
            if self._existing.alike:
                return  # only the content tells: compare() and judge()
        if self._existing.occupied and not self._give_way():
            return
        self._open_partial()

    def _give_way(self) -> bool:
        """Do what the conflict rule says of a file that differs; returns whether there is to be a copy.

        Raises:
            ConflictError: the rule is to leave it alone, and that is a failure.
            OSError: a free name cannot be found.
        """
        rule = self._context.options.on_conflict
        if self._existing.is_folder and rule is not Conflict.RENAME:
            raise ConflictError("a folder has this name; it was left as it is")
        if rule is Conflict.ERROR:
            raise ConflictError(
                f"{self._existing.what} is there already; it was left as it is."
                " Nothing of the copy was left behind. --on-conflict skip, overwrite or rename says what else to do"
            )
        if rule is Conflict.SKIP:
            self._discard()
            self._warn("skip", f"{self._existing.what} is there already: skipped, left as it is")
            self._settle(State.SKIPPED)
            return False
        if rule is Conflict.OVERWRITE:
            self._replaces = True
        else:
            with self.watch("stat"):
                self._final_name = free_name(self._system, self._folder.handle, self.target.name)
        return True

    def _open_partial(self) -> None:
        folder, system = self._folder.handle, self._system
        with self.watch("stat"):
            self._folder.check_identity()
        with self.watch("create"):
            self._partial = PartialFile.create(system, folder, self.target.name)
        self._context.observer(PartialEvent(self._partial_path, exists=True))
        if self._is_forced_to_disk and self._source.size:
            with self.watch("preallocate"):
                self._partial.preallocate(self._source.size)
        if not self.target.is_memory:
            with self.watch("avoid the cache"):
                self._system.avoid_cache(self._partial.write_fd)
        self.wants_bytes = True

    @property
    def _partial_path(self) -> str:
        assert self._partial is not None
        return os.path.join(self.target.folder, self._partial.name)

    @property
    def _is_forced_to_disk(self) -> bool:
        return self.target.is_forced and not self.target.is_memory

    def write(self, data: memoryview) -> None:
        """Write the next bytes.

        Raises:
            OSError: they could not be written.
        """
        partial = self._partial
        assert partial is not None
        previous = partial.bytes_written
        with self.watch("write", previous):
            partial.write(data)
            if self._is_forced_to_disk:
                partial.roll_write_back(previous)
        self._context.tracker.advance(self.target.number, len(data))

    def start_write_back(self) -> None:
        """Let the medium begin, so that several destinations flushed in turn do their work at once."""
        if self._partial is not None and self._is_forced_to_disk:
            with self.watch("start the write-back"):
                self._partial.start_write_back()

    def finish(self, end: SourceEnd, outcome: SourceOutcome) -> None:
        """Make the copy durable, compare it, and give it its final name.

        Args:
            end: what the end of the source told.
            outcome: says when copies may get their final names.

        Raises:
            OSError: a step failed.
            MismatchError: what was read back differs.
            ConflictError: something else has taken the name in the meantime.
        """
        partial = self._partial
        assert partial is not None
        if self._source.size is None:  # a stream's size is known only now
            self._context.tracker.set_total(end.size)
        with self.watch("stat"):
            partial.require_size(end.size)
        with self.watch("set metadata"):
            refused = apply_metadata(self._system, partial.write_fd, self._source, self._context.options.preserve)
        for what, error in refused:
            self._warn("preserve", f"{what} could not be kept: {reason_of(error)}", errno_name(error))
        if self.target.is_forced:
            self._context.tracker.enter(self.target.number, "flushing")
            with self.watch("flush"):
                partial.flush()
        with self.watch("close"):
            partial.close_writer()
        if self._context.options.verify is Verify.DESTINATION:
            self._verify(end)
        outcome.wait_proven()
        self._commit(end)

    def _verify(self, end: SourceEnd) -> None:
        partial = self._partial
        assert partial is not None
        self._context.tracker.enter(self.target.number, "verifying", Phase.VERIFY)
        try:
            digest, self._read_back = self._digest_past_cache(
                partial.read_fd, end.size, partial.open_direct, past_cache=self.target.is_forced
            )
        except OSError as error:
            raise MismatchError(f"the copy could not be read back: {reason_of(error)}") from error
        if digest != end.digest:
            name = self._context.comparison
            raise MismatchError(f"read back as {name}:{digest}, but the source is {name}:{end.digest}")

    def _digest_past_cache(
        self, fd: int, size: int, open_direct: Callable[[], int], *, past_cache: bool
    ) -> tuple[str, ReadBack]:
        """Read a file from its medium; returns its digest, and how it was read."""
        way = ReadBack.MEMORY if self.target.is_memory else ReadBack.CACHED
        used_fd = fd
        if past_cache and not self.target.is_memory:
            with self.watch("drop the cache"):
                used_fd, way = open_past_cache(self._system, fd, size, is_memory=False, open_direct=open_direct)
        try:
            try:
                return self._digest(used_fd), way
            except OSError as error:
                # Some file systems take the flag for direct reads and refuse the reads themselves.
                if way is not ReadBack.DIRECT or errno_name(error) not in ("EINVAL", "EOPNOTSUPP"):
                    raise
            return self._digest(fd), ReadBack.CACHED
        finally:
            if used_fd != fd:
                self._system.close(used_fd)

    def _digest(self, fd: int) -> str:
        calculator = HashCalculator([self._context.comparison])
        views = read_to_end(self._system, fd, page_aligned_buffer(self._context.read_back_size))
        position = 0
        while True:
            with self.watch("read back", position):
                view = next(views, None)
            if view is None:
                return calculator.hexdigests()[self._context.comparison]
            self._require_going_on()
            calculator.update(view)
            position += len(view)
            self._context.tracker.advance(self.target.number, len(view), Phase.VERIFY)

    def _commit(self, end: SourceEnd) -> None:
        partial = self._partial
        assert partial is not None
        self._require_going_on()
        with self.watch("stat"):
            self._folder.check_identity()
        if self._source.size is None and not self._settle_stream_conflict(end):
            return
        while True:
            try:
                with self.watch("rename"):
                    partial.commit(self._final_name, replace=self._replaces)
                break
            except FileExistsError:
                # Another program was quicker between the look and the rename.
                self._existing = Existing(occupied=(self._final_name,))
                if not self._give_way():
                    return
        self._context.observer(PartialEvent(self._partial_path, exists=False))
        self._flush_folder()
        with self.watch("stat"):
            self._folder.check_identity()
        self._settle_written()

    def _settle_stream_conflict(self, end: SourceEnd) -> bool:
        """A stream's size is known only now: look at what is there; returns whether to go on."""
        with self.watch("stat"):
            self._existing = look(
                self._system,
                self._folder.handle,
                self.target.name,
                size=end.size,
                mtime_ns=None,
                on_conflict=self._context.options.on_conflict,
            )
        self.compare()
        name = self._identical_name(end)
        if name is not None:
            self._discard()
            self._settle_identical(name)
            return False
        return not self._existing.occupied or self._give_way()

    def _flush_folder(self) -> None:
        if not self.target.is_forced:
            return
        with self.watch("flush the folder"):
            is_flushed = self._system.flush_folder(self._folder.handle)
        if not is_flushed:
            self._warn(
                "flush the folder",
                "this file system cannot force a folder to the medium: whether the new name would"
                " outlast a power cut in the next seconds is not known",
            )

    def _settle_written(self) -> None:
        notice = self._cached_notice()
        state = State.VERIFIED if self._read_back.is_proof and self.target.is_forced else State.COPIED
        self._settle(state, notice)

    # -- an existing file of the same size --------------------------------------------------------------

    def compare(self) -> None:
        """Read the files of the source's size that are there already.

        Raises:
            OSError: one of them cannot be read.
        """
        past_cache = self._context.options.verify is Verify.DESTINATION and self.target.is_forced
        for name in self._existing.alike:
            self._context.tracker.enter(self.target.number, "comparing")
            with self.watch("open"):
                fd = self._system.open_name(self._folder.handle, name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                status = self._system.status_of_file(fd)
                if not stat.S_ISREG(status.st_mode):
                    continue
                if past_cache:
                    with self.watch("flush"):  # dirty pages cannot be dropped, and prove nothing
                        self._system.flush(fd)
                self._alike[name] = self._digest_past_cache(
                    fd,
                    status.st_size,
                    lambda name=name: self._system.open_direct(self._folder.handle, name),  # type: ignore[misc]
                    past_cache=past_cache,
                )
            finally:
                self._system.close(fd)

    def judge(self, end: SourceEnd, outcome: SourceOutcome) -> None:
        """Decide, now that the source's digest is known, what the files that were compared are.

        Args:
            end: what the end of the source told.
            outcome: says when the source is to be trusted.

        Raises:
            ConflictError: they differ, and the rule is to leave them alone.
            OSError: the folder could not be flushed.
        """
        outcome.wait_proven()
        name = self._identical_name(end)
        if name is not None:
            self._flush_folder()
            self._settle_identical(name)
            return
        self.wants_second_pass = self._give_way()

    def _identical_name(self, end: SourceEnd) -> str | None:
        """Which of the files that were compared is the source; None for none of them."""
        return next((name for name, (digest, _) in self._alike.items() if digest == end.digest), None)

    def _settle_identical(self, name: str) -> None:
        self._final_name = name
        # How this very file was read counts, not how another one or a copy that was not needed was.
        self._read_back = self._alike[name][1] if name in self._alike else ReadBack.NONE
        self._settle(State.IDENTICAL, self._cached_notice())

    def _cached_notice(self) -> Notice | None:
        """What is wrong when the medium was to be read and only the cache could be; None where nothing is."""
        is_asked_for = self._context.options.verify is Verify.DESTINATION and self.target.is_forced
        if not is_asked_for or self._read_back is not ReadBack.CACHED:
            return None
        return self._notice(
            "verify",
            "the copy is complete, but it could only be compared in the page cache, never on the"
            " medium: it does not count as verified. Unmount and mount the volume, then run the"
            " same command again",
        )

    # -- the end, good or bad ------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether its result is known."""
        return self._result is not None

    @property
    def result(self) -> DestinationResult:
        """How it ended; only once it is settled."""
        if self._result is None:
            raise AssertionError(f"{self.target.label} has no result yet")
        return self._result

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Turn whatever is raised inside into the result of this destination."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - a bug, too, fails this destination only
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Settle as failed because of *error*: remove the partial, or set it aside, and say so."""
        if self.is_settled:
            return
        # Kept, because what follows is an operation as well, and may fail or hang in its turn.
        self._failure_in_hand = error, self.watch.operation, self._offset()
        if isinstance(error, SourceFailureError):  # said once, for all destinations
            aftermath = self._set_aside() if error.is_mismatch else self._remove_partial()
            if aftermath.startswith(_LEFT_BEHIND):
                self._warn("remove", aftermath)
            self._settle_failed(aftermath)
        elif isinstance(error, MismatchError):
            self._settle_failed(self._set_aside())
        else:
            if not isinstance(error, OSError | MemoryError | PfnDispatchCopyError):
                import logging  # noqa: PLC0415 - 8 ms that a run without bugs does not need

                log = logging.getLogger("pfndispatchcopy")
                log.error("internal error while copying to %s", self.target.label, exc_info=error)
            self._settle_failed(self._remove_partial())

    def give_up(self, error: BaseException) -> None:
        """Settle from outside, because the thread that did the work hangs in the kernel.

        The removal of the partial may hang as well, so it gets a thread of its own and little patience.
        """
        if self.is_settled:
            return
        if self._failure_in_hand is None:
            self._failure_in_hand = error, self.watch.operation, self._offset()
        self._settle_failed(self._left_by_hang())

    def _left_by_hang(self) -> str:
        """Remove the partial while a call for it hangs, if that can be done; returns in a sentence what is left."""
        if self._partial is None:
            return _MAY_COME if self.watch.operation == "create" else "Nothing was written there."
        if self._partial.is_committed:
            return _NOT_PROVEN
        is_removed = self._remove_from_outside().wait(_REMOVAL_PATIENCE_S)
        return "Nothing of it was left behind." if is_removed else f"{_LEFT_BEHIND}: {self._partial_path}."

    def _remove_from_outside(self) -> threading.Event:
        """Begin to remove the temporary name; what is returned is set when it is gone."""
        removed = threading.Event()
        partial = self._partial
        if partial is None:
            removed.set()
            return removed

        def remove() -> None:
            with suppress(OSError):
                partial.remove_name()
                removed.set()
                self._context.observer(PartialEvent(self._partial_path, exists=False))

        threading.Thread(target=remove, name=f"pfn-remove-{self.target.number}", daemon=True).start()
        return removed

    def _settle_failed(self, aftermath: str) -> None:
        """Put the failure at hand into the result, and into words."""
        assert self._failure_in_hand is not None
        error, operation, offset = self._failure_in_hand
        if isinstance(error, SourceFailureError):
            state = State.MISMATCH if error.is_mismatch else State.FAILED
            self._settle(state, error.notice._replace(destination=self.target.label), is_news=False)
            return
        if isinstance(error, ConflictError):
            self._settle(State.FAILED, self._notice("conflict", str(error)))
            return
        state = State.FAILED
        if isinstance(error, MismatchError):
            state, operation = State.MISMATCH, "verify"
        elif isinstance(error, OperationCancelledError):
            state = State.CANCELLED
        notice = failure_notice(
            error,
            path=self.target.path,
            operation=operation,
            destination=self.target.label,
            offset=offset,
            size=self._source.size,
            aftermath=aftermath,
        )
        self._settle(state, notice, is_news=state is not State.CANCELLED)

    def tidy(self) -> None:
        """Let go of what is still held. A thread that comes back from a hang has nobody else who would."""
        if self.is_settled:
            with suppress(OSError):
                self._discard()

    def abandon(self) -> None:
        """Take no further part, without a word: another copy takes over for this destination."""
        with self._lock:
            if self._result is None:
                self._result = DestinationResult(self.target.path, self.target.label, State.CANCELLED)
        self._remove_from_outside()

    def _require_going_on(self) -> None:
        if self._context.cancel.is_set():
            raise OperationCancelledError("cancelled")
        if self.is_settled:  # given up from outside while it hung
            raise OperationCancelledError("given up")

    def _settle(self, state: State, error: Notice | None = None, *, is_news: bool = True) -> None:
        result = DestinationResult(
            location=os.path.join(self.target.folder, self._final_name),
            label=self.target.label,
            state=state,
            read_back=self._read_back if state.is_complete or state is State.MISMATCH else ReadBack.NONE,
            bytes_written=self._partial.bytes_written if self._partial else 0,
            duration_s=monotonic() - self._context.started_at,
            error=error,
        )
        with self._lock:
            if self._result is not None:
                return
            self._result = result
        self._context.tracker.leave(self.target.number, str(state), failed=not state.is_complete)
        if error is not None and is_news:
            self._context.observer(ErrorEvent(error))

    def _offset(self) -> int | None:
        """The byte at which things stand: in a write, what was taken of it counts."""
        if self.watch.operation == "write" and self._partial is not None:
            return self._partial.bytes_written
        return self.watch.offset

    def _notice(self, operation: str, text: str, errno: str | None = None) -> Notice:
        return Notice(
            message=printable(f"{self.target.path}: {text}"),
            path=self.target.path,
            operation=operation,
            errno=errno,
            destination=self.target.label,
        )

    def _warn(self, operation: str, text: str, errno: str | None = None) -> None:
        self._context.observer(WarningEvent(self._notice(operation, text, errno)))

    def _discard(self) -> None:
        """Close the partial and remove its temporary name, as far as that has not happened."""
        partial = self._partial
        if partial is None:
            return
        was_there = not partial.is_gone
        with self.watch("remove"):
            partial.discard()
        if was_there:
            self._context.observer(PartialEvent(self._partial_path, exists=False))

    def _remove_partial(self) -> str:
        """Remove the partial; returns in a sentence what is left."""
        if self._partial is None:
            return "Nothing was written there."
        if self._partial.is_committed:
            return _NOT_PROVEN
        try:
            self._discard()
        except OSError as error:
            return f"{_LEFT_BEHIND}, because it could not be removed ({reason_of(error)}): {self._partial_path}."
        return "Nothing of it was left behind."

    def _set_aside(self) -> str:
        """Keep the bad copy under a name that says so; returns in a sentence what is left."""
        partial = self._partial
        if partial is None:
            return ""
        corrupt_name = f"{self._final_name}.corrupt"
        try:
            with self.watch("set aside"):
                kept = partial.set_aside(corrupt_name)
        except OSError as error:
            return f"{_LEFT_BEHIND}, because it could not be removed ({reason_of(error)}): {self._partial_path}."
        self._context.observer(PartialEvent(self._partial_path, exists=False))
        if kept:
            return f"The bad copy was set aside as {os.path.join(self.target.folder, corrupt_name)}."
        return "The bad copy was removed."
