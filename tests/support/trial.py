"""One copy in a folder of its own: a source, some destinations, and a system with faults that passes for a disk."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, CopyResult, State
from pfndispatchcopy.events import ErrorEvent, Event, WarningEvent
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.model import Notice, Strategy
from pfndispatchcopy.session import offload
from tests.support.faulty_system import FaultySystem, Rule
from tests.support.files import make_file, partials

__all__ = ["SOURCE", "Trial", "open_below"]

SOURCE = "/card/clip.mov"
"""Part of the source's path, and of no other's."""


class Trial:
    """Everything that a test of the engine needs.

    Attributes:
        root: the folder that all of it is in.
        system: takes rules; behind those of the test it passes for a disk that is quick to flush and whose
            cache can be dropped, whatever the tests run on.
        strategy: the path that is forced.
        data: the bytes of the source.
        events: what the observer was told.
        cancel: stops the run.
        release: ends what :meth:`hang` lets hang.
        rescue: what ends a run that does not end by itself, for :meth:`run_within`.
    """

    chunk_size = 4096

    def __init__(self, root: Path, system: FaultySystem, strategy: Strategy, size: int = 20_000) -> None:
        self.root = root
        self.system = system
        self.strategy = strategy
        self.source = root / "card" / "clip.mov"
        self.data = make_file(self.source, size)
        self.events: list[Event] = []
        self.cancel = threading.Event()
        self.release = threading.Event()
        self.rescue: Callable[[], None] = self.cancel.set
        self._threads_before = set(threading.enumerate())

    # -- places ---------------------------------------------------------------------------------------

    def folder(self, number: int) -> Path:
        """The folder of a destination, made when it is missing."""
        path = self.root / f"d{number}"
        path.mkdir(exist_ok=True)
        return path

    def final(self, number: int, name: str = "clip.mov") -> Path:
        """The path of a copy."""
        return self.root / f"d{number}" / name

    def names(self, number: int) -> list[str]:
        """What is in the folder of a destination."""
        return sorted(path.name for path in (self.root / f"d{number}").iterdir())

    def calls_of(self, number: int) -> list[tuple[str, str]]:
        """The calls that concerned a destination, each with the last name of the path."""
        return [(call, path.rsplit("/", 1)[-1]) for call, path in self.system.calls if f"/d{number}/" in path]

    # -- faults ---------------------------------------------------------------------------------------

    def rule(
        self, call: str, action: Callable[..., Any], number: int | None = None, nth: int = 1, times: int | None = 1
    ) -> Rule:
        """Add a rule for a destination, or for the source when there is no number.

        Writes are counted from the first byte of the file: the one before it names the owner of the lock.
        """
        where = SOURCE if number is None else f"/d{number}/"
        if call == "write":
            nth += 1
        return self.system.rule(call, action, where=where, nth=nth, times=times)

    def fail(self, call: str, error: int, number: int | None = None, nth: int = 1, times: int | None = 1) -> Rule:
        """Let a call fail with an error number; a file that was to be closed is closed all the same."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            if call == "close":
                real()
            raise OSError(error, os.strerror(error))

        return self.rule(call, action, number, nth, times)

    def hang(self, call: str, number: int | None = None, nth: int = 1) -> Rule:
        """Let a call hang, and all like it that come later, until the test is over."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            self.release.wait()
            return real()

        return self.rule(call, action, number, nth, None)

    # -- runs -----------------------------------------------------------------------------------------

    def run(self, count: int = 3, **options: Any) -> CopyResult:
        """Copy to *count* destinations."""
        for number in range(count):
            self.folder(number)
        self._pass_for_a_disk()
        return offload(
            str(self.source),
            [f"{self.root}/d{number}/" for number in range(count)],
            CopyOptions(**{"strategy": self.strategy, "chunk_size": self.chunk_size, **options}),
            observer=self.events.append,
            cancel=self.cancel,
            system=self.system,
        )

    def _pass_for_a_disk(self) -> None:
        answers = {"mount": Mount("ext4", "/"), "is_cached": False, "flush": None, "flush_folder": True}
        for call, answer in answers.items():
            self.system.rule(call, lambda real, *arguments, answer=answer: answer, times=None)

    def run_within(self, seconds: float, count: int = 3, **options: Any) -> CopyResult:
        """Copy, but fail the test when that does not return in time, instead of hanging with it."""
        outcome: list[CopyResult | BaseException] = []

        def run() -> None:
            try:
                outcome.append(self.run(count, **options))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=run, name="test-run", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            doing = [each.name for each in self._threads()]
            self.rescue()
            self.end()
            pytest.fail(f"the run did not return within {seconds} s; threads: {doing}")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def end(self) -> None:
        """Let go what hangs, and wait until no thread of the package is left."""
        self.release.set()
        until = time.monotonic() + 5
        while left := self._threads():
            assert time.monotonic() < until, f"threads left behind: {left}"
            time.sleep(0.005)

    def _threads(self) -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each not in self._threads_before]

    # -- what has to hold -----------------------------------------------------------------------------

    def notices(self, kind: type[ErrorEvent] | type[WarningEvent]) -> list[Notice]:
        """The errors, or the warnings, that the observer was told of."""
        return [event.notice for event in self.events if isinstance(event, kind)]

    def require_good(self, result: CopyResult, *numbers: int) -> None:
        """These destinations are complete and verified, and nothing else is in their folders."""
        for number in numbers:
            each = result.destinations[number]
            assert (each.state, each.error) == (State.VERIFIED, None)
            assert self.final(number).read_bytes() == self.data
            assert self.names(number) == ["clip.mov"]

    def require_nothing(self, *numbers: int) -> None:
        """Nothing is in the folders of these destinations."""
        for number in numbers:
            assert self.names(number) == []

    def require_no_partials(self) -> None:
        """No temporary name is left anywhere."""
        assert partials(self.root) == []


def open_below(root: Path) -> list[str]:
    """What this process has open below a folder, where the system can tell."""
    found = []
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return [name for name in found if name.startswith(str(root))]
