"""The shell scripts of the examples, run as nobody at a terminal runs them."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.command import _hear_signals

__all__ = ["Script", "content_of", "ended", "make_stub", "other_volume", "stop", "wait_for"]


class Script:
    """One of the scripts, to be run in *folder* with nothing in its environment but what is said here."""

    def __init__(self, path: Path, folder: Path, **environment: str) -> None:
        self.path = path
        self.folder = folder
        self.environment = environment

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start it, in a process group of its own, as a terminal or cron would."""
        set_anyway = [f"{name}={value}" for name, value in {**self.environment, **environment}.items()]
        return subprocess.Popen(
            ["env", "-i", *set_anyway, "sh", self.path, *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            preexec_fn=_hear_signals,  # noqa: PLW1509 - nothing but this runs in the child before the command
        )

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return ended(self.start(*arguments, **environment))


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        stop(process, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stop(process: subprocess.Popen[str], number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Send a signal to the script and all that it has started, as Ctrl-C does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    return ended(process)


def wait_for(is_there: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until *process* has done something that can be seen."""
    until = time.monotonic() + 20
    while not is_there():
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(stop(process, signal.SIGKILL))
        time.sleep(0.02)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_stub(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@contextmanager
def other_volume(folder: Path) -> Iterator[Path]:
    """A folder that ``--require-mount`` accepts: not on the system's own volume."""
    system = Path("/").stat().st_dev
    if folder.stat().st_dev != system:
        (folder / "disk").mkdir()
        yield folder / "disk"
        return
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK) or memory.stat().st_dev == system:
        pytest.skip("no volume but the system's own can be written here")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)
