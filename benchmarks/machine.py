"""The machine that is measured: its facts, and room on it that is memory or disk."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from benchmarks.contents import files_of
from benchmarks.timing import seconds_of
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS
from pfndispatchcopy.fileio.storage import storage_of

__all__ = [
    "Place",
    "bytes_needed",
    "clear_away",
    "drop_from_cache",
    "find_place",
    "free_bytes",
    "machine_facts",
    "make_file",
    "make_folders",
    "make_tree",
    "microseconds_to_create",
    "print_facts",
    "temporary_folder",
    "tree_names",
]

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only ever the parent of a temporary folder
# No compressing file system looks back as far as this, so random bytes may be repeated.
_RANDOM_BYTES = 32 << 20
# A card's folders hold about as many.
_FILES_IN_FOLDER = 100
_BLOCK_BYTES = 4 << 10
_PROBED_FILES = 500


class Place(NamedTuple):
    """Where it is measured.

    Attributes:
        folder: there.
        filesystem: its type.
        storage: what it is on.
    """

    folder: str
    filesystem: str
    storage: str

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
        filesystem = native_system().mount(folder).filesystem
        place = Place(folder, filesystem, storage_of(os.stat(folder).st_dev, filesystem).kind)
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


def tree_names(files: int) -> list[str]:
    """Names of so many files below a folder, a hundred in each of its folders: ``003/000312.bin``."""
    return [os.path.join(f"{number // _FILES_IN_FOLDER:03}", f"{number:06}.bin") for number in range(files)]


def make_folders(root: str, names: Sequence[str]) -> None:
    """Make the folders that the *names* below *root* lie in."""
    for folder in dict.fromkeys(map(os.path.dirname, names)):
        os.makedirs(os.path.join(root, folder), exist_ok=True)


def make_tree(path: str, files: int, size: int, *, flushes: bool = True) -> None:
    """Make a folder with so many files of *size* bytes, each of them different, and flush it."""
    names = tree_names(files)
    make_folders(path, names)
    for name in names:
        with open(os.path.join(path, name), "wb", buffering=0) as file:
            file.write(os.urandom(size))
    if flushes:
        os.sync()


def bytes_needed(files: int, size: int) -> int:
    """Room that so many files of *size* bytes take at least."""
    return files * (size + -size % _BLOCK_BYTES)


def clear_away(paths: Sequence[str], place: Place, attic: str) -> None:
    """Take files and folders out of the way of the next run, and flush that, so that no run pays for the one before.

    For five minutes after many files were removed, ext4 takes up to twenty times as long to create one near by: it
    walks over their inodes, which are not to be used again so soon. So on a disk a folder is not removed: its files
    are emptied, and it is moved into the *attic*, which has to be on the same disk.
    """
    for path in paths:
        if not os.path.isdir(path):
            with suppress(FileNotFoundError):
                os.remove(path)
        elif place.is_memory:
            shutil.rmtree(path)
        else:
            for each in files_of(path):
                os.truncate(each, 0)
            os.rename(path, tempfile.mkdtemp(dir=attic))
    if not place.is_memory:
        os.sync()


def microseconds_to_create(place: Place, folder: str) -> float:
    """What a new, empty file in *folder* takes: more than usual where many were removed, as in :func:`clear_away`."""
    probe = os.path.join(folder, "probe")
    seconds = seconds_of(lambda: make_tree(probe, _PROBED_FILES, 0, flushes=False))
    clear_away([probe], place, folder)
    return 1e6 * seconds / _PROBED_FILES


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
        "processor": _processor(),
        "cores": str(_usable_cores()),
        "memory": f"{_total_memory() / 2**30:.0f} GiB",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def print_facts(places: Sequence[Place], **further: str) -> None:
    """Print what the table below it depends on."""
    files = " and ".join(dict.fromkeys(place.filesystem or "unknown" for place in places))
    facts = machine_facts() | ({"file system": files} if files else {}) | further
    print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))


def _processor() -> str:
    with suppress(OSError, StopIteration), open("/proc/cpuinfo", encoding="utf-8") as facts:
        return next(line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
    return platform.processor() or platform.machine()


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
