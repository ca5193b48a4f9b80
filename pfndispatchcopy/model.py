"""The values that flow through the program; no behaviour but derived facts.

Most are named tuples: as frozen, slotted and picklable as data classes, and made in a sixth of the time,
which every start of the command pays (benchmarks/exp_startup.py). The two results answer to names as keys,
which tuples do not, and are written out.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pfndispatchcopy.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "STANDARD_INPUT",
    "CheckResult",
    "CheckedResult",
    "Conflict",
    "CopyResult",
    "DestinationResult",
    "Identity",
    "Mhl",
    "Notice",
    "Phase",
    "Preserve",
    "ReadBack",
    "SourceSnapshot",
    "State",
    "Strategy",
    "Symlinks",
    "TreeDestinationResult",
    "TreeResult",
    "Verify",
    "VerifySource",
    "decide_exit_code",
]

STANDARD_INPUT = "-"


class State(StrEnum):
    """How a destination, or a file on it, ended."""

    VERIFIED = "verified"
    COPIED = "copied"
    IDENTICAL = "identical"
    SKIPPED = "skipped"
    FAILED = "failed"
    MISMATCH = "mismatch"
    CANCELLED = "cancelled"

    @property
    def is_complete(self) -> bool:
        """Whether the destination holds what it was asked to hold."""
        return self in (State.VERIFIED, State.COPIED, State.IDENTICAL, State.SKIPPED)


class ReadBack(StrEnum):
    """How the bytes of a copy were compared: past the page cache, or not."""

    DIRECT = "direct"
    EVICTED = "evicted"
    MEMORY = "memory"
    CACHED = "cached"
    NONE = "none"

    @property
    def is_proof(self) -> bool:
        """Whether the medium itself was read, so that what was equal counts as verified."""
        return self in (ReadBack.DIRECT, ReadBack.EVICTED, ReadBack.MEMORY)


class Strategy(StrEnum):
    """The path that the data takes."""

    AUTO = "auto"
    SINGLE = "single"
    PARALLEL = "parallel"
    BATCH = "batch"
    MIXED = "mixed"


class Phase(StrEnum):
    """What an offload is busy with."""

    COPY = "copy"
    VERIFY = "verify"


class Verify(StrEnum):
    """Whether the copies are read back from the medium."""

    NONE = "none"
    DESTINATION = "destination"


class VerifySource(StrEnum):
    """Whether, and when, the source is read a second time."""

    NONE = "none"
    PER_FILE = "per-file"
    AFTER_ALL = "after-all"


class Conflict(StrEnum):
    """What to do with an existing destination file whose content differs."""

    ERROR = "error"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    RENAME = "rename"


class Symlinks(StrEnum):
    """What to do with a symbolic link in a folder."""

    COPY = "copy"
    FOLLOW = "follow"
    SKIP = "skip"


class Mhl(StrEnum):
    """The kind of media hash list that is written into every destination."""

    NONE = "none"
    LEGACY = "legacy"
    ASC = "asc"


class Preserve(StrEnum):
    """What of the source's metadata a copy keeps."""

    MODE = "mode"
    TIMES = "times"
    XATTR = "xattr"
    OWNER = "owner"


class Identity(NamedTuple):
    """Which file-system object this is: device and inode number."""

    device: int
    inode: int


class SourceSnapshot(NamedTuple):
    """A source file as it was when it was opened.

    Attributes:
        identity: device and inode; compared again after reading.
        size: in bytes; None for a stream, whose size only its end tells.
        mode: permission bits.
        mtime_ns, ctime_ns, atime_ns: nanoseconds since the epoch.
        owner, group: numeric.
        xattrs: extended attributes of the ``user`` namespace.
    """

    identity: Identity
    size: int | None
    mode: int = 0o666
    mtime_ns: int = 0
    ctime_ns: int = 0
    atime_ns: int = 0
    owner: int = -1
    group: int = -1
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Notice(NamedTuple):
    """A warning or an error, with what a person and a script need to act on it.

    Attributes:
        message: one sentence or more: what happened, where, what state things are in, what to do.
            Free of control characters.
        path: the path it is about, exact.
        operation: what was being done: ``open``, ``write``, ``flush``, ``rename``, ``verify`` …
        errno: the system's name for the reason, such as ``ENOSPC``, or None.
        destination: the destination it concerns, as the caller spelled it, or None.
    """

    message: str
    path: str
    operation: str
    errno: str | None = None
    destination: str | None = None


class _Result:
    """Frozen, picklable, and answers to keys as well as to attributes: ``result["success"]``."""

    __slots__: tuple[str, ...] = ()
    _derived: ClassVar[tuple[str, ...]] = ()

    def _fill(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a result cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a result cannot be changed: {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self._values().values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Result) and type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"

    def keys(self) -> tuple[str, ...]:
        """The keys that it answers to."""
        return (*self.__slots__, *self._derived)

    def __getitem__(self, key: str) -> Any:
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def get(self, key: str, default: Any = None) -> Any:
        """Return what *key* holds, or *default* where there is no such key."""
        return self[key] if key in self else default  # noqa: SIM401 - this is that method


class DestinationResult(_Result):
    """One file on one destination.

    Attributes:
        location: where the copy is, or would have been; :attr:`path` is the same as a Path.
        label: the destination as the caller spelled it.
        state: how it ended.
        read_back: how the bytes were compared.
        bytes_written: what was written, in bytes; 0 for an identical file.
        duration_s: from the start of the copy until this destination was done, in seconds.
        error: why it is not complete as asked for; None where it is.
    """

    __slots__ = ("location", "label", "state", "read_back", "bytes_written", "duration_s", "error")  # noqa: RUF023
    _derived = ("path", "success", "speed_mb_sec")

    location: str
    label: str
    state: State
    read_back: ReadBack
    bytes_written: int
    duration_s: float
    error: Notice | None

    def __init__(
        self,
        location: str,
        label: str,
        state: State,
        read_back: ReadBack = ReadBack.NONE,
        bytes_written: int = 0,
        duration_s: float = 0.0,
        error: Notice | None = None,
    ) -> None:
        self._fill(
            location=location,
            label=label,
            state=state,
            read_back=read_back,
            bytes_written=bytes_written,
            duration_s=duration_s,
            error=error,
        )

    @property
    def path(self) -> "Path":
        """Where the copy is, or would have been."""
        from pathlib import Path  # noqa: PLC0415 - 8 ms that the command does not need (benchmarks/exp_startup.py)

        return Path(self.location)

    @property
    def success(self) -> bool:
        """Whether this destination is complete, and verified where that was asked for."""
        return self.error is None and self.state.is_complete

    @property
    def speed_mb_sec(self) -> float:
        """Megabytes (10^6 bytes) written a second, over the whole time until it was done."""
        return _megabytes_a_second(self.bytes_written, self.duration_s)


class CopyResult(_Result):
    """One file and all its destinations.

    Attributes:
        source: what was read; ``-`` is standard input.
        size: of the source, in bytes; for a stream that failed, what was read of it.
        hashes: digests by canonical name; empty when the source could not be read to its end.
        destinations: one result each, in the order asked for.
        duration: of the whole, in seconds.
        strategy: the path that the data took.
    """

    __slots__ = ("source", "size", "hashes", "destinations", "duration", "strategy")  # noqa: RUF023
    _derived = ("success", "speed_mb_sec", "hash", "exit_code")

    source: str
    size: int
    hashes: dict[str, str]
    destinations: tuple[DestinationResult, ...]
    duration: float
    strategy: Strategy

    def __init__(
        self,
        source: str,
        size: int,
        hashes: dict[str, str],
        destinations: tuple[DestinationResult, ...],
        duration: float,
        strategy: Strategy,
    ) -> None:
        self._fill(
            source=source,
            size=size,
            hashes=hashes,
            destinations=destinations,
            duration=duration,
            strategy=strategy,
        )

    @property
    def success(self) -> bool:
        """Whether every destination is complete, and verified where that was asked for."""
        return all(destination.success for destination in self.destinations)

    @property
    def hash(self) -> str | None:
        """The digest asked for first; None when the source could not be read to its end."""
        return next(iter(self.hashes.values()), None)

    @property
    def speed_mb_sec(self) -> float:
        """Megabytes (10^6 bytes) of the source a second, over the whole run."""
        return _megabytes_a_second(self.size, self.duration)

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with after this."""
        return decide_exit_code(self.destinations)


class TreeDestinationResult(_Result):
    """All files of a tree on one destination.

    Attributes:
        label: the destination as the caller spelled it; :attr:`path` is the same as a Path.
        state: of all of it: the worst of its files, and of good ones how they were proven.
        files_ok: files that are complete there.
        files_failed: files that are not.
        bytes_ok: of the complete files.
        duration_s: from the start until the last of its files was done, in seconds.
        error: why it is not complete; the first reason where there are several.
    """

    __slots__ = ("label", "state", "files_ok", "files_failed", "bytes_ok", "duration_s", "error")  # noqa: RUF023
    _derived = ("path", "success", "speed_mb_sec")

    label: str
    state: State
    files_ok: int
    files_failed: int
    bytes_ok: int
    duration_s: float
    error: Notice | None

    def __init__(
        self,
        label: str,
        state: State,
        files_ok: int = 0,
        files_failed: int = 0,
        bytes_ok: int = 0,
        duration_s: float = 0.0,
        error: Notice | None = None,
    ) -> None:
        self._fill(
            label=label,
            state=state,
            files_ok=files_ok,
            files_failed=files_failed,
            bytes_ok=bytes_ok,
            duration_s=duration_s,
            error=error,
        )

    @property
    def path(self) -> "Path":
        """The folder that was named."""
        from pathlib import Path  # noqa: PLC0415 - 8 ms that the command does not need (benchmarks/exp_startup.py)

        return Path(self.label)

    @property
    def success(self) -> bool:
        """Whether everything is complete there, and verified where that was asked for."""
        return self.error is None and self.state.is_complete

    @property
    def speed_mb_sec(self) -> float:
        """Megabytes (10^6 bytes) a second, over the whole time until it was done."""
        return _megabytes_a_second(self.bytes_ok, self.duration_s)


class TreeResult(_Result):
    """A folder, or several sources, and all destinations.

    Attributes:
        sources: as the caller spelled them.
        files: in the sources, without what was left out.
        size: of all of them, in bytes.
        destinations: one result each, in the order asked for.
        duration: of the whole, in seconds.
        strategy: the path that the data took.
        failures: what could not even be listed: it is missing everywhere.
        left_out: how much was left out because that was asked for; a folder counts once.
    """

    __slots__ = ("sources", "files", "size", "destinations", "duration", "strategy", "failures", "left_out")  # noqa: RUF023
    _derived = ("success", "speed_mb_sec", "exit_code")

    sources: tuple[str, ...]
    files: int
    size: int
    destinations: tuple[TreeDestinationResult, ...]
    duration: float
    strategy: Strategy
    failures: tuple[Notice, ...]
    left_out: int

    def __init__(
        self,
        sources: tuple[str, ...],
        files: int,
        size: int,
        destinations: tuple[TreeDestinationResult, ...],
        duration: float,
        strategy: Strategy,
        failures: tuple[Notice, ...] = (),
        left_out: int = 0,
    ) -> None:
        self._fill(
            sources=sources,
            files=files,
            size=size,
            destinations=destinations,
            duration=duration,
            strategy=strategy,
            failures=failures,
            left_out=left_out,
        )

    @property
    def success(self) -> bool:
        """Whether everything is complete on every destination, and verified where that was asked for."""
        return not self.failures and all(destination.success for destination in self.destinations)

    @property
    def speed_mb_sec(self) -> float:
        """Megabytes (10^6 bytes) of the sources a second, over the whole run."""
        return _megabytes_a_second(self.size, self.duration)

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with after this."""
        if any(result.state is State.MISMATCH for result in self.destinations):
            return ExitCode.MISMATCH
        if self.success:
            return ExitCode.OK
        is_anything_complete = any(result.files_ok or result.success for result in self.destinations)
        return ExitCode.PARTIAL if is_anything_complete else ExitCode.FAILED


class CheckedResult(_Result):
    """What was found of the lists that one argument means.

    Attributes:
        label: the argument as the caller spelled it; :attr:`path` is the same as a Path.
        state: ``verified``; ``mismatch`` where a file has changed; else ``failed``, or ``cancelled``.
        verified: files whose digests are right, read past the page cache.
        changed: files that are not what the lists say.
        missing: files and folders that are listed and not there.
        new: files that no list knows.
        failed: files that could not be compared, or not on the medium.
        bytes_verified: of the verified files.
        duration_s: from the start until the last of its files was done, in seconds.
        is_trusted: whether all of its lists could be read, and may be believed.
        error: the first reason why it is not verified.
    """

    __slots__ = (  # noqa: RUF023
        "label",
        "state",
        "verified",
        "changed",
        "missing",
        "new",
        "failed",
        "bytes_verified",
        "duration_s",
        "is_trusted",
        "error",
    )
    _derived = ("path", "success", "speed_mb_sec")

    label: str
    state: State
    verified: int
    changed: int
    missing: int
    new: int
    failed: int
    bytes_verified: int
    duration_s: float
    is_trusted: bool
    error: Notice | None

    def __init__(  # noqa: PLR0917 - as many as there are fields: pickle gives them by their places
        self,
        label: str,
        state: State,
        verified: int = 0,
        changed: int = 0,
        missing: int = 0,
        new: int = 0,
        failed: int = 0,
        bytes_verified: int = 0,
        duration_s: float = 0.0,
        is_trusted: bool = True,
        error: Notice | None = None,
    ) -> None:
        self._fill(
            label=label,
            state=state,
            verified=verified,
            changed=changed,
            missing=missing,
            new=new,
            failed=failed,
            bytes_verified=bytes_verified,
            duration_s=duration_s,
            is_trusted=is_trusted,
            error=error,
        )

    @property
    def path(self) -> "Path":
        """The list or the folder that was named."""
        from pathlib import Path  # noqa: PLC0415 - 8 ms that the command does not need (benchmarks/exp_startup.py)

        return Path(self.label)

    @property
    def success(self) -> bool:
        """Whether every listed file is there and verified, and no other one."""
        return self.error is None and self.state in (State.VERIFIED, State.SKIPPED)

    @property
    def speed_mb_sec(self) -> float:
        """Megabytes (10^6 bytes) verified a second, over the whole time until it was done."""
        return _megabytes_a_second(self.bytes_verified, self.duration_s)


class CheckResult(_Result):
    """What was found of all lists of a check.

    Attributes:
        checked: one result for each argument, in their order.
        files: that the lists speak of.
        size: of those that are there, in bytes.
        duration: of the whole, in seconds.
        left_out: how much was left out because that was asked for; a folder counts once.
    """

    __slots__ = ("checked", "files", "size", "duration", "left_out")  # noqa: RUF023
    _derived = ("success", "speed_mb_sec", "exit_code")

    checked: tuple[CheckedResult, ...]
    files: int
    size: int
    duration: float
    left_out: int

    def __init__(
        self, checked: tuple[CheckedResult, ...], files: int, size: int, duration: float, left_out: int = 0
    ) -> None:
        self._fill(checked=checked, files=files, size=size, duration=duration, left_out=left_out)

    @property
    def success(self) -> bool:
        """Whether every listed file is there and verified, and no other one."""
        return all(each.success for each in self.checked)

    @property
    def speed_mb_sec(self) -> float:
        """Megabytes (10^6 bytes) verified a second, over the whole run."""
        return _megabytes_a_second(sum(each.bytes_verified for each in self.checked), self.duration)

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with after this: what has changed beats what cannot be trusted, and that the rest."""
        if any(each.changed for each in self.checked):
            return ExitCode.MISMATCH
        if not all(each.is_trusted for each in self.checked):
            return ExitCode.REFUSED
        return ExitCode.OK if self.success else ExitCode.PARTIAL


def decide_exit_code(destinations: Iterable[DestinationResult]) -> ExitCode:
    """The table of exit codes: a mismatch beats the rest; then all, some or none complete."""
    results = tuple(destinations)
    if any(result.state is State.MISMATCH for result in results):
        return ExitCode.MISMATCH
    if all(result.success for result in results):
        return ExitCode.OK
    if any(result.state.is_complete for result in results):
        return ExitCode.PARTIAL
    return ExitCode.FAILED


def _megabytes_a_second(size: int, duration_s: float) -> float:
    return size / 1e6 / duration_s if duration_s > 0 else 0.0
