"""Disks whose power is cut: what is there when they are mounted again, and what the next run makes of it."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CheckResult, CopyOptions, Mhl, State, TreeResult, check_hash_lists
from pfndispatchcopy.events import Event, FileEvent
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.offload import prepare_offload
from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import Volume, Volumes
from tests.support.faulty_system import FaultySystem, Rule
from tests.support.files import make_file, partials
from tests.support.tree_trial import AnyCall

MIB = 1 << 20
# What can be cut: btrfs has no such call.
KINDS = ["ext4", "xfs"]
_PARTS = 8


def _require_no_false_names(folder: Path, files: dict[str, bytes]) -> list[str]:
    """Whatever has a final name has all its bytes; returns the names that are there."""
    found = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name in files and not is_temporary(path.name):
            assert path.read_bytes() == files[name], f"wrong bytes under a final name: {name}"
            found.append(name)
    return found


@pytest.mark.fault(24, 53)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
@pytest.mark.parametrize("kind", KINDS)
def test_disk_that_is_pulled_out_in_the_middle_of_a_file_fails_alone(
    volumes: Volumes, begin: Begin, kind: str, strategy: str
) -> None:
    disk = volumes.disk("disk", kind)
    data = make_file(volumes.root / "s", 3 * MIB)
    running = begin("--strategy", strategy, "s", "disk/", "good/", cwd=volumes.root)
    partial = running.stop_at_partial(disk.path, MIB)
    disk.cut_power()
    with pytest.raises(OSError, match="Input/output"):
        (disk.path / "proof").touch()
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert report.error["errno"] == "EIO"
    assert "Left behind, because it could not be removed (Input/output error (EIO)): " in report.error["message"]
    assert str(partial.relative_to(volumes.root)) in report.error["message"]
    assert (volumes.root / "good/s").read_bytes() == data
    volumes.mount_again(disk)
    assert not (disk.path / "s").exists()
    report = copy("s", "disk/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert disk.names == ["s"]


@pytest.mark.fault(24, 53)
@pytest.mark.parametrize("kind", KINDS)
def test_card_is_completed_elsewhere_when_a_disk_is_pulled_out(volumes: Volumes, begin: Begin, kind: str) -> None:
    disk = volumes.disk("disk", kind, size=64 * MIB)
    files = {
        f"still{number:03}": make_file(volumes.root / f"CARD/still{number:03}", 40_000, number) for number in range(120)
    }
    files |= {f"clip{number}": make_file(volumes.root / f"CARD/clip{number}", 5 * MIB, number) for number in range(3)}
    running = begin("CARD", "disk", "good", cwd=volumes.root, rate="10M")
    running.stop_after(1, disk.path / "CARD")
    disk.cut_power()
    report = running.end()
    # Where it goes while a copy is read back, that copy was not verified.
    assert (report.exit_code, report.states["disk"]) in ((3, "failed"), (4, "mismatch")), report.text
    assert report.states["good"] == "verified"
    assert {error["errno"] or "EIO" for error in report.errors} == {"EIO"}
    assert len(report.errors) < 30, "a disk that is gone was asked again and again"
    assert _require_no_false_names(volumes.root / "good/CARD", files) != []
    done = {event["path"] for event in report.of("file") for each in event["destinations"] if _is_done_on(each, "disk")}
    volumes.mount_again(disk)
    there = _require_no_false_names(disk.path / "CARD", files)
    assert done <= set(there), "what was called verified has not outlasted the cut"
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert sorted(_require_no_false_names(disk.path / "CARD", files)) == sorted(files)
    assert partials(volumes.root) == []


def _is_done_on(outcome: dict[str, Any], place: str) -> bool:
    return bool(outcome["path"].startswith(place) and outcome["state"] == "verified")


class _Card:
    """A card, a disk that is pulled out at some call, and another one that is not."""

    def __init__(self, volumes: Volumes, disk: Volume) -> None:
        self.volumes = volumes
        self.disk = disk
        self.good = volumes.folder("good")
        self.system = FaultySystem()
        self.events: list[Event] = []
        sizes = {"clip.mov": 5 * MIB, "empty.txt": 0, "sub/a": 3000, "sub/b": 70_000}
        self.files = {name: make_file(volumes.root / "CARD" / name, size) for name, size in sizes.items()}

    def cut_at(self, rule: Rule) -> Rule:
        """Cut the power just before the call that a rule takes."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            self.disk.cut_power()
            return real()

        rule.action = action
        self.system.state.rules.append(rule)
        return rule

    def run(self) -> TreeResult:
        self.events.clear()
        result = prepare_offload(
            [str(self.volumes.root / "CARD")],
            [str(self.disk.path), str(self.good)],
            CopyOptions(jobs=1, mhl=Mhl.ASC, sums=("md5",), stall_timeout_s=20),
            observer=self.events.append,
            cancel=threading.Event(),
            system=self.system,
        ).run()
        assert isinstance(result, TreeResult)
        return result

    def require_that_nothing_was_promised_falsely(self, result: TreeResult) -> None:
        """Mount the disk again: what was called verified is there, and every name has its bytes."""
        disk, good = result.destinations
        assert good.state is State.VERIFIED, good.error
        verified = {
            event.path
            for event in self.events
            if isinstance(event, FileEvent) and _is_verified_on(event, self.disk.path)
        }
        self.volumes.mount_again(self.disk)
        there = _require_no_false_names(self.disk.path / "CARD", self.files)
        assert verified <= set(there), "what was called verified has not outlasted the cut"
        if disk.state is State.VERIFIED:
            assert sorted(there) == sorted(self.files)
        if (self.disk.path / "CARD/ascmhl/ascmhl_chain.xml").exists():
            assert _checked(self.disk.path / "CARD") == 0, "a list that is there does not hold"
        sums = self.disk.path / "CARD/CARD.md5"
        if sums.exists():
            assert _checked(sums) == 0, "a list that is there does not hold"

    def require_completed_by_next_run(self) -> None:
        self.system.state.rules.clear()
        result = self.run()
        assert result.exit_code == 0, [each.error for each in result.destinations]
        self.volumes.mount_again(self.disk)
        assert sorted(_require_no_false_names(self.disk.path / "CARD", self.files)) == sorted(self.files)
        assert _checked(self.disk.path / "CARD") == 0
        assert partials(self.volumes.root) == []


def _is_verified_on(event: FileEvent, folder: Path) -> bool:
    return any(
        each.state is State.VERIFIED and Path(each.location).is_relative_to(folder) for each in event.destinations
    )


def _checked(path: Path) -> int:
    result = check_hash_lists(path)
    assert isinstance(result, CheckResult)
    return int(result.exit_code)


@pytest.mark.fault(53, 54, 55)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, _PARTS))])
@pytest.mark.timeout(180)
def test_cut_before_any_call_costs_nothing_that_was_promised(volumes: Volumes, kind: str, part: int) -> None:
    """Each test cuts at every so many calls, in a run of its own; what is called verified must be on the disk then."""
    cuts = 0
    for nth in range(1 + part, 1000, _PARTS):
        disk = volumes.disk("disk", kind)
        card = _Card(volumes, disk)
        rule = card.cut_at(AnyCall("", f"{disk.path}/", lambda real: real(), nth))
        result = card.run()
        if not rule.fired:
            break
        card.require_that_nothing_was_promised_falsely(result)
        card.require_completed_by_next_run()
        cuts += 1
        volumes.discard(disk)
        shutil.rmtree(card.good)
    assert cuts > 15, "hardly any call to cut the power at: this test has lost its meaning"
