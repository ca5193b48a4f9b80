"""Carrying a source's metadata over to its copy, as far as the file system there can keep it."""

from collections.abc import Callable
from typing import Any

from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.model import Preserve, SourceSnapshot

__all__ = ["PERMISSION_BITS", "apply_metadata"]

# Set-user-id, set-group-id and sticky bits are not carried over: a card from elsewhere gives nobody rights here.
PERMISSION_BITS = 0o777


def apply_metadata(
    system: System, fd: int, source: SourceSnapshot, preserve: frozenset[Preserve], *, is_folder: bool = False
) -> list[tuple[str, OSError]]:
    """Set mode, owner, extended attributes and times of an open file or folder.

    What a file system refuses is no failure of the copy: FAT has no modes, many network file systems no
    extended attributes.

    Returns:
        What could not be kept, each with the system's reason.
    """
    refused: list[tuple[str, OSError]] = []

    def attempt(what: str, setting: Callable[..., None], *values: Any) -> None:
        try:
            setting(fd, *values)
        except OSError as error:
            refused.append((what, error))
        except NotImplementedError:  # os.utime by descriptor, on Windows
            pass

    is_file = source.size is not None
    if Preserve.OWNER in preserve and is_file:  # before the mode, whose bits a change of owner may clear
        attempt("owner", system.set_owner, source.owner, source.group)
    if Preserve.MODE in preserve and is_file:
        attempt("mode", system.set_mode, source.mode & PERMISSION_BITS)
    elif not is_folder:  # which was made with the mode that the user's umask gives
        attempt("mode", system.set_mode, system.default_mode())
    if Preserve.XATTR in preserve:
        for name, value in source.xattrs:
            attempt(f"extended attribute {name}", system.set_xattr, name, value)
    if Preserve.TIMES in preserve and is_file:  # last: everything else would move them
        attempt("times", system.set_times, source.atime_ns, source.mtime_ns)
    return refused
