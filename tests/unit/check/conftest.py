"""What the tests of checks share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.check_trial import CheckTrial
from tests.support.faulty_system import FaultySystem


@pytest.fixture
def trial(tmp_path: Path, faulty: FaultySystem) -> Iterator[CheckTrial]:
    """A folder to be checked."""
    made = CheckTrial(tmp_path, faulty)
    yield made
    made.end()
