"""macOS by its branches: the calls that only macOS has are faked, everything else is real."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    return DarwinSystem(_Fcntl(), library)  # type: ignore[arg-type]


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


class _Attributes:
    """The C library's calls for extended attributes. They are C functions: what is declared wrongly arrives wrongly.

    Attributes:
        values: name and value, in the order in which they are listed.
        refusals: the number that the call fails with, by the name that it is for; empty for the list.
        growth: run at each question for a size, behind the answer.
        seen: of each call its function, its descriptor, and the last arguments: options, and position before it.
        all: parameters of the function that lists them.
        one: parameters of those that are for one.
    """

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self.refusals: dict[bytes, int] = {}
        self.growth: Callable[[], None] = lambda: None
        self.seen: list[tuple[object, ...]] = []
        self._library = ctypes.CDLL(None, use_errno=True)
        self._compiled: list[object] = []
        number, size, name, memory = ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
        self.all = (number, memory, size, number)
        self.one = (number, name, memory, size, ctypes.c_uint32, number)
        self.flistxattr = self._exported(self._list, ctypes.c_ssize_t, *self.all)
        self.fgetxattr = self._exported(self._get, ctypes.c_ssize_t, *self.one)
        self.fsetxattr = self._exported(self._set, ctypes.c_int, *self.one)

    def _exported(self, function: Callable[..., int], result: Any, *parameters: Any) -> Any:
        """Give a function out as a C library does: an address, of which nothing is known."""
        compiled = ctypes.CFUNCTYPE(result, *parameters, use_errno=True)(function)
        self._compiled.append(compiled)
        return self._library._FuncPtr(ctypes.cast(compiled, ctypes.c_void_p).value or 0)

    def _list(self, fd: int, buffer: int | None, room: int, options: int) -> int:
        self.seen.append(("flistxattr", fd, options))
        return self._answer(b"", b"".join(name + b"\0" for name in self.values), buffer, room)

    def _get(self, fd: int, name: bytes, buffer: int | None, room: int, position: int, options: int) -> int:
        self.seen.append(("fgetxattr", fd, position, options))
        if name not in self.values:
            return self._fail(errno.ENODATA)
        return self._answer(name, self.values[name], buffer, room)

    def _set(self, fd: int, name: bytes, value: int | None, size: int, position: int, options: int) -> int:
        self.seen.append(("fsetxattr", fd, position, options))
        if name in self.refusals:
            return self._fail(self.refusals[name])
        self.values[name] = ctypes.string_at(value or 0, size)
        return 0

    def _answer(self, name: bytes, data: bytes, buffer: int | None, room: int) -> int:
        if name in self.refusals:
            return self._fail(self.refusals[name])
        if buffer is None or room == 0:
            self.growth()
        elif room < len(data):
            return self._fail(errno.ERANGE)
        else:
            ctypes.memmove(buffer, data, len(data))
        return len(data)

    @staticmethod
    def _fail(number: int) -> int:
        ctypes.set_errno(number)
        return -1


_TAGS = b"com.apple.metadata:_kMDItemUserTags"


def test_all_attributes_are_read_in_their_order() -> None:
    values = {_TAGS: b"bplist00\x00\xff", b"user.empty": b"", b"com.apple.quarantine": b"0081;", b"\xff\xc3\xa9": b"1"}
    library = _Attributes(values)
    assert _system(library).xattrs(7) == tuple((os.fsdecode(name), value) for name, value in values.items())
    assert {call for call, *_ in library.seen} == {"flistxattr", "fgetxattr"}
    assert {tuple(rest) for _, *rest in library.seen} == {(7, 0), (7, 0, 0)}


def test_attribute_that_only_the_system_may_set_is_left_to_it() -> None:
    library = _Attributes({b"com.apple.provenance": b"\x01", _TAGS: b"1"})
    assert _system(library).xattrs(7) == ((os.fsdecode(_TAGS), b"1"),)


def test_file_without_attributes_has_none() -> None:
    library = _Attributes({})
    assert _system(library).xattrs(7) == ()
    assert len(library.seen) == 1


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM, errno.EIO, errno.ERANGE])
def test_volume_that_lists_no_attributes_has_none(number: int) -> None:
    library = _Attributes({_TAGS: b"1"})
    library.refusals[b""] = number
    assert _system(library).xattrs(7) == ()
    assert len(library.seen) == 1


def test_library_without_attributes_has_none() -> None:
    assert _system(object()).xattrs(7) == ()
    with pytest.raises(OSError, match=rf"Errno {errno.ENOSYS}\]"):
        _system(object()).set_xattr(7, "user.a", b"1")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENODATA])
def test_attribute_that_is_not_shown_takes_no_other_along(number: int) -> None:
    library = _Attributes({b"a": b"1", b"b": b"2", b"c": b"3"})
    library.refusals[b"b"] = number
    assert _system(library).xattrs(7) == (("a", b"1"), ("c", b"3"))


def test_list_that_grows_between_two_calls_is_asked_for_again() -> None:
    library = _Attributes({b"a": b"1"})
    growths = iter([b"b", b"c"])

    def grow() -> None:
        if (name := next(growths, None)) is not None:
            library.values[name] = b"2"

    library.growth = grow
    assert _system(library).xattrs(7) == (("a", b"1"), ("b", b"2"), ("c", b"2"))


def test_value_that_grows_between_two_calls_is_read_whole() -> None:
    library = _Attributes({b"a": b"1"})

    def grow() -> None:
        if library.seen[-1][0] == "fgetxattr" and len(library.values[b"a"]) < 3:
            library.values[b"a"] += b"+"

    library.growth = grow
    assert _system(library).xattrs(7) == (("a", b"1++"),)


def test_value_that_shrinks_between_two_calls_has_nothing_added() -> None:
    library = _Attributes({b"a": b"12345"})

    def shrink() -> None:
        if library.seen[-1][0] == "fgetxattr":
            library.values[b"a"] = b"12"

    library.growth = shrink
    assert _system(library).xattrs(7) == (("a", b"12"),)


def test_list_that_never_stops_growing_is_given_up() -> None:
    library = _Attributes({b"a": b"1"})

    def grow() -> None:
        library.values[b"%d" % len(library.values)] = b"2"

    library.growth = grow
    assert _system(library).xattrs(7) == ()
    assert len(library.seen) == 10


@pytest.mark.parametrize("value", [b"", b"bplist00\x00\xff", bytes(100_000)])
def test_attribute_is_set_as_it_is(value: bytes) -> None:
    library = _Attributes({})
    _system(library).set_xattr(7, "user.\udcff\u00e9", value)
    assert library.values == {b"user.\xff\xc3\xa9": value}
    assert library.seen == [("fsetxattr", 7, 0, 0)]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSPC, errno.E2BIG])
def test_refused_attribute_is_an_error(number: int) -> None:
    library = _Attributes({})
    library.refusals[b"user.a"] = number
    with pytest.raises(OSError, match=rf"Errno {number}\]"):
        _system(library).set_xattr(7, "user.a", b"1")
    assert library.values == {}


def test_functions_are_declared_so_that_no_size_is_cut_short() -> None:
    library = _Attributes({b"a": b"1"})
    system = _system(library)
    system.xattrs(7)
    system.set_xattr(7, "b", b"2")
    assert (library.flistxattr.restype, library.flistxattr.argtypes) == (ctypes.c_ssize_t, library.all)
    assert (library.fgetxattr.restype, library.fgetxattr.argtypes) == (ctypes.c_ssize_t, library.one)
    assert (library.fsetxattr.restype, library.fsetxattr.argtypes) == (ctypes.c_int, library.one)


def test_functions_are_looked_up_once() -> None:
    library = _Attributes({b"a": b"1"})
    system = _system(library)
    system.xattrs(7)
    system.set_xattr(7, "b", b"2")
    del library.flistxattr, library.fgetxattr, library.fsetxattr
    system.set_xattr(7, "c", b"3")
    assert system.xattrs(7) == (("a", b"1"), ("b", b"2"), ("c", b"3"))


def test_real_library_gives_back_what_was_set(tmp_path: Path) -> None:
    # Linux has the same calls with fewer parameters: what comes behind them is not looked at.
    system = _system(ctypes.CDLL(None, use_errno=True))
    with (tmp_path / "file").open("wb") as file:
        try:
            system.set_xattr(file.fileno(), "user.pfn", b"\x00value")
        except OSError as error:
            pytest.skip(f"no attributes in the temporary folder: {error}")
        system.set_xattr(file.fileno(), "user.empty", b"")
        found = dict(system.xattrs(file.fileno()))
        assert (found["user.pfn"], found["user.empty"]) == (b"\x00value", b"")
