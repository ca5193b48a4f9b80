"""Tests that need what only the kernel has; each mounts in a namespace of its own, so that nothing leaks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.namespace import private_namespace
from tests.kernel.runs import Begin, Running
from tests.kernel.volumes import Volumes

_PATIENCE_S = 180


def pytest_itemcollected(item: pytest.Item) -> None:
    """All tests of this folder take no part in the everyday run, and have the time that a mount may take."""
    item.add_marker(pytest.mark.kernel)
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(_PATIENCE_S))


@pytest.fixture
def private_mounts(tmp_path: Path) -> Iterator[None]:
    """What the test mounts is seen by it and by its child processes alone, and is gone afterwards."""
    with private_namespace():
        yield


@pytest.fixture
def volumes(private_mounts: None, tmp_path: Path) -> Iterator[Volumes]:
    """Makes volumes: file systems of all kinds, in memory."""
    with Volumes(tmp_path / "volumes") as volumes:
        yield volumes


@pytest.fixture
def begin(private_mounts: None) -> Iterator[Begin]:
    """Begins copies, and ends those that a failing test has left."""
    all_running: list[Running] = []

    def begin(*arguments: str | Path, cwd: Path, rate: str = "4M") -> Running:
        all_running.append(Running(*arguments, cwd=cwd, rate=rate))
        return all_running[-1]

    yield begin
    for running in all_running:
        running.kill()
