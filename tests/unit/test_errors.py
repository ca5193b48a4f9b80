"""The exceptions: one tree, and each with the exit code that it ends the command with."""

import pickle

import pytest

from pfndispatchcopy import errors
from pfndispatchcopy.engine.source import SourceFailureError
from pfndispatchcopy.errors import ExitCode, PfnDispatchCopyError, RefusedError, UsageError
from pfndispatchcopy.model import Notice


def _classes() -> list[type[PfnDispatchCopyError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [each for each in found if issubclass(each, PfnDispatchCopyError)]


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "REFUSED": 2,
        "PARTIAL": 3,
        "MISMATCH": 4,
    }


def test_everything_that_is_raised_on_purpose_has_one_root() -> None:
    raised = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert raised == set(_classes())
    assert len(raised) > 5


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_exception_carries_a_failing_exit_code(kind: type[PfnDispatchCopyError]) -> None:
    assert isinstance(kind.exit_code, ExitCode)
    assert kind.exit_code is not ExitCode.OK


def test_nothing_was_written_means_exit_code_two() -> None:
    assert UsageError.exit_code == 2
    assert RefusedError.exit_code == 2
    assert errors.LockedError.exit_code == 2


def test_refusal_says_what_it_is_about() -> None:
    error = RefusedError("no space", path="/a/clip.mov", operation="space", errno="ENOSPC")
    assert str(error) == "no space"
    assert (error.path, error.operation, error.errno) == ("/a/clip.mov", "space", "ENOSPC")
    assert (RefusedError("no").path, RefusedError("no").operation, RefusedError("no").errno) == ("", "plan", None)


def test_refusal_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(RefusedError("no space", path="/a", operation="space", errno="ENOSPC")))
    assert str(error) == "no space"
    assert (error.path, error.operation, error.errno) == ("/a", "space", "ENOSPC")


def test_source_failure_speaks_with_the_words_of_its_notice() -> None:
    notice = Notice("card gone", "/card/clip.mov", "read", "ENODEV")
    assert str(SourceFailureError(notice)) == "card gone"
    assert SourceFailureError(notice).notice is notice
    assert not SourceFailureError(notice).is_mismatch
    assert SourceFailureError(notice, is_mismatch=True).is_mismatch
