"""Volumes for the tests: file systems in memory, on loop devices, and on top of others; and what can happen to them."""

import array
import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

__all__ = ["DISK_KINDS", "Volume", "Volumes", "run_tool"]

_FREEZE = 0xC0045877  # FIFREEZE, linux/fs.h
# Thaws a volume (FITHAW) when its standard input ends.
_THAWING = (
    "import fcntl, os, sys;"
    "fd = os.open(sys.argv[1], os.O_RDONLY);"
    "print('ready', flush=True);"
    "sys.stdin.read();"
    "fcntl.ioctl(fd, 0xC0045878, bytes(4))"
)
_SHUT_DOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
_WITHOUT_LOG = 2  # of these: what is in memory only is lost, the journal too
_MNT_DETACH = 2
_STEP = 4 << 20

PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs", "exfat": "exfatprogs"}
"""Which Debian package makes a file system."""
_SMALLEST = {"ext4": 16 << 20, "xfs": 300 << 20, "btrfs": 120 << 20, "exfat": 16 << 20}
DISK_KINDS = ("ext4", "xfs", "btrfs")
"""File systems that the kernel keeps on a disk."""
_QUIET = {"ext4": ("-qF",), "xfs": ("-qf",), "btrfs": ("-qf",), "exfat": ()}


def run_tool(*command: str | Path, why: str = "") -> str:
    """Run a tool of the system, which has to succeed; without the tool the test is skipped.

    Args:
        command: its name and arguments.
        why: the Debian package that it is in.
    """
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"there is no {command[0]} here" + (f" (package {why})" if why else ""))
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=50, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Volume:
    """A mounted file system.

    Attributes:
        path: where it is mounted.
        kind: its type.
        image: the file that it is in; None where there is none.
        options: how it was mounted.
    """

    path: Path
    kind: str
    image: Path | None = None
    options: str = ""
    _thawing: subprocess.Popen[bytes] | None = None

    @property
    def device(self) -> str:
        """The block device that it is on."""
        source = ""
        with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                left, _, right = line.partition(" - ")
                if left.split(" ")[4] == str(self.path):
                    source = right.split(" ")[1]
        assert source.startswith("/dev/"), source
        return source

    @property
    def block_device(self) -> tuple[int, int]:
        """Its numbers, the major and the minor one."""
        number = os.stat(self.device).st_rdev
        return os.major(number), os.minor(number)

    @property
    def names(self) -> list[str]:
        """Everything below it, without what every new volume has."""
        found = (str(path.relative_to(self.path)) for path in self.path.rglob("*"))
        return sorted(name for name in found if name != "lost+found")

    def cut_power(self) -> None:
        """Take the device away: nothing that is not on it already will ever get there."""
        self._control(_SHUT_DOWN, _WITHOUT_LOG)

    def freeze(self) -> None:
        """Let every write hang until :meth:`thaw`."""
        # What is frozen outlasts its mount. So a process of its own thaws it, also when this one is killed.
        self._thawing = subprocess.Popen(
            [sys.executable, "-c", _THAWING, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._thawing.stdout is not None
        assert self._thawing.stdout.readline() == b"ready\n"
        self._control(_FREEZE, 0)

    def thaw(self) -> None:
        """Let it go on, when it was frozen."""
        if self._thawing is not None:
            thawing, self._thawing = self._thawing, None
            thawing.communicate(timeout=20)
            assert thawing.returncode == 0, "it is frozen still"

    def find(self, known: bytes) -> int:
        """Where on the device some bytes are that are there once."""
        assert self.image is not None
        fd = os.open(self.image, os.O_RDONLY)
        try:
            found = list(_occurrences(fd, known))
        finally:
            os.close(fd)
        assert len(found) == 1, f"the bytes are on the device {len(found)} times"
        return found[0]

    def spoil(self, known: bytes, wrong: bytes) -> None:
        """Change bytes on the device behind the back of the file system, whose cache goes on having the right ones.

        Args:
            known: what is there, and nowhere else on it.
            wrong: what is to be there instead.
        """
        at = self.find(known)
        assert self.image is not None
        with open(self.image, "r+b", buffering=0) as file:
            file.seek(at)
            assert file.write(wrong) == len(wrong)

    def _control(self, request: int, argument: int) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, request, array.array("I", [argument]))
        finally:
            os.close(fd)


class Volumes:
    """Makes volumes below one folder, which is in memory itself, and undoes them at the end.

    To be used in a private mount namespace only.

    Args:
        root: the folder, which is made.
    """

    def __init__(self, root: Path, size: str = "1g") -> None:
        self.root = root
        self._made: list[Volume] = []
        root.mkdir()
        run_tool("mount", "-t", "tmpfs", "-o", f"size={size}", "pfn-test", root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for volume in self._made:
            volume.thaw()
        for volume in reversed(self._made):
            self.unmount(volume, lazily=True)
        _require_detached(self.root)

    def folder(self, name: str) -> Path:
        """A folder that is no volume of its own, and is made when it is missing."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def memory(self, name: str, size: str, *, inodes: int | None = None, kind: str = "tmpfs") -> Volume:
        """A volume in memory of this size, as far as its *kind* knows one."""
        options = f"size={size}" + (f",nr_inodes={inodes}" if inodes is not None else "")
        volume = Volume(self.folder(name), kind, options=options)
        _mount(kind, options, "pfn-test", volume.path)
        self._made.append(volume)
        return volume

    def disk(
        self,
        name: str,
        kind: str = "ext4",
        *,
        size: int = 0,
        below: Path | None = None,
        format_options: Sequence[str] = (),
        options: str = "",
    ) -> Volume:
        """A volume on a loop device.

        Args:
            name: of the folder where it is mounted.
            kind: of the file system.
            size: in bytes; the smallest one that is possible when it is less.
            below: folder of the image; in memory when there is none.
            format_options: further ones.
            options: of the mount.
        """
        image = (below or self.root) / f"{name}.img"
        with open(image, "xb") as file:
            file.truncate(max(size, 0 if below is not None else _SMALLEST[kind]))
        run_tool(f"mkfs.{kind}", *_QUIET[kind], *format_options, image, why=PACKAGES[kind])
        volume = Volume(self.folder(name), kind, image, options)
        self.mount(volume)
        self._made.append(volume)
        return volume

    def mount(self, volume: Volume, options: str | None = None) -> None:
        """Mount a volume that has an image, for the first time or again."""
        wished = ",".join(each for each in ("loop", volume.options if options is None else options) if each)
        if not os.path.exists("/dev/loop-control"):
            pytest.skip("there are no loop devices here")
        _mount(volume.kind, wished, str(volume.image), volume.path)

    def unmount(self, volume: Volume, *, lazily: bool = False) -> None:
        """Take it away from its place, at once or, *lazily*, as far as others are concerned."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(volume.path), _MNT_DETACH if lazily else 0) != 0 and not lazily:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(volume.path))

    def mount_again(self, volume: Volume) -> None:
        """Unmount and mount it, so that only what is on its device counts."""
        self.unmount(volume)
        self.mount(volume)

    def discard(self, volume: Volume) -> None:
        """Unmount it for good; another one may have its name then."""
        self.unmount(volume)
        self._made.remove(volume)
        if volume.image is not None:
            volume.image.unlink()

    def exfat(self, name: str, size: int = 32 << 20) -> Volume:
        """A volume as cameras and shuttle disks have it: blind for case, and particular about names."""
        image = self.root / f"{name}.img"
        with open(image, "xb") as file:
            file.truncate(size)
        run_tool("mkfs.exfat", image, why="exfatprogs")
        if shutil.which("mount.exfat-fuse") is None:
            pytest.skip("there is no mount.exfat-fuse here (package exfat-fuse)")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("there is no FUSE here")
        device = run_tool("losetup", "-f", "--show", image).strip()
        volume = Volume(self.folder(name), "exfat", image)
        try:
            run_tool("mount.exfat-fuse", device, volume.path)
        finally:
            run_tool("losetup", "-d", device)  # while it is in use: it goes when that ends
        self._made.append(volume)
        return volume

    def bind(self, source: Path, name: str, *, options: str = "") -> Volume:
        """A folder under a second name, where *options* hold."""
        volume = Volume(self.folder(name), "bind")
        run_tool("mount", "--bind", source, volume.path)
        self._made.append(volume)
        if options:
            run_tool("mount", "-o", f"remount,bind,{options}", volume.path)
        return volume

    def overlay(self, lower: Path, name: str, *, upper: Path | None = None) -> Volume:
        """What is in *lower*, as another file system shows it; what is written goes to a folder of *upper*.

        Without *upper* that folder lies beside it, and its name ends in ``-upper``.
        """
        volume = Volume(self.folder(name), "overlay")
        above, work = ((upper or self.root) / f"{name}-{which}" for which in ("upper", "work"))
        above.mkdir()
        work.mkdir()
        _mount("overlay", f"lowerdir={lower},upperdir={above},workdir={work}", "pfn-test", volume.path)
        self._made.append(volume)
        return volume


def _occurrences(fd: int, known: bytes) -> Iterator[int]:
    """Where in a file, most of which are holes, some bytes begin."""
    end, size = 0, os.fstat(fd).st_size
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        for at in range(begin, end, _STEP):
            data = os.pread(fd, min(_STEP, end - at) + len(known), at)
            found = data.find(known)
            while 0 <= found < _STEP:
                yield at + found
                found = data.find(known, found + 1)


def _mount(kind: str, options: str, source: str, path: Path) -> None:
    """Mount something; where the kernel does not know its type, not even now, the test is skipped."""
    done = subprocess.run(
        ["mount", "-t", kind, "-o", options, source, str(path)], capture_output=True, text=True, timeout=50, check=False
    )
    if done.returncode and kind not in Path("/proc/filesystems").read_text(encoding="ascii").split():
        pytest.skip(f"this kernel has no {kind}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def _require_detached(root: Path) -> None:
    """Wait until no loop device holds a file below a folder any more: the kernel lets go a little later."""
    until = time.monotonic() + 5
    while left := _attached(root):
        assert time.monotonic() < until, f"loop devices left behind: {left}"
        time.sleep(0.02)


def _attached(root: Path) -> list[str]:
    found = []
    for device in Path("/sys/block").glob("loop*"):
        try:
            image = (device / "loop/backing_file").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue
        if str(root) in image:
            found.append(device.name)
    return found
