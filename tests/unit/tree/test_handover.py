"""What lists are written of: which files count, under which names, by which digests, and whose history goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions
from pfndispatchcopy.engine.jobs import FileReport, Outcome
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.writing import Medium
from pfndispatchcopy.hashlists.asc import ASC_CHAIN
from pfndispatchcopy.model import Mhl, State, Symlinks
from pfndispatchcopy.selection import Selection
from pfndispatchcopy.tree.handover import Receiver, TreeHandOver, without_chains
from pfndispatchcopy.tree.scan import SourceRoot, Tree, scan
from tests.support.files import make_file
from tests.support.hash_lists import CREATOR, digest
from tests.support.histories import generations, require_whole, seal
from tests.support.tree_trial import TreeSystem


class Copied:
    """A card that is on a destination already, and what the engine would have told of it."""

    def __init__(self, root: Path, *, prefix: str = "CARD", only: str | None = None) -> None:
        self.root = root
        self.card = root / "src/CARD"
        self.place = root / "dest"
        self.prefix = prefix
        self.only = only
        self.system = TreeSystem()
        self.handles: list[FolderHandle] = []
        self.warnings: list[str] = []
        for name, size in (("a.mov", 10), ("sub/b.jpg", 20)):
            make_file(self.card / name, size)
            make_file(self.place / prefix / name, size)

    def open(self, path: Path) -> FolderHandle:
        self.handles.append(self.system.open_folder(str(path)))
        return self.handles[-1]

    def tree(self) -> Tree:
        root = SourceRoot(str(self.card), str(self.card), self.prefix, self.only)
        handle = self.open(self.card)
        return scan(self.system, (root,), (handle,), selection=Selection(), symlinks=Symlinks.COPY)

    def hand_over(self, tree: Tree, *reports: FileReport, **options: Any) -> TreeHandOver:
        made = TreeHandOver(self.system, CopyOptions(**options), tree, CREATOR)
        made.read_source([self.open(self.card)], lambda: None)
        for report in reports:
            made.record(report, 1.0)
        return made

    def reports(self, tree: Tree, *names: str, state: State = State.VERIFIED, name: str = "") -> list[FileReport]:
        return [
            FileReport(
                number,
                file.size,
                0,
                tuple(digest(each, (self.card / tree.path_of(file)).read_bytes()) for each in names),
                (Outcome(0, state, name=name),),
            )
            for number, file in enumerate(tree.files)
        ]

    def receiver(self) -> Receiver:
        return Receiver(
            number=0,
            path=str(self.place),
            root=self.open(self.place),
            medium=Medium(self.system, is_memory=False, is_forced=True),
            histories={},
            resumed={},
            warn=self.warnings.append,
        )

    def close(self) -> None:
        for handle in self.handles:
            self.system.close_folder(handle)


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Copied]:
    made = Copied(tmp_path)
    yield made
    made.close()


def test_chains_are_no_files_to_be_copied(copied: Copied) -> None:
    seal(copied.card)
    seal(copied.card / "sub")
    make_file(copied.card / f"sub/{ASC_CHAIN}", 5)
    tree = copied.tree()
    size, count = tree.bytes, len(tree.files)
    chains = [copied.card / f"ascmhl/{ASC_CHAIN}", copied.card / f"sub/ascmhl/{ASC_CHAIN}"]
    without_chains(tree)
    assert len(tree.files) == count - 2
    assert tree.bytes == size - sum(path.stat().st_size for path in chains)
    assert f"sub/{ASC_CHAIN}" in [tree.path_of(file) for file in tree.files]


def test_files_are_listed_with_what_was_told_of_them(copied: Copied) -> None:
    tree = copied.tree()
    made = copied.hand_over(tree, *copied.reports(tree, "xxh64be", "md5"), mhl=Mhl.ASC, sums=("md5",))
    assert made.write(copied.receiver(), is_verified=True) == []
    require_whole(copied.place / "CARD", 1)
    assert sorted(generations(copied.place / "CARD")[0].files) == ["a.mov", "sub/b.jpg"]
    assert (copied.place / "CARD/CARD.md5").exists()
    assert copied.warnings == []


def test_what_was_not_verified_has_sum_files_alone(copied: Copied) -> None:
    tree = copied.tree()
    made = copied.hand_over(tree, *copied.reports(tree, "xxh64be", "md5"), mhl=Mhl.ASC, sums=("md5",))
    made.write(copied.receiver(), is_verified=False)
    assert (copied.place / "CARD/CARD.md5").exists()
    assert not (copied.place / "CARD/ascmhl").exists()


def test_skipped_file_is_in_no_list(copied: Copied) -> None:
    tree = copied.tree()
    first, second = copied.reports(tree, "xxh64be")
    skipped = second._replace(outcomes=(Outcome(0, State.SKIPPED),))
    made = copied.hand_over(tree, first, skipped, mhl=Mhl.ASC)
    made.write(copied.receiver(), is_verified=True)
    assert sorted(generations(copied.place / "CARD")[0].files) == [tree.path_of(tree.files[first.number])]
    assert len(copied.warnings) == 1


def test_digests_of_histories_are_taken_once_and_in_a_fixed_order(copied: Copied) -> None:
    seal(copied.card, "md5", "c4")
    seal(copied.card / "sub", "sha1", "md5")
    tree = copied.tree()
    without_chains(tree)
    made = copied.hand_over(tree, mhl=Mhl.ASC, hashes=("xxh64be", "md5"))
    assert made.take_also([]).hashes == ("xxh64be", "md5", "c4", "sha1")
    assert made.take_also([]).hashes == ("xxh64be", "md5", "c4", "sha1")


def test_digests_are_not_added_without_a_history(copied: Copied) -> None:
    made = copied.hand_over(copied.tree(), mhl=Mhl.ASC, hashes=("sha256", "c4"))
    assert made.take_also([{}]).hashes == ("sha256", "c4")


@pytest.mark.parametrize("mhl", [Mhl.LEGACY, Mhl.NONE])
def test_histories_are_nobodys_business_without_asc_lists(mhl: Mhl, copied: Copied) -> None:
    seal(copied.card, "md5")
    next((copied.card / "ascmhl").glob("*.mhl")).unlink()
    made = copied.hand_over(copied.tree(), mhl=mhl, sums=("sha1",))
    assert made.take_also([]).hashes == ("xxh64be", "sha1")
    assert made.read_destination(copied.open(copied.place), lambda: None) == {}


def test_content_that_goes_into_a_folder_has_its_name(tmp_path: Path) -> None:
    copied = Copied(tmp_path, prefix="")
    tree = copied.tree()
    made = copied.hand_over(tree, *copied.reports(tree, "md5"), sums=("md5",), hashes=("md5",))
    made.write(copied.receiver(), is_verified=True)
    assert (copied.place / "dest.md5").exists()
    copied.close()


def test_single_file_cannot_be_sealed(tmp_path: Path) -> None:
    copied = Copied(tmp_path, prefix="", only="a.mov")
    with pytest.raises(UsageError, match="--mhl asc"):
        copied.hand_over(Tree((SourceRoot(str(copied.card), str(copied.card), "", "a.mov"),)), mhl=Mhl.ASC)
    copied.close()
