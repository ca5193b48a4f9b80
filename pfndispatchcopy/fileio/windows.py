"""What Windows does otherwise: no descriptors for folders, a rename that never replaces, no POSIX metadata."""

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import Any

from pfndispatchcopy.fileio.system import FolderHandle, Mount, System, Usage
from pfndispatchcopy.model import Identity

__all__ = ["WindowsAwake", "WindowsSystem"]

# SetThreadExecutionState: until further notice, and: the machine is at work.
_ES_CONTINUOUS = 0x80000000
_ES_SYSTEM_REQUIRED = 0x00000001
_BINARY = getattr(os, "O_BINARY", 0)


class WindowsSystem(System):
    """Windows: folders are held by their path, since there is nothing else to hold them by."""

    name = "windows"

    def open_folder(self, path: str) -> FolderHandle:
        status = os.stat(path)
        os.listdir(path)  # refuses what is no folder, with the system's reason
        return FolderHandle(path, -1, Identity(status.st_dev, status.st_ino))

    def close_folder(self, folder: FolderHandle) -> None:
        del folder

    def open_subfolder(self, folder: FolderHandle, name: str, *, follow: bool = False) -> FolderHandle:
        path = os.path.join(folder.path, name)
        if not follow and (os.path.islink(path) or getattr(os.path, "isjunction", os.path.islink)(path)):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return self.open_folder(path)

    def make_subfolder(self, folder: FolderHandle, name: str) -> None:
        os.mkdir(os.path.join(folder.path, name))

    def remove_subfolder(self, folder: FolderHandle, name: str) -> None:
        os.rmdir(os.path.join(folder.path, name))

    def entries(self, folder: FolderHandle) -> Iterator["os.DirEntry[str]"]:
        with os.scandir(folder.path) as listing:
            yield from listing

    def followed_status_of_name(self, folder: FolderHandle, name: str) -> os.stat_result:
        return os.stat(os.path.join(folder.path, name))

    def read_link(self, folder: FolderHandle, name: str) -> str:
        return os.readlink(os.path.join(folder.path, name))

    def make_link(self, folder: FolderHandle, name: str, target: str) -> None:
        os.symlink(target, os.path.join(folder.path, name))

    def set_link_times(self, folder: FolderHandle, name: str, atime_ns: int, mtime_ns: int) -> None:
        del folder, name, atime_ns, mtime_ns  # Windows sets the times of what a link leads to

    def open_source_name(self, folder: FolderHandle, name: str, *, follow: bool) -> int:
        return self.open_source(os.path.join(folder.path, name))

    def list_names(self, folder: FolderHandle) -> list[str]:
        return os.listdir(folder.path)

    def flush_folder(self, folder: FolderHandle) -> bool:
        del folder  # NTFS journals its folders; there is no call to wait for
        return True

    def status_of_name(self, folder: FolderHandle, name: str) -> os.stat_result:
        return os.lstat(os.path.join(folder.path, name))

    def open_name(self, folder: FolderHandle, name: str, flags: int, mode: int = 0o600) -> int:
        return os.open(os.path.join(folder.path, name), flags | _BINARY, mode)

    def remove_name(self, folder: FolderHandle, name: str) -> None:
        os.unlink(os.path.join(folder.path, name))

    def replace_name(self, folder: FolderHandle, old: str, new: str) -> None:
        os.replace(os.path.join(folder.path, old), os.path.join(folder.path, new))

    def rename_to_free_name(self, folder: FolderHandle, old: str, new: str) -> None:
        os.rename(os.path.join(folder.path, old), os.path.join(folder.path, new))

    def open_source(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | _BINARY)

    def read(self, fd: int, buffer: memoryview) -> int:
        data = os.read(fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def lock(self, fd: int) -> bool | None:
        del fd  # a byte-range lock would forbid the rename; an open file cannot be swept anyway
        return None

    def default_mode(self) -> int:
        return 0o666

    def set_mode(self, fd: int, mode: int) -> None:
        del fd, mode

    def set_owner(self, fd: int, owner: int, group: int) -> None:
        del fd, owner, group

    def is_own(self, status: os.stat_result) -> bool:
        del status  # its modes say nothing of who may write
        return True

    def usage(self, path: str) -> Usage | None:
        import psutil  # noqa: PLC0415 - 57 ms that most runs do not need (benchmarks/exp_startup.py)

        numbers = psutil.disk_usage(path)
        return Usage(numbers.total, numbers.free)

    def longest_name(self, path: str) -> int | None:
        del path
        return 255 * 3  # 255 characters, whatever they are in UTF-8

    def mount(self, path: str) -> Mount:
        drive = os.path.splitdrive(os.path.abspath(path))[0]
        return Mount("", drive)

    def root_device(self) -> int:
        return os.stat(os.environ.get("SYSTEMDRIVE", "C:") + "\\").st_dev

    def raise_descriptor_limit(self, needed: int) -> int:
        return needed

    def host_name(self) -> str:
        return os.environ.get("COMPUTERNAME", "this machine")


class WindowsAwake:
    """Keeps the machine awake until it is released, or the thread that made it ends.

    Raises:
        OSError: the system does not take it.
    """

    def __init__(self) -> None:
        self._set(_ES_CONTINUOUS | _ES_SYSTEM_REQUIRED)

    def release(self) -> None:
        """Let the machine sleep again; to be called by the thread that made this."""
        self._set(_ES_CONTINUOUS)

    def _set(self, state: int) -> None:
        kernel: Any = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore] # not on other systems
        if kernel.SetThreadExecutionState(ctypes.c_uint(state)) == 0:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
