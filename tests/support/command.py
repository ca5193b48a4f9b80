"""The installed command in real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

__all__ = ["PROGRAM", "events_of", "peak_memory_bytes", "run", "start"]

PROGRAM = str(Path(sys.executable).with_name("pfndispatchcopy"))
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "events.schema.json").read_text())
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def _hear_signals() -> None:
    # A test runner in the background may have been told to ignore them, and that is inherited.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(
    *arguments: str | Path, cwd: Path | None = None, wrapper: Sequence[str] = (), **more: Any
) -> subprocess.Popen[str]:
    """Start the command; its streams are pipes."""
    more.setdefault("stdin", subprocess.DEVNULL)
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(
        [*wrapper, PROGRAM, *map(str, arguments)],
        cwd=cwd,
        text=True,
        preexec_fn=_hear_signals,  # noqa: PLW1509 - nothing but this runs in the child before the command
        env=environment(),
        **more,
    )


def run(
    *arguments: str | Path, cwd: Path | None = None, stdin: bytes | None = None, wrapper: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    done = subprocess.run(
        [*wrapper, PROGRAM, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=50,
        check=False,
        preexec_fn=_hear_signals,
        env=environment(),
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "surrogateescape")
    )


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without the user's own configuration."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {**kept, "HOME": "/nonexistent", **(more or {})}


def events_of(output: str) -> list[dict[str, Any]]:
    """The events of ``--json``, each held against the published schema."""
    events = [json.loads(line) for line in output.splitlines()]
    for event in events:
        _VALIDATOR.validate(event)
    return events


def peak_memory_bytes(*arguments: str | Path) -> int:
    """The largest resident set of any process of a run, in bytes."""
    probe = (
        "import resource, subprocess, sys;"
        "code = subprocess.run(sys.argv[1:], stdout=2).returncode;"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
        "print(peak * (1 if sys.platform == 'darwin' else 1024)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env=environment(),
    )
    return int(done.stdout)
