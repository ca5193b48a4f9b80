"""One destination: the order that makes a copy durable, the reading back, and the folder that has to stay the same."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.events import ErrorEvent, PartialEvent, WarningEvent
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import CopyResult, DestinationResult, Preserve, ReadBack, State, Verify
from tests.support.trial import Trial


def _failed(result: CopyResult, trial: Trial, number: int = 1) -> DestinationResult:
    """The others are verified; returns what failed."""
    trial.require_good(result, *(each for each in range(len(result.destinations)) if each != number))
    each = result.destinations[number]
    assert each.state is State.FAILED
    assert each.error is not None
    assert not each.success
    assert result.exit_code == 3
    return each


def _message(each: DestinationResult) -> str:
    assert each.error is not None
    return each.error.message


# -- order --------------------------------------------------------------------------------------------------


def test_steps_come_in_the_order_that_makes_a_copy_durable(trial: Trial) -> None:
    opened: list[tuple[str, int]] = []

    def open_name(real: Callable[[], int], folder: FolderHandle, name: str, flags: int, *more: Any) -> int:
        opened.append((name, flags))
        return real()

    trial.rule("open_name", open_name, 1, times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    copy = next(
        path
        for path in (each.path for each in trial.events if isinstance(each, PartialEvent))
        if "/d1/" in path and "lock" not in path
    ).rsplit("/", 1)[-1]
    assert next(flags & (os.O_CREAT | os.O_EXCL) for name, flags in opened if name == copy) == os.O_CREAT | os.O_EXCL
    calls = trial.calls_of(1)
    mine = calls[calls.index(("open_name", copy)) :]
    names = [call for call, name in mine if name == copy or call == "flush_folder"]
    order = [
        names.index("open_name"),
        names.index("preallocate"),
        names.index("write"),
        len(names) - 1 - names[::-1].index("write"),
        names.index("status_of_file", names.index("write")),
        names.index("set_mode"),
        names.index("set_times"),
        names.index("flush"),
        names.index("close"),
        names.index("drop_cache"),
        names.index("is_cached"),
        names.index("read"),
        len(names) - 1 - names[::-1].index("read"),
        names.index("rename_to_free_name"),
        names.index("flush_folder"),
    ]
    assert order == sorted(order)
    assert [names.count(call) for call in ("flush", "rename_to_free_name", "flush_folder", "write")] == [1, 1, 1, 5]


def test_final_name_does_not_exist_before_everything_was_compared(trial: Trial) -> None:
    seen: list[list[str]] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append([name for name in trial.names(1) if not name.startswith(".pfn.")])
        return real()

    for call in ("write", "flush", "read"):
        trial.rule(call, look, 1, times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    assert len(seen) > 5
    assert not any(seen)


def test_temporary_names_are_announced_and_taken_back(trial: Trial) -> None:
    trial.run()
    told = [event for event in trial.events if isinstance(event, PartialEvent)]
    assert {event.path for event in told if event.exists} == {event.path for event in told if not event.exists}
    assert len({event.path for event in told}) == 6
    assert all(Path(event.path).name.startswith(".pfn.") and event.path.endswith(".partial") for event in told)


def test_copy_keeps_mode_and_times(trial: Trial) -> None:
    trial.source.chmod(0o640)
    os.utime(trial.source, ns=(1_500_000_000_000_000_001, 1_600_000_000_000_000_003))
    trial.require_good(trial.run(), 0, 1, 2)
    for number in range(3):
        status = trial.final(number).stat()
        assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 1_600_000_000_000_000_003)


def test_metadata_that_cannot_be_kept_is_a_warning(trial: Trial) -> None:
    rules = [trial.fail(call, errno.EPERM, 1) for call in ("set_mode", "set_times")]
    result = trial.run(preserve=frozenset({Preserve.MODE, Preserve.TIMES}))
    assert [rule.fired for rule in rules] == [1, 1]
    trial.require_good(result, 0, 1, 2)
    notices = trial.notices(WarningEvent)
    assert [(notice.operation, notice.errno) for notice in notices] == [("preserve", "EPERM")] * 2


@pytest.mark.fault(73)
def test_empty_file_is_copied_and_verified(trial: Trial) -> None:
    trial.source.write_bytes(b"")
    trial.data = b""
    result = trial.run()
    trial.require_good(result, 0, 1, 2)
    assert result.hash == "ef46db3751d8e999"


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 8192])
def test_sizes_around_a_chunk_are_copied_whole(size: int, trial: Trial) -> None:
    trial.data = trial.data[:size]
    trial.source.write_bytes(trial.data)
    trial.require_good(trial.run(), 0, 1, 2)


# -- writing ------------------------------------------------------------------------------------------------


@pytest.mark.fault(12)
@pytest.mark.parametrize("taken", [1, 1000])
def test_short_writes_are_finished(taken: int, trial: Trial) -> None:
    trial.data = trial.data[:5000]
    trial.source.write_bytes(trial.data)
    rule = trial.rule("write", lambda real, fd, data: os.write(fd, data[:taken]), 1, times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    assert rule.fired >= 5000 // taken


@pytest.mark.fault(13)
def test_write_that_takes_nothing_for_ever_is_a_failure(trial: Trial) -> None:
    rule = trial.rule("write", lambda real, fd, data: 0, 1, nth=2, times=None)
    each = _failed(trial.run_within(10), trial)
    assert 1 < rule.fired < 100
    assert "took no bytes" in _message(each)
    trial.require_nothing(1)


@pytest.mark.fault(14)
@pytest.mark.parametrize("nth", [1, 3, 5])
def test_write_that_lies_is_found_out_by_the_size(nth: int, trial: Trial) -> None:
    rule = trial.rule("write", lambda real, fd, data: len(data), 1, nth=nth)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert "the file has" in _message(each)
    trial.require_nothing(1)


@pytest.mark.fault(14, 41)
def test_write_that_lies_and_leaves_a_hole_is_found_out_by_the_reading_back(trial: Trial) -> None:
    def skip(real: Callable[[], int], fd: int, data: memoryview) -> int:
        os.lseek(fd, len(data), os.SEEK_CUR)
        return len(data)

    rule = trial.rule("write", skip, 1, nth=3)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.MISMATCH
    assert result.exit_code == 4


@pytest.mark.fault(1, 4, 5, 6, 16)
@pytest.mark.parametrize("nth", [1, 2, 5])
@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EAGAIN], ids=lambda n: errno.errorcode[n]
)
def test_failed_write_names_the_byte_and_leaves_nothing(number: int, nth: int, trial: Trial) -> None:
    rule = trial.fail("write", number, 1, nth=nth)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert each.error is not None
    assert (each.error.operation, each.error.errno) == ("write", errno.errorcode[number])
    assert f"at byte {(nth - 1) * trial.chunk_size}" in _message(each)
    assert "Nothing of it was left behind." in _message(each)
    assert ("needed" in _message(each)) == (number in (errno.ENOSPC, errno.EDQUOT))
    trial.require_nothing(1)
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [f"{trial.root}/d1/"]


@pytest.mark.fault(1)
def test_full_destination_is_not_written_to_again(trial: Trial) -> None:
    rule = trial.fail("write", errno.ENOSPC, 1, times=None)
    _failed(trial.run(), trial)
    assert rule.fired == 1


# -- making it durable ----------------------------------------------------------------------------------------


@pytest.mark.fault(3, 4, 7)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=lambda n: errno.errorcode[n])
def test_failed_flush_is_final_and_never_asked_again(number: int, trial: Trial) -> None:
    rule = trial.fail("flush", number, 1)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    calls = [call for call, _ in trial.calls_of(1)]
    assert calls.count("flush") == 1
    assert "rename_to_free_name" not in calls
    assert "read" not in calls
    assert each.error is not None
    assert (each.error.operation, each.error.errno) == ("flush", errno.errorcode[number])
    trial.require_nothing(1)


@pytest.mark.fault(8)
def test_late_error_of_the_close_is_a_failure(trial: Trial) -> None:
    rule = trial.fail("close", errno.EIO, 1, nth=2)  # the first one closes the probe
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert each.error is not None
    assert each.error.operation == "close"
    assert "rename_to_free_name" not in [call for call, _ in trial.calls_of(1)]
    trial.require_nothing(1)


@pytest.mark.fault(9)
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS], ids=lambda n: errno.errorcode[n])
def test_failed_rename_leaves_nothing(number: int, trial: Trial) -> None:
    rule = trial.fail("rename_to_free_name", number, 1)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert each.error is not None
    assert (each.error.operation, each.error.errno) == ("rename", errno.errorcode[number])
    trial.require_nothing(1)


@pytest.mark.fault(10)
def test_failed_flush_of_the_folder_leaves_the_copy_but_does_not_call_it_durable(trial: Trial) -> None:
    rule = trial.fail("flush_folder", errno.EIO, 1)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert "whether it is durable is not proven" in _message(each)
    assert trial.final(1).read_bytes() == trial.data
    assert trial.names(1) == ["clip.mov"]


@pytest.mark.fault(11)
def test_file_system_that_cannot_flush_folders_is_a_warning(trial: Trial) -> None:
    rule = trial.rule("flush_folder", lambda real, *arguments: False, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 1, 2)
    notices = trial.notices(WarningEvent)
    assert [(notice.operation, notice.destination) for notice in notices] == [("flush the folder", f"{trial.root}/d1/")]


@pytest.mark.fault(6, 19)
def test_partial_that_cannot_be_removed_is_named(trial: Trial) -> None:
    writing = trial.fail("write", errno.EIO, 1)
    removing = trial.fail("remove_name", errno.EROFS, 1, nth=2)  # the first one removes the probe
    each = _failed(trial.run(), trial)
    assert (writing.fired, removing.fired) == (1, 1)
    (left,) = (trial.root / "d1").iterdir()
    assert str(left) in _message(each)
    assert "Left behind" in _message(each)
    left.unlink()


@pytest.mark.fault(47)
def test_partial_that_was_swapped_never_gets_the_final_name(trial: Trial) -> None:
    def swap(real: Callable[[], None], fd: int) -> None:
        real()
        (partial,) = [path for path in (trial.root / "d1").iterdir() if "lock" not in path.name]
        partial.rename(trial.root / "aside")
        partial.write_bytes(trial.data)

    rule = trial.rule("flush", swap, 1)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert "another file was put in the place" in _message(each)
    assert not trial.final(1).exists()


def test_unforced_destination_is_not_flushed_and_not_called_verified(trial: Trial) -> None:
    result = trial.run(no_flush={f"{trial.root}/d1/"})
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.read_back, each.error) == (State.COPIED, ReadBack.CACHED, None)
    assert not [call for call, _ in trial.calls_of(1) if call in ("flush", "flush_folder", "drop_cache")]
    assert result.exit_code == 0


def test_copies_that_are_not_read_back_are_not_called_verified(trial: Trial) -> None:
    result = trial.run(verify=Verify.NONE)
    assert [(each.state, each.read_back) for each in result.destinations] == [(State.COPIED, ReadBack.NONE)] * 3
    for number in range(3):
        calls = [call for call, _ in trial.calls_of(number)]
        assert "read" not in calls
        assert calls.count("flush") == 1
    assert result.exit_code == 0


# -- reading back ---------------------------------------------------------------------------------------------


def _flip(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
    got = real()
    assert got > 0
    buffer[got // 2] ^= 1
    return got


def _open_again(real: Callable[[], int], folder: FolderHandle, name: str) -> int:
    return os.open(name, os.O_RDONLY, dir_fd=folder.fd)


def test_dropped_cache_is_checked_before_the_reading_back_counts(trial: Trial) -> None:
    rule = trial.rule("is_cached", lambda real, *arguments: False, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 1, 2)
    assert result.destinations[1].read_back is ReadBack.EVICTED


@pytest.mark.fault(44)
@pytest.mark.parametrize("answer", [True, None])
def test_cache_that_cannot_be_dropped_is_read_around(answer: bool | None, trial: Trial) -> None:
    cached = trial.rule("is_cached", lambda real, *arguments: answer, 1)
    direct = trial.rule("open_direct", _open_again, 1)
    result = trial.run()
    assert (cached.fired, direct.fired) == (1, 1)
    trial.require_good(result, 0, 1, 2)
    assert result.destinations[1].read_back is ReadBack.DIRECT


def _require_not_proven(result: CopyResult, trial: Trial) -> None:
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.read_back, each.success) == (State.COPIED, ReadBack.CACHED, False)
    assert "never on the medium" in _message(each)
    assert trial.final(1).read_bytes() == trial.data
    assert result.exit_code == 3


@pytest.mark.fault(44, 45)
@pytest.mark.parametrize("answer", [True, None])
def test_comparison_in_the_cache_is_never_called_verified(answer: bool | None, trial: Trial) -> None:
    cached = trial.rule("is_cached", lambda real, *arguments: answer, 1)
    direct = trial.fail("open_direct", errno.EINVAL, 1)
    result = trial.run()
    assert (cached.fired, direct.fired) == (1, 1)
    _require_not_proven(result, trial)


@pytest.mark.fault(45)
def test_direct_read_that_is_refused_after_it_was_promised_is_no_proof(trial: Trial) -> None:
    trial.rule("is_cached", lambda real, *arguments: True, 1)
    direct = trial.rule("open_direct", _open_again, 1)
    reading = trial.fail("read", errno.EINVAL, 1)
    result = trial.run()
    assert (direct.fired, reading.fired) == (1, 1)
    _require_not_proven(result, trial)


@pytest.mark.fault(40)
@pytest.mark.parametrize("way", [ReadBack.EVICTED, ReadBack.DIRECT])
def test_flipped_bit_behind_the_cache_is_found_and_the_bad_copy_set_aside(way: ReadBack, trial: Trial) -> None:
    if way is ReadBack.DIRECT:
        trial.rule("is_cached", lambda real, *arguments: True, 1)
        trial.rule("open_direct", _open_again, 1)
    rule = trial.rule("read", _flip, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.read_back) == (State.MISMATCH, way)
    assert trial.names(1) == ["clip.mov.corrupt"]
    assert str(trial.final(1, "clip.mov.corrupt")) in _message(each)
    assert "read back as xxh64be:" in _message(each)
    assert result.exit_code == 4


@pytest.mark.fault(41)
@pytest.mark.parametrize("region", [1, 512, 4096])
@pytest.mark.parametrize("what", ["zeros", "shifted"])
def test_bad_region_on_the_medium_is_found(region: int, what: str, trial: Trial) -> None:
    def damage(real: Callable[[], None], fd: int) -> None:
        real()
        (partial,) = [path for path in (trial.root / "d1").iterdir() if "lock" not in path.name]
        good = trial.data[8192 : 8192 + region]
        bad = bytes(region) if what == "zeros" else bytes([good[-1] ^ 1]) + good[:-1]
        with partial.open("r+b") as file:
            file.seek(8192)
            file.write(bad if bad != good else bytes([255]) * region)

    rule = trial.rule("flush", damage, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.MISMATCH


@pytest.mark.fault(43)
def test_bit_that_flips_in_memory_after_the_reading_is_found_on_every_destination(trial: Trial) -> None:
    def write(real: Callable[[], int], fd: int, data: memoryview) -> int:
        bad = bytearray(data)
        bad[0] ^= 1
        return os.write(fd, bad)

    rules = [trial.rule("write", write, number, nth=2) for number in range(3)]
    result = trial.run()
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert [each.state for each in result.destinations] == [State.MISMATCH] * 3
    assert (len({trial.final(n, "clip.mov.corrupt").read_bytes() for n in range(3)}), result.exit_code) == (1, 4)


@pytest.mark.fault(46)
@pytest.mark.parametrize("nth", [1, 2])
def test_medium_that_cannot_be_read_back_is_a_mismatch(nth: int, trial: Trial) -> None:
    rule = trial.fail("read", errno.EIO, 1, nth=nth)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert each.state is State.MISMATCH
    assert "EIO" in _message(each)
    assert trial.names(1) == ["clip.mov.corrupt"]
    assert result.exit_code == 4


@pytest.mark.fault(40)
def test_earlier_bad_copy_is_not_lost_to_a_later_one(trial: Trial) -> None:
    (trial.folder(1) / "clip.mov.corrupt").write_bytes(b"the first one")
    rule = trial.rule("read", _flip, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.MISMATCH
    assert "The bad copy was removed." in _message(result.destinations[1])
    assert trial.names(1) == ["clip.mov.corrupt"]
    assert trial.final(1, "clip.mov.corrupt").read_bytes() == b"the first one"


@pytest.mark.fault(40)
def test_difference_on_an_unforced_destination_is_a_mismatch_all_the_same(trial: Trial) -> None:
    rule = trial.rule("read", _flip, 1)
    result = trial.run(no_flush={f"{trial.root}/d1/"})
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.exit_code) == (State.MISMATCH, 4)


@pytest.mark.fault(40)
def test_second_run_replaces_what_was_set_aside_by_a_good_copy(trial: Trial) -> None:
    rule = trial.rule("read", _flip, 1)
    assert trial.run().exit_code == 4
    again = trial.run()
    assert rule.fired == 1
    assert [each.state for each in again.destinations] == [State.IDENTICAL, State.VERIFIED, State.IDENTICAL]
    assert trial.final(1).read_bytes() == trial.data


# -- the folder -------------------------------------------------------------------------------------------------


def _swap(trial: Trial) -> None:
    """Another folder in the place of a destination, as after an unmount in the middle of a run."""
    (trial.root / "d1").rename(trial.root / "away")
    (trial.root / "d1").mkdir()


@pytest.mark.fault(22)
@pytest.mark.parametrize(("call", "nth"), [("write", 1), ("write", 4), ("flush", 1), ("read", 1)])
def test_nothing_lands_in_a_folder_that_took_the_place_of_the_destination(call: str, nth: int, trial: Trial) -> None:
    def swap(real: Callable[[], Any], *arguments: Any) -> Any:
        _swap(trial)
        return real()

    rule = trial.rule(call, swap, 1, nth=nth)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert "unmounted or replaced" in _message(each)
    assert each.error is not None
    assert each.error.errno == "ESTALE"
    trial.require_nothing(1)
    assert list((trial.root / "away").iterdir()) == []


@pytest.mark.fault(22)
def test_folder_that_is_swapped_at_the_last_moment_is_noticed_before_it_is_called_done(trial: Trial) -> None:
    def swap(real: Callable[[], None], *arguments: Any) -> None:
        _swap(trial)
        real()

    rule = trial.rule("rename_to_free_name", swap, 1)
    each = _failed(trial.run(), trial)
    assert rule.fired == 1
    assert "unmounted or replaced" in _message(each)
    trial.require_nothing(1)
    assert (trial.root / "away/clip.mov").read_bytes() == trial.data


@pytest.mark.fault(25)
def test_folder_that_is_removed_fails_that_destination(trial: Trial) -> None:
    def remove(real: Callable[[], Any], *arguments: Any) -> Any:
        shutil.rmtree(trial.root / "d1")
        return real()

    rule = trial.rule("write", remove, 1, nth=3)
    _failed(trial.run(), trial)
    assert rule.fired == 1
    assert not (trial.root / "d1").exists()


@pytest.mark.fault(80)
def test_link_that_is_pointed_elsewhere_does_not_move_the_copy(trial: Trial) -> None:
    real_folder, other = trial.root / "volume", trial.root / "system"
    real_folder.mkdir()
    other.mkdir()
    (trial.root / "d1").symlink_to(real_folder)

    def point(real: Callable[[], Any], *arguments: Any) -> Any:
        (trial.root / "d1").unlink()
        (trial.root / "d1").symlink_to(other)
        return real()

    rule = trial.rule("write", point, 1, nth=2)
    _failed(trial.run(), trial)
    assert rule.fired == 1
    assert list(other.iterdir()) == []
    assert list(real_folder.iterdir()) == []


def test_partial_is_never_reached_through_a_path(trial: Trial) -> None:
    """Every call on a temporary or final name goes through the folder's descriptor."""
    by_path: list[str] = []

    def note(real: Callable[[], Any], path: str, *more: Any) -> Any:
        by_path.append(path)
        return real()

    for call in ("status", "open_source", "open_folder"):
        trial.system.rule(call, note, where="/d1/", times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    assert by_path
    assert not [path for path in by_path if ".pfn." in path]
