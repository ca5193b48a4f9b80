"""What macOS does otherwise: a flush that reaches the medium, descriptors that avoid the cache, attributes.

Sources: fsync(2), fcntl(2), renameatx_np(2), listxattr(2), getxattr(2) and setxattr(2) of macOS. The numbers
are written out, because Python's ``fcntl`` has them on macOS only and the tests run everywhere. For extended
attributes Python has calls on Linux only; here the C library has them, with parameters of its own.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

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
# macOS sets this itself on what programs write, and only root may (fclones #333): carried over, it would be a
# warning for each file.
_KEPT_BY_THE_SYSTEM = frozenset({"com.apple.provenance"})
# An attribute that grows between the question for its size and that for its bytes is asked for so often.
_ATTEMPTS = 5
# descriptor, name, value, its size, position (other than 0 in resource forks only), options
_ONE_ATTRIBUTE = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_uint32,
    ctypes.c_int,
)


def _native_fcntl(fd: int, operation: int, argument: int | bytes = 0) -> int | bytes:
    import fcntl  # noqa: PLC0415 - not on Windows

    return fcntl.fcntl(fd, operation, argument)


class DarwinSystem(System):
    """macOS.

    Args:
        fcntl: the system's ``fcntl``; the tests pass their own.
        libc: the C library, loaded with ``use_errno``; the same holds for it. The system's own if None.
    """

    name = "darwin"

    def __init__(
        self,
        fcntl: Callable[[int, int, int | bytes], int | bytes] = _native_fcntl,
        libc: ctypes.CDLL | None = None,
    ) -> None:
        self._fcntl = fcntl
        self._given_libc = libc

    @cached_property
    def _libc(self) -> ctypes.CDLL:
        return self._given_libc or ctypes.CDLL(None, use_errno=True)

    @cached_property
    def _flistxattr(self) -> Callable[..., int]:
        # descriptor, names, room for them, options
        return self._function("flistxattr", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    @cached_property
    def _fgetxattr(self) -> Callable[..., int]:
        return self._function("fgetxattr", *_ONE_ATTRIBUTE)

    @cached_property
    def _fsetxattr(self) -> Callable[..., int]:
        return self._function("fsetxattr", *_ONE_ATTRIBUTE, result=ctypes.c_int)

    def _function(self, name: str, *parameters: type[Any], result: type[Any] = ctypes.c_ssize_t) -> Callable[..., int]:
        """Find a function of the C library and declare it: undeclared, a size would be cut to an ``int``.

        Raises:
            OSError: there is no such function (``ENOSYS``).
        """
        function: Any = getattr(self._libc, name, None)
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        function.argtypes = parameters
        function.restype = result

        def call(*arguments: object) -> int:
            answer: int = function(*arguments)
            if answer < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return answer

        return call

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

    def xattrs(self, fd: int) -> tuple[tuple[str, bytes], ...]:
        # All of them: the Finder's tags and its colours are called com.apple like everything else here.
        try:
            listed = _read_whole(lambda buffer, size: self._flistxattr(fd, buffer, size, 0))
        except OSError:
            return ()
        found: list[tuple[str, bytes]] = []
        for name in map(os.fsdecode, filter(None, listed.split(b"\0"))):
            if name not in _KEPT_BY_THE_SYSTEM:
                with suppress(OSError):  # one that has gone, or that the system does not show, takes no other along
                    found.append((name, self._xattr(fd, name)))
        return tuple(found)

    def _xattr(self, fd: int, name: str) -> bytes:
        encoded = os.fsencode(name)
        return _read_whole(lambda buffer, size: self._fgetxattr(fd, encoded, buffer, size, 0, 0))

    def set_xattr(self, fd: int, name: str, value: bytes) -> None:
        self._fsetxattr(fd, os.fsencode(name), value, len(value), 0, 0)


def _read_whole(call: Callable[[object, int], int]) -> bytes:
    """Read what is as long as it is: ask for the size, then for the bytes, anew if these have grown meanwhile.

    Args:
        call: takes a buffer and its size, and answers with the bytes filled; without a buffer, with those needed.

    Raises:
        OSError: the call failed, or found the buffer too small again and again (``ERANGE``).
    """
    for _ in range(_ATTEMPTS):
        size = call(None, 0)
        if size == 0:  # a buffer without room would be a question for the size once more
            return b""
        buffer = ctypes.create_string_buffer(size)
        try:
            filled = call(buffer, size)
        except OSError as error:
            if error.errno != errno.ERANGE:
                raise
        else:
            return buffer.raw[:filled]
    raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
