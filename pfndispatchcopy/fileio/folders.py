"""The folder that a copy is made in: opened once, recognised again, and probed before it is trusted."""

import errno
import os
from contextlib import suppress

from pfndispatchcopy.fileio.names import temporary_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Identity

__all__ = ["DestinationFolder", "split_at_existing"]


def split_at_existing(system: System, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the nearest folder on the way to *path* that exists, and the names that are missing below it.

    The path is taken as it is: ``..`` behind a link means what the system means by it.

    Raises:
        OSError: something on the way cannot be looked at, or is no folder.
    """
    current = path.rstrip(os.sep) or path
    missing: list[str] = []
    while True:
        try:
            system.status(current or os.curdir)
        except FileNotFoundError:
            if not current:
                raise
            current, name = os.path.split(current)
            current = current.rstrip(os.sep) or current
            missing.append(name)
        else:
            return current or os.curdir, tuple(reversed(missing))


class DestinationFolder:
    """One open folder, and what was made to have it.

    Attributes:
        handle: what names in it are reached through.
    """

    def __init__(self, system: System, handle: FolderHandle, made: tuple[str, ...]) -> None:
        self.handle = handle
        self._system = system
        self._made = made

    @classmethod
    def open(cls, system: System, path: str) -> "DestinationFolder":
        """Open a folder; it and the folders above it are made when they are missing.

        Raises:
            OSError: it cannot be made or opened; what was made for it is removed again.
        """
        made: list[str] = []
        try:
            current, missing = split_at_existing(system, path)
            for name in missing:
                current = os.path.join(current, name)
                try:
                    system.make_folder(current)
                except FileExistsError:  # another destination of the same run was quicker
                    continue
                made.append(current)
                _flush_parent(system, current)
            return cls(system, system.open_folder(path), tuple(made))
        except OSError:
            _remove_folders(system, made)
            raise

    @property
    def identity(self) -> Identity:
        """Device and inode of the folder that is held open."""
        return self.handle.identity

    def check_identity(self) -> None:
        """Make sure that the path still leads to the folder that is held open.

        Raises:
            OSError: it does not (``ESTALE``), or it cannot be looked at: the volume was unmounted,
                another one was mounted over it, or the folder was moved.
        """
        status = self._system.status(self.handle.path)
        if Identity(status.st_dev, status.st_ino) != self.identity:
            raise OSError(
                errno.ESTALE,
                "the path leads to another folder than at the start: the volume was unmounted or replaced",
                self.handle.path,
            )

    def probe(self, final_name: str) -> str:
        """Make a file under a temporary name of *final_name*: by it this folder is recognised from elsewhere.

        Returns:
            The name, which :meth:`remove_probe` takes back.

        Raises:
            OSError: nothing can be made here.
        """
        name = temporary_name(self._system, final_name)
        fd = self._system.open_name(self.handle, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            self._system.close(fd)
        except OSError:
            self._remove_quietly(name)
            raise
        return name

    def remove_probe(self, name: str, final_name: str) -> None:
        """Rename the probe and remove it: a folder that allows the making alone is of no use.

        A probe that is gone was swept by a run that held the lock before this one got it.

        Raises:
            OSError: names cannot be changed or removed here, as in an append-only folder.
        """
        renamed = temporary_name(self._system, final_name)
        try:
            self._system.replace_name(self.handle, name, renamed)
        except FileNotFoundError:
            return
        except OSError:
            self._remove_quietly(name)
            raise
        self._system.remove_name(self.handle, renamed)

    def _remove_quietly(self, name: str) -> None:
        with suppress(OSError):
            self._system.remove_name(self.handle, name)

    def has_name(self, name: str) -> bool:
        """Whether something of this name is here."""
        try:
            self._system.status_of_name(self.handle, name)
        except OSError:
            return False
        return True

    def close(self, *, remove_made: bool = False) -> None:
        """Close it; on request remove the folders that were made for it, as far as they are empty."""
        with suppress(OSError):
            self._system.close_folder(self.handle)
        if remove_made:
            _remove_folders(self._system, list(self._made))


def _flush_parent(system: System, path: str) -> None:
    parent = system.open_folder(os.path.dirname(path) or os.curdir)
    try:
        system.flush_folder(parent)
    finally:
        system.close_folder(parent)


def _remove_folders(system: System, made: list[str]) -> None:
    for path in reversed(made):
        with suppress(OSError):
            system.remove_folder(path)
