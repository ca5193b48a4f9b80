"""A mount namespace for one test: the test process itself goes into it, and comes back."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

__all__ = ["mount_points", "private_namespace"]

_CLONE_NEWNS = 0x00020000  # linux/sched.h
_MS_REC_PRIVATE = 0x4000 | 1 << 18  # MS_REC and MS_PRIVATE of linux/mount.h
_MNT_DETACH = 2
_LINGERING_S = 10.0


@contextmanager
def private_namespace() -> Iterator[None]:
    """Be in a mount namespace of one's own.

    It belongs to the calling thread, and to what that starts: threads that were there before, as those of a test
    runner that spreads tests over processes, never see it. Everything that was mounted is unmounted at the end, also
    when this process is killed, because a namespace goes with the last process in it.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        pytest.skip("this system has no mount namespaces")
    folder = os.open(".", os.O_PATH | os.O_CLOEXEC)
    home = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNS) != 0:
            pytest.skip(f"no mount namespace can be had: {os.strerror(ctypes.get_errno())}")
        try:
            _call(libc, "mount", None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None)
            there_before = set(mount_points())
            yield
        finally:
            lingering = _wait_for_others()
            for pid in lingering:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for path in reversed(mount_points()):
                if path not in there_before:
                    libc.umount2(os.fsencode(path), _MNT_DETACH)
            _call(libc, "setns", home, _CLONE_NEWNS)
            os.fchdir(folder)
    finally:
        os.close(home)
        os.close(folder)
    assert not lingering, f"processes left behind: {lingering}"


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> None:
    if libc[name](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount_points() -> list[str]:
    """Where something is mounted in the namespace of this thread, in the order of mounting."""
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return [line.split(" ")[4].encode("latin-1", "surrogateescape").decode("unicode_escape") for line in lines]


def _wait_for_others() -> dict[int, str]:
    """Wait until no other process is in this namespace; returns those that stay, each with its command line."""
    until = time.monotonic() + _LINGERING_S
    while (others := _others()) and time.monotonic() < until:
        time.sleep(0.05)
    return others


def _others() -> dict[int, str]:
    mine = os.readlink("/proc/thread-self/ns/mnt")
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/mnt") == mine:
                    with open(f"/proc/{name}/cmdline", encoding="utf-8", errors="replace") as file:
                        found[int(name)] = file.read().replace("\0", " ")
    return found
