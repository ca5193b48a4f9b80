"""macOS by its branches: the calls that only macOS has are faked, everything else is real."""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.darwin import F_FULLFSYNC, F_NOCACHE, F_PREALLOCATE, DarwinSystem
from pfndispatchcopy.fileio.system import FolderHandle

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="needs POSIX")


class _Fcntl:
    """The system's fcntl, which answers, or fails with a number."""

    def __init__(self, number: int | None = None) -> None:
        self.calls: list[tuple[int, int, int | bytes]] = []
        self._number = number

    def __call__(self, fd: int, operation: int, argument: int | bytes) -> int:
        self.calls.append((fd, operation, argument))
        if self._number is not None:
            raise OSError(self._number, os.strerror(self._number))
        return 0


class _Library:
    """The C library, with a rename that answers, or without one."""

    def __init__(self, number: int | None) -> None:
        self.calls: list[tuple[object, ...]] = []
        self._number = number

    def renameatx_np(self, *arguments: object) -> int:
        self.calls.append(arguments)
        if self._number is None:
            return 0
        ctypes.set_errno(self._number)
        return -1


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", seen.append)
    return seen


def test_flush_goes_through_to_the_medium(fsyncs: list[int]) -> None:
    fcntl = _Fcntl()
    DarwinSystem(fcntl).flush(7)
    assert fcntl.calls == [(7, F_FULLFSYNC, 0)]
    assert fsyncs == []


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS])
def test_volume_without_a_full_flush_gets_a_plain_one(number: int, fsyncs: list[int]) -> None:
    fcntl = _Fcntl(number)
    DarwinSystem(fcntl).flush(7)
    assert len(fcntl.calls) == 1
    assert fsyncs == [7]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENXIO, errno.ENODEV])
def test_failed_full_flush_is_final(number: int, fsyncs: list[int]) -> None:
    fcntl = _Fcntl(number)
    with pytest.raises(OSError, match=rf"Errno {number}\]"):
        DarwinSystem(fcntl).flush(7)
    assert len(fcntl.calls) == 1
    assert fsyncs == []


def test_descriptor_avoids_the_cache() -> None:
    fcntl = _Fcntl()
    DarwinSystem(fcntl).avoid_cache(7)
    assert fcntl.calls == [(7, F_NOCACHE, 1)]


def test_room_is_reserved_from_the_end_of_the_file() -> None:
    fcntl = _Fcntl()
    DarwinSystem(fcntl).preallocate(7, 123_456_789_012)
    ((fd, operation, request),) = fcntl.calls
    assert (fd, operation) == (7, F_PREALLOCATE)
    assert isinstance(request, bytes)
    flags, position_mode, offset, length, allocated = struct.unpack("=IiqqQ", request)
    assert (flags, position_mode, offset, length, allocated) == (4, 3, 0, 123_456_789_012, 0)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTSUP, errno.ENOSPC])
def test_hints_may_fail_in_silence(number: int) -> None:
    fcntl = _Fcntl(number)
    system = DarwinSystem(fcntl)
    system.avoid_cache(7)
    system.preallocate(7, 100)
    assert len(fcntl.calls) == 2


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FolderHandle]:
    system = DarwinSystem(_Fcntl())
    handle = system.open_folder(str(tmp_path))
    (tmp_path / "old").write_bytes(b"1")
    (tmp_path / "taken").write_bytes(b"2")
    yield handle
    system.close_folder(handle)


def _system(library: object) -> DarwinSystem:
    system = DarwinSystem(_Fcntl())
    system.__dict__["_libc"] = library
    return system


def test_rename_is_exclusive(folder: FolderHandle) -> None:
    library = _Library(None)
    _system(library).rename_to_free_name(folder, "old", "new")
    assert library.calls == [(folder.fd, b"old", folder.fd, b"new", 4)]


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.EROFS])
def test_failed_rename_is_an_error(number: int, folder: FolderHandle, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=rf"Errno {number}\]"):
        _system(_Library(number)).rename_to_free_name(folder, "old", "taken")
    assert (tmp_path / "taken").read_bytes() == b"2"


@pytest.mark.parametrize("library", [_Library(errno.ENOTSUP), object()], ids=["not supported", "no such function"])
def test_volume_without_exclusive_rename_gets_a_link_instead(
    library: object, folder: FolderHandle, tmp_path: Path
) -> None:
    with pytest.raises(FileExistsError):
        _system(library).rename_to_free_name(folder, "old", "taken")
    _system(library).rename_to_free_name(folder, "old", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "taken"]
    assert (tmp_path / "taken").read_bytes() == b"2"


def test_library_that_cannot_tell_about_the_cache_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with (tmp_path / "file").open("rb") as file:
        assert _system(object()).is_cached(file.fileno(), 4) is None
