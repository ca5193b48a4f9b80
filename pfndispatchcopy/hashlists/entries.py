"""What hash lists say, whatever their format: the words that readers and writers of all of them share."""

from enum import StrEnum
from typing import NamedTuple

from pfndispatchcopy.errors import ExitCode, PfnDispatchCopyError

__all__ = [
    "Action",
    "ChainLink",
    "Creator",
    "HistoryReference",
    "IgnorePattern",
    "ListKind",
    "ListedDigest",
    "ListedFile",
    "ListedFolder",
    "RootHash",
    "SealedDigest",
    "SealedFile",
    "SealedFolder",
    "UntrustedListError",
]


class UntrustedListError(PfnDispatchCopyError):
    """A list cannot be read, or says what no honest list says: nothing it names is opened.

    The message is one line and says where in the list; the list itself is named by whoever read it.
    """

    exit_code = ExitCode.REFUSED


class ListKind(StrEnum):
    """Formats of lists."""

    ASC = "asc"
    LEGACY = "legacy"
    SUMS = "sums"


class Action(StrEnum):
    """What an ASC media hash list says a digest was to its history."""

    ORIGINAL = "original"
    VERIFIED = "verified"
    FAILED = "failed"


# -- what is read -----------------------------------------------------------------------------------------


class ListedDigest(NamedTuple):
    """One digest of a listed file.

    Attributes:
        name: a key of ``hashing.LISTED_ALGORITHMS``: the contract's names, and ``xxh32``.
        accepted: spelled as that algorithm prints it, lower case but for C4. More than one where the format
            leaves the order of the bytes open (legacy ``xxhash64``).
        action: of an ASC list; None elsewhere.
    """

    name: str
    accepted: tuple[str, ...]
    action: Action | None = None


class ListedFile(NamedTuple):
    """One file of a list.

    Attributes:
        path: relative to the folder that the list describes, with ``/``, proven to stay inside it.
        size: in bytes; None where the list does not say.
        digests: empty where the list has none, or none that is known: such a file is never good.
        previous_path: where an earlier generation had it; None where it was not moved.
    """

    path: str
    size: int | None
    digests: tuple[ListedDigest, ...]
    previous_path: str | None = None


class ListedFolder(NamedTuple):
    """A folder of an ASC list, with its directory hashes."""

    path: str
    content: tuple[ListedDigest, ...]
    structure: tuple[ListedDigest, ...]
    previous_path: str | None = None


class RootHash(NamedTuple):
    """The directory hashes of the folder that an ASC list describes."""

    content: tuple[ListedDigest, ...]
    structure: tuple[ListedDigest, ...]


class IgnorePattern(NamedTuple):
    """A pattern, as in ``.gitignore``, of what an ASC list leaves out."""

    pattern: str


class HistoryReference(NamedTuple):
    """An ASC list of a folder below, with the C4 ID of its bytes."""

    path: str
    c4: str


class ChainLink(NamedTuple):
    """One generation in the chain of an ASC history: its number, its file's name, the C4 ID of its bytes."""

    number: int
    name: str
    c4: str


# -- what is written --------------------------------------------------------------------------------------


class Creator(NamedTuple):
    """Who writes a list.

    Attributes:
        tool: name of the program.
        version: of the program.
        user: login name.
        full_name: of the user; empty where unknown.
        host: name of the machine.
    """

    tool: str
    version: str
    user: str
    full_name: str
    host: str


class SealedDigest(NamedTuple):
    """One digest to be written: canonical name, text, and for an ASC list what it is to the history."""

    name: str
    text: str
    action: Action = Action.ORIGINAL


class SealedFile(NamedTuple):
    """One file to be written into a list.

    Attributes:
        path: relative to the folder that the list describes, with ``/``, as it is called on the destination.
        size: in bytes.
        mtime_ns: modification time, nanoseconds since the epoch.
        digests: at least one that the list can hold.
        hashed_at: seconds since the epoch at which the digests were compared.
        previous_path: see :class:`ListedFile`.
    """

    path: str
    size: int
    mtime_ns: int
    digests: tuple[SealedDigest, ...]
    hashed_at: float
    previous_path: str | None = None


class SealedFolder(NamedTuple):
    """One folder to be written into an ASC list; the digests are directory hashes, by canonical name.

    Attributes:
        path: as of a file; empty for the folder that the list describes.
        mtime_ns: modification time; None where it is not known.
        content: of the bytes below.
        structure: of the names below.
        hashed_at: seconds since the epoch.
    """

    path: str
    mtime_ns: int | None
    content: tuple[tuple[str, str], ...]
    structure: tuple[tuple[str, str], ...]
    hashed_at: float
