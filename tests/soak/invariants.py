"""What has to hold after every run, whatever went wrong in it."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pfndispatchcopy.engine.existing import numbered_names
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.hashing import LISTED_ALGORITHMS, digests_of
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, ASC_FOLDER, read_asc, read_chain
from pfndispatchcopy.hashlists.entries import ListedFile
from pfndispatchcopy.hashlists.legacy import read_legacy
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, read_sums
from tests.faults.scenarios import require
from tests.soak.card import Card, Entry, Kind
from tests.soak.running import Ended
from tests.soak.wish import CANARY, Wish

__all__ = ["Invariants"]

_GOOD = frozenset({"verified", "identical", "skipped", "copied"})
_MAY_BE_THERE = frozenset({"finish", "list", "log", "outside", "report.csv", "report.html", "report.json", "src"})


class Invariants:
    """What is wished for, what was there, and what must not be touched.

    Attributes:
        was_hit: numbers of destinations on which calls failed: copies may have been set aside as bad there, and what
            could not be kept of a file, such as its time, is only warned of.
        older: what a file held before it was changed on the card: a copy of that is as good.
    """

    def __init__(self, wish: Wish, card: Card, folder: Path) -> None:
        self.wish = wish
        self.card = card
        self.folder = folder
        self.was_hit: set[int] = set()
        self.older: dict[str, bytes] = {}
        self._outside = os.lstat(folder / "outside" / "canary")

    # -- after any run ------------------------------------------------------------------------------------

    def require_nothing_lost(self, ended: Ended) -> None:
        """Nothing was touched that is not a destination, every final name is true, and so is every list."""
        self._require_card_untouched(ended)
        canary = self.folder / "outside" / "canary"
        now = os.lstat(canary)
        same = (now.st_ino, now.st_mtime_ns, now.st_mode) == (
            *(self._outside.st_ino, self._outside.st_mtime_ns, self._outside.st_mode),
        )
        require(same and canary.read_bytes() == CANARY, "a file outside was touched")
        self._require_nothing_beside()
        for number in range(self.wish.count):
            self._require_true_names(number)
            self._require_true_lists(number)
        # The interpreter itself answers an interrupt with one, until the program is there.
        is_ours = "KeyboardInterrupt" not in ended.stderr or "in console" in ended.stderr
        require("Traceback" not in ended.stderr or not is_ours, f"a traceback: {ended.stderr}")
        for line in ended.stderr.split("\n"):
            require(line.isprintable(), f"not fit for a terminal: {line!r}")

    def _require_card_untouched(self, ended: Ended) -> None:
        if ended.changed:
            changed = {str(self.card.folder / path) for path in ended.changed}
            now = {path: each for path, each in self.card.look().items() if path not in changed}
            before = {path: each for path, each in self.card.before.items() if path not in changed}
            # The folder of what was replaced has another time, and that was us.
            folders = {os.path.dirname(path) for path in changed}
            now, before = ({path: each for path, each in all_.items() if path not in folders} for all_ in (now, before))
            require(now == before, "the card was touched")
            self.card.before = self.card.look()
        else:
            require(self.card.look() == self.card.before, "the card was touched")

    def _require_nothing_beside(self) -> None:
        found = set(os.listdir(self.folder)) - _MAY_BE_THERE
        require(found == {f"d{number}" for number in range(self.wish.count)}, f"beside the destinations: {found}")
        for number, root in enumerate(self.wish.roots):
            beside = set(os.listdir(root.parent)) - {root.name, "hog"}
            # A probe, or the name of a folder that is being made, has its place in the folder above.
            require(all(map(is_temporary, beside)), f"beside destination {number}: {beside}")

    def paths(self, number: int) -> Iterator[str]:
        """Everything on a destination but folders."""
        root = str(self.wish.roots[number])
        for above, folders, files in os.walk(root):
            for name in (*files, *(each for each in folders if os.path.islink(os.path.join(above, each)))):
                yield os.path.relpath(os.path.join(above, name), root)

    def temporaries(self, number: int) -> list[str]:
        return [path for path in self.paths(number) if is_temporary(os.path.basename(path))]

    def _require_true_names(self, number: int) -> None:
        wish, before = self.wish, self.wish.before[number]
        for path in self.paths(number):
            if is_temporary(os.path.basename(path)):
                continue
            if path in wish.foreign[number]:
                require(self._read(number, path) == before[path], f"{path!r} on {number} was not ours")
            elif path in wish.wanted or path in self.older:
                self._require_true_copy(number, path)
            elif self._is_list(path):
                continue
            elif self._is_bad_copy(path):
                require(number in self.was_hit, f"a bad copy on {number}: {path!r}")
            else:
                self._require_numbered(number, path)
        for path, data in before.items():
            full = wish.roots[number] / path
            require(os.path.lexists(full), f"{path!r} on {number} was there and is gone")
            if path in wish.conflicts[number] and wish.conflict != "overwrite":
                require(full.read_bytes() == data, f"{path!r} on {number} was replaced")

    def _read(self, number: int, path: str) -> bytes:
        return (self.wish.roots[number] / path).read_bytes()

    def _require_true_copy(self, number: int, path: str) -> None:
        wish, full = self.wish, self.wish.roots[number] / path
        entry = wish.wanted.get(path)
        if entry is not None and entry.kind is Kind.LINK:
            require(os.path.islink(full) and os.readlink(full) == entry.target, f"another link: {path!r} on {number}")
            return
        require(stat.S_ISREG(os.lstat(full).st_mode), f"no file: {path!r} on {number}")
        may_be = [self.older[path]] if path in self.older else []
        may_be += [entry.data] if entry is not None else []
        may_be += [wish.before[number][path]] if path in wish.conflicts[number] else []
        require(self._read(number, path) in may_be, f"wrong bytes: {path!r} on {number}")

    def _require_numbered(self, number: int, path: str) -> None:
        """A name with a number is what ``rename`` makes of a conflict, and holds what is wished for."""
        wish = self.wish
        for wanted in wish.conflicts[number] if wish.conflict == "rename" else ():
            if path == self._numbered(wanted):
                require(self._read(number, path) == wish.wanted[wanted].data, f"wrong bytes: {path!r} on {number}")
                return
        require(condition=False, text=f"a strange name on {number}: {path!r}")

    @staticmethod
    def _numbered(path: str) -> str:
        above, _, name = path.rpartition("/")
        names = numbered_names(name)
        next(names)
        second = next(names)
        return f"{above}/{second}" if above else second

    def _is_bad_copy(self, path: str) -> bool:
        good = path.removesuffix(".corrupt")
        numbered = [self._numbered(each) for each in self.wish.wanted] if self.wish.conflict == "rename" else []
        return good != path and (good in self.wish.wanted or good in numbered)

    # -- lists --------------------------------------------------------------------------------------------

    def _is_list(self, path: str) -> bool:
        above, _, name = path.rpartition("/")
        if self.wish.mhl == "asc" and ASC_FOLDER in above.split("/"):
            return name == ASC_CHAIN or name.endswith(".mhl")
        suffixes = [f".{SUM_DIGESTS[each]}" for each in self.wish.sums] + [".mhl"] * (self.wish.mhl == "legacy")
        return above in self.wish.tops and name.endswith(tuple(suffixes)) if suffixes else False

    def lists(self, number: int) -> list[str]:
        return [path for path in self.paths(number) if self._is_list(path) and path not in self.wish.wanted]

    def _require_true_lists(self, number: int) -> None:
        if self.older:  # lists that were true when they were written
            return
        for path in self.lists(number):
            data = self._read(number, path)
            above, _, name = path.rpartition("/")
            if name == ASC_CHAIN:
                for link in read_chain([data]):
                    listed = self._read(number, f"{above}/{link.name}")
                    require(digests_of(["c4"], listed)["c4"] == link.c4, f"{path!r} on {number} is wrong")
                continue
            is_asc = above.rpartition("/")[2] == ASC_FOLDER
            below = above.rpartition("/")[0] if is_asc else above
            if is_asc:
                listed_files = [each for each in read_asc([data]) if isinstance(each, ListedFile)]
            else:
                listed_files = list(read_legacy([data]) if name.endswith(".mhl") else read_sums([data], name))
            for file in listed_files:
                self._require_as_listed(number, path, file, below)

    def _require_as_listed(self, number: int, path: str, file: ListedFile, below: str) -> None:
        at = f"{below}/{file.path}" if below else file.path
        require(os.path.lexists(self.wish.roots[number] / at), f"{path!r} on {number} lists {at!r}, which is missing")
        data = self._read(number, at)
        require(file.size in (None, len(data)), f"{path!r} on {number} has a wrong size of {at!r}")
        for digest in file.digests:
            if digest.name in LISTED_ALGORITHMS:
                right = digests_of([digest.name], data)[digest.name]
                require(right in digest.accepted, f"{path!r} on {number} has a wrong {digest.name} of {at!r}")

    # -- when it is complete ------------------------------------------------------------------------------

    def require_complete(self, number: int, ended: Ended, *, may_be_left: bool = False) -> None:
        """Everything is there, nothing else is left, and all of it is durable as far as that can be known.

        Args:
            number: of the destination.
            ended: how the run ended.
            may_be_left: whether temporary files may be left, since their removal failed.
        """
        wish = self.wish
        root = wish.roots[number]
        for path, entry in wish.wanted.items():
            full = root / path
            if entry.kind is Kind.FOLDER:
                require(full.is_dir() and not full.is_symlink(), f"no folder {path!r} on {number}")
                continue
            there = path
            if path in wish.conflicts[number]:
                if wish.conflict == "skip":
                    continue
                there = self._numbered(path) if wish.conflict == "rename" else path
                full = root / there
            require(os.path.lexists(full), f"{there!r} is missing on {number}, which is complete")
            if entry.kind is Kind.LINK:
                continue
            require(full.read_bytes() == entry.data, f"{there!r} on {number} is not what is on the card")
            self._require_metadata(number, path, there, entry)
            if ended.medium is not None and number not in wish.unforced:
                is_durable = ended.medium.is_durable(ended.roots[number], there)
                require(is_durable, f"{there!r} on {number} is not durable")
        left = self.temporaries(number)
        require(not left or may_be_left, f"left on {number}: {left}")
        if wish.sums and self.listable_files(in_sums=True):
            self._require_some_list(number, tuple(f".{SUM_DIGESTS[each]}" for each in wish.sums))
        if wish.mhl and number not in wish.unforced and self.listable_files():
            self._require_some_list(number, (".mhl",))

    def _require_metadata(self, number: int, path: str, there: str, entry: Entry) -> None:
        if path in self.wish.before[number] and there == path and path not in self.wish.conflicts[number]:
            return
        if path in self.older or number in self.was_hit or not self.wish.keeps_times or self.wish.stream is not None:
            return
        status = os.lstat(self.wish.roots[number] / there)
        require(status.st_mtime_ns == entry.mtime_ns, f"the time of {there!r} on {number} is another one")
        require(not status.st_mode & (stat.S_ISUID | stat.S_ISGID), f"set-user-id of {there!r} on {number}")

    def listable_files(self, *, in_sums: bool = False) -> list[str]:
        """Files with names that a media hash list can hold, or a sum file."""
        can_hold = _passes_for_no_drive if in_sums else _is_listable
        return [
            path
            for path, entry in self.wish.wanted.items()
            if entry.kind is Kind.FILE and can_hold(self._below_top(path))
        ]

    def _below_top(self, path: str) -> str:
        """A path as a list has it."""
        top = next((top for top in self.wish.tops if top and path.startswith(f"{top}/")), "")
        return path.removeprefix(f"{top}/") if top else path

    def _require_some_list(self, number: int, suffixes: tuple[str, ...]) -> None:
        for suffix in suffixes:
            found = [path for path in self.lists(number) if path.endswith(suffix)]
            require(found, f"no {suffix} list on {number}")

    def require_good_states(self, ended: Ended, numbers: Iterable[int]) -> None:
        """What is told of complete destinations is as good as it is, and not better."""
        for number in numbers if ended.states else ():
            state = ended.states[number]
            require(state in _GOOD, f"{number} is {state}")
            if number in self.wish.unforced or not self.wish.verifies:
                require(state != "verified", f"{number} is {state}, and nothing was read back from the medium")

    def inodes(self, number: int) -> dict[str, int]:
        """What is complete there, each with the number of its inode."""
        found = {}
        for path, entry in self.wish.wanted.items():
            full = self.wish.roots[number] / path
            if entry.kind is Kind.FILE and os.path.lexists(full) and path not in self.wish.conflicts[number]:
                found[path] = full.lstat().st_ino
        return found


def _is_listable(path: str) -> bool:
    """Whether XML can hold a path: no bytes that are no UTF-8, no control characters; and it passes for no drive."""
    is_text = all(character >= " " and not "\ud800" <= character <= "\udfff" for character in path)
    return is_text and _passes_for_no_drive(path)


def _passes_for_no_drive(path: str) -> bool:
    return path[1:2] != ":"
