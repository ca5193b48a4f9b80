"""A history of ASC media hash lists: trusted only as a whole, from the chain through every generation."""

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pfndispatchcopy.check.lists import open_list, read_proven
from pfndispatchcopy.check.statements import Statements
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashlists.asc import (
    ASC_CHAIN,
    ASC_FOLDER,
    DEFAULT_IGNORES,
    AscEntry,
    parse_manifest_name,
    read_asc,
    read_chain,
)
from pfndispatchcopy.hashlists.entries import (
    ChainLink,
    HistoryReference,
    IgnorePattern,
    ListedFile,
    ListedFolder,
    UntrustedListError,
)
from pfndispatchcopy.notices import reason_of
from pfndispatchcopy.printable import printable
from pfndispatchcopy.selection import Selection

__all__ = ["Histories", "selection_of"]


class _Generation:
    """What one manifest says."""

    def __init__(self) -> None:
        self.statements = Statements()
        self.folders: list[str] = []
        self.moves: dict[str, str] = {}
        self.patterns: list[str] = []
        self.references: list[HistoryReference] = []

    def take(self, entry: AscEntry) -> None:
        if isinstance(entry, ListedFile):
            self.statements.add(entry.path, entry.size, entry.digests, is_history=True)
        elif isinstance(entry, ListedFolder):
            self.folders.append(entry.path)
        elif isinstance(entry, IgnorePattern):
            self.patterns.append(entry.pattern)
        elif isinstance(entry, HistoryReference):
            self.references.append(entry)
        if isinstance(entry, ListedFile | ListedFolder) and entry.previous_path is not None:
            self.moves[entry.previous_path] = entry.path


class _Asked(NamedTuple):
    """A history that is to be read: of which folder, up to which manifest, and what vouches for its manifests."""

    prefix: str
    until: str | None
    references: tuple[HistoryReference, ...] = ()


class Histories:
    """The history of a folder and those that lie below it, which its manifests refer to.

    Attributes:
        statements: what all of them together expect of files, by path below the folder.
        folders: the folders that they list.
        ignored: by the folder that a history is in, what its latest generation leaves out.
        lists: paths of the manifests that were read.

    Args:
        system: the calls.
        root: the folder, open.
        going_on: called now and then; raises to stop.
    """

    def __init__(self, system: System, root: FolderHandle, going_on: Callable[[], None]) -> None:
        self.statements = Statements()
        self.folders: set[str] = set()
        self.ignored: dict[str, Selection] = {}
        self.lists: list[str] = []
        self._system = system
        self._root = root
        self._going_on = going_on

    def read(self, prefix: str = "", until: str | None = None) -> None:
        """Read the history of a folder, and those that it refers to.

        Args:
            prefix: path of the folder below the root.
            until: name of the manifest whose generation is the last one that counts; None for all.

        Raises:
            UntrustedListError: one of them cannot be trusted; nothing of this history is then expected.
        """
        folders = OpenFolders(self._system, self._root)
        found: list[tuple[str, Statements, set[str], Selection, list[str]]] = []
        waiting = [_Asked(prefix, until)]
        done = set(self.ignored)
        try:
            while waiting:
                asked = waiting.pop()
                if asked.prefix in done:
                    continue
                done.add(asked.prefix)
                with _named(_join(asked.prefix, ASC_FOLDER)):
                    statements, listed, selection, names, references = self._read_one(folders, asked)
                found.append((asked.prefix, statements, listed, selection, names))
                waiting += _below(asked.prefix, references, is_as_of_then=until is not None)
        finally:
            folders.close()
        for at, statements, listed, selection, names in found:
            self.statements.absorb(statements, at)
            self.folders.update(_join(at, folder) for folder in listed)
            self.ignored[at] = selection
            self.lists += [_join(at, ASC_FOLDER, name) for name in names]

    def _read_one(
        self, folders: OpenFolders, asked: _Asked
    ) -> tuple[Statements, set[str], Selection, list[str], list[HistoryReference]]:
        try:
            folder = folders.get(_join(asked.prefix, ASC_FOLDER))
            names = self._system.list_names(folder)
        except OSError as error:
            if error.errno == errno.ENOENT and asked.references:
                raise UntrustedListError("it is missing, and a manifest above it refers to it") from None
            raise UntrustedListError(f"the history cannot be read: {reason_of(error)}") from None
        links = self._chain(folder, names, asked)
        statements, listed = Statements(), set[str]()
        references: list[HistoryReference] = []
        generation = _Generation()
        for link in links:
            generation = _Generation()
            with _named(link.name), open_list(self._system, folder, link.name, self._going_on) as file:
                read_proven(file, link.c4, read_asc, generation.take)
            statements.move(generation.moves)
            statements.absorb(generation.statements)
            listed.difference_update(generation.moves)
            listed.update(generation.folders)
            references += generation.references
        return statements, listed, selection_of(generation.patterns), [link.name for link in links], references

    def _chain(self, folder: FolderHandle, names: Iterable[str], asked: _Asked) -> list[ChainLink]:
        """Return the generations that count, known to be all that there are up to there."""
        present = {name for name in names if name.endswith(".mhl") and not name.startswith("._")}
        if ASC_CHAIN not in names:
            raise UntrustedListError(f"{ASC_CHAIN} is missing: without the chain no manifest can be trusted")
        with _named(ASC_CHAIN), open_list(self._system, folder, ASC_CHAIN, self._going_on) as file:
            links = read_chain(file.chunks())
            for number, link in enumerate(links, 1):
                if link.number != number or parse_manifest_name(link.name) != number:
                    raise UntrustedListError(f"generation {number} is missing")
            for reference in asked.references:
                name = reference.path.rpartition("/")[2]
                if not any(link.name == name and link.c4 == reference.c4 for link in links):
                    raise UntrustedListError(f"{printable(name)}, which a manifest above it refers to, is another one")
            unchained = sorted(present.difference(link.name for link in links))
            if asked.until is not None:
                if asked.until in unchained:
                    raise UntrustedListError(f"{printable(asked.until)} is not in the chain")
                last = next((link.number for link in links if link.name == asked.until), len(links))
                links = links[:last]
            elif unchained:
                raise UntrustedListError(f"{printable(unchained[0])} is not in the chain")
        for link in links:
            if link.name not in present:
                raise UntrustedListError(f"{printable(link.name)} is missing: the history cannot be trusted without it")
        if not links:
            raise UntrustedListError("the chain has no generation")
        return links


def _below(prefix: str, references: Iterable[HistoryReference], *, is_as_of_then: bool) -> list[_Asked]:
    """Return the histories that manifests refer to, each with all that is said of it."""
    by_folder: dict[str, list[HistoryReference]] = {}
    for reference in references:
        folder, _, name = reference.path.rpartition("/")
        above, _, last = folder.rpartition("/")
        if last != ASC_FOLDER or not above or parse_manifest_name(name) is None:
            raise UntrustedListError(f"a reference to what is no history below: {printable(reference.path)}")
        by_folder.setdefault(_join(prefix, above), []).append(reference)
    return [
        _Asked(folder, each[-1].path.rpartition("/")[2] if is_as_of_then else None, tuple(each))
        for folder, each in by_folder.items()
    ]


def selection_of(patterns: Iterable[str]) -> Selection:
    """Return what a generation leaves out; one that says nothing leaves out what the format always does.

    A pattern is matched below the folder that the history is in, and never against the path of that folder.
    """
    exclude: list[str] = []
    include: list[str] = []
    for pattern in tuple(patterns) or DEFAULT_IGNORES:
        if not pattern.strip() or pattern.startswith("#"):  # as in .gitignore
            continue
        with suppress(UsageError):  # what is no pattern ignores nothing
            Selection((pattern.removeprefix("!"),))
            (include if pattern.startswith("!") else exclude).append(pattern.removeprefix("!"))
    return Selection(exclude or DEFAULT_IGNORES, include)


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


class _PlacedError(UntrustedListError):
    """An error whose message begins with the path of what it is about."""


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the name of what is read before what is wrong with it."""
    try:
        yield
    except UntrustedListError as error:
        separator = "/" if isinstance(error, _PlacedError) else ": "
        raise _PlacedError(f"{printable(name)}{separator}{error}") from error.__cause__
