"""The last step of a tree: every destination that is complete gets what is handed over with it.

What cannot be written fails the destination, although its copies are good: they were not all that was asked for.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from time import time

from pfndispatchcopy.engine.jobs import FileReport, Outcome
from pfndispatchcopy.engine.lanes import Supervisor
from pfndispatchcopy.events import AmendedEvent, ErrorEvent, Observer, WarningEvent
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.handover.asc import Contradiction
from pfndispatchcopy.handover.creator import this_program
from pfndispatchcopy.handover.possible import require_possible
from pfndispatchcopy.handover.writing import Medium
from pfndispatchcopy.model import DestinationResult, Mhl, Notice, State
from pfndispatchcopy.notices import failure_notice
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.places import Places
from pfndispatchcopy.printable import printable
from pfndispatchcopy.tree.handover import Receiver, TreeHandOver, without_chains
from pfndispatchcopy.tree.places import TreePlace
from pfndispatchcopy.tree.scan import Tree

__all__ = ["Delivery"]

_OPERATION = "write the lists"


class Delivery:
    """Collects while a tree is copied, and writes at the end.

    Args:
        system: the calls.
        options: how to copy.
        places: the destinations.
        supervisor: waits for them.
        observer: told of what happens.

    Raises:
        UsageError: what is to be handed over cannot be had.
    """

    def __init__(
        self,
        system: System,
        options: CopyOptions,
        places: Places[TreePlace],
        supervisor: Supervisor,
        observer: Observer,
    ) -> None:
        require_possible(options, is_tree=True)
        self._system = system
        self._options = options
        self._places = places
        self._supervisor = supervisor
        self._observer = observer
        self._hand_over = TreeHandOver(system, options, Tree(()), this_program(system))
        self._is_whole = False
        self._prefix = ""

    def list_sources(self, tree: Tree, handles: Sequence[FolderHandle], going_on: Callable[[], None]) -> None:
        """Take note of what is copied, and read the histories that it has.

        Raises:
            OSError, RefusedError: a history cannot be read, or is not whole.
            UsageError: these sources cannot be listed together.
        """
        if self._options.mhl is Mhl.ASC:
            without_chains(tree)
        self._is_whole = not tree.failures
        self._prefix = f"{tree.roots[0].prefix}/" if len(tree.roots) == 1 else ""
        self._hand_over = TreeHandOver(self._system, self._options, tree, this_program(self._system))
        self._hand_over.read_source(handles, going_on)

    def look(self, place: TreePlace, going_on: Callable[[], None]) -> None:
        """Read the histories that a destination has.

        Raises:
            OSError, UntrustedListError: one cannot be read, or is not whole.
        """
        if self._options.mhl is not Mhl.ASC or place.found is None:
            return
        try:
            root = self._system.open_folder(place.found.path)
        except FileNotFoundError:
            return
        try:
            place.histories = self._hand_over.read_destination(root, going_on)
        finally:
            self._system.close_folder(root)

    def settle_options(self) -> CopyOptions:
        """The options to copy with: with every digest that a history wants to be compared by."""
        self._options = self._hand_over.take_also([place.histories for place in self._places.alive])
        return self._options

    def record(self, reports: Sequence[FileReport]) -> None:
        """Take note of files that are done."""
        now = time()
        for report in reports:
            self._hand_over.record(report, now)

    def deliver(self, *, is_over: bool) -> None:
        """Write the lists, on all destinations at once.

        Args:
            is_over: whether the run was stopped, or the source is gone: then nothing is complete.
        """
        whole = [place for place in self._places.alive if place.tally.first_error is None]
        if is_over or not self._is_whole:
            whole = []
        for place in self._places.alive:
            if place in whole:
                continue
            text = "no list was written, because not everything is complete: run the same command again"
            self._warn(place, text)
            if place.tally.first_error is None:  # the copies are complete, and not all that was asked for
                notice = Notice(printable(f"{place.label}: {text}"), place.label, _OPERATION, None, place.label)
                place.tally.add(Outcome(place.number, State.CANCELLED, error=notice), 0, 0)
        contradictions: dict[int, list[Contradiction]] = {}

        def write(place: TreePlace) -> None:
            with place.watch(_OPERATION):
                receiver = self._receiver(place)
                contradictions[place.number] = self._hand_over.write(receiver, is_verified=self._is_forced(place))

        tasks = {self._places.lanes[place.number].submit(partial(write, place), place.watch): place for place in whole}
        self._supervisor.wait(list(tasks))
        for task, place in tasks.items():
            if task.error is not None:
                place.was_given_up = task.lane.is_given_up
                self._fail(place, task.error)
                continue
            place.is_delivered = True
            if self._options.mhl is not Mhl.NONE and not self._is_forced(place):
                self._warn(place, "no media hash list: nothing is forced to the medium here, so nothing was verified")
            for each in contradictions[place.number]:
                self._contradict(place, each)
        for path in self._hand_over.unlisted:
            text = f"{path}: the copies are good, but a list cannot hold this name: the lists are without it"
            self._observer(WarningEvent(Notice(printable(text), path, _OPERATION, None, None)))

    def _is_forced(self, place: TreePlace) -> bool:
        return place.label not in self._options.no_flush

    def _receiver(self, place: TreePlace) -> Receiver:
        return Receiver(
            number=place.number,
            path=place.open_folder.handle.path,
            root=place.open_folder.handle,
            medium=Medium(self._system, place.is_memory, self._is_forced(place), place.watch.beat),
            histories=place.histories,
            resumed=place.records,
            warn=partial(self._warn, place),
        )

    def _warn(self, place: TreePlace, text: str) -> None:
        message = printable(f"{place.label}: {text}")
        self._observer(WarningEvent(Notice(message, place.label, _OPERATION, None, place.label)))

    def _fail(self, place: TreePlace, error: BaseException) -> None:
        notice = failure_notice(
            error,
            path=place.label,
            operation=_OPERATION,
            destination=place.label,
            aftermath="The copies are complete and stay; what was to be handed over with them is not.",
        )
        self._observer(ErrorEvent(notice))
        place.tally.add(Outcome(place.number, State.FAILED, error=notice), 0, 0)

    def _contradict(self, place: TreePlace, found: Contradiction) -> None:
        """A true copy of something that is not what a media hash list says."""
        path = os.path.join(place.label, found.path)
        text = (
            f"{path}: the copy is what the source holds, {found.name}:{found.found}, but an earlier media hash list"
            f" says {found.name}:{found.listed}: the file was changed or damaged before this copy. The new list calls"
            " it failed; look for a good copy of it"
        )
        notice = Notice(printable(text), path, "compare with the history", None, place.label)
        self._observer(ErrorEvent(notice))
        place.tally.distrust(Outcome(place.number, State.MISMATCH, error=notice), found.size)
        result = DestinationResult(path, place.label, State.MISMATCH, error=notice)
        self._observer(AmendedEvent(found.path.removeprefix(self._prefix), found.size, {}, (result,)))
