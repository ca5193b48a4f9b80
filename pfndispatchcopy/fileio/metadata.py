"""Carrying a source's metadata over to its copy, as far as the file system there can keep it."""

from collections.abc import Callable, Iterator

from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.model import Preserve, SourceSnapshot

__all__ = ["apply_metadata"]

# Set-user-id, set-group-id and sticky bits are not carried over: a card from elsewhere gives nobody rights here.
_PERMISSION_BITS = 0o777


def apply_metadata(
    system: System, fd: int, source: SourceSnapshot, preserve: frozenset[Preserve]
) -> list[tuple[str, OSError]]:
    """Set mode, owner, extended attributes and times of an open file.

    What a file system refuses is no failure of the copy: FAT has no modes, many network file systems no
    extended attributes.

    Returns:
        What could not be kept, each with the system's reason.
    """
    refused: list[tuple[str, OSError]] = []
    for what, setting in _settings(system, fd, source, preserve):
        try:
            setting()
        except OSError as error:
            refused.append((what, error))
        except NotImplementedError:  # os.utime by descriptor, on Windows
            pass
    return refused


def _settings(
    system: System, fd: int, source: SourceSnapshot, preserve: frozenset[Preserve]
) -> Iterator[tuple[str, Callable[[], None]]]:
    is_file = source.size is not None
    if Preserve.OWNER in preserve and is_file:  # before the mode, whose bits a change of owner may clear
        yield "owner", lambda: system.set_owner(fd, source.owner, source.group)
    mode = source.mode & _PERMISSION_BITS if Preserve.MODE in preserve and is_file else system.default_mode()
    yield "mode", lambda: system.set_mode(fd, mode)
    if Preserve.XATTR in preserve:
        for name, value in source.xattrs:
            yield (
                f"extended attribute {name}",
                lambda name=name, value=value: system.set_xattr(fd, name, value),  # type: ignore[misc]
            )
    if Preserve.TIMES in preserve and is_file:  # last: everything else would move them
        yield "times", lambda: system.set_times(fd, source.atime_ns, source.mtime_ns)
