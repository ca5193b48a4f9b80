"""Sum files and legacy media hash lists: one for each folder that was copied, beside what it lists."""

import os
from collections.abc import Iterable, Iterator
from time import time

from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.possible import listable
from pfndispatchcopy.handover.writing import Medium, WrittenList, write_list
from pfndispatchcopy.hashlists.entries import Creator, SealedDigest, SealedFile
from pfndispatchcopy.hashlists.legacy import legacy_name, write_legacy
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, write_sum_line
from pfndispatchcopy.model import Mhl

__all__ = ["write_legacy_list", "write_sums"]

# Bytes: a name has 255 at the most, and the longest of what comes behind is " 999.xxh128".
_LONGEST_TITLE = 255 - 11


def write_sums(medium: Medium, folder: FolderHandle, title: str, name: str, files: Iterable[SealedFile]) -> WrittenList:
    """Write a sum file.

    Args:
        medium: where to, and how.
        folder: that the paths of the files are below.
        title: what the sum file is called, but for its suffix.
        name: of the digest.
        files: what it lists.

    Raises:
        OSError, MismatchError: see :func:`write_list`.
    """
    return write_list(medium, folder, f"{_fitting(title)}.{SUM_DIGESTS[name]}", _lines(name, files))


def _fitting(title: str) -> str:
    """As much of a title as leaves room for a suffix and a number in the name of a file."""
    while len(os.fsencode(title)) > _LONGEST_TITLE:
        title = title[:-1]
    return title


def _lines(name: str, files: Iterable[SealedFile]) -> Iterator[bytes]:
    for file in files:
        text = next(digest.text for digest in file.digests if digest.name == name)
        yield write_sum_line(name, text, file.path)


def write_legacy_list(
    medium: Medium,
    folder: FolderHandle,
    title: str,
    creator: Creator,
    started_at: float,
    files: Iterable[SealedFile],
) -> WrittenList:
    """Write a media hash list of the version 1.1.

    Args:
        medium: where to, and how.
        folder: that the paths of the files are below.
        title: what the list is called, but for the date.
        creator: who writes it.
        started_at: when the copying began, in seconds since the epoch.
        files: what it lists; there has to be one at least.

    Raises:
        OSError, MismatchError: see :func:`write_list`.
    """
    now = time()
    chunks = write_legacy(creator, started_at, now, (_as_legacy(file) for file in files))
    return write_list(medium, folder, legacy_name(title, now), chunks)


def _as_legacy(file: SealedFile) -> SealedFile:
    held = listable(Mhl.LEGACY, (digest.name for digest in file.digests))
    return file._replace(digests=tuple(SealedDigest(*digest) for digest in file.digests if digest.name in held))
