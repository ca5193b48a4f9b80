"""The functions for programs: typed, silent, without signal handlers."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Executor

from pfndispatchcopy.check.session import Check
from pfndispatchcopy.events import Observer, ignore_events
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.model import CheckResult, CopyResult, Strategy, TreeResult
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.session import offload
from pfndispatchcopy.tree.session import TreeOffload

__all__ = [
    "check_hash_lists",
    "copy_tree_with_multiple_destinations",
    "copy_with_multiple_destinations",
    "copy_with_multiple_destinations_parallel",
]


AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def copy_with_multiple_destinations(
    source: AnyPath,
    destinations: Sequence[AnyPath] | AnyPath,
    buffer_size: int | None = None,
    *,
    options: CopyOptions | None = None,
    observer: Observer = ignore_events,
    cancel: threading.Event | None = None,
) -> CopyResult:
    """Copy one file to several destinations; the copy path is chosen by itself.

    The source is read once. Every copy is flushed, read back from the medium and compared before it gets
    its final name.

    Args:
        source: a file; ``-`` is standard input.
        destinations: each an existing folder, which takes the file under its own name, or the file's full path.
        buffer_size: bytes of a chunk; None adapts it to the file.
        options: everything else; the defaults are those of the command.
        observer: called with each event (:mod:`pfndispatchcopy.events`), from several threads.
        cancel: set it from anywhere to stop at the next chunk.

    Returns:
        What became of each destination. Expected failures are in there: look at ``success``, ``error`` and
        ``state``; nothing is raised for them.

    Raises:
        UsageError: arguments or options that cannot be used.
        RefusedError: the plan was refused before anything was written: no such source, no space, the same
            file twice.
    """
    options = options or CopyOptions()
    if buffer_size is not None:
        options = options.replacing(chunk_size=buffer_size)
    return offload(
        os.fsdecode(source),
        _paths(destinations),
        options,
        observer=observer,
        cancel=cancel,
    )


def copy_with_multiple_destinations_parallel(
    source: AnyPath,
    destinations: Sequence[AnyPath] | AnyPath,
    buffer_size: int | None = None,
    *,
    options: CopyOptions | None = None,
    observer: Observer = ignore_events,
    cancel: threading.Event | None = None,
) -> CopyResult:
    """Copy one file to several destinations with a reader thread and one writer thread for each of them.

    Arguments, result and exceptions are those of :func:`copy_with_multiple_destinations`.

    Example:
        >>> results = copy_with_multiple_destinations_parallel(
        ...     Path("clip.mov"), [Path("/a/clip.mov"), Path("/b/clip.mov")], 2 * 1024 * 1024
        ... )  # doctest: +SKIP
        >>> results["success"], results["hash"]  # doctest: +SKIP
        (True, '0123456789abcdef')
    """
    options = (options or CopyOptions()).replacing(strategy=Strategy.PARALLEL)
    return copy_with_multiple_destinations(
        source, destinations, buffer_size, options=options, observer=observer, cancel=cancel
    )


def copy_tree_with_multiple_destinations(
    sources: Sequence[AnyPath] | AnyPath,
    destinations: Sequence[AnyPath] | AnyPath,
    *,
    options: CopyOptions | None = None,
    observer: Observer = ignore_events,
    cancel: threading.Event | None = None,
    executor: Executor | str | None = None,
) -> TreeResult:
    """Copy folders, or several sources, to several destinations.

    A folder ``CARD`` goes to ``DESTINATION/CARD``; of ``CARD/`` the content goes straight into the destination.
    An interrupted run leaves a record in each destination, and the same call completes the job.

    Args:
        sources: folders and files.
        destinations: folders; they are made when they are missing.
        options: everything else; the defaults are those of the command.
        observer: called with each event (:mod:`pfndispatchcopy.events`), from several threads.
        cancel: set it from anywhere to stop.
        executor: where the jobs run: anything with the interface of :mod:`concurrent.futures`, whose workers see the
            same paths; it stays the caller's. Or ``serial``, ``threads``, ``dask:ADDRESS``, ``mpi``. None is threads
            of this process.

    Returns:
        What became of each destination. Expected failures are in there; nothing is raised for them.

    Raises:
        UsageError: arguments or options that cannot be used.
        RefusedError: the plan was refused before anything was written; or no worker of the executor can do the jobs.
    """
    return TreeOffload(
        _paths(sources),
        _paths(destinations),
        options or CopyOptions(),
        observer=observer,
        cancel=cancel or threading.Event(),
        system=native_system(),
        executor=executor,
        tells_files=observer is not ignore_events,
    ).run()


def check_hash_lists(
    paths: Sequence[AnyPath] | AnyPath,
    *,
    options: CopyOptions | None = None,
    observer: Observer = ignore_events,
    cancel: threading.Event | None = None,
) -> CheckResult:
    """Verify the files that hash lists name: each is read once, past the page cache. Nothing is written.

    Args:
        paths: lists (legacy and ASC media hash lists, sum files), and folders that lists lie in.
        options: those that apply: jobs, patterns, bandwidth limit, stall time-out.
        observer: called with each event (:mod:`pfndispatchcopy.events`), from several threads.
        cancel: set it from anywhere to stop.

    Returns:
        What was found, for each path. Changed and missing files are in there, and lists that cannot be read or
        trusted; nothing is raised for them.

    Raises:
        UsageError: arguments or options that cannot be used.
    """
    return Check(
        _paths(paths),
        options or CopyOptions(),
        observer=observer,
        cancel=cancel or threading.Event(),
        system=native_system(),
        tells_files=observer is not ignore_events,
    ).run()


def _paths(given: Sequence[AnyPath] | AnyPath) -> list[str]:
    each = [given] if isinstance(given, str | bytes | os.PathLike) else given
    return [os.fsdecode(path) for path in each]
