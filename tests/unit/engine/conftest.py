"""A copy to be tried by each of the copy paths."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.engine import lanes
from pfndispatchcopy.model import Strategy
from tests.support.faulty_system import FaultySystem
from tests.support.trial import Trial


@pytest.fixture(params=[Strategy.SINGLE, Strategy.PARALLEL])
def strategy(request: pytest.FixtureRequest) -> Strategy:
    """Each copy path in turn; a test of one of them alone overrides it."""
    chosen: Strategy = request.param
    return chosen


@pytest.fixture
def trial(tmp_path: Path, faulty: FaultySystem, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """A source and a system; at the end, what hangs is let go and every thread has to be gone.

    The supervisor looks more often than it would, so that short stalls can be told apart.
    """
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = Trial(tmp_path, faulty, strategy)
    yield trial
    trial.end()
