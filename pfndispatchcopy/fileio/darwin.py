"""What macOS does otherwise: a flush that reaches the medium, descriptors that avoid the cache.

Sources: fsync(2), fcntl(2) and renameatx_np(2) of macOS. The numbers are written out, because Python's
``fcntl`` has them on macOS only and the tests run everywhere.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from pfndispatchcopy.fileio.residency import is_resident
from pfndispatchcopy.fileio.system import FolderHandle, System

__all__ = ["DarwinSystem"]

F_PREALLOCATE = 42
F_NOCACHE = 48
F_FULLFSYNC = 51
_F_ALLOCATEALL = 4
_F_PEOFPOSMODE = 3
_RENAME_EXCL = 4
# fsync(2): a volume that has no such flush answers one of these; every other error is a real one.
_NO_FULL_FLUSH = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS})


def _native_fcntl(fd: int, operation: int, argument: int | bytes = 0) -> int | bytes:
    import fcntl  # noqa: PLC0415 - not on Windows

    return fcntl.fcntl(fd, operation, argument)


class DarwinSystem(System):
    """macOS.

    Args:
        fcntl: the system's ``fcntl``; the tests pass their own.
    """

    name = "darwin"

    def __init__(self, fcntl: Callable[[int, int, int | bytes], int | bytes] = _native_fcntl) -> None:
        self._fcntl = fcntl

    @cached_property
    def _libc(self) -> ctypes.CDLL:
        return ctypes.CDLL(None, use_errno=True)

    def flush(self, fd: int) -> None:
        # fsync(2) on macOS hands the data to the drive, which may keep it in its cache.
        try:
            self._fcntl(fd, F_FULLFSYNC, 0)
        except OSError as error:
            if error.errno not in _NO_FULL_FLUSH:
                raise
            super().flush(fd)

    def avoid_cache(self, fd: int) -> None:
        with suppress(OSError):
            self._fcntl(fd, F_NOCACHE, 1)

    def preallocate(self, fd: int, size: int) -> None:
        # struct fstore: flags, position mode, offset, length, bytes allocated
        request = struct.pack("=IiqqQ", _F_ALLOCATEALL, _F_PEOFPOSMODE, 0, size, 0)
        with suppress(OSError):
            self._fcntl(fd, F_PREALLOCATE, request)

    def rename_to_free_name(self, folder: FolderHandle, old: str, new: str) -> None:
        rename = getattr(self._libc, "renameatx_np", None)
        if rename is None:
            super().rename_to_free_name(folder, old, new)
            return
        if rename(folder.fd, os.fsencode(old), folder.fd, os.fsencode(new), _RENAME_EXCL) != 0:
            number = ctypes.get_errno()
            if number not in _NO_FULL_FLUSH:
                raise OSError(number, os.strerror(number), new)
            super().rename_to_free_name(folder, old, new)

    def is_cached(self, fd: int, size: int) -> bool | None:
        return is_resident(self._libc, fd, size)
