"""The folder of a copy: made when it is missing, recognised again, probed, and cleaned up after."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.folders import DestinationFolder, split_at_existing
from tests.support.faulty_system import FaultySystem
from tests.support.files import partials


def test_missing_names_are_those_below_the_nearest_folder(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path, missing in (
        ("a", ()),
        ("a/", ()),
        ("a/b", ("b",)),
        ("a/b//c/", ("b", "c")),
        ("a/..", ()),
    ):
        anchor, names = split_at_existing(faulty, f"{tmp_path}/{path}")
        assert names == missing
        assert Path(anchor).samefile(tmp_path if path == "a/.." else tmp_path / "a")


def test_relative_paths_begin_at_the_working_folder(
    faulty: FaultySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_at_existing(faulty, "x/y") == (".", ("x", "y"))
    assert split_at_existing(faulty, ".") == (".", ())
    assert split_at_existing(faulty, "/") == ("/", ())


def test_two_points_behind_a_link_mean_what_the_system_means(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")
    anchor, missing = split_at_existing(faulty, f"{tmp_path}/link/../new")
    assert missing == ("new",)
    assert Path(anchor).samefile(tmp_path / "deep")


def test_way_that_cannot_be_looked_at_is_an_error(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        split_at_existing(faulty, f"{tmp_path}/file/x")
    rule = faulty.fail("status", errno.EIO)
    with pytest.raises(OSError, match="Errno 5"):
        split_at_existing(faulty, str(tmp_path))
    assert rule.fired == 1


def test_folder_is_made_with_its_parents_and_each_is_made_durable(faulty: FaultySystem, tmp_path: Path) -> None:
    folder = DestinationFolder.open(faulty, f"{tmp_path}/a/b/c")
    assert (tmp_path / "a/b/c").is_dir()
    flushed = [path.rstrip("/") for call, path in faulty.calls if call == "flush_folder"]
    assert flushed == [f"{tmp_path}", f"{tmp_path}/a", f"{tmp_path}/a/b"]
    folder.close()
    assert (tmp_path / "a/b/c").is_dir()


def test_folder_made_by_somebody_quicker_is_taken_and_not_removed(faulty: FaultySystem, tmp_path: Path) -> None:
    def be_slower(real: Callable[[], None], *arguments: object) -> None:
        real()
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    rule = faulty.rule("make_subfolder", be_slower)
    folder = DestinationFolder.open(faulty, f"{tmp_path}/a/b")
    assert rule.fired == 1
    folder.close(remove_made=True)
    assert (tmp_path / "a").is_dir()
    assert not (tmp_path / "a/b").exists()


@pytest.mark.parametrize(
    ("call", "nth"),
    [("make_subfolder", 2), ("status_of_name", 2), ("open_folder", 2), ("open_folder", 3), ("flush_folder", 2)],
)
def test_folder_that_cannot_be_made_leaves_nothing(call: str, nth: int, faulty: FaultySystem, tmp_path: Path) -> None:
    rule = faulty.fail(call, errno.EIO, nth=nth)
    with pytest.raises(OSError, match="Errno 5"):
        DestinationFolder.open(faulty, f"{tmp_path}/a/b")
    assert rule.fired == 1
    assert list(tmp_path.iterdir()) == []


def test_folders_made_for_nothing_are_removed_as_far_as_they_are_empty(faulty: FaultySystem, tmp_path: Path) -> None:
    folder = DestinationFolder.open(faulty, f"{tmp_path}/a/b/c")
    (tmp_path / "a/other").touch()
    folder.close(remove_made=True)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["other"]


@pytest.mark.fault(80)
def test_folder_that_has_taken_the_place_of_one_that_was_made_is_not_removed(
    faulty: FaultySystem, tmp_path: Path
) -> None:
    (tmp_path / "outside/b").mkdir(parents=True)
    folder = DestinationFolder.open(faulty, f"{tmp_path}/a/b")
    (tmp_path / "a").rename(tmp_path / "aside")
    (tmp_path / "a").symlink_to("outside")
    folder.close(remove_made=True)
    assert (tmp_path / "outside/b").is_dir()


@pytest.mark.fault(80)
def test_folder_that_is_another_one_than_was_looked_at_is_refused(faulty: FaultySystem, tmp_path: Path) -> None:
    for name in ("a", "outside"):
        (tmp_path / name).mkdir()
    known = faulty.open_folder(f"{tmp_path}/a")
    faulty.close_folder(known)
    (tmp_path / "a").rename(tmp_path / "aside")
    (tmp_path / "a").symlink_to("outside")
    with pytest.raises(OSError, match="another folder") as caught:
        DestinationFolder.open(faulty, f"{tmp_path}/a", known.identity)
    assert caught.value.errno == errno.ESTALE
    (tmp_path / "a").unlink()
    (tmp_path / "aside").rename(tmp_path / "a")
    DestinationFolder.open(faulty, f"{tmp_path}/a", known.identity).close()


def test_folder_that_was_there_is_never_removed(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    DestinationFolder.open(faulty, f"{tmp_path}/a").close(remove_made=True)
    assert (tmp_path / "a").is_dir()


@pytest.mark.fault(22, 25)
def test_folder_is_recognised_again(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folder = DestinationFolder.open(faulty, f"{tmp_path}/a")
    assert folder.identity.inode == (tmp_path / "a").stat().st_ino
    folder.check_identity()
    (tmp_path / "a").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        folder.check_identity()
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="unmounted or replaced") as caught:
        folder.check_identity()
    assert caught.value.errno == errno.ESTALE
    folder.close()


@pytest.mark.fault(64)
def test_probe_shows_where_a_folder_is_the_same(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "alias").symlink_to("real")
    real, alias, other = (DestinationFolder.open(faulty, f"{tmp_path}/{name}") for name in ("real", "alias", "other"))
    probe = real.probe("clip.mov")
    assert partials(tmp_path / "real") == [tmp_path / "real" / probe]
    assert alias.has_name(probe)
    assert not other.has_name(probe)
    real.remove_probe(probe, "clip.mov")
    assert list((tmp_path / "real").iterdir()) == []
    for folder in (real, alias, other):
        folder.close()


@pytest.mark.parametrize(("call", "nth"), [("open_name", 1), ("close", 1), ("replace_name", 1), ("status_of_name", 1)])
def test_probe_is_gone_whichever_step_failed(call: str, nth: int, faulty: FaultySystem, tmp_path: Path) -> None:
    folder = DestinationFolder.open(faulty, str(tmp_path))

    def fail(real: object, *arguments: object) -> None:
        if call == "close":
            os.close(int(str(arguments[0])))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    rule = faulty.rule(call, fail, nth=nth)
    try:
        probe = folder.probe("clip.mov")
        folder.has_name(probe)
        folder.remove_probe(probe, "clip.mov")
    except OSError as error:
        assert error.errno == errno.EIO  # noqa: PT017 - one of the steps raises, which one depends on the fault
    assert rule.fired == 1
    left = partials(tmp_path)
    for path in left:
        path.unlink()
    folder.close()
    assert left == []


@pytest.mark.fault(21)
def test_folder_that_allows_the_making_alone_is_of_no_use(faulty: FaultySystem, tmp_path: Path) -> None:
    folder = DestinationFolder.open(faulty, str(tmp_path))
    probe = folder.probe("clip.mov")
    rules = [faulty.fail(call, errno.EPERM, times=None) for call in ("replace_name", "remove_name")]
    with pytest.raises(OSError, match="Errno 1\\]"):
        folder.remove_probe(probe, "clip.mov")
    assert rules[0].fired == 1
    folder.close()
    for path in partials(tmp_path):
        path.unlink()


def test_probe_that_another_run_has_swept_is_no_failure(faulty: FaultySystem, tmp_path: Path) -> None:
    folder = DestinationFolder.open(faulty, str(tmp_path))
    probe = folder.probe("clip.mov")
    (tmp_path / probe).unlink()
    folder.remove_probe(probe, "clip.mov")
    folder.close()
    assert list(tmp_path.iterdir()) == []
