"""The values: what they answer to, and the one table of exit codes."""

import itertools
import pickle
from pathlib import Path

import pytest

from pfndispatchcopy.errors import ExitCode
from pfndispatchcopy.model import (
    CopyResult,
    DestinationResult,
    Identity,
    Notice,
    ReadBack,
    SourceSnapshot,
    State,
    Strategy,
    Symlinks,
    TreeDestinationResult,
    TreeResult,
    decide_exit_code,
)

_COMPLETE = {State.VERIFIED, State.COPIED, State.IDENTICAL, State.SKIPPED}
_NOTICE = Notice("it broke", "/a/clip.mov", "write", "EIO", "/a/")


def _destination(state: State, error: Notice | None = None) -> DestinationResult:
    if error is None and not state.is_complete:
        error = _NOTICE
    return DestinationResult("/a/clip.mov", "/a/", state, ReadBack.DIRECT, 3_000_000, 1.5, error)


def _result(*states: State) -> CopyResult:
    return CopyResult(
        source="clip.mov",
        size=3_000_000,
        hashes={"md5": "aa", "xxh64be": "bb"},
        destinations=tuple(_destination(state) for state in states),
        duration=2.0,
        strategy=Strategy.PARALLEL,
    )


def _tree_destination(
    state: State, error: Notice | None = None, files_ok: int = 2, files_failed: int = 0
) -> TreeDestinationResult:
    if error is None and not state.is_complete:
        error = _NOTICE
    return TreeDestinationResult("/a", state, files_ok, files_failed, 3_000_000, 1.5, error)


def _tree_result(*destinations: TreeDestinationResult, failures: tuple[Notice, ...] = ()) -> TreeResult:
    return TreeResult(
        sources=("card", "more"),
        files=2,
        size=3_000_000,
        destinations=destinations,
        duration=2.0,
        strategy=Strategy.MIXED,
        failures=failures,
        left_out=1,
    )


def test_states_are_those_of_the_contract() -> None:
    assert {str(state) for state in State} == {
        "verified",
        "copied",
        "identical",
        "skipped",
        "failed",
        "mismatch",
        "cancelled",
    }
    assert {str(way) for way in ReadBack} == {"direct", "evicted", "memory", "cached", "none"}
    assert {str(way) for way in Symlinks} == {"copy", "follow", "skip"}


@pytest.mark.parametrize("state", State)
def test_only_what_holds_what_it_should_is_complete(state: State) -> None:
    assert state.is_complete == (state in _COMPLETE)


def test_one_complete_destination_is_success() -> None:
    assert _destination(State.VERIFIED).success
    assert not _destination(State.FAILED).success
    # Complete, but something that was promised is missing: not a success.
    assert not _destination(State.COPIED, _NOTICE).success


@pytest.mark.parametrize("states", list(itertools.product(State, repeat=2)), ids="-".join)
def test_exit_code_follows_the_table(states: tuple[State, State]) -> None:
    complete = [state in _COMPLETE for state in states]
    if State.MISMATCH in states:
        expected = ExitCode.MISMATCH
    elif all(complete):
        expected = ExitCode.OK
    else:
        expected = ExitCode.PARTIAL if any(complete) else ExitCode.FAILED
    assert decide_exit_code(map(_destination, states)) is expected
    assert _result(*states).exit_code is expected


def test_complete_copy_that_lacks_what_was_promised_is_no_full_success() -> None:
    assert decide_exit_code([_destination(State.COPIED, _NOTICE)]) is ExitCode.PARTIAL


@pytest.mark.parametrize("states", list(itertools.product(State, repeat=2)), ids="-".join)
def test_exit_code_of_a_tree_follows_the_table(states: tuple[State, State]) -> None:
    """A destination that is not complete may hold complete files: then the run is partial."""
    for files_ok in (0, 2):
        complete = [state in _COMPLETE for state in states]
        if State.MISMATCH in states:
            expected = ExitCode.MISMATCH
        elif all(complete):
            expected = ExitCode.OK
        else:
            expected = ExitCode.PARTIAL if any(complete) or files_ok else ExitCode.FAILED
        result = _tree_result(*(_tree_destination(state, files_ok=files_ok) for state in states))
        assert result.exit_code is expected
        assert result.success == (expected is ExitCode.OK)


def test_tree_of_which_a_part_could_not_be_listed_is_no_full_success() -> None:
    result = _tree_result(_tree_destination(State.VERIFIED), failures=(_NOTICE,))
    assert not result.success
    assert result.exit_code is ExitCode.PARTIAL
    assert _tree_result(_tree_destination(State.FAILED, files_ok=0), failures=(_NOTICE,)).exit_code is ExitCode.FAILED
    mismatch = _tree_result(_tree_destination(State.MISMATCH), failures=(_NOTICE,))
    assert mismatch.exit_code is ExitCode.MISMATCH


def test_tree_destination_that_lacks_what_was_promised_is_no_success() -> None:
    assert _tree_destination(State.VERIFIED).success
    assert not _tree_destination(State.COPIED, _NOTICE).success
    assert _tree_result(_tree_destination(State.COPIED, _NOTICE)).exit_code is ExitCode.PARTIAL


def test_empty_tree_on_every_destination_is_success() -> None:
    assert _tree_result(_tree_destination(State.VERIFIED, files_ok=0)).exit_code is ExitCode.OK


def test_results_of_a_tree_answer_to_keys_as_to_attributes() -> None:
    destination = _tree_destination(State.VERIFIED)
    result = _tree_result(destination)
    assert {"speed_mb_sec", "success", "destinations", "duration"} <= set(result.keys())
    assert result["speed_mb_sec"] == result.speed_mb_sec == pytest.approx(1.5)
    assert result["success"] is result.success is True
    assert result["exit_code"] == 0
    assert (result["files"], result["left_out"]) == (2, 1)
    assert destination["speed_mb_sec"] == destination.speed_mb_sec == pytest.approx(2.0)
    assert destination["path"] == destination.path == Path("/a")
    for each in (result, destination):
        assert dict(each) == {key: getattr(each, key) for key in each.keys()}  # noqa: SIM118 - the method is tested
        assert "nonsense" not in each
        assert each.get("nonsense", 3) == 3
        with pytest.raises(KeyError):
            each["nonsense"]


def test_results_of_a_tree_survive_the_way_to_another_process() -> None:
    result = _tree_result(_tree_destination(State.VERIFIED), _tree_destination(State.MISMATCH), failures=(_NOTICE,))
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert hash(again) == hash(result)
    assert again.destinations[1].state is State.MISMATCH
    assert again.exit_code is ExitCode.MISMATCH
    assert result != _tree_result(_tree_destination(State.VERIFIED))


def test_tree_that_took_no_time_is_no_division_by_zero() -> None:
    assert TreeResult(("card",), 1, 10, (), 0.0, Strategy.BATCH).speed_mb_sec == 0.0
    assert TreeDestinationResult("/a", State.COPIED, bytes_ok=10).speed_mb_sec == 0.0


def test_result_answers_to_keys_as_to_attributes() -> None:
    result = _result(State.VERIFIED, State.FAILED)
    assert {"speed_mb_sec", "success", "hash", "destinations", "duration"} <= set(result.keys())
    assert result["speed_mb_sec"] == result.speed_mb_sec == pytest.approx(1.5)
    assert result["success"] is result.success is False
    assert result["hash"] == result.hash == "aa"
    assert result["destinations"] is result.destinations
    assert result["duration"] == 2.0
    assert result["exit_code"] == 3
    assert dict(result) == {key: getattr(result, key) for key in result.keys()}  # noqa: SIM118 - the method is tested


def test_destination_answers_to_keys_as_to_attributes() -> None:
    destination = _destination(State.VERIFIED)
    assert destination["path"] == destination.path == Path("/a/clip.mov")
    assert destination["speed_mb_sec"] == pytest.approx(2.0)
    assert destination["success"] is True
    assert destination["state"] == "verified"
    assert dict(destination) == {key: getattr(destination, key) for key in destination.keys()}  # noqa: SIM118


@pytest.mark.parametrize("key", ["nonsense", "_fields", "__class__", "count", "keys"])
def test_unknown_key_is_a_key_error(key: str) -> None:
    with pytest.raises(KeyError):
        _result(State.VERIFIED)[key]
    with pytest.raises(KeyError):
        _destination(State.VERIFIED)[key]


def test_results_can_be_asked_for_keys_as_a_dictionary_can() -> None:
    for result in (_result(State.VERIFIED), _destination(State.VERIFIED)):
        assert "success" in result
        assert "nonsense" not in result
        assert result.get("success") is True
        assert result.get("nonsense") is None
        assert result.get("nonsense", 3) == 3


def test_results_are_equal_when_all_their_values_are() -> None:
    assert _result(State.VERIFIED) == _result(State.VERIFIED)
    assert hash(_result(State.VERIFIED)) == hash(_result(State.VERIFIED))
    assert _result(State.VERIFIED) != _result(State.COPIED)
    assert _destination(State.VERIFIED) != _result(State.VERIFIED)
    assert _destination(State.VERIFIED) != "verified"
    assert "verified" in repr(_result(State.VERIFIED))


def test_no_time_and_no_digest_are_no_division_by_zero() -> None:
    result = CopyResult("clip.mov", 10, {}, (), 0.0, Strategy.SINGLE)
    assert result.speed_mb_sec == 0.0
    assert result.hash is None
    assert DestinationResult("/a/clip.mov", "/a/", State.COPIED, bytes_written=10).speed_mb_sec == 0.0


def test_results_survive_the_way_to_another_process() -> None:
    result = _result(State.VERIFIED, State.MISMATCH)
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again["success"] is False
    assert again.destinations[1].state is State.MISMATCH


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_result(State.VERIFIED), "size"),
        (_destination(State.VERIFIED), "state"),
        (_tree_result(_tree_destination(State.VERIFIED)), "files"),
        (_tree_destination(State.VERIFIED), "state"),
        (SourceSnapshot(Identity(1, 2), 3), "size"),
        (_NOTICE, "message"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_values_cannot_be_changed(value: object, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, name, 1)
    with pytest.raises(AttributeError):
        delattr(value, name)
    with pytest.raises(AttributeError):
        setattr(value, "something_new", 1)  # noqa: B010 - that there is no such name is the point
