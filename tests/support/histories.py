"""Histories of ASC media hash lists: made by hand for a card, and read back from what a run has left."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.hashlists.asc import (
    ASC_CHAIN,
    ASC_FOLDER,
    DEFAULT_IGNORES,
    parse_manifest_name,
    read_asc,
    read_chain,
    write_asc,
    write_chain,
)
from pfndispatchcopy.hashlists.directory_hashes import directory_hashes
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    HistoryReference,
    IgnorePattern,
    ListedFile,
    ListedFolder,
    RootHash,
    SealedDigest,
    SealedFile,
    SealedFolder,
)
from tests.support.hash_lists import AT, CREATOR

__all__ = [
    "Generation",
    "chain_of",
    "damage",
    "generations",
    "listable_files",
    "require_true",
    "require_whole",
    "seal",
]


class Generation(NamedTuple):
    """One list, as a reader understands it."""

    name: str
    files: dict[str, ListedFile]
    folders: dict[str, ListedFolder]
    root: RootHash | None
    patterns: list[str]
    references: list[HistoryReference]

    @property
    def actions(self) -> dict[str, dict[str, Action | None]]:
        """What is said of every digest of every file."""
        return {
            path: {digest.name: digest.action for digest in file.digests} for path, file in sorted(self.files.items())
        }

    @property
    def all_actions(self) -> set[Action | None]:
        """All that is said of any digest."""
        return {action for each in self.actions.values() for action in each.values()}


def listable_files(folder: Path) -> dict[str, bytes]:
    """The regular files below a folder, without its histories, links, and the sum files beside them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and ASC_FOLDER not in path.relative_to(folder).parts:
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def seal(
    folder: Path,
    *names: str,
    patterns: Sequence[str] = (),
    action: Action | None = None,
    without: Sequence[str] = (),
) -> str:
    """Write the next generation of a folder by hand: nothing below it has a history of its own.

    Args:
        folder: what is described.
        names: digests; by default the usual one.
        patterns: beside the usual ones.
        action: said of all digests; by default what is right where nothing has changed.
        without: files that are not listed.

    Returns:
        The name of the list.
    """
    names = names or ("xxh64be",)
    place = folder / ASC_FOLDER
    place.mkdir(exist_ok=True)
    chain = place / ASC_CHAIN
    links = read_chain([chain.read_bytes()]) if chain.exists() else []
    said = action or (Action.VERIFIED if links else Action.ORIGINAL)
    files = [
        SealedFile(path, len(data), 0, tuple(SealedDigest(*each, said) for each in digests_of(names, data).items()), AT)
        for path, data in listable_files(folder).items()
        if path not in without
    ]
    paths = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_dir() and ASC_FOLDER not in path.relative_to(folder).parts
    ]
    hashes = directory_hashes(
        names, ((file.path, {each.name: each.text for each in file.digests}) for file in files), paths
    )
    entries: list[SealedFile | SealedFolder] = [
        *files,
        *(SealedFolder(path, None, *hashes[path], AT) for path in paths),
    ]
    root = SealedFolder("", None, *hashes[""], AT)
    data = b"".join(write_asc(CREATOR, AT, root, [*DEFAULT_IGNORES, *patterns], entries, []))
    number = links[-1].number + 1 if links else 1
    title = folder.name.encode("ascii", "replace").decode().replace("?", "_")
    name = f"{number:04d}_{title}_2026-11-22_021135Z.mhl"
    (place / name).write_bytes(data)
    chain.write_bytes(write_chain([*links, ChainLink(number, name, _c4(data))]))
    return name


def damage(path: Path) -> None:
    """Change one bit of a file, and neither its size nor its time."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def chain_of(folder: Path) -> list[ChainLink]:
    """What the chain of a folder says."""
    return read_chain([(folder / ASC_FOLDER / ASC_CHAIN).read_bytes()])


def generations(folder: Path) -> list[Generation]:
    """All lists of a folder, by their numbers."""
    lists = (path for path in (folder / ASC_FOLDER).iterdir() if parse_manifest_name(path.name) is not None)
    return [_read(path) for path in sorted(lists, key=lambda path: (parse_manifest_name(path.name), path.name))]


def _read(path: Path) -> Generation:
    generation = Generation(path.name, {}, {}, None, [], [])
    for item in read_asc([path.read_bytes()]):
        if isinstance(item, ListedFile):
            generation.files[item.path] = item
        elif isinstance(item, ListedFolder):
            generation.folders[item.path] = item
        elif isinstance(item, RootHash):
            generation = generation._replace(root=item)
        elif isinstance(item, IgnorePattern):
            generation.patterns.append(item.pattern)
        else:
            generation.references.append(item)
    return generation


def require_whole(folder: Path, count: int) -> None:
    """The history of a folder has so many generations, and its chain names each of them, and nothing else."""
    links = chain_of(folder)
    assert [link.number for link in links] == list(range(1, count + 1))
    place = folder / ASC_FOLDER
    assert sorted(os.listdir(place)) == sorted([ASC_CHAIN, *(link.name for link in links)])
    for link in links:
        assert link.c4 == _c4((place / link.name).read_bytes())


def require_true(folder: Path, *names: str, without: Sequence[str] = (), but_folders: Sequence[str] = ()) -> Generation:
    """The latest list names everything below a folder, with the digests of what is there now.

    Args:
        folder: what the list describes; without histories below.
        names: all the digests that each file has.
        without: files that are there and not in the list.
        but_folders: folders that have no directory hashes.

    Returns:
        The list.
    """
    latest = generations(folder)[-1]
    wanted = {path: data for path, data in listable_files(folder).items() if path not in without}
    assert sorted(latest.files) == sorted(wanted)
    for path, data in wanted.items():
        file = latest.files[path]
        assert file.size == len(data)
        assert {each.name: each.accepted for each in file.digests} == {
            name: (text,) for name, text in digests_of(names or ("xxh64be",), data).items()
        }
    texts = {path: digests_of(names or ("xxh64be",), data) for path, data in wanted.items()}
    hashes = directory_hashes(names or ("xxh64be",), texts.items(), latest.folders)
    for path, listed in latest.folders.items():
        right = (dict(hashes[path].content), dict(hashes[path].structure))
        said = tuple({each.name: each.accepted[0] for each in part} for part in (listed.content, listed.structure))
        assert said == (({}, {}) if path in but_folders else right), path
    return latest


def _c4(data: bytes) -> str:
    return digests_of(["c4"], data)["c4"]
