"""The lists themselves: opened by descriptors, read once, and where that can be, proven by their bytes."""

import errno
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.notices import reason_of

__all__ = ["ListFile", "open_list", "read_proven"]

# Bytes of a list that are read at once.
_CHUNK = 256 << 10
_Entry = TypeVar("_Entry")


class ListFile:
    """An open list.

    Attributes:
        beginning: its first bytes, from which its kind is known.

    Args:
        system: the calls.
        fd: open for reading; it stays the caller's.
        going_on: called for each chunk; raises to stop.
    """

    def __init__(self, system: System, fd: int, going_on: Callable[[], None]) -> None:
        self._system = system
        self._fd = fd
        self._going_on = going_on
        self._buffer = memoryview(bytearray(_CHUNK))
        self.beginning = self._read()

    def chunks(self) -> Iterator[bytes]:
        """Yield all its bytes, once."""
        chunk = self.beginning
        while chunk:
            yield chunk
            chunk = self._read()

    def _read(self) -> bytes:
        self._going_on()
        return bytes(self._buffer[: self._system.read(self._fd, self._buffer)])


@contextmanager
def open_list(
    system: System, folder: FolderHandle, name: str, going_on: Callable[[], None], *, follow: bool = False
) -> Iterator[ListFile]:
    """Open a list by its name in a folder, and read its beginning.

    Args:
        system: the calls.
        folder: where it is.
        name: of the list.
        going_on: called for each chunk; raises to stop.
        follow: whether the name may be a link to it.

    Raises:
        UntrustedListError: it cannot be read, also in the middle of it, or is no file.
    """
    fd = -1
    try:
        fd = system.open_source_name(folder, name, follow=follow)
        if not stat.S_ISREG(system.status_of_file(fd).st_mode):
            raise UntrustedListError("it is no file")
        yield ListFile(system, fd, going_on)
    except OSError as error:
        is_link = error.errno == errno.ELOOP and not follow
        reason = "it is a symbolic link, and none is followed" if is_link else f"it cannot be read: {reason_of(error)}"
        raise UntrustedListError(reason) from error
    finally:
        if fd >= 0:
            system.close(fd)


def read_proven(
    file: ListFile, c4: str, parse: Callable[[Iterable[bytes]], Iterable[_Entry]], take: Callable[[_Entry], None]
) -> None:
    """Read a list of a history to its end, and prove that it is the one that the chain knows.

    Args:
        file: the list.
        c4: the C4 ID of its bytes.
        parse: makes entries of bytes.
        take: is given each entry, of which none counts before this function has returned.

    Raises:
        UntrustedListError: it was edited, or cannot be understood.
    """
    hasher = HashCalculator(("c4",))

    def hashed() -> Iterator[bytes]:
        for chunk in file.chunks():
            hasher.update(chunk)
            yield chunk

    chunks, doubt = hashed(), None
    try:
        for entry in parse(chunks):
            take(entry)
    except UntrustedListError as error:
        doubt = error
    for _ in chunks:  # that it was edited says more than what was stumbled over
        pass
    if hasher.hexdigests()["c4"] != c4:
        raise UntrustedListError("it was edited: its C4 ID is not the one that the chain has of it") from doubt
    if doubt is not None:
        raise doubt
