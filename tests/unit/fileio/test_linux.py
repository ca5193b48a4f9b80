"""Linux: exclusive rename, a look at the page cache, write-back, mounts."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio import linux
from pfndispatchcopy.fileio.linux import LinuxSystem, _unescape
from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS
from pfndispatchcopy.fileio.system import FolderHandle, Mount

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

_SIZE = 1 << 20


@pytest.fixture
def system() -> LinuxSystem:
    return LinuxSystem()


@pytest.fixture
def folder(system: LinuxSystem, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(tmp_path))
    yield handle
    system.close_folder(handle)


@pytest.fixture
def written(system: LinuxSystem, folder: FolderHandle) -> Iterator[int]:
    fd = system.open_name(folder, "file", os.O_RDWR | os.O_CREAT)
    system.write(fd, memoryview(os.urandom(_SIZE)))
    yield fd
    system.close(fd)


class _Library:
    """A C library in which one function fails, or is missing."""

    def __init__(self, function: str, number: int | None) -> None:
        self._function = function
        self._number = number
        self.asked = 0

    def __getitem__(self, name: str) -> object:
        assert name == self._function
        self.asked += 1
        if self._number is None:
            raise AttributeError(name)
        return self._fail

    def _fail(self, *arguments: object) -> int:
        assert self._number is not None
        ctypes.set_errno(self._number)
        return -1


def _with_library(system: LinuxSystem, function: str, number: int | None) -> _Library:
    library = _Library(function, number)
    system.__dict__["_libc"] = library
    return library


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, None], ids=["ENOSYS", "EINVAL", "no such function"])
def test_file_system_without_exclusive_rename_gets_a_link_instead(
    number: int | None, system: LinuxSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    library = _with_library(system, "renameat2", number)
    (tmp_path / "old").write_bytes(b"1")
    (tmp_path / "taken").write_bytes(b"2")
    with pytest.raises(FileExistsError):
        system.rename_to_free_name(folder, "old", "taken")
    system.rename_to_free_name(folder, "old", "new")
    assert library.asked == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "taken"]
    assert (tmp_path / "taken").read_bytes() == b"2"


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_failed_rename_is_an_error_and_is_not_tried_another_way(
    number: int, system: LinuxSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    library = _with_library(system, "renameat2", number)
    (tmp_path / "old").write_bytes(b"1")
    with pytest.raises(OSError, match=rf"Errno {number}\]"):
        system.rename_to_free_name(folder, "old", "new")
    assert library.asked == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.fault(15)
def test_call_that_a_signal_interrupted_is_made_again(
    system: LinuxSystem, folder: FolderHandle, tmp_path: Path, written: int
) -> None:
    # Python makes its own calls again, but knows nothing of those through the C library.
    calls: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)

    class Interrupting:
        def __getitem__(self, name: str) -> object:
            def call(*arguments: object) -> int:
                calls.append(name)
                if calls.count(name) < 3:
                    ctypes.set_errno(errno.EINTR)
                    return -1
                return int(libc[name](*arguments))

            return call

    system.__dict__["_libc"] = Interrupting()
    system.preallocate(written, _SIZE)
    system.finish_write_back(written, 0, _SIZE)
    system.rename_to_free_name(folder, "file", "new")
    assert calls == ["fallocate"] * 3 + ["sync_file_range"] * 3 + ["renameat2"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_flushed_and_dropped_pages_are_out_of_the_cache(system: LinuxSystem, tmp_path: Path, written: int) -> None:
    if system.mount(str(tmp_path)).filesystem in MEMORY_FILESYSTEMS | {"overlay"}:
        pytest.skip("the temporary folder lies in memory or on an overlay")
    assert system.is_cached(written, _SIZE) is True
    system.drop_cache(written)  # dirty: nothing is dropped
    system.flush(written)
    system.drop_cache(written)
    assert system.is_cached(written, _SIZE) is False
    os.pread(written, 10, 0)
    assert system.is_cached(written, _SIZE) is True


def test_direct_reading_gives_the_same_bytes(
    system: LinuxSystem, folder: FolderHandle, tmp_path: Path, written: int
) -> None:
    import mmap

    system.flush(written)
    try:
        fd = system.open_direct(folder, "file")
    except OSError as error:
        pytest.skip(f"no direct reading in the temporary folder: {error}")
    with mmap.mmap(-1, _SIZE) as memory, memoryview(memory) as buffer:
        try:
            assert system.read(fd, buffer) == _SIZE
            assert bytes(buffer) == (tmp_path / "file").read_bytes()
        finally:
            system.close(fd)


@pytest.mark.fault(45)
def test_direct_reading_that_would_come_from_the_cache_is_refused(
    system: LinuxSystem, folder: FolderHandle, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "has_direct_reads", lambda libc, fd: False)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Invalid argument"):
        system.open_direct(folder, "file")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, None])
def test_write_back_that_cannot_be_waited_for_is_no_failure(
    number: int | None, system: LinuxSystem, written: int
) -> None:
    library = _with_library(system, "sync_file_range", number)
    system.finish_write_back(written, 0, _SIZE)
    assert library.asked == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_write_back_that_failed_is_an_error(number: int, system: LinuxSystem, written: int) -> None:
    _with_library(system, "sync_file_range", number)
    with pytest.raises(OSError, match=rf"Errno {number}\]"):
        system.finish_write_back(written, 0, _SIZE)


def test_write_back_is_really_waited_for(system: LinuxSystem, written: int) -> None:
    system.start_write_back(written, 0, _SIZE)
    system.finish_write_back(written, 0, _SIZE)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSPC, None])
def test_reserving_room_is_only_a_hint(number: int | None, system: LinuxSystem, written: int) -> None:
    library = _with_library(system, "fallocate", number)
    system.preallocate(written, 1 << 30)
    assert library.asked == 1


def test_room_is_reserved_without_making_the_file_longer(
    system: LinuxSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    if system.mount(str(tmp_path)).filesystem not in ("ext4", "xfs", "btrfs", "tmpfs"):
        pytest.skip("not known to reserve room here")
    fd = system.open_name(folder, "file", os.O_RDWR | os.O_CREAT)
    try:
        system.preallocate(fd, _SIZE)
        status = system.status_of_file(fd)
        assert status.st_size == 0
        assert status.st_blocks * 512 >= _SIZE
    finally:
        system.close(fd)


def test_reading_a_source_leaves_its_access_time(system: LinuxSystem, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"data")
    os.utime(path, ns=(10**18, 2 * 10**18))  # an old access time, which any reading would renew
    fd = system.open_source(str(path))
    try:
        system.read(fd, memoryview(bytearray(10)))
    finally:
        system.close(fd)
    assert path.stat().st_atime_ns == 10**18


def test_source_of_somebody_else_is_opened_all_the_same(
    system: LinuxSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"data")
    real = os.open
    refused: list[int] = []

    def open_as_a_stranger(path: str, flags: int, *more: int) -> int:
        if flags & os.O_NOATIME:
            refused.append(flags)
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", open_as_a_stranger)
    os.close(system.open_source(str(tmp_path / "source")))
    assert len(refused) == 1


def test_only_the_users_own_attributes_are_read(
    system: LinuxSystem, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"user.b": b"2", "security.selinux": b"x", "system.posix_acl_access": b"y", "user.a": b"\x00\xff"}
    monkeypatch.setattr(os, "listxattr", lambda fd: list(values))
    monkeypatch.setattr(os, "getxattr", lambda fd, name: values[name])
    assert system.xattrs(written) == (("user.b", b"2"), ("user.a", b"\x00\xff"))


def test_attributes_are_set_and_read_again(system: LinuxSystem, written: int) -> None:
    try:
        system.set_xattr(written, "user.pfn", b"\x00value")
    except OSError as error:
        pytest.skip(f"no attributes in the temporary folder: {error}")
    assert system.xattrs(written) == (("user.pfn", b"\x00value"),)


def test_file_system_without_attributes_has_none(
    system: LinuxSystem, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> list[str]:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "listxattr", refuse)
    assert system.xattrs(written) == ()


def test_mount_of_a_virtual_file_system_is_found(system: LinuxSystem) -> None:
    assert system.mount("/proc/self") == Mount("proc", "/proc")
    assert system.mount("/no/such/path") == Mount("", "")


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("/mnt/a", "/mnt/a"),
        (r"/mnt/my\040card", "/mnt/my card"),
        (r"/mnt/a\134b\011c\012", "/mnt/a\\b\tc\n"),
        (r"/mnt/\0400", "/mnt/ 0"),
    ],
)
def test_escapes_of_the_mount_table_are_undone(field: str, path: str) -> None:
    assert _unescape(field) == path


def test_default_mode_is_found_without_the_table_of_processes(
    system: LinuxSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    def refuse(*arguments: object, **named: object) -> object:
        raise OSError(errno.ENOENT, "no /proc")

    before = os.umask(0o027)
    try:
        monkeypatch.setattr(builtins, "open", refuse)
        assert system.default_mode() == 0o640
        monkeypatch.undo()
    finally:
        assert os.umask(before) == 0o027
