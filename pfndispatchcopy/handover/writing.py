"""A list goes to a destination as a copy does: temporary name, flush, look at what is there, final name."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pfndispatchcopy.engine.existing import numbered_names
from pfndispatchcopy.errors import MismatchError
from pfndispatchcopy.fileio.names import is_temporary_of
from pfndispatchcopy.fileio.partial import PartialFile
from pfndispatchcopy.fileio.readback import open_past_cache, read_to_end
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.notices import note_left_behind

__all__ = ["Medium", "WrittenList", "read_whole", "sweep", "writable", "write_list"]

_BLOCK = 1 << 20
# Write to a folder, and reach what is in it.
_OWNER_MAY = stat.S_IWUSR | stat.S_IXUSR
# Of the file as such: what is written is read back and compared by it. A chain names its lists by their C4 IDs.
_PROOF = "c4"


class Medium(NamedTuple):
    """How a destination is written to.

    Attributes:
        system: the calls.
        is_memory: whether the medium is memory.
        is_forced: whether it is forced to stable storage.
        beat: called after each operation, for whoever watches.
        owner: what temporary names belong to: a file whose lock is held, or any list where the folder is locked. Those
            of lists have a date in their own names, by which no later run could know them.
    """

    system: System
    is_memory: bool
    is_forced: bool
    beat: Callable[[], None] = lambda: None
    owner: str = "hash list"


class WrittenList(NamedTuple):
    """A list that is on the medium: its name, and the C4 ID of its bytes."""

    name: str
    c4: str


def write_list(
    medium: Medium, folder: FolderHandle, name: str, chunks: Iterable[bytes], *, replace: bool = False
) -> WrittenList:
    """Write a list durably, read it back, and give it its name.

    What has that name already and holds the same bytes is left as it is; where it holds others, the list gets the
    next numbered name, unless it is to be replaced.

    Args:
        medium: where to, and how.
        folder: where the list is to be.
        name: of the list.
        chunks: its bytes.
        replace: whether what has the name is replaced, in one step.

    Raises:
        OSError: it cannot be written.
        MismatchError: what was read back is something else.
    """
    system = medium.system
    partial = PartialFile.create(system, folder, medium.owner)
    try:
        digest = _fill(medium, partial, chunks)
        system.set_mode(partial.write_fd, system.default_mode())
        partial.require_size(partial.bytes_written)
        if medium.is_forced and not medium.is_memory:
            partial.flush()
        medium.beat()
        _compare(medium, partial, digest)
        name = _commit(medium, folder, partial, name, digest, replace=replace)
    except BaseException as error:
        partial.discard_after(error)
        raise
    _discard(partial, folder)  # which is nothing, unless the same list was there already
    if medium.is_forced and not medium.is_memory:
        system.flush_folder(folder)
    medium.beat()
    return WrittenList(name, digest)


@contextmanager
def writable(system: System, folder: FolderHandle) -> Iterator[None]:
    """Let names be made in a folder for a while, although its mode, which it has from its source, forbids that."""
    mode = stat.S_IMODE(system.status_of_file(folder.fd).st_mode) if folder.fd >= 0 else _OWNER_MAY
    if mode & _OWNER_MAY == _OWNER_MAY:
        yield
        return
    with suppress(OSError):  # what may not be changed may still be written to, by whoever may do everything
        system.set_mode(folder.fd, mode | _OWNER_MAY)
    try:
        yield
    finally:
        with suppress(OSError):
            system.set_mode(folder.fd, mode)


def sweep(medium: Medium, folder: FolderHandle) -> None:
    """Remove the temporary files of lists that a dead run has left in a folder; the lock has to be held."""
    for name in medium.system.list_names(folder):
        if is_temporary_of(name, medium.owner):
            with suppress(OSError):
                medium.system.remove_name(folder, name)


def _discard(partial: PartialFile, folder: FolderHandle) -> None:
    try:
        partial.discard()
    except OSError as error:
        note_left_behind(error, error, os.path.join(folder.path, partial.name))
        raise


def _fill(medium: Medium, partial: PartialFile, chunks: Iterable[bytes]) -> str:
    calculator = HashCalculator([_PROOF])
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) >= _BLOCK:
            _write(medium, partial, calculator, block)
            block = bytearray()
    _write(medium, partial, calculator, block)
    return calculator.hexdigests()[_PROOF]


def _write(medium: Medium, partial: PartialFile, calculator: HashCalculator, block: bytearray) -> None:
    view = memoryview(block)
    calculator.update(view)
    partial.write(view)
    medium.beat()


def _compare(medium: Medium, partial: PartialFile, digest: str) -> None:
    fd, _ = open_past_cache(
        medium.system,
        partial.read_fd,
        partial.bytes_written,
        is_memory=medium.is_memory or not medium.is_forced,
        open_direct=_no_direct_reads,
    )
    if _digest(medium, fd) != digest:
        raise MismatchError("the list was read back as something else than was written")


def _no_direct_reads() -> int:
    # A list is of some size or other, and direct reads want whole blocks: the cache has to do where it stays.
    raise OSError


def _digest(medium: Medium, fd: int) -> str:
    calculator = HashCalculator([_PROOF])
    medium.system.rewind(fd)
    for view in read_to_end(medium.system, fd, memoryview(bytearray(_BLOCK))):
        calculator.update(view)
        medium.beat()
    return calculator.hexdigests()[_PROOF]


def _commit(
    medium: Medium, folder: FolderHandle, partial: PartialFile, name: str, digest: str, *, replace: bool
) -> str:
    if replace:
        partial.commit(name, replace=True)
        return name
    for candidate in numbered_names(name):
        try:
            partial.commit(candidate, replace=False)
        except FileExistsError:
            if _digest_of_name(medium, folder, candidate) == digest:
                return candidate
        else:
            return candidate
    raise AssertionError("numbers do not end")


def _digest_of_name(medium: Medium, folder: FolderHandle, name: str) -> str | None:
    """The digest of what has a name; None where that cannot be read."""
    try:
        fd = medium.system.open_name(folder, name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        is_file = stat.S_ISREG(medium.system.status_of_file(fd).st_mode)
        return _digest(medium, fd) if is_file else None
    except OSError:
        return None
    finally:
        medium.system.close(fd)


def read_whole(system: System, folder: FolderHandle, name: str, most: int) -> bytes:
    """Read a small file.

    Args:
        system: the calls.
        folder: where it is.
        name: of the file; a link is not followed.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, or is larger (``EFBIG``).
    """
    fd = system.open_name(folder, name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        data = bytearray()
        for view in read_to_end(system, fd, memoryview(bytearray(_BLOCK))):
            data += view
            if len(data) > most:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        return bytes(data)
    finally:
        system.close(fd)
