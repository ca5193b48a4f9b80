"""The functions for programs: typed, silent, without signal handlers."""

import os
import threading
from collections.abc import Sequence

from pfndispatchcopy.events import Observer, ignore_events
from pfndispatchcopy.model import CopyResult, Strategy
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.session import offload

__all__ = ["copy_with_multiple_destinations", "copy_with_multiple_destinations_parallel"]


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
    if isinstance(destinations, str | bytes | os.PathLike):
        destinations = [destinations]
    options = options or CopyOptions()
    if buffer_size is not None:
        options = options.replacing(chunk_size=buffer_size)
    return offload(
        os.fsdecode(source),
        [os.fsdecode(destination) for destination in destinations],
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
