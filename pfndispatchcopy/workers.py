"""How many jobs at once, and why: from the processors, the storage and the memory that there is."""

from collections.abc import Iterable
from typing import NamedTuple

from pfndispatchcopy.fileio.storage import StorageKind
from pfndispatchcopy.notices import amount

__all__ = ["MEMORY_KEPT_FREE", "Jobs", "choose_jobs"]

# Part of the available memory that is left to others.
MEMORY_KEPT_FREE = 0.2
# More do not help: each large file has a thread for every destination already.
_MOST = 8


class Jobs(NamedTuple):
    """How many files are in flight at once.

    Attributes:
        at_once: jobs.
        readers: of them, how many may read from the source at once; the others are made durable and compared.
        reason: in words.
    """

    at_once: int
    readers: int
    reason: str


def choose_jobs(
    asked: int | None,
    *,
    cores: int,
    storages: Iterable[StorageKind],
    available: int | None,
    limit: int | None,
    bytes_each: int,
) -> Jobs:
    """Choose.

    Args:
        asked: number of jobs that the user wants; None for an automatic choice.
        cores: processors that may be used.
        storages: what source and destinations are on.
        available: bytes of memory that are available; None where nobody can tell.
        limit: upper bound in bytes that the user has set, or None.
        bytes_each: memory for the data of one job.
    """
    kinds = set(storages)
    if asked is not None:
        return Jobs(asked, asked, f"{asked} jobs, as asked for")
    if kinds <= {StorageKind.MEMORY, StorageKind.SOLID}:
        wanted = max(1, min(cores, _MOST))
        readers, why = wanted, f"one for each of {cores} processors"
    else:
        # One file is read at a time: heads do not like to jump. While a file is read, the one before it is
        # flushed and compared.
        slow = sorted(str(kind) for kind in kinds - {StorageKind.MEMORY, StorageKind.SOLID})
        wanted, readers = 2, 1
        why = f"one file is copied while the one before is compared, {' and '.join(slow)} storage"
    bounds = (limit, None if available is None else int(available * (1 - MEMORY_KEPT_FREE)))
    most = min((bound // bytes_each for bound in bounds if bound is not None), default=wanted)
    count = max(1, min(wanted, most))
    if count < wanted:
        why += f", no more than {count} for want of memory"
    memory = "" if available is None else f", {amount(available)} of memory available"
    return Jobs(count, min(readers, count), f"{count} job{'' if count == 1 else 's'}: {why}{memory}")
