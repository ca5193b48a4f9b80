"""What is there already: read instead of written, and never lost."""

import errno
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.engine.existing import Existing, free_name, look, numbered_names
from pfndispatchcopy.events import ErrorEvent, WarningEvent
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import Conflict, CopyResult, ReadBack, State, Verify
from tests.support.faulty_system import FaultySystem
from tests.support.trial import SOURCE, Trial

_S = 1_000_000_000


@pytest.fixture
def folder(faulty: FaultySystem, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = faulty.open_folder(str(tmp_path))
    yield handle
    faulty.close_folder(handle)


def _look(
    system: FaultySystem,
    folder: FolderHandle,
    *,
    size: int = 3,
    mtime_ns: int | None = None,
    on_conflict: Conflict = Conflict.ERROR,
) -> Existing:
    return look(system, folder, "clip.mov", size=size, mtime_ns=mtime_ns, on_conflict=on_conflict)


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("clip.mov", "clip 2.mov"),
        ("clip", "clip 2"),
        ("a.tar.gz", "a.tar 2.gz"),
        (".hidden", ".hidden 2"),
        ("clip 2.mov", "clip 2 2.mov"),
    ],
)
def test_copies_are_numbered_before_the_extension(name: str, second: str) -> None:
    assert list(islice(numbered_names(name), 2)) == [name, second]


@pytest.mark.parametrize(
    "name",
    ["n" * 255, "n" * 254, "\u00e4" * 125 + ".mov", "\U0001f3ac" * 63, "a." + "e" * 253, "\udcff" * 250 + ".mov"],
)
def test_numbered_names_are_no_longer_than_a_name_may_be(name: str) -> None:
    numbered = list(islice(numbered_names(name), 1, 12))
    assert all(len(os.fsencode(each)) <= 255 for each in numbered)
    assert len(set(numbered)) == 11
    assert all(f" {number}" in each for number, each in enumerate(numbered, 2))


def test_name_that_was_longer_before_may_stay_so() -> None:
    name = "\u00e4" * 200  # where characters are counted, and not bytes
    assert len(os.fsencode(list(islice(numbered_names(name), 2))[1])) == 400


@pytest.mark.fault(74)
@pytest.mark.parametrize("other", [b"same", b"else"])
def test_name_as_long_as_a_name_may_be_can_be_numbered(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path, other: bytes
) -> None:
    name = "n" * 251 + ".mov"
    (tmp_path / name).write_bytes(other)
    found = look(faulty, folder, name, size=4, mtime_ns=None, on_conflict=Conflict.RENAME)
    assert (found.occupied, found.alike) == ((name,), (name,))
    assert free_name(faulty, folder, name) == "n" * 249 + " 2.mov"


def test_free_name_is_the_first_that_nothing_has(faulty: FaultySystem, folder: FolderHandle, tmp_path: Path) -> None:
    assert free_name(faulty, folder, "clip.mov") == "clip.mov"
    (tmp_path / "clip.mov").touch()
    (tmp_path / "clip 2.mov").symlink_to("nowhere")
    (tmp_path / "clip 3.mov").mkdir()
    assert free_name(faulty, folder, "clip.mov") == "clip 4.mov"


# -- looking ----------------------------------------------------------------------------------------------


def test_nothing_is_there(faulty: FaultySystem, folder: FolderHandle) -> None:
    assert _look(faulty, folder) == Existing()


def test_regular_file_of_the_size_is_alike_and_no_more(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    (tmp_path / "clip.mov").write_bytes(b"abc")
    assert _look(faulty, folder).alike == ("clip.mov",)
    other = _look(faulty, folder, size=4)
    assert (other.occupied, other.alike) == (("clip.mov",), ())


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("target", path)])
def test_what_is_no_regular_file_is_never_alike(
    make: Callable[[Path], None], faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    (tmp_path / "target").write_bytes(b"abc")
    make(tmp_path / "clip.mov")
    size = (tmp_path / "clip.mov").lstat().st_size
    found = _look(faulty, folder, size=size)
    assert (found.occupied, found.alike) == (("clip.mov",), ())
    assert found.is_folder == (tmp_path / "clip.mov").is_dir()


def test_numbered_copies_are_looked_at_when_both_are_kept(
    faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    for name, content in [
        ("clip.mov", b"abcd"),
        ("clip 2.mov", b"abc"),
        ("clip 3.mov", b"xyz"),
        ("clip 5.mov", b"abc"),
    ]:
        (tmp_path / name).write_bytes(content)
    found = _look(faulty, folder, on_conflict=Conflict.RENAME)
    assert found.occupied == ("clip.mov", "clip 2.mov", "clip 3.mov")
    assert found.alike == ("clip 2.mov", "clip 3.mov")
    assert _look(faulty, folder).occupied == ("clip.mov",)


@pytest.mark.parametrize(
    ("later_ns", "is_identical"), [(0, True), (2 * _S, True), (-2 * _S, True), (2 * _S + 1, False), (-3 * _S, False)]
)
def test_quick_check_goes_by_size_and_time_within_two_seconds(
    later_ns: int, is_identical: bool, faulty: FaultySystem, folder: FolderHandle, tmp_path: Path
) -> None:
    (tmp_path / "clip.mov").write_bytes(b"abc")
    mtime_ns = 1_700_000_000 * _S
    os.utime(tmp_path / "clip.mov", ns=(0, mtime_ns + later_ns))
    found = _look(faulty, folder, mtime_ns=mtime_ns)
    assert found.identical == ("clip.mov" if is_identical else None)
    assert _look(faulty, folder, mtime_ns=mtime_ns, size=4).identical is None


def test_folder_that_cannot_be_looked_at_is_an_error(faulty: FaultySystem, folder: FolderHandle) -> None:
    rule = faulty.fail("status_of_name", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        _look(faulty, folder)
    assert rule.fired == 1


# -- a file of the same size and content --------------------------------------------------------------------


def _put(trial: Trial, number: int, content: bytes, name: str = "clip.mov") -> os.stat_result:
    path = trial.folder(number) / name
    path.write_bytes(content)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path.stat()


def _states(result: CopyResult) -> list[State]:
    return [each.state for each in result.destinations]


def _source_bytes(trial: Trial) -> list[int]:
    """Counts the bytes that are read from the source."""
    counts: list[int] = []

    def read(real: Callable[[], int], *arguments: Any) -> int:
        counts.append(real())
        return counts[-1]

    trial.rule("read", read, times=None)
    return counts


def _writes(trial: Trial, number: int) -> list[tuple[str, str]]:
    calls = [each for each in trial.calls_of(number) if each[0] in ("write", "preallocate", "rename_to_free_name")]
    return [each for each in calls if not each[1].endswith(".lock.partial")]


@pytest.mark.fault(68)
@pytest.mark.parametrize("rule", list(Conflict))
def test_identical_file_is_read_and_not_written(rule: Conflict, trial: Trial) -> None:
    before = _put(trial, 1, trial.data)
    counts = _source_bytes(trial)
    result = trial.run(on_conflict=rule)
    assert _states(result) == [State.VERIFIED, State.IDENTICAL, State.VERIFIED]
    trial.require_good(result, 0, 2)
    assert _writes(trial, 1) == []
    assert sum(counts) == len(trial.data)
    after = trial.final(1).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert trial.names(1) == ["clip.mov"]
    assert (result.destinations[1].bytes_written, result.destinations[1].read_back) == (0, ReadBack.EVICTED)
    assert result.exit_code == 0


def test_second_run_finds_every_copy_identical(trial: Trial) -> None:
    trial.require_good(trial.run(), 0, 1, 2)
    again = trial.run()
    assert _states(again) == [State.IDENTICAL] * 3
    assert again.hashes
    assert again.success


def test_identical_file_is_flushed_before_it_is_read_past_the_cache_and_its_folder_after(trial: Trial) -> None:
    _put(trial, 0, trial.data)
    trial.run(1)
    calls = [call for call, name in trial.calls_of(0) if name == "clip.mov" or call == "flush_folder"]
    wanted = ["open_name", "flush", "drop_cache", "is_cached", "read", "close", "flush_folder"]
    assert list(dict.fromkeys(call for call in calls if call in wanted)) == wanted


@pytest.mark.fault(44, 45)
def test_file_that_is_identical_only_in_the_cache_is_no_success(trial: Trial) -> None:
    _put(trial, 1, trial.data)
    cached = trial.rule("is_cached", lambda real, *arguments: True, 1)
    direct = trial.fail("open_direct", errno.EINVAL, 1)
    result = trial.run()
    assert (cached.fired, direct.fired) == (1, 1)
    each = result.destinations[1]
    assert each.read_back is ReadBack.CACHED
    assert each.error is not None
    assert not each.success
    assert result.exit_code == 3


@pytest.mark.fault(68)
def test_same_size_and_time_with_other_content_is_not_identical(trial: Trial) -> None:
    path = trial.folder(0) / "clip.mov"
    path.write_bytes(trial.data[:-1] + bytes([trial.data[-1] ^ 1]))
    status = trial.source.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _states(trial.run(1)) == [State.FAILED]


@pytest.mark.parametrize(("seconds", "state"), [(2, State.IDENTICAL), (3, State.FAILED)])
def test_quick_check_does_not_read_what_is_there(seconds: int, state: State, trial: Trial) -> None:
    path = trial.folder(1) / "clip.mov"
    other = bytes(len(trial.data))
    path.write_bytes(other)
    mtime_ns = trial.source.stat().st_mtime_ns + seconds * _S
    os.utime(path, ns=(mtime_ns, mtime_ns))
    result = trial.run(quick_check=True)
    assert _states(result) == [State.VERIFIED, state, State.VERIFIED]
    assert ("read", "clip.mov") not in trial.calls_of(1)
    assert path.read_bytes() == other


@pytest.mark.fault(46)
def test_existing_file_that_cannot_be_read_fails_that_destination_only(trial: Trial) -> None:
    _put(trial, 1, trial.data)
    rule = trial.fail("read", errno.EIO, 1)
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    assert rule.fired == 1
    assert _states(result) == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert trial.final(1).read_bytes() == trial.data


# -- a file that differs ------------------------------------------------------------------------------------


def _differing(trial: Trial, kind: str) -> bytes:
    content = b"old" if kind == "other size" else bytes(len(trial.data))
    _put(trial, 1, content)
    return content


def _passes(kind: str, trial: Trial) -> int:
    """How many bytes are read of the source: twice as many when only reading told that a file differs."""
    return len(trial.data) * (1 if kind == "other size" else 2)


kinds = pytest.mark.parametrize("kind", ["other size", "same size"])


@pytest.mark.fault(68)
@kinds
def test_conflict_is_a_failure_and_leaves_the_old_file(kind: str, trial: Trial) -> None:
    old = _differing(trial, kind)
    counts = _source_bytes(trial)
    result = trial.run()
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.FAILED
    assert trial.final(1).read_bytes() == old
    assert trial.names(1) == ["clip.mov"]
    assert _writes(trial, 1) == []
    assert sum(counts) == len(trial.data)
    notice = trial.notices(ErrorEvent)[0]
    assert notice.destination == f"{trial.root}/d1/"
    assert "different content" in notice.message
    assert result.exit_code == 3


@pytest.mark.fault(68)
@kinds
def test_skipping_leaves_the_old_file_warns_and_counts_as_done(kind: str, trial: Trial) -> None:
    old = _differing(trial, kind)
    result = trial.run(on_conflict=Conflict.SKIP)
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.SKIPPED
    assert trial.final(1).read_bytes() == old
    assert [notice.destination for notice in trial.notices(WarningEvent)] == [f"{trial.root}/d1/"]
    assert (trial.notices(ErrorEvent), result.exit_code) == ([], 0)


@pytest.mark.fault(68)
@kinds
def test_overwriting_replaces_the_old_file_in_one_step(kind: str, trial: Trial) -> None:
    old = _differing(trial, kind)
    counts = _source_bytes(trial)
    seen: list[bytes] = []

    def replace(real: Callable[[], None], folder: FolderHandle, before: str, after: str) -> None:
        if after == "clip.mov":
            seen.append(trial.final(1).read_bytes())
        real()

    rule = trial.rule("replace_name", replace, 1, times=None)
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    trial.require_good(result, 0, 1, 2)
    assert rule.fired >= 1
    assert seen == [old]
    assert sum(counts) == _passes(kind, trial)


@pytest.mark.fault(3, 68)
@kinds
def test_old_file_outlasts_a_failed_overwriting(kind: str, trial: Trial) -> None:
    old = _differing(trial, kind)
    rule = trial.fail("flush", errno.ENOSPC, 1, nth=1 if kind == "other size" else 2)
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.FAILED
    assert trial.final(1).read_bytes() == old
    assert trial.names(1) == ["clip.mov"]


@pytest.mark.fault(68)
@kinds
def test_renaming_keeps_both_and_knows_its_own_copy_again(kind: str, trial: Trial) -> None:
    old = _differing(trial, kind)
    counts = _source_bytes(trial)
    result = trial.run(on_conflict=Conflict.RENAME)
    trial.require_good(result, 0, 2)
    assert (_states(result)[1], result.destinations[1].path) == (State.VERIFIED, trial.final(1, "clip 2.mov"))
    assert sum(counts) == _passes(kind, trial)
    again = trial.run(on_conflict=Conflict.RENAME)
    assert (_states(again)[1], again.destinations[1].path) == (State.IDENTICAL, trial.final(1, "clip 2.mov"))
    assert trial.names(1) == ["clip 2.mov", "clip.mov"]
    assert trial.final(1).read_bytes() == old
    assert trial.final(1, "clip 2.mov").read_bytes() == trial.data


def test_renaming_goes_on_numbering(trial: Trial) -> None:
    _put(trial, 0, b"old")
    _put(trial, 0, bytes(len(trial.data)), "clip 2.mov")
    result = trial.run(1, on_conflict=Conflict.RENAME)
    assert (_states(result), result.destinations[0].path) == ([State.VERIFIED], trial.final(0, "clip 3.mov"))
    assert trial.final(0, "clip 3.mov").read_bytes() == trial.data
    assert trial.names(0) == ["clip 2.mov", "clip 3.mov", "clip.mov"]


def test_source_that_changes_between_two_passes_fails_what_is_left(trial: Trial) -> None:
    old = _differing(trial, "same size")

    def change(real: Callable[[], None], *arguments: Any) -> None:
        real()
        with trial.source.open("r+b") as file:
            file.write(b"changed")

    rule = trial.rule("rewind", change)
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    assert rule.fired == 1
    assert _states(result) == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert trial.final(1).read_bytes() == old
    assert trial.names(1) == ["clip.mov"]
    assert len(trial.notices(ErrorEvent)) == 1


# -- other things that have the name ------------------------------------------------------------------------


@pytest.mark.fault(68)
@pytest.mark.parametrize("rule", [Conflict.ERROR, Conflict.SKIP, Conflict.OVERWRITE])
def test_folder_of_that_name_is_a_failure_and_stays(rule: Conflict, trial: Trial) -> None:
    (trial.folder(1) / "clip.mov").mkdir()
    (trial.final(1) / "inside").write_bytes(b"precious")
    result = trial.run(on_conflict=rule)
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.FAILED
    assert (trial.final(1) / "inside").read_bytes() == b"precious"
    assert trial.names(1) == ["clip.mov"]


@pytest.mark.fault(68)
def test_folder_of_that_name_is_kept_beside_a_renamed_copy(trial: Trial) -> None:
    (trial.folder(1) / "clip.mov").mkdir()
    result = trial.run(on_conflict=Conflict.RENAME)
    assert _states(result) == [State.VERIFIED] * 3
    assert trial.final(1).is_dir()
    assert trial.final(1, "clip 2.mov").read_bytes() == trial.data


@pytest.mark.fault(68)
@pytest.mark.parametrize("is_same", [True, False])
def test_link_of_that_name_is_replaced_itself_and_never_followed(is_same: bool, trial: Trial) -> None:
    target = trial.root / "target"
    target.write_bytes(trial.data if is_same else b"precious")
    before = target.stat()
    (trial.folder(1) / "clip.mov").symlink_to(target)
    refused = trial.run()
    assert _states(refused)[1] is State.FAILED
    assert trial.final(1).is_symlink()
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    assert _states(result)[1] is State.VERIFIED
    assert not trial.final(1).is_symlink()
    assert trial.final(1).read_bytes() == trial.data
    after = target.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


@pytest.mark.fault(81)
@pytest.mark.parametrize("size", ["same", "other"])
def test_other_name_of_a_hard_link_keeps_its_content(size: str, trial: Trial) -> None:
    other = trial.root / "other"
    content = bytes(len(trial.data)) if size == "same" else b"precious"
    other.write_bytes(content)
    (trial.folder(1) / "clip.mov").hardlink_to(other)
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    trial.require_good(result, 0, 1, 2)
    assert other.read_bytes() == content
    assert other.stat().st_nlink == 1


@pytest.mark.fault(68)
def test_fifo_of_that_name_is_not_waited_for(trial: Trial) -> None:
    os.mkfifo(trial.folder(1) / "clip.mov")
    result = trial.run_within(10, on_conflict=Conflict.OVERWRITE)
    trial.require_good(result, 0, 1, 2)


# -- somebody else is quicker -------------------------------------------------------------------------------


def _other_program(trial: Trial, number: int = 1, name: str = "clip.mov") -> Any:
    """Lets another program make the final name just before the rename."""

    def act(real: Callable[[], None], *arguments: Any) -> None:
        trial.final(number, name).write_bytes(b"of somebody else")
        real()

    return trial.rule("rename_to_free_name", act, number)


@pytest.mark.fault(68)
def test_file_that_appears_during_the_copy_is_a_conflict_and_stays(trial: Trial) -> None:
    rule = _other_program(trial)
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.FAILED
    assert trial.final(1).read_bytes() == b"of somebody else"
    assert trial.names(1) == ["clip.mov"]
    assert len(trial.notices(ErrorEvent)) == 1


@pytest.mark.fault(68)
def test_file_that_appears_during_the_copy_is_kept_when_skipping(trial: Trial) -> None:
    rule = _other_program(trial)
    result = trial.run(on_conflict=Conflict.SKIP)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert _states(result)[1] is State.SKIPPED
    assert trial.final(1).read_bytes() == b"of somebody else"
    assert trial.names(1) == ["clip.mov"]


@pytest.mark.fault(68)
def test_file_that_appears_during_the_copy_is_kept_beside_a_renamed_one(trial: Trial) -> None:
    rule = _other_program(trial)
    result = trial.run(on_conflict=Conflict.RENAME)
    assert rule.fired == 1
    assert (_states(result)[1], result.destinations[1].path) == (State.VERIFIED, trial.final(1, "clip 2.mov"))
    assert trial.final(1).read_bytes() == b"of somebody else"
    assert trial.final(1, "clip 2.mov").read_bytes() == trial.data


def test_number_that_is_taken_during_the_copy_is_passed_over(trial: Trial) -> None:
    _put(trial, 1, b"old")
    rule = _other_program(trial, name="clip 2.mov")
    result = trial.run(on_conflict=Conflict.RENAME)
    assert rule.fired == 1
    assert (_states(result)[1], result.destinations[1].path) == (State.VERIFIED, trial.final(1, "clip 3.mov"))
    assert trial.final(1, "clip 2.mov").read_bytes() == b"of somebody else"


@pytest.mark.fault(68)
def test_file_that_appears_during_the_copy_is_overwritten_when_that_was_asked_for(trial: Trial) -> None:
    rule = _other_program(trial)
    result = trial.run(on_conflict=Conflict.OVERWRITE)
    assert rule.fired == 1
    trial.require_good(result, 0, 1, 2)


@pytest.mark.fault(68)
def test_existing_file_that_is_swapped_for_a_fifo_is_not_waited_for(trial: Trial) -> None:
    _put(trial, 1, trial.data)

    def swap(real: Callable[[], int], folder: FolderHandle, name: str, *more: Any) -> int:
        if name == "clip.mov":
            trial.final(1).unlink()
            os.mkfifo(trial.final(1))
        return real()

    rule = trial.rule("open_name", swap, 1, times=None)
    result = trial.run_within(10)
    assert rule.fired > 2
    assert trial.final(1).is_fifo()
    assert _states(result) == [State.VERIFIED, State.FAILED, State.VERIFIED]


@pytest.mark.parametrize("verify", list(Verify))
def test_unforced_destination_is_compared_as_it_stands(verify: Verify, trial: Trial) -> None:
    _put(trial, 1, trial.data)
    result = trial.run(no_flush={f"{trial.root}/d1/"}, verify=verify)
    assert result.destinations[1].state is State.IDENTICAL
    assert not [call for call, name in trial.calls_of(1) if call in ("flush", "flush_folder", "drop_cache")]
    assert result.exit_code == 0
    assert SOURCE in result.source
