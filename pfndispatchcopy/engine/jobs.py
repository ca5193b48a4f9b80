"""Jobs: what an executor is given, what it gives back, and the loops that fall between them.

A job is one large file, or a batch of small ones, with all that is needed to copy it: it may be run by this
thread, by another one, or by another process. What comes back is data, too: failures of files and destinations
are in it.
"""

from typing import NamedTuple

from pfndispatchcopy.engine.crew import ChunkSizes, Digests
from pfndispatchcopy.events import ErrorEvent, WarningEvent
from pfndispatchcopy.model import Identity, Notice, ReadBack, State, Strategy
from pfndispatchcopy.options import CopyOptions

__all__ = [
    "FATAL_FOR_DESTINATION",
    "FATAL_FOR_SOURCE",
    "FileReport",
    "Job",
    "JobFile",
    "JobReport",
    "JobRow",
    "JobSetup",
    "Landmark",
    "Outcome",
    "Presence",
    "Settled",
    "Token",
    "TreeSource",
    "TreeTarget",
]

_GONE = frozenset({"ENODEV", "ENXIO", "ENOTCONN", "ESTALE", "ESHUTDOWN"})
# After one of these, what comes later would fail as well.
FATAL_FOR_DESTINATION = _GONE | {"ENOSPC", "EDQUOT", "EROFS"}
FATAL_FOR_SOURCE = _GONE


class TreeTarget(NamedTuple):
    """One destination of a tree.

    Attributes:
        number: its place among the destinations.
        label: as the caller spelled it.
        path: of its root folder, absolute: another process may be elsewhere.
        identity: of that folder, when it was opened; None when it is to be taken as it is found.
        is_memory: whether the medium is memory.
        is_forced: whether it is forced to stable storage.
        fresh: the roots of the source whose folder there was made by this run: nothing in it has to be looked for.
    """

    number: int
    label: str
    path: str
    identity: Identity | None
    is_memory: bool
    is_forced: bool
    fresh: frozenset[int] = frozenset()


class TreeSource(NamedTuple):
    """One root of a tree.

    Attributes:
        label: what to call its folder in messages.
        path: of that folder, absolute.
        prefix: path below a destination that its content goes to.
        follow: whether links in it are followed.
        identity: of that folder, when it was opened; None when it is to be taken as it is found.
    """

    label: str
    path: str
    prefix: str
    follow: bool = False
    identity: Identity | None = None


class Token(NamedTuple):
    """A small file in a destination's root while the offload goes on: its name there, and what is in it."""

    destination: int
    name: str
    content: bytes


class Landmark(NamedTuple):
    """A file by which a source is recognised: where it is, and what is known of it."""

    source: int
    folder: str
    name: str
    size: int
    mtime_ns: int
    inode: int


class Presence(NamedTuple):
    """What a process has to see that was not forked from the one that runs the offload, maybe on another host.

    Attributes:
        kernel: tells the system of this offload from others, which number their devices otherwise.
        tokens: of the destinations. When all are gone, the offload is over.
        landmarks: of the sources.
    """

    kernel: str
    tokens: tuple[Token, ...]
    landmarks: tuple[Landmark, ...]


class JobSetup(NamedTuple):
    """What all jobs of an offload have in common.

    Attributes:
        key: tells this offload from all others.
        sources: the roots.
        targets: the destinations.
        options: how to copy.
        digests: to take.
        sizes: of the memory of one job that copies a large file.
        largest_small: bytes of the largest file that a batch may hold in memory.
        wants_files: whether a report of each file is wanted, and not only what they come to together.
        presence: what others have to see before they do a job; None where all are forked from this process.
    """

    key: str
    sources: tuple[TreeSource, ...]
    targets: tuple[TreeTarget, ...]
    options: CopyOptions
    digests: Digests
    sizes: ChunkSizes
    largest_small: int
    wants_files: bool = True
    presence: Presence | None = None


class JobFile(NamedTuple):
    """One file of a job: its number in the offload, and where it is below its root."""

    number: int
    folder: str
    name: str
    size: int
    is_link: bool

    @property
    def path(self) -> str:
        """Relative to the root."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


# The fields of a JobFile: as a bare tuple it is made and sent to another process in a fraction of the time.
JobRow = tuple[int, str, str, int, bool]


class Job(NamedTuple):
    """A piece of work: files of one root, to the destinations with these numbers, by one path."""

    setup: JobSetup
    root: int
    strategy: Strategy
    rows: tuple[JobRow, ...]
    targets: tuple[int, ...]

    def files(self) -> list[JobFile]:
        """Its files."""
        return [JobFile._make(row) for row in self.rows]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum([row[3] for row in self.rows])


class Outcome(NamedTuple):
    """How one file ended on one destination; *name* only where it is not the wanted one."""

    number: int
    state: State
    read_back: ReadBack = ReadBack.NONE
    name: str = ""
    error: Notice | None = None


class FileReport(NamedTuple):
    """How one file ended.

    Attributes:
        number: its number in the offload.
        size: bytes read.
        mtime_ns: of the source.
        digests: in the order asked for; empty when the source could not be read, and for links.
        outcomes: one for each destination of the job.
    """

    number: int
    size: int
    mtime_ns: int
    digests: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


class Settled(NamedTuple):
    """Files of a job that ended alike on one destination.

    Attributes:
        outcome: how.
        files: how many.
        size: of all of them, in bytes.
        line: what the record of the destination is to be told of them; empty when nothing.
    """

    outcome: Outcome
    files: int
    size: int
    line: bytes


class JobReport(NamedTuple):
    """What came of a job.

    Attributes:
        settled: what became of its files, those that ended alike together.
        files: one report for each file, in the order of the job, where that is wanted.
        notices: warnings and errors, in the order in which they came.
        dead: destinations that are of no use any more, each with the reason.
        source_gone: why the source is of no use any more, or None.
        has_given_up: whether a thread was left behind in the kernel.
        is_counted: whether the progress of its bytes has been told already.
        was_stopped: whether whoever did it took the offload for over, and left files undone.
    """

    settled: tuple[Settled, ...]
    files: tuple[FileReport, ...] = ()
    notices: tuple[ErrorEvent | WarningEvent, ...] = ()
    dead: tuple[tuple[int, Notice], ...] = ()
    source_gone: Notice | None = None
    has_given_up: bool = False
    is_counted: bool = False
    was_stopped: bool = False
