"""Sum files and legacy lists, written beside what they list."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.plain import write_legacy_list, write_sums
from pfndispatchcopy.handover.writing import Medium
from pfndispatchcopy.hashlists.legacy import read_legacy
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, read_sums
from tests.support.hash_lists import CREATOR, digest, sealed_file
from tests.support.tree_trial import TreeSystem

FILES = {"a.mov": b"a", "sub/b.jpg": b"b", "zero": b""}


@pytest.fixture
def medium() -> Medium:
    return Medium(TreeSystem(), is_memory=False, is_forced=True)


@pytest.fixture
def folder(medium: Medium, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = medium.system.open_folder(str(tmp_path))
    yield handle
    medium.system.close_folder(handle)


@pytest.mark.parametrize(("name", "suffix"), SUM_DIGESTS.items())
def test_sum_file_lists_every_file_by_its_digest(
    name: str, suffix: str, medium: Medium, folder: FolderHandle, tmp_path: Path
) -> None:
    files = [sealed_file(path, data) for path, data in FILES.items()]
    assert write_sums(medium, folder, "CARD", name, files).name == f"CARD.{suffix}"
    listed = list(read_sums([(tmp_path / f"CARD.{suffix}").read_bytes()], f"CARD.{suffix}"))
    assert [each.path for each in listed] == list(FILES)
    for each in listed:
        assert [(one.name, one.accepted) for one in each.digests] == [(name, (digest(name, FILES[each.path]),))]


def test_sum_file_is_not_written_twice_and_takes_nothing_away(
    medium: Medium, folder: FolderHandle, tmp_path: Path
) -> None:
    files = [sealed_file("a.mov", b"a")]
    for _ in range(2):
        assert write_sums(medium, folder, "CARD", "md5", files).name == "CARD.md5"
    before = (tmp_path / "CARD.md5").read_bytes()
    more = [*files, sealed_file("b", b"b")]
    for _ in range(2):
        assert write_sums(medium, folder, "CARD", "md5", more).name == "CARD 2.md5"
    assert (tmp_path / "CARD.md5").read_bytes() == before


@pytest.mark.parametrize("title", ["x" * 255, "é" * 127, "映" * 85, "\udcff" * 255])
def test_long_title_leaves_room_for_suffix_and_number(
    title: str, medium: Medium, folder: FolderHandle, tmp_path: Path
) -> None:
    names = [write_sums(medium, folder, title, "xxh128", [sealed_file(f"f{number}")]).name for number in range(12)]
    assert len(set(names)) == 12
    for name in names:
        assert name.endswith(".xxh128")
        assert title.startswith(name.removesuffix(".xxh128").split(" ")[0])
        assert len(os.fsencode(name)) <= 255


@pytest.mark.skipif(os.name != "posix", reason="such names are of POSIX systems")
def test_any_bytes_of_a_name_are_in_the_sum_file(medium: Medium, folder: FolderHandle, tmp_path: Path) -> None:
    names = ["\udcff\x01", "line\nbreak\r", "back\\slash", "-", " space ", "#"]
    write_sums(medium, folder, "CARD", "sha1", [sealed_file(name, b"x") for name in names])
    listed = [each.path for each in read_sums([(tmp_path / "CARD.sha1").read_bytes()], "CARD.sha1")]
    assert listed == names


def test_legacy_list_has_the_digests_that_it_can_hold(medium: Medium, folder: FolderHandle, tmp_path: Path) -> None:
    files = [sealed_file(path, data) for path, data in FILES.items()]
    name = write_legacy_list(medium, folder, "CARD", CREATOR, 0.0, files).name
    assert name.startswith("CARD_")
    assert name.endswith(".mhl")
    data = (tmp_path / name).read_bytes()
    listed = list(read_legacy([data]))
    assert [each.path for each in listed] == list(FILES)
    for each in listed:
        assert {one.name: one.accepted for one in each.digests} == {
            name: (digest(name, FILES[each.path]),) for name in ("md5", "sha1", "xxh64be")
        }
    assert b"<c4>" not in data
    assert b"<startdate>1970-01-01T00:00:00Z</startdate>" in data


def test_second_legacy_list_of_one_second_takes_nothing_away(
    medium: Medium, folder: FolderHandle, tmp_path: Path
) -> None:
    names = {
        write_legacy_list(medium, folder, "CARD", CREATOR, float(number), [sealed_file("a", b"a")]).name
        for number in range(3)
    }
    assert len(names) == 3
    assert sorted(os.listdir(tmp_path)) == sorted(names)
