"""The table in docs/guarantees.md: every fault, what has to happen, and which tests inject it.

``python -m tests.faults.guarantees`` writes it anew, from the catalogue and from the markers of the tests.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.faults.catalogue import ROWS, Row
from tests.support.fault_marks import FaultMark, fault_marks

__all__ = ["PAGE", "page_with_table"]

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
_BEGIN = "<!-- What follows is written by `make guarantees`, up to the next of these lines -->"
_END = "<!-- The end of what is written by `make guarantees` -->"


def page_with_table(page: str, marks: Iterable[FaultMark]) -> str:
    """Return the page with the table as the markers are now.

    Raises:
        ValueError: the page does not say where the table is.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} has lost one of the lines between which the table is")
    return f"{before}{begin}\n\n" + "\n".join(_table(list(marks))) + f"\n\n{end}{after}"


def _table(marks: list[FaultMark]) -> Iterator[str]:
    mine = {number: [mark for mark in marks if number in mark.rows] for number in ROWS}
    untested = sum(not mine[number] for number in ROWS)
    without = f"; {untested} have none" if untested else ""
    yield f"{len(ROWS)} faults, {len(ROWS) - untested} of them with tests{without}."
    for group, rows in groupby(ROWS.values(), lambda row: row.group):
        yield f"\n### {group}\n"
        yield "| | fault | what has to happen | tests | run |"
        yield "|---|---|---|---|---|"
        yield from (_line(row, mine[row.number]) for row in rows)


def _line(row: Row, marks: list[FaultMark]) -> str:
    files = sorted({mark.file for mark in marks})
    tests = ", ".join(f"[{file.removesuffix('.py').replace('test_', '')}](../tests/{file})" for file in files)
    runs = ", ".join(name for name in ("every day", "kernel", "long") if any(_run(mark) == name for mark in marks))
    return f"| {row.number} | {row.fault} | {row.required} | {tests or row.reason or 'none'} | {runs or 'never'} |"


def _run(mark: FaultMark) -> str:
    if "slow" in mark.others:
        return "long"
    return "kernel" if "kernel" in mark.others else "every day"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with_table(page, fault_marks()), encoding="utf-8")


if __name__ == "__main__":
    main()
