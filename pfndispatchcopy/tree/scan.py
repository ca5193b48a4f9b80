"""A source tree turned into a list of what is to be copied; every error on the way is kept, none is hidden.

Folders are reached by descriptors, name by name: paths end at PATH_MAX, and a tree does not. Within a folder
files come in the order of their inode numbers, which on most file systems is the order on the medium.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Identity, Notice, Symlinks
from pfndispatchcopy.notices import failure_notice
from pfndispatchcopy.printable import printable
from pfndispatchcopy.selection import Selection

__all__ = ["LeftOut", "SourceRoot", "Tree", "TreeFile", "TreeFolder", "scan", "split_list"]

# A file has holes when so many bytes of it are nowhere; fewer are the rounding of small files.
_LEAST_HOLE = 4096
# Folders that are kept open at once while a tree is walked.
_OPEN_FOLDERS = 128
_UNFINISHED = "a temporary file of an unfinished run"


class SourceRoot(NamedTuple):
    """One source of an offload.

    Attributes:
        label: as the caller spelled it.
        path: of the folder that is opened: the source, or the folder that a source file is in.
        prefix: path below each destination that the content of that folder goes to; empty for straight into it.
        only: name of the one file that is the source; None for all that is in the folder.
    """

    label: str
    path: str
    prefix: str
    only: str | None = None


class TreeFolder(NamedTuple):
    """One folder: which root it is below, and its path relative to it (empty for the root itself)."""

    root: int
    path: str


class TreeFile(NamedTuple):
    """One file or link to be copied.

    Attributes:
        folder: its place among the folders of the tree.
        name: its name there.
        size: in bytes, as it was when it was listed; 0 for a link.
        is_link: whether it is a symbolic link, which is made anew.
    """

    folder: int
    name: str
    size: int
    is_link: bool = False


class LeftOut(NamedTuple):
    """Something that is not copied, and why; *is_wished* when the user's own patterns say so."""

    path: str
    reason: str
    is_wished: bool


class Tree:
    """What a scan found.

    Attributes:
        roots: where it looked.
        folders: in an order in which each comes after the one that it is in.
        files: folder by folder.
        identities: of all folders that were listed: a path may lead into one of them by a way of its own.
        left_out: what is not copied.
        failures: what could not be listed or looked at: those parts of the tree are missing.
        hard_links: files that share their content with another one of the tree.
        sparse: files with holes, which the copies do not have.
        bytes: of all files together.
    """

    def __init__(self, roots: tuple[SourceRoot, ...]) -> None:
        self.roots = roots
        self.folders: list[TreeFolder] = []
        self.files: list[TreeFile] = []
        self.identities: set[Identity] = set()
        self.left_out: list[LeftOut] = []
        self.failures: list[Notice] = []
        self.hard_links = 0
        self.sparse = 0
        self.bytes = 0

    def path_of(self, file: TreeFile) -> str:
        """Path of a file, relative to its source."""
        folder = self.folders[file.folder].path
        return f"{folder}/{file.name}" if folder else file.name

    def collisions(self, fold: Callable[[str], str]) -> Iterator[tuple[str, str]]:
        """Pairs of paths on a destination that are one after *fold*, such as ``a.mov`` and ``A.MOV``."""
        names: dict[str, dict[str, str]] = {}
        for above, name in self._places():
            seen = names.setdefault(above, {})
            other = seen.setdefault(fold(name), name)
            if other != name:
                yield os.path.join(above, other), os.path.join(above, name)

    def _places(self) -> Iterator[tuple[str, str]]:
        """Every name on a destination, with the path of the folder that it is in."""
        paths = [_join(self.roots[root].prefix, path) for root, path in self.folders]
        for path in paths:
            while path:
                path, _, name = path.rpartition("/")  # noqa: PLW2901 - all that is above is a name, too
                yield path, name
        for file in self.files:
            yield paths[file.folder], file.name

    def top_names(self, root: int) -> set[str]:
        """Names that a source has directly below a destination."""
        of = self.roots[root]
        if of.prefix or of.only is not None:
            return {of.prefix or of.only or ""}
        names = {path.partition("/")[0] for number, path in self.folders if number == root}
        top = {number for number, folder in enumerate(self.folders) if folder == TreeFolder(root, "")}
        return {*names, *(file.name for file in self.files if file.folder in top)} - {""}


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def split_list(data: bytes, *, is_nul_separated: bool) -> list[str]:
    """Return the paths of a list of files, relative and normal, each once.

    Args:
        data: what the list holds.
        is_nul_separated: between NULs, as ``find -print0`` writes them, instead of one a line.

    Raises:
        UsageError: a path is absolute or leads out of the source.
    """
    lines = data.split(b"\0") if is_nul_separated else data.splitlines()
    paths: dict[str, None] = {}
    for line in filter(None, lines):
        given = os.fsdecode(line)
        names = [name for name in given.split("/") if name not in ("", os.curdir)]
        if given.startswith("/") or os.pardir in names:
            raise UsageError(f"--files-from: {printable(given)} does not stay within the source")
        paths["/".join(names)] = None
    return list(paths)


def scan(
    system: System,
    roots: tuple[SourceRoot, ...],
    handles: tuple[FolderHandle, ...],
    *,
    selection: Selection,
    symlinks: Symlinks,
    only: Iterable[str] | None = None,
    going_on: Callable[[], None] = lambda: None,
) -> Tree:
    """Walk all *roots* and list what is to be copied.

    Args:
        system: the calls.
        roots: the sources.
        handles: their folders, open.
        selection: what is left out.
        symlinks: what is done with symbolic links.
        only: copy only these paths of the one root, with what is in them; None for everything.
        going_on: called now and then; raises to stop.
    """
    tree = Tree(roots)
    seen: Counter[Identity] = Counter()
    for number, (root, handle) in enumerate(zip(roots, handles, strict=True)):
        walk = _Walk(system, tree, number, handle, selection, symlinks, seen, going_on)
        try:
            if root.only is not None:
                walk.list_only([root.only], is_root_listed=False)
            elif only is not None:
                walk.list_only(only, is_root_listed=True)
            else:
                walk.list_all("", parent_is_out=False)
        finally:
            walk.close()
    tree.hard_links = sum(count for count in seen.values() if count > 1)
    return tree


class _Walk:
    """The walk through one root."""

    def __init__(
        self,
        system: System,
        tree: Tree,
        root: int,
        handle: FolderHandle,
        selection: Selection,
        symlinks: Symlinks,
        seen: Counter[Identity],
        going_on: Callable[[], None],
    ) -> None:
        self._system = system
        self._tree = tree
        self._root = root
        self._folders = OpenFolders(system, handle, follow=symlinks is Symlinks.FOLLOW)
        self._selection = selection
        self._symlinks = symlinks
        self._seen = seen
        self._going_on = going_on
        self._numbers: dict[str, int] = {}
        self._listed: set[str] | None = None  # paths, where a list may name them twice

    def close(self) -> None:
        self._folders.close()

    def list_only(self, paths: Iterable[str], *, is_root_listed: bool) -> None:
        """List single paths, each once; a folder with all that is in it."""
        self._listed = set()
        if is_root_listed:
            self._number("")
        for path in paths:
            self._going_on()
            above, _, name = path.rpartition("/")
            if not path:
                self.list_all("", parent_is_out=False)
                continue
            try:
                folder = self._open(above)
                status = self._system.status_of_name(folder, name)
                is_link = stat.S_ISLNK(status.st_mode)
                # The one file that a source names may be a link to it, as for cp.
                is_followed = is_link and (not is_root_listed or self._symlinks is Symlinks.FOLLOW)
                if is_followed:
                    status = self._system.followed_status_of_name(folder, name)
            except OSError as error:
                self._fail(path, "look at", error)
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            is_out = self._is_left_out(path, is_folder=is_folder)
            if is_folder and (not is_out or self._selection.descends_everywhere):
                self.list_all(path, parent_is_out=is_out)
            elif is_out:
                self._leave_out(path, "excluded", is_wished=True)
            elif is_temporary(name):
                self._leave_out(path, _UNFINISHED)
            elif is_link and not is_followed:
                self._link(above, path, name)
            else:
                self._file(folder, above, path, name, is_followed=is_followed)

    def _is_left_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether the patterns leave out a path, or a folder that it is in."""
        is_out = False
        names = path.split("/")
        for count, name in enumerate(names, 1):
            is_last = count == len(names)
            is_out = self._selection.leaves_out(
                "/".join(names[:count]),
                name,
                is_folder=is_folder or not is_last,
                parent_is_out=is_out,
                parent_is_in=self._is_let_in("/".join(names[: count - 1])),
            )
        return is_out

    def list_all(self, top: str, *, parent_is_out: bool) -> None:
        """List a folder and everything below it."""
        is_top_in = bool(top) and self._is_let_in(top)
        waiting = [(top, parent_is_out, is_top_in)]
        while waiting:
            path, is_out, is_in = waiting.pop()
            self._going_on()
            subfolders = self._list(path, is_out=is_out, is_in=is_in)
            waiting.extend(reversed(subfolders))

    def _is_let_in(self, path: str) -> bool:
        """Whether a pattern lets in a folder, or one that it is in."""
        if self._selection.is_everything:
            return False
        return any(
            self._selection.lets_in(above, above.rpartition("/")[2], is_folder=True)
            for above in _ways_up(path)
            if above
        )

    def _list(self, path: str, *, is_out: bool, is_in: bool) -> list[tuple[str, bool, bool]]:
        """List one folder; returns the folders in it that are to be listed as well."""
        files: list[tuple[int, str, bool]] = []
        subfolders: list[tuple[int, str, bool, bool]] = []
        selection, follows = self._selection, self._symlinks is Symlinks.FOLLOW
        try:
            folder = self._open(path)
            self._tree.identities.add(folder.identity)
            for entry in self._system.entries(folder):
                name = entry.name
                below = f"{path}/{name}" if path else name
                is_folder = entry.is_dir(follow_symlinks=False)
                is_link = not is_folder and entry.is_symlink()
                is_way = is_link and follows and self._leads_to_folder(folder, name)
                is_below_out = not selection.is_everything and selection.leaves_out(
                    below, name, is_folder=is_folder or is_way, parent_is_out=is_out, parent_is_in=is_in
                )
                if is_below_out and not ((is_folder or is_way) and selection.descends_everywhere):
                    self._leave_out(below, "excluded", is_wished=True)
                elif is_way and self._leads_up(folder, path, name):
                    self._leave_out(below, "a link to a folder that it is in")
                elif is_folder or is_way:
                    is_below_in = is_in or (not selection.is_everything and self._is_let_in(below))
                    subfolders.append((entry.inode(), below, is_below_out, is_below_in))
                elif is_temporary(name):
                    self._leave_out(below, _UNFINISHED)
                else:
                    files.append((entry.inode(), name, is_link))
        except OSError as error:
            # What was listed before the error is copied; that the rest is missing is said.
            self._fail(path, "list the folder", error)
        if not is_out:
            self._number(path)
        files.sort()
        for _, name, is_link in files:
            below = f"{path}/{name}" if path else name
            if not is_link:
                self._file(folder, path, below, name)
            elif self._symlinks is Symlinks.COPY:
                self._link(path, below, name)
            elif self._symlinks is Symlinks.SKIP:
                self._leave_out(below, "a symbolic link")
            else:
                self._file(folder, path, below, name, is_followed=True)
        subfolders.sort()
        return [(below, is_below_out, is_below_in) for _, below, is_below_out, is_below_in in subfolders]

    def _leads_to_folder(self, folder: FolderHandle, name: str) -> bool:
        """Whether a link leads to a folder; one that leads nowhere is for later to complain about."""
        try:
            return stat.S_ISDIR(self._system.followed_status_of_name(folder, name).st_mode)
        except OSError:
            return False

    def _leads_up(self, folder: FolderHandle, path: str, name: str) -> bool:
        """Whether a link leads to a folder that it is in itself: following it would have no end."""
        status = self._system.followed_status_of_name(folder, name)
        identity = Identity(status.st_dev, status.st_ino)
        return any(self._folders.get(above).identity == identity for above in _ways_up(path))

    def _open(self, path: str) -> FolderHandle:
        self._folders.trim(_OPEN_FOLDERS, keep=path)
        return self._folders.get(path)

    def _number(self, path: str) -> int:
        """The place of a folder in the tree; it and those above it are listed when they were not yet."""
        number = self._numbers.get(path)
        if number is None:
            unknown = [above for above in _ways_up(path) if above not in self._numbers]
            for above in reversed(unknown):
                number = self._numbers[above] = len(self._tree.folders)
                self._tree.folders.append(TreeFolder(self._root, above))
            assert number is not None
        return number

    def _is_listed_already(self, below: str) -> bool:
        """Whether a list names something twice, alone and with its folder."""
        if self._listed is None or below not in self._listed:
            if self._listed is not None:
                self._listed.add(below)
            return False
        return True

    def _file(self, folder: FolderHandle, path: str, below: str, name: str, *, is_followed: bool = False) -> None:
        look = self._system.followed_status_of_name if is_followed else self._system.status_of_name
        try:
            status = look(folder, name)
        except OSError as error:
            self._fail(below, "look at", error)
            return
        if not stat.S_ISREG(status.st_mode):
            self._leave_out(below, _kind_in_words(status.st_mode))
            return
        if self._is_listed_already(below):
            return
        tree, size = self._tree, status.st_size
        number = self._numbers.get(path)
        tree.files.append(TreeFile(self._number(path) if number is None else number, name, size))
        tree.bytes += size
        if status.st_nlink > 1:
            self._seen[Identity(status.st_dev, status.st_ino)] += 1
        if size > _LEAST_HOLE and getattr(status, "st_blocks", size) * 512 < size - _LEAST_HOLE:
            tree.sparse += 1

    def _link(self, path: str, below: str, name: str) -> None:
        if self._symlinks is Symlinks.SKIP:
            self._leave_out(below, "a symbolic link")
        elif not self._is_listed_already(below):
            self._tree.files.append(TreeFile(self._number(path), name, 0, is_link=True))

    def _leave_out(self, below: str, reason: str, *, is_wished: bool = False) -> None:
        if self._is_listed_already(f"{below}/"):
            return
        shown = os.path.join(self._tree.roots[self._root].path, below)
        self._tree.left_out.append(LeftOut(shown, reason, is_wished))

    def _fail(self, below: str, operation: str, error: OSError) -> None:
        if self._is_listed_already(f"{below}/"):
            return
        label = self._tree.roots[self._root].label
        self._tree.failures.append(
            failure_notice(
                error,
                path=os.path.join(label, below) if below else label,
                operation=operation,
                aftermath="It is missing on every destination.",
            )
        )


def _ways_up(path: str) -> Iterator[str]:
    """Yield a path and those above it, the root last."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _kind_in_words(mode: int) -> str:
    for is_kind, words in ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder")):
        if is_kind(mode):
            return words
    return "a device" if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else "no regular file"
