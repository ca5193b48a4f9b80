"""Every test is checked for what it leaves behind: threads, descriptors, temporary names."""

import compileall
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pfndispatchcopy
from tests.support.faults_summary import endings, fault_line, fault_table, faults_summary, merge_record, note_rows
from tests.support.faulty_system import FaultySystem
from tests.support.files import partials


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a thread, a descriptor or a partial behind.

    A test that means to (a lane that hangs for ever) says so with the marker ``leaks``.
    """
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    if request.node.get_closest_marker("leaks"):
        return
    until = time.monotonic() + 5
    while (left := [each for each in threading.enumerate() if each not in threads]) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left, f"threads left behind: {left}"
    new = {fd: name for fd, name in _descriptors().items() if descriptors.get(fd) != name}
    mine = {fd: name for fd, name in new.items() if name.startswith(str(tmp_path))}
    assert not mine, f"descriptors left behind: {mine}"
    assert not partials(tmp_path), f"partials left behind: {partials(tmp_path)}"


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    folder = "/proc/self/fd"
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            try:
                found[int(name)] = os.readlink(f"{folder}/{name}")
            except OSError:
                continue
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-table", action="store_true", help="print what came of each row of the catalogue of faults")
    group.addoption(
        "--fault-record",
        type=Path,
        metavar="FILE",
        help="add what came of the tests of faults to FILE; the table is then of all that is in it",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the package: a command that may write no large file would leave a torn one in its cache."""
    if not hasattr(session.config, "workerinput"):
        compileall.compile_dir(str(Path(pfndispatchcopy.__file__).parent), quiet=2)


def pytest_itemcollected(item: pytest.Item) -> None:
    note_rows(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many faults were injected, and what came of them."""
    for line in faults_summary(terminalreporter):
        terminalreporter.write_line(f"faults: {line}")
    ends = endings(report for reports in terminalreporter.stats.values() for report in reports)
    if record := config.getoption("--fault-record"):
        ends = merge_record(record, ends)
    if config.getoption("--fault-table"):
        for line in fault_table(ends):
            terminalreporter.write_line(line)
    if ends:
        terminalreporter.write_line(f"faults: {fault_line(ends)}")


@pytest.fixture
def faulty() -> FaultySystem:
    """The operating system, with faults to be added."""
    return FaultySystem()
