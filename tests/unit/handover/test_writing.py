"""A list is written as a copy is: whole and proven under its name, or not there at all."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.errors import MismatchError
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.writing import Medium, read_whole, write_list
from tests.support.files import partials
from tests.support.hash_lists import digest
from tests.support.tree_trial import AnyCall, TreeSystem, failing, flip

NAME = "CARD.md5"
DATA = b"one\ntwo\n" * 1000
OLD = b"what was there before"


@pytest.fixture
def system() -> TreeSystem:
    """A disk that is quick to flush and whose cache can be dropped."""
    return TreeSystem()


@pytest.fixture
def medium(system: TreeSystem) -> Medium:
    return Medium(system, is_memory=False, is_forced=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the list goes."""
    path = tmp_path / "dest"
    path.mkdir()
    return path


@pytest.fixture
def folder(system: TreeSystem, place: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(place))
    yield handle
    system.heal()
    system.close_folder(handle)


def _pieces(data: bytes = DATA) -> Iterator[bytes]:
    yield data[:1]
    yield b""
    yield data[1:700]
    yield data[700:]


def _any_call(system: TreeSystem, error: int, nth: int, *, for_ever: bool) -> AnyCall:
    def action(real: Callable[[], Any], *arguments: Any) -> Any:
        return failing(system.calls[-1][0], error)(real, *arguments)

    rule = AnyCall("", "/dest", action, nth, None if for_ever else 1)
    system.state.rules.append(rule)
    return rule


# -- what is written ------------------------------------------------------------------------------------------


def test_list_gets_its_name_with_all_its_bytes(medium: Medium, folder: FolderHandle, place: Path) -> None:
    written = write_list(medium, folder, NAME, _pieces())
    assert os.listdir(place) == [NAME]
    assert (place / NAME).read_bytes() == DATA
    assert written == (NAME, digest("c4", DATA))


def test_list_of_several_megabytes_is_written_and_compared_in_blocks(
    medium: Medium, folder: FolderHandle, place: Path
) -> None:
    data = os.urandom(1 << 16) * 41
    pieces = (data[at : at + 1000] for at in range(0, len(data), 1000))
    assert write_list(medium, folder, NAME, pieces).c4 == digest("c4", data)
    assert (place / NAME).read_bytes() == data


def test_list_of_nothing_is_an_empty_file(medium: Medium, folder: FolderHandle, place: Path) -> None:
    assert write_list(medium, folder, NAME, []) == (NAME, digest("c4"))
    assert (place / NAME).read_bytes() == b""


def test_list_has_the_mode_of_any_new_file(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    write_list(medium, folder, NAME, _pieces())
    assert stat.S_IMODE((place / NAME).stat().st_mode) == system.default_mode()


@pytest.mark.fault(12)
def test_few_bytes_at_a_time_are_taken_until_all_are_written(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    def takes_little(real: Callable[[], int], fd: int, data: memoryview) -> int:
        return os.write(fd, data[:7])

    rule = system.rule("write", takes_little, where="/dest/", times=None)
    write_list(medium, folder, NAME, _pieces())
    assert rule.fired > 1000
    assert (place / NAME).read_bytes() == DATA


@pytest.mark.parametrize("call", ["write", "flush", "read", "flush_folder"])
def test_whoever_watches_hears_of_every_step(call: str, system: TreeSystem, folder: FolderHandle) -> None:
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    seen: list[int] = []

    def look(real: Callable[[], Any], *given: Any) -> Any:
        seen.append(beats)
        return real()

    rule = system.rule(call, look, times=None)
    write_list(Medium(system, False, True, beat), folder, NAME, _pieces())
    assert rule.fired >= 1
    assert beats > seen[0]


# -- the order of a durable write -----------------------------------------------------------------------------


def test_bytes_are_forced_before_the_name_is_given_and_the_folder_after_it(
    system: TreeSystem, medium: Medium, folder: FolderHandle
) -> None:
    system.state.calls.clear()
    write_list(medium, folder, NAME, _pieces())
    order = ["write", "flush", "read", "rename_to_free_name", "flush_folder"]
    calls = [call for call, _ in system.calls if call in order]
    assert list(dict.fromkeys(calls)) == order
    assert calls[-2:] == order[-2:]


@pytest.mark.parametrize(("is_memory", "is_forced"), [(True, True), (True, False), (False, False)])
def test_nothing_is_forced_where_that_means_nothing_or_is_not_wished_for(
    is_memory: bool, is_forced: bool, system: TreeSystem, folder: FolderHandle, place: Path
) -> None:
    write_list(Medium(system, is_memory, is_forced), folder, NAME, _pieces())
    assert not [call for call, _ in system.calls if call in ("flush", "flush_folder")]
    assert [call for call, _ in system.calls if call == "read"], "it was not read back"
    assert (place / NAME).read_bytes() == DATA


# -- what is there already ------------------------------------------------------------------------------------


def test_same_list_is_not_written_again(medium: Medium, folder: FolderHandle, place: Path) -> None:
    write_list(medium, folder, NAME, _pieces())
    before = (place / NAME).stat()
    assert write_list(medium, folder, NAME, _pieces()) == (NAME, digest("c4", DATA))
    after = (place / NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert os.listdir(place) == [NAME]


def test_other_list_gets_the_next_free_number_and_keeps_it(medium: Medium, folder: FolderHandle, place: Path) -> None:
    (place / NAME).write_bytes(OLD)
    (place / "CARD 2.md5").write_bytes(OLD * 2)
    for _ in range(2):
        assert write_list(medium, folder, NAME, _pieces()).name == "CARD 3.md5"
    assert (place / NAME).read_bytes() == OLD
    assert (place / "CARD 2.md5").read_bytes() == OLD * 2
    assert (place / "CARD 3.md5").read_bytes() == DATA
    assert len(os.listdir(place)) == 3


@pytest.mark.fault(68)
@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["folder", "fifo", "dangling link", "link to the same bytes"])
def test_what_is_no_file_is_left_alone_and_never_followed(
    kind: str, medium: Medium, folder: FolderHandle, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(DATA)
    path = place / NAME
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "dangling link" else "../outside")
    before = path.lstat()
    assert write_list(medium, folder, NAME, _pieces()).name == "CARD 2.md5"
    assert path.lstat().st_ino == before.st_ino
    assert sorted(os.listdir(place)) == ["CARD 2.md5", NAME]
    assert (place / "CARD 2.md5").read_bytes() == DATA


@pytest.mark.timeout(10)
def test_pipe_does_not_pass_for_an_empty_list(medium: Medium, folder: FolderHandle, place: Path) -> None:
    os.mkfifo(place / NAME)
    assert write_list(medium, folder, NAME, []).name == "CARD 2.md5"


def test_what_cannot_be_read_is_another_list(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    (place / NAME).write_bytes(DATA)
    rule = system.fail("open_name", errno.EACCES, where=f"/dest/{NAME}")
    assert write_list(medium, folder, NAME, _pieces()).name == "CARD 2.md5"
    assert rule.fired == 1


@pytest.mark.fault(68)
def test_name_that_is_taken_at_the_last_moment_is_not_taken_away(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    def other_was_quicker(real: Callable[[], None], *given: Any) -> None:
        (place / NAME).write_bytes(OLD)
        real()

    rule = system.rule("rename_to_free_name", other_was_quicker)
    assert write_list(medium, folder, NAME, _pieces()).name == "CARD 2.md5"
    assert rule.fired == 1
    assert (place / NAME).read_bytes() == OLD


# -- in the place of another ----------------------------------------------------------------------------------


def test_chain_takes_the_place_of_the_old_one_in_one_step(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    (place / NAME).write_bytes(OLD)

    def old_one_is_whole(real: Callable[[], None], *given: Any) -> None:
        assert (place / NAME).read_bytes() == OLD
        real()
        assert (place / NAME).read_bytes() == DATA

    rule = system.rule("replace_name", old_one_is_whole)
    write_list(medium, folder, NAME, _pieces(), replace=True)
    assert rule.fired == 1
    assert not [call for call, _ in system.calls if call == "remove_name"]
    assert os.listdir(place) == [NAME]


@pytest.mark.fault(68)
def test_link_is_replaced_and_not_written_through(
    medium: Medium, folder: FolderHandle, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(OLD)
    (place / NAME).symlink_to("../outside")
    write_list(medium, folder, NAME, _pieces(), replace=True)
    assert (tmp_path / "outside").read_bytes() == OLD
    assert not (place / NAME).is_symlink()
    assert (place / NAME).read_bytes() == DATA


@pytest.mark.fault(79)
def test_planted_link_under_the_temporary_name_is_not_written_through(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(OLD)

    def plant(real: Callable[[], int], handle: FolderHandle, name: str, *more: Any) -> int:
        if is_temporary(name) and not (place / name).is_symlink():
            (place / name).symlink_to("../outside")
        return real()

    rule = system.rule("open_name", plant, where="/dest/.pfn.")
    write_list(medium, folder, NAME, _pieces())
    assert rule.fired == 1
    assert (tmp_path / "outside").read_bytes() == OLD
    for path in partials(place):
        assert path.is_symlink()
        path.unlink()


# -- what fails -----------------------------------------------------------------------------------------------


@pytest.mark.fault(40)
def test_list_that_is_read_back_wrong_is_no_list(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    rule = system.rule("read", flip, where="/dest/.pfn.")
    with pytest.raises(MismatchError, match="something else"):
        write_list(medium, folder, NAME, _pieces())
    assert rule.fired == 1
    assert os.listdir(place) == []


def test_list_that_ends_early_when_it_is_read_back_is_no_list(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    rule = system.rule("read", lambda real, *given: 0, where="/dest/.pfn.")
    with pytest.raises(MismatchError):
        write_list(medium, folder, NAME, _pieces())
    assert rule.fired == 1
    assert os.listdir(place) == []


@pytest.mark.fault(40)
def test_old_chain_stays_when_the_new_one_is_read_back_wrong(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    (place / NAME).write_bytes(OLD)
    rule = system.rule("read", flip, where="/dest/.pfn.")
    with pytest.raises(MismatchError):
        write_list(medium, folder, NAME, _pieces(), replace=True)
    assert rule.fired == 1
    assert (place / NAME).read_bytes() == OLD
    assert os.listdir(place) == [NAME]


@pytest.mark.fault(14)
def test_bytes_that_were_only_said_to_be_written_make_no_list(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    rule = system.rule("write", lambda real, fd, data: len(data), where="/dest/")
    with pytest.raises(OSError, match="the file has"):
        write_list(medium, folder, NAME, _pieces())
    assert rule.fired == 1
    assert os.listdir(place) == []


def test_list_whose_making_ends_by_a_bug_leaves_nothing(medium: Medium, folder: FolderHandle, place: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield DATA
        raise ValueError("no digest fits")

    with pytest.raises(ValueError, match="no digest fits"):
        write_list(medium, folder, NAME, pieces())
    assert os.listdir(place) == []


@pytest.mark.fault(1, 3, 6, 7, 8, 9, 10)
@pytest.mark.parametrize("before", ["nothing", "another", "the same", "replaced"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("for_ever", [False, True])
def test_whatever_fails_no_name_holds_half_a_list_and_nothing_old_is_lost(
    before: str, error: int, for_ever: bool, tmp_path: Path
) -> None:
    for nth in range(1, 100):
        system = TreeSystem()
        place = tmp_path / f"{nth}/dest"
        place.mkdir(parents=True)
        old = {"nothing": None, "the same": DATA}.get(before, OLD)
        if old is not None:
            (place / NAME).write_bytes(old)
        handle = system.open_folder(str(place))
        rule = _any_call(system, error, nth, for_ever=for_ever)
        written, told = None, None
        try:
            written = write_list(
                Medium(system, is_memory=False, is_forced=True),
                handle,
                NAME,
                _pieces(),
                replace=before == "replaced",
            )
        except OSError as caught:
            told = caught
        assert (told is None) == (written is not None)
        assert told is None or told.errno in (error, errno.EEXIST)
        called = {call for call, _ in system.calls}
        system.heal()
        system.close_folder(handle)
        left = {path.name: path.read_bytes() for path in place.iterdir() if not is_temporary(path.name)}
        if partials(place):  # it could not be removed: the next run sweeps it
            assert "remove_name" in called
            assert for_ever or rule.victim == "remove_name"
            for path in partials(place):
                path.unlink()
        if before == "replaced":
            assert left in ({NAME: OLD}, {NAME: DATA})
        else:
            assert old is None or left.pop(NAME) == old
            assert set(left.values()) <= {DATA}
            assert len(left) <= 1
        if written is not None:
            assert (place / written.name).read_bytes() == DATA
        if not rule.fired:
            assert nth > 8, "hardly any call to fail: this test has lost its meaning"
            assert written is not None
            return
    pytest.fail("it never stopped failing")


@pytest.mark.fault(10)
def test_folder_that_cannot_be_forced_is_an_error_though_the_list_is_whole(
    system: TreeSystem, medium: Medium, folder: FolderHandle, place: Path
) -> None:
    rule = system.fail("flush_folder", errno.EIO, where="/dest")
    with pytest.raises(OSError, match="Input/output"):
        write_list(medium, folder, NAME, _pieces())
    assert rule.fired == 1
    assert (place / NAME).read_bytes() == DATA


@pytest.mark.fault(11)
def test_folder_that_knows_no_forcing_takes_a_list_all_the_same(
    system: TreeSystem, medium: Medium, folder: FolderHandle
) -> None:
    rule = system.rule("flush_folder", lambda real, *given: False, where="/dest")
    assert write_list(medium, folder, NAME, _pieces()).name == NAME
    assert rule.fired == 1


@pytest.mark.fault(44)
def test_cache_that_cannot_be_dropped_is_compared_as_it_stands(
    system: TreeSystem, medium: Medium, folder: FolderHandle
) -> None:
    rules = [
        system.rule("is_cached", lambda real, *given: True, times=None),
        system.rule("read", flip, where="/dest/.pfn."),
    ]
    with pytest.raises(MismatchError):
        write_list(medium, folder, NAME, _pieces())
    assert [rule.fired for rule in rules] == [1, 1]


# -- small files ----------------------------------------------------------------------------------------------


def test_small_file_is_read_whole(system: TreeSystem, folder: FolderHandle, place: Path) -> None:
    (place / "small").write_bytes(DATA)
    assert read_whole(system, folder, "small", len(DATA)) == DATA


def test_file_that_is_larger_than_it_may_be_is_not_read_on(
    system: TreeSystem, folder: FolderHandle, place: Path
) -> None:
    (place / "small").write_bytes(DATA)
    with pytest.raises(OSError, match="large") as caught:
        read_whole(system, folder, "small", len(DATA) - 1)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("call", ["open_name", "read"])
def test_file_that_cannot_be_read_says_so(call: str, system: TreeSystem, folder: FolderHandle, place: Path) -> None:
    (place / "small").write_bytes(DATA)
    rule = system.fail(call, errno.EIO, where="/dest/small")
    with pytest.raises(OSError, match="Input/output"):
        read_whole(system, folder, "small", 1 << 20)
    assert rule.fired == 1


def test_link_is_not_read(system: TreeSystem, folder: FolderHandle, place: Path) -> None:
    (place / "small").write_bytes(DATA)
    (place / "link").symlink_to("small")
    with pytest.raises(OSError):  # noqa: PT011 - which error it is differs from system to system
        read_whole(system, folder, "link", 1 << 20)
