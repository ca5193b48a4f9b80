"""A whole offload of one file: look, plan, take the places, copy, tell.

The order is that of trust: everything that can refuse comes before the first byte that is written.
"""

import os
import threading
from collections.abc import Sequence
from functools import partial
from time import monotonic, strftime, time

from pfndispatchcopy.engine.copy import copy_file
from pfndispatchcopy.engine.crew import Crew, Digests, Reading
from pfndispatchcopy.engine.destination import CopyContext
from pfndispatchcopy.engine.lanes import Lane, OperationWatch, Supervisor
from pfndispatchcopy.engine.source import BandwidthLimit, SourceFile
from pfndispatchcopy.errors import LockedError, RefusedError, UsageError
from pfndispatchcopy.events import ErrorEvent, FileEvent, Observer, PartialEvent, WarningEvent, ignore_events
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.folders import DestinationFolder
from pfndispatchcopy.fileio.locks import FileLock
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.hashing import comparison_name
from pfndispatchcopy.model import (
    CopyResult,
    DestinationResult,
    Identity,
    Notice,
    State,
    Verify,
    VerifySource,
)
from pfndispatchcopy.notices import errno_name, failure_notice
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.places import Place, Places, no_room_for, same_destination, same_file
from pfndispatchcopy.plan import Destination, Plan, make_plan, may_collide
from pfndispatchcopy.preflight import examine, folder_identity
from pfndispatchcopy.printable import printable
from pfndispatchcopy.progress import ProgressTracker

__all__ = ["Offload", "offload", "require_usable"]

# Descriptors of a run: each destination has a folder, a lock, a partial to write and one to read, and for moments
# a direct one and a parent; the rest is the source, the streams and what Python itself keeps open.
_DESCRIPTORS_EACH = 6
_DESCRIPTORS_BESIDE = 24
_LOCK_POLL_S = 0.1


def offload(
    source: str,
    destinations: Sequence[str],
    options: CopyOptions,
    *,
    observer: Observer = ignore_events,
    cancel: threading.Event | None = None,
    system: System | None = None,
    dry_run: bool = False,
) -> CopyResult:
    """Copy *source* to all *destinations*; see :class:`Offload`."""
    return Offload(
        source,
        destinations,
        options,
        observer=observer,
        cancel=cancel or threading.Event(),
        system=system or native_system(),
    ).run(dry_run=dry_run)


class _FilePlace(Place):
    """One destination of a file."""

    def __init__(self, number: int, label: str, watch: OperationWatch) -> None:
        super().__init__(number, label, watch)
        self.found: Destination | None = None
        self.lock: FileLock | None = None

    @property
    def path(self) -> str:
        return self.found.path if self.found else self.label

    @property
    def probed_name(self) -> str:
        assert self.found is not None
        return self.found.name


class Offload:
    """One run.

    Args:
        source: path of a file, or ``-`` for standard input.
        destinations: as the caller spelled them.
        options: how to copy.
        observer: told of everything that happens; called from several threads.
        cancel: set from anywhere to stop at the next chunk.
        system: the calls to the operating system.

    Attributes:
        has_given_up: whether a thread was left behind in the kernel; the process should then be ended
            without waiting for it.
    """

    def __init__(
        self,
        source: str,
        destinations: Sequence[str],
        options: CopyOptions,
        *,
        observer: Observer,
        cancel: threading.Event,
        system: System,
    ) -> None:
        if not destinations:
            raise UsageError("at least one destination is needed")
        for path in (source, *destinations):
            require_usable(path)
        unknown = options.no_flush - set(destinations)
        if unknown:
            names = ", ".join(printable(name) for name in sorted(unknown))
            raise UsageError(f"--no-flush names no destination of this run: {names}")
        self._source_path = source
        self._options = options
        self._observer = observer
        self._cancel = cancel
        self._system = system
        self._supervisor = Supervisor(options.stall_timeout_s, cancel)
        self._places = Places(
            [_FilePlace(number, label, self._supervisor.watch(label)) for number, label in enumerate(destinations)],
            self._supervisor,
            observer,
        )
        self._source: SourceFile | None = None
        self._source_folder: Identity | None = None
        self._crew: Crew | None = None
        self._source_lane: Lane | None = None
        self._started_at = monotonic()
        if options.hands_over:
            from pfndispatchcopy.handover.possible import require_possible  # noqa: PLC0415 - most runs need no lists

            require_possible(options, is_tree=False, source=source)

    @property
    def has_given_up(self) -> bool:
        """Whether a thread was left behind in the kernel."""
        return self._supervisor.has_given_up

    def run(self, *, dry_run: bool = False) -> CopyResult:
        """Do it; afterwards no thread and no descriptor is left, but for those that hang in the kernel.

        Args:
            dry_run: stop after the plan; every destination is then ``skipped`` and nothing was written.

        Raises:
            UsageError: options or paths cannot be used.
            RefusedError: the plan was refused; nothing was written.
        """
        results: list[DestinationResult] = []
        try:
            crew = self._crew = self._hire()
            self._examine(crew)
            plan = self._plan()
            self._observer(plan.event)
            if dry_run:
                self._places.tell_failures()
                return self._result({}, [self._untouched(place) for place in self._places.all], plan)
            self._occupy(crew)
            hashes, results = self._copy(crew, plan)
            if self._options.hands_over:
                results = self._deliver(crew, plan, hashes, results)
            result = self._result(hashes, results, plan)
        except BaseException:
            self._cancel.set()  # whatever the lanes are still doing is not wanted any more
            raise
        finally:
            complete = {result.label for result in results if result.state.is_complete}
            self._close(complete)
        self._observer(
            FileEvent(
                path=os.path.basename(self._source_path),
                size=result.size,
                hashes=result.hashes,
                destinations=result.destinations,
            )
        )
        return result

    # -- before anything is written -----------------------------------------------------------------------

    def _hire(self) -> Crew:
        self._source_lane = self._places.hire(self._system, _DESCRIPTORS_EACH, _DESCRIPTORS_BESIDE)
        slow = Digests(self._options.hashes, comparison_name(self._options.hashes)).slow
        try:
            digest_lanes = [self._supervisor.lane(f"pfn-digest-{name}") for name in slow]
        except (RuntimeError, MemoryError) as error:
            raise no_room_for(len(self._places.all), error) from error
        return Crew(self._supervisor, self._source_lane, self._places.lanes, digest_lanes)

    def _examine(self, crew: Crew) -> None:
        """Open the source and look at every destination, all at once."""
        source_watch = self._supervisor.watch(self._source_path)

        def open_source() -> None:
            self._source = SourceFile(self._system, self._source_path, source_watch, self._cancel)
            if not self._source.is_stream:
                with source_watch("stat"):
                    self._source_folder = folder_identity(self._system, self._source_path)

        def look(place: _FilePlace) -> None:
            with place.watch("stat"):
                place.found = examine(self._system, place.number, place.label, self._source_path)

        source_task = crew.source_lane.submit(open_source, source_watch)
        self._places.for_each(look, source_task)
        if isinstance(source_task.error, OSError):
            raise RefusedError(
                f"{printable(self._source_path)}: cannot be looked at: {source_task.error.strerror}",
                path=self._source_path,
                operation="stat",
                errno=errno_name(source_task.error),
            )
        if source_task.error is not None:
            raise source_task.error
        self._require_anyone()

    def _plan(self) -> Plan:
        assert self._source is not None
        found = [place.found for place in self._places.all if place.is_alive and place.found is not None]
        return make_plan(
            self._source_path,
            self._source.snapshot,
            self._source_folder,
            found,
            self._options,
            available_memory=self._system.available_memory(),
        )

    def _occupy(self, crew: Crew) -> None:
        """Open every destination's folder, made where it is missing, and see that it can be worked in.

        What names and inode numbers cannot show, a probe does: under an overlay or a FUSE file system one
        folder can look like two.
        """

        def enter(place: _FilePlace) -> None:
            assert place.found is not None
            with place.watch("open the folder"):
                known = None if place.found.missing else place.found.anchor
                place.folder = DestinationFolder.open(self._system, place.found.folder, known)
            try:
                with place.watch("create"):
                    place.probe = place.folder.probe(place.found.name)
            except OSError:
                # Nothing can be made here. What is here already may still turn out to be identical.
                if place.found.existing_size is None:
                    raise

        def take(place: _FilePlace) -> None:
            if place.probe is not None:
                with place.probe_removed_after():
                    self._lock(place)
                if place.lock is not None:
                    with place.watch("sweep"):
                        place.lock.sweep()

        try:
            self._places.for_each(enter)
            # Before the locks: their names are the same for every way to one folder, and an overlay whose
            # two sides make one name at the same moment answers ESTALE.
            self._require_no_alias(crew)
            self._places.for_each(take)
        finally:
            self._places.for_each(Place.remove_probe)
        self._require_anyone()

    def _lock(self, place: _FilePlace) -> None:
        """Take the lock of one destination's file, waiting for it as long as was asked.

        Raises:
            RefusedError: another run has it.
            OSError: nothing can be made there.
        """
        assert place.folder is not None
        assert place.found is not None
        owner = f"process {os.getpid()} on {self._system.host_name()}, since {strftime('%Y-%m-%d %H:%M:%S')}"
        give_up_at = monotonic() + self._options.lock_wait_s
        while True:
            try:
                with place.watch("create"):
                    place.lock = FileLock.acquire(self._system, place.folder.handle, place.found.name, owner)
                self._observer(PartialEvent(os.path.join(place.found.folder, place.lock.name), exists=True))
                return
            except LockedError as error:
                if monotonic() >= give_up_at or self._cancel.wait(_LOCK_POLL_S):
                    raise RefusedError(
                        f"{printable(place.found.path)}: {error}; nothing was written"
                        " (--lock-wait SECONDS waits for it)",
                        path=place.found.path,
                        operation="lock",
                    ) from None

    def _require_no_alias(self, crew: Crew) -> None:
        """Refuse when a probe shows up in a folder that passed for another one."""
        aliases: list[RefusedError] = []

        def look(place: _FilePlace) -> None:
            others = self._places.all[: place.number]
            aliases.extend(
                same_destination(each.label, place.label) for each in others if self._is_one_file(place, each)
            )

        def look_from_source() -> None:
            aliases.extend(same_file(place.label) for place in self._places.all if self._is_source(place))

        assert self._source is not None
        source_task = crew.source_lane.submit(look_from_source, self._source.watch)
        self._places.for_each(look, source_task)
        if aliases:
            raise aliases[0]

    def _is_one_file(self, place: _FilePlace, other: _FilePlace) -> bool:
        if not (place.is_alive and other.is_alive and place.folder and place.found and other.found):
            return False
        if other.probe is None or not may_collide(place.found, other.found):
            return False
        with place.watch("stat"):
            if not place.folder.has_name(other.probe):
                return False
            # One folder. Names that differ only in case or composition are one where it ignores that.
            return place.found.name == other.found.name or place.folder.has_name(other.probe.swapcase())

    def _is_source(self, place: _FilePlace) -> bool:
        assert self._source is not None
        if self._source.is_stream or place.probe is None or place.found is None:
            return False
        name = os.path.basename(self._source_path)
        if place.found.name.casefold() != name.casefold() or place.found.existing_size is None:
            return False
        folder = os.path.dirname(self._source_path) or os.curdir
        with self._source.watch("stat"):
            try:
                self._system.status(os.path.join(folder, place.probe))
            except OSError:
                return False
        return True

    def _require_anyone(self) -> None:
        if not self._cancel.is_set():
            self._places.require_anyone()

    # -- the copy -----------------------------------------------------------------------------------------

    def _copy(self, crew: Crew, plan: Plan) -> tuple[dict[str, str], list[DestinationResult]]:
        source, options = self._source, self._options
        assert source is not None
        tracker = ProgressTracker(
            [place.label for place in self._places.all],
            options.expect_size if source.snapshot.size is None else source.snapshot.size,
            verify=options.verify is Verify.DESTINATION,
        )
        self._places.tell_failures()
        for place in self._places.all:
            if not place.is_alive:
                tracker.leave(place.number, str(State.FAILED), failed=True)
        self._supervisor.on_tick = lambda: self._observer(tracker.snapshot())
        context = CopyContext(
            system=self._system,
            options=options,
            comparison=plan.digests.comparison,
            read_back_size=plan.sizes.read_back,
            tracker=tracker,
            observer=self._observer,
            cancel=self._cancel,
            started_at=self._started_at,
        )
        reading = Reading(
            sizes=plan.sizes,
            digests=plan.digests,
            expect_size=options.expect_size,
            limit=BandwidthLimit(options.bandwidth_limit, self._cancel),
            proves_source=options.verify_source is not VerifySource.NONE,
        )
        occupied = [
            (target, place.folder, place.watch)
            for target in plan.targets
            if (place := self._places.all[target.number]).is_alive and place.folder is not None
        ]
        hashes, copied = copy_file(source, occupied, crew, reading, context, plan.strategy, self._cancel)
        self._observer(tracker.snapshot())
        by_label = {result.label: result for result in copied}
        return hashes, [by_label.get(place.label) or self._untouched(place) for place in self._places.all]

    def _deliver(
        self, crew: Crew, plan: Plan, hashes: dict[str, str], results: list[DestinationResult]
    ) -> list[DestinationResult]:
        """Write the lists that go with every complete copy; where that fails, the result says so."""
        from pfndispatchcopy.handover.single import CopiedFile, deliver_beside  # noqa: PLC0415 - most runs need none
        from pfndispatchcopy.handover.writing import Medium  # noqa: PLC0415

        assert self._source is not None
        snapshot = self._source.snapshot
        size = self._source.position if snapshot.size is None else snapshot.size
        started_at = time() - (monotonic() - self._started_at)
        in_memory = {target.number for target in plan.targets if target.is_memory}

        def deliver(place: _FilePlace, result: DestinationResult) -> None:
            assert place.folder is not None
            is_forced = place.label not in self._options.no_flush
            owner = place.found.name if place.found is not None else os.path.basename(result.location)
            medium = Medium(self._system, place.number in in_memory, is_forced, place.watch.beat, owner)
            copy = CopiedFile(
                os.path.basename(result.location), size, snapshot.mtime_ns, hashes, result.state, started_at
            )
            with place.watch("write the lists"):
                doubt = deliver_beside(medium, place.folder.handle, copy, self._options)
            if doubt is not None:
                message = printable(f"{place.label}: no media hash list was written: {doubt}")
                self._observer(WarningEvent(Notice(message, place.path, "write the lists", None, place.label)))

        tasks = {
            number: crew.lanes[number].submit(partial(deliver, self._places.all[number], result), place.watch)
            for number, (place, result) in enumerate(zip(self._places.all, results, strict=True))
            if result.success and result.state is not State.SKIPPED and place.is_alive
        }
        self._supervisor.wait(list(tasks.values()))
        for number, task in tasks.items():
            if task.error is not None:
                place, result = self._places.all[number], results[number]
                notice = failure_notice(
                    task.error,
                    path=place.path,
                    operation=place.watch.operation,
                    destination=place.label,
                    aftermath="The copy is complete and stays; what was to be handed over with it is not.",
                )
                self._observer(ErrorEvent(notice))
                results[number] = DestinationResult(
                    location=result.location,
                    label=result.label,
                    state=result.state,
                    read_back=result.read_back,
                    bytes_written=result.bytes_written,
                    duration_s=result.duration_s,
                    error=notice,
                )
        return results

    def _untouched(self, place: _FilePlace) -> DestinationResult:
        """The result of a destination that nothing was written to."""
        location = place.found.path if place.found else place.label
        state = State.SKIPPED if place.is_alive else State.FAILED
        return DestinationResult(location=location, label=place.label, state=state, error=place.failure)

    def _result(self, hashes: dict[str, str], destinations: Sequence[DestinationResult], plan: Plan) -> CopyResult:
        assert self._source is not None
        size = self._source.snapshot.size
        return CopyResult(
            source=self._source_path,
            size=self._source.position if size is None else size,
            hashes=hashes,
            destinations=tuple(destinations),
            duration=monotonic() - self._started_at,
            strategy=plan.strategy,
        )

    def _close(self, complete: set[str]) -> None:
        """Close what is open, remove the folders that were made for nothing, and end the threads.

        What hangs is left alone: what its thread holds stays its own. Closing may hang, too, so each
        destination does it in its own lane.
        """

        def leave(place: _FilePlace) -> None:
            with place.watch("close"):
                if place.lock is not None:
                    place.lock.release()
                    self._observer(PartialEvent(os.path.join(place.lock.folder.path, place.lock.name), exists=False))
                if place.folder is not None:
                    place.folder.close()

        def close_source() -> None:
            assert self._source is not None
            with self._source.watch("close"):
                self._source.close()

        crew = self._crew
        if crew is not None:
            assert self._source_lane is not None
            tasks = []
            for place in self._places.all:
                # On the single path it is the source's lane that hangs in a destination.
                hangs_elsewhere = place.watch.is_busy and not crew.lanes[place.number].is_given_up
                lane = self._source_lane if hangs_elsewhere else crew.lanes[place.number]
                tasks.append(lane.submit(partial(leave, place), place.watch))
            if self._source is not None:
                tasks.append(self._source_lane.submit(close_source, self._source.watch))
            # A lane that was given up does it when it comes back, which nobody waits for.
            self._supervisor.wait([task for task in tasks if not task.lane.is_given_up])
            self._places.remove_made(lambda place: place.label not in complete)
        self._supervisor.close()


def require_usable(path: str) -> None:
    """Refuse what no system takes as a path.

    Raises:
        UsageError: it is empty, or holds a NUL or what cannot be encoded.
    """
    if not path:
        raise UsageError("an empty path names nothing")
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        raise UsageError(f"{printable(path)}: no file system can hold this name") from None
    if b"\0" in raw:
        raise UsageError(f"{printable(path)}: a path cannot hold a NUL")
