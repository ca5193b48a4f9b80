"""Volumes that cannot be written to, from the start or from the middle on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import Volume, Volumes, run_tool
from tests.support.files import make_file, partials

MIB = 1 << 20


def _turn_read_only(volume: Volume) -> None:
    """Let the file system find an error in itself."""
    trigger = Path("/sys/fs/ext4") / os.path.basename(volume.device) / "trigger_fs_error"
    if not trigger.exists():
        pytest.skip("this kernel cannot let ext4 find an error")
    trigger.write_text("1")
    with pytest.raises(OSError, match="Read-only"):
        (volume.path / "proof").touch()


@pytest.mark.fault(19)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_volume_that_turns_read_only_in_the_middle_fails_and_what_is_left_is_named(
    volumes: Volumes, begin: Begin, strategy: str
) -> None:
    disk = volumes.disk("disk", options="errors=remount-ro")
    data = make_file(volumes.root / "s", 4 * MIB)
    running = begin("--strategy", strategy, "s", "disk/", "good/", cwd=volumes.root)
    partial = running.stop_at_partial(disk.path, MIB)
    _turn_read_only(disk)
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert report.error["errno"] == "EROFS"
    assert "The volume is read-only: check its switch and how it is mounted." in report.error["message"]
    assert "Left behind, because it could not be removed (Read-only file system (EROFS)): " in report.error["message"]
    assert str(partial.relative_to(volumes.root)) in report.error["message"]
    assert (volumes.root / "good/s").read_bytes() == data
    volumes.unmount(disk)
    assert run_tool("sh", "-c", f"e2fsck -fy '{disk.image}'; test $? -le 1")
    volumes.mount(disk)
    assert not (disk.path / "s").exists()
    report = copy("s", "disk/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert disk.names == ["s"]


@pytest.mark.fault(19)
def test_card_goes_on_elsewhere_when_a_volume_turns_read_only(volumes: Volumes, begin: Begin) -> None:
    disk = volumes.disk("disk", options="errors=remount-ro", size=64 * MIB)
    names = [f"clip{number}" for number in range(5)]
    files = {name: make_file(volumes.root / "CARD" / name, 5 * MIB, number) for number, name in enumerate(names)}
    running = begin("CARD", "disk", "good", cwd=volumes.root, rate="12M")
    running.stop_after(2, disk.path / "CARD")
    _turn_read_only(disk)
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert "EROFS" in {error["errno"] for error in report.errors} <= {"EROFS", "EIO"}
    _require_same(volumes.root / "good/CARD", files)
    volumes.unmount(disk)
    assert run_tool("sh", "-c", f"e2fsck -fy '{disk.image}'; test $? -le 1")
    volumes.mount(disk)
    kept = {path.name for path in (disk.path / "CARD").iterdir() if path.name in files}
    assert 1 <= len(kept) < len(files)
    _require_same(disk.path / "CARD", {name: files[name] for name in kept})
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    _require_same(disk.path / "CARD", files)
    assert partials(volumes.root) == []


def _require_same(folder: Path, files: dict[str, bytes]) -> None:
    found = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".pfn.")}
    assert found == files


@pytest.mark.fault(20)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_read_only_volume_fails_alone_and_is_refused_alone(volumes: Volumes, what: str) -> None:
    locked = volumes.bind(volumes.folder("behind"), "locked", options="ro")
    source = "CARD" if what == "folder" else "CARD/s"
    make_file(volumes.root / "CARD/s", 1000)
    report = copy(source, "locked/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"locked": "failed", "good": "verified"}
    assert report.error["errno"] == "EROFS"
    report = copy(source, "locked/", cwd=volumes.root)
    assert report.exit_code == 2
    assert report.error["errno"] == "EROFS"
    assert locked.names == []


@pytest.fixture
def disk(volumes: Volumes) -> Iterator[Volume]:
    """A disk whose folder ``attic`` gets attributes, which are taken away again."""
    disk = volumes.disk("disk")
    (disk.path / "attic").mkdir()
    yield disk
    run_tool("chattr", "-ia", disk.path / "attic", why="e2fsprogs")


@pytest.mark.fault(20)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_folder_that_nobody_may_change_fails_alone_and_is_refused_alone(
    volumes: Volumes, disk: Volume, what: str
) -> None:
    source = "CARD" if what == "folder" else "CARD/s"
    make_file(volumes.root / "CARD/s", 1000)
    run_tool("chattr", "+i", disk.path / "attic", why="e2fsprogs")
    with pytest.raises(PermissionError):
        (disk.path / "attic/proof").touch()
    report = copy(source, "disk/attic/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert report.error["errno"] == "EPERM"
    assert copy(source, "disk/attic/", cwd=volumes.root).exit_code == 2
    assert disk.names == ["attic"]


@pytest.mark.fault(21)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_folder_in_which_names_cannot_be_changed_is_found_before_a_byte_is_copied(
    volumes: Volumes, disk: Volume, what: str
) -> None:
    source = "CARD" if what == "folder" else "CARD/s"
    data = make_file(volumes.root / "CARD/s", 1000)
    run_tool("chattr", "+a", disk.path / "attic", why="e2fsprogs")
    (disk.path / "attic/proof").touch()  # making is allowed
    with pytest.raises(PermissionError):
        (disk.path / "attic/proof").rename(disk.path / "attic/other")
    report = copy(source, "disk/attic/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert (report.error["errno"], report.error["operation"]) == ("EPERM", "rename and remove a file")
    assert next(volumes.root.glob("good/**/s")).read_bytes() == data
    assert sum(path.stat().st_size for path in (disk.path / "attic").iterdir()) < 300  # a probe, a lock, no copy
    assert copy(source, "disk/attic/", cwd=volumes.root).exit_code == 2
    run_tool("chattr", "-a", disk.path / "attic")
    report = copy(source, "disk/attic/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert partials(volumes.root) == []
