"""Looking at sources and destinations of a tree: what a spelling means, what is there, what is missing."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.fileio.names import journal_name, lock_name, temporary_name
from pfndispatchcopy.fileio.storage import storage_of
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import Identity
from pfndispatchcopy.tree.plan import FoundDestination, FoundSource
from pfndispatchcopy.tree.preflight import Survey, examine_destination, examine_source, survey
from pfndispatchcopy.tree.scan import SourceRoot, Tree, TreeFile, TreeFolder
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file, partials

_READING = {
    "close_folder",
    "entries",
    "followed_status_of_name",
    "longest_name",
    "mount",
    "open_folder",
    "open_subfolder",
    "real_path",
    "root_device",
    "status",
    "status_of_name",
    "usage",
}


def _identity(path: Path) -> Identity:
    status = path.stat()
    return Identity(status.st_dev, status.st_ino)


def _ways_up(path: Path) -> tuple[Identity, ...]:
    return tuple(_identity(each) for each in (path, *path.parents))


# -- sources ----------------------------------------------------------------------------------------------


@contextmanager
def _examined(system: FaultySystem, label: str | Path) -> Iterator[tuple[FoundSource, FolderHandle]]:
    found, handle = examine_source(system, str(label))
    yield found, handle
    system.close_folder(handle)


def _root(system: FaultySystem, label: str | Path) -> SourceRoot:
    with _examined(system, label) as (found, _):
        return found.root


def test_folder_is_copied_under_its_name(faulty: FaultySystem, tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    with _examined(faulty, card) as (found, handle):
        assert found.root == SourceRoot(str(card), str(card), "card", None)
        assert found.identity == handle.identity == _identity(card)
        assert found.ways_up == _ways_up(card)
        assert found.storage == storage_of(card.stat().st_dev, faulty.mount(str(card)).filesystem)


@pytest.mark.parametrize("end", ["/", "//", "/.", "/./", "/sub/.."])
def test_folder_with_a_separator_or_points_at_its_end_is_its_content(
    end: str, faulty: FaultySystem, tmp_path: Path
) -> None:
    (tmp_path / "card/sub").mkdir(parents=True)
    label = f"{tmp_path}/card{end}"
    with _examined(faulty, label) as (found, _):
        assert found.root == SourceRoot(label, label, "", None)
        assert found.identity == _identity(tmp_path / "card")


def test_source_may_be_relative(faulty: FaultySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_file(tmp_path / "card/a.mov", 1)
    monkeypatch.chdir(tmp_path)
    assert _root(faulty, "card") == SourceRoot("card", "card", "card")
    assert _root(faulty, "card/a.mov") == SourceRoot("card/a.mov", "card", "", only="a.mov")
    monkeypatch.chdir(tmp_path / "card")
    assert _root(faulty, "a.mov") == SourceRoot("a.mov", ".", "", only="a.mov")
    for label in (".", ".."):
        assert _root(faulty, label) == SourceRoot(label, label, "")
    with _examined(faulty, "a.mov") as (found, _):
        assert found.ways_up == _ways_up(tmp_path / "card")


def test_file_is_the_one_file_of_its_folder(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "card/a.mov", 1)
    label = f"{tmp_path}/card/a.mov"
    with _examined(faulty, label) as (found, handle):
        assert found.root == SourceRoot(label, f"{tmp_path}/card", "", only="a.mov")
        assert found.identity == _identity(tmp_path / "card/a.mov")
        assert handle.identity == _identity(tmp_path / "card")
        assert found.ways_up == _ways_up(tmp_path / "card")


def test_link_has_its_own_name_and_is_what_it_leads_to(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "deep/card/a.mov", 1)
    (tmp_path / "link").symlink_to("deep/card")
    (tmp_path / "file").symlink_to("deep/card/a.mov")
    with _examined(faulty, tmp_path / "link") as (found, _):
        assert found.root.prefix == "link"
        assert found.identity == _identity(tmp_path / "deep/card")
        assert found.ways_up == _ways_up(tmp_path / "deep/card")
    with _examined(faulty, tmp_path / "file") as (found, _):
        assert found.root.only == "file"
        assert found.identity == _identity(tmp_path / "deep/card/a.mov")


def _refusal(system: FaultySystem, label: str | Path) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        examine_source(system, str(label))
    assert (caught.value.path, caught.value.operation) == (str(label), "open")
    assert str(caught.value).isprintable()
    return caught.value


def test_source_that_is_not_there_is_refused(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "file", 1)
    (tmp_path / "dangling").symlink_to("nowhere")
    for label, reason in (
        (f"{tmp_path}/gone", "ENOENT"),
        (f"{tmp_path}/go\x1bne\n", "ENOENT"),
        (f"{tmp_path}/dangling", "ENOENT"),
        (f"{tmp_path}/file/", "ENOTDIR"),
        (f"{tmp_path}/file/x", "ENOTDIR"),
        ("", "ENOENT"),
    ):
        assert _refusal(faulty, label).errno == reason


@pytest.mark.fault(69)
def test_source_that_is_neither_folder_nor_file_is_refused_and_never_opened(
    faulty: FaultySystem, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for label in (tmp_path / "fifo", Path("/dev/null")):
        assert "neither a folder nor a regular file" in str(_refusal(faulty, label))
    assert {call for call, _ in faulty.calls} == {"status"}


@pytest.mark.parametrize(("call", "number"), [("open_folder", errno.EACCES), ("status", errno.EIO)])
def test_source_that_cannot_be_opened_is_refused_with_the_systems_reason(
    call: str, number: int, faulty: FaultySystem, tmp_path: Path
) -> None:
    rule = faulty.fail(call, number)
    error = _refusal(faulty, tmp_path)
    assert rule.fired == 1
    assert error.errno == errno.errorcode[number]
    assert os.strerror(number) in str(error)


def test_source_is_not_left_open_when_a_folder_above_it_cannot_be_looked_at(
    faulty: FaultySystem, tmp_path: Path
) -> None:
    opened: list[FolderHandle] = []

    def remember(real: Callable[[], FolderHandle], path: str) -> FolderHandle:
        opened.append(real())
        return opened[-1]

    faulty.rule("open_folder", remember)
    rule = faulty.fail("status", errno.EACCES, where=str(tmp_path), nth=2)
    try:
        with pytest.raises(RefusedError):
            examine_source(faulty, str(tmp_path))
        assert rule.fired == 1
        assert [call for call, _ in faulty.calls].count("close_folder") == len(opened)
    finally:
        for handle in opened[[call for call, _ in faulty.calls].count("close_folder") :]:
            faulty.close_folder(handle)


# -- destinations -----------------------------------------------------------------------------------------

_CARD = SourceRoot("/src/card", "/src/card", "card")
_CONTENT = SourceRoot("/src/card/", "/src/card/", "")
_FILE = SourceRoot("/src/a.mov", "/src", "", only="a.mov")


def _look(system: FaultySystem, label: str | Path, *roots: SourceRoot, number: int = 0) -> FoundDestination:
    return examine_destination(system, number, str(label), roots or (_CARD,))


def test_existing_folder_is_its_own_anchor(faulty: FaultySystem, tmp_path: Path) -> None:
    found = _look(faulty, tmp_path, number=3)
    assert (found.number, found.label, found.path) == (3, str(tmp_path), str(tmp_path))
    assert (found.anchor, found.missing) == (_identity(tmp_path), ())
    assert found.ways_up == _ways_up(tmp_path)
    assert found.tops == (None,)


def test_missing_folders_are_named_below_the_nearest_one(faulty: FaultySystem, tmp_path: Path) -> None:
    for label in (f"{tmp_path}/day1/roll2", f"{tmp_path}/day1//roll2/"):
        found = _look(faulty, label, _CARD, _CONTENT)
        assert (found.anchor, found.missing) == (_identity(tmp_path), ("day1", "roll2"))
        assert found.ways_up == _ways_up(tmp_path)
        assert found.label == label
        assert found.tops == (None, None)


def test_destination_may_be_relative(faulty: FaultySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _look(faulty, "new").ways_up == _look(faulty, ".").ways_up == _ways_up(tmp_path)
    assert _look(faulty, "new/er").missing == ("new", "er")


def test_detours_through_folders_that_are_missing_are_none(faulty: FaultySystem, tmp_path: Path) -> None:
    for label in ("new/er", "new/./er", "other/../new/er", "a/b/../../new//er/c/.."):
        assert _look(faulty, f"{tmp_path}/{label}").missing == ("new", "er")
    assert _look(faulty, f"{tmp_path}/new/..").missing == ()


def test_what_is_there_is_seen_behind_a_detour_as_well(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    assert _look(faulty, f"{tmp_path}/new/..").tops == (_identity(tmp_path / "card"),)


def test_detour_that_leads_above_the_nearest_folder_hides_nothing(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    found = _look(faulty, f"{tmp_path}/new/../../{tmp_path.name}/card/out")
    assert (found.anchor, found.missing) == (_identity(tmp_path / "card"), ("out",))
    assert found.ways_up == _ways_up(tmp_path / "card")


def test_what_has_the_top_name_already_is_seen_for_each_source(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "a.mov", 1)
    (tmp_path / "card").mkdir()
    other = SourceRoot("/src/other", "/src/other", "other")
    found = _look(faulty, tmp_path, _CARD, other, _FILE, _CONTENT)
    assert found.tops == (_identity(tmp_path / "card"), None, _identity(tmp_path / "a.mov"), _identity(tmp_path))


def test_link_with_the_top_name_is_what_it_leads_to(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "card").symlink_to("real")
    assert _look(faulty, tmp_path).tops == (_identity(tmp_path / "real"),)
    (tmp_path / "to-it").symlink_to(".")
    assert _look(faulty, tmp_path / "to-it").anchor == _identity(tmp_path)
    assert _look(faulty, tmp_path / "to-it").ways_up == _ways_up(tmp_path)


def test_volume_is_that_of_the_nearest_folder(faulty: FaultySystem, tmp_path: Path) -> None:
    found = _look(faulty, f"{tmp_path}/missing")
    mount = faulty.mount(str(tmp_path))
    assert found.mount == mount
    assert found.storage == storage_of(tmp_path.stat().st_dev, mount.filesystem)
    assert found.longest_name == os.pathconf(tmp_path, "PC_NAME_MAX")
    assert found.is_own_volume == (tmp_path.stat().st_dev != os.stat("/").st_dev)
    numbers = os.statvfs(tmp_path)
    assert found.free is not None
    assert 0 <= found.free <= numbers.f_blocks * numbers.f_frsize


def test_volume_that_does_not_say_its_space_has_none(faulty: FaultySystem, tmp_path: Path) -> None:
    rules = [faulty.rule("usage", lambda real, path: None), faulty.rule("longest_name", lambda real, path: None)]
    found = _look(faulty, tmp_path)
    assert [rule.fired for rule in rules] == [1, 1]
    assert (found.free, found.longest_name) == (None, None)


def test_file_in_place_of_a_folder_is_an_error(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "file", 1)
    for label in ("file", "file/", "file/sub"):
        with pytest.raises(NotADirectoryError):
            _look(faulty, tmp_path / label)


def test_destination_that_cannot_be_looked_at_is_an_os_error(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    for call, where in (("status", ""), ("status", "/card"), ("usage", "")):
        rule = faulty.fail(call, errno.EIO, where=f"{tmp_path}{where}")
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            _look(faulty, tmp_path)
        assert rule.fired == 1


def test_looking_writes_nothing(faulty: FaultySystem, tmp_path: Path) -> None:
    _look(faulty, f"{tmp_path}/new/folder", _CARD, _CONTENT, _FILE)
    _look(faulty, tmp_path, _CARD, _CONTENT, _FILE)
    _root(faulty, tmp_path)
    assert {call for call, _ in faulty.calls} <= _READING
    assert list(tmp_path.iterdir()) == []


# -- what is there already --------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for copies; temporary names that a test makes in it are removed again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    for path in partials(folder):
        path.unlink()


def _tree(sizes: Mapping[str, int], *roots: SourceRoot) -> Tree:
    """A tree of files by path and size; the paths of a second root begin with ``1:``, and so on."""
    tree = Tree(roots or (_CARD,))
    tree.folders += [TreeFolder(root, "") for root in range(len(tree.roots))]
    for place, size in sizes.items():
        number, _, path = place.rpartition(":")
        root = int(number or 0)
        folder, _, name = path.rpartition("/")
        names = folder.split("/") if folder else []
        for depth in range(1, len(names) + 1):
            above = TreeFolder(root, "/".join(names[:depth]))
            if above not in tree.folders:
                tree.folders.append(above)
        tree.files.append(TreeFile(tree.folders.index(TreeFolder(root, folder)), name, size))
        tree.bytes += size
    return tree


def _survey(system: FaultySystem, disk: Path, tree: Tree, going_on: Callable[[], None] = lambda: None) -> Survey:
    found = examine_destination(system, 0, str(disk), tree.roots)
    return survey(system, found, tree, going_on)


_SIZES = {"a.mov": 1000, "sub/b.mov": 200, "sub/deep/c.mov": 30}


@pytest.mark.parametrize("name", ["", "new", "new/er"])
def test_empty_destination_lacks_everything_and_is_not_listed(name: str, faulty: FaultySystem, disk: Path) -> None:
    tree = _tree(_SIZES)
    assert _survey(faulty, disk / name, tree) == Survey(1230, (), frozenset({0}))
    assert "entries" not in {call for call, _ in faulty.calls}


def test_what_is_there_in_its_size_is_not_missing(faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / "card/a.mov", 1000)
    make_file(disk / "card/sub/deep/c.mov", 30)
    make_file(disk / "card/other.mov", 5000)
    assert _survey(faulty, disk, _tree(_SIZES)) == Survey(200, (), frozenset())
    make_file(disk / "card/sub/b.mov", 200)
    assert _survey(faulty, disk, _tree(_SIZES)) == Survey(0, (), frozenset())


def test_what_is_there_in_another_size_is_missing_whole(faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / "card/a.mov", 999)
    make_file(disk / "card/sub/b.mov", 0)
    assert _survey(faulty, disk, _tree(_SIZES)).missing_bytes == 1230


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_what_is_no_file_holds_nothing(kind: str, faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / "real", 1000)
    (disk / "card").mkdir()
    if kind == "folder":
        (disk / "card/a.mov").mkdir()
    elif kind == "fifo":
        os.mkfifo(disk / "card/a.mov")
    else:
        (disk / "card/a.mov").symlink_to("../real")
    size = (disk / "card/a.mov").lstat().st_size
    assert _survey(faulty, disk, _tree({"a.mov": size})).missing_bytes == size
    assert _survey(faulty, disk, _tree({"a.mov": 1000})).missing_bytes == 1000


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_holds_nothing(kind: str, faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / "elsewhere/a.mov", 1000)
    for path in ("card", "card/sub"):
        if kind == "file":
            make_file(disk / path, 5)
        else:
            (disk / path).symlink_to(disk / "elsewhere")
        found = _survey(faulty, disk, _tree({"a.mov": 1000} if path == "card" else {"sub/a.mov": 1000}))
        assert (found.missing_bytes, found.stale) == (1000, ())
        (disk / path).unlink()
        (disk / "card").mkdir(exist_ok=True)


def test_only_the_roots_of_which_nothing_is_there_are_fresh(faulty: FaultySystem, disk: Path) -> None:
    other = SourceRoot("/src/other", "/src/other", "other")
    make_file(disk / "card/a.mov", 1000)
    tree = _tree({"a.mov": 1000, "1:b.mov": 7, "1:sub/c.mov": 20}, _CARD, other)
    assert _survey(faulty, disk, tree) == Survey(27, (), frozenset({1}))


def test_content_that_goes_straight_in_is_looked_for_there(faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / "sub/b.mov", 200)
    tree = _tree(_SIZES, _CONTENT)
    assert _survey(faulty, disk, tree) == Survey(1030, (), frozenset())
    assert _survey(faulty, disk / "new", tree) == Survey(1230, (), frozenset({0}))


def test_file_that_is_a_source_is_looked_for_under_its_name(faulty: FaultySystem, disk: Path) -> None:
    second = SourceRoot("/src/b.mov", "/src", "", only="b.mov")
    make_file(disk / "a.mov", 1000)
    tree = _tree({"a.mov": 1000, "1:b.mov": 7}, _FILE, second)
    assert _survey(faulty, disk, tree) == Survey(7, (), frozenset({1}))


def _stale(disk: Path, folder: str, final_name: str, size: int = 100_000) -> str:
    """Leave a temporary file there, as a run does that was killed."""
    name = temporary_name(FaultySystem(), final_name)
    make_file(disk / folder / name, size)
    return name


def _room_of(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.fault(57)
def test_temporary_files_of_dead_runs_are_found_and_their_room_counts_as_free(faulty: FaultySystem, disk: Path) -> None:
    names = [_stale(disk, "card", "a.mov"), _stale(disk, "card/sub", "b.mov"), _stale(disk, "card/sub", "b.mov")]
    room = sum(_room_of(path) for path in partials(disk))
    found = _survey(faulty, disk, _tree({"a.mov": 10**7, "sub/b.mov": 200}))
    assert found.missing_bytes == 10**7 + 200 - room
    assert sorted(found.stale) == sorted(zip(["card", "card/sub", "card/sub"], names, strict=True))


def test_no_more_room_is_needed_than_none(faulty: FaultySystem, disk: Path) -> None:
    name = _stale(disk, "card", "a.mov")
    assert _survey(faulty, disk, _tree({"a.mov": 5})) == Survey(0, (("card", name),), frozenset())


def test_temporary_files_of_others_are_none_of_this_run(faulty: FaultySystem, disk: Path) -> None:
    _stale(disk, "card", "other.mov")
    _stale(disk, "card", "b.mov")  # that name lies in another folder
    _stale(disk, "card/elsewhere", "a.mov")
    _stale(disk, "", "a.mov")
    make_file(disk / "card/.pfn.notes", 10)
    assert _survey(faulty, disk, _tree(_SIZES)) == Survey(1230, (), frozenset())


def test_temporary_file_of_a_file_that_is_locked_may_be_in_use(faulty: FaultySystem, disk: Path) -> None:
    _stale(disk, "card", "a.mov")
    make_file(disk / "card" / lock_name("a.mov"), 0)
    name = _stale(disk, "card", "b.mov")
    found = _survey(faulty, disk, _tree({"a.mov": 10**7, "b.mov": 10**7}))
    assert found.stale == (("card", name),)
    assert found.missing_bytes == 2 * 10**7 - _room_of(disk / "card" / name)


def test_record_of_an_unfinished_offload_is_no_temporary_file(faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / journal_name("card2"), 50)
    assert _survey(faulty, disk, _tree({"card2": 1000}, _CONTENT)).stale == ()


def test_temporary_file_of_a_file_that_is_a_source_counts_before_anything_is_complete(
    faulty: FaultySystem, disk: Path
) -> None:
    second = SourceRoot("/src/b.mov", "/src", "", only="b.mov")
    name = _stale(disk, "", "a.mov")
    found = _survey(faulty, disk, _tree({"a.mov": 10**7, "1:b.mov": 7}, _FILE, second))
    assert found.missing_bytes == 10**7 + 7 - _room_of(disk / name)


@pytest.mark.parametrize(
    ("call", "where"), [("entries", "/card/"), ("open_subfolder", "/sub"), ("status_of_name", "/a.mov")]
)
def test_destination_that_cannot_be_read_is_an_os_error(
    call: str, where: str, faulty: FaultySystem, disk: Path
) -> None:
    for path, size in _SIZES.items():
        make_file(disk / "card" / path, size)
    rule = faulty.fail(call, errno.EIO, where=where)
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        _survey(faulty, disk, _tree(_SIZES))
    assert rule.fired == 1


@pytest.mark.parametrize("name", ["a.mov", ""])
def test_what_vanishes_while_it_is_looked_at_is_missing(name: str, faulty: FaultySystem, disk: Path) -> None:
    make_file(disk / "card/a.mov", 1000)
    rule = faulty.fail("status_of_name", errno.ENOENT, where=f"/card/{name or _stale(disk, 'card', 'a.mov')}")
    found = _survey(faulty, disk, _tree({"a.mov": 1000}))
    assert rule.fired == 1
    assert found.missing_bytes == (0 if not name else 1000)


def test_survey_says_that_it_goes_on_and_can_be_stopped(faulty: FaultySystem, disk: Path) -> None:
    (disk / "card").mkdir()
    signs: list[None] = []
    _survey(faulty, disk, _tree(_SIZES), lambda: signs.append(None))
    assert len(signs) == 3

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _survey(faulty, disk, _tree(_SIZES), stop)


def test_survey_changes_nothing(faulty: FaultySystem, disk: Path) -> None:
    _stale(disk, "card", "a.mov")
    make_file(disk / "card/sub/b.mov", 3)
    before = _everything_in(disk)
    _survey(faulty, disk, _tree(_SIZES))
    assert {call for call, _ in faulty.calls} <= _READING
    assert _everything_in(disk) == before


def _everything_in(folder: Path) -> Sequence[tuple[str, int, int]]:
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_few_folders_are_open_at_once_however_many_there_are(faulty: FaultySystem, disk: Path) -> None:
    sizes = {f"d{number}/x": 1 for number in range(300)}
    for path in sizes:
        make_file(disk / "card" / path, 1)
    assert _survey(faulty, disk, _tree(sizes)).missing_bytes == 0
    now = most = 0
    for call, _ in faulty.calls:
        now += {"open_subfolder": 1, "close_folder": -1}.get(call, 0)
        most = max(most, now)
    assert most < 200
