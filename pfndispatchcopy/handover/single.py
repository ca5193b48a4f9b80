"""What goes with the copy of a single file: its sum files, and a legacy media hash list of it alone."""

from collections.abc import Mapping
from time import time
from typing import NamedTuple

from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.creator import this_program
from pfndispatchcopy.handover.plain import write_legacy_list, write_sums
from pfndispatchcopy.handover.writing import Medium
from pfndispatchcopy.hashlists.entries import SealedDigest, SealedFile
from pfndispatchcopy.hashlists.paths import can_be_listed
from pfndispatchcopy.model import Mhl, State
from pfndispatchcopy.options import CopyOptions

__all__ = ["CopiedFile", "deliver_beside"]


class CopiedFile(NamedTuple):
    """One complete copy.

    Attributes:
        name: in its folder.
        size: in bytes.
        mtime_ns: of the source; None for a stream.
        digests: by canonical name.
        state: how it was proven.
        started_at: when the run began, in seconds since the epoch.
    """

    name: str
    size: int
    mtime_ns: int | None
    digests: Mapping[str, str]
    state: State
    started_at: float


def deliver_beside(medium: Medium, folder: FolderHandle, copy: CopiedFile, options: CopyOptions) -> str | None:
    """Write what was asked for into the folder of a copy.

    Returns:
        Why there is no media hash list although one was asked for; None when all is well.

    Raises:
        OSError, MismatchError: a list cannot be written; see :func:`write_list`.
    """
    digests = tuple(SealedDigest(name, text) for name, text in copy.digests.items())
    now = time()
    file = SealedFile(copy.name, copy.size, copy.mtime_ns or int(now * 1e9), digests, now)
    for name in options.sums:
        write_sums(medium, folder, copy.name, name, [file])
    if options.mhl is Mhl.NONE:
        return None
    if copy.state not in (State.VERIFIED, State.IDENTICAL) or not medium.is_forced:
        return "nothing was verified on the medium here"
    if not can_be_listed(copy.name):
        return "it cannot hold this name"
    write_legacy_list(medium, folder, copy.name, this_program(medium.system), copy.started_at, [file])
    return None
