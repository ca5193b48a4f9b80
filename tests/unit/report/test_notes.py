"""Notes and what is read of them again: every file once, by its path, and nothing lost."""

import io
import os
import tempfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.cli.jsonlines import path_fields
from pfndispatchcopy.model import ReadBack, State
from pfndispatchcopy.report.contents import Contents
from pfndispatchcopy.report.notes import Notes
from tests.support.report_trial import Told, many_files


def test_files_come_back_in_the_order_of_their_paths() -> None:
    told = Told("/a", "/b")
    for name in ("b/2", "a", "b/10", "c"):
        told.file(name, 7, md5="aa")
    with told.contents() as contents:
        rows = list(contents.rows())
        assert [row.path for row in rows] == ["a", "b/10", "b/2", "c"]
        assert contents.files_told == 4
        assert rows[0].size == 7
        assert rows[0].hashes == {"md5": "aa"}
        assert [each.path for each in rows[0].outcomes if each] == ["/a/A001/a", "/b/A001/a"]
        assert contents.hash_names == ("xxh64be", "md5")
        assert [place.ways for place in contents.places] == [Counter({(State.VERIFIED, ReadBack.EVICTED): 4})] * 2


@given(raw=st.binary(min_size=1, max_size=40).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_name_of_any_bytes_comes_back_exactly(raw: bytes) -> None:
    name = os.fsdecode(raw)
    told = Told("/a")
    told.file(name)
    told.left_out(name)
    told.notice("warning", "hm", path=name)
    with told.contents() as contents:
        (row,) = contents.rows()
        assert os.fsencode(row.path) == raw
        assert row.outcomes[0] is not None
        assert os.fsencode(row.outcomes[0].path) == b"/a/A001/" + raw
        assert [os.fsencode(path) for path, _ in contents.all_left_out()] == [raw]
        assert [os.fsencode(notice.path) for notice in contents.told("warning")] == [raw]


def test_renamed_copy_keeps_its_own_path() -> None:
    told = Told("/a", "/b")
    told.file("clip.mov")
    told.files[0]["destinations"][1]["path"] = "/b/A001/clip 2.mov"
    with told.contents() as contents:
        (row,) = contents.rows()
        assert [each.path for each in row.outcomes if each] == ["/a/A001/clip.mov", "/b/A001/clip 2.mov"]


def test_destination_that_was_not_given_a_file_has_no_outcome() -> None:
    told = Told("/mnt/a", "/mnt/a b", "/mnt/a/deeper")
    told.file("clip.mov", states=["verified", None, "verified"])
    told.file("other.mov", states=[None, None, "verified"])
    with told.contents(3) as contents:
        first, second = contents.rows()
        assert [each is not None for each in first.outcomes] == [True, False, True]
        assert [each is not None for each in second.outcomes] == [False, False, True]
        assert first.is_problem


def test_what_is_amended_is_one_row_and_the_last_word_counts() -> None:
    told = Told("/a", "/b")
    told.file("clip.mov", states=[None, "verified"], xxh64be="aa")
    told.file("clip.mov", states=["verified", None], xxh64be="aa")
    for each in told.files[1:]:
        each["event"] = "amended"
    told.file("bad.mov", xxh64be="bb")
    told.file("bad.mov", states=["mismatch", None], error="it was read as something else")
    told.files[-1] |= {"event": "amended", "hashes": {}}
    with told.contents(4) as contents:
        bad, good = contents.rows()
        assert (bad.hashes, good.hashes) == ({"xxh64be": "bb"}, {"xxh64be": "aa"})
        assert [each.state for each in good.outcomes if each] == [State.VERIFIED, State.VERIFIED]
        assert [(each.state, each.error) for each in bad.outcomes if each] == [
            (State.MISMATCH, "it was read as something else"),
            (State.VERIFIED, None),
        ]
        assert (bad.is_problem, good.is_problem) == (True, False)
        assert contents.files_told == 2


def test_files_of_several_lists_are_told_apart_by_where_they_are() -> None:
    told = Told("/a/a.mhl", "/b", is_check=True, sources=["/a/a.mhl", "/b"])
    for number, folder in enumerate(("/a", "/b")):
        told.file("clip.mov")
        told.files[-1]["destinations"] = [
            {"path": f"{folder}/clip.mov", "state": "verified", "read_back": "evicted", "error": None}
        ]
        assert number < 2
    with told.contents() as contents:
        rows = list(contents.rows())
        assert [row.path for row in rows] == ["/a/clip.mov", "/b/clip.mov"]
        assert [[each is not None for each in row.outcomes] for row in rows] == [[True, False], [False, True]]
        assert not any(row.is_problem for row in rows)


def test_samples_are_thinned_and_the_last_one_is_kept() -> None:
    told = Told("/a")
    for number in range(20_000):
        told.sample(number / 10, [number * 1000], [number * 500])
    with told.contents() as contents:
        assert 250 < len(contents.samples) <= 601
        gaps = [later.at_s - sooner.at_s for sooner, later in zip(contents.samples, contents.samples[1:], strict=False)]
        assert max(gaps) < 2 * 1999.9 / 250
        last = contents.samples[-1]
        assert (last.at_s, last.copied, last.verified) == (1999.9, (19_999_000,), (9_999_500,))


def test_copied_bytes_stay_as_they_were_while_only_reading_back_is_counted() -> None:
    told = Told("/a", "/b")
    told.sample(0.0, [100, 50], [0, 0])
    told.sample(1.0, [None, None], [30, 40])
    with told.contents() as contents:
        assert contents.samples[-1].copied == (100, 50)


def test_internal_error_is_an_error() -> None:
    told = Told("/a")
    told.files.append({"event": "crash", "message": "KeyError('x')", "trace": "..."})
    with told.contents(1) as contents:
        (notice,) = contents.told("error")
        assert notice.message == "internal error: KeyError('x')"
        assert contents.notices == {"error": 1}


def test_notes_that_are_not_complete_are_no_report() -> None:
    told = Told("/a")
    with tempfile.TemporaryFile() as spool:
        notes = Notes(spool, "x")
        notes.event(next(told.all_events())[1], 0.0)
        notes.close("2026-11-25T14:30:00Z")
        with pytest.raises(ValueError, match="not complete"):
            Contents(spool)


def test_whoever_watches_hears_of_long_reading() -> None:
    beats: list[int] = []
    told = many_files(6000)
    with tempfile.TemporaryFile() as spool:
        notes = Notes(spool, "x")
        for now, event in told.all_events():
            notes.event(event, now)
        notes.close("2026-11-25T14:30:00Z")
        contents = Contents(spool, lambda: beats.append(1))
        before = len(beats)
        list(contents.rows())
        contents.close()
    assert before >= 2
    assert len(beats) > before


def test_spool_that_is_full_is_an_error_of_the_system() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    told = Told("/a")
    told.file("clip.mov")
    notes = Notes(Full(), "x")
    with pytest.raises(OSError, match="No space"):
        notes.event(told.files[0], 0.0)


def test_notes_hold_a_hundred_bytes_a_file_and_destination_at_most() -> None:
    told = many_files(1000)
    with tempfile.TemporaryFile() as spool:
        notes = Notes(spool, "x")
        for now, event in told.all_events():
            notes.event(event, now)
        notes.close("2026-11-25T14:30:00Z")
        assert spool.tell() < 1000 * 3 * 100
    assert path_fields("x") == {"path": "x"}
