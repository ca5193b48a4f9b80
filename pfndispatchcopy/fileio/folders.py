"""The folder that a copy is made in: opened once, recognised again, and probed before it is trusted."""

import errno
import os
from contextlib import suppress

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
