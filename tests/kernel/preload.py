"""Calls of the C library that fail in the command, by a library that is loaded before it."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["CallFault", "PreloadedFaults", "build_library"]


class CallFault(NamedTuple):
    """A call that fails; what the fields mean is said in ``preload.c``.

    Attributes:
        action: as there, or the name of an error.
    """

    call: str
    part: str
    action: str
    skip: int = 0
    times: int = -1

    def __str__(self) -> str:
        action = getattr(errno, self.action) if self.action.isupper() else self.action
        return f"{self.call}:{self.part}:{action}:{self.skip}:{self.times}"


def build_library(folder: Path) -> Path:
    """Compile the library; skips where that cannot be done."""
    if sys.platform != "linux":
        pytest.skip("LD_PRELOAD is used on Linux only")
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc here (package gcc)")
    library = folder / "preload.so"
    source = Path(__file__).with_name("preload.c")
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    if done.returncode != 0 and "cannot find" in done.stderr:
        pytest.skip("gcc has no C library to build with (package libc6-dev)")
    assert done.returncode == 0, done.stderr
    return library


class PreloadedFaults:
    """Faults for a run, and what became of them."""

    def __init__(self, library: Path, log: Path, *faults: CallFault) -> None:
        self._log = log
        self.wrapper = (
            "env",
            f"LD_PRELOAD={library}",
            f"PFN_FAULT={' '.join(map(str, faults))}",
            f"PFN_FAULT_LOG={log}",
        )
        """What the command is started by."""

    @property
    def fired(self) -> list[str]:
        """Each fault that fired: the call, the action, the path."""
        return self._log.read_text().splitlines() if self._log.exists() else []
