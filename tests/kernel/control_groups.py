"""Control groups: limits that the kernel sets to processes from outside."""

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["ControlGroup", "control_group"]

_ROOT = Path("/sys/fs/cgroup")
_numbers = itertools.count()


class ControlGroup:
    """A group of processes that shares limits.

    Args:
        path: its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def wrapper(self) -> Sequence[str]:
        """What a command is run by to be in it, with all that it starts."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.path)]

    def set(self, name: str, value: str) -> None:
        """Set a limit."""
        (self.path / name).write_text(value)

    def get(self, name: str) -> str:
        """What a file of the group says."""
        return (self.path / name).read_text()


@contextmanager
def control_group(controller: str) -> Iterator[ControlGroup]:
    """Make a group of a controller, as the first version of control groups has them, and remove it at the end."""
    parent = _ROOT / controller
    if not (parent / "cgroup.procs").exists() or not os.access(parent, os.W_OK):
        pytest.skip(f"no control group of {controller} (version 1) can be made here")
    path = parent / f"pfn-test-{os.getpid()}-{next(_numbers)}"
    path.mkdir()
    try:
        yield ControlGroup(path)
    finally:
        until = time.monotonic() + 10
        while (path / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.02)
        path.rmdir()
