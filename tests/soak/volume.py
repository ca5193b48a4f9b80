"""A volume in memory for one of the destinations: it can be made too small, filled up, and given room again."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

__all__ = ["fill", "give_room", "leave_room", "mount", "unmount"]

_ROOM = 256 << 20
_HOG = "hog"


def mount(folder: Path) -> None:
    """Mount one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM},nr_inodes=50k", "soak", str(folder)], check=True)


def leave_room(folder: Path, size: int) -> None:
    """Let it have room for so many bytes more, and no others."""
    usage = os.statvfs(folder)
    used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used + max(size, 64 << 10)}", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Take all the room that is left."""
    for size in (1 << 20, 4096):
        with suppress(OSError), (folder / _HOG).open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size))


def give_room(folder: Path) -> None:
    """Make room again."""
    with suppress(FileNotFoundError):
        (folder / _HOG).unlink()
    subprocess.run(["mount", "-o", f"remount,size={_ROOM}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Remove it, with all that is on it."""
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
