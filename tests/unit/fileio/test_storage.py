"""Storage: what a volume lies on, by the type of its file system and by a made-up sysfs."""

import os
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS
from pfndispatchcopy.fileio.storage import NETWORK_FILESYSTEMS, Storage, StorageKind, storage_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs device numbers and links")

_UNKNOWN = Storage(StorageKind.UNKNOWN, "")


class _Sysfs:
    """The part of sysfs that tells of block devices, laid out as the kernel does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev" / "block").mkdir(parents=True)

    def disk(self, name: str, major: int, minor: int, rotational: str = "0\n", under: str = "pci/ata1/block") -> Path:
        folder = self.root / "devices" / under / name
        (folder / "slaves").mkdir(parents=True)
        (folder / "queue").mkdir()
        (folder / "queue" / "rotational").write_text(rotational, encoding="latin-1")
        self._number(folder, major, minor)
        return folder

    def partition(self, disk: Path, name: str, major: int, minor: int) -> Path:
        folder = disk / name
        (folder / "holders").mkdir(parents=True)
        (folder / "partition").write_text("1\n", encoding="ascii")
        self._number(folder, major, minor)
        return folder

    def stack(self, name: str, major: int, minor: int, *slaves: Path) -> Path:
        """Lay a volume on others; what it says of itself is wrong."""
        folder = self.disk(name, major, minor, "not to be asked", under="virtual/block")
        for slave in slaves:
            (folder / "slaves" / slave.name).symlink_to(os.path.relpath(slave, folder / "slaves"))
        return folder

    def _number(self, folder: Path, major: int, minor: int) -> None:
        link = self.root / "dev" / "block" / f"{major}:{minor}"
        link.symlink_to(os.path.relpath(folder, link.parent))

    def storage(self, major: int, minor: int, filesystem: str = "ext4") -> Storage:
        return storage_of(os.makedev(major, minor), filesystem, sysfs=str(self.root))


@pytest.fixture
def sysfs(tmp_path: Path) -> _Sysfs:
    return _Sysfs(tmp_path / "sys")


@pytest.mark.parametrize(("answer", "kind"), [("0\n", StorageKind.SOLID), ("1\n", StorageKind.ROTATIONAL)])
def test_whole_disk_tells_of_itself(answer: str, kind: StorageKind, sysfs: _Sysfs) -> None:
    sysfs.disk("sdb", 8, 16, answer)
    assert sysfs.storage(8, 16) == Storage(kind, "sdb")


def test_partitions_are_on_the_disk_that_they_are_parts_of(sysfs: _Sysfs) -> None:
    flash = sysfs.disk("nvme0n1", 259, 0)
    sysfs.partition(flash, "nvme0n1p1", 259, 1)
    sysfs.partition(flash, "nvme0n1p2", 259, 300)  # a minor number of more than eight bits
    sysfs.partition(sysfs.disk("sda", 8, 0, "1\n"), "sda1", 8, 1)
    assert sysfs.storage(259, 1) == sysfs.storage(259, 300) == Storage(StorageKind.SOLID, "nvme0n1")
    assert sysfs.storage(8, 1) == Storage(StorageKind.ROTATIONAL, "sda")


def test_mapped_volume_is_on_the_disk_below_it_however_deep(sysfs: _Sysfs) -> None:
    partition = sysfs.partition(sysfs.disk("sda", 8, 0, "1\n"), "sda2", 8, 2)
    encrypted = sysfs.stack("dm-0", 253, 0, partition)
    sysfs.stack("dm-1", 253, 1, encrypted)
    assert sysfs.storage(253, 1) == Storage(StorageKind.ROTATIONAL, "sda")


def test_volume_over_several_disks_has_all_their_names_in_order(sysfs: _Sysfs) -> None:
    b, a = sysfs.disk("sdb", 8, 16), sysfs.disk("sda", 8, 0)
    parts = sysfs.partition(b, "sdb1", 8, 17), sysfs.partition(b, "sdb2", 8, 18), sysfs.partition(a, "sda1", 8, 1)
    raid = sysfs.stack("md0", 9, 0, *parts)
    sysfs.partition(raid, "md0p1", 259, 7)
    assert sysfs.storage(9, 0) == sysfs.storage(259, 7) == Storage(StorageKind.SOLID, "sda+sdb")


@pytest.mark.parametrize("turning", ["sda", "sdb", "sdc"])
def test_one_rotating_disk_makes_the_volume_rotational(turning: str, sysfs: _Sysfs) -> None:
    disks = [sysfs.disk(name, 8, 16 * at, f"{name == turning:d}\n") for at, name in enumerate(("sda", "sdb", "sdc"))]
    sysfs.stack("md0", 9, 0, *disks)
    assert sysfs.storage(9, 0) == Storage(StorageKind.ROTATIONAL, "sda+sdb+sdc")


def test_loop_device_says_what_its_file_lies_on_but_not_on_which_disk(sysfs: _Sysfs) -> None:
    loop = sysfs.disk("loop0", 7, 0, "1\n", under="virtual/block")
    (loop / "loop").mkdir()
    sysfs.stack("dm-0", 253, 0, loop)
    assert sysfs.storage(7, 0) == sysfs.storage(253, 0) == Storage(StorageKind.ROTATIONAL, "")


@pytest.mark.parametrize("filesystem", sorted(MEMORY_FILESYSTEMS))
def test_memory_is_told_by_its_file_system(filesystem: str, sysfs: _Sysfs) -> None:
    sysfs.disk("sda", 8, 0)
    assert sysfs.storage(8, 0, filesystem) == Storage(StorageKind.MEMORY, "")


@pytest.mark.parametrize("filesystem", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "webdav", "fuse.sshfs", "9p"])
def test_network_is_told_by_its_file_system(filesystem: str, sysfs: _Sysfs) -> None:
    sysfs.disk("sda", 8, 0)
    assert sysfs.storage(8, 0, filesystem) == Storage(StorageKind.NETWORK, "")


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "exfat", "vfat", "fuseblk", "apfs", "hfs", "ntfs", "zfs", ""])
def test_local_file_systems_are_neither_memory_nor_network(filesystem: str, sysfs: _Sysfs) -> None:
    assert filesystem not in NETWORK_FILESYSTEMS | MEMORY_FILESYSTEMS
    sysfs.disk("sda", 8, 0)
    assert sysfs.storage(8, 0, filesystem) == Storage(StorageKind.SOLID, "sda")


def test_made_up_device_number_is_unknown(sysfs: _Sysfs) -> None:
    sysfs.disk("sda", 8, 0)
    assert sysfs.storage(0, 40, "btrfs") == _UNKNOWN
    assert sysfs.storage(0, 41, "overlay") == _UNKNOWN


@pytest.mark.parametrize("answer", ["", "yes\n", "\xff"])
def test_disk_that_makes_no_sense_is_unknown(answer: str, sysfs: _Sysfs) -> None:
    disk = sysfs.disk("sda", 8, 0, answer)
    assert sysfs.storage(8, 0) == _UNKNOWN
    (disk / "queue" / "rotational").unlink()
    assert sysfs.storage(8, 0) == _UNKNOWN
    (disk / "queue" / "rotational").write_text("0\n", encoding="ascii")
    assert sysfs.storage(8, 0) == Storage(StorageKind.SOLID, "sda")


def test_volume_is_unknown_if_one_of_its_disks_is(sysfs: _Sysfs) -> None:
    known = sysfs.disk("sda", 8, 0, "1\n"), sysfs.disk("sdc", 8, 32, "1\n")
    sysfs.stack("md0", 9, 0, *known, sysfs.disk("sdb", 8, 16, ""))
    assert sysfs.storage(9, 0) == _UNKNOWN


def test_slave_that_leads_nowhere_is_unknown(sysfs: _Sysfs) -> None:
    sysfs.stack("dm-0", 253, 0, sysfs.root / "devices" / "gone")
    assert sysfs.storage(253, 0) == _UNKNOWN


def test_system_without_sysfs_is_unknown(tmp_path: Path) -> None:
    assert storage_of(os.stat(tmp_path).st_dev, "apfs", sysfs=str(tmp_path / "missing")) == _UNKNOWN


@pytest.mark.parametrize("device", [-1, 1 << 80])
def test_number_that_is_none_is_unknown(device: int, sysfs: _Sysfs) -> None:
    assert storage_of(device, "ext4", sysfs=str(sysfs.root)) == _UNKNOWN


def test_system_without_device_numbers_is_unknown(sysfs: _Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    sysfs.disk("sda", 8, 0)
    monkeypatch.delattr(os, "major")
    assert sysfs.storage(8, 0) == _UNKNOWN


def test_real_disks_are_found_by_their_names() -> None:
    try:
        names = os.listdir("/sys/block")
    except OSError:
        pytest.skip("there is no sysfs here")
    disks = [name for name in names if not name.startswith(("loop", "dm-", "md"))]
    if not disks:
        pytest.skip("no disk can be seen here")
    for name in disks:
        major, _, minor = Path(f"/sys/block/{name}/dev").read_text(encoding="ascii").partition(":")
        storage = storage_of(os.makedev(int(major), int(minor)), "ext4")
        assert storage.disk == name
        assert storage.kind in (StorageKind.SOLID, StorageKind.ROTATIONAL)
