"""The calls to the operating system that the package makes: one object, one place to fake or to fail them.

Everything that touches a file, a folder or a volume goes through a :class:`System`. The base class is
plain POSIX; ``linux.py``, ``darwin.py`` and ``windows.py`` replace what these systems do better or
otherwise. Tests wrap it to count, delay and fail single calls; nothing else has to be patched.

Names are relative to an open folder, so that nobody can swap a parent folder under a run; only the
folder itself is ever found by its path.
"""

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from pfndispatchcopy.model import Identity

__all__ = ["SOURCE_FLAGS", "FolderHandle", "Mount", "System", "Usage"]

# What a file system answers to a call that it does not know, as against one that it failed at.
_NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOTTY})
# Neither waiting for a FIFO's other end, nor becoming the child of a terminal that somebody names.
SOURCE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY if os.name == "posix" else os.O_RDONLY
_BY_NAME = os.O_NOFOLLOW | os.O_CLOEXEC if os.name == "posix" else 0
# SMB mounts answer ENOENT to the flush of a folder (restic #3720).
_FOLDER_FLUSH_NOT_SUPPORTED = _NOT_SUPPORTED | {errno.ENOENT, errno.EBADF}


class FolderHandle(NamedTuple):
    """A folder that was opened once: its path for messages, its descriptor for everything else.

    Attributes:
        path: as it was opened.
        fd: the descriptor; -1 where the system has none for folders (Windows).
        identity: device and inode at that moment.
    """

    path: str
    fd: int
    identity: Identity


class Mount(NamedTuple):
    """What a folder lies on: the type of the file system and where it is mounted."""

    filesystem: str
    mount_point: str


class Usage(NamedTuple):
    """Space of a volume, in bytes: *free* is what this user may still write."""

    total: int
    free: int


class System:
    """Plain POSIX. Every method raises :class:`OSError` for what failed, unless it says otherwise."""

    name = "posix"

    # -- folders ------------------------------------------------------------------------------------

    def open_folder(self, path: str) -> FolderHandle:
        """Open a folder by its path, following links: the one time that the path is trusted."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(fd)
        return FolderHandle(path, fd, Identity(status.st_dev, status.st_ino))

    def close_folder(self, folder: FolderHandle) -> None:
        """Close it."""
        os.close(folder.fd)

    def open_subfolder(self, folder: FolderHandle, name: str, *, follow: bool = False) -> FolderHandle:
        """Open a folder in a folder; a link to one is followed only on request."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        fd = os.open(name, flags, dir_fd=folder.fd)
        status = os.fstat(fd)
        return FolderHandle(os.path.join(folder.path, name), fd, Identity(status.st_dev, status.st_ino))

    def make_subfolder(self, folder: FolderHandle, name: str) -> None:
        """Make one folder in a folder."""
        os.mkdir(name, dir_fd=folder.fd)

    def remove_subfolder(self, folder: FolderHandle, name: str) -> None:
        """Remove one empty folder from a folder."""
        os.rmdir(name, dir_fd=folder.fd)

    def list_names(self, folder: FolderHandle) -> list[str]:
        """All names in a folder."""
        return os.listdir(folder.fd)

    def entries(self, folder: FolderHandle) -> Iterator["os.DirEntry[str]"]:
        """What is in a folder, one after another as the system lists it: a name, its kind, its inode number."""
        with os.scandir(folder.fd) as listing:
            yield from listing

    def flush_folder(self, folder: FolderHandle) -> bool:
        """Force the entries of a folder to stable storage.

        Returns:
            False where the file system cannot do that, which many network file systems cannot.
        """
        try:
            os.fsync(folder.fd)
        except OSError as error:
            if error.errno in _FOLDER_FLUSH_NOT_SUPPORTED:
                return False
            raise
        return True

    # -- names in a folder ----------------------------------------------------------------------------

    def status(self, path: str) -> os.stat_result:
        """Status by path, following links."""
        return os.stat(path)

    def real_path(self, path: str) -> str:
        """The path without links; as much of it as there is."""
        return os.path.realpath(path)

    def status_of_name(self, folder: FolderHandle, name: str) -> os.stat_result:
        """Status of a name in a folder; a link is not followed."""
        return os.stat(name, dir_fd=folder.fd, follow_symlinks=False)

    def open_name(self, folder: FolderHandle, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a name in a folder; a link is not followed."""
        return os.open(name, flags | _BY_NAME, mode, dir_fd=folder.fd)

    def followed_status_of_name(self, folder: FolderHandle, name: str) -> os.stat_result:
        """Status of what a name in a folder leads to, links followed."""
        return os.stat(name, dir_fd=folder.fd)

    def read_link(self, folder: FolderHandle, name: str) -> str:
        """Where a symbolic link points to."""
        return os.readlink(name, dir_fd=folder.fd)

    def make_link(self, folder: FolderHandle, name: str, target: str) -> None:
        """Make a symbolic link under a name that is free."""
        os.symlink(target, name, dir_fd=folder.fd)

    def set_link_times(self, folder: FolderHandle, name: str, atime_ns: int, mtime_ns: int) -> None:
        """Set the times of a symbolic link itself."""
        os.utime(name, ns=(atime_ns, mtime_ns), dir_fd=folder.fd, follow_symlinks=False)

    def remove_name(self, folder: FolderHandle, name: str) -> None:
        """Remove a name that is no folder."""
        os.unlink(name, dir_fd=folder.fd)

    def replace_name(self, folder: FolderHandle, old: str, new: str) -> None:
        """Rename; whatever had the new name is replaced in the same step."""
        os.replace(old, new, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)

    def rename_to_free_name(self, folder: FolderHandle, old: str, new: str) -> None:
        """Rename, but never over something that exists.

        Raises:
            FileExistsError: the new name is taken; nothing changed.
        """
        try:
            os.link(old, new, src_dir_fd=folder.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED | {errno.EPERM, errno.EMLINK}:
                raise
            # Neither an exclusive rename nor hard links: looking first is the best there is.
            try:
                self.status_of_name(folder, new)
            except FileNotFoundError:
                self.replace_name(folder, old, new)
                return
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.unlink(old, dir_fd=folder.fd)

    # -- files ------------------------------------------------------------------------------------

    def open_source(self, path: str) -> int:
        """Open a source for reading without changing it, and without waiting for a FIFO's other end.

        The access time stays as it was where the system allows that.
        """
        return os.open(path, SOURCE_FLAGS)

    def open_source_name(self, folder: FolderHandle, name: str, *, follow: bool) -> int:
        """Open a source by its name in a folder, with the care of :meth:`open_source`.

        Args:
            folder: where it is.
            name: of the file.
            follow: whether the name may be a link to it.
        """
        return os.open(name, SOURCE_FLAGS | (0 if follow else os.O_NOFOLLOW), dir_fd=folder.fd)

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def status_of_file(self, fd: int) -> os.stat_result:
        """Status of an open file."""
        return os.fstat(fd)

    def read(self, fd: int, buffer: memoryview) -> int:
        """Read at the file's position into *buffer*; returns the bytes read, 0 at the end."""
        return os.readv(fd, [buffer])

    def write(self, fd: int, data: memoryview) -> int:
        """Write at the file's position; returns the bytes taken, which may be fewer."""
        return os.write(fd, data)

    def rewind(self, fd: int) -> None:
        """Set a file's position to its beginning."""
        os.lseek(fd, 0, os.SEEK_SET)

    def length(self, fd: int) -> int:
        """Length of an open file in bytes; its position is then at the end."""
        return os.lseek(fd, 0, os.SEEK_END)

    def flush(self, fd: int) -> None:
        """Force a file to stable storage. An error is final: it is reported once and must not be asked again."""
        os.fsync(fd)

    def lock(self, fd: int) -> bool | None:
        """Try to take the one lock that a file has; it goes with the descriptor or its process.

        Returns:
            True for taken, False for held by somebody else, None where there are no locks.
        """
        import fcntl  # noqa: PLC0415 - not on Windows

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def random_token(self) -> str:
        """Eight characters that nobody can guess, for a temporary name."""
        return os.urandom(4).hex()

    # -- hints: they may do nothing, and their failure is no news ------------------------------------

    def preallocate(self, fd: int, size: int) -> None:
        """Reserve *size* bytes on the medium without changing the file's length."""

    def advise_sequential(self, fd: int) -> None:
        """Announce that a file is read from front to back."""

    def start_reading(self, fd: int) -> None:
        """Start reading a whole file into the page cache, without waiting."""

    def avoid_cache(self, fd: int) -> None:
        """Ask that reads and writes of this descriptor do not fill the page cache."""

    def start_write_back(self, fd: int, offset: int, length: int) -> None:
        """Start writing a range to the medium, without waiting."""

    def drop_cache(self, fd: int) -> None:
        """Drop the clean pages of a file from the page cache. Whether that worked is :meth:`is_cached`."""

    def forget_range(self, fd: int, offset: int, length: int) -> None:
        """Let the page cache forget a range that was read and will not be read again."""

    # -- reading past the cache -----------------------------------------------------------------------

    def finish_write_back(self, fd: int, offset: int, length: int) -> None:
        """Wait until a range is on its way out of the cache, so that dirty data stays bounded.

        An error here has been reported once, as by a flush: the file is lost.
        """

    def is_cached(self, fd: int, size: int) -> bool | None:
        """Whether any byte of a file is still in the page cache; None where nobody can tell."""
        del fd, size
        return None

    def open_direct(self, folder: FolderHandle, name: str) -> int:
        """Open a file so that reads go around the page cache.

        Raises:
            OSError: this cannot be had here (``EINVAL``, ``EOPNOTSUPP``).
        """
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name)

    # -- metadata -------------------------------------------------------------------------------------

    def default_mode(self) -> int:
        """Permission bits that a new file gets from the user's umask."""
        mask = os.umask(0o077)
        os.umask(mask)
        return 0o666 & ~mask

    def set_mode(self, fd: int, mode: int) -> None:
        """Set permission bits."""
        os.fchmod(fd, mode)

    def set_times(self, fd: int, atime_ns: int, mtime_ns: int) -> None:
        """Set access and modification time, in nanoseconds since the epoch."""
        os.utime(fd, ns=(atime_ns, mtime_ns))

    def set_owner(self, fd: int, owner: int, group: int) -> None:
        """Set owner and group, numeric."""
        os.fchown(fd, owner, group)

    def xattrs(self, fd: int) -> tuple[tuple[str, bytes], ...]:
        """Extended attributes that belong to the user; empty where there are none or no such thing."""
        del fd
        return ()

    def set_xattr(self, fd: int, name: str, value: bytes) -> None:
        """Set one extended attribute."""
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name)

    def is_own(self, status: os.stat_result) -> bool:
        """Whether a file is this user's, and nobody else can have written to it."""
        return status.st_uid == os.geteuid() and not status.st_mode & 0o022

    # -- volumes, processes --------------------------------------------------------------------------

    def usage(self, path: str) -> Usage | None:
        """Space of the volume that holds *path*; None where the file system does not say."""
        numbers = os.statvfs(path)
        if numbers.f_blocks == 0:
            return None
        return Usage(numbers.f_blocks * numbers.f_frsize, numbers.f_bavail * numbers.f_frsize)

    def longest_name(self, path: str) -> int | None:
        """Bytes that a name may have in a folder; None where the file system does not say."""
        try:
            return os.statvfs(path).f_namemax or None
        except OSError:
            return None

    def mount(self, path: str) -> Mount:
        """What *path* lies on; empty strings where nobody can tell."""
        import psutil  # noqa: PLC0415 - 57 ms that most runs do not need (benchmarks/exp_startup.py)

        real = os.path.realpath(path)
        best = Mount("", "")
        for part in psutil.disk_partitions(all=True):
            inside = os.path.commonpath([real, part.mountpoint]) == part.mountpoint
            if inside and len(part.mountpoint) >= len(best.mount_point):
                best = Mount(part.fstype.lower(), part.mountpoint)
        return best

    def root_device(self) -> int:
        """Device number of the file system that the system itself runs from."""
        return os.stat("/").st_dev

    def raise_descriptor_limit(self, needed: int) -> int:
        """Make sure that *needed* descriptors may be open; returns how many may be."""
        import resource  # noqa: PLC0415 - not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= needed:
            return needed
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted

    def processors(self) -> int:
        """Processors that this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def available_memory(self) -> int | None:
        """Bytes that may be used without pushing others out; None where nobody can tell."""
        import psutil  # noqa: PLC0415 - 57 ms that most runs do not need (benchmarks/exp_startup.py)

        return int(psutil.virtual_memory().available)

    def user(self) -> tuple[str, str]:
        """Login name of whoever runs this, and the full name, which may be empty."""
        try:
            import pwd  # noqa: PLC0415 - not on Windows

            entry = pwd.getpwuid(os.getuid())
        except (ImportError, KeyError):
            return os.environ.get("USERNAME") or os.environ.get("USER") or "unknown", ""
        return entry.pw_name, entry.pw_gecos.partition(",")[0]

    def host_name(self) -> str:
        """What this machine calls itself."""
        return os.uname().nodename

    def kernel(self) -> str:
        """Tells the running system from all others, whose devices have other numbers."""
        return self.host_name()
