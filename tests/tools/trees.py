"""Folders as cards and people's disks have them, and what can happen to a file."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.support.files import make_file

__all__ = ["TREES", "flip_a_bit", "names_below"]

_ODD_NAMES = (
    " leading",
    "trailing ",
    "a  b",
    "&<>\"'.txt",
    "]]>&amp;.xml",
    "caf\u00e9",
    "cafe\u0301",
    "\u65e5\u672c\u8a9e \U0001f3ac.mov",
    ".hidden",
    "-dash",
    "$HOME `id` %41.txt",
    "#hash!",
    "[brackets]{braces}*?.mov",
    "x" * 200,
)


def _plain(root: Path) -> None:
    make_file(root / "CLIPS/A001.mov", 300_001, seed=1)
    make_file(root / "CLIPS/A002.mov", 70_000, seed=2)
    make_file(root / "notes.txt", 12, seed=3)


def _odd(root: Path) -> None:
    for number, name in enumerate(_ODD_NAMES):
        make_file(root / name, 10 + number, seed=number)
        make_file(root / "folders" / f"{name} & <1>" / name, 20 + number, seed=number)
    make_file(root / " folder " / " file ", 5)


def _empty(root: Path) -> None:
    (root / "nothing/in/here").mkdir(parents=True)
    (root / "also nothing").mkdir()
    (root / "zero").touch()
    (root / "more").mkdir()
    (root / "more/zero.mov").touch()
    make_file(root / "more/one", 1)


def _deep(root: Path) -> None:
    folder = root
    for number in range(12):  # longer than anybody's paths, and shorter than what one call of the system takes
        folder = folder / f"{'level':x<200} {number}"
        make_file(folder / "file", 100 + number, seed=number)


TREES: dict[str, Callable[[Path], None]] = {"plain": _plain, "odd": _odd, "empty": _empty, "deep": _deep}
"""Makers of a folder, by what is particular about it."""


def names_below(root: Path) -> set[str]:
    """Paths of all files below a folder, but for histories."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {str(path) for path in found if "ascmhl" not in path.parts}


def flip_a_bit(path: Path) -> None:
    """Change one bit of a file, as a bad cable does: its size and its time stay."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
