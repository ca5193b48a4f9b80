"""One run at a time for one file: a lock that a dead run cannot hold.

The lock is the system's own (``flock``) on a small file beside the copy. It goes with the process, so
that what a killed run left behind is known to be dead: whoever gets the lock may sweep it away.
"""

import os
import stat
from contextlib import suppress

from pfndispatchcopy.errors import LockedError
from pfndispatchcopy.fileio.names import is_temporary_of, lock_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.printable import printable

__all__ = ["FileLock"]

# What a lock tells of its owner is short; more is not ours and is not read.
_LONGEST_OWNER = 200


class FileLock:
    """The right to write one file in one folder.

    Attributes:
        folder: where it is.
        name: of its own small file.
    """

    def __init__(self, system: System, folder: FolderHandle, final_name: str, fd: int) -> None:
        self._system = system
        self.folder = folder
        self.name = lock_name(final_name)
        self._final_name = final_name
        self._fd = fd

    @property
    def is_held(self) -> bool:
        """Whether nobody else can be writing this file; False where there are no locks: then nothing is swept."""
        return self._fd >= 0

    @classmethod
    def acquire(cls, system: System, folder: FolderHandle, final_name: str, owner: str) -> "FileLock":
        """Take the lock, at once or not at all.

        Args:
            system: the calls.
            folder: where the file is to be.
            final_name: of the file.
            owner: who this is, for those who come later and are refused.

        Raises:
            LockedError: a living run holds it; the message says which.
            OSError: the lock cannot be made here.
        """
        name = lock_name(final_name)
        while True:
            try:
                fd = system.open_name(folder, name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                if not _remove_dead(system, folder, name, final_name):
                    return cls(system, folder, final_name, -1)
                continue
            try:
                is_locked = system.lock(fd)
                is_ours = is_locked and system.status_of_file(fd).st_nlink > 0
                if is_ours:
                    with suppress(OSError):  # on a full disk the lock is as good without its owner's name
                        system.write(fd, memoryview(owner.encode("utf-8", "replace")[:_LONGEST_OWNER]))
            except BaseException:
                _close_and_remove(system, folder, name, fd)
                raise
            if is_locked is None:
                _close_and_remove(system, folder, name, fd)
                return cls(system, folder, final_name, -1)
            if is_ours:
                return cls(system, folder, final_name, fd)
            # Another run took it for dead between its making and its locking: once more.
            system.close(fd)

    def sweep(self) -> None:
        """Remove the temporary files that dead runs left of this file. Without the lock nothing is removed.

        Raises:
            OSError: the folder cannot be read.
        """
        if not self.is_held:
            return
        for name in self._system.list_names(self.folder):
            if is_temporary_of(name, self._final_name) and name != self.name:
                with suppress(OSError):
                    self._system.remove_name(self.folder, name)

    def release(self) -> None:
        """Give it up; its file goes first, so that nobody can lock a file that is about to go."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with suppress(OSError):
                _close_and_remove(self._system, self.folder, self.name, fd)


def _close_and_remove(system: System, folder: FolderHandle, name: str, fd: int) -> None:
    try:
        with suppress(FileNotFoundError):
            system.remove_name(folder, name)
    finally:
        system.close(fd)


def _remove_dead(system: System, folder: FolderHandle, name: str, final_name: str) -> bool:
    """Remove the lock of a dead run; returns False where there are no locks to tell.

    Raises:
        LockedError: it is alive.
        OSError: something else has this name.
    """
    try:
        fd = system.open_name(folder, name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return True
    try:
        if not stat.S_ISREG(system.status_of_file(fd).st_mode):
            raise LockedError(f"{name} is no regular file: remove it and run the same command again")
        is_dead = system.lock(fd)
        if is_dead is False:
            buffer = memoryview(bytearray(_LONGEST_OWNER))
            owner = bytes(buffer[: system.read(fd, buffer)]).decode("utf-8", "replace")
            raise LockedError(f"another run is writing {printable(final_name)}: {printable(owner) or 'unknown'}")
        if is_dead:
            with suppress(FileNotFoundError):
                system.remove_name(folder, name)
        return is_dead is True
    finally:
        system.close(fd)
