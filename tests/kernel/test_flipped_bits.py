"""Bytes that change on the medium while the page cache goes on having the right ones."""

import ctypes
import mmap
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.residency import is_resident
from tests.kernel.runs import Begin, Report, check, copy
from tests.kernel.volumes import DISK_KINDS, Volume, Volumes
from tests.support.files import make_file

MIB = 1 << 20
_AT = 1_000_000 // 4096 * 4096
"""Where in the file the bytes are that go wrong: the beginning of a page."""

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda right: bytes([right[0] ^ 1]),
    "a sector of noise": lambda right: random.Random(7).randbytes(512),
    "a sector of zeros": lambda right: bytes(512),
    "64 KiB of noise": lambda right: random.Random(7).randbytes(65536),
    "64 KiB of zeros": lambda right: bytes(65536),
    "64 KiB in the wrong place": lambda right: right[4096 : 4096 + 65536],
}
"""What goes wrong: from the right bytes to the wrong ones. Of the damage in the field, most was 64 KiB of something."""


def _damage(volume: Volume, data: bytes, how: str, cached: Path) -> None:
    """Change what is on the medium, and prove that nobody can tell from the page cache."""
    right = data[_AT : _AT + 2 * 65536]
    volume.spoil(right[:4096], DAMAGES[how](right))
    with open(cached, "rb") as file:
        assert os.pread(file.fileno(), len(right), _AT) == right, "the page cache has lost the right bytes"


def _is_direct_read_wrong(path: Path, data: bytes) -> bool:
    """Whether the medium really has something else, as a reading around the cache tells."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 2 * 65536) as room:
            assert os.preadv(fd, [room], _AT) == len(room)
            return room[:] != data[_AT : _AT + len(room)]
    finally:
        os.close(fd)


def _flush(path: Path) -> None:
    """Bring to the medium what has been written of a file by now."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _held_in_cache(path: Path) -> Iterator[None]:
    """Map a file as another program would, so that its pages cannot be dropped."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as window:
        for at in range(0, len(window), mmap.PAGESIZE):
            window[at]
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert is_resident(ctypes.CDLL(None, use_errno=True), file.fileno(), len(window)), "the cache was emptied"
        yield


@pytest.mark.fault(40, 41)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_copy_that_goes_wrong_on_the_medium_is_found_before_it_gets_its_name(
    volumes: Volumes, begin: Begin, kind: str, strategy: str
) -> None:
    disks = {how: volumes.disk(f"disk{number}", kind) for number, how in enumerate(DAMAGES)}
    data = make_file(volumes.root / "s", 3 * MIB)
    places = [f"{disk.path.name}/" for disk in disks.values()]
    running = begin("--strategy", strategy, "s", *places, "good/", cwd=volumes.root)
    partials = running.stop_at_partials([disk.path for disk in disks.values()], 2 * MIB)
    for (how, disk), partial in zip(disks.items(), partials, strict=True):
        _flush(partial)
        _damage(disk, data, how, partial)
    report = running.end()
    assert report.exit_code == 4, report.text
    assert report.states == {**{disk.path.name: "mismatch" for disk in disks.values()}, "good": "verified"}
    assert len(report.errors) == len(disks)
    errors = sorted(report.errors, key=lambda error: str(error["destination"]))
    for disk, error in zip(disks.values(), errors, strict=True):
        assert error["operation"] == "verify"
        assert "read back as xxh64be:" in error["message"]
        assert disk.names == ["s.corrupt"]
        assert f"The bad copy was set aside as {disk.path.name}/s.corrupt" in error["message"]
    assert (volumes.root / "good/s").read_bytes() == data
    report = copy("s", *places, "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    for disk in disks.values():
        volumes.mount_again(disk)
        assert (disk.path / "s").read_bytes() == data


@pytest.mark.fault(40, 41)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_small_files_of_a_card_that_go_wrong_on_the_medium_are_found(volumes: Volumes, begin: Begin, kind: str) -> None:
    disk = volumes.disk("disk", kind)
    names = [f"f{number:02}" for number in range(30)]
    files = {name: make_file(volumes.root / "CARD" / name, 150_000, number) for number, name in enumerate(names)}
    running = begin("CARD", "disk", "good", cwd=volumes.root, rate="2M")
    partial = running.stop_at_partial(disk.path, len(files[names[0]]))
    first = next(name for name, data in files.items() if _begins_like(partial, data))
    _flush(partial)
    bad = files[first]
    disk.spoil(bad[:4096], bytes(512))
    assert partial.read_bytes() == bad
    report = running.end()
    assert report.exit_code == 4, report.text
    assert report.states == {"disk": "mismatch", "good": "verified"}
    assert [error["path"] for error in report.errors] == [f"disk/CARD/{first}"]
    assert sorted(os.listdir(disk.path / "CARD")) == sorted({*names, f"{first}.corrupt"} - {first})
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    volumes.mount_again(disk)
    assert {name: (disk.path / "CARD" / name).read_bytes() for name in names} == files


def _begins_like(path: Path, data: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(4096) == data[:4096]


@pytest.mark.fault(40, 41)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("how", DAMAGES)
def test_check_finds_a_file_that_went_wrong_on_the_medium_later(volumes: Volumes, kind: str, how: str) -> None:
    disk = volumes.disk("disk", kind)
    data = make_file(volumes.root / "CARD/large", 5 * MIB)
    make_file(volumes.root / "CARD/small", 1000)
    assert copy("--mhl", "asc", "CARD", "disk", cwd=volumes.root).exit_code == 0
    large = disk.path / "CARD/large"
    assert large.read_bytes() == data  # now it is in the page cache
    _damage(disk, data, how, large)
    assert _is_direct_read_wrong(large, data), "nothing is wrong on the medium"
    assert large.read_bytes() == data, "the page cache has lost the right bytes"
    report = check("disk/CARD", cwd=volumes.root)
    assert report.exit_code == 4, report.text
    _require_only_bad(report, "large")
    assert os.path.exists(large), "a check changes nothing"


def _require_only_bad(report: Report, name: str) -> None:
    states = {event["path"]: event["destinations"][0]["state"] for event in report.of("file")}
    assert states.pop(name) == "mismatch"
    assert set(states.values()) == {"verified"}


@pytest.mark.fault(40)
def test_run_that_finds_its_copy_there_already_does_not_believe_the_page_cache(volumes: Volumes) -> None:
    disk = volumes.disk("disk")
    data = make_file(volumes.root / "s", 5 * MIB)
    assert copy("s", "disk/", cwd=volumes.root).exit_code == 0
    final = disk.path / "s"
    assert final.read_bytes() == data
    _damage(disk, data, "one bit", final)
    report = copy("s", "disk/", cwd=volumes.root)
    assert report.exit_code == 1, report.text
    assert report.states == {"disk": "failed"}
    assert report.error["operation"] == "conflict"
    report = copy("--on-conflict", "overwrite", "s", "disk/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    volumes.mount_again(disk)
    assert final.read_bytes() == data


@pytest.mark.fault(42, 46)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_copy_that_the_file_system_itself_finds_damaged_is_a_mismatch(
    volumes: Volumes, begin: Begin, strategy: str
) -> None:
    disk = volumes.disk("disk", "btrfs")
    data = make_file(volumes.root / "s", 3 * MIB)
    running = begin("--strategy", strategy, "s", "disk/", "good/", cwd=volumes.root)
    partial = running.stop_at_partial(disk.path, 2 * MIB)
    _flush(partial)
    _damage(disk, data, "one bit", partial)
    report = running.end()
    assert report.exit_code == 4, report.text
    assert report.states == {"disk": "mismatch", "good": "verified"}
    assert "the copy could not be read back: Input/output error (EIO)" in report.error["message"]
    assert disk.names == ["s.corrupt"]
    with pytest.raises(OSError, match="Input/output"):
        (disk.path / "s.corrupt").read_bytes()
    assert (volumes.root / "good/s").read_bytes() == data
    assert copy("s", "disk/", "good/", cwd=volumes.root).exit_code == 0


@pytest.mark.fault(42)
def test_check_names_a_file_that_the_file_system_itself_finds_damaged(volumes: Volumes) -> None:
    disk = volumes.disk("disk", "btrfs")
    data = make_file(volumes.root / "CARD/large", 5 * MIB)
    make_file(volumes.root / "CARD/small", 1000)
    assert copy("--mhl", "asc", "CARD", "disk", cwd=volumes.root).exit_code == 0
    large = disk.path / "CARD/large"
    assert large.read_bytes() == data
    _damage(disk, data, "one bit", large)
    report = check("disk/CARD", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert [error["errno"] for error in report.errors] == ["EIO"]
    assert "large" in report.error["message"]


@pytest.mark.fault(44)
@pytest.mark.parametrize("kind", DISK_KINDS)
def test_copy_that_cannot_leave_the_page_cache_is_read_around_it(volumes: Volumes, begin: Begin, kind: str) -> None:
    disk = volumes.disk("disk", kind)
    data = make_file(volumes.root / "s", 3 * MIB)
    running = begin("s", "disk/", "good/", cwd=volumes.root)
    partial = running.stop_at_partial(disk.path, 2 * MIB)
    with _held_in_cache(partial):
        _flush(partial)
        _damage(disk, data, "one bit", partial)
        report = running.end()
    assert report.exit_code == 4, report.text
    assert report.states == {"disk": "mismatch", "good": "verified"}
    assert report.read_back["disk"] == {"none" if kind == "btrfs" else "direct"}  # which finds it, and gives no bytes


@pytest.mark.fault(44)
@pytest.mark.parametrize("kind", DISK_KINDS)
def test_good_copy_that_cannot_leave_the_page_cache_is_verified_around_it(
    volumes: Volumes, begin: Begin, kind: str
) -> None:
    disk = volumes.disk("disk", kind)
    make_file(volumes.root / "s", 3 * MIB - 123)  # its end fits no block
    running = begin("s", "disk/", cwd=volumes.root)
    with _held_in_cache(running.stop_at_partial(disk.path, 2 * MIB)):
        report = running.end()
    assert report.exit_code == 0, report.text
    assert report.read_back["disk"] == {"direct"}


@pytest.mark.fault(44)
def test_check_reads_around_a_page_cache_that_cannot_be_emptied(volumes: Volumes) -> None:
    disk = volumes.disk("disk")
    data = make_file(volumes.root / "CARD/large", 5 * MIB)
    make_file(volumes.root / "CARD/small", 1000)
    assert copy("--mhl", "asc", "CARD", "disk", cwd=volumes.root).exit_code == 0
    large = disk.path / "CARD/large"
    with _held_in_cache(large):
        assert large.read_bytes() == data
        _damage(disk, data, "one bit", large)
        report = check("disk/CARD", cwd=volumes.root)
        assert large.read_bytes() == data, "the page cache was emptied after all"
    assert report.exit_code == 4, report.text
    _require_only_bad(report, "large")


@pytest.mark.fault(44)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_overlay_does_not_hide_that_the_page_cache_was_not_emptied(volumes: Volumes, begin: Begin, what: str) -> None:
    """An overlay shows files whose pages belong to those of the file system below it."""
    disk = volumes.disk("disk")
    overlay = volumes.overlay(volumes.folder("lower"), "overlay", upper=disk.path)
    source = "CARD" if what == "folder" else "CARD/s"
    data = make_file(volumes.root / "CARD/s", 3 * MIB)
    running = begin(source, "overlay/", "good/", cwd=volumes.root)
    partial = running.stop_at_partial(overlay.path, 2 * MIB if what == "file" else 3 * MIB)
    with _held_in_cache(partial):
        _flush(partial)
        _damage(disk, data, "one bit", partial)
        report = running.end()
    assert report.exit_code == 4, report.text
    assert report.states == {"overlay": "mismatch", "good": "verified"}


@pytest.mark.fault(44, 45)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_copy_that_can_be_read_in_no_way_but_from_the_page_cache_is_never_called_verified(
    volumes: Volumes, what: str
) -> None:
    """On an overlay of a file system in memory, which can neither drop its pages nor be read around them."""
    volumes.memory("memory", "10m", kind="ramfs")
    volumes.overlay(volumes.folder("lower"), "overlay", upper=volumes.root / "memory")
    with pytest.raises(OSError, match="Invalid argument"):
        os.close(os.open(volumes.root / "overlay/proof", os.O_CREAT | os.O_RDONLY | os.O_DIRECT))
    (volumes.root / "overlay/proof").unlink()
    make_file(volumes.root / "CARD/s", 100_000)
    source = "CARD" if what == "folder" else "CARD/s"
    report = copy(source, "overlay/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states["good"] == "verified"
    (on_overlay, _) = report.of("file")[0]["destinations"]
    assert on_overlay["state"] == "copied"
    assert report.read_back == {"overlay": {"cached"}, "good": {"memory"}}
    assert "it does not count as verified" in report.error["message"]


@pytest.mark.fault(44, 45)
def test_file_system_that_reads_from_the_cache_though_it_was_told_not_to_is_not_believed(
    volumes: Volumes, begin: Begin
) -> None:
    """ext4 with data in its journal takes the flag for direct reading, and reads from the page cache."""
    disk = volumes.disk("disk", size=64 * MIB, options="data=journal")
    make_file(volumes.root / "s", 3 * MIB)
    running = begin("s", "disk/", "good/", cwd=volumes.root)
    with _held_in_cache(running.stop_at_partial(disk.path, 2 * MIB)):
        report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "copied", "good": "verified"}
    assert report.read_back["disk"] == {"cached"}
    report = copy("s", "disk/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.read_back["disk"] == {"evicted"}


@pytest.mark.fault(45)
def test_volume_in_memory_says_so(volumes: Volumes) -> None:
    volumes.memory("memory", "10m")
    volumes.memory("ram", "10m", kind="ramfs")
    make_file(volumes.root / "s", 100_001)
    report = copy("s", "memory/", "ram/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.read_back == {"memory": {"memory"}, "ram": {"memory"}}
