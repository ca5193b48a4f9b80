"""What is there, held against what is expected: the files to be read, in the order of the medium, and the new ones.

Folders are reached by descriptors, and no link is followed. Within a folder files come in the order of their inode
numbers, which on most file systems is the order on the medium.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from pfndispatchcopy.check.expected import Expected, is_sum_file
from pfndispatchcopy.check.statements import records
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashlists.asc import ASC_FOLDER
from pfndispatchcopy.notices import failure_notice
from pfndispatchcopy.selection import Selection

if TYPE_CHECKING:
    from pfndispatchcopy.model import Notice

__all__ = ["BATCH_BYTES", "BATCH_FILES", "LARGEST_SMALL_FILE", "Piece", "Survey", "kind_in_words", "look"]

# A file up to this size is read in a batch, whole (benchmarks/exp_small_file.py).
LARGEST_SMALL_FILE = 4 << 20
# What is read ahead at once, and goes to another process at once (benchmarks/exp_handed_over.py). All files of a
# batch are open together.
BATCH_FILES = 128
BATCH_BYTES = 32 << 20
# Folders that are kept open at once while a tree is walked.
_OPEN_FOLDERS = 128
# Above so many files a folder is read in the order of the list: each that waits to be sorted takes 200 bytes.
_MOST_SORTED = 200_000


class Piece(NamedTuple):
    """Files of one folder, to be read in this order.

    Attributes:
        folder: its path below the root.
        packed: names and facts, as in :mod:`pfndispatchcopy.check.statements`.
        files: how many.
        size: of all of them, in bytes, as they are listed.
    """

    folder: str
    packed: bytes
    files: int
    size: int


class Survey:
    """What was found of one root.

    Attributes:
        small: pieces with files that are read in batches.
        large: pieces with one file each.
        missing: pieces with files that are not there.
        missing_folders: paths of folders that are listed and not there.
        new: paths of files that no list knows.
        links: paths of symbolic links where a list has a file, or a folder on the way to one.
        odd: what is neither file nor folder: its path, what it is, and whether a list takes it for a file.
        failures: folders that could not be listed.
        left_out: paths of what was left out because that was asked for.
        files: that are expected, those that are missing included.
        bytes: of the files that are there.
        composed: files that are there under a name that only composes its letters in another way.
    """

    def __init__(self) -> None:
        self.small: list[Piece] = []
        self.large: list[Piece] = []
        self.missing: list[Piece] = []
        self.missing_folders: list[str] = []
        self.new: list[str] = []
        self.links: dict[str, None] = {}
        self.odd: list[tuple[str, str, bool]] = []
        self.failures: list[Notice] = []
        self.left_out: list[str] = []
        self.files = 0
        self.bytes = 0
        self.composed = 0


class _Pile:
    """Files that are put together to pieces."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self._folder = ""
        self._packed: list[str] = []
        self._size = 0

    def put(self, folder: str, name: str, facts: str, size: int) -> None:
        if self._packed and (
            folder != self._folder or len(self._packed) >= BATCH_FILES or self._size + size > BATCH_BYTES
        ):
            self.close()
        self._folder = folder
        self._packed.append(f"{name}\0{facts}/")
        self._size += size

    def close(self) -> None:
        if self._packed:
            packed = "".join(self._packed).encode("utf-8", "surrogateescape")
            self._pieces.append(Piece(self._folder, packed, len(self._packed), self._size))
        self._packed, self._size = [], 0


def look(
    system: System, root: FolderHandle, expected: Expected, selection: Selection, going_on: Callable[[], None]
) -> Survey:
    """Hold what is there against what is expected; the statements are used up by it.

    Args:
        system: the calls.
        root: the folder that the lists describe, open.
        expected: what they say.
        selection: what the user leaves out.
        going_on: called now and then; raises to stop.
    """
    walk = _Look(system, root, expected, selection, going_on)
    try:
        if expected.is_complete:
            walk.walk()
        walk.take_the_rest()
    finally:
        walk.close()
    return walk.survey


class _Look:
    """The walk through one root."""

    def __init__(
        self,
        system: System,
        root: FolderHandle,
        expected: Expected,
        selection: Selection,
        going_on: Callable[[], None],
    ) -> None:
        self.survey = Survey()
        self._system = system
        self._root = root
        self._folders = OpenFolders(system, root)
        self._expected = expected
        self._statements = expected.statements
        self._selection = selection
        self._going_on = going_on
        self._small, self._large = _Pile(self.survey.small), _Pile(self.survey.large)
        self._missing = _Pile(self.survey.missing)
        self._listed_folders = set(expected.histories.folders)
        self._ways: set[str] = set()
        self._composed: dict[str, str | None] = {}
        self._know(self._statements.folders)
        # The lists themselves are in no list.
        self._lists = {*expected.lists, *(path for path, _ in expected.untrusted), expected.place.name or ""}
        self._folder_name = os.path.basename(os.path.abspath(root.path))

    def close(self) -> None:
        for pile in (self._small, self._large, self._missing):
            pile.close()
        self._folders.close()

    def _know(self, folders: Iterable[str]) -> None:
        """Remember which folders are on the way to files, and how those with other letters may be spelled."""
        for folder in folders:
            above = folder
            while above:
                if not above.isascii():
                    composed = unicodedata.normalize("NFC", above)
                    known = self._composed.setdefault(composed, above)
                    if known != above:
                        self._composed[composed] = None
                above = above.rpartition("/")[0]
                if above in self._ways:
                    break
                self._ways.add(above)

    # -- the walk -----------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Visit every folder that is not left out."""
        # What only a list knows that cannot be trusted is not new.
        waiting = [("", "", not self._expected.untrusted)]
        while waiting:
            path, listed, wants_new = waiting.pop()
            self._going_on()
            waiting += reversed(self._visit(path, listed, wants_new=wants_new))

    def _visit(self, path: str, listed: str, *, wants_new: bool) -> list[tuple[str, str, bool]]:
        """Visit one folder, called *listed* in the lists; returns those in it that are to be visited."""
        files: dict[str, int] = {}
        folders: list[tuple[int, str]] = []
        odd: list[str] = []
        is_history = False
        failure: OSError | None = None
        self._listed_folders.discard(listed)
        try:
            folder = self._open(path)
            for entry in self._system.entries(folder):
                if entry.is_file(follow_symlinks=False):
                    files[entry.name] = entry.inode()
                elif not entry.is_dir(follow_symlinks=False):
                    odd.append(entry.name)  # a link, too
                elif entry.name == ASC_FOLDER:
                    is_history = True
                else:
                    folders.append((entry.inode(), entry.name))
        except OSError as error:
            failure = error
            self._fail(path, error)
        if is_history and path and self._expected.histories.ignored:
            before = len(self._expected.untrusted)
            self._expected.enter_history(listed)
            self._know(self._statements.folders)
            self._listed_folders |= self._expected.histories.folders
            wants_new = wants_new and len(self._expected.untrusted) == before
        if failure is None or files:
            others = [*odd, *(name for _, name in folders)]
            self._match(folder, path, listed, files, others, is_whole=failure is None)
        if wants_new:
            self._tell_new(path, listed, files, odd)
        folders.sort()
        return self._subfolders(path, listed, [name for _, name in folders], wants_new=wants_new)

    def _subfolders(self, path: str, listed: str, names: list[str], *, wants_new: bool) -> list[tuple[str, str, bool]]:
        found = []
        composed = self._composed_names(listed, names) if self._composed else {}
        for name in names:
            below = f"{path}/{name}" if path else name
            as_listed = f"{listed}/{composed.get(name, name)}" if listed else composed.get(name, name)
            if self._is_left_out(as_listed, is_folder=True):
                self.survey.left_out.append(below)
                if not self._selection.descends_everywhere:
                    continue
            is_wanted = wants_new and not self._is_ignored(as_listed, is_folder=True)
            if is_wanted or as_listed in self._ways or as_listed in self._statements:
                found.append((below, as_listed, is_wanted))
            else:
                self._listed_folders.discard(as_listed)
        return found

    def _composed_names(self, listed: str, names: list[str]) -> dict[str, str]:
        """How the lists spell folders whose names compose their letters in another way."""
        present, found = set(names), dict[str, str]()
        takers: dict[str, list[str]] = {}
        for name in names:
            if name.isascii():
                continue
            below = f"{listed}/{name}" if listed else name
            other = self._composed.get(unicodedata.normalize("NFC", below))
            if other is not None and other != below and other.rpartition("/")[2] not in present:
                takers.setdefault(other.rpartition("/")[2], []).append(name)
        for other, those in takers.items():
            if len(those) == 1:
                found[those[0]] = other
        return found

    def _match(
        self,
        folder: FolderHandle,
        path: str,
        listed: str,
        files: dict[str, int],
        others: list[str],
        *,
        is_whole: bool,
    ) -> None:
        """Take the files that are expected here out of those that are here."""
        packed = self._statements.pop(listed)
        if not packed:
            return
        is_sorted, everything = len(files) <= _MOST_SORTED, self._selection.is_everything
        strange = set(others)
        found: list[tuple[int, str, str]] = []
        absent: list[tuple[str, str]] = []
        for name, facts in records(packed):
            if not everything and self._is_left_out(f"{listed}/{name}" if listed else name):
                self.survey.left_out.append(f"{path}/{name}" if path else name)
                files.pop(name, None)
                continue
            inode = files.pop(name, None)
            if inode is None:
                if not name.isascii():
                    absent.append((name, facts))
                elif not is_whole or name in strange:
                    self._look_at(folder, path, name, facts)
                elif not self._is_ignored(f"{listed}/{name}" if listed else name):
                    self._miss(path, name, facts)
            elif is_sorted:
                found.append((inode, name, facts))
            else:
                self._put(folder, path, name, facts)
        found.sort()
        for _, name, facts in found:
            self._put(folder, path, name, facts)
        spellings = self._other_spellings(absent, files) if absent else {}
        for name, facts in absent:
            other = spellings.get(name)
            if other is None:
                self._look_at(folder, path, name, facts)
            else:
                del files[other]
                self.survey.composed += 1
                self._put(folder, path, other, facts)

    def _other_spellings(self, absent: list[tuple[str, str]], files: dict[str, int]) -> dict[str, str]:
        """Of names that are not there, which one is there with its letters composed in another way."""
        candidates: dict[str, list[str]] = {}
        for name in files:
            if not name.isascii():
                candidates.setdefault(unicodedata.normalize("NFC", name), []).append(name)
        if not candidates:
            return {}
        wanted: dict[str, list[str]] = {}
        for name, _ in absent:
            if not name.isascii():
                wanted.setdefault(unicodedata.normalize("NFC", name), []).append(name)
        return {
            names[0]: candidates[composed][0]
            for composed, names in wanted.items()
            if len(names) == 1 and len(candidates.get(composed, ())) == 1
        }

    def _tell_new(self, path: str, listed: str, files: dict[str, int], odd: list[str]) -> None:
        for name in sorted(files):
            as_listed = f"{listed}/{name}" if listed else name
            if is_temporary(name) or (not path and self._is_list(name)):
                continue
            if self._is_left_out(as_listed):
                self.survey.left_out.append(f"{path}/{name}" if path else name)
            elif not self._is_ignored(as_listed):
                self.survey.new.append(f"{path}/{name}" if path else name)
        known = {way for way, _, is_listed in self.survey.odd if is_listed} if odd else set()
        for name in odd:
            below = f"{path}/{name}" if path else name
            if below in known or below in self.survey.links:
                continue
            try:
                mode = self._system.status_of_name(self._open(path), name).st_mode
            except OSError:
                continue
            if not stat.S_ISLNK(mode):
                self.survey.odd.append((below, kind_in_words(mode), False))

    def _is_list(self, name: str) -> bool:
        """Whether something in the root is a list, of this run or another one."""
        is_sum_of_folder = is_sum_file(name) and name.startswith(self._folder_name)
        return name in self._lists or name.endswith(".mhl") or is_sum_of_folder

    # -- what no folder that was visited had --------------------------------------------------------------

    def take_the_rest(self) -> None:
        """Find out what became of the files in folders that were not visited."""
        for folder in sorted(self._statements.folders):
            self._going_on()
            packed = self._statements.pop(folder)
            handle = self._reach(folder)
            for name, facts in records(packed):
                path = f"{folder}/{name}" if folder else name
                if self._is_left_out(path):
                    self.survey.left_out.append(path)
                elif handle is not None:
                    self._look_at(handle, folder, name, facts)
                elif handle is None and not self._is_behind_link(folder) and not self._is_ignored(path):
                    self._miss(folder, name, facts)
        if self._expected.is_complete:
            self.survey.missing_folders += [path for path in sorted(self._listed_folders) if self._is_missing(path)]

    def _is_missing(self, folder: str) -> bool:
        """Whether a folder that is listed is not there, and nothing says that it need not be."""
        if not folder or self._is_left_out(folder, is_folder=True) or self._is_ignored(folder, is_folder=True):
            return False
        return self._reach(folder) is None and not self._is_behind_link(folder)

    def _reach(self, path: str) -> FolderHandle | None:
        """Open a folder; None where it is not there, or is behind a link, which is then remembered."""
        try:
            return self._open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not self._find_link(path):
                self._fail(path, error)
            return None

    def _find_link(self, path: str) -> bool:
        """Remember the link that is on the way to a folder."""
        names = path.split("/")
        for count in range(len(names)):
            above = "/".join(names[: count + 1])
            try:
                parent = self._open("/".join(names[:count]))
                mode = self._system.status_of_name(parent, names[count]).st_mode
            except OSError:
                return False
            if stat.S_ISLNK(mode):
                self.survey.links[above] = None
                return True
            if not stat.S_ISDIR(mode):
                return False
        return False

    def _is_behind_link(self, path: str) -> bool:
        return any(f"{path}/".startswith(f"{link}/") for link in self.survey.links) if self.survey.links else False

    def _look_at(self, folder: FolderHandle, path: str, name: str, facts: str) -> None:
        """Decide about one file without the listing of its folder."""
        below = f"{path}/{name}" if path else name
        try:
            status = self._system.status_of_name(folder, name)
        except FileNotFoundError:
            # Of a list of one file: what was listed has been searched for other spellings already.
            other = None if self._expected.is_complete else self._lone_spelling(folder, name)
            if other is not None:
                self.survey.composed += 1
                self._put(folder, path, other, facts)
            elif not self._is_ignored(below):
                self._miss(path, name, facts)
            return
        except OSError:  # whoever opens it will hear the same, and say so
            self._put(folder, path, name, facts)
            return
        if stat.S_ISREG(status.st_mode):
            self._put(folder, path, name, facts)
        elif stat.S_ISLNK(status.st_mode):
            self.survey.files += 1
            self.survey.links[below] = None
        else:
            self.survey.files += 1
            self.survey.odd.append((below, kind_in_words(status.st_mode), True))

    def _lone_spelling(self, folder: FolderHandle, name: str) -> str | None:
        """The one name in a folder that only composes its letters in another way; a link or a folder is none."""
        if name.isascii():
            return None
        try:
            files = {entry.name: 0 for entry in self._system.entries(folder) if entry.is_file(follow_symlinks=False)}
        except OSError:
            return None
        return self._other_spellings([(name, "")], files).get(name)

    # -- what was found -----------------------------------------------------------------------------------

    def _put(self, folder: FolderHandle, path: str, name: str, facts: str) -> None:
        """Have a file read."""
        text = facts.partition(" ")[0].partition(";")[0]
        if text:
            size = int(text)
        else:
            try:
                size = self._system.status_of_name(folder, name).st_size
            except OSError:
                size = 0
        self.survey.files += 1
        self.survey.bytes += size
        if size <= LARGEST_SMALL_FILE:
            self._small.put(path, name, facts, size)
        else:
            self._large.put(path, name, facts, size)
            self._large.close()

    def _miss(self, path: str, name: str, facts: str) -> None:
        self.survey.files += 1
        self._missing.put(path, name, facts, 0)

    def _open(self, path: str) -> FolderHandle:
        self._folders.trim(_OPEN_FOLDERS, keep=path)
        return self._folders.get(path)

    def _is_left_out(self, path: str, *, is_folder: bool = False) -> bool:
        return not self._selection.is_everything and _leaves_out(self._selection, path, is_folder=is_folder)

    def _is_ignored(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether the history that a path belongs to leaves it out."""
        ignored = self._expected.histories.ignored
        if not ignored:
            return False
        above = path
        while above not in ignored:
            if not above:
                return False
            above = above.rpartition("/")[0]
        below = path[len(above) + 1 :] if above else path
        return bool(below) and _leaves_out(ignored[above], below, is_folder=is_folder)

    def _fail(self, path: str, error: OSError) -> None:
        shown = os.path.join(self._root.path, path) if path else self._root.path
        notice = failure_notice(
            error,
            path=shown,
            operation="list the folder",
            destination=self._expected.place.label,
            aftermath="Whether there are files in it that no list knows is not known.",
        )
        if notice not in self.survey.failures:
            self.survey.failures.append(notice)


def _leaves_out(selection: Selection, path: str, *, is_folder: bool) -> bool:
    """Whether patterns leave out a path, or a folder that it is in."""
    is_out = is_in = False
    names = path.split("/")
    for count, name in enumerate(names, 1):
        part, is_way = "/".join(names[:count]), count < len(names) or is_folder
        is_out = selection.leaves_out(part, name, is_folder=is_way, parent_is_out=is_out, parent_is_in=is_in)
        is_in = is_in or (is_way and selection.lets_in(part, name, is_folder=True))
    return is_out


def kind_in_words(mode: int) -> str:
    """Say what something is that is no file."""
    for is_kind, words in ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder")):
        if is_kind(mode):
            return words
    return "a device" if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else "no regular file"
