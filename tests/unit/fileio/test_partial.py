"""A copy under its temporary name: made exclusively, written whole, and gone when it fails."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.fileio.partial import PartialFile
from pfndispatchcopy.fileio.system import FolderHandle
from tests.support.faulty_system import FaultySystem
from tests.support.files import partials

_MIB = 1 << 20
_WINDOW = 16 * _MIB


def _create(system: FaultySystem, folder: FolderHandle) -> PartialFile:
    return PartialFile.create(system, folder, "clip.mov")


def test_copy_gets_its_final_name_with_all_its_bytes(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    partial = _create(faulty, folder)
    assert [path.name for path in tmp_path.iterdir()] == [partial.name]
    partial.preallocate(100_000)
    partial.write(memoryview(b"hello "))
    partial.write(memoryview(b"world"))
    partial.start_write_back()
    partial.require_size(11)
    partial.flush()
    partial.close_writer()
    assert partial.write_fd == -1
    assert os.pread(partial.read_fd, 100, 0) == b"hello world"
    partial.commit("clip.mov", replace=False)
    assert partial.is_committed
    partial.close()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mov"]
    assert (tmp_path / "clip.mov").read_bytes() == b"hello world"


@pytest.mark.fault(79)
def test_planted_temporary_name_is_neither_followed_nor_overwritten(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    tokens = iter(["aaaaaaaa", "bbbbbbbb", "cccccccc"])
    rule = faulty.rule("random_token", lambda real: next(tokens), times=None)
    planted = _create(faulty, folder)
    name = planted.name
    planted.discard()
    (tmp_path / name.replace("aaaaaaaa", "bbbbbbbb")).symlink_to("target")
    partial = _create(faulty, folder)
    assert rule.fired == 3
    assert "cccccccc" in partial.name
    partial.write(memoryview(b"x"))
    partial.discard()
    assert (tmp_path / "target").read_bytes() == b"precious"
    (tmp_path / name.replace("aaaaaaaa", "bbbbbbbb")).unlink()


@pytest.mark.parametrize(
    ("call", "nth"), [("open_name", 1), ("open_name", 2), ("status_of_file", 1), ("status_of_file", 2)]
)
def test_partial_that_cannot_be_made_leaves_nothing(
    call: str, nth: int, faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = faulty.fail(call, errno.EIO, nth=nth)
    with pytest.raises(OSError, match="Errno 5"):
        _create(faulty, folder)
    assert rule.fired == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(79)
def test_temporary_name_that_was_swapped_at_once_is_noticed(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    def swap(real: Callable[[], int], handle: FolderHandle, name: str, *more: Any) -> int:
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(b"of an attacker")
        return real()

    rule = faulty.rule("open_name", swap, nth=2)
    with pytest.raises(OSError, match="another file") as caught:
        _create(faulty, folder)
    assert caught.value.errno == errno.ESTALE
    assert rule.fired == 1


@pytest.mark.fault(12)
def test_short_writes_are_finished(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    rule = faulty.rule("write", lambda real, fd, data: os.write(fd, data[:3]), times=None)
    partial = _create(faulty, folder)
    partial.write(memoryview(b"hello world"))
    assert rule.fired == 4
    assert partial.bytes_written == 11
    partial.require_size(11)
    assert (tmp_path / partial.name).read_bytes() == b"hello world"
    partial.discard()


@pytest.mark.fault(13)
def test_some_empty_writes_are_borne_with(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    rule = faulty.rule("write", lambda real, fd, data: 0, times=3)
    partial = _create(faulty, folder)
    partial.write(memoryview(b"hello"))
    assert rule.fired == 3
    assert (tmp_path / partial.name).read_bytes() == b"hello"
    partial.discard()


@pytest.mark.fault(13)
@pytest.mark.timeout(10)
def test_writes_that_take_nothing_for_ever_are_an_error(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.rule("write", lambda real, fd, data: 0, times=None)
    partial = _create(faulty, folder)
    with pytest.raises(OSError, match="no bytes") as caught:
        partial.write(memoryview(b"hello"))
    assert caught.value.errno == errno.EIO
    assert 1 < rule.fired < 10
    assert partial.bytes_written == 0
    partial.discard()


def test_bytes_taken_before_a_failure_are_counted(faulty: FaultySystem, folder: FolderHandle) -> None:
    faulty.rule("write", lambda real, fd, data: os.write(fd, data[:4]))
    rule = faulty.fail("write", errno.ENOSPC, nth=1)
    partial = _create(faulty, folder)
    with pytest.raises(OSError, match="Errno 28"):
        partial.write(memoryview(b"hello world"))
    assert rule.fired == 1
    assert partial.bytes_written == 4
    partial.discard()


@pytest.mark.fault(14)
def test_lying_write_is_found_out_by_the_size(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.rule("write", lambda real, fd, data: len(data))
    partial = _create(faulty, folder)
    partial.write(memoryview(b"hello"))
    assert rule.fired == 1
    with pytest.raises(OSError, match="the file has 0") as caught:
        partial.require_size(5)
    assert caught.value.errno == errno.EIO
    partial.discard()


@pytest.mark.parametrize("size", [0, 4, 6])
def test_wrong_number_of_bytes_is_an_error(size: int, faulty: FaultySystem, folder: FolderHandle) -> None:
    partial = _create(faulty, folder)
    partial.write(memoryview(b"hello"))
    with pytest.raises(OSError, match="5 were"):
        partial.require_size(size)
    partial.discard()


@pytest.mark.fault(7)
def test_flush_that_failed_is_not_asked_again(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.fail("flush", errno.EIO)
    partial = _create(faulty, folder)
    with pytest.raises(OSError, match="Errno 5"):
        partial.flush()
    partial.discard()
    assert rule.fired == 1
    assert [call for call, _ in faulty.calls].count("flush") == 1


@pytest.mark.fault(8)
def test_late_error_of_a_close_is_told_and_the_descriptor_given_up(faulty: FaultySystem, folder: FolderHandle) -> None:
    def close_and_fail(real: Callable[[], None], fd: int) -> None:
        real()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    partial = _create(faulty, folder)
    rule = faulty.rule("close", close_and_fail)
    with pytest.raises(OSError, match="Errno 5"):
        partial.close_writer()
    assert rule.fired == 1
    assert partial.write_fd == -1
    partial.discard()
    assert rule.seen == 2  # the reader only: a descriptor is never closed twice


# -- write-back in windows -------------------------------------------------------------------------------


def _write_back_calls(faulty: FaultySystem, folder: FolderHandle, steps: list[int]) -> list[tuple[str, int, int]]:
    calls: list[tuple[str, int, int]] = []
    for call in ("start_write_back", "finish_write_back"):
        faulty.rule(call, lambda real, fd, offset, length, call=call: calls.append((call, offset, length)), times=None)
    partial = _create(faulty, folder)
    for step in steps:
        previous = partial.bytes_written
        partial.bytes_written += step
        partial.roll_write_back(previous)
    partial.discard()
    return calls


@pytest.mark.parametrize("step", [_MIB, 3 * _MIB, 16 * _MIB, 40 * _MIB], ids=lambda step: f"{step >> 20}MiB")
def test_every_window_is_started_once_and_finished_four_later(
    step: int, faulty: FaultySystem, folder: FolderHandle
) -> None:
    total = 240 * _MIB
    calls = _write_back_calls(faulty, folder, [step] * (total // step))
    started = [offset for call, offset, length in calls if call == "start_write_back" and length == _WINDOW]
    finished = [offset for call, offset, length in calls if call == "finish_write_back" and length == _WINDOW]
    assert len(started) + len(finished) == len(calls)
    assert started == list(range(0, total // step * step // _WINDOW * _WINDOW, _WINDOW))
    assert finished == started[:-4]
    in_flight = most = 0
    for call, *_ in calls:
        in_flight += 1 if call == "start_write_back" else -1
        most = max(most, in_flight)
    assert most <= 5


@pytest.mark.parametrize(("last", "windows"), [(0, 0), (1, 1)])
def test_window_is_started_when_it_is_full(last: int, windows: int, faulty: FaultySystem, folder: FolderHandle) -> None:
    assert len(_write_back_calls(faulty, folder, [_WINDOW - 1, last])) == windows


def test_write_back_that_failed_is_an_error(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.fail("finish_write_back", errno.ENOSPC)
    partial = _create(faulty, folder)
    partial.bytes_written = 10 * _WINDOW
    with pytest.raises(OSError, match="Errno 28"):
        partial.roll_write_back(0)
    assert rule.fired == 1
    partial.discard()


# -- the final name ------------------------------------------------------------------------------------------


def test_taken_name_is_not_replaced_unless_asked(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "clip.mov").write_bytes(b"older")
    partial = _create(faulty, folder)
    partial.write(memoryview(b"newer"))
    with pytest.raises(FileExistsError):
        partial.commit("clip.mov", replace=False)
    assert (tmp_path / "clip.mov").read_bytes() == b"older"
    assert not partial.is_committed
    partial.commit("clip.mov", replace=True)
    partial.close()
    assert (tmp_path / "clip.mov").read_bytes() == b"newer"
    assert partials(tmp_path) == []


@pytest.mark.fault(47)
def test_swapped_partial_never_gets_the_final_name(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    partial = _create(faulty, folder)
    (tmp_path / partial.name).unlink()
    (tmp_path / partial.name).write_bytes(b"of an attacker")
    with pytest.raises(OSError, match="another file") as caught:
        partial.commit("clip.mov", replace=True)
    assert caught.value.errno == errno.ESTALE
    assert not (tmp_path / "clip.mov").exists()
    with pytest.raises(OSError, match="another file"):
        os.close(partial.open_direct())
    partial.discard()


@pytest.mark.fault(9)
@pytest.mark.parametrize(("call", "replace"), [("rename_to_free_name", False), ("replace_name", True)])
def test_failed_rename_leaves_the_partial_to_be_removed(
    call: str, replace: bool, faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = faulty.fail(call, errno.EROFS)
    partial = _create(faulty, folder)
    with pytest.raises(OSError, match="Errno 30"):
        partial.commit("clip.mov", replace=replace)
    assert rule.fired == 1
    assert not partial.is_committed
    partial.discard()
    assert list(tmp_path.iterdir()) == []


def test_discard_never_removes_what_was_committed(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    partial = _create(faulty, folder)
    partial.commit("clip.mov", replace=False)
    partial.discard()
    assert (tmp_path / "clip.mov").exists()


def test_discarding_twice_or_what_is_gone_is_no_error(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    partial = _create(faulty, folder)
    (tmp_path / partial.name).unlink()
    partial.discard()
    partial.discard()


def test_removal_that_failed_is_told(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    rule = faulty.fail("remove_name", errno.EPERM)
    partial = _create(faulty, folder)
    with pytest.raises(OSError, match="Errno 1\\]"):
        partial.discard()
    assert rule.fired == 1
    (tmp_path / partial.name).unlink()


# -- what turned out to be bad -----------------------------------------------------------------------------


def test_bad_copy_is_set_aside(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    partial = _create(faulty, folder)
    partial.write(memoryview(b"bad"))
    assert partial.set_aside("clip.mov.corrupt") is True
    partial.close()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mov.corrupt"]
    assert (tmp_path / "clip.mov.corrupt").read_bytes() == b"bad"


def test_bad_copy_is_removed_where_it_cannot_be_set_aside(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    (tmp_path / "clip.mov.corrupt").write_bytes(b"an older one")
    partial = _create(faulty, folder)
    assert partial.set_aside("clip.mov.corrupt") is False
    assert (tmp_path / "clip.mov.corrupt").read_bytes() == b"an older one"
    second = _create(faulty, folder)
    assert second.set_aside("x" * 300) is False
    assert partials(tmp_path) == []


def test_bad_copy_that_can_neither_be_kept_nor_removed_is_an_error(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rules = [faulty.fail("rename_to_free_name", errno.EROFS), faulty.fail("remove_name", errno.EROFS)]
    partial = _create(faulty, folder)
    with pytest.raises(OSError, match="Errno 30"):
        partial.set_aside("clip.mov.corrupt")
    assert [rule.fired for rule in rules] == [1, 1]
    (tmp_path / partial.name).unlink()


def test_direct_descriptor_is_the_same_file(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.rule("open_direct", lambda real, handle, name: os.open(name, os.O_RDONLY, dir_fd=handle.fd))
    partial = _create(faulty, folder)
    fd = partial.open_direct()
    assert rule.fired == 1
    assert os.fstat(fd).st_ino == partial.identity.inode
    os.close(fd)
    partial.discard()
