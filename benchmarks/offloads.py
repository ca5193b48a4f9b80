"""Offloads in this process, which is warm: the engine without the start of a command."""

import os
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.timing import seconds_of
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.session import offload

__all__ = ["copy_paths", "timed_offload"]


def copy_paths(folder: str, count: int) -> list[str]:
    """Paths of *count* copies in one folder."""
    return [os.path.join(folder, f"copy-{number}.bin") for number in range(count)]


def timed_offload(source: str, copies: Sequence[str], options: CopyOptions) -> float:
    """Copy, and remove the copies; returns the seconds of the copying alone.

    Raises:
        RuntimeError: a copy failed, so that its time means nothing.
    """

    def copy() -> None:
        result = offload(source, copies, options)
        if not result.success:
            raise RuntimeError("; ".join(each.error.message for each in result.destinations if each.error))

    try:
        return seconds_of(copy)
    finally:
        for path in copies:
            with suppress(FileNotFoundError):
                os.remove(path)
