"""The catalogue of faults, the markers of the tests, and what is told of both."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.catalogue import ROWS
from tests.faults.guarantees import PAGE, page_with_table
from tests.support.fault_marks import TESTS, fault_marks
from tests.support.faults_summary import End, Ending, fault_line, fault_table, merge_record


def test_rows_are_numbered_from_1_to_88() -> None:
    assert list(ROWS) == list(range(1, 89))


def test_every_row_that_a_test_names_is_in_the_catalogue() -> None:
    unknown = [(mark.file, mark.test, row) for mark in fault_marks() for row in mark.rows if row not in ROWS]
    assert not unknown


def test_every_row_has_a_test_or_says_why_there_is_none() -> None:
    tested = {row for mark in fault_marks() for row in mark.rows}
    without = [f"{row.number} {row.fault}" for row in ROWS.values() if row.number not in tested and not row.reason]
    assert not without, "no test injects:\n" + "\n".join(without)


def test_no_row_with_a_test_says_why_there_is_none() -> None:
    tested = {row for mark in fault_marks() for row in mark.rows}
    assert [row.number for row in ROWS.values() if row.number in tested and row.reason] == []


def test_page_of_guarantees_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_table(page, fault_marks()), "run: make guarantees"


_TESTS = """
import pytest

pytestmark = [pytest.mark.timeout(5), pytest.mark.fault(1)]

@pytest.mark.slow
@pytest.mark.fault(2, 3)
def test_two(): ...

@pytest.mark.kernel
class TestThree:
    @pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.fault(4)), 2])
    def test_four(self, n): ...

CASES = [pytest.param(1, marks=[pytest.mark.fault(5)])]
"""


def test_markers_are_read_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "test_a.py").write_text(_TESTS)
    (tmp_path / "kernel" / "test_b.py").write_text("@pytest.mark.fault(6)\ndef test_six(): ...\n")
    found = {mark.rows: (mark.file, mark.test, mark.others & {"slow", "kernel"}) for mark in fault_marks(tmp_path)}
    assert found == {
        (1,): ("test_a.py", "", frozenset()),
        (2, 3): ("test_a.py", "test_two", {"slow"}),
        (4,): ("test_a.py", "TestThree::test_four", {"kernel"}),
        (5,): ("test_a.py", "", frozenset()),
        (6,): ("kernel/test_b.py", "test_six", {"kernel"}),
    }


@pytest.mark.parametrize("arguments", ["", "*ROWS", "'9'", "9, row"])
def test_marker_that_names_no_row_by_its_number_is_refused(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "test_a.py").write_text(f"@pytest.mark.fault({arguments})\ndef test_a(): ...\n")
    with pytest.raises(ValueError, match=r"test_a\.py:1: a fault is named by"):
        fault_marks(tmp_path)


_ENDS = {
    "a": Ending((1, 2), End.HELD),
    "b": Ending((1,), End.SKIPPED, "no root"),
    "c": Ending((3,), End.FAILED),
    "d": Ending((3,), End.HELD),
    "e": Ending((4,), End.SKIPPED, "no FUSE here"),
}


def test_table_tells_what_fired_what_was_skipped_and_what_held() -> None:
    lines = {int(line.split()[0]): line for line in list(fault_table(_ENDS))[1:]}
    assert list(lines) == list(ROWS)
    assert lines[1].split()[-3:] == ["yes", "1", "fired"]
    assert lines[3].split()[-3:] == ["NO", "2", "fired"]
    assert lines[4].endswith("-         0  skipped: no FUSE here")
    assert fault_line(_ENDS).startswith("3 of 88 rows injected, 2 held, 1 DID NOT HOLD, 1 skipped")


def test_record_holds_what_came_of_several_sessions(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    assert merge_record(record, _ENDS) == _ENDS
    later = {"b": Ending((1,), End.HELD), "f": Ending((9,), End.HELD)}
    assert merge_record(record, later) == {**_ENDS, **later}
    assert merge_record(record, {}) == {**_ENDS, **later}


_SESSION = """
import pytest

@pytest.fixture
def breaks():
    yield
    raise ValueError

@pytest.mark.fault(1, 2)
@pytest.mark.parametrize("n", [1, 2])
def test_one(n):
    if n == 2:
        pytest.skip("not here")

@pytest.mark.fault(3)
def test_three(breaks): ...

@pytest.mark.fault(4)
def test_four():
    pytest.skip("no root")

@pytest.mark.fault(5)
def test_five(): assert False

@pytest.mark.slow
@pytest.mark.fault(6)
def test_six(): ...
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("processes", [pytest.param("0", marks=pytest.mark.slow), "1"])
def test_session_ends_with_the_table(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_a.py").write_text(_SESSION)
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "pytest", "-n", processes, "-p", "tests.conftest", "-p", "no:cacheprovider"]
    settings = ["--rootdir", str(TESTS.parent), "-c", str(TESTS.parent / "pyproject.toml")]
    done = subprocess.run(
        [*command, *settings, "--fault-table", "--fault-record", str(record), str(tmp_path)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("row  fault"))
    found = {int(line.split()[0]): line.split() for line in lines[at + 1 : at + 89]}
    assert found[1][-3:] == found[2][-3:] == ["yes", "1", "fired"]
    assert found[3][-3:] == found[5][-3:] == ["NO", "1", "fired"]
    assert found[4][-5:] == ["-", "0", "skipped:", "no", "root"]
    assert "faults: 4 of 88 rows injected, 2 held, 2 DID NOT HOLD, 1 skipped" in done.stdout
    assert len(merge_record(record, {})) == 5
