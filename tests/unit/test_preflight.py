"""Looking at a destination: what its spelling means, and that looking writes nothing."""

import errno
import os
from pathlib import Path

import pytest

from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.model import Identity
from pfndispatchcopy.plan import Destination
from pfndispatchcopy.preflight import examine, folder_identity
from tests.support.faulty_system import FaultySystem

_WRITING = {
    "close",
    "make_subfolder",
    "open_name",
    "remove_name",
    "remove_subfolder",
    "rename_to_free_name",
    "replace_name",
    "write",
}


@pytest.fixture
def system() -> System:
    return native_system()


def _look(system: System, label: str | Path, source: str = "/card/clip.mov") -> Destination:
    return examine(system, 0, str(label), source)


def _identity(path: Path) -> Identity:
    return Identity(path.stat().st_dev, path.stat().st_ino)


def test_existing_folder_takes_the_file_under_its_own_name(system: System, tmp_path: Path) -> None:
    found = _look(system, tmp_path)
    assert found.path == f"{tmp_path}/clip.mov"
    assert (found.anchor, found.missing) == (_identity(tmp_path), ())
    assert (found.existing, found.existing_size) == (None, None)


def test_path_with_a_separator_at_its_end_is_a_folder_that_may_be_missing(system: System, tmp_path: Path) -> None:
    found = _look(system, f"{tmp_path}/day1/roll2/")
    assert os.path.normpath(found.path) == f"{tmp_path}/day1/roll2/clip.mov"
    assert (found.anchor, found.missing) == (_identity(tmp_path), ("day1", "roll2"))
    assert found.label == f"{tmp_path}/day1/roll2/"


def test_any_other_path_is_the_files_full_path(system: System, tmp_path: Path) -> None:
    found = _look(system, tmp_path / "day1" / "other.mov")
    assert found.path == f"{tmp_path}/day1/other.mov"
    assert (found.name, found.missing) == ("other.mov", ("day1",))


def test_plain_name_lies_in_the_working_folder(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _look(system, "copy.mov").anchor == _identity(tmp_path)
    assert _look(system, ".").name == "clip.mov"
    assert _look(system, "..").anchor == _identity(tmp_path.parent)
    (tmp_path / "sub").mkdir()
    assert _look(system, "sub/..").anchor == _identity(tmp_path)


@pytest.mark.parametrize("end", [".", ".."])
def test_points_name_a_folder_even_where_it_is_missing(end: str, system: System, tmp_path: Path) -> None:
    found = _look(system, f"{tmp_path}/new/{end}")
    assert found.name == "clip.mov"
    assert found.missing[0] == "new"
    assert found.anchor == _identity(tmp_path)


def test_link_to_a_folder_is_this_folder(system: System, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert _look(system, tmp_path / "link").anchor == _identity(tmp_path / "real")


def test_what_has_the_name_already_is_seen(system: System, tmp_path: Path) -> None:
    (tmp_path / "clip.mov").write_bytes(b"12345")
    found = _look(system, tmp_path)
    assert found.existing == _identity(tmp_path / "clip.mov")
    assert found.existing_size == 5


def test_existing_folder_of_the_files_name_has_no_size(system: System, tmp_path: Path) -> None:
    (tmp_path / "clip.mov").mkdir()
    found = _look(system, tmp_path)
    assert found.existing == _identity(tmp_path / "clip.mov")
    assert found.existing_size is None


def test_dangling_link_is_nothing_that_exists(system: System, tmp_path: Path) -> None:
    (tmp_path / "clip.mov").symlink_to("nowhere")
    assert _look(system, tmp_path).existing is None


def test_file_where_a_folder_should_be_is_an_error(system: System, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for label in (f"{tmp_path}/file/", f"{tmp_path}/file/sub/clip.mov"):
        with pytest.raises(NotADirectoryError):
            _look(system, label)


def test_standard_input_needs_a_files_full_path(system: System, tmp_path: Path) -> None:
    for label in (str(tmp_path), f"{tmp_path}/new/"):
        with pytest.raises(RefusedError, match="full path") as caught:
            _look(system, label, "-")
        assert caught.value.path == label
    assert _look(system, tmp_path / "card.tar", "-").name == "card.tar"


def test_space_and_file_system_are_those_of_the_nearest_folder(system: System, tmp_path: Path) -> None:
    found = _look(system, f"{tmp_path}/missing/")
    numbers = os.statvfs(tmp_path)
    assert found.free is not None
    assert found.free <= numbers.f_blocks * numbers.f_frsize
    assert found.mount == system.mount(str(tmp_path))
    assert found.is_own_volume == (tmp_path.stat().st_dev != os.stat("/").st_dev)


def test_destination_that_cannot_be_looked_at_is_an_os_error(faulty: FaultySystem, tmp_path: Path) -> None:
    rule = faulty.fail("status", errno.EIO, where=str(tmp_path))
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        _look(faulty, tmp_path)
    assert rule.fired == 1


def test_looking_writes_nothing(faulty: FaultySystem, tmp_path: Path) -> None:
    _look(faulty, f"{tmp_path}/new/folder/")
    _look(faulty, tmp_path)
    assert faulty.calls
    assert not {call for call, _ in faulty.calls} & _WRITING
    assert list(tmp_path.iterdir()) == []


def test_identity_of_the_sources_folder(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_identity(system, str(tmp_path / "clip.mov")) == _identity(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert folder_identity(system, "clip.mov") == _identity(tmp_path)
