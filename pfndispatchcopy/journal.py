"""The record of an unfinished offload: which files a destination holds for certain.

There is one for each destination, in the folder that was named, under a temporary name of its own. A line is
appended, and flushed, only after the files that it tells of and their folders are durable. A run that was killed
at any moment leaves a record of which every whole line is true; the last line may be torn.

Each line is a checksum (XXH3, hexadecimal) and a JSON object. What is read is distrusted: the file has to be this
user's, nobody else may have been able to write to it, and a path counts only where the run at hand has it, too.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pfndispatchcopy.fileio.names import journal_name, temporary_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import short_key
from pfndispatchcopy.model import ReadBack, State

__all__ = ["Journal", "Proof", "Record", "encode_records"]

_VERSION = 1
_READ_SIZE = 1 << 20
_EMPTY_WRITES_TOLERATED = 3
# Nobody's record is longer, and none of its lines: what is, is not read.
_LARGEST = 2 << 30
_LONGEST_LINE = 64 << 20


class Record(NamedTuple):
    """One file that is complete and durable on a destination.

    Attributes:
        path: below the destination's root.
        size: in bytes.
        mtime_ns: of the source.
        digests: in the order of the names that go with them.
        name: what it is called there, where that is not the last name of its path.
    """

    path: str
    size: int
    mtime_ns: int
    digests: tuple[str, ...]
    name: str = ""


class Proof(NamedTuple):
    """What is known of the files of one line: their state, how they were compared, and which digests they have."""

    state: State
    read_back: ReadBack
    hashes: tuple[str, ...]


class Journal:
    """The record of one destination, open for appending.

    Args:
        system: the calls.
        folder: where it is.
        name: of its file.
        fd: of its file.
        is_forced: whether it is flushed.

    Attributes:
        count: files that it tells of.
        is_broken: whether it could not be written to: it tells of nothing more.
    """

    def __init__(self, system: System, folder: FolderHandle, name: str, fd: int, *, is_forced: bool) -> None:
        self.folder = folder
        self.name = name
        self.is_forced = is_forced
        self.count = 0
        self.is_broken = False
        self._system = system
        self._fd = fd

    @classmethod
    def read(cls, system: System, folder: FolderHandle, key: str) -> tuple[list[tuple[Proof, Record]], str | None]:
        """Read what an earlier run has left.

        Args:
            system: the calls.
            folder: where it is.
            key: tells this offload from others into the same folder.

        Returns:
            The records, none where there is no record, and why it was not believed, if so.
        """
        try:
            fd = system.open_name(folder, journal_name(key), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return [], None
        except OSError as error:
            return [], error.strerror
        try:
            status = system.status_of_file(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                return [], "it is no record of this program"
            if not system.is_own(status):
                return [], "it belongs to another user, or others could write to it"
            records: list[tuple[Proof, Record]] = []
            for line in _lines(system, fd):
                found = _parse(line)
                if found is None:  # torn, or not ours: nothing behind it counts
                    break
                records += found
            return records, None
        except OSError as error:
            return [], error.strerror
        finally:
            system.close(fd)

    @classmethod
    def begin(
        cls,
        system: System,
        folder: FolderHandle,
        key: str,
        records: Mapping[Proof, Sequence[Record]],
        *,
        is_forced: bool,
    ) -> "Journal":
        """Begin a record, with what is still true of an earlier one; it takes that one's place at once.

        Raises:
            OSError: it cannot be written.
        """
        name = journal_name(key)
        temporary = temporary_name(system, name)
        fd = system.open_name(folder, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        journal = cls(system, folder, name, fd, is_forced=is_forced)
        try:
            journal.append(_line({"v": _VERSION}), 0)
            for proof, kept in records.items():
                journal.append(encode_records(proof, kept), len(kept))
            system.replace_name(folder, temporary, name)
            if is_forced:
                system.flush_folder(folder)
        except BaseException:
            with suppress(OSError):
                system.close(fd)
            with suppress(OSError):
                system.remove_name(folder, temporary)
            raise
        return journal

    def append(self, line: bytes, count: int) -> None:
        """Append a line that tells of *count* files that are durable, and make that durable, too.

        Raises:
            OSError: it cannot be written: what it holds stays true, but it tells of no later file.
        """
        data = memoryview(line)
        empty_writes = 0
        while data:
            taken = self._system.write(self._fd, data)
            empty_writes = 0 if taken else empty_writes + 1
            if empty_writes > _EMPTY_WRITES_TOLERATED:
                raise OSError(errno.EIO, "the system took no bytes and named no reason", self.name)
            data = data[taken:]
        if self.is_forced:
            self._system.flush(self._fd)
        self.count += count

    def close(self) -> None:
        """Keep it for the next run."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                self._system.close(fd)

    def remove(self) -> None:
        """The offload is finished: there is nothing to be remembered.

        Raises:
            OSError: it cannot be removed.
        """
        self.close()
        with suppress(FileNotFoundError):
            self._system.remove_name(self.folder, self.name)


def _lines(system: System, fd: int) -> Iterator[bytes]:
    """Whole lines; what comes after the last line end is torn."""
    buffer = memoryview(bytearray(_READ_SIZE))
    parts: list[bytes] = []
    size = 0
    while size <= _LONGEST_LINE and (count := system.read(fd, buffer)):
        *whole, rest = bytes(buffer[:count]).split(b"\n")
        if whole:
            whole[0] = b"".join([*parts, whole[0]])
            yield from whole
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)


def encode_records(proof: Proof, records: Sequence[tuple[str, int, int, tuple[str, ...], str]]) -> bytes:
    """Return the line that tells of *records* (their fields, in the order of :class:`Record`), of one proof."""
    return _line(
        {"state": proof.state, "read_back": proof.read_back, "hashes": proof.hashes, "files": records},
    )


def _line(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, separators=(",", ":")).encode("ascii")
    return short_key(text).encode("ascii") + b" " + text + b"\n"


def _parse(line: bytes) -> list[tuple[Proof, Record]] | None:
    """What a line tells; None when it is torn, or none of ours."""
    checksum, _, text = line.partition(b" ")
    if checksum != short_key(text).encode("ascii"):
        return None
    try:
        fields = json.loads(text)
        if "files" not in fields:
            return [] if fields.get("v") == _VERSION else None
        proof = Proof(State(fields["state"]), ReadBack(fields["read_back"]), tuple(map(str, fields["hashes"])))
        return [
            (proof, Record(str(path), int(size), int(mtime_ns), tuple(map(str, digests)), str(name)))
            for path, size, mtime_ns, digests, name in fields["files"]
        ]
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        return None
