"""What Linux does better than plain POSIX: exclusive rename, write-back, and a look at the page cache."""

import ctypes
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from pfndispatchcopy.fileio.residency import cached_pages_counter, has_direct_reads, is_resident
from pfndispatchcopy.fileio.system import SOURCE_FLAGS, FolderHandle, Mount, System

__all__ = ["LinuxSystem"]

_RENAME_NOREPLACE = 1  # renameat2(2), linux/fs.h
_FALLOC_FL_KEEP_SIZE = 1  # fallocate(2), linux/falloc.h
_WAIT_BEFORE_WRITE_WAIT_AFTER = 1 | 2 | 4  # sync_file_range(2)
_NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ESPIPE})


class LinuxSystem(System):
    """Linux, by the calls that Python has, and through the C library those that it lacks."""

    name = "linux"

    @cached_property
    def _libc(self) -> ctypes.CDLL:
        return ctypes.CDLL(None, use_errno=True)

    @cached_property
    def _proven(self) -> dict[str, Callable[..., int]]:
        """Functions of the C library that have worked here."""
        return {}

    def _call(self, function: str, *arguments: object) -> None:
        """Call a function of the C library that answers -1 and ``errno`` for a failure."""
        # Each look-up builds a function anew, and a card has thousands of files: what has worked once is kept.
        symbol = self._proven.get(function)
        if symbol is None:
            try:
                symbol = self._libc[function]
            except AttributeError:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        while symbol(*arguments) != 0:
            number = ctypes.get_errno()
            if number != errno.EINTR:  # a signal is no failure: Python's own calls are made again as well
                raise OSError(number, os.strerror(number))
        self._proven[function] = symbol

    def rename_to_free_name(self, folder: FolderHandle, old: str, new: str) -> None:
        rename = self._proven.get("renameat2")  # for each of thousands of files, without the detour
        fd = folder.fd
        if rename is not None and rename(fd, os.fsencode(old), fd, os.fsencode(new), _RENAME_NOREPLACE) == 0:
            return
        try:
            self._call("renameat2", fd, os.fsencode(old), fd, os.fsencode(new), _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            super().rename_to_free_name(folder, old, new)

    def kernel(self) -> str:
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return super().kernel()

    def open_source(self, path: str) -> int:
        try:
            return os.open(path, SOURCE_FLAGS | os.O_NOATIME)
        except PermissionError:  # only the owner of a file may leave its access time alone
            return super().open_source(path)

    def open_source_name(self, folder: FolderHandle, name: str, *, follow: bool) -> int:
        flags = SOURCE_FLAGS | os.O_NOATIME | (0 if follow else os.O_NOFOLLOW)
        try:
            return os.open(name, flags, dir_fd=folder.fd)
        except PermissionError:
            return super().open_source_name(folder, name, follow=follow)

    def preallocate(self, fd: int, size: int) -> None:
        # Not posix_fallocate: where the file system cannot, the C library writes into every block instead.
        with suppress(OSError):
            self._call("fallocate", fd, _FALLOC_FL_KEEP_SIZE, ctypes.c_longlong(0), ctypes.c_longlong(size))

    def advise_sequential(self, fd: int) -> None:
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def start_reading(self, fd: int) -> None:
        try:  # noqa: SIM105 - suppress() costs as much as the call, for each of thousands of files
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            pass

    def start_write_back(self, fd: int, offset: int, length: int) -> None:
        # For dirty pages this advice means: start writing them.
        with suppress(OSError):
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)

    def finish_write_back(self, fd: int, offset: int, length: int) -> None:
        try:
            self._call(
                "sync_file_range",
                fd,
                ctypes.c_longlong(offset),
                ctypes.c_longlong(length),
                _WAIT_BEFORE_WRITE_WAIT_AFTER,
            )
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
        self.start_write_back(fd, offset, length)  # clean by now: this drops them

    def drop_cache(self, fd: int) -> None:
        try:  # noqa: SIM105 - the same
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            pass

    def forget_range(self, fd: int, offset: int, length: int) -> None:
        with suppress(OSError):
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)

    def is_cached(self, fd: int, size: int) -> bool | None:
        # One call that counts, where mincore(2) has to have the file mapped: a tenth of the time for a small file
        # (benchmarks/exp_residency.py). It is of Linux 6.5, and not for the files of others.
        pages = self._cached_pages(fd)
        return pages > 0 if pages is not None else is_resident(self._libc, fd, size)

    @cached_property
    def _cached_pages(self) -> Callable[[int], int | None]:
        return cached_pages_counter(self._libc)

    def open_direct(self, folder: FolderHandle, name: str) -> int:
        fd = self.open_name(folder, name, os.O_RDONLY | os.O_DIRECT)
        if has_direct_reads(self._libc, fd) is False:
            self.close(fd)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        return fd

    def default_mode(self) -> int:
        # Reading the umask by setting it is a race with every other thread that makes a file.
        with (
            suppress(OSError, ValueError),
            open("/proc/self/status", encoding="ascii", errors="replace") as status,
        ):
            for line in status:
                if line.startswith("Umask:"):
                    return 0o666 & ~int(line.split()[1], 8)
        return super().default_mode()

    def available_memory(self) -> int | None:
        with suppress(OSError, ValueError), open("/proc/meminfo", encoding="ascii") as facts:
            for line in facts:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return None

    def xattrs(self, fd: int) -> tuple[tuple[str, bytes], ...]:
        # The other namespaces are the system's own: access lists and capabilities are not to be
        # carried over to another volume behind the user's back.
        try:
            names = [name for name in os.listxattr(fd) if name.startswith("user.")]
            return tuple((name, os.getxattr(fd, name)) for name in names)
        except OSError:
            return ()

    def set_xattr(self, fd: int, name: str, value: bytes) -> None:
        os.setxattr(fd, name, value)

    def mount(self, path: str) -> Mount:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return Mount("", "")
        try:
            with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as facts:
                mount_id = next((line.split()[1] for line in facts if line.startswith("mnt_id:")), "")
            # proc_pid_mountinfo(5): id parent device root mount_point options … - type source options
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
                for line in mounts:
                    left, _, right = line.partition(" - ")
                    words = left.split(" ")
                    if words[0] == mount_id:
                        return Mount(right.split(" ")[0], _unescape(words[4]))
        except (OSError, IndexError):
            pass
        finally:
            os.close(fd)
        return Mount("", "")


def _unescape(field: str) -> str:
    r"""Undo mountinfo's octal escapes: ``\040`` is a blank."""
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
