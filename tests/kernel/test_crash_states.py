"""The power fails at any block: a real file system comes back, and what it then shows is true.

A run of the command is recorded as the writes and flushes of a block device; then images are made of what may be on
the medium after a power cut, mounted, looked at, and completed by the same offload.
"""

import ctypes
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pfndispatchcopy import CopyOptions
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.names import is_record, is_temporary
from pfndispatchcopy.handover.history import read_history
from pfndispatchcopy.hashing import digests_of, short_key
from pfndispatchcopy.model import Conflict, Mhl
from pfndispatchcopy.offload import prepare_offload
from tests.faults.scenarios import Count, fast_folder
from tests.kernel.block_recorder import CrashState, crash_states, make_image, read_record
from tests.kernel.injection import count_of, ended, faulty_disk
from tests.kernel.volumes import run_tool
from tests.support.command import start
from tests.support.files import make_file

_CARD = "A001"
_SIZES = {"clip.mov": 150_000, "empty.txt": 0, "sub/other.txt": 500, "sub/small.txt": 3000}
_OLDER = b"older" * 1000
_SEEDS_WHEN_THERE_IS_TIME = 60


class _Kind(NamedTuple):
    """A file system: how it is made and mounted.

    Attributes:
        seeds: so many parts of what was not flushed are tried every day, after each flush.
    """

    make: tuple[str, ...]
    size: int
    seeds: int
    options: str = ""


_KINDS = {
    "ext4": _Kind(("mkfs.ext4", "-qF", "-J", "size=1"), 16 << 20, 4),
    "ext4 without order": _Kind(("mkfs.ext4", "-qF", "-J", "size=1"), 16 << 20, 2, "data=writeback,noauto_da_alloc"),
    "xfs": _Kind(("mkfs.xfs", "-qf"), 300 << 20, 4),
    "ext2": _Kind(("mkfs.ext2", "-qF"), 16 << 20, 8),
}


class _Scenario(NamedTuple):
    """What is run.

    Attributes:
        words: options of the command.
        options: the same, for the run that completes it.
        is_folder: whether the whole card is copied, or one file of it, over an older one.
    """

    words: tuple[str, ...]
    options: CopyOptions
    is_folder: bool


_SCENARIOS = {
    "card with lists": _Scenario(
        ("--mhl", "asc", "--sums", "md5"), CopyOptions(mhl=Mhl.ASC, sums=("md5",), hashes=("xxh64be", "md5")), True
    ),
    "file over an older one": _Scenario(
        ("--on-conflict", "overwrite", "--mhl", "legacy"),
        CopyOptions(on_conflict=Conflict.OVERWRITE, mhl=Mhl.LEGACY),
        False,
    ),
}


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    return count_of(request)


@contextmanager
def _mounted(image: Path, place: Path, options: str = "") -> Iterator[None]:
    done = subprocess.run(
        ["mount", "-o", ",".join(filter(None, ("loop", options))), str(image), str(place)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if "unknown filesystem type" in done.stderr:
        pytest.skip(f"this kernel does not know the file system: {done.stderr.strip()}")
    assert done.returncode == 0, f"it cannot be mounted: {done.stderr}"
    try:
        yield
    finally:
        libc = ctypes.CDLL(None, use_errno=True)
        until = time.monotonic() + 10
        while libc.umount2(os.fsencode(place), 0) != 0:
            assert time.monotonic() < until, os.strerror(ctypes.get_errno())
            time.sleep(0.02)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy what there is in a file; where there are only zeros, the copy has a hole."""
    piece = 1 << 16
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = end = 0
        while at < size:
            if at == end:
                try:
                    at = os.lseek(old.fileno(), at, os.SEEK_DATA)
                except OSError:  # nothing but a hole is left
                    return
                end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            data = os.pread(old.fileno(), min(piece, end - at), at)
            if data.count(0) < len(data):
                os.pwrite(new.fileno(), data, at)
            at += len(data)


class _Trial:
    """A recorded run, and what may be left of it."""

    def __init__(self, root: Path, kind: _Kind, scenario: _Scenario) -> None:
        self.root = root
        self.kind = kind
        self.scenario = scenario
        card = root / "src" / _CARD
        made = {name: make_file(card / name, size, seed=number) for number, (name, size) in enumerate(_SIZES.items())}
        self.source = card if scenario.is_folder else card / "clip.mov"
        self.files = {f"{_CARD}/{name}": data for name, data in made.items()}
        if not scenario.is_folder:
            self.files = {"clip.mov": made["clip.mov"]}
        self.place = root / "place"
        self.place.mkdir()
        self.durable = root / "durable"
        self._at = 0
        self._looks = 0

    def record(self, *words: str) -> None:
        """Run the command on a new file system, and record what reaches the device."""
        with faulty_disk(self.root / "recorded", server="tests.kernel.block_recorder") as disk:
            backing = disk.backing / "image"
            with backing.open("xb") as file:
                file.truncate(self.kind.size)
            run_tool(*self.kind.make, backing, why="e2fsprogs, xfsprogs")
            with _mounted(backing, self.place, self.kind.options):
                (self.place / "lost+found").mkdir(exist_ok=True)
                if not self.scenario.is_folder:
                    (self.place / "clip.mov").write_bytes(_OLDER)
            _copy_sparse(backing, self.durable)
            record = self.root / "recorded/log.blocks"
            with _mounted(disk.path / "image", self.place, self.kind.options):
                begin = record.stat().st_size
                run = ended(start(*words, self.source, f"{self.place}/", start_new_session=True))
                end = record.stat().st_size
            assert run.code == 0, run.err
            run.require_gone()
            self.written = read_record(record, begin, end)

    @contextmanager
    def left_by(self, state: CrashState) -> Iterator[None]:
        """Let the file system come back from a power cut, and mount it. The states are to come in their order."""
        with self.durable.open("r+b") as durable:
            while self._at < state.flushed:
                make_image(durable, self.written.epochs[self._at])
                self._at += 1
        # A new file each time: the loop device of the one before may take a moment to go, and keeps what it has read.
        self._looks += 1
        image = self.root / f"image {self._looks}"
        _copy_sparse(self.durable, image)
        with image.open("r+b") as file:
            make_image(file, state.kept)
        if self.kind.make[0] == "mkfs.ext2":
            done = subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, timeout=50, check=False)
            assert done.returncode in (0, 1), done.stdout
        with _mounted(image, self.place, self.kind.options):
            yield
        image.unlink()

    # -- what has to hold -----------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        found = (path for path in self.place.rglob("*") if path.is_file())
        return sorted(name for path in found if not (name := str(path.relative_to(self.place))).startswith("lost+"))

    def require_true(self) -> None:
        """Whatever has a final name is whole; whatever is told of is there."""
        names = self.names()
        assert self.scenario.is_folder or "clip.mov" in names, "neither the older file is there nor the new one"
        for name in names:
            data = (self.place / name).read_bytes()
            last = name.rpartition("/")[2]
            if is_record(last):
                self._require_true_record(data)
            elif name in self.files:
                is_older = not self.scenario.is_folder and data == _OLDER
                assert is_older or data == self.files[name], f"{name} has {len(data)} bytes that are not its own"
            elif last.endswith(".md5"):
                self._require_true_sums(name, data)
            elif last.endswith(".mhl") and not self.scenario.is_folder:
                assert data.rstrip().endswith(b"</hashlist>"), f"{name} is not whole"
                assert (self.place / "clip.mov").read_bytes() == self.files["clip.mov"]
            else:
                assert is_temporary(last) or "ascmhl/" in name, f"a strange name: {name}"
        self._require_true_history(names)

    def _require_there(self, name: str, teller: str) -> None:
        path = self.place / name
        assert path.exists(), f"{teller} tells of {name}, which is not there"
        assert path.read_bytes() == self.files[name], f"{teller} tells of {name}, which is something else"

    def _require_true_record(self, data: bytes) -> None:
        for line in data.split(b"\n")[:-1]:
            checksum, _, text = line.partition(b" ")
            if checksum != short_key(text).encode():  # torn: nothing behind it counts
                break
            for path, *_ in json.loads(text).get("files", ()):
                self._require_there(path, "the record")

    def _require_true_sums(self, name: str, data: bytes) -> None:
        above = name.rpartition("/")[0]
        lines = data.decode().splitlines()
        assert len(lines) == len(self.files), f"{name} is not whole"
        for line in lines:
            digest, _, listed = line.partition("  ")
            self._require_there(f"{above}/{listed}", name)
            assert digests_of(["md5"], self.files[f"{above}/{listed}"])["md5"] == digest

    def _require_true_history(self, names: Sequence[str]) -> None:
        if not any("ascmhl/" in name for name in names):
            return
        system = native_system()
        handle = system.open_folder(str(self.place / _CARD / "ascmhl"))
        try:
            history = read_history(system, handle, may_be_unfinished=True)
        finally:
            system.close_folder(handle)
        for path in history.known:
            self._require_there(f"{_CARD}/{path}", "the history")

    def require_complete(self) -> None:
        names = self.names()
        assert set(self.files) <= set(names), f"{set(self.files) - set(names)} is not there"
        for name, data in self.files.items():
            assert (self.place / name).read_bytes() == data, f"{name} has bytes that are not its own"
        assert any(name.endswith(".mhl") for name in names), "there is no media hash list"
        assert not self.scenario.is_folder or any(name.endswith(".md5") for name in names), "there is no sum file"

    def complete(self) -> None:
        """Do the same offload again."""
        offload = prepare_offload(
            [str(self.source)],
            [f"{self.place}/"],
            self.scenario.options,
            observer=lambda event: None,
            cancel=threading.Event(),
            system=native_system(),
        )
        result = offload.run()
        assert result.exit_code == 0, f"the next run ends with {result.exit_code}"
        self.require_true()
        self.require_complete()
        left = [name for name in self.names() if is_temporary(name.rpartition("/")[2])]
        assert not left, f"left behind: {left}"


def _look_at(trial: _Trial, states: Sequence[CrashState], *, completes: bool = True) -> list[str]:
    """Look at states, and complete them; returns what was wrong."""
    problems = []
    for state in states:
        try:
            with trial.left_by(state):
                trial.require_true()
                if state.is_after_the_end:
                    trial.require_complete()
                if completes:
                    trial.complete()
        except (AssertionError, OSError) as error:
            problems.append(f"{state.name} of {len(trial.written.epochs)}: {error}")
    return problems


@contextmanager
def _recorded(kind: str, scenario: str, *, flushes: bool = True) -> Iterator[_Trial]:
    if shutil.which(_KINDS[kind].make[0]) is None:
        pytest.skip(f"there is no {_KINDS[kind].make[0]} here")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("there are no loop devices here")
    with fast_folder() as root:
        trial = _Trial(root, _KINDS[kind], _SCENARIOS[scenario])
        trial.record(*_SCENARIOS[scenario].words, *(() if flushes else ("--no-flush", f"{trial.place}/")))
        yield trial


@pytest.mark.fault(53, 54, 55)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize("kind", _KINDS)
def test_what_a_power_cut_leaves_is_true_and_the_next_run_completes_it(
    kind: str, scenario: str, private_mounts: None, count: Count
) -> None:
    with _recorded(kind, scenario) as trial:
        states = crash_states(trial.written, _KINDS[kind].seeds)
        problems = _look_at(trial, states)
    count(f"crash states of {kind}", len(states), len(problems))
    assert len(states) > 20, "hardly a state: this test has lost its meaning"
    assert any(state.is_after_the_end for state in states)
    assert not problems, "\n".join(problems[:20])


@pytest.mark.fault(53, 54, 55)
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", _SCENARIOS)
@pytest.mark.parametrize("kind", _KINDS)
def test_whatever_a_power_cut_leaves_is_true_and_the_next_run_completes_it(
    kind: str, scenario: str, private_mounts: None, count: Count
) -> None:
    with _recorded(kind, scenario) as trial:
        states = crash_states(trial.written, _SEEDS_WHEN_THERE_IS_TIME)
        problems = _look_at(trial, states)
    count(f"crash states of {kind}", len(states), len(problems))
    assert not problems, "\n".join(problems[:20])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", _KINDS)
def test_copies_that_are_not_flushed_are_found_wanting(kind: str, private_mounts: None) -> None:
    """The record bites: without a flush the copies are gone that the command has called complete."""
    with _recorded(kind, "card with lists", flushes=False) as trial:
        ended = [state for state in crash_states(trial.written, 4) if state.is_after_the_end]
        problems = _look_at(trial, ended[:6], completes=False)
    assert any("is not there" in problem for problem in problems)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_names_that_are_there_before_their_bytes_are_found(private_mounts: None) -> None:
    """So does this: on a file system without a journal, a name comes before its bytes, or they before it."""
    with _recorded("ext2", "card with lists", flushes=False) as trial:
        for state in crash_states(trial.written, 64):
            problems = _look_at(trial, [state], completes=False)
            if any("is something else" in problem or "that are not its own" in problem for problem in problems):
                return
    pytest.fail("no state has other bytes under a final name")
