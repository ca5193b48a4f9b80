"""A system that notes every change that it makes, and every flush, in the order in which they were made."""

import os
import stat
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pfndispatchcopy.fileio.system import FolderHandle
from tests.support.medium import Medium, Operation
from tests.support.tree_trial import TreeSystem

__all__ = ["RecordingSystem"]


class RecordingSystem(TreeSystem):
    """Passes for a disk, takes rules, and writes a log.

    A change is noted before anybody can know that it was made, a flush after it has ended well. What failed has
    changed nothing, and is not noted.

    Attributes:
        log: what was done.
        keeps_data: whether the bytes that are written are kept, and not only their number.
    """

    def __init__(self, *, keeps_data: bool = True) -> None:
        super().__init__()
        self.log: list[Operation] = []
        self.keeps_data = keeps_data
        self._numbers: dict[tuple[int, int], int] = {}
        self._files: dict[int, int] = {}
        self._next = 0
        self._log_lock = threading.RLock()

    def number_of(self, path: str) -> int:
        """The number that a folder or a file has in the log."""
        status = os.stat(path)
        return self._number(status.st_dev, status.st_ino)

    def medium_of(self, folders: Sequence[str]) -> Medium:
        """The medium as it is before the run, with all that is in these folders."""
        medium = Medium([self.number_of(folder) for folder in folders])
        for folder in folders:
            for above, folders_below, files in os.walk(folder):
                number = self.number_of(above)
                links = [name for name in folders_below if os.path.islink(os.path.join(above, name))]
                for name in set(folders_below).difference(links):
                    medium.adopt(number, name, self.number_of(os.path.join(above, name)), is_folder=True)
                for name in (*files, *links):
                    self._adopt_file(medium, number, os.path.join(above, name))
        return medium

    def _adopt_file(self, medium: Medium, folder: int, path: str) -> None:
        data, status = b"", os.lstat(path)
        if self.keeps_data and stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                data = file.read()
        number, mode = self._number(status.st_dev, status.st_ino), stat.S_IMODE(status.st_mode)
        name = os.path.basename(path)
        medium.adopt(folder, name, number, is_folder=False, data=data, mtime_ns=status.st_mtime_ns, mode=mode)

    def _number(self, device: int, inode: int, *, is_new: bool = False) -> int:
        with self._log_lock:
            if is_new or (device, inode) not in self._numbers:  # the system gives the number of a removed file again
                self._next += 1
                self._numbers[device, inode] = self._next
            return self._numbers[device, inode]

    def _folder(self, folder: FolderHandle) -> int:
        return self._number(*folder.identity)

    def _note(self, operation: Operation) -> None:
        with self._log_lock:
            self.log.append(operation)

    def _dispatch(self, call: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if call == "close":
            self._files.pop(arguments[0], None)
        record = _RECORDERS.get(call)
        if record is None:
            return super()._dispatch(call, real, arguments)

        def recorded(*given: Any) -> Any:
            with self._log_lock:  # nobody enters a new folder before it is noted
                return record(self, real, given)

        if call in (
            "flush",
            "flush_folder",
        ):  # the disk that this passes for is not asked: noted when it has not failed
            result = super()._dispatch(call, real, arguments)
            record(self, real, arguments)
            return result
        return super()._dispatch(call, recorded, arguments)

    # -- what is noted ------------------------------------------------------------------------------------

    def _open(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        fd = real(*arguments)
        status = os.fstat(fd)
        flags = arguments[2]
        is_new = bool(flags & os.O_EXCL)
        self._files[fd] = self._number(status.st_dev, status.st_ino, is_new=is_new)
        if is_new:
            self._note(Operation("create", self._folder(arguments[0]), arguments[1], self._files[fd]))
        return fd

    def _make_subfolder(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        folder, name = arguments
        real(folder, name)
        status = os.stat(name, dir_fd=folder.fd)
        made = self._number(status.st_dev, status.st_ino, is_new=True)
        self._note(Operation("make folder", self._folder(folder), name, made))

    def _make_link(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        folder, name, _ = arguments
        real(*arguments)
        status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        made = self._number(status.st_dev, status.st_ino, is_new=True)
        self._note(Operation("create", self._folder(folder), name, made))
        self._note(Operation("flush", made))  # where it points to is durable with its name

    def _write(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        fd, data = arguments
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        taken = real(fd, data)
        kept = bytes(data[:taken]) if self.keeps_data else None
        self._note(Operation("write", self._files[fd], offset=offset, data=kept, size=taken))
        return taken

    def _rename(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        folder, old, new = arguments
        real(folder, old, new)
        self._note(Operation("rename", self._folder(folder), old, new_name=new))

    def _remove(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        folder, name = arguments
        real(folder, name)
        self._note(Operation("remove", self._folder(folder), name))

    def _flush(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self._note(Operation("flush", self._files[arguments[0]]))

    def _flush_folder(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self._note(Operation("flush folder", self._folder(arguments[0])))

    def _set_times(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        fd, atime_ns, mtime_ns = arguments
        real(fd, atime_ns, mtime_ns)
        if fd in self._files:
            self._note(Operation("set", self._files[fd], mtime_ns=mtime_ns))

    def _set_mode(self, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        fd, mode = arguments
        real(fd, mode)
        if fd in self._files:
            self._note(Operation("set", self._files[fd], mode=mode))


_RECORDERS: dict[str, Callable[[RecordingSystem, Callable[..., Any], tuple[Any, ...]], Any]] = {
    "open_name": RecordingSystem._open,
    "make_subfolder": RecordingSystem._make_subfolder,
    "make_link": RecordingSystem._make_link,
    "write": RecordingSystem._write,
    "replace_name": RecordingSystem._rename,
    "rename_to_free_name": RecordingSystem._rename,
    "remove_name": RecordingSystem._remove,
    "remove_subfolder": RecordingSystem._remove,
    "flush": RecordingSystem._flush,
    "flush_folder": RecordingSystem._flush_folder,
    "set_times": RecordingSystem._set_times,
    "set_mode": RecordingSystem._set_mode,
}
