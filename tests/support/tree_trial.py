"""A whole card in a folder of its own: files, destinations, and a system with faults that passes for a disk."""

import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, State, TreeResult
from pfndispatchcopy.events import ErrorEvent, Event, FileEvent, WarningEvent
from pfndispatchcopy.fileio.names import is_temporary, journal_name, lock_name, temporary_stem
from pfndispatchcopy.fileio.system import FolderHandle, Mount
from pfndispatchcopy.model import Notice
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.faulty_system import FaultySystem, Rule
from tests.support.files import make_file, partials

__all__ = ["CARD", "SOURCE", "AnyCall", "TreeSystem", "TreeTrial", "failing", "flip", "is_own", "snapshot", "sweep"]

CARD = "CARD"
"""The name of the folder that is copied."""
SOURCE = "/src/"
"""Part of every path of the source, and of no other's."""

# Hints: the system promises that they raise nothing.
HINTS = frozenset(
    {
        "advise_sequential",
        "avoid_cache",
        "drop_cache",
        "is_cached",
        "preallocate",
        "start_reading",
        "start_write_back",
        "xattrs",
    }
)
# What answers something in any case.
HARMLESS = frozenset(
    {
        "available_memory",
        "default_mode",
        "host_name",
        "is_own",
        "kernel",
        "lock",
        "longest_name",
        "mount",
        "processors",
        "raise_descriptor_limit",
        "random_token",
        "root_device",
    }
)
# The package's own small files: the lock and the record.
_OWN = (lock_name(CARD), journal_name(CARD), temporary_stem(journal_name(CARD)))
_SIZES = {"clip.mov": 1_000_000, "empty.txt": 0, "sub/small.txt": 100}


@dataclass
class AnyCall(Rule):
    """A fault in the n-th of all calls that can fail, whatever its name, and with *times* None in all from then on.

    Attributes:
        after: a call; those up to the first one of it are not counted.
        victim: the first call that it was for.
    """

    after: str = ""
    victim: str = ""

    def takes(self, call: str, path: str) -> bool:
        if call in HINTS or call in HARMLESS or self.where not in path:
            return False
        if self.after:
            self.after = "" if call == self.after else self.after
            return False
        self.seen += 1
        if self.seen < self.nth or (self.seen > self.nth and self.times is not None):
            return False
        self.fired += 1
        self.victim = self.victim or call
        return True


class _Entry:
    """What a folder lists, with a number of its own in the place of the inode's."""

    def __init__(self, entry: "os.DirEntry[str]", number: int) -> None:
        self._entry = entry
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def inode(self) -> int:
        """What files are sorted by."""
        return self._number


class TreeSystem(FaultySystem):
    """Rules; behind them a disk that is quick to flush and whose cache can be dropped.

    Which path a descriptor stands for is known of folders and of files of the source, too, and no longer than
    it is open. The source is listed by name, whatever the order on the medium is.
    """

    _DISK: Mapping[str, Any] = {"mount": Mount("ext4", "/"), "is_cached": False, "flush": None, "flush_folder": True}

    def _dispatch(self, call: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if call in self._DISK:
            answer = self._DISK[call]
            real = lambda *given: answer  # noqa: E731
        path = self._path_of(arguments)
        with self.state.lock:
            self.state.calls.append((call, path))
            rule = next((each for each in self.state.rules if each.takes(call, path)), None)
        if call == "close" and arguments:
            self.state.paths.pop(arguments[0], None)
        if call == "close_folder" and arguments:
            self.state.paths.pop(arguments[0].fd, None)
        result = rule.action(lambda: real(*arguments), *arguments) if rule else real(*arguments)
        if call in ("open_name", "open_source", "open_source_name", "open_direct") and isinstance(result, int):
            self.state.paths[result] = path
        elif call in ("open_folder", "open_subfolder") and isinstance(result, FolderHandle):
            self.state.paths[result.fd] = result.path
        elif call == "entries" and SOURCE in path:
            return iter(
                [_Entry(each, number) for number, each in enumerate(sorted(result, key=lambda each: each.name))]
            )
        return result

    def heal(self) -> None:
        """No faults any more, and no memory of calls."""
        self.state.rules.clear()
        self.state.calls.clear()


class TreeTrial:
    """Everything that a test of a whole card needs.

    Attributes:
        root: the folder that all of it is in.
        system: takes rules.
        card: the folder that is copied.
        files: its files, with their bytes.
        events: what the observer was told in the latest run.
        cancel: stops the run.
        release: ends what :meth:`hang` lets hang.
        options: of every run, unless a run says otherwise.
        offload: the latest run.
    """

    def __init__(self, root: Path, sizes: Mapping[str, int] | None = None, **options: Any) -> None:
        self.root = root
        self.system = TreeSystem()
        self.card = root / "src" / CARD
        self.card.mkdir(parents=True)
        self.files: dict[str, bytes] = {}
        self.options: dict[str, Any] = {"jobs": 1, **options}
        self.events: list[Event] = []
        self.cancel = threading.Event()
        self.release = threading.Event()
        self.offload: TreeOffload | None = None
        self._threads_before = set(threading.enumerate())
        for name, size in (_SIZES if sizes is None else sizes).items():
            self.add(name, size)

    # -- the card, and the places ---------------------------------------------------------------------

    def add(self, name: str, size: int) -> None:
        """Put a file on the card. Its bytes are its own, and its time is an hour ago."""
        path = self.card / name
        self.files[name] = make_file(path, size, seed=len(self.files) + 1)
        hour_ago = int(path.stat().st_mtime) - 3600
        os.utime(path, ns=(hour_ago * 10**9, hour_ago * 10**9 + 7))

    def label(self, number: int) -> str:
        """A destination as it is spelled."""
        return f"{self.root}/d{number}"

    def copy(self, number: int, name: str = "") -> Path:
        """The path of a copy, or of the folder that all copies are in."""
        return self.root / f"d{number}" / CARD / name

    def occupy(self, number: int, name: str, data: bytes, mtime_ns: int | None = None) -> Path:
        """Let something lie where a copy is to go."""
        path = self.copy(number, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns, mtime_ns))
        return path

    def names(self, number: int) -> list[str]:
        """Relative paths of all files and links on a destination."""
        root = self.root / f"d{number}"
        found = [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
        return sorted(str(path.relative_to(root)) for path in found)

    def calls_of(self, number: int, *calls: str) -> list[tuple[str, str]]:
        """The calls that concerned the files of a destination, each with the last name of the path."""
        mine = [(call, path) for call, path in self.system.calls if f"/d{number}/" in path]
        return [
            (call, last_name(path))
            for call, path in mine
            if (not calls or call in calls) and not is_own(last_name(path))
        ]

    def reads_of(self, name: str) -> int:
        """How often a file of the source was opened for reading."""
        opening = ("open_source", "open_source_name", "open_direct")
        return len([1 for call, path in self.system.calls if call in opening and path == str(self.card / name)])

    # -- faults ---------------------------------------------------------------------------------------

    def rule(
        self,
        call: str,
        action: Callable[..., Any],
        number: int | None = None,
        nth: int = 1,
        times: int | None = 1,
        name: str = "",
    ) -> Rule:
        """Add a rule for a destination, or for the source when there is no number; see :class:`_OfFiles`."""
        where = SOURCE if number is None else f"/d{number}/"
        rule = _OfFiles(call, where, action, nth, times, name=name)
        self.system.state.rules.append(rule)
        return rule

    def fail(
        self,
        call: str,
        error: int,
        number: int | None = None,
        nth: int = 1,
        times: int | None = 1,
        name: str = "",
    ) -> Rule:
        """Let a call fail with an error number; a file that was to be closed is closed all the same."""
        return self.rule(call, failing(call, error), number, nth, times, name)

    def fail_any(
        self, error: int, number: int | None = None, nth: int = 1, *, after: str = "", for_ever: bool = False
    ) -> AnyCall:
        """Let the n-th call fail that concerns a destination, or the source, whatever it is; see :class:`AnyCall`."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            return failing(self.system.calls[-1][0], error)(real, *arguments)

        where = SOURCE if number is None else f"/d{number}"
        rule = AnyCall("", where, action, nth, None if for_ever else 1, after=after)
        self.system.state.rules.append(rule)
        return rule

    def hang(self, call: str, number: int | None = None, nth: int = 1, name: str = "") -> Rule:
        """Let a call hang, and all like it that come later, until the test is over."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            self.release.wait()
            return real()

        return self.rule(call, action, number, nth, None, name)

    def cancel_at(self, call: str, number: int | None = None, nth: int = 1, name: str = "") -> Rule:
        """Cancel the run in the middle of a call, which goes on."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            self.cancel.set()
            return real()

        return self.rule(call, action, number, nth, 1, name)

    # -- runs -----------------------------------------------------------------------------------------

    def run(self, count: int = 3, *, sources: list[str] | None = None, **options: Any) -> TreeResult:
        """Copy the card to *count* destinations."""
        more = {name: options.pop(name) for name in ("executor", "nursery", "files_from") if name in options}
        self.events.clear()
        self.cancel.clear()
        for number in range(count):
            (self.root / f"d{number}").mkdir(exist_ok=True)
        self.offload = TreeOffload(
            sources or [str(self.card)],
            [self.label(number) for number in range(count)],
            CopyOptions(**{**self.options, **options}),
            observer=self.events.append,
            cancel=self.cancel,
            system=self.system,
            **more,
        )
        return self.offload.run()

    def run_within(self, seconds: float, count: int = 3, **options: Any) -> TreeResult:
        """Copy, but fail the test when that does not return in time, instead of hanging with it."""
        outcome: list[TreeResult | BaseException] = []

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
            self.cancel.set()
            self.end()
            pytest.fail(f"the run did not return within {seconds} s; threads: {doing}")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def run_again(self, count: int = 3, **options: Any) -> TreeResult:
        """The same once more, on a system that is sound again."""
        self.system.heal()
        return self.run(count, **options)

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
        """The errors, or the warnings, that the observer was told of; one disk for all is no news."""
        told = [event.notice for event in self.events if isinstance(event, kind)]
        return [notice for notice in told if "are on one disk" not in notice.message]

    def states(self, name: str) -> list[State]:
        """How one file ended, on each destination, as the observer was told."""
        (event,) = [event for event in self.events if isinstance(event, FileEvent) and event.path == name]
        return [each.state for each in event.destinations]

    def require_good(self, result: TreeResult, *numbers: int, names: tuple[str, ...] = ()) -> None:
        """These destinations are complete and verified, and nothing else is there, but for what *names* says."""
        for number in numbers:
            each = result.destinations[number]
            assert each.error is None
            assert each.state in (State.VERIFIED, State.IDENTICAL)
            assert each.files_failed == 0
            self.require_copied(number)
            assert self.names(number) == sorted([*(f"{CARD}/{name}" for name in self.files), *names])

    def require_copied(self, number: int) -> None:
        """All files of the card are on a destination, as they are on the card."""
        for name, data in self.files.items():
            assert self.copy(number, name).read_bytes() == data
            assert self.copy(number, name).stat().st_mtime_ns == (self.card / name).stat().st_mtime_ns

    def require_nothing_false(self, count: int = 3) -> None:
        """Whatever has a final name has exactly the bytes of its source."""
        for number in range(count):
            for path in map(Path, self.names(number)):
                if is_temporary(path.name) or path.suffix == ".corrupt":
                    continue
                name = str(path.relative_to(CARD))
                assert self.copy(number, name).read_bytes() == self.files[name], f"wrong bytes: {path} on {number}"

    def require_no_partials(self, *, but_records: bool = False) -> None:
        """No temporary name is left anywhere."""
        left = [path for path in partials(self.root) if not (but_records and path.name == journal_name(CARD))]
        assert left == []

    def require_told(self, *paths: Path) -> None:
        """The user was told of these paths."""
        said = "\n".join(notice.message for kind in (ErrorEvent, WarningEvent) for notice in self.notices(kind))
        for path in paths:
            assert str(path) in said, f"nobody was told of {path}"


@dataclass
class _OfFiles(Rule):
    """A rule for what is copied, and for the folders on the way: not for the package's own small files."""

    name: str = ""

    def takes(self, call: str, path: str) -> bool:
        last = last_name(path)
        if is_own(last) or not (not self.name or last == self.name or last.startswith(temporary_stem(self.name))):
            return False
        return super().takes(call, path)


def last_name(path: str) -> str:
    """The last name of a path, which for a folder may end in a separator."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def is_own(name: str) -> bool:
    """Whether a name is that of a lock, a record or a probe, and not of a copy in the making."""
    name = name.casefold()  # a probe is looked for in capitals, too
    return name in _OWN or name.startswith((_OWN[2], temporary_stem("."), temporary_stem(CARD)))


def failing(call: str, error: int) -> Callable[..., Any]:
    """An action that fails with an error number; what was to be closed is closed all the same."""

    def action(real: Callable[[], Any], *arguments: Any) -> Any:
        if call in ("close", "close_folder"):
            real()
        raise OSError(error, os.strerror(error))

    return action


def flip(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
    """Change one bit of what is read."""
    got = real()
    assert got > 0
    buffer[got // 2] ^= 1
    return got


def sweep(
    check: Callable[[TreeTrial, AnyCall], None],
    rule: Callable[[TreeTrial, int], AnyCall],
    part: int = 0,
    parts: int = 4,
    **options: Any,
) -> None:
    """Let one call after another fail, each in a run of its own, until a run ends in which no fault fired.

    Args:
        check: runs, and looks what came of it.
        rule: makes the n-th call fail.
        part: which of the calls: the first, the second and so on of each *parts* of them.
        parts: in so many the calls are shared out among tests.
        options: of the runs.
    """
    for nth in range(1 + part, 1000, parts):
        with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
            trial = TreeTrial(Path(name).resolve(), **options)
            fault = rule(trial, nth)
            check(trial, fault)
            trial.end()
            if not fault.fired:
                assert nth > 30, "hardly any call to fail: this test has lost its meaning"
                return
    pytest.fail("it never stopped failing")


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: kind, permissions, time, and content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns, content)
    return found
