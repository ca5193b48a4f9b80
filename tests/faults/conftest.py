"""The source of all runs, and their number for the summary."""

from collections.abc import Iterator

import pytest

from tests.faults.scenarios import Count, fast_folder
from tests.faults.trial import Card
from tests.support.faults_summary import PROPERTY


@pytest.fixture(scope="session")
def card() -> Iterator[Card]:
    """Three files: one that is copied by threads, an empty one, and a small one in a folder."""
    with fast_folder() as root:
        card = Card(root)
        yield card
        card.require_same_bytes()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    """Counts the runs of a test, by what kind of fault they had, and what was found wrong in them."""

    def add(kind: str, runs: int, violations: int = 0) -> None:
        request.node.user_properties.append((PROPERTY, [kind, runs, violations]))

    return add
