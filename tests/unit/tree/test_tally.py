"""The count of a destination: the worst file decides, and of good ones the one that proves least."""

import itertools
import math
from time import monotonic

import pytest

from pfndispatchcopy.engine.jobs import Outcome
from pfndispatchcopy.model import Notice, State, TreeDestinationResult
from pfndispatchcopy.tree.tally import Tally

_ERROR = Notice("it broke", "/d0/a.mov", "write", "EIO", "/d0")
_OTHER = Notice("it broke as well", "/d0/b.mov", "flush", "ENOSPC", "/d0")
# From the one that everything else gives way to, to the one that gives way to everything else.
_ORDER = (
    State.MISMATCH,
    State.FAILED,
    State.CANCELLED,
    State.COPIED,
    State.VERIFIED,
    State.IDENTICAL,
    State.SKIPPED,
)


def _outcome(state: State, error: Notice | None = None) -> Outcome:
    if error is None and not state.is_complete and state is not State.CANCELLED:
        error = _ERROR
    return Outcome(0, state, error=error)


def _state(
    tally: Tally, *, failure: Notice | None = None, is_cancelled: bool = False, if_empty: State = State.VERIFIED
) -> State:
    return tally.state(failure=failure, is_cancelled=is_cancelled, if_empty=if_empty)


def _result(tally: Tally, *, failure: Notice | None = None, is_cancelled: bool = False) -> TreeDestinationResult:
    return tally.result(
        "/d0", failure=failure, is_cancelled=is_cancelled, if_empty=State.VERIFIED, started_at=monotonic() - 2
    )


def test_complete_files_and_their_bytes_are_counted() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 3, 600)
    tally.add(_outcome(State.IDENTICAL), 1, 50)
    assert (tally.files_ok, tally.files_failed, tally.bytes_ok, tally.first_error) == (4, 0, 650, None)


def test_what_was_left_as_it_is_counts_as_done_but_none_of_its_bytes() -> None:
    tally = Tally()
    tally.add(_outcome(State.SKIPPED), 2, 600)
    assert (tally.files_ok, tally.files_failed, tally.bytes_ok) == (2, 0, 0)
    assert _state(tally) is State.SKIPPED


@pytest.mark.parametrize("state", [State.FAILED, State.MISMATCH, State.CANCELLED])
def test_what_is_not_complete_counts_as_failed_and_its_bytes_not_at_all(state: State) -> None:
    tally = Tally()
    tally.add(_outcome(state), 2, 600)
    assert (tally.files_ok, tally.files_failed, tally.bytes_ok) == (0, 2, 0)
    assert _state(tally) is state


def test_complete_file_that_lacks_what_was_promised_counts_as_failed() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 1, 10)
    tally.add(_outcome(State.COPIED, _ERROR), 1, 10)
    assert (tally.files_ok, tally.files_failed, tally.bytes_ok) == (1, 1, 10)
    assert tally.first_error is _ERROR
    assert _state(tally) is State.FAILED


def test_first_reason_is_kept() -> None:
    tally = Tally()
    tally.add(_outcome(State.FAILED, _OTHER), 1, 1)
    tally.add(_outcome(State.MISMATCH, _ERROR), 1, 1)
    assert tally.first_error is _OTHER
    assert _result(tally).error is _OTHER


@pytest.mark.parametrize("pair", list(itertools.product(State, repeat=2)), ids="-".join)
def test_worst_state_is_that_of_all(pair: tuple[State, State]) -> None:
    tally = Tally()
    for state in pair:
        tally.add(_outcome(state), 1, 1)
    assert _state(tally) is min(pair, key=_ORDER.index)


def test_destination_that_died_has_failed_whatever_was_done_before() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 5, 500)
    assert _state(tally, failure=_ERROR) is State.FAILED
    assert _state(Tally(), failure=_ERROR, is_cancelled=True) is State.FAILED
    result = _result(tally, failure=_OTHER)
    assert (result.state, result.error, result.files_ok) == (State.FAILED, _OTHER, 5)
    tally.add(_outcome(State.MISMATCH), 1, 1)
    assert _state(tally, failure=_OTHER) is State.MISMATCH


def test_reason_why_it_died_comes_before_those_of_its_files() -> None:
    tally = Tally()
    tally.add(_outcome(State.FAILED, _ERROR), 1, 1)
    assert _result(tally, failure=_OTHER).error is _OTHER


@pytest.mark.parametrize("if_empty", [State.VERIFIED, State.COPIED, State.SKIPPED])
def test_nothing_to_copy_is_done_well_unless_the_run_was_stopped(if_empty: State) -> None:
    assert _state(Tally(), if_empty=if_empty) is if_empty
    assert _state(Tally(), if_empty=if_empty, is_cancelled=True) is State.CANCELLED


def test_stop_does_not_undo_what_is_complete() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 1, 1)
    assert _state(tally, is_cancelled=True) is State.VERIFIED
    tally.add(_outcome(State.CANCELLED), 1, 1)
    assert _state(tally, is_cancelled=True) is State.CANCELLED


def test_file_that_is_distrusted_was_never_good() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 3, 600)
    tally.distrust(_outcome(State.MISMATCH)._replace(error=_ERROR), 200)
    assert (tally.files_ok, tally.files_failed, tally.bytes_ok) == (2, 1, 400)
    assert _state(tally) is State.MISMATCH
    assert tally.first_error is _ERROR


def test_result_says_all_that_was_counted() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 3, 600)
    tally.add(_outcome(State.FAILED), 1, 70)
    result = _result(tally)
    assert (result.label, result.state, result.error) == ("/d0", State.FAILED, _ERROR)
    assert (result.files_ok, result.files_failed, result.bytes_ok) == (3, 1, 600)
    assert 1.5 < result.duration_s < 10
    assert not result.success
    assert _result(Tally()).success


def test_time_ends_with_the_last_file_and_is_never_negative() -> None:
    tally = Tally()
    tally.add(_outcome(State.VERIFIED), 1, 1)
    later = monotonic() + 100
    result = tally.result("/d0", failure=None, is_cancelled=False, if_empty=State.VERIFIED, started_at=later)
    assert result.duration_s == 0
    started_at = monotonic() - 1
    first, second = (
        tally.result("/d0", failure=None, is_cancelled=False, if_empty=State.VERIFIED, started_at=started_at)
        for _ in range(2)
    )
    assert math.isclose(first.duration_s, second.duration_s)


def test_destination_that_was_stopped_says_so() -> None:
    for tally in (Tally(), Tally()):
        result = _result(tally, is_cancelled=True)
        assert result.state is State.CANCELLED
        assert result.error is not None
        assert "cancelled" in result.error.message
        assert result.error.destination == "/d0"
    tally = Tally()
    tally.add(_outcome(State.CANCELLED), 1, 1)
    assert _result(tally).error is not None
    tally.add(_outcome(State.CANCELLED, _OTHER), 1, 1)
    assert _result(tally).error is _OTHER
