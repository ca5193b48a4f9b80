"""Wishes for lists that cannot be met are refused before anything is written, and say what could be."""

import itertools

import pytest

from pfndispatchcopy import CopyOptions
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.handover.possible import listable, require_possible
from pfndispatchcopy.hashing import ALGORITHMS
from pfndispatchcopy.model import Mhl, Verify


def test_lists_hold_the_digests_that_their_formats_know() -> None:
    every = tuple(ALGORITHMS)
    assert set(listable(Mhl.ASC, every)) == set(every) - {"sha256"}
    assert set(listable(Mhl.LEGACY, every)) == {"md5", "sha1", "xxh64be"}
    assert listable(Mhl.NONE, every) == ()


@pytest.mark.parametrize("names", list(itertools.permutations(["c4", "xxh64be", "md5"])))
def test_digests_keep_their_order(names: tuple[str, ...]) -> None:
    assert listable(Mhl.ASC, names) == names


@pytest.mark.parametrize("is_tree", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        CopyOptions(),
        CopyOptions(verify=Verify.NONE, quick_check=True, hashes=("c4",)),
        CopyOptions(sums=("md5", "sha256")),
        CopyOptions(sums=("xxh3",), verify=Verify.NONE),
        CopyOptions(mhl=Mhl.LEGACY, hashes=("sha256", "sha1")),
        CopyOptions(mhl=Mhl.LEGACY, hashes=("c4",), sums=("md5",)),
    ],
)
def test_what_can_be_had_is_let_pass(options: CopyOptions, is_tree: bool) -> None:
    require_possible(options, is_tree=is_tree, source="clip.mov")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (CopyOptions(sums=("c4",)), "--sums c4: .* md5"),
        (CopyOptions(sums=("md5", "c4")), "--sums c4"),
        (CopyOptions(sums=("md5",), quick_check=True), "--quick-check"),
        (CopyOptions(mhl=Mhl.ASC, quick_check=True), "--quick-check"),
        (CopyOptions(mhl=Mhl.ASC, verify=Verify.NONE), "--verify none"),
        (CopyOptions(mhl=Mhl.LEGACY, verify=Verify.NONE), "--verify none"),
        (CopyOptions(mhl=Mhl.ASC, hashes=("sha256",)), "sha256.* -t .*xxh64be"),
        (CopyOptions(mhl=Mhl.LEGACY, hashes=("c4", "xxh3")), "c4, xxh3.* -t .*sha1"),
    ],
)
def test_what_cannot_be_had_is_refused(options: CopyOptions, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        require_possible(options, is_tree=True)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("mhl", "source", "match"),
    [(Mhl.ASC, "clip.mov", "--mhl legacy"), (Mhl.LEGACY, "-", "standard input"), (Mhl.ASC, "-", "standard input")],
)
def test_single_file_gets_a_legacy_list_and_a_stream_none(mhl: Mhl, source: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        require_possible(CopyOptions(mhl=mhl), is_tree=False, source=source)


def test_stream_can_have_sum_files() -> None:
    require_possible(CopyOptions(sums=("md5",)), is_tree=False, source="-")


def test_folder_called_like_standard_input_is_a_folder() -> None:
    require_possible(CopyOptions(mhl=Mhl.ASC), is_tree=True, source="-")
