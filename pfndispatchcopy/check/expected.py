"""From an argument of ``--check`` to what is expected: which lists it means, and what they say together."""

import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pfndispatchcopy.check.history import Histories
from pfndispatchcopy.check.lists import open_list
from pfndispatchcopy.check.statements import Statements
from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, ASC_FOLDER, read_asc
from pfndispatchcopy.hashlists.detect import kind_of
from pfndispatchcopy.hashlists.entries import ListedFile, ListKind, UntrustedListError
from pfndispatchcopy.hashlists.legacy import read_legacy
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, read_sums
from pfndispatchcopy.notices import errno_name, reason_of
from pfndispatchcopy.printable import printable

__all__ = ["Expected", "Place", "find_place", "is_sum_file", "read_expected"]

_SUM_SUFFIXES = tuple(f".{suffix}" for suffix in SUM_DIGESTS.values())


def is_sum_file(name: str) -> bool:
    """Whether a name is that of a sum file."""
    return name.endswith(_SUM_SUFFIXES) and not name.startswith("._")


class Place(NamedTuple):
    """Where an argument leads.

    Attributes:
        label: as the caller spelled it.
        folder: path of the folder that is described.
        name: of the one list, or manifest, that was named; None where all of the folder's lists are meant.
        is_history: whether *name* is a manifest in the folder's history.
    """

    label: str
    folder: str
    name: str | None = None
    is_history: bool = False


class Expected:
    """What the lists that an argument means say together.

    Attributes:
        place: where it leads.
        statements: of the files.
        histories: of the folder and of those below it.
        lists: paths of the lists that were read, below the folder.
        is_complete: whether every file of the folder has to be in a list.
        untrusted: what is wrong with the lists that cannot be trusted: of each, its path and the reason.
        doubts: what a person should know.
    """

    def __init__(self, place: Place, histories: Histories) -> None:
        self.place = place
        self.histories = histories
        self.statements = Statements()
        self.lists: list[str] = []
        self.is_complete = True
        self.untrusted: list[tuple[str, str]] = []
        self.doubts: list[tuple[str, str]] = []

    def enter_history(self, prefix: str) -> None:
        """A folder with a history of its own was found below: what it says is expected as well."""
        if prefix in self.histories.ignored:
            return
        self.attempt(f"{prefix}/{ASC_FOLDER}", lambda: self.histories.read(prefix), is_named=True)
        self.statements.absorb(self.histories.statements)

    def attempt(self, path: str, read: Callable[[], None], *, is_named: bool = False) -> None:
        """Read a list; one that cannot be trusted does not keep the others from being read."""
        try:
            read()
        except UntrustedListError as error:
            reason = str(error)
            if is_named:  # it names the manifest, from the root on
                path, _, reason = reason.partition(": ")
            self.untrusted.append((path, reason))


def find_place(system: System, label: str) -> Place:
    """Return where an argument leads.

    Raises:
        RefusedError: it is neither a file nor a folder, or cannot be looked at.
    """
    try:
        mode = system.status(label).st_mode
    except OSError as error:
        raise RefusedError(
            f"{printable(label)}: the list cannot be looked at: {reason_of(error)};"
            " check the name, and whether its disk is mounted",
            path=label,
            operation="open",
            errno=errno_name(error),
        ) from error
    if stat.S_ISDIR(mode):
        if os.path.basename(os.path.abspath(label)) == ASC_FOLDER:
            return Place(label, os.path.dirname(os.path.abspath(label)), ASC_CHAIN, is_history=True)
        return Place(label, label)
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{printable(label)}: neither a list nor a folder", path=label, operation="open")
    folder, name = os.path.dirname(label), os.path.basename(label)
    whole = os.path.abspath(folder or os.curdir)
    if os.path.basename(whole) == ASC_FOLDER:
        return Place(label, os.path.dirname(whole), name, is_history=True)
    return Place(label, folder or os.curdir, name)


def read_expected(system: System, root: FolderHandle, place: Place, going_on: Callable[[], None]) -> Expected:
    """Read all lists that an argument means.

    Args:
        system: the calls.
        root: the folder that is described, open.
        place: where the argument leads.
        going_on: called now and then; raises to stop.

    Raises:
        RefusedError: there is no list.
    """
    expected = Expected(place, Histories(system, root, going_on))
    reader = _Reader(system, root, expected, going_on)
    if place.is_history:
        reader.read_history(None if place.name == ASC_CHAIN else place.name)
    elif place.name is not None:
        reader.read_list(place.name, follow=True)
        # A list of one file lies beside others that it does not speak of.
        expected.is_complete = not expected.statements.is_one_file()
    else:
        names = system.list_names(root)
        if ASC_FOLDER in names:
            reader.read_history(None)
        for name in sorted(names):
            if (name.endswith(".mhl") and not name.startswith("._")) or is_sum_file(name):
                reader.read_list(name, follow=False)
        if not expected.lists and not expected.untrusted:
            raise RefusedError(
                f"{printable(place.label)}: there is no hash list in it: neither an {ASC_FOLDER} folder, nor a .mhl"
                f" file, nor one that ends in {', '.join(_SUM_SUFFIXES)}",
                path=place.label,
                operation="open",
            )
    return expected


class _Reader:
    """Reads the lists of one folder."""

    def __init__(self, system: System, root: FolderHandle, expected: Expected, going_on: Callable[[], None]) -> None:
        self._system = system
        self._root = root
        self._expected = expected
        self._going_on = going_on

    def read_history(self, until: str | None) -> None:
        """Read the folder's history, up to a manifest."""
        expected = self._expected
        expected.attempt(ASC_FOLDER, lambda: expected.histories.read(until=until), is_named=True)
        expected.statements.absorb(expected.histories.statements)
        expected.lists += expected.histories.lists

    def read_list(self, name: str, *, follow: bool) -> None:
        """Read a list that lies in the folder itself."""
        expected = self._expected

        def read() -> None:
            with open_list(self._system, self._root, name, self._going_on, follow=follow) as file:
                kind = kind_of(file.beginning)
                said = self._understand(kind, file.chunks(), name)
            if kind is ListKind.ASC:
                expected.doubts.append(
                    (name, "a manifest outside of a history: no chain proves that it was not edited")
                )
            for statements in said:
                expected.statements.absorb(statements)
            expected.lists.append(name)

        expected.attempt(name, read)

    def _understand(self, kind: ListKind, chunks: Iterable[bytes], name: str) -> list[Statements]:
        """Return what a list says: a sum file names a file again for each algorithm, others once."""
        said: dict[str, Statements] = {}
        is_sums, is_asc = kind is ListKind.SUMS, kind is ListKind.ASC
        entries: Iterable[object] = read_sums(chunks, name) if is_sums else ()
        if not is_sums:
            entries = read_asc(chunks) if is_asc else read_legacy(chunks)
        for entry in entries:
            if isinstance(entry, ListedFile):
                part = entry.digests[0].name if is_sums else ""
                statements = said.get(part)
                if statements is None:
                    statements = said[part] = Statements()
                statements.add(entry.path, entry.size, entry.digests, is_history=is_asc)
        return list(said.values())
