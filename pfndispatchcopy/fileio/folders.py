"""The folder that a copy is made in: opened once, recognised again, and probed before it is trusted."""

import errno
import os
from contextlib import suppress
from typing import NamedTuple

from pfndispatchcopy.fileio.names import temporary_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Identity

__all__ = ["DestinationFolder", "OpenFolders", "Subfolder", "split_at_existing"]


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


class _MadeFolder(NamedTuple):
    """A folder that was made: the path of the one that it is in, its name there, and what it was then."""

    parent: str
    name: str
    identity: Identity


class DestinationFolder:
    """One open folder, and what was made to have it.

    Attributes:
        handle: what names in it are reached through.
    """

    def __init__(self, system: System, handle: FolderHandle, made: tuple[_MadeFolder, ...]) -> None:
        self.handle = handle
        self._system = system
        self._made = made

    @classmethod
    def open(cls, system: System, path: str, known: Identity | None = None) -> "DestinationFolder":
        """Open a folder; it and the folders above it are made when they are missing.

        Args:
            system: the calls.
            path: of the folder.
            known: what it was when it was looked at; None when it was not there then.

        Raises:
            OSError: it cannot be made or opened, or is another one by now (``ESTALE``); what was made for it is
                removed again.
        """
        made: list[_MadeFolder] = []
        try:
            current, missing = split_at_existing(system, path)
            for name in missing:
                _make_in(system, current, name, made)
                current = os.path.join(current, name)
            folder = cls(system, system.open_folder(path), tuple(made))
        except OSError:
            _remove_folders(system, made)
            raise
        if known is not None and folder.identity != known:
            folder.close(remove_made=True)
            raise _another_folder(path)
        return folder

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
            raise _another_folder(self.handle.path)

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
            self.remove_made()

    def remove_made(self) -> None:
        """Remove the folders that were made for it, as far as they are empty."""
        _remove_folders(self._system, list(self._made))


class OpenFolders:
    """Folders of one tree, reached from its root name by name.

    They stay open until they are closed or trimmed, since neighbours in a tree are mostly asked for in a row.

    Args:
        system: the calls.
        root: the open root; it stays the caller's.
        make: whether folders that are missing are made.
        follow: whether a link to a folder is as good as one.
    """

    def __init__(self, system: System, root: FolderHandle, *, make: bool = False, follow: bool = False) -> None:
        self.root = root
        self._system = system
        self._make = make
        self._follow = follow
        self._open: dict[str, FolderHandle] = {"": root}
        self._parents_of_new: dict[str, None] = {}

    def get(self, path: str) -> FolderHandle:
        """Return the open folder of *path*: relative to the root, with ``/`` between the names.

        Raises:
            OSError: it is not there and is not to be made, or something on the way is no folder.
        """
        handle = self._open.get(path)
        if handle is not None:
            return handle
        at, names = path, []
        while (handle := self._open.get(at)) is None:
            at, _, name = at.rpartition("/")
            names.append(name)
        for name in reversed(names):
            handle = self._enter(handle, name, at)
            at = f"{at}/{name}" if at else name
            self._open[at] = handle
        return handle

    def _enter(self, parent: FolderHandle, name: str, parent_path: str) -> FolderHandle:
        try:
            return self._system.open_subfolder(parent, name, follow=self._follow)
        except FileNotFoundError:
            if not self._make:
                raise
        with suppress(FileExistsError):  # another job was quicker
            self._system.make_subfolder(parent, name)
        self._parents_of_new[parent_path] = None
        return self._system.open_subfolder(parent, name)

    def take_parents_of_new(self) -> list[str]:
        """Paths of the folders that folders were made in since the last call: they are to be flushed."""
        paths, self._parents_of_new = list(self._parents_of_new), {}
        return paths

    def trim(self, most: int, keep: str = "") -> None:
        """Close all but the root and those on the way to *keep*, when more than *most* are open."""
        if len(self._open) <= most:
            return
        kept = {path: handle for path, handle in self._open.items() if not path or f"{keep}/".startswith(f"{path}/")}
        closing = [handle for path, handle in self._open.items() if path not in kept]
        self._open = kept
        for handle in closing:
            with suppress(OSError):
                self._system.close_folder(handle)

    def close(self) -> None:
        """Close everything but the root."""
        self.trim(0)
        for path, handle in self._open.items():
            if path:
                with suppress(OSError):
                    self._system.close_folder(handle)
        self._open = {"": self.root}


class Subfolder(DestinationFolder):
    """A folder below a destination's root, for one file: recognised by its way from the root.

    Args:
        system: the calls.
        root: what was opened at the start.
        handle: the folder.
        path: relative to the root.
    """

    def __init__(self, system: System, root: DestinationFolder, handle: FolderHandle, path: str) -> None:
        super().__init__(system, handle, ())
        self._root = root
        self._path = path

    def check_identity(self) -> None:
        """Make sure that root and folder are where they were.

        Raises:
            OSError: they are not (``ESTALE``), or cannot be looked at.
        """
        self._root.check_identity()
        try:
            status = self._system.followed_status_of_name(self._root.handle, self._path or os.curdir)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # a way that only descriptors can go
                return
            raise
        if Identity(status.st_dev, status.st_ino) != self.identity:
            raise OSError(errno.ESTALE, "the folder was moved or replaced in the middle of the run", self.handle.path)


def _another_folder(path: str) -> OSError:
    return OSError(
        errno.ESTALE, "the path leads to another folder than at the start: the volume was unmounted or replaced", path
    )


def _make_in(system: System, parent_path: str, name: str, made: list[_MadeFolder]) -> None:
    """Make a folder durably, and add it to those that were *made*, unless somebody else was quicker."""
    parent = system.open_folder(parent_path)
    try:
        try:
            system.make_subfolder(parent, name)
        except FileExistsError:  # another destination of the same run
            return
        try:
            status = system.status_of_name(parent, name)
        except OSError:
            with suppress(OSError):
                system.remove_subfolder(parent, name)
            raise
        made.append(_MadeFolder(parent_path, name, Identity(status.st_dev, status.st_ino)))
        system.flush_folder(parent)
    finally:
        system.close_folder(parent)


def _remove_folders(system: System, made: list[_MadeFolder]) -> None:
    """Remove what was made, as far as it is empty; what has its place by now is somebody else's."""
    for each in reversed(made):
        with suppress(OSError):
            parent = system.open_folder(each.parent)
            try:
                status = system.status_of_name(parent, each.name)
                if Identity(status.st_dev, status.st_ino) == each.identity:
                    system.remove_subfolder(parent, each.name)
            finally:
                system.close_folder(parent)
