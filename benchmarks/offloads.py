"""Offloads that are timed: in this process, which is warm, or by the whole command."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from benchmarks.machine import Place, clear_away
from benchmarks.program import ENVIRONMENT
from benchmarks.timing import seconds_of
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.session import offload

__all__ = ["Commands", "copy_paths", "timed_offload"]


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


class Commands(NamedTuple):
    """Offloads by whole processes, of one source.

    Attributes:
        place: where the copies go to.
        folder: there, with room for what is cleared away.
        source: path of what is copied.
        destinations: paths of the folders that the copies come into.
    """

    place: Place
    folder: str
    source: str
    destinations: Sequence[str]

    @classmethod
    def to(cls, count: int, place: Place, folder: str, source: str) -> "Commands":
        """Make so many destinations in the *folder*."""
        with_number = [os.path.join(folder, f"destination-{number}") for number in range(count)]
        for each in with_number:
            os.mkdir(each)
        return cls(place, folder, source, with_number)

    def seconds(self, command: Sequence[str], *options: str) -> float:
        """Copy, and clear the copies away; returns the seconds of the copying alone.

        Raises:
            subprocess.CalledProcessError: it failed, so that its time means nothing.
        """
        argv = (*command, "-q", *options, self.source, *self.destinations)
        try:
            return seconds_of(partial(subprocess.run, argv, check=True, capture_output=True, env=ENVIRONMENT))
        finally:
            names = [os.path.join(folder, name) for folder in self.destinations for name in os.listdir(folder)]
            clear_away(names, self.place, self.folder)
