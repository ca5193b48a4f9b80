"""Where jobs are done: the open roots, the crews of threads, and whose turn it is to read.

There is one workplace for an offload in each process that takes part in it. An executor is given
:func:`execute` and a job, both of which can be pickled; in a process that has no workplace yet, the job
says all that is needed to make one.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ESTALE
from functools import partial
from time import monotonic

from pfndispatchcopy.engine.batch import Batch
from pfndispatchcopy.engine.batch_target import BatchTarget
from pfndispatchcopy.engine.copy import copy_file
from pfndispatchcopy.engine.crew import Crew, Reading
from pfndispatchcopy.engine.destination import CopyContext, Target
from pfndispatchcopy.engine.jobs import (
    FATAL_FOR_DESTINATION,
    FATAL_FOR_SOURCE,
    FileReport,
    Job,
    JobFile,
    JobReport,
    JobSetup,
    Outcome,
    Settled,
)
from pfndispatchcopy.engine.lanes import OperationWatch, Pulse, Supervisor
from pfndispatchcopy.engine.source import BandwidthLimit, SourceFile, SourceName
from pfndispatchcopy.errors import OperationCancelledError, RefusedError, SourceChangedError, StalledError
from pfndispatchcopy.events import ErrorEvent, Event, Observer, PartialEvent, WarningEvent, ignore_events
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.folders import DestinationFolder, OpenFolders, Subfolder
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.journal import Proof, encode_records
from pfndispatchcopy.model import (
    DestinationResult,
    Identity,
    Notice,
    State,
    Strategy,
    Verify,
    VerifySource,
)
from pfndispatchcopy.notices import failure_notice
from pfndispatchcopy.progress import FileProgress, ProgressTracker

__all__ = ["Workplace", "cancel_everything", "execute", "show_sight"]

_TURN_POLL_S = 0.1
_REMEMBERED = frozenset({State.VERIFIED, State.COPIED, State.IDENTICAL})

_workplaces: dict[str, "Workplace"] = {}
_making = threading.Lock()
_cancel = threading.Event()


def execute(job: Job) -> JobReport:
    """Do a job, in whatever thread or process this is. What fails in it is in the report.

    Raises:
        Exception: a bug; nothing that was going on is left under a final name.
    """
    return _workplace_of(job.setup).run(job)


def show_sight(setup: JobSetup, targets: tuple[int, ...]) -> None:
    """See that this process can do jobs of an offload: it is here, has threads, and sees its places.

    Raises:
        UnfitWorkerError: it cannot.
    """
    _workplace_of(setup).require_sight(setup, tuple(range(len(setup.sources))), targets)


def _workplace_of(setup: JobSetup) -> "Workplace":
    """The workplace of an offload in this process, made when there is none."""
    workplace = _workplaces.get(setup.key)
    # What was forked from a process in the middle of its work has a picture of its workplace, without the threads.
    if workplace is not None and workplace.process == os.getpid():
        return workplace
    with _making:
        workplace = _workplaces.get(setup.key)
        if workplace is None or workplace.process != os.getpid():
            if setup.presence is None:
                workplace = Workplace(setup, native_system(), _cancel)
            else:
                from pfndispatchcopy.engine.elsewhere import Elsewhere  # noqa: PLC0415 - not where all is forked

                workplace = Elsewhere(setup, setup.presence, native_system())
            workplace.open()
    return workplace


def cancel_everything() -> None:
    """Stop what this process is doing, for workplaces that were made by :func:`execute`."""
    _cancel.set()


class Turn:
    """The right to read from the source; given back once, however often that is said."""

    def __init__(self, turns: threading.Semaphore, cancel: threading.Event) -> None:
        self.turns = turns
        self._is_held = False
        while not self._is_held and not cancel.is_set():
            self._is_held = turns.acquire(timeout=_TURN_POLL_S)

    def end(self) -> None:
        """Let the next one read."""
        if self._is_held:
            self._is_held = False
            self.turns.release()


class Workplace:
    """Does jobs of one offload.

    Args:
        setup: what all jobs have in common.
        system: the calls.
        cancel: stops everything.
        observer: told of temporary names while they exist.
        tracker: told of the progress of large files; None where nobody asks.
        limit: keeps the reading slow; None for the one of the options.
        readers: how many files may be read from the source at once.
    """

    def __init__(
        self,
        setup: JobSetup,
        system: System,
        cancel: threading.Event,
        *,
        observer: Observer = ignore_events,
        tracker: ProgressTracker | None = None,
        limit: BandwidthLimit | None = None,
        readers: int = 1,
    ) -> None:
        self.setup = setup
        self.system = system
        self.cancel = cancel
        self.observer = observer
        self.tracker = tracker
        self.limit = limit or BandwidthLimit(setup.options.bandwidth_limit, cancel)
        self.turns = threading.Semaphore(readers)
        self.process = os.getpid()
        self._crews: list[Crew] = []
        self._free_crews: list[Crew] = []
        self._lock = threading.Lock()
        self._sources: dict[int, FolderHandle] = {}
        self._roots: dict[int, DestinationFolder] = {}
        self._lent_sources: set[int] = set()
        self._lent_roots: set[int] = set()

    def open(self) -> None:
        """Be there for :func:`execute` in this process."""
        _workplaces[self.setup.key] = self

    def lend_source(self, number: int, handle: FolderHandle) -> None:
        """Use a source's folder that is open already; it stays the lender's."""
        self._sources[number] = handle
        self._lent_sources.add(number)

    def lend_root(self, number: int, folder: DestinationFolder) -> None:
        """Use a destination's root that is open already; it stays the lender's."""
        self._roots[number] = folder
        self._lent_roots.add(number)

    def close(self) -> None:
        """End all threads that can be ended."""
        _workplaces.pop(self.setup.key, None)
        for crew in self._crews:
            crew.supervisor.close()
        if self.has_given_up:  # what hangs may hang in one of them
            return
        for number, handle in self._sources.items():
            if number not in self._lent_sources:
                with suppress(OSError):
                    self.system.close_folder(handle)
        for number, folder in self._roots.items():
            if number not in self._lent_roots:
                folder.close()
        self._sources.clear()
        self._roots.clear()

    @property
    def has_given_up(self) -> bool:
        """Whether a thread was left behind in the kernel."""
        return any(crew.supervisor.has_given_up for crew in self._crews)

    def require_sight(self, setup: JobSetup, sources: tuple[int, ...], targets: tuple[int, ...]) -> None:
        """Make sure that sources and destinations are in sight: they are, where everything was opened or forked."""

    def run(self, job: Job) -> JobReport:
        """Do one job; from several threads at once, if that is wished."""
        with self._take_crew() as crew:
            if job.strategy is Strategy.BATCH:
                crew.drop_pool()
            work = _Work(self, job, crew)
            if job.strategy is Strategy.BATCH:
                return work.copy_batch()
            return work.copy_files()

    @contextmanager
    def _take_crew(self) -> Iterator[Crew]:
        with self._lock:
            crew = self._free_crews.pop() if self._free_crews else None
        if crew is None:
            crew = self._hire()
        try:
            yield crew
        finally:
            with self._lock:
                self._free_crews.append(crew)

    def _hire(self) -> Crew:
        supervisor = Supervisor(self.setup.options.stall_timeout_s, self.cancel)
        number = len(self._crews)
        crew = Crew(supervisor, supervisor.lane(f"pfn-source-{number}"), [])
        with self._lock:
            self._crews.append(crew)
        return crew

    # -- what the work needs ------------------------------------------------------------------------------

    def source(self, number: int) -> FolderHandle:
        """The open folder of a source.

        Raises:
            OSError: it cannot be opened, or is another one than the offload began with.
        """
        handle = self._sources.get(number)
        if handle is None:
            source = self.setup.sources[number]
            opened = _open_again(self.system, source.path, source.identity)
            handle = self._sources.setdefault(number, opened)
            if handle is not opened:  # another thread was quicker; a lock would be held while an opening hangs
                self.system.close_folder(opened)
        return handle

    def root(self, number: int) -> DestinationFolder:
        """The open root of a destination.

        Raises:
            OSError: it cannot be opened, or is another one than the offload began with.
        """
        root = self._roots.get(number)
        if root is None:
            target = self.setup.targets[number]
            opened = DestinationFolder(self.system, _open_again(self.system, target.path, target.identity), ())
            root = self._roots.setdefault(number, opened)
            if root is not opened:
                opened.close()
        return root


def _open_again(system: System, path: str, identity: Identity | None) -> FolderHandle:
    """Open a folder that the offload has open already, in another process.

    It is the open folder that has to be the same: a path can lead elsewhere at the one moment, and back at the next.

    Raises:
        OSError: it cannot be opened, or is another one (``ESTALE``).
    """
    handle = system.open_folder(path)
    if identity is not None and handle.identity != identity:
        system.close_folder(handle)
        raise OSError(ESTALE, "the path leads to another folder than at the start", path)
    return handle


class _Work:
    """One job, with the crew that does it."""

    def __init__(self, place: Workplace, job: Job, crew: Crew) -> None:
        self.place = place
        self.setup = job.setup
        self.job = job
        self.crew = crew
        self.system = place.system
        self.cancel = place.cancel
        self._files = job.files()
        self._alive = list(job.targets)
        self._dead: dict[int, Notice] = {}
        self.source_gone: Notice | None = None
        self.notices: list[ErrorEvent | WarningEvent] = []
        self._reports: dict[int, FileReport] = {}

    # -- batches ------------------------------------------------------------------------------------------

    def copy_batch(self) -> JobReport:
        """Copy all files in one loop; without a destination that hangs, once more what is not done yet."""
        files = self._files
        left: dict[JobFile, set[int]] = {}
        is_first = True
        while files and self._alive and self.source_gone is None:
            batches: list[Batch] = []
            pulse = Pulse(self.crew.supervisor.clock)

            def loop(
                files: Sequence[JobFile] = files,
                pulse: Pulse = pulse,
                batches: list[Batch] = batches,
                is_first: bool = is_first,
            ) -> None:
                batch = self._make_batch(pulse, is_first=is_first)
                if batch is not None:
                    batches.append(batch)
                    batch.run(files)

            is_first = False
            task = self.crew.source_lane.submit(loop, pulse)
            self.crew.supervisor.wait([task])
            for batch in batches:
                for file, numbers in batch.left.items():
                    left.setdefault(file, set()).update(numbers)
                self.notices += batch.notices
                self.source_gone = batch.source_gone
                self._reports.update((report.number, report) for report in batch.reports)
                self._bury_all(batch)
            if task.hung_watch is None:
                if task.error is not None:
                    raise task.error
                break
            assert task.error is not None
            files = [file for file in files if file.number not in self._reports and file not in left]
            self._leave_hung(pulse, task.error, batches)
        for file, numbers in left.items():
            if self.source_gone is None:
                self._merge(self._copy_one(file, sorted(numbers.intersection(self._alive)), Strategy.SINGLE))
        return self._report(is_counted=False)

    def _make_batch(self, pulse: Pulse, *, is_first: bool) -> Batch | None:
        """Open what the batch needs; None where that cannot be had of the source."""
        place, options = self.place, self.setup.options
        pulse.is_busy = True
        path, prefix = self.setup.sources[self.job.root].label, self.setup.sources[self.job.root].prefix
        pulse.operation = "open the folder"
        try:
            source = place.source(self.job.root)
        except OSError as error:
            pulse.is_busy = False
            self._lose_source(error, pulse.operation)
            return None
        targets = []
        for number in tuple(self._alive):
            target = self.setup.targets[number]
            pulse.owner, pulse.operation = number, "open the folder"
            pulse.beats += 1
            try:
                root = place.root(number)
            except OSError as error:
                self.bury(number, self._notice(error, number, pulse.operation))
                continue
            targets.append(
                BatchTarget(
                    self.system,
                    number,
                    target.label,
                    root,
                    prefix,
                    is_memory=target.is_memory,
                    is_forced=target.is_forced,
                    is_fresh=is_first and self.job.root in target.fresh,
                )
            )
        pulse.owner = -1
        digests = self.setup.digests
        return Batch(
            self.system,
            source,
            path,
            targets,
            options,
            follow=self.setup.sources[self.job.root].follow,
            algorithms=tuple(dict.fromkeys([*digests.asked, digests.comparison])),
            comparison=digests.comparison,
            largest_small=self.setup.largest_small,
            limit=place.limit,
            cancel=self.cancel,
            pulse=pulse,
        )

    def _bury_all(self, batch: Batch) -> None:
        for target in batch.targets:
            if target.death is not None:
                self.bury(target.number, target.death, is_told=True)

    def _leave_hung(self, pulse: Pulse, error: BaseException, batches: list[Batch]) -> None:
        """The loop hangs in the kernel: take its work from it, and remove what it left on the others."""
        for batch in batches:
            batch.is_given_up = True
        self.crew.source_lane = self.crew.supervisor.lane("pfn-source")
        if isinstance(error, OperationCancelledError):
            self._alive = []
            return
        if pulse.owner < 0:
            self._lose_source(error, pulse.operation)
            return
        self.bury(pulse.owner, self._notice(error, pulse.owner, pulse.operation))

        pulse = Pulse(self.crew.supervisor.clock)

        def sweep() -> None:
            pulse.is_busy = True
            for number, path, name in [each for batch in batches for each in batch.leftovers()]:
                pulse.owner, pulse.beats = number, pulse.beats + 1
                if number in self._alive:
                    folders = OpenFolders(self.system, self.place.root(number).handle)
                    with suppress(OSError):
                        self.system.remove_name(folders.get(path), name)
                    folders.close()
            pulse.is_busy = False

        task = self.crew.source_lane.submit(sweep, pulse)
        self.crew.supervisor.wait([task])
        if task.hung_watch is not None:
            assert task.error is not None
            self._leave_hung(pulse, task.error, batches)

    def _lose_source(self, error: BaseException, operation: str) -> None:
        label = self.setup.sources[self.job.root].label
        notice = failure_notice(error, path=label, operation=operation, aftermath="The rest was not copied.")
        self.source_gone = notice
        self.notices.append(ErrorEvent(notice))

    # -- single files -------------------------------------------------------------------------------------

    def copy_files(self) -> JobReport:
        """Copy the files one after another, each to all destinations at once."""
        for file in self._files:
            if self._alive and self.source_gone is None and not self.cancel.is_set():
                self._merge(self._copy_one(file, self._alive, self.job.strategy))
        return self._report(is_counted=self.place.tracker is not None)

    def _copy_one(self, file: JobFile, numbers: Sequence[int], strategy: Strategy) -> FileReport | None:
        if not numbers:
            return None
        turn = Turn(self.place.turns, self.cancel)
        try:
            return _OneFile(self, file, list(numbers), strategy, turn).copy()
        finally:
            turn.end()

    def _merge(self, report: FileReport | None) -> None:
        """Keep a report; together with an earlier one of the same file for other destinations."""
        if report is None:
            return
        earlier = self._reports.get(report.number)
        if earlier is not None:
            report = report._replace(
                outcomes=earlier.outcomes + report.outcomes, digests=report.digests or earlier.digests
            )
        self._reports[report.number] = report

    # -- the end ------------------------------------------------------------------------------------------

    def _notice(self, error: BaseException, number: int, operation: str) -> Notice:
        target = self.setup.targets[number]
        return failure_notice(error, path=target.label, operation=operation, destination=target.label)

    def bury(self, number: int, notice: Notice, *, is_told: bool = False) -> None:
        """A destination is of no use any more."""
        if number in self._alive:
            self._alive.remove(number)
        if number not in self._dead:
            self._dead[number] = notice
            if not is_told:
                self.notices.append(ErrorEvent(notice))

    def _report(self, *, is_counted: bool) -> JobReport:
        reports = []
        for file in self._files:
            report = self._reports.get(file.number) or FileReport(file.number, file.size, 0, (), ())
            told = {outcome.number for outcome in report.outcomes}
            missing = tuple(self._untouched(number) for number in self.job.targets if number not in told)
            reports.append(report._replace(outcomes=report.outcomes + missing) if missing else report)
        return JobReport(
            tuple(self._settle(reports)),
            tuple(reports) if self.setup.wants_files else (),
            tuple(self.notices),
            tuple(self._dead.items()),
            self.source_gone,
            self.crew.supervisor.has_given_up,
            is_counted,
        )

    def _settle(self, reports: Sequence[FileReport]) -> Iterator[Settled]:
        """Put together what ended alike: of thousands of good files, there is one outcome for each destination."""
        alike: dict[int, tuple[Outcome, list[FileReport]]] = {}
        for report in reports:
            for outcome in report.outcomes:
                alike.setdefault(id(outcome), (outcome, []))[1].append(report)
        lines: dict[tuple[object, ...], bytes] = {}  # most destinations are told the same
        for outcome, files in alike.values():
            line = b""
            # What was not forced to the medium is nothing that a later run could build on.
            is_forced = self.setup.targets[outcome.number].is_forced
            if is_forced and outcome.state in _REMEMBERED and outcome.error is None:
                told = (outcome.state, outcome.read_back, outcome.name, *[file.number for file in files])
                known = lines.get(told)
                line = lines[told] = self._line(outcome, files) if known is None else known
            yield Settled(outcome, len(files), sum([file.size for file in files]), line)

    def _line(self, outcome: Outcome, files: Sequence[FileReport]) -> bytes:
        """What a record is told of files that are durable; links, which have no digests, are not in it."""
        prefix = self.setup.sources[self.job.root].prefix
        top = f"{prefix}/" if prefix else ""
        paths = {file.number: f"{top}{file.path}" for file in self._files}
        records = [
            (paths[number], size, mtime_ns, digests, outcome.name)
            for number, size, mtime_ns, digests, _ in files
            if digests
        ]
        if not records:
            return b""
        return encode_records(Proof(outcome.state, outcome.read_back, self.setup.digests.asked), records)

    def _untouched(self, number: int) -> Outcome:
        reason = self._dead.get(number) or self.source_gone
        if reason is not None:
            return Outcome(number, State.FAILED, error=reason)
        error = OperationCancelledError("cancelled before this file was copied")
        return Outcome(number, State.CANCELLED, error=self._notice(error, number, "copy"))


class _OneFile:
    """One file, from the opening of its folders to their closing."""

    def __init__(self, work: _Work, file: JobFile, numbers: list[int], strategy: Strategy, turn: Turn) -> None:
        self._work = work
        self._file = file
        self._numbers = numbers
        self._strategy = strategy
        self._turn = turn
        self.system = work.system
        self.setup = work.setup
        self.crew = work.crew
        self.cancel = work.cancel
        supervisor = self.crew.supervisor
        self._path = os.path.join(self.setup.sources[work.job.root].label, file.path)
        self._source_watch = supervisor.watch(self._path)
        self._watches: dict[int, OperationWatch] = {
            number: supervisor.watch(self.setup.targets[number].label) for number in numbers
        }
        self._source: SourceFile | None = None
        self._lane = self.crew.source_lane
        self._source_folders: OpenFolders | None = None
        self._folders_of: dict[int, OpenFolders] = {}
        self._places: dict[int, tuple[Target, DestinationFolder, OperationWatch]] = {}
        self._outcomes: dict[int, Outcome] = {}

    def copy(self) -> FileReport:
        """Copy it, and report."""
        self._hire_writers()
        try:
            if not self._open():
                return self._report({}, None)
            hashes, source = self._copy()
            return self._report(hashes, source)
        finally:
            self._close()

    def _hire_writers(self) -> None:
        if self._strategy is not Strategy.PARALLEL:
            return
        crew, lane = self.crew, self.crew.supervisor.lane
        lanes = list(crew.lanes)
        lanes += [lane(f"pfn-destination-{number}") for number in range(len(lanes), len(self.setup.targets))]
        crew.lanes = lanes
        if not crew.digest_lanes:
            crew.digest_lanes = [lane(f"pfn-digest-{name}") for name in self.setup.digests.slow]

    # -- opening ------------------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the source and every destination's folder; returns whether there is anything to copy, and to whom."""
        supervisor, crew = self.crew.supervisor, self.crew
        source_task = crew.source_lane.submit(self._open_source, self._source_watch)
        supervisor.wait([source_task])
        if source_task.error is not None:
            self._fail_source(source_task.error)
            return False
        for number in list(self._numbers):
            lane = crew.lanes[number] if self._strategy is Strategy.PARALLEL else crew.source_lane
            task = lane.submit(lambda number=number: self._open_place(number), self._watches[number])  # type: ignore[misc]
            supervisor.wait([task])
            if task.error is None:
                continue
            if task.hung_watch is not None and lane is crew.source_lane:
                crew.source_lane = supervisor.lane("pfn-source")
            self._fail_place(number, task.error, is_hung=task.hung_watch is not None)
        return bool(self._places)

    def _open_source(self) -> None:
        work, file = self._work, self._file
        follow = self.setup.sources[work.job.root].follow
        with self._source_watch("open"):
            folders = OpenFolders(self.system, work.place.source(work.job.root), follow=follow)
            self._source_folders = folders
            folder = folders.get(file.folder)
        self._source = SourceFile(
            self.system, self._path, self._source_watch, self.cancel, SourceName(folder, file.name, follow)
        )

    def _open_place(self, number: int) -> None:
        work, file, watch = self._work, self._file, self._watches[number]
        target = self.setup.targets[number]
        prefix = self.setup.sources[work.job.root].prefix
        path = "/".join(part for part in (prefix, file.folder) if part)
        with watch("open the folder"):
            root = work.place.root(number)
            root.check_identity()
            folders = OpenFolders(self.system, root.handle, make=True)
            self._folders_of[number] = folders
            handle = folders.get(path)
        if target.is_forced and not target.is_memory:
            with watch("flush the folder"):
                for parent in folders.take_parents_of_new():
                    self.system.flush_folder(folders.get(parent))
        self._places[number] = (
            Target(
                number=number,
                label=target.label,
                folder=os.path.join(target.label, path),
                name=file.name,
                is_memory=target.is_memory,
                is_forced=target.is_forced,
            ),
            Subfolder(self.system, root, handle, path),
            watch,
        )

    def _fail_source(self, error: BaseException) -> None:
        cause = error.__cause__ if isinstance(error, RefusedError) and error.__cause__ is not None else error
        if isinstance(cause, FileNotFoundError):
            cause = SourceChangedError("the source has vanished since it was listed")
        notice = failure_notice(
            cause, path=self._path, operation=self._source_watch.operation, aftermath="No destination got this file."
        )
        if isinstance(error, OperationCancelledError):
            return
        self._tell(ErrorEvent(notice))
        for number in self._numbers:
            self._outcomes[number] = Outcome(number, State.FAILED, error=notice)
        if notice.errno in FATAL_FOR_SOURCE or isinstance(error, StalledError):
            self._work.source_gone = notice

    def _fail_place(self, number: int, error: BaseException, *, is_hung: bool) -> None:
        target = self.setup.targets[number]
        notice = failure_notice(
            error,
            path=os.path.join(target.label, self.setup.sources[self._work.job.root].prefix, self._file.path),
            operation=self._watches[number].operation,
            destination=target.label,
            aftermath="Nothing was written there.",
        )
        self._tell(ErrorEvent(notice))
        self._outcomes[number] = Outcome(number, State.FAILED, error=notice)
        # A folder on the way that could not be flushed may go with a power cut, and all that is ever put into it.
        if is_hung or notice.errno in FATAL_FOR_DESTINATION or notice.operation == "flush the folder":
            self._work.bury(number, notice, is_told=True)

    # -- copying ------------------------------------------------------------------------------------------

    def _copy(self) -> tuple[dict[str, str], SourceFile]:
        source, options = self._source, self.setup.options
        assert source is not None
        place = self._work.place
        progress = FileProgress(
            place.tracker,
            list(self._places),
            self._file.size,
            verify=options.verify is Verify.DESTINATION,
        )
        context = CopyContext(
            system=self.system,
            options=options,
            comparison=self.setup.digests.comparison,
            read_back_size=self.setup.sizes.read_back,
            tracker=progress,
            observer=self._tell,
            cancel=self.cancel,
            started_at=monotonic(),
        )
        reading = Reading(
            sizes=self.setup.sizes,
            digests=self.setup.digests,
            expect_size=None,
            limit=place.limit,
            proves_source=options.verify_source is VerifySource.PER_FILE,  # after-all is for the end
            on_read=self._turn.end,
        )
        hashes, results = copy_file(
            source, list(self._places.values()), self.crew, reading, context, self._strategy, self.cancel
        )
        for (number, (target, _, watch)), result in zip(self._places.items(), results, strict=True):
            self._outcomes[number] = _outcome_of(number, target, result)
            errno = result.error.errno if result.error is not None else None
            if result.error is not None and (watch.is_busy or errno in FATAL_FOR_DESTINATION):
                self._work.bury(number, result.error, is_told=True)
        if self._source_watch.is_busy:  # it hangs, and so would the next file
            failed = next((result.error for result in results if result.error is not None), None)
            self._work.source_gone = failed
        return hashes, source

    def _tell(self, event: Event) -> None:
        if isinstance(event, PartialEvent):
            self._work.place.observer(event)
        elif isinstance(event, ErrorEvent | WarningEvent):
            if (
                isinstance(event, ErrorEvent)
                and event.notice.errno in FATAL_FOR_SOURCE
                and not event.notice.destination
            ):
                self._work.source_gone = event.notice
            self._work.notices.append(event)

    # -- the end ------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Close what is open: each in the lane that may still be using it, which does it when it comes back."""
        crew = self.crew
        if crew.source_lane is not self._lane:  # the one loop hangs, with everything in its hands
            self._lane.submit(self._close_all)
            return
        watch = crew.supervisor.watch(self._path)
        tasks = [crew.source_lane.submit(partial(self._close_source, watch), watch)]
        for number, folders in self._folders_of.items():
            lane = crew.lanes[number] if self._strategy is Strategy.PARALLEL else crew.source_lane
            tasks.append(lane.submit(partial(_close_watched, folders, self._watches[number]), self._watches[number]))
        crew.supervisor.wait([task for task in tasks if not task.lane.is_given_up])

    def _close_all(self) -> None:
        self._close_source(self._source_watch)
        for number, folders in self._folders_of.items():
            _close_watched(folders, self._watches[number])

    def _close_source(self, watch: OperationWatch) -> None:
        with watch("close"):
            if self._source is not None:
                with suppress(OSError):
                    self._source.close()
            if self._source_folders is not None:
                self._source_folders.close()

    def _report(self, hashes: dict[str, str], source: SourceFile | None) -> FileReport:
        size, mtime_ns = self._file.size, 0
        if source is not None:
            size = source.snapshot.size or 0
            mtime_ns = source.snapshot.mtime_ns
        digests = tuple(hashes[name] for name in self.setup.digests.asked) if hashes else ()
        outcomes = tuple(self._outcomes[number] for number in self._numbers if number in self._outcomes)
        return FileReport(self._file.number, size, mtime_ns, digests, outcomes)


def _close_watched(folders: OpenFolders, watch: OperationWatch) -> None:
    with watch("close"):
        folders.close()


def _outcome_of(number: int, target: Target, result: DestinationResult) -> Outcome:
    name = os.path.basename(result.location)
    return Outcome(number, result.state, result.read_back, "" if name == target.name else name, result.error)
