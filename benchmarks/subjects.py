"""What is copied: one large file, a mixed card, many small files."""

import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from benchmarks.machine import bytes_needed, make_file, make_tree
from benchmarks.table import size_name

__all__ = ["Sizes", "Subject", "SubjectName", "make_subject"]

# Parts of a card: a few clips with most of the bytes, stills, and what a camera writes beside each of them.
_CLIPS = 2
_PART_OF_CLIPS = 0.75
_STILL_BYTES = 1_200_000
_SIDECAR_BYTES = 8_000
_SIDECARS_FOR_A_STILL = 2


class SubjectName(StrEnum):
    """The subjects, as the command line calls them."""

    FILE = "file"
    CARD = "card"
    SMALL = "small"


class Sizes(NamedTuple):
    """How large the subjects are.

    Attributes:
        file: bytes of the large file.
        card: bytes of the card, about.
        small_files: how many small files.
        small_file: bytes of each of them.
    """

    file: int = 1 << 30
    card: int = 1 << 30
    small_files: int = 10_000
    small_file: int = 16 << 10


class Subject(NamedTuple):
    """What is copied.

    Attributes:
        name: as the command line calls it.
        words: how large it is, for people.
        files: how many.
        size_bytes: of all of them together.
        needed: bytes that it takes on a medium.
        make: makes it in an empty folder; returns the path of what is to be copied.
    """

    name: SubjectName
    words: str
    files: int
    size_bytes: int
    needed: int
    make: Callable[[str], str]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.name is not SubjectName.FILE

    def facts(self) -> Mapping[str, str | int]:
        """What programs want to know."""
        return {"subject": self.name, "words": self.words, "files": self.files, "size_bytes": self.size_bytes}


def make_subject(name: SubjectName, sizes: Sizes) -> Subject:
    """Describe a subject; nothing is written."""
    if name is SubjectName.FILE:
        needed = bytes_needed(1, sizes.file)
        return Subject(name, size_name(sizes.file), 1, sizes.file, needed, partial(_make_clip, size=sizes.file))
    if name is SubjectName.SMALL:
        count, each = sizes.small_files, sizes.small_file
        words = f"{count:,} x {size_name(each)}"
        make = partial(_make_small_files, count=count, size=each)
        return Subject(name, words, count, count * each, bytes_needed(count, each), make)
    clip = int(sizes.card * _PART_OF_CLIPS) // _CLIPS
    stills = max(1, int(sizes.card * (1 - _PART_OF_CLIPS)) // _STILL_BYTES)
    sidecars = stills * _SIDECARS_FOR_A_STILL
    parts = ((_CLIPS, clip), (stills, _STILL_BYTES), (sidecars, _SIDECAR_BYTES))
    size_bytes = sum(count * each for count, each in parts)
    files = _CLIPS + stills + sidecars
    return Subject(
        name,
        f"card of {size_bytes / 1e6:.0f} MB in {files:,} files",
        files,
        size_bytes,
        sum(bytes_needed(count, each) for count, each in parts),
        partial(_make_card, clip=clip, stills=stills, sidecars=sidecars),
    )


def _make_clip(folder: str, size: int) -> str:
    return make_file(os.path.join(_source_in(folder), "clip.bin"), size)


def _make_small_files(folder: str, count: int, size: int) -> str:
    source = _source_in(folder)
    make_tree(source, count, size)
    return source


def _make_card(folder: str, clip: int, stills: int, sidecars: int) -> str:
    source = _source_in(folder)
    clips = os.path.join(source, "CLIPS")
    os.mkdir(clips)
    for number in range(_CLIPS):
        make_file(os.path.join(clips, f"A001C{number:03}.mov"), clip)
    make_tree(os.path.join(source, "STILLS"), stills, _STILL_BYTES)
    make_tree(os.path.join(source, "SIDECARS"), sidecars, _SIDECAR_BYTES)
    return source


def _source_in(folder: str) -> str:
    # A folder for a single file as well: ocopy takes nothing else.
    source = os.path.join(folder, "source")
    os.mkdir(source)
    return source
