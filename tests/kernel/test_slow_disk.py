"""Disks that are slow, and memory that is short: what goes on is waited for, and no more is held than was said."""

import time
from pathlib import Path

import pytest

from tests.kernel.control_groups import ControlGroup, control_group
from tests.kernel.runs import copy, measuring
from tests.kernel.volumes import Volumes
from tests.support.files import make_file

MIB = 1 << 20


def _throttle(group: ControlGroup, device: tuple[int, int], rate: int) -> None:
    group.set("blkio.throttle.write_bps_device", f"{device[0]}:{device[1]} {rate}")


@pytest.mark.fault(26)
def test_disk_that_is_slow_in_every_write_is_waited_for_in_bounded_memory(volumes: Volumes) -> None:
    rate, size = 12 * MIB, 48 * MIB
    disk = volumes.disk("disk", "ext4", size=96 * MIB, options="sync")
    data = make_file(volumes.root / "s", size)
    make_file(volumes.root / "little", 10)
    assert copy("little", "good/", cwd=volumes.root, wrapper=measuring(volumes.root / "peak")).exit_code == 0
    usual = int((volumes.root / "peak").read_text())
    with control_group("blkio") as group:
        _throttle(group, disk.block_device, rate)
        began_at = time.monotonic()
        report = copy(
            *("--stall-timeout", "2", "s", "disk/", "good/"),
            cwd=volumes.root,
            wrapper=[*group.wrapper, *measuring(volumes.root / "peak")],
        )
        took = time.monotonic() - began_at
    assert took > 0.8 * size / rate, "the disk was not slow"
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "verified", "good": "verified"}
    more = int((volumes.root / "peak").read_text()) - usual
    bound = report.of("plan")[0]["memory_bound"]
    assert bound < size / 2
    assert more < bound + 12 * MIB, f"{more} bytes more than without data, {bound} were said"
    volumes.mount_again(disk)
    assert (disk.path / "s").read_bytes() == data


@pytest.mark.fault(26)
def test_disk_that_is_slow_to_flush_a_card_is_waited_for(volumes: Volumes) -> None:
    rate = 2 * MIB
    disk = volumes.disk("disk", "ext4", size=64 * MIB)
    files = {f"f{number:02}": make_file(volumes.root / f"CARD/f{number:02}", 250_000, number) for number in range(32)}
    with control_group("blkio") as group:
        _throttle(group, disk.block_device, rate)
        began_at = time.monotonic()
        report = copy("--stall-timeout", "3", "CARD", "disk", "good", cwd=volumes.root, wrapper=group.wrapper)
        took = time.monotonic() - began_at
    assert took > 0.8 * sum(map(len, files.values())) / rate, "the disk was not slow"
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "verified", "good": "verified"}
    volumes.mount_again(disk)
    assert {path.name: path.read_bytes() for path in (disk.path / "CARD").iterdir()} == files


@pytest.mark.fault(61)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_copy_of_more_than_the_memory_that_is_allowed_stays_within_it(tmp_path: Path, what: str) -> None:
    limit = 48 * MIB
    files = {f"clip{number}": make_file(tmp_path / f"CARD/clip{number}", 24 * MIB, number) for number in range(3)}
    source = "CARD" if what == "folder" else "CARD/clip0"
    with control_group("memory") as group:
        group.set("memory.limit_in_bytes", str(limit))
        report = copy(source, "one/", "two/", cwd=tmp_path, wrapper=group.wrapper)
        assert report.exit_code == 0, report.text
        assert report.states == {"one": "verified", "two": "verified"}
        assert int(group.get("memory.failcnt")) > 0, "there was memory enough"
        assert int(group.get("memory.max_usage_in_bytes")) <= limit
        assert "oom_kill 0" in group.get("memory.oom_control")
    assert report.of("plan")[0]["memory_bound"] < limit
    for place in ("one", "two"):
        assert next((tmp_path / place).rglob("clip0")).read_bytes() == files["clip0"]
