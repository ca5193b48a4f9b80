"""One file to all its destinations: what is promised whichever path it takes."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, CopyResult
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.errors import PfnDispatchCopyError, RefusedError, UsageError
from pfndispatchcopy.events import ErrorEvent, FileEvent, PlanEvent, ProgressEvent
from pfndispatchcopy.model import Conflict, Phase, State, Strategy
from pfndispatchcopy.session import offload
from tests.support.faulty_system import FaultySystem
from tests.support.trial import Trial, open_below

_STALL_S = 0.2


def _states(result: CopyResult) -> list[State]:
    return [each.state for each in result.destinations]


# -- failure is data --------------------------------------------------------------------------------------


@pytest.mark.fault(1, 7, 9)
def test_all_destinations_failing_raises_nothing(trial: Trial) -> None:
    rules = [
        trial.fail(call, number, index)
        for index, (call, number) in enumerate(
            [("write", errno.ENOSPC), ("flush", errno.EIO), ("rename_to_free_name", errno.EROFS)]
        )
    ]
    result = trial.run()
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert [each.error.errno if each.error else None for each in result.destinations] == ["ENOSPC", "EIO", "EROFS"]
    assert (_states(result), result.exit_code, result.success) == ([State.FAILED] * 3, 1, False)
    trial.require_nothing(0, 1, 2)


@pytest.mark.fault(6)
def test_every_failure_is_told_once(trial: Trial) -> None:
    rules = [trial.fail("write", errno.EIO, number) for number in (0, 2)]
    result = trial.run()
    assert [rule.fired for rule in rules] == [1, 1]
    told = [(notice.destination, notice.errno) for notice in trial.notices(ErrorEvent)]
    assert sorted(told) == [(f"{trial.root}/d0/", "EIO"), (f"{trial.root}/d2/", "EIO")]
    files = [event for event in trial.events if isinstance(event, FileEvent)]
    assert [event.destinations for event in files] == [result.destinations]
    trial.require_good(result, 1)


@pytest.mark.fault(20)
@pytest.mark.parametrize("call", ["open_folder", "open_name", "usage"])
def test_destination_that_fails_before_the_copy_is_data_while_another_is_left(call: str, trial: Trial) -> None:
    trial.folder(1)
    rule = trial.system.fail(call, errno.EACCES, where="/d1", times=None)
    result = trial.run()
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.error.errno if each.error else None) == (State.FAILED, "EACCES")
    trial.require_nothing(1)
    assert result.exit_code == 3


@pytest.mark.fault(20)
def test_refused_plan_raises_before_anything_is_written(trial: Trial) -> None:
    rule = trial.system.fail("open_folder", errno.EACCES, where="/d", times=None)
    with pytest.raises(RefusedError) as caught:
        trial.run()
    assert rule.fired == 3
    assert (caught.value.exit_code, caught.value.errno) == (2, "EACCES")
    trial.require_nothing(0, 1, 2)


def test_source_of_an_unexpected_size_is_refused(trial: Trial) -> None:
    with pytest.raises(RefusedError):
        trial.run(expect_size=len(trial.data) + 1)
    trial.require_nothing(0, 1, 2)
    assert not any(isinstance(event, PlanEvent) for event in trial.events)


def test_wrong_arguments_raise(trial: Trial) -> None:
    with pytest.raises(UsageError):
        trial.run(no_flush={"elsewhere"})
    with pytest.raises(UsageError):
        offload(str(trial.source), [], CopyOptions())


@pytest.mark.fault(17, 62)
def test_thread_that_cannot_be_started_refuses_the_plan(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    start, left = threading.Thread.start, 2

    def starting(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith("pfn-"):
            left -= 1
            if left < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    with pytest.raises(RefusedError, match="threads"):
        trial.run()
    assert left < 0
    trial.require_nothing(0, 1, 2)


@pytest.mark.fault(18)
def test_too_few_descriptors_refuse_the_plan(trial: Trial) -> None:
    rule = trial.system.rule("raise_descriptor_limit", lambda real, needed: 10)
    with pytest.raises(RefusedError, match="open files"):
        trial.run()
    assert rule.fired == 1
    trial.require_nothing(0, 1, 2)


@pytest.mark.fault(7)
def test_failing_destination_leaves_no_folder_that_was_made_for_it(trial: Trial) -> None:
    rule = trial.system.fail("flush", errno.EIO, where="/new/")
    result = offload(
        str(trial.source),
        [f"{trial.root}/new/deep/", f"{trial.root}/good/deep/"],
        CopyOptions(strategy=trial.strategy, chunk_size=trial.chunk_size),
        system=trial.system,
    )
    assert rule.fired == 1
    assert result.destinations[0].state is State.FAILED
    assert not (trial.root / "new").exists()
    assert (trial.root / "good/deep/clip.mov").read_bytes() == trial.data


# -- cancel -------------------------------------------------------------------------------------------------


def _cancel_at(trial: Trial, call: str, number: int | None, nth: int = 1) -> Any:
    def act(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.cancel.set()
        return real()

    return trial.rule(call, act, number, nth)


def _require_cancelled(result: CopyResult, trial: Trial) -> None:
    assert _states(result) == [State.CANCELLED] * len(result.destinations)
    trial.require_nothing(*range(len(result.destinations)))
    assert trial.notices(ErrorEvent) == []
    assert not result.success


@pytest.mark.parametrize(("call", "nth"), [("write", 1), ("write", 3), ("open_name", 3), ("preallocate", 1)])
def test_cancel_during_the_copy_stops_at_the_next_chunk_and_leaves_nothing(call: str, nth: int, trial: Trial) -> None:
    # All destinations wait for a source that is not read to its end.
    rule = _cancel_at(trial, call, 1, nth)
    reads = trial.rule("read", lambda real, *arguments: _after_cancel(trial, real, nth), times=None)
    result = trial.run_within(10)
    assert rule.fired == 1
    assert reads.fired <= nth + 1
    _require_cancelled(result, trial)


def _after_cancel(trial: Trial, real: Callable[[], int], most: int) -> int:
    """Reads as many chunks as the cancel needs to come, and after that waits for it."""
    count = len([1 for call, path in trial.system.calls if call == "read" and path == str(trial.source)])
    if count > most:
        assert trial.cancel.wait(5)
    return real()


def test_cancel_before_anything_was_written_leaves_nothing(trial: Trial) -> None:
    trial.cancel.set()
    _require_cancelled(trial.run_within(10), trial)


@pytest.mark.parametrize("call", ["status", "mount", "open_folder", "open_name"])
def test_cancel_during_the_preflight_leaves_nothing(call: str, trial: Trial) -> None:
    for number in range(3):
        trial.folder(number)

    def act(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.cancel.set()
        return real()

    rule = trial.system.rule(call, act, where="/d1")
    _require_cancelled(trial.run_within(10), trial)
    assert rule.fired == 1


def test_cancel_while_copies_are_read_back_leaves_those_that_are_not_done(trial: Trial) -> None:
    gate = threading.Barrier(1 if trial.strategy is Strategy.SINGLE else 3)

    def read(real: Callable[[], Any], *arguments: Any) -> Any:
        if trial.strategy is Strategy.PARALLEL:
            gate.wait(5)
        trial.cancel.set()
        return real()

    rules = [trial.rule("read", read, number) for number in range(3)]
    result = trial.run_within(10)
    assert rules[0].fired == 1
    _require_cancelled(result, trial)


def test_cancel_after_some_copies_are_done_keeps_those(trial: Trial) -> None:
    done = threading.Event()

    def rename(real: Callable[[], Any], *arguments: Any) -> Any:
        try:
            return real()
        finally:
            done.set()
            trial.cancel.set()

    def wait(real: Callable[[], Any], *arguments: Any) -> Any:
        assert done.wait(5)
        return real()

    rules = [trial.rule("rename_to_free_name", rename, 0), trial.rule("read", wait, 1), trial.rule("read", wait, 2)]
    result = trial.run_within(10)
    assert rules[0].fired == 1
    assert _states(result) == [State.VERIFIED, State.CANCELLED, State.CANCELLED]
    trial.require_good(result, 0)
    trial.require_nothing(1, 2)
    assert result.exit_code == 3


def test_cancelled_run_keeps_what_was_there(trial: Trial) -> None:
    (trial.folder(1) / "clip.mov").write_bytes(b"precious")
    rule = _cancel_at(trial, "flush", 1)
    result = trial.run_within(10, on_conflict=Conflict.OVERWRITE, count=2)
    assert rule.fired == 1
    assert result.destinations[1].state is State.CANCELLED
    assert trial.final(1).read_bytes() == b"precious"
    assert trial.names(1) == ["clip.mov"]


def test_same_run_after_a_cancel_completes_the_job(trial: Trial) -> None:
    _cancel_at(trial, "write", 1, 2)
    trial.run_within(10)
    trial.cancel.clear()
    result = trial.run_within(10)
    assert all(state in (State.VERIFIED, State.IDENTICAL) for state in _states(result))
    assert [trial.final(number).read_bytes() for number in range(3)] == [trial.data] * 3


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_cancel_does_not_wait_for_a_destination_that_hangs(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CANCEL_GRACE_S", 0.3)
    rule = trial.hang("write", 1, nth=2)
    cancel_soon = threading.Timer(0.1, trial.cancel.set)
    cancel_soon.start()
    result = trial.run_within(5)
    cancel_soon.join()
    assert rule.fired == 1
    assert _states(result)[1] is State.CANCELLED
    assert {_states(result)[number] for number in (0, 2)} <= {State.CANCELLED, State.VERIFIED}
    trial.end()
    assert not trial.final(1).exists()


# -- stalls -------------------------------------------------------------------------------------------------

_MOMENTS = [
    ("open_name", 3),
    ("write", 4),
    ("set_times", 1),
    ("flush", 1),
    ("close", 2),
    ("read", 1),
    ("rename_to_free_name", 1),
    ("flush_folder", 1),
]


@pytest.mark.fault(27, 28)
@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), _MOMENTS)
def test_destination_that_hangs_is_given_up_and_the_others_never_notice(call: str, nth: int, trial: Trial) -> None:
    rule = trial.hang(call, 1, nth=nth)
    begin = monotonic()
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert monotonic() - begin < _STALL_S + 2.5
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert each.state is State.FAILED
    assert each.error is not None
    assert "it hangs: nothing finished for 0.2 s" in each.error.message
    assert result.exit_code == 3
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [f"{trial.root}/d1/"]
    trial.end()
    if call != "flush_folder":
        assert not trial.final(1).exists()


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_removal_that_hangs_as_well_is_not_waited_for_and_what_is_left_is_named(trial: Trial) -> None:
    writing = trial.hang("write", 1, nth=2)
    removing = trial.hang("remove_name", 1, nth=2)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert (writing.fired, removing.fired) == (1, 1)
    trial.require_good(result, 0, 2)
    error = result.destinations[1].error
    assert error is not None
    assert "Left behind: " in error.message
    assert ".partial" in error.message


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize(
    ("call", "nth", "left"),
    [
        ("open_name", 3, "A temporary file may be left behind; the next run removes it."),
        ("open_name", 4, "A temporary file may be left behind; the next run removes it."),
        ("flush_folder", 1, "The complete copy is there under its name, but whether it is durable is not proven."),
    ],
)
def test_what_a_hang_may_leave_is_told(call: str, nth: int, left: str, trial: Trial) -> None:
    rule = trial.hang(call, 1, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired == 1
    error = result.destinations[1].error
    assert error is not None
    assert left in error.message


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["write", "flush"])
def test_two_destinations_may_hang(call: str, trial: Trial) -> None:
    rules = [trial.hang(call, number) for number in (0, 2)]
    result = trial.run_within(10, stall_timeout_s=_STALL_S)
    assert all(rule.fired for rule in rules)
    trial.require_good(result, 1)
    assert _states(result) == [State.FAILED, State.VERIFIED, State.FAILED]


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_two_destinations_on_one_volume_that_hangs_do_not_hold_the_run(trial: Trial) -> None:
    """Whatever is asked of the volume hangs from the first write on, removals included."""
    hangs = threading.Event()
    fired: list[str] = []

    def write(real: Callable[[], Any], *arguments: Any) -> Any:
        hangs.set()
        trial.release.wait()
        return real()

    def anything(name: str) -> Callable[..., Any]:
        def act(real: Callable[[], Any], *arguments: Any) -> Any:
            if hangs.is_set():
                fired.append(name)
                trial.release.wait()
            return real()

        return act

    rule = trial.rule("write", write, 0, nth=2, times=None)
    for number in (0, 1):
        for call in ("write", "remove_name", "open_name", "status_of_name", "close", "flush", "close_folder"):
            trial.rule(call, anything(f"{call} {number}"), number, times=None)
    result = trial.run_within(6, stall_timeout_s=_STALL_S)
    assert rule.fired == 1
    assert fired
    assert _states(result) == [State.FAILED, State.FAILED, State.VERIFIED]
    trial.require_good(result, 2)


@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), [("read", 1), ("read", 3), ("status_of_file", 2)])
def test_source_that_hangs_fails_everywhere(call: str, nth: int, trial: Trial) -> None:
    rule = trial.hang(call, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    assert _states(result) == [State.FAILED] * 3
    assert all(each.error and "it hangs" in each.error.message for each in result.destinations)
    assert [notice.path for notice in trial.notices(ErrorEvent)] == [str(trial.source)]
    assert result.exit_code == 1
    trial.end()
    assert not any(trial.final(number).exists() for number in range(3))


@pytest.mark.leaks
def test_second_reading_that_hangs_fails_everywhere(trial: Trial) -> None:
    rule = trial.hang("read", nth=8)
    result = trial.run_within(8, stall_timeout_s=_STALL_S, verify_source="per-file")
    assert rule.fired >= 1
    assert _states(result) == [State.FAILED] * 3
    trial.end()
    assert not any(trial.final(number).exists() for number in range(3))


@pytest.mark.fault(28)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["status", "open_folder", "open_name"])
def test_destination_that_hangs_before_the_copy_is_given_up(call: str, trial: Trial) -> None:
    for number in range(3):
        trial.folder(number)
    rule = trial.system.hang(call, trial.release, where="/d1")
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.FAILED
    assert "it hangs" in (result.destinations[1].error.message if result.destinations[1].error else "")


_CLEANING_UP = {
    "removing what failed": ("write", errno.EIO, "remove_name", 2),
    "closing what failed": ("write", errno.EIO, "close", 2),
    "setting aside what differs": ("read", errno.EIO, "rename_to_free_name", 1),
}


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("what", _CLEANING_UP)
def test_destination_that_hangs_in_cleaning_up_after_a_failure_is_given_up(what: str, trial: Trial) -> None:
    failing, number, hanging, nth = _CLEANING_UP[what]
    fault, hang = trial.fail(failing, number, 1), trial.hang(hanging, 1, nth=nth)
    result = trial.run_within(4, stall_timeout_s=_STALL_S)
    assert fault.fired == 1
    assert hang.fired >= 1
    trial.require_good(result, 0, 2)
    assert not result.destinations[1].success


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize(
    ("call", "nth"), [("avoid_cache", 1), ("start_write_back", 1), ("status_of_file", 2), ("close", 3)]
)
def test_call_that_looks_harmless_may_hang_as_well(call: str, nth: int, trial: Trial) -> None:
    rule = trial.hang(call, 1, nth=nth)
    result = trial.run_within(4, stall_timeout_s=_STALL_S)
    if not rule.fired:
        pytest.skip(f"this path makes no such call: {call} {nth}")
    trial.require_good(result, 0, 2)
    assert not result.destinations[1].success


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), [("open_name", 3), ("write", 2), ("flush", 1)])
def test_what_a_hung_destination_held_is_free_again_when_the_hang_is_over(call: str, nth: int, trial: Trial) -> None:
    rule = trial.hang(call, 1, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    trial.end()
    assert open_below(trial.root) == []
    trial.require_no_partials()


@pytest.mark.leaks
def test_what_a_hung_source_held_is_free_again_when_the_hang_is_over(trial: Trial) -> None:
    rule = trial.hang("read", nth=2)
    trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.end()
    assert open_below(trial.root) == []
    trial.require_no_partials()


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_destination_that_hung_can_be_written_again_when_the_hang_is_over(trial: Trial) -> None:
    rule = trial.hang("write", 1, nth=2)
    trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.end()
    result = trial.run_within(8)
    assert _states(result) == [State.IDENTICAL, State.VERIFIED, State.IDENTICAL]


@pytest.mark.fault(26)
def test_slow_destination_is_no_hung_one(trial: Trial) -> None:
    pause = threading.Event()

    def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
        pause.wait(0.12)
        return real()

    rule = trial.rule("write", slowly, 1, times=None)
    result = trial.run_within(10, stall_timeout_s=_STALL_S)
    assert rule.fired == 5
    trial.require_good(result, 0, 1, 2)


# -- progress -------------------------------------------------------------------------------------------------


def test_progress_ends_at_the_whole_and_never_goes_beyond(trial: Trial) -> None:
    trial.require_good(trial.run(), 0, 1, 2)
    told = [event for event in trial.events if isinstance(event, ProgressEvent)]
    assert told
    assert all(event.bytes_done <= len(trial.data) for event in told)
    assert [each.bytes_done for each in told[-1].destinations] == [len(trial.data)] * 3


@pytest.mark.leaks
def test_progress_never_goes_beyond_the_whole_though_a_destination_is_given_up(trial: Trial) -> None:
    hang = trial.hang("write", 1, nth=5)
    ticks = threading.Event()

    def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
        ticks.wait(0.1)
        return real()

    trial.rule("read", slowly, 0, times=None)
    trial.run_within(8, count=2, stall_timeout_s=_STALL_S)
    assert hang.fired == 1
    told = [event for event in trial.events if isinstance(event, ProgressEvent)]
    done = [each.bytes_done for event in told if event.phase is Phase.COPY for each in event.destinations]
    assert max(done) <= len(trial.data)


# -- both paths -------------------------------------------------------------------------------------------------


def test_both_paths_give_the_same_result(tmp_path: Path) -> None:
    results = []
    for strategy in (Strategy.SINGLE, Strategy.PARALLEL):
        trial = Trial(tmp_path / strategy, FaultySystem(), strategy)
        trial.folder(1).joinpath("clip.mov").write_bytes(trial.data)
        trial.folder(2).joinpath("clip.mov").write_bytes(b"other")
        rule = trial.fail("flush", errno.EIO, 3)
        result = trial.run(5, hashes=("xxh64be", "sha256", "md5"))
        assert rule.fired == 1
        results.append(
            [
                result.hashes,
                result.size,
                result.exit_code,
                [(each.state, each.read_back, each.bytes_written) for each in result.destinations],
                [each.error and each.error.message.replace(str(trial.root), "") for each in result.destinations],
                [trial.names(number) for number in range(5)],
            ]
        )
        assert isinstance(result, CopyResult)
    assert results[0] == results[1]
    assert issubclass(RefusedError, PfnDispatchCopyError)
