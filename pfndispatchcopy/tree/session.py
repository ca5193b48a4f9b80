"""A whole offload of folders, or of several sources: look, list, plan, take the places, do the jobs, tell.

The order is that of trust: everything that can refuse comes before the first byte that is written, and a file
is remembered as done only after it and its folder are durable.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from pfndispatchcopy.dispatch import BrokenJobError, Dispatcher
from pfndispatchcopy.engine.jobs import (
    FileReport,
    Job,
    JobReport,
    JobSetup,
    Outcome,
    Presence,
    Settled,
    TreeSource,
    TreeTarget,
)
from pfndispatchcopy.engine.lanes import TICK_S, Lane, Supervisor, Task
from pfndispatchcopy.engine.source import BandwidthLimit
from pfndispatchcopy.engine.workplace import Workplace, execute, show_sight
from pfndispatchcopy.engines import opened, parse_engine, require_fit
from pfndispatchcopy.errors import OperationCancelledError, RefusedError, StalledError, UsageError
from pfndispatchcopy.events import AmendedEvent, ErrorEvent, FileEvent, LeftOutEvent, Observer, WarningEvent
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.journal import Journal
from pfndispatchcopy.model import (
    DestinationResult,
    Identity,
    Notice,
    Phase,
    State,
    Strategy,
    Symlinks,
    TreeDestinationResult,
    TreeResult,
    Verify,
    VerifySource,
)
from pfndispatchcopy.notices import errno_name, failure_notice, reason_of
from pfndispatchcopy.nursery import Nursery
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.places import Place, Places, same_destination
from pfndispatchcopy.plan import fold
from pfndispatchcopy.printable import printable
from pfndispatchcopy.progress import ProgressTracker
from pfndispatchcopy.selection import SYSTEM_PATTERNS, Selection
from pfndispatchcopy.session import require_usable
from pfndispatchcopy.tree.finish import finish_folders, prove_sources
from pfndispatchcopy.tree.places import TreePlace, Undertaking
from pfndispatchcopy.tree.plan import FoundSource, Machine, TreePlan, advice, make_jobs, make_tree_plan
from pfndispatchcopy.tree.preflight import examine_destination, examine_source, survey
from pfndispatchcopy.tree.scan import Tree, scan, split_list
from pfndispatchcopy.tree.vouching import Vouching

if TYPE_CHECKING:
    from pfndispatchcopy.tree.delivery import Delivery

__all__ = ["TreeOffload"]

# Descriptors: a batch has a file of a group open on every destination, and each of several jobs its folders.
_DESCRIPTORS_EACH = 300
_DESCRIPTORS_BESIDE = 200
# Lines of a record that may be on their way to each destination, before jobs wait for them.
_RECORDS_AHEAD = 8
# What a file system refuses for one file, it refuses for ten thousand.
_SAID_ONCE = frozenset({"preserve", "flush the folder"})


class TreeOffload:
    """One run.

    Args:
        sources: folders and files.
        destinations: folders, as the caller spelled them.
        options: how to copy.
        observer: told of everything that happens; called from several threads.
        cancel: set from anywhere to stop.
        system: the calls to the operating system.
        files_from: content of a list of paths, and whether NULs separate them; None for everything.
        executor: where all jobs run: an executor, or the name of an engine; None for threads and, where they pay,
            processes.
        nursery: where processes come from; None where there are none to be had.
        tells_files: whether the observer is told of every file.
    """

    def __init__(
        self,
        sources: Sequence[str],
        destinations: Sequence[str],
        options: CopyOptions,
        *,
        observer: Observer,
        cancel: threading.Event,
        system: System,
        files_from: tuple[bytes, bool] | None = None,
        executor: Executor | str | None = None,
        nursery: Nursery | None = None,
        tells_files: bool = True,
    ) -> None:
        if not destinations:
            raise UsageError("at least one destination is needed")
        for path in (*sources, *destinations):
            require_usable(path)
        unknown = options.no_flush - set(destinations)
        if unknown:
            names = ", ".join(printable(name) for name in sorted(unknown))
            raise UsageError(f"--no-flush names no destination of this run: {names}")
        if options.expect_size is not None:
            raise UsageError("--expect-size is for a single file")
        self._only = None if files_from is None else split_list(files_from[0], is_nul_separated=files_from[1])
        if self._only is not None and len(sources) != 1:
            raise UsageError("--files-from goes with exactly one folder as the source")
        self._labels = tuple(sources)
        self._options = options
        self._observer = observer
        self._cancel = cancel
        self._system = system
        self._engine = parse_engine(executor)
        self._nursery = nursery
        self._tells_files = tells_files
        strewn = SYSTEM_PATTERNS if options.exclude_system else ()
        self._selection = Selection((*options.exclude, *strewn), options.include)
        self._supervisor = Supervisor(options.stall_timeout_s, cancel)
        self._places = Places(
            [TreePlace(number, label, self._supervisor.watch(label)) for number, label in enumerate(destinations)],
            self._supervisor,
            observer,
        )
        self._source_watch = self._supervisor.watch(sources[0])
        self._source_lane: Lane | None = None
        self._sources: list[tuple[FoundSource, FolderHandle]] = []
        self._tree = Tree(())
        self._workplace: Workplace | None = None
        self._has_given_up = False
        self._told_kinds: Counter[tuple[str, str, str]] = Counter()
        self._first_of_kind: dict[tuple[str, str, str], Notice] = {}
        self._digests: dict[int, str] = {}
        self._outcomes: dict[int, tuple[Outcome, ...]] = {}
        self._delivery = self._prepare_delivery()
        self._has_lost_job = False
        self._vouching: Vouching | None = None
        self._unfit: set[str] = set()
        self._source_gone: Notice | None = None
        self._tracker = ProgressTracker([])
        self._last_tick = 0.0
        self._writing: dict[Task, TreePlace] = {}
        self._is_copied = False
        self._started_at = monotonic()

    def _prepare_delivery(self) -> "Delivery | None":
        """What is to be handed over with the copies.

        Raises:
            UsageError: it cannot be had.
        """
        if not self._options.hands_over:
            return None
        from pfndispatchcopy.tree.delivery import Delivery  # noqa: PLC0415 - 15 ms that most runs do not need

        return Delivery(self._system, self._options, self._places, self._supervisor, self._observer)

    @property
    def has_given_up(self) -> bool:
        """Whether a thread was left behind in the kernel."""
        in_jobs = self._workplace is not None and self._workplace.has_given_up
        return self._supervisor.has_given_up or self._has_given_up or in_jobs

    def run(self, *, dry_run: bool = False) -> TreeResult:
        """Do it; afterwards no thread and no descriptor is left, but for those that hang in the kernel.

        Args:
            dry_run: stop after the plan; every destination is then ``skipped`` and nothing was written.

        Raises:
            UsageError: options or paths cannot be used.
            RefusedError: the plan was refused; nothing was written.
        """
        plan: TreePlan | None = None
        is_complete = False
        try:
            self._source_lane = self._places.hire(self._system, _DESCRIPTORS_EACH, _DESCRIPTORS_BESIDE)
            self._examine()
            self._list()
            plan = self._plan(is_dry=dry_run)
            if dry_run:
                self._observer(plan.event._replace(reason=f"{plan.event.reason}; {self._advice(plan)}"))
                self._tell_of_plan(plan)
                self._places.tell_failures()
                return self._result(plan, is_dry=True)
            self._observer(plan.event)
            if self._engine.kind == "processes" and self._nursery is None:
                raise UsageError("processes cannot be had here: the system, or this use as a library, has none to give")
            with opened(self._engine) as executor:
                self._occupy()
                self._tell_of_plan(plan)
                self._copy(plan, executor)
            self._finish()
            if self._delivery is not None:
                self._delivery.deliver(is_over=self._is_over())
            self._is_copied = not self._is_over()
            result = self._result(plan)
            is_complete = result.success
            return result
        except BaseException:
            self._cancel.set()  # whatever the lanes are still doing is not wanted any more
            raise
        finally:
            self._close(is_complete=is_complete)

    def _tell_of_plan(self, plan: TreePlan) -> None:
        """What is left out, what a person should know, and what could not be listed."""
        for each in self._tree.left_out:
            if each.is_wished:
                self._observer(LeftOutEvent(each.path, each.reason))
        for notice in plan.warnings:
            self._observer(WarningEvent(notice))
        for notice in self._tree.failures:
            self._observer(ErrorEvent(notice))

    # -- before anything is written -----------------------------------------------------------------------

    def _examine(self) -> None:
        """Open the sources and look at every destination, all at once; the roots decide what lies where."""
        watch = self._source_watch

        def open_sources() -> None:
            for label in self._labels:
                with watch("open"):
                    self._sources.append(examine_source(self._system, label))

        self._in_source_lane(open_sources, "looked at")
        roots = [found.root for found, _ in self._sources]
        if self._only is not None and roots[0].only is not None:
            raise UsageError(
                f"--files-from goes with a folder as the source, and {printable(roots[0].label)} is a file"
            )

        def look(place: TreePlace) -> None:
            with place.watch("stat"):
                place.found = examine_destination(self._system, place.number, place.label, roots)

        self._places.for_each(look)
        self._require_anyone()

    def _in_source_lane(self, step: Callable[[], None], what: str) -> None:
        """Do something with the sources, which may hang.

        Raises:
            RefusedError: it failed.
        """
        assert self._source_lane is not None
        task = self._source_lane.submit(step, self._source_watch)
        self._supervisor.wait([task])
        if isinstance(task.error, OSError | StalledError):
            raise RefusedError(
                f"{printable(self._source_watch.label)}: the source cannot be {what}: {reason_of(task.error)};"
                " nothing was written",
                path=self._source_watch.label,
                operation=self._source_watch.operation,
                errno=errno_name(task.error),
            )
        if task.error is not None:
            raise task.error

    def _list(self) -> None:
        """List the sources, and then what is there already."""
        watch = self._source_watch

        def going_on() -> None:
            if self._cancel.is_set():
                raise OperationCancelledError("cancelled while the source was listed; nothing was written")
            watch.beat()

        def list_all() -> None:
            with watch("list the folder"):
                self._tree = scan(
                    self._system,
                    tuple(found.root for found, _ in self._sources),
                    tuple(handle for _, handle in self._sources),
                    selection=self._selection,
                    symlinks=self._options.symlinks,
                    only=self._only,
                    going_on=going_on,
                )
            if self._delivery is not None:
                with watch("read the history"):
                    self._delivery.list_sources(self._tree, [handle for _, handle in self._sources], going_on)

        self._in_source_lane(list_all, "listed")
        if not self._tree.files and len(self._tree.failures) >= len(self._sources):
            raise RefusedError(
                self._tree.failures[0].message,
                path=self._tree.failures[0].path,
                operation=self._tree.failures[0].operation,
                errno=self._tree.failures[0].errno,
            )

        def look(place: TreePlace) -> None:
            assert place.found is not None

            def going_on() -> None:
                if self._cancel.is_set():
                    raise OperationCancelledError("cancelled before anything was written")
                place.watch.beat()

            with place.watch("look at what is there"):
                place.survey = survey(self._system, place.found, self._tree, going_on)
            if self._delivery is not None:
                with place.watch("read the history"):
                    self._delivery.look(place, going_on)

        self._places.for_each(look)
        self._require_anyone()
        if self._delivery is not None:
            self._options = self._delivery.settle_options()

    def _plan(self, *, is_dry: bool) -> TreePlan:
        alive = self._places.alive
        kind = self._engine.kind
        machine = Machine(
            cores=self._system.processors(),
            available_memory=self._system.available_memory(),
            has_processes=(self._nursery is not None or (is_dry and hasattr(os, "fork"))) and not kind,
            wants_processes=kind == "processes",
            elsewhere=self._engine.words,
        )
        return make_tree_plan(
            self._tree,
            [found for found, _ in self._sources],
            [place.found for place in alive if place.found is not None],
            {place.number: place.survey.missing_bytes for place in alive if place.survey is not None},
            self._options.replacing(jobs=1) if kind == "serial" else self._options,
            machine,
        )

    def _advice(self, plan: TreePlan) -> str:
        found = [place.found for place in self._places.alive if place.found is not None]
        return advice(self._tree, [found for found, _ in self._sources], found, plan.jobs)

    def _require_anyone(self) -> None:
        if not self._cancel.is_set():
            self._places.require_anyone()

    # -- taking the places --------------------------------------------------------------------------------

    def _occupy(self) -> None:
        """Open every destination, made where it is missing; recognise it, lock it, read what was left there."""
        work = self._undertaking()

        def take(place: TreePlace) -> None:
            with place.probe_removed_after():
                place.lock(work)
            place.sweep(work)
            doubt = place.resume(work)
            if doubt is not None:
                self._warn(place, "resume", doubt)

        try:
            self._places.for_each(lambda place: place.enter(self._system))
            self._require_no_alias()
            self._require_no_collision()
            self._places.for_each(take)
        finally:
            self._places.for_each(Place.remove_probe)
        self._require_anyone()

    def _undertaking(self) -> Undertaking:
        handles = [handle for _, handle in self._sources]
        keeps_records = self._options.hands_over or self._tells_files
        return Undertaking(self._system, self._options, self._tree, handles, self._cancel, keeps_records)

    def _require_no_alias(self) -> None:
        """Refuse when a probe shows up in a folder that passed for another one, or in a source."""
        aliases: list[RefusedError] = []

        def look(place: TreePlace) -> None:
            for other in self._places.all[: place.number]:
                if other.is_alive and other.probe is not None and place.folder is not None:
                    with place.watch("stat"):
                        if place.folder.has_name(other.probe):
                            aliases.append(same_destination(other.label, place.label))

        def look_from_source() -> None:
            for found, handle in self._sources:
                for place in self._places.alive:
                    if place.probe is None or found.root.only is not None:
                        continue
                    with self._source_watch("stat"):
                        if self._has_name(handle, place.probe):
                            aliases.append(_inside(place.label, found.root.label))
                        elif self._is_beside(handle, found.root.prefix, place.probe):
                            aliases.append(_itself(place.label, found.root.label))

        assert self._source_lane is not None
        task = self._source_lane.submit(look_from_source, self._source_watch)
        self._places.for_each(look, task)
        if aliases:
            raise aliases[0]

    def _has_name(self, folder: FolderHandle, name: str) -> bool:
        try:
            self._system.status_of_name(folder, name)
        except OSError:
            return False
        return True

    def _is_beside(self, source: FolderHandle, prefix: str, probe: str) -> bool:
        """Whether a probe lies beside a source, which then is its own copy."""
        if not prefix or not self._has_name(source, os.path.join(os.pardir, probe)):
            return False
        # What the source is called may be a link to it, which lies elsewhere: then its copy is another folder.
        try:
            status = self._system.status_of_name(source, os.path.join(os.pardir, prefix))
        except OSError:
            return False
        return Identity(status.st_dev, status.st_ino) == source.identity

    def _require_no_collision(self) -> None:
        """Refuse names that are one where case, or the way of composing letters, does not count."""
        blind = next((place for place in self._places.alive if place.ignores_case), None)
        if blind is None:
            return
        for one, other in self._tree.collisions(fold):
            raise RefusedError(
                f"{printable(blind.label)}: {printable(one)} and {printable(other)} are one name there;"
                " nothing was written",
                path=blind.label,
                operation="collision",
            )

    @property
    def _follows(self) -> bool:
        return self._options.symlinks is Symlinks.FOLLOW

    def _is_forced(self, place: TreePlace) -> bool:
        return place.label not in self._options.no_flush

    # -- the jobs -----------------------------------------------------------------------------------------

    def _copy(self, plan: TreePlan, executor: Executor | None) -> None:
        presence = self._vouch() if self._engine.is_elsewhere else None
        self._places.tell_failures()
        self._tracker = ProgressTracker(
            [place.label for place in self._places.all],
            self._tree.bytes,
            verify=self._options.verify is Verify.DESTINATION,
            sizes=(file.size for file in self._tree.files),
            at_once=plan.jobs.at_once,
        )
        for place in self._places.all:
            if not place.is_alive:
                self._bury(place)
        setup = self._setup(plan)._replace(presence=presence)
        workplace = self._workplace = Workplace(
            setup,
            self._system,
            self._cancel,
            observer=self._observer,
            tracker=self._tracker,
            limit=BandwidthLimit(self._options.bandwidth_limit, self._cancel),
            readers=plan.jobs.readers,
        )
        for number, (_, handle) in enumerate(self._sources):
            workplace.lend_source(number, handle)
        for place in self._places.alive:
            assert place.folder is not None
            workplace.lend_root(place.number, place.folder)
        workplace.open()
        if executor is not None:
            self._try_out(executor, setup)
        self._count_resumed()
        dispatcher = Dispatcher[Job, JobReport](
            execute,
            _again,
            plan.jobs.at_once,
            given=executor,
            nursery=self._nursery,
            processes=plan.batch_processes,
            patience_s=self._options.stall_timeout_s,
        )
        try:
            self._run_jobs(make_jobs(self._tree, setup, self._missing()), dispatcher, plan.jobs.at_once)
        finally:
            if self._vouching is not None:
                self._vouching.end()
            dispatcher.close()
        self._observer(self._tracker.snapshot())

    def _vouch(self) -> Presence:
        """Let workers elsewhere know sources and destinations when they see them.

        Raises:
            RefusedError: nothing can be put on any destination.
        """
        assert self._source_lane is not None
        self._vouching = Vouching(self._system, self._places, self._supervisor)
        handles = [handle for _, handle in self._sources]
        follow = [self._follows or found.root.only is not None for found, _ in self._sources]
        presence = self._vouching.begin(self._tree, handles, self._source_lane, self._source_watch, follow)
        self._require_anyone()
        return presence

    def _try_out(self, executor: Executor, setup: JobSetup) -> None:
        """Make sure that somebody can do the jobs, before the first byte.

        Raises:
            RefusedError: nobody can.
        """
        unfit = require_fit(
            executor,
            partial(_show_sight, tuple(place.number for place in self._places.alive)),
            setup,
            patience_s=2 * self._options.stall_timeout_s,  # a worker gives up before that, and says what hangs
            cancel=self._cancel,
        )
        self._tell_of_unfit(unfit)

    def _tell_of_unfit(self, texts: Sequence[str]) -> None:
        """Tell once of each worker that cannot take part, and why; after a cancel none can."""
        for text in texts:
            if text not in self._unfit and not self._cancel.is_set():
                self._unfit.add(text)
                message = printable(f"workers: {text}")
                self._observer(WarningEvent(Notice(message, "", "executor")))

    def _setup(self, plan: TreePlan) -> JobSetup:
        targets = []
        for place in self._places.all:
            path = place.found.path if place.found else place.label
            targets.append(
                TreeTarget(
                    number=place.number,
                    label=place.label,
                    path=os.path.abspath(path),
                    identity=place.folder.identity if place.folder else None,
                    is_memory=place.is_memory,
                    is_forced=self._is_forced(place),
                    fresh=place.fresh,
                )
            )
        return JobSetup(
            key=f"{os.getpid()}-{id(self)}-{self._system.random_token()}",
            sources=tuple(
                TreeSource(
                    found.root.path,
                    os.path.abspath(found.root.path),
                    found.root.prefix,
                    self._follows or found.root.only is not None,
                    handle.identity,
                )
                for found, handle in self._sources
            ),
            targets=tuple(targets),
            options=self._options,
            digests=plan.digests,
            sizes=plan.sizes,
            largest_small=plan.largest_small,
            wants_files=self._tells_files
            or self._delivery is not None
            or self._options.verify_source is VerifySource.AFTER_ALL,
        )

    def _missing(self) -> dict[int, tuple[int, ...]]:
        """For the files that some destination holds already: which are without."""
        missing: dict[int, tuple[int, ...]] = {}
        alive = [place.number for place in self._places.alive]
        if len(alive) < len(self._places.all):
            return {
                number: tuple(each for each in alive if number not in self._places.all[each].resumed)
                for number in range(len(self._tree.files))
            }
        for place in self._places.alive:
            for number in place.resumed:
                missing[number] = tuple(each for each in alive if number not in self._places.all[each].resumed)
        return missing

    def _count_resumed(self) -> None:
        """Files that an earlier run has proven count as done."""
        for place in self._places.alive:
            for number, outcome in place.resumed.items():
                size = self._tree.files[number].size
                place.tally.add(outcome, 1, size)
                self._count(place, size, 1)
        self._observer(self._tracker.snapshot())  # what was done before this run says nothing of its speed
        if self._tells_files:
            for number in sorted({number for place in self._places.alive for number in place.resumed}):
                self._tell_of_resumed(number)

    def _tell_of_resumed(self, number: int) -> None:
        """Tell of a file where an earlier run has proven it."""
        places = [place for place in self._places.alive if number in place.resumed]
        digests = next((place.records[number].digests for place in places if number in place.records), ())
        outcomes = tuple(place.resumed[number] for place in places)
        size = self._tree.files[number].size
        self._observer(AmendedEvent(*self._file_event(FileReport(number, size, 0, digests, outcomes))))

    def _count(self, place: TreePlace, size: int, files: int) -> None:
        """Bytes and files that are over and done with, well or not."""
        for phase in Phase:
            self._tracker.advance(place.number, size, phase, files=files)

    def _run_jobs(self, jobs: Iterator[Job], dispatcher: "Dispatcher[Job, JobReport]", at_once: int) -> None:
        """Keep a bounded window of jobs in flight until all are done, or nobody wants them any more."""
        for job in jobs:
            while len(dispatcher) >= at_once + dispatcher.ahead:
                self._wait(dispatcher)
            if self._is_over():
                self._skip(job)
                continue
            alive = tuple(number for number in job.targets if self._places.all[number].is_alive)
            for number in set(job.targets).difference(alive):
                self._skip_on(job, self._places.all[number])
            if alive:
                to_process = job.strategy is Strategy.BATCH or self._engine.kind == "processes"
                dispatcher.submit(job._replace(targets=alive), to_process=to_process)
        while len(dispatcher):
            self._wait(dispatcher)
        self._wait_for_records()

    def _is_over(self) -> bool:
        return self._cancel.is_set() or self._source_gone is not None

    def _wait(self, dispatcher: "Dispatcher[Job, JobReport]") -> None:
        done = dispatcher.collect(TICK_S)
        self._observer_tick()
        if self._cancel.is_set():
            if self._vouching is not None:
                self._vouching.end()
            dispatcher.cancel()
        # Dask does a job again by itself when a worker has died with it, and tells nobody.
        self._has_lost_job = dispatcher.has_lost or self._engine.is_elsewhere
        self._tell_of_unfit(dispatcher.unfit)
        for job, report, error in done:
            if report is not None and report.was_stopped and not self._is_over():
                dispatcher.submit_again(job)
            elif report is not None:
                self._take(job, self._as_of_this_run(job, report))
            elif error is not None:  # a bug in one job must not cost the others
                self._lose(job, error)

    def _as_of_this_run(self, job: Job, report: JobReport) -> JobReport:
        """What is there already, where nothing was when this run began, was copied by a job of it that was lost."""
        if not self._has_lost_job or not any(each.outcome.state is State.IDENTICAL for each in report.settled):
            return report
        fresh = {number for number in job.targets if job.root in self._places.all[number].fresh}

        def as_copied(outcome: Outcome) -> Outcome:
            if outcome.number not in fresh or outcome.state is not State.IDENTICAL:
                return outcome
            if self._options.verify is not Verify.DESTINATION or not self._is_forced(self._places.all[outcome.number]):
                return outcome._replace(state=State.COPIED)
            # By size and time alone (--quick-check), or out of the cache, nothing is proven of it now.
            return outcome._replace(state=State.VERIFIED) if outcome.read_back.is_proof else outcome

        return report._replace(
            settled=tuple(each._replace(outcome=as_copied(each.outcome)) for each in report.settled),
            files=tuple(
                file._replace(outcomes=tuple(as_copied(outcome) for outcome in file.outcomes)) for file in report.files
            ),
        )

    def _observer_tick(self) -> None:
        now = monotonic()
        if now - self._last_tick >= TICK_S:
            self._last_tick = now
            self._observer(self._tracker.snapshot())

    def _lose(self, job: Job, error: BrokenJobError) -> None:
        """A job ended by a bug: its files are not copied, and that is said."""
        import logging  # noqa: PLC0415 - 8 ms that a run without bugs does not need

        logging.getLogger("pfndispatchcopy").error("internal error in a job:\n%s", error.trace)
        notice = failure_notice(error, path=job.setup.sources[job.root].label, operation="copy")
        self._observer(ErrorEvent(notice))
        for number in job.targets:
            self._places.all[number].tally.add(Outcome(number, State.FAILED, error=notice), len(job.rows), job.size)

    def _skip(self, job: Job) -> None:
        for number in job.targets:
            self._skip_on(job, self._places.all[number])

    def _skip_on(self, job: Job, place: TreePlace) -> None:
        """Files that are not copied any more, to one destination."""
        reason = place.failure or self._source_gone
        state = State.FAILED if reason is not None else State.CANCELLED
        place.tally.add(Outcome(place.number, state, error=reason), len(job.rows), job.size)

    # -- what comes back ----------------------------------------------------------------------------------

    def _take(self, job: Job, report: JobReport) -> None:
        """Tell of what a job has done, and remember what is durable."""
        self._has_given_up = self._has_given_up or report.has_given_up
        for event in report.notices:
            self._tell(event)
        for number, notice in report.dead:
            place = self._places.all[number]
            if place.is_alive:
                place.failure = notice
                self._bury(place)
        if report.source_gone is not None and self._source_gone is None:
            self._source_gone = report.source_gone
        for settled in report.settled:
            self._places.all[settled.outcome.number].tally.add(settled.outcome, settled.files, settled.size)
        if not report.is_counted:
            size = job.size
            for number in job.targets:
                self._count(self._places.all[number], size, len(job.rows))
        self._remember(report.settled)
        if self._delivery is not None:
            self._delivery.record(report.files)
        for file in report.files:
            if self._options.verify_source is VerifySource.AFTER_ALL and file.digests:
                self._digests[file.number] = file.digests[0]
                self._outcomes[file.number] = file.outcomes
            if self._tells_files:
                self._observer(self._file_event(file))

    def _file_event(self, file: FileReport) -> FileEvent:
        entry = self._tree.files[file.number]
        folder = self._tree.folders[entry.folder]
        root = self._tree.roots[folder.root]
        below = _join(root.prefix, folder.path)
        relative = self._tree.path_of(entry)
        return FileEvent(
            path=_join(root.prefix, relative) if len(self._tree.roots) > 1 else relative,
            size=file.size,
            hashes=dict(zip(self._options.hashes, file.digests, strict=False)),
            destinations=tuple(
                DestinationResult(
                    location=os.path.join(self._places.all[each.number].label, below, each.name or entry.name),
                    label=self._places.all[each.number].label,
                    state=each.state,
                    read_back=each.read_back,
                    bytes_written=file.size if each.state in (State.VERIFIED, State.COPIED) else 0,
                    error=each.error,
                )
                for each in sorted(file.outcomes)
            ),
        )

    def _bury(self, place: TreePlace) -> None:
        self._tracker.leave(place.number, str(State.FAILED), failed=True)

    def _tell(self, event: ErrorEvent | WarningEvent) -> None:
        """Pass on what happened; where every file would say the same of its file system, only the first."""
        notice = event.notice
        if isinstance(event, ErrorEvent) or notice.operation not in _SAID_ONCE:
            self._observer(event)
            return
        kind = (notice.destination or "", notice.operation, notice.message.replace(printable(notice.path), "", 1))
        self._told_kinds[kind] += 1
        if self._told_kinds[kind] == 1:
            self._first_of_kind[kind] = notice
            self._observer(event)

    def _tell_of_repeated_warnings(self) -> None:
        for kind, count in self._told_kinds.items():
            if count > 1:
                notice = self._first_of_kind[kind]
                text = f"{printable(kind[0])}: the same on {count - 1} more files{kind[2]}"
                self._observer(WarningEvent(notice._replace(message=text, path=kind[0])))

    def _warn(self, place: TreePlace, operation: str, text: str) -> None:
        message = printable(f"{place.label}: {text}")
        self._observer(WarningEvent(Notice(message, place.label, operation, None, place.label)))

    def _remember(self, all_settled: Sequence[Settled]) -> None:
        """Write into each destination's record what is durable there, while the next jobs go on."""
        for settled in all_settled:
            place = self._places.all[settled.outcome.number]
            if place.journal is not None and not place.journal.is_broken and place.is_alive and settled.line:
                write = partial(_append, place, place.journal, settled.line, settled.files)
                self._writing[self._places.lanes[place.number].submit(write, place.watch)] = place
        if len(self._writing) > _RECORDS_AHEAD * len(self._places.all):
            self._wait_for_records()

    def _wait_for_records(self) -> None:
        """Wait until what is to be remembered is written; where that fails, go on without a record."""
        writing, self._writing = self._writing, {}
        self._supervisor.wait(list(writing))
        for task, place in writing.items():
            if task.error is None or place.journal is None or place.journal.is_broken:
                continue
            if task.hung_watch is not None:
                place.was_given_up = True
                place.failure = failure_notice(
                    task.error, path=place.label, operation=place.watch.operation, destination=place.label
                )
                self._observer(ErrorEvent(place.failure))
                self._bury(place)
            else:
                self._warn(
                    place,
                    "write the record",
                    f"the record for a later run cannot be written: {reason_of(task.error)}. The copies are not"
                    " affected; a run after an interruption will compare what it finds",
                )
            place.journal.is_broken = True

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Give the folders their times, make the empty ones, and read the sources once more where asked."""
        if self._cancel.is_set():
            return
        if self._options.verify_source is VerifySource.AFTER_ALL and self._source_gone is None:
            self._prove_sources()

        def finish(place: TreePlace) -> None:
            assert place.folder is not None
            fresh = place.fresh
            if self._has_lost_job:  # with a process, which has left what it had in hand
                with place.watch("sweep"):
                    found = examine_destination(self._system, place.number, place.label, self._tree.roots)
                    place.survey = survey(self._system, found, self._tree, place.watch.beat)
                place.sweep(self._undertaking())

            def warn(path: str, text: str) -> None:
                message = printable(f"{os.path.join(place.label, path)}: {text}")
                full = os.path.join(place.label, path)
                self._tell(WarningEvent(Notice(message, full, "preserve", None, place.label)))

            finish_folders(
                self._system,
                self._tree,
                [handle for _, handle in self._sources],
                place.folder,
                place.watch,
                self._options,
                fresh=fresh,
                flushes=self._is_forced(place) and not place.is_memory,
                warn=warn,
            )

        if self._source_gone is not None:  # and with it what its folders had
            self._tell_of_repeated_warnings()
            return
        before = {place.number for place in self._places.alive}
        self._places.for_each(finish, aftermath="The files are there; the folders are not as they should be.")
        for place in self._places.all:
            if place.number in before and place.failure is not None:
                self._observer(ErrorEvent(place.failure))
                self._bury(place)
        self._tell_of_repeated_warnings()

    def _prove_sources(self) -> None:
        """Read all sources a second time, now that everything is copied."""
        unproven: list[tuple[int, Notice, bool]] = []

        def prove() -> None:
            unproven.extend(
                prove_sources(
                    self._system,
                    self._tree,
                    [handle for _, handle in self._sources],
                    self._digests,
                    self._options.hashes[0],
                    self._source_watch,
                    self._cancel,
                    follow=self._follows,
                )
            )

        assert self._source_lane is not None
        task = self._source_lane.submit(prove, self._source_watch)
        self._supervisor.wait([task])
        if task.error is not None:
            notice = failure_notice(
                task.error,
                path=self._source_watch.label,
                operation=self._source_watch.operation,
                aftermath="The copies are complete, but the second reading of the source is not.",
            )
            self._observer(ErrorEvent(notice))
            for place in self._places.alive:
                place.tally.add(Outcome(place.number, State.FAILED, error=notice), 0, 0)
        for number, notice, is_mismatch in unproven:
            self._observer(ErrorEvent(notice))
            self._distrust(number, notice, is_mismatch=is_mismatch)

    def _distrust(self, number: int, notice: Notice, *, is_mismatch: bool) -> None:
        """Copies of a file that cannot be trusted get a name that says so; what was there before stays as it is."""
        entry = self._tree.files[number]
        folder = self._tree.folders[entry.folder]
        path = _join(self._tree.roots[folder.root].prefix, folder.path)
        outcomes = {outcome.number: outcome for outcome in self._outcomes.get(number, ())}

        def set_aside(place: TreePlace) -> None:
            outcome = outcomes.get(place.number)
            if not is_mismatch or outcome is None or outcome.state not in (State.VERIFIED, State.COPIED):
                return
            name = outcome.name or entry.name
            folders = OpenFolders(self._system, place.open_folder.handle)
            try:
                with place.watch("set aside"), suppress(FileNotFoundError):
                    handle = folders.get(path)
                    try:
                        self._system.rename_to_free_name(handle, name, f"{name}.corrupt")
                    except FileNotFoundError:
                        raise
                    except OSError:  # that name cannot be made: no bad copy keeps a good name
                        self._system.remove_name(handle, name)
            finally:
                folders.close()

        self._places.for_each(set_aside)
        state = State.MISMATCH if is_mismatch else State.FAILED
        bad: list[Outcome] = []
        for place in self._places.alive:
            outcome = outcomes.get(place.number)
            if outcome is not None and outcome.state.is_complete:
                bad.append(Outcome(place.number, state, name=outcome.name, error=notice))
                place.tally.distrust(bad[-1], entry.size)
        self._observer(AmendedEvent(*self._file_event(FileReport(number, entry.size, 0, (), tuple(bad)))))

    def _result(self, plan: TreePlan, *, is_dry: bool = False) -> TreeResult:
        return TreeResult(
            sources=self._labels,
            files=len(self._tree.files),
            size=self._tree.bytes,
            destinations=tuple(self._destination_result(place, is_dry=is_dry) for place in self._places.all),
            duration=monotonic() - self._started_at,
            strategy=plan.event.strategy,
            failures=tuple(self._tree.failures),
            left_out=sum(each.is_wished for each in self._tree.left_out),
        )

    def _destination_result(self, place: TreePlace, *, is_dry: bool) -> TreeDestinationResult:
        if is_dry:
            state = State.SKIPPED if place.is_alive else State.FAILED
            return TreeDestinationResult(place.label, state, error=place.failure)
        is_proven = self._options.verify is Verify.DESTINATION and self._is_forced(place)
        return place.tally.result(
            place.label,
            failure=place.failure,
            is_cancelled=self._cancel.is_set(),
            if_empty=State.VERIFIED if is_proven else State.COPIED,
            started_at=self._started_at,
        )

    def _close(self, *, is_complete: bool) -> None:
        """Close what is open, forget the record of what is finished, and end the threads."""
        if self._vouching is not None:
            self._vouching.end()
        if self._workplace is not None:
            self._workplace.close()

        def leave(place: TreePlace) -> None:
            is_good = place.tally.first_error is None or place.is_delivered
            is_done = place.is_alive and is_good and not self._is_over()
            place.leave(is_finished=is_complete or (is_done and self._is_copied))

        def close_sources() -> None:
            with self._source_watch("close"):
                for _, handle in self._sources:
                    with suppress(OSError):
                        self._system.close_folder(handle)

        tasks = [
            self._places.lanes[place.number].submit(lambda place=place: leave(place), place.watch)  # type: ignore[misc]
            for place in self._places.all
            if self._places.lanes
        ]
        if self._source_lane is not None:
            tasks.append(self._source_lane.submit(close_sources, self._source_watch))
        # A lane that was given up does it when it comes back, which nobody waits for.
        self._supervisor.wait([task for task in tasks if not task.lane.is_given_up])
        self._places.remove_made(lambda place: not place.tally.files_ok and not is_complete)
        self._supervisor.close()


def _append(place: TreePlace, journal: Journal, line: bytes, count: int) -> None:
    with place.watch("write the record"):
        journal.append(line, count)


def _show_sight(targets: tuple[int, ...], setup: JobSetup) -> None:
    show_sight(setup, targets)


def _again(job: Job) -> Job:
    """A job that may have been done in part: what that made is to be looked for."""
    targets = tuple(target._replace(fresh=frozenset()) for target in job.setup.targets)
    return job._replace(setup=job.setup._replace(targets=targets))


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _itself(label: str, source: str) -> RefusedError:
    return RefusedError(
        f"{printable(label)}: the source {printable(source)} and its copy there are the same; nothing was written",
        path=label,
        operation="same-file",
    )


def _inside(label: str, source: str) -> RefusedError:
    return RefusedError(
        f"{printable(label)}: the destination is the source {printable(source)}; nothing was written",
        path=label,
        operation="inside",
    )
