"""CSV: a line for each file and destination, and nothing that a spreadsheet would run."""

import base64
import csv
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.printable import printable
from pfndispatchcopy.report.csv_report import csv_report
from tests.support.report_trial import Told

_NAMES = st.binary(min_size=1, max_size=30).filter(lambda raw: b"/" not in raw and b"\0" not in raw)


def _text(told: Told, exit_code: int = 0) -> str:
    with told.contents(exit_code) as contents:
        return b"".join(csv_report(contents)).decode("utf-8")


def _table(told: Told, exit_code: int = 0) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(told, exit_code).splitlines(keepends=True)))


def test_each_file_has_a_line_for_each_destination() -> None:
    told = Told("/a", "/b", hashes=("xxh64be", "md5"))
    told.file("x,y.mov", 10, ["verified", "failed"], xxh64be="aa", md5="bb", error='a "quoted", reason')
    told.file("z", 20, ["identical", None], read_back="direct", xxh64be="cc")
    told.places[1]["error"] = "the disk is full"
    rows = _table(told, 3)
    assert list(rows[0]) == [
        *("path", "path_base64", "size", "xxh64be", "md5"),
        *("destination", "copy", "copy_base64", "state", "read_back", "error"),
    ]
    assert [(row["path"], row["destination"], row["state"], row["read_back"]) for row in rows] == [
        ("x,y.mov", "/a", "verified", "evicted"),
        ("x,y.mov", "/b", "failed", "none"),
        ("z", "/a", "identical", "direct"),
        ("z", "/b", "not copied", "none"),
    ]
    assert [row["error"] for row in rows] == ["", 'a "quoted", reason', "", "the disk is full"]
    assert [(row["size"], row["md5"]) for row in rows[::2]] == [("10", "bb"), ("20", "")]
    assert rows[0]["copy"] == "/a/A001/x,y.mov"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\uff1dx", "=cmd|' /C calc'!A0", "-", "=\ttab"])
def test_formula_is_no_formula(name: str) -> None:
    told = Told("=dest")
    told.file(name, states=["failed"], error=f"@{name}")
    (row,) = _table(told, 1)
    assert row["path"].startswith("'")
    assert row["error"].startswith("'@")
    assert row["destination"] == "'=dest"
    assert base64.b64decode(row["path_base64"]).decode() == name


@given(raw=_NAMES)
def test_any_name_is_on_its_line_and_comes_back_exactly(raw: bytes) -> None:
    told = Told("/a", "/b")
    told.file(os.fsdecode(raw))
    told.file("zz")
    text = _text(told)
    assert len(text.split("\n")) == 1 + 4 + 1
    assert "\r" not in text
    assert text.replace("\n", "") == printable(text.replace("\n", ""))
    row = next(row for row in csv.DictReader(text.splitlines(keepends=True)) if row["path"] != "zz" or raw == b"zz")
    exact = base64.b64decode(row["path_base64"]) if row["path_base64"] else row["path"].encode()
    assert exact == raw
    assert not row["path"].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_check_has_a_line_for_each_file() -> None:
    told = Told("/a/a.md5", "/b/b.md5", is_check=True, sources=["/a/a.md5", "/b/b.md5"])
    for folder in ("/a", "/b"):
        told.file("x", md5="aa")
        told.files[-1]["destinations"] = [
            {"path": f"{folder}/x", "state": "verified", "read_back": "evicted", "error": None}
        ]
    assert [(row["path"], row["destination"], row["md5"]) for row in _table(told)] == [
        ("/a/x", "/a/a.md5", "aa"),
        ("/b/x", "/b/b.md5", "aa"),
    ]
