"""A source in a tree, read a second time: past the page cache, which would only repeat the first reading."""

import errno
import os
from collections.abc import Callable

from pfndispatchcopy.fileio.readback import open_past_cache
from pfndispatchcopy.fileio.system import FolderHandle, System

__all__ = ["digest_again"]

# Some file systems take the flag for direct reads and refuse the reads themselves.
_NO_DIRECT_READS = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def digest_again(system: System, folder: FolderHandle, name: str, digest: Callable[[int], str], *, follow: bool) -> str:
    """Return the digest of a source's second reading.

    Args:
        system: the calls.
        folder: where it is.
        name: of the file.
        digest: takes a descriptor that is at the beginning, and reads it to its end.
        follow: whether the name may be a link to it.

    Raises:
        OSError: it cannot be opened or read.
    """
    fd = system.open_source_name(folder, name, follow=follow)
    try:
        status = system.status_of_file(fd)
        used, _ = open_past_cache(
            system,
            fd,
            status.st_size,
            is_memory=False,
            open_direct=lambda: _open_same(system, folder, name, status),
        )
        if used == fd:
            return digest(fd)
        try:
            return digest(used)
        except OSError as error:
            if error.errno not in _NO_DIRECT_READS:
                raise
        finally:
            system.close(used)
        system.rewind(fd)
        return digest(fd)
    finally:
        system.close(fd)


def _open_same(system: System, folder: FolderHandle, name: str, known: os.stat_result) -> int:
    fd = system.open_direct(folder, name)
    status = system.status_of_file(fd)
    if (status.st_dev, status.st_ino) != (known.st_dev, known.st_ino):
        system.close(fd)
        raise OSError(errno.ESTALE, "another file was put in the place of the source", name)
    return fd
