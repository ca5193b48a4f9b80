"""How many faults were injected, and what came of them, for the end of a session, whatever processes it ran in."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.catalogue import ROWS
from tests.support.fault_marks import fault_marks

__all__ = [
    "PROPERTY",
    "ROWS_PROPERTY",
    "End",
    "Ending",
    "endings",
    "fault_line",
    "fault_table",
    "faults_summary",
    "merge_record",
    "note_rows",
]

PROPERTY = "faults"
"""Of a test: what kind of fault, in how many runs, and how many violations were found."""
ROWS_PROPERTY = "rows of the catalogue of faults"
"""Of a test: the rows that it injects."""

_WIDTH_OF_FAULT = 56
_WIDTH_OF_REASON = 48


class End(StrEnum):
    """How a test ended."""

    HELD = "held"
    SKIPPED = "skipped"
    FAILED = "failed"


class Ending(NamedTuple):
    """How a test ended that injects faults.

    Attributes:
        rows: which ones.
        end: how it ended.
        reason: why it was skipped.
    """

    rows: tuple[int, ...]
    end: End
    reason: str = ""


def note_rows(item: pytest.Item) -> None:
    """Let the reports of a test tell which rows it injects."""
    rows = sorted({row for mark in item.iter_markers("fault") for row in mark.args})
    if rows:
        item.user_properties.append((ROWS_PROPERTY, rows))


def endings(reports: Iterable[object]) -> dict[str, Ending]:
    """How the tests ended that inject faults, by their ids; the worst of their phases counts."""
    found: dict[str, Ending] = {}
    for report in reports:
        if not isinstance(report, pytest.TestReport):  # tests that were deselected are here, too
            continue
        rows: Any = dict(report.user_properties).get(ROWS_PROPERTY)
        if rows is None or (report.when != "call" and report.passed):
            continue
        before = found.get(report.nodeid)
        if report.skipped and not hasattr(report, "wasxfail"):
            now = Ending(tuple(rows), End.SKIPPED, _reason(report.longrepr))
        else:
            now = Ending(tuple(rows), End.HELD if report.passed else End.FAILED)
        if before is None or before.end is not End.FAILED:
            found[report.nodeid] = now
    return found


def _reason(longrepr: Any) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple | list) else str(longrepr)
    return str(text).removeprefix("Skipped: ")


def merge_record(path: Path, ends: Mapping[str, Ending]) -> dict[str, Ending]:
    """Add how tests ended to a file that other sessions have written; returns all that it holds then."""
    merged: dict[str, Ending] = {}
    if path.exists():
        for nodeid, (rows, end, reason) in json.loads(path.read_text(encoding="utf-8")).items():
            merged[nodeid] = Ending(tuple(rows), End(end), reason)
    merged.update(ends)
    path.write_text(json.dumps(dict(sorted(merged.items())), indent=1) + "\n", encoding="utf-8")
    return merged


class _Count(NamedTuple):
    """What came of the tests of one row."""

    ends: Counter[End]
    reasons: list[str]

    @property
    def is_injected(self) -> bool:
        return self.ends[End.HELD] + self.ends[End.FAILED] > 0

    @property
    def has_failed(self) -> bool:
        return self.ends[End.FAILED] > 0


def _by_row(ends: Mapping[str, Ending]) -> dict[int, _Count]:
    rows = {number: _Count(Counter(), []) for number in ROWS}
    for each in ends.values():
        for number in each.rows:
            if number not in rows:  # a test of the catalogue tells of that
                continue
            rows[number].ends[each.end] += 1
            if each.reason and each.reason not in rows[number].reasons:
                rows[number].reasons.append(each.reason)
    return rows


def fault_line(ends: Mapping[str, Ending]) -> str:
    """Everything in one line."""
    rows = _by_row(ends)
    injected = [count for count in rows.values() if count.is_injected]
    held = sum(not count.has_failed for count in injected)
    skipped = sum(count.ends[End.SKIPPED] > 0 for count in rows.values() if not count.is_injected)
    parts = [f"{len(injected)} of {len(rows)} rows injected", f"{held} held"]
    if held < len(injected):
        parts.append(f"{len(injected) - held} DID NOT HOLD")
    if skipped:
        parts.append(f"{skipped} skipped")
    return f"{', '.join(parts)}; the table: make faults"


def fault_table(ends: Mapping[str, Ending]) -> Iterator[str]:
    """A row for each fault: its number, what it is, what came of it, and the number of its tests."""
    tested = {number for mark in fault_marks() for number in mark.rows}
    yield _line("row", "fault", "held", "tests", "injected")
    for number, count in _by_row(ends).items():
        row = ROWS[number]
        if count.is_injected:
            fired = "fired"
            held = "NO" if count.has_failed else "yes"
        else:
            held = "-"
            if count.ends[End.SKIPPED]:
                fired = f"skipped: {'; '.join(count.reasons)}"
            elif number in tested:
                fired = "not run"
            else:
                fired = f"no test: {row.reason}" if row.reason else "no test"
        yield _line(number, row.fault, held, count.ends[End.HELD] + count.ends[End.FAILED], fired)


def _line(number: object, fault: str, held: str, tests: object, injected: str) -> str:
    fault = textwrap.shorten(fault, _WIDTH_OF_FAULT, placeholder=" …")
    injected = textwrap.shorten(injected, _WIDTH_OF_REASON, placeholder=" …")
    return f"{number:>3}  {fault:<{_WIDTH_OF_FAULT}}  {held:<4}  {tests:>5}  {injected}"


def faults_summary(reporter: pytest.TerminalReporter) -> list[str]:
    """One line for each kind of fault that was injected in many runs."""
    runs: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            for name, value in report.user_properties:
                if name == PROPERTY:
                    kind, more_runs, more_violations = value
                    runs[kind] += more_runs
                    violations[kind] += more_violations
    return [f"{kind}: {count} runs, {violations[kind]} violations" for kind, count in sorted(runs.items())]
