"""Reading back from the medium: every way past the cache, and honesty where there is none."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS, open_past_cache, read_to_end
from pfndispatchcopy.model import ReadBack
from tests.support.faulty_system import FaultySystem

_FD, _DIRECT = 7, 8


def _cache(system: FaultySystem, answer: bool | None) -> list[str]:
    """Let the system answer whether a file is cached; returns the calls in their order."""
    order: list[str] = []

    def note(name: str, result: object) -> Callable[..., object]:
        def action(real: Callable[[], object], *arguments: object) -> object:
            assert arguments[0] == _FD
            order.append(name)
            return result

        return action

    for name, result in (
        ("avoid_cache", None),
        ("drop_cache", None),
        ("is_cached", answer),
        ("advise_sequential", None),
    ):
        system.rule(name, note(name, result), times=None)
    return order


def _no_direct() -> int:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _never() -> int:
    raise AssertionError("direct reading was not to be tried")


def test_dropped_pages_are_checked_before_the_read_counts(faulty: FaultySystem) -> None:
    order = _cache(faulty, answer=False)
    assert open_past_cache(faulty, _FD, 10, is_memory=False, open_direct=_never) == (_FD, ReadBack.EVICTED)
    assert order.index("drop_cache") < order.index("is_cached")
    assert "advise_sequential" in order


@pytest.mark.fault(44)
@pytest.mark.parametrize("answer", [True, None], ids=["still cached", "nobody can tell"])
def test_pages_that_stay_are_read_around(answer: bool | None, faulty: FaultySystem) -> None:
    order = _cache(faulty, answer)
    found = open_past_cache(faulty, _FD, 10, is_memory=False, open_direct=lambda: _DIRECT)
    assert found == (_DIRECT, ReadBack.DIRECT)
    assert "is_cached" in order


@pytest.mark.fault(44, 45)
@pytest.mark.parametrize("answer", [True, None])
def test_where_there_is_no_way_past_the_cache_that_is_said(answer: bool | None, faulty: FaultySystem) -> None:
    order = _cache(faulty, answer)
    found = open_past_cache(faulty, _FD, 10, is_memory=False, open_direct=_no_direct)
    assert found == (_FD, ReadBack.CACHED)
    assert "is_cached" in order


def test_memory_is_its_own_medium(faulty: FaultySystem) -> None:
    assert open_past_cache(faulty, _FD, 10, is_memory=True, open_direct=_never) == (_FD, ReadBack.MEMORY)
    assert faulty.calls == []
    assert "tmpfs" in MEMORY_FILESYSTEMS
    assert not MEMORY_FILESYSTEMS & {"ext4", "xfs", "apfs", "exfat", "overlay"}


def test_real_file_is_read_past_the_cache_or_honestly_not(faulty: FaultySystem, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", os.O_RDWR)
    try:
        faulty.flush(fd)
        used, way = open_past_cache(faulty, fd, len(data), is_memory=False, open_direct=_no_direct)
        assert used == fd
        assert way in (ReadBack.EVICTED, ReadBack.CACHED)
        buffer = memoryview(bytearray(7000))
        assert b"".join(bytes(view) for view in read_to_end(faulty, fd, buffer)) == data
    finally:
        os.close(fd)


def test_reading_goes_on_after_short_reads_and_ends_at_the_end(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello world")
    rule = faulty.rule("read", lambda real, fd, buffer: os.readv(fd, [buffer[:2]]), times=None)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        views = [bytes(view) for view in read_to_end(faulty, fd, memoryview(bytearray(100)))]
    finally:
        os.close(fd)
    assert rule.fired == 7
    assert views == [b"he", b"ll", b"o ", b"wo", b"rl", b"d"]


@pytest.mark.fault(46)
def test_failed_read_is_an_error_and_no_end(faulty: FaultySystem, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello world")
    rule = faulty.fail("read", errno.EIO, nth=2)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    views = read_to_end(faulty, fd, memoryview(bytearray(4)))
    try:
        assert bytes(next(views)) == b"hell"
        with pytest.raises(OSError, match="Errno 5"):
            next(views)
    finally:
        os.close(fd)
    assert rule.fired == 1
