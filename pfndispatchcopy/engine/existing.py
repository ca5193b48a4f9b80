"""What already lies where a copy is to go, and what the conflict rule makes of it."""

import os
import stat
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Conflict

__all__ = ["Existing", "free_name", "is_as_old", "look", "numbered_names"]

# FAT keeps modification times in steps of two seconds.
_MTIME_TOLERANCE_NS = 2_000_000_000
# Bytes that a name has at the most nearly everywhere; where it has more, as many as there are.
_LONGEST_NAME = 255
# What is longer is no extension, but a name with a dot in it.
_LONGEST_EXTENSION = 100


class Existing(NamedTuple):
    """What lies at a destination.

    Attributes:
        occupied: names that are taken: the wanted one, and with ``rename`` the numbered ones behind it.
        alike: those of them that are regular files of the source's size: only their content tells.
        identical: the one that size and time already call identical (``--quick-check``), or None.
        what: what has the wanted name, in words.
        is_folder: whether that is a folder.
    """

    occupied: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    identical: str | None = None
    what: str = "another file"
    is_folder: bool = False


def _words(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "another file with different content"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a link" if stat.S_ISLNK(mode) else "a special file"


def numbered_names(name: str) -> Iterator[str]:
    """Yield *name*, and then as the Finder numbers copies: ``NAME 2.EXT``, and so on; cut where a name ends."""
    yield name
    stem, extension = os.path.splitext(name)
    if len(os.fsencode(extension)) > _LONGEST_EXTENSION:
        stem, extension = name, ""
    longest = max(_LONGEST_NAME, len(os.fsencode(name)))
    for number in count(2):
        tail = f" {number}{extension}"
        while len(os.fsencode(stem)) > longest - len(os.fsencode(tail)):
            stem = stem[:-1]
        yield f"{stem}{tail}"


def look(
    system: System,
    folder: FolderHandle,
    name: str,
    *,
    size: int,
    mtime_ns: int | None,
    on_conflict: Conflict,
) -> Existing:
    """Look at what is there, without reading it.

    Args:
        system: the calls.
        folder: where the copy is to go.
        name: its wanted name.
        size: of the source, in bytes.
        mtime_ns: of the source, when size and time are to decide; None when only the content may.
        on_conflict: with ``rename``, earlier numbered copies are looked at as well.

    Raises:
        OSError: the folder cannot be looked at.
    """
    names = numbered_names(name) if on_conflict is Conflict.RENAME else iter([name])
    occupied: list[str] = []
    alike: list[str] = []
    what, is_folder = "another file", False
    for candidate in names:
        try:
            status = system.status_of_name(folder, candidate)
        except FileNotFoundError:
            break
        occupied.append(candidate)
        if candidate == name:
            what, is_folder = _words(status.st_mode), stat.S_ISDIR(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            continue
        if mtime_ns is None:
            alike.append(candidate)
        elif is_as_old(status, mtime_ns):
            return Existing(tuple(occupied), identical=candidate)
    return Existing(tuple(occupied), tuple(alike), what=what, is_folder=is_folder)


def is_as_old(status: os.stat_result, mtime_ns: int) -> bool:
    """Whether a file was modified at the time *mtime_ns*, as far as every file system can tell."""
    return abs(status.st_mtime_ns - mtime_ns) <= _MTIME_TOLERANCE_NS


def free_name(system: System, folder: FolderHandle, name: str) -> str:
    """Return the first of the numbered names that nothing has.

    Raises:
        OSError: the folder cannot be looked at.
    """
    for candidate in numbered_names(name):
        try:
            system.status_of_name(folder, candidate)
        except FileNotFoundError:
            return candidate
    raise AssertionError("numbers do not end")
