"""Records every write to a block device and every flush of it, and puts together what a power cut may leave.

The device is a loop device on a file of a FUSE file system, which this serves as a process of its own, with the
arguments of ``fuse_disk``. A flush of the device reaches it as a flush of that file. What was written before a flush is
on the medium; of what was written since, any part may be, block by block.
"""

import os
import random
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tests.kernel.fuse_disk import Disk, Request, main

__all__ = ["Block", "CrashState", "Record", "Recorder", "crash_states", "make_image", "read_record"]

_HEADER = struct.Struct("=QQ")
_FLUSH = (1 << 64) - 1
_BLOCK = 4096
"""What the medium writes as a whole or not at all; a file system counts on less."""


class Recorder(Disk):
    """A disk that notes what is written, in the order in which that reaches it, beside its log."""

    def __init__(self, backing: str, mount_point: str, rules: str, log: str, *, like_exfat: bool = False) -> None:
        super().__init__(backing, mount_point, rules, log, like_exfat=like_exfat)
        self._record = os.open(f"{log}.blocks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _write(self, request: Request) -> bytes:
        _, offset, size, *_ = struct.unpack_from("=QQI", request.body)
        os.writev(self._record, [_HEADER.pack(offset, size), request.body[-size:]])
        return super()._write(request)

    def _fsync(self, request: Request) -> bytes:
        os.write(self._record, _HEADER.pack(_FLUSH, 0))
        return super()._fsync(request)


class Block(NamedTuple):
    """Some bytes and where they go; no more than one block."""

    offset: int
    data: bytes


class CrashState(NamedTuple):
    """What may be on the medium after a power cut.

    Attributes:
        flushed: so many flushes had come to their end.
        kept: what has reached the medium since.
        is_after_the_end: whether the run may have ended by then.
        name: tells it from others.
    """

    flushed: int
    kept: tuple[Block, ...]
    is_after_the_end: bool
    name: str


class Record(NamedTuple):
    """What was written to a device.

    Attributes:
        epochs: the blocks between the flushes, in the order of their writing.
        began_in: the epoch in which the run began.
        ended_in: the one in which it ended.
    """

    epochs: list[list[Block]]
    began_in: int
    ended_in: int


def read_record(path: Path, begin: int, end: int) -> Record:
    """Read a record.

    Args:
        path: of its file.
        begin: length of the file when the run began.
        end: the same, when it ended.
    """
    epochs: list[list[Block]] = [[]]
    began_in = ended_in = 0
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            offset, size = _HEADER.unpack(header)
            if offset == _FLUSH:
                epochs.append([])
            else:
                epochs[-1] += _blocks(offset, file.read(size))
            if file.tell() <= begin:
                began_in = len(epochs) - 1
            if file.tell() <= end:
                ended_in = len(epochs) - 1
    return Record(epochs, began_in, ended_in)


def _blocks(offset: int, data: bytes) -> Iterator[Block]:
    start = 0
    while start < len(data):
        length = _BLOCK - (offset + start) % _BLOCK
        yield Block(offset + start, data[start : start + length])
        start += length


def crash_states(record: Record, seeds: int) -> list[CrashState]:
    """What a power cut may leave, from the beginning of the run until long after its end.

    Args:
        record: what was written.
        seeds: so many parts of what was written between two flushes are chosen by chance, half of them from the first
            block on; all that was flushed, and nothing else, is one state more.
    """
    found = []
    for number, blocks in enumerate(record.epochs[record.began_in :], record.began_in):
        choices: dict[tuple[Block, ...], str] = {(): f"flush {number}"}
        for seed in range(seeds if blocks else 0):
            chance = random.Random(number * 1000 + seed)
            if seed % 2:
                kept = tuple(blocks[: chance.randint(1, len(blocks))])
            else:
                share = chance.random()
                kept = tuple(block for block in blocks if chance.random() < share)
            choices.setdefault(kept, f"flush {number}, seed {seed}: {len(kept)} of {len(blocks)} blocks")
        is_after_the_end = number >= record.ended_in
        found += [CrashState(number, kept, is_after_the_end, name) for kept, name in choices.items()]
    return found


def make_image(image: BinaryIO, blocks: Sequence[Block]) -> None:
    """Put blocks where they belong."""
    for offset, data in blocks:
        image.seek(offset)
        image.write(data)


if __name__ == "__main__":
    main(Recorder, sys.argv[1:])
