"""A round: a card, a wish, runs with faults, then the same command without one, and a check of the lists."""

import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.scenarios import ViolationError, require
from tests.soak.card import Card, Kind
from tests.soak.faults import HARMLESS, ON_DESTINATION, ON_SOURCE, ON_VOLUME, Fault, Where, draw_kinds, needs_of
from tests.soak.invariants import Invariants
from tests.soak.running import Ended, checkout_environment, run_command, run_fault, run_in_library
from tests.soak.volume import give_room, leave_room, unmount
from tests.soak.wish import Wish

__all__ = ["Report", "play"]

_STOPPED = frozenset({130, 143, 129, -2, -15, -1})
_KILLED = frozenset({-9})
_HITS = frozenset({Where.LIBRARY_DESTINATION, Where.LIBRARY_FLIP, Where.LIBRARY_LOST, Where.COMMAND_DESTINATION})


@dataclass
class Report:
    """What came of a round.

    Attributes:
        folder: where it was played.
        told: what was done, line by line.
        fired: kinds of faults that did.
        missed: kinds of faults that came too late, or whose call was never made.
        violations: what does not hold.
    """

    folder: Path
    told: list[str] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def play(seed: int, number: int, folder: Path, *, has_volumes: bool) -> Report:
    """Play one round in a folder of its own, which is the working folder meanwhile; kept if something is wrong."""
    report = Report(folder)
    before = Path.cwd()
    os.chdir(folder)
    round_ = _Round(random.Random(f"{seed}/{number}"), folder, report, has_volumes=has_volumes)
    try:
        round_.play()
    except ViolationError as violation:
        report.violations.append(str(violation))
    except Exception:  # a bug of ours, or of the program: nothing may raise that
        report.violations.append(traceback.format_exc())
    finally:
        os.chdir(before)
        if round_.volume is not None:
            unmount(round_.volume)
    if not report.violations:
        shutil.rmtree(folder, onerror=_make_removable)
    return report


def _make_removable(function: object, path: str, _: object) -> None:
    """A folder that may not be written to hinders nobody."""
    os.chmod(os.path.dirname(path), 0o700)
    with suppress(OSError):
        os.unlink(path)


class _Round:
    def __init__(self, chance: random.Random, folder: Path, report: Report, *, has_volumes: bool) -> None:
        self.chance = chance
        self.folder = folder
        self.report = report
        self.has_volumes = has_volumes
        self.volume: Path | None = None

    def play(self) -> None:
        chance = self.chance
        kinds = draw_kinds(chance, has_volumes=self.has_volumes)
        needs = needs_of(kinds)
        if needs.has_volume:
            self.volume = self.folder  # so that it is unmounted, whatever happens
        wish, card = Wish.random(chance, self.folder, needs)
        self.volume = wish.volume_folder if wish.volume >= 0 else None
        self.report.told.append(f"{wish.arguments()}")
        on_card = {path: entry.kind for path, entry in card.entries.items()}
        invariants = Invariants(wish, card, self.folder)
        for kind in kinds:
            self._run_with_fault(wish, card, invariants, Fault.draw(kind, chance, wish, on_card))
        self._run_without(wish, card, invariants)
        require(card.has_its_bytes(), "the card was changed")

    # -- a run with a fault -------------------------------------------------------------------------------

    def _run_with_fault(self, wish: Wish, card: Card, invariants: Invariants, fault: Fault) -> None:
        if fault.kind in ON_VOLUME:
            leave_room(wish.volume_folder, int(wish.bytes * fault.share))
        ended = run_fault(wish, card, fault, self.chance, self.folder)
        if fault.kind in ON_VOLUME:
            give_room(wish.volume_folder)
            fault.fired = any("ENOSPC" in each or "space" in each for each in (*ended.errors, ended.stderr))
        (self.report.fired if fault.fired else self.report.missed).append(fault.kind)
        self.report.told.append(f"{fault}: fired {fault.fired} times: {ended.exit_code} {ended.states}")
        if fault.kind in _HITS and fault.fired:
            invariants.was_hit.add(fault.victim)
        if ended.changed and "--verify-source" in wish.options:  # which may be taken for a card that reads differently
            invariants.was_hit.update(range(wish.count))
        self._take_changes(wish, invariants, ended)
        invariants.require_nothing_lost(ended)
        self._require_right_end(wish, invariants, fault, ended)

    @staticmethod
    def _take_changes(wish: Wish, invariants: Invariants, ended: Ended) -> None:
        """What is wished for is what is on the card now."""
        for path, old in ended.changed.items():
            assert old is not None
            for below in [each for each, on_card in wish.on_card.items() if on_card == path]:
                invariants.older[below] = old.data
                new = invariants.card.entries.get(path)
                if new is None:
                    del wish.wanted[below]
                else:
                    wish.wanted[below] = new

    def _require_right_end(self, wish: Wish, invariants: Invariants, fault: Fault, ended: Ended) -> None:
        code = ended.exit_code
        everybody = range(wish.count)
        with_conflict = {number for number in everybody if wish.conflict == "error" and wish.conflicts[number]}
        if code == 0:
            require(not with_conflict, "exit code 0, and there was a conflict")
            if not (ended.changed and fault.kind in ON_SOURCE):
                self._require_complete(invariants, ended, everybody, fault)
            return
        if fault.is_signal and (code in _STOPPED | _KILLED or "KeyboardInterrupt" in ended.stderr):
            return
        if fault.kind == Where.KILL_ANY:  # if it was the one that copies, the front has told of that
            require(code in (0, 1, 3), f"exit code {code} after a kill")
            return
        if fault.kind == Where.LIBRARY_CANCEL and fault.fired:
            require(code in (1, 2, 3), f"exit code {code} after a cancel")
            return
        if fault.kind in HARMLESS or not fault.fired:
            self._require_only_conflicts(wish, ended, with_conflict)
            return
        if fault.kind in ON_SOURCE:
            require(code in (1, 2, 3) or (code == 4 and "--verify-source" in wish.options), f"exit code {code}")
            return
        assert fault.kind in ON_DESTINATION, fault
        victims = {fault.victim} | with_conflict
        if code == 2:
            said = [*ended.errors, ended.stderr]
            # A volume that is known to be too small is refused at once, and everything with it.
            is_small = fault.kind in ON_VOLUME and any("not enough space" in each for each in said)
            require(
                is_small or len(victims) == wish.count, f"one destination failed, and everything was refused: {said}"
            )
            return
        is_mismatch = fault.kind in (Where.LIBRARY_FLIP, Where.LIBRARY_LOST, Where.LIBRARY_DESTINATION)
        allowed = {1, 3, 4} if is_mismatch or fault.kind == Where.COMMAND_DESTINATION else {1, 3}
        require(code in allowed, f"exit code {code} for one destination: {ended.errors}")
        self._require_complete(invariants, ended, [each for each in everybody if each not in victims])

    @staticmethod
    def _require_only_conflicts(wish: Wish, ended: Ended, with_conflict: set[int]) -> None:
        """Nothing happened, so that only conflicts can be the reason."""
        require(wish.must_conflict, f"exit code {ended.exit_code} without a fault: {ended.errors or ended.stderr}")
        require(ended.exit_code in (1, 3), f"exit code {ended.exit_code} for a conflict")
        for number, state in enumerate(ended.states):
            is_right = (state == "failed") == (number in with_conflict)
            require(is_right, f"destination {number} is {state}: {ended.errors}")

    @staticmethod
    def _require_complete(
        invariants: Invariants, ended: Ended, numbers: Iterable[int], fault: Fault | None = None
    ) -> None:
        numbers = list(numbers)
        invariants.require_good_states(ended, numbers)
        for number in numbers:
            is_victim = fault is not None and fault.fired > 0 and fault.victim == number
            invariants.require_complete(number, ended, may_be_left=is_victim)

    # -- the same without a fault -------------------------------------------------------------------------

    def _run_without(self, wish: Wish, card: Card, invariants: Invariants) -> None:
        inodes = [invariants.inodes(number) for number in range(wish.count)]
        if invariants.older:
            ended = self._run_again(wish, card, ("--no-resume", "--on-conflict", "overwrite"))
            invariants.require_nothing_lost(ended)
            # A history goes on, and tells of what the file was before.
            require(ended.exit_code in ((0, 4) if wish.mhl == "asc" else (0,)), self._told_of(ended))
            if ended.exit_code == 0:
                self._require_complete(invariants, ended, range(wish.count))
            return
        ended = self._run_again(wish, card)
        invariants.require_nothing_lost(ended)
        if wish.must_conflict:
            with_conflict = {number for number in range(wish.count) if wish.conflicts[number]}
            self._require_only_conflicts(wish, ended, with_conflict)
            self._require_complete(invariants, ended, [each for each in range(wish.count) if each not in with_conflict])
            wish.conflict = "overwrite"
            ended = self._run_again(wish, card, ("--on-conflict", "overwrite"))
        require(ended.exit_code == 0, self._told_of(ended))
        invariants.require_nothing_lost(ended)
        self._require_complete(invariants, ended, range(wish.count))
        for number, mine in enumerate(inodes):
            now = invariants.inodes(number)
            again = [path for path, inode in mine.items() if now[path] != inode]
            require(not again, f"complete on {number}, and written again: {again}")
        self._check_lists(wish, invariants)

    @staticmethod
    def _told_of(ended: Ended) -> str:
        return f"the next run ends with {ended.exit_code} {ended.states}: {ended.errors} {ended.stderr}"

    def _run_again(self, wish: Wish, card: Card, more: tuple[str, ...] = ()) -> Ended:
        is_in_library = "in library" if self._can_be_in_library(wish) and self.chance.random() < 0.5 else ""
        if is_in_library:
            ended = run_in_library(wish, card, None, more)
        else:
            ended = run_command(wish, card, Fault(Where.COMMAND_NOTHING), self.chance, self.folder, more)
        self.report.told.append(f"again {is_in_library} {more}: {ended.exit_code} {ended.states}")
        return ended

    @staticmethod
    def _can_be_in_library(wish: Wish) -> bool:
        is_usable = all(
            root.is_absolute() and label.startswith("/") for root, label in zip(wish.roots, wish.labels, strict=True)
        )
        is_usable = is_usable and not wish.needs_processes
        return is_usable and wish.stream is None and all(root.exists() for root in wish.roots) and not wish.unforced

    def _check_lists(self, wish: Wish, invariants: Invariants) -> None:
        """What was written is what ``--check`` takes."""
        if not wish.has_lists:
            return
        files = [path for path, entry in wish.wanted.items() if entry.kind is Kind.FILE]
        is_all_listable = len(invariants.listable_files(in_sums=bool(wish.sums))) == len(files)
        places, may_be_more = [], False
        for number, root in enumerate(wish.roots):
            listed = invariants.lists(number)
            with_lists = [top for top in wish.tops if any(path.startswith(f"{top}/" if top else "") for path in listed)]
            mine = [str(root / top) for top in with_lists]
            if wish.names_files and wish.tops == [""]:  # one file: not every folder that has a list in it is meant
                mine = [str(root / path) for path in listed]
            is_more = bool(wish.before[number]) or number in invariants.was_hit or number in wish.unforced
            is_more = is_more or invariants.card.has_history  # which lists what was left out, too
            may_be_more = may_be_more or (bool(mine) and (is_more or not is_all_listable))
            places += mine
        if not places:
            return
        done = subprocess.run(
            [sys.executable, "-m", "pfndispatchcopy", "--check", "--", *places],
            capture_output=True,
            timeout=60,
            check=False,
            env=checkout_environment(),
        )
        text = (done.stderr + done.stdout).decode("utf-8", "surrogateescape")
        self.report.told.append(f"--check: {done.returncode}")
        allowed = {0, 3} if may_be_more else {0}
        if invariants.card.has_history and any(wish.conflicts):  # the history is not of what was left there
            allowed.add(4)
        require(done.returncode in allowed, f"--check ends with {done.returncode}: {text}")
