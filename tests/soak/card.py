"""Cards with anything on them: odd names, odd sizes, links, pipes, holes, and changes while they are read."""

import os
import random
import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pfndispatchcopy.hashlists.asc import ASC_CHAIN, ASC_FOLDER
from pfndispatchcopy.hashlists.paths import can_be_listed
from tests.support.histories import seal

__all__ = ["Card", "Entry", "Kind", "random_name"]

_NAMES = (
    *("A001C003.mov", "A001C004.MOV", "a001c004.mov", "still.jpg", "no extension", ".hidden", "two.dots.tar"),
    *("-rf", "--help", "~", "$(reboot)", "%s%n", "a&b<c>.xml", "quote'\".txt", "back\\slash", "C:drive", "*?[x].mov"),
    *(" blank first", "blank last ", "dot last.", "CON", "nul.txt", "line\nbreak.mov", "tab\there", "\x1b[31mred.mov"),
    *("\r\nreturn", "\x7fdelete", "\u00e9toile.mov", "e\u0301toile.mov", "\u202egpj.exe", "\u2028line", "\ufeffmark"),
    *("\U0001f3ac.mov", "\u6620\u753b.mov", "\udcff\udcfe bytes.mov", "half \udcc3"),
    *("take.corrupt", "take 2.mov", "copy.partial"),
    *("n" * 255, "\u00e4" * 127 + "n", "\U0001f3ac" * 63),
)  # fmt: skip
_LEFT_OUT = ("scratch.tmp", "x.tmp", "skip me.mov", "skip", "keep.tmp")
_STREWN = (".DS_Store", "._A001C003.mov", "Thumbs.db", ".Trashes")
_TEMPORARY = (".pfn.AAAAAAAAAA.bbbbbbbb.partial", ".pfn.x.partial")
_SMALL = (0, 0, 1, 2, 100, 3000, 4095, 4096, 4097, 20_000, 65_535, 65_536, 65_537, 100_000)
_LARGE = (1 << 20, (1 << 20) + 1, 3_000_000, 4 << 20, (4 << 20) + 1, 9_000_001)
_MODES = (0o644, 0o644, 0o600, 0o444, 0o755, 0o4755, 0o2755)
_LEAST_NS, _MOST_NS = 1, 4_102_444_800 * 10**9  # 1970 to 2100
_MOST_BYTES = 24_000_000
_LONGEST_TITLE = 60


class Kind(StrEnum):
    """What an entry is."""

    FILE = "file"
    LINK = "link"
    FOLDER = "folder"
    PIPE = "pipe"


class Entry(NamedTuple):
    """One name on a card.

    Attributes:
        kind: what it is.
        data: of a file.
        target: of a link.
        mtime_ns: of a file, in nanoseconds since the epoch.
        mode: of a file, the permission bits.
    """

    kind: Kind
    data: bytes = b""
    target: str = ""
    mtime_ns: int = 0
    mode: int = 0o644


def random_name(chance: random.Random) -> str:
    """A name for a file or a folder; most are of the odd kind."""
    return chance.choice(_NAMES) if chance.random() < 0.7 else f"f{chance.randrange(1000):03}.dat"


class Card:
    """A folder with a random tree in it.

    Attributes:
        folder: where it is.
        entries: all that is in it, by paths relative to it.
        has_history: whether media hash lists are on it.
    """

    def __init__(self, folder: Path, chance: random.Random, *, outside: Path, has_dangling: bool) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.has_history = False
        self._chance = chance
        self._bytes = 0
        folder.mkdir(parents=True)
        folders = [""]
        for _ in range(chance.choice((0, 1, 2, 4))):
            self._add(folder_path := self._free_path(folders), Entry(Kind.FOLDER))
            folders.append(folder_path)
        for _ in range(chance.choice((1, 2, 5, 12, 30))):
            self._add(self._free_path(folders), self._random_file())
        if chance.random() < 0.08:  # from so many on there are processes for them
            folders.append("many")
            self._add("many", Entry(Kind.FOLDER))
            for number in range(chance.randrange(400, 700)):
                self._add(f"many/s{number:04}.jpg", self._random_file((0, 10, 500, 3000)))
        self._add_specials(folders, outside, has_dangling=has_dangling)
        self.before = self.look()

    def _free_path(self, folders: list[str]) -> str:
        while True:
            folder = self._chance.choice(folders)
            path = f"{folder}/{random_name(self._chance)}".removeprefix("/")
            if path not in self.entries and path != ASC_FOLDER:
                return path

    def _random_file(self, sizes: tuple[int, ...] = ()) -> Entry:
        chance = self._chance
        sizes = sizes or (_LARGE if chance.random() < 0.12 else _SMALL)
        size = chance.choice(sizes)
        if self._bytes + size > _MOST_BYTES:
            size = 10
        self._bytes += size
        data = bytes(size) if chance.random() < 0.05 else chance.randbytes(size)
        mtime_ns = chance.randrange(_LEAST_NS, _MOST_NS)
        return Entry(Kind.FILE, data, mtime_ns=mtime_ns, mode=chance.choice(_MODES))

    def _add_specials(self, folders: list[str], outside: Path, *, has_dangling: bool) -> None:
        chance = self._chance
        for names, odds in ((_LEFT_OUT, 0.3), (_STREWN, 0.3), (_TEMPORARY, 0.1)):
            for name in names:
                path = f"{chance.choice(folders)}/{name}".removeprefix("/")
                if chance.random() < odds and path not in self.entries:
                    self._add(path, self._random_file((0, 5, 3000)))
        if chance.random() < 0.2:
            targets = [str(outside / "canary"), ".", *((*_NAMES[:4], "nowhere", "/", "loop") if has_dangling else ())]
            for target in chance.sample(targets, chance.randrange(1, len(targets))):
                self._add(self._free_path(folders), Entry(Kind.LINK, target=target))
        if chance.random() < 0.1:
            self._add(self._free_path(folders), Entry(Kind.PIPE))

    def _add(self, path: str, entry: Entry) -> None:
        self.entries[path] = entry
        full = self.folder / path
        if entry.kind is Kind.FOLDER:
            full.mkdir()
        elif entry.kind is Kind.LINK:
            full.symlink_to(entry.target)
        elif entry.kind is Kind.PIPE:
            os.mkfifo(full)
        else:
            self._write(full, entry)

    @staticmethod
    def _write(full: Path, entry: Entry) -> None:
        if entry.data.strip(b"\0"):
            full.write_bytes(entry.data)
        else:
            with full.open("wb") as file:
                file.truncate(len(entry.data))  # nothing but a hole
        full.chmod(entry.mode)
        os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns))

    def seal(self) -> bool:
        """Give it a history of media hash lists; returns whether that can be had, with the names that it has."""
        is_short = len(os.fsencode(self.folder.name)) < _LONGEST_TITLE
        folders = [path for path, entry in self.entries.items() if entry.kind is Kind.FOLDER]
        leads_to_folder = any(entry.target in (".", "/") for entry in self.entries.values())
        if not is_short or leads_to_folder or not all(map(can_be_listed, [*folders, self.folder.name])):
            return False
        files = [path for path, entry in self.entries.items() if entry.kind is Kind.FILE]
        name = seal(self.folder, without=[path for path in files if not can_be_listed(path)])
        self.entries[ASC_FOLDER] = Entry(Kind.FOLDER)
        for each in (name, ASC_CHAIN):
            full = self.folder / ASC_FOLDER / each
            status = full.stat()
            mode = stat.S_IMODE(status.st_mode)
            self.entries[f"{ASC_FOLDER}/{each}"] = Entry(
                Kind.FILE, full.read_bytes(), mtime_ns=status.st_mtime_ns, mode=mode
            )
        self.has_history = True
        self.before = self.look()
        return True

    def look(self) -> dict[str, tuple[object, ...]]:
        """Everything on it, with what a change would change: not the content, which is looked at once, at the end."""
        found: dict[str, tuple[object, ...]] = {}
        for above, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                status = os.lstat(os.path.join(above, name))
                found[os.path.join(above, name)] = (
                    *(status.st_ino, status.st_size, status.st_mode),
                    *(status.st_mtime_ns, status.st_ctime_ns),
                )
        return found

    def has_its_bytes(self) -> bool:
        """Whether every file holds what it should."""
        return all(
            (self.folder / path).read_bytes() == entry.data
            for path, entry in self.entries.items()
            if entry.kind is Kind.FILE
        )

    def change(self, path: str, how: str) -> Entry | None:
        """Change a file, as somebody would who does not know that it is being copied; returns what it is now."""
        full, old = self.folder / path, self.entries[path]
        chance = self._chance
        if how == "gone":
            full.unlink()
            del self.entries[path]
            return None
        data = bytearray(old.data)
        mtime_ns = old.mtime_ns
        if how == "longer":
            data += chance.randbytes(1000)
        elif how == "shorter":
            del data[len(data) // 2 :]
        else:
            data[chance.randrange(len(data))] ^= 1
        if how == "replaced":
            twin = self.folder.with_name("twin")
            twin.write_bytes(data)
            twin.replace(full)
        elif how == "in place":
            with full.open("r+b") as file:
                file.write(data)
            os.utime(full, ns=(old.mtime_ns, old.mtime_ns))
        elif how == "longer":
            with full.open("ab") as file:
                file.write(data[len(old.data) :])
        else:
            os.truncate(full, len(data))
        status = full.stat()
        if how != "in place":
            mtime_ns = status.st_mtime_ns
        entry = old._replace(data=bytes(data), mtime_ns=mtime_ns, mode=stat.S_IMODE(status.st_mode))
        self.entries[path] = entry
        return entry


def total_of(entries: Mapping[str, Entry]) -> int:
    """Bytes of all files."""
    return sum(len(entry.data) for entry in entries.values())
