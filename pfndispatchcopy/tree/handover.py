"""What goes with the copies of a tree: for each folder that was copied, its sum files and its media hash list.

A destination gets lists only when everything on it is complete, and media hash lists only where it was verified.
A history of ASC lists that the source has is carried over and continued: its lists are copied like all files, but its
chain, which grows here, is never copied and always written.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from time import time
from typing import NamedTuple

from pfndispatchcopy.engine.jobs import FileReport
from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.handover.asc import Contradiction, Sealing, seal
from pfndispatchcopy.handover.history import History, read_histories
from pfndispatchcopy.handover.patterns import Ignored, TakingAll, ignored_before, patterns_for, spelled
from pfndispatchcopy.handover.plain import write_legacy_list, write_sums
from pfndispatchcopy.handover.possible import listable
from pfndispatchcopy.handover.writing import Medium, sweep, writable
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, ASC_FOLDER
from pfndispatchcopy.hashlists.entries import Creator, SealedDigest, SealedFile, UntrustedListError
from pfndispatchcopy.hashlists.paths import can_be_listed, stays_inside
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS
from pfndispatchcopy.hashlists.xml_writer import is_xml_text
from pfndispatchcopy.journal import Record
from pfndispatchcopy.model import Mhl, Preserve, State, Symlinks
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.printable import printable
from pfndispatchcopy.selection import SYSTEM_PATTERNS
from pfndispatchcopy.tree.scan import Tree, TreeFolder

__all__ = ["Receiver", "TreeHandOver", "without_chains"]

_OPEN_FOLDERS = 128


class _Fact(NamedTuple):
    """What is known of a file that was copied, and since when (seconds since the epoch)."""

    size: int
    mtime_ns: int
    digests: tuple[str, ...]
    at: float


class Receiver(NamedTuple):
    """A destination that is to get its lists.

    Attributes:
        number: its place among the destinations.
        path: of its root folder.
        root: the open root folder.
        medium: how it is written to.
        histories: of ASC lists that it had before, by path below the root.
        resumed: what an earlier run had proven, by number of the file.
        warn: told what a person should know.
    """

    number: int
    path: str
    root: FolderHandle
    medium: Medium
    histories: Mapping[str, History]
    resumed: Mapping[int, Record]
    warn: Callable[[str], None]


def without_chains(tree: Tree) -> None:
    """Take the chains of ASC histories out of what is to be copied."""
    kept = []
    for file in tree.files:
        folder = tree.folders[file.folder].path
        if file.name == ASC_CHAIN and folder.rpartition("/")[2] == ASC_FOLDER and can_be_listed(folder):
            tree.bytes -= file.size
        else:
            kept.append(file)
    tree.files[:] = kept


class TreeHandOver:
    """Collects what the lists are written of, and writes them.

    Args:
        system: the calls.
        options: how to copy.
        tree: what is copied.
        creator: who writes the lists.

    Attributes:
        unlisted: paths on the destinations that a list cannot hold, since XML cannot, or since no reader would
            believe them.
    """

    def __init__(self, system: System, options: CopyOptions, tree: Tree, creator: Creator) -> None:
        self.unlisted: dict[str, None] = {}
        self._system = system
        self._options = options
        self._tree = tree
        self._creator = creator
        self._started_at = time()
        self._facts: dict[int, _Fact] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._absent: set[tuple[int, int]] = set()
        self._histories: dict[str, History] = {}
        if options.mhl is Mhl.ASC:
            self._require_folders()

    def _require_folders(self) -> None:
        prefixes = {root.prefix for root in self._tree.roots}
        if any(root.only is not None for root in self._tree.roots) or ("" in prefixes and len(prefixes) > 1):
            raise UsageError(
                "--mhl asc describes folders, each by itself: files, and a folder whose content goes straight into the"
                " destination, do not go together with others"
            )

    # -- before anything is written -----------------------------------------------------------------------

    def read_source(self, handles: Sequence[FolderHandle], beat: Callable[[], None]) -> None:
        """Read the histories of the sources.

        Raises:
            OSError: a list cannot be read.
            RefusedError: a history is not whole.
        """
        if self._options.mhl is not Mhl.ASC:
            return
        self._require_the_name()
        for number, (root, handle) in enumerate(zip(self._tree.roots, handles, strict=True)):
            try:
                follow = self._options.symlinks is Symlinks.FOLLOW
                found = read_histories(self._system, handle, self._with_lists(number), beat, follow=follow)
            except UntrustedListError as error:
                raise RefusedError(
                    f"{printable(root.label)}: its history of media hash lists cannot be trusted: {error};"
                    " nothing was written. Without --mhl asc it is copied as it is",
                    path=root.label,
                    operation="read the history",
                ) from None
            for path, history in found.items():
                self._require_whole(number, path, history)
                self._histories[_join(root.prefix, path)] = history

    def _require_whole(self, number: int, path: str, history: History) -> None:
        """Refuse to carry over a part of a history: its chain would name lists that are not there."""
        folder = self._tree.folders.index(TreeFolder(number, _join(path, ASC_FOLDER)))
        copied = {file.name for file in self._tree.files if file.folder == folder}
        missing = next((link.name for link in history.links if link.name not in copied), None)
        if missing is not None:
            where = os.path.join(self._tree.roots[number].label, path, ASC_FOLDER, missing)
            raise RefusedError(
                f"{printable(where)} is not among what is to be copied, and a history of media hash lists goes as a"
                " whole: change the patterns, or leave out all of ascmhl; nothing was written",
                path=where,
                operation="read the history",
            )

    def _require_the_name(self) -> None:
        """Refuse when something else has the name of the folder that the lists go to."""
        for file in self._tree.files:
            root, folder = self._tree.folders[file.folder]
            if file.name == ASC_FOLDER and not folder:
                path = os.path.join(self._tree.roots[root].label, ASC_FOLDER)
                raise RefusedError(
                    f"{printable(path)} is no folder, and --mhl asc needs that name for its lists; nothing was written",
                    path=path,
                    operation="read the history",
                )

    def _with_lists(self, number: int) -> Iterator[str]:
        """Folders of a root that have a history in them."""
        for root, path in self._tree.folders:
            above, _, name = path.rpartition("/")
            if root == number and name == ASC_FOLDER:
                yield above

    def read_destination(self, root: FolderHandle, beat: Callable[[], None]) -> dict[str, History]:
        """Read the histories that a destination has already in the folders that are copied to it.

        Raises:
            OSError: a list cannot be read.
            UntrustedListError: a history is not whole, or contradicts that of the source.
        """
        if self._options.mhl is not Mhl.ASC:
            return {}
        found = read_histories(self._system, root, self._folders_below(None), beat, may_be_unfinished=True)
        for path, history in found.items():
            _continued(path, self._histories.get(path), history)
        return found

    def take_also(self, histories: Iterable[Mapping[str, History]]) -> CopyOptions:
        """Have every digest taken that any of the histories, or those of the sources, know files by.

        Without it nothing could be compared with what they say. Returns the options to go on with.
        """
        known = {name for each in (self._histories, *histories) for one in each.values() for name in one.digest_names}
        further = sorted(listable(Mhl.ASC, known - set(self._options.hashes)))
        self._options = self._options.replacing(hashes=(*self._options.hashes, *further))
        return self._options

    # -- while it is copied -------------------------------------------------------------------------------

    def record(self, report: FileReport, at: float) -> None:
        """Remember how a file ended."""
        if not report.digests:  # a link, or nothing that was read
            return
        self._facts[report.number] = _Fact(report.size, report.mtime_ns, report.digests, at)
        for outcome in report.outcomes:
            if outcome.state is State.SKIPPED:
                self._absent.add((outcome.number, report.number))
            elif outcome.name:
                self._names[outcome.number, report.number] = outcome.name

    # -- when all is done ---------------------------------------------------------------------------------

    def write(self, receiver: Receiver, *, is_verified: bool) -> list[Contradiction]:
        """Write the lists of one destination.

        Args:
            receiver: the destination.
            is_verified: whether everything on it was compared on the medium; else there are only sum files.

        Returns:
            Files that are not what their history says.

        Raises:
            OSError, MismatchError: a list cannot be written.
            UntrustedListError: the histories of source and destination contradict each other.
        """
        contradictions: list[Contradiction] = []
        folders = OpenFolders(self._system, receiver.root, make=True)
        try:
            for prefix in dict.fromkeys(root.prefix for root in self._tree.roots):
                handle = folders.get(prefix)
                status = self._system.status_of_file(handle.fd) if handle.fd >= 0 else None
                with writable(self._system, handle):
                    contradictions += self._write_in(receiver, prefix, handle, is_verified=is_verified)
                if status is not None and Preserve.TIMES in self._options.preserve:
                    with suppress(OSError):  # as they were before the lists came into it; a wish, as for all metadata
                        self._system.set_times(handle.fd, status.st_atime_ns, status.st_mtime_ns)
        finally:
            folders.close()
        return contradictions

    def _write_in(
        self, receiver: Receiver, prefix: str, handle: FolderHandle, *, is_verified: bool
    ) -> list[Contradiction]:
        """Write the lists of the folder of one prefix."""
        loose = self._loose(prefix)
        if loose:  # the folder is not locked, but the files are: others may be writing lists beside them
            receiver = receiver._replace(medium=receiver.medium._replace(owner=loose[0]))
        sweep(receiver.medium, handle)
        title = self._title(receiver, prefix)
        sums = [self._write_sums(receiver, prefix, handle, title, name) for name in self._options.sums]
        if self._options.mhl is Mhl.LEGACY and is_verified:
            self._write_legacy(receiver, prefix, handle, title)
        if self._options.mhl is not Mhl.ASC or not is_verified:
            return []
        sealing = self._sealing(receiver, prefix, handle, title, list(filter(None, sums)))
        found = seal(receiver.medium, handle, sealing, self._creator)
        return [each._replace(path=_join(prefix, each.path)) for each in found]

    def _loose(self, prefix: str) -> list[str]:
        """Names of the files that are sources of their own, where nothing but such files goes to a prefix."""
        names = [root.only for root in self._tree.roots if root.prefix == prefix]
        return [name for name in names if name is not None] if None not in names else []

    def _write_sums(self, receiver: Receiver, prefix: str, handle: FolderHandle, title: str, digest: str) -> str | None:
        """Write a sum file, unless there is nothing to be listed; returns its name."""
        files = self._files(receiver, prefix, (digest,))
        first = next(files, None)
        if first is None:
            return None
        return write_sums(receiver.medium, handle, title, digest, chain([first], files)).name

    def _title(self, receiver: Receiver, prefix: str) -> str:
        """What lists of a folder are named after: the folder, or the one file that was copied into it."""
        loose = self._loose(prefix)
        if len(loose) == 1:
            return loose[0]
        return prefix.rpartition("/")[2] or os.path.basename(os.path.abspath(receiver.path)) or "copy"

    def _files(self, receiver: Receiver, prefix: str, names: tuple[str, ...]) -> Iterator[SealedFile]:
        """The files below a prefix on a destination, with the digests of these names."""
        tree, hashes = self._tree, self._options.hashes
        wanted = [(hashes.index(name), name) for name in names]
        for number, file in enumerate(tree.files):
            folder = tree.folders[file.folder]
            if tree.roots[folder.root].prefix != prefix or (receiver.number, number) in self._absent:
                continue
            fact: _Fact | Record | None = receiver.resumed.get(number) or self._facts.get(number)
            if fact is None or not fact.digests:
                continue
            name = self._names.get((receiver.number, number)) or (fact.name if isinstance(fact, Record) else "")
            path = _join(folder.path, name or file.name)
            if not stays_inside(path):  # as C:x, which is a name here and a drive elsewhere
                self.unlisted[_join(prefix, path)] = None
                continue
            yield SealedFile(
                path=path,
                size=fact.size,
                mtime_ns=fact.mtime_ns,
                digests=tuple([SealedDigest(each, fact.digests[index]) for index, each in wanted]),
                hashed_at=self._started_at if isinstance(fact, Record) else fact.at,
            )

    def _listed(self, receiver: Receiver, prefix: str) -> Iterator[SealedFile]:
        """The files that a media hash list can hold."""
        for file in self._files(receiver, prefix, listable(self._options.mhl, self._options.hashes)):
            if can_be_listed(file.path):
                yield file
            else:
                self.unlisted[_join(prefix, file.path)] = None

    def _write_legacy(self, receiver: Receiver, prefix: str, handle: FolderHandle, title: str) -> None:
        files = list(self._listed(receiver, prefix))
        if files:  # the format knows no list of nothing
            write_legacy_list(receiver.medium, handle, title, self._creator, self._started_at, files)

    # -- ASC ----------------------------------------------------------------------------------------------

    def _sealing(
        self, receiver: Receiver, prefix: str, handle: FolderHandle, title: str, sums: Sequence[str]
    ) -> Sealing:
        histories = self._histories_of(receiver, prefix)
        wished = self._wished_patterns(receiver, prefix)
        inherited = list(ignored_before(histories))
        left_out = Ignored([*wished, *inherited])
        folders = [path for path in self._folders_below(prefix) if path and not left_out.has_folder(path)]
        files = [file for file in self._listed(receiver, prefix) if not left_out.has_file(file.path)]
        names = {path.rpartition("/")[2] for path in (*folders, *(file.path for file in files))}
        beside = [*sums, *self._links_below(prefix), *self._lists_beside(handle, title, names)]
        ignores = [pattern for path in dict.fromkeys(beside) for pattern in patterns_for(path, title, names)]
        return Sealing(
            title=title,
            algorithms=listable(Mhl.ASC, self._options.hashes),
            files=files,
            folders=[path for path in folders if can_be_listed(path)],
            unsealed=self._unsealed(receiver, handle, files, folders, Ignored([*wished, *inherited, *ignores])),
            ignores=[*wished, *ignores],
            histories=histories,
        )

    def _lists_beside(self, handle: FolderHandle, title: str, names: Collection[str]) -> Iterator[str]:
        """Lists that other runs have left beside the copies."""
        suffixes = tuple(f".{suffix}" for suffix in SUM_DIGESTS.values())
        for name in self._system.list_names(handle):
            is_sum_file = name.startswith(title) and name.endswith(suffixes)
            if (is_sum_file or name.endswith(".mhl")) and name not in names:
                yield name

    def _folders_below(self, prefix: str | None) -> list[str]:
        """Paths of folders: those below a prefix relative to it, or all, relative to a destination's root."""
        paths: dict[str, None] = {}
        for root, path in self._tree.folders:
            its_prefix = self._tree.roots[root].prefix
            if prefix is None:
                paths[_join(its_prefix, path)] = None
            elif its_prefix == prefix:
                paths[path] = None
        return list(paths)

    def _wished_patterns(self, receiver: Receiver, prefix: str) -> list[str]:
        """What was left out because that was asked for; other tools match it against whole paths."""
        options = self._options
        excluded = (*options.exclude, *(SYSTEM_PATTERNS if options.exclude_system else ()))
        wished = [spelled(pattern) for pattern in excluded]
        if options.exclude:
            wished += [f"!{spelled(pattern)}" for pattern in options.include]
        taking_all = self._taking_all(receiver, prefix)
        for pattern in [each for each in wished if taking_all.takes(each) or not is_xml_text(each)]:
            wished.remove(pattern)
            receiver.warn(
                f"the pattern {pattern} is not recorded in the media hash list: XML cannot hold it, or a folder above"
                " has a name that it takes, and other tools would leave out everything below"
            )
        return wished

    def _taking_all(self, receiver: Receiver, prefix: str) -> TakingAll:
        return TakingAll(os.path.join(self._system.real_path(receiver.path), prefix))

    def _links_below(self, prefix: str) -> Iterator[str]:
        """Symbolic links: a list has no entries for them, and other tools would follow them."""
        for file in self._tree.files:
            folder = self._tree.folders[file.folder]
            if file.is_link and self._tree.roots[folder.root].prefix == prefix:
                yield _join(folder.path, file.name)

    def _histories_of(self, receiver: Receiver, prefix: str) -> dict[str, History]:
        """The histories to be continued, by path below a prefix."""
        histories: dict[str, History] = {}
        taking_all = self._taking_all(receiver, prefix)
        for path in {*self._histories, *receiver.histories, prefix}:
            is_below = path.startswith(f"{prefix}/" if prefix else "") and can_be_listed(path)
            if path != prefix and not is_below:
                continue
            below = path[len(prefix) + 1 :] if prefix else path
            history = _continued(path, self._histories.get(path), receiver.histories.get(path))
            if history.ignores is not None:
                history.ignores = [pattern for pattern in history.ignores if not taking_all.takes(pattern)]
            histories[below] = history
        return histories

    def _unsealed(
        self,
        receiver: Receiver,
        handle: FolderHandle,
        files: Sequence[SealedFile],
        folders: Sequence[str],
        left_out: Ignored,
    ) -> frozenset[str]:
        """Folders on the destination that hold more than the list: what is left of the hash of a folder then?"""
        listed: dict[str, set[str]] = {path: set() for path in ("", *folders)}
        for file in files:
            above, _, name = file.path.rpartition("/")
            listed[above].add(name)
        for path in folders:
            above, _, name = path.rpartition("/")
            if can_be_listed(path):
                listed[above].add(name)
        unsealed: set[str] = set()
        opened = OpenFolders(self._system, handle)
        try:
            for path, names in listed.items():
                if path in unsealed:
                    continue
                opened.trim(_OPEN_FOLDERS, keep=path)
                receiver.medium.beat()
                for entry in self._system.entries(opened.get(path)):
                    below = _join(path, entry.name)
                    if entry.name in names or is_temporary(entry.name):
                        continue
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if not (left_out.has_folder(below) if is_folder else left_out.has_file(below)):
                        unsealed.update(_ways_up(path))
                        break
        finally:
            opened.close()
        if unsealed:
            count = len(unsealed)
            held = "1 folder there holds" if count == 1 else f"{count} folders there hold"
            receiver.warn(
                f"{held} more than this run has verified, such as files of others: the media hash list has no directory"
                " hash of it"
            )
        return frozenset(unsealed)


def _continued(path: str, of_source: History | None, of_destination: History | None) -> History:
    """The history that goes on: that of the source, or what an earlier run has made of it.

    Raises:
        UntrustedListError: they are two histories.
    """
    if of_source is None or of_destination is None:
        return (of_source or of_destination or History()).copy()
    longer, shorter = of_destination, of_source
    if len(of_source.links) > len(of_destination.links):
        longer, shorter = of_source, of_destination
    if longer.links[: len(shorter.links)] != shorter.links:
        raise UntrustedListError(
            f"{printable(_join(path, ASC_FOLDER))}: source and destination have histories that contradict each other"
        )
    return longer.copy()


def _ways_up(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
