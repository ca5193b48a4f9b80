"""What a run is asked to do, validated once; and the units that people write sizes and times in."""

import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.hashing import DEFAULT_HASH, canonical_name
from pfndispatchcopy.model import Conflict, Mhl, Preserve, Strategy, Symlinks, Verify, VerifySource
from pfndispatchcopy.selection import check_pattern

__all__ = [
    "DEFAULT_PRESERVE",
    "DEFAULT_STALL_TIMEOUT_S",
    "CopyOptions",
    "parse_preserve",
    "parse_seconds",
    "parse_size",
]

DEFAULT_PRESERVE = frozenset({Preserve.MODE, Preserve.TIMES, Preserve.XATTR})
DEFAULT_STALL_TIMEOUT_S = 300.0

_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{letter: 10 ** (3 * power) for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}b": 10 ** (3 * power) for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate("kmgt", 1)},
}
_Choice = TypeVar("_Choice", bound=StrEnum)
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([a-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Return a size in bytes: ``8388608``, ``8M`` (8·10^6), ``8MiB`` (8·2^20).

    K, M, G and T are powers of 1000, with or without a B behind; KiB, MiB, GiB and TiB of 1024.

    Raises:
        UsageError: it is no size, negative, or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a size; write bytes, or a number with K, M, G, KiB, MiB or GiB")
    whole, _, fraction = match[1].partition(".")
    scale: int = 10 ** len(fraction)
    scaled = int(whole + fraction) * unit
    if scaled % scale:
        raise UsageError(f"{text!r} is not a whole number of bytes")
    return scaled // scale


def parse_seconds(text: str) -> float:
    """Return a number of seconds that is not negative.

    Raises:
        UsageError: it is not.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{text!r} is not a number of seconds")
    return seconds


def parse_preserve(text: str) -> frozenset[Preserve]:
    """Return what to keep, from a comma-separated list of ``mode,times,xattr,owner``, ``all`` or ``none``.

    Raises:
        UsageError: a word is unknown.
    """
    words = [word.strip().lower() for word in text.split(",")]
    if words == ["all"]:
        return frozenset(Preserve)
    if words == ["none"]:
        return frozenset()
    try:
        return frozenset(Preserve(word) for word in words)
    except ValueError:
        raise UsageError(f"{text!r} cannot be preserved; choose from mode,times,xattr,owner, or all, or none") from None


class _Fields(NamedTuple):
    """How to copy: the fields and their defaults.

    Attributes:
        hashes: digest names; the first is the one that summaries show.
        chunk_size: bytes; None adapts it to the file.
        queue_depth: chunks that one destination may lag behind the reader; None is automatic.
        memory_limit: upper bound in bytes on all buffers together; None is automatic.
        expect_size: refuse a source of another size, in bytes.
        no_flush: destinations, as spelled by the caller, that are not forced to stable storage.
        verify: whether every destination is read back from the medium.
        verify_source: whether the source is read a second time.
        on_conflict: what to do with an existing file whose content differs.
        quick_check: judge "identical" by size and mtime (2 s tolerance) instead of by content.
        strategy: force a copy path.
        preserve: metadata to keep.
        lock_wait_s: seconds to wait for another run that is writing the same file.
        require_mount: refuse a destination that is not on a mounted volume of its own.
        stall_timeout_s: give up on what has not finished an operation for so many seconds; 0 = never.
        bandwidth_limit: read at most so many bytes a second; None is unlimited.
        exclude, include: patterns of what is left out of a folder, and of what is copied all the same.
        exclude_system: leave out what operating systems strew on volumes.
        symlinks: what to do with a symbolic link in a folder.
        resume: whether the record that an interrupted run left in a destination counts.
        jobs: files in flight at once; None is automatic.
        mhl: the media hash list that is written into every destination.
        sums: digests of which a sum file is written into every destination; they are taken in the same pass.
    """

    hashes: tuple[str, ...] = (DEFAULT_HASH,)
    chunk_size: int | None = None
    queue_depth: int | None = None
    memory_limit: int | None = None
    expect_size: int | None = None
    no_flush: frozenset[str] = frozenset()
    verify: Verify = Verify.DESTINATION
    verify_source: VerifySource = VerifySource.NONE
    on_conflict: Conflict = Conflict.ERROR
    quick_check: bool = False
    strategy: Strategy = Strategy.AUTO
    preserve: frozenset[Preserve] = DEFAULT_PRESERVE
    lock_wait_s: float = 0.0
    require_mount: bool = False
    stall_timeout_s: float = DEFAULT_STALL_TIMEOUT_S
    bandwidth_limit: int | None = None
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude_system: bool = False
    symlinks: Symlinks = Symlinks.COPY
    resume: bool = True
    jobs: int | None = None
    mhl: Mhl = Mhl.NONE
    sums: tuple[str, ...] = ()

    @property
    def hands_over(self) -> bool:
        """Whether anything is written into the destinations beside the copies."""
        return self.mhl is not Mhl.NONE or bool(self.sums)


class CopyOptions(_Fields):
    """How to copy. Every field has a default; wrong values are refused when the object is made.

    The fields are those of the command's options; give them by name.

    Raises:
        UsageError: a value cannot be used.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker takes the signature from the fields

        def __new__(cls, *values: Any, **named: Any) -> Self:  # noqa: D102
            return super().__new__(cls, *_validated(_Fields(*values, **named)))

    def replacing(self, **changes: Any) -> "CopyOptions":
        """Return the same options with some of them changed.

        Raises:
            UsageError: a value cannot be used.
        """
        return CopyOptions(**{**self._asdict(), **changes})

    def as_dict(self) -> dict[str, object]:
        """The effective values as plain, sorted, JSON-ready data."""
        return {name: _plain(value) for name, value in self._asdict().items()}


def _validated(given: _Fields) -> _Fields:
    hashes: object = given.hashes
    if isinstance(hashes, str) or not hashes:
        raise UsageError("hashes is a sequence of at least one digest name")
    for name in ("exclude", "include", "sums"):
        if isinstance(getattr(given, name), str):
            raise UsageError(f"{name} is a sequence")
    for name in ("chunk_size", "queue_depth", "memory_limit", "bandwidth_limit", "jobs"):
        _refuse_below(name, getattr(given, name), 1)
    for name in ("expect_size", "lock_wait_s", "stall_timeout_s"):
        _refuse_below(name, getattr(given, name), 0)
    sums = tuple(dict.fromkeys(canonical_name(name) for name in given.sums))
    return given._replace(
        hashes=tuple(dict.fromkeys([*(canonical_name(name) for name in given.hashes), *sums])),
        sums=sums,
        mhl=_member(Mhl, "mhl", given.mhl),
        no_flush=frozenset(str(path) for path in given.no_flush),
        verify=_member(Verify, "verify", given.verify),
        verify_source=_member(VerifySource, "verify_source", given.verify_source),
        on_conflict=_member(Conflict, "on_conflict", given.on_conflict),
        strategy=_member(Strategy, "strategy", given.strategy),
        preserve=frozenset(_member(Preserve, "preserve", each) for each in given.preserve),
        exclude=tuple(check_pattern(glob) for glob in given.exclude),
        include=tuple(check_pattern(glob) for glob in given.include),
        symlinks=_member(Symlinks, "symlinks", given.symlinks),
    )


def _refuse_below(name: str, value: object, least: int) -> None:
    if value is None:
        return
    kinds = (int, float) if name.endswith("_s") else (int,)  # bytes and counts are whole, seconds need not be
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < math.inf:
        raise UsageError(f"{name} is {value!r}; it has to be a number of at least {least}")


def _member(kind: type[_Choice], name: str, value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(kind)
        raise UsageError(f"{name} is {value!r}; choose from {choices}") from None


def _plain(value: object) -> object:
    if isinstance(value, frozenset | tuple):
        items = [str(item) for item in value]
        return sorted(items) if isinstance(value, frozenset) else items
    return str(value) if isinstance(value, str) else value
