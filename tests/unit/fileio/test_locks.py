"""One run at a time for one file, and locks that the dead cannot hold."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, RefusedError
from pfndispatchcopy.errors import LockedError
from pfndispatchcopy.fileio.locks import FileLock
from pfndispatchcopy.fileio.names import lock_name, temporary_name
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.session import offload
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file, partials

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such locks")

_OWNER = "process 4711 on cart, since 2026-01-02 03:04:05"


def _acquire(system: FaultySystem, folder: FolderHandle, name: str = "clip.mov") -> FileLock:
    return FileLock.acquire(system, folder, name, _OWNER)


@pytest.mark.fault(56)
def test_second_run_on_a_file_is_told_who_has_it(faulty: FaultySystem, folder: FolderHandle) -> None:
    lock = _acquire(faulty, folder)
    assert lock.is_held
    with pytest.raises(LockedError, match=_OWNER) as caught:
        _acquire(faulty, folder)
    assert "clip.mov" in str(caught.value)
    lock.release()


def test_other_files_in_the_same_folder_are_free(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    first, second = _acquire(faulty, folder, "a.mov"), _acquire(faulty, folder, "b.mov")
    assert first.is_held
    assert second.is_held
    assert len(partials(tmp_path)) == 2
    first.release()
    second.release()


def test_released_lock_leaves_nothing_and_is_free_again(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    for _ in range(3):
        lock = _acquire(faulty, folder)
        lock.release()
        lock.release()  # once more does no harm
        assert not lock.is_held
        assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(57)
def test_lock_of_a_dead_run_is_taken_over(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pfndispatchcopy.fileio import native_system\n"
        "from pfndispatchcopy.fileio.locks import FileLock\n"
        "system = native_system()\n"
        "lock = FileLock.acquire(system, system.open_folder(sys.argv[1]), 'clip.mov', 'dead')\n"
        "print(lock.is_held, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True\n", -9)
    assert (tmp_path / lock_name("clip.mov")).read_text() == "dead"
    lock = _acquire(faulty, folder)
    assert lock.is_held
    assert (tmp_path / lock_name("clip.mov")).read_text() == _OWNER
    lock.release()


@pytest.mark.fault(57)
def test_dead_temporary_files_of_this_file_are_swept_and_no_others(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    dead, foreign = temporary_name(faulty, "clip.mov"), temporary_name(faulty, "other.mov")
    for name in (dead, foreign, "clip.mov", ".pfn.notes"):
        (tmp_path / name).write_bytes(b"x")
    lock = _acquire(faulty, folder)
    lock.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [foreign, "clip.mov", ".pfn.notes", lock_name("clip.mov")]
    )
    lock.release()
    (tmp_path / foreign).unlink()
    (tmp_path / ".pfn.notes").unlink()


@pytest.mark.fault(57)
def test_file_that_cannot_be_swept_does_not_stop_the_run(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    (tmp_path / temporary_name(faulty, "clip.mov")).write_bytes(b"x")
    lock = _acquire(faulty, folder)
    rule = faulty.fail("remove_name", errno.EPERM)
    lock.sweep()
    assert rule.fired == 1
    lock.sweep()
    assert partials(tmp_path) == [tmp_path / lock_name("clip.mov")]
    lock.release()


def test_without_locks_nothing_is_swept_and_the_run_goes_on(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    other = tmp_path / temporary_name(faulty, "clip.mov")
    other.write_bytes(b"of a living run, for all that is known")
    rule = faulty.rule("lock", lambda real, fd: None, times=None)
    lock = _acquire(faulty, folder)
    assert rule.fired == 1
    assert not lock.is_held
    lock.sweep()
    lock.release()
    assert list(tmp_path.iterdir()) == [other]
    (tmp_path / lock_name("clip.mov")).touch()  # left by a machine that had locks
    assert not _acquire(faulty, folder).is_held
    assert len(partials(tmp_path)) == 2
    for path in partials(tmp_path):
        path.unlink()


@pytest.mark.fault(79, 87)
@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_planted_thing_at_the_locks_name_is_refused_and_not_touched(
    make: Callable[[Path], Any], faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    planted = tmp_path / lock_name("clip.mov")
    make(planted)
    before = planted.lstat()
    with pytest.raises((LockedError, OSError)):
        _acquire(faulty, folder)
    assert planted.lstat().st_ino == before.st_ino
    if planted.is_dir():
        planted.rmdir()
    else:
        planted.unlink()


@pytest.mark.fault(1)
def test_full_disk_does_not_cost_the_lock(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.fail("write", errno.ENOSPC)
    lock = _acquire(faulty, folder)
    assert rule.fired == 1
    assert lock.is_held
    with pytest.raises(LockedError, match="unknown"):
        _acquire(faulty, folder)
    lock.release()


@pytest.mark.fault(86, 87)
def test_owner_cannot_put_escapes_on_the_screen(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    lock = FileLock.acquire(faulty, folder, "clip\x1b.mov", "evil\x1b[2J\n" * 100)
    with pytest.raises(LockedError) as caught:
        _acquire(faulty, folder, "clip\x1b.mov")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    lock.release()


@pytest.mark.parametrize("call", ["open_name", "status_of_file"])
def test_lock_that_cannot_be_made_leaves_nothing_behind(
    call: str, faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = faulty.fail(call, errno.EIO)
    with pytest.raises(OSError, match="Errno 5"):
        _acquire(faulty, folder)
    assert rule.fired == 1
    left = partials(tmp_path)
    for path in left:
        path.unlink()
    assert left == []


@pytest.mark.fault(56)
def test_locked_destination_leaves_nothing_in_the_others(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 1000)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    handle = faulty.open_folder(str(tmp_path / "b"))
    lock = _acquire(faulty, handle)
    with pytest.raises(RefusedError, match=_OWNER):
        offload(str(tmp_path / "clip.mov"), [f"{tmp_path}/a", f"{tmp_path}/b"], CopyOptions(), system=faulty)
    lock.release()
    faulty.close_folder(handle)
    left = [*(tmp_path / "a").iterdir(), *(tmp_path / "b").iterdir()]
    for path in left:
        path.unlink()
    assert left == []
