"""How much memory a command takes, with all of its processes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

__all__ = ["PeakMemory", "peak_memory"]

_PAUSE_S = 0.005
# A process that runs another and prints the largest resident size among it and its children. It is a process
# of its own because a size is handed down through fork and exec: it may not come from a larger one.
_WRAPPER = """
import os, sys
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
status, usage = os.wait4(pid, 0)[1:]
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class PeakMemory(NamedTuple):
    """The most that a command had.

    Attributes:
        size_bytes: how much.
        meaning: what was counted, in words: systems count in different ways.
    """

    size_bytes: int
    meaning: str


def peak_memory(argv: Sequence[str], environment: Mapping[str, str]) -> PeakMemory:
    """Run a command that prints nothing.

    On Linux its processes are looked at every few milliseconds, and what several of them share counts once. Where
    the system does not say what is shared, the peaks of all of them are added up.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    if not os.path.exists("/proc/self/status"):
        return _largest_process(argv, environment)
    nothing = subprocess.DEVNULL
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(argv, env=environment, stdin=nothing, stdout=nothing, stderr=messages) as process,
    ):
        shared = 0
        peaks: dict[int, int] = {}
        while process.poll() is None:
            family = list(_processes_of(process.pid))
            shared = max(shared, sum(map(_proportional_size, family)))
            peaks.update({pid: peak for pid in family if (peak := _own_peak(pid))})
            time.sleep(_PAUSE_S)
        if process.returncode != 0:
            messages.seek(0)
            raise subprocess.CalledProcessError(process.returncode, argv, stderr=messages.read())
    if shared:
        return PeakMemory(shared, "all processes together, what they share counted once")
    return PeakMemory(sum(peaks.values()), "the peaks of all processes, added up")


def _processes_of(root: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield root
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{root}/task"):
            with open(f"/proc/{root}/task/{thread}/children", encoding="ascii") as children:
                for child in children.read().split():
                    yield from _processes_of(int(child))


def _proportional_size(pid: int) -> int:
    return _number_of(f"/proc/{pid}/smaps_rollup", "Pss:")


def _own_peak(pid: int) -> int:
    return _number_of(f"/proc/{pid}/status", "VmHWM:")


def _number_of(path: str, name: str) -> int:
    """A number of a file of facts, in bytes; 0 where the process is gone or the system does not say."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as facts:
        for line in facts:
            if line.startswith(name):
                return int(line.split()[1]) << 10
    return 0


def _largest_process(argv: Sequence[str], environment: Mapping[str, str]) -> PeakMemory:
    wrapped = [sys.executable, "-I", "-S", "-c", _WRAPPER, *argv]
    told = subprocess.run(wrapped, check=True, capture_output=True, text=True, env=environment).stdout
    # getrusage(2): Linux counts kilobytes, macOS bytes.
    return PeakMemory(int(told) * (1 if sys.platform == "darwin" else 1024), "the largest process")
