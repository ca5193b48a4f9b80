"""One file to all its destinations, by the path that the plan names."""

import threading
from collections.abc import Iterable, Sequence

from pfndispatchcopy.engine.crew import Crew, Reading
from pfndispatchcopy.engine.destination import CopyContext, DestinationCopy, Target
from pfndispatchcopy.engine.lanes import OperationWatch
from pfndispatchcopy.engine.parallel import copy_parallel
from pfndispatchcopy.engine.single import copy_single
from pfndispatchcopy.engine.source import SourceFailureError, SourceFile
from pfndispatchcopy.errors import OperationCancelledError
from pfndispatchcopy.events import ErrorEvent
from pfndispatchcopy.fileio.folders import DestinationFolder
from pfndispatchcopy.model import DestinationResult, Strategy

__all__ = ["copy_file"]


def copy_file(
    source: SourceFile,
    places: Sequence[tuple[Target, DestinationFolder, OperationWatch]],
    crew: Crew,
    reading: Reading,
    context: CopyContext,
    strategy: Strategy,
    cancel: threading.Event,
) -> tuple[dict[str, str], list[DestinationResult]]:
    """Copy one open source to all *places*: where each copy goes, its open folder, and who watches over it.

    Returns:
        The digests asked for (none when the source could not be read to its end), and one result for
        each place, in order. Whatever fails is in the results.
    """
    held = {target.number: (folder, watch) for target, folder, watch in places}

    def make(target: Target) -> DestinationCopy:
        folder, watch = held[target.number]
        return DestinationCopy(target, folder, source.snapshot, watch, context)

    copies = {target.number: make(target) for target, _, _ in places}

    restarted: list[SourceFile] = []

    def restart(unsettled: Sequence[DestinationCopy]) -> tuple[SourceFile, list[DestinationCopy]]:
        # What the hung thread still holds stays its own: nothing of it is closed or used again.
        for copy in unsettled:
            copy.abandon()
            copies[copy.target.number] = make(copy.target)
            context.tracker.begin_again(copy.target.number)
        watch = crew.supervisor.watch(source.path)

        def open_again() -> None:
            restarted.append(source.opened_again(watch))

        task = crew.source_lane.submit(open_again, watch)
        crew.supervisor.wait([task])
        if task.error is not None:
            raise source.failure(task.error)
        return restarted[-1], [copies[copy.target.number] for copy in unsettled]

    def run(taking_part: Sequence[DestinationCopy], *, is_second_pass: bool) -> dict[str, str]:
        latest = restarted[-1] if restarted else source
        if is_second_pass:
            latest.rewind()
        if strategy is Strategy.SINGLE:
            return copy_single(
                latest, taking_part, crew, reading, cancel, is_second_pass=is_second_pass, restart=restart
            )
        return copy_parallel(latest, taking_part, crew, reading, cancel, is_second_pass=is_second_pass)

    hashes: dict[str, str] = {}
    try:
        hashes = run(list(copies.values()), is_second_pass=False)
        differing = [copy for copy in copies.values() if copy.wants_second_pass and not copy.is_settled]
        if differing:
            # What was there turned out to differ and is to be replaced: the one case in which the
            # source is read again without being asked to.
            hashes = run(differing, is_second_pass=True) or hashes
    except SourceFailureError as error:
        context.observer(ErrorEvent(error.notice))
        _settle_rest(copies.values(), error)
    except OperationCancelledError as error:
        _settle_rest(copies.values(), error)
    finally:
        closing = [crew.source_lane.submit(again.close, again.watch) for again in restarted]
        if not crew.source_lane.is_given_up:
            crew.supervisor.wait(closing)
    return hashes, [copies[target.number].result for target, _, _ in places]


def _settle_rest(copies: Iterable[DestinationCopy], error: Exception) -> None:
    for copy in copies:
        copy.fail(error)
