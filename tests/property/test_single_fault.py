"""One fault in one call on one destination, whichever it is: the others never notice."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pfndispatchcopy import CopyOptions, CopyResult, State
from pfndispatchcopy.model import ReadBack, Strategy
from pfndispatchcopy.session import offload
from tests.support.faulty_system import FaultySystem, Rule
from tests.support.files import make_file, partials

_COUNT = 3
_SIZE = 10_000
_CHUNK = 4096

# What a run cannot do without: a failure of one of these may never end as a success.
_GUARANTEES = ("flush", "flush_folder", "read", "rename_to_free_name")
_CALLS = (
    *_GUARANTEES,
    "close",
    "list_names",
    "open_folder",
    "open_name",
    "remove_name",
    "replace_name",
    "set_mode",
    "set_times",
    "status",
    "status_of_file",
    "status_of_name",
    "usage",
    "write",
)
_NUMBERS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENODEV)


def _failing(system: FaultySystem, call: str, number: int, where: str, nth: int, *, for_ever: bool) -> Rule:
    def fail(real: Callable[[], Any], *arguments: Any) -> Any:
        if call == "close":  # an error of close() leaves nothing open
            real()
        raise OSError(number, os.strerror(number))

    return system.rule(call, fail, where=where, nth=nth, times=None if for_ever else 1)


def _open_below(root: Path) -> list[str]:
    """What this process has open below a folder, where the system can tell."""
    found = []
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return [name for name in found if name.startswith(str(root))]


def _run_with_fault(
    call: str,
    number: int,
    nth: int,
    *,
    strategy: Strategy,
    victim: int = 1,
    is_missing: bool = False,
    for_ever: bool = False,
) -> Rule:
    """Copy with one fault, and check everything that has to hold whatever became of the victim."""
    with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
        root = Path(name).resolve()
        data = make_file(root / "source/clip.mov", _SIZE, seed=nth)
        before = (root / "source/clip.mov").stat()
        if not is_missing:
            for index in range(_COUNT):
                (root / f"d{index}").mkdir()
        system = FaultySystem()
        rule = _failing(system, call, number, f"{root}/d{victim}", nth, for_ever=for_ever)
        result = offload(
            str(root / "source/clip.mov"),
            [f"{root}/d{index}/" for index in range(_COUNT)],
            CopyOptions(strategy=strategy, chunk_size=_CHUNK),
            system=system,
        )
        _check(result, root, data, victim, rule)
        after = (root / "source/clip.mov").stat()
        assert (root / "source/clip.mov").read_bytes() == data
        assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
        assert _open_below(root) == []
        return rule


def _check(result: CopyResult, root: Path, data: bytes, victim: int, rule: Rule) -> None:
    for index, each in enumerate(result.destinations):
        final = root / f"d{index}/clip.mov"
        assert not final.exists() or final.read_bytes() == data, f"wrong bytes under the final name {final}"
        if each.state.is_complete:
            assert final.exists()
        if index != victim or not rule.fired:
            assert (each.state, each.error) == (State.VERIFIED, None)
            assert each.read_back is not ReadBack.CACHED
            assert sorted(path.name for path in final.parent.iterdir()) == ["clip.mov"]
    affected = result.destinations[victim]
    assert affected.success == (affected.error is None)
    expected = 0 if affected.success else 4 if affected.state is State.MISMATCH else 3
    assert result.exit_code == expected
    if rule.fired and rule.call in _GUARANTEES:
        assert not affected.success
        assert affected.error is not None
    if rule.call != "remove_name":
        assert partials(root) == []


@settings(deadline=None, max_examples=60)
@given(
    call=st.sampled_from(_CALLS),
    number=st.sampled_from(_NUMBERS),
    nth=st.integers(1, 5),
    strategy=st.sampled_from([Strategy.SINGLE, Strategy.PARALLEL]),
    victim=st.integers(0, _COUNT - 1),
    is_missing=st.booleans(),
    for_ever=st.booleans(),
)
def test_any_single_fault_fails_at_most_its_own_destination(
    call: str, number: int, nth: int, strategy: Strategy, victim: int, is_missing: bool, for_ever: bool
) -> None:
    rule = _run_with_fault(
        call, number, nth, strategy=strategy, victim=victim, is_missing=is_missing, for_ever=for_ever
    )
    assume(rule.fired)


@pytest.mark.fault(6, 7, 8, 9, 10, 46)
@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.PARALLEL])
@pytest.mark.parametrize("call", _CALLS)
def test_every_call_of_a_run_may_fail_in_turn(call: str, strategy: Strategy) -> None:
    """The first call fails, then in a new run the second, until a run ends in which no fault fired."""
    for nth in range(1, 60):
        rule = _run_with_fault(call, errno.EIO, nth, strategy=strategy)
        if not rule.fired:
            assert nth > 1, f"no {call} to fail: this test has lost its meaning"
            return
    pytest.fail(f"{call} never stopped failing")


@pytest.mark.fault(3, 4, 7)
@pytest.mark.parametrize("number", _NUMBERS, ids=lambda number: errno.errorcode[number])
def test_failed_destination_says_why(number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
        root = Path(name)
        make_file(root / "clip.mov", _SIZE)
        system = FaultySystem()
        rule = _failing(system, "flush", number, f"{root}/d1/", 1, for_ever=False)
        result = offload(str(root / "clip.mov"), [f"{root}/d0/", f"{root}/d1/"], CopyOptions(), system=system)
        assert rule.fired == 1
        error = result.destinations[1].error
        assert error is not None
        assert (error.errno, error.operation) == (errno.errorcode[number], "flush")
        assert errno.errorcode[number] in error.message
        assert "Nothing of it was left behind." in error.message


@pytest.mark.fault(40, 43)
@settings(deadline=None, max_examples=15)
@given(
    position=st.integers(0, _SIZE - 1),
    mask=st.integers(1, 255),
    strategy=st.sampled_from([Strategy.SINGLE, Strategy.PARALLEL]),
    victim=st.integers(0, _COUNT - 1),
    side=st.sampled_from(["write", "read"]),
)
def test_flipped_bits_on_one_destination_are_a_mismatch_there_alone(
    position: int, mask: int, strategy: Strategy, victim: int, side: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
        root = Path(name).resolve()
        data = make_file(root / "clip.mov", _SIZE)
        system = FaultySystem()
        flips = _flip(system, side, f"{root}/d{victim}/", position, mask)
        result = offload(
            str(root / "clip.mov"),
            [f"{root}/d{index}/" for index in range(_COUNT)],
            CopyOptions(strategy=strategy, chunk_size=_CHUNK),
            system=system,
        )
        assert flips == [position]
        assert result.exit_code == 4
        for index, each in enumerate(result.destinations):
            folder = root / f"d{index}"
            if index != victim:
                assert each.state is State.VERIFIED
                assert (folder / "clip.mov").read_bytes() == data
                continue
            assert each.state is State.MISMATCH
            assert [path.name for path in folder.iterdir()] == ["clip.mov.corrupt"]
            if side == "write":
                assert (folder / "clip.mov.corrupt").read_bytes() != data
        assert partials(root) == []


def _flip(system: FaultySystem, side: str, where: str, position: int, mask: int) -> list[int]:
    """Change one byte on its way to or from the medium; returns where that was done."""
    flips: list[int] = []
    passed = 0

    def through(real: Callable[[], int], fd: int, data: memoryview) -> int:
        nonlocal passed
        is_copy = os.fstat(fd).st_size >= (_SIZE if side == "read" else 0) and len(data) > 1000
        if not is_copy:  # the lock, which says whose it is
            return real()
        if side == "read":
            count = real()
            if 0 <= position - passed < count:
                data[position - passed] ^= mask
                flips.append(position)
        else:
            changed = bytearray(data)
            if 0 <= position - passed < len(changed):
                changed[position - passed] ^= mask
                flips.append(position)
            count = os.write(fd, changed)
        passed += count
        return count

    system.rule(side, through, where=where, times=None)
    return flips
