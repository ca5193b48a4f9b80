"""A destination of a batch: the folders that are open there, and the files that have no final name yet."""

import os

from pfndispatchcopy.engine.jobs import JobFile, Outcome
from pfndispatchcopy.fileio.folders import DestinationFolder, OpenFolders
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Notice, ReadBack

__all__ = ["BatchTarget", "Pending"]


class Pending:
    """One file on one destination: under its temporary name, or one that was there already."""

    __slots__ = ("fd", "file", "folder", "folder_path", "index", "inode", "is_existing", "name", "size", "way")

    def __init__(
        self, index: int, file: JobFile, folder: FolderHandle, folder_path: str, name: str, fd: int, size: int
    ) -> None:
        self.index = index
        self.file = file
        self.folder = folder
        self.folder_path = folder_path
        self.name = name
        self.fd = fd
        self.size = size
        self.way = ReadBack.NONE
        self.is_existing = False
        self.inode = 0


class BatchTarget:
    """One destination of a batch.

    Args:
        number: its place among the destinations.
        label: as the caller spelled it.
        root: its root folder.
        prefix: path below it that the files go to.
        is_memory: whether the medium is memory.
        is_forced: whether it is forced to stable storage.
        is_fresh: whether nothing can be under the files' names.
    """

    def __init__(
        self, system: System, number: int, label: str, root: DestinationFolder, prefix: str, *,
        is_memory: bool, is_forced: bool, is_fresh: bool,
    ) -> None:  # fmt: skip
        self.number = number
        self.label = label
        self.root = root
        self.prefix = prefix
        self.is_memory = is_memory
        self.is_forced = is_forced
        self.is_on_disk = is_forced and not is_memory
        self.is_fresh = is_fresh
        self.folders = OpenFolders(system, root.handle, make=True)
        self._entered: str | None = None
        self._here = "", root.handle
        self.pending: list[Pending] = []
        self.touched: dict[str, FolderHandle] = {}
        self.failures_in_a_row = 0
        self.death: Notice | None = None
        self.good: dict[tuple[ReadBack, bool], Outcome] = {}

    def path_of(self, file: JobFile) -> str:
        """Full path of a file's copy."""
        return os.path.join(self.label, self.folder_of(file), file.name)

    def enter(self, file: JobFile) -> tuple[str, FolderHandle]:
        """Path below the root and handle of the folder that a file goes to; neighbours mostly share it.

        Raises:
            OSError: it cannot be made or opened.
        """
        if file.folder != self._entered:
            path = self.folder_of(file)
            self._here = path, self.folders.get(path)
            self._entered = file.folder
        return self._here

    def trim(self, most: int) -> None:
        """Close folders, when more than *most* are open."""
        self._entered = None
        self.folders.trim(most)

    def folder_of(self, file: JobFile) -> str:
        """Path below the root of the folder that a file goes to."""
        if not self.prefix:
            return file.folder
        return f"{self.prefix}/{file.folder}" if file.folder else self.prefix
