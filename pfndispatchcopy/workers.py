"""How many jobs at once, and why: from processors, storage and memory; and whether more would help."""

from collections.abc import Iterable
from typing import NamedTuple

from pfndispatchcopy.fileio.storage import StorageKind
from pfndispatchcopy.notices import amount

__all__ = ["MEMORY_KEPT_FREE", "Jobs", "Outline", "advise", "choose_jobs"]

# Part of the available memory that is left to others.
MEMORY_KEPT_FREE = 0.2
# More do not help: each large file has a thread for every destination already (benchmarks/exp_jobs.py).
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


class _Rate(NamedTuple):
    """What storage is assumed to do: bytes a second, and the seconds that one file costs beside its bytes."""

    bytes_per_s: float
    seconds_per_file: float


# Assumed, and on the fast side for each kind: who is told that more will not help has to be able to believe it.
_RATES = {
    StorageKind.MEMORY: _Rate(2e9, 0.0003),
    StorageKind.SOLID: _Rate(500e6, 0.001),
    StorageKind.ROTATIONAL: _Rate(200e6, 0.005),
    StorageKind.NETWORK: _Rate(1e9, 0.002),
    StorageKind.UNKNOWN: _Rate(500e6, 0.001),
}
# To start workers, and to get the first job to them, takes a few seconds.
_SMALL_JOB_S = 5.0


class Outline(NamedTuple):
    """An offload, as far as it matters for how many could share in it.

    Attributes:
        files: how many.
        size: bytes of all of them.
        sources: what the sources are on.
        destinations: what the destinations are on.
        shared_disk: name of a disk that a source and a destination are both on; empty where there is none.
    """

    files: int
    size: int
    sources: tuple[StorageKind, ...]
    destinations: tuple[StorageKind, ...]
    shared_disk: str = ""


def advise(outline: Outline, jobs: Jobs) -> str:
    """Say whether more jobs, or more hosts, would help, and why."""
    kinds = set(outline.sources) | set(outline.destinations)
    seconds = max(
        outline.size / _RATES[kind].bytes_per_s + outline.files * _RATES[kind].seconds_per_file for kind in kinds
    )
    if seconds < _SMALL_JOB_S:
        return f"more jobs or hosts will not help: it is a small job, of about {max(1, round(seconds))} s"
    if outline.files <= jobs.at_once:
        return f"more jobs or hosts will not help: there are {outline.files} files, and each is one job"
    if outline.shared_disk and StorageKind.ROTATIONAL in kinds:
        return (
            f"more jobs or hosts will not help: source and destination are on one rotating disk, {outline.shared_disk}"
        )
    own = [
        f"the {side} is on {kind} storage of this host"
        for side, found in (("source", outline.sources), ("destination", outline.destinations))
        for kind in sorted(set(found) - {StorageKind.NETWORK})
    ]
    if own:
        hosts = f"more hosts will not help: {own[0]}"
        if StorageKind.ROTATIONAL in kinds:
            return f"{hosts}; nor will more jobs: a rotating disk does one thing at a time"
        return f"{hosts}; nor will more jobs than processors"
    return "more jobs share this host's one link to the network; more hosts, each with its own, may help (--executor)"
