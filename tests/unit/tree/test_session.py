"""A whole card: what is refused, what is told, what is stopped, what is proven, and what a kill leaves."""

import errno
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, State, TreeResult
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.errors import PfnDispatchCopyError, RefusedError, UsageError
from pfndispatchcopy.events import (
    AmendedEvent,
    ErrorEvent,
    Event,
    FileEvent,
    LeftOutEvent,
    PlanEvent,
    ProgressEvent,
    WarningEvent,
)
from pfndispatchcopy.executors import SerialExecutor
from pfndispatchcopy.fileio.names import journal_name, temporary_stem
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.model import Conflict, Phase, ReadBack, Strategy, Verify, VerifySource
from pfndispatchcopy.tree import plan as plan_module
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.faulty_system import Rule
from tests.support.files import make_file, partials
from tests.support.tree_trial import CARD, AnyCall, TreeTrial, flip
from tests.support.trial import open_below

_NAMES = ("clip.mov", "empty.txt", "sub/small.txt")
_ALL = [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL]
_SIZES = {"clip.mov": 20_000, "empty.txt": 0, "sub/small.txt": 100}
_STALL_S = 0.2


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """Three files, and a system that passes for a disk."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(tmp_path, _SIZES, chunk_size=4096)
    yield trial
    trial.end()
    for path in tmp_path.rglob(journal_name(CARD)):  # kept where a run was not finished, as it should be
        path.unlink()


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """Twelve files in six batches."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    monkeypatch.setattr(plan_module, "_BATCH_FILES", 2)
    trial = TreeTrial(tmp_path, {f"f{number:02}": 100 + number for number in range(12)})
    yield trial
    trial.end()
    for path in tmp_path.rglob(journal_name(CARD)):
        path.unlink()


def _offload(trial: TreeTrial, sources: list[str], destinations: list[str], **options: Any) -> TreeOffload:
    more = {name: options.pop(name) for name in ("observer", "files_from", "tells_files") if name in options}
    trial.events.clear()
    return TreeOffload(
        sources,
        destinations,
        CopyOptions(**{**trial.options, **options}),
        system=trial.system,
        cancel=trial.cancel,
        **{"observer": trial.events.append, **more},
    )


def _message(result: TreeResult, number: int = 1) -> str:
    error = result.destinations[number].error
    assert error is not None
    return error.message


# -- a good run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", _ALL)
def test_whole_card_is_copied_to_every_destination_and_verified(strategy: Strategy, trial: TreeTrial) -> None:
    (trial.card / "empty folder/deep").mkdir(parents=True)
    result = trial.run(strategy=strategy)
    trial.require_good(result, 0, 1, 2)
    for number in range(3):
        assert trial.copy(number, "empty folder/deep").is_dir()
    assert (result.exit_code, result.success, result.files, result.size) == (0, True, 3, 20_100)
    for each in result.destinations:
        assert (each.state, each.files_ok, each.files_failed, each.bytes_ok) == (State.VERIFIED, 3, 0, 20_100)
    assert trial.offload is not None
    assert not trial.offload.has_given_up
    assert open_below(trial.root) == []


def test_every_file_is_told_of_once(many: TreeTrial) -> None:
    many.run(jobs=3)
    told = [event.path for event in many.events if isinstance(event, FileEvent)]
    assert sorted(told) == sorted(many.files)
    for event in many.events:
        if isinstance(event, FileEvent):
            assert event.size == len(many.files[event.path])
            assert list(event.hashes) == ["xxh64be"]
            assert [each.label for each in event.destinations] == [many.label(number) for number in range(3)]
            assert [each.location for each in event.destinations] == [
                str(many.copy(number, event.path)) for number in range(3)
            ]
            assert {each.read_back for each in event.destinations} == {ReadBack.EVICTED}


def test_files_are_not_told_of_where_nobody_asks(trial: TreeTrial) -> None:
    offload = _offload(trial, [str(trial.card)], [trial.label(0)], tells_files=False)
    result = offload.run()
    assert (result.exit_code, result.destinations[0].files_ok) == (0, 3)
    assert not [event for event in trial.events if isinstance(event, FileEvent)]


def test_digests_are_those_of_the_bytes(trial: TreeTrial) -> None:
    import hashlib

    trial.run(1, hashes=("sha256", "xxh64be", "md5"))
    for event in trial.events:
        if isinstance(event, FileEvent):
            data = trial.files[event.path]
            assert list(event.hashes) == ["sha256", "xxh64be", "md5"]
            assert event.hashes["sha256"] == hashlib.sha256(data).hexdigest()
            assert event.hashes["md5"] == hashlib.md5(data).hexdigest()


def test_folders_keep_their_times_though_files_were_written_into_them(trial: TreeTrial) -> None:
    (trial.card / "sub").chmod(0o750)
    for name in ("sub", ""):
        os.utime(trial.card / name, ns=(1_500_000_000 * 10**9, 1_600_000_000 * 10**9 + 1))
    trial.run()
    for number in range(3):
        for name in ("sub", ""):
            assert trial.copy(number, name).stat().st_mtime_ns == 1_600_000_000 * 10**9 + 1
        assert trial.copy(number, "sub").stat().st_mode & 0o777 == 0o750


def test_source_is_opened_for_reading_only_and_never_changed(trial: TreeTrial) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in sorted(trial.card.rglob("*"))}
    trial.run(verify_source=VerifySource.AFTER_ALL)
    assert before == {
        path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in sorted(trial.card.rglob("*"))
    }
    changing = {
        "write",
        "remove_name",
        "replace_name",
        "rename_to_free_name",
        "set_mode",
        "set_times",
        "make_subfolder",
    }
    assert not [(call, path) for call, path in trial.system.calls if call in changing and str(trial.card) in path]


def test_progress_ends_at_the_whole_and_never_goes_beyond(many: TreeTrial) -> None:
    rules = [many.fail("flush", errno.EIO, 1), many.fail("read", errno.EIO, name="f03")]
    many.run(jobs=2)
    assert [rule.fired for rule in rules] == [1, 1]
    told = [event for event in many.events if isinstance(event, ProgressEvent)]
    total = sum(map(len, many.files.values()))
    assert told
    assert all(event.bytes_total == total for event in told)
    assert all(each.bytes_done <= total for event in told for each in event.destinations)
    assert [each.bytes_done for each in told[-1].destinations] == [total] * 3
    assert told[-1].phase is Phase.VERIFY


@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.PARALLEL])
def test_progress_never_goes_beyond_the_whole_where_files_are_there_or_fail(
    strategy: Strategy, trial: TreeTrial
) -> None:
    trial.occupy(0, "clip.mov", trial.files["clip.mov"])
    rule = trial.fail("write", errno.EIO, 1, nth=3)
    trial.run(strategy=strategy)
    assert rule.fired == 1
    told = [event for event in trial.events if isinstance(event, ProgressEvent)]
    assert [each.bytes_done for each in told[-1].destinations] == [20_100] * 3


def test_dry_run_writes_nothing(trial: TreeTrial) -> None:
    offload = _offload(trial, [str(trial.card)], [f"{trial.root}/new", trial.label(0)])
    result = offload.run(dry_run=True)
    assert [each.state for each in result.destinations] == [State.SKIPPED] * 2
    assert result.exit_code == 0
    assert sorted(path.name for path in trial.root.iterdir()) == ["src"]
    (plan,) = [event for event in trial.events if isinstance(event, PlanEvent)]
    assert (plan.files, plan.bytes, plan.is_tree) == (3, 20_100, True)


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_so_many_jobs_at_once_give_the_same(jobs: int, many: TreeTrial) -> None:
    rule = many.fail("write", errno.EIO, 1, name="f05")
    result = many.run(jobs=jobs)
    assert rule.fired == 1
    many.require_good(result, 0, 2)
    assert (result.destinations[1].files_ok, result.destinations[1].files_failed) == (11, 1)
    assert many.states("f05") == [State.VERIFIED, State.FAILED, State.VERIFIED]
    assert result.exit_code == 3


# -- sources ----------------------------------------------------------------------------------------------------


def test_content_of_a_folder_goes_straight_into_the_destination(trial: TreeTrial) -> None:
    result = trial.run(1, sources=[f"{trial.card}/"])
    assert result.exit_code == 0
    assert trial.names(0) == sorted(_NAMES)


def test_several_sources_go_side_by_side(trial: TreeTrial) -> None:
    other = trial.root / "src" / "OTHER"
    data = make_file(other / "x/y", 50)
    lone = trial.root / "src" / "lone.mov"
    lone.write_bytes(b"alone")
    result = trial.run(2, sources=[str(trial.card), str(other), str(lone)])
    assert (result.exit_code, result.files) == (0, 5)
    for number in range(2):
        assert (trial.root / f"d{number}/OTHER/x/y").read_bytes() == data
        assert (trial.root / f"d{number}/lone.mov").read_bytes() == b"alone"
    told = {event.path for event in trial.events if isinstance(event, FileEvent)}
    assert told == {*(f"{CARD}/{name}" for name in _NAMES), "OTHER/x/y", "lone.mov"}
    trial.require_no_partials()


def test_listed_files_alone_are_copied(trial: TreeTrial) -> None:
    result = trial.run(1, files_from=(b"sub/small.txt\nclip.mov\n", False))
    assert (result.exit_code, result.files) == (0, 2)
    assert trial.names(0) == [f"{CARD}/clip.mov", f"{CARD}/sub/small.txt"]


def test_nothing_is_called_verified_where_nothing_is_forced(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {})
    result = trial.run(2, no_flush=frozenset({trial.label(0)}))
    assert [each.state for each in result.destinations] == [State.COPIED, State.VERIFIED]
    trial.end()


def test_empty_card_is_copied(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {})
    (trial.card / "nothing here").mkdir()
    result = trial.run(2)
    assert (result.exit_code, result.files) == (0, 0)
    assert [each.state for each in result.destinations] == [State.VERIFIED] * 2
    assert trial.copy(1, "nothing here").is_dir()


def test_excluded_files_are_told_of_and_counted(trial: TreeTrial) -> None:
    result = trial.run(1, exclude=("*.txt",))
    assert (result.exit_code, result.files, result.left_out) == (0, 1, 2)
    told = sorted(event.path for event in trial.events if isinstance(event, LeftOutEvent))
    assert [os.path.basename(path) for path in told] == ["empty.txt", "small.txt"]


@pytest.mark.fault(69)
def test_special_file_is_left_out_with_a_warning_and_changes_no_code(trial: TreeTrial) -> None:
    os.mkfifo(trial.card / "fifo")
    result = trial.run_within(10, 1)
    assert result.exit_code == 0
    assert ["a FIFO" in notice.message for notice in trial.notices(WarningEvent)] == [True]
    trial.require_good(result, 0)


@pytest.mark.fault(39)
@pytest.mark.parametrize("call", ["entries", "status_of_name"])
def test_part_of_a_card_that_cannot_be_listed_is_no_silently_smaller_tree(call: str, trial: TreeTrial) -> None:
    rule = trial.fail(call, errno.EIO, name="sub" if call == "entries" else "small.txt")
    result = trial.run()
    assert rule.fired == 1
    assert result.exit_code == 3
    assert not result.success
    (failure,) = result.failures
    assert (failure.errno, failure.destination) == ("EIO", None)
    for number in range(3):
        assert trial.copy(number, "clip.mov").read_bytes() == trial.files["clip.mov"]
        assert not trial.copy(number, "sub/small.txt").exists()
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)


# -- refusals -----------------------------------------------------------------------------------------------------


def _require_refused(trial: TreeTrial, match: str, sources: list[str], destinations: list[str], **options: Any) -> None:
    before = sorted(trial.root.rglob("*"))
    with pytest.raises(PfnDispatchCopyError, match=match) as caught:
        _offload(trial, sources, destinations, **options).run()
    assert caught.value.exit_code == 2
    assert sorted(trial.root.rglob("*")) == before


def test_source_that_is_not_there_is_refused(trial: TreeTrial) -> None:
    _require_refused(trial, "No such file", [f"{trial.root}/nowhere"], [trial.label(0)])


@pytest.mark.fault(65)
@pytest.mark.parametrize("below", ["", "sub"])
def test_destination_within_the_source_is_refused(below: str, trial: TreeTrial) -> None:
    _require_refused(trial, "inside the source|the source", [str(trial.card)], [str(trial.card / below)])


@pytest.mark.fault(63)
def test_copy_onto_the_source_itself_is_refused(trial: TreeTrial) -> None:
    _require_refused(trial, "same", [str(trial.card)], [str(trial.card.parent)])


@pytest.mark.fault(66)
def test_one_destination_under_two_names_is_refused(trial: TreeTrial) -> None:
    (trial.root / "d0").mkdir()
    (trial.root / "alias").symlink_to("d0")
    _require_refused(trial, "same destination", [str(trial.card)], [trial.label(0), f"{trial.root}/alias"])


@pytest.mark.fault(64)
def test_one_folder_that_looks_like_two_is_recognised_by_a_probe(trial: TreeTrial) -> None:
    """As under an overlay or a FUSE file system: what is made in one of them shows up in the other."""

    def shows_up(real: Callable[[], Any], folder: Any, name: str) -> Any:
        if name.startswith(temporary_stem(".")):
            return os.stat(trial.root / "d0" / name)
        return real()

    for number in range(2):
        (trial.root / f"d{number}").mkdir()
    rule = trial.system.rule("status_of_name", shows_up, where="/d1/", times=None)
    _require_refused(trial, "same destination", [str(trial.card)], [trial.label(0), trial.label(1)])
    assert rule.fired >= 1


@pytest.mark.fault(64)
def test_destination_that_looks_elsewhere_and_is_the_source_is_recognised_by_a_probe(trial: TreeTrial) -> None:
    (trial.root / "d0").mkdir()

    def shows_up(real: Callable[[], Any], folder: Any, name: str) -> Any:
        if name.startswith(temporary_stem(".")):
            return os.stat(trial.root / "d0" / name)
        return real()

    rule = trial.system.rule("status_of_name", shows_up, where="/src/", times=None)
    _require_refused(trial, "the source", [str(trial.card)], [trial.label(0)])
    assert rule.fired >= 1


@pytest.mark.fault(64)
@pytest.mark.parametrize("name", [CARD, "way"])
def test_copy_that_would_be_the_source_itself_is_recognised_by_a_probe_beside_it(name: str, trial: TreeTrial) -> None:
    """As of a folder that another way leads to, below an overlay. By a link's name the copy is another folder."""
    (trial.root / "d0").mkdir()
    (trial.root / "src/way").symlink_to(trial.card)

    def shows_up(real: Callable[[], Any], folder: Any, name: str) -> Any:
        if name.startswith(os.path.join(os.pardir, temporary_stem("."))):
            return os.stat(trial.root / "d0" / os.path.basename(name))
        return real()

    rule = trial.system.rule("status_of_name", shows_up, where="/src/", times=None)
    source = str(trial.root / "src" / name)
    if name == CARD:
        _require_refused(trial, "its copy there are the same", [source], [trial.label(0)])
    else:
        assert _offload(trial, [source], [trial.label(0)]).run().success
    assert rule.fired >= 1


@pytest.mark.fault(67)
def test_two_sources_of_one_name_are_refused(trial: TreeTrial) -> None:
    make_file(trial.root / "src/other" / CARD / "x", 1)
    sources = [str(trial.card), str(trial.root / "src/other" / CARD)]
    _require_refused(trial, "same name", sources, [trial.label(0)])


@pytest.mark.fault(67)
def test_names_that_are_one_where_case_does_not_count_are_refused_there(trial: TreeTrial) -> None:
    (trial.card / "CLIP.mov").write_bytes(b"")

    def ignoring_case(real: Callable[[], Any], folder: Any, name: str) -> Any:
        return os.stat(name.lower(), dir_fd=folder.fd, follow_symlinks=False)

    (trial.root / "d1").mkdir()
    rule = trial.system.rule("status_of_name", ignoring_case, where="/d1/.PFN", times=None)
    _require_refused(trial, "are one name there", [str(trial.card)], [trial.label(0), trial.label(1)])
    assert rule.fired == 1


def test_too_little_space_is_refused(trial: TreeTrial) -> None:
    from pfndispatchcopy.fileio.system import Usage

    rule = trial.system.rule("usage", lambda real, path: Usage(10**9, 20_099), times=None)
    _require_refused(trial, "not enough space", [str(trial.card)], [trial.label(0)])
    assert rule.fired == 1


def test_space_is_judged_by_what_is_still_missing(trial: TreeTrial) -> None:
    from pfndispatchcopy.fileio.system import Usage

    trial.occupy(0, "clip.mov", trial.files["clip.mov"])
    rule = trial.system.rule("usage", lambda real, path: Usage(10**9, 100), times=None)
    result = trial.run(1)
    assert rule.fired == 1
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [({"no_flush": frozenset({"elsewhere"})}, "no-flush"), ({"expect_size": 5}, "expect-size")],
)
def test_options_that_make_no_sense_for_a_card_are_refused(
    options: dict[str, Any], match: str, trial: TreeTrial
) -> None:
    _require_refused(trial, match, [str(trial.card)], [trial.label(0)], **options)


def test_no_destination_is_refused(trial: TreeTrial) -> None:
    _require_refused(trial, "destination", [str(trial.card)], [])


def test_list_of_files_goes_with_one_folder(trial: TreeTrial) -> None:
    with pytest.raises(UsageError, match="files-from"):
        _offload(trial, [str(trial.card)] * 2, [trial.label(0)], files_from=(b"x", False))


def test_list_that_leads_out_of_the_source_is_refused(trial: TreeTrial) -> None:
    with pytest.raises(UsageError, match="stay within"):
        _offload(trial, [str(trial.card)], [trial.label(0)], files_from=(b"../secret", False))


@pytest.mark.parametrize("nth", range(1, 5))
def test_source_that_cannot_be_looked_at_is_refused_and_let_go(nth: int, trial: TreeTrial) -> None:
    rule = trial.fail_any(errno.EIO, None, nth)
    _require_refused(trial, "Input/output error", [str(trial.card)], [trial.label(0)])
    assert rule.fired == 1


@pytest.mark.fault(17, 62)
def test_thread_that_cannot_be_started_refuses_the_run(trial: TreeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    start, left = threading.Thread.start, 2

    def starting(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith("pfn-"):
            left -= 1
            if left < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    _require_refused(trial, "threads", [str(trial.card)], [trial.label(0), trial.label(1)])
    assert left < 0


@pytest.mark.fault(18)
def test_too_few_descriptors_refuse_the_run(trial: TreeTrial) -> None:
    rule = trial.system.rule("raise_descriptor_limit", lambda real, needed: 10)
    _require_refused(trial, "open files", [str(trial.card)], [trial.label(0)])
    assert rule.fired == 1


# -- destinations that fail before the copy -----------------------------------------------------------------------


@pytest.mark.fault(20)
@pytest.mark.parametrize("call", ["usage", "open_folder", "open_name", "replace_name"])
def test_last_destination_may_fail_before_the_copy(call: str, trial: TreeTrial) -> None:
    (trial.root / "d2").mkdir()
    rule = trial.system.fail(call, errno.EACCES, where="/d2")
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, 0, 1)
    assert (result.destinations[2].state, result.exit_code) == (State.FAILED, 3)
    assert "EACCES" in _message(result, 2)
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [trial.label(2)]


@pytest.mark.fault(20)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_any_destination_may_fail_before_the_copy(number: int, trial: TreeTrial) -> None:
    (trial.root / f"d{number}").mkdir()
    rule = trial.system.fail("usage", errno.EIO, where=f"/d{number}")
    result = trial.run()
    assert rule.fired == 1
    trial.require_good(result, *({0, 1, 2} - {number}))
    assert (result.destinations[number].state, result.exit_code) == (State.FAILED, 3)


def test_destination_that_is_a_file_fails_alone(trial: TreeTrial) -> None:
    (trial.root / "d9").write_bytes(b"precious")
    result = _offload(trial, [str(trial.card)], [trial.label(0), f"{trial.root}/d9"]).run()
    trial.require_good(result, 0)
    assert (result.destinations[1].state, result.exit_code) == (State.FAILED, 3)
    assert (trial.root / "d9").read_bytes() == b"precious"


@pytest.mark.fault(20)
def test_all_destinations_failing_before_the_copy_is_a_refusal(trial: TreeTrial) -> None:
    rule = trial.system.fail("usage", errno.EACCES, where="/d", times=None)
    with pytest.raises(RefusedError, match="EACCES"):
        trial.run()
    assert rule.fired == 3


@pytest.mark.fault(28)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["usage", "open_folder", "open_name", "list_names"])
def test_destination_that_hangs_before_the_copy_is_given_up(call: str, trial: TreeTrial) -> None:
    rule = trial.system.hang(call, trial.release, where="/d2")
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 1)
    assert result.destinations[2].state is State.FAILED
    assert "it hangs" in _message(result, 2)
    assert trial.offload is not None
    assert trial.offload.has_given_up


@pytest.mark.leaks
@pytest.mark.parametrize("call", ["status", "open_folder", "entries", "status_of_name"])
def test_source_that_hangs_before_the_copy_is_refused(call: str, trial: TreeTrial) -> None:
    rule = trial.hang(call)
    with pytest.raises(RefusedError, match="it hangs"):
        trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    assert [trial.names(number) for number in range(3)] == [[], [], []]


def test_long_listing_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(tmp_path, {f"{number}/x": 1 for number in range(8)})
    pause = threading.Event()

    def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
        pause.wait(0.08)
        return real()

    rule = trial.rule("entries", slowly, times=None)
    result = trial.run_within(10, 1, stall_timeout_s=_STALL_S)
    trial.end()
    assert rule.fired == 9
    assert result.exit_code == 0


# -- failing while it goes on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", _ALL)
def test_all_destinations_failing_raises_nothing(strategy: Strategy, trial: TreeTrial) -> None:
    faults = [("open_name", errno.ENOSPC), ("flush", errno.EIO), ("rename_to_free_name", errno.EROFS)]
    rules = [trial.fail(call, number, index, times=None) for index, (call, number) in enumerate(faults)]
    result = trial.run(strategy=strategy)
    assert all(rule.fired for rule in rules)
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert [each.files_ok for each in result.destinations] == [0, 0, 0]
    assert (result.exit_code, result.success) == (1, False)
    assert [trial.names(number) for number in range(3)] == [[], [], []]


@pytest.mark.fault(1)
def test_full_destination_gets_no_further_jobs(many: TreeTrial) -> None:
    rule = many.fail("write", errno.ENOSPC, 1, nth=3, times=None)
    result = many.run()
    assert rule.fired == 1
    many.require_good(result, 0, 2)
    assert (result.destinations[1].files_ok, result.destinations[1].files_failed) == (2, 10)
    assert result.destinations[1].error is not None
    assert result.destinations[1].error.errno == "ENOSPC"
    assert len(many.notices(ErrorEvent)) == 1
    many.system.heal()
    again = many.run()
    assert again.exit_code == 0
    many.require_good(again, 0, 1, 2)


@pytest.mark.fault(31)
@pytest.mark.parametrize("jobs", [1, 2])
def test_card_that_is_pulled_ends_the_run_and_a_second_one_completes_it(jobs: int, many: TreeTrial) -> None:
    rule = many.fail("open_source_name", errno.ENODEV, nth=6, times=None)
    result = many.run(jobs=jobs)
    assert rule.fired >= 1
    assert result.exit_code == 3
    done = [each.files_ok for each in result.destinations]
    assert 4 <= min(done) <= max(done) < 12
    assert [each.files_ok + each.files_failed for each in result.destinations] == [12] * 3
    assert all(each.error is not None and each.error.errno == "ENODEV" for each in result.destinations)
    many.require_nothing_false()
    many.system.heal()
    again = many.run(jobs=jobs)
    assert again.exit_code == 0
    many.require_good(again, 0, 1, 2)
    read = len([call for call, _ in many.system.calls if call == "open_source_name"])
    assert read == 12 - min(done)


@pytest.mark.fault(29)
@pytest.mark.parametrize("jobs", [1, 2])
def test_bug_in_a_job_costs_that_job_alone(jobs: int, many: TreeTrial, caplog: pytest.LogCaptureFixture) -> None:
    def explode(real: Callable[[], Any], *arguments: Any) -> Any:
        raise RuntimeError("a bug")

    rule = many.rule("write", explode, 1, name="f04")
    result = many.run(jobs=jobs)
    assert rule.fired == 1
    for each in result.destinations:
        assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 10, 2)
    assert result.exit_code == 3
    (notice,) = many.notices(ErrorEvent)
    assert "internal error: RuntimeError: a bug" in notice.message
    assert "a bug" in caplog.text
    many.require_nothing_false()
    many.require_no_partials(but_records=True)
    many.system.heal()
    again = many.run()
    assert again.exit_code == 0
    many.require_good(again, 0, 1, 2)


def test_observer_that_raises_ends_the_run_and_leaves_nothing_unfinished(trial: TreeTrial) -> None:
    def observe(event: Event) -> None:
        if isinstance(event, FileEvent):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _offload(trial, [str(trial.card)], [trial.label(0)], observer=observe).run()
    trial.require_nothing_false(1)
    trial.require_no_partials(but_records=True)
    assert open_below(trial.root) == []


@pytest.mark.parametrize("call", ["flush_folder", "open_subfolder"])
def test_folder_that_cannot_be_finished_is_a_failure_though_its_files_are_there(call: str, trial: TreeTrial) -> None:
    done = threading.Event()

    def observe(event: Event) -> None:
        trial.events.append(event)
        if isinstance(event, FileEvent):
            done.set()

    def fail(real: Callable[[], Any], *arguments: Any) -> Any:
        if not done.is_set():
            return real()
        raise OSError(errno.EIO, "Input/output error")

    rule = trial.rule(call, fail, 1, times=None)
    result = _offload(trial, [str(trial.card)], [trial.label(0), trial.label(1)], observer=observe).run()
    assert rule.fired >= 1
    trial.require_good(result, 0)
    trial.require_copied(1)
    assert (result.destinations[1].state, result.exit_code) == (State.FAILED, 3)
    assert "the folders are not as they should be" in _message(result)


def test_folder_whose_time_cannot_be_kept_is_a_warning(trial: TreeTrial) -> None:
    rule = trial.fail("set_times", errno.EPERM, 1, name="sub")
    result = trial.run()
    assert rule.fired == 1
    assert result.exit_code == 0
    (notice,) = trial.notices(WarningEvent)
    assert notice.path == str(trial.copy(1, "sub"))


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_destination_that_hangs_when_its_folders_are_finished_is_given_up(trial: TreeTrial) -> None:
    rule = trial.hang("set_times", 1, name="sub")
    result = trial.run_within(8, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.FAILED
    assert trial.offload is not None
    assert trial.offload.has_given_up


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("jobs", [1, 2])
def test_destination_that_hangs_costs_the_stall_time_once_and_not_for_every_job(jobs: int, many: TreeTrial) -> None:
    rule = many.hang("write", 1)
    begin = monotonic()
    result = many.run_within(10, jobs=jobs, stall_timeout_s=0.4)
    assert rule.fired >= 1
    assert monotonic() - begin < 0.4 * 4
    many.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.destinations[1].files_ok) == (State.FAILED, 0)


@pytest.mark.leaks
@pytest.mark.parametrize("jobs", [1, 2])
def test_source_that_hangs_costs_the_stall_time_once(jobs: int, many: TreeTrial) -> None:
    rule = many.hang("open_source_name", nth=3)
    begin = monotonic()
    result = many.run_within(10, jobs=jobs, stall_timeout_s=0.4)
    assert rule.fired >= 1
    assert monotonic() - begin < 0.4 * 4
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert result.exit_code in (1, 3)
    many.end()
    many.require_nothing_false()


# -- cancel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_cancel_in_the_middle_keeps_what_is_done_and_a_second_run_copies_the_rest_alone(
    jobs: int, many: TreeTrial
) -> None:
    rule = many.cancel_at("open_source_name", nth=7)
    result = many.run(jobs=jobs)
    assert rule.fired == 1
    done = [each.files_ok for each in result.destinations]
    assert 4 <= min(done) <= max(done) < 12
    for each in result.destinations:
        assert each.state is State.CANCELLED
        assert each.files_ok + each.files_failed == 12
        assert each.error is not None
    assert not result.success
    assert many.notices(ErrorEvent) == []
    many.require_nothing_false()
    many.require_no_partials(but_records=True)
    assert len(partials(many.root)) == 3
    there = [(number, name) for number in range(3) for name in many.files if many.copy(number, name).exists()]
    inodes = {each: many.copy(*each).stat().st_ino for each in there}
    many.system.heal()
    again = many.run(jobs=jobs)
    assert again.exit_code == 0
    many.require_good(again, 0, 1, 2)
    assert inodes == {each: many.copy(*each).stat().st_ino for each in there}
    assert len([call for call, _ in many.system.calls if call == "open_source_name"]) == 12 - min(done)


@pytest.mark.parametrize("call", ["status", "usage", "open_folder", "open_name", "entries"])
def test_cancel_before_the_copy_leaves_nothing(call: str, trial: TreeTrial) -> None:
    def cancel(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.cancel.set()
        return real()

    rule = trial.system.rule(call, cancel, where="/src/" if call == "entries" else "/d1")
    try:
        states = [each.state for each in trial.run_within(10).destinations]
    except PfnDispatchCopyError:  # while the source is listed there is no result yet
        states = [State.CANCELLED] * 3
    assert rule.fired == 1
    assert states == [State.CANCELLED] * 3
    assert [trial.names(number) for number in range(3)] == [[], [], []]


def test_run_that_was_cancelled_before_it_began_copies_nothing(trial: TreeTrial) -> None:
    offload = _offload(trial, [str(trial.card)], [trial.label(0)])
    trial.cancel.set()
    with pytest.raises(PfnDispatchCopyError, match="cancelled"):
        offload.run()
    assert not (trial.root / "d0").exists()


# -- the source is read a second time ---------------------------------------------------------------------------

_WAYS = [VerifySource.PER_FILE, VerifySource.AFTER_ALL]


class _SecondReading:
    """Another reading of a file than the first one: what its n-th reading gives first is changed, or an error."""

    def __init__(self, trial: TreeTrial, name: str, action: Callable[..., int], nth: int = 2) -> None:
        self.fired = 0
        self._action = action
        self._nth = nth
        self._readings = 0
        last = name.rsplit("/", 1)[-1]
        for call in ("open_source_name", "open_direct", "rewind"):
            trial.rule(call, self._begin, times=None, name=last)
        trial.rule("read", self._read, times=None, name=last)

    def _begin(self, real: Callable[[], Any], *arguments: Any) -> Any:
        self._readings += 1
        return real()

    def _read(self, real: Callable[[], int], fd: int, buffer: memoryview) -> int:
        if self._readings < self._nth or self.fired:
            return real()
        self.fired += 1
        return self._action(real, fd, buffer)


def _eio(real: Callable[[], int], *arguments: Any) -> int:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("strategy", _ALL)
def test_second_reading_that_agrees_changes_nothing(strategy: Strategy, way: VerifySource, trial: TreeTrial) -> None:
    result = trial.run(strategy=strategy, verify_source=way)
    assert result.exit_code == 0
    trial.require_good(result, 0, 1, 2)
    read = [path for call, path in trial.system.calls if call == "read" and path.endswith("/src/CARD/sub/small.txt")]
    assert len(read) >= 2


def _open_again(real: Callable[[], int], folder: FolderHandle, name: str) -> int:
    return os.open(name, os.O_RDONLY, dir_fd=folder.fd)


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    ("strategy", "way"),
    [
        (Strategy.SINGLE, VerifySource.PER_FILE),
        (Strategy.PARALLEL, VerifySource.PER_FILE),
        (Strategy.BATCH, VerifySource.PER_FILE),
        *((strategy, VerifySource.AFTER_ALL) for strategy in _ALL),
    ],
)
def test_second_reading_goes_around_a_cache_that_cannot_be_dropped(
    strategy: Strategy, way: VerifySource, trial: TreeTrial
) -> None:
    """What comes from the page cache a second time proves nothing of the card and its reader."""
    trial.rule("is_cached", lambda real, *arguments: True, times=None)
    direct = trial.rule("open_direct", _open_again, times=None, name="clip.mov")
    result = trial.run(strategy=strategy, verify_source=way)
    assert result.exit_code == 0
    assert direct.fired == 1


@pytest.mark.parametrize("strategy", _ALL)
def test_with_after_all_the_source_is_read_twice_and_not_three_times(strategy: Strategy, trial: TreeTrial) -> None:
    trial.run(1, strategy=strategy, verify_source=VerifySource.AFTER_ALL)
    calls = [call for call, path in trial.system.calls if path.endswith("/src/CARD/sub/small.txt")]
    assert calls.count("open_source_name") + calls.count("rewind") == 2


def test_copies_that_cannot_be_trusted_after_all_are_told_of_again(trial: TreeTrial) -> None:
    fault = _SecondReading(trial, "clip.mov", flip)
    trial.run(2, verify_source=VerifySource.AFTER_ALL)
    assert fault.fired == 1
    first = next(event for event in trial.events if isinstance(event, FileEvent) and event.path == "clip.mov")
    (again,) = [event for event in trial.events if isinstance(event, AmendedEvent)]
    assert [each.state for each in first.destinations] == [State.VERIFIED] * 2
    assert again.path == "clip.mov"
    assert [(each.location, each.state) for each in again.destinations] == [
        (str(trial.copy(number, "clip.mov")), State.MISMATCH) for number in range(2)
    ]


@pytest.mark.fault(38)
@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("strategy", _ALL)
def test_source_that_gives_other_bytes_the_second_time_is_a_mismatch_everywhere_and_its_copies_are_set_aside(
    strategy: Strategy, way: VerifySource, trial: TreeTrial
) -> None:
    fault = _SecondReading(trial, "clip.mov", flip)
    result = trial.run(strategy=strategy, verify_source=way)
    assert fault.fired == 1
    assert [each.state for each in result.destinations] == [State.MISMATCH] * 3
    assert [(each.files_ok, each.files_failed) for each in result.destinations] == [(2, 1)] * 3
    assert result.exit_code == 4
    for number in range(3):
        assert not trial.copy(number, "clip.mov").exists()
        assert f"{CARD}/clip.mov.corrupt" in trial.names(number)
        assert trial.copy(number, "sub/small.txt").read_bytes() == trial.files["sub/small.txt"]
    (notice,) = trial.notices(ErrorEvent)
    assert (notice.operation, notice.path, notice.destination) == (
        "verify-source",
        str(trial.card / "clip.mov"),
        None,
    )
    trial.require_no_partials(but_records=True)
    again = trial.run_again(strategy=strategy, verify_source=way)
    assert again.exit_code == 0
    for number in range(3):
        trial.require_good(again, number, names=(f"{CARD}/clip.mov.corrupt",))


@pytest.mark.fault(30)
@pytest.mark.parametrize("strategy", _ALL)
def test_source_that_cannot_be_read_a_second_time_fails_everywhere(strategy: Strategy, trial: TreeTrial) -> None:
    fault = _SecondReading(trial, "clip.mov", _eio)
    result = trial.run(strategy=strategy, verify_source=VerifySource.PER_FILE)
    assert fault.fired == 1
    assert trial.states("clip.mov") == [State.FAILED] * 3
    assert result.exit_code == 3
    assert not any(trial.copy(number, "clip.mov").exists() for number in range(3))
    assert not any(name.endswith(".corrupt") for number in range(3) for name in trial.names(number))


def _after_the_copy(trial: TreeTrial, action: Callable[..., Any]) -> tuple[TreeOffload, Rule]:
    """A run to one destination, with a rule for the opening of the source once everything is copied."""
    is_copied = threading.Event()

    def observe(event: Event) -> None:
        trial.events.append(event)
        if isinstance(event, ProgressEvent) and event.phase is Phase.VERIFY:
            is_copied.set()

    def act(real: Callable[[], Any], *arguments: Any) -> Any:
        return action(real) if is_copied.is_set() else real()

    rule = trial.rule("open_source_name", act, times=None)
    options = {"observer": observe, "verify_source": VerifySource.AFTER_ALL, "stall_timeout_s": _STALL_S}
    return _offload(trial, [str(trial.card)], [trial.label(0)], **options), rule


@pytest.mark.fault(31)
def test_card_that_is_pulled_before_the_second_reading_spoils_no_copy(trial: TreeTrial) -> None:
    """As when it is unplugged when the bar is at its end: nothing was found to differ, and the copies are good."""

    def pulled(real: Callable[[], Any]) -> Any:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    offload, rule = _after_the_copy(trial, pulled)
    result = offload.run()
    assert rule.fired > 3
    assert any(notice.errno == "ENODEV" for notice in trial.notices(ErrorEvent))
    assert not result.success
    trial.require_copied(0)
    assert result.exit_code != 4


@pytest.mark.leaks
def test_source_that_hangs_in_the_second_reading_fails_the_run_and_refuses_nothing(trial: TreeTrial) -> None:
    def hang(real: Callable[[], Any]) -> Any:
        trial.release.wait()
        return real()

    offload, rule = _after_the_copy(trial, hang)
    result = offload.run()
    assert rule.fired > 3
    assert not result.success
    trial.require_copied(0)


@pytest.mark.fault(38)
@pytest.mark.parametrize("way", [Conflict.ERROR, Conflict.OVERWRITE])
@pytest.mark.parametrize(
    "strategy",
    [
        Strategy.BATCH,
        Strategy.SINGLE,
        Strategy.PARALLEL,
    ],
)
def test_file_that_was_there_already_is_not_set_aside_for_a_source_that_gives_changing_bytes(
    strategy: Strategy, way: Conflict, trial: TreeTrial
) -> None:
    there = trial.occupy(1, "clip.mov", trial.files["clip.mov"])
    fault = _SecondReading(trial, "clip.mov", flip)
    result = trial.run(strategy=strategy, on_conflict=way, verify_source=VerifySource.PER_FILE)
    assert fault.fired == 1
    assert result.exit_code == 4
    assert there.exists()
    assert there.read_bytes() == trial.files["clip.mov"]


def _require_old_file_is_kept(trial: TreeTrial, rule: Conflict, expected: dict[str, bytes]) -> None:
    """The last reading differs; what is set aside is the copy, and never what lay there before the run."""
    trial.occupy(1, "clip.mov", b"precious, and of another take")
    fault = _SecondReading(trial, "clip.mov", flip, nth=_last_reading(trial))
    result = trial.run(strategy=Strategy.SINGLE, on_conflict=rule, verify_source=VerifySource.AFTER_ALL)
    assert fault.fired == 1
    assert result.exit_code == 4
    found = {path.name: path.read_bytes() for path in trial.copy(1).iterdir() if path.is_file()}
    del found["empty.txt"]
    assert found == expected


def _last_reading(trial: TreeTrial) -> int:
    """How often a source is read with after-all: as often as a run of its own says."""
    with tempfile.TemporaryDirectory(prefix="pfn-test-") as folder:
        other = TreeTrial(Path(folder), _SIZES, strategy=Strategy.SINGLE)
        other.run(1, verify_source=VerifySource.AFTER_ALL)
        calls = [call for call, path in other.system.calls if path.endswith("/src/CARD/clip.mov")]
        other.end()
        return calls.count("open_source_name") + calls.count("rewind")


@pytest.mark.parametrize("rule", [Conflict.ERROR, Conflict.SKIP])
def test_old_file_in_conflict_is_not_set_aside_at_the_end(rule: Conflict, trial: TreeTrial) -> None:
    _require_old_file_is_kept(trial, rule, {"clip.mov": b"precious, and of another take"})


def test_copy_beside_an_old_file_is_what_is_set_aside_at_the_end(trial: TreeTrial) -> None:
    bad = trial.files["clip.mov"]
    expected = {"clip.mov": b"precious, and of another take", "clip 2.mov.corrupt": bad}
    _require_old_file_is_kept(trial, Conflict.RENAME, expected)


def test_destination_that_did_not_get_the_file_has_nothing_to_be_set_aside(trial: TreeTrial) -> None:
    writing = trial.fail("write", errno.EIO, 1, name="clip.mov")
    fault = _SecondReading(trial, "clip.mov", flip, nth=_last_reading(trial))
    result = trial.run(strategy=Strategy.SINGLE, verify_source=VerifySource.AFTER_ALL)
    assert (writing.fired, fault.fired) == (1, 1)
    each = result.destinations[1]
    assert (each.files_ok, each.files_failed) == (2, 1)
    assert each.error is not None
    assert (each.error.operation, each.error.errno) == ("write", "EIO")


@pytest.mark.parametrize(
    "way",
    [
        VerifySource.PER_FILE,
        VerifySource.AFTER_ALL,
    ],
)
@pytest.mark.parametrize("strategy", _ALL)
def test_copy_that_cannot_be_trusted_has_no_final_name_even_where_the_other_name_is_taken(
    strategy: Strategy, way: VerifySource, trial: TreeTrial
) -> None:
    """As when the same card is read a second time with a bad reader: NAME.corrupt is there from the first time."""
    older = trial.occupy(1, "clip.mov.corrupt", b"an older one")
    fault = _SecondReading(trial, "clip.mov", flip)
    result = trial.run(strategy=strategy, verify_source=way)
    assert fault.fired == 1
    assert result.exit_code == 4
    assert older.read_bytes() == b"an older one"
    assert not any(trial.copy(number, "clip.mov").exists() for number in range(3))


@pytest.mark.leaks
def test_destinations_are_not_blamed_for_a_source_that_hangs_for_good(trial: TreeTrial) -> None:
    """Whatever is asked of the card hangs from a moment on: the metadata of its folders as well."""
    hangs = threading.Event()

    def begin(real: Callable[[], Any], *arguments: Any) -> Any:
        hangs.set()
        trial.release.wait()
        return real()

    def anything(real: Callable[[], Any], *arguments: Any) -> Any:
        if hangs.is_set():
            trial.release.wait()
        return real()

    rule = trial.rule("read", begin, name="small.txt")
    for call in ("open_subfolder", "status_of_file", "status_of_name", "xattrs", "read", "close_folder"):
        trial.rule(call, anything, times=None)
    started = monotonic()
    result = trial.run_within(10, stall_timeout_s=0.3)
    assert rule.fired == 1
    assert monotonic() - started < 0.3 * 5
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [None]


def test_cancel_in_the_second_reading_leaves_the_copies_but_is_no_success(trial: TreeTrial) -> None:
    rule = trial.cancel_at("open_source_name", nth=_last_reading(trial) + 2)
    result = trial.run_within(10, strategy=Strategy.SINGLE, verify_source=VerifySource.AFTER_ALL)
    assert rule.fired == 1
    assert result.exit_code != 4
    trial.require_nothing_false()


# -- what proves least counts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", _ALL)
def test_state_of_a_destination_is_that_of_the_file_that_is_proven_least(strategy: Strategy, trial: TreeTrial) -> None:
    trial.occupy(1, "clip.mov", trial.files["clip.mov"])
    for name in _NAMES:
        trial.occupy(2, name, trial.files[name])
    result = trial.run(strategy=strategy)
    assert [each.state for each in result.destinations] == [State.VERIFIED, State.VERIFIED, State.IDENTICAL]
    result = trial.run_again(strategy=strategy, verify=Verify.NONE)
    assert [each.state for each in result.destinations] == [State.IDENTICAL] * 3


def test_mismatch_beats_every_other_failure(many: TreeTrial) -> None:
    rules = [
        many.fail("write", errno.EIO, 1, name="f01"),
        many.rule("read", flip, 1, name="f05"),
        many.fail("flush", errno.EIO, 0, name="f09"),
    ]
    result = many.run()
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert [each.state for each in result.destinations] == [State.FAILED, State.MISMATCH, State.VERIFIED]
    assert result.exit_code == 4


# -- kills ------------------------------------------------------------------------------------------------------


class _Kill(AnyCall):
    """The process is killed at the n-th of all calls."""

    def takes(self, call: str, path: str) -> bool:
        self.seen += 1
        return self.seen == self.nth


def _killed_at(nth: int, folder: Path, **options: Any) -> bool:
    """Kill a run at its n-th call, and look what another one makes of that; returns whether it was killed at all."""
    trial = TreeTrial(folder, _SIZES, **options)
    pid = os.fork()
    if pid == 0:
        try:
            kill = _Kill("", "", lambda real, *arguments: os.kill(os.getpid(), signal.SIGKILL), nth)
            trial.system.state.rules.append(kill)
            trial.run(2)
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL
    for number in range(2):
        (trial.root / f"d{number}").mkdir(exist_ok=True)
    trial.require_nothing_false(2)
    there = [(number, name) for number in range(2) for name in trial.files if trial.copy(number, name).exists()]
    inodes = {each: trial.copy(*each).stat().st_ino for each in there}
    result = trial.run(2)
    assert result.exit_code == 0, trial.notices(ErrorEvent)
    assert inodes == {each: trial.copy(*each).stat().st_ino for each in there}
    for path in partials(trial.root):  # see test_own_small_files_of_a_killed_run_are_swept in test_places.py
        assert path.name.startswith((temporary_stem("."), temporary_stem(journal_name(CARD))))
        path.unlink()
    trial.require_good(result, 0, 1)
    trial.end()
    return True


def _calls_of_a_run(folder: Path, **options: Any) -> int:
    trial = TreeTrial(folder, _SIZES, **options)
    trial.run(2)
    trial.end()
    return len(trial.system.calls)


@pytest.mark.fault(51)
@pytest.mark.parametrize("strategy", _ALL)
def test_run_that_is_killed_can_be_gone_on_with_wherever_it_was(strategy: Strategy, tmp_path: Path) -> None:
    count = _calls_of_a_run(tmp_path / "all", strategy=strategy, chunk_size=4096)
    step = count // 12
    for nth in range(step, count, step):
        folder = tmp_path / str(nth)
        _killed_at(nth, folder, strategy=strategy, chunk_size=4096)
        shutil.rmtree(folder)


@pytest.mark.fault(51)
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", _ALL)
def test_run_that_is_killed_at_any_call_can_be_gone_on_with(strategy: Strategy, tmp_path: Path) -> None:
    for nth in range(1, 1000):
        folder = tmp_path / str(nth)
        was_killed = _killed_at(nth, folder, strategy=strategy, chunk_size=4096)
        shutil.rmtree(folder)
        if not was_killed:
            assert nth > 100
            return
    pytest.fail("it never came to its end")


def test_rules_are_told_from_each_other() -> None:
    """The helper of these tests counts every call."""
    kill = _Kill("", "", lambda real: None, nth=2)
    assert isinstance(kill, Rule)
    assert [kill.takes("write", ""), kill.takes("read", "x"), kill.takes("read", "x")] == [False, True, False]


class _LosingAnswers(SerialExecutor):
    """Does every job, and loses what the first one came to, as a worker does that is killed a moment later."""

    def __init__(self) -> None:
        self.lost = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future = super().submit(fn, *args, **kwargs)
        if future.result().report is not None and not self.lost:
            self.lost += 1
            future = Future()
            future.set_exception(BrokenExecutor("killed"))
        return future


@pytest.mark.fault(51)
@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, State.VERIFIED),
        ({"verify": Verify.NONE}, State.COPIED),
        ({"quick_check": True}, State.IDENTICAL),  # by size and time: nothing has been read, so nothing is proven
    ],
)
def test_copy_of_a_lost_job_is_told_as_copied_but_never_verified_without_reading_it(
    options: dict[str, Any], state: State, trial: TreeTrial
) -> None:
    executor = _LosingAnswers()
    result = trial.run(1, executor=executor, strategy=Strategy.BATCH, **options)
    assert executor.lost == 1
    assert result.exit_code == 0
    assert {trial.states(name)[0] for name in ("clip.mov", "sub/small.txt")} == {state}
    trial.require_copied(0)
