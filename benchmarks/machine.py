"""The machine that is measured: its facts, and room on it that is memory or disk."""

import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS

__all__ = [
    "Place",
    "drop_from_cache",
    "find_place",
    "free_bytes",
    "machine_facts",
    "make_file",
    "print_facts",
    "temporary_folder",
]

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only ever the parent of a temporary folder
# No compressing file system looks back as far as this, so random bytes may be repeated.
_RANDOM_BYTES = 32 << 20


class Place(NamedTuple):
    """Where it is measured: a folder, and the type of its file system."""

    folder: str
    filesystem: str

    @property
    def is_memory(self) -> bool:
        """Whether its medium is memory."""
        return self.filesystem in MEMORY_FILESYSTEMS


def find_place(wish: str) -> Place:
    """Find a folder for *wish*: ``memory``, ``disk``, or the path of a folder.

    Raises:
        SystemExit: there is no such place.
    """
    if wish == "memory":
        candidates = [_SHARED_MEMORY, tempfile.gettempdir()]
    elif wish == "disk":
        candidates = [tempfile.gettempdir(), "/var/tmp", os.getcwd()]  # noqa: S108
    else:
        candidates = [wish]
    for folder in candidates:
        if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
            continue
        place = Place(folder, native_system().mount(folder).filesystem)
        if wish not in ("memory", "disk") or place.is_memory == (wish == "memory"):
            return place
    raise SystemExit(f"no folder to write to was found for {wish!r}; name one with --on PATH")


@contextmanager
def temporary_folder(place: Place) -> Iterator[str]:
    """A new folder there, removed afterwards with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="pfn-benchmark-", dir=place.folder) as folder:
        yield folder


def free_bytes(place: Place) -> int:
    """Bytes that may be written there; in memory, no more than is available."""
    numbers = os.statvfs(place.folder)
    free = numbers.f_bavail * numbers.f_frsize
    return min(free, _available_memory()) if place.is_memory else free


def make_file(path: str, size: int) -> str:
    """Write a file of *size* bytes that cannot be compressed, and flush it; returns its path."""
    block = os.urandom(min(size, _RANDOM_BYTES))
    with open(path, "wb") as file:
        file.writelines(block[: size - offset] for offset in range(0, size, _RANDOM_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return path


def drop_from_cache(path: str) -> None:
    """Drop a flushed file from the page cache, where the system knows how."""
    system = native_system()
    fd = os.open(path, os.O_RDONLY)
    try:
        system.drop_cache(fd)
    finally:
        os.close(fd)


def machine_facts() -> dict[str, str]:
    """What a measurement depends on, by name."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(_usable_cores()),
        "memory": f"{_total_memory() / 2**30:.0f} GiB",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def print_facts(places: Sequence[Place], **further: str) -> None:
    """Print what the table below it depends on."""
    files = " and ".join(dict.fromkeys(place.filesystem or "unknown" for place in places))
    facts = machine_facts() | ({"file system": files} if files else {}) | further
    print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _total_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _available_memory() -> int:
    # psutil would tell, but its import makes this process, which others are forked from, larger than they are.
    try:
        with open("/proc/meminfo", encoding="ascii") as facts:
            return next(int(line.split()[1]) << 10 for line in facts if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return _total_memory() // 2
