"""Real file systems in a mount namespace of their own, so that nothing leaks."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["in_namespace", "needs_loop", "needs_namespace"]


@functools.cache
def _has_namespace() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]


@functools.cache
def _has_loop() -> bool:
    return (
        os.geteuid() == 0
        and all(shutil.which(name) for name in ("losetup", "mkfs.ext4", "fsfreeze"))
        and subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode == 0
    )


def needs_namespace() -> None:
    """Skip where a private mount namespace cannot be had."""
    if not _has_namespace():
        pytest.skip("no private mount namespace here (unshare)")


def needs_loop() -> None:
    """Skip where a file system in a file cannot be mounted."""
    needs_namespace()
    if not _has_loop():
        pytest.skip("no loop devices here (needs root, losetup, mkfs.ext4, fsfreeze)")


def in_namespace(script: str, folder: Path, timeout_s: float = 50) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a private mount namespace, in *folder*."""
    return subprocess.run(
        [*_unshare(), "sh", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
