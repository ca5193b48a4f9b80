"""A history counts as a whole or not at all, and says of each digest what the reference implementation says."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.history import History, read_histories, read_history
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, write_chain
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    IgnorePattern,
    ListedDigest,
    ListedFile,
    UntrustedListError,
)
from tests.support.files import make_file
from tests.support.hash_lists import digest
from tests.support.histories import chain_of, damage, seal
from tests.support.tree_trial import TreeSystem

ORIGINAL, VERIFIED, FAILED = Action.ORIGINAL, Action.VERIFIED, Action.FAILED
DATA = {"clip.mov": b"clip", "sub/still.jpg": b"still"}


@pytest.fixture
def system() -> TreeSystem:
    return TreeSystem()


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Two files, and no history yet."""
    for name, data in DATA.items():
        path = tmp_path / "CARD" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "CARD"


@pytest.fixture
def root(system: TreeSystem, card: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(card))
    yield handle
    system.heal()
    system.close_folder(handle)


def _read(system: TreeSystem, root: FolderHandle) -> History:
    handle = system.open_subfolder(root, "ascmhl")
    try:
        return read_history(system, handle)
    finally:
        system.close_folder(handle)


def _refused(system: TreeSystem, root: FolderHandle, match: str) -> None:
    with pytest.raises(UntrustedListError, match=match):
        _read(system, root)


def _without_last_link(card: Path) -> None:
    (card / "ascmhl" / ASC_CHAIN).write_bytes(write_chain(chain_of(card)[:-1]))


# -- what is whole --------------------------------------------------------------------------------------------


def test_history_is_read_with_all_its_generations(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card, "xxh64be", patterns=["*.tmp"])
    seal(card, "md5", patterns=["*.bak", "!a.bak"])
    history = _read(system, root)
    assert history.links == chain_of(card)
    assert history.ignores is not None
    assert history.ignores[-2:] == ["*.bak", "!a.bak"]
    assert "*.tmp" not in history.ignores
    assert history.digest_names == {"xxh64be", "md5"}
    for name, data in DATA.items():
        known = history.known[name]
        assert known["xxh64be"] == (digest("xxh64be", data), True)
        assert known["md5"] == (digest("md5", data), False)


def test_folder_without_lists_has_an_empty_history(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    (card / "ascmhl").mkdir()
    (card / "ascmhl/notes.txt").write_bytes(b"nothing to do with it")
    history = _read(system, root)
    assert (history.links, history.ignores, history.known) == ([], None, {})


def test_empty_chain_is_an_empty_history(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    (card / "ascmhl").mkdir()
    (card / "ascmhl" / ASC_CHAIN).write_bytes(write_chain([]))
    assert _read(system, root).links == []


def test_gaps_in_the_numbers_are_minded_by_nobody(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card)
    (link,) = chain_of(card)
    os.rename(card / "ascmhl" / link.name, card / "ascmhl/0007_CARD.mhl")
    link = ChainLink(7, "0007_CARD.mhl", link.c4)
    (card / "ascmhl" / ASC_CHAIN).write_bytes(write_chain([link]))
    assert _read(system, root).links == [link]


def test_list_that_no_chain_names_yet_is_taken_up(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card)
    seal(card, "md5")
    whole = chain_of(card)
    _without_last_link(card)
    history = _read(system, root)
    assert history.links == whole
    assert history.digest_names == {"xxh64be", "md5"}


def test_list_with_another_number_than_the_next_is_not_taken_up(
    system: TreeSystem, card: Path, root: FolderHandle
) -> None:
    seal(card)
    whole = chain_of(card)
    (card / "ascmhl/0003_CARD.mhl").write_bytes((card / "ascmhl" / whole[0].name).read_bytes())
    assert _read(system, root).links == whole


@pytest.mark.parametrize("name", ["._0002_CARD.mhl", "0002_CARD.mhl.bak", "0002CARD.mhl", "notes.mhl", "2_CARD.mhl"])
def test_what_only_looks_like_a_list_is_passed_over(
    name: str, system: TreeSystem, card: Path, root: FolderHandle
) -> None:
    seal(card)
    (card / "ascmhl" / name).write_bytes(b"no list at all")
    assert _read(system, root).links == chain_of(card)


def test_long_chain_is_read(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    name = seal(card)
    data = (card / "ascmhl" / name).read_bytes()
    links = []
    for number in range(1, 301):
        link = ChainLink(number, f"{number:04d}_CARD.mhl", digest("c4", data))
        (card / "ascmhl" / link.name).write_bytes(data)
        links.append(link)
    os.remove(card / "ascmhl" / name)
    (card / "ascmhl" / ASC_CHAIN).write_bytes(write_chain(links))
    assert _read(system, root).links == links


def test_whoever_watches_hears_of_every_list(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    for _ in range(5):
        seal(card)
    beats: list[None] = []
    handle = system.open_subfolder(root, "ascmhl")
    read_history(system, handle, lambda: beats.append(None))
    system.close_folder(handle)
    assert len(beats) >= 5


def test_copy_of_a_history_goes_on_by_itself(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card)
    history = _read(system, root)
    copied = history.copy()
    copied.links.append(ChainLink(2, "0002.mhl", digest("c4")))
    assert len(history.links) == 1
    assert (copied.known, copied.ignores) == (history.known, history.ignores)


# -- what is not ----------------------------------------------------------------------------------------------


def test_lists_without_a_chain_are_not_trusted(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card)
    os.remove(card / "ascmhl" / ASC_CHAIN)
    _refused(system, root, "ascmhl_chain.xml is missing")


@pytest.mark.parametrize("which", [0, 1])
def test_list_that_is_gone_is_missed(which: int, system: TreeSystem, card: Path, root: FolderHandle) -> None:
    names = [seal(card), seal(card)]
    os.remove(card / "ascmhl" / names[which])
    _refused(system, root, f"{names[which]} is missing")


@pytest.mark.parametrize("which", [0, 1])
def test_list_that_was_changed_is_not_trusted(which: int, system: TreeSystem, card: Path, root: FolderHandle) -> None:
    names = [seal(card), seal(card)]
    path = card / "ascmhl" / names[which]
    path.write_bytes(path.read_bytes().replace(b"</hashlist>", b"</hashlist>\n"))
    _refused(system, root, f"{names[which]} was changed")


@pytest.mark.parametrize("data", [b"", b"<hashlist", b"<html></html>", b"\0" * 100])
def test_list_that_is_none_is_not_trusted(data: bytes, system: TreeSystem, card: Path, root: FolderHandle) -> None:
    name = seal(card)
    (card / "ascmhl" / name).write_bytes(data)
    (card / "ascmhl" / ASC_CHAIN).write_bytes(write_chain([ChainLink(1, name, digest("c4", data))]))
    _refused(system, root, name)


@pytest.mark.parametrize("data", [b"", b"<hashlist", b"<html></html>"])
def test_chain_that_is_none_is_not_trusted(data: bytes, system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card)
    (card / "ascmhl" / ASC_CHAIN).write_bytes(data)
    _refused(system, root, ASC_CHAIN)


@pytest.mark.fault(82)
@pytest.mark.parametrize("name", ["../0001_CARD.mhl", "sub/0001_CARD.mhl", "/0001_CARD.mhl", "chain.xml"])
def test_chain_that_leads_elsewhere_is_not_trusted(
    name: str, system: TreeSystem, card: Path, root: FolderHandle
) -> None:
    seal(card)
    (card / "ascmhl" / ASC_CHAIN).write_bytes(write_chain([ChainLink(1, name, digest("c4"))]))
    _refused(system, root, ASC_CHAIN)


def test_list_that_was_taken_up_has_to_be_a_list(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card)
    (card / "ascmhl/0002_CARD.mhl").write_bytes(b"half of a li")
    _refused(system, root, "0002_CARD.mhl")


@pytest.mark.fault(82)
@pytest.mark.parametrize("which", ["list", "chain"])
def test_link_in_the_place_of_a_file_is_not_followed(
    which: str, system: TreeSystem, card: Path, root: FolderHandle, tmp_path: Path
) -> None:
    name = seal(card)
    path = card / "ascmhl" / (name if which == "list" else ASC_CHAIN)
    os.rename(path, tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises((OSError, UntrustedListError)):
        _read(system, root)


@pytest.mark.fault(69)
@pytest.mark.timeout(10)
@pytest.mark.parametrize("which", ["list", "chain", "list that no chain names"])
def test_pipe_in_the_place_of_a_file_does_not_hang(
    which: str, system: TreeSystem, card: Path, root: FolderHandle
) -> None:
    name = seal(card)
    path = card / "ascmhl" / {"list": name, "chain": ASC_CHAIN}.get(which, "0002_CARD.mhl")
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises((OSError, UntrustedListError)):
        _read(system, root)


@pytest.mark.parametrize("which", ["list", "chain"])
def test_folder_in_the_place_of_a_file_is_an_error(
    which: str, system: TreeSystem, card: Path, root: FolderHandle
) -> None:
    name = seal(card)
    path = card / "ascmhl" / (name if which == "list" else ASC_CHAIN)
    path.unlink()
    path.mkdir()
    with pytest.raises((OSError, UntrustedListError)):
        _read(system, root)


@pytest.mark.fault(84)
def test_endless_chain_is_not_read_to_its_end(
    system: TreeSystem, card: Path, root: FolderHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(card)
    monkeypatch.setattr("pfndispatchcopy.handover.history._LONGEST_CHAIN", 50)
    with pytest.raises(OSError, match="large") as caught:
        _read(system, root)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("call", ["list_names", "open_name", "read"])
@pytest.mark.parametrize("nth", [1, 2])
def test_history_that_cannot_be_read_is_an_error_and_not_a_shorter_one(
    call: str, nth: int, system: TreeSystem, card: Path, root: FolderHandle
) -> None:
    seal(card)
    seal(card)
    if call == "list_names" and nth > 1:
        return
    rule = system.fail(call, errno.EIO, where="ascmhl", nth=nth)
    with pytest.raises(OSError, match="Input/output"):
        _read(system, root)
    assert rule.fired == 1


# -- several of them ------------------------------------------------------------------------------------------


def test_histories_are_found_in_the_folders_that_have_one(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    make_file(card / "other/x", 5)
    seal(card / "sub")
    (card / "other/ascmhl").write_bytes(b"a file of that name is no history")
    found = read_histories(system, root, ["", "sub", "other", "nowhere"])
    assert sorted(found) == ["sub"]
    assert found["sub"].links == chain_of(card / "sub")


def test_many_folders_do_not_take_many_descriptors(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    names = [f"f{number:03}" for number in range(200)]
    for name in names:
        (card / name / "ascmhl").mkdir(parents=True)
    most = 0

    def count() -> None:
        nonlocal most
        most = max(most, len(system.state.paths))

    assert len(read_histories(system, root, names, count)) == 200
    assert 0 < most < 150


# -- original, verified, failed -------------------------------------------------------------------------------


def _history(*generations: dict[str, list[tuple[str, str, Action | None]]]) -> History:
    history = History()
    for files in generations:
        history.begin_generation()
        history.add(IgnorePattern("*.tmp"))
        for path, digests in files.items():
            history.add(
                ListedFile(path, None, tuple(ListedDigest(name, (text,), said) for name, text, said in digests))
            )
    return history


def _said(history: History, *given: tuple[str, str]) -> list[tuple[str, Action]]:
    said = list(history.action_for("f", given))
    assert all((name, text) in given for name, text, _ in said)
    return [(name, action) for name, _, action in said]


def test_file_of_no_history_is_original() -> None:
    assert _said(_history(), ("md5", "1"), ("c4", "2")) == [("md5", ORIGINAL), ("c4", ORIGINAL)]


def test_file_that_a_history_does_not_know_is_original() -> None:
    history = _history({"other": [("md5", "1", ORIGINAL)]})
    assert _said(history, ("md5", "1")) == [("md5", ORIGINAL)]


def test_same_digest_is_verified_and_another_one_failed() -> None:
    history = _history({"f": [("md5", "1", ORIGINAL)]})
    assert _said(history, ("md5", "1")) == [("md5", VERIFIED)]
    assert _said(history, ("md5", "2")) == [("md5", FAILED)]


def test_new_format_is_vouched_for_by_the_old_one() -> None:
    history = _history({"f": [("md5", "1", ORIGINAL)]})
    assert _said(history, ("c4", "9"), ("md5", "1")) == [("c4", VERIFIED), ("md5", VERIFIED)]


def test_new_format_is_left_out_where_the_old_one_failed() -> None:
    history = _history({"f": [("md5", "1", ORIGINAL)]})
    assert _said(history, ("c4", "9"), ("md5", "2")) == [("md5", FAILED)]


def test_format_that_came_later_is_compared_with_its_first_digest() -> None:
    history = _history({"f": [("md5", "1", ORIGINAL)]}, {"f": [("md5", "1", VERIFIED), ("c4", "9", VERIFIED)]})
    assert _said(history, ("c4", "8"), ("md5", "1")) == [("c4", FAILED), ("md5", VERIFIED)]


def test_file_is_compared_with_what_was_found_first_even_after_it_failed_once() -> None:
    history = _history({"f": [("md5", "1", ORIGINAL)]}, {"f": [("md5", "2", FAILED)]})
    assert _said(history, ("md5", "1")) == [("md5", VERIFIED)]
    assert _said(history, ("md5", "2")) == [("md5", FAILED)]


@pytest.mark.parametrize("said", [VERIFIED, FAILED, None])
def test_file_that_never_was_original_becomes_it(said: Action | None) -> None:
    history = _history({"f": [("md5", "1", said)]})
    assert _said(history, ("md5", "2"), ("c4", "9")) == [("md5", ORIGINAL), ("c4", ORIGINAL)]


def test_original_of_a_later_generation_counts() -> None:
    history = _history({"f": [("md5", "1", VERIFIED)]}, {"f": [("c4", "9", ORIGINAL)]})
    assert _said(history, ("md5", "1"), ("c4", "9")) == [("md5", VERIFIED), ("c4", VERIFIED)]


def test_patterns_are_those_of_the_latest_generation_alone() -> None:
    history = _history({}, {})
    assert history.ignores == ["*.tmp"]
    history.begin_generation()
    assert history.ignores == []


def test_damaged_file_shows_in_what_is_said_of_it(system: TreeSystem, card: Path, root: FolderHandle) -> None:
    seal(card, "md5", "xxh64be")
    before = digest("md5", DATA["clip.mov"])
    damage(card / "clip.mov")
    now = digest("md5", (card / "clip.mov").read_bytes())
    history = _read(system, root)
    assert list(history.action_for("clip.mov", [("md5", now)])) == [("md5", now, FAILED)]
    assert list(history.action_for("clip.mov", [("md5", before)])) == [("md5", before, VERIFIED)]
