"""This program as a whole process: how it is called, and how much memory it takes."""

import compileall
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pfndispatchcopy

__all__ = ["compile_package", "peak_memory", "program"]

# A process that runs another and prints the largest resident size among it and its children. It is a process
# of its own because a size is handed down through fork and exec: it may not come from a larger one.
_WRAPPER = """
import os, sys
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
status, usage = os.wait4(pid, 0)[1:]
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def program() -> tuple[str, ...]:
    """The beginning of the command line: the installed script, or else the module."""
    script = os.path.join(os.path.dirname(sys.executable), "pfndispatchcopy")
    return (script,) if os.access(script, os.X_OK) else (sys.executable, "-m", "pfndispatchcopy")


def compile_package() -> None:
    """Compile the package to bytecode as an installation does, so that its start is that of users."""
    compileall.compile_dir(os.path.dirname(pfndispatchcopy.__file__), quiet=1)


def peak_memory(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command, whose standard output is empty; returns the peak of its largest process, in bytes resident.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    wrapped = [sys.executable, "-I", "-S", "-c", _WRAPPER, *argv]
    told = subprocess.run(wrapped, check=True, capture_output=True, text=True, env=environment).stdout
    # getrusage(2): Linux counts kilobytes, macOS bytes.
    return int(told) * (1 if sys.platform == "darwin" else 1024)
