"""A whole check: read the lists, look at what is there, plan, read every file, tell.

Nothing is written. What a list cannot be trusted with is said, and keeps no other list from being checked.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic

from pfndispatchcopy.check.expected import Expected, Place, find_place, read_expected
from pfndispatchcopy.check.statements import unpack
from pfndispatchcopy.check.survey import BATCH_BYTES, BATCH_FILES, LARGEST_SMALL_FILE, Piece, Survey, look
from pfndispatchcopy.check.verify import (
    Checker,
    CheckJob,
    CheckReport,
    CheckRoot,
    CheckSetup,
    Verdict,
    check_files,
)
from pfndispatchcopy.dispatch import Dispatcher
from pfndispatchcopy.engine.lanes import TICK_S, Lane, OperationWatch, Supervisor
from pfndispatchcopy.errors import (
    OperationCancelledError,
    PfnDispatchCopyError,
    RefusedError,
    UsageError,
)
from pfndispatchcopy.events import (
    DestinationProgress,
    ErrorEvent,
    FileEvent,
    LeftOutEvent,
    Observer,
    PlanEvent,
    ProgressEvent,
    WarningEvent,
)
from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS
from pfndispatchcopy.fileio.storage import StorageKind, storage_of
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import (
    CheckedResult,
    CheckResult,
    DestinationResult,
    Notice,
    Phase,
    ReadBack,
    State,
    Strategy,
)
from pfndispatchcopy.notices import errno_name, reason_of
from pfndispatchcopy.nursery import Nursery
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.printable import printable
from pfndispatchcopy.progress import ProgressTracker
from pfndispatchcopy.selection import SYSTEM_PATTERNS, Selection
from pfndispatchcopy.session import require_usable
from pfndispatchcopy.workers import Jobs, choose_jobs

__all__ = ["Check"]

# More processes than processors, where it is not memory that is read: while one waits for the medium, the others
# compute (benchmarks/exp_check_small.py: 0.78 s with 2, 0.64 with 3, 0.65 with 4 for 10,000 files on 2 processors).
_WHILE_OTHERS_WAIT = 1
# From so many small files on, starting processes for them is worth it (benchmarks/exp_processes.py).
_FILES_FOR_PROCESSES = 400
# Files of a batch are open together, and their folders.
_DESCRIPTORS_EACH = BATCH_FILES + 100
_DESCRIPTORS_BESIDE = 200
# Bytes of buffers for each job.
_BYTES_EACH = LARGEST_SMALL_FILE
_MISSING = "missing"


class _Root:
    """One argument, and what becomes of it."""

    def __init__(self, number: int, label: str, watch: OperationWatch) -> None:
        self.number = number
        self.label = label
        self.watch = watch
        self.place: Place | None = None
        self.expected: Expected | None = None
        self.survey = Survey()
        self.storage = StorageKind.UNKNOWN
        self.root: CheckRoot | None = None
        self.tracker = ProgressTracker([label])
        self.state = "verifying"
        self.is_trusted = True
        self.gone: Notice | None = None
        self.error: Notice | None = None
        self.verified = self.bytes_verified = 0
        self.changed = self.missing = self.new = self.failed = self.untouched = 0
        self.ended_at = 0.0

    def shown(self, path: str) -> str:
        """A path below its folder, for people."""
        folder = self.place.folder if self.place is not None else self.label
        if folder == os.curdir and not self.label.startswith(os.curdir):
            return path
        return os.path.join(folder, path) if path else folder


class Check:
    """One run.

    Args:
        paths: lists, and folders that lists lie in.
        options: what of them applies: jobs, patterns, limits and time-outs.
        observer: told of everything that happens; called from several threads.
        cancel: set from anywhere to stop.
        system: the calls to the operating system.
        nursery: where processes come from; None where there are none to be had.
        tells_files: whether the observer is told of every file.

    Raises:
        UsageError: there is nothing to be checked, or a path cannot be one.
    """

    def __init__(
        self,
        paths: Sequence[str],
        options: CopyOptions,
        *,
        observer: Observer,
        cancel: threading.Event,
        system: System,
        nursery: Nursery | None = None,
        tells_files: bool = True,
    ) -> None:
        if not paths:
            raise UsageError("a list, or a folder with lists in it, is needed")
        for path in paths:
            require_usable(path)
        self._options = options
        self._observer = observer
        self._cancel = cancel
        self._system = system
        self._nursery = nursery
        self._tells_files = tells_files
        strewn = SYSTEM_PATTERNS if options.exclude_system else ()
        self._selection = Selection((*options.exclude, *strewn), options.include)
        self._supervisor = Supervisor(options.stall_timeout_s, cancel)
        self._roots = [_Root(number, path, self._supervisor.watch(path)) for number, path in enumerate(paths)]
        self._lane: Lane | None = None
        self._checker: Checker | None = None
        self._has_given_up = False
        self._processes = 0  # for batches; 0 where they run in this one
        self._last_tick = 0.0
        self._started_at = monotonic()

    @property
    def has_given_up(self) -> bool:
        """Whether a thread was left behind in the kernel."""
        in_jobs = self._checker is not None and self._checker.has_given_up
        return self._supervisor.has_given_up or self._has_given_up or in_jobs

    def run(self, *, dry_run: bool = False) -> CheckResult:
        """Do it; afterwards no thread and no descriptor is left, but for those that hang in the kernel.

        Args:
            dry_run: stop after the plan: the lists are read, and no file.
        """
        try:
            for root in self._roots:
                self._read(root)
            jobs = self._plan()
            for root in self._roots:
                self._tell_of_lists(root)
            if not dry_run:
                self._verify(jobs)
            return self._result(is_dry=dry_run)
        finally:
            if self._checker is not None:
                self._checker.close()
            self._supervisor.close()

    # -- before any file is read --------------------------------------------------------------------------

    def _read(self, root: _Root) -> None:
        """Read the lists of an argument, and look at what is there."""
        if self._lane is None or self._lane.is_given_up:
            self._lane = self._supervisor.lane("pfn-lists")
        watch = root.watch

        def going_on() -> None:
            if self._cancel.is_set():
                raise OperationCancelledError("cancelled before any file was checked")
            watch.beat()

        def read() -> None:
            with watch("open"):
                root.place = place = find_place(self._system, root.label)
                handle = self._system.open_folder(place.folder)
            try:
                with watch("read the list"):
                    root.expected = read_expected(self._system, handle, place, going_on)
                with watch("list the folder"):
                    if root.expected.lists:
                        root.survey = look(self._system, handle, root.expected, self._selection, going_on)
                with watch("stat"):
                    self._look_at_volume(root, handle)
            finally:
                with suppress(OSError):
                    self._system.close_folder(handle)

        task = self._lane.submit(read, watch)
        self._supervisor.wait([task])
        error = task.error
        if error is None or isinstance(error, OperationCancelledError):
            return
        if not isinstance(error, OSError | PfnDispatchCopyError):
            raise error
        message = str(error) if isinstance(error, RefusedError) else ""
        self._distrust(
            root, message or f"{root.label}: {watch.operation} failed: {reason_of(error)}", watch.operation, error
        )

    def _look_at_volume(self, root: _Root, handle: FolderHandle) -> None:
        assert root.place is not None
        path = os.path.abspath(root.place.folder)
        filesystem = self._system.mount(path).filesystem
        root.storage = storage_of(handle.identity.device, filesystem).kind
        root.root = CheckRoot(
            root.number, root.label, root.shown(""), path, handle.identity, filesystem in MEMORY_FILESYSTEMS
        )

    def _distrust(self, root: _Root, message: str, operation: str, error: BaseException | None = None) -> None:
        """A list cannot be read, or not be believed."""
        root.is_trusted = False
        notice = Notice(printable(message), root.label, operation, errno_name(error), root.label)
        self._tell(root, notice)

    def _tell(self, root: _Root, notice: Notice) -> None:
        root.error = root.error or notice
        self._observer(ErrorEvent(notice))

    def _warn(self, root: _Root, path: str, operation: str, text: str) -> None:
        shown = root.shown(path)
        self._observer(WarningEvent(Notice(printable(f"{shown}: {text}"), shown, operation, None, root.label)))

    def _plan(self) -> Jobs:
        small = sum(piece.files for root in self._roots for piece in root.survey.small)
        large = sum(len(root.survey.large) for root in self._roots)
        kinds = {root.storage for root in self._roots if root.root is not None}
        jobs = choose_jobs(
            self._options.jobs,
            cores=self._system.processors(),
            storages=kinds or {StorageKind.UNKNOWN},
            available=self._system.available_memory(),
            limit=self._options.memory_limit,
            bytes_each=_BYTES_EACH,
        )
        self._system.raise_descriptor_limit(jobs.at_once * _DESCRIPTORS_EACH + _DESCRIPTORS_BESIDE)
        pays = (
            self._nursery is not None
            and small >= _FILES_FOR_PROCESSES
            and jobs.at_once > 1
            and self._options.bandwidth_limit is None
        )
        waits = StorageKind.MEMORY not in kinds and self._options.jobs is None
        self._processes = jobs.at_once + (_WHILE_OTHERS_WAIT if waits else 0) if pays else 0
        lists = sum(len(root.expected.lists) for root in self._roots if root.expected is not None)
        where = f"in {self._processes} processes" if pays else "in this process"
        reason = (
            f"{lists} list{'' if lists == 1 else 's'}; {small} small files in batches {where},"
            f" {large} large ones by themselves; {jobs.at_once} at once"
        )
        strategy = Strategy.MIXED if small and large else Strategy.BATCH if small or not large else Strategy.SINGLE
        self._observer(
            PlanEvent(
                files=sum(root.survey.files for root in self._roots),
                bytes=sum(root.survey.bytes for root in self._roots),
                strategy=strategy,
                chunk_size=_BYTES_EACH,
                queue_depth=1,
                jobs=jobs.at_once,
                memory_bound=jobs.at_once * _BYTES_EACH,
                reason=reason,
                is_tree=True,
            )
        )
        return jobs

    def _tell_of_lists(self, root: _Root) -> None:
        """Tell what is known before any file is read."""
        expected, survey = root.expected, root.survey
        if expected is None:
            return
        for path, reason in expected.untrusted:
            shown = root.shown(path)
            self._distrust(root, f"{shown}: the list cannot be trusted: {reason}", "read the list")
        for path, doubt in expected.doubts:
            self._warn(root, path, "read the list", doubt)
        for link in survey.links:
            shown = root.shown(link)
            text = "the list cannot be trusted: a symbolic link is on the way to what it names; it was not followed"
            self._distrust(root, f"{shown}: {text}", "open")
        for notice in survey.failures:
            root.failed += 1
            self._tell(root, notice)
        for path, kind, is_listed in survey.odd:
            if is_listed:
                self._find_missing(root, path, f"{kind} is where the list has a file")
            else:
                self._warn(root, path, "open", f"skipped, since it is {kind}")
        for path in survey.left_out:
            self._observer(LeftOutEvent(root.shown(path), "excluded"))

    # -- reading ------------------------------------------------------------------------------------------

    def _verify(self, jobs: Jobs) -> None:
        """Read all files, and tell of those that are missing or new while the first ones are read."""
        setup = CheckSetup(
            key=f"check-{os.getpid()}-{id(self)}-{self._system.random_token()}",
            stall_timeout_s=self._options.stall_timeout_s,
            bandwidth_limit=self._options.bandwidth_limit,
            wants_files=self._tells_files,
        )
        for root in self._roots:
            root.tracker = ProgressTracker([root.label], root.survey.bytes, verify=True)
            root.tracker.advance(0, root.survey.bytes)  # nothing is copied
            root.tracker.enter(0, "verifying", Phase.VERIFY)
        checker = self._checker = Checker(
            setup, self._system, self._cancel, trackers=[root.tracker for root in self._roots]
        )
        checker.open()
        dispatcher = Dispatcher[CheckJob, CheckReport](
            check_files, _again, jobs.at_once, nursery=self._nursery, processes=self._processes
        )
        try:
            self._run(setup, dispatcher, jobs)
        finally:
            dispatcher.close()
        self._observer(self._snapshot())

    def _run(self, setup: CheckSetup, dispatcher: "Dispatcher[CheckJob, CheckReport]", jobs: Jobs) -> None:
        """Keep a bounded window of jobs in flight until all are done, or nobody wants them any more."""
        for job in self._small_jobs(setup):
            while len(dispatcher) >= jobs.at_once + dispatcher.ahead:
                self._wait(dispatcher)
            self._start(dispatcher, job)
        for root in self._roots:
            self._tell_of_absent(root)
        while len(dispatcher):
            self._wait(dispatcher)
        for job in self._large_jobs(setup):
            while len(dispatcher) >= jobs.readers:
                self._wait(dispatcher)
            self._start(dispatcher, job)
        while len(dispatcher):
            self._wait(dispatcher)

    def _start(self, dispatcher: "Dispatcher[CheckJob, CheckReport]", job: CheckJob) -> None:
        root = self._roots[job.root.number]
        if self._cancel.is_set() or root.gone is not None:
            root.untouched += job.files
        else:
            is_small = job.files > 1 or job.size <= LARGEST_SMALL_FILE
            dispatcher.submit(job, to_process=is_small)

    def _small_jobs(self, setup: CheckSetup) -> Iterator[CheckJob]:
        """Batches: of one root each, over the borders of its folders."""
        for root in self._roots:
            if root.root is None:
                continue
            pieces: list[Piece] = []
            for piece in root.survey.small:
                files = sum([each.files for each in pieces]) + piece.files
                size = sum([each.size for each in pieces]) + piece.size
                if pieces and (files > BATCH_FILES or size > BATCH_BYTES):
                    yield CheckJob(setup, root.root, tuple(pieces))
                    pieces = []
                pieces.append(piece)
            if pieces:
                yield CheckJob(setup, root.root, tuple(pieces))

    def _large_jobs(self, setup: CheckSetup) -> Iterator[CheckJob]:
        for root in self._roots:
            for piece in root.survey.large:
                if root.root is not None:
                    yield CheckJob(setup, root.root, (piece,))

    def _wait(self, dispatcher: "Dispatcher[CheckJob, CheckReport]") -> None:
        done = dispatcher.collect(TICK_S)
        now = monotonic()
        if now - self._last_tick >= TICK_S:
            self._last_tick = now
            self._observer(self._snapshot())
        if self._cancel.is_set():
            dispatcher.cancel()
        for job, report, error in done:
            if report is None:
                assert error is not None
                raise error
            self._take(self._roots[job.root.number], job, report)

    def _snapshot(self) -> ProgressEvent:
        """How far all roots are together."""
        each = [(root, root.tracker.snapshot()) for root in self._roots]
        etas = [event.eta_s for _, event in each]
        known = [eta for eta in etas if eta is not None]
        return ProgressEvent(
            phase=Phase.VERIFY,
            bytes_done=sum(event.bytes_done for _, event in each),
            bytes_total=sum(root.survey.bytes for root in self._roots),
            rate=sum(event.rate for _, event in each),
            eta_s=sum(known) if len(known) == len(etas) else None,
            destinations=tuple(
                DestinationProgress(root.label, event.bytes_done, event.rate, root.state) for root, event in each
            ),
        )

    # -- what comes back ----------------------------------------------------------------------------------

    def _take(self, root: _Root, job: CheckJob, report: CheckReport) -> None:
        self._has_given_up = self._has_given_up or report.has_given_up
        root.verified += report.verified
        root.bytes_verified += report.bytes_verified
        root.untouched += report.untouched
        root.ended_at = monotonic()
        if not report.is_counted:
            root.tracker.advance(0, job.size, Phase.VERIFY)
        for file in report.files:
            self._tell_file(root, file.path, file.size, State.VERIFIED, file.read_back, file.hashes, None)
        for verdict in report.verdicts:
            self._take_verdict(root, verdict)
        if report.gone is not None and root.gone is None:
            root.gone = report.gone
            if not any(verdict.notice == report.gone for verdict in report.verdicts):
                self._tell(root, report.gone)

    def _take_verdict(self, root: _Root, verdict: Verdict) -> None:
        if verdict.is_link:
            root.is_trusted = False
        elif verdict.state is State.MISMATCH:
            root.changed += 1
        elif verdict.is_missing:
            root.missing += 1
        else:
            root.failed += 1
        self._tell_file(
            root, verdict.path, verdict.size, verdict.state, verdict.read_back, verdict.hashes, verdict.notice
        )
        self._tell(root, verdict.notice)

    def _tell_file(
        self,
        root: _Root,
        path: str,
        size: int,
        state: State,
        read_back: ReadBack,
        hashes: dict[str, str],
        error: Notice | None,
    ) -> None:
        if self._tells_files:
            result = DestinationResult(root.shown(path), root.label, state, read_back, error=error)
            self._observer(FileEvent(path, size, hashes, (result,)))

    def _tell_of_absent(self, root: _Root) -> None:
        """Tell of what is missing, and of what no list knows."""
        for piece in root.survey.missing:
            prefix = f"{piece.folder}/" if piece.folder else ""
            for name, _ in unpack(piece.packed):
                if self._cancel.is_set():
                    return
                self._find_missing(root, f"{prefix}{name}", _MISSING)
        for path in root.survey.missing_folders:
            root.missing += 1
            shown = root.shown(path)
            self._tell(
                root, Notice(printable(f"{shown}: the folder is {_MISSING}"), shown, "open", "ENOENT", root.label)
            )
        for path in root.survey.new:
            root.new += 1
            shown = root.shown(path)
            self._tell(
                root, Notice(printable(f"{shown}: new: no list knows this file"), shown, "open", None, root.label)
            )

    def _find_missing(self, root: _Root, path: str, text: str) -> None:
        root.missing += 1
        shown = root.shown(path)
        notice = Notice(printable(f"{shown}: {text}"), shown, "open", "ENOENT", root.label)
        self._tell_file(root, path, 0, State.FAILED, ReadBack.NONE, {}, notice)
        self._tell(root, notice)

    # -- the end ------------------------------------------------------------------------------------------

    def _result(self, *, is_dry: bool) -> CheckResult:
        return CheckResult(
            checked=tuple(self._result_of(root, is_dry=is_dry) for root in self._roots),
            files=sum(root.survey.files for root in self._roots),
            size=sum(root.survey.bytes for root in self._roots),
            duration=monotonic() - self._started_at,
            left_out=sum(len(root.survey.left_out) for root in self._roots),
        )

    def _result_of(self, root: _Root, *, is_dry: bool) -> CheckedResult:
        if root.changed:
            state = State.MISMATCH
        elif root.error is not None or not root.is_trusted:
            state = State.FAILED
        elif root.untouched or (self._cancel.is_set() and not is_dry):
            state = State.CANCELLED
        else:
            state = State.SKIPPED if is_dry else State.VERIFIED
        return CheckedResult(
            label=root.label,
            state=state,
            verified=root.verified,
            changed=root.changed,
            missing=root.missing,
            new=root.new,
            failed=root.failed + root.untouched,
            bytes_verified=root.bytes_verified,
            duration_s=(root.ended_at or monotonic()) - self._started_at,
            is_trusted=root.is_trusted,
            error=root.error,
        )


def _again(job: CheckJob) -> CheckJob:
    """A job that only reads is done again as it is."""
    return job
