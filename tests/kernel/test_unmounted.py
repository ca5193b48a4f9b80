"""Volumes that are not where they are thought to be: unmounted in the middle, or never mounted; folders that go."""

import os
import shutil
from pathlib import Path

import pytest

from tests.kernel.runs import Begin, Report, copy
from tests.kernel.volumes import Volume, Volumes
from tests.support.files import make_file, partials

MIB = 1 << 20


@pytest.mark.fault(22)
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_volume_that_is_unmounted_in_the_middle_of_a_file_fails_and_nothing_lands_below(
    volumes: Volumes, begin: Begin, kind: str
) -> None:
    disk = volumes.disk("disk") if kind == "ext4" else volumes.memory("disk", "20m")
    data = make_file(volumes.root / "s", 4 * MIB)
    running = begin("s", "disk/", "good/", cwd=volumes.root)
    running.stop_at_partial(disk.path, MIB)
    volumes.unmount(disk, lazily=True)
    report = running.end()
    _require_failed(report, disk)
    assert (volumes.root / "good/s").read_bytes() == data


def _require_failed(report: Report, disk: Volume) -> None:
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert {error["errno"] for error in report.errors} == {"ESTALE"}
    assert "the volume was unmounted or replaced" in report.errors[0]["message"]
    assert not disk.path.is_mount()
    assert os.listdir(disk.path) == [], "something was written to the disk below the mount point"


@pytest.mark.fault(22)
def test_volume_that_is_unmounted_in_the_middle_of_a_card_gets_nothing_more(volumes: Volumes, begin: Begin) -> None:
    disk = volumes.disk("disk", size=64 * MIB)
    files = {f"clip{number}": make_file(volumes.root / f"CARD/clip{number}", 5 * MIB, number) for number in range(4)}
    running = begin("CARD", "disk", "good", cwd=volumes.root, rate="10M")
    running.stop_after(2, disk.path / "CARD")
    volumes.unmount(disk, lazily=True)
    report = running.end()
    _require_failed(report, disk)
    assert {path.name: path.read_bytes() for path in (volumes.root / "good/CARD").iterdir()} == files
    volumes.mount(disk)
    kept = [path.name for path in (disk.path / "CARD").iterdir() if path.name in files]
    assert len(kept) >= 2
    assert {name: (disk.path / "CARD" / name).read_bytes() for name in kept} == {name: files[name] for name in kept}
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert {path.name: path.read_bytes() for path in (disk.path / "CARD").iterdir()} == files
    assert partials(volumes.root) == []


@pytest.mark.fault(22)
def test_volume_that_is_mounted_over_in_the_middle_fails(volumes: Volumes, begin: Begin) -> None:
    disk = volumes.disk("disk")
    make_file(volumes.root / "s", 4 * MIB)
    running = begin("s", "disk/", "good/", cwd=volumes.root)
    running.stop_at_partial(disk.path, MIB)
    other = volumes.memory("disk", "20m")
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.error["errno"] == "ESTALE"
    assert other.names == []


@pytest.mark.fault(23)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_empty_mount_point_is_refused_when_a_mount_is_required(volumes: Volumes, what: str) -> None:
    source = "CARD" if what == "folder" else "CARD/s"
    make_file(volumes.root / "CARD/s", 1000)
    disk = volumes.disk("disk")
    # A root of its own, in whose file system the mount point of the missing volume is.
    missing = Path(os.path.realpath("/")) / f"pfn-test-{os.getpid()}"
    missing.mkdir()
    try:
        report = copy("--require-mount", source, f"{missing}/", "disk/", cwd=volumes.root)
        assert report.exit_code == 2, report.text
        assert str(missing) in report.error["message"]
        assert os.listdir(missing) == []
        assert disk.names == []
        report = copy("--require-mount", source, "disk/", cwd=volumes.root)
        assert report.exit_code == 0, report.text
    finally:
        shutil.rmtree(missing)


@pytest.mark.fault(25)
@pytest.mark.parametrize("how", ["removed", "moved"])
def test_folder_that_goes_in_the_middle_of_a_file_fails_and_is_not_made_anew(
    volumes: Volumes, begin: Begin, how: str
) -> None:
    disk = volumes.disk("disk")
    data = make_file(volumes.root / "s", 4 * MIB)
    (disk.path / "day").mkdir()
    running = begin("s", "disk/day/", "good/", cwd=volumes.root)
    running.stop_at_partial(disk.path / "day", MIB)
    if how == "removed":
        shutil.rmtree(disk.path / "day")
    else:
        (disk.path / "day").rename(disk.path / "elsewhere")
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert report.error["errno"] in ("ENOENT", "ESTALE")
    assert disk.names == ([] if how == "removed" else ["elsewhere"])
    assert (volumes.root / "good/s").read_bytes() == data


@pytest.mark.fault(25)
@pytest.mark.parametrize("how", ["removed", "moved"])
def test_folder_of_a_card_that_goes_in_the_middle_fails_and_is_not_made_anew(
    volumes: Volumes, begin: Begin, how: str
) -> None:
    disk = volumes.disk("disk", size=64 * MIB)
    files = {f"clip{number}": make_file(volumes.root / f"CARD/clip{number}", 5 * MIB, number) for number in range(4)}
    (disk.path / "day").mkdir()
    running = begin("CARD", "disk/day", "good", cwd=volumes.root, rate="10M")
    running.stop_after(2, disk.path / "day/CARD")
    if how == "removed":
        shutil.rmtree(disk.path / "day", ignore_errors=True)
    else:
        (disk.path / "day").rename(disk.path / "elsewhere")
    gone_well = not (disk.path / "day").exists()
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert {error["errno"] for error in report.errors} <= {"ENOENT", "ESTALE"}
    assert gone_well
    assert not (disk.path / "day").exists()
    assert {path.name: path.read_bytes() for path in (volumes.root / "good/CARD").iterdir()} == files
    report = copy("CARD", "disk/day", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
