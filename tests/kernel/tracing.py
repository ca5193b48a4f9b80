"""System calls of the command that fail, or that it does not survive, by strace."""

import functools
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.names import temporary_name_with

__all__ = ["Traced", "known_names", "needs_strace"]

# strace takes whole paths only. What is random in a temporary name follows from the thread here: that of a destination,
# or the one that works for all of them. So it is known, and no two destinations have the same.
_TOKENS = ("{:08}", "all-dest")
_LAUNCH = f"""
import os, sys, threading
from pfndispatchcopy.cli.main import main
from pfndispatchcopy.fileio.system import System
def token(self):
    lane, _, number = threading.current_thread().name.rpartition("-")
    return {_TOKENS[0]!r}.format(int(number)) if lane == "pfn-destination" else {_TOKENS[1]!r}
System.random_token = token
os._exit(main(sys.argv[2:]))
"""


@functools.cache
def _why_not() -> str:
    if shutil.which("strace") is None:
        return "there is no strace here (package strace)"
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "inject=close:poke_exit=@arg1=00:when=1000", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else f"strace cannot be used here: {done.stderr.strip().splitlines()[-1:]}"


def needs_strace() -> None:
    """Skip where calls cannot be traced."""
    if _why_not():
        pytest.skip(_why_not())


def known_names(final_name: str, number: int = 0) -> list[str]:
    """The temporary names that a file may get on a destination in a traced run."""
    return [temporary_name_with(token.format(number), final_name) for token in _TOKENS]


class Traced:
    """How a run is traced, and what came of it.

    Args:
        log: name of a file for what strace tells.
        calls: the system calls that are looked at.
        inject: what happens to them, as strace takes it: ``fsync:error=EIO:when=2``.
        paths: only calls that concern one of these.

    Attributes:
        wrapper: what the command is started by.
    """

    def __init__(self, log: Path, calls: Sequence[str], *inject: str, paths: Sequence[str | Path] = ()) -> None:
        self._log = log
        # With this, calls that are not looked at cost nothing; but strace then forgets to send signals.
        fast = () if any(":signal=" in each for each in inject) else ("--seccomp-bpf",)
        self.wrapper = (
            *("strace", "-f", "-q", *fast, "-o", str(log), "-e", f"trace={','.join(calls)}"),
            *(word for path in paths for word in ("-P", str(path))),
            *(word for each in inject for word in ("-e", f"inject={each}")),
            *(sys.executable, "-c", _LAUNCH),
        )

    @property
    def lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    @property
    def fired(self) -> list[str]:
        """The calls that were tampered with."""
        return [line for line in self.lines if "(INJECTED" in line]

    @property
    def was_killed(self) -> bool:
        return any("+++ killed by SIGKILL +++" in line for line in self.lines)

    def most_by_a_thread(self) -> dict[str, int]:
        """Of each system call, how often the thread that made it most often made it."""
        counts: Counter[tuple[str, str]] = Counter()
        for line in self.lines:
            found = re.match(r"(\d+) +(\w+)\(", line)
            if found:
                counts[found[1], found[2]] += 1
        most: dict[str, int] = {}
        for (_, call), count in counts.items():
            most[call] = max(most.get(call, 0), count)
        return most
