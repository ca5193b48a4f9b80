"""Limits: a quota that is used up, and files that may not be as large as they are."""

import shutil

import pytest

from tests.kernel.runs import copy
from tests.kernel.volumes import Volumes, run_tool
from tests.support.files import make_file, partials

MIB = 1 << 20


@pytest.mark.fault(4)
def test_quota_that_is_used_up_is_named(volumes: Volumes) -> None:
    disk = volumes.disk("disk", "btrfs")
    share = disk.path / "share"
    run_tool("btrfs", "quota", "enable", disk.path, why="btrfs-progs")
    run_tool("btrfs", "subvolume", "create", share)
    run_tool("btrfs", "qgroup", "limit", "4M", share)
    data = make_file(volumes.root / "s", 8 * MIB)
    report = copy("s", "disk/share/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert report.error["errno"] == "EDQUOT"
    assert report.error["operation"] in ("write", "flush")
    assert "The quota is used up: free some of it, or have it raised" in report.error["message"]
    assert not (share / "s").exists()
    assert partials(share) == []
    assert (volumes.root / "good/s").read_bytes() == data
    run_tool("btrfs", "qgroup", "limit", "none", share)
    report = copy("s", "disk/share/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    volumes.mount_again(disk)
    assert (share / "s").read_bytes() == data


@pytest.mark.fault(5)
def test_file_that_is_larger_than_a_limit_fails_and_says_so(volumes: Volumes) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit here (package util-linux)")
    make_file(volumes.root / "s", 8 * MIB)
    disk = volumes.disk("disk")
    report = copy("s", "disk/", "good/", cwd=volumes.root, wrapper=["prlimit", f"--fsize={3 * MIB + 5}"])
    assert report.exit_code == 1, report.text
    assert report.states == {"disk": "failed", "good": "failed"}
    for error in report.errors:
        assert (error["errno"], error["operation"]) == ("EFBIG", "write")
        assert f"write failed at byte {3 * MIB + 5}: File too large (EFBIG)" in error["message"]
    assert disk.names == []
    assert not (volumes.root / "good").exists()


@pytest.mark.fault(5)
def test_other_files_of_a_card_are_copied_when_one_is_too_large(volumes: Volumes) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit here (package util-linux)")
    files = {name: make_file(volumes.root / "CARD" / name, size) for name, size in (("a", 10), ("z", 5 * MIB))}
    make_file(volumes.root / "CARD/large", 9 * MIB)
    report = copy("CARD", "one", "two", cwd=volumes.root, wrapper=["prlimit", f"--fsize={6 * MIB}"])
    assert report.exit_code == 3, report.text
    assert {(error["errno"], error["destination"]) for error in report.errors} == {("EFBIG", "one"), ("EFBIG", "two")}
    for place in ("one", "two"):
        folder = volumes.root / place / "CARD"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert copy("CARD", "one", "two", cwd=volumes.root).exit_code == 0
    assert partials(volumes.root) == []
