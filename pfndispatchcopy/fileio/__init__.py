"""Everything that asks the operating system: files that are durable, the cache, folders, volumes."""

import sys

from pfndispatchcopy.fileio.system import System

__all__ = ["System", "native_system"]


def native_system() -> System:
    """Return the calls of the system that this runs on."""
    system: str = sys.platform
    if system == "linux":
        from pfndispatchcopy.fileio.linux import LinuxSystem  # noqa: PLC0415 - chosen once, by platform

        return LinuxSystem()
    if system == "darwin":
        from pfndispatchcopy.fileio.darwin import DarwinSystem  # noqa: PLC0415

        return DarwinSystem()
    if system == "win32":
        from pfndispatchcopy.fileio.windows import WindowsSystem  # noqa: PLC0415

        return WindowsSystem()
    return System()
