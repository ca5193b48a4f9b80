"""Small volumes in memory: no room for the bytes, no room for another name, and more names than usual."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import Volumes
from tests.support.files import make_file, partials

MIB = 1 << 20


@pytest.mark.fault(1)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_volume_that_fills_up_in_the_middle_of_a_file_fails_alone(
    volumes: Volumes, begin: Begin, strategy: str
) -> None:
    small = volumes.memory("small", "12m")
    data = make_file(volumes.root / "s", 8 * MIB)
    running = begin("--strategy", strategy, "s", "a/", "small/", "b/", cwd=volumes.root)
    running.stop_at_partial(small.path, MIB)
    _fill(small.path / "somebody else's")
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"a": "verified", "small": "failed", "b": "verified"}
    error = report.error
    assert (error["errno"], error["operation"], error["destination"]) == ("ENOSPC", "write", "small/")
    assert "small/s: write failed at byte " in error["message"]
    assert " MB more are needed." in error["message"]
    assert "Nothing of it was left behind." in error["message"]
    assert small.names == ["somebody else's"]
    assert (volumes.root / "a/s").read_bytes() == (volumes.root / "b/s").read_bytes() == data
    (small.path / "somebody else's").unlink()
    report = copy("s", "a/", "small/", "b/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.states == {"a": "identical", "small": "verified", "b": "identical"}
    assert (small.path / "s").read_bytes() == data
    assert partials(volumes.root) == []


def _fill(path: Path) -> None:
    """Use up the room that is left."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(path).f_bavail == 0


@pytest.mark.fault(1)
def test_card_that_turns_out_to_have_no_room_fails_there_alone_and_goes_on_later(
    volumes: Volumes, begin: Begin
) -> None:
    small = volumes.memory("small", "40m")
    for number in range(5):
        make_file(volumes.root / f"CARD/clip{number}.mov", 5 * MIB, seed=number)
    running = begin("CARD", "small", "good", cwd=volumes.root, rate="12M")
    running.stop_after(2, small.path / "CARD")
    _fill(small.path / "other")
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"small": "failed", "good": "verified"}
    assert {error["errno"] for error in report.errors} == {"ENOSPC"}
    assert not [path for path in partials(small.path) if "journal" not in path.name]
    done = [path.name for path in (small.path / "CARD").iterdir()]
    assert 2 <= len(done) < 5
    _require_copied(volumes.root / "CARD", small.path / "CARD", *done)
    (small.path / "other").unlink()
    report = copy("CARD", "small", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    _require_copied(volumes.root / "CARD", small.path / "CARD", *os.listdir(volumes.root / "CARD"))
    assert partials(volumes.root) == []


def _require_copied(one: Path, other: Path, *names: str) -> None:
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.fault(2)
def test_file_for_which_there_is_no_inode_fails_before_a_byte_is_written(volumes: Volumes) -> None:
    small = volumes.memory("small", "20m", inodes=8)
    data = make_file(volumes.root / "s", 100_000)
    _use_inodes(small.path, leave=1)  # room for the lock, and for nothing else
    report = copy("s", "small/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"small": "failed", "good": "verified"}
    assert (report.error["errno"], report.error["operation"]) == ("ENOSPC", "create")
    assert not (small.path / "s").exists()
    assert partials(small.path) == []
    assert (volumes.root / "good/s").read_bytes() == data


@pytest.mark.fault(2)
def test_card_whose_files_find_no_inodes_is_complete_elsewhere(volumes: Volumes) -> None:
    small = volumes.memory("small", "20m", inodes=40)
    for number in range(60):
        make_file(volumes.root / f"CARD/f{number:02}", 1000 + number, seed=number)
    report = copy("CARD", "small", "good", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"small": "failed", "good": "verified"}
    assert {(error["errno"], error["operation"]) for error in report.errors} == {("ENOSPC", "create")}
    names = os.listdir(small.path / "CARD")
    _require_copied(volumes.root / "CARD", small.path / "CARD", *names)
    run_out = os.statvfs(small.path).f_ffree < 10
    assert run_out, "there were inodes enough"
    assert os.system(f"mount -o remount,nr_inodes=200 '{small.path}'") == 0
    report = copy("CARD", "small", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    _require_copied(volumes.root / "CARD", small.path / "CARD", *os.listdir(volumes.root / "CARD"))
    assert partials(volumes.root) == []


def _use_inodes(folder: Path, leave: int) -> None:
    for number in range(os.statvfs(folder).f_ffree - leave):
        (folder / f"other{number}").touch()
    assert os.statvfs(folder).f_ffree == leave
