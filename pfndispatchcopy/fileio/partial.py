"""A copy under its temporary name, from its exclusive creation to its final name.

The order of a durable write is that of restic's local backend: temporary name in the same folder,
preallocation as a hint, the bytes, their count compared, flush, close, rename, flush of the folder.
"""

import errno
import os
from contextlib import suppress

from pfndispatchcopy.fileio.names import temporary_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Identity
from pfndispatchcopy.notices import note_left_behind

__all__ = ["PartialFile"]

# How much is written before its write-back is started, and how many such windows may be on their way
# at once. Together they bound the dirty data of a destination, so that the last flush of a slow disk
# takes seconds and not minutes, and a cancel is heard. Time to durable is a quarter of that of one flush at
# the end; with 256 MiB and more on the way the gain is lost (benchmarks/exp_write_back.py).
_WRITE_BACK_WINDOW = 16 << 20
_WINDOWS_IN_FLIGHT = 4

# A write that takes no byte and names no error is asked again so many times before it is one.
_EMPTY_WRITES_TOLERATED = 3


class PartialFile:
    """One copy in the making.

    Attributes:
        name: the temporary name.
        bytes_written: so far.
        identity: device and inode of what is being written.
        is_committed: whether it has its final name.
        read_fd: a second descriptor of the same file, for the reading back.
    """

    identity: Identity

    def __init__(self, system: System, folder: FolderHandle, name: str, write_fd: int, read_fd: int) -> None:
        self.name = name
        self.bytes_written = 0
        self.read_fd = read_fd
        self._system = system
        self._folder = folder
        self._write_fd = write_fd
        self.is_committed = False
        self._is_removed = False

    @classmethod
    def create(cls, system: System, folder: FolderHandle, final_name: str) -> "PartialFile":
        """Make a partial that nobody else has, for a file of this name.

        Raises:
            OSError: it cannot be made; where its temporary name is left all the same, a note of the error says so.
        """
        while True:
            name = temporary_name(system, final_name)
            try:
                write_fd = system.open_name(folder, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                break
            except FileExistsError:
                continue
        partial = cls(system, folder, name, write_fd, -1)
        try:
            status = system.status_of_file(write_fd)
            partial.identity = Identity(status.st_dev, status.st_ino)
            partial.read_fd = system.open_name(folder, name, os.O_RDONLY)
            partial._require_same_file(partial.read_fd)
        except BaseException as error:  # it may as well be memory that is missing
            partial.discard_after(error)
            raise
        return partial

    @property
    def is_gone(self) -> bool:
        """Whether nothing has the temporary name any more."""
        return self.is_committed or self._is_removed

    @property
    def write_fd(self) -> int:
        """The descriptor that is written through; -1 when it is closed."""
        return self._write_fd

    def preallocate(self, size: int) -> None:
        """Reserve the room; only a hint."""
        self._system.preallocate(self._write_fd, size)

    def write(self, data: memoryview) -> None:
        """Write all of *data*, however few bytes the system takes at a time.

        Raises:
            OSError: the system refused, or took nothing several times in a row.
        """
        empty_writes = 0
        while data:
            taken = self._system.write(self._write_fd, data)
            if taken > 0:
                empty_writes = 0
                self.bytes_written += taken
                data = data[taken:]
                continue
            empty_writes += 1
            if empty_writes > _EMPTY_WRITES_TOLERATED:
                raise OSError(errno.EIO, "the system took no bytes and named no reason", self.name)

    def roll_write_back(self, previous: int) -> None:
        """Keep the medium busy and the dirty data bounded, after a write that began at *previous*.

        Raises:
            OSError: what was written earlier could not be brought to the medium.
        """
        window = _WRITE_BACK_WINDOW
        for end in range((previous // window + 1) * window, self.bytes_written + 1, window):
            self._system.start_write_back(self._write_fd, end - window, window)
            oldest = end - _WINDOWS_IN_FLIGHT * window
            if oldest >= window:
                self._system.finish_write_back(self._write_fd, oldest - window, window)

    def start_write_back(self) -> None:
        """Start bringing everything to the medium, without waiting."""
        self._system.start_write_back(self._write_fd, 0, 0)

    def require_size(self, size: int) -> None:
        """Make sure that *size* bytes were written and that the file is that long.

        Raises:
            OSError: it is not (``EIO``).
        """
        length = self._system.status_of_file(self._write_fd).st_size
        if not size == self.bytes_written == length:
            raise OSError(
                errno.EIO,
                f"{size} bytes were to be written, {self.bytes_written} were, and the file has {length}",
                self.name,
            )

    def flush(self) -> None:
        """Force the bytes to stable storage. Whatever it says is final; it is never asked twice."""
        self._system.flush(self._write_fd)

    def close_writer(self) -> None:
        """Close for writing.

        Raises:
            OSError: the file system reports late what it could not write (NFS does that here).
        """
        fd, self._write_fd = self._write_fd, -1
        self._system.close(fd)

    def open_direct(self) -> int:
        """Open the same file a third time, around the page cache.

        Raises:
            OSError: that cannot be had here, or the name leads to another file by now (``ESTALE``).
        """
        fd = self._system.open_direct(self._folder, self.name)
        try:
            self._require_same_file(fd)
        except OSError:
            self._system.close(fd)
            raise
        return fd

    def _require_same_file(self, fd: int) -> None:
        status = self._system.status_of_file(fd)
        if Identity(status.st_dev, status.st_ino) != self.identity:
            raise OSError(errno.ESTALE, "another file was put in the place of the temporary one", self.name)

    def commit(self, final_name: str, *, replace: bool) -> None:
        """Close it and give it its final name. The folder is still to be flushed.

        Raises:
            FileExistsError: not *replace*, and the name is taken.
            OSError: the rename failed; the partial is still there.
        """
        self.close()  # Windows renames nothing that is open
        status = self._system.status_of_name(self._folder, self.name)
        if Identity(status.st_dev, status.st_ino) != self.identity:
            raise OSError(errno.ESTALE, "another file was put in the place of the temporary one", self.name)
        if replace:
            self._system.replace_name(self._folder, self.name, final_name)
        else:
            self._system.rename_to_free_name(self._folder, self.name, final_name)
        self.is_committed = True

    def set_aside(self, corrupt_name: str) -> bool:
        """Keep what turned out to be bad under a name that says so; where that cannot be made, remove it.

        Returns:
            Whether it was kept.

        Raises:
            OSError: it could be neither renamed nor removed.
        """
        try:
            self.commit(corrupt_name, replace=False)
        except OSError:
            self.discard()
            return False
        return True

    def discard(self) -> None:
        """Close everything and remove the temporary name, if it is still there.

        Raises:
            OSError: it could not be removed.
        """
        self.close()
        self.remove_name()

    def discard_after(self, error: BaseException) -> None:
        """Discard it because of an error, which is told when the temporary name cannot be removed either."""
        try:
            self.discard()
        except OSError as failure:
            note_left_behind(error, failure, os.path.join(self._folder.path, self.name))

    def remove_name(self) -> None:
        """Remove the temporary name, if it is still there; what is open stays open.

        Raises:
            OSError: it could not be removed.
        """
        if self.is_gone:
            return
        self._is_removed = True
        with suppress(FileNotFoundError):
            self._system.remove_name(self._folder, self.name)

    def close(self) -> None:
        """Close both descriptors."""
        for fd in (self._write_fd, self.read_fd):
            if fd >= 0:
                with suppress(OSError):
                    self._system.close(fd)
        self._write_fd = self.read_fd = -1
