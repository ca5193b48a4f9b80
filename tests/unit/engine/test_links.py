"""Symbolic links: made anew, read back, never followed, and never in the place of something that is to stay."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, State, TreeResult
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.engine.links import SourceLink, make_link, read_link
from pfndispatchcopy.errors import ConflictError, MismatchError
from pfndispatchcopy.events import ErrorEvent, FileEvent, WarningEvent
from pfndispatchcopy.fileio.names import journal_name
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import Conflict, Symlinks, Verify
from tests.support.files import partials
from tests.support.tree_trial import CARD, TreeSystem, TreeTrial

_LINK = SourceLink("clip.mov", 1_500_000_000_000_000_000, 1_600_000_000_000_000_000)


@pytest.fixture
def system() -> TreeSystem:
    return TreeSystem()


@pytest.fixture
def folder(system: TreeSystem, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(tmp_path))
    yield handle
    system.close_folder(handle)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """A card with a file, and a link to it."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(tmp_path, {"clip.mov": 1000})
    (trial.card / "link").symlink_to("clip.mov")
    yield trial
    trial.end()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- one link -------------------------------------------------------------------------------------------------


def test_link_is_made_with_its_target_and_its_time(system: TreeSystem, folder: FolderHandle, tmp_path: Path) -> None:
    assert make_link(system, folder, "link", _LINK, CopyOptions()) is State.COPIED
    assert os.readlink(tmp_path / "link") == "clip.mov"
    assert (tmp_path / "link").lstat().st_mtime_ns == _LINK.mtime_ns
    assert _names(tmp_path) == ["link"]


def test_link_that_is_read_is_not_followed(system: TreeSystem, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/at all")
    os.utime(tmp_path / "link", ns=(_LINK.atime_ns, _LINK.mtime_ns), follow_symlinks=False)
    read = read_link(system, folder, "link")
    assert (read.pointed_at, read.mtime_ns) == ("nowhere/at all", _LINK.mtime_ns)


def test_what_is_no_link_cannot_be_read_as_one(system: TreeSystem, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        read_link(system, folder, "file")


@pytest.mark.parametrize("rule", list(Conflict))
def test_same_link_is_identical_whatever_the_rule(
    rule: Conflict, system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("clip.mov")
    inode = (tmp_path / "link").lstat().st_ino
    assert make_link(system, folder, "link", _LINK, CopyOptions(on_conflict=rule)) is State.IDENTICAL
    assert (tmp_path / "link").lstat().st_ino == inode


def _occupy(path: Path, what: str) -> None:
    if what == "link":
        path.symlink_to("elsewhere")
    elif what == "file":
        path.write_bytes(b"precious")
    elif what == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)


def _is_untouched(path: Path, what: str) -> bool:
    mode = path.lstat().st_mode
    if what == "link":
        return os.readlink(path) == "elsewhere"
    if what == "file":
        return path.read_bytes() == b"precious"
    return stat.S_ISDIR(mode) if what == "folder" else stat.S_ISFIFO(mode)


@pytest.mark.fault(68)
@pytest.mark.parametrize("what", ["link", "file", "folder", "FIFO"])
def test_conflict_is_an_error_and_leaves_what_is_there(
    what: str, system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    _occupy(tmp_path / "link", what)
    with pytest.raises(ConflictError):
        make_link(system, folder, "link", _LINK, CopyOptions())
    assert _is_untouched(tmp_path / "link", what)
    assert _names(tmp_path) == ["link"]


@pytest.mark.fault(68)
@pytest.mark.parametrize("what", ["link", "file", "folder", "FIFO"])
def test_skip_leaves_what_is_there(what: str, system: TreeSystem, folder: FolderHandle, tmp_path: Path) -> None:
    _occupy(tmp_path / "link", what)
    assert make_link(system, folder, "link", _LINK, CopyOptions(on_conflict=Conflict.SKIP)) is State.SKIPPED
    assert _is_untouched(tmp_path / "link", what)


@pytest.mark.fault(68)
@pytest.mark.parametrize("what", ["link", "file", "FIFO"])
def test_overwrite_replaces_what_is_there_at_once(
    what: str, system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    _occupy(tmp_path / "link", what)
    seen: list[bool] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append(_is_untouched(tmp_path / "link", what))
        return real()

    rule = system.rule("replace_name", look)
    assert make_link(system, folder, "link", _LINK, CopyOptions(on_conflict=Conflict.OVERWRITE)) is State.COPIED
    assert (rule.fired, seen) == (1, [True])
    assert os.readlink(tmp_path / "link") == "clip.mov"
    assert _names(tmp_path) == ["link"]


@pytest.mark.fault(68)
def test_overwrite_never_replaces_a_folder(system: TreeSystem, folder: FolderHandle, tmp_path: Path) -> None:
    _occupy(tmp_path / "link", "folder")
    with pytest.raises(ConflictError):
        make_link(system, folder, "link", _LINK, CopyOptions(on_conflict=Conflict.OVERWRITE))
    assert _is_untouched(tmp_path / "link", "folder")


@pytest.mark.fault(68)
@pytest.mark.parametrize("what", ["link", "file"])
def test_rename_keeps_both(what: str, system: TreeSystem, folder: FolderHandle, tmp_path: Path) -> None:
    _occupy(tmp_path / "link", what)
    assert make_link(system, folder, "link", _LINK, CopyOptions(on_conflict=Conflict.RENAME)) is State.COPIED
    assert _is_untouched(tmp_path / "link", what)
    assert os.readlink(tmp_path / "link 2") == "clip.mov"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP], ids=lambda n: errno.errorcode[n])
def test_file_system_without_links_says_so_and_nothing_is_left(
    number: int, system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = system.fail("make_link", number)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        make_link(system, folder, "link", _LINK, CopyOptions())
    assert rule.fired == 1
    assert _names(tmp_path) == []


@pytest.mark.parametrize("call", ["read_link", "rename_to_free_name"])
def test_failure_behind_the_making_leaves_nothing(
    call: str, system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = system.fail(call, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        make_link(system, folder, "link", _LINK, CopyOptions())
    assert rule.fired == 1
    assert _names(tmp_path) == []


def test_link_that_is_read_back_as_another_one_is_a_mismatch(
    system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = system.rule("read_link", lambda real, *arguments: "clip.mo")
    with pytest.raises(MismatchError):
        make_link(system, folder, "link", _LINK, CopyOptions())
    assert rule.fired == 1
    assert _names(tmp_path) == []


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS], ids=lambda number: errno.errorcode[number])
def test_time_that_cannot_be_set_is_no_failure(
    error: int, system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    rule = system.fail("set_link_times", error)
    assert make_link(system, folder, "link", _LINK, CopyOptions()) is State.COPIED
    assert rule.fired == 1


def test_time_is_left_alone_where_it_is_not_to_be_kept(system: TreeSystem, folder: FolderHandle) -> None:
    make_link(system, folder, "link", _LINK, CopyOptions(preserve=frozenset()))
    assert "set_link_times" not in [call for call, _ in system.calls]


@pytest.mark.fault(68)
def test_name_that_is_taken_between_the_look_and_the_rename_is_never_replaced(
    system: TreeSystem, folder: FolderHandle, tmp_path: Path
) -> None:
    def appear(real: Callable[[], Any], *arguments: Any) -> Any:
        (tmp_path / "link").write_bytes(b"precious")
        return real()

    rule = system.rule("rename_to_free_name", appear)
    with pytest.raises(ConflictError, match="meanwhile"):
        make_link(system, folder, "link", _LINK, CopyOptions())
    assert rule.fired == 1
    assert _is_untouched(tmp_path / "link", "file")
    assert _names(tmp_path) == ["link"]


# -- in a tree ------------------------------------------------------------------------------------------------


def _file_event(trial: TreeTrial, name: str) -> FileEvent:
    (event,) = [event for event in trial.events if isinstance(event, FileEvent) and event.path == name]
    return event


def _forget_record(trial: TreeTrial) -> None:
    for path in partials(trial.root):
        if path.name == journal_name(CARD):
            path.unlink()


def _require_links(trial: TreeTrial, *numbers: int, target: str = "clip.mov") -> None:
    for number in numbers:
        assert os.readlink(trial.copy(number, "link")) == target
        assert trial.copy(number, "link").lstat().st_mtime_ns == (trial.card / "link").lstat().st_mtime_ns


def test_links_of_a_card_are_copied_as_links(trial: TreeTrial) -> None:
    result = trial.run()
    assert result.exit_code == 0
    _require_links(trial, 0, 1, 2)
    assert trial.states("link") == [State.VERIFIED] * 3
    assert (_file_event(trial, "link").size, _file_event(trial, "link").hashes) == (0, {})


@pytest.mark.parametrize(("option", "value"), [("verify", Verify.NONE), ("no_flush", None)])
def test_link_that_is_not_proven_is_not_called_verified(option: str, value: object, trial: TreeTrial) -> None:
    trial.options[option] = value or {trial.label(0)}
    result = trial.run(1)
    assert result.exit_code == 0
    assert trial.states("link") == [State.COPIED]


@pytest.mark.fault(70)
@pytest.mark.parametrize("target", ["nowhere", ".", "link", "../../secret", "/etc/passwd"])
def test_link_that_dangles_loops_or_leads_outside_is_copied_and_never_followed(target: str, trial: TreeTrial) -> None:
    (trial.card / "link").unlink()
    (trial.card / "link").symlink_to(target)
    result = trial.run()
    assert result.exit_code == 0
    _require_links(trial, 0, 1, 2, target=target)
    assert {path.name for number in range(3) for path in trial.copy(number).iterdir()} == {"clip.mov", "link"}


def test_second_run_finds_the_links_identical(trial: TreeTrial) -> None:
    trial.run()
    again = trial.run_again()
    assert again.exit_code == 0
    assert trial.states("link") == [State.IDENTICAL] * 3


def test_new_link_is_made_durable_with_its_folder(trial: TreeTrial) -> None:
    (trial.card / "clip.mov").unlink()
    trial.files.clear()
    assert trial.run(1).exit_code == 0
    calls = [call for call, name in trial.calls_of(0, "rename_to_free_name", "flush_folder") if name != "d0"]
    assert calls[0] == "rename_to_free_name"
    assert "flush_folder" in calls[1:]


def test_links_are_left_out_on_request(trial: TreeTrial) -> None:
    result = trial.run(symlinks=Symlinks.SKIP)
    trial.require_good(result, 0, 1, 2)
    assert ["link" in notice.path for notice in trial.notices(WarningEvent)] == [True]


def test_links_are_followed_on_request(trial: TreeTrial) -> None:
    result = trial.run(symlinks=Symlinks.FOLLOW)
    assert result.exit_code == 0
    for number in range(3):
        assert not trial.copy(number, "link").is_symlink()
        assert trial.copy(number, "link").read_bytes() == trial.files["clip.mov"]


@pytest.mark.fault(68)
@pytest.mark.parametrize("rule", [Conflict.ERROR, Conflict.SKIP, Conflict.OVERWRITE])
def test_conflict_of_a_link_costs_that_link_on_that_destination(rule: Conflict, trial: TreeTrial) -> None:
    trial.occupy(1, "link", b"precious")
    result = trial.run(on_conflict=rule)
    _require_links(trial, 0, 2)
    if rule is Conflict.OVERWRITE:
        _require_links(trial, 1)
    else:
        assert trial.copy(1, "link").read_bytes() == b"precious"
    expected = {Conflict.ERROR: State.FAILED, Conflict.SKIP: State.SKIPPED, Conflict.OVERWRITE: State.VERIFIED}
    assert trial.states("link") == [State.VERIFIED, expected[rule], State.VERIFIED]
    assert trial.states("clip.mov") == [State.VERIFIED] * 3
    assert result.exit_code == (3 if rule is Conflict.ERROR else 0)
    _forget_record(trial)


def _require_only_links_failed(trial: TreeTrial, result: TreeResult) -> None:
    assert result.exit_code == 3
    _require_links(trial, 0, 2)
    assert trial.states("link") == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert trial.states("clip.mov") == [State.VERIFIED] * 3
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [trial.label(1)]
    _forget_record(trial)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM], ids=lambda number: errno.errorcode[number])
def test_destination_without_links_gets_everything_else(number: int, trial: TreeTrial) -> None:
    rule = trial.fail("make_link", number, 1, times=None)
    result = trial.run()
    assert rule.fired == 1
    _require_only_links_failed(trial, result)


def test_destination_without_links_gets_everything_else_however_many_links_there_are(trial: TreeTrial) -> None:
    for number in range(12):
        (trial.card / f"a link {number:02}").symlink_to("clip.mov")
    rule = trial.fail("make_link", errno.EPERM, 1, times=None)
    trial.run()
    _forget_record(trial)
    assert rule.fired
    assert trial.states("clip.mov") == [State.VERIFIED] * 3


@pytest.mark.fault(9)
@pytest.mark.parametrize("call", ["make_link", "read_link", "rename_to_free_name"])
def test_failing_step_of_a_link_leaves_nothing_and_costs_nothing_else(call: str, trial: TreeTrial) -> None:
    rule = trial.fail(call, errno.EIO, 1, name="link")
    result = trial.run()
    assert rule.fired == 1
    assert not trial.copy(1, "link").is_symlink()
    trial.require_no_partials(but_records=True)
    _require_only_links_failed(trial, result)
    again = trial.run_again()
    assert again.exit_code == 0
    _require_links(trial, 0, 1, 2)


@pytest.mark.fault(30)
def test_link_that_cannot_be_read_fails_everywhere_and_alone(trial: TreeTrial) -> None:
    rule = trial.fail("read_link", errno.EIO, name="link")
    result = trial.run()
    assert rule.fired == 1
    assert trial.states("link") == [State.FAILED] * 3
    assert trial.states("clip.mov") == [State.VERIFIED] * 3
    assert result.exit_code == 3
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [None]
    _forget_record(trial)


@pytest.mark.fault(36)
def test_link_that_vanishes_fails_everywhere_and_alone(trial: TreeTrial) -> None:
    def vanish(real: Callable[[], Any], *arguments: Any) -> Any:
        (trial.card / "link").unlink()
        return real()

    rule = trial.rule("read_link", vanish, name="link")
    result = trial.run()
    assert rule.fired == 1
    assert trial.states("link") == [State.FAILED] * 3
    assert result.exit_code == 3
    assert "vanished" in trial.notices(ErrorEvent)[0].message
    _forget_record(trial)


def test_link_read_back_as_another_one_is_a_mismatch(trial: TreeTrial) -> None:
    rule = trial.rule("read_link", lambda real, *arguments: "clip.mo", 1, name="link")
    result = trial.run()
    assert rule.fired == 1
    assert trial.states("link") == [State.VERIFIED, State.MISMATCH, State.VERIFIED]
    assert result.exit_code == 4
    trial.require_no_partials(but_records=True)
    _forget_record(trial)


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["make_link", "set_link_times", "read_link", "rename_to_free_name"])
def test_destination_that_hangs_at_a_link_is_given_up(call: str, trial: TreeTrial) -> None:
    rule = trial.hang(call, 1, name="link")
    result = trial.run_within(8, stall_timeout_s=0.2)
    assert rule.fired >= 1
    assert result.destinations[1].state is State.FAILED
    _require_links(trial, 0, 2)
    assert trial.offload is not None
    assert trial.offload.has_given_up


def test_cancel_at_a_link_cancels_the_rest(trial: TreeTrial) -> None:
    (trial.card / "a link").symlink_to("clip.mov")
    rule = trial.cancel_at("make_link", 1, name="a link")
    result = trial.run_within(10)
    assert rule.fired == 1
    assert trial.states("clip.mov") == [State.CANCELLED] * 3
    assert not result.success
    _forget_record(trial)
    trial.require_no_partials()
