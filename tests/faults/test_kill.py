"""A process that is killed before, or in the middle of, any of its calls: the next run completes what it began.

The run is a forked process that kills itself at the n-th call that it makes, on whichever folder; a write that it is
killed in has taken half of its bytes. Then the same command runs here, without that fault.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pfndispatchcopy.events import ErrorEvent
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.journal import Journal
from tests.faults.scenarios import SCENARIOS, Count, Scenario, ViolationError, fast_folder, require
from tests.faults.trial import COUNT, Card, Trial
from tests.support.faulty_system import Rule
from tests.support.recording import RecordingSystem
from tests.support.tree_trial import CARD, HARMLESS, HINTS

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    # Those of whoever runs the tests, which the child has no use for.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

_KIND = "killed at a call"
_STEP = 13
_PATIENCE_S = 30
_SURVIVED = 77


@dataclass
class _Kill(Rule):
    """The end of this process at its n-th call."""

    victim: str = ""

    @classmethod
    def at(cls, nth: int) -> "_Kill":
        kill = cls("", "", lambda real: None, nth)
        kill.action = kill.die
        return kill

    def takes(self, call: str, path: str) -> bool:
        if call in HINTS or call in HARMLESS:
            return False
        self.seen += 1
        self.victim = call
        return self.seen == self.nth

    def die(self, real: Callable[[], Any], *arguments: Any) -> Any:
        if self.victim == "write":
            os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


def _run_and_kill(trial: Trial, nth: int) -> bool:
    """Run in a process that ends at a call; returns whether there were so many."""
    pid = os.fork()
    if pid == 0:
        try:
            trial.run(_Kill.at(nth))
        finally:
            os._exit(_SURVIVED)
    until = time.monotonic() + _PATIENCE_S
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail(f"the run that was to be killed at call {nth} hangs")
        time.sleep(0.001)
    status = ended[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == _SURVIVED
    return False


def _recorded(trial: Trial, number: int) -> set[str]:
    """What the record of a destination tells of."""
    system = native_system()
    handle = system.open_folder(str(trial.place(number)))
    try:
        records, doubt = Journal.read(system, handle, CARD)
    finally:
        system.close_folder(handle)
    require(doubt is None, f"the record is not believed: {doubt}")
    return {record.path for _, record in records}


def _require_intact(trial: Trial) -> list[set[str]]:
    """What a kill must not have done; returns what is recorded."""
    recorded = []
    trial.card.require_untouched()
    for number in range(COUNT):
        trial.require_nothing_false(number)
        trial.require_true_history(number, may_be_unfinished=True)
        mine = _recorded(trial, number)
        require(mine <= set(trial.finals(number)), f"the record tells of what is not there: {mine}")
        recorded.append(mine)
    return recorded


def _complete(trial: Trial) -> None:
    """Run again: everything is complete then, and what was is not touched."""
    recorded = _require_intact(trial)
    there = [trial.finals(number) for number in range(COUNT)]
    system = RecordingSystem(keeps_data=False)
    again = trial.run(system=system)
    require(again.exit_code == 0, lambda: f"the next run ends with {again.exit_code}: {again.notices(ErrorEvent)}")
    for number in range(COUNT):
        trial.require_nothing_false(number)
        trial.require_complete(again, number, may_be_set_aside=True)
        trial.require_spotless(number)
        now = trial.finals(number)
        for path, inode in there[number].items():
            is_list = path not in trial.files
            require(is_list or now[path] == inode, f"{path} on {number} was complete and is written again")
    opened = {path for call, path in system.calls if call in ("open_source", "open_source_name")}
    for path in set.intersection(*recorded):
        source = str(trial.card.folder / path.removeprefix(f"{CARD}/"))
        require(source not in opened, f"{path} is in all records, and is read again")


def _kill_at(card: Card, count: Count, scenario: Scenario, start: int, step: int) -> None:
    kills, problems = 0, []
    for nth in range(start, 5000, step):
        with fast_folder() as root:
            trial = Trial(root, card, scenario)
            if not _run_and_kill(trial, nth):
                break
            kills += 1
            try:
                _complete(trial)
            except ViolationError as violation:
                problems.append(f"killed at call {nth}: {violation}")
    count(_KIND, kills, len(problems))
    assert kills > 10, "hardly any call to be killed at: this test has lost its meaning"
    assert not problems, "\n".join(problems[:20])


@pytest.mark.fault(51)
@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_run_that_is_killed_at_a_call_is_completed_by_the_next_one(
    card: Card, count: Count, scenario: Scenario
) -> None:
    _kill_at(card, count, scenario, 1 + list(SCENARIOS).index(scenario.name), _STEP)


@pytest.mark.fault(51)
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_run_may_be_killed_at_every_call(card: Card, count: Count, scenario: Scenario) -> None:
    _kill_at(card, count, scenario, 1, 1)


@pytest.mark.fault(51)
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(3))
def test_run_that_is_killed_again_and_again_loses_nothing(card: Card, count: Count, seed: int) -> None:
    scenario = SCENARIOS["folder with lists"]
    chance = random.Random(seed)
    with fast_folder() as root:
        trial = Trial(root, card, scenario)
        kills = 0
        for _ in range(12):
            if not _run_and_kill(trial, chance.randrange(100, 700)):
                break
            kills += 1
            _require_intact(trial)
        assert kills > 0
        count(_KIND, kills)
        _complete(trial)
