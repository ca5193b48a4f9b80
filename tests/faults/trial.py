"""A source, three destinations, runs from the one to the others, and what has to hold after each of them."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pfndispatchcopy import CopyOptions, CopyResult, TreeResult
from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.events import ErrorEvent, Event, WarningEvent
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.names import is_record, is_temporary, journal_name, lock_name, temporary_stem
from pfndispatchcopy.handover.history import read_history
from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, ASC_FOLDER
from pfndispatchcopy.offload import prepare_offload
from tests.faults.scenarios import Fault, Scenario, ViolationError, require
from tests.support.faulty_system import Rule
from tests.support.files import make_file
from tests.support.medium import Medium
from tests.support.recording import RecordingSystem
from tests.support.tree_trial import CARD, last_name
from tests.support.trial import open_below

__all__ = ["COUNT", "Card", "Run", "Trial"]

COUNT = 3
"""Destinations."""
_MTIME_NS = 1_700_000_000_123_456_789
# What is over the largest that a batch takes goes through threads.
_SIZES = {"clip.mov": (4 << 20) + 1, "empty.txt": 0, "sub/small.txt": 3000}
_REMOVING = frozenset({"remove_name", "replace_name"})


class Card:
    """The source of many runs: nothing may ever change it."""

    def __init__(self, root: Path, sizes: Mapping[str, int] = _SIZES) -> None:
        self.folder = root / "src" / CARD
        self.files: dict[str, bytes] = {}
        for number, (name, size) in enumerate(sizes.items(), 1):
            self.files[name] = make_file(self.folder / name, size, seed=number)
            os.utime(self.folder / name, ns=(_MTIME_NS, _MTIME_NS + number))
        self.digests = {
            name: {each: digests_of([each], data)[each] for each in ("md5", "xxh64be")}
            for name, data in self.files.items()
        }
        self._left: dict[str, Path] = {}
        self._before = self._look()

    def left_before(self, scenario: Scenario) -> Path:
        """A folder with what lies in the destinations before the runs of a scenario."""
        if scenario.name not in self._left:
            root = self.folder.parent.parent / f"before {scenario.before}"
            root.mkdir()
            trial = Trial(root, self, scenario._replace(before=""))
            if scenario.before == "record":
                gone = Fault.at(str(self.folder / "empty.txt"), 1, errno.ENODEV, is_persistent=True)
                assert (trial.run(gone).exit_code, gone.fired) == (3, 1)
            else:
                assert trial.run().exit_code == 0
                for number in range(COUNT):
                    (trial.place(number) / CARD / "sub/small.txt").unlink()
            self._left[scenario.name] = root
        return self._left[scenario.name]

    def _look(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.stat()
            # Who lists a folder changes the time of its last access; who opens a file need not.
            atime_ns = status.st_atime_ns if path.is_file() and hasattr(os, "O_NOATIME") else 0
            times = (status.st_mtime_ns, status.st_ctime_ns, atime_ns)
            found[str(path)] = (status.st_ino, status.st_size, status.st_mode, *times)
        return found

    def require_untouched(self) -> None:
        require(self._look() == self._before, "the source was changed")

    def require_same_bytes(self) -> None:
        for name, data in self.files.items():
            require((self.folder / name).read_bytes() == data, f"the source was changed: {name}")


class Run(NamedTuple):
    """What came of one run; *result* is None where it was refused."""

    result: CopyResult | TreeResult | None
    exit_code: int
    refusal: str
    events: list[Event]
    system: RecordingSystem
    medium: Medium
    roots: list[int]

    def notices(self, kind: type[ErrorEvent] | type[WarningEvent]) -> list[str]:
        return [event.notice.message for event in self.events if isinstance(event, kind)]


class Trial:
    """Three destinations, and runs to them."""

    def __init__(self, root: Path, card: Card, scenario: Scenario) -> None:
        self.root = root
        self.card = card
        self.scenario = scenario
        self.source = card.folder if scenario.is_folder else card.folder / "clip.mov"
        self.files = (
            {f"{CARD}/{name}": data for name, data in card.files.items()}
            if scenario.is_folder
            else {"clip.mov": card.files["clip.mov"]}
        )
        self.digests = (
            {f"{CARD}/{name}": each for name, each in card.digests.items()} if scenario.is_folder else card.digests
        )
        for number in range(COUNT):
            if scenario.before:
                shutil.copytree(card.left_before(scenario) / f"d{number}", self.place(number))
            else:
                self.place(number).mkdir()
        self.before = [self.finals(number) for number in range(COUNT)]

    def place(self, number: int) -> Path:
        return self.root / f"d{number}"

    def run(self, *rules: Rule, system: RecordingSystem | None = None, **options: Any) -> Run:
        """Copy; the threads and the descriptors of it are gone afterwards."""
        system = system or RecordingSystem(keeps_data=False)
        system.state.rules.extend(rules)
        medium = system.medium_of([str(self.place(number)) for number in range(COUNT)])
        roots = list(medium.roots)
        events: list[Event] = []
        threads = set(threading.enumerate())
        result: CopyResult | TreeResult | None = None
        refusal = ""
        try:
            result = prepare_offload(
                [str(self.source)],
                [f"{self.place(number)}" + ("" if self.scenario.is_folder else "/") for number in range(COUNT)],
                CopyOptions(**{"jobs": 1, "stall_timeout_s": 10, **self.scenario.options, **options}),
                observer=events.append,
                cancel=threading.Event(),
                system=system,
            ).run()
            exit_code = int(result.exit_code)
        except (RefusedError, UsageError) as refused:
            exit_code, refusal = int(refused.exit_code), str(refused)
        except Exception as error:
            raise ViolationError(f"the run raised {error!r}") from error
        _require_no_threads(threads)
        require(open_below(self.root) == [], lambda: f"left open: {open_below(self.root)}")
        require(open_below(self.card.folder) == [], lambda: f"left open: {open_below(self.card.folder)}")
        for operation in system.log:
            medium.apply(operation)
        return Run(result, exit_code, refusal, events, system, medium, roots)

    def paths(self, number: int) -> list[str]:
        """Relative paths of all files on a destination."""
        root = str(self.place(number))
        return sorted(
            os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names
        )

    def finals(self, number: int) -> dict[str, int]:
        """What has a final name on a destination, each with the number of its inode."""
        return {
            path: (self.place(number) / path).stat().st_ino
            for path in self.paths(number)
            if not is_temporary(last_name(path))
        }

    # -- what has to hold ---------------------------------------------------------------------------------

    def require_nothing_false(self, number: int) -> None:
        """A final name has the bytes of its source, or is a list, and all that it says is true."""
        for path in self.finals(number):
            if path in self.files:
                data = (self.place(number) / path).read_bytes()
                require(data == self.files[path], f"wrong bytes: {path} on {number}")
            elif path.endswith(".corrupt"):
                continue
            else:
                self._require_true_list(number, path)

    def _require_true_list(self, number: int, path: str) -> None:
        name = last_name(path)
        if name.endswith((".md5", ".xxh64")) and self.scenario.sums:
            above = path.rpartition("/")[0]
            for line in (self.place(number) / path).read_text().splitlines():
                digest, _, listed = line.partition("  ")
                self._require_listed(number, path, f"{above}/{listed}" if above else listed, digest)
        elif path.startswith(f"{CARD}/{ASC_FOLDER}/") and self.scenario.has_asc:
            require(name == ASC_CHAIN or name.endswith(".mhl"), f"a strange name: {path}")
        else:
            require(self.scenario.options.get("mhl") == "legacy" and name.endswith(".mhl"), f"a strange name: {path}")
            require(self.digests["clip.mov"]["xxh64be"] in (self.place(number) / path).read_text(), "a false list")

    def _require_listed(self, number: int, path: str, listed: str, digest: str) -> None:
        require(listed in self.files, f"{path} lists {listed}")
        require(digest in self.digests[listed].values(), f"{path} lists a wrong digest of {listed}")
        is_old = self.before[number].get(path) == (self.place(number) / path).stat().st_ino
        is_there = (self.place(number) / listed).exists()
        require(is_there or is_old, f"{path} lists {listed}, which is not there")

    def require_true_history(self, number: int, *, may_be_unfinished: bool) -> int:
        """Every list that the chain names is there and as it was; returns the number of generations."""
        folder = self.place(number) / CARD / ASC_FOLDER
        if not self.scenario.has_asc or not folder.exists():
            return 0
        system = native_system()
        handle = system.open_folder(str(folder))
        try:
            history = read_history(system, handle, may_be_unfinished=may_be_unfinished)
        except Exception as error:
            raise ViolationError(f"the history on {number} is not whole: {error}") from error
        finally:
            system.close_folder(handle)
        for path, known in history.known.items():
            for name, digest in known.items():
                require(self.digests[f"{CARD}/{path}"][name] == digest.text, f"a false list says {path}")
            is_there = (self.place(number) / CARD / path).exists()
            is_old = self.scenario.before == "history" and len(history.links) == 1
            require(is_there or is_old, f"a list names {path}, which is not there")
        return len(history.links)

    def require_complete(self, run: Run, number: int, *, may_be_set_aside: bool = False) -> None:
        """A destination that is called complete has everything, durable, and the lists that were asked for."""
        paths = self.paths(number)
        for path in self.files:
            require(path in paths, f"{path} is missing on {number}, which is called complete")
        lists = [path for path in paths if path not in self.files and not is_temporary(last_name(path))]
        if self.scenario.sums:
            require(any(path.endswith((".md5", ".xxh64")) for path in lists), f"no sum file on {number}")
        if self.scenario.options.get("mhl"):
            require(any(path.endswith(".mhl") for path in lists), f"no media hash list on {number}")
        is_good = may_be_set_aside or not any(path.endswith(".corrupt") for path in lists)
        require(is_good, f"a bad copy on {number}: {lists}")
        if self.scenario.has_asc:
            require(self.require_true_history(number, may_be_unfinished=False) > 0, f"no history on {number}")
        for path in [*self.files, *lists]:
            is_durable = run.medium.is_durable(run.roots[number], path) or path.endswith(".corrupt")
            require(is_durable, f"{path} on {number} is not durable")

    def require_kept(self, number: int, before: Mapping[str, int]) -> None:
        """What was complete is the same file still; only a chain is ever replaced."""
        now = self.finals(number)
        for path, inode in before.items():
            is_chain = last_name(path) == ASC_CHAIN
            require(is_chain or now.get(path) == inode, f"{path} on {number} was complete and is written again")

    def require_nothing_beside(self) -> None:
        """Nothing was written beside the destinations."""
        found = sorted(os.listdir(self.root))
        require(found == [f"d{number}" for number in range(COUNT)], f"beside the destinations: {found}")

    def require_spotless(self, number: int) -> None:
        left = [path for path in self.paths(number) if is_temporary(last_name(path))]
        require(left == [], f"left on {number}: {left}")

    def require_told(self, run: Run, number: int, fault: Fault | None) -> None:
        """What has a temporary name is the record, or somebody was told of it."""
        said = "\n".join([*run.notices(ErrorEvent), *run.notices(WarningEvent)])
        removals = {last_name(path) for call, path in (fault.hit if fault else []) if call in _REMOVING}
        small = self._small_files(run, number)
        for path in self.paths(number):
            name = last_name(path)
            if not is_temporary(name) or is_record(name):
                continue
            if str(self.place(number) / path) in said:
                continue
            # The lock, the probe and the like are small and of no use to anybody: the next run sweeps them.
            require(path in small and removals, f"nobody was told of {path} on {number}")

    def _small_files(self, run: Run, number: int) -> set[str]:
        """Names of the lock, of the unfinished record, and of the probe, which is the first thing that is made."""
        changes = [each for each in run.system.log if each.node == run.roots[number]]
        keys = (CARD, ".", journal_name(CARD)) if self.scenario.is_folder else ()
        found = {lock_name(CARD if self.scenario.is_folder else "clip.mov")}
        found.update(each.name for each in changes if each.name.startswith(tuple(map(temporary_stem, keys))) and keys)
        found.update([each.name for each in changes if each.kind == "create"][:1])
        found.update([each.new_name for each in changes if each.kind == "rename" and each.name in found])
        return found


def _require_no_threads(before: set[threading.Thread]) -> None:
    until = time.monotonic() + 5
    while left := [each for each in threading.enumerate() if each not in before]:
        require(time.monotonic() < until, f"threads left behind: {left}")
        time.sleep(0.0005)
