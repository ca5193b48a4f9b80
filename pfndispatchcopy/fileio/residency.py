"""Whether the bytes of a file are in the page cache: mincore(2), on Linux and macOS alike; cachestat(2) on Linux."""

import ctypes
import mmap
import threading
from collections.abc import Callable

__all__ = ["cached_pages_counter", "is_resident"]

# The number is the same on every architecture that Linux has kept since (include/uapi/asm-generic/unistd.h), but
# for one that cannot be met any more.
_CACHESTAT = 451

# Asked for in pieces of this size, so that the answer (a byte a page) stays small.
_WINDOW = 1 << 30


def is_resident(libc: ctypes.CDLL, fd: int, size: int) -> bool | None:
    """Return whether any page of an open file is in the page cache; None where nobody can tell.

    Args:
        libc: the C library, loaded with ``use_errno``.
        fd: open for reading.
        size: bytes of the file.
    """
    try:
        return any(
            _is_window_resident(libc, fd, offset, min(_WINDOW, size - offset)) for offset in range(0, size, _WINDOW)
        )
    except (OSError, ValueError, AttributeError):  # the file cannot be mapped, or there is no mincore
        return None


def _is_window_resident(libc: ctypes.CDLL, fd: int, offset: int, length: int) -> bool:
    # A private mapping that nothing is written to shows the file's own pages. It is "writable" only
    # because ctypes takes the address of nothing else.
    with mmap.mmap(fd, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset) as window:
        resident = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
        anchor = (ctypes.c_char * length).from_buffer(window)
        try:
            answer = libc.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(length), resident)
        finally:
            del anchor  # the mapping cannot be closed while something points into it
        if answer != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        # Only the lowest bit of each byte is defined.
        return any(byte & 1 for byte in set(resident.raw[: -(-length // mmap.PAGESIZE)]))


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))  # a length of 0 is all of the file


class _CacheStat(ctypes.Structure):
    """``struct cachestat``: how many pages of a file are cached, and how they are."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cached", "dirty", "in_write_back", "evicted", "recently"))


class _Room(threading.local):
    """What one thread gives to the call, made once."""

    def __init__(self) -> None:
        self.range, self.found = _Range(0, 0), _CacheStat()
        self.arguments = (ctypes.byref(self.range), ctypes.byref(self.found))


def cached_pages_counter(libc: ctypes.CDLL) -> Callable[[int], int | None]:
    """Return what counts the pages that the page cache has of an open file.

    It returns None where the system does not tell: Linux before 6.5, some file systems, and files of others.

    Args:
        libc: the C library, loaded with ``use_errno``.
    """
    call, number, room = libc.syscall, ctypes.c_long(_CACHESTAT), _Room()

    def count(fd: int) -> int | None:
        if call(number, fd, *room.arguments, 0) != 0:
            return None
        return int(room.found.cached)

    return count
