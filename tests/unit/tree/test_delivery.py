"""Lists are handed over with complete copies, as carefully as the copies, and to each destination by itself."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, State
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.errors import PfnDispatchCopyError, RefusedError, UsageError
from pfndispatchcopy.events import ErrorEvent, WarningEvent
from pfndispatchcopy.fileio.names import is_record, journal_name
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.hashlists.asc import ASC_CHAIN
from pfndispatchcopy.hashlists.entries import Action
from pfndispatchcopy.model import Conflict, Preserve, Strategy, Symlinks, Verify, VerifySource
from pfndispatchcopy.tree.delivery import Delivery
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.files import make_file, partials
from tests.support.hash_lists import digest
from tests.support.histories import chain_of, damage, generations, listable_files, require_true, require_whole, seal
from tests.support.tree_trial import CARD, AnyCall, TreeSystem, TreeTrial, flip

ORIGINAL, VERIFIED, FAILED = Action.ORIGINAL, Action.VERIFIED, Action.FAILED
_SIZES = {"clip.mov": 20_000, "empty.txt": 0, "sub/small.txt": 100}
_SUM = f"{CARD}/{CARD}.md5"


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """Three files, and a system that passes for a disk."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(tmp_path, _SIZES, chunk_size=4096)
    yield trial
    trial.end()
    for path in partials(tmp_path):
        if is_record(path.name):  # kept where a run was not finished, as it should be
            path.unlink()


def _require_sealed(trial: TreeTrial, *numbers: int, count: int = 1, names: tuple[str, ...] = ()) -> None:
    for number in numbers:
        require_whole(trial.copy(number), count)
        require_true(trial.copy(number), *names)


def _require_no_list(trial: TreeTrial, number: int) -> None:
    """Nothing was handed over, and that was said."""
    names = [name for name in trial.names(number) if name.endswith((".mhl", ".md5", ASC_CHAIN))]
    assert names == []
    assert trial.label(number) in " ".join(notice.message for notice in trial.notices(WarningEvent))


def _told(trial: TreeTrial, kind: type[ErrorEvent] | type[WarningEvent], number: int | None = None) -> str:
    label = None if number is None else trial.label(number)
    return "\n".join(notice.message for notice in trial.notices(kind) if label is None or notice.destination == label)


def _sums(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8", "surrogateescape").splitlines()
    return {name: text for text, _, name in (line.partition("  ") for line in lines)}


# -- what is handed over --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL])
def test_every_destination_gets_a_first_generation_that_is_true(strategy: Strategy, trial: TreeTrial) -> None:
    (trial.card / "nothing/in/it").mkdir(parents=True)
    result = trial.run(mhl="asc", sums=("md5",), strategy=strategy)
    assert (result.exit_code, result.success) == (0, True)
    _require_sealed_with_sums(trial, 0, 1, 2)
    assert sorted(generations(trial.copy(0))[0].folders) == ["nothing", "nothing/in", "nothing/in/it", "sub"]
    assert generations(trial.copy(0))[0].all_actions == {ORIGINAL}
    assert trial.events
    trial.require_no_partials()
    assert trial.notices(ErrorEvent) == trial.notices(WarningEvent) == []


def _require_sealed_with_sums(trial: TreeTrial, *numbers: int) -> None:
    for number in numbers:
        require_whole(trial.copy(number), 1)
        require_true(trial.copy(number), "xxh64be", "md5", without=[f"{CARD}.md5"])
        wanted = {name: digest("md5", data) for name, data in trial.files.items()}
        assert _sums(trial.root / f"d{number}" / _SUM) == wanted


def test_legacy_list_lies_beside_what_it_lists(trial: TreeTrial) -> None:
    from pfndispatchcopy.hashlists.legacy import read_legacy

    result = trial.run(2, mhl="legacy", hashes=("sha256", "md5", "xxh64be"))
    assert result.exit_code == 0
    for number in range(2):
        (path,) = trial.copy(number).glob("*.mhl")
        assert path.name.startswith(f"{CARD}_20")
        listed = {file.path: file for file in read_legacy([path.read_bytes()])}
        assert sorted(listed) == sorted(trial.files)
        for name, data in trial.files.items():
            assert [each.name for each in listed[name].digests] == ["md5", "xxh64be"]
            assert listed[name].digests[0].accepted == (digest("md5", data),)
            assert listed[name].size == len(data)


@pytest.mark.parametrize(
    "options", [{"mhl": "asc"}, {"mhl": "legacy", "sums": ("md5",)}, {"mhl": "asc", "sums": ("xxh3",)}]
)
def test_folders_have_the_times_of_the_source_after_lists_went_into_them(
    options: dict[str, Any], trial: TreeTrial
) -> None:
    os.utime(trial.card / "sub", ns=(10**18, 10**18))
    os.utime(trial.card, ns=(10**18, 10**18 + 123_456_789))
    for _ in range(2):
        assert trial.run(1, **options).exit_code == 0
        assert trial.copy(0).stat().st_mtime_ns == 10**18 + 123_456_789
        assert trial.copy(0, "sub").stat().st_mtime_ns == 10**18


def test_content_that_goes_straight_into_a_folder_is_listed_under_the_name_of_that(trial: TreeTrial) -> None:
    for count in (1, 2):
        assert trial.run(1, sources=[f"{trial.card}/"], mhl="asc", sums=("md5",)).exit_code == 0
        require_whole(trial.root / "d0", count)
        latest = require_true(trial.root / "d0", "xxh64be", "md5", without=["d0.md5"])
        assert latest.name.startswith(f"000{count}_d0_")


def test_several_folders_are_listed_each_by_itself(trial: TreeTrial) -> None:
    other = trial.card.parent / "OTHER"
    make_file(other / "x", 5)
    seal(other)
    for count in (1, 2):
        result = trial.run(2, sources=[str(trial.card), str(other)], mhl="asc", sums=("md5",))
        assert result.exit_code == 0
        for number in range(2):
            require_whole(trial.copy(number), count)
            require_true(trial.copy(number), "xxh64be", "md5", without=[f"{CARD}.md5"])
            require_whole(trial.root / f"d{number}/OTHER", count + 1)
            require_true(trial.root / f"d{number}/OTHER", "xxh64be", "md5", without=["OTHER.md5"])


def test_loose_file_beside_a_folder_has_lists_of_its_own(trial: TreeTrial) -> None:
    lone = trial.card.parent / "lone.mov"
    lone.write_bytes(b"alone")
    result = trial.run(1, sources=[str(trial.card), str(lone)], mhl="legacy", sums=("md5",))
    assert result.exit_code == 0
    assert _sums(trial.root / "d0/lone.mov.md5") == {"lone.mov": digest("md5", b"alone")}
    assert sorted(_sums(trial.root / "d0" / _SUM)) == sorted(trial.files)
    assert len(list((trial.root / "d0").glob("lone.mov_*.mhl"))) == 1


@pytest.mark.parametrize("also", ["a file", "a content"])
def test_folders_and_other_things_cannot_be_sealed_together(also: str, trial: TreeTrial) -> None:
    other = trial.card.parent / "OTHER"
    make_file(other / "x", 5)
    sources = [str(trial.card), f"{other}/x" if also == "a file" else f"{other}/"]
    with pytest.raises(UsageError, match="--mhl asc"):
        trial.run(2, sources=sources, mhl="asc")
    assert trial.names(0) == trial.names(1) == []


def test_empty_card_is_sealed_and_gets_no_legacy_list(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {})
    assert trial.run(1, mhl="legacy").exit_code == 0
    assert trial.names(0) == []
    (trial.card / "empty/folder").mkdir(parents=True)
    assert trial.run(1, mhl="asc").exit_code == 0
    require_whole(trial.copy(0), 1)
    assert sorted(require_true(trial.copy(0)).folders) == ["empty", "empty/folder"]
    trial.end()


def test_empty_card_gets_no_sum_file_which_no_tool_would_take(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {})
    assert trial.run(1, sums=("md5",)).exit_code == 0
    assert trial.names(0) == []
    trial.end()


def test_card_of_empty_files_alone_has_lists(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, {"a": 0, "b/c": 0})
    assert trial.run(1, mhl="asc", sums=("sha1",)).exit_code == 0
    require_true(trial.copy(0), "xxh64be", "sha1", without=[f"{CARD}.sha1"])
    trial.end()


def test_dry_run_writes_no_list(trial: TreeTrial) -> None:
    trial.run(1, mhl="asc")
    before = trial.names(0)
    offload = _offload(trial, str(trial.card), trial.label(0), trial.label(1), mhl="asc", sums=("md5",))
    assert offload.run(dry_run=True).exit_code == 0
    assert trial.names(0) == before
    assert not (trial.root / "d1").exists()


def test_destination_that_is_not_forced_gets_sum_files_alone(trial: TreeTrial) -> None:
    result = trial.run(2, mhl="asc", sums=("md5",), no_flush=frozenset({trial.label(0)}))
    assert result.exit_code == 0
    assert sorted(name for name in trial.names(0) if name not in {f"{CARD}/{each}" for each in trial.files}) == [_SUM]
    assert "no media hash list" in _told(trial, WarningEvent, 0)
    assert _told(trial, WarningEvent, 1) == ""
    _require_sealed_with_sums(trial, 1)


def test_sums_of_what_is_not_read_back_are_those_of_the_source(trial: TreeTrial) -> None:
    result = trial.run(1, sums=("md5",), verify=Verify.NONE)
    assert result.exit_code == 0
    assert _sums(trial.root / "d0" / _SUM) == {name: digest("md5", data) for name, data in trial.files.items()}


# -- again ----------------------------------------------------------------------------------------------------


def test_next_run_adds_a_generation_that_verifies_everything(trial: TreeTrial) -> None:
    for count in (1, 2, 3):
        result = trial.run(2, mhl="asc", sums=("md5",))
        assert result.exit_code == 0
        for number in range(2):
            require_whole(trial.copy(number), count)
            latest = require_true(trial.copy(number), "xxh64be", "md5", without=[f"{CARD}.md5"])
            assert latest.all_actions == {ORIGINAL if count == 1 else VERIFIED}
            assert len(latest.patterns) == len(set(latest.patterns))
    assert [name for name in trial.names(0) if name.endswith(".md5")] == [_SUM]


def test_new_file_is_original_among_verified_ones(trial: TreeTrial) -> None:
    trial.run(1, mhl="asc")
    trial.add("sub/new", 50)
    assert trial.run(1, mhl="asc").exit_code == 0
    require_whole(trial.copy(0), 2)
    latest = require_true(trial.copy(0))
    assert latest.actions["sub/new"] == {"xxh64be": ORIGINAL}
    assert latest.actions["clip.mov"] == {"xxh64be": VERIFIED}


def test_another_digest_joins_the_one_that_is_known(trial: TreeTrial) -> None:
    trial.run(1, mhl="asc", hashes=("md5",))
    assert trial.run(1, mhl="asc", hashes=("sha256", "c4")).exit_code == 0
    latest = require_true(trial.copy(0), "c4", "md5")
    assert latest.all_actions == {VERIFIED}


def test_destination_that_had_lists_and_one_that_had_none_have_their_own(trial: TreeTrial) -> None:
    trial.run(1, mhl="asc", hashes=("md5",))
    assert trial.run(2, mhl="asc").exit_code == 0
    require_whole(trial.copy(0), 2)
    require_whole(trial.copy(1), 1)
    assert require_true(trial.copy(0), "xxh64be", "md5").all_actions == {VERIFIED}
    assert require_true(trial.copy(1), "xxh64be", "md5").all_actions == {ORIGINAL}


def test_interrupted_run_that_is_resumed_lists_everything(trial: TreeTrial) -> None:
    rule = trial.fail("write", errno.EIO, 0, name="small.txt")
    assert trial.run(2, mhl="asc", sums=("md5",)).exit_code == 3
    assert rule.fired == 1
    _require_no_list(trial, 0)
    _require_sealed_with_sums(trial, 1)
    result = trial.run_again(2, mhl="asc", sums=("md5",))
    assert result.exit_code == 0
    assert not [call for call in trial.calls_of(0, "write") if "clip.mov" in call[1]]
    _require_sealed_with_sums(trial, 0)
    require_whole(trial.copy(1), 2)
    trial.require_no_partials()


def test_resumed_run_believes_no_record_that_lacks_a_digest(trial: TreeTrial) -> None:
    rule = trial.fail("write", errno.EIO, 0, name="small.txt")
    assert trial.run(1, mhl="asc").exit_code == 3
    assert rule.fired == 1
    assert trial.run_again(1, mhl="asc", hashes=("md5", "xxh64be"), sums=("sha1",)).exit_code == 0
    require_true(trial.copy(0), "md5", "xxh64be", "sha1", without=[f"{CARD}.sha1"])


@pytest.mark.parametrize("moment", ["after the list", "before the list"])
def test_run_that_ended_between_a_list_and_its_chain_is_taken_up(moment: str, trial: TreeTrial) -> None:
    """As a kill leaves it: the list has its name, the chain does not name it yet."""
    for before in (0, 1):
        rule = trial.system.fail("replace_name", errno.EIO, where="/d0/CARD/ascmhl/")
        if moment == "before the list":
            rule = trial.system.fail("rename_to_free_name", errno.EIO, where="/d0/CARD/ascmhl/")
        assert trial.run(1, mhl="asc").exit_code in (1, 3)
        assert rule.fired == 1
        result = trial.run_again(1, mhl="asc")
        assert result.exit_code == 0
        count = len(generations(trial.copy(0)))
        assert count == (1 if moment == "before the list" else 2) * (before + 1)
        require_whole(trial.copy(0), count)
        require_true(trial.copy(0))


# -- what is not complete -------------------------------------------------------------------------------------


def test_destination_that_fails_gets_no_list_and_the_others_do(trial: TreeTrial) -> None:
    rule = trial.fail("write", errno.ENOSPC, 1, name="small.txt", times=None)
    result = trial.run(mhl="asc", sums=("md5",))
    assert rule.fired >= 1
    assert result.exit_code == 3
    assert [name for name in trial.names(1) if name.endswith((".mhl", ".md5", ASC_CHAIN))] == []
    assert _told(trial, ErrorEvent, 1)
    _require_sealed_with_sums(trial, 0, 2)


def test_source_that_cannot_be_listed_whole_gives_no_list_anywhere(trial: TreeTrial) -> None:
    rule = trial.fail("entries", errno.EIO, name="sub")
    assert trial.run(2, mhl="asc", sums=("md5",)).exit_code == 3
    assert rule.fired == 1
    _require_no_list(trial, 0)
    _require_no_list(trial, 1)


@pytest.mark.fault(30)
def test_file_that_cannot_be_read_gives_no_list_anywhere(trial: TreeTrial) -> None:
    rule = trial.fail("read", errno.EIO, name="small.txt", times=None)
    assert trial.run(2, mhl="asc").exit_code == 3
    assert rule.fired >= 1
    _require_no_list(trial, 0)
    _require_no_list(trial, 1)


@pytest.mark.fault(38)
def test_second_reading_that_differs_gives_no_list(trial: TreeTrial) -> None:
    rule = trial.rule("read", flip, name="small.txt", nth=2)
    result = trial.run(2, mhl="asc", sums=("md5",), verify_source=VerifySource.AFTER_ALL)
    assert rule.fired == 1
    assert result.exit_code == 4
    _require_no_list(trial, 0)
    _require_no_list(trial, 1)


@pytest.mark.fault(40)
def test_copy_that_is_read_back_wrong_gives_no_list(trial: TreeTrial) -> None:
    rule = trial.rule("read", flip, 0, name="clip.mov")
    result = trial.run(2, mhl="asc", sums=("md5",))
    assert rule.fired == 1
    assert result.exit_code == 4
    _require_no_list(trial, 0)
    _require_sealed_with_sums(trial, 1)


@pytest.mark.fault(44)
def test_what_could_only_be_compared_in_the_cache_is_never_listed(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", trial.files["clip.mov"])
    rules = [
        trial.system.rule("is_cached", lambda real, *given: True, times=None),
        trial.system.fail("open_direct", errno.EINVAL, where="/d0/", times=None),
    ]
    result = trial.run(1, mhl="asc")
    assert all(rule.fired for rule in rules)
    assert result.exit_code in (1, 3)
    _require_no_list(trial, 0)


# -- conflicts ------------------------------------------------------------------------------------------------


def test_conflict_means_no_list(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", b"another one")
    assert trial.run(2, mhl="asc").exit_code == 3
    _require_no_list(trial, 0)
    _require_sealed(trial, 1)


def test_skipped_file_is_not_listed(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", b"another one")
    result = trial.run(2, mhl="asc", sums=("md5",), on_conflict=Conflict.SKIP)
    assert result.exit_code == 0
    require_whole(trial.copy(0), 1)
    assert sorted(generations(trial.copy(0))[0].files) == ["empty.txt", "sub/small.txt"]
    assert sorted(_sums(trial.root / "d0" / _SUM)) == ["empty.txt", "sub/small.txt"]
    assert "hold" in _told(trial, WarningEvent, 0)
    _require_sealed_with_sums(trial, 1)


def test_renamed_file_is_listed_under_the_name_that_it_got(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", b"another one")
    for count in (1, 2):
        assert trial.run(2, mhl="asc", sums=("md5",), on_conflict=Conflict.RENAME).exit_code == 0
        latest = generations(trial.copy(0))[-1]
        require_whole(trial.copy(0), count)
        assert sorted(latest.files) == ["clip 2.mov", "empty.txt", "sub/small.txt"]
        found = {each.name: each.accepted for each in latest.files["clip 2.mov"].digests}
        assert found["xxh64be"] == (digest("xxh64be", trial.files["clip.mov"]),)
        assert _sums(trial.root / "d0" / _SUM)["clip 2.mov"] == digest("md5", trial.files["clip.mov"])
        assert "clip.mov" in generations(trial.copy(1))[-1].files


def test_file_that_was_renamed_before_an_interruption_keeps_its_name_in_the_list(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", b"another one")
    rule = trial.fail("write", errno.EIO, 0, name="small.txt")
    assert trial.run(1, mhl="asc", on_conflict=Conflict.RENAME).exit_code == 3
    assert rule.fired == 1
    assert trial.run_again(1, mhl="asc", on_conflict=Conflict.RENAME).exit_code == 0
    assert sorted(generations(trial.copy(0))[0].files) == ["clip 2.mov", "empty.txt", "sub/small.txt"]


def test_overwritten_file_is_listed_as_it_is_now(trial: TreeTrial) -> None:
    trial.occupy(0, "clip.mov", b"another one")
    assert trial.run(2, mhl="asc", on_conflict=Conflict.OVERWRITE).exit_code == 0
    _require_sealed(trial, 0, 1)


def test_overwritten_file_of_a_history_is_called_failed(trial: TreeTrial) -> None:
    """The destination's own list knows the file by other bytes, which the user has replaced."""
    trial.run(1, mhl="asc")
    damage(trial.card / "clip.mov")
    os.utime(trial.card / "clip.mov")
    result = trial.run(1, mhl="asc", on_conflict=Conflict.OVERWRITE)
    assert result.exit_code == 4
    assert generations(trial.copy(0))[-1].actions["clip.mov"] == {"xxh64be": FAILED}
    assert trial.copy(0, "clip.mov").read_bytes() == (trial.card / "clip.mov").read_bytes()


# -- histories of the source ----------------------------------------------------------------------------------


def test_history_of_the_card_is_carried_over_and_continued(trial: TreeTrial) -> None:
    name = seal(trial.card)
    before = {path.name: path.read_bytes() for path in (trial.card / "ascmhl").iterdir()}
    for count in (2, 3):
        assert trial.run(2, mhl="asc").exit_code == 0
        for number in range(2):
            require_whole(trial.copy(number), count)
            assert require_true(trial.copy(number)).all_actions == {VERIFIED}
            assert (trial.copy(number) / "ascmhl" / name).read_bytes() == before[name]
    assert {path.name: path.read_bytes() for path in (trial.card / "ascmhl").iterdir()} == before


@pytest.mark.parametrize("fault", ["write", "cancel", "list"])
def test_card_with_a_history_is_completed_after_an_interruption(fault: str, trial: TreeTrial) -> None:
    seal(trial.card)
    if fault == "write":
        rule = trial.fail("write", errno.EIO, 0, name="small.txt")
    elif fault == "cancel":
        rule = trial.cancel_at("write", 0, name="small.txt")
    else:
        rule = trial.system.fail("rename_to_free_name", errno.EIO, where="/d0/CARD/ascmhl/", nth=2)
    trial.run(1, mhl="asc", strategy=Strategy.SINGLE)
    assert rule.fired == 1
    assert not (trial.copy(0) / "ascmhl" / ASC_CHAIN).exists()
    result = trial.run_again(1, mhl="asc")
    assert result.exit_code == 0
    _require_sealed(trial, 0, count=2)
    assert generations(trial.copy(0))[-1].all_actions == {VERIFIED}


def test_digests_that_the_history_knows_are_taken_as_well(trial: TreeTrial) -> None:
    seal(trial.card, "md5")
    seal(trial.card, "c4")
    assert trial.run(1, mhl="asc", hashes=("xxh64be",)).exit_code == 0
    latest = require_true(trial.copy(0), "xxh64be", "c4", "md5")
    assert latest.all_actions == {VERIFIED}


def test_file_that_was_damaged_since_it_was_sealed_is_told_of_and_kept(trial: TreeTrial) -> None:
    seal(trial.card)
    damage(trial.card / "clip.mov")
    result = trial.run(2, mhl="asc")
    assert result.exit_code == 4
    assert [each.state for each in result.destinations] == [State.MISMATCH] * 2
    for number in range(2):
        require_whole(trial.copy(number), 2)
        latest = require_true(trial.copy(number))
        assert latest.actions["clip.mov"] == {"xxh64be": FAILED}
        assert latest.actions["sub/small.txt"] == {"xxh64be": VERIFIED}
        assert trial.copy(number, "clip.mov").read_bytes() == (trial.card / "clip.mov").read_bytes()
        assert str(trial.copy(number, "clip.mov")) in _told(trial, ErrorEvent, number)
    assert not list(trial.root.rglob("*.corrupt"))


def test_file_that_fails_by_several_digests_is_one_file(trial: TreeTrial) -> None:
    seal(trial.card, "xxh64be", "md5")
    damage(trial.card / "clip.mov")
    result = trial.run(1, mhl="asc")
    assert result.exit_code == 4
    (each,) = result.destinations
    assert (each.files_ok, each.files_failed) == (3, 1)
    assert len(trial.notices(ErrorEvent)) == 1
    assert generations(trial.copy(0))[-1].actions["clip.mov"] == {"md5": FAILED, "xxh64be": FAILED}


def test_file_that_was_put_right_again_is_verified(trial: TreeTrial) -> None:
    seal(trial.card)
    damage(trial.card / "clip.mov")
    assert trial.run(1, mhl="asc").exit_code == 4
    damage(trial.card / "clip.mov")
    result = trial.run(1, mhl="asc", on_conflict=Conflict.OVERWRITE)
    assert result.exit_code == 0
    assert require_true(trial.copy(0)).all_actions == {VERIFIED}
    require_whole(trial.copy(0), 3)


def _break_list(folder: Path) -> None:
    path = next((folder / "ascmhl").glob("*.mhl"))
    path.write_bytes(path.read_bytes() + b"\n")


def _break_chain(folder: Path) -> None:
    (folder / "ascmhl" / ASC_CHAIN).write_bytes(b"<nothing>")


def _lose_list(folder: Path) -> None:
    next((folder / "ascmhl").glob("*.mhl")).unlink()


def _lose_chain(folder: Path) -> None:
    (folder / "ascmhl" / ASC_CHAIN).unlink()


_BREAKING = [_break_list, _break_chain, _lose_list, _lose_chain]


@pytest.mark.parametrize("spoil", _BREAKING)
@pytest.mark.parametrize("below", ["", "sub"])
def test_history_of_the_card_that_cannot_be_trusted_is_refused(
    spoil: Callable[[Path], None], below: str, trial: TreeTrial
) -> None:
    seal(trial.card / below)
    spoil(trial.card / below)
    with pytest.raises(RefusedError, match="cannot be trusted") as caught:
        trial.run(2, mhl="asc")
    assert caught.value.exit_code == 2
    assert list((trial.root / "d0").iterdir()) == []
    assert trial.run(2).exit_code == 0, "without --mhl asc it is copied as it is"


@pytest.mark.parametrize("spoil", _BREAKING[:3])
def test_history_of_a_destination_that_cannot_be_trusted_fails_only_this(
    spoil: Callable[[Path], None], trial: TreeTrial
) -> None:
    trial.run(2, mhl="asc")
    trial.add("new", 10)
    spoil(trial.copy(1))
    result = trial.run(2, mhl="asc")
    assert result.exit_code == 3
    assert [each.success for each in result.destinations] == [True, False]
    assert "history" in _told(trial, ErrorEvent, 1)
    assert not trial.copy(1, "new").exists()
    _require_sealed(trial, 0, count=2)


def test_message_of_a_broken_chain_says_which_file_it_is(trial: TreeTrial) -> None:
    seal(trial.card)
    _break_chain(trial.card)
    with pytest.raises(RefusedError, match=ASC_CHAIN):
        trial.run(1, mhl="asc")


def test_histories_that_went_apart_fail_this_destination_alone(trial: TreeTrial) -> None:
    seal(trial.card)
    trial.run(1, mhl="asc")
    before = {path: path.read_bytes() for path in (trial.copy(0) / "ascmhl").iterdir()}
    trial.add("new", 10)
    seal(trial.card)
    result = trial.run(2, mhl="asc")
    assert result.exit_code == 3
    assert [each.success for each in result.destinations] == [False, True]
    assert {path: path.read_bytes() for path in before} == before
    _require_sealed(trial, 1, count=3)


def test_histories_that_went_apart_are_seen_before_anything_is_written_there(trial: TreeTrial) -> None:
    seal(trial.card)
    trial.run(1, mhl="asc")
    before = trial.names(0)
    trial.add("new", 10)
    seal(trial.card)
    assert trial.run(2, mhl="asc").exit_code == 3
    assert trial.names(0) == before


def test_card_that_was_sealed_again_goes_on_where_nothing_was_added_yet(trial: TreeTrial) -> None:
    seal(trial.card)
    trial.run(1)  # as it is, with its chain
    seal(trial.card)
    trial.run(1, on_conflict=Conflict.OVERWRITE)
    assert trial.run(1, mhl="asc").exit_code == 0
    _require_sealed(trial, 0, count=3)


def test_histories_below_get_their_next_generation_and_are_referred_to(trial: TreeTrial) -> None:
    trial.add("sub/deep/x", 10)
    trial.add("sub/deep/y/z", 10)
    seal(trial.card / "sub/deep", "md5")
    seal(trial.card / "sub", without=["deep/x", "deep/y/z"])
    for count in (1, 2):
        assert trial.run(1, mhl="asc").exit_code == 0
        top, middle, deep = (trial.copy(0, below) for below in ("", "sub", "sub/deep"))
        require_whole(top, count)
        require_whole(middle, count + 1)
        require_whole(deep, count + 1)
        assert sorted(generations(top)[-1].files) == ["clip.mov", "empty.txt"]
        assert sorted(generations(top)[-1].folders) == ["sub"]
        assert sorted(generations(middle)[-1].files) == ["small.txt"]
        assert sorted(generations(middle)[-1].folders) == ["deep"]
        assert sorted(generations(deep)[-1].files) == ["x", "y/z"]
        assert sorted(generations(deep)[-1].folders) == ["y"]
        for above, below, name in ((top, middle, "sub"), (middle, deep, "deep")):
            latest = max((below / "ascmhl").glob("*.mhl"))
            (reference,) = generations(above)[-1].references
            assert reference.path == f"{name}/ascmhl/{latest.name}"
            assert reference.c4 == digest("c4", latest.read_bytes())
            root = generations(below)[-1].root
            folder = generations(above)[-1].folders[name]
            assert root is not None
            assert (root.content, root.structure) == (folder.content, folder.structure)


def test_damaged_file_of_a_history_below_is_named_by_its_whole_path(trial: TreeTrial) -> None:
    seal(trial.card / "sub")
    damage(trial.card / "sub/small.txt")
    assert trial.run(1, mhl="asc").exit_code == 4
    assert str(trial.copy(0, "sub/small.txt")) in _told(trial, ErrorEvent, 0)
    assert generations(trial.copy(0, "sub"))[-1].actions == {"small.txt": {"xxh64be": FAILED}}


def test_part_of_a_history_is_not_carried_over(trial: TreeTrial) -> None:
    seal(trial.card)
    with pytest.raises(RefusedError, match="ascmhl"):
        trial.run(1, mhl="asc", exclude=("*.mhl",))
    assert list((trial.root / "d0").iterdir()) == []


def test_history_that_is_left_out_as_a_whole_is_begun_anew(trial: TreeTrial) -> None:
    seal(trial.card)
    for count in (1, 2):
        assert trial.run(1, mhl="asc", exclude=("ascmhl/",)).exit_code == 0
        _require_sealed(trial, 0, count=count)


def test_history_in_a_folder_behind_a_link_is_continued_where_links_are_followed(trial: TreeTrial) -> None:
    other = trial.card.parent / "other"
    make_file(other / "x", 10)
    seal(other)
    (trial.card / "linked").symlink_to("../other")
    for count in (1, 2):
        assert trial.run(1, mhl="asc", symlinks=Symlinks.FOLLOW).exit_code == 0
        require_whole(trial.copy(0, "linked"), count + 1)
        require_whole(trial.copy(0), count)


def test_file_with_the_name_of_the_folder_of_lists_is_refused_at_once(trial: TreeTrial) -> None:
    (trial.card / "ascmhl").write_bytes(b"no folder")
    with pytest.raises(PfnDispatchCopyError, match="ascmhl") as caught:
        trial.run(1, mhl="asc")
    assert caught.value.exit_code == 2
    assert list((trial.root / "d0").iterdir()) == []


# -- what a list cannot hold ----------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="such names are of POSIX systems")
@pytest.mark.parametrize("mhl", ["asc", "legacy"])
@pytest.mark.parametrize("name", ["bad\udcffname", "ctrl\x01", "line\nbreak", "fff\uffff"])
def test_name_that_xml_cannot_hold_is_told_of_and_in_the_sum_file(mhl: str, name: str, trial: TreeTrial) -> None:
    (trial.card / name).write_bytes(b"odd")
    assert trial.run(2, mhl=mhl, sums=("md5",)).exit_code == 0
    assert "cannot hold this name" in _told(trial, WarningEvent)
    assert "\n" not in "".join(notice.message for notice in trial.notices(WarningEvent))
    for number in range(2):
        lines = (trial.root / f"d{number}" / _SUM).read_bytes().splitlines()
        assert len(lines) == 4
        assert any(digest("md5", b"odd").encode() in line for line in lines)
        if mhl == "asc":
            require_whole(trial.copy(number), 1)
            latest = generations(trial.copy(number))[0]
            assert sorted(latest.files) == sorted(trial.files)
            assert latest.folders["sub"].content


def test_folder_with_such_a_name_and_a_history_costs_nobody_his_lists(trial: TreeTrial) -> None:
    odd = trial.card / "odd\udcff"
    make_file(odd / "x", 10)
    seal(odd)
    for count in (1, 2):
        assert trial.run(1, mhl="asc").exit_code == 0
        require_whole(trial.copy(0), count)
        assert sorted(generations(trial.copy(0))[-1].files) == sorted(trial.files)
        assert (trial.copy(0, "odd\udcff") / "ascmhl" / ASC_CHAIN).exists()


def test_links_are_copied_and_in_no_list_and_their_paths_are_left_out(trial: TreeTrial) -> None:
    (trial.card / "to file").symlink_to("clip.mov")
    (trial.card / "sub/to folder").symlink_to("..")
    (trial.card / "dangling").symlink_to("nowhere")
    for count in (1, 2):
        assert trial.run(1, mhl="asc", sums=("md5",)).exit_code == 0
        assert os.readlink(trial.copy(0, "sub/to folder")) == ".."
        require_whole(trial.copy(0), count)
        latest = generations(trial.copy(0))[-1]
        assert sorted(latest.files) == sorted(trial.files)
        for name in ("to file", "sub/to folder", "dangling"):
            assert any(pattern.endswith(f"/{name}") for pattern in latest.patterns), name
        assert latest.folders["sub"].content
        assert latest.root is not None
    assert sorted(_sums(trial.root / "d0" / _SUM)) == sorted(trial.files)


# -- what is there beside the copies --------------------------------------------------------------------------


def test_folder_that_holds_more_than_was_verified_has_no_directory_hashes(trial: TreeTrial) -> None:
    trial.add("sub/deep/x", 10)
    trial.add("other/y", 10)
    trial.occupy(0, "sub/deep/of others", b"?")
    assert trial.run(2, mhl="asc").exit_code == 0
    listed = generations(trial.copy(0))[0]
    assert {path: bool(folder.content) for path, folder in listed.folders.items()} == {
        "other": True,
        "sub": False,
        "sub/deep": False,
    }
    assert listed.root is not None
    assert "hold" in _told(trial, WarningEvent, 0)
    _require_sealed(trial, 1)


@pytest.mark.parametrize(
    "kind",
    [
        "file",
        "folder",
        "link",
        "file with the name of a folder that is left out",
    ],
)
def test_whatever_it_is_it_counts(kind: str, trial: TreeTrial) -> None:
    (trial.copy(0) / "sub").mkdir(parents=True)
    path = trial.copy(0, "sub/made up")
    exclude: tuple[str, ...] = ()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"?")
        exclude = ("made up/",) if "left out" in kind else ()
    assert trial.run(1, mhl="asc", exclude=exclude).exit_code == 0
    assert generations(trial.copy(0))[0].folders["sub"].content == ()


def test_what_the_patterns_leave_out_does_not_count(trial: TreeTrial) -> None:
    trial.occupy(0, "sub/.DS_Store", b"?")
    trial.occupy(0, "sub/a.xyz", b"?")
    assert trial.run(1, mhl="asc", exclude=("*.xyz",)).exit_code == 0
    assert generations(trial.copy(0))[0].folders["sub"].content
    assert trial.notices(WarningEvent) == []


# -- patterns -------------------------------------------------------------------------------------------------


def test_patterns_of_what_was_left_out_are_recorded(trial: TreeTrial) -> None:
    trial.add("a.xyz", 10)
    trial.add("b.xyz", 10)
    assert trial.run(1, mhl="asc", exclude=("*.xyz",), include=("b.xyz",), exclude_system=True).exit_code == 0
    latest = generations(trial.copy(0))[0]
    assert latest.patterns[:5] == [".DS_Store", "ascmhl", "ascmhl/", "*.xyz", "._*"]
    assert latest.patterns.index("*.xyz") < latest.patterns.index("!b.xyz")
    assert sorted(latest.files) == ["b.xyz", *sorted(_SIZES)]


@pytest.mark.parametrize("pattern", [CARD, f"{CARD}/", "CAR?", "C*", "[BC]ARD"])
def test_pattern_that_would_take_a_folder_above_is_not_recorded(pattern: str, trial: TreeTrial) -> None:
    assert trial.run(1, mhl="asc", exclude=(pattern,)).exit_code == 0
    latest = generations(trial.copy(0))[0]
    assert latest.patterns == [".DS_Store", "ascmhl", "ascmhl/"]
    assert pattern in _told(trial, WarningEvent, 0)


@pytest.mark.parametrize(
    ("pattern", "recorded"),
    [("space ", "space\\ "), ("#hash", "\\#hash"), ("!bang", "\\!bang"), ("sub/**", "/sub/**/*")],
)
def test_pattern_is_recorded_so_that_others_read_it_alike(pattern: str, recorded: str, trial: TreeTrial) -> None:
    if "/" not in pattern:
        trial.add(pattern, 10)
        trial.add(pattern.strip("#! "), 10)
    for _ in range(2):
        assert trial.run(1, mhl="asc", exclude=(pattern,)).exit_code == 0
        latest = generations(trial.copy(0))[-1]
        assert pattern not in latest.files
        assert pattern.strip("#! ") in latest.files or pattern == "sub/**"
        assert latest.patterns[3:] == [recorded]


@pytest.mark.parametrize("pattern", ["/small.txt", "sub/small.txt", "**/small.txt", "sub/", "s*/*.txt"])
def test_anchored_pattern_is_recorded_from_the_folder_downwards(pattern: str, trial: TreeTrial) -> None:
    for name in ("small.txt", "deep/sub/small.txt", "sub/other.txt"):
        trial.add(name, 10)
    assert trial.run(1, mhl="asc", exclude=(pattern,)).exit_code == 0
    latest = require_true(trial.copy(0))
    (recorded,) = latest.patterns[3:]
    assert recorded == ("sub/" if pattern == "sub/" else f"/{pattern.lstrip('/')}")


def test_patterns_of_the_history_are_kept(trial: TreeTrial) -> None:
    seal(trial.card, patterns=["*.tmp", "!keep.tmp"])
    trial.run(1, mhl="asc", exclude=("*.xyz",))
    assert generations(trial.copy(0))[-1].patterns[3:] == ["*.tmp", "!keep.tmp", "*.xyz"]


def test_what_the_patterns_of_the_history_leave_out_is_copied_and_not_in_the_hashes(trial: TreeTrial) -> None:
    """Other tools do not count it; a directory hash with it would never be theirs."""
    seal(trial.card, patterns=["*.tmp"])
    trial.add("sub/a.tmp", 10)
    assert trial.run(1, mhl="asc", sums=("md5",)).exit_code == 0
    assert trial.copy(0, "sub/a.tmp").exists()
    require_true(trial.copy(0), "xxh64be", "md5", without=["sub/a.tmp", f"{CARD}.md5"])
    assert "sub/a.tmp" in _sums(trial.root / "d0" / _SUM)


def test_pattern_of_a_history_below_takes_nothing_elsewhere(trial: TreeTrial) -> None:
    trial.add("sub/clip.mov", 10)
    trial.add("sub/deep/clip.mov", 10)
    seal(trial.card / "sub", patterns=["/clip.mov"], without=["clip.mov"])
    for count in (1, 2):
        assert trial.run(1, mhl="asc").exit_code == 0
        require_whole(trial.copy(0), count)
        assert sorted(generations(trial.copy(0))[-1].files) == ["clip.mov", "empty.txt"]
        below = generations(trial.copy(0, "sub"))[-1]
        assert sorted(below.files) == ["deep/clip.mov", "small.txt"]
        assert "/clip.mov" in below.patterns
        assert "/clip.mov" not in generations(trial.copy(0))[-1].patterns


def test_copy_of_a_copy_has_lists_that_are_true(trial: TreeTrial) -> None:
    """From the shuttle to the archive: the sum file of the first copy is a file like any other."""
    trial.run(1, mhl="asc", sums=("md5",))
    top = trial.root / "archive"
    for _ in range(2):
        assert _offload(trial, str(trial.copy(0)), str(top), mhl="asc", sums=("md5",)).run().exit_code == 0
    require_true(top / CARD, "xxh64be", "md5", without=[f"{CARD}.md5", f"{CARD} 2.md5"])


@pytest.mark.parametrize("kind", ["pattern", "link", "sum file"])
def test_pattern_of_one_path_takes_no_other_that_ends_alike(kind: str, trial: TreeTrial) -> None:
    name = f"{CARD}.md5" if kind == "sum file" else "alike.txt"
    trial.add(f"sub/{name}", 10)
    options: dict[str, Any] = {"sums": ("md5",)} if kind == "sum file" else {}
    if kind == "pattern":
        trial.add(name, 10)
        options["exclude"] = (f"/{name}",)
    elif kind == "link":
        (trial.card / name).symlink_to("clip.mov")
    assert trial.run(1, mhl="asc", **options).exit_code == 0
    latest = generations(trial.copy(0))[0]
    assert f"sub/{name}" in latest.files
    assert not [pattern for pattern in latest.patterns if pattern.removeprefix("/**/") == name]


@pytest.mark.parametrize("name", ["a[b]c", "star*", "what?", "back\\slash", "#hash", "!bang", "space "])
def test_pattern_of_a_link_takes_its_name_as_it_is(name: str, trial: TreeTrial) -> None:
    (trial.card / name).symlink_to("nowhere")
    assert trial.run(1, mhl="asc").exit_code == 0
    (pattern,) = generations(trial.copy(0))[0].patterns[3:]
    special = "\\*?[]"
    spelled = "".join(f"\\{letter}" if letter in special else letter for letter in name)
    if spelled.endswith(" "):  # which gitignore(5) takes off
        spelled = f"{spelled[:-1]}\\ "
    assert pattern.endswith(f"/{spelled}")


# -- what fails while lists are written -----------------------------------------------------------------------


@pytest.fixture
def faults_from_the_lists_on(monkeypatch: pytest.MonkeyPatch) -> list[AnyCall]:
    """Faults that begin to count when the first list is about to be written."""
    faults: list[AnyCall] = []
    deliver = Delivery.deliver

    def delivering(delivery: Delivery, *, is_over: bool) -> None:
        for fault in faults:
            fault.after = ""
        deliver(delivery, is_over=is_over)

    monkeypatch.setattr(Delivery, "deliver", delivering)
    return faults


@pytest.mark.fault(1, 3, 6, 7, 8, 9, 10)
@pytest.mark.parametrize(
    ("error", "for_ever", "has_history"),
    [
        (errno.EIO, False, False),
        (errno.EIO, False, True),
        (errno.ENOSPC, True, False),
        (errno.ENOSPC, True, True),
    ],
)
def test_list_that_cannot_be_written_leaves_good_copies_and_no_half_list(
    error: int, for_ever: bool, has_history: bool, faults_from_the_lists_on: list[AnyCall], tmp_path: Path
) -> None:
    for nth in range(1 + 2 * has_history, 300, 4 if for_ever else 3):  # the kinds of cards share out the calls
        trial = TreeTrial(tmp_path / str(nth), {"clip.mov": 3000, "sub/small.txt": 100})
        if has_history:
            seal(trial.card)
        fault = trial.fail_any(error, 0, nth, after="deliver", for_ever=for_ever)
        fault.where = f"/d0/{CARD}"
        faults_from_the_lists_on[:] = [fault]
        try:
            _check_faulty_lists(trial, fault, 1 + has_history)
        finally:
            trial.end()
            shutil.rmtree(tmp_path / str(nth))
        if not fault.fired:
            assert nth > 15, "hardly any call to fail: this test has lost its meaning"
            return
    pytest.fail("it never stopped failing")


def _check_faulty_lists(trial: TreeTrial, fault: AnyCall, count: int) -> None:
    result = trial.run(1, mhl="asc", sums=("md5",))
    for name, data in listable_files(trial.card).items():
        assert trial.copy(0, name).read_bytes() == data, "a copy was lost by a list"
    _require_readable(trial)
    if result.success:
        require_whole(trial.copy(0), count)
        assert (trial.root / "d0" / _SUM).exists()
    else:
        assert fault.fired >= 1
        assert result.exit_code in (1, 3)
        assert "write the lists" in _told(trial, ErrorEvent, 0)
    assert trial.run_again(1, mhl="asc", sums=("md5",)).exit_code == 0
    require_whole(trial.copy(0), len(generations(trial.copy(0))))
    assert not partials(trial.root), f"left behind after {fault.victim}"
    require_true(trial.copy(0), "xxh64be", "md5", without=[f"{CARD}.md5"])


def _require_readable(trial: TreeTrial) -> None:
    """Every list that has a name is whole."""
    if (trial.copy(0) / "ascmhl").exists():
        generations(trial.copy(0))
    if (trial.copy(0) / "ascmhl" / ASC_CHAIN).exists():
        chain_of(trial.copy(0))
    for path in trial.copy(0).glob("*.md5"):
        lists = [f"ascmhl/{each.name}" for each in (trial.card / "ascmhl").glob("*.mhl")]
        assert sorted(_sums(path)) == sorted([*listable_files(trial.card), *lists])


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    ("name", "nth", "options"),
    [
        (f"ascmhl/{ASC_CHAIN}", 1, {"mhl": "asc"}),
        (f"ascmhl/{ASC_CHAIN}", 3, {"mhl": "asc"}),
        (f"{CARD}.md5", 1, {"sums": ("md5",)}),
        (f"{CARD}.sha1", 3, {"mhl": "asc", "sums": ("md5", "sha1")}),
    ],
)
def test_list_that_is_read_back_wrong_is_not_there_and_said(
    name: str, nth: int, options: dict[str, Any], trial: TreeTrial
) -> None:
    assert trial.run(2).exit_code == 0  # from now on nothing but lists is read under a temporary name
    where = f"/d0/{CARD}/{os.path.dirname(name)}".rstrip("/")
    rule = trial.system.rule("read", flip, where=f"{where}/.pfn.", nth=nth)
    result = trial.run(2, **options)
    assert rule.fired == 1
    assert result.exit_code in (3, 4)
    assert [each.success for each in result.destinations] == [False, True]
    assert not trial.copy(0, name).exists()
    assert trial.copy(1, name).exists()
    assert "write the lists" in _told(trial, ErrorEvent, 0)
    trial.require_copied(0)
    trial.require_no_partials(but_records=True)
    assert trial.run_again(2, **options).exit_code == 0
    assert trial.copy(0, name).exists()


@pytest.mark.parametrize("preserve", [frozenset(Preserve), frozenset()])
def test_folder_that_takes_no_times_has_its_lists_all_the_same(preserve: frozenset[Preserve], trial: TreeTrial) -> None:
    rule = trial.system.fail("set_times", errno.EPERM, where=f"/d0/{CARD}", times=None)
    assert trial.run(2, mhl="asc", preserve=preserve).exit_code == 0
    assert bool(rule.fired) == bool(preserve)
    _require_sealed(trial, 0, 1)


@pytest.mark.parametrize("has_history", [False, True])
def test_folders_that_may_not_be_written_get_their_lists_and_keep_their_modes(
    has_history: bool, trial: TreeTrial
) -> None:
    """As a card is that was mounted for reading only; who runs the tests may be allowed everything."""
    denied = 0

    def as_for_anybody(real: Callable[[], Any], folder: FolderHandle, *given: Any) -> Any:
        nonlocal denied
        is_making = len(given) < 2 or not isinstance(given[1], int) or given[1] & os.O_CREAT
        if is_making and not os.stat(folder.path).st_mode & 0o200:
            denied += 1
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real()

    if has_history:
        seal(trial.card)
        (trial.card / "ascmhl").chmod(0o555)
    trial.card.chmod(0o555)
    for count in (1, 2):
        for call in ("open_name", "make_subfolder", "rename_to_free_name", "replace_name", "remove_name"):
            trial.system.rule(call, as_for_anybody, where=f"/d0/{CARD}/", times=None)
        result = trial.run(1, mhl="asc", sums=("md5",))
        for folder in [trial.copy(0), *([trial.copy(0, "ascmhl")] if has_history else [])]:
            assert folder.stat().st_mode & 0o777 == 0o555
        assert (result.exit_code, denied) == (0, 0)
        require_whole(trial.copy(0), count + has_history)
        trial.system.heal()


@pytest.mark.fault(27)
def test_destination_that_hangs_over_its_list_does_not_hold_the_others(trial: TreeTrial) -> None:
    rule = trial.system.hang("rename_to_free_name", trial.release, where=f"/d0/{CARD}/ascmhl/")
    result = trial.run_within(20, 3, mhl="asc", stall_timeout_s=0.3)
    assert rule.fired == 1
    assert result.exit_code == 3
    assert [each.success for each in result.destinations] == [False, True, True]
    assert "write the lists" in _told(trial, ErrorEvent, 0)
    _require_sealed(trial, 1, 2)
    trial.require_copied(0)


@pytest.mark.fault(27)
def test_hung_destination_that_comes_back_is_completed_by_the_next_run(trial: TreeTrial) -> None:
    rule = trial.system.hang("flush", trial.release, where=f"/d0/{CARD}/ascmhl/")
    assert trial.run_within(20, 2, mhl="asc", stall_timeout_s=0.3).exit_code == 3
    assert rule.fired == 1
    trial.end()
    assert trial.run_again(2, mhl="asc").exit_code == 0
    require_whole(trial.copy(0), len(generations(trial.copy(0))))
    require_true(trial.copy(0))


def test_run_that_is_stopped_before_the_lists_is_not_complete_without_them(trial: TreeTrial) -> None:
    rule = trial.cancel_at("set_times", 0, name=CARD)
    result = trial.run(1, mhl="asc", sums=("md5",))
    assert rule.fired == 1
    _require_no_list(trial, 0)
    assert not result.success
    assert result.destinations[0].state is State.CANCELLED
    assert (trial.root / "d0" / journal_name(CARD)).exists()
    assert trial.run_again(1, mhl="asc", sums=("md5",)).exit_code == 0
    _require_sealed_with_sums(trial, 0)
    trial.require_no_partials()


def test_run_that_is_stopped_half_way_writes_no_list_and_the_next_one_does(trial: TreeTrial) -> None:
    rule = trial.cancel_at("write", 0, name="small.txt")
    result = trial.run(1, mhl="asc", strategy=Strategy.SINGLE)
    assert rule.fired == 1
    assert not result.success
    _require_no_list(trial, 0)
    assert trial.run_again(1, mhl="asc").exit_code == 0
    _require_sealed(trial, 0)


@pytest.mark.fault(57)
@pytest.mark.parametrize("has_history", [False, True])
@pytest.mark.parametrize("mhl", ["asc", "legacy"])
def test_temporary_files_of_lists_of_a_killed_run_are_swept(mhl: str, has_history: bool, trial: TreeTrial) -> None:
    """As a kill leaves them: in the folder of the lists, and beside the copies."""
    if has_history:
        seal(trial.card)
    assert trial.run(1).exit_code == 0
    if has_history:
        (trial.copy(0) / "ascmhl" / ASC_CHAIN).unlink()
    options: dict[str, Any] = {"mhl": mhl, "sums": ("md5",)}
    for where in (f"/d0/{CARD}/.pfn.", f"/d0/{CARD}/ascmhl/.pfn.")[: 2 if mhl == "asc" else 1]:
        for call in ("rename_to_free_name", "remove_name"):
            trial.system.fail(call, errno.EIO, where=where, times=None)
        trial.run(1, **options)
        trial.system.heal()
    left = partials(trial.copy(0))
    assert left, "nothing was left behind that could be swept"
    if mhl == "asc":
        assert [path for path in left if path.parent.name == "ascmhl"]
    assert trial.run_again(1, **options).exit_code == 0
    left = partials(trial.root)
    for path in left:
        path.unlink()
    assert left == []


def test_lists_of_another_run_into_the_same_folder_are_not_swept(trial: TreeTrial) -> None:
    """Loose files lock themselves and not their folder, so that several runs may fill it at once."""
    loose = [trial.card.parent / f"{name}.mov" for name in "abcd"]
    for path in loose:
        path.write_bytes(path.name.encode())
    other: list[int] = []

    def meanwhile(real: Callable[[], Any], *given: Any) -> Any:
        if not other and not (trial.root / "d0/d0.md5").exists() and (trial.root / "d0/b.mov").exists():
            other.append(-1)
            second = TreeOffload(
                [str(path) for path in loose[2:]],
                [trial.label(0)],
                CopyOptions(sums=("md5",)),
                observer=lambda event: None,
                cancel=trial.cancel,
                system=TreeSystem(),
            )
            other[0] = second.run().exit_code
        return real()

    rule = trial.system.rule("status_of_file", meanwhile, where="/d0/.pfn.", times=None)
    result = trial.run(1, sources=[str(path) for path in loose[:2]], sums=("md5",))
    assert rule.fired >= 1
    assert other == [0]
    assert result.exit_code == 0
    listed = [sorted(_sums(path)) for path in (trial.root / "d0").glob("*.md5")]
    assert sorted(listed) == [["a.mov", "b.mov"], ["c.mov", "d.mov"]]


@pytest.mark.fault(69)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
@pytest.mark.parametrize("number", [None, 0])
def test_pipe_in_a_history_does_not_hold_the_run(number: int | None, trial: TreeTrial) -> None:
    seal(trial.card)
    trial.run(2, mhl="asc")
    top = trial.card if number is None else trial.copy(number)
    path = top / "ascmhl" / ASC_CHAIN
    path.unlink()
    os.mkfifo(path)
    if number is None:
        with pytest.raises(RefusedError):
            trial.run_within(10, 2, mhl="asc")
    else:
        result = trial.run_within(10, 2, mhl="asc")
        assert [each.success for each in result.destinations] == [False, True]


@pytest.mark.fault(80)
def test_folder_of_lists_that_is_a_link_is_not_written_through(trial: TreeTrial, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    trial.copy(0).mkdir(parents=True)
    (trial.copy(0) / "ascmhl").symlink_to(outside)
    result = trial.run(2, mhl="asc")
    assert result.exit_code == 3
    assert list(outside.iterdir()) == []
    assert [each.success for each in result.destinations] == [False, True]


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_something_else_under_the_name_of_a_sum_file_is_left_alone(kind: str, trial: TreeTrial) -> None:
    path = trial.root / "d0" / _SUM
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    assert trial.run(1, sums=("md5",)).exit_code == 0
    assert sorted(_sums(trial.copy(0, f"{CARD} 2.md5"))) == sorted(trial.files)
    assert not path.is_file()


@pytest.mark.fault(74)
@pytest.mark.parametrize("letter", ["x", "é"])
def test_longest_name_of_a_folder_leaves_room_for_its_lists(letter: str, tmp_path: Path) -> None:
    name = letter * (255 // len(letter.encode()))
    trial = TreeTrial(tmp_path)
    card = trial.card.parent / name
    make_file(card / "a", 10)
    for count in (1, 2):
        done = _offload(trial, str(card), trial.label(0), mhl="asc", sums=("md5",)).run()
        assert done.exit_code == 0
        require_whole(trial.root / "d0" / name, count)
    assert _offload(trial, str(card), trial.label(0), mhl="legacy").run().exit_code == 0
    assert len(list((trial.root / "d0" / name).glob("*.md5"))) == 1
    trial.end()


def _offload(trial: TreeTrial, source: str, *destinations: str, **options: Any) -> TreeOffload:
    return TreeOffload(
        [source],
        list(destinations),
        CopyOptions(**{**trial.options, **options}),
        observer=trial.events.append,
        cancel=trial.cancel,
        system=trial.system,
    )
