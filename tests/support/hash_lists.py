"""Entries for hash lists, made from the bytes of files that need not exist."""

from collections.abc import Iterable, Iterator, Sequence

from pfndispatchcopy.hashing import ALGORITHMS, digests_of
from pfndispatchcopy.hashlists.entries import Action, Creator, SealedDigest, SealedFile, SealedFolder

CREATOR = Creator("pfndispatchcopy", "1.2", "me", "Me & <You>", "a\x01host")

AT = 1_795_313_495.521651  # 2026-11-22T02:11:35.521651Z


def digest(name: str, data: bytes = b"") -> str:
    """The digest of *data* as its algorithm prints it."""
    return digests_of([name], data)[name]


def sealed_file(
    path: str, data: bytes = b"", names: Sequence[str] = tuple(ALGORITHMS), action: Action = Action.ORIGINAL
) -> SealedFile:
    """A file with these bytes, digests by all algorithms."""
    digests = tuple(SealedDigest(name, text, action) for name, text in digests_of(names, data).items())
    return SealedFile(path, len(data), int(AT) * 10**9 + 999_999_999, digests, AT)


def sealed_folder(path: str, names: Sequence[str] = ("xxh64be",)) -> SealedFolder:
    """An empty folder."""
    hashes = tuple(digests_of(names, b"").items())
    return SealedFolder(path, int(AT) * 10**9, hashes, hashes, AT)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """*data* in pieces of *size* bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def gathered(pieces: Iterable[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """Small pieces put together into larger ones."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= size:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)
