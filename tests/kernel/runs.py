"""Runs of the command, and what they reported."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support.command import events_of, run, start

__all__ = ["Begin", "Report", "Running", "check", "copy", "final_names", "measuring", "partial_in"]

_PATIENCE_S = 20.0
_MEASURING = (
    "import resource, subprocess, sys;"
    "code = subprocess.run(sys.argv[2:]).returncode;"
    "open(sys.argv[1], 'w').write(str(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss));"
    "sys.exit(code)"
)


@dataclass
class Report:
    """How a run ended.

    Attributes:
        exit_code: of the command.
        events: all of them.
        text: what was on standard error.
    """

    exit_code: int
    events: list[dict[str, Any]]
    text: str

    @property
    def states(self) -> dict[str, str]:
        """The state of each destination, by the first name of its path."""
        return {_first(each["path"]): each["state"] for each in self.events[-1]["destinations"]}

    @property
    def errors(self) -> list[dict[str, Any]]:
        """All errors."""
        return [event for event in self.events if event["event"] == "error"]

    @property
    def error(self) -> dict[str, Any]:
        """The only error."""
        assert len(self.errors) == 1, self.errors
        return self.errors[0]

    @property
    def warnings(self) -> list[str]:
        """The texts of all warnings."""
        return [event["message"] for event in self.events if event["event"] == "warning"]

    @property
    def read_back(self) -> dict[str, set[str]]:
        """For each destination all ways in which its files were read back."""
        found: dict[str, set[str]] = {}
        for event in self.events:
            for each in event["destinations"] if event["event"] == "file" else ():
                found.setdefault(_first(each["path"]), set()).add(each["read_back"])
        return found

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All events of a kind."""
        return [event for event in self.events if event["event"] == kind]


def _first(path: str) -> str:
    return path.split("/", 1)[0]


def _report(done: subprocess.CompletedProcess[str]) -> Report:
    return Report(done.returncode, events_of(done.stdout), done.stderr)


def copy(*arguments: str | Path, cwd: Path, stdin: bytes | None = None, wrapper: Sequence[str] = ()) -> Report:
    """Copy to the end."""
    return _report(run("--json", *arguments, cwd=cwd, stdin=stdin, wrapper=wrapper))


def check(*arguments: str | Path, cwd: Path, wrapper: Sequence[str] = ()) -> Report:
    """Check to the end."""
    return _report(run("--check", "--json", *arguments, cwd=cwd, wrapper=wrapper))


def measuring(peak: Path) -> list[str]:
    """What a command is run by, so that the largest resident set of any of its processes is written into a file."""
    return [sys.executable, "-c", _MEASURING, str(peak)]


class Begin(Protocol):
    """Begins a copy."""

    def __call__(self, *arguments: str | Path, cwd: Path, rate: str = ...) -> "Running":
        """Begin; the arguments are those of a :class:`Running`."""


class Running:
    """A copy that goes on, slowly enough for being stopped in the middle, while something is made to go wrong.

    Args:
        arguments: of the command.
        cwd: where it runs.
        rate: bytes a second.
    """

    def __init__(self, *arguments: str | Path, cwd: Path, rate: str = "4M") -> None:
        given = ("--json", "--bwlimit", rate, "-b", "100000", *arguments)
        # Were this process killed, the kernel would hang up on a group that is stopped: nothing is left behind.
        self.process = start(*given, cwd=cwd, process_group=0)

    def stop_at_partial(self, folder: Path, size: int = 1) -> Path:
        """Stop all its processes when a copy below *folder* has *size* bytes; returns its temporary file."""
        return self.stop_at_partials([folder], size)[0]

    def stop_at_partials(self, folders: Sequence[Path], size: int = 1) -> list[Path]:
        """Stop all its processes when there is a copy below each of *folders* that has *size* bytes."""
        self._stop_when(lambda: None not in [partial_in(folder, size) for folder in folders])
        found = [partial_in(folder, size) for folder in folders]
        assert None not in found, "it went on too quickly to be stopped"
        return [each for each in found if each is not None]

    def stop_after(self, count: int, folder: Path) -> None:
        """Stop all its processes when so many files in a folder have their final names, whichever they are."""
        self._stop_when(lambda: len(final_names(folder)) >= count)

    def _stop_when(self, is_time: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not is_time():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "what was waited for never came"
            time.sleep(0.01)
        os.killpg(self.process.pid, signal.SIGSTOP)

    @property
    def worker(self) -> int:
        """Number of the process that copies, of which the one that was started is the front."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[:1]
        return int(child)

    def kill(self) -> None:
        """End what is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def end(self, within_s: float = 40) -> Report:
        """Let it go on and come to its end."""
        os.killpg(self.process.pid, signal.SIGCONT)
        out, err = self.process.communicate(timeout=within_s)
        return Report(self.process.returncode, events_of(out), err)


def final_names(folder: Path) -> list[str]:
    """Names in a folder that are no temporary ones, where there is such a folder."""
    with suppress(FileNotFoundError):
        return [name for name in os.listdir(folder) if not name.startswith(".pfn.")]
    return []


def partial_in(folder: Path, size: int = 0) -> Path | None:
    """The temporary file of a copy that is being made somewhere below a folder, and has so many bytes by now."""
    for path in folder.rglob(".pfn.*.partial"):
        if not any(word in path.name for word in ("journal", "lock")):
            with suppress(FileNotFoundError):
                if path.stat().st_size >= size:
                    return path
    return None
