"""Any call may fail: on one destination, or on the source, once or from then on, with any of these errors.

Call 1 fails, in the next run call 2, and so on, until a run ends in which no fault fired. After every one: what has
a final name is right and complete, the others have noticed nothing, the source is as it was, what is told is true,
nothing is left running or open; and the same command without the fault completes everything, and copies nothing twice.

Every day each call fails in both ways, with errors that take turns; where a scenario repeats much of another one, each
call or every other call fails in one of the ways. The marker ``slow`` is for each call with each error in both ways.
"""

import errno
from typing import Any

import pytest

from tests.faults.matrix import ALL_SERIES, NEVER, VICTIM, Matrix, Series
from tests.faults.scenarios import SCENARIOS, Count, Fault, fast_folder
from tests.faults.trial import Card, Trial
from tests.support.recording import RecordingSystem

_KIND = "n-th call"


def _everyday() -> list[Any]:
    """Each series with where it begins and how far it steps: as many as there are errors share the calls out."""
    found = []
    for scenario in SCENARIOS.values():
        for of_source in (False, True):
            for is_persistent in (False, True):
                kind = (scenario, is_persistent, of_source)
                mine = [each for each in ALL_SERIES if (each.scenario, each.is_persistent, each.of_source) == kind]
                first = 1 + is_persistent * (scenario.share // 2)
                for number, each in enumerate(mine):
                    start, step = first + number * scenario.share, len(mine) * scenario.share
                    found.append(pytest.param(each, start, step, id=str(each)))
    return found


def _sweep(card: Card, count: Count, series: Series, start: int, step: int) -> None:
    matrix = Matrix()
    matrix.sweep(card, series, start, step)
    count(_KIND, matrix.runs, len(matrix.found))
    assert matrix.runs > 0, "no fault fired: this test has lost its meaning"
    assert not matrix.found, "\n".join(map(str, matrix.found[:20]))


@pytest.mark.fault(1, 2, 3, 4, 6, 7, 8, 9, 10, 19, 30, 31, 39, 46)
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("series", "start", "step"), _everyday())
def test_calls_may_fail_in_turn(card: Card, count: Count, series: Series, start: int, step: int) -> None:
    _sweep(card, count, series, start, step)


@pytest.mark.fault(1, 2, 3, 4, 6, 7, 8, 9, 10, 19, 30, 31, 39, 46)
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("series", ALL_SERIES, ids=str)
def test_every_call_may_fail(card: Card, count: Count, series: Series) -> None:
    _sweep(card, count, series, 1, 1)


@pytest.mark.fault(30)
@pytest.mark.parametrize("name", ["folder", "folder with lists"])
def test_source_that_cannot_be_looked_at_is_refused_with_the_reason(card: Card, name: str) -> None:
    matrix = Matrix()
    fault = matrix.try_one(card, Series(SCENARIOS[name], errno.EIO, is_persistent=False, of_source=True), 1)
    assert fault.fired == 1
    assert not matrix.found


def test_temporary_file_of_a_list_that_was_there_already_is_told_of_when_it_stays(card: Card) -> None:
    with fast_folder() as root:
        trial = Trial(root, card, SCENARIOS["folder with a history"])
        system = RecordingSystem(keeps_data=False)
        rule = system.fail("remove_name", errno.EIO, where=f"/d{VICTIM}/CARD/.pfn.")
        run = trial.run(system=system)
        assert rule.fired == 1
        trial.require_told(run, VICTIM, None)


def test_everyday_runs_are_at_least_a_thousand(card: Card) -> None:
    runs = 0
    for scenario in SCENARIOS.values():
        for of_source in (False, True):
            with fast_folder() as root:
                trial = Trial(root, card, scenario)
                where = str(trial.source if of_source else trial.place(VICTIM))
                fault = Fault.at(where, NEVER, errno.EIO, is_persistent=False)
                assert trial.run(fault).exit_code == 0
            runs += 2 * (fault.seen // scenario.share)  # once and from then on
    assert runs >= 1000
