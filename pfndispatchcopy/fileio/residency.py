"""Whether the bytes of a file are in the page cache: mincore(2), on Linux and macOS alike; cachestat(2) on Linux."""

import ctypes
import mmap
import threading
from collections.abc import Callable

__all__ = ["cached_pages_counter", "has_direct_reads", "is_resident"]

# The number is the same on every architecture that Linux has kept since (include/uapi/asm-generic/unistd.h), but
# for one that cannot be met any more.
_CACHESTAT = 451

# What shows files of others (linux/magic.h: overlay, FUSE) has no pages of its own, and counts none. A mapping is one
# of the file behind it.
_STACKED = frozenset({0x794C7630, 0x65735546})

# statx(2): ask about an open file, and how what is read directly has to be aligned; the mask of what was answered, and
# the alignment of offsets, as 32-bit numbers of the answer.
_AT_EMPTY_PATH, _STATX_DIOALIGN = 0x1000, 0x2000
_MASK, _OFFSET_ALIGNMENT = 0, 0x9C // 4

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
        self.facts = (ctypes.c_long * 64)()  # longer than any struct statfs(2), which begins with the type


def cached_pages_counter(libc: ctypes.CDLL) -> Callable[[int], int | None]:
    """Return what counts the pages that the page cache has of an open file.

    It returns None where the system does not tell: Linux before 6.5, some file systems, and files of others. Nor is
    it believed on file systems that show the files of another one.

    Args:
        libc: the C library, loaded with ``use_errno``.
    """
    call, number, room = libc.syscall, ctypes.c_long(_CACHESTAT), _Room()

    def count(fd: int) -> int | None:
        if libc.fstatfs(fd, room.facts) != 0 or room.facts[0] in _STACKED:
            return None
        if call(number, fd, *room.arguments, 0) != 0:
            return None
        return int(room.found.cached)

    return count


def has_direct_reads(libc: ctypes.CDLL, fd: int) -> bool | None:
    """Return whether a file that was opened for reading around the cache is read so; None where nobody can tell.

    ext4 takes the flag for files whose data goes through its journal, and reads them from the cache all the same.

    Args:
        libc: the C library, loaded with ``use_errno``.
        fd: open for reading.
    """
    answer = (ctypes.c_uint32 * 64)()
    try:
        is_told = libc.statx(fd, b"", _AT_EMPTY_PATH, _STATX_DIOALIGN, answer) == 0
    except AttributeError:
        return None
    return answer[_OFFSET_ALIGNMENT] != 0 if is_told and answer[_MASK] & _STATX_DIOALIGN else None
