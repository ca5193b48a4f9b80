"""Listing the sources: all that is there is copied, left out with a reason, or reported; nothing just vanishes."""

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import Symlinks
from pfndispatchcopy.plan import fold
from pfndispatchcopy.selection import Selection
from pfndispatchcopy.tree.scan import SourceRoot, Tree, TreeFile, TreeFolder, scan, split_list
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file, partials

_STALE = ".pfn.0123456789.abcdef01.partial"


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    """An empty source folder; temporary names that a test makes in it are removed again."""
    folder = tmp_path / "card"
    folder.mkdir()
    yield folder
    for path in partials(folder):
        path.unlink()


def _fill(card: Path, *paths: str) -> None:
    """Make files of one byte, and folders where a path ends in a separator."""
    for path in paths:
        if path.endswith("/"):
            (card / path).mkdir(parents=True, exist_ok=True)
        else:
            make_file(card / path, 1)


def _scan(
    system: FaultySystem,
    *roots: Path | SourceRoot,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    symlinks: Symlinks = Symlinks.COPY,
    only: Sequence[str] | None = None,
    going_on: Callable[[], None] = lambda: None,
) -> Tree:
    sources = tuple(
        root if isinstance(root, SourceRoot) else SourceRoot(str(root), str(root), root.name) for root in roots
    )
    handles = tuple(system.open_folder(root.path) for root in sources)
    try:
        return scan(
            system,
            sources,
            handles,
            selection=Selection(exclude, include),
            symlinks=symlinks,
            only=only,
            going_on=going_on,
        )
    finally:
        for handle in handles:
            system.close_folder(handle)


def _files(tree: Tree) -> list[str]:
    return sorted(tree.path_of(file) for file in tree.files)


def _folders(tree: Tree) -> list[str]:
    return sorted(folder.path for folder in tree.folders)


def _left_out(tree: Tree, card: Path) -> dict[str, str]:
    return {os.path.relpath(each.path, card): each.reason for each in tree.left_out}


def _require_order(tree: Tree) -> None:
    """Each folder is there once, and after the one that it is in."""
    assert len(set(tree.folders)) == len(tree.folders)
    for number, folder in enumerate(tree.folders):
        if folder.path:
            assert tree.folders.index(TreeFolder(folder.root, folder.path.rpartition("/")[0])) < number


# -- what is there ----------------------------------------------------------------------------------------


def test_files_and_folders_are_listed_with_their_sizes(faulty: FaultySystem, card: Path) -> None:
    make_file(card / "DCIM/100/a.mov", 70_000)
    make_file(card / "DCIM/b.mov", 5)
    make_file(card / "empty.txt", 0)
    tree = _scan(faulty, card)
    sizes = {tree.path_of(file): file.size for file in tree.files}
    assert sizes == {"DCIM/100/a.mov": 70_000, "DCIM/b.mov": 5, "empty.txt": 0}
    assert tree.bytes == 70_005
    assert _folders(tree) == ["", "DCIM", "DCIM/100"]
    assert (tree.left_out, tree.failures) == ([], [])
    assert (tree.hard_links, tree.sparse) == (0, 0)
    _require_order(tree)


def test_empty_folders_are_listed(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a/b/c/", "d/")
    tree = _scan(faulty, card)
    assert _folders(tree) == ["", "a", "a/b", "a/b/c", "d"]
    assert tree.files == []


def test_empty_source_is_one_folder(faulty: FaultySystem, card: Path) -> None:
    tree = _scan(faulty, card)
    assert tree.folders == [TreeFolder(0, "")]
    assert (tree.files, tree.bytes, tree.failures) == ([], 0, [])


def test_several_sources_are_one_tree(faulty: FaultySystem, tmp_path: Path) -> None:
    _fill(tmp_path, "one/a/x", "two/a/y", "three/z", "three/w")
    single = SourceRoot("three/z", str(tmp_path / "three"), "", only="z")
    tree = _scan(faulty, tmp_path / "one", tmp_path / "two", single)
    found = [(tree.folders[file.folder].root, tree.path_of(file)) for file in tree.files]
    assert found == [(0, "a/x"), (1, "a/y"), (2, "z")]
    assert [root.prefix for root in tree.roots] == ["one", "two", ""]
    _require_order(tree)


def test_files_of_a_folder_come_in_the_order_of_their_inodes(faulty: FaultySystem, card: Path) -> None:
    _fill(card, *(f"t{number}" for number in range(20)))
    in_order = sorted((path.stat().st_ino, path) for path in card.iterdir())
    for number, (_, path) in enumerate(in_order):
        path.rename(card / f"{19 - number:02}")  # the first inode gets the last name
    tree = _scan(faulty, card)
    assert [file.name for file in tree.files] == [f"{19 - number:02}" for number in range(20)]


def test_folders_of_a_folder_come_in_the_order_of_their_inodes_with_their_files(
    faulty: FaultySystem, card: Path
) -> None:
    _fill(card, *(f"t{number}/x" for number in range(6)), "t0/sub/y")
    in_order = sorted((path.stat().st_ino, path) for path in card.iterdir())
    with_more = card / "t0"
    names = []
    for number, (_, path) in enumerate(in_order):
        name = chr(ord("f") - number)
        names += [f"{name}/x", f"{name}/sub/y"] if path == with_more else [f"{name}/x"]
        path.rename(card / name)
    assert [tree.path_of(file) for tree in [_scan(faulty, card)] for file in tree.files] == names


@pytest.mark.parametrize(
    "name", ["new\nline", "\x1b[2Jescape", "tab\t", " blank ", "-option", "\u00e9", "e\u0301", "\U0001f3a5", "\udcff"]
)
def test_name_is_kept_to_the_byte(name: str, faulty: FaultySystem, card: Path) -> None:
    try:
        _fill(card, f"{name}.d/{name}")
    except OSError:
        pytest.skip("the file system here does not take such names")
    if name not in os.listdir(card / f"{name}.d"):
        pytest.skip("the file system here changes such names")
    tree = _scan(faulty, card)
    assert _files(tree) == [f"{name}.d/{name}"]
    assert _folders(tree) == ["", f"{name}.d"]
    assert _files(_scan(faulty, card, only=[f"{name}.d/{name}"])) == [f"{name}.d/{name}"]


@pytest.fixture
def deep(card: Path) -> Iterator[list[str]]:
    """A file so deep that its path is longer than PATH_MAX; yields the names on the way."""
    names = [f"level-{number:03}-of-a-deep-tree" for number in range(320)]
    way = [os.open(card, os.O_RDONLY)]
    for name in names:
        os.mkdir(name, dir_fd=way[-1])
        way.append(os.open(name, os.O_RDONLY, dir_fd=way[-1]))
    os.close(os.open("clip.mov", os.O_WRONLY | os.O_CREAT, dir_fd=way[-1]))
    assert len("/".join(names)) > os.pathconf(card, "PC_PATH_MAX")
    yield names
    os.unlink("clip.mov", dir_fd=way[-1])
    for name in reversed(names):
        os.close(way.pop())
        os.rmdir(name, dir_fd=way[-1])
    os.close(way.pop())


@pytest.mark.fault(75)
@pytest.mark.skipif(os.name != "posix", reason="no descriptors for folders")
def test_tree_that_is_deeper_than_a_path_can_be_is_found_whole(
    faulty: FaultySystem, card: Path, deep: list[str]
) -> None:
    tree = _scan(faulty, card)
    assert tree.failures == []
    assert [tree.path_of(file) for file in tree.files] == ["/".join([*deep, "clip.mov"])]
    assert len(tree.folders) == len(deep) + 1
    _require_order(tree)


@pytest.mark.fault(75)
@pytest.mark.skipif(os.name != "posix", reason="no descriptors for folders")
def test_list_may_name_what_is_deeper_than_a_path_can_be(faulty: FaultySystem, card: Path, deep: list[str]) -> None:
    path = "/".join([*deep, "clip.mov"])
    tree = _scan(faulty, card, only=[path])
    assert (_files(tree), tree.failures) == ([path], [])


def test_listed_path_may_have_any_number_of_folders(faulty: FaultySystem, card: Path) -> None:
    def stay(real: object, folder: FolderHandle, name: str) -> FolderHandle:
        return folder._replace(path=f"{folder.path}/{name}")

    _fill(card, "x")
    inside = faulty.rule("open_subfolder", stay, times=None)
    faulty.rule("close_folder", lambda real, folder: None, where="/card/d/", times=None)
    tree = _scan(faulty, card, only=["d/" * 1500 + "x"])
    assert (len(tree.files), len(tree.folders)) == (1, 1501)
    assert inside.fired == 1500


def test_few_folders_are_open_at_once_however_many_there_are(faulty: FaultySystem, card: Path) -> None:
    _fill(card, *(f"d{number}/x" for number in range(300)))
    assert len(_scan(faulty, card).files) == 300
    now = most = 0
    for call, _ in faulty.calls:
        now += {"open_subfolder": 1, "close_folder": -1}.get(call, 0)
        most = max(most, now)
    assert most < 200
    assert now <= 0


# -- what is no file --------------------------------------------------------------------------------------


@pytest.mark.fault(69)
def test_fifo_and_socket_are_left_out_and_never_opened(
    faulty: FaultySystem, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(card, "a.mov")
    os.mkfifo(card / "fifo")
    monkeypatch.chdir(card)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        tree = _scan(faulty, card)
        listed = _scan(faulty, card, only=["fifo", "a.mov"])
    assert _files(tree) == _files(listed) == ["a.mov"]
    assert _left_out(tree, card) == {"fifo": "a FIFO", "socket": "a socket"}
    assert _left_out(listed, card) == {"fifo": "a FIFO"}
    assert not any(each.is_wished for each in tree.left_out)
    assert not {call for call, _ in faulty.calls} & {"open_source", "open_source_name", "open_name", "read"}


@pytest.mark.fault(69)
@pytest.mark.parametrize(
    ("kind", "reason"),
    [(stat.S_IFBLK, "a device"), (stat.S_IFCHR, "a device"), (0o150000, "no regular file")],
)
def test_what_else_is_no_file_is_left_out_with_its_kind(
    kind: int, reason: str, faulty: FaultySystem, card: Path
) -> None:
    def pass_for_it(real: Callable[[], os.stat_result], *arguments: Any) -> os.stat_result:
        status = real()
        return os.stat_result((kind | 0o600, *tuple(status)[1:10]))

    _fill(card, "a.mov", "odd")
    rule = faulty.rule("status_of_name", pass_for_it, where="/odd")
    tree = _scan(faulty, card)
    assert rule.fired == 1
    assert _left_out(tree, card) == {"odd": reason}
    assert _files(tree) == ["a.mov"]


@pytest.mark.fault(69)
@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no such device")
def test_real_device_is_left_out(faulty: FaultySystem) -> None:
    tree = _scan(faulty, Path("/dev"), only=["null"])
    assert [(each.path, each.reason, each.is_wished) for each in tree.left_out] == [("/dev/null", "a device", False)]
    assert tree.files == []


def test_temporary_names_of_unfinished_runs_are_left_out(faulty: FaultySystem, card: Path) -> None:
    _fill(card, f"d/{_STALE}", ".pfn.notes", "x.partial")
    tree = _scan(faulty, card)
    assert _files(tree) == [".pfn.notes", "x.partial"]
    assert [each.is_wished for each in tree.left_out] == [False]
    assert "unfinished run" in _left_out(tree, card)[f"d/{_STALE}"]


def test_temporary_name_is_left_out_even_where_a_list_names_it(faulty: FaultySystem, card: Path) -> None:
    _fill(card, _STALE)
    tree = _scan(faulty, card, only=[_STALE])
    assert _files(tree) == []
    assert _STALE in _left_out(tree, card)


# -- links ------------------------------------------------------------------------------------------------


@pytest.fixture
def links(card: Path) -> Path:
    """Links of every kind: to a file, to a folder, to nothing, to each other, out of the source, up."""
    _fill(card, "real/a.mov", "sub/")
    make_file(card.parent / "outside/b.mov", 7)
    for name, target in {
        "to-file": "real/a.mov",
        "to-folder": "real",
        "dangling": "nowhere",
        "loop-1": "loop-2",
        "loop-2": "loop-1",
        "out": "../outside",
        "sub/up": "..",
    }.items():
        (card / name).symlink_to(target)
    return card


@pytest.mark.fault(70)
def test_links_are_copied_as_links_and_never_followed(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links)
    made_anew = {tree.path_of(file) for file in tree.files if file.is_link}
    assert made_anew == {"to-file", "to-folder", "dangling", "loop-1", "loop-2", "out", "sub/up"}
    assert [file.size for file in tree.files if file.is_link] == [0] * 7
    assert {tree.path_of(file) for file in tree.files if not file.is_link} == {"real/a.mov"}
    assert _folders(tree) == ["", "real", "sub"]
    assert (tree.bytes, tree.left_out, tree.failures) == (1, [], [])


def test_links_can_be_left_out_and_are_listed(faulty: FaultySystem, links: Path) -> None:
    for only in (None, ["real", "sub", "to-file", "to-folder", "dangling", "loop-1", "loop-2", "out"]):
        tree = _scan(faulty, links, symlinks=Symlinks.SKIP, only=only)
        assert _files(tree) == ["real/a.mov"]
        assert set(_left_out(tree, links).values()) == {"a symbolic link"}
        assert len(tree.left_out) == 7
        assert not any(each.is_wished for each in tree.left_out)


def test_followed_link_stands_for_what_it_leads_to(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links, symlinks=Symlinks.FOLLOW)
    assert _files(tree) == ["out/b.mov", "real/a.mov", "to-file", "to-folder/a.mov"]
    assert not any(file.is_link for file in tree.files)
    assert tree.bytes == 10
    assert "to-folder" in _folders(tree)
    _require_order(tree)


@pytest.mark.fault(70)
def test_followed_link_that_leads_nowhere_is_a_failure(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links, symlinks=Symlinks.FOLLOW)
    failed = {os.path.relpath(each.path, links): each for each in tree.failures}
    assert {path: each.errno for path, each in failed.items()} == {
        "dangling": "ENOENT",
        "loop-1": "ELOOP",
        "loop-2": "ELOOP",
    }
    assert all("missing on every destination" in each.message for each in tree.failures)


@pytest.mark.fault(70)
def test_followed_link_to_a_folder_above_it_is_no_endless_tree(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links, symlinks=Symlinks.FOLLOW)
    assert _left_out(tree, links) == {"sub/up": "a link to a folder that it is in"}
    (links / "real/across").symlink_to("../sub")
    (links / "sub/across").symlink_to("../real")
    again = _scan(faulty, links, symlinks=Symlinks.FOLLOW)
    assert set(_left_out(again, links)) > {"sub/across/across", "real/across/across"}
    assert len(again.folders) < 20


@pytest.mark.fault(70)
def test_followed_link_out_of_the_source_and_back_into_it_ends(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a.mov")
    (card / "above").symlink_to("..")
    tree = _scan(faulty, card, symlinks=Symlinks.FOLLOW)
    assert _files(tree) == ["a.mov", "above/card/a.mov"]
    assert _left_out(tree, card) == {"above/card/above": "a link to a folder that it is in"}


def test_followed_link_to_what_is_no_file_is_left_out(faulty: FaultySystem, card: Path) -> None:
    os.mkfifo(card / "fifo")
    (card / "link").symlink_to("fifo")
    tree = _scan(faulty, card, symlinks=Symlinks.FOLLOW)
    assert _left_out(tree, card) == {"fifo": "a FIFO", "link": "a FIFO"}


def test_file_that_is_a_source_itself_may_be_a_link_to_one(faulty: FaultySystem, links: Path) -> None:
    for name, symlinks in (("to-file", Symlinks.COPY), ("to-file", Symlinks.SKIP), ("to-file", Symlinks.FOLLOW)):
        tree = _scan(faulty, SourceRoot("label", str(links), "", only=name), symlinks=symlinks)
        assert tree.files == [TreeFile(0, "to-file", 1)]


def test_files_beside_a_followed_link_are_found_however_deep_they_are(faulty: FaultySystem, card: Path) -> None:
    deep = "d/" * 200  # more folders than are kept open while the link is held against all of them
    _fill(card.parent, "outside/x")
    (card / deep).mkdir(parents=True)
    for number in range(5):
        (card / deep / f"link{number}").symlink_to(card.parent / "outside")
        make_file(card / deep / f"file{number}", number)
    tree = _scan(faulty, card, symlinks=Symlinks.FOLLOW)
    assert tree.failures == []
    assert {file.name: file.size for file in tree.files} == {"x": 1, **{f"file{number}": number for number in range(5)}}
    assert len(tree.files) == 10


def test_followed_link_to_a_folder_may_be_on_a_list(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links, symlinks=Symlinks.FOLLOW, only=["to-folder"])
    assert _files(tree) == ["to-folder/a.mov"]


def test_patterns_take_a_followed_link_to_a_folder_for_a_folder(faulty: FaultySystem, links: Path) -> None:
    excluded = _scan(faulty, links, symlinks=Symlinks.FOLLOW, exclude=["to-folder/"])
    assert "to-folder/a.mov" not in _files(excluded)
    included = _scan(faulty, links, symlinks=Symlinks.FOLLOW, include=["*.mov"])
    assert "to-folder/a.mov" in _files(included)


# -- what copies will not have ----------------------------------------------------------------------------


def test_hard_links_within_the_tree_are_counted(faulty: FaultySystem, tmp_path: Path) -> None:
    _fill(tmp_path, "card/a", "other/b", "card/c")
    os.link(tmp_path / "card/a", tmp_path / "other/a2")
    os.link(tmp_path / "card/a", tmp_path / "card/a3")
    os.link(tmp_path / "card/c", tmp_path / "elsewhere")
    assert _scan(faulty, tmp_path / "card").hard_links == 2
    assert _scan(faulty, tmp_path / "card", tmp_path / "other").hard_links == 3
    assert _scan(faulty, tmp_path / "other").hard_links == 0


@pytest.mark.fault(72)
def test_files_with_holes_are_counted(faulty: FaultySystem, card: Path) -> None:
    make_file(card / "whole", 300_000)
    _fill(card, "small")
    with open(card / "holes", "wb") as file:
        file.truncate(40 << 20)
    if (card / "holes").stat().st_blocks * 512 > 20 << 20:
        pytest.skip("the file system here has no holes")
    tree = _scan(faulty, card)
    assert tree.sparse == 1
    assert tree.bytes == (40 << 20) + 300_001


# -- faults -----------------------------------------------------------------------------------------------


@pytest.mark.fault(39)
def test_listing_that_breaks_off_is_reported_and_what_it_gave_is_kept(faulty: FaultySystem, card: Path) -> None:
    def break_off(real: Callable[[], Iterator[os.DirEntry[str]]], folder: FolderHandle) -> Iterator[os.DirEntry[str]]:
        listing = real()
        yield next(listing)
        yield next(listing)
        list(listing)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    _fill(card, "bad/1", "bad/2", "bad/3", "bad/4", "good/1", "good/2")
    rule = faulty.rule("entries", break_off, where="/bad/")
    tree = _scan(faulty, card)
    assert rule.fired == 1
    assert len([path for path in _files(tree) if path.startswith("bad/")]) == 2
    assert {"good/1", "good/2"} <= set(_files(tree))
    (failure,) = tree.failures
    assert (failure.path, failure.operation, failure.errno) == (str(card / "bad"), "list the folder", "EIO")
    assert "missing on every destination" in failure.message


@pytest.mark.fault(39)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENODEV, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize(
    ("call", "where", "failed", "lost"),
    [
        ("entries", "/card/", "", {"bad/a", "bad/sub/b", "good/c"}),
        ("open_subfolder", "/bad", "bad", {"bad/a", "bad/sub/b"}),
        ("entries", "/bad/", "bad", {"bad/a", "bad/sub/b"}),
        ("open_subfolder", "/bad/sub", "bad/sub", {"bad/sub/b"}),
        ("status_of_name", "/bad/a", "bad/a", {"bad/a"}),
    ],
)
def test_part_of_a_tree_that_cannot_be_looked_at_is_reported_and_the_rest_is_found(
    number: int, call: str, where: str, failed: str, lost: set[str], faulty: FaultySystem, card: Path
) -> None:
    _fill(card, "bad/a", "bad/sub/b", "good/c")
    rule = faulty.fail(call, number, where=where)
    tree = _scan(faulty, card)
    assert rule.fired == 1
    assert set(_files(tree)) == {"bad/a", "bad/sub/b", "good/c"} - lost
    (failure,) = tree.failures
    assert failure.errno == errno.errorcode[number]
    assert failure.path == str(card / failed)
    assert failure.path in failure.message


def test_every_fault_is_reported_not_only_the_first(faulty: FaultySystem, card: Path) -> None:
    _fill(card, *(f"d{number}/x" for number in range(4)), "y")
    rules = [
        faulty.fail("entries", errno.EIO, where="/d0/"),
        faulty.fail("open_subfolder", errno.EACCES, where="/d2"),
        faulty.fail("status_of_name", errno.EIO, where="/card/y"),
    ]
    tree = _scan(faulty, card)
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert sorted(os.path.relpath(each.path, card) for each in tree.failures) == ["d0", "d2", "y"]
    assert _files(tree) == ["d1/x", "d3/x"]


@pytest.mark.fault(36)
def test_file_that_vanishes_before_it_was_looked_at_is_reported(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a", "b")
    rule = faulty.fail("status_of_name", errno.ENOENT, where="/card/a")
    tree = _scan(faulty, card)
    assert rule.fired == 1
    assert [each.errno for each in tree.failures] == ["ENOENT"]
    assert _files(tree) == ["b"]


@pytest.mark.fault(80)
def test_folder_that_turned_into_a_link_is_not_followed(faulty: FaultySystem, card: Path) -> None:
    def swap(real: Callable[[], FolderHandle], folder: FolderHandle, name: str) -> FolderHandle:
        (card / "sub").rename(card / "moved")
        (card / "sub").symlink_to(card.parent / "secret")
        return real()

    _fill(card, "sub/a")
    _fill(card.parent, "secret/b")
    rule = faulty.rule("open_subfolder", swap, where="/sub")
    tree = _scan(faulty, card)
    assert rule.fired == 1
    assert _files(tree) == []
    assert [each.path for each in tree.failures] == [str(card / "sub")]


@pytest.mark.fault(37)
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may look into every folder")
def test_folder_that_may_not_be_looked_into_is_reported(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "closed/a", "open/b")
    (card / "closed").chmod(0)
    try:
        tree = _scan(faulty, card)
    finally:
        (card / "closed").chmod(0o700)
    assert [(each.path, each.errno) for each in tree.failures] == [(str(card / "closed"), "EACCES")]
    assert _files(tree) == ["open/b"]


@pytest.mark.fault(78)
def test_hostile_name_is_reported_without_control_characters(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "\x1b[2J\n/x")
    rule = faulty.fail("entries", errno.EIO, where="\x1b[2J\n/")
    tree = _scan(faulty, card)
    assert rule.fired == 1
    assert tree.failures[0].message.isprintable()
    assert tree.failures[0].path == str(card / "\x1b[2J\n")


def test_listing_can_be_stopped_and_says_that_it_goes_on(faulty: FaultySystem, card: Path) -> None:
    _fill(card, *(f"d{number}/x" for number in range(10)))
    signs: list[int] = []

    def stop_at_the_fourth() -> None:
        signs.append(1)
        if len(signs) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _scan(faulty, card, going_on=stop_at_the_fourth)
    assert len([call for call, _ in faulty.calls if call == "entries"]) == 3
    signs[:] = [0] * 10
    _scan(faulty, card, going_on=stop_at_the_fourth)
    assert len(signs) == 10 + 11


def test_listing_writes_nothing(faulty: FaultySystem, links: Path) -> None:
    for symlinks in Symlinks:
        _scan(faulty, links, symlinks=symlinks)
    reading = {
        "open_folder",
        "close_folder",
        "open_subfolder",
        "entries",
        "status_of_name",
        "followed_status_of_name",
    }
    assert {call for call, _ in faulty.calls} <= reading


# -- patterns ---------------------------------------------------------------------------------------------


def test_excluded_folder_is_not_looked_into_and_counts_once(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "cache/a", "cache/sub/b", "keep/c", "keep/cache/d")
    tree = _scan(faulty, card, exclude=["cache/"])
    assert _files(tree) == ["keep/c"]
    assert _folders(tree) == ["", "keep"]
    assert _left_out(tree, card) == {"cache": "excluded", "keep/cache": "excluded"}
    assert all(each.is_wished for each in tree.left_out)
    assert not [path for call, path in faulty.calls if call == "entries" and "cache" in path]


def test_file_in_an_excluded_folder_can_be_let_in_again(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "cache/a.mov", "cache/b.txt", "cache/sub/c.mov", "cache/empty/", "d.txt")
    tree = _scan(faulty, card, exclude=["cache"], include=["*.mov"])
    assert _files(tree) == ["cache/a.mov", "cache/sub/c.mov", "d.txt"]
    assert _folders(tree) == ["", "cache", "cache/sub"]
    assert _left_out(tree, card) == {"cache/b.txt": "excluded"}
    _require_order(tree)


def test_include_patterns_alone_copy_nothing_else(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a.mov", "b.txt", "sub/c.mov", "sub/d.txt")
    (card / "link.mov").symlink_to("a.mov")
    (card / "link.txt").symlink_to("a.mov")
    tree = _scan(faulty, card, include=["*.mov"])
    assert _files(tree) == ["a.mov", "link.mov", "sub/c.mov"]
    assert set(_left_out(tree, card)) == {"b.txt", "sub/d.txt", "link.txt"}


def test_anchored_pattern_is_for_the_top_alone(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a", "sub/a", "sub/sub/b")
    assert _files(_scan(faulty, card, exclude=["/a", "/sub/sub"])) == ["sub/a"]


def test_patterns_are_for_each_source_by_itself(faulty: FaultySystem, tmp_path: Path) -> None:
    _fill(tmp_path, "one/x/a", "two/x/a", "two/y/x/a")
    assert _files(_scan(faulty, tmp_path / "one", tmp_path / "two", exclude=["/x"])) == ["y/x/a"]


def test_source_itself_is_never_left_out(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a.mov", "b.txt")
    tree = _scan(faulty, card, exclude=["*"], include=["*.mov"])
    assert _files(tree) == ["a.mov"]
    assert _scan(faulty, card, exclude=["*"]).folders == [TreeFolder(0, "")]


@pytest.mark.parametrize(
    ("exclude", "include"),
    [
        ([], []),
        (["*.txt"], []),
        (["sub"], []),
        (["sub", "*.txt"], ["*.mov"]),
        ([], ["*.mov"]),
        (["*"], []),
        (["**"], []),
    ],
)
@pytest.mark.parametrize("symlinks", Symlinks)
def test_every_name_is_copied_or_left_out_with_a_reason(
    exclude: list[str], include: list[str], symlinks: Symlinks, faulty: FaultySystem, card: Path
) -> None:
    _fill(card, "a.mov", "b.txt", "sub/c.mov", "sub/d.txt", "sub/deep/e.mov", "other/f.txt", _STALE)
    os.mkfifo(card / "other/fifo")
    (card / "link.mov").symlink_to("a.mov")
    tree = _scan(faulty, card, exclude=exclude, include=include, symlinks=symlinks)
    copied, left_out = _files(tree), _left_out(tree, card)
    assert not set(copied) & set(left_out)
    assert tree.failures == []
    for folder, _, names in os.walk(card):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), card)
            ways_up = [path[:end] for end in range(len(path) + 1) if path[end : end + 1] in ("/", "")]
            assert path in copied or set(ways_up) & set(left_out), f"{path} has vanished"


# -- lists of files ---------------------------------------------------------------------------------------


def test_list_is_one_path_a_line() -> None:
    assert split_list(b"a.mov\nsub/b c.mov\r\n\n\xff\n\xc3\xa9", is_nul_separated=False) == [
        "a.mov",
        "sub/b c.mov",
        "\udcff",
        "\u00e9",
    ]
    assert split_list(b"", is_nul_separated=False) == []


def test_list_may_have_nuls_between_its_paths() -> None:
    assert split_list(b"a\nb\0c\r\0\0sub/d\0", is_nul_separated=True) == ["a\nb", "c\r", "sub/d"]
    assert split_list(b"a\nb", is_nul_separated=True) == ["a\nb"]


def test_listed_paths_are_made_normal_and_each_is_there_once() -> None:
    listed = b"./a\na\n.//a/\nsub//b\nsub/./b\na\n"
    assert split_list(listed, is_nul_separated=False) == ["a", "sub/b"]
    assert split_list(b".\n", is_nul_separated=False) == [""]


@pytest.mark.parametrize("path", [b"/etc/passwd", b"..", b"../a", b"a/../../b", b"a/..", b"/", b"\x1b/../x"])
@pytest.mark.parametrize("is_nul_separated", [False, True])
def test_list_that_leads_out_of_the_source_is_refused(path: bytes, is_nul_separated: bool) -> None:
    with pytest.raises(UsageError, match="--files-from") as caught:
        split_list(
            b"\0".join([b"good", path]) if is_nul_separated else b"good\n" + path, is_nul_separated=is_nul_separated
        )
    assert str(caught.value).isprintable()


def test_names_with_points_in_them_are_names_as_any_other() -> None:
    assert split_list(b"..a\na..\n...\n.a/b.", is_nul_separated=False) == ["..a", "a..", "...", ".a/b."]


def test_only_what_is_listed_is_copied(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a", "b", "sub/c", "sub/d", "other/e")
    tree = _scan(faulty, card, only=["sub/c", "a"])
    assert _files(tree) == ["a", "sub/c"]
    assert _folders(tree) == ["", "sub"]
    assert (tree.bytes, tree.left_out, tree.failures) == (2, [], [])
    _require_order(tree)


def test_listed_folder_is_copied_with_all_that_is_in_it(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a", "sub/c", "sub/deep/d", "sub/empty/", "other/e")
    assert _files(_scan(faulty, card, only=["sub"])) == ["sub/c", "sub/deep/d"]
    assert _folders(_scan(faulty, card, only=["sub"])) == ["", "sub", "sub/deep", "sub/empty"]
    assert _files(_scan(faulty, card, only=[""])) == _files(_scan(faulty, card))
    assert _folders(_scan(faulty, card, only=["sub/empty"])) == ["", "sub", "sub/empty"]


def test_empty_list_copies_nothing(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a")
    tree = _scan(faulty, card, only=[])
    assert (tree.files, tree.failures) == ([], [])


def test_listed_path_that_is_missing_is_reported_and_the_others_are_copied(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a", "file")
    tree = _scan(faulty, card, only=["gone", "sub/gone", "file/x", "a"])
    assert _files(tree) == ["a"]
    failed = {os.path.relpath(each.path, card): each.errno for each in tree.failures}
    assert failed == {"gone": "ENOENT", "sub/gone": "ENOENT", "file/x": "ENOTDIR"}


@pytest.mark.fault(70)
def test_listed_path_through_a_link_does_not_leave_the_source(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links, only=["out/b.mov"])
    assert tree.files == []
    assert [os.path.relpath(each.path, links) for each in tree.failures] == ["out/b.mov"]
    assert _files(_scan(faulty, links, only=["out/b.mov"], symlinks=Symlinks.FOLLOW)) == ["out/b.mov"]


def test_listed_link_is_a_link(faulty: FaultySystem, links: Path) -> None:
    tree = _scan(faulty, links, only=["to-file", "dangling", "to-folder"])
    assert [(file.name, file.is_link) for file in tree.files] == [
        ("to-file", True),
        ("dangling", True),
        ("to-folder", True),
    ]
    followed = _scan(faulty, links, only=["to-file", "dangling"], symlinks=Symlinks.FOLLOW)
    assert [(file.name, file.is_link) for file in followed.files] == [("to-file", False)]
    assert [each.errno for each in followed.failures] == ["ENOENT"]


def test_excluded_path_on_a_list_is_left_out(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "a.mov", "a.txt", "sub/b.txt", "sub/c.mov")
    tree = _scan(faulty, card, only=["a.mov", "a.txt", "sub"], exclude=["*.txt"])
    assert _files(tree) == ["a.mov", "sub/c.mov"]
    assert set(_left_out(tree, card)) == {"a.txt", "sub/b.txt"}
    assert _files(_scan(faulty, card, only=["a.mov", "sub"], exclude=["sub/"])) == ["a.mov"]


@pytest.mark.parametrize("only", [["sub", "sub/a", "sub/deep/b"], ["sub/a", "sub/deep", "sub"], ["", "sub", "sub/a"]])
def test_file_that_is_listed_with_its_folder_is_there_once(only: list[str], faulty: FaultySystem, card: Path) -> None:
    _fill(card, "sub/a", "sub/deep/b")
    tree = _scan(faulty, card, only=only)
    assert _files(tree) == ["sub/a", "sub/deep/b"]
    assert tree.bytes == 2


def test_what_is_listed_with_its_folder_is_left_out_once_and_fails_once(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "sub/a.tmp", "sub/b", "sub/closed/c")
    os.mkfifo(card / "sub/fifo")
    rule = faulty.fail("open_subfolder", errno.EACCES, where="/closed", times=None)
    only = ["sub", "sub/a.tmp", "sub/b", "sub/fifo", "sub/closed"]
    tree = _scan(faulty, card, only=only, exclude=["*.tmp"])
    assert rule.fired
    assert sorted(os.path.relpath(each.path, card) for each in tree.left_out) == ["sub/a.tmp", "sub/fifo"]
    assert [os.path.relpath(each.path, card) for each in tree.failures] == ["sub/closed"]


@pytest.mark.parametrize("exclude", ["cache", "cache/", "/x/cache/", "x/*"])
def test_listed_file_in_an_excluded_folder_is_left_out(exclude: str, faulty: FaultySystem, card: Path) -> None:
    _fill(card, "x/cache/sub/a", "b")
    tree = _scan(faulty, card, only=["x/cache/sub/a", "b"], exclude=[exclude])
    assert _files(tree) == ["b"]
    assert _left_out(tree, card) == {"x/cache/sub/a": "excluded"}


@pytest.mark.parametrize(("only", "exclude"), [("cache", "cache"), ("", "*")])
def test_file_can_be_let_in_again_below_a_listed_folder(
    only: str, exclude: str, faulty: FaultySystem, card: Path
) -> None:
    _fill(card, "cache/a.mov", "cache/b.txt")
    tree = _scan(faulty, card, only=[only], exclude=[exclude], include=["*.mov"])
    assert _files(tree) == ["cache/a.mov"]


# -- names that are one elsewhere -------------------------------------------------------------------------


def _tree_of(*paths: str) -> Tree:
    """A tree that was never on a disk: files, and folders where a path ends in a separator."""
    tree = Tree((SourceRoot("card", "/card", "card"),))
    for path in ("", *paths):
        names = path.split("/")[:-1] if path else []
        for depth in range(len(names) + 1):
            folder = TreeFolder(0, "/".join(names[:depth]))
            if folder not in tree.folders:
                tree.folders.append(folder)
        if path and not path.endswith("/"):
            number = tree.folders.index(TreeFolder(0, "/".join(names)))
            tree.files.append(TreeFile(number, path.rpartition("/")[2], 1))
    return tree


@pytest.mark.fault(67)
@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.mov", "A.MOV"], ["a.mov", "A.MOV"]),
        (["x/\u00e9", "x/e\u0301"], ["x/\u00e9", "x/e\u0301"]),
        (["stra\u00dfe", "STRASSE"], ["stra\u00dfe", "STRASSE"]),
        (["DCIM/", "dcim/"], ["DCIM", "dcim"]),
        (["x/DCIM/a", "x/dcim/b", "x/dcim/sub/c"], ["x/DCIM", "x/dcim"]),
        (["x/Name", "x/name/"], ["x/Name", "x/name"]),
    ],
)
def test_names_that_are_one_where_case_and_composing_do_not_count_collide(paths: list[str], names: list[str]) -> None:
    pairs = {frozenset(pair) for pair in _tree_of(*paths).collisions(fold)}
    assert pairs == {frozenset(f"card/{name}" for name in names)}


def test_names_that_differ_or_lie_in_different_folders_do_not_collide() -> None:
    tree = _tree_of("a.mov", "b.mov", "x/A.MOV", "y/a.mov", "x/y/", "\u00e9", "e")
    assert list(tree.collisions(fold)) == []
    assert list(_tree_of("a.mov", "A.MOV").collisions(lambda name: name)) == []


@pytest.mark.fault(67)
def test_scanned_names_that_collide_are_told(faulty: FaultySystem, card: Path) -> None:
    _fill(card, "sub/Clip.mov", "sub/clip.mov", "sub/other.mov")
    if len(list((card / "sub").iterdir())) < 3:
        pytest.skip("case does not count here")
    pairs = [set(pair) for pair in _scan(faulty, card).collisions(fold)]
    assert pairs == [{"card/sub/Clip.mov", "card/sub/clip.mov"}]


@pytest.mark.fault(67)
def test_sources_collide_where_they_go_to_one_folder(faulty: FaultySystem, tmp_path: Path) -> None:
    _fill(tmp_path, "one/Clip.mov", "two/sub/clip.mov")
    content, below = (SourceRoot(str(tmp_path / name), str(tmp_path / name), "") for name in ("one", "two/sub"))
    assert {frozenset(pair) for pair in _scan(faulty, content, below).collisions(fold)} == {
        frozenset({"Clip.mov", "clip.mov"})
    }
    apart = SourceRoot(str(tmp_path / "two"), str(tmp_path / "two"), "")
    assert list(_scan(faulty, content, apart).collisions(fold)) == []
    named = [
        SourceRoot(str(tmp_path / name), str(tmp_path / name), prefix) for name, prefix in (("one", "A"), ("two", "a"))
    ]
    assert {frozenset(pair) for pair in _scan(faulty, *named).collisions(fold)} == {frozenset({"A", "a"})}


def test_names_directly_below_a_destination_are_those_of_the_source_or_of_its_content() -> None:
    tree = _tree_of("a.mov", "sub/deep/b.mov", "empty/")
    assert tree.top_names(0) == {"card"}
    tree.roots = (SourceRoot("card/", "/card", ""),)
    assert tree.top_names(0) == {"a.mov", "sub", "empty"}
    tree.roots = (SourceRoot("card/a.mov", "/card", "", only="a.mov"),)
    assert tree.top_names(0) == {"a.mov"}


def test_folders_that_are_listed_are_known_by_what_they_are(card: Path, faulty: FaultySystem) -> None:
    _fill(card, "a/b/", "left/out/")
    tree = _scan(faulty, card, exclude=["left"])
    known = {(each.device, each.inode) for each in tree.identities}
    assert known == {(path.stat().st_dev, path.stat().st_ino) for path in (card, card / "a", card / "a/b")}
