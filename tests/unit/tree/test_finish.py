"""The end of a tree: folders get their times last, and sources are read once more."""

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.engine.lanes import AwakeClock, OperationWatch
from pfndispatchcopy.fileio.folders import DestinationFolder
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import Notice, Preserve, Symlinks
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.selection import Selection
from pfndispatchcopy.tree.finish import finish_folders, prove_sources
from pfndispatchcopy.tree.scan import SourceRoot, Tree, scan
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file

_PAST_S = 1_000_000_000


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "src/card"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def _scan(
    system: FaultySystem, root: Path | SourceRoot, handle: FolderHandle, symlinks: Symlinks = Symlinks.COPY
) -> Tree:
    source = root if isinstance(root, SourceRoot) else SourceRoot(str(root), str(root), root.name)
    return scan(system, (source,), (handle,), selection=Selection(), symlinks=symlinks)


class _Finish:
    """Finishes the copy of one source.

    Attributes:
        told: path and text of every warning.
        watch: of the destination.
        prepare: called between the listing and the finish.
    """

    def __init__(self, system: FaultySystem, root: Path | SourceRoot, disk: Path) -> None:
        self.told: list[tuple[str, str]] = []
        self.watch = OperationWatch(str(disk), AwakeClock())
        self.prepare: Callable[[], Any] = lambda: None
        self._system = system
        self._root = root
        self._disk = disk

    def __call__(self, *, is_fresh: bool = True, flushes: bool = True, **options: Any) -> None:
        system = self._system
        copy_options = CopyOptions(**options)
        path = self._root.path if isinstance(self._root, SourceRoot) else str(self._root)
        source, folder = system.open_folder(path), DestinationFolder.open(system, str(self._disk))
        try:
            tree = _scan(system, self._root, source, copy_options.symlinks)
            self.prepare()
            finish_folders(
                system,
                tree,
                [source],
                folder,
                self.watch,
                copy_options,
                fresh=frozenset({0} if is_fresh else ()),
                flushes=flushes,
                warn=lambda shown, text: self.told.append((shown, text)),
            )
        finally:
            folder.close()
            system.close_folder(source)


@pytest.fixture
def finish(faulty: FaultySystem, card: Path, disk: Path) -> _Finish:
    """Finishes ``src/card`` on ``disk``."""
    return _Finish(faulty, card, disk)


def _age(top: Path) -> dict[str, int]:
    """Give every folder a time of its own, in the past; returns them by path."""
    times = {}
    folders = sorted([top, *(path for path in top.rglob("*") if path.is_dir() and not path.is_symlink())], reverse=True)
    for number, path in enumerate(folders):
        os.utime(path, (_PAST_S, _PAST_S + 1000 * number))
        times[os.path.relpath(path, top)] = _PAST_S + 1000 * number
    return times


def _times(top: Path) -> dict[str, int]:
    folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
    return {os.path.relpath(path, top): int(path.stat().st_mtime) for path in folders}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- folders ----------------------------------------------------------------------------------------------


def test_folders_that_are_missing_are_made_and_all_have_the_times_of_the_source(
    finish: _Finish, card: Path, disk: Path
) -> None:
    for path in ("a/b/c", "a/empty", "d"):
        (card / path).mkdir(parents=True)
    (disk / "card/a/b").mkdir(parents=True)
    times = _age(card)
    finish()
    assert _times(disk / "card") == times
    assert len(times) == 6
    assert finish.told == []


@pytest.mark.fault(71)
def test_modes_are_kept_but_give_nobody_rights(finish: _Finish, card: Path, disk: Path) -> None:
    for name, mode in (("open", 0o755), ("closed", 0o700), ("shared", 0o2775), ("sticky", 0o1777)):
        (card / name).mkdir()
        (card / name).chmod(mode)
    finish()
    modes = {path.name: _mode(path) for path in (disk / "card").iterdir()}
    assert modes == {"open": 0o755, "closed": 0o700, "shared": 0o775, "sticky": 0o777}


def test_folder_that_may_not_be_written_into_is_finished_after_those_in_it(
    finish: _Finish, card: Path, disk: Path
) -> None:
    (card / "closed/inner").mkdir(parents=True)
    times = _age(card)
    (card / "closed").chmod(0o555)
    try:
        finish()
        assert _mode(disk / "card/closed") == 0o555
        assert _times(disk / "card") == times
    finally:
        for path in (card / "closed", disk / "card/closed"):
            path.chmod(0o755)


def test_nothing_is_kept_that_is_not_asked_for(finish: _Finish, card: Path, disk: Path) -> None:
    (card / "a").mkdir(mode=0o700)
    times = _age(card)
    plain = disk / "plain"
    plain.mkdir()
    finish(preserve=frozenset())
    assert _mode(disk / "card/a") == _mode(plain)
    assert all(found > times[path] for path, found in _times(disk / "card").items())
    finish(preserve=frozenset({Preserve.TIMES}))
    assert _mode(disk / "card/a") == _mode(plain)
    assert _times(disk / "card") == times


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no such calls")
def test_extended_attributes_of_folders_are_kept(finish: _Finish, card: Path, disk: Path) -> None:
    (card / "a").mkdir()
    try:
        os.setxattr(card / "a", "user.note", b"blue\0")
    except OSError:
        pytest.skip("no extended attributes here")
    finish()
    assert os.getxattr(disk / "card/a", "user.note") == b"blue\0"


def test_top_folder_that_was_there_before_is_left_as_it_is(finish: _Finish, card: Path, disk: Path) -> None:
    (card / "a").mkdir()
    (disk / "card/a").mkdir(parents=True)
    (disk / "card").chmod(0o711)
    times = _age(card)
    finish(is_fresh=False)
    assert _mode(disk / "card") == 0o711
    found = _times(disk / "card")
    assert found["a"] == times["a"]
    assert found["."] != times["."]


def test_content_goes_straight_into_the_destination(faulty: FaultySystem, card: Path, disk: Path) -> None:
    (card / "a").mkdir()
    times = _age(card)
    _Finish(faulty, SourceRoot(f"{card}/", f"{card}/", ""), disk)(is_fresh=False)
    assert _times(disk)["a"] == times["a"]
    assert [path.name for path in disk.iterdir()] == ["a"]


def test_file_that_is_a_source_has_no_folder(faulty: FaultySystem, card: Path, disk: Path) -> None:
    make_file(card / "a.mov", 1)
    _age(card)
    card.chmod(0o711)
    before = disk.stat()
    _Finish(faulty, SourceRoot(f"{card}/a.mov", str(card), "", only="a.mov"), disk)()
    assert list(disk.iterdir()) == []
    assert (disk.stat().st_mtime_ns, disk.stat().st_mode) == (before.st_mtime_ns, before.st_mode)


def test_followed_link_to_a_folder_is_finished_as_that_folder(finish: _Finish, card: Path, disk: Path) -> None:
    (card.parent / "real").mkdir()
    (card / "link").symlink_to("../real")
    os.utime(card.parent / "real", (_PAST_S, _PAST_S))
    finish(symlinks=Symlinks.FOLLOW)
    assert not (disk / "card/link").is_symlink()
    assert int((disk / "card/link").stat().st_mtime) == _PAST_S


def test_source_is_not_changed(finish: _Finish, card: Path) -> None:
    (card / "a/b").mkdir(parents=True)
    make_file(card / "a/x", 1)
    times = _age(card)
    finish()
    assert _times(card) == times
    assert sorted(str(path.relative_to(card)) for path in card.rglob("*")) == ["a", "a/b", "a/x"]


@pytest.mark.fault(75)
def test_tree_that_is_deeper_than_a_path_can_be_is_finished(faulty: FaultySystem, card: Path, disk: Path) -> None:
    names = [f"level-{number:03}-of-a-deep-tree" for number in range(200)]
    fd = os.open(card, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.utime(fd, (_PAST_S, _PAST_S))
    os.close(fd)
    try:
        _Finish(faulty, card, disk)(flushes=False)
        fd = os.open(disk / "card", os.O_RDONLY)
        for name in names:
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        assert int(os.fstat(fd).st_mtime) == _PAST_S
        os.close(fd)
    finally:
        shutil.rmtree(card / names[0])
        shutil.rmtree(disk / "card")


# -- flushing ---------------------------------------------------------------------------------------------


def _flushed(system: FaultySystem, disk: Path) -> list[str]:
    paths = [path.rstrip("/") for call, path in system.calls if call == "flush_folder"]
    return [os.path.relpath(path, disk) for path in paths]


def test_every_folder_is_flushed_and_so_is_what_new_ones_were_made_in(
    finish: _Finish, faulty: FaultySystem, card: Path, disk: Path
) -> None:
    (card / "a/b").mkdir(parents=True)
    (card / "c").mkdir()
    finish()
    flushed = _flushed(faulty, disk)
    assert {"card", "card/a", "card/a/b", "card/c", "."} == set(flushed)


def test_folder_is_flushed_after_its_last_change(finish: _Finish, faulty: FaultySystem, card: Path) -> None:
    (card / "a/b").mkdir(parents=True)
    finish()
    calls = [call for call, _ in faulty.calls if call in ("set_mode", "set_times", "flush_folder")]
    assert calls[: 3 * 3] == ["set_mode", "set_times", "flush_folder"] * 3
    assert set(calls[3 * 3 :]) == {"flush_folder"}


def test_nothing_is_flushed_where_that_is_not_wished(finish: _Finish, faulty: FaultySystem, card: Path) -> None:
    (card / "a").mkdir()
    finish(flushes=False)
    assert "flush_folder" not in {call for call, _ in faulty.calls}


# -- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "where", "nth"),
    [
        ("make_subfolder", "/disk/", 1),
        ("make_subfolder", "/disk/card/a/b", 1),
        ("open_subfolder", "/disk/card/a", 2),
        ("flush_folder", "/disk/", 1),
        ("flush_folder", "/disk/", 4),
        ("status", "/disk", 1),
    ],
)
def test_folder_that_cannot_be_made_opened_or_flushed_is_an_error(
    call: str, where: str, nth: int, finish: _Finish, faulty: FaultySystem, card: Path
) -> None:
    (card / "a/b").mkdir(parents=True)
    rules = []
    finish.prepare = lambda: rules.append(faulty.fail(call, errno.EIO, where=where, nth=nth))
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        finish()
    assert [rule.fired for rule in rules] == [1]
    assert not finish.watch.is_busy


@pytest.mark.parametrize("call", ["set_mode", "set_times"])
def test_what_a_file_system_cannot_keep_of_a_folder_is_a_warning(
    call: str, finish: _Finish, faulty: FaultySystem, card: Path, disk: Path
) -> None:
    (card / "a").mkdir()
    (card / "b").mkdir()
    times = _age(card)
    rule = faulty.fail(call, errno.EPERM)
    finish()
    assert rule.fired == 1
    ((path, text),) = finish.told
    assert path in ("card/a", "card/b")
    assert call.removeprefix("set_") in text
    assert "EPERM" in text
    if call == "set_mode":
        assert _times(disk / "card") == times


@pytest.mark.parametrize("call", ["status_of_file", "open_subfolder"])
def test_folder_whose_metadata_cannot_be_read_is_there_all_the_same(
    call: str, finish: _Finish, faulty: FaultySystem, card: Path, disk: Path
) -> None:
    (card / "a").mkdir()
    (card / "b").mkdir()
    rules = []
    where = "" if call == "status_of_file" else "/src/card/"
    finish.prepare = lambda: rules.append(faulty.fail(call, errno.EIO, where=where))
    finish()
    assert [rule.fired for rule in rules] == [1]
    ((path, text),) = finish.told
    assert path in ("card/a", "card/b")
    assert "could not be read" in text
    assert "EIO" in text
    assert sorted(path.name for path in (disk / "card").iterdir()) == ["a", "b"]


def test_folder_that_has_vanished_from_the_source_is_there_all_the_same(
    finish: _Finish, card: Path, disk: Path
) -> None:
    (card / "a").mkdir()
    finish.prepare = (card / "a").rmdir
    finish()
    assert [path for path, _ in finish.told] == ["card/a"]
    assert (disk / "card/a").is_dir()


@pytest.mark.fault(22)
def test_destination_that_was_replaced_in_the_middle_is_an_error(finish: _Finish, card: Path, disk: Path) -> None:
    def replace() -> None:
        disk.rename(disk.with_name("away"))
        disk.mkdir()

    (card / "a").mkdir()
    finish.prepare = replace
    with pytest.raises(OSError, match="unmounted or replaced") as caught:
        finish()
    assert caught.value.errno == errno.ESTALE
    assert list(disk.iterdir()) == []


@pytest.mark.fault(80)
def test_planted_link_is_not_followed_to_finish_a_folder(finish: _Finish, card: Path, disk: Path) -> None:
    (card / "a").mkdir()
    (disk.parent / "victim").mkdir(mode=0o700)
    (disk / "card").mkdir()
    (disk / "card/a").symlink_to("../../victim")
    before = (disk.parent / "victim").stat()
    with pytest.raises(OSError, match=r"\[Errno (20|40|62)\]"):  # no folder, or too many links
        finish()
    after = (disk.parent / "victim").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)


# -- the second reading of the sources --------------------------------------------------------------------


def _digest_of(data: bytes) -> str:
    calculator = HashCalculator(["md5"])
    calculator.update(data)
    return calculator.hexdigests()["md5"]


class _Proof:
    """Reads a source a second time.

    Attributes:
        digests: of the first reading, by number of the file.
        cancel: stops it.
        watch: of the source.
    """

    def __init__(self, system: FaultySystem, root: Path | SourceRoot, symlinks: Symlinks = Symlinks.COPY) -> None:
        self._system = system
        path = root.path if isinstance(root, SourceRoot) else str(root)
        self._handle = system.open_folder(path)
        self.tree = _scan(system, root, self._handle, symlinks)
        self._is_followed = symlinks is Symlinks.FOLLOW
        self.cancel = threading.Event()
        self.watch = OperationWatch(path, AwakeClock())
        self.digests: dict[int, str] = {}
        for number, file in enumerate(self.tree.files):
            if not file.is_link:
                self.digests[number] = _digest_of(Path(path, self.tree.path_of(file)).read_bytes())
        system.calls.clear()

    def found(self) -> Iterator[tuple[str, Notice]]:
        """What was found, by path below the source."""
        for number, notice, is_mismatch in prove_sources(
            self._system,
            self.tree,
            [self._handle],
            self.digests,
            "md5",
            self.watch,
            self.cancel,
            follow=self._is_followed,
        ):
            assert is_mismatch == (notice.errno is None)
            yield self.tree.path_of(self.tree.files[number]), notice

    def close(self) -> None:
        self._system.close_folder(self._handle)


_SIZES: Mapping[str, int] = {"a.mov": 3_000_000, "sub/b.mov": 70_000, "sub/deep/c.mov": 0, "sub/d.mov": 4096}


@pytest.fixture
def proof(faulty: FaultySystem, card: Path) -> Iterator[_Proof]:
    """Reads four files a second time."""
    for seed, (path, size) in enumerate(_SIZES.items()):
        make_file(card / path, size, seed)
    (card / "link").symlink_to("a.mov")
    proof = _Proof(faulty, card)
    yield proof
    proof.close()


def test_sources_that_give_the_same_bytes_again_are_proven(proof: _Proof, faulty: FaultySystem) -> None:
    assert list(proof.found()) == []
    assert {os.path.basename(path) for call, path in faulty.calls if call == "open_source_name"} == {
        "a.mov",
        "b.mov",
        "c.mov",
        "d.mov",
    }
    assert not proof.watch.is_busy


def test_second_reading_is_past_the_cache(proof: _Proof, faulty: FaultySystem) -> None:
    list(proof.found())
    calls = [call for call, _ in faulty.calls if call in ("open_source_name", "drop_cache", "is_cached", "read")]
    for number, call in enumerate(calls):
        if call == "open_source_name":
            assert calls[number + 1 : number + 4] == ["drop_cache", "is_cached", "read"]
    assert calls.count("open_source_name") == 4


def test_only_files_of_which_a_digest_is_known_are_read(proof: _Proof, faulty: FaultySystem) -> None:
    proof.digests = dict(list(proof.digests.items())[:1])
    assert list(proof.found()) == []
    assert [call for call, _ in faulty.calls].count("open_source_name") == 1


@pytest.mark.fault(38)
def test_source_that_gives_other_bytes_is_found_and_the_others_are_read(
    proof: _Proof, faulty: FaultySystem, card: Path
) -> None:
    def flip(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
        count = real()
        buffer[count // 2] ^= 1
        return count

    rule = faulty.rule("read", flip)
    ((path, notice),) = list(proof.found())
    assert rule.fired == 1
    assert (notice.path, notice.operation, notice.errno) == (str(card / path), "verify-source", None)
    assert "second reading gave md5:" in notice.message
    assert "No copy of it can be trusted" in notice.message
    assert [call for call, _ in faulty.calls].count("open_source_name") == 4


@pytest.mark.fault(38)
def test_every_source_that_was_changed_is_found(proof: _Proof, card: Path) -> None:
    with open(card / "a.mov", "r+b") as file:
        file.seek(2_999_999)
        file.write(b"\0\0")
    make_file(card / "sub/deep/c.mov", 1)
    (card / "sub/d.mov").write_bytes(b"")
    assert sorted(path for path, _ in proof.found()) == ["a.mov", "sub/d.mov", "sub/deep/c.mov"]


@pytest.mark.fault(30)
@pytest.mark.parametrize(("call", "where"), [("open_source_name", "/b.mov"), ("open_subfolder", "/deep"), ("read", "")])
def test_source_that_cannot_be_read_again_is_not_proven(
    call: str, where: str, proof: _Proof, faulty: FaultySystem
) -> None:
    rule = faulty.fail(call, errno.EIO, where=where)
    ((path, notice),) = list(proof.found())
    assert rule.fired == 1
    assert notice.errno == "EIO"
    assert where.strip("/") in path


@pytest.mark.fault(36)
def test_source_that_has_vanished_is_not_proven(proof: _Proof, card: Path) -> None:
    shutil.rmtree(card / "sub")
    found = {path: notice.errno for path, notice in proof.found()}
    assert found == {path: "ENOENT" for path in _SIZES if path.startswith("sub/")}


@pytest.mark.fault(80)
def test_link_that_was_put_in_place_of_a_source_is_not_followed(proof: _Proof, card: Path) -> None:
    (card / "a.mov").rename(card.parent / "a.mov")
    (card / "a.mov").symlink_to("../a.mov")
    assert [(path, notice.errno) for path, notice in proof.found()] == [("a.mov", "ELOOP")]


def test_second_reading_can_be_stopped(proof: _Proof, faulty: FaultySystem) -> None:
    def stop(real: Callable[[], int], *arguments: Any) -> int:
        proof.cancel.set()
        return real()

    rule = faulty.rule("close", stop)
    assert list(proof.found()) == []
    assert rule.fired == 1
    assert [call for call, _ in faulty.calls].count("open_source_name") == 1


def test_followed_link_is_read_again_where_it_leads(faulty: FaultySystem, card: Path) -> None:
    make_file(card.parent / "real/a.mov", 100)
    (card / "link.mov").symlink_to("../real/a.mov")
    (card / "folder").symlink_to("../real")
    proof = _Proof(faulty, card, Symlinks.FOLLOW)
    try:
        assert len(proof.digests) == 2
        assert list(proof.found()) == []
        (card.parent / "real/a.mov").write_bytes(b"x")
        assert sorted(path for path, _ in proof.found()) == ["folder/a.mov", "link.mov"]
    finally:
        proof.close()


def test_link_that_is_a_source_itself_is_read_again(faulty: FaultySystem, card: Path) -> None:
    make_file(card / "a.mov", 100)
    (card / "link.mov").symlink_to("a.mov")
    proof = _Proof(faulty, SourceRoot("link.mov", str(card), "", only="link.mov"))
    try:
        assert len(proof.digests) == 1
        assert list(proof.found()) == []
    finally:
        proof.close()
