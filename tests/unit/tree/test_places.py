"""The destinations of a card: one run at a time, swept of what dead runs left, and a record to resume from."""

import errno
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, State, TreeResult
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.events import AmendedEvent, ErrorEvent, FileEvent, PlanEvent, WarningEvent
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.locks import FileLock
from pfndispatchcopy.fileio.names import journal_name, lock_name, temporary_stem
from pfndispatchcopy.journal import Journal, Proof, Record, encode_records
from pfndispatchcopy.model import Conflict, ReadBack, Strategy, Symlinks, Verify, VerifySource
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.tree_trial import CARD, TreeSystem, TreeTrial

_NAMES = ("clip.mov", "empty.txt", "sub/small.txt")
_DONE = ("clip.mov", "empty.txt")
_S = 10**9


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """Three files that are copied one by one, so that a run can be stopped in between."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(
        tmp_path, {"clip.mov": 20_000, "empty.txt": 0, "sub/small.txt": 100}, strategy=Strategy.SINGLE, chunk_size=4096
    )
    yield trial
    trial.end()
    for path in tmp_path.rglob(journal_name(CARD)):  # kept where a run was not finished, as it should be
        path.unlink()


def _record(trial: TreeTrial, number: int) -> Path:
    return trial.root / f"d{number}" / journal_name(CARD)


def _recorded(trial: TreeTrial, number: int) -> list[tuple[Proof, Record]]:
    system = native_system()
    folder = system.open_folder(trial.label(number))
    try:
        found, doubt = Journal.read(system, folder, CARD)
    finally:
        system.close_folder(folder)
    assert doubt is None
    return found


def _interrupt(trial: TreeTrial, count: int = 2, **options: Any) -> TreeResult:
    """Stop before the third file; the first two are done everywhere."""
    rule = trial.cancel_at("open_source_name", name="small.txt")
    result = trial.run(count, **options)
    assert rule.fired == 1
    assert [each.files_ok for each in result.destinations] == [2] * count
    trial.system.heal()
    return result


def _inodes(trial: TreeTrial, count: int = 2) -> dict[tuple[int, str], int]:
    return {(number, name): trial.copy(number, name).stat().st_ino for number in range(count) for name in _DONE}


def _reads(trial: TreeTrial) -> list[int]:
    return [trial.reads_of(name) for name in _NAMES]


# -- going on where a run was stopped ---------------------------------------------------------------------------


def test_stopped_run_leaves_a_record_of_what_is_done(trial: TreeTrial) -> None:
    _interrupt(trial)
    for number in range(2):
        found = _recorded(trial, number)
        assert [record.path for _, record in found] == [f"{CARD}/{name}" for name in _DONE]
        assert {proof for proof, _ in found} == {Proof(State.VERIFIED, ReadBack.EVICTED, ("xxh64be",))}
        assert found[1][1].digests == ("ef46db3751d8e999",)


def test_what_the_record_holds_is_told_of_beside_the_files_of_the_run(trial: TreeTrial) -> None:
    _interrupt(trial)
    trial.run(2)
    told = {event.path: event for event in trial.events if isinstance(event, AmendedEvent)}
    assert sorted(told) == sorted(_DONE)
    assert [event.path for event in trial.events if isinstance(event, FileEvent)] == ["sub/small.txt"]
    for name, event in told.items():
        assert len(event.hashes["xxh64be"]) == 16
        assert [(each.location, each.state, each.read_back) for each in event.destinations] == [
            (str(trial.copy(number, name)), State.VERIFIED, ReadBack.EVICTED) for number in range(2)
        ]


def test_next_run_copies_what_is_missing_and_nothing_again(trial: TreeTrial) -> None:
    _interrupt(trial)
    inodes = _inodes(trial)
    result = trial.run(2)
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)
    assert [(each.state, each.files_ok, each.bytes_ok) for each in result.destinations] == [
        (State.VERIFIED, 3, 20_100)
    ] * 2
    assert _inodes(trial) == inodes
    assert _reads(trial) == [0, 0, 1]
    assert not [path for call, path in trial.calls_of(0, "read", "write") if "59de972a0c" in path]


def test_run_may_be_stopped_again_and_again(trial: TreeTrial) -> None:
    for name in _NAMES:
        rule = trial.cancel_at("flush", 0, name=name.rsplit("/", 1)[-1])
        result = trial.run(1)
        trial.system.heal()
        assert rule.fired == 1
        assert not result.success or name == _NAMES[-1]
    result = trial.run(1)
    assert result.exit_code == 0
    trial.require_good(result, 0)


def test_what_one_destination_lacks_is_copied_to_that_one_alone(trial: TreeTrial) -> None:
    rule = trial.fail("write", errno.EIO, 1, name="clip.mov")
    first = trial.run(2)
    assert rule.fired == 1
    assert first.exit_code == 3
    assert not _record(trial, 0).exists()  # complete: nothing to be remembered
    assert [record.path for _, record in _recorded(trial, 1)] == [f"{CARD}/empty.txt", f"{CARD}/sub/small.txt"]
    inode = trial.copy(0, "clip.mov").stat().st_ino
    result = trial.run_again(2)
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)
    assert trial.copy(0, "clip.mov").stat().st_ino == inode
    assert trial.states("clip.mov") == [State.IDENTICAL, State.VERIFIED]


def test_record_goes_when_everything_is_done(trial: TreeTrial) -> None:
    _interrupt(trial)
    assert _record(trial, 0).exists()
    assert trial.run(2).exit_code == 0
    assert not _record(trial, 0).exists()
    trial.require_no_partials()


def test_record_in_which_there_is_nothing_is_not_left(trial: TreeTrial) -> None:
    rule = trial.cancel_at("open_source_name", name="clip.mov")
    trial.run(2)
    assert rule.fired == 1
    trial.require_no_partials()


def test_record_is_ignored_on_request(trial: TreeTrial) -> None:
    _interrupt(trial)
    inodes = _inodes(trial)
    result = trial.run(2, resume=False)
    assert result.exit_code == 0
    assert _reads(trial) == [1, 1, 1]
    assert trial.states("clip.mov") == [State.IDENTICAL] * 2
    assert _inodes(trial) == inodes
    trial.require_no_partials()


def test_record_is_of_one_card_alone(trial: TreeTrial) -> None:
    _interrupt(trial)
    before = _record(trial, 0).read_bytes()
    other = trial.root / "src" / "OTHER"
    other.mkdir()
    (other / "x").write_bytes(b"x")
    assert trial.run(2, sources=[str(other)]).exit_code == 0
    assert _record(trial, 0).read_bytes() == before
    assert trial.run(2).exit_code == 0
    assert _reads(trial) == [0, 0, 1]


def test_copy_under_another_name_is_remembered_by_that_name(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", b"another take")
    _interrupt(trial, 1, on_conflict=Conflict.RENAME)
    assert {record.name for _, record in _recorded(trial, 0)} == {"clip 2.mov", ""}
    inode = trial.copy(0, "clip 2.mov").stat().st_ino
    result = trial.run(1, on_conflict=Conflict.RENAME)
    assert result.exit_code == 0
    assert _reads(trial) == [0, 0, 1]
    assert trial.copy(0, "clip 2.mov").stat().st_ino == inode


def test_names_that_are_no_text_are_remembered(tmp_path: Path) -> None:
    name = os.fsdecode(b"a \xff\n\x1b.mov")
    trial = TreeTrial(tmp_path, {name: 10, "sub/small.txt": 10}, strategy=Strategy.SINGLE)
    rule = trial.cancel_at("open_source_name", name="small.txt")
    trial.run(1)
    assert rule.fired == 1
    trial.system.heal()
    assert trial.run(1).exit_code == 0
    assert trial.reads_of(name) == 0


def test_files_behind_links_are_remembered_where_links_are_followed(trial: TreeTrial) -> None:
    (trial.card / "clip.mov").rename(trial.root / "src" / "elsewhere")
    (trial.card / "clip.mov").symlink_to("../elsewhere")
    _interrupt(trial, symlinks=Symlinks.FOLLOW)
    assert trial.run(2, symlinks=Symlinks.FOLLOW).exit_code == 0
    assert _reads(trial) == [0, 0, 1]


def test_content_of_a_folder_is_remembered_as_well(trial: TreeTrial) -> None:
    """``CARD/``: what is in it goes straight into the destination."""
    rule = trial.cancel_at("open_source_name", name="small.txt")
    trial.run(1, sources=[f"{trial.card}/"])
    assert rule.fired == 1
    trial.system.heal()
    assert (trial.root / "d0" / journal_name(".")).exists()
    assert trial.run(1, sources=[f"{trial.card}/"]).exit_code == 0
    assert _reads(trial) == [0, 0, 1]
    assert trial.names(0) == sorted(_NAMES)


# -- what is not true any more ----------------------------------------------------------------------------------


def _require_compared(trial: TreeTrial, **options: Any) -> None:
    """The first file is read again, and found identical where it is."""
    result = trial.run(2, **options)
    assert result.exit_code == 0
    assert _reads(trial)[0] == 1
    assert State.IDENTICAL in trial.states("clip.mov")
    trial.require_no_partials()


def test_copy_with_another_time_is_compared(trial: TreeTrial) -> None:
    _interrupt(trial)
    os.utime(trial.copy(0, "clip.mov"), ns=(1, 1))
    _require_compared(trial)


def test_copy_that_has_gone_is_copied_again(trial: TreeTrial) -> None:
    _interrupt(trial)
    trial.copy(0, "clip.mov").unlink()
    result = trial.run(2)
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)
    assert trial.states("clip.mov") == [State.VERIFIED]


@pytest.mark.parametrize("what", ["longer", "shorter"])
def test_copy_of_another_size_is_a_conflict_and_no_success(what: str, trial: TreeTrial) -> None:
    _interrupt(trial)
    copy = trial.copy(0, "clip.mov")
    mtime_ns = copy.stat().st_mtime_ns
    os.truncate(copy, 30_000 if what == "longer" else 10)
    os.utime(copy, ns=(mtime_ns, mtime_ns))
    result = trial.run(2)
    assert result.exit_code == 3
    assert result.destinations[0].state is State.FAILED
    assert _reads(trial)[0] >= 1


@pytest.mark.parametrize("what", ["link", "folder", "FIFO"])
def test_copy_in_whose_place_something_else_is_does_not_count(what: str, trial: TreeTrial) -> None:
    _interrupt(trial)
    copy = trial.copy(0, "clip.mov")
    copy.rename(trial.root / "aside")
    if what == "link":
        copy.symlink_to(trial.root / "aside")
    elif what == "folder":
        copy.mkdir()
    else:
        os.mkfifo(copy)
    result = trial.run_within(10, 2)
    assert not result.destinations[0].success
    assert result.exit_code == 3


def test_source_with_another_time_is_compared(trial: TreeTrial) -> None:
    _interrupt(trial)
    os.utime(trial.card / "clip.mov", ns=(1, 1))
    _require_compared(trial)


def test_source_with_other_content_is_not_taken_for_the_old_one(trial: TreeTrial) -> None:
    _interrupt(trial)
    (trial.card / "clip.mov").write_bytes(bytes(20_000))
    result = trial.run(2)
    assert result.exit_code == 3
    assert trial.states("clip.mov") == [State.FAILED] * 2
    assert trial.copy(0, "clip.mov").read_bytes() == trial.files["clip.mov"]


def test_source_that_is_a_link_now_is_not_taken_for_the_file(trial: TreeTrial) -> None:
    _interrupt(trial, 1)
    (trial.card / "clip.mov").unlink()
    (trial.card / "clip.mov").symlink_to("empty.txt")
    assert trial.run(1).exit_code == 3


@pytest.mark.parametrize(
    ("step_ns", "off_ns"),
    [(2 * _S, 0), (10_000_000, 0), (_S, _S)],
    ids=["as FAT counts", "as exFAT counts", "as HFS+ counts, rounded up"],
)
def test_time_that_the_file_system_counts_coarsely_is_believed(step_ns: int, off_ns: int, trial: TreeTrial) -> None:
    _interrupt(trial)
    for number in range(2):
        for name in _DONE:
            copy = trial.copy(number, name)
            coarse = copy.stat().st_mtime_ns // step_ns * step_ns + off_ns
            os.utime(copy, ns=(coarse, coarse))
    result = trial.run(2)
    assert result.exit_code == 0
    assert _reads(trial) == [0, 0, 1]


@pytest.mark.parametrize("off_ns", [1, 500_000_001, 3 * _S, -3 * _S, 3600 * _S])
def test_time_that_is_off_by_more_or_is_counted_finely_is_not_believed(off_ns: int, trial: TreeTrial) -> None:
    _interrupt(trial)
    copy = trial.copy(0, "clip.mov")
    whole = copy.stat().st_mtime_ns // _S * _S
    os.utime(copy, ns=(whole + off_ns, whole + off_ns))
    _require_compared(trial)


# -- what was proven then is not what is asked for now ----------------------------------------------------------


@pytest.mark.parametrize("hashes", [("md5",), ("xxh64be", "md5"), ("md5", "xxh64be")])
def test_other_digests_than_the_record_has_are_taken_anew(hashes: tuple[str, ...], trial: TreeTrial) -> None:
    _interrupt(trial)
    _require_compared(trial, hashes=hashes)


def test_copies_that_were_not_read_back_then_are_read_back_when_that_is_asked_for_now(trial: TreeTrial) -> None:
    _interrupt(trial, verify=Verify.NONE)
    assert {proof.state for proof, _ in _recorded(trial, 0)} == {State.COPIED}
    _require_compared(trial)
    result = trial.run(2)
    assert {each.state for each in result.destinations} == {State.IDENTICAL}


def test_copies_that_were_verified_then_are_enough_where_less_is_asked_for_now(trial: TreeTrial) -> None:
    _interrupt(trial)
    result = trial.run(2, verify=Verify.NONE)
    assert result.exit_code == 0
    assert _reads(trial) == [0, 0, 1]


def test_copies_that_were_not_forced_then_are_read_back_when_they_are_forced_now(trial: TreeTrial) -> None:
    label = trial.label(0)
    _interrupt(trial, no_flush={label})
    result = trial.run(2)
    assert result.exit_code == 0
    assert _reads(trial)[0] == 1
    assert trial.states("clip.mov") == [State.IDENTICAL]


def test_copies_that_were_not_flushed_then_are_flushed_when_that_is_asked_for_now(trial: TreeTrial) -> None:
    _interrupt(trial, 1, no_flush={trial.label(0)}, verify=Verify.NONE)
    flushed_before = [name for _, name in trial.calls_of(0, "flush")]
    assert flushed_before == []
    assert trial.run(1, verify=Verify.NONE).exit_code == 0
    assert _reads(trial)[0] == 1


def test_files_that_were_identical_in_the_cache_are_read_from_the_medium_when_that_is_asked_for_now(
    trial: TreeTrial,
) -> None:
    for number in range(2):
        trial.occupy(number, "clip.mov", trial.files["clip.mov"], (trial.card / "clip.mov").stat().st_mtime_ns)
    _interrupt(trial, verify=Verify.NONE)
    assert trial.run(2).exit_code == 0
    assert _reads(trial)[0] == 1


def test_files_that_were_judged_quickly_then_are_compared_when_that_is_asked_for_now(trial: TreeTrial) -> None:
    """The first run took a file of the right size and time for identical; the second one is to compare content."""
    there = trial.occupy(1, "clip.mov", bytes(20_000), (trial.card / "clip.mov").stat().st_mtime_ns)
    _interrupt(trial, quick_check=True)
    result = trial.run(2)
    assert there.read_bytes() == bytes(20_000)
    assert result.destinations[1].state is State.FAILED
    assert result.exit_code == 3


@pytest.mark.parametrize("way", [VerifySource.PER_FILE, VerifySource.AFTER_ALL])
def test_source_that_was_not_proven_then_is_proven_when_that_is_asked_for_now(
    way: VerifySource, trial: TreeTrial
) -> None:
    _interrupt(trial)
    assert trial.run(2, verify_source=way).exit_code == 0
    assert _reads(trial)[0] >= 1


# -- distrust -------------------------------------------------------------------------------------------------


def _require_doubted(trial: TreeTrial, words: str) -> None:
    _require_compared(trial)
    (notice,) = [notice for notice in trial.notices(WarningEvent) if notice.operation == "resume"]
    assert words in notice.message
    assert notice.destination == trial.label(0)


@pytest.mark.fault(87)
def test_record_that_others_could_write_to_is_not_believed(trial: TreeTrial) -> None:
    _interrupt(trial)
    _record(trial, 0).chmod(0o666)
    _require_doubted(trial, "others could write to it")


@pytest.mark.fault(79, 87)
@pytest.mark.parametrize("what", ["link", "FIFO"])
def test_what_was_planted_at_the_name_of_the_record_is_neither_followed_nor_waited_for(
    what: str, trial: TreeTrial
) -> None:
    _interrupt(trial)
    outside = trial.root / "outside"
    _record(trial, 0).rename(outside)
    before = outside.read_bytes()
    if what == "link":
        _record(trial, 0).symlink_to(outside)
    else:
        os.mkfifo(_record(trial, 0))
    _require_doubted(trial, "is not used")
    assert outside.read_bytes() == before


@pytest.mark.parametrize("call", ["open_name", "status_of_file", "read"])
def test_record_that_cannot_be_read_is_a_warning(call: str, trial: TreeTrial) -> None:
    _interrupt(trial)
    rule = trial.system.fail(call, errno.EIO, where=f"/d0/{journal_name(CARD)}")
    _require_doubted(trial, "Input/output error")
    assert rule.fired == 1


def _plant(trial: TreeTrial, *records: Record, number: int = 0) -> None:
    """A record whose checksums are right, with whatever it says."""
    path = _record(trial, number)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_records(Proof(State.VERIFIED, ReadBack.DIRECT, ("xxh64be",)), records))
    path.chmod(0o600)


@pytest.mark.fault(87)
@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        f"{CARD}/../../outside",
        "/etc/passwd",
        "",
        "clip.mov",
        f"{CARD}",
        f"{CARD}//clip.mov",
        f"{CARD}/\0",
    ],
)
def test_path_that_the_run_does_not_have_is_ignored(path: str, trial: TreeTrial) -> None:
    outside = trial.root / "outside"
    outside.write_bytes(b"x")
    mtime_ns = outside.stat().st_mtime_ns
    _plant(trial, Record(path, 1, mtime_ns, ("0" * 16,)), Record(path, 20_000, mtime_ns, ("0" * 16,)))
    result = trial.run(1)
    assert result.exit_code == 0
    trial.require_good(result, 0)
    assert _reads(trial) == [1, 1, 1]
    assert not [each for call, each in trial.system.calls if "outside" in each or each == "/etc/passwd"]


@pytest.mark.fault(87)
@pytest.mark.parametrize("name", ["../../outside", "/outside", "sub/../../../outside"])
def test_name_in_a_record_that_leads_out_of_its_folder_is_ignored(name: str, trial: TreeTrial) -> None:
    """A file elsewhere of the right size and time is no copy."""
    mtime_ns = (trial.card / "clip.mov").stat().st_mtime_ns
    outside = trial.root / "outside"
    outside.write_bytes(bytes(20_000))
    os.utime(outside, ns=(mtime_ns, mtime_ns))
    name = str(outside) if name == "/outside" else name
    trial.copy(0, "sub").mkdir(parents=True)
    _plant(trial, Record(f"{CARD}/clip.mov", 20_000, mtime_ns, ("0" * 16,), name))
    trial.run(1)
    assert trial.copy(0, "clip.mov").exists()


@pytest.mark.fault(87)
def test_record_of_files_that_are_not_there_proves_nothing(trial: TreeTrial) -> None:
    mtime_ns = (trial.card / "clip.mov").stat().st_mtime_ns
    _plant(trial, Record(f"{CARD}/clip.mov", 20_000, mtime_ns, ("0" * 16,)))
    result = trial.run(1)
    trial.require_good(result, 0)
    assert _reads(trial) == [1, 1, 1]


@pytest.mark.fault(80, 87)
def test_record_is_not_believed_through_a_planted_folder(trial: TreeTrial) -> None:
    mtime_ns = (trial.card / "sub/small.txt").stat().st_mtime_ns
    outside = trial.root / "outside"
    outside.mkdir()
    (outside / "small.txt").write_bytes(trial.files["sub/small.txt"])
    os.utime(outside / "small.txt", ns=(mtime_ns, mtime_ns))
    trial.copy(0).mkdir(parents=True)
    trial.copy(0, "sub").symlink_to(outside)
    _plant(trial, Record(f"{CARD}/sub/small.txt", 100, mtime_ns, ("0" * 16,)))
    result = trial.run(1)
    assert result.exit_code == 3
    assert result.destinations[0].state is State.FAILED


# -- writing the record -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL])
def test_line_is_written_only_after_files_and_folders_are_durable(strategy: Strategy, trial: TreeTrial) -> None:
    before: dict[str, list[tuple[str, str]]] = {}

    def look(real: Callable[[], int], fd: int, data: memoryview) -> int:
        fields = json.loads(bytes(data).split(b" ", 1)[1])
        for path, *_ in fields.get("files", []):
            before[path] = list(trial.system.calls)
        return real()

    rule = trial.system.rule("write", look, where=f"/d0/{temporary_stem(journal_name(CARD))}", times=None)
    trial.run(1, strategy=strategy)
    assert rule.fired >= 2
    assert sorted(before) == sorted(f"{CARD}/{name}" for name in _NAMES)
    for path, calls in before.items():
        folder, name = os.path.split(f"{trial.label(0)}/{path}")
        mine = f"{folder}/{temporary_stem(name)}"
        flushed = next(at for at, (call, each) in enumerate(calls) if call == "flush" and each.startswith(mine))
        renamed = next(
            at for at, (call, each) in enumerate(calls) if call == "rename_to_free_name" and each.startswith(mine)
        )
        settled = [at for at, (call, each) in enumerate(calls) if call == "flush_folder" and each.rstrip("/") == folder]
        assert flushed < renamed < max(settled)


def test_every_line_is_flushed_before_the_next_one_is_written(trial: TreeTrial) -> None:
    trial.run(1)
    record = f"/d0/{temporary_stem(journal_name(CARD))}"
    calls = [call for call, path in trial.system.calls if record in path and call in ("write", "flush")]
    assert calls == ["write", "flush"] * 4


def test_unforced_record_is_not_flushed(trial: TreeTrial) -> None:
    trial.run(1, no_flush={trial.label(0)})
    assert not [path for call, path in trial.system.calls if call == "flush" and "/d0/" in path]


def _fail_the_record(trial: TreeTrial, call: str, nth: int = 1, times: int | None = None) -> Any:
    where = f"/d1/{temporary_stem(journal_name(CARD))}"
    return trial.system.fail(call, errno.ENOSPC, where=where, nth=nth, times=times)


@pytest.mark.parametrize("call", ["write", "flush"])
def test_record_that_cannot_be_gone_on_with_is_a_warning_and_the_copies_go_on(call: str, trial: TreeTrial) -> None:
    rule = _fail_the_record(trial, call, nth=2)
    result = trial.run(2)
    assert rule.fired >= 1
    assert result.exit_code == 0
    assert [each.state for each in result.destinations] == [State.VERIFIED] * 2
    for number in range(2):
        trial.require_copied(number)
    (notice,) = trial.notices(WarningEvent)
    assert (notice.operation, notice.destination) == ("write the record", trial.label(1))
    assert "The copies are not affected" in notice.message


def test_record_that_could_not_be_gone_on_with_is_removed_at_the_end(trial: TreeTrial) -> None:
    rule = _fail_the_record(trial, "write", nth=2)
    result = trial.run(2)
    assert rule.fired >= 1
    assert result.exit_code == 0
    left = _record(trial, 1).exists()
    for path in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(path)
        except OSError:
            continue
        if name.startswith(str(_record(trial, 1))):
            os.close(int(path.name))
            left = True
    _record(trial, 1).unlink(missing_ok=True)
    assert not left


def test_run_that_is_stopped_after_its_record_failed_can_be_gone_on_with(trial: TreeTrial) -> None:
    rule = _fail_the_record(trial, "write", nth=3)
    cancel = trial.cancel_at("open_source_name", name="small.txt")
    trial.run(2)
    assert (rule.fired >= 1, cancel.fired) == (True, 1)
    result = trial.run_again(2)
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)


@pytest.mark.parametrize("call", ["write", "flush", "replace_name"])
def test_record_that_cannot_be_begun_is_a_warning_and_the_copies_go_on(call: str, trial: TreeTrial) -> None:
    """As on a full disk on which everything is already."""
    rule = _fail_the_record(trial, call)
    result = trial.run(2)
    assert rule.fired == 1
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)


@pytest.mark.parametrize("call", ["write", "flush", "replace_name"])
def test_record_that_cannot_be_begun_leaves_nothing_and_costs_no_other_destination(call: str, trial: TreeTrial) -> None:
    rule = _fail_the_record(trial, call)
    result = trial.run(3)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    trial.require_no_partials()


@pytest.mark.fault(27)
@pytest.mark.leaks
def test_destination_that_hangs_while_its_record_is_written_is_given_up(trial: TreeTrial) -> None:
    def hang(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.release.wait()
        return real()

    where = f"/d1/{temporary_stem(journal_name(CARD))}"
    rule = trial.system.rule("flush", hang, where=where, nth=2, times=None)
    result = trial.run_within(8, stall_timeout_s=0.2)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.FAILED
    assert trial.offload is not None
    assert trial.offload.has_given_up


# -- one run at a time ------------------------------------------------------------------------------------------

_OWNER = "process 4711 on cart, since 2026-01-02 03:04:05"


class _Held:
    """A lock as another run holds it."""

    def __init__(self, folder: Path, name: str = CARD) -> None:
        folder.mkdir(exist_ok=True)
        self.system = native_system()
        self.folder = self.system.open_folder(str(folder))
        self.lock = FileLock.acquire(self.system, self.folder, name, _OWNER)

    def release(self) -> None:
        self.lock.release()
        self.system.close_folder(self.folder)


@pytest.mark.fault(56)
def test_second_run_is_refused_and_told_who_has_the_folder(trial: TreeTrial) -> None:
    refusals: list[RefusedError] = []

    def run_another(real: Callable[[], Any], *arguments: Any) -> Any:
        with pytest.raises(RefusedError) as caught:
            TreeOffload(
                [str(trial.card)],
                [trial.label(0), f"{trial.root}/elsewhere"],
                CopyOptions(),
                observer=lambda event: None,
                cancel=threading.Event(),
                system=TreeSystem(),
            ).run()
        refusals.append(caught.value)
        return real()

    rule = trial.rule("write", run_another, 0, name="clip.mov")
    result = trial.run(2)
    assert rule.fired == 1
    trial.require_good(result, 0, 1)  # the first one is none the worse for it
    (refusal,) = refusals
    assert (refusal.exit_code, refusal.operation, refusal.path) == (2, "lock", trial.label(0))
    assert f"process {os.getpid()} on " in str(refusal)
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", str(refusal))
    assert "nothing was written" in str(refusal)
    assert not (trial.root / "elsewhere").exists()


@pytest.mark.fault(56)
def test_refused_run_leaves_nothing_on_the_other_destinations(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d1")
    with pytest.raises(RefusedError, match=_OWNER):
        trial.run(3)
    held.release()
    assert [trial.names(number) for number in range(3)] == [[], [], []]


def test_other_cards_may_go_into_the_same_folder_at_once(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d0", "OTHER")
    result = trial.run(1)
    assert result.exit_code == 0
    held.release()


def test_folder_that_content_goes_straight_into_is_locked_as_such(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d0", ".")
    with pytest.raises(RefusedError, match=_OWNER):
        trial.run(1, sources=[f"{trial.card}/"])
    held.release()


def test_every_one_of_several_sources_is_locked(trial: TreeTrial) -> None:
    other = trial.root / "src" / "lone.mov"
    other.write_bytes(b"x")
    held = _Held(trial.root / "d0", "lone.mov")
    with pytest.raises(RefusedError, match=_OWNER):
        trial.run(1, sources=[str(trial.card), str(other)])
    held.release()
    trial.require_no_partials()


@pytest.mark.fault(56)
def test_lock_is_waited_for_on_request(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d0")
    timer = threading.Timer(0.3, held.release)
    begin = monotonic()
    timer.start()
    result = trial.run(2, lock_wait_s=10)
    timer.join()
    assert 0.3 <= monotonic() - begin < 5
    assert result.exit_code == 0
    trial.require_good(result, 0, 1)


@pytest.mark.parametrize("strategy", [Strategy.BATCH, Strategy.SINGLE])
def test_what_the_other_run_has_copied_meanwhile_is_not_copied_again(strategy: Strategy, trial: TreeTrial) -> None:
    """When this one looked, before it waited, nothing was there."""
    held = _Held(trial.root / "d0")

    def finish() -> None:
        shutil.copytree(trial.card, trial.copy(0))
        held.release()

    timer = threading.Timer(0.3, finish)
    timer.start()
    result = trial.run(1, lock_wait_s=10, strategy=strategy)
    timer.join()
    assert result.exit_code == 0
    assert [trial.states(name) for name in _NAMES] == [[State.IDENTICAL]] * 3
    trial.require_good(result, 0)


@pytest.mark.fault(56)
def test_lock_is_waited_for_no_longer_than_was_asked(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d0")
    begin = monotonic()
    with pytest.raises(RefusedError, match=_OWNER):
        trial.run(1, lock_wait_s=0.3)
    assert 0.3 <= monotonic() - begin < 5
    held.release()


def test_waiting_for_a_lock_is_no_hang(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d0")
    timer = threading.Timer(0.6, held.release)
    timer.start()
    result = trial.run(1, lock_wait_s=10, stall_timeout_s=0.2)
    timer.join()
    assert result.exit_code == 0


def test_cancel_ends_the_waiting_for_a_lock(trial: TreeTrial) -> None:
    held = _Held(trial.root / "d0")
    timer = threading.Timer(0.2, trial.cancel.set)
    timer.start()
    begin = monotonic()
    with pytest.raises(RefusedError):
        trial.run_within(10, 1, lock_wait_s=60)
    timer.join()
    assert monotonic() - begin < 5
    held.release()
    assert trial.names(0) == []


@pytest.mark.fault(57)
def test_lock_of_a_dead_run_blocks_nobody(trial: TreeTrial) -> None:
    (trial.root / "d0").mkdir()
    pid = os.fork()
    if pid == 0:
        try:
            _Held(trial.root / "d0")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert (trial.root / "d0" / lock_name(CARD)).read_text() == _OWNER
    result = trial.run(1)
    assert result.exit_code == 0
    trial.require_good(result, 0)


@pytest.mark.fault(17)
def test_lock_is_given_up_when_there_is_no_memory_to_remove_the_record(
    trial: TreeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: list[str] = []

    def fail(journal: Journal) -> None:
        journal.close()
        fired.append(journal.name)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", fail)
        trial.run(1)
    assert fired == [journal_name(CARD)]
    assert not (trial.root / "d0" / lock_name(CARD)).exists()
    assert trial.run_again(1).exit_code == 0


def test_lock_names_this_run_while_it_goes_on_and_is_gone_afterwards(trial: TreeTrial) -> None:
    seen: list[str] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append((trial.root / "d0" / lock_name(CARD)).read_text())
        return real()

    trial.rule("write", look, 0, name="clip.mov")
    trial.run(1)
    assert len(seen) == 1
    assert seen[0].startswith(f"process {os.getpid()} on ")
    trial.require_no_partials()


@pytest.mark.fault(1)
def test_full_disk_takes_a_lock_without_its_owner(trial: TreeTrial) -> None:
    rule = trial.system.fail("write", errno.ENOSPC, where=lock_name(CARD))
    result = trial.run(1)
    assert rule.fired == 1
    assert result.exit_code == 0


def test_lock_that_cannot_be_made_costs_that_destination(trial: TreeTrial) -> None:
    rule = trial.system.fail("open_name", errno.EACCES, where=f"/d1/{lock_name(CARD)}")
    result = trial.run(3)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.exit_code) == (State.FAILED, 3)
    assert trial.names(1) == []


@pytest.mark.fault(79, 87)
def test_planted_fifo_at_the_name_of_the_lock_is_not_waited_for(trial: TreeTrial) -> None:
    (trial.root / "d0").mkdir()
    fifo = trial.root / "d0" / lock_name(CARD)
    os.mkfifo(fifo)
    with pytest.raises(RefusedError, match="no regular file"):
        trial.run_within(10, 1)
    fifo.unlink()
    trial.require_no_partials()


# -- sweeping ---------------------------------------------------------------------------------------------------


def _stale(trial: TreeTrial, name: str, number: int = 0) -> Path:
    folder, last = os.path.split(name)
    return trial.occupy(number, os.path.join(folder, f"{temporary_stem(last)}0badc0de.partial"), b"half a copy")


@pytest.mark.fault(57)
def test_temporary_files_of_a_dead_run_are_swept(trial: TreeTrial) -> None:
    stale = [_stale(trial, name) for name in _NAMES]
    result = trial.run(2)
    assert result.exit_code == 0
    assert not any(path.exists() for path in stale)
    trial.require_good(result, 0, 1)


def test_temporary_files_of_other_files_are_not_touched(trial: TreeTrial) -> None:
    other = _stale(trial, "a file that this card does not have")
    own = _stale(trial, "clip.mov")
    elsewhere = trial.root / "d0" / f"{temporary_stem('clip.mov')}0badc0de.partial"
    elsewhere.write_bytes(b"of a run that copies clip.mov alone")
    trial.run(1)
    assert not own.exists()
    assert other.exists()
    assert elsewhere.exists()
    other.unlink()
    elsewhere.unlink()


def test_temporary_file_of_a_file_that_another_run_copies_alone_is_not_touched(trial: TreeTrial) -> None:
    trial.copy(0).mkdir(parents=True)
    held = _Held(trial.copy(0), "clip.mov")
    theirs = _stale(trial, "clip.mov")
    trial.run(1)
    assert theirs.exists()
    theirs.unlink()
    held.release()


def test_nothing_is_swept_where_there_are_no_locks(trial: TreeTrial) -> None:
    rule = trial.system.rule("lock", lambda real, fd: None, times=None)
    stale = _stale(trial, "clip.mov")
    result = trial.run(1)
    assert rule.fired >= 1
    assert result.exit_code == 0
    trial.require_copied(0)
    assert stale.exists()
    stale.unlink()
    trial.require_no_partials()


@pytest.mark.fault(57)
@pytest.mark.parametrize("name", [".", journal_name(CARD)])
def test_own_small_files_of_a_killed_run_are_swept(name: str, trial: TreeTrial) -> None:
    (trial.root / "d0").mkdir()
    left = trial.root / "d0" / f"{temporary_stem(name)}0badc0de.partial"
    left.write_bytes(b"")
    result = trial.run(1)
    is_left = left.exists()
    left.unlink(missing_ok=True)
    assert result.exit_code == 0
    assert not is_left


def test_stale_file_that_cannot_be_removed_is_no_failure(trial: TreeTrial) -> None:
    stale = _stale(trial, "clip.mov")
    rule = trial.system.fail("remove_name", errno.EPERM, where=stale.name)
    result = trial.run(1)
    assert rule.fired == 1
    assert result.exit_code == 0
    stale.unlink()


# -- folders that were made -------------------------------------------------------------------------------------


def _offload(trial: TreeTrial, *destinations: str, **options: Any) -> TreeResult:
    return TreeOffload(
        [str(trial.card)],
        destinations,
        CopyOptions(**{**trial.options, **options}),
        observer=trial.events.append,
        cancel=trial.cancel,
        system=trial.system,
    ).run()


def test_missing_folders_are_made(trial: TreeTrial) -> None:
    result = _offload(trial, f"{trial.root}/new/deep")
    assert result.exit_code == 0
    assert (trial.root / f"new/deep/{CARD}/clip.mov").read_bytes() == trial.files["clip.mov"]


def test_destination_that_got_nothing_leaves_no_folder_that_was_made_for_it(trial: TreeTrial) -> None:
    rule = trial.system.fail("open_name", errno.EACCES, where="/new/", times=None)
    result = _offload(trial, f"{trial.root}/new/deep", trial.label(0))
    assert rule.fired >= 1
    assert result.exit_code == 3
    assert not (trial.root / "new").exists()


def test_run_that_is_cancelled_before_anything_is_written_leaves_no_folder(trial: TreeTrial) -> None:
    def stop(event: object) -> None:
        if isinstance(event, PlanEvent):
            trial.cancel.set()

    trial.events.clear()
    result = TreeOffload(
        [str(trial.card)],
        [f"{trial.root}/new/deep"],
        CopyOptions(**trial.options),
        observer=stop,
        cancel=trial.cancel,
        system=trial.system,
    ).run()
    assert not result.success
    assert result.destinations[0].state is State.CANCELLED
    assert not (trial.root / "new").exists()


@pytest.mark.fault(21)
@pytest.mark.parametrize("call", ["replace_name", "remove_name"])
def test_folder_in_which_names_cannot_be_changed_is_of_no_use(call: str, trial: TreeTrial) -> None:
    """As an append-only one: files can be made, and neither renamed nor removed."""
    (trial.root / "d1").mkdir()
    rule = trial.system.fail(call, errno.EPERM, where=f"/d1/{temporary_stem('.')}")
    result = trial.run(3)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.exit_code) == (State.FAILED, 3)
    assert not trial.copy(1).exists()
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [trial.label(1)]
    for path in (trial.root / "d1").iterdir():
        path.unlink()
