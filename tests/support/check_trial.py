"""A folder with files and lists in it, and checks of it on a system with faults that passes for a disk."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CheckResult, CopyOptions
from pfndispatchcopy.check.session import Check
from pfndispatchcopy.events import ErrorEvent, Event, FileEvent, WarningEvent
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.hashlists.asc import DEFAULT_IGNORES, write_asc, write_chain
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    Creator,
    HistoryReference,
    SealedDigest,
    SealedFile,
    SealedFolder,
)
from pfndispatchcopy.hashlists.legacy import write_legacy
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file

__all__ = ["CheckTrial", "c4_of", "sealed", "write_history", "write_legacy_list", "write_sums"]

CREATOR = Creator("a tool", "1", "me", "", "host")
AT = 1_795_313_495.0


def c4_of(data: bytes) -> str:
    return digests_of(["c4"], data)["c4"]


def sealed(
    folder: Path,
    name: str,
    digests: Iterable[str] = ("xxh64be",),
    *,
    action: Action = Action.ORIGINAL,
    data: bytes | None = None,
    previous: str | None = None,
) -> SealedFile:
    """The entry of a file, as it is or as if it held *data*."""
    data = (folder / name).read_bytes() if data is None else data
    texts = tuple(SealedDigest(each, text, action) for each, text in digests_of(digests, data).items())
    return SealedFile(name, len(data), int(AT) * 10**9, texts, AT, previous)


def write_legacy_list(path: Path, entries: Iterable[SealedFile]) -> Path:
    path.write_bytes(b"".join(write_legacy(CREATOR, AT, AT, entries)))
    return path


def write_sums(path: Path, names: Iterable[str], digest: str = "xxh64be") -> Path:
    lines = [f"{digests_of([digest], (path.parent / name).read_bytes())[digest]}  {name}\n" for name in names]
    path.write_text("".join(lines))
    return path


def write_history(
    folder: Path,
    *generations: Iterable[SealedFile | SealedFolder],
    ignore: tuple[str, ...] = DEFAULT_IGNORES,
    references: tuple[HistoryReference, ...] = (),
) -> list[Path]:
    """A history with these generations; the last one has the patterns and the references."""
    home = folder / "ascmhl"
    home.mkdir(exist_ok=True)
    links, paths = [], []
    for number, entries in enumerate(generations, 1):
        is_last = number == len(generations)
        data = b"".join(
            write_asc(
                CREATOR,
                AT,
                None,
                ignore if is_last else DEFAULT_IGNORES,
                entries,
                references if is_last else (),
            )
        )
        path = home / f"{number:04}_{folder.name}_2026-11-22_02113{number}Z.mhl"
        path.write_bytes(data)
        paths.append(path)
        links.append(ChainLink(number, path.name, c4_of(data)))
    (home / "ascmhl_chain.xml").write_bytes(write_chain(links))
    return paths


class CheckTrial:
    """Everything that a test of a check needs.

    Attributes:
        folder: what is checked.
        system: takes rules; behind those of the test it passes for a disk whose cache can be dropped.
        events: what the observer was told.
        release: ends what :meth:`hang` lets hang.
    """

    def __init__(self, root: Path, system: FaultySystem) -> None:
        self.folder = root / "CARD"
        self.folder.mkdir()
        self.system = system
        self.events: list[Event] = []
        self.cancel = threading.Event()
        self.release = threading.Event()
        self.check: Check | None = None
        self._threads_before = set(threading.enumerate())

    def add(self, *names: str, size: int = 3000) -> None:
        for number, name in enumerate(names):
            make_file(self.folder / name, size + number, seed=hash(name) % 1000)

    def seal(self, *names: str) -> Path:
        """A legacy list of these files, or of all."""
        found = names or tuple(
            str(path.relative_to(self.folder)) for path in sorted(self.folder.rglob("*")) if path.is_file()
        )
        return write_legacy_list(self.folder / "CARD.mhl", [sealed(self.folder, name) for name in found])

    def run(self, *paths: Path, dry_run: bool = False, **options: Any) -> CheckResult:
        answers = {"mount": Mount("ext4", "/"), "is_cached": False}
        for call, answer in answers.items():
            self.system.rule(call, lambda real, *arguments, answer=answer: answer, times=None)
        self.events.clear()
        self.check = Check(
            [str(path) for path in paths or (self.folder,)],
            CopyOptions(**{"jobs": 1, **options}),
            observer=self.events.append,
            cancel=self.cancel,
            system=self.system,
        )
        return self.check.run(dry_run=dry_run)

    def run_within(self, seconds: float, *paths: Path, **options: Any) -> CheckResult:
        """Check, but fail the test when that does not return in time, instead of hanging with it."""
        outcome: list[CheckResult | BaseException] = []

        def run() -> None:
            try:
                outcome.append(self.run(*paths, **options))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        if not outcome:
            self.cancel.set()
            self.release.set()
            pytest.fail(f"the check did not return within {seconds} s")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def end(self) -> None:
        """Let go what hangs, and wait until no thread of the package is left."""
        self.release.set()
        until = time.monotonic() + 5
        while [each for each in threading.enumerate() if each not in self._threads_before]:
            assert time.monotonic() < until
            time.sleep(0.005)

    @property
    def errors(self) -> list[str]:
        return [event.notice.message for event in self.events if isinstance(event, ErrorEvent)]

    @property
    def warnings(self) -> list[str]:
        return [event.notice.message for event in self.events if isinstance(event, WarningEvent)]

    @property
    def states(self) -> dict[str, str]:
        return {event.path: str(event.destinations[0].state) for event in self.events if isinstance(event, FileEvent)}

    def opened(self) -> list[str]:
        """Paths of all files that were opened."""
        calls = ("open_source", "open_source_name", "open_name", "open_direct")
        return [path for call, path in self.system.calls if call in calls]
