"""The batch path: small files as a group, durable, compared and named; one that fails costs the others nothing."""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import State, TreeResult
from pfndispatchcopy.engine import batch as batch_module
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.events import ErrorEvent, FileEvent, PlanEvent, WarningEvent
from pfndispatchcopy.fileio.names import journal_name
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import Conflict, ReadBack, Strategy, Verify
from tests.support.faulty_system import Rule
from tests.support.files import partials
from tests.support.tree_trial import CARD, SOURCE, AnyCall, TreeTrial, failing, flip, is_own, sweep
from tests.support.trial import open_below

_STALL_S = 0.2
_NAMES = ("clip.mov", "empty.txt", "sub/small.txt")


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """Three files, of 1 MB, 100 bytes and none; at the end, what hangs is let go and every thread has to be gone."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(tmp_path)
    yield trial
    trial.end()


def _message(result: TreeResult, number: int = 1) -> str:
    error = result.destinations[number].error
    assert error is not None
    return error.message


def _ways(trial: TreeTrial, name: str) -> list[ReadBack]:
    (event,) = [event for event in trial.events if isinstance(event, FileEvent) and event.path == name]
    return [each.read_back for each in event.destinations]


# -- order --------------------------------------------------------------------------------------------------


def test_small_files_of_a_card_go_in_one_batch_and_are_verified(trial: TreeTrial) -> None:
    result = trial.run()
    (plan,) = [event for event in trial.events if isinstance(event, PlanEvent)]
    assert (plan.strategy, plan.files, plan.bytes) == (Strategy.BATCH, 3, 1_000_100)
    trial.require_good(result, 0, 1, 2)
    assert [trial.states(name) for name in _NAMES] == [[State.VERIFIED] * 3] * 3
    assert [_ways(trial, name) for name in _NAMES] == [[ReadBack.EVICTED] * 3] * 3
    assert (result.exit_code, result.files, result.size) == (0, 3, 1_000_100)
    assert trial.notices(ErrorEvent) == trial.notices(WarningEvent) == []


def test_steps_come_in_the_order_that_makes_copies_durable(trial: TreeTrial) -> None:
    opened: list[tuple[str, int]] = []

    def open_name(real: Callable[[], int], folder: FolderHandle, name: str, flags: int, *more: Any) -> int:
        opened.append((name, flags))
        return real()

    trial.rule("open_name", open_name, 1, times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    assert len(opened) == 3
    exclusively = os.O_CREAT | os.O_EXCL
    assert all(flags & exclusively == exclusively for _, flags in opened)
    calls = [call for call, _ in trial.calls_of(1)]
    calls = calls[calls.index("make_subfolder") :]
    steps = [
        "open_name",
        "write",
        "set_times",
        "start_write_back",
        "flush",
        "drop_cache",
        "is_cached",
        "read",
        "close",
        "rename_to_free_name",
    ]
    first = calls.index

    def last(call: str) -> int:
        return len(calls) - 1 - calls[::-1].index(call)

    assert [first(call) for call in steps] == sorted(first(call) for call in steps)
    for earlier, later in (
        ("write", "flush"),
        ("start_write_back", "flush"),
        ("flush", "drop_cache"),
        ("is_cached", "read"),
        ("read", "rename_to_free_name"),
    ):
        assert last(earlier) < first(later), f"{later} before the last {earlier}"
    assert last("rename_to_free_name") < first("flush_folder")
    assert [calls.count(call) for call in ("write", "flush", "rename_to_free_name")] == [3, 3, 3]


@pytest.mark.parametrize("call", ["write", "flush", "read"])
def test_no_final_name_exists_before_everything_was_compared(call: str, trial: TreeTrial) -> None:
    seen: list[list[str]] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append([name for name in trial.names(1) if "/.pfn." not in name and not name.startswith(".pfn.")])
        return real()

    rule = trial.rule(call, look, 1, times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    assert rule.fired >= 3
    assert not any(seen)


def test_every_file_is_read_from_the_source_once(trial: TreeTrial) -> None:
    trial.require_good(trial.run(), 0, 1, 2)
    assert [trial.reads_of(name) for name in _NAMES] == [1, 1, 1]


@pytest.mark.fault(71)
def test_copies_keep_mode_and_times_but_not_the_bits_that_give_rights(trial: TreeTrial) -> None:
    (trial.card / "clip.mov").chmod(0o4751)
    trial.require_good(trial.run(), 0, 1, 2)
    assert [stat.S_IMODE(trial.copy(number, "clip.mov").stat().st_mode) for number in range(3)] == [0o751] * 3


def test_more_files_than_a_group_holds_are_all_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_GROUP_FILES", 4)
    trial = TreeTrial(tmp_path, {f"f{number:02}": number * 10 for number in range(14)})
    trial.require_good(trial.run(), 0, 1, 2)
    calls = [call for call, _ in trial.calls_of(0) if call in ("flush", "rename_to_free_name")]
    groups = "".join(call[0] for call in calls)
    assert groups == "ffffrrrr" * 3 + "ffrr"
    trial.end()


# -- every call fails in turn -----------------------------------------------------------------------------------


def _left_behind(trial: TreeTrial) -> list[Path]:
    """Temporary names, but for the record of what is unfinished."""
    return [path for path in partials(trial.root) if path.name != journal_name(CARD)]


def _require_second_run_to_complete(trial: TreeTrial, fault: AnyCall) -> None:
    aside = tuple(name for name in trial.names(1) if name.endswith(".corrupt"))
    left = [path for path in _left_behind(trial) if fault.victim == "remove_name"]
    again = trial.run_again()
    assert again.exit_code == 0, trial.notices(ErrorEvent)
    for path in left:
        path.unlink(missing_ok=True)
    for number in range(3):
        trial.require_good(again, number, names=aside if number == 1 else ())


@pytest.mark.fault(1, 3, 6, 7, 8, 9, 10, 46)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=lambda number: errno.errorcode[number])
def test_every_call_on_a_destination_may_fail_in_turn(error: int, part: int) -> None:
    def check(trial: TreeTrial, fault: AnyCall) -> None:
        result = trial.run_within(20)
        trial.require_good(result, 0, 2)
        trial.require_nothing_false()
        mine = result.destinations[1]
        assert mine.success == (mine.error is None)
        assert result.exit_code == (0 if mine.success else 4 if mine.state is State.MISMATCH else 3)
        assert mine.success == (trial.notices(ErrorEvent) == [])
        if fault.victim != "remove_name":
            assert _left_behind(trial) == []
        assert open_below(trial.root) == []
        _require_second_run_to_complete(trial, fault)

    def rule(trial: TreeTrial, nth: int) -> AnyCall:
        return trial.fail_any(error, 1, nth, after="open_folder")

    sweep(check, rule, part)


@pytest.mark.fault(30, 31)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("error", [errno.EIO, errno.ENODEV], ids=lambda number: errno.errorcode[number])
def test_every_call_on_the_source_may_fail_in_turn(error: int, part: int) -> None:
    def check(trial: TreeTrial, fault: AnyCall) -> None:
        try:
            result = trial.run_within(20)
        except RefusedError:
            assert all(trial.names(number) == [] for number in range(3))
        else:
            assert (result.exit_code == 0) == (trial.notices(ErrorEvent) == [])
            if fault.victim in ("open_source_name", "read", "entries"):
                assert result.exit_code in (1, 3)
            assert open_below(trial.root) == []
        trial.require_nothing_false()
        assert _left_behind(trial) == []
        again = trial.run_again()
        assert again.exit_code == 0
        trial.require_good(again, 0, 1, 2)

    sweep(check, lambda trial, nth: trial.fail_any(error, None, nth), part)


@pytest.mark.fault(24)
@pytest.mark.parametrize("part", range(4))
def test_destination_may_go_for_good_at_any_call(part: int) -> None:
    """As when a cable is pulled: that call fails, and every one after it."""

    def check(trial: TreeTrial, fault: AnyCall) -> None:
        result = trial.run_within(20)
        trial.require_good(result, 0, 2)
        trial.require_nothing_false()
        again = trial.run_again()
        assert again.exit_code == 0
        trial.require_good(again, 0, 2)
        trial.require_copied(1)

    sweep(check, lambda trial, nth: trial.fail_any(errno.ENODEV, 1, nth, after="open_folder", for_ever=True), part)


@pytest.mark.fault(10)
def test_folder_that_gets_new_folders_is_durable_as_well(trial: TreeTrial) -> None:
    """The folder CARD is new in d1: when d1 cannot be flushed, nothing in CARD is known to stay."""
    rule = trial.fail("flush_folder", errno.EIO, 1, nth=2, name="d1")  # the first one is for the record
    result = trial.run()
    assert rule.fired == 1
    (notice,) = trial.notices(ErrorEvent)
    assert "not proven" in notice.message
    assert not result.destinations[1].success
    assert result.exit_code == 3


# -- writing ------------------------------------------------------------------------------------------------


@pytest.mark.fault(12)
@pytest.mark.parametrize("taken", [1, 40, 99])
def test_short_writes_are_finished(taken: int, trial: TreeTrial) -> None:
    rule = trial.rule("write", lambda real, fd, data: os.write(fd, data[:taken]), 1, times=None, name="small.txt")
    trial.require_good(trial.run(), 0, 1, 2)
    assert rule.fired == -(-100 // taken)


@pytest.mark.fault(12)
def test_short_writes_of_a_larger_file_are_finished(trial: TreeTrial) -> None:
    rule = trial.rule("write", lambda real, fd, data: os.write(fd, data[:9999]), 1, times=None, name="clip.mov")
    trial.require_good(trial.run(), 0, 1, 2)
    assert rule.fired == 101


@pytest.mark.fault(13)
@pytest.mark.parametrize("nth", [1, 2])
def test_write_that_takes_nothing_for_ever_is_a_failure(nth: int, trial: TreeTrial) -> None:
    trial.rule("write", lambda real, fd, data: os.write(fd, data[:10]), 1, times=nth - 1, name="small.txt")
    rule = trial.rule("write", lambda real, fd, data: 0, 1, times=None, name="small.txt")
    result = trial.run_within(10)
    assert 1 < rule.fired < 100
    assert "took no bytes" in _message(result)
    _require_failed_alone(trial, result, "sub/small.txt")


@pytest.mark.fault(12, 13)
def test_writes_that_take_nothing_now_and_then_are_no_failure(trial: TreeTrial) -> None:
    calls = iter(range(1000))

    def reluctantly(real: Callable[[], int], fd: int, data: memoryview) -> int:
        return 0 if next(calls) % 3 else os.write(fd, data[:10])

    rule = trial.rule("write", reluctantly, 1, times=None, name="small.txt")
    trial.require_good(trial.run(), 0, 1, 2)
    assert rule.fired >= 20


def _require_failed_alone(trial: TreeTrial, result: TreeResult, name: str, number: int = 1) -> None:
    """One file failed on one destination; all others are good there and elsewhere, and nothing is left of it."""
    trial.require_good(result, *({0, 1, 2} - {number}))
    each = result.destinations[number]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 2, 1)
    assert result.exit_code == 3
    for other in _NAMES:
        states = trial.states(other)
        assert states[number] is (State.FAILED if other == name else State.VERIFIED)
        assert trial.copy(number, other).exists() == (other != name)
    trial.require_nothing_false()
    trial.require_no_partials(but_records=True)
    _forget_record(trial, number)


def _forget_record(trial: TreeTrial, *numbers: int) -> None:
    """The record of what is unfinished is not to be taken for something left behind."""
    for number in numbers or range(3):
        (trial.root / f"d{number}" / journal_name(CARD)).unlink(missing_ok=True)


@pytest.mark.fault(5, 6, 16, 77)
@pytest.mark.parametrize("name", ["clip.mov", "empty.txt", "sub/small.txt"])
@pytest.mark.parametrize(
    "number",
    [errno.EIO, errno.EFBIG, errno.EAGAIN, errno.EILSEQ, errno.ENAMETOOLONG],
    ids=lambda number: errno.errorcode[number],
)
def test_failed_write_costs_one_file_on_one_destination(number: int, name: str, trial: TreeTrial) -> None:
    rule = trial.fail("write", number, 1, name=name.rsplit("/", 1)[-1])
    result = trial.run()
    assert rule.fired == 1
    (notice,) = trial.notices(ErrorEvent)
    assert (notice.operation, notice.errno) == ("write", errno.errorcode[number])
    assert notice.path == f"{trial.label(1)}/{CARD}/{name}"
    assert "Nothing of it was left behind." in notice.message
    assert result.destinations[1].error == notice
    _require_failed_alone(trial, result, name)


@pytest.mark.fault(1, 2, 4, 19)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=lambda n: errno.errorcode[n])
@pytest.mark.parametrize("call", ["open_name", "write"])
def test_full_destination_is_not_asked_again_and_the_others_go_on(call: str, number: int, trial: TreeTrial) -> None:
    rule = trial.fail(call, number, 1, times=None)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 0, 3)
    assert each.error is not None
    assert each.error.errno == errno.errorcode[number]
    assert len(trial.notices(ErrorEvent)) == 1
    assert trial.names(1) == []
    assert result.exit_code == 3


@pytest.mark.fault(1)
def test_files_before_the_destination_was_full_are_kept_and_verified(trial: TreeTrial) -> None:
    rule = trial.fail("write", errno.ENOSPC, 1, nth=2, times=None)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 1, 2)
    trial.require_nothing_false()
    _forget_record(trial, 1)


def _many(tmp_path: Path, count: int = 12) -> TreeTrial:
    return TreeTrial(tmp_path, {f"f{number:02}": 10 + number for number in range(count)})


def test_ten_failures_in_a_row_give_a_destination_up(tmp_path: Path) -> None:
    trial = _many(tmp_path)
    rule = trial.fail("open_name", errno.EIO, 1, times=None)
    result = trial.run()
    assert rule.fired == 10
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 0, 12)
    assert result.exit_code == 3


def test_nine_failures_in_a_row_do_not(tmp_path: Path) -> None:
    trial = _many(tmp_path)
    rule = trial.fail("open_name", errno.EIO, 1, times=9)
    result = trial.run()
    assert rule.fired == 9
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].files_ok, result.destinations[1].files_failed) == (3, 9)
    _forget_record(trial, 1)


@pytest.mark.fault(77)
def test_failures_with_successes_in_between_are_none_in_a_row(tmp_path: Path) -> None:
    """As on a file system that does not take some of the names: a destination is not given up for that."""
    trial = _many(tmp_path, 30)
    count = iter(range(1000))

    def every_second(real: Callable[[], int], *arguments: Any) -> int:
        if next(count) % 2:
            raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
        return real()

    trial.rule("open_name", every_second, 1, times=None)
    result = trial.run()
    trial.require_good(result, 0, 2)
    _forget_record(trial)
    assert (result.destinations[1].files_ok, result.destinations[1].files_failed) == (15, 15)


@pytest.mark.parametrize("part", ["", "sub"])
def test_folder_that_cannot_be_made_fails_its_files_alone(part: str, trial: TreeTrial) -> None:
    rule = trial.fail("make_subfolder", errno.EACCES, 1, times=None, name=part or CARD)
    result = trial.run()
    assert rule.fired
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.files_ok) == (State.FAILED, 2 if part else 0)
    trial.require_nothing_false()
    _forget_record(trial)


@pytest.mark.fault(80)
def test_planted_link_in_the_place_of_a_folder_is_not_followed(trial: TreeTrial) -> None:
    outside = trial.root / "outside"
    outside.mkdir()
    trial.copy(1).mkdir(parents=True)
    trial.copy(1, "sub").symlink_to(outside)
    result = trial.run()
    trial.require_good(result, 0, 2)
    assert list(outside.iterdir()) == []
    assert trial.copy(1, "sub").is_symlink()
    assert result.destinations[1].state is State.FAILED
    assert trial.states("sub/small.txt") == [State.VERIFIED, State.FAILED, State.VERIFIED]
    _forget_record(trial)


@pytest.mark.fault(80)
def test_link_that_is_put_in_the_place_of_a_folder_during_the_run_is_not_followed(trial: TreeTrial) -> None:
    outside = trial.root / "outside"
    outside.mkdir()

    def swap(real: Callable[[], Any], *arguments: Any) -> Any:
        real()
        trial.copy(1, "sub").rmdir()
        trial.copy(1, "sub").symlink_to(outside)

    rule = trial.rule("make_subfolder", swap, 1, name="sub")
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert list(outside.iterdir()) == []
    assert not result.destinations[1].success
    _forget_record(trial)


def test_metadata_that_cannot_be_kept_is_a_warning(trial: TreeTrial) -> None:
    rule = trial.fail("set_mode", errno.EPERM, 1, times=None, name="clip.mov")
    result = trial.run()
    assert rule.fired >= 1
    assert result.exit_code == 0
    (notice,) = trial.notices(WarningEvent)
    assert (notice.operation, notice.errno, notice.destination) == ("preserve", "EPERM", trial.label(1))


def test_same_warning_on_many_files_is_told_once_and_counted(trial: TreeTrial) -> None:
    trial.rule("set_mode", failing("set_mode", errno.EPERM), 1, times=None)
    result = trial.run()
    assert result.exit_code == 0
    mine = [notice for notice in trial.notices(WarningEvent) if notice.operation == "preserve"]
    assert len(mine) == 2
    assert "more files" in mine[1].message


@pytest.mark.fault(14)
def test_write_that_lies_is_found_out_by_the_size(trial: TreeTrial) -> None:
    rule = trial.rule("write", lambda real, fd, data: len(data), 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    assert "the file has 0" in _message(result)
    _require_failed_alone(trial, result, "clip.mov")


# -- making it durable ----------------------------------------------------------------------------------------


@pytest.mark.fault(3, 4, 7)
@pytest.mark.parametrize("name", ["clip.mov", "empty.txt", "sub/small.txt"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=lambda n: errno.errorcode[n])
def test_failed_flush_is_final_and_never_asked_again(number: int, name: str, trial: TreeTrial) -> None:
    rule = trial.fail("flush", number, 1, name=name.rsplit("/", 1)[-1])
    result = trial.run()
    assert rule.fired == 1
    flushed = [path for call, path in trial.calls_of(1, "flush")]
    assert len(flushed) == len(set(flushed)) == 3
    (notice,) = trial.notices(ErrorEvent)
    assert (notice.operation, notice.errno) == ("flush", errno.errorcode[number])
    _require_failed_alone(trial, result, name)
    assert len(trial.calls_of(1, "rename_to_free_name")) == 2


@pytest.mark.fault(7)
def test_file_whose_flush_failed_is_not_read_back(trial: TreeTrial) -> None:
    rule = trial.fail("flush", errno.EIO, 1, name="clip.mov")
    trial.run()
    assert rule.fired == 1
    bad = next(path for call, path in trial.calls_of(1, "flush") if _is_of(path, "clip.mov"))
    after = [call for call, path in trial.calls_of(1) if path == bad]
    assert after[after.index("flush") + 1 :] == ["close", "remove_name"]
    _forget_record(trial, 1)


def _is_of(temporary: str, name: str) -> bool:
    from pfndispatchcopy.fileio.names import is_temporary_of

    return is_temporary_of(temporary, name)


@pytest.mark.fault(8)
def test_late_error_of_the_close_is_a_failure(trial: TreeTrial) -> None:
    rule = trial.fail("close", errno.EIO, 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    (notice,) = trial.notices(ErrorEvent)
    assert notice.operation == "close"
    _require_failed_alone(trial, result, "clip.mov")


@pytest.mark.fault(9)
@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM], ids=lambda n: errno.errorcode[n])
def test_failed_rename_leaves_nothing(number: int, trial: TreeTrial) -> None:
    rule = trial.fail("rename_to_free_name", number, 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    (notice,) = trial.notices(ErrorEvent)
    assert (notice.operation, notice.errno) == ("rename", errno.errorcode[number])
    _require_failed_alone(trial, result, "clip.mov")


@pytest.mark.fault(10)
@pytest.mark.parametrize(("name", "good"), [(CARD, 0), ("sub", 2)])
def test_failed_flush_of_a_folder_leaves_its_files_but_does_not_call_them_durable(
    name: str, good: int, trial: TreeTrial
) -> None:
    """Nor those of a new folder within it, which nobody knows to stay."""
    rule = trial.fail("flush_folder", errno.EIO, 1, name=name)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    trial.require_copied(1)
    each = result.destinations[1]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, good, 3 - good)
    assert "whether they are durable is not proven" in _message(result)
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)


@pytest.mark.fault(11)
def test_file_system_that_cannot_flush_folders_is_a_warning(trial: TreeTrial) -> None:
    rule = trial.rule("flush_folder", lambda real, *arguments: False, 1, times=None)
    result = trial.run()
    assert rule.fired
    trial.require_good(result, 0, 1, 2)
    notices = trial.notices(WarningEvent)
    assert {(notice.operation, notice.destination) for notice in notices} == {("flush the folder", trial.label(1))}


@pytest.mark.fault(6, 19)
def test_partial_that_cannot_be_removed_is_named(trial: TreeTrial) -> None:
    writing = trial.fail("write", errno.EIO, 1, name="clip.mov")
    removing = trial.fail("remove_name", errno.EROFS, 1, name="clip.mov")
    trial.run()
    assert (writing.fired, removing.fired) == (1, 1)
    (left,) = _left_behind(trial)
    trial.require_told(left)
    left.unlink()
    _forget_record(trial, 1)


@pytest.mark.fault(6, 19)
def test_next_run_removes_what_could_not_be_removed(trial: TreeTrial) -> None:
    trial.fail("write", errno.EIO, 1, name="clip.mov")
    removing = trial.fail("remove_name", errno.EROFS, 1, name="clip.mov")
    trial.run()
    assert removing.fired == 1
    result = trial.run_again()
    assert result.exit_code == 0
    trial.require_good(result, 0, 1, 2)


def test_unforced_destination_is_not_flushed_and_not_called_verified(trial: TreeTrial) -> None:
    result = trial.run(no_flush={trial.label(1)})
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.error) == (State.COPIED, None)
    assert [_ways(trial, name)[1] for name in _NAMES] == [ReadBack.CACHED] * 3
    assert trial.calls_of(1, "flush", "flush_folder", "drop_cache") == []
    assert result.exit_code == 0


@pytest.mark.fault(40)
def test_difference_on_an_unforced_destination_is_still_a_mismatch(trial: TreeTrial) -> None:
    rule = trial.rule("read", flip, 1, name="clip.mov")
    result = trial.run(no_flush={trial.label(1)})
    assert rule.fired == 1
    assert (result.destinations[1].state, result.exit_code) == (State.MISMATCH, 4)
    _forget_record(trial, 1)


def test_copies_that_are_not_read_back_are_flushed_but_not_called_verified(trial: TreeTrial) -> None:
    result = trial.run(verify=Verify.NONE)
    assert [each.state for each in result.destinations] == [State.COPIED] * 3
    for number in range(3):
        assert trial.calls_of(number, "read") == []
        assert len(trial.calls_of(number, "flush")) == 3
    assert result.exit_code == 0


# -- reading back ---------------------------------------------------------------------------------------------


def _region(size: int, *, zeros: bool) -> Callable[..., int]:
    """Spoil a region of what is read, as a bad sector or a lost write would."""

    def spoil(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
        got = real()
        start = min(512, got // 2)
        end = min(start + size, got)
        assert end > start
        buffer[start:end] = bytes(end - start) if zeros else bytes(each ^ 0xFF for each in buffer[start:end])
        return got

    return spoil


_SPOILING = {"bit": flip, "sector": _region(512, zeros=False), "64 KiB of zeros": _region(65536, zeros=True)}


@pytest.mark.fault(40, 41, 44)
@pytest.mark.parametrize("way", [ReadBack.EVICTED, ReadBack.DIRECT, ReadBack.CACHED])
@pytest.mark.parametrize("what", _SPOILING)
def test_difference_behind_the_cache_is_found_and_the_bad_copy_set_aside(
    what: str, way: ReadBack, trial: TreeTrial
) -> None:
    if way is not ReadBack.EVICTED:
        trial.rule("is_cached", lambda real, *arguments: True, 1, times=None)
        opening = _open_again if way is ReadBack.DIRECT else failing("open_direct", errno.EINVAL)
        trial.rule("open_direct", opening, 1, times=None)
    rule = trial.rule("read", _SPOILING[what], 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.exit_code) == (State.MISMATCH, 4)
    assert trial.states("clip.mov") == [State.VERIFIED, State.MISMATCH, State.VERIFIED]
    assert _ways(trial, "clip.mov")[1] is way
    assert f"{CARD}/clip.mov.corrupt" in trial.names(1)
    assert not trial.copy(1, "clip.mov").exists()
    trial.require_told(trial.copy(1, "clip.mov.corrupt"))
    assert "xxh64be:" in _message(result)
    trial.require_no_partials(but_records=True)
    _forget_record(trial, 1)


def _open_again(real: Callable[[], int], folder: FolderHandle, name: str) -> int:
    return os.open(name, os.O_RDONLY, dir_fd=folder.fd)


@pytest.mark.fault(43)
def test_flip_between_the_reading_and_the_medium_is_a_mismatch(trial: TreeTrial) -> None:
    """The bytes change in memory after their digest was taken, on the way to one destination."""

    def write(real: Callable[[], int], fd: int, data: memoryview) -> int:
        changed = bytearray(data)
        changed[77] ^= 4
        return os.write(fd, changed)

    rule = trial.rule("write", write, 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.exit_code) == (State.MISMATCH, 4)
    assert trial.copy(1, "clip.mov.corrupt").read_bytes() != trial.files["clip.mov"]
    _forget_record(trial, 1)


@pytest.mark.fault(14, 41)
def test_write_that_leaves_a_hole_is_found_out_by_the_reading_back(trial: TreeTrial) -> None:
    def skip(real: Callable[[], int], fd: int, data: memoryview) -> int:
        os.ftruncate(fd, len(data))
        os.lseek(fd, len(data), os.SEEK_CUR)
        return len(data)

    rule = trial.rule("write", skip, 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    assert (result.destinations[1].state, result.exit_code) == (State.MISMATCH, 4)
    _forget_record(trial, 1)


@pytest.mark.fault(46)
@pytest.mark.parametrize("way", [ReadBack.EVICTED, ReadBack.DIRECT])
def test_copy_that_cannot_be_read_back_is_a_mismatch(way: ReadBack, trial: TreeTrial) -> None:
    if way is ReadBack.DIRECT:
        trial.rule("is_cached", lambda real, *arguments: True, 1, times=None)
        trial.rule("open_direct", _open_again, 1, times=None)
    rule = trial.fail("read", errno.EIO, 1, times=None, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.exit_code) == (State.MISMATCH, 4)
    assert "EIO" in _message(result)
    assert trial.names(1) == sorted([journal_name(CARD), *(f"{CARD}/{each}" for each in _corrupt("clip.mov"))])
    _forget_record(trial, 1)


def _corrupt(name: str) -> list[str]:
    return [f"{each}.corrupt" if each == name else each for each in _NAMES]


@pytest.mark.fault(40)
def test_second_run_replaces_what_was_set_aside_by_a_good_copy(trial: TreeTrial) -> None:
    rule = trial.rule("read", flip, 1, name="clip.mov")
    trial.run()
    assert rule.fired == 1
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 2)
    trial.require_good(again, 1, names=(f"{CARD}/clip.mov.corrupt",))


@pytest.mark.fault(40)
def test_bad_copy_whose_name_is_taken_is_removed(trial: TreeTrial) -> None:
    trial.occupy(1, "clip.mov.corrupt", b"an older one")
    rule = trial.rule("read", flip, 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    assert result.exit_code == 4
    assert "The bad copy was removed." in _message(result)
    assert trial.copy(1, "clip.mov.corrupt").read_bytes() == b"an older one"
    trial.require_no_partials(but_records=True)
    _forget_record(trial, 1)


@pytest.mark.fault(40)
def test_bad_copy_that_can_be_neither_set_aside_nor_removed_is_named(trial: TreeTrial) -> None:
    rules = [
        trial.rule("read", flip, 1, name="clip.mov"),
        trial.fail("rename_to_free_name", errno.EIO, 1, name="clip.mov"),
        trial.fail("remove_name", errno.EIO, 1, name="clip.mov"),
    ]
    trial.run()
    assert [rule.fired for rule in rules] == [1, 1, 1]
    left = _left_behind(trial)
    for path in partials(trial.root):
        path.unlink()
    assert len(left) == 1
    trial.require_told(*left)


def test_dropped_cache_is_checked_before_the_reading_back_counts(trial: TreeTrial) -> None:
    trial.require_good(trial.run(), 0, 1, 2)
    for number in range(3):
        calls = [call for call, _ in trial.calls_of(number, "drop_cache", "is_cached", "read", "open_direct")]
        assert calls.index("drop_cache") < calls.index("is_cached") < calls.index("read")
        assert "open_direct" not in calls


@pytest.mark.fault(44)
@pytest.mark.parametrize("answer", [True, None])
def test_cache_that_cannot_be_dropped_is_read_around(answer: bool | None, trial: TreeTrial) -> None:
    cached = trial.rule("is_cached", lambda real, *arguments: answer, 1, times=None)
    direct = trial.rule("open_direct", _open_again, 1, times=None)
    result = trial.run()
    assert (cached.fired, direct.fired) == (3, 3)
    trial.require_good(result, 0, 1, 2)
    assert [_ways(trial, name) for name in _NAMES] == [[ReadBack.EVICTED, ReadBack.DIRECT, ReadBack.EVICTED]] * 3


def _require_not_proven(trial: TreeTrial, result: TreeResult) -> None:
    trial.require_good(result, 0, 2)
    trial.require_copied(1)
    each = result.destinations[1]
    assert (each.success, each.files_ok, each.files_failed) == (False, 0, 3)
    assert each.state is not State.VERIFIED
    assert [trial.states(name)[1] for name in _NAMES] == [State.COPIED] * 3
    assert [_ways(trial, name)[1] for name in _NAMES] == [ReadBack.CACHED] * 3
    assert "never on the medium" in _message(result)
    assert result.exit_code == 3
    _forget_record(trial)


@pytest.mark.fault(44, 45)
@pytest.mark.parametrize("answer", [True, None])
def test_comparison_in_the_cache_is_never_called_verified(answer: bool | None, trial: TreeTrial) -> None:
    cached = trial.rule("is_cached", lambda real, *arguments: answer, 1, times=None)
    direct = trial.fail("open_direct", errno.EINVAL, 1, times=None)
    result = trial.run()
    assert (cached.fired, direct.fired) == (3, 3)
    _require_not_proven(trial, result)


@pytest.mark.fault(45)
def test_direct_read_that_is_refused_after_it_was_promised_is_no_proof(trial: TreeTrial) -> None:
    trial.rule("is_cached", lambda real, *arguments: True, 1, times=None)
    direct = trial.rule("open_direct", _open_again, 1, times=None)
    reading = trial.rule("read", _refusing_every_other(), 1, times=None)
    result = trial.run()
    assert direct.fired == 3
    assert reading.fired >= 3
    _require_not_proven(trial, result)


def _refusing_every_other() -> Callable[..., int]:
    """The first read of each file is refused."""
    refused: set[str] = set()

    def read(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
        name = os.readlink(f"/proc/self/fd/{fd}")
        if name not in refused:
            refused.add(name)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real()

    return read


@pytest.mark.fault(47)
def test_another_file_in_the_place_of_the_temporary_one_is_never_read_for_it(trial: TreeTrial) -> None:
    def swap(real: Callable[[], int], folder: FolderHandle, name: str) -> int:
        os.rename(name, "aside", src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=folder.fd))
        return _open_again(real, folder, name)

    trial.rule("is_cached", lambda real, *arguments: True, 1, times=None)
    direct = trial.rule("open_direct", swap, 1, name="clip.mov")
    result = trial.run()
    assert direct.fired == 1
    trial.require_good(result, 0, 2)
    assert not result.destinations[1].success
    assert trial.states("clip.mov")[1] is not State.VERIFIED
    _forget_record(trial)


@pytest.mark.fault(47)
def test_partial_that_was_swapped_never_gets_the_final_name(trial: TreeTrial) -> None:
    """As PartialFile.commit promises it for larger files."""

    def swap(real: Callable[[], None], fd: int) -> None:
        real()
        (partial,) = [path for path in _left_behind(trial) if "/d1/" in str(path) and _is_of(path.name, "clip.mov")]
        partial.rename(trial.root / "aside")
        partial.write_bytes(b"something else")

    rule = trial.rule("flush", swap, 1, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    _forget_record(trial)
    trial.require_nothing_false()
    assert not result.destinations[1].success


# -- the source -----------------------------------------------------------------------------------------------


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.rename(path)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _truncate(path: Path) -> None:
    os.truncate(path, 50)


def _change_and_put_the_time_back(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove(path: Path) -> None:
    path.unlink()


_CHANGES = {
    "touched": _touch,
    "replaced": _replace,
    "grown": _grow,
    "truncated": _truncate,
    "changed, the time put back": _change_and_put_the_time_back,
    "removed": _remove,
}


@pytest.mark.fault(32, 33, 34, 35)
@pytest.mark.parametrize("strategy", [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL])
@pytest.mark.parametrize("what", _CHANGES)
def test_source_that_changes_while_it_is_read_fails_everywhere_and_alone(
    what: str, strategy: Strategy, trial: TreeTrial
) -> None:
    path = trial.card / "clip.mov"

    def change(real: Callable[[], int], *arguments: Any) -> int:
        if what == "truncated":
            _CHANGES[what](path)
            return real()
        count = real()
        _CHANGES[what](path)
        return count

    rule = trial.rule("read", change, name="clip.mov")
    result = trial.run(strategy=strategy)
    assert rule.fired == 1
    assert trial.states("clip.mov") == [State.FAILED] * 3
    assert all(trial.states(name) == [State.VERIFIED] * 3 for name in _NAMES[1:])
    assert not any(trial.copy(number, "clip.mov").exists() for number in range(3))
    assert result.exit_code == 3
    notices = trial.notices(ErrorEvent)
    assert [notice.path for notice in notices] == [str(path)]
    assert notices[0].destination is None
    trial.require_no_partials(but_records=True)
    _forget_record(trial, 0, 1, 2)


@pytest.mark.fault(36)
@pytest.mark.parametrize("strategy", [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL])
def test_source_that_vanishes_before_it_is_opened_fails_everywhere_and_alone(
    strategy: Strategy, trial: TreeTrial
) -> None:
    def vanish(real: Callable[[], int], *arguments: Any) -> int:
        (trial.card / "clip.mov").unlink()
        return real()

    rule = trial.rule("open_source_name", vanish, name="clip.mov")
    result = trial.run(strategy=strategy)
    assert rule.fired == 1
    assert trial.states("clip.mov") == [State.FAILED] * 3
    assert "vanished" in _message(result)
    assert result.exit_code == 3
    del trial.files["clip.mov"]
    for number in range(3):
        trial.require_copied(number)
    _forget_record(trial, 0, 1, 2)


@pytest.mark.fault(35, 69)
@pytest.mark.parametrize("strategy", [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL])
@pytest.mark.parametrize("what", ["FIFO", "link", "folder"])
def test_source_that_is_no_file_any_more_is_neither_waited_for_nor_followed(
    what: str, strategy: Strategy, trial: TreeTrial
) -> None:
    path = trial.card / "clip.mov"
    secret = trial.root / "secret"
    secret.write_bytes(b"secret" * 10)

    def swap(real: Callable[[], int], *arguments: Any) -> int:
        path.unlink()
        if what == "FIFO":
            os.mkfifo(path)
        elif what == "link":
            path.symlink_to(secret)
        else:
            path.mkdir()
        return real()

    rule = trial.rule("open_source_name", swap, name="clip.mov")
    result = trial.run_within(10, strategy=strategy)
    assert rule.fired == 1
    assert trial.states("clip.mov") == [State.FAILED] * 3
    assert not any(trial.copy(number, "clip.mov").exists() for number in range(3))
    assert result.exit_code == 3
    _forget_record(trial, 0, 1, 2)


def test_source_that_has_become_too_large_for_a_batch_is_copied_all_the_same(
    trial: TreeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "LARGEST_SMALL_FILE", 500_000)
    result = trial.run()
    trial.require_good(result, 0, 1, 2)
    assert trial.states("clip.mov") == [State.VERIFIED] * 3


def test_source_that_was_changed_since_it_was_listed_is_copied_as_it_is(trial: TreeTrial) -> None:
    path = trial.card / "clip.mov"

    def grow(real: Callable[[], int], *arguments: Any) -> int:
        _grow(path)
        return real()

    rule = trial.rule("open_source_name", grow, name="clip.mov")
    result = trial.run()
    assert rule.fired == 1
    trial.files["clip.mov"] = path.read_bytes()
    trial.require_good(result, 0, 1, 2)


@pytest.mark.fault(30)
@pytest.mark.parametrize("call", ["open_source_name", "read"])
def test_file_that_cannot_be_read_fails_everywhere_and_alone(call: str, trial: TreeTrial) -> None:
    rule = trial.fail(call, errno.EIO, name="clip.mov")
    assert trial.run().exit_code == 3
    assert rule.fired == 1
    assert trial.states("clip.mov") == [State.FAILED] * 3
    assert all(trial.states(name) == [State.VERIFIED] * 3 for name in _NAMES[1:])
    (notice,) = trial.notices(ErrorEvent)
    assert (notice.errno, notice.destination) == ("EIO", None)
    assert "No destination got this file." in notice.message
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)
    assert trial.reads_of("clip.mov") == 1
    assert trial.reads_of("empty.txt") == trial.reads_of("sub/small.txt") == 0


@pytest.mark.fault(31)
@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENXIO], ids=lambda number: errno.errorcode[number])
def test_card_that_is_pulled_ends_the_run_and_what_is_done_stays_good(number: int, trial: TreeTrial) -> None:
    rule = trial.fail("open_source_name", number, nth=2, times=None)
    result = trial.run()
    assert rule.fired == 1
    assert [(each.state, each.files_ok, each.files_failed) for each in result.destinations] == [
        (State.FAILED, 1, 2)
    ] * 3
    trial.require_nothing_false()
    assert result.exit_code == 3
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)


@pytest.mark.fault(72)
def test_hole_in_the_source_is_copied_as_zeros(trial: TreeTrial) -> None:
    with (trial.card / "sparse").open("wb") as file:
        file.truncate(2_000_000)
    trial.files["sparse"] = bytes(2_000_000)
    trial.require_good(trial.run(), 0, 1, 2)


# -- what is there already --------------------------------------------------------------------------------------

_STRATEGIES = [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL]
_OTHER = b"another take"


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_identical_files_are_not_written_and_the_rest_is_copied(strategy: Strategy, trial: TreeTrial) -> None:
    there = trial.occupy(1, "clip.mov", trial.files["clip.mov"])
    before = there.stat()
    result = trial.run(strategy=strategy)
    assert trial.states("clip.mov") == [State.VERIFIED, State.IDENTICAL, State.VERIFIED]
    assert trial.states("sub/small.txt") == [State.VERIFIED] * 3
    assert (there.stat().st_ino, there.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert result.exit_code == 0
    assert trial.reads_of("clip.mov") == 1


@pytest.mark.fault(6, 9)
@pytest.mark.parametrize("is_forced", [False, True])
@pytest.mark.parametrize("verify", list(Verify))
@pytest.mark.parametrize("call", ["write", "rename_to_free_name"])
def test_file_that_fails_does_not_take_one_that_is_there_already_along(
    call: str, verify: Verify, is_forced: bool, trial: TreeTrial
) -> None:
    trial.occupy(1, "clip.mov", trial.files["clip.mov"])
    rule = trial.fail(call, errno.EIO, 1, name="small.txt")
    trial.run(verify=verify, no_flush=frozenset() if is_forced else {trial.label(1)})
    assert rule.fired == 1
    assert trial.states("clip.mov")[1] is State.IDENTICAL
    assert trial.states("sub/small.txt")[1] is State.FAILED
    assert trial.states("empty.txt")[1] in (State.VERIFIED, State.COPIED)
    assert open_below(trial.root) == []
    _forget_record(trial)


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("is_same_size", [False, True])
def test_conflict_is_a_failure_of_that_destination_and_leaves_what_is_there(
    is_same_size: bool, strategy: Strategy, trial: TreeTrial
) -> None:
    other = bytes(1_000_000) if is_same_size else _OTHER
    there = trial.occupy(1, "clip.mov", other)
    result = trial.run(strategy=strategy)
    assert trial.states("clip.mov") == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert trial.states("sub/small.txt") == [State.VERIFIED] * 3
    assert there.read_bytes() == other
    assert result.exit_code == 3
    (notice,) = trial.notices(ErrorEvent)
    assert (notice.operation, notice.destination) == ("conflict", trial.label(1))
    trial.require_good(result, 0, 2)
    trial.require_no_partials(but_records=True)
    _forget_record(trial, 1)


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("is_same_size", [False, True])
def test_skip_leaves_the_old_file_and_counts_as_done(is_same_size: bool, strategy: Strategy, trial: TreeTrial) -> None:
    other = bytes(1_000_000) if is_same_size else _OTHER
    there = trial.occupy(1, "clip.mov", other)
    result = trial.run(strategy=strategy, on_conflict=Conflict.SKIP)
    assert trial.states("clip.mov") == [State.VERIFIED, State.SKIPPED, State.VERIFIED]
    assert there.read_bytes() == other
    assert result.exit_code == 0
    assert [notice.operation for notice in trial.notices(WarningEvent)] == ["skip"]
    assert result.destinations[1].state is State.VERIFIED


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("is_same_size", [False, True])
def test_overwrite_replaces_the_old_file_at_once(is_same_size: bool, strategy: Strategy, trial: TreeTrial) -> None:
    other = bytes(1_000_000) if is_same_size else _OTHER
    there = trial.occupy(1, "clip.mov", other)
    seen: list[bytes] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append(there.read_bytes())
        return real()

    for call in ("write", "flush", "replace_name"):
        trial.rule(call, look, 1, times=None, name="clip.mov")
    result = trial.run(strategy=strategy, on_conflict=Conflict.OVERWRITE)
    assert set(seen) == {other}
    assert result.exit_code == 0
    trial.require_good(result, 0, 1, 2)


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("is_same_size", [False, True])
def test_rename_keeps_both_and_recognises_its_own_copy_when_it_is_run_again(
    is_same_size: bool, strategy: Strategy, trial: TreeTrial
) -> None:
    other = bytes(1_000_000) if is_same_size else _OTHER
    there = trial.occupy(1, "clip.mov", other)
    result = trial.run(strategy=strategy, on_conflict=Conflict.RENAME)
    assert result.exit_code == 0
    assert there.read_bytes() == other
    second = trial.copy(1, "clip 2.mov")
    assert second.read_bytes() == trial.files["clip.mov"]
    inode = second.stat().st_ino
    again = trial.run_again(strategy=strategy, on_conflict=Conflict.RENAME)
    assert again.exit_code == 0
    assert trial.states("clip.mov") == [State.IDENTICAL] * 3
    assert second.stat().st_ino == inode
    assert trial.names(1) == sorted(f"{CARD}/{name}" for name in (*_NAMES, "clip 2.mov"))


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("rule", [Conflict.ERROR, Conflict.OVERWRITE])
def test_folder_that_has_the_name_is_left_as_it_is(rule: Conflict, strategy: Strategy, trial: TreeTrial) -> None:
    trial.occupy(1, "clip.mov/inside", b"precious")
    result = trial.run(strategy=strategy, on_conflict=rule)
    assert trial.states("clip.mov") == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert trial.copy(1, "clip.mov/inside").read_bytes() == b"precious"
    assert result.exit_code == 3
    _forget_record(trial)


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("rule", list(Conflict))
def test_planted_link_is_never_written_through(rule: Conflict, strategy: Strategy, trial: TreeTrial) -> None:
    victim = trial.root / "victim"
    victim.write_bytes(b"precious")
    trial.copy(1).mkdir(parents=True)
    trial.copy(1, "clip.mov").symlink_to(victim)
    result = trial.run(strategy=strategy, on_conflict=rule)
    assert victim.read_bytes() == b"precious"
    assert trial.copy(1, "clip.mov").is_symlink() == (rule is not Conflict.OVERWRITE)
    assert result.destinations[1].success == (rule is not Conflict.ERROR)
    _forget_record(trial)


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("rule", list(Conflict))
def test_planted_fifo_is_not_waited_for(rule: Conflict, strategy: Strategy, trial: TreeTrial) -> None:
    trial.copy(1).mkdir(parents=True)
    os.mkfifo(trial.copy(1, "clip.mov"))
    result = trial.run_within(10, strategy=strategy, on_conflict=rule)
    assert stat.S_ISFIFO(trial.copy(1, "clip.mov").stat().st_mode) == (rule is not Conflict.OVERWRITE)
    assert result.destinations[1].success == (rule is not Conflict.ERROR)
    trial.require_good(result, 0, 2)
    _forget_record(trial)


@pytest.mark.fault(6, 7, 8, 9, 10, 68)
@pytest.mark.parametrize("rule", [Conflict.ERROR, Conflict.OVERWRITE])
@pytest.mark.parametrize("part", range(2))
def test_nothing_that_was_there_is_lost_whatever_fails(part: int, rule: Conflict) -> None:
    """Everything is there already, and one file differs: what has a name has it afterwards, with old or new bytes."""
    other = bytes(100)

    def check(trial: TreeTrial, fault: AnyCall) -> None:
        for number in range(3):
            for name, data in trial.files.items():
                trial.occupy(number, name, data if name != "sub/small.txt" else other)
        trial.run_within(20, on_conflict=rule)
        for number in range(3):
            for name in ("clip.mov", "empty.txt"):
                assert trial.copy(number, name).read_bytes() == trial.files[name]
            assert trial.copy(number, "sub/small.txt").read_bytes() in (other, trial.files["sub/small.txt"])
            aside = {name for name in trial.names(number) if name.endswith(".corrupt")}
            assert aside <= {f"{CARD}/sub/small.txt.corrupt"}  # a new copy that could not be read back
        assert open_below(trial.root) == []

    sweep(check, lambda trial, nth: trial.fail_any(errno.EIO, 1, nth), part, 2)


@pytest.mark.parametrize("call", ["open_name", "flush", "read"])
def test_file_that_is_there_and_cannot_be_compared_is_a_failure_and_stays(call: str, trial: TreeTrial) -> None:
    trial.occupy(1, "clip.mov", trial.files["clip.mov"])
    rule = trial.fail(call, errno.EIO, 1, times=None, name="clip.mov")
    result = trial.run()
    assert rule.fired >= 1
    assert trial.states("clip.mov") == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert trial.copy(1, "clip.mov").read_bytes() == trial.files["clip.mov"]
    assert result.exit_code == 3
    _forget_record(trial)


@pytest.mark.parametrize("call", ["open_name", "flush", "read"])
def test_cancel_and_bug_while_what_is_there_is_compared_leave_it_there(call: str, trial: TreeTrial) -> None:
    for name in _NAMES:
        trial.occupy(1, name, trial.files[name])
    cancel = trial.cancel_at(call, 1, name="clip.mov")
    trial.run_within(10)
    assert cancel.fired == 1
    trial.system.heal()

    def explode(real: Callable[[], Any], *arguments: Any) -> Any:
        raise RuntimeError("a bug")

    bug = trial.rule(call, explode, 1, name="clip.mov")
    trial.run_within(10)
    assert bug.fired == 1
    for name in _NAMES:
        assert trial.copy(1, name).read_bytes() == trial.files[name]
    _forget_record(trial)


@pytest.mark.fault(27, 28)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["open_name", "flush", "read"])
def test_destination_that_hangs_while_what_is_there_is_compared_is_given_up_and_keeps_it(
    call: str, trial: TreeTrial
) -> None:
    for name in _NAMES:
        trial.occupy(0, name, trial.files[name], (trial.card / name).stat().st_mtime_ns)
        trial.occupy(1, name, trial.files[name])
    rule = trial.hang(call, 1, name="clip.mov")
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.FAILED
    trial.end()
    for number in range(2):
        for name in _NAMES:
            assert trial.copy(number, name).read_bytes() == trial.files[name]


@pytest.mark.fault(81)
@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_hard_link_at_the_final_name_is_replaced_and_never_written_through(
    strategy: Strategy, trial: TreeTrial
) -> None:
    victim = trial.root / "victim"
    victim.write_bytes(b"precious")
    trial.copy(1).mkdir(parents=True)
    trial.copy(1, "clip.mov").hardlink_to(victim)
    result = trial.run(strategy=strategy, on_conflict=Conflict.OVERWRITE)
    trial.require_good(result, 0, 1, 2)
    assert victim.read_bytes() == b"precious"


# -- races ----------------------------------------------------------------------------------------------------


def _appear(trial: TreeTrial, data: bytes) -> Rule:
    """Another program makes a file of this name between the look and the rename."""

    def appear(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.occupy(1, "clip.mov", data)
        return real()

    return trial.rule("flush", appear, 1, name="clip.mov")


@pytest.mark.fault(68)
@pytest.mark.parametrize("strategy", _STRATEGIES)
@pytest.mark.parametrize("rule", list(Conflict))
def test_file_that_appears_before_the_rename_is_dealt_with_by_the_conflict_rule(
    rule: Conflict, strategy: Strategy, trial: TreeTrial
) -> None:
    fault = _appear(trial, _OTHER)
    result = trial.run(strategy=strategy, on_conflict=rule)
    assert fault.fired == 1
    there = trial.copy(1, "clip.mov").read_bytes()
    assert there == (trial.files["clip.mov"] if rule is Conflict.OVERWRITE else _OTHER)
    expected = {Conflict.ERROR: State.FAILED, Conflict.SKIP: State.SKIPPED}.get(rule, State.VERIFIED)
    assert trial.states("clip.mov") == [State.VERIFIED, expected, State.VERIFIED]
    assert trial.copy(1, "clip 2.mov").exists() == (rule is Conflict.RENAME)
    assert result.exit_code == (3 if rule is Conflict.ERROR else 0)
    trial.require_good(result, 0, 2)
    trial.require_no_partials(but_records=True)
    _forget_record(trial)


@pytest.mark.fault(68)
def test_same_file_that_appears_before_the_rename_is_identical(trial: TreeTrial) -> None:
    fault = _appear(trial, trial.files["clip.mov"])
    result = trial.run()
    assert fault.fired == 1
    assert trial.states("clip.mov") == [State.VERIFIED, State.IDENTICAL, State.VERIFIED]
    assert result.exit_code == 0


def test_folder_that_another_job_has_made_meanwhile_is_used(trial: TreeTrial) -> None:
    def make(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.copy(1, "sub").mkdir()
        return real()

    rule = trial.rule("make_subfolder", make, 1, name="sub")
    trial.require_good(trial.run(), 0, 1, 2)
    assert rule.fired == 1


def _carelessly(trial: TreeTrial) -> dict[str, Any]:
    """Neither forced nor read back: a file gets its name as soon as it is written."""
    return {"verify": Verify.NONE, "no_flush": {trial.label(number) for number in range(3)}}


def test_files_that_are_neither_forced_nor_read_back_are_copied_and_called_no_more(trial: TreeTrial) -> None:
    trial.occupy(1, "clip.mov", trial.files["clip.mov"], (trial.card / "clip.mov").stat().st_mtime_ns)
    result = trial.run(**_carelessly(trial))
    assert result.exit_code == 0
    for number in range(3):
        trial.require_copied(number)
        assert trial.calls_of(number, "flush") == []
    assert trial.states("clip.mov") == [State.COPIED, State.IDENTICAL, State.COPIED]
    assert trial.states("sub/small.txt") == [State.COPIED] * 3
    trial.require_no_partials()


@pytest.mark.fault(68)
@pytest.mark.parametrize("rule", list(Conflict))
def test_file_that_appears_before_the_rename_is_never_replaced_by_one_that_was_not_waited_for(
    rule: Conflict, trial: TreeTrial
) -> None:
    def appear(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.occupy(1, "clip.mov", _OTHER)
        return real()

    fault = trial.rule("close", appear, 1, name="clip.mov")
    result = trial.run(on_conflict=rule, **_carelessly(trial))
    assert fault.fired == 1
    there = trial.copy(1, "clip.mov").read_bytes()
    assert there == (trial.files["clip.mov"] if rule is Conflict.OVERWRITE else _OTHER)
    assert trial.states("sub/small.txt") == [State.COPIED] * 3
    assert trial.copy(1, "clip 2.mov").exists() == (rule is Conflict.RENAME)
    assert result.exit_code == (3 if rule is Conflict.ERROR else 0)
    trial.require_no_partials(but_records=True)
    _forget_record(trial)


@pytest.mark.fault(6, 9)
@pytest.mark.parametrize("call", ["open_name", "write", "length", "close", "rename_to_free_name"])
def test_failing_call_costs_one_file_of_those_that_are_not_waited_for(call: str, trial: TreeTrial) -> None:
    rule = trial.fail(call, errno.EIO, 1, name="empty.txt")
    result = trial.run(**_carelessly(trial))
    assert rule.fired == 1
    assert [trial.states(name)[1] for name in _NAMES] == [State.COPIED, State.FAILED, State.COPIED]
    assert [result.destinations[number].state for number in (0, 2)] == [State.COPIED] * 2
    assert not trial.copy(1, "empty.txt").exists()
    trial.require_no_partials(but_records=True)
    assert open_below(trial.root) == []
    _forget_record(trial)


@pytest.mark.parametrize("call", ["open_name", "write", "close"])
def test_cancel_keeps_those_that_were_not_waited_for_and_says_so(call: str, trial: TreeTrial) -> None:
    rule = trial.cancel_at(call, 1, name="empty.txt")
    result = trial.run_within(10, **_carelessly(trial))
    assert rule.fired == 1
    for name in _NAMES:
        for number, state in enumerate(trial.states(name)):
            assert trial.copy(number, name).exists() == (state is State.COPIED)
    trial.require_nothing_false()
    trial.require_no_partials(but_records=True)
    assert not result.success
    again = trial.run_again(**_carelessly(trial))
    assert again.exit_code == 0
    for number in range(3):
        trial.require_copied(number)


@pytest.mark.fault(22)
@pytest.mark.parametrize("moment", ["write", "close", "rename_to_free_name"])
def test_volume_that_is_swapped_fails_where_nothing_is_waited_for_as_well(moment: str, trial: TreeTrial) -> None:
    (trial.root / "d1").mkdir()

    def swap(real: Callable[[], Any], *arguments: Any) -> Any:
        (trial.root / "d1").rename(trial.root / "unmounted")
        (trial.root / "d1").mkdir()
        return real()

    rule = trial.rule(moment, swap, 1)
    result = trial.run(**_carelessly(trial))
    assert rule.fired == 1
    assert not result.destinations[1].success
    assert result.exit_code == 3
    assert trial.names(1) == []
    for path in partials(trial.root / "unmounted"):
        assert path.name == journal_name(CARD)
        path.unlink()


@pytest.mark.fault(22)
@pytest.mark.parametrize("moment", ["write", "flush", "rename_to_free_name", "flush_folder"])
def test_volume_that_is_swapped_in_mid_run_fails_and_nothing_lands_beneath(moment: str, trial: TreeTrial) -> None:
    """As after ``umount -l``: the path leads to another folder, the open one is still there."""
    (trial.root / "d1").mkdir()

    def swap(real: Callable[[], Any], *arguments: Any) -> Any:
        (trial.root / "d1").rename(trial.root / "unmounted")
        (trial.root / "d1").mkdir()
        return real()

    rule = trial.rule(moment, swap, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert not result.destinations[1].success
    assert result.exit_code == 3
    assert trial.names(1) == []
    for path in partials(trial.root / "unmounted"):
        assert path.name == journal_name(CARD)
        path.unlink()


@pytest.mark.fault(22)
def test_names_on_a_volume_that_is_gone_after_they_were_flushed_are_not_called_verified(trial: TreeTrial) -> None:
    """XFS says that it has flushed a folder when its disk is gone, and only then that it cannot be looked at."""
    (trial.root / "d1").mkdir()

    def take_away(real: Callable[[], Any], *arguments: Any) -> Any:
        (trial.root / "d1").rename(trial.root / "away")
        (trial.root / "d1").mkdir()
        return real()

    rule = trial.rule("rename_to_free_name", take_away, 1)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert {trial.states(name)[1] for name in _NAMES} == {State.FAILED}
    assert "whether they are durable is not proven" in _message(result)
    (trial.root / "d1").rmdir()
    (trial.root / "away").rename(trial.root / "d1")
    trial.system.heal()
    trial.require_good(trial.run(), 0, 1, 2)


# -- hangs ----------------------------------------------------------------------------------------------------

_MOMENTS = [
    ("make_subfolder", 1),
    ("open_subfolder", 1),
    ("open_name", 1),
    ("write", 1),
    ("write", 2),
    ("set_times", 2),
    ("start_write_back", 1),
    ("flush", 1),
    ("drop_cache", 1),
    ("read", 1),
    ("close", 1),
    ("rename_to_free_name", 1),
    ("rename_to_free_name", 3),
    ("flush_folder", 1),
    ("status_of_name", 1),
]


@pytest.mark.fault(27, 28)
@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), _MOMENTS)
def test_destination_that_hangs_is_given_up_and_the_others_never_notice(call: str, nth: int, trial: TreeTrial) -> None:
    if call == "status_of_name":  # asked of a folder that is not new alone
        for number in range(3):
            trial.copy(number).mkdir(parents=True)
    rule = trial.hang(call, 1, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.FAILED
    assert "it hangs: nothing finished for 0.2 s" in _message(result)
    assert result.exit_code == 3
    assert trial.offload is not None
    assert trial.offload.has_given_up
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [trial.label(1)]
    trial.end()
    trial.require_nothing_false()
    trial.require_good(result, 0, 2)


@pytest.mark.fault(27, 28)
@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), [("open_name", 2), ("write", 2), ("flush", 1), ("read", 1)])
def test_what_a_hung_loop_held_is_free_again_when_the_hang_is_over(call: str, nth: int, trial: TreeTrial) -> None:
    rule = trial.hang(call, 1, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    trial.end()
    assert open_below(trial.root) == []
    trial.require_no_partials(but_records=True)
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["write", "flush", "rename_to_free_name"])
def test_two_destinations_may_hang(call: str, trial: TreeTrial) -> None:
    rules = [trial.hang(call, number) for number in (0, 2)]
    result = trial.run_within(10, stall_timeout_s=_STALL_S)
    assert all(rule.fired for rule in rules)
    trial.require_good(result, 1)
    assert [each.state for each in result.destinations] == [State.FAILED, result.destinations[1].state, State.FAILED]


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_all_destinations_may_hang(trial: TreeTrial) -> None:
    rules = [trial.hang("write", number) for number in range(3)]
    result = trial.run_within(10, stall_timeout_s=_STALL_S)
    assert all(rule.fired for rule in rules)
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert result.exit_code == 1


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_other_destination_may_hang_while_it_is_swept(trial: TreeTrial) -> None:
    """One hangs in a write; when its loop is given up, the removal of what that left on another one hangs as well."""
    writing = trial.hang("write", 1, nth=2)
    removing = trial.hang("remove_name", 2)
    result = trial.run_within(3, stall_timeout_s=_STALL_S)
    assert (writing.fired, removing.fired) == (1, 1)
    trial.require_good(result, 0)


@pytest.mark.leaks
@pytest.mark.parametrize(
    ("call", "nth"),
    [("open_source_name", 1), ("open_source_name", 2), ("status_of_file", 2), ("read", 1), ("close", 1)],
)
def test_source_that_hangs_ends_the_run_and_what_is_done_stays_good(call: str, nth: int, trial: TreeTrial) -> None:
    rule = trial.hang(call, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert all("it hangs" in _message(result, number) for number in range(3))
    assert result.exit_code in (1, 3)
    trial.end()
    trial.require_nothing_false()


@pytest.mark.leaks
def test_source_that_hangs_is_not_asked_for_the_files_that_are_there_already(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {f"f{number}": 100 for number in range(8)})
    for number in range(7):
        trial.occupy(0, f"f{number}", _OTHER)
    rule = trial.hang("open_source_name")
    trial.run_within(4, stall_timeout_s=_STALL_S)
    asked = rule.fired
    trial.end()
    assert asked == 1


@pytest.mark.fault(27, 28)
@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), [("write", 2), ("flush", 1), ("read", 1)])
def test_cancel_does_not_wait_for_a_destination_that_hangs(
    call: str, nth: int, trial: TreeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "CANCEL_GRACE_S", 0.3)
    rule = trial.hang(call, 1, nth=nth)
    cancel_soon = threading.Timer(0.15, trial.cancel.set)
    cancel_soon.start()
    result = trial.run_within(5)
    cancel_soon.join()
    assert rule.fired == 1
    assert {each.state for each in result.destinations} == {State.CANCELLED}
    trial.end()
    trial.require_nothing_false()


@pytest.mark.fault(26)
def test_slow_destination_is_no_hung_one(trial: TreeTrial) -> None:
    pause = threading.Event()

    def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
        pause.wait(0.12)
        return real()

    rules = [trial.rule(call, slowly, 1, times=None) for call in ("write", "flush")]
    result = trial.run_within(10, stall_timeout_s=_STALL_S)
    assert [rule.fired for rule in rules] == [3, 3]
    trial.require_good(result, 0, 1, 2)


# -- cancel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "nth"),
    [("make_subfolder", 1), ("open_name", 1), ("open_name", 2), ("write", 1), ("write", 2), ("set_times", 3)],
)
def test_cancel_while_files_are_written_leaves_nothing(call: str, nth: int, trial: TreeTrial) -> None:
    rule = trial.cancel_at(call, 1, nth)
    result = trial.run_within(10)
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.CANCELLED] * 3
    assert all(each.error is not None and not each.success for each in result.destinations)
    assert [trial.states(name) for name in _NAMES] == [[State.CANCELLED] * 3] * 3
    assert [trial.names(number) for number in range(3)] == [[], [], []]
    assert trial.notices(ErrorEvent) == []
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)


@pytest.mark.parametrize("call", ["flush", "read", "rename_to_free_name"])
def test_cancel_while_a_group_is_made_durable_finishes_the_group(call: str, trial: TreeTrial) -> None:
    rule = trial.cancel_at(call, 1)
    result = trial.run_within(10)
    assert rule.fired == 1
    trial.require_nothing_false()
    assert [trial.states(name) for name in _NAMES] == [[State.VERIFIED] * 3] * 3
    for number in range(3):
        trial.require_copied(number)
    assert all(each.files_failed == 0 for each in result.destinations)
    _forget_record(trial)
    trial.require_no_partials()


def test_own_files_are_told_from_copies() -> None:
    """The helper of these tests does not take a copy for one of the package's own files."""
    assert is_own(journal_name(CARD))
    assert not is_own("clip.mov")
    assert SOURCE not in f"/d1/{CARD}/clip.mov"
