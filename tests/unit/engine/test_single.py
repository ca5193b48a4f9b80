"""The single path: one loop, and a new beginning without a destination that hangs."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pfndispatchcopy.engine import single
from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.events import ErrorEvent
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import State, Strategy
from tests.support.trial import Trial, open_below

_STALL_S = 0.2


@pytest.fixture
def strategy() -> Strategy:
    return Strategy.SINGLE


def _hashes(trial: Trial, *names: str) -> dict[str, str]:
    right = HashCalculator(names)
    right.update(trial.data)
    return right.hexdigests()


def test_all_the_copying_is_done_in_one_thread(trial: Trial) -> None:
    names: set[str] = set()

    def note(real: Callable[[], Any], *arguments: Any) -> Any:
        names.add(threading.current_thread().name)
        return real()

    trial.rule("read", note, times=None)
    rules = [
        trial.rule(call, note, number, times=None)
        for number in range(3)
        for call in ("write", "flush", "read", "rename_to_free_name", "flush_folder")
    ]
    trial.require_good(trial.run(hashes=("xxh64be", "sha256")), 0, 1, 2)
    assert all(rule.fired for rule in rules)
    assert names == {"pfn-source"}


def test_one_buffer_serves_all_destinations(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    allocated: list[int] = []

    def counting(size: int) -> memoryview:
        allocated.append(size)
        return page_aligned_buffer(size)

    monkeypatch.setattr(single, "page_aligned_buffer", counting)
    trial.chunk_size = 512
    trial.require_good(trial.run(12), *range(12))
    assert allocated == [512]


def test_every_medium_has_begun_before_the_first_is_waited_for(trial: Trial) -> None:
    trial.require_good(trial.run(), 0, 1, 2)
    calls = [call for call, path in trial.system.calls if call in ("start_write_back", "flush")]
    assert calls == ["start_write_back"] * 3 + ["flush"] * 3


def test_slow_digests_are_right(trial: Trial) -> None:
    names = ("sha256", "md5", "xxh128", "c4", "sha1")
    result = trial.run(hashes=names)
    assert result.hashes == _hashes(trial, *names)
    assert list(result.hashes) == list(names)


@pytest.mark.fault(1)
def test_failing_destination_gets_no_further_bytes(trial: Trial) -> None:
    rule = trial.fail("write", 28, 1, nth=2, times=None)
    trial.require_good(trial.run(), 0, 2)
    assert rule.fired == 1


def test_reading_stops_when_no_destination_is_left(trial: Trial) -> None:
    rules = [trial.fail("write", 28, number, nth=2) for number in range(3)]
    reads = trial.rule("read", lambda real, *arguments: real(), times=None)
    result = trial.run()
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert reads.fired == 2
    assert (result.hashes, result.exit_code) == ({}, 1)


# -- a destination that hangs -------------------------------------------------------------------------------


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_others_begin_again_without_the_one_that_hangs(trial: Trial) -> None:
    rule = trial.hang("write", 0, nth=3)
    opened = trial.rule("open_source", lambda real, *arguments: real(), times=None)
    result = trial.run_within(8, stall_timeout_s=_STALL_S, hashes=("xxh64be", "sha256"))
    assert rule.fired == 1
    assert opened.fired == 2
    assert result.hashes == _hashes(trial, "xxh64be", "sha256")
    trial.require_good(result, 1, 2)
    assert result.destinations[0].state is State.FAILED
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [f"{trial.root}/d0/"]


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_file_that_is_identical_stays_so_when_the_loop_begins_again(trial: Trial) -> None:
    (trial.folder(2) / "clip.mov").write_bytes(trial.data)
    rule = trial.hang("write", 0, nth=2)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.FAILED, State.VERIFIED, State.IDENTICAL]


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_file_is_replaced_in_a_second_pass_though_the_first_began_again(trial: Trial) -> None:
    (trial.folder(2) / "clip.mov").write_bytes(bytes(len(trial.data)))
    rule = trial.hang("write", 0, nth=2)
    result = trial.run_within(8, stall_timeout_s=_STALL_S, on_conflict="overwrite")
    assert rule.fired == 1
    trial.require_good(result, 1, 2)


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_copies_that_are_done_stay_done_when_the_loop_begins_again(trial: Trial) -> None:
    rule = trial.hang("flush", 1)
    renamed = trial.rule("rename_to_free_name", lambda real, *arguments: real(), 0, times=None)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert renamed.fired == 1


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_all_may_hang_one_after_the_other(trial: Trial) -> None:
    rules = [trial.hang("write", number, nth=2) for number in range(3)]
    result = trial.run_within(10, stall_timeout_s=_STALL_S)
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert (result.hashes, result.exit_code) == ({}, 1)


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize(("call", "nth"), [("open_name", 3), ("write", 1), ("flush", 1)])
def test_loop_that_comes_back_from_a_hang_touches_no_destination_any_more(call: str, nth: int, trial: Trial) -> None:
    rule = trial.hang(call, 0, nth=nth)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 1, 2)
    before = {number: len(trial.calls_of(number)) for number in (1, 2)}
    trial.end()
    late = {number: [name for name, _ in trial.calls_of(number)[count:]] for number, count in before.items()}
    assert {name for names in late.values() for name in names} <= {"close", "remove_name", "close_folder"}
    assert [trial.names(number) for number in (1, 2)] == [["clip.mov"]] * 2


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_beginning_again_leaves_nothing_open_for_those_that_do_not_hang(trial: Trial) -> None:
    rule = trial.hang("write", 0, nth=2)
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired == 1
    trial.require_good(result, 1, 2)
    trial.end()
    assert [name for name in open_below(trial.root) if "/d0" not in name] == []


@pytest.mark.leaks
def test_source_that_hangs_when_it_is_opened_again_does_not_hold_the_run(trial: Trial) -> None:
    rule = trial.hang("write", 0, nth=2)
    opening = trial.hang("open_source", nth=2)
    result = trial.run_within(5, stall_timeout_s=_STALL_S)
    assert (rule.fired, opening.fired) == (1, 1)
    assert [each.state for each in result.destinations] == [State.FAILED] * 3


@pytest.mark.leaks
def test_source_that_is_gone_when_it_is_opened_again_is_a_failure_and_no_exception(trial: Trial) -> None:
    rule = trial.hang("write", 0, nth=2)
    opening = trial.fail("open_source", 5, nth=2)
    result = trial.run_within(5, stall_timeout_s=_STALL_S)
    assert (rule.fired, opening.fired) == (1, 1)
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert [trial.names(number) for number in (1, 2)] == [[], []]


@pytest.mark.fault(43)
def test_buffer_that_changes_while_it_is_written_is_found_on_every_destination_after_it(trial: Trial) -> None:
    def scribble(real: Callable[[], int], fd: int, data: memoryview) -> int:
        data[0] ^= 1
        return real()

    rule = trial.rule("write", scribble, 1, nth=2)
    result = trial.run()
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.VERIFIED, State.MISMATCH, State.MISMATCH]
