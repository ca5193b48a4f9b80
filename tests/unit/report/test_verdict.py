"""The verdict: a source may be erased only where two disks hold every file, proven one by one."""

from typing import Any

import pytest

from pfndispatchcopy.report.verdict import Level, Verdict, judge
from tests.support.report_trial import Told


def _told(*destinations: str, files: int = 3, **options: Any) -> Told:
    told = Told(*destinations, **options)
    for number in range(files):
        told.file(f"CLIPS/A{number:03}.mov", 10**9)
    return told


def _judge(told: Told, exit_code: int = 0, planned: int | None = None) -> Verdict:
    with told.contents(exit_code, planned) as contents:
        return judge(contents)


def _text(verdict: Verdict) -> str:
    return "\n".join([verdict.summary, *verdict.safe, *verdict.unsafe, *verdict.cautions])


# -- safe -------------------------------------------------------------------------------------------------


def test_two_proven_copies_on_two_volumes_are_safe() -> None:
    found = _judge(_told())
    assert (found.level, found.may_erase, found.headline) == (Level.SAFE, True, "Everything is safe.")
    assert found.summary == "2 verified copies on 2 volumes of all 3 files (3.0 GB)."
    assert found.erase == "A001 may be erased or formatted."
    assert len(found.safe) == 2
    assert (found.unsafe, found.cautions) == ((), ())


def test_identical_copies_that_were_read_from_the_medium_are_as_good() -> None:
    told = _told(files=0)
    told.file("a", states=["identical", "verified"])
    told.file("b", states=["identical", "identical"], read_back="direct")
    assert _judge(told).may_erase is True


def test_links_are_proven_by_reading_them() -> None:
    told = _told()
    told.file("link", 0, ["identical", "verified"], read_back="none")
    assert _judge(told).may_erase is True


def test_what_systems_strew_may_be_left_out() -> None:
    told = _told(exclude_system=True)
    told.left_out("/media/A001/.DS_Store")
    assert _judge(told).may_erase is True


def test_single_file_and_several_sources_are_called_what_they_are() -> None:
    told = _told(sources=["/media/clip.mov"], files=1)
    told.is_tree = False
    found = _judge(told)
    assert found.summary == "2 verified copies on 2 volumes of clip.mov (1.0 GB)."
    assert found.erase == "clip.mov may be deleted."
    assert _judge(_told(sources=["a", "b"])).erase == "All 2 sources may be erased or formatted."


def test_stream_cannot_be_erased_and_nothing_is_said_of_that() -> None:
    told = _told(sources=["-"], files=1)
    told.is_tree = False
    found = _judge(told)
    assert (found.level, found.may_erase, found.erase) == (Level.SAFE, None, "")


def test_two_disks_are_enough_and_a_third_copy_on_one_of_them_is_named() -> None:
    told = _told("/a", "/b", "/c")
    told.lie_on(1, 2, 2)
    found = _judge(told)
    assert (found.level, found.may_erase) == (Level.SAFE, True)
    assert found.summary.startswith("3 verified copies on 2 disks")
    assert found.cautions == ("/b and /c are on one disk: count them as one copy.",)


# -- not without a reservation ----------------------------------------------------------------------------


def _on_one_volume() -> Told:
    told = _told()
    told.lie_on(1, 1)
    return told


def _in_memory() -> Told:
    told = _told()
    told.lie_on(1, 2, filesystem="tmpfs")
    return told


def _with_states(states: list[str | None], read_back: str = "evicted", **options: Any) -> Told:
    told = _told(**options)
    told.file("odd", 5, states, read_back=read_back)
    return told


def _with_pattern() -> Told:
    told = _told(exclude=("*.tmp",))
    told.left_out("/media/A001/x.tmp")
    return told


def _with_fifo() -> Told:
    told = _told()
    told.notice("warning", "/media/A001/fifo: a FIFO: not copied", operation="list the folder")
    return told


def _with_unknown_volumes() -> Told:
    told = _told()
    told.volumes = []
    return told


def _with_error() -> Told:
    told = _told()
    told.notice("error", "hm")
    return told


@pytest.mark.parametrize(
    ("told", "headline", "said"),
    [
        (_told("/a"), "Verified, but only one copy.", "until there is a second one"),
        (_on_one_volume(), "Verified, but all on one disk.", "on one disk"),
        (_in_memory(), "Complete, but not proven.", "it lies in memory"),
        (_with_states(["copied", "copied"], "none"), "Complete, but not proven.", "copied, and not read back"),
        (_with_states(["verified", "copied"], "cached"), "Complete, but not proven everywhere.", "memory only"),
        (_with_states(["verified", "identical"], "cached"), "Complete, but not proven everywhere.", "memory only"),
        (_with_states(["verified", "copied"]), "Complete, but not proven everywhere.", "not forced to the medium"),
        (_with_states(["verified", "verified"], "memory"), "Complete, but not proven.", "it lies in memory"),
        (
            _with_states(["identical", "identical"], "none", quick_check=True),
            "Complete, but not proven.",
            "judged by size and time",
        ),
        (_with_states(["verified", "skipped"]), "Done, but other files were left in place.", "another file"),
        (_with_pattern(), "Verified, with a reservation.", "and in no copy: 1 entry of the source."),
        (_told(is_list=True), "Verified, with a reservation.", "Only what a list names"),
        (_with_fifo(), "Verified, with a reservation.", "No files, and so in no copy: 1 entry"),
        (_with_unknown_volumes(), "Verified, with a reservation.", "make sure that they are on different disks"),
        (_with_error(), "Verified, with a reservation.", "There were errors"),
        (_told(files=0), "There was nothing to copy.", "no file to copy"),
    ],
)
def test_source_is_kept_where_anything_is_in_doubt(told: Told, headline: str, said: str) -> None:
    found = _judge(told)
    assert (found.level, found.may_erase) == (Level.CAUTION, False)
    assert found.erase.startswith("Do not erase")
    assert found.headline == headline
    assert said in _text(found)


def test_destination_that_not_every_file_was_told_of_is_not_proven() -> None:
    found = _judge(_told(), planned=5)
    assert (found.level, found.may_erase) == (Level.CAUTION, False)
    assert "nothing was told of 2 files" in _text(found)


# -- not safe ---------------------------------------------------------------------------------------------


def test_one_good_destination_and_a_bad_one_are_told_apart() -> None:
    told = _told()
    told.file("bad", 5, ["verified", "failed"], error="/mnt/shuttle/day1/A001/bad: write failed: broken. Do this.")
    told.notice(
        "error", "/mnt/shuttle/day1/A001/bad: write failed: broken. Do this.", path="/mnt/shuttle/day1/A001/bad"
    )
    found = _judge(told, 3)
    assert (found.level, found.may_erase) == (Level.UNSAFE, False)
    assert found.headline == "Not everything is safe."
    assert found.summary == "1 verified copy; 1 of 2 destinations is not complete."
    assert [line.partition(":")[0] for line in found.safe] == ["/mnt/raid/day1"]
    assert found.unsafe == ("/mnt/shuttle/day1: 1 of 4 files is not complete there: write failed: broken.",)


@pytest.mark.parametrize(
    ("exit_code", "states", "headline"),
    [
        (1, ["failed", "failed"], "Nothing is safe."),
        (2, ["failed", "failed"], "Nothing was copied."),
        (4, ["verified", "mismatch"], "A copy is not what the source is."),
        (130, ["cancelled", "cancelled"], "Stopped before the end."),
        (143, ["verified", "cancelled"], "Stopped before the end."),
    ],
)
def test_bad_end_is_called_by_its_name(exit_code: int, states: list[str | None], headline: str) -> None:
    told = _told(files=0)
    told.file("clip.mov", 5, states)
    found = _judge(told, exit_code)
    assert (found.level, found.headline, found.may_erase) == (Level.UNSAFE, headline, False)


def test_refusal_is_told_once_and_not_of_the_wrong_destination() -> None:
    told = _told(files=0)
    message = "/mnt/raid/day1: not enough space; nothing was written"
    told.notice("error", message, path="/mnt/raid/day1")
    for place in told.places:
        place |= {"state": "failed", "error": message}
    assert _judge(told, 2).unsafe == (message,)


def test_what_could_not_be_listed_is_in_no_copy() -> None:
    told = _told()
    told.notice("error", "/media/A001/x: list the folder failed", operation="list the folder")
    found = _judge(told, 3)
    assert (found.level, found.may_erase) == (Level.UNSAFE, False)
    assert "could not be read" in found.summary


def test_exit_code_alone_is_enough_to_keep_the_source() -> None:
    for exit_code in (1, 2, 3, 4, 129, 130, 143):
        assert _judge(_told(), exit_code).may_erase is False


def test_names_in_the_verdict_are_harmless() -> None:
    told = _told("/a\u202e", "/b\x1b[31m", sources=["/media/\x07card\n"])
    found = _judge(told)
    assert "\\u202e" in _text(found)
    assert found.erase == "\\x07card\\n may be erased or formatted."
    assert _text(found).replace("\n", "").isprintable()


# -- checks -----------------------------------------------------------------------------------------------


def _checked(exit_code: int = 0, *, state: str = "verified", **counts: int) -> Verdict:
    told = Told("/mnt/a/A001", sources=["/mnt/a/A001"], is_check=True)
    for number in range(3):
        told.file(f"A{number}.mov", 10**9)
    found = {"verified": 3, "changed": 0, "missing": 0, "new": 0, **counts}
    told.places[0] |= found | {
        "state": state,
        "files_ok": found["verified"],
        "files_failed": found["changed"] + found["missing"],
    }
    return _judge(told, exit_code)


def test_lists_that_are_true_say_nothing_of_erasing() -> None:
    found = _checked()
    assert (found.level, found.may_erase, found.erase) == (Level.SAFE, None, "")
    assert found.headline == "Everything is as the lists say."
    assert found.safe == ("/mnt/a/A001: 3 files (3.0 GB), each as its list says.",)


@pytest.mark.parametrize(
    ("exit_code", "counts", "headline", "said"),
    [
        (4, {"verified": 1, "changed": 2}, "2 files have changed.", "1 verified, 2 changed"),
        (4, {"verified": 2, "changed": 1}, "1 file has changed.", "no longer what the lists say"),
        (3, {"missing": 1, "new": 2}, "Not everything is as the lists say.", "1 missing, 2 new"),
        (2, {"verified": 0}, "A list cannot be trusted.", "0 verified"),
        (130, {"verified": 1}, "Stopped before the end.", "interrupted"),
    ],
)
def test_check_that_found_something_says_what(exit_code: int, counts: dict[str, int], headline: str, said: str) -> None:
    found = _checked(exit_code, state="mismatch" if exit_code == 4 else "failed", **counts)
    assert (found.level, found.headline, found.may_erase) == (Level.UNSAFE, headline, None)
    assert said in _text(found)
