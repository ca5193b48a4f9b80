"""What a round asks for: random options, a command line, and what has to be on the destinations in the end."""

import fnmatch
import os
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.hashing import ALGORITHMS
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, ASC_DIGESTS, ASC_FOLDER
from pfndispatchcopy.hashlists.legacy import LEGACY_DIGESTS
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS
from pfndispatchcopy.selection import SYSTEM_PATTERNS
from tests.soak.card import Card, Entry, Kind, total_of
from tests.soak.volume import mount

__all__ = ["CANARY", "Needs", "Wish"]

CANARY = b"nobody may touch this\n"
_TITLES = ("CARD", "A001", "Tag 1 \u00e9", "\udcffbytes", "line\nbreak", "-v", "n" * 255, "a.b", "\u202eright")
_ROOTS = ("raid", "shuttle 1", "d\u00e9st", "\u202edest", "new\nline", "-d", "x" * 200, "%s", "d\udcff", "a.mov")
_PATTERNS = ("*.tmp", "skip*", "*.mov", "skip", "f*")


@dataclass(frozen=True)
class Needs:
    """What the faults of a round ask of its options.

    Attributes:
        changes_source: the source will change: no second opinion on what is there already can be had then.
        in_library: one of the runs is not by the command.
        hangs: a destination will hang.
        may_be_slow: whether the rate may be limited.
        has_volume: one of the destinations is on a volume of its own.
    """

    changes_source: bool = False
    in_library: bool = False
    hangs: bool = False
    may_be_slow: bool = True
    has_volume: bool = False


@dataclass
class Wish:
    """One offload.

    Attributes:
        options: of the command.
        sources: paths.
        roots: of the destinations: the folders that the paths of *wanted* are below.
        labels: of the destinations, as they are spelled.
        wanted: what is to be there, by its path below a root.
        tops: the folders that lists go into, by their paths below a root.
        before: for each destination, files that are there already.
        foreign: of these, those that have nothing to do with the offload.
        conflicts: of these, those that have the name of something that is wanted, and are something else.
        stream: what is copied from standard input; None where files are.
        on_card: for each path of *wanted*, its path on the card.
        hashes, sums, mhl, conflict: as the options say.
        verifies: whether copies are read back.
        unforced: numbers of destinations that are not flushed.
        keeps_times: whether copies have the times of their sources.
        is_by_time: whether size and time decide what is identical.
        names_files: whether files are named, and not only folders: each of them has to be there.
        needs_processes: whether only the command can do it.
        rate: bytes a second that are read; 0 for as many as there come.
        places: the end of the command line: sources and destinations.
        volume: number of the destination that is on a volume of its own; -1 for none.
    """

    options: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    wanted: dict[str, Entry] = field(default_factory=dict)
    tops: list[str] = field(default_factory=list)
    before: list[dict[str, bytes]] = field(default_factory=list)
    foreign: list[set[str]] = field(default_factory=list)
    conflicts: list[set[str]] = field(default_factory=list)
    stream: bytes | None = None
    on_card: dict[str, str] = field(default_factory=dict)
    hashes: tuple[str, ...] = ("xxh64be",)
    sums: tuple[str, ...] = ()
    mhl: str = ""
    conflict: str = "error"
    verifies: bool = True
    unforced: set[int] = field(default_factory=set)
    keeps_times: bool = True
    is_by_time: bool = False
    names_files: bool = False
    needs_processes: bool = False
    rate: int = 0
    volume: int = -1
    places: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many destinations there are."""
        return len(self.roots)

    @property
    def has_lists(self) -> bool:
        return bool(self.sums or self.mhl)

    @property
    def must_conflict(self) -> bool:
        """Whether some destination cannot be complete."""
        return self.conflict == "error" and any(self.conflicts)

    @property
    def volume_folder(self) -> Path:
        """Where that volume is mounted."""
        return self.roots[self.volume].parent

    @property
    def bytes(self) -> int:
        return total_of(self.wanted)

    def arguments(self, *more: str) -> list[str]:
        """The command line."""
        return [*self.options, *more, *self.places]

    @classmethod
    def random(cls, chance: random.Random, folder: Path, needs: Needs) -> tuple["Wish", Card]:
        """Make a card, destinations, and a wish; everything is below *folder*, which is the working folder, too."""
        wish = cls()
        outside = folder / "outside"
        outside.mkdir()
        (outside / "canary").write_bytes(CANARY)
        symlinks = chance.choice(("copy", "copy", "copy", "follow", "skip"))
        title = chance.choice(_TITLES) if chance.random() < 0.4 else "CARD"
        card = Card(folder / "src" / title, chance, outside=outside, has_dangling=symlinks != "follow")
        wish.options += ["--symlinks", symlinks] if symlinks != "copy" or chance.random() < 0.2 else []
        _Drawing(wish, chance, folder, card, needs, symlinks).draw()
        return wish, card


class _Drawing:
    """Draws one wish."""

    def __init__(
        self, wish: Wish, chance: random.Random, folder: Path, card: Card, needs: Needs, symlinks: str
    ) -> None:
        self.wish = wish
        self.chance = chance
        self.folder = folder
        self.card = card
        self.needs = needs
        self.symlinks = symlinks
        self.has_history = False
        kinds = {"folder": 12, "contents": 4, "file": 4, "several": 3, "listed": 2, "stream": 1}
        self.kind = chance.choices(list(kinds), list(kinds.values()))[0]
        if self.kind == "stream" and (needs.in_library or needs.changes_source):
            self.kind = "folder"
        if (self.kind == "file" and not self._files()) or (self.kind == "several" and len(self._tops()) < 2):
            self.kind = "folder"

    def _files(self) -> list[str]:
        return [
            path
            for path, entry in self.card.entries.items()
            if entry.kind is Kind.FILE
            and (entry.data or not self.needs.changes_source)
            and not is_temporary(os.path.basename(path))
        ]

    def _tops(self) -> list[str]:
        """Files and folders directly on the card; of those with one name where case does not count, one."""
        tops = {
            unicodedata.normalize("NFC", path).casefold(): path
            for path, entry in self.card.entries.items()
            if "/" not in path and entry.kind in (Kind.FILE, Kind.FOLDER) and not is_temporary(path)
        }
        return list(tops.values())

    def _odds(self, odds: float) -> bool:
        return self.chance.random() < odds

    def draw(self) -> None:
        wish, chance = self.wish, self.chance
        is_absolute = self.needs.in_library or self._odds(0.6)
        count = chance.choices((1, 2, 3, 4, 5), (3, 6, 4, 2, 1))[0]
        names = chance.sample(_ROOTS, count)
        wish.roots = [self.folder / f"d{number}" / name for number, name in enumerate(names)]
        shown = wish.roots if is_absolute else [each.relative_to(self.folder) for each in wish.roots]
        wish.names_files = self.kind in ("file", "listed")
        self._draw_source(is_absolute=is_absolute)
        self._draw_labels([str(each) for each in shown])
        self._draw_digests()
        self._draw_conflict()
        self._draw_pace()
        self._draw_rest()
        self._occupy()
        self._place()

    # -- what is copied -----------------------------------------------------------------------------------

    def _draw_source(self, *, is_absolute: bool) -> None:
        wish, card = self.wish, self.card
        source = str(card.folder if is_absolute else card.folder.relative_to(self.folder))
        title = card.folder.name
        if self.kind == "stream":
            wish.sources, wish.stream = ["-"], self.chance.randbytes(self.chance.choice((0, 1, 70_000, 3_000_000)))
            wish.wanted = {"stream.bin": Entry(Kind.FILE, wish.stream)}
        elif self.kind == "file":
            path = self.chance.choice(self._files())
            name = os.path.basename(path)
            wish.sources = [f"{source}/{path}"]
            wish.wanted, wish.on_card = {name: card.entries[path]}, {name: path}
            wish.tops = [""]
            wish.options = []
        elif self.kind == "several":
            self._draw_several(source)
        else:
            if self.kind != "listed":
                self._draw_history()
            top = "" if self.kind == "contents" else title
            wish.sources = [f"{source}/" if self.kind == "contents" else source]
            wish.tops = [top]
            for path in self._selected():
                entry = self._as_copied(path)
                if entry is not None:
                    below = f"{top}/{path}" if top else path
                    wish.wanted[below] = entry
                    wish.on_card[below] = path
            if top:
                wish.wanted[top] = Entry(Kind.FOLDER)

    def _draw_several(self, source: str) -> None:
        """Files and folders of the card, each as a source of its own."""
        wish, entries = self.wish, self.card.entries
        tops = self._tops()
        chosen = self.chance.sample(tops, self.chance.randint(2, min(4, len(tops))))
        wish.sources = [f"{source}/{path}" for path in chosen]
        wish.tops = chosen
        wish.names_files = any(entries[path].kind is Kind.FILE for path in chosen)
        for path in entries:
            if path.split("/")[0] in chosen and (entry := self._as_copied(path)) is not None:
                wish.wanted[path] = entry
                wish.on_card[path] = path

    def _draw_history(self) -> None:
        """Let the card have a history of media hash lists; it has to be copied as a whole then."""
        if not self.needs.changes_source and self._odds(0.15):
            self.has_history = self.card.seal()

    def _as_copied(self, path: str) -> Entry | None:
        """What becomes of something on the card; None when it is passed over."""
        entry = self.card.entries[path]
        if entry.kind is Kind.PIPE or (entry.kind is not Kind.FOLDER and is_temporary(os.path.basename(path))):
            return None
        if entry.kind is not Kind.LINK or self.symlinks == "copy":
            return entry
        if self.symlinks == "skip" or entry.target == ".":
            return None
        status = os.stat(self.folder / "outside" / "canary")
        return Entry(Kind.FILE, CANARY, mtime_ns=status.st_mtime_ns, mode=0o644)

    def _selected(self) -> Iterator[str]:
        """Paths on the card that are to be copied, by patterns or by a list, or all."""
        wish, chance = self.wish, self.chance
        if self.kind == "listed":
            yield from self._listed()
            return
        exclude: list[str] = []
        include: list[str] = []
        if self._odds(0.2):
            exclude += chance.sample(_PATTERNS, chance.choice((1, 1, 2)))
            include += ["keep*"] * self._odds(0.3)
        elif self._odds(0.05) and not self.has_history:
            include.append(chance.choice(("*.mov", "keep*")))
        for option, patterns in (("--exclude", exclude), ("--include", include)):
            for pattern in patterns:
                wish.options += [option, pattern]
        if self._odds(0.2):
            wish.options.append("--exclude-system")
            exclude += SYSTEM_PATTERNS
        kept = {""}
        for path in sorted(self.card.entries, key=lambda path: path.split("/")):
            is_folder = self.card.entries[path].kind is Kind.FOLDER
            if is_kept(path, exclude, include, is_folder=is_folder):
                above = path.rpartition("/")[0]
                while above not in kept:
                    kept.add(above)
                    yield above
                    above = above.rpartition("/")[0]
                kept.add(path)
                yield path

    def _listed(self) -> Iterator[str]:
        """Some of the files, named in a list, and the folders that they are in."""
        files = [
            path
            for path, entry in self.card.entries.items()
            if entry.kind is Kind.FILE and not is_temporary(os.path.basename(path))
        ]
        chosen = [path for path in files if self._odds(0.5)] or files[:1]
        ends_with_nul = self._odds(0.5) or any("\n" in path or "\r" in path for path in chosen)
        end = b"\0" if ends_with_nul else b"\n"
        (self.folder / "list").write_bytes(b"".join(os.fsencode(path) + end for path in chosen))
        self.wish.options += ["--files-from", str(self.folder / "list"), *(["-0"] if ends_with_nul else [])]
        seen: set[str] = set()
        for path in chosen:
            above = path.rpartition("/")[0]
            while above and above not in seen:
                seen.add(above)
                yield above
                above = above.rpartition("/")[0]
            yield path

    # -- how ----------------------------------------------------------------------------------------------

    def _draw_labels(self, roots: list[str]) -> None:
        for number, root in enumerate(roots):
            if self.kind == "stream":
                self.wish.labels.append(f"{root}/stream.bin")
            elif self.kind == "file":
                name = next(iter(self.wish.wanted))
                self.wish.labels.append(f"{root}/" if self._odds(0.6) else f"{root}/{name}")
            else:
                self.wish.labels.append(root)
            if self._odds(0.1 / len(roots)) and not self.needs.in_library:
                self.wish.unforced.add(number)
                self.wish.options += ["--no-flush", self.wish.labels[number]]

    def _draw_digests(self) -> None:
        wish, chance = self.wish, self.chance
        if self._odds(0.4):
            wish.hashes = tuple(chance.sample(sorted(ALGORITHMS), chance.choice((1, 1, 2, 3))))
        is_folder = self.kind in ("folder", "contents", "listed")
        if self.kind != "stream" and not (self.kind == "several" and wish.names_files):
            if self._odds(0.25):
                wish.sums = tuple(chance.sample(sorted(SUM_DIGESTS), chance.choice((1, 1, 2))))
            if self._odds(0.4):
                wish.mhl = chance.choice(("legacy", "asc", "asc")) if is_folder else "legacy"
        held = ASC_DIGESTS if wish.mhl == "asc" else LEGACY_DIGESTS
        if wish.mhl and not set(held).intersection(wish.hashes):
            wish.hashes = (*wish.hashes, "xxh64be")
        if wish.hashes != ("xxh64be",):
            wish.options += ["-t", ",".join(wish.hashes)]
        for name in wish.sums:
            wish.options += ["--sums", name]
        if wish.mhl:
            wish.options += ["--mhl", wish.mhl]
        if wish.mhl == "asc":  # the chain is written anew
            chains = [path for path in wish.wanted if path.endswith(f"{ASC_FOLDER}/{ASC_CHAIN}")]
            for path in chains:
                del wish.wanted[path], wish.on_card[path]
        if not wish.mhl and self._odds(0.1):
            wish.verifies = False
            wish.options += ["--verify", "none"]
        if self._odds(0.15) and self.kind != "stream":
            wish.options += ["--verify-source", chance.choice(("per-file", "after-all"))]

    def _draw_conflict(self) -> None:
        wish, chance = self.wish, self.chance
        wish.conflict = chance.choices(("error", "overwrite", "rename", "skip"), (6, 2, 2, 2))[0]
        if self.needs.changes_source:
            wish.conflict = "error"
        if wish.conflict != "error":
            wish.options += ["--on-conflict", wish.conflict]
        if not wish.has_lists and not self.needs.changes_source and self._odds(0.1):
            wish.is_by_time = True
            wish.options.append("--quick-check")

    def _draw_pace(self) -> None:
        options, chance = self.wish.options, self.chance
        if self._odds(0.3):
            options += ["--strategy", chance.choice(("single", "parallel", "batch"))]
        if self._odds(0.4):
            options += ["--jobs", chance.choice(("auto", "1", "2", "3", "4"))]
        if self._odds(0.15):
            options += ["--memory-limit", chance.choice(("4MiB", "16MiB", "64M"))]
        elif self._odds(0.3):
            options += ["--buffer-size", chance.choice(("4096", "5000", "64KiB", "1MiB", "1M"))]
            options += ["--queue-depth", chance.choice(("1", "2", "7"))] if self._odds(0.5) else []
        if self._odds(0.8 if self.needs.has_volume else 0.5) and self.needs.may_be_slow:
            self.wish.rate = max(200_000, int(self.wish.bytes / chance.uniform(0.2, 1.0)))
            options += ["--bwlimit", str(self.wish.rate)]
        if self.needs.hangs:
            options += ["--stall-timeout", "1"]

    def _draw_rest(self) -> None:
        wish, chance = self.wish, self.chance
        if self._odds(0.15):
            with_times = ("all", "times", "mode,times,owner")
            # Without times, what is there already cannot be known by its time.
            kept = chance.choice(with_times if wish.is_by_time else (*with_times, "none", "mode"))
            wish.options += ["--preserve", kept]
            wish.keeps_times = kept in with_times
        wish.options += ["--no-resume"] * self._odds(0.1)
        wish.options += ["--lock-wait", "5"] * self._odds(0.1)
        wish.options += ["--log-file", str(self.folder / "log")] * self._odds(0.1)
        wish.options += ["--on-finish", f"cat >'{self.folder}/finish'"] * self._odds(0.05)
        if self._odds(0.1):
            wish.options += ["--report", str(self.folder / f"report.{chance.choice(('html', 'json', 'csv'))}")]
        if self.kind in ("folder", "contents") and not self.needs.in_library and self._odds(0.15):
            engine = chance.choice(("serial", "threads", "processes"))
            wish.options += ["--executor", engine]
            wish.needs_processes = engine == "processes"
        if self.kind == "file" and self._odds(0.1) and not self.needs.changes_source:
            wish.options += ["--expect-size", str(wish.bytes)]

    # -- what is there already ----------------------------------------------------------------------------

    def _occupy(self) -> None:
        """Make some of the destinations, and put something into some of these."""
        wish = self.wish
        if self.needs.has_volume:
            wish.volume = self.chance.randrange(wish.count)
        for number, root in enumerate(wish.roots):
            before: dict[str, bytes] = {}
            wish.before.append(before)
            wish.foreign.append(set())
            wish.conflicts.append(set())
            root.parent.mkdir()
            if number == wish.volume:
                mount(root.parent)
            if self.needs.in_library or self._odds(0.7):
                root.mkdir()
                if self._odds(0.35):
                    self._fill(root, before)

    def _fill(self, root: Path, before: dict[str, bytes]) -> None:
        wish, chance = self.wish, self.chance
        number = wish.roots.index(root)
        has_conflicts = self._odds(0.4) and not self.needs.changes_source
        for path, entry in wish.wanted.items():
            if entry.kind is not Kind.FILE or ASC_FOLDER in path.split("/") or not self._odds(0.3):
                continue
            data, differs = entry.data, has_conflicts and self._odds(0.2)
            if differs:
                data = self._other_than(entry.data)
                wish.conflicts[number].add(path)
            full = root / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_bytes(data)
            before[path] = data
            if wish.is_by_time or self._odds(0.5):
                os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns))
        if self._odds(0.2):
            folders = ["", *(top for top in wish.tops if top in wish.wanted and wish.wanted[top].kind is Kind.FOLDER)]
            path = f"{chance.choice(folders)}/foreign".removeprefix("/")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"of somebody else")
            before[path] = b"of somebody else"
            wish.foreign[number].add(path)

    def _other_than(self, data: bytes) -> bytes:
        """Another content; of the same size where only reading can tell."""
        if self.wish.is_by_time or not data or self._odds(0.5):
            return data + b"and more"
        return data[:-1] + bytes([data[-1] ^ 1])

    def _place(self) -> None:
        wish = self.wish
        if len(wish.sources) > 1 or (self._odds(0.2) and self.kind != "stream"):
            wish.places = [each for label in wish.labels for each in ("-d", label)] + ["--", *wish.sources]
        else:
            wish.places = ["--", *wish.sources, *wish.labels]


def is_kept(path: str, exclude: list[str], include: list[str], *, is_folder: bool) -> bool:
    """Whether something is to be copied: all patterns here are for names alone."""
    is_out = is_in = False
    names = path.split("/")
    for count, name in enumerate(names, 1):
        is_way = count < len(names) or is_folder
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
            is_out, is_in = False, True
        elif include and not exclude:
            is_out = is_out or (not is_way and not is_in)
        elif not is_out:
            is_out = any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)
    return not is_out
