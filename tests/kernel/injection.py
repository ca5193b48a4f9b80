"""A disk that fails on demand as one of three destinations, and what has to hold after a run."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.scenarios import Count
from tests.kernel.disk_rules import Rule
from tests.support.command import events_of, start
from tests.support.faults_summary import PROPERTY
from tests.support.files import make_file, partials

__all__ = ["CARD", "FILES", "Ended", "FaultyDisk", "Offload", "card", "count_of", "ended", "faulty_disk"]

CARD = "A001"
FILES = {"clip.mov": 5_000_000, "empty.txt": 0, "sub/small.txt": 3000}
"""One that is copied by threads, and two that are copied in a batch."""
_MNT_DETACH = 2
_REPOSITORY = Path(__file__).parents[2]
_ENDING_S = 10.0


class FaultyDisk:
    """A FUSE file system that fails by rules.

    Attributes:
        path: where it is mounted.
        backing: the folder that it shows.
    """

    def __init__(self, folder: Path, *options: str, server: str = "tests.kernel.fuse_disk") -> None:
        self.path, self.backing = folder / "disk", folder / "backing"
        self._rules, self._log = folder / "rules", folder / "log"
        for each in (folder, self.path, self.backing):
            each.mkdir()
        with (folder / "complaints").open("w") as complaints:
            self._server = subprocess.Popen(
                [sys.executable, "-m", server, *map(str, (self.backing, self.path, self._rules, self._log)), *options],
                cwd=_REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
            )
        assert self._server.stdout is not None
        with self._server.stdout as stdout:
            stdout.read()  # until it closes this, which it does when it is ready
        if self._server.poll() is not None or not os.path.ismount(self.path):
            self.close()
            reason = (folder / "complaints").read_text().strip().rpartition("\n")[2]
            if reason.startswith("PermissionError"):
                pytest.skip(f"FUSE cannot be mounted here: {reason}")
            raise RuntimeError(f"the file system did not start: {reason}")

    def fail(self, *rules: Rule) -> None:
        """Let these rules hold from now on, and no others."""
        new = self._rules.with_suffix(".new")
        new.write_text(json.dumps([asdict(rule) for rule in rules]))
        os.replace(new, self._rules)

    @property
    def fired(self) -> list[tuple[str, str, str]]:
        """What failed so far: operation, path, action."""
        return [(*json.loads(line),) for line in self._log.read_text().splitlines()]

    def wait_until_fired(self, count: int = 1) -> None:
        until = time.monotonic() + 20
        while len(self.fired) < count:
            assert time.monotonic() < until, "no rule fired"
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server: the disk is gone, and whatever hangs in it comes back."""
        self._server.kill()
        self._server.wait(timeout=10)

    def close(self) -> None:
        """Release what hangs, unmount, and end the server."""
        self.fail()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(os.fsencode(self.path), _MNT_DETACH)
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(timeout=2)
        self.kill()


@contextmanager
def faulty_disk(folder: Path, *options: str, server: str = "tests.kernel.fuse_disk") -> Iterator[FaultyDisk]:
    """A disk in a private mount namespace; skips where there is no FUSE."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no FUSE here: /dev/fuse: {error.strerror}")
    disk = FaultyDisk(folder, *options, server=server)
    try:
        yield disk
    finally:
        disk.close()


def card(folder: Path) -> dict[str, bytes]:
    """Make a source folder; returns what is in it."""
    return {name: make_file(folder / name, size, seed=number) for number, (name, size) in enumerate(FILES.items(), 1)}


class Ended(NamedTuple):
    """A run of the command that has ended.

    Attributes:
        seconds: until it had ended and nobody held its output any more.
        group: its processes, as far as they are left.
    """

    code: int
    out: str
    err: str
    seconds: float
    group: int

    @property
    def events(self) -> list[dict[str, Any]]:
        return events_of(self.out)

    def errors(self, destination: str | None = None) -> list[dict[str, Any]]:
        """The errors of one destination, or those that are of none."""
        return [each for each in self.events if each["event"] == "error" and each["destination"] == destination]

    @property
    def states(self) -> list[str]:
        return [each["state"] for each in self.events[-1]["destinations"]]

    @property
    def is_left(self) -> bool:
        """Whether a process of it is there still; one that has ended, and that init has not looked at, is not."""
        return bool(_thread_states(self.group) - {"Z", "X"})

    def require_hung(self) -> None:
        """Wait until one of its threads, and so a process that nobody can end, is in the kernel."""
        until = time.monotonic() + _ENDING_S
        while "D" not in _thread_states(self.group):
            assert time.monotonic() < until, "nothing hangs in the kernel"
            time.sleep(0.02)

    def require_gone(self) -> None:
        """Wait until no process of it is left."""
        until = time.monotonic() + _ENDING_S
        while self.is_left:
            assert time.monotonic() < until, "a process of the run is left"
            time.sleep(0.05)


def _thread_states(group: int) -> set[str]:
    """States of all threads of a process group: proc_pid_stat(5)."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{process}/task"):
                text = Path(f"/proc/{process}/task/{thread}/stat").read_text(errors="replace")
                state, _, number = text.rpartition(")")[2].split()[:3]
                if int(number) != group:
                    break
                found.add(state)
    return found


class Offload:
    """A card, or one file of it, to three destinations, of which the first one may fail.

    Args:
        root: folder of the source and of the two good destinations.
        first: folder of the first destination, as the command is told.
        backing: the same, without what may fail on the way to it.
        is_folder: whether the whole card is copied.
        source: where the same card is, or the file of it, as the command is told.

    Attributes:
        files: what is to be on every destination: each path, and its bytes.
        top: what these paths begin with.
        clip: path of the largest file.
        partial: pattern of the temporary names beside it.
    """

    def __init__(self, root: Path, first: Path, backing: Path, *, is_folder: bool, source: Path | None = None) -> None:
        self.root = root
        card_folder = root / CARD
        files = card(card_folder)
        self.is_folder = is_folder
        self.source = source or (card_folder if is_folder else card_folder / "clip.mov")
        self.files = {f"{CARD}/{name}": data for name, data in files.items()}
        if not is_folder:
            self.files = {"clip.mov": files["clip.mov"]}
        self._backings = (backing, root / "d1", root / "d2")
        self.labels = tuple(f"{each}/" for each in (first, *self._backings[1:]))
        self.top = f"{CARD}/" if is_folder else ""
        self.clip = f"{self.top}clip.mov"
        self.partial = f"{self.top}.pfn.*.partial"

    @property
    def bad(self) -> str:
        """The first destination, as it is called in events."""
        return self.labels[0]

    def start(self, *options: str, **more: Any) -> subprocess.Popen[str]:
        return start("--json", *options, self.source, *self.labels, start_new_session=True, **more)

    def run(self, *options: str, **more: Any) -> Ended:
        """Run it to its end, whatever becomes of its processes."""
        return ended(self.start(*options, **more))

    def finals(self, number: int) -> dict[str, bytes]:
        """What has a final name on a destination."""
        root = self._backings[number]
        temporary = set(partials(root))
        found = (path for path in sorted(root.rglob("*")) if path.is_file() and path not in temporary)
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    def temporary(self, number: int) -> list[str]:
        return [path.name for path in partials(self._backings[number]) if path.is_file()]

    def require_only_true_names(self) -> None:
        """Whatever has a final name on any destination is complete, or says that it is not."""
        for number in range(3):
            for path, data in self.finals(number).items():
                if not path.endswith(".corrupt"):
                    assert data == self.files[path], f"wrong bytes under {path} on {number}"

    def require_others_complete(self, run: Ended) -> None:
        """The faultless destinations have everything, verified, and nothing else."""
        assert run.states[1:] == ["verified", "verified"], run.err
        for number in (1, 2):
            assert self.finals(number) == self.files
            assert self.temporary(number) == []

    def require_next_run_completes(self, *options: str) -> Ended:
        """The same command, without the fault, completes everything and leaves nothing else."""
        run = self.run(*options)
        assert run.code == 0, (run.out, run.err)
        for number in range(3):
            kept = {path: data for path, data in self.finals(number).items() if not path.endswith(".corrupt")}
            assert kept == self.files
            assert self.temporary(number) == []
        run.require_gone()
        return run


def ended(process: subprocess.Popen[str], timeout_s: float = 40, since: float | None = None) -> Ended:
    """Wait for the end of a command and of its output."""
    since = time.monotonic() if since is None else since
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return Ended(process.returncode, out, err, time.monotonic() - since, process.pid)


def count_of(request: pytest.FixtureRequest) -> Count:
    """Tells the summary at the end of a session of the runs of a test."""

    def add(kind: str, runs: int, violations: int = 0) -> None:
        request.node.user_properties.append((PROPERTY, [kind, runs, violations]))

    return add
