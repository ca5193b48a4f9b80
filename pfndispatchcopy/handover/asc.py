"""The next generation of ASC media hash lists: for a folder, and for each folder in it that has a history of its own.

The deepest come first: a list names those of the folders below with the digests of their bytes, and a chain is
written after the list that it names. Source of the format: ASC MHL 2.0, as its reference implementation writes it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from time import time
from typing import NamedTuple

from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.handover.history import History
from pfndispatchcopy.handover.writing import Medium, WrittenList, sweep, writable, write_list
from pfndispatchcopy.hashlists.asc import (
    ASC_CHAIN,
    ASC_FOLDER,
    DEFAULT_IGNORES,
    manifest_name,
    write_asc,
    write_chain,
)
from pfndispatchcopy.hashlists.directory_hashes import DirectoryHashes, directory_hashes
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    Creator,
    HistoryReference,
    SealedDigest,
    SealedFile,
    SealedFolder,
)

__all__ = ["Contradiction", "Sealing", "seal"]

# Folders that stay open: those on the way from one history to the next.
_OPEN_FOLDERS = 64


class Contradiction(NamedTuple):
    """A file that is not what a history says: its path below the folder, the digest, what is said, what was found."""

    path: str
    size: int
    name: str
    listed: str
    found: str


class Sealing(NamedTuple):
    """What a list is written of.

    Attributes:
        title: name of the folder.
        algorithms: canonical names of the digests, all of which such a list can hold.
        files: all files that are listed, with a digest by each of the algorithms.
        folders: paths of all folders below, the empty ones, too.
        unsealed: those of them that hold more than is listed, or have one below that does: they get no directory
            hashes. The folder itself always does: without, the reference implementation fails to read a list.
        ignores: patterns of what is left out.
        histories: those there are, by path of their folder; the folder itself has one, if only an empty one.
    """

    title: str
    algorithms: tuple[str, ...]
    files: Sequence[SealedFile]
    folders: Sequence[str]
    unsealed: frozenset[str]
    ignores: Sequence[str]
    histories: Mapping[str, History]


def seal(medium: Medium, root: FolderHandle, sealing: Sealing, creator: Creator) -> list[Contradiction]:
    """Write the lists and their chains.

    Args:
        medium: where to, and how.
        root: the folder.
        sealing: what the lists are written of.
        creator: who writes them.

    Returns:
        The files that are not what their history says. The lists say so, too.

    Raises:
        OSError, MismatchError: a list cannot be written; see :func:`write_list`.
    """
    now = time()
    owners = {path: _owner(path, sealing.histories) for path in ("", *sealing.folders)}
    hashes = directory_hashes(
        sealing.algorithms,
        ((file.path, {digest.name: digest.text for digest in file.digests}) for file in sealing.files),
        sealing.folders,
    )
    by_owner: dict[str, list[SealedFile]] = defaultdict(list)
    for file in sealing.files:
        by_owner[owners[file.path.rpartition("/")[0]]].append(file)
    folders_of: dict[str, list[str]] = defaultdict(list)
    for path in sealing.folders:
        owner = owners[path]
        folders_of[_owner_above(path, owners) if owner == path else owner].append(path)

    references: dict[str, list[HistoryReference]] = defaultdict(list)
    contradictions: list[Contradiction] = []
    folders = OpenFolders(medium.system, root, make=True)
    try:
        for path in sorted(sealing.histories, key=lambda path: (-_depth(path), path)):
            history = sealing.histories[path]
            files = [_judged(file, path, history, contradictions) for file in by_owner[path]]
            entries: list[SealedFile | SealedFolder] = [
                *files,
                *(
                    _folder(each, path, hashes, sealing.unsealed, now)
                    for each in sorted(folders_of[path], key=lambda each: (-_depth(each), each))
                ),
            ]
            title = path.rpartition("/")[2] or sealing.title
            chunks = write_asc(
                creator,
                now,
                _folder(path, path, hashes, sealing.unsealed, now),
                _ignores(path, sealing),
                entries,
                references[path],
            )
            folders.trim(_OPEN_FOLDERS, keep=path)
            written = _write(medium, folders, path, manifest_name(history.next_number, title, now), chunks, history)
            if path:
                above = _owner_above(path, owners)
                below = path[len(above) + 1 :] if above else path
                references[above].append(HistoryReference(f"{below}/{ASC_FOLDER}/{written.name}", written.c4))
    finally:
        folders.close()
    return contradictions


def _write(
    medium: Medium, folders: OpenFolders, path: str, name: str, chunks: Iterable[bytes], history: History
) -> WrittenList:
    """Write the next list of a history, and then the chain that names it."""
    system = medium.system
    with writable(system, folders.get(path)):
        handle = folders.get(_join(path, ASC_FOLDER))
        for parent in folders.take_parents_of_new():
            if medium.is_forced:
                system.flush_folder(folders.get(parent))
    with writable(system, handle):
        sweep(medium, handle)
        written = write_list(medium, handle, name, chunks)
        history.links.append(ChainLink(history.next_number, written.name, written.c4))
        write_list(medium, handle, ASC_CHAIN, [write_chain(history.links)], replace=True)
    return written


def _judged(file: SealedFile, owner: str, history: History, contradictions: list[Contradiction]) -> SealedFile:
    """A file as its history sees it."""
    path = _below(file.path, owner)
    given = [(digest.name, digest.text) for digest in file.digests]
    judged = tuple(SealedDigest(*each) for each in history.action_for(path, given))
    failed = next((digest for digest in judged if digest.action is Action.FAILED), None)
    if failed is not None:
        listed = history.known[path][failed.name].text
        contradictions.append(Contradiction(file.path, file.size, failed.name, listed, failed.text))
    return file._replace(path=path, digests=judged)


def _folder(
    path: str,
    owner: str,
    hashes: Mapping[str, DirectoryHashes],
    unsealed: frozenset[str],
    now: float,
) -> SealedFolder:
    content, structure = ((), ()) if path != owner and path in unsealed else hashes[path]
    return SealedFolder(
        "" if path == owner else _below(path, owner),
        None,
        content,
        structure,
        now,
    )


def _ignores(path: str, sealing: Sealing) -> list[str]:
    """The patterns of a list: those of its history, those of this copy, and those of the histories below.

    The reference implementation takes from the list of a folder what it leaves out anywhere below.
    """
    patterns = dict.fromkeys(DEFAULT_IGNORES)
    patterns.update(dict.fromkeys(sealing.histories[path].ignores or ()))
    patterns.update(dict.fromkeys(sealing.ignores))
    for below, history in sealing.histories.items():
        if below != path and (not path or below.startswith(f"{path}/")):
            patterns.update(
                dict.fromkeys(f"/**/{below}/**/{each}" for each in history.ignores or () if _is_of_below(each))
            )
    return list(patterns)


def _is_of_below(pattern: str) -> bool:
    """Whether a pattern is for names, and not one that every list has, so that it can be said of a folder below."""
    return "/" not in pattern.rstrip("/") and not pattern.startswith("!") and pattern not in DEFAULT_IGNORES


def _owner(path: str, histories: Mapping[str, History]) -> str:
    """The folder whose history a folder belongs to: itself, or the nearest one above."""
    while path and path not in histories:
        path = path.rpartition("/")[0]
    return path


def _owner_above(path: str, owners: Mapping[str, str]) -> str:
    return owners[path.rpartition("/")[0]]


def _below(path: str, owner: str) -> str:
    return path[len(owner) + 1 :] if owner else path


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
