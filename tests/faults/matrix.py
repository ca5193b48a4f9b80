"""One run with one fault, and all that has to hold after it; then the same run without the fault."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pfndispatchcopy import State
from pfndispatchcopy.events import ErrorEvent, FileEvent
from pfndispatchcopy.model import DestinationResult, ReadBack, TreeDestinationResult
from tests.faults.scenarios import SCENARIOS, Fault, Scenario, ViolationError, fast_folder, require
from tests.faults.trial import COUNT, Card, Run, Trial
from tests.support.tree_trial import CARD

__all__ = ["ALL_SERIES", "NEVER", "VICTIM", "Found", "Matrix", "Series"]

VICTIM = 1
NEVER = 1 << 30
# What a verified copy cannot do without.
_READING_BACK = frozenset({"read", "rewind", "open_direct", "status_of_file"})


class Found(NamedTuple):
    """A violation: what was run, what failed in it, and what is wrong."""

    scenario: str
    fault: str
    text: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.fault}: {self.text}"


class Series(NamedTuple):
    """Which runs: one scenario, with one kind of fault of one side."""

    scenario: Scenario
    error: int
    is_persistent: bool
    of_source: bool

    def __str__(self) -> str:
        side = "source" if self.of_source else "destination"
        return (
            f"{self.scenario.name}-{side}-{errno.errorcode[self.error]}-{'for ever' if self.is_persistent else 'once'}"
        )


ALL_SERIES = [
    Series(scenario, error, is_persistent, of_source)
    for scenario in SCENARIOS.values()
    for of_source in (False, True)
    for error in ([errno.EIO, errno.ENODEV] if of_source else [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
    for is_persistent in (False, True)
]


@dataclass
class Matrix:
    """Many runs, and what was found wrong in them.

    Attributes:
        runs: in which the fault fired; each was followed by one without it.
        found: what does not hold.
    """

    runs: int = 0
    found: list[Found] = field(default_factory=list)

    def sweep(self, card: Card, series: Series, start: int = 1, step: int = 1) -> None:
        """Fail call *start*, *start* + *step* and so on, until a run ends in which nothing failed."""
        for nth in range(start, 2000, step):
            if not self.try_one(card, series, nth).fired:
                return
        raise AssertionError("it never stopped failing")

    def try_one(self, card: Card, series: Series, nth: int) -> Fault:
        """Fail one call."""
        with fast_folder() as root:
            trial = Trial(root, card, series.scenario)
            where = str(card.folder if series.scenario.is_folder else trial.source)
            where = where if series.of_source else str(trial.place(VICTIM))
            fault = Fault.at(where, nth, series.error, is_persistent=series.is_persistent)
            steps = _steps(trial, fault, of_source=series.of_source)
            while True:
                try:
                    next(steps)()
                except StopIteration:
                    break
                except ViolationError as violation:
                    self.found.append(Found(series.scenario.name, fault.told, str(violation)))
        self.runs += fault.fired > 0
        return fault


def _steps(trial: Trial, fault: Fault, *, of_source: bool) -> Iterator[Callable[[], object]]:
    """A run with a fault, what has to hold, and the next run; one violation does not hide the next one."""
    run = trial.run(fault)
    yield trial.card.require_untouched
    yield trial.require_nothing_beside
    for number in range(COUNT):
        yield partial(trial.require_kept, number, trial.before[number])
        yield partial(trial.require_nothing_false, number)
        yield partial(trial.require_true_history, number, may_be_unfinished=True)
        yield partial(trial.require_told, run, number, fault if number == VICTIM else None)
    yield partial(_check_source_fault if of_source else _check_destination_fault, trial, run, fault)
    yield partial(_require_true_files, trial, run)
    there = [trial.finals(number) for number in range(COUNT)]
    again = trial.run()
    yield partial(_check_second_run, trial, again, there)


def _check_second_run(trial: Trial, again: Run, there: Sequence[Mapping[str, int]]) -> None:
    require(again.exit_code == 0, lambda: f"the next run ends with {again.exit_code}: {again.notices(ErrorEvent)}")
    for number in range(COUNT):
        trial.require_nothing_false(number)
        trial.require_complete(again, number, may_be_set_aside=True)
        trial.require_kept(number, there[number])
        trial.require_spotless(number)
    trial.card.require_untouched()


def _check_destination_fault(trial: Trial, run: Run, fault: Fault) -> None:
    require(run.result is not None, "one destination failed, and everything was refused")
    errors, name = run.notices(ErrorEvent), errno.errorcode[fault.error]
    for number in range(COUNT):
        each = _state_of(run, number)
        if number == VICTIM and fault.fired:
            continue
        is_good = each.state in (State.VERIFIED, State.IDENTICAL) and each.error is None
        require(is_good, f"{number} had no fault and is {each}")
        trial.require_complete(run, number)
        trial.require_spotless(number)
    mine = _state_of(run, VICTIM)
    require(mine.success == (mine.error is None), f"not told: {mine}")
    require(mine.success == (not errors), lambda: f"{mine.state}, and told {errors}")
    if mine.success:
        require(run.exit_code == 0, f"exit code {run.exit_code}, and nothing is wrong")
        trial.require_complete(run, VICTIM)
    else:
        assert mine.error is not None
        require(name in mine.error.message, f"it does not say {name}: {mine.error.message}")
        wanted = 4 if mine.state is State.MISMATCH else 3
        require(run.exit_code == wanted, f"exit code {run.exit_code}, not {wanted}")
        if mine.state is State.MISMATCH:
            require(any(call in _READING_BACK for call, _ in fault.hit), "called a mismatch")


def _state_of(run: Run, number: int) -> DestinationResult | TreeDestinationResult:
    assert run.result is not None
    return run.result.destinations[number]


def _require_true_files(trial: Trial, run: Run) -> None:
    """What is called complete is there, and durable; read back from the medium where it is called verified."""
    for event in run.events:
        if not isinstance(event, FileEvent):
            continue
        for each in event.destinations:
            number = int(each.label.rstrip("/")[-1])
            if not each.state.is_complete or each.error is not None:
                continue
            path = f"{CARD}/{event.path}" if trial.scenario.is_folder else event.path
            require((trial.place(number) / path).exists(), f"{path} on {number} is {each.state}, and missing")
            require(run.medium.is_durable(run.roots[number], path), f"{path} on {number} is {each.state}, not durable")
            if each.state is State.VERIFIED:
                require(each.read_back is ReadBack.EVICTED, f"verified as {each.read_back}")


def _check_source_fault(trial: Trial, run: Run, fault: Fault) -> None:
    if run.result is None:
        require(run.exit_code == 2, f"exit code {run.exit_code} of a refusal")
        require(os.strerror(fault.error) in run.refusal, f"it does not say why: {run.refusal}")
        require(not run.system.log, "refused, and something was written")
        return
    errors = run.notices(ErrorEvent)
    for number in range(COUNT):
        each = _state_of(run, number)
        require(each.success == (each.error is None), f"not told: {each}")
        require(each.state is not State.MISMATCH, "a source that fails is no mismatch")
        if each.success and run.exit_code == 0:
            trial.require_complete(run, number)
    if run.exit_code == 0:
        require(not errors, f"exit code 0, and told {errors}")
        require(all(_state_of(run, number).success for number in range(COUNT)), "exit code 0, not all is well")
        return
    require(errors, "nothing is told")
    require(any(errno.errorcode[fault.error] in each for each in errors), f"it does not say why: {errors}")
    is_anything_there = any(set(trial.finals(number)) & set(trial.files) for number in range(COUNT))
    wanted = {3} if is_anything_there else {1}
    if trial.scenario.before:  # what is there already may turn out to be good, or nothing can be told of it
        wanted = {1, 3}
    require(run.exit_code in wanted, f"exit code {run.exit_code}, not {wanted}")
