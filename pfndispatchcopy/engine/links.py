"""Symbolic links: made anew under a temporary name, read back, and given their name as every file is."""

import stat
from contextlib import suppress
from typing import NamedTuple

from pfndispatchcopy.engine.existing import numbered_names
from pfndispatchcopy.errors import ConflictError, MismatchError
from pfndispatchcopy.fileio.names import temporary_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Conflict, Preserve, State
from pfndispatchcopy.options import CopyOptions

__all__ = ["SourceLink", "make_link", "read_link"]


class SourceLink(NamedTuple):
    """A link as it was found: where it points to, and its own times in nanoseconds since the epoch."""

    pointed_at: str
    atime_ns: int
    mtime_ns: int


def read_link(system: System, folder: FolderHandle, name: str) -> SourceLink:
    """Read a link.

    Raises:
        OSError: it cannot be read.
    """
    status = system.status_of_name(folder, name)
    return SourceLink(system.read_link(folder, name), status.st_atime_ns, status.st_mtime_ns)


def make_link(system: System, folder: FolderHandle, name: str, link: SourceLink, options: CopyOptions) -> State:
    """Make a link, by the conflict rule where something has its name.

    Args:
        system: the calls.
        folder: where it goes.
        name: of the link.
        link: what it is to be.
        options: the conflict rule, and whether times are kept.

    Returns:
        ``identical``, ``skipped``, or ``copied``.

    Raises:
        ConflictError: something else is there, and the rule is to leave it alone.
        MismatchError: it was read back as another one.
        OSError: it cannot be made.
    """
    replaces = False
    try:
        there = system.status_of_name(folder, name)
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISLNK(there.st_mode) and system.read_link(folder, name) == link.pointed_at:
            return State.IDENTICAL
        if options.on_conflict is Conflict.SKIP:
            return State.SKIPPED
        if options.on_conflict is Conflict.RENAME:
            free = _free_or_own_name(system, folder, name, link)
            if free is None:
                return State.IDENTICAL
            name = free
        elif options.on_conflict is not Conflict.OVERWRITE or stat.S_ISDIR(there.st_mode):
            raise ConflictError("something else is there already; it was left as it is")
        else:
            replaces = True
    temporary = temporary_name(system, name)
    system.make_link(folder, temporary, link.pointed_at)
    try:
        if Preserve.TIMES in options.preserve:
            with suppress(OSError, NotImplementedError):
                system.set_link_times(folder, temporary, link.atime_ns, link.mtime_ns)
        if system.read_link(folder, temporary) != link.pointed_at:
            raise MismatchError("the link was read back as another one")
        rename = system.replace_name if replaces else system.rename_to_free_name
        rename(folder, temporary, name)
    except FileExistsError:
        _remove(system, folder, temporary)
        raise ConflictError("something else has taken the name meanwhile; it was left as it is") from None
    except BaseException:
        _remove(system, folder, temporary)
        raise
    return State.COPIED


def _free_or_own_name(system: System, folder: FolderHandle, wanted: str, link: SourceLink) -> str | None:
    """The first numbered name that nothing has; None when an earlier run has made the link under one of them."""
    for name in numbered_names(wanted):
        try:
            status = system.status_of_name(folder, name)
        except FileNotFoundError:
            return name
        if stat.S_ISLNK(status.st_mode) and system.read_link(folder, name) == link.pointed_at:
            return None
    raise AssertionError("numbers do not end")


def _remove(system: System, folder: FolderHandle, name: str) -> None:
    with suppress(OSError):
        system.remove_name(folder, name)
