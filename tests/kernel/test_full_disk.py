"""Disks without room: for what comes down a pipe, for what is known beforehand, and for what was reserved."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import DISK_KINDS, Volumes
from tests.support.files import make_file, partials

MIB = 1 << 20


def _fill(path: Path, leave: int = 0) -> None:
    """Use up the room of a volume, but for about so many bytes."""
    block = bytes(256 * 1024)
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while os.statvfs(path).f_bavail * os.statvfs(path).f_frsize > leave:
            file.write(block)
            os.fsync(file.fileno())


@pytest.mark.fault(1)
@pytest.mark.parametrize("kind", DISK_KINDS)
def test_disk_that_a_pipe_fills_up_fails_alone(volumes: Volumes, kind: str) -> None:
    disk = volumes.disk("disk", kind)
    _fill(disk.path / "other", leave=4 * MIB)
    data = make_file(volumes.root / "s", 12 * MIB)
    report = copy("-", "disk/s", "good/s", cwd=volumes.root, stdin=data)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert (report.error["errno"], report.error["destination"]) == ("ENOSPC", "disk/s")
    assert report.error["operation"] in ("write", "flush")
    assert disk.names == ["other"]
    assert (volumes.root / "good/s").read_bytes() == data
    (disk.path / "other").unlink()
    volumes.mount_again(disk)
    report = copy("-", "disk/s", "good/s", cwd=volumes.root, stdin=data)
    assert report.exit_code == 0, report.text
    volumes.mount_again(disk)
    assert (disk.path / "s").read_bytes() == data
    assert disk.names == ["s"]


@pytest.mark.fault(1)
@pytest.mark.parametrize("kind", DISK_KINDS)
def test_disk_that_is_known_to_have_no_room_is_refused_before_anything_is_written(volumes: Volumes, kind: str) -> None:
    disk = volumes.disk("disk", kind)
    _fill(disk.path / "other", leave=4 * MIB)
    make_file(volumes.root / "CARD/s", 12 * MIB)
    for source in ("CARD/s", "CARD"):
        report = copy(source, "disk/", "good/", cwd=volumes.root)
        assert report.exit_code == 2, report.text
        assert "not enough space" in report.error["message"]
        assert disk.names == ["other"]
        assert not (volumes.root / "good").exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])  # btrfs wants room for its checksums as well
def test_room_that_was_reserved_is_not_lost_to_somebody_else(volumes: Volumes, begin: Begin, kind: str) -> None:
    disk = volumes.disk("disk", kind)
    data = make_file(volumes.root / "s", 3 * MIB)
    running = begin("s", "disk/", cwd=volumes.root)
    running.stop_at_partial(disk.path, 100_000)
    _fill(disk.path / "other")
    report = running.end()
    assert report.exit_code == 0, report.text
    volumes.mount_again(disk)
    assert (disk.path / "s").read_bytes() == data
    assert partials(disk.path) == []
