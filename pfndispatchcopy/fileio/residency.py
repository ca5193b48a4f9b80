"""Whether the bytes of a file are in the page cache: mincore(2), on Linux and macOS alike."""

import ctypes
import mmap

__all__ = ["is_resident"]

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
