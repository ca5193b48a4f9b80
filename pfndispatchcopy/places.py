"""The destinations of a run on their way through the preflight, each in a lane of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from pfndispatchcopy.engine.lanes import Lane, OperationWatch, Supervisor, Task
from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.events import ErrorEvent, Observer
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.notices import failure_notice
from pfndispatchcopy.printable import printable

if TYPE_CHECKING:
    from pfndispatchcopy.fileio.folders import DestinationFolder
    from pfndispatchcopy.model import Notice

__all__ = ["Place", "Places", "same_destination", "same_file"]


class Place:
    """One destination of a run.

    Attributes:
        number: its place on the command line.
        label: as the caller spelled it.
        watch: shows what is done there.
        folder: what was opened there.
        probe: name of the file that it is recognised by, while that exists.
        failure: why it takes no part any more.
        was_given_up: whether a thread of this run hangs there.
    """

    def __init__(self, number: int, label: str, watch: OperationWatch) -> None:
        self.number = number
        self.label = label
        self.watch = watch
        self.folder: DestinationFolder | None = None
        self.probe: str | None = None
        self.failure: Notice | None = None
        self.was_given_up = False

    @property
    def is_alive(self) -> bool:
        """Whether it takes part."""
        return self.failure is None

    @property
    def path(self) -> str:
        """What to call it in messages."""
        return self.label

    @property
    def probed_name(self) -> str:
        """The name that its probe stands for."""
        return "."

    @contextmanager
    def probe_removed_after(self) -> Iterator[None]:
        """Take the probe back after what is done inside, also when that fails; see :meth:`remove_probe`."""
        try:
            yield
        except BaseException:
            failed, offset = self.watch.operation, self.watch.offset
            with suppress(OSError):
                self.remove_probe()
            self.watch(failed, offset)  # what failed is told, not what was done because of it
            raise
        self.remove_probe()

    def remove_probe(self) -> None:
        """Take the probe back; a folder that does not allow that is of no use.

        Raises:
            OSError: names cannot be changed or removed there.
        """
        if self.probe is not None and self.folder is not None:
            probe, self.probe = self.probe, None
            with self.watch("rename and remove a file"):
                self.folder.remove_probe(probe, self.probed_name)


_PlaceT = TypeVar("_PlaceT", bound=Place)


class Places(Generic[_PlaceT]):
    """All destinations of a run, and the lanes in which they are worked on.

    Args:
        all_places: one for each destination, in order.
        supervisor: waits for the lanes.
        observer: told of what fails.
    """

    def __init__(self, all_places: Sequence[_PlaceT], supervisor: Supervisor, observer: Observer) -> None:
        self.all = all_places
        self.lanes: list[Lane] = []
        self._supervisor = supervisor
        self._observer = observer

    def hire(self, system: System, descriptors_each: int, descriptors_beside: int) -> Lane:
        """Start a lane for each destination, and one for the source, which is returned.

        Raises:
            RefusedError: the system has not enough threads, memory or descriptors.
        """
        needed = descriptors_each * len(self.all) + descriptors_beside
        try:
            granted = system.raise_descriptor_limit(needed)
            if granted < needed:
                raise RefusedError(
                    f"{len(self.all)} destinations need {needed} open files, {granted} are allowed:"
                    " raise the limit (ulimit -n); nothing was written",
                    operation="limits",
                    errno="EMFILE",
                )
            source_lane = self._supervisor.lane("pfn-source")
            self.lanes = [self._supervisor.lane(f"pfn-destination-{place.number}") for place in self.all]
        except (RuntimeError, MemoryError, OSError, ValueError) as error:
            raise no_room_for(len(self.all), error) from error
        return source_lane

    @property
    def alive(self) -> list[_PlaceT]:
        """Those that take part."""
        return [place for place in self.all if place.is_alive]

    def for_each(
        self,
        step: Callable[[_PlaceT], None],
        *further: Task,
        aftermath: str = "Nothing was written there.",
    ) -> None:
        """Let every place that is alive take a step in its own lane; what fails fails that place only.

        Args:
            step: what to do.
            further: tasks to wait for at the same time.
            aftermath: what is left where it fails, as a sentence.

        Raises:
            UsageError, RefusedError: a step said that the whole run cannot be.
        """
        tasks = {self.lanes[place.number].submit(partial(step, place), place.watch): place for place in self.alive}
        self._supervisor.wait([*tasks, *further])
        for task, place in tasks.items():
            if task.error is None:
                continue
            if isinstance(task.error, UsageError | RefusedError):
                raise task.error
            place.was_given_up = task.lane.is_given_up
            place.failure = failure_notice(
                task.error,
                path=place.path,
                operation=place.watch.operation,
                destination=place.label,
                aftermath=aftermath,
            )

    def require_anyone(self) -> None:
        """Refuse when no destination is left; one that hangs is a failure, not a refusal.

        Raises:
            RefusedError: none is left.
        """
        if any(place.is_alive or place.was_given_up for place in self.all):
            return
        failures = [place.failure for place in self.all if place.failure is not None]
        raise RefusedError(
            "; ".join(failure.message for failure in failures),
            path=failures[0].path,
            operation=failures[0].operation,
            errno=failures[0].errno,
        )

    def remove_made(self, is_unwanted: Callable[[_PlaceT], bool]) -> None:
        """Remove the folders that were made for nothing, after everything is closed.

        One destination after the other, the latest first: what one has made may be below what another one has.
        """
        for place in reversed(self.all):
            folder = place.folder
            if not self.lanes or folder is None or not is_unwanted(place):
                continue
            lane = self.lanes[place.number]
            if not lane.is_given_up and not place.watch.is_busy:
                self._supervisor.wait([lane.submit(partial(_remove_made, place, folder), place.watch)])

    def tell_failures(self) -> None:
        """Tell of the places that take no part."""
        for place in self.all:
            if place.failure is not None:
                self._observer(ErrorEvent(place.failure))


def _remove_made(place: Place, folder: "DestinationFolder") -> None:
    with place.watch("remove the folder"):
        folder.remove_made()


def no_room_for(count: int, error: BaseException) -> RefusedError:
    """The refusal of a run that the system has no threads for."""
    return RefusedError(
        f"the system has no threads or memory for {count} destinations ({error}); nothing was written",
        operation="limits",
    )


def same_destination(one: str, other: str) -> RefusedError:
    """The refusal of a run with one destination under two names."""
    return RefusedError(
        f"{printable(one)} and {printable(other)} are the same destination; nothing was written",
        path=other,
        operation="same-destination",
    )


def same_file(label: str) -> RefusedError:
    """The refusal of a run that would copy something onto itself."""
    return RefusedError(
        f"{printable(label)}: source and destination are the same file; nothing was written",
        path=label,
        operation="same-file",
    )
