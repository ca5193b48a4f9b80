"""What goes with the copy of a single file: lists of it alone, beside it, on every destination that has it."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, CopyResult, State
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.events import ErrorEvent, WarningEvent
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.single import CopiedFile, deliver_beside
from pfndispatchcopy.handover.writing import Medium
from pfndispatchcopy.hashlists.legacy import read_legacy
from pfndispatchcopy.model import Conflict, Mhl, Strategy, Verify
from tests.support.faulty_system import FaultySystem
from tests.support.hash_lists import digest
from tests.support.tree_trial import TreeSystem, flip
from tests.support.trial import Trial

DATA = b"the clip"
_LISTS = (".mhl", ".md5", ".xxh64")


@pytest.fixture(params=[Strategy.SINGLE, Strategy.PARALLEL])
def trial(
    request: pytest.FixtureRequest, tmp_path: Path, faulty: FaultySystem, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trial]:
    """A file to be copied by each path."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = Trial(tmp_path, faulty, request.param)
    yield trial
    trial.end()


def _lists(trial: Trial, number: int) -> list[str]:
    return [name for name in trial.names(number) if name.endswith(_LISTS)]


def _require_listed(trial: Trial, number: int, name: str = "clip.mov") -> None:
    """A destination has the sum file and the list of its copy, and both are true."""
    text = digest("md5", trial.data)
    assert trial.final(number, f"{name}.md5").read_bytes() == f"{text}  {name}\n".encode()
    (path,) = trial.folder(number).glob(f"{name}_*.mhl")
    (file,) = read_legacy([path.read_bytes()])
    assert (file.path, file.size) == (name, len(trial.data))
    assert {each.name: each.accepted[0] for each in file.digests} == {
        "xxh64be": digest("xxh64be", trial.data),
        "md5": text,
    }


def _wait(trial: Trial) -> None:
    trial.release.wait()


def _codes(result: CopyResult) -> tuple[int, list[bool]]:
    return result.exit_code, [each.success for each in result.destinations]


def _told(trial: Trial, kind: type[ErrorEvent] | type[WarningEvent]) -> str:
    return "\n".join(notice.message for notice in trial.notices(kind))


# -- as part of a copy ----------------------------------------------------------------------------------------


def test_every_copy_gets_its_lists(trial: Trial) -> None:
    assert _codes(trial.run(3, mhl="legacy", sums=("md5",))) == (0, [True] * 3)
    for number in range(3):
        _require_listed(trial, number)
        assert len(trial.names(number)) == 3


def test_copy_that_was_there_already_gets_them_too(trial: Trial) -> None:
    trial.run(2)
    result = trial.run(2, mhl="legacy", sums=("md5",))
    assert [each.state for each in result.destinations] == [State.IDENTICAL] * 2
    _require_listed(trial, 0)
    _require_listed(trial, 1)


def test_copy_under_another_name_is_listed_by_that(trial: Trial) -> None:
    trial.folder(0)
    trial.final(0).write_bytes(b"another one")
    for _ in range(2):
        assert _codes(trial.run(2, sums=("md5",), on_conflict=Conflict.RENAME)) == (0, [True, True])
    assert trial.final(0, "clip 2.mov.md5").read_bytes().endswith(b"  clip 2.mov\n")
    assert trial.final(1, "clip.mov.md5").read_bytes().endswith(b"  clip.mov\n")
    assert _lists(trial, 0) == ["clip 2.mov.md5"]


@pytest.mark.parametrize("conflict", [Conflict.SKIP, Conflict.ERROR])
def test_file_that_was_left_as_it_is_gets_no_list(conflict: Conflict, trial: Trial) -> None:
    trial.folder(0)
    trial.final(0).write_bytes(b"another one")
    result = trial.run(2, mhl="legacy", sums=("md5",), on_conflict=conflict)
    assert result.exit_code == (0 if conflict is Conflict.SKIP else 3)
    assert trial.names(0) == ["clip.mov"]
    _require_listed(trial, 1)


def test_copy_that_failed_gets_no_list_and_the_others_do(trial: Trial) -> None:
    rule = trial.fail("write", errno.EIO, 1, nth=2)
    assert _codes(trial.run(3, mhl="legacy", sums=("md5",))) == (3, [True, False, True])
    assert rule.fired == 1
    assert trial.names(1) == []
    _require_listed(trial, 0)
    _require_listed(trial, 2)


@pytest.mark.fault(40)
def test_copy_that_was_read_back_wrong_gets_no_list(trial: Trial) -> None:
    rule = trial.rule("read", flip, 0)
    assert _codes(trial.run(2, mhl="legacy", sums=("md5",))) == (4, [False, True])
    assert rule.fired == 1
    assert _lists(trial, 0) == []


def test_copy_that_is_not_forced_has_sum_files_alone(trial: Trial) -> None:
    result = trial.run(2, mhl="legacy", sums=("md5",), no_flush=frozenset({f"{trial.root}/d0/"}))
    assert _codes(result) == (0, [True, True])
    assert _lists(trial, 0) == ["clip.mov.md5"]
    assert f"{trial.root}/d0/: no media hash list" in _told(trial, WarningEvent)
    _require_listed(trial, 1)


@pytest.mark.fault(44)
def test_copy_that_could_only_be_compared_in_the_cache_is_not_listed(trial: Trial) -> None:
    rules = [
        trial.system.rule("is_cached", lambda real, *given: True, times=None),
        trial.system.fail("open_direct", errno.EINVAL, times=None),
    ]
    assert _codes(trial.run(1, mhl="legacy", sums=("md5",))) == (3, [False])
    assert all(rule.fired for rule in rules)
    assert _lists(trial, 0) == []


class AfterTheCopy:
    """A fault that begins when the copy has its name: from then on nothing but lists is written."""

    def __init__(self, trial: Trial, call: str, action: Callable[[], None]) -> None:
        self.fired = 0
        self._copy = trial.final(0)
        self._action = action
        rule = trial.system.rule(call, self._act, where="/d0", times=None)
        trial.system.state.rules.remove(rule)
        trial.system.state.rules.insert(0, rule)  # before those by which it passes for a disk

    def _act(self, real: Callable[[], Any], *given: Any) -> Any:
        if self._copy.exists():
            self.fired += 1
            self._action()
        return real()


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["write", "flush", "rename_to_free_name", "status_of_file"])
def test_list_that_cannot_be_written_fails_its_destination_and_the_copy_stays(
    call: str, error: int, trial: Trial
) -> None:
    def fail() -> None:
        raise OSError(error, os.strerror(error))

    fault = AfterTheCopy(trial, call, fail)
    result = trial.run(2, mhl="legacy", sums=("md5",))
    assert fault.fired == 1
    _require_copy_alone(trial, result)
    assert _lists(trial, 0) == []


@pytest.mark.fault(10)
def test_folder_that_cannot_be_forced_after_a_list_fails_its_destination_and_the_copy_stays(trial: Trial) -> None:
    def fail() -> None:
        if trial.final(0, "clip.mov.md5").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    fault = AfterTheCopy(trial, "flush_folder", fail)
    result = trial.run(2, sums=("md5",), mhl="legacy")
    assert fault.fired >= 1
    _require_copy_alone(trial, result)


def _require_copy_alone(trial: Trial, result: CopyResult) -> None:
    assert _codes(result) == (3, [False, True])
    assert trial.final(0).read_bytes() == trial.data
    assert "The copy is complete and stays" in _told(trial, ErrorEvent)
    assert f"{trial.root}/d0/" in _told(trial, ErrorEvent)
    assert not [name for name in trial.names(0) if name.endswith(".mhl")]
    _require_listed(trial, 1)
    trial.require_no_partials()


@pytest.mark.fault(27)
def test_destination_that_hangs_over_its_list_does_not_hold_the_others(trial: Trial) -> None:
    fault = AfterTheCopy(trial, "flush", lambda: _wait(trial))
    result = trial.run_within(20, 2, mhl="legacy", sums=("md5",), stall_timeout_s=0.3)
    assert fault.fired == 1
    assert _codes(result) == (3, [False, True])
    _require_listed(trial, 1)
    trial.end()


@pytest.mark.parametrize(
    "options",
    [
        {"mhl": "asc"},
        {"mhl": "legacy", "verify": Verify.NONE},
        {"mhl": "legacy", "hashes": ("c4",)},
        {"sums": ("c4",)},
        {"sums": ("md5",), "quick_check": True},
    ],
)
def test_wish_that_cannot_be_met_is_refused_before_anything_is_written(options: dict[str, Any], trial: Trial) -> None:
    with pytest.raises(UsageError) as caught:
        trial.run(2, **options)
    assert caught.value.exit_code == 2
    trial.require_nothing(0, 1)


@pytest.mark.skipif(os.name != "posix", reason="such names are of POSIX systems")
def test_name_that_a_list_cannot_hold_is_in_the_sum_file(trial: Trial) -> None:
    os.rename(trial.source, trial.source.with_name("odd\udcff"))
    trial.source = trial.source.with_name("odd\udcff")
    assert _codes(trial.run(1, mhl="legacy", sums=("md5",))) == (0, [True])
    assert trial.names(0) == ["odd\udcff", "odd\udcff.md5"]
    assert "cannot hold this name" in _told(trial, WarningEvent)


@pytest.mark.fault(74)
@pytest.mark.parametrize("name", ["x" * 255, "映" * 85])
def test_longest_name_leaves_room_for_its_lists(name: str, trial: Trial) -> None:
    os.rename(trial.source, trial.source.with_name(name))
    trial.source = trial.source.with_name(name)
    assert _codes(trial.run(1, mhl="legacy", sums=("md5",))) == (0, [True])
    assert len(trial.names(0)) == 3


def test_empty_file_has_its_lists(trial: Trial) -> None:
    trial.source.write_bytes(b"")
    trial.data = b""
    assert _codes(trial.run(1, mhl="legacy", sums=("md5",))) == (0, [True])
    _require_listed(trial, 0)


# -- by itself ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[TreeSystem, FolderHandle]]:
    system = TreeSystem()
    handle = system.open_folder(str(tmp_path))
    yield system, handle
    system.close_folder(handle)


def _copied(name: str = "clip.mov", state: State = State.VERIFIED, mtime_ns: int | None = 10**18) -> CopiedFile:
    digests = {each: digest(each, DATA) for each in ("sha256", "md5", "xxh3")}
    return CopiedFile(name, len(DATA), mtime_ns, digests, state, 0.0)


@pytest.mark.parametrize("state", [State.VERIFIED, State.IDENTICAL])
def test_what_was_verified_is_listed(state: State, folder: tuple[TreeSystem, FolderHandle], tmp_path: Path) -> None:
    system, handle = folder
    options = CopyOptions(mhl=Mhl.LEGACY, sums=("sha256", "xxh3"))
    assert deliver_beside(Medium(system, False, True), handle, _copied(state=state), options) is None
    names = sorted(os.listdir(tmp_path))
    assert names[0].startswith("clip.mov_20" if names[0].endswith(".mhl") else "clip.mov.sha256")
    assert {"clip.mov.sha256", "clip.mov.xxh3"} < set(names)
    (path,) = tmp_path.glob("*.mhl")
    assert b"2001-09-09T01:46:40Z" in path.read_bytes()


@pytest.mark.parametrize(("state", "is_forced"), [(State.COPIED, True), (State.VERIFIED, False), (State.COPIED, False)])
def test_what_was_not_verified_on_the_medium_is_in_no_media_hash_list(
    state: State, is_forced: bool, folder: tuple[TreeSystem, FolderHandle], tmp_path: Path
) -> None:
    system, handle = folder
    options = CopyOptions(mhl=Mhl.LEGACY, sums=("md5",))
    doubt = deliver_beside(Medium(system, False, is_forced), handle, _copied(state=state), options)
    assert doubt is not None
    assert os.listdir(tmp_path) == ["clip.mov.md5"]


def test_stream_has_sum_files(folder: tuple[TreeSystem, FolderHandle], tmp_path: Path) -> None:
    system, handle = folder
    options = CopyOptions(sums=("md5",))
    assert deliver_beside(Medium(system, False, True), handle, _copied(mtime_ns=None), options) is None
    assert os.listdir(tmp_path) == ["clip.mov.md5"]
