"""Where a report may go, and that it gets there whole or not at all."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.report.writing import Errand, find_place, write_report
from tests.support.report_trial import Told, demonstration

_SYSTEM = native_system()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card, two destinations, and a folder for reports; paths are relative to it."""
    for name in ("CARD/CLIPS", "a/CARD", "b", "reports"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "clip.mov").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _find(label: str, *destinations: str, source: str = "CARD", **more: Any) -> None:
    find_place(_SYSTEM, label, Errand((source,), destinations or ("a", "b"), **more))


# -- where it may go --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "source", "destinations"),
    [
        ("reports/r.json", "CARD", ("a",)),
        ("r.csv", "CARD", ("a",)),
        ("a/r.json", "CARD", ("a", "b")),  # beside the card
        ("a/r.json", "CARD/", ("a/x", "b/x")),
        ("a/r.json", "clip.mov", ("a/", "b/")),
        ("new/day1/r.json", "CARD", ("new/day1",)),  # the run will make it
        ("new/r.json", "CARD", ("new/day1",)),
        ("b/CARD/r.json/../../r.json", "CARD", ("a",)),
        ("r.json", "-", ("a/stream",)),
    ],
)
def test_place_beside_the_copies_is_good(desk: Path, label: str, source: str, destinations: tuple[str, ...]) -> None:
    if "CARD/r.json" in label:
        (desk / "b/CARD/r.json").mkdir(parents=True)
    _find(label, *destinations, source=source)


@pytest.mark.parametrize(
    ("label", "source", "destinations", "said"),
    [
        ("nowhere/r.json", "CARD", ("a",), "there is no folder nowhere"),
        ("clip.mov/r.json", "CARD", ("a",), "is no folder"),
        ("new/day2/r.json", "CARD", ("new/day1",), "there is no folder"),
        ("CARD/r.json", "CARD", ("a",), "a source is never written to"),
        ("CARD/CLIPS/r.json", "CARD/", ("a",), "a source is never written to"),
        ("link/r.json", "CARD", ("a",), "a source is never written to"),
        ("a/CARD/r.json", "CARD", ("b", "a"), "is inside the copy"),
        ("a/r.json", "CARD/", ("a",), "is inside the copy"),
        ("a/CARD/r.json", ".", ("a",), "is inside ."),
        ("reports/r.json", "CARD/", ("reports/",), "is inside the copy"),
        ("new/CARD/r.json", "CARD", ("new",), "there is no folder"),
        ("out.json", "clip.mov", ("out.json",), "is inside the copy"),
        ("src.json", "src.json", ("a/",), "a source is never written to"),
        ("b/src.json", "src.json", ("b",), "is inside the copy"),
        ("fifo.json", "CARD", ("a",), "something else than a file"),
        ("folder.json", "CARD", ("a",), "something else than a file"),
        ("points.json", "CARD", ("a",), "is a symbolic link"),
        ("mine.json", "CARD", ("a",), "no report of this kind"),
        ("log.json", "CARD", ("a",), "is the log, too"),
    ],
)
def test_place_that_would_do_harm_is_refused(
    desk: Path, label: str, source: str, destinations: tuple[str, ...], said: str
) -> None:
    (desk / "src.json").touch()
    (desk / "link").symlink_to("CARD")
    os.mkfifo(desk / "fifo.json")
    (desk / "folder.json").mkdir()
    (desk / "points.json").symlink_to("elsewhere")
    (desk / "mine.json").write_text('{"shots": []}')
    before = sorted(path.name for path in desk.rglob("*"))
    with pytest.raises(UsageError) as refused:
        _find(label, *destinations, source=source, log_file="./log.json")
    assert said in str(refused.value)
    assert str(refused.value).startswith("--report ")
    assert sorted(path.name for path in desk.rglob("*")) == before


def test_folder_that_cannot_be_written_to_is_refused(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def access(path: str, mode: int) -> bool:
        asked.append(path)
        return False

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(UsageError, match="nothing can be written into the folder reports"):
        _find("reports/r.json")
    assert asked == ["reports"]


def test_page_without_jinja2_is_refused_with_what_to_install(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'pfndispatchcopy\[report\]'"):
        _find("r.html")
    _find("r.json")


@pytest.mark.parametrize(
    ("label", "checked", "is_good"),
    [
        ("a/r.json", "a/CARD", True),
        ("a/CARD/r.json", "a/CARD", False),
        ("a/CARD/r.json", "a/CARD/CARD.mhl", False),
        ("a/r.json", "a/CARD/CARD.mhl", True),
        ("a/r.json", "a/clip.mov.md5", True),  # a list of that file alone
    ],
)
def test_report_of_a_check_does_not_lie_among_what_is_listed(
    desk: Path, label: str, checked: str, is_good: bool
) -> None:
    for name in ("a/CARD/CARD.mhl", "a/clip.mov.md5", "a/clip.mov"):
        (desk / name).touch()
    if is_good:
        _find(label, checked, source=checked, is_check=True)
        return
    with pytest.raises(UsageError, match="a file that no list knows"):
        _find(label, checked, source=checked, is_check=True)


# -- that it gets there -----------------------------------------------------------------------------------


def _write(
    label: str, system: System = _SYSTEM, told: Told | None = None, beat: Callable[[], None] = lambda: None
) -> None:
    place = find_place(_SYSTEM, label, Errand(("CARD",), ("a", "b")))
    made = told or Told("/a", "/b")
    made.file("clip.mov")
    with made.contents() as contents:
        write_report(system, place, contents, beat)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".html", ".JSON"])
def test_report_replaces_an_older_one_and_nothing_temporary_is_left(desk: Path, suffix: str) -> None:
    if suffix == ".html":
        pytest.importorskip("jinja2")
    beats: list[int] = []
    path = desk / f"reports/r{suffix}"
    _write(f"reports/r{suffix}")
    first = path.read_bytes()
    inode = path.stat().st_ino
    _write(f"reports/r{suffix}", told=demonstration()[0], beat=lambda: beats.append(1))
    assert path.read_bytes() != first
    assert path.stat().st_ino != inode
    assert os.listdir(desk / "reports") == [path.name]
    assert beats
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_empty_file_that_was_made_for_it_is_taken(desk: Path) -> None:
    (desk / "r.csv").touch()
    _write("r.csv")
    assert (desk / "r.csv").read_text().startswith("path,")


@pytest.mark.parametrize("call", ["write", "flush", "replace_name", "open_name"])
def test_report_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    desk: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write("r.json")
    before = (desk / "r.json").read_bytes()
    system = native_system()
    calls: list[str] = []

    def fail(*arguments: object) -> int:
        calls.append(call)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(system, call, fail)
    with pytest.raises(OSError, match="No space"):
        _write("r.json", system)
    assert calls == [call]
    assert (desk / "r.json").read_bytes() == before
    assert sorted(path.name for path in desk.iterdir() if path.is_file()) == ["clip.mov", "r.json"]


def test_file_that_came_meanwhile_is_not_replaced(desk: Path) -> None:
    place = find_place(_SYSTEM, "r.json", Errand(("CARD",), ("a",)))
    (desk / "r.json").write_text("mine")
    told = Told("/a")
    with told.contents() as contents, pytest.raises(UsageError, match="no report of this kind"):
        write_report(_SYSTEM, place, contents, lambda: None)
    assert (desk / "r.json").read_text() == "mine"


def test_folder_that_is_another_one_by_now_gets_nothing(desk: Path) -> None:
    place = find_place(_SYSTEM, "reports/r.json", Errand(("CARD",), ("a",)))
    (desk / "reports").rename(desk / "unmounted")
    (desk / "reports").mkdir()
    told = Told("/a")
    with told.contents() as contents, pytest.raises(UsageError, match="was the volume unmounted"):
        write_report(_SYSTEM, place, contents, lambda: None)
    assert os.listdir(desk / "reports") == os.listdir(desk / "unmounted") == []


def test_folder_that_the_run_has_made_gets_it(desk: Path) -> None:
    place = find_place(_SYSTEM, "new/day1/r.json", Errand(("CARD",), ("new/day1",)))
    (desk / "new/day1").mkdir(parents=True)
    told = Told("/a")
    with told.contents() as contents:
        write_report(_SYSTEM, place, contents, lambda: None)
    assert os.listdir(desk / "new/day1") == ["r.json"]
