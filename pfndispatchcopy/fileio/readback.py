"""Reading a file back from the medium, and knowing that it was the medium."""

from collections.abc import Callable, Iterator

from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.model import ReadBack

__all__ = ["MEMORY_FILESYSTEMS", "open_past_cache", "read_to_end"]

# On these the page cache is the medium.
MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


def open_past_cache(
    system: System, fd: int, size: int, *, is_memory: bool, open_direct: Callable[[], int]
) -> tuple[int, ReadBack]:
    """Find a way to read a flushed file that does not end in the page cache.

    The clean pages are dropped, and that is checked: dropping does nothing for pages that are dirty, or
    that another process has mapped. Where they stay, a descriptor that goes around the cache is tried.

    Args:
        system: the calls.
        fd: open for reading.
        size: of the file, in bytes.
        is_memory: whether the medium itself is memory.
        open_direct: opens the same file around the cache, or raises OSError.

    Returns:
        The descriptor to read, which is *fd* or a new one that the caller closes, and how it reads.
        ``cached`` means that there was no way past the cache: what is read proves nothing.
    """
    if is_memory:
        return fd, ReadBack.MEMORY
    system.avoid_cache(fd)
    system.drop_cache(fd)
    if system.is_cached(fd, size) is False:
        system.advise_sequential(fd)
        return fd, ReadBack.EVICTED
    try:
        direct_fd = open_direct()
    except OSError:
        return fd, ReadBack.CACHED
    # Some file systems accept the flag and refuse the read: the first one tells.
    return direct_fd, ReadBack.DIRECT


def read_to_end(system: System, fd: int, buffer: memoryview) -> Iterator[memoryview]:
    """Yield a file's bytes from its position to its end, in views of *buffer*.

    Raises:
        OSError: a read failed.
    """
    while count := system.read(fd, buffer):
        yield buffer[:count]
