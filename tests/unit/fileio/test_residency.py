"""Whether a file is in the page cache: the answer of the C library, page by page and window by window."""

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.fileio import residency
from pfndispatchcopy.fileio.residency import cached_pages_counter, has_direct_reads, is_resident

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs mincore")

_PAGE = mmap.PAGESIZE


class _Library:
    """A C library whose ``mincore`` tells of pages as the test says."""

    def __init__(self, resident: set[int], answer: int = 0) -> None:
        self.lengths: list[int] = []
        self._resident = resident
        self._answer = answer

    def mincore(self, address: Any, length: Any, vector: Any) -> int:
        first = sum(-(-each // _PAGE) for each in self.lengths)
        self.lengths.append(length.value)
        for page in range(-(-length.value // _PAGE)):
            # All bits but the lowest are undefined.
            vector[page] = bytes([0xFE | (first + page in self._resident)])
        if self._answer:
            ctypes.set_errno(12)
        return self._answer


def _ask(library: object, fd: int, size: int) -> bool | None:
    return is_resident(library, fd, size)  # type: ignore[arg-type]


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(10 * _PAGE + 5)
        yield file.fileno()


def test_one_page_is_enough(fd: int) -> None:
    size = 10 * _PAGE + 5
    assert _ask(_Library(set()), fd, size) is False
    for page in (0, 5, 10):
        assert _ask(_Library({page}), fd, size) is True


def test_page_behind_the_end_does_not_count(fd: int) -> None:
    assert _ask(_Library({11}), fd, 10 * _PAGE + 5) is False


def test_large_file_is_asked_for_in_windows(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "_WINDOW", 4 * _PAGE)
    library = _Library(set())
    assert _ask(library, fd, 10 * _PAGE + 5) is False
    assert library.lengths == [4 * _PAGE, 4 * _PAGE, 2 * _PAGE + 5]
    assert _ask(_Library({9}), fd, 10 * _PAGE + 5) is True


def test_empty_file_is_not_cached(fd: int) -> None:
    assert _ask(_Library({0}), fd, 0) is False


def test_where_nobody_can_tell_the_answer_is_none(fd: int, tmp_path: Path) -> None:
    assert _ask(object(), fd, 100) is None
    assert _ask(_Library(set(), answer=-1), fd, 100) is None
    reader, writer = os.pipe()
    assert _ask(_Library(set()), reader, 100) is None
    os.close(reader)
    os.close(writer)


def test_file_that_became_shorter_is_none_and_no_crash(fd: int) -> None:
    os.truncate(fd, 0)
    assert _ask(_Library(set()), fd, 100) is None


def test_real_library_tells_of_a_file_that_was_just_written(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mincore"):
        pytest.skip("there is no mincore")
    with (tmp_path / "file").open("w+b") as file:
        file.write(os.urandom(3 * _PAGE + 1))
        file.flush()
        assert is_resident(libc, file.fileno(), 3 * _PAGE + 1) is True


class _Counting:
    """A C library whose ``cachestat`` counts no pages, on a file system of this type."""

    def __init__(self, filesystem: int, answer: int = 0) -> None:
        self._filesystem = filesystem
        self._answer = answer

    def fstatfs(self, fd: int, facts: Any) -> int:
        facts[0] = self._filesystem
        return self._answer

    def syscall(self, *arguments: Any) -> int:
        return 0


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (_Counting(0xEF53), 0),
        (_Counting(0x794C7630), None),
        (_Counting(0x65735546), None),
        (_Counting(0xEF53, answer=-1), None),
    ],
    ids=["ext4", "overlay", "FUSE", "nobody knows"],
)
def test_count_is_not_believed_where_the_pages_belong_to_a_file_behind(
    library: _Counting, expected: int | None, fd: int
) -> None:
    assert cached_pages_counter(library)(fd) == expected  # type: ignore[arg-type]


class _Telling:
    """A C library whose ``statx`` tells of this alignment, or of none."""

    def __init__(self, alignment: int | None, answer: int = 0) -> None:
        self._alignment = alignment
        self._answer = answer

    def statx(self, fd: int, path: bytes, flags: int, mask: int, told: Any) -> int:
        told[0] = 0x7FF | (0 if self._alignment is None else mask)
        told[39] = self._alignment or 0
        return self._answer


@pytest.mark.parametrize(
    ("library", "expected"),
    [(_Telling(512), True), (_Telling(0), False), (_Telling(None), None), (_Telling(0, -1), None), (object(), None)],
    ids=["direct", "from the cache all the same", "an older kernel", "an error", "no such function"],
)
def test_flag_for_direct_reading_is_not_believed_where_the_file_system_says_otherwise(
    library: object, expected: bool | None, fd: int
) -> None:
    assert has_direct_reads(library, fd) is expected  # type: ignore[arg-type]
