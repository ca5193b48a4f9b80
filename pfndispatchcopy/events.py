"""What a run tells while it goes on. An observer is any callable that takes an event.

Events come from several threads, one at a time for each kind of source; an observer that keeps
state guards it. An observer that raises ends the run as an internal error: it is part of the program.
"""

from collections.abc import Callable
from typing import NamedTuple

from pfndispatchcopy.model import DestinationResult, Notice, Phase, Strategy

__all__ = [
    "AmendedEvent",
    "DestinationProgress",
    "ErrorEvent",
    "Event",
    "FileEvent",
    "LeftOutEvent",
    "Observer",
    "PartialEvent",
    "PlanEvent",
    "ProgressEvent",
    "Volume",
    "WarningEvent",
    "ignore_events",
]


class Volume(NamedTuple):
    """What a destination lies on.

    Attributes:
        path: of the destination, as spelled.
        device: number of the volume, equal for two destinations on one volume.
        filesystem: its type; empty where nobody can tell.
        mount_point: where it is mounted; empty where nobody can tell.
    """

    path: str
    device: int
    filesystem: str
    mount_point: str


class PlanEvent(NamedTuple):
    """What will be done, before anything is written.

    Attributes:
        files: number of source files.
        bytes: their size together, in bytes; None for a stream.
        strategy: the copy path.
        chunk_size: bytes.
        queue_depth: chunks that one destination may lag behind.
        jobs: files in flight at once.
        memory_bound: upper bound in bytes of all buffers together.
        reason: why this path, in words.
        free_bytes: by destination as spelled, bytes free on its volume; None where unknown.
        is_tree: whether this is a folder, or several sources, and not one file.
        volumes: what the destinations lie on.
    """

    files: int
    bytes: int | None
    strategy: Strategy
    chunk_size: int
    queue_depth: int
    jobs: int
    memory_bound: int
    reason: str
    free_bytes: tuple[tuple[str, int | None], ...] = ()
    is_tree: bool = False
    volumes: tuple[Volume, ...] = ()


class DestinationProgress(NamedTuple):
    """One destination at one moment; *rate* in bytes a second; *state* in a word, such as ``copying``.

    *bytes_done* is about the phase of the whole; *bytes_verified* is what was read back, also while that is copying.
    """

    path: str
    bytes_done: int
    rate: float
    state: str
    bytes_verified: int = 0


class ProgressEvent(NamedTuple):
    """How far the run is.

    Attributes:
        phase: copying, or reading back.
        bytes_done: in this phase, the minimum over the destinations still alive.
        bytes_total: of this phase; None for a stream.
        rate: bytes a second of the slowest destination.
        eta_s: seconds until everything is done, verification included; None while unknown.
        destinations: each one of them.
    """

    phase: Phase
    bytes_done: int
    bytes_total: int | None
    rate: float
    eta_s: float | None
    destinations: tuple[DestinationProgress, ...]


class FileEvent(NamedTuple):
    """A file is done, well or not, on all its destinations."""

    path: str
    size: int
    hashes: dict[str, str]
    destinations: tuple[DestinationResult, ...]


class AmendedEvent(NamedTuple):
    """What is known of a file beside the event of its own, on some of its destinations.

    An earlier run has proven it there, so that this one does not touch it; or it cannot be trusted after all.
    """

    path: str
    size: int
    hashes: dict[str, str]
    destinations: tuple[DestinationResult, ...]


class PartialEvent(NamedTuple):
    """A temporary name came to exist or is gone again: what a killed run would leave behind."""

    path: str
    exists: bool


class LeftOutEvent(NamedTuple):
    """Something in a source that is not copied because it was asked to be left out."""

    path: str
    reason: str


class WarningEvent(NamedTuple):
    """Something that a person should know and that fails nothing."""

    notice: Notice


class ErrorEvent(NamedTuple):
    """Something failed."""

    notice: Notice


Event = PlanEvent | ProgressEvent | FileEvent | AmendedEvent | PartialEvent | LeftOutEvent | WarningEvent | ErrorEvent
Observer = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """Take no notice."""
