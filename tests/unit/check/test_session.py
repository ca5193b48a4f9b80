"""What a check finds, and what it ends with."""

import errno
import os
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import ExitCode, State, UsageError
from pfndispatchcopy.check.survey import LARGEST_SMALL_FILE
from pfndispatchcopy.events import FileEvent, PlanEvent, ProgressEvent
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.model import Phase, ReadBack
from tests.support.check_trial import CheckTrial, sealed, write_legacy_list, write_sums
from tests.support.files import make_file

LARGE = LARGEST_SMALL_FILE + 5


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# -- good, changed, missing, new -------------------------------------------------------------------------------


def test_all_that_is_listed_is_verified_past_the_cache(trial: CheckTrial) -> None:
    trial.add("a.mov", "b/c/d.jpg", "b/e.jpg", "zero")
    (trial.folder / "zero").write_bytes(b"")
    trial.add("large.mov", size=LARGE)
    trial.seal()
    result = trial.run()
    (card,) = result.checked
    assert (card.state, card.verified, result.exit_code, result.files) == (State.VERIFIED, 5, ExitCode.OK, 5)
    assert (
        card.bytes_verified
        == result.size
        == sum(p.stat().st_size for p in trial.folder.rglob("*") if p.is_file())
        - (trial.folder / "CARD.mhl").stat().st_size
    )
    assert trial.errors == trial.warnings == []
    assert set(trial.states.values()) == {"verified"}
    for name in ("a.mov", "large.mov"):
        calls = [call for call, path in trial.system.calls if path.endswith(f"/{name}")]
        assert "open_source_name" in calls
    order = [call for call, _ in trial.system.calls]
    assert order.index("drop_cache") < order.index("is_cached") < order.index("start_reading")


@pytest.mark.fault(40)
@pytest.mark.parametrize("name", ["a.mov", "large.mov"])
def test_flipped_bit_is_a_mismatch_that_names_file_and_both_digests(trial: CheckTrial, name: str) -> None:
    trial.add("a.mov", "b.mov")
    trial.add("large.mov", size=LARGE)
    trial.seal()
    listed = digests_of(["xxh64be"], (trial.folder / name).read_bytes())["xxh64be"]
    flip(trial.folder / name)
    found = digests_of(["xxh64be"], (trial.folder / name).read_bytes())["xxh64be"]
    result = trial.run()
    (card,) = result.checked
    assert (card.state, card.verified, card.changed) == (State.MISMATCH, 2, 1)
    assert result.exit_code == ExitCode.MISMATCH
    (error,) = trial.errors
    assert all(word in error for word in (str(trial.folder / name), listed, found))
    assert trial.states[name] == "mismatch"


@pytest.mark.fault(85)
@pytest.mark.parametrize("size", [0, 2999, 3001, LARGE])
def test_other_size_is_a_mismatch_without_reading(trial: CheckTrial, size: int) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    make_file(trial.folder / "a.mov", size)
    _remember_paths(trial)
    result = trial.run()
    assert (result.exit_code, result.checked[0].changed) == (ExitCode.MISMATCH, 1)
    assert f"it has {size} bytes, and the list says 3000" in trial.errors[0]
    fd_reads = [path for call, path in trial.system.calls if call == "start_reading" and path.endswith("a.mov")]
    assert fd_reads == []


def test_missing_files_and_folders_are_named_and_the_others_verified(trial: CheckTrial) -> None:
    trial.add("a.mov", "gone.mov", "away/b.mov", "away/c.mov")
    trial.seal()
    (trial.folder / "gone.mov").unlink()
    for name in ("b.mov", "c.mov"):
        (trial.folder / "away" / name).unlink()
    (trial.folder / "away").rmdir()
    result = trial.run()
    (card,) = result.checked
    assert (card.state, card.verified, card.missing, result.exit_code) == (State.FAILED, 1, 3, ExitCode.PARTIAL)
    for name in ("gone.mov", "away/b.mov", "away/c.mov"):
        assert f"{trial.folder / name}: missing" in trial.errors
        assert trial.states[name] == "failed"


def test_file_that_vanishes_after_it_was_listed_is_missing(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    rule = trial.system.fail("open_source_name", errno.ENOENT, where="b.mov")
    result = trial.run()
    assert rule.fired == 1
    assert (result.checked[0].missing, result.exit_code) == (1, ExitCode.PARTIAL)


def test_file_that_no_list_knows_is_named(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    trial.add("new.mov", "deep/er/new.mov")
    result = trial.run()
    (card,) = result.checked
    assert (card.state, card.verified, card.new, result.exit_code) == (State.FAILED, 2, 2, ExitCode.PARTIAL)
    assert any("new.mov: new" in each for each in trial.errors)
    assert any("deep/er/new.mov: new" in each for each in trial.errors)


def test_lists_partials_links_and_what_is_no_file_are_never_new(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    trial.add("other.mhl", "deep/ascmhl/0001_x.mhl", ".pfn.0123456789x.partial")
    (trial.folder / "CARD_1.md5").write_text("")
    (trial.folder / "link").symlink_to("/etc/passwd")
    (trial.folder / "way").symlink_to("/etc")
    os.mkfifo(trial.folder / "fifo")
    result = trial.run(trial.folder / "CARD.mhl")
    (trial.folder / ".pfn.0123456789x.partial").unlink()
    assert (result.exit_code, result.checked[0].new) == (ExitCode.OK, 0)
    assert [f"{trial.folder}/fifo: skipped, since it is a FIFO"] == trial.warnings


def test_list_of_one_file_does_not_speak_of_those_beside_it(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov", "deep/c.mov")
    for path in (
        write_legacy_list(trial.folder / "a.mov_x.mhl", [sealed(trial.folder, "a.mov")]),
        write_sums(trial.folder / "a.mov.md5", ["a.mov"], "md5"),
    ):
        trial.system.state.calls.clear()
        result = trial.run(path)
        assert (result.exit_code, result.files, result.checked[0].new) == (ExitCode.OK, 1, 0)
        assert not [call for call, _ in trial.system.calls if call == "entries"]


def test_what_several_lists_say_is_held_against_one_reading(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    write_sums(trial.folder / "CARD.md5", ["a.mov", "b.mov"], "md5")
    assert trial.run().exit_code == ExitCode.OK
    assert len([path for path in trial.opened() if path.endswith("a.mov")]) == 1
    (event,) = [each for each in trial.events if isinstance(each, FileEvent) and each.path == "a.mov"]
    assert set(event.hashes) == {"xxh64be", "md5"}
    lines = (trial.folder / "CARD.md5").read_text().replace("  a.mov", "  x").splitlines()
    wrong = digests_of(["md5"], b"other")["md5"]
    (trial.folder / "CARD.md5").write_text(f"{wrong}  a.mov\n{lines[1]}\n")
    assert trial.run().exit_code == ExitCode.MISMATCH


@pytest.mark.fault(85)
def test_file_without_a_digest_is_never_good(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    path = trial.seal()
    text = path.read_text()
    start = text.index("<xxhash64be>")
    end = text.index("</xxhash64be>") + len("</xxhash64be>")
    path.write_text(f"{text[:start]}<null/>{text[end:]}")
    result = trial.run()
    (card,) = result.checked
    assert (card.verified, card.failed, result.exit_code) == (1, 1, ExitCode.PARTIAL)
    assert "no digest" in trial.errors[0]


# -- what cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "number"), [("read", errno.EIO), ("open_source_name", errno.EACCES), ("status_of_file", errno.EIO)]
)
@pytest.mark.parametrize("name", ["a.mov", "large.mov"])
def test_file_that_cannot_be_read_does_not_stop_the_others(
    trial: CheckTrial, call: str, number: int, name: str
) -> None:
    trial.add("a.mov", "b.mov")
    trial.add("large.mov", size=LARGE)
    trial.seal()
    rule = trial.system.fail(call, number, where=name)
    if call != "open_source_name":
        _remember_paths(trial)
    result = trial.run()
    assert rule.fired == 1
    (card,) = result.checked
    assert (card.verified, card.failed, card.state, result.exit_code) == (2, 1, State.FAILED, ExitCode.PARTIAL)
    assert any(name in error and os.strerror(number) in error for error in trial.errors)


def _remember_paths(trial: CheckTrial) -> None:
    """Let rules know the files that were opened as sources by their paths."""

    def remember(real: Callable[[], Any], folder: Any, name: str, *more: Any) -> Any:
        fd = real()
        trial.system.state.paths[fd] = os.path.join(folder.path, name)
        return fd

    trial.system.rule("open_source_name", remember, times=None)


def test_volume_that_is_gone_ends_the_check_of_it_and_of_no_other(trial: CheckTrial, tmp_path: Path) -> None:
    trial.add("a.mov", "b.mov", "c.mov")
    trial.seal()
    other = tmp_path / "OTHER"
    make_file(other / "x.mov", 100)
    write_sums(other / "OTHER.md5", ["x.mov"], "md5")
    rule = trial.system.fail("open_source_name", errno.ENODEV, where="CARD/a.mov", times=None)
    result = trial.run(trial.folder, other)
    assert rule.fired == 1
    assert [each.state for each in result.checked] == [State.FAILED, State.VERIFIED]
    assert result.checked[0].failed == 3
    assert result.exit_code == ExitCode.PARTIAL


def test_file_that_changes_while_it_is_read_is_not_verified(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    _remember_paths(trial)

    def grow(real: Callable[[], Any], fd: int, buffer: memoryview) -> Any:
        with (trial.folder / "a.mov").open("ab") as file:
            file.write(b"more")
        return real()

    rule = trial.system.rule("read", grow, where="a.mov")
    result = trial.run()
    assert rule.fired == 1
    assert (result.checked[0].failed, result.exit_code) == (1, ExitCode.PARTIAL)
    assert any("changed while it was read" in each for each in trial.errors)


@pytest.mark.fault(39)
def test_folder_that_cannot_be_listed_is_named_and_its_files_are_read(trial: CheckTrial) -> None:
    trial.add("a.mov", "deep/b.mov", "deep/gone.mov")
    trial.seal()
    (trial.folder / "deep/gone.mov").unlink()
    rule = trial.system.fail("entries", errno.EACCES, where="deep")
    result = trial.run()
    assert rule.fired == 1
    (card,) = result.checked
    assert (card.verified, card.missing, card.failed, result.exit_code) == (2, 1, 1, ExitCode.PARTIAL)
    assert any("list the folder failed" in each for each in trial.errors)


@pytest.mark.fault(44)
def test_what_stays_in_the_cache_is_read_around_it(trial: CheckTrial) -> None:
    trial.add("a.mov")
    trial.add("large.mov", size=LARGE)
    trial.seal()
    trial.system.rule("is_cached", lambda real, *arguments: True, times=None)
    direct = trial.system.rule("open_direct", _open_plainly(trial), times=None)
    result = trial.run()
    assert direct.fired == 2
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 2)
    ways = {event.destinations[0].read_back for event in trial.events if isinstance(event, FileEvent)}
    assert ways == {ReadBack.DIRECT}


def _open_plainly(trial: CheckTrial) -> Callable[..., Any]:
    def action(real: Callable[[], Any], folder: Any, name: str) -> Any:
        return trial.system.open_name(folder, name, os.O_RDONLY)

    return action


@pytest.mark.fault(44, 45)
@pytest.mark.parametrize("refusal", ["open_direct", "read"])
def test_what_could_only_be_compared_in_the_cache_does_not_count_as_verified(trial: CheckTrial, refusal: str) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    trial.system.rule("is_cached", lambda real, *arguments: True, times=None)
    if refusal == "open_direct":
        rule = trial.system.fail("open_direct", errno.EINVAL, times=None)
    else:
        trial.system.rule("open_direct", _open_plainly(trial), times=None)
        rule = trial.system.fail("read", errno.EINVAL, where="a.mov", times=None)
    result = trial.run()
    assert rule.fired >= 1
    assert (result.exit_code, result.checked[0].state) == (ExitCode.PARTIAL, State.FAILED)
    assert trial.states["a.mov"] == "copied"
    assert any("never on the medium" in each for each in trial.errors)


def test_on_memory_nothing_is_dropped(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    trial.system.rule("mount", lambda real, *arguments: Mount("tmpfs", "/"), times=None)
    assert trial.run().exit_code == ExitCode.OK
    ways = {event.destinations[0].read_back for event in trial.events if isinstance(event, FileEvent)}
    assert ways == {ReadBack.MEMORY}
    assert "drop_cache" not in [call for call, _ in trial.system.calls]


# -- links, and other things in the place of files -------------------------------------------------------------


@pytest.mark.fault(82)
def test_link_in_the_place_of_a_file_is_not_followed(trial: CheckTrial, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    make_file(secret, 3000, seed=7)
    trial.add("a.mov", "b.mov")
    trial.seal()
    (trial.folder / "a.mov").unlink()
    (trial.folder / "a.mov").symlink_to(secret)
    result = trial.run()
    (card,) = result.checked
    assert (card.is_trusted, card.verified, result.exit_code) == (False, 1, ExitCode.REFUSED)
    assert any(str(trial.folder / "a.mov") in each and "symbolic link" in each for each in trial.errors)
    assert not [path for path in trial.opened() if path.endswith(("secret", "a.mov"))]


@pytest.mark.fault(82)
def test_link_in_the_place_of_a_folder_is_not_followed(trial: CheckTrial, tmp_path: Path) -> None:
    trial.add("deep/er/a.mov", "deep/er/b.mov", "c.mov")
    trial.seal()
    (trial.folder / "deep").rename(tmp_path / "outside")
    (trial.folder / "deep").symlink_to(tmp_path / "outside")
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.REFUSED, 1)
    (error,) = trial.errors
    assert str(trial.folder / "deep") in error
    assert not [path for path in trial.opened() if "outside" in path or "deep" in path]


@pytest.mark.fault(80)
def test_link_that_is_put_there_after_the_look_is_not_followed(trial: CheckTrial, tmp_path: Path) -> None:
    make_file(tmp_path / "secret", 3000)
    trial.add("a.mov", "b.mov")
    trial.seal()

    def swap(real: Callable[[], Any], *arguments: Any) -> Any:
        (trial.folder / "a.mov").unlink()
        (trial.folder / "a.mov").symlink_to(tmp_path / "secret")
        return real()

    rule = trial.system.rule("open_source_name", swap, where="a.mov")
    result = trial.run()
    assert rule.fired == 1
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.REFUSED, 1)


@pytest.mark.fault(69)
@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_never_opened(trial: CheckTrial, kind: str) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    (trial.folder / "a.mov").unlink()
    if kind == "fifo":
        os.mkfifo(trial.folder / "a.mov")
    else:
        (trial.folder / "a.mov").mkdir()
    result = trial.run_within(20)
    assert (result.exit_code, result.checked[0].verified, result.checked[0].missing) == (ExitCode.PARTIAL, 1, 1)
    assert any(f"a.mov: a {kind if kind == 'folder' else 'FIFO'}" in each for each in trial.errors)
    assert not [path for path in trial.opened() if path.endswith("a.mov")]


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("on_disk", "in_list"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_compose_letters_in_another_way_are_found(trial: CheckTrial, on_disk: Any, in_list: Any) -> None:
    name = unicodedata.normalize(on_disk, "é/ü.mov")
    other = unicodedata.normalize(in_list, "é/ü.mov")
    trial.add(name, "b.mov")
    data = (trial.folder / name).read_bytes()
    path = write_legacy_list(
        trial.folder / "CARD.mhl", [sealed(trial.folder, other, data=data), sealed(trial.folder, "b.mov")]
    )
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 2), trial.errors
    alone = write_legacy_list(path, [sealed(trial.folder, other, data=data)])
    if "/" not in other:
        assert trial.run(alone).exit_code == ExitCode.OK


def test_exact_name_wins_over_one_that_looks_alike(trial: CheckTrial) -> None:
    composed, decomposed = (unicodedata.normalize(form, "ü.mov") for form in ("NFC", "NFD"))
    (trial.folder / composed).write_bytes(b"composed")
    (trial.folder / decomposed).write_bytes(b"decomposed")
    trial.add("b.mov")
    write_legacy_list(trial.folder / "CARD.mhl", [sealed(trial.folder, composed), sealed(trial.folder, "b.mov")])
    result = trial.run()
    assert (result.checked[0].verified, result.checked[0].new) == (2, 1)
    (trial.folder / composed).unlink()
    write_legacy_list(
        trial.folder / "CARD.mhl",
        [sealed(trial.folder, composed, data=b"decomposed"), sealed(trial.folder, "b.mov")],
    )
    assert trial.run().exit_code == ExitCode.OK


@pytest.mark.fault(78)
def test_names_of_any_bytes_are_checked_by_sum_files(trial: CheckTrial) -> None:
    names = [os.fsdecode(b"line\nend"), os.fsdecode(b"\xff\xfe"), "back\\slash", " blank "]
    for name in names:
        (trial.folder / name).write_bytes(os.fsencode(name))
    lines = []
    for name in names:
        raw, mark = os.fsencode(name), b""
        if b"\n" in raw or b"\\" in raw:
            raw, mark = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n"), b"\\"
        lines.append(mark + digests_of(["md5"], os.fsencode(name))["md5"].encode() + b"  " + raw + b"\n")
    (trial.folder / "CARD.md5").write_bytes(b"".join(lines))
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 4), trial.errors
    (trial.folder / names[0]).unlink()
    assert trial.run().exit_code == ExitCode.PARTIAL
    assert not any("\n" in each for each in trial.errors)


# -- what the user leaves out ----------------------------------------------------------------------------------


def test_what_is_left_out_is_neither_new_nor_missing_nor_read(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.tmp", "gone.tmp", "deep/c.tmp")
    trial.seal()
    trial.add("new.tmp", ".DS_Store", "d/._x")
    (trial.folder / "gone.tmp").unlink()
    flip(trial.folder / "b.tmp")
    result = trial.run(exclude=("*.tmp",), exclude_system=True)
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 1), trial.errors
    assert result.left_out >= 5
    result = trial.run(exclude=("*.tmp",), include=("b.tmp",), exclude_system=True)
    assert result.exit_code == ExitCode.MISMATCH


# -- several lists, plans, the end -----------------------------------------------------------------------------


def _spoil(folder: Path, fault: str) -> Path:
    """A folder with a list in which something is wrong."""
    for name in ("a.mov", "b.mov"):
        make_file(folder / name, 100)
    path = write_sums(folder / f"{folder.name}.md5", ["a.mov", "b.mov"], "md5")
    if fault == "changed":
        flip(folder / "a.mov")
    elif fault == "missing":
        (folder / "a.mov").unlink()
    elif fault == "untrusted":
        path.write_text("0" * 32 + "  ../x\n")
    elif fault == "none":
        path.unlink()
    return folder


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (("changed", "untrusted", "missing"), 4),
        (("missing", "untrusted"), 2),
        (("missing", "none"), 2),
        (("missing", "good"), 3),
        (("good", "good"), 0),
    ],
)
def test_changed_beats_untrusted_beats_missing(
    trial: CheckTrial, tmp_path: Path, faults: tuple[str, ...], code: int
) -> None:
    folders = [_spoil(tmp_path / f"{number}", fault) for number, fault in enumerate(faults)]
    result = trial.run(*folders)
    assert result.exit_code == code
    for fault, each in zip(faults, result.checked, strict=True):
        assert each.verified == {"changed": 1, "missing": 1, "good": 2}.get(fault, 0)


def test_untrusted_list_beside_a_good_one_does_not_keep_it_from_being_checked(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov", "only-in-the-other.mov")
    trial.seal("a.mov", "b.mov")
    (trial.folder / "CARD.md5").write_text("0" * 32 + "  /etc/passwd\n")
    result = trial.run()
    (card,) = result.checked
    assert (card.verified, card.new, card.is_trusted, result.exit_code) == (2, 0, False, ExitCode.REFUSED)
    (error,) = trial.errors
    assert "CARD.md5" in error
    assert not [path for path in trial.opened() if "passwd" in path]


def test_plan_counts_and_reads_no_file(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov")
    trial.seal()
    result = trial.run(dry_run=True)
    (plan,) = [event for event in trial.events if isinstance(event, PlanEvent)]
    assert (plan.files, plan.bytes) == (2, 6001)
    assert result.exit_code == ExitCode.OK
    assert [Path(path).name for path in trial.opened()] == ["CARD.mhl"]


def test_progress_ends_with_all_bytes(trial: CheckTrial) -> None:
    trial.add("a.mov", "gone.mov")
    trial.add("large.mov", size=LARGE)
    trial.seal()
    (trial.folder / "gone.mov").unlink()
    trial.run()
    last = [event for event in trial.events if isinstance(event, ProgressEvent)][-1]
    assert (last.phase, last.bytes_done, last.bytes_total) == (Phase.VERIFY, LARGE + 3000, LARGE + 3000)


def test_cancel_stops_between_files(trial: CheckTrial) -> None:
    trial.add(*(f"{number}.mov" for number in range(9)))
    trial.seal()
    reads = 0

    def stop(real: Callable[[], Any], *arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        trial.cancel.set()
        return real()

    trial.system.rule("start_reading", stop, times=None)
    result = trial.run_within(20)
    assert reads >= 1
    assert result.checked[0].state is State.CANCELLED
    assert result.checked[0].verified < 9
    assert result.exit_code != ExitCode.OK


def test_cancel_stops_in_the_middle_of_a_large_file(trial: CheckTrial) -> None:
    trial.add("large.mov", size=LARGE)
    trial.seal()
    _remember_paths(trial)

    def stop(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.cancel.set()
        return real()

    rule = trial.system.rule("read", stop, where="large.mov")
    result = trial.run_within(20)
    assert rule.fired == 1
    assert result.checked[0].state is State.CANCELLED


@pytest.mark.fault(28)
@pytest.mark.leaks
@pytest.mark.parametrize("call", ["read", "open_source_name", "entries", "status"])
def test_what_hangs_is_given_up_and_the_others_are_checked(trial: CheckTrial, tmp_path: Path, call: str) -> None:
    other = tmp_path / "OTHER"
    make_file(other / "x.mov", 100)
    write_sums(other / "OTHER.md5", ["x.mov"], "md5")
    trial.add("a.mov", "b.mov")
    trial.seal()
    if call == "read":
        _remember_paths(trial)
    where = {"read": "CARD/a.mov", "open_source_name": "CARD/a.mov", "entries": "CARD", "status": "CARD"}[call]
    rule = trial.system.hang(call, trial.release, where=where)
    result = trial.run_within(30, trial.folder, other, stall_timeout_s=0.3)
    assert rule.fired >= 1
    assert trial.check is not None
    assert trial.check.has_given_up
    assert result.checked[1].state is State.VERIFIED
    assert result.checked[0].state is State.FAILED
    assert result.exit_code in (ExitCode.PARTIAL, ExitCode.REFUSED)
    assert any("hangs" in each for each in trial.errors)


def test_nothing_is_ever_written(trial: CheckTrial) -> None:
    trial.add("a.mov", "gone.mov")
    trial.seal()
    (trial.folder / "gone.mov").unlink()
    flip(trial.folder / "a.mov")
    before = {path: path.stat() for path in trial.folder.rglob("*")}
    trial.run()
    assert {path: path.stat() for path in trial.folder.rglob("*")} == before
    writing = {"write", "make_subfolder", "remove_name", "replace_name", "rename_to_free_name", "set_times", "set_mode"}
    assert not writing & {call for call, _ in trial.system.calls}


def test_no_path_is_a_usage_error(trial: CheckTrial) -> None:
    with pytest.raises(UsageError):
        trial.check = __import__("pfndispatchcopy").check_hash_lists([])


def test_library_checks_without_a_nursery(tmp_path: Path) -> None:
    from pfndispatchcopy import check_hash_lists

    folder = _spoil(tmp_path / "X", "good")
    result = check_hash_lists(folder)
    assert result["success"]
    assert result["checked"][0]["verified"] == 2
    assert threading.active_count() >= 1
