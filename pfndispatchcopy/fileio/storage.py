"""What a volume is stored on: memory, flash, a rotating disk or a network, and which disk that is.

It matters for the order of the work. A rotating disk and a network want one file at a time: on the one, a
second file makes the head travel between both, on the other, both share one line. Flash and memory serve
many at once, and small files need that. Two volumes on one disk are one disk.

The type of the file system tells memory and networks. For the rest, sysfs has a link for every block device
by its number (sysfs(5)), and the disk says ``rotational`` (Linux, Documentation/ABI/stable/sysfs-block).
The kernel takes a disk that says nothing of itself for a rotating one, as many a USB bridge and virtual disk:
that is wrong on the side of one file at a time.
"""

import os
from enum import StrEnum
from typing import NamedTuple

from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS

__all__ = ["NETWORK_FILESYSTEMS", "Storage", "StorageKind", "storage_of"]

# As Linux and macOS call them. Those of a virtual machine's host (virtiofs, vboxsf) are not here: no line to share.
NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "ftp",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.curlftpfs",
        "fuse.davfs",
        "fuse.glusterfs",
        "fuse.gvfsd-fuse",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.smbnetfs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "pvfs2",
        "smb3",
        "smbfs",
        "webdav",
    }
)


class StorageKind(StrEnum):
    """What the bytes end up on."""

    MEMORY = "memory"
    SOLID = "solid"
    ROTATIONAL = "rotational"
    NETWORK = "network"
    UNKNOWN = "unknown"


class Storage(NamedTuple):
    """What a volume is stored on.

    Attributes:
        kind: of the medium.
        disk: equal for two volumes on one physical disk (``sda``, ``nvme0n1``); several disks that make one
            volume are joined by ``+``. Empty where there is no disk, or nobody can tell which.
    """

    kind: StorageKind
    disk: str


def storage_of(device: int, filesystem: str, *, sysfs: str = "/sys") -> Storage:
    """Return what a volume is stored on; what cannot be found out is ``unknown``, and never an error.

    Args:
        device: the number of the volume, ``st_dev``. btrfs and overlays have made-up ones that lead nowhere.
        filesystem: the type of the file system.
        sysfs: where sysfs is mounted.
    """
    if filesystem in MEMORY_FILESYSTEMS:
        return Storage(StorageKind.MEMORY, "")
    if filesystem in NETWORK_FILESYSTEMS:
        return Storage(StorageKind.NETWORK, "")
    try:
        disks = _physical_disks(os.path.realpath(f"{sysfs}/dev/block/{os.major(device)}:{os.minor(device)}"))
        answers = {_is_rotational(disk) for disk in disks}
    except (OSError, ValueError, OverflowError, AttributeError):  # Windows has neither sysfs nor os.major
        return Storage(StorageKind.UNKNOWN, "")
    # A loop device lies in a file, on a disk that other volumes may lie on as well.
    is_known = not any(os.path.isdir(os.path.join(disk, "loop")) for disk in disks)
    name = "+".join(sorted(os.path.basename(disk) for disk in disks)) if is_known else ""
    return Storage(StorageKind.ROTATIONAL if True in answers else StorageKind.SOLID, name)


def _physical_disks(folder: str) -> set[str]:
    """Follow a block device of sysfs down through partitions, device-mapper and RAID volumes."""
    disks: set[str] = set()
    waiting = [folder]
    while waiting:
        device = waiting.pop()
        if os.path.exists(os.path.join(device, "partition")):
            device = os.path.dirname(device)
        slaves = os.path.join(device, "slaves")
        names = os.listdir(slaves) if os.path.isdir(slaves) else []
        waiting.extend(os.path.realpath(os.path.join(slaves, name)) for name in names)
        if not names:
            disks.add(device)
    return disks


def _is_rotational(disk: str) -> bool:
    """Return what a disk says of itself.

    Raises:
        OSError: it cannot be asked.
        ValueError: its answer is no number.
    """
    with open(os.path.join(disk, "queue", "rotational"), encoding="ascii") as file:
        return int(file.read()) != 0
