"""The report for spreadsheets: a line for each file and destination, and nothing in it that a spreadsheet would run."""

import base64
import csv
import io
from collections.abc import Iterator

from pfndispatchcopy.printable import printable
from pfndispatchcopy.report.contents import Contents

__all__ = ["COLUMNS_BEFORE", "csv_report"]

COLUMNS_BEFORE = ("path", "path_base64", "size")
_COLUMNS_BEHIND = ("destination", "copy", "copy_base64", "state", "read_back", "error")
# What makes a formula of a cell; the wide forms do so in East Asian versions.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# A cell for a file that a destination was not even given.
_NOT_BEGUN = "not copied"


def csv_report(contents: Contents) -> Iterator[bytes]:
    """Yield the report: UTF-8, commas, a header."""
    labels = [_cell(printable(place.label)) for place in contents.places]
    yield _line([*COLUMNS_BEFORE, *contents.hash_names, *_COLUMNS_BEHIND])
    for row in contents.rows():
        before = [*_path(row.path), str(row.size), *(row.hashes.get(name, "") for name in contents.hash_names)]
        for number, each in enumerate(row.outcomes):
            if each is not None:
                error = _cell(printable(each.error or ""))
                yield _line([*before, labels[number], *_path(each.path), each.state, each.read_back, error])
            elif not contents.is_check:
                yield _line([*before, labels[number], "", "", _NOT_BEGUN, "none", _why(contents, number)])


def _why(contents: Contents, number: int) -> str:
    """What stopped the destination, where it was not the end of the run."""
    return _cell(printable(contents.places[number].summary["error"] or ""))


def _path(path: str) -> tuple[str, str]:
    """A path as it can be shown, and its exact bytes where that is something else."""
    cell = _cell(printable(path))
    exact = "" if cell == path else base64.b64encode(path.encode("utf-8", "surrogateescape")).decode("ascii")
    return cell, exact


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue().encode("utf-8")
