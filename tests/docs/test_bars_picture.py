"""The picture of the bars is made from a real run."""

import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.making.bars_picture import bars_of_a_run, picture

ROOT = Path(__file__).resolve().parents[2]
_TEXT = "{http://www.w3.org/2000/svg}text"


def _lines(svg: str) -> list[str]:
    return [str(each.text).replace("\N{NO-BREAK SPACE}", " ") for each in ET.fromstring(svg).iter(_TEXT)]


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="a terminal of Linux")
def test_picture_shows_a_bar_for_the_whole_and_for_each_disk() -> None:
    lines = _lines(picture(bars_of_a_run(900_000, 600_000)))
    assert lines[0] == "$ pfndispatchcopy A001 raid shuttle"
    assert [line.split()[0] for line in lines[1:]] == ["copying", "raid", "shuttle"]
    assert all("%|" in line and " MB/s, " in line for line in lines[1:])


def test_picture_that_is_kept_is_one_of_those() -> None:
    lines = _lines((ROOT / "docs" / "bars.svg").read_text(encoding="utf-8"))
    assert [line.split()[0] for line in lines] == ["$", "copying", "raid", "shuttle"]
