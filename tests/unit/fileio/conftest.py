"""An open folder for the tests of the room that asks the operating system."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.system import FolderHandle
from tests.support.faulty_system import FaultySystem


@pytest.fixture
def folder(faulty: FaultySystem, tmp_path: Path) -> Iterator[FolderHandle]:
    """The folder of the test, held open."""
    handle = faulty.open_folder(str(tmp_path))
    yield handle
    faulty.close_folder(handle)
