"""The lists of a folder and of the folders in it that have histories: each says its own part, and all fit together."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.asc import Contradiction, Sealing, seal
from pfndispatchcopy.handover.history import History, read_histories
from pfndispatchcopy.handover.writing import Medium
from pfndispatchcopy.hashlists.asc import ASC_CHAIN
from pfndispatchcopy.hashlists.directory_hashes import directory_hashes
from pfndispatchcopy.hashlists.entries import Action, SealedDigest, SealedFile, UntrustedListError
from tests.support.hash_lists import AT, CREATOR, digest
from tests.support.histories import generations, require_whole
from tests.support.tree_trial import TreeSystem, failing

FILES = {"a": b"a", "sub/b": b"b", "sub/deep/c": b"c", "sub/deep/er/d": b"d", "side/e": b"e"}
FOLDERS = ("sub", "sub/deep", "sub/deep/er", "side", "side/empty")


class Place(NamedTuple):
    """A destination whose copies are there already."""

    medium: Medium
    root: FolderHandle
    path: Path

    def seal(self, sealing: Sealing) -> list[Contradiction]:
        return seal(self.medium, self.root, sealing, CREATOR)

    def histories(self, *paths: str) -> dict[str, History]:
        return read_histories(self.medium.system, self.root, paths)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    top = tmp_path / "CARD"
    for folder in FOLDERS:
        (top / folder).mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (top / name).write_bytes(data)
    system = TreeSystem()
    root = system.open_folder(str(top))
    yield Place(Medium(system, is_memory=False, is_forced=True), root, top)
    system.heal()
    system.close_folder(root)


def _sealing(
    *histories: str,
    names: tuple[str, ...] = ("xxh64be",),
    unsealed: tuple[str, ...] = (),
    ignores: tuple[str, ...] = (),
    files: dict[str, bytes] | None = None,
    known: dict[str, History] | None = None,
) -> Sealing:
    sealed = [
        SealedFile(path, len(data), 0, tuple(SealedDigest(name, digest(name, data)) for name in names), AT)
        for path, data in (FILES if files is None else files).items()
    ]
    return Sealing(
        title="CARD",
        algorithms=names,
        files=sealed,
        folders=FOLDERS,
        unsealed=frozenset(unsealed),
        ignores=ignores,
        histories=known or {path: History() for path in ("", *histories)},
    )


def test_folder_without_histories_has_one_list_of_everything(place: Place) -> None:
    assert place.seal(_sealing(names=("c4", "md5"))) == []
    require_whole(place.path, 1)
    (listed,) = generations(place.path)
    assert sorted(listed.files) == sorted(FILES)
    assert sorted(listed.folders) == sorted(FOLDERS)
    assert listed.references == []
    assert listed.all_actions == {Action.ORIGINAL}
    assert listed.name.startswith("0001_CARD_20")
    right = directory_hashes(
        ("c4", "md5"),
        ((path, {name: digest(name, data) for name in ("c4", "md5")}) for path, data in FILES.items()),
        FOLDERS,
    )
    assert listed.root is not None
    assert {each.name: each.accepted[0] for each in listed.root.content} == dict(right[""].content)
    for path, folder in listed.folders.items():
        assert {each.name: each.accepted[0] for each in folder.structure} == dict(right[path].structure)


@pytest.mark.parametrize("histories", [("sub",), ("sub", "sub/deep"), ("sub/deep", "side"), ("sub/deep/er", "sub")])
def test_every_file_and_folder_is_in_exactly_one_list(histories: tuple[str, ...], place: Place) -> None:
    place.seal(_sealing(*histories))
    files, folders = [], []
    for owner in ("", *histories):
        (listed,) = generations(place.path / owner)
        require_whole(place.path / owner, 1)
        assert listed.root is not None
        assert listed.root.content
        files += [os.path.join(owner, path) for path in listed.files]
        folders += [os.path.join(owner, path) for path in listed.folders]
    assert sorted(files) == sorted(FILES)
    assert sorted(folders) == sorted(FOLDERS)


def test_list_refers_to_those_directly_below_it_alone(place: Place) -> None:
    place.seal(_sealing("sub", "sub/deep", "side"))
    references = {}
    for owner in ("", "sub", "sub/deep", "side"):
        (listed,) = generations(place.path / owner)
        references[owner] = {each.path.split("/ascmhl/")[0] for each in listed.references}
        for each in listed.references:
            assert each.c4 == digest("c4", (place.path / owner / each.path).read_bytes())
    assert references == {"": {"sub", "side"}, "sub": {"deep"}, "sub/deep": set(), "side": set()}


def test_folder_with_a_history_has_the_same_hashes_above_and_in_it(place: Place) -> None:
    place.seal(_sealing("sub", "sub/deep"))
    for above, name in (("", "sub"), ("sub", "deep")):
        root = generations(place.path / above / name)[0].root
        folder = generations(place.path / above)[0].folders[name]
        assert root is not None
        assert (root.content, root.structure) == (folder.content, folder.structure)
        assert folder.content


def test_numbers_go_on_by_themselves_in_each_history(place: Place) -> None:
    place.seal(_sealing("sub"))
    place.seal(_sealing(known=place.histories("", "sub")))
    place.seal(_sealing(known={**place.histories("", "sub"), "side": History()}))
    require_whole(place.path, 3)
    require_whole(place.path / "sub", 3)
    require_whole(place.path / "side", 1)
    assert generations(place.path)[2].all_actions == {Action.VERIFIED}
    assert {each.path.split("_")[0] for each in generations(place.path)[2].references} == {
        "side/ascmhl/0001",
        "sub/ascmhl/0003",
    }


def test_next_list_after_a_gap_has_the_next_number(place: Place) -> None:
    place.seal(_sealing())
    history = place.histories("")[""]
    history.links[0] = history.links[0]._replace(number=41)
    place.seal(_sealing(known={"": history}))
    assert any(name.startswith("0042_") for name in os.listdir(place.path / "ascmhl"))


def test_folder_that_holds_more_has_no_hashes_but_the_top_always_has(place: Place) -> None:
    place.seal(_sealing("side", unsealed=("", "sub", "side")))
    (listed,) = generations(place.path)
    assert listed.root is not None
    assert listed.root.content
    assert listed.folders["sub"].content == listed.folders["sub"].structure == ()
    assert listed.folders["sub/deep"].content
    assert listed.folders["side"].content == ()
    root = generations(place.path / "side")[0].root
    assert root is not None
    assert root.content


def test_file_that_changed_is_told_of_and_called_failed(place: Place) -> None:
    place.seal(_sealing("sub", names=("md5", "xxh64be")))
    changed = {**FILES, "sub/deep/c": b"changed"}
    (found,) = place.seal(_sealing(names=("md5", "xxh64be", "c4"), files=changed, known=place.histories("", "sub")))
    assert found.path == "sub/deep/c"
    assert (found.listed, found.found) == (digest(found.name, b"c"), digest(found.name, b"changed"))
    actions = generations(place.path / "sub")[1].actions
    assert actions["deep/c"] == {"md5": Action.FAILED, "xxh64be": Action.FAILED}
    assert actions["b"] == dict.fromkeys(("c4", "md5", "xxh64be"), Action.VERIFIED)


def test_patterns_begin_with_the_usual_ones_and_come_once(place: Place) -> None:
    place.seal(_sealing(ignores=("*.tmp", ".DS_Store", "*.tmp")))
    assert generations(place.path)[0].patterns == [".DS_Store", "ascmhl", "ascmhl/", "*.tmp"]


def test_lists_below_are_written_before_those_that_refer_to_them_and_chains_last(place: Place) -> None:
    place.seal(_sealing("sub", "sub/deep"))
    system = place.medium.system
    assert isinstance(system, TreeSystem)
    named = [path for call, path in system.calls if call in ("rename_to_free_name", "replace_name")]
    places = [os.path.dirname(os.path.relpath(path, place.path)) for path in named]
    assert places == ["sub/deep/ascmhl"] * 2 + ["sub/ascmhl"] * 2 + ["ascmhl"] * 2
    kinds = [call for call, path in system.calls if call in ("rename_to_free_name", "replace_name")]
    assert kinds == ["rename_to_free_name", "replace_name"] * 3


def test_new_folder_of_lists_is_durable_before_the_list(place: Place) -> None:
    place.seal(_sealing())
    system = place.medium.system
    assert isinstance(system, TreeSystem)
    calls = [(call, os.path.relpath(path.rstrip("/"), place.path)) for call, path in system.calls if path]
    made = calls.index(("make_subfolder", "ascmhl"))
    forced = calls.index(("flush_folder", "."))
    assert made < forced < [call for call, _ in calls].index("rename_to_free_name")


def test_chain_that_cannot_be_written_leaves_the_old_one_and_the_list_for_the_next_run(place: Place) -> None:
    place.seal(_sealing())
    before = (place.path / "ascmhl" / ASC_CHAIN).read_bytes()
    system = place.medium.system
    assert isinstance(system, TreeSystem)
    rule = system.rule("replace_name", failing("replace_name", 5), where="/ascmhl/")
    with pytest.raises(OSError, match="Input/output"):
        place.seal(_sealing(known=place.histories("")))
    assert rule.fired == 1
    assert (place.path / "ascmhl" / ASC_CHAIN).read_bytes() == before
    system.heal()
    place.seal(_sealing(known=place.histories("")))
    require_whole(place.path, 3)


def test_history_below_that_is_completed_first_stays_valid_when_the_top_fails(place: Place) -> None:
    system = place.medium.system
    assert isinstance(system, TreeSystem)
    rule = system.rule("rename_to_free_name", failing("rename_to_free_name", 28), where="/CARD/ascmhl/")
    with pytest.raises(OSError, match="space"):
        place.seal(_sealing("sub"))
    assert rule.fired == 1
    require_whole(place.path / "sub", 1)
    assert not list((place.path / "ascmhl").iterdir())


def test_descriptors_of_many_histories_are_given_back(place: Place) -> None:
    names = [f"h{number:03}" for number in range(150)]
    for name in names:
        (place.path / name).mkdir()
    system = place.medium.system
    assert isinstance(system, TreeSystem)
    most = 0

    def count() -> None:
        nonlocal most
        most = max(most, len(system.state.paths))

    sealing = _sealing(*names)._replace(folders=[*FOLDERS, *names])
    seal(place.medium._replace(beat=count), place.root, sealing, CREATOR)
    for name in names:
        require_whole(place.path / name, 1)
    assert 0 < most < 200


def test_history_that_was_edited_is_not_continued(place: Place) -> None:
    place.seal(_sealing())
    path = next((place.path / "ascmhl").glob("*.mhl"))
    path.write_bytes(path.read_bytes().replace(b"original", b"verified"))
    with pytest.raises(UntrustedListError, match="was changed"):
        place.histories("")
