r"""What lists say of files, packed: a million of them in some forty megabytes.

All that is known of the files of one folder is one run of bytes, ``name NUL facts /`` for each file: neither a NUL nor
a separator can be in a name. The facts are one statement of each list, or history, with ``;`` between them: the size,
which may be empty, and the digests, each a letter for its algorithm, a letter for what it is, and its text; where the
order of its bytes is not known, both texts with ``|`` between them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pfndispatchcopy.hashing import LISTED_ALGORITHMS
from pfndispatchcopy.hashlists.entries import Action, ListedDigest

__all__ = ["Expectation", "Statements", "expectation", "pack", "records", "unpack"]

_NAME_OF = {chr(ord("a") + number): name for number, name in enumerate(LISTED_ALGORITHMS)}
_LETTER_OF = {name: letter for letter, name in _NAME_OF.items()}
_PLAIN, _HISTORY, _FAILED = "-", "h", "f"
_ENCODING = ("utf-8", "surrogateescape")


class Expectation(NamedTuple):
    """What a file has to be.

    Attributes:
        sizes: in bytes; more than one only where lists contradict each other.
        digests: names of algorithms, each with the texts of which one has to be found.
        is_only_failed: whether a history knows the file only as one that has failed before.
    """

    sizes: tuple[int, ...]
    digests: tuple[tuple[str, tuple[str, ...]], ...]
    is_only_failed: bool


def expectation(facts: str) -> Expectation:
    """Put together what all lists say of one file.

    A history has earlier and later entries: of each algorithm the first one counts, and one that failed never does.
    Lists that are no history of each other all count.
    """
    words = facts.split(" ")
    if len(words) == 2 and ";" not in facts:  # nearly all are of this kind
        size, word = words
        if word[1] != _FAILED and "|" not in word:
            return Expectation((int(size),) if size else (), ((_NAME_OF[word[0]], (word[2:],)),), is_only_failed=False)
    sizes: dict[int, None] = {}
    digests: dict[tuple[str, tuple[str, ...]], None] = {}
    seen: set[str] = set()
    has_failed = has_size_of_history = False
    for statement in facts.split(";"):
        size, *words = statement.split(" ")
        is_of_history = counts = False
        for word in words:
            letter, kind = word[0], word[1]
            has_failed |= kind == _FAILED
            is_of_history |= kind != _PLAIN
            if kind == _FAILED:
                continue
            counts = True
            if kind == _HISTORY:
                if letter in seen:
                    continue
                seen.add(letter)
            digests[_NAME_OF[letter], tuple(word[2:].split("|"))] = None
        if size and (counts or not words) and not (is_of_history and has_size_of_history):
            sizes[int(size)] = None
            has_size_of_history |= is_of_history
    return Expectation(tuple(sizes), tuple(digests), has_failed and not digests)


def pack(name: str, size: int | None, digests: tuple[ListedDigest, ...], *, is_history: bool) -> bytes:
    """Return the record of one file, as one list has it."""
    known = "" if size is None else str(size)
    if len(digests) == 1 and len(digests[0].accepted) == 1 and digests[0].action is not Action.FAILED:  # nearly all
        ((algorithm, (text,), _),) = digests
        kind = _HISTORY if is_history else _PLAIN
        return f"{name}\0{known} {_LETTER_OF[algorithm]}{kind}{text}/".encode(*_ENCODING)
    words = [known]
    for digest in digests:
        kind = _FAILED if digest.action is Action.FAILED else _HISTORY if is_history else _PLAIN
        words.append(f"{_LETTER_OF[digest.name]}{kind}{'|'.join(digest.accepted)}")
    return f"{name}\0{' '.join(words)}/".encode(*_ENCODING)


def records(packed: bytes | bytearray) -> Iterator[tuple[str, str]]:
    """Yield names and facts, without unpacking all of them at once."""
    start = 0
    while (end := packed.find(b"/", start)) >= 0:
        name, _, facts = packed[start:end].decode(*_ENCODING).partition("\0")
        yield name, facts
        start = end + 1


def unpack(packed: bytes | bytearray) -> list[list[str]]:
    """Return all names and facts of a run that is short."""
    return [record.split("\0") for record in packed.decode(*_ENCODING).split("/")[:-1]]


def _repack(found: Mapping[str, str]) -> bytearray:
    return bytearray(b"".join([f"{name}\0{facts}/".encode(*_ENCODING) for name, facts in found.items()]))


class Statements:
    """What lists say of the files of a tree, folder by folder; each file stands there once."""

    def __init__(self) -> None:
        # One record alone stays bytes: there are cards with a folder for each file.
        self._folders: dict[str, bytes | bytearray] = {}

    def __contains__(self, folder: object) -> bool:
        """Whether something is said of files in a folder."""
        return folder in self._folders

    @property
    def folders(self) -> list[str]:
        """Paths of all folders that something is said of."""
        return list(self._folders)

    def is_one_file(self) -> bool:
        """Whether exactly one file is spoken of."""
        return len(self._folders) == 1 and next(iter(self._folders.values())).count(b"/") == 1

    def add(self, path: str, size: int | None, digests: tuple[ListedDigest, ...], *, is_history: bool) -> None:
        """Add a file that nothing has been said of yet: a list names each file once."""
        folder, _, name = path.rpartition("/")
        self._append(folder, pack(name, size, digests, is_history=is_history))

    def _append(self, folder: str, record: bytes) -> None:
        known = self._folders.get(folder)
        if known is None:
            self._folders[folder] = record
        elif isinstance(known, bytearray):
            known += record
        else:
            self._folders[folder] = bytearray(known) + record

    def absorb(self, other: "Statements", prefix: str = "") -> None:
        """Add what another list says, after what is known already.

        Args:
            other: it is empty afterwards.
            prefix: the folder that it is about, relative to this tree.
        """
        while other._folders:  # noqa: SLF001 - of the same kind
            below, packed = other._folders.popitem()  # noqa: SLF001
            folder = "/".join(part for part in (prefix, below) if part)
            known = self._folders.get(folder)
            if known is None:
                self._folders[folder] = packed
                continue
            merged = dict(records(known))
            for name, facts in records(packed):
                merged[name] = f"{merged[name]};{facts}" if name in merged else facts
            self._folders[folder] = _repack(merged)

    def move(self, ways: Mapping[str, str]) -> None:
        """Take what is known of files to where they are now: old paths to new ones, all at the same time."""
        by_folder: dict[str, dict[str, str]] = {}
        for old, new in ways.items():
            folder, _, name = old.rpartition("/")
            by_folder.setdefault(folder, {})[name] = new
        taken = Statements()
        for folder, moving in by_folder.items():
            packed = self._folders.pop(folder, b"")
            staying: dict[str, str] = {}
            for name, facts in records(packed):
                if name not in moving:
                    staying[name] = facts
                else:
                    to, _, new_name = moving[name].rpartition("/")
                    taken._append(to, f"{new_name}\0{facts}/".encode(*_ENCODING))
            if staying:
                self._folders[folder] = _repack(staying)
        self.absorb(taken)

    def pop(self, folder: str) -> bytes | bytearray:
        """Take out what is said of the files of a folder."""
        return self._folders.pop(folder, b"")
