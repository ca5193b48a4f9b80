"""Metadata: what is carried over, in which order, and that a refusal is no failure."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.metadata import apply_metadata
from pfndispatchcopy.model import Identity, Preserve, SourceSnapshot
from tests.support.faulty_system import FaultySystem, Rule

_SETTERS = ("set_owner", "set_mode", "set_xattr", "set_times")
_SOURCE = SourceSnapshot(
    Identity(1, 2),
    10,
    mode=0o4755,
    mtime_ns=1_500_000_000_123_456_789,
    atime_ns=1_400_000_000_123_456_789,
    owner=1234,
    group=2345,
    xattrs=(("user.a", b"1"), ("user.b", b"2")),
)
_STREAM = SourceSnapshot(Identity(1, 2), None)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "copy").open("wb") as file:
        yield file.fileno()


def _record(system: FaultySystem) -> list[tuple[object, ...]]:
    seen: list[tuple[object, ...]] = []
    for call in _SETTERS:
        system.rule(call, lambda real, fd, *values, call=call: seen.append((call, *values)), times=None)
    return seen


def test_everything_is_set_in_an_order_in_which_nothing_is_undone(faulty: FaultySystem, fd: int) -> None:
    seen = _record(faulty)
    assert apply_metadata(faulty, fd, _SOURCE, frozenset(Preserve)) == []
    assert seen == [
        ("set_owner", 1234, 2345),
        ("set_mode", 0o755),  # nobody gets rights by a card from elsewhere
        ("set_xattr", "user.a", b"1"),
        ("set_xattr", "user.b", b"2"),
        ("set_times", _SOURCE.atime_ns, _SOURCE.mtime_ns),
    ]


@pytest.mark.parametrize(
    ("what", "calls"),
    [
        (Preserve.MODE, ["set_mode"]),
        (Preserve.OWNER, ["set_owner", "set_mode"]),
        (Preserve.XATTR, ["set_mode", "set_xattr", "set_xattr"]),
        (Preserve.TIMES, ["set_mode", "set_times"]),
    ],
)
def test_only_what_is_asked_for_is_set(what: Preserve, calls: list[str], faulty: FaultySystem, fd: int) -> None:
    seen = _record(faulty)
    apply_metadata(faulty, fd, _SOURCE, frozenset({what}))
    assert [call for call, *_ in seen] == calls


def test_without_the_sources_mode_a_copy_gets_that_of_a_new_file(faulty: FaultySystem, fd: int) -> None:
    seen = _record(faulty)
    rule = faulty.rule("default_mode", lambda real: 0o640, times=None)
    apply_metadata(faulty, fd, _SOURCE, frozenset())
    apply_metadata(faulty, fd, _STREAM, frozenset(Preserve))
    assert rule.fired == 2
    assert seen == [("set_mode", 0o640), ("set_mode", 0o640)]


@pytest.mark.parametrize("call", _SETTERS)
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EIO])
def test_refusal_is_told_and_everything_else_is_kept(call: str, number: int, faulty: FaultySystem, fd: int) -> None:
    rule = faulty.fail(call, number)
    seen = _record(faulty)
    refused = apply_metadata(faulty, fd, _SOURCE, frozenset(Preserve))
    assert rule.fired == 1
    ((what, error),) = refused
    assert error.errno == number
    assert what in ("owner", "mode", "extended attribute user.a", "times")
    assert len(seen) == 4


def test_system_that_cannot_set_times_by_descriptor_is_no_news(faulty: FaultySystem, fd: int) -> None:
    def refuse(real: object, *arguments: object) -> None:
        raise NotImplementedError

    rule: Rule = faulty.rule("set_times", refuse)
    assert apply_metadata(faulty, fd, _SOURCE, frozenset({Preserve.TIMES})) == []
    assert rule.fired == 1


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_mode_and_times_really_arrive(faulty: FaultySystem, fd: int, tmp_path: Path) -> None:
    kept = frozenset({Preserve.MODE, Preserve.TIMES})
    assert apply_metadata(faulty, fd, _SOURCE._replace(mode=0o6741), kept) == []
    status = (tmp_path / "copy").stat()
    assert stat.S_IMODE(status.st_mode) == 0o741
    assert abs(status.st_mtime_ns - _SOURCE.mtime_ns) < 2_000_000_000
