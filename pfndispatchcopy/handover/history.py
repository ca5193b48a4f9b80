"""A history of ASC media hash lists, as it lies in a folder: read as a whole, and trusted only as a whole."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.readback import read_to_end
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.handover.writing import read_whole
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.hashlists.asc import (
    ASC_CHAIN,
    ASC_FOLDER,
    parse_manifest_name,
    read_asc,
    read_chain,
)
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    IgnorePattern,
    ListedFile,
    UntrustedListError,
)
from pfndispatchcopy.printable import printable

__all__ = ["History", "Known", "read_histories", "read_history"]

_BLOCK = 1 << 20
_OPEN_FOLDERS = 64
# A chain has two short elements for each generation.
_LONGEST_CHAIN = 64 << 20


class Known(NamedTuple):
    """The first digest that a history has of a file in one format.

    Attributes:
        text: the digest.
        is_original: whether it began what the history knows of the file.
    """

    text: str
    is_original: bool


class History:
    """What the lists of one folder say together.

    Attributes:
        links: the generations.
        ignores: the patterns of the latest one; None where there is none.
        known: by path below the folder and by name of the digest, what was found first.
    """

    def __init__(self) -> None:
        self.links: list[ChainLink] = []
        self.ignores: list[str] | None = None
        self.known: dict[str, dict[str, Known]] = {}

    def copy(self) -> "History":
        """The same, to be continued by itself."""
        copied = History()
        copied.links, copied.ignores, copied.known = list(self.links), self.ignores, self.known
        return copied

    @property
    def next_number(self) -> int:
        """Of the generation that is to come."""
        return self.links[-1].number + 1 if self.links else 1

    @property
    def digest_names(self) -> set[str]:
        """Digests that files are known by."""
        return {name for digests in self.known.values() for name in digests}

    def action_for(self, path: str, digests: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, Action]]:
        """Say of each digest of a file what it is to this history, as the reference implementation does.

        A format that is new for a file is verified by those that are not; where one of those failed, the new one is
        left out, since it would vouch for other bytes.

        Args:
            path: of the file, below the folder.
            digests: name and text.
        """
        known = self.known.get(path, {})
        if not any(each.is_original for each in known.values()):
            yield from ((name, text, Action.ORIGINAL) for name, text in digests)
            return
        given = tuple(digests)
        has_failed = any(name in known and known[name].text != text for name, text in given)
        for name, text in given:
            if name in known:
                yield name, text, Action.VERIFIED if known[name].text == text else Action.FAILED
            elif not has_failed:
                yield name, text, Action.VERIFIED

    def add(self, item: object) -> None:
        """Take in one item of a list; the lists come in the order of their generations."""
        if isinstance(item, IgnorePattern):
            assert self.ignores is not None
            self.ignores.append(item.pattern)
        elif isinstance(item, ListedFile):
            known = self.known.setdefault(item.path, {})
            for digest in item.digests:
                known.setdefault(digest.name, Known(digest.accepted[0], digest.action is Action.ORIGINAL))

    def begin_generation(self) -> None:
        """The items that follow are of the next list."""
        self.ignores = []


def read_histories(
    system: System,
    root: FolderHandle,
    folders: Iterable[str],
    beat: Callable[[], None] = lambda: None,
    *,
    follow: bool = False,
    may_be_unfinished: bool = False,
) -> dict[str, History]:
    """Read the histories in these folders.

    Args:
        system: the calls.
        root: what the folders are below.
        folders: their paths; where one has no history, there is none in what is returned.
        beat: called now and then.
        follow: whether links to folders are followed.
        may_be_unfinished: see :func:`read_history`.

    Raises:
        OSError: a list cannot be read.
        UntrustedListError: a history is not whole.
    """
    opened = OpenFolders(system, root, follow=follow)
    found: dict[str, History] = {}
    try:
        for path in folders:
            opened.trim(_OPEN_FOLDERS, keep=path)
            beat()
            where = f"{path}/{ASC_FOLDER}" if path else ASC_FOLDER
            try:
                folder = opened.get(where)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                found[path] = read_history(system, folder, beat, may_be_unfinished=may_be_unfinished)
            except UntrustedListError as error:
                raise UntrustedListError(f"{printable(where)}: {error}") from None
    finally:
        opened.close()
    return found


def read_history(
    system: System,
    folder: FolderHandle,
    beat: Callable[[], None] = lambda: None,
    *,
    may_be_unfinished: bool = False,
) -> History:
    """Read the history in an ``ascmhl`` folder.

    A list that no chain names, and whose number is the next one, is part of it: whoever wrote it was stopped
    before the chain was written.

    Args:
        system: the calls.
        folder: the open ``ascmhl`` folder.
        beat: called now and then.
        may_be_unfinished: whether the chain may be missing: a copy of a history gets its chain last of all.

    Raises:
        OSError: a list cannot be read.
        UntrustedListError: the history is not whole: a list or the chain is missing, or was changed.
    """
    history = History()
    names = {
        number: name for name in sorted(system.list_names(folder)) if (number := parse_manifest_name(name)) is not None
    }
    try:
        links = read_chain([read_whole(system, folder, ASC_CHAIN, _LONGEST_CHAIN)])
    except FileNotFoundError:
        if names and not may_be_unfinished:
            raise UntrustedListError(f"{ASC_CHAIN} is missing: nothing shows that the lists are whole") from None
        links = []
    except UntrustedListError as error:
        raise UntrustedListError(f"{ASC_CHAIN}: {error}") from None
    for link in links:
        try:
            digest = _read_manifest(system, folder, link.name, history, beat)
        except FileNotFoundError:
            raise UntrustedListError(f"{link.name} is missing, which {ASC_CHAIN} names") from None
        if digest != link.c4:
            raise UntrustedListError(f"{link.name} was changed: its C4 ID is not the one in {ASC_CHAIN}")
        history.links.append(link)
    number = links[-1].number + 1 if links else 1
    while (name := names.get(number)) is not None:
        digest = _read_manifest(system, folder, name, history, beat)
        history.links.append(ChainLink(number, name, digest))
        number += 1
    return history


def _read_manifest(system: System, folder: FolderHandle, name: str, history: History, beat: Callable[[], None]) -> str:
    fd = system.open_name(folder, name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    calculator = HashCalculator(["c4"])
    try:
        chunks = _chunks(system, fd, calculator, beat)
        history.begin_generation()
        try:
            for item in read_asc(chunks):
                history.add(item)
        except UntrustedListError as error:
            raise UntrustedListError(f"{name}: {error}") from None
        for _ in chunks:
            pass
        return calculator.hexdigests()["c4"]
    finally:
        with suppress(OSError):
            system.close(fd)


def _chunks(system: System, fd: int, calculator: HashCalculator, beat: Callable[[], None]) -> Iterator[bytes]:
    for view in read_to_end(system, fd, memoryview(bytearray(_BLOCK))):
        calculator.update(view)
        beat()
        yield bytes(view)
