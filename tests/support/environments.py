"""Environments of Python beside the project's own, for what cannot live in it."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["NotInstallableError", "foreign_variables", "make_environment"]

_INSTALLING_S = 280


class NotInstallableError(Exception):
    """An environment cannot be had here; the message says why."""


def foreign_variables() -> dict[str, str]:
    """Variables with which another Python finds its own packages, and not those of the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def make_environment(folder: Path, wanted: Sequence[str], finish: Callable[[], None] = lambda: None) -> None:
    """Make an environment with these packages, unless it is there already; several runs of the tests make it once.

    Args:
        folder: of the environment.
        wanted: requirements.
        finish: called when they are installed.

    Raises:
        NotInstallableError: it cannot be made, for want of a network for instance.
    """
    marker = folder / ".installed"
    state = f"{tuple(wanted)}\n{sys.version}\n{folder}\n"
    above = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(above, fcntl.LOCK_EX)
        if not (marker.exists() and marker.read_text() == state):
            shutil.rmtree(folder, ignore_errors=True)
            _do(
                wanted, [sys.executable, "-m", "venv", "--without-pip", str(folder)]
            )  # to unpack a second pip takes long
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(folder / "bin" / "python"),
                "--disable-pip-version-check",
            ]
            _do(wanted, [*pip, "install", "--quiet", "--retries", "1", "--timeout", "20", *wanted])
            finish()
            marker.write_text(state)
    finally:
        os.close(above)


def _do(wanted: Sequence[str], command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=_INSTALLING_S,
            check=False,
            env=foreign_variables(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallableError(str(error)) from error
    if done.returncode != 0:
        said = done.stdout.strip().splitlines() or ["it said nothing"]
        raise NotInstallableError(f"{wanted[0]}: {said[-1]}")
