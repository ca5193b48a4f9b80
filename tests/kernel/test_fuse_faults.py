"""The command with a destination, or a source, on a disk that fails on demand."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.disk_rules import Rule
from tests.kernel.injection import CARD, Ended, FaultyDisk, Offload, card, ended, faulty_disk
from tests.support.command import PROGRAM, environment, events_of, run, start
from tests.support.files import make_file, partials

_BYTE = 3_000_000
_SMALL = f"{CARD}/sub/small.txt"
_STALL_S = 1
_STALLING = ("--stall-timeout", str(_STALL_S))
_SLACK_S = 6.0
"""How much later than the stall time the command may end: two patiences of its own, and a busy machine."""


@pytest.fixture
def disk(private_mounts: None, tmp_path: Path) -> Iterator[FaultyDisk]:
    with faulty_disk(tmp_path / "faulty") as disk:
        yield disk


@pytest.fixture(params=[False, True], ids=["file", "folder"])
def offload(request: pytest.FixtureRequest, disk: FaultyDisk, tmp_path: Path) -> Offload:
    """To three destinations, of which the first one is on the disk."""
    return Offload(tmp_path, disk.path, disk.backing, is_folder=request.param)


def _on_partial(offload: Offload, operation: str, action: str, offset: int = _BYTE) -> Rule:
    """A rule for the large file under its temporary name; nothing else there is as long."""
    return Rule(operation, offload.partial, action, offset)


def _on_clip(offload: Offload, action: str) -> tuple[Rule, Rule]:
    return Rule("rename", offload.clip, action), Rule("rename2", offload.clip, action)


def _require_only_the_record(offload: Offload) -> None:
    """Nothing temporary is left on the first destination but, of a folder, the record."""
    assert [name for name in offload.temporary(0) if not name.endswith(".journal.partial")] == []
    assert offload.is_folder or offload.temporary(0) == []


# -- errors of a destination ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("EIO", marks=pytest.mark.fault(6)),
        pytest.param("ENOSPC", marks=pytest.mark.fault(1)),
        pytest.param("EDQUOT", marks=pytest.mark.fault(4)),
        pytest.param("EFBIG", marks=pytest.mark.fault(5)),
        pytest.param("EROFS", marks=pytest.mark.fault(18)),
    ],
)
def test_write_that_fails_at_a_byte_names_it_and_fails_its_destination_only(
    name: str, offload: Offload, disk: FaultyDisk
) -> None:
    disk.fail(_on_partial(offload, "write", name))
    run = offload.run()
    assert disk.fired
    assert run.code == 3
    [error] = run.errors(offload.bad)
    assert (error["operation"], error["errno"]) == ("write", name)
    assert f"at byte {_BYTE}:" in error["message"]
    offload.require_others_complete(run)
    offload.require_only_true_names()
    assert offload.clip not in offload.finals(0)
    _require_only_the_record(offload)
    disk.fail()
    offload.require_next_run_completes()


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        pytest.param("fsync", "flush", marks=pytest.mark.fault(7)),
        pytest.param("flush", "close", marks=pytest.mark.fault(8)),
    ],
)
def test_failed_flush_or_close_is_final(operation: str, told: str, offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(_on_partial(offload, operation, "EIO"))
    run = offload.run()
    assert disk.fired
    assert operation != "fsync" or len(disk.fired) == 1, "a flush that failed was asked again"
    assert run.code == 3
    [error] = run.errors(offload.bad)
    assert (error["operation"], error["errno"]) == (told, "EIO")
    offload.require_others_complete(run)
    offload.require_only_true_names()
    assert offload.clip not in offload.finals(0)
    _require_only_the_record(offload)
    disk.fail()
    offload.require_next_run_completes()


@pytest.mark.fault(9)
@pytest.mark.parametrize("name", ["EIO", "EROFS"])
def test_failed_rename_leaves_an_older_file_as_it_was(name: str, offload: Offload, disk: FaultyDisk) -> None:
    old = disk.backing / offload.clip
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"older")
    disk.fail(*_on_clip(offload, name))
    run = offload.run("--on-conflict", "overwrite")
    assert disk.fired
    assert run.code == 3
    [error] = run.errors(offload.bad)
    assert (error["operation"], error["errno"]) == ("rename", name)
    assert old.read_bytes() == b"older"
    offload.require_others_complete(run)
    _require_only_the_record(offload)
    disk.fail()
    offload.require_next_run_completes("--on-conflict", "overwrite")


@pytest.mark.fault(10)
def test_folder_that_cannot_be_flushed_has_the_copy_but_it_is_not_called_durable(
    offload: Offload, disk: FaultyDisk
) -> None:
    # Of a folder, the record is begun before the copies, and its folder is flushed first.
    disk.fail(Rule("fsyncdir", CARD if offload.is_folder else ".", "EIO"))
    run = offload.run()
    assert disk.fired
    assert run.code == 3
    assert {(each["operation"], each["errno"]) for each in run.errors(offload.bad)} == {("flush the folder", "EIO")}
    offload.require_others_complete(run)
    offload.require_only_true_names()
    assert run.states[0] == "failed"
    kept = {path: (disk.backing / path).stat().st_ino for path in offload.finals(0)}
    assert offload.is_folder or list(kept) == ["clip.mov"]
    disk.fail()
    again = offload.require_next_run_completes()
    assert {path: (disk.backing / path).stat().st_ino for path in kept} == kept, "copied again instead of compared"
    assert offload.is_folder or again.states[0] == "identical"


@pytest.mark.fault(11)
@pytest.mark.parametrize("name", ["EINVAL", "EOPNOTSUPP", "ENOTTY", "ENOENT"])
def test_file_system_that_cannot_flush_folders_is_a_warning(name: str, offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(Rule("fsyncdir", "*", name))
    run = offload.run()
    assert disk.fired
    assert (run.code, run.states) == (0, ["verified"] * 3)
    warnings = [each for each in run.events if each["event"] == "warning" and each["destination"] == offload.bad]
    assert {each["operation"] for each in warnings} == {"flush the folder"}


@pytest.mark.fault(12)
def test_short_writes_are_finished(offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(Rule("write", offload.partial, "short:1000", times=1000))
    run = offload.run()
    assert len(disk.fired) == 1000
    assert (run.code, run.states) == (0, ["verified"] * 3)
    assert offload.finals(0) == offload.files


@pytest.mark.fault(26)
def test_slow_destination_is_waited_for_as_long_as_it_gets_on(offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(Rule("write", offload.partial, "delay:0.5"))
    run = offload.run("--stall-timeout", "2", "-b", "1MiB")
    assert len(disk.fired) >= 5
    assert run.seconds > 2
    assert (run.code, run.states) == (0, ["verified"] * 3)
    assert offload.finals(0) == offload.files


# -- bytes that are wrong on the medium, while the page cache holds the good ones -----------------------------------


@pytest.mark.parametrize(
    ("size", "action"),
    [
        pytest.param("large", "lose", marks=pytest.mark.fault(14)),
        pytest.param("large", "flip", marks=pytest.mark.fault(40)),
        pytest.param("large", "zero:65536", marks=pytest.mark.fault(41)),
        pytest.param("large", "zero:512", marks=pytest.mark.fault(41)),
        pytest.param("large", "shift:512", marks=pytest.mark.fault(41)),
        pytest.param("small", "flip", marks=pytest.mark.fault(40)),
        pytest.param("small", "zero:512", marks=pytest.mark.fault(41)),
        pytest.param("small", "shift:512", marks=pytest.mark.fault(41)),
    ],
)
def test_wrong_bytes_on_the_medium_are_found_although_the_cache_holds_the_good_ones(
    size: str, action: str, disk: FaultyDisk, tmp_path: Path
) -> None:
    offload = Offload(tmp_path, disk.path, disk.backing, is_folder=True)
    name, pattern, offset = offload.clip, offload.partial, _BYTE
    if size == "small":
        name, pattern, offset = _SMALL, f"{CARD}/sub/.pfn.*.partial", 1000
    disk.fail(Rule("write", pattern, action, offset))
    run = offload.run()
    assert len(disk.fired) == 1
    assert run.code == 4
    [error] = run.errors(offload.bad)
    assert error["operation"] == "verify"
    [file] = [each for each in run.events if each["event"] == "file" and name.endswith(each["path"])]
    assert [each["state"] for each in file["destinations"]] == ["mismatch", "verified", "verified"]
    assert {each["read_back"] for each in file["destinations"]} <= {"evicted", "direct"}
    offload.require_others_complete(run)
    offload.require_only_true_names()
    assert name not in offload.finals(0)
    assert offload.finals(0)[f"{name}.corrupt"] != offload.files[name]
    disk.fail()
    offload.require_next_run_completes()


@pytest.mark.fault(14)
def test_write_that_lies_about_a_whole_file_is_found_by_its_size(disk: FaultyDisk, tmp_path: Path) -> None:
    offload = Offload(tmp_path, disk.path, disk.backing, is_folder=True)
    disk.fail(Rule("write", f"{CARD}/sub/.pfn.*.partial", "lose"))
    run = offload.run()
    assert len(disk.fired) == 1
    assert (run.code, run.states[0]) == (3, "failed")
    offload.require_others_complete(run)
    offload.require_only_true_names()
    assert _SMALL not in offload.finals(0)
    disk.fail()
    offload.require_next_run_completes()


@pytest.mark.fault(46)
@pytest.mark.parametrize("action", ["EIO", "flip"])
def test_copy_that_cannot_be_read_back_is_no_copy(action: str, offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(_on_partial(offload, "read", action))
    run = offload.run()
    assert disk.fired
    assert (run.code, run.states[0]) == (4, "mismatch")
    [error] = run.errors(offload.bad)
    assert action != "EIO" or "Input/output error (EIO)" in error["message"]
    offload.require_others_complete(run)
    offload.require_only_true_names()
    assert offload.clip not in offload.finals(0)
    disk.fail()
    offload.require_next_run_completes()


# -- a destination that hangs -----------------------------------------------------------------------------------


def _require_ended_in_time(run: Ended) -> None:
    assert run.seconds < _STALL_S + _SLACK_S, f"{run.seconds:.1f} s for a stall of {_STALL_S} s"


def _require_hung(run: Ended, operation: str) -> None:
    """A thread is stuck in the kernel; from a read through the page cache, and that alone, it can be killed."""
    if operation != "read":
        run.require_hung()


_HANGS_BEFORE_OR_AFTER = frozenset({"read", "statfs", "getattr", "lookup"})
_HANGS = {
    "write": ("partial", "write", "left behind"),
    "fsync": ("partial", "flush", "left behind"),
    "flush": ("partial", "close", ""),
    "setattr": ("partial", "set metadata", "left behind"),
    "create": ("new partial", "create", "may be left behind"),
    "open": ("partial, empty", "create", "may be left behind"),
    "read": ("partial", "read back", ""),
    "rename2": ("clip", "rename", "left behind"),
    "fsyncdir": ("folder", "flush the folder", "is there under its name"),
    "statfs": ("root", "stat", "nothing was written"),
    "getattr": ("root", "stat", "nothing was written"),
    "lookup": ("top", "stat", "nothing was written"),
    "opendir": ("root", "open the folder", "nothing was written"),
    "unlink": ("any", "rename and remove a file", "nothing was written"),
}


def _hang(offload: Offload, operation: str, what: str) -> Rule:
    # Of one file, the probe has been made by then, with a name of the same form, and the lock.
    skip = 2 if what == "new partial" and not offload.is_folder else 0
    pattern, offset = {
        "partial": (offload.partial, _BYTE),
        "new partial": (offload.partial, -1),
        "partial, empty": (offload.partial, -1),
        "clip": (offload.clip, -1),
        "folder": (CARD if offload.is_folder else ".", -1),
        "root": (".", -1),
        "top": (CARD if offload.is_folder else "clip.mov", -1),
        "any": ("*", -1),
    }[what]
    return Rule(operation, pattern, "hang", offset, skip)


@pytest.mark.parametrize(
    "operation",
    [
        *(pytest.param(each, marks=pytest.mark.fault(27)) for each in _HANGS if each not in _HANGS_BEFORE_OR_AFTER),
        *(pytest.param(each, marks=pytest.mark.fault(28)) for each in _HANGS if each in _HANGS_BEFORE_OR_AFTER),
    ],
)
def test_hung_destination_costs_the_stall_time_and_neither_the_others_nor_the_pipe_are_held(
    operation: str, offload: Offload, disk: FaultyDisk
) -> None:
    what, told, left = _HANGS[operation]
    if operation == "lookup" and offload.is_folder:
        (disk.backing / CARD).mkdir()
    disk.fail(_hang(offload, operation, what))
    run = offload.run(*_STALLING)  # ends when nobody holds its output any more
    assert disk.fired
    _require_hung(run, operation)
    _require_ended_in_time(run)
    assert run.code == 3
    errors = run.errors(offload.bad)
    # Of a folder, another file may be on its way at the same time, and wait for the same thing.
    assert told in [each["operation"] for each in errors]
    assert all(f"it hangs: nothing finished for {_STALL_S} s" in each["message"] for each in errors)
    assert {each["errno"] for each in errors} == {None}
    offload.require_others_complete(run)
    offload.require_only_true_names()
    if not offload.is_folder:
        assert left in errors[0]["message"].lower()
        assert ("clip.mov" in offload.finals(0)) == (operation == "fsyncdir")
    disk.fail()
    run.require_gone()
    offload.require_only_true_names()
    offload.require_next_run_completes()


@pytest.mark.fault(27)
@pytest.mark.parametrize("operation", ["create", "write", "fsync", "flush", "read", "rename2"])
def test_hang_in_a_small_file_costs_the_stall_time(operation: str, disk: FaultyDisk, tmp_path: Path) -> None:
    offload = Offload(tmp_path, disk.path, disk.backing, is_folder=True)
    disk.fail(Rule(operation, f"{CARD}/sub/*", "hang"))
    run = offload.run(*_STALLING)
    assert disk.fired
    _require_hung(run, operation)
    _require_ended_in_time(run)
    assert run.code == 3
    assert "it hangs" in run.errors(offload.bad)[0]["message"]
    offload.require_others_complete(run)
    offload.require_only_true_names()
    disk.fail()
    run.require_gone()
    offload.require_next_run_completes()


@pytest.mark.fault(27)
@pytest.mark.parametrize("operation", ["open", "read", "fsync"])
def test_hang_in_a_file_that_is_there_already_costs_the_stall_time(
    operation: str, offload: Offload, disk: FaultyDisk
) -> None:
    make_file(disk.backing / offload.clip, len(offload.files[offload.clip]), seed=99)
    disk.fail(Rule(operation, offload.clip, "hang"))
    run = offload.run(*_STALLING)
    assert disk.fired
    _require_hung(run, operation)
    _require_ended_in_time(run)
    assert run.code == 3
    assert "it hangs" in run.errors(offload.bad)[0]["message"]
    offload.require_others_complete(run)
    disk.fail()
    run.require_gone()
    offload.require_next_run_completes("--on-conflict", "overwrite")


@pytest.mark.fault(27)
@pytest.mark.parametrize("mode", ["folder", "everything"])
def test_disk_that_hangs_in_everything_at_once_is_given_up(mode: str, disk: FaultyDisk, tmp_path: Path) -> None:
    offload = Offload(tmp_path, disk.path, disk.backing, is_folder=mode == "folder")
    rules = [Rule(each, "*", "hang") for each in ("unlink", "rename", "rename2", "fsync", "flush", "lookup", "getattr")]
    process = offload.start(*_STALLING, "--bwlimit", "4M", "-b", "100K")
    _wait_for_partial(disk.backing, 100_000)
    disk.fail(Rule("write", "*", "hang"), *rules)
    run = ended(process, since=time.monotonic())
    assert disk.fired
    run.require_hung()
    assert run.seconds < 5_000_000 / 4_000_000 + 2 * _STALL_S + _SLACK_S
    assert run.code == 3
    offload.require_others_complete(run)
    disk.fail()
    run.require_gone()
    offload.require_only_true_names()
    offload.require_next_run_completes()


@pytest.mark.fault(27)
def test_reader_of_the_output_is_not_held_by_a_hung_destination(disk: FaultyDisk, tmp_path: Path) -> None:
    offload = Offload(tmp_path, disk.path, disk.backing, is_folder=False)
    disk.fail(_on_partial(offload, "fsync", "hang"))
    begin = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", '"$0" --stall-timeout 1 "$@" 2>&1 | cat', PROGRAM, str(offload.source), *offload.labels],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(),
    )
    assert time.monotonic() - begin < _STALL_S + _SLACK_S
    assert disk.fired
    assert done.stdout.count(": verified,") == 2
    assert "it hangs" in done.stdout
    disk.fail()
    offload.require_next_run_completes()


def _wait_for_partial(folder: Path, size: int) -> None:
    until = time.monotonic() + 20
    while not any(path.is_file() and path.stat().st_size > size for path in partials(folder)):
        assert time.monotonic() < until, "no partial came"
        time.sleep(0.02)


# -- signals while it hangs ---------------------------------------------------------------------------------------


@pytest.mark.fault(49)
@pytest.mark.parametrize("operation", ["write", "fsync", "read"])
def test_second_signal_during_a_hang_ends_at_once(operation: str, offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(_on_partial(offload, operation, "hang"))
    process = offload.start()
    disk.wait_until_fired()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    run = ended(process, since=begin)
    assert run.seconds < 2
    assert run.code == 130
    assert "stopped at once; left behind: " in run.err
    _require_hung(run, operation)
    offload.require_only_true_names()
    disk.fail()
    run.require_gone()
    offload.require_next_run_completes()


@pytest.mark.fault(48, 49)
def test_first_signal_during_a_hang_ends_after_a_grace_time(offload: Offload, disk: FaultyDisk) -> None:
    disk.fail(_on_partial(offload, "write", "hang"))
    process = offload.start()
    disk.wait_until_fired()
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    run = ended(process, since=begin)
    assert run.seconds < 5 + _SLACK_S
    assert run.code == 130
    assert run.states[1:] == ["cancelled", "cancelled"]
    offload.require_only_true_names()
    disk.fail()
    run.require_gone()
    offload.require_next_run_completes()


# -- a disk that goes away ----------------------------------------------------------------------------------------


@pytest.mark.fault(24)
def test_disk_that_goes_away_fails_alone(offload: Offload, disk: FaultyDisk) -> None:
    process = offload.start("--bwlimit", "4M", "-b", "100K")
    _wait_for_partial(disk.backing, 100_000)
    disk.kill()
    run = ended(process)
    # What was just being read back could not be: that is no proof, and counts as a bad copy.
    assert run.code in (3, 4)
    errors = run.errors(offload.bad)
    assert any(each["errno"] in ("ENOTCONN", "ECONNABORTED") for each in errors)
    assert any("Left behind" in each["message"] for each in errors)
    offload.require_others_complete(run)
    offload.require_only_true_names()
    run.require_gone()
    for path in partials(disk.backing):
        path.unlink()


# -- a source that fails ------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["file", "folder"])
def ingest(request: pytest.FixtureRequest, disk: FaultyDisk, tmp_path: Path) -> Offload:
    """From the disk to three destinations."""
    card(disk.backing / CARD)
    source = disk.path / CARD if request.param else disk.path / CARD / "clip.mov"
    return Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=request.param, source=source)


def _require_source_failed(ingest: Offload, run: Ended, files: set[str]) -> None:
    """No destination has what could not be read; all have the rest."""
    for number in range(3):
        assert set(ingest.finals(number)) == set(ingest.files) - files
        assert [name for name in ingest.temporary(number) if not name.endswith(".journal.partial")] == []
    ingest.require_only_true_names()
    assert run.states == ["failed"] * 3


@pytest.mark.parametrize(
    "name",
    [pytest.param("EIO", marks=pytest.mark.fault(30)), pytest.param("ENODEV", marks=pytest.mark.fault(31)), "ENXIO"],
)
def test_source_that_cannot_be_read_at_a_byte_is_on_no_destination(
    name: str, ingest: Offload, disk: FaultyDisk
) -> None:
    disk.fail(Rule("read", f"{CARD}/clip.mov", name, _BYTE))
    run = ingest.run()
    assert disk.fired
    assert run.code == (3 if ingest.is_folder else 1)
    [error] = run.errors()
    assert (error["operation"], error["errno"]) == ("read", name)
    _require_source_failed(ingest, run, {ingest.clip})
    disk.fail()
    ingest.require_next_run_completes()


@pytest.mark.fault(38)
@pytest.mark.parametrize("when", ["per-file", "after-all"])
def test_source_that_gives_other_bytes_the_second_time_is_found_when_it_is_read_twice(
    when: str, ingest: Offload, disk: FaultyDisk
) -> None:
    disk.fail(Rule("read", f"{CARD}/clip.mov", "flip", _BYTE, times=1))
    run = ingest.run("--verify-source", when)
    assert len(disk.fired) == 1
    assert run.code == 4
    assert run.states == ["mismatch"] * 3
    [error] = run.errors()
    assert "clip.mov" in error["message"]
    for number in range(3):
        assert ingest.clip not in ingest.finals(number)
    disk.fail()
    ingest.require_next_run_completes("--verify-source", when)


@pytest.mark.fault(39)
@pytest.mark.parametrize("operation", ["readdir", "opendir"])
def test_folder_that_cannot_be_listed_is_never_a_smaller_tree_without_a_word(
    operation: str, disk: FaultyDisk, tmp_path: Path
) -> None:
    card(disk.backing / CARD)
    ingest = Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=True, source=disk.path / CARD)
    disk.fail(Rule(operation, f"{CARD}/sub", "EIO"))
    run = ingest.run()
    assert disk.fired
    assert run.code == 3
    [error] = run.errors()
    assert error["errno"] == "EIO"
    assert error["path"].endswith(f"{CARD}/sub")
    for number in range(3):
        assert set(ingest.finals(number)) == {f"{CARD}/clip.mov", f"{CARD}/empty.txt"}
    disk.fail(Rule(operation, CARD, "EIO"))
    refused = ingest.run()
    assert refused.code == 2
    disk.fail()
    ingest.require_next_run_completes()


@pytest.mark.fault(27, 28)
@pytest.mark.parametrize("operation", ["getattr", "open", "read", "opendir", "readdir"])
def test_source_that_hangs_ends_the_run(operation: str, ingest: Offload, disk: FaultyDisk) -> None:
    if "dir" in operation and not ingest.is_folder:
        operation = "lookup"
    pattern = CARD if "dir" in operation else f"{CARD}/clip.mov"
    disk.fail(Rule(operation, pattern, "hang", _BYTE if operation == "read" else -1))
    run = ingest.run(*_STALLING)
    assert disk.fired
    _require_hung(run, operation)
    _require_ended_in_time(run)
    assert run.code in (1, 2, 3)
    assert any("it hangs" in each["message"] for each in run.events if each["event"] == "error")
    for number in range(3):
        assert ingest.clip not in ingest.finals(number)
    ingest.require_only_true_names()
    disk.fail()
    run.require_gone()
    ingest.require_next_run_completes()


# -- checking ---------------------------------------------------------------------------------------------------


@pytest.fixture
def handed_over(disk: FaultyDisk, tmp_path: Path) -> Path:
    """A copy with a list, on the disk."""
    card(tmp_path / CARD)
    done = run("--sums", "xxh64be", "-q", tmp_path / CARD, disk.path)
    assert done.returncode == 0, done.stderr
    return disk.path / CARD


def _check(folder: Path, *options: str) -> Ended:
    return ended(start("--check", "--json", *options, folder, start_new_session=True))


@pytest.mark.parametrize("name", ["clip.mov", "sub/small.txt"])
@pytest.mark.parametrize(("action", "code"), [("flip", 4), ("EIO", 3)])
def test_check_finds_what_the_medium_gives(
    name: str, action: str, code: int, handed_over: Path, disk: FaultyDisk
) -> None:
    disk.fail(Rule("read", f"{CARD}/{name}", action, 1000))
    checked = _check(handed_over)
    assert disk.fired
    assert checked.code == code
    assert any(name in each["path"] for each in checked.errors(str(handed_over)) + checked.errors())
    disk.fail()
    assert _check(handed_over).code == 0


@pytest.mark.fault(28)
@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("read", "clip.mov"),
        ("read", "sub/small.txt"),
        ("open", "clip.mov"),
        ("open", "sub/small.txt"),
        ("open", f"{CARD}.xxh64"),
        ("opendir", "sub"),
        ("getattr", ""),
    ],
)
def test_check_of_a_disk_that_hangs_ends(operation: str, name: str, handed_over: Path, disk: FaultyDisk) -> None:
    disk.fail(Rule(operation, os.path.normpath(f"{CARD}/{name}"), "hang"))
    checked = _check(handed_over, *_STALLING)
    assert disk.fired
    _require_hung(checked, operation)
    _require_ended_in_time(checked)
    assert checked.code in (1, 2, 3)
    assert "hang" in checked.err
    disk.fail()
    checked.require_gone()
    assert _check(handed_over).code == 0


# -- one folder, seen through two file systems ------------------------------------------------------------------------


@pytest.mark.fault(63, 64)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_source_that_another_file_system_shows_as_the_destination_is_refused(is_folder: bool, disk: FaultyDisk) -> None:
    """Neither device nor inode numbers show it."""
    data = make_file(disk.backing / CARD / "clip.mov", 5000)
    source = disk.backing / CARD if is_folder else disk.backing / CARD / "clip.mov"
    target = disk.path if is_folder else disk.path / CARD
    assert source.stat().st_dev != target.stat().st_dev
    done = run("--on-conflict", "overwrite", source, f"{target}/")
    assert done.returncode == 2, done.stderr
    assert (disk.backing / CARD / "clip.mov").read_bytes() == data
    assert os.listdir(disk.backing / CARD) == ["clip.mov"]


@pytest.mark.fault(64, 66)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_destination_that_two_file_systems_show_is_refused(is_folder: bool, disk: FaultyDisk, tmp_path: Path) -> None:
    source = make_source(tmp_path, is_folder=is_folder)
    done = run(source, f"{disk.path}/", f"{disk.backing}/")
    assert done.returncode == 2, done.stderr
    assert "are the same destination" in done.stderr
    assert os.listdir(disk.backing) == []


# -- a file system that takes fewer names ---------------------------------------------------------------------------


@pytest.fixture
def exfat(private_mounts: None, tmp_path: Path) -> Iterator[FaultyDisk]:
    with faulty_disk(tmp_path / "faulty", "--like-exfat") as disk:
        yield disk


@pytest.mark.fault(67)
@pytest.mark.parametrize("folder", ["", "sub/"])
def test_names_that_are_one_on_a_destination_never_overwrite_each_other(
    folder: str, exfat: FaultyDisk, tmp_path: Path
) -> None:
    first = make_file(tmp_path / CARD / f"{folder}Clip.mov", 5000, seed=1)
    second = make_file(tmp_path / CARD / f"{folder}clip.MOV", 5000, seed=2)
    done = run("--json", tmp_path / CARD, exfat.path, tmp_path / "good")
    assert done.returncode in (2, 3)
    error = next(each for each in events_of(done.stdout) if each["event"] == "error")
    assert "clip.mov" in error["message"].lower()
    found = [path.read_bytes() for path in exfat.backing.rglob("*") if path.is_file()]
    assert all(data in (first, second) for data in found)
    assert len(found) <= 1


@pytest.mark.fault(64)
def test_source_under_another_case_of_its_name_is_refused(exfat: FaultyDisk) -> None:
    data = make_file(exfat.path / "clip.mov", 5000)
    for options in ((), ("--on-conflict", "overwrite")):
        done = run(*options, exfat.path / "clip.mov", exfat.path / "CLIP.MOV")
        assert done.returncode == 2, done.stderr
        assert "same file" in done.stderr
    assert (exfat.backing / "clip.mov").read_bytes() == data
    assert os.listdir(exfat.backing) == ["clip.mov"]


@pytest.mark.fault(64, 66)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_destination_that_is_given_in_two_cases_is_refused(is_folder: bool, exfat: FaultyDisk, tmp_path: Path) -> None:
    source = make_source(tmp_path, is_folder=is_folder)
    (exfat.path / "day").mkdir()
    done = run(source, exfat.path / "day", exfat.path / "DAY")
    assert done.returncode == 2, done.stderr
    assert "same" in done.stderr
    assert os.listdir(exfat.backing / "day") == []


@pytest.mark.fault(64, 65)
def test_destination_inside_the_source_in_another_case_is_refused(exfat: FaultyDisk) -> None:
    make_file(exfat.path / CARD / "clip.mov", 5000)
    done = run(exfat.path / CARD, exfat.path / CARD.lower() / "copy")
    assert done.returncode == 2, done.stderr
    assert os.listdir(exfat.backing / CARD) == ["clip.mov"]


def make_source(folder: Path, *, is_folder: bool) -> Path:
    make_file(folder / CARD / "clip.mov", 5000)
    return folder / CARD if is_folder else folder / CARD / "clip.mov"


@pytest.mark.fault(77)
def test_names_that_a_destination_does_not_take_fail_alone(exfat: FaultyDisk, tmp_path: Path) -> None:
    bad = ["a:b", "what?", "dot.", os.fsdecode(b"not-\xff-utf8")]
    good = {name: make_file(tmp_path / CARD / name, 3000, seed=9) for name in ("good", "zz/good")}
    for name in bad:
        make_file(tmp_path / CARD / name, 3000)
    make_file(tmp_path / CARD / "in:side/file", 100)
    done = run("--json", tmp_path / CARD, exfat.path, tmp_path / "good")
    assert done.returncode == 3
    events = events_of(done.stdout)
    assert [each["state"] for each in events[-1]["destinations"]] == ["failed", "verified"]
    errors = [each for each in events if each["event"] == "error" and each["destination"] == str(exfat.path)]
    told = json.dumps(errors)
    for name in ("a:b", "what?", "dot.", "utf8", "in:side"):
        assert name in told
    assert {each["errno"] for each in errors} <= {"EINVAL", "EILSEQ", "ENOENT"}
    for name, data in good.items():
        assert (exfat.backing / CARD / name).read_bytes() == data
    shutil.rmtree(tmp_path / "good")
    for path in partials(exfat.backing):
        assert path.name.endswith(".journal.partial")
        path.unlink()
