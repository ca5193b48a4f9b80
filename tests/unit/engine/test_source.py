"""The source: opened once, read once, never changed, and the same file at the end as at the beginning."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pfndispatchcopy.engine.lanes import Supervisor
from pfndispatchcopy.engine.source import BandwidthLimit, SourceEnd, SourceFailureError, SourceFile, SourceOutcome
from pfndispatchcopy.errors import (
    IncompleteStreamError,
    OperationCancelledError,
    RefusedError,
    SourceChangedError,
)
from pfndispatchcopy.events import ErrorEvent
from pfndispatchcopy.model import Conflict, ReadBack, State, VerifySource
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file
from tests.support.trial import Trial, open_below


def _open(system: FaultySystem, path: Path) -> SourceFile:
    cancel = threading.Event()
    return SourceFile(system, str(path), Supervisor(0, cancel).watch(str(path)), cancel)


@pytest.fixture
def source(faulty: FaultySystem, tmp_path: Path) -> Iterator[SourceFile]:
    make_file(tmp_path / "clip.mov", 10_000)
    opened = _open(faulty, tmp_path / "clip.mov")
    yield opened
    opened.close()


def _buffer(size: int = 4096) -> memoryview:
    return memoryview(bytearray(size))


def _flip(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
    got = real()
    assert got > 0
    buffer[got // 2] ^= 1
    return got


# -- what is known of its end ----------------------------------------------------------------------------

_END = SourceEnd(10, "00")


def _wait(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []

    def wait() -> None:
        try:
            found.append(call())
        except IncompleteStreamError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, found


def test_those_who_wait_for_the_end_are_told_how_it_was() -> None:
    outcome = SourceOutcome()
    (reading, end), (proving, proven) = _wait(outcome.wait_read), _wait(outcome.wait_proven)
    outcome.set_read(_END)
    reading.join(5)
    assert end == [_END]
    assert proven == []  # read is not yet proven
    outcome.set_proven()
    proving.join(5)
    assert proven == [None]


def test_those_who_wait_for_the_end_are_told_the_first_cause_of_a_failure() -> None:
    outcome, cause = SourceOutcome(), IncompleteStreamError("broken")
    waiting = [_wait(outcome.wait_read), _wait(outcome.wait_proven)]
    outcome.fail(cause)
    outcome.fail(IncompleteStreamError("later"))
    for thread, found in waiting:
        thread.join(5)
        assert found == [cause]


def test_source_that_was_read_may_still_turn_out_bad() -> None:
    outcome = SourceOutcome()
    outcome.set_read(_END)
    outcome.fail(IncompleteStreamError("the second reading differs"))
    assert outcome.wait_read() == _END
    with pytest.raises(IncompleteStreamError):
        outcome.wait_proven()


def test_nothing_is_taken_back_from_a_source_that_was_proven() -> None:
    outcome = SourceOutcome()
    outcome.set_read(_END)
    outcome.set_proven()
    outcome.fail(IncompleteStreamError("too late"))
    outcome.wait_proven()


# -- how fast it is read ---------------------------------------------------------------------------------


def test_reading_without_a_limit_does_not_wait() -> None:
    begin = monotonic()
    BandwidthLimit(None, threading.Event()).pace(1 << 40)
    assert monotonic() - begin < 1


def test_limit_keeps_the_rate_and_saves_nothing_up() -> None:
    limit = BandwidthLimit(100_000, threading.Event())
    begin = monotonic()
    for _ in range(4):
        limit.pace(5_000)
    assert monotonic() - begin >= 0.19


def test_cancel_ends_the_wait_of_a_limit() -> None:
    cancel = threading.Event()
    cancel.set()
    begin = monotonic()
    BandwidthLimit(1, cancel).pace(3600)
    assert monotonic() - begin < 1


# -- opening ---------------------------------------------------------------------------------------------


def _make_folder(path: Path) -> None:
    path.mkdir()


def _make_socket(path: Path) -> None:
    here = socket.socket(socket.AF_UNIX)
    try:
        os.chdir(path.parent)
        here.bind(path.name)
    finally:
        here.close()


@pytest.mark.fault(69)
@pytest.mark.parametrize("make", [_make_folder, os.mkfifo, _make_socket], ids=["folder", "fifo", "socket"])
def test_what_is_no_regular_file_is_refused_without_waiting(
    make: Callable[[Path], None], faulty: FaultySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd")
    with pytest.raises(RefusedError) as caught:
        _open(faulty, tmp_path / "odd")
    assert caught.value.path == str(tmp_path / "odd")
    assert open_below(tmp_path) == []


def test_source_that_is_missing_is_refused_with_the_systems_reason(faulty: FaultySystem, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        _open(faulty, tmp_path / "nothing")
    assert (caught.value.operation, caught.value.errno) == ("open", "ENOENT")


def test_source_that_cannot_be_looked_at_once_it_is_open_is_closed_again(faulty: FaultySystem, tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 10)
    rule = faulty.fail("status_of_file")
    with pytest.raises((RefusedError, OSError)):
        _open(faulty, tmp_path / "clip.mov")
    assert rule.fired == 1
    assert open_below(tmp_path) == []


# -- reading ---------------------------------------------------------------------------------------------


def test_short_reads_fill_a_buffer_all_the_same(source: SourceFile, faulty: FaultySystem, tmp_path: Path) -> None:
    rule = faulty.rule("read", lambda real, fd, buffer: os.readv(fd, [buffer[:100]]), times=None)
    buffer = _buffer()
    assert [source.fill(buffer) for _ in range(4)] == [4096, 4096, 10_000 - 2 * 4096, 0]
    assert source.position == 10_000
    assert rule.fired > 100
    source.require_unchanged()


@pytest.mark.fault(33)
def test_source_that_has_grown_is_noticed_while_it_is_read(source: SourceFile, tmp_path: Path) -> None:
    with (tmp_path / "clip.mov").open("ab") as more:
        more.write(b"more")
    with pytest.raises(SourceChangedError, match="grown"):
        source.fill(_buffer(20_000))


def test_rewound_source_gives_the_same_bytes_again(source: SourceFile) -> None:
    buffers = _buffer(10_000), _buffer(10_000)
    source.fill(buffers[0])
    source.rewind()
    assert source.position == 0
    source.fill(buffers[1])
    assert buffers[0] == buffers[1]
    source.require_unchanged()


def test_failure_of_the_source_names_it_the_operation_and_the_byte(source: SourceFile, faulty: FaultySystem) -> None:
    rule = faulty.fail("read", errno.EIO, nth=2)
    source.fill(_buffer())
    with pytest.raises(OSError, match="Input/output") as caught:
        source.fill(_buffer())
    failure = source.failure(caught.value)
    assert rule.fired == 1
    assert isinstance(failure, SourceFailureError)
    notice = failure.notice
    assert (notice.path, notice.operation, notice.errno, notice.destination) == (source.path, "read", "EIO", None)
    assert "byte 4096" in notice.message
    assert source.failure(failure) is failure


def test_source_is_opened_once_and_read_once_and_never_changed(trial: Trial) -> None:
    before = trial.source.stat()
    count = 0

    def reading(real: Callable[[], int], *arguments: Any) -> int:
        nonlocal count
        got = real()
        count += got
        return got

    trial.rule("read", reading, times=None)
    result = trial.run()
    trial.require_good(result, 0, 1, 2)
    assert count == len(trial.data)
    assert [call for call, path in trial.system.calls if path == str(trial.source) and call.startswith("open")] == [
        "open_source"
    ]
    after = trial.source.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns, after.st_mode) == (
        before.st_mtime_ns,
        before.st_ctime_ns,
        before.st_mode,
    )


# -- changes while it is read ------------------------------------------------------------------------------


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _shrink(path: Path) -> None:
    os.truncate(path, 15_000)


def _modify(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(19_000)
        file.write(b"changed")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def _remove(path: Path) -> None:
    path.unlink()


def _move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _require_source_failure(trial: Trial, states: list[State]) -> None:
    assert states == [State.FAILED] * 3
    trial.require_nothing(0, 1, 2)
    assert len(trial.notices(ErrorEvent)) == 1
    assert trial.notices(ErrorEvent)[0].path == str(trial.source)


@pytest.mark.fault(32, 33, 34, 35, 36)
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_grow, "grown"),
        (_shrink, "ended after 15000 of its 20000 bytes"),
        (_modify, "changed"),
        (_replace, "another file"),
        (_remove, "removed or renamed"),
        (_move_folder, "removed or renamed"),
    ],
)
@pytest.mark.parametrize("nth", [1, 3])
def test_source_that_changes_while_it_is_read_fails_everywhere(
    change: Callable[[Path], None], word: str, nth: int, trial: Trial
) -> None:
    def read(real: Callable[[], int], *arguments: Any) -> int:
        change(trial.source)
        return real()

    rule = trial.rule("read", read, nth=nth)
    result = trial.run()
    assert rule.fired == 1
    _require_source_failure(trial, [each.state for each in result.destinations])
    assert word in trial.notices(ErrorEvent)[0].message
    assert all(each.error is not None and word in each.error.message for each in result.destinations)
    assert (result.hashes, result.exit_code) == ({}, 1)


@pytest.mark.fault(30, 31)
@pytest.mark.parametrize("nth", [1, 3, 6])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV], ids=lambda number: errno.errorcode[number])
def test_read_that_fails_fails_everywhere_and_is_told_once(number: int, nth: int, trial: Trial) -> None:
    rule = trial.fail("read", number, nth=nth)
    result = trial.run()
    assert rule.fired == 1
    _require_source_failure(trial, [each.state for each in result.destinations])
    assert [each.error.errno if each.error else None for each in result.destinations] == [errno.errorcode[number]] * 3
    assert result.exit_code == 1


@pytest.mark.fault(30)
def test_failed_look_at_the_end_fails_everywhere(trial: Trial) -> None:
    rule = trial.fail("status_of_file", errno.EIO, nth=2)
    result = trial.run()
    assert rule.fired == 1
    _require_source_failure(trial, [each.state for each in result.destinations])


def test_bug_in_the_reading_lets_no_copy_get_its_final_name(trial: Trial) -> None:
    def explode(real: Callable[[], int], *arguments: Any) -> int:
        raise RuntimeError("a bug")

    rule = trial.rule("read", explode, nth=3)
    result = trial.run()
    assert rule.fired == 1
    _require_source_failure(trial, [each.state for each in result.destinations])
    assert "internal error" in trial.notices(ErrorEvent)[0].message


def test_copies_that_failed_before_the_source_did_keep_their_own_reason(trial: Trial) -> None:
    copy_failed = threading.Event()
    writing = trial.fail("write", errno.ENOSPC, 1)
    observer = trial.events.append

    def observe(event: Any) -> None:
        observer(event)
        if isinstance(event, ErrorEvent):
            copy_failed.set()

    trial.events = _Listening(observe)

    def read(real: Callable[[], int], *arguments: Any) -> int:
        assert copy_failed.wait(5)
        raise OSError(errno.EIO, "Input/output error")

    reading = trial.rule("read", read, nth=3)
    result = trial.run()
    assert (writing.fired, reading.fired) == (1, 1)
    assert [each.error.errno if each.error else None for each in result.destinations] == ["EIO", "ENOSPC", "EIO"]
    trial.require_nothing(0, 1, 2)


class _Listening(list[Any]):
    """A list that tells of what is appended."""

    def __init__(self, told: Callable[[Any], None]) -> None:
        super().__init__()
        self.append = told  # type: ignore[method-assign]


# -- the second reading --------------------------------------------------------------------------------------


def _second_reading(trial: Trial, action: Callable[..., Any]) -> Any:
    """A rule for the first read of the second reading: the first one takes five chunks and finds the end twice."""
    return trial.rule("read", action, nth=8)


def test_second_reading_that_agrees_changes_nothing(trial: Trial) -> None:
    result = trial.run(verify_source=VerifySource.PER_FILE)
    trial.require_good(result, 0, 1, 2)
    assert len([call for call, path in trial.system.calls if call == "read" and path == str(trial.source)]) > 7


@pytest.mark.fault(38)
def test_source_that_gives_other_bytes_the_second_time_is_a_mismatch_everywhere(trial: Trial) -> None:
    rule = _second_reading(trial, _flip)
    result = trial.run(verify_source=VerifySource.PER_FILE)
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.MISMATCH] * 3
    assert result.exit_code == 4
    assert [trial.names(number) for number in range(3)] == [["clip.mov.corrupt"]] * 3
    notices = trial.notices(ErrorEvent)
    assert [(notice.path, notice.operation) for notice in notices] == [(str(trial.source), "verify-source")]


@pytest.mark.fault(30)
def test_source_that_cannot_be_read_a_second_time_fails_everywhere(trial: Trial) -> None:
    def fail(real: Callable[[], int], *arguments: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    rule = _second_reading(trial, fail)
    result = trial.run(verify_source=VerifySource.PER_FILE)
    assert rule.fired == 1
    _require_source_failure(trial, [each.state for each in result.destinations])


def test_cancel_during_the_second_reading_cancels_everywhere(trial: Trial) -> None:
    def cancel(real: Callable[[], int], *arguments: Any) -> int:
        trial.cancel.set()
        return real()

    rule = _second_reading(trial, cancel)
    result = trial.run(verify_source=VerifySource.PER_FILE)
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.CANCELLED] * 3
    trial.require_nothing(0, 1, 2)


def test_second_reading_goes_past_the_cache(source: SourceFile, faulty: FaultySystem) -> None:
    dropping = faulty.rule("is_cached", lambda real, *arguments: False)
    end = _read_whole(source)
    assert source.prove(end, "xxh64be", _buffer()) is ReadBack.EVICTED
    assert dropping.fired == 1


@pytest.mark.fault(44)
def test_second_reading_goes_around_a_cache_that_cannot_be_dropped(source: SourceFile, faulty: FaultySystem) -> None:
    end = _read_whole(source)
    faulty.rule("is_cached", lambda real, *arguments: True)
    rule = faulty.rule(
        "open_direct", lambda real, folder, name: faulty.open_name(folder, name, os.O_RDONLY), where="clip.mov"
    )
    assert source.prove(end, "xxh64be", _buffer()) is ReadBack.DIRECT
    assert rule.fired == 1


@pytest.mark.fault(35)
def test_second_reading_of_another_file_is_refused(source: SourceFile, faulty: FaultySystem, tmp_path: Path) -> None:
    end = _read_whole(source)

    def swap(real: Callable[[], Any], folder: Any, name: str) -> Any:
        _replace(tmp_path / "clip.mov")
        return faulty.open_name(folder, name, os.O_RDONLY)

    faulty.rule("is_cached", lambda real, *arguments: True)
    rule = faulty.rule("open_direct", swap, where="clip.mov")
    with pytest.raises((SourceFailureError, OperationCancelledError), match="another file"):
        source.prove(end, "xxh64be", _buffer())
    assert rule.fired == 1


def _read_whole(source: SourceFile) -> SourceEnd:
    from pfndispatchcopy.hashing import HashCalculator

    calculator = HashCalculator(["xxh64be"])
    buffer = _buffer()
    while count := source.fill(buffer):
        calculator.update(buffer[:count])
    return SourceEnd(source.position, calculator.hexdigests()["xxh64be"])


@pytest.mark.fault(38)
@pytest.mark.parametrize("rule", [Conflict.ERROR, Conflict.OVERWRITE])
def test_existing_copy_is_not_called_identical_to_a_source_that_gives_changing_bytes(
    rule: Conflict, trial: Trial
) -> None:
    (trial.folder(0) / "clip.mov").write_bytes(trial.data)

    fault = _second_reading(trial, _flip)
    result = trial.run(1, verify_source=VerifySource.PER_FILE, on_conflict=rule)
    assert fault.fired == 1
    assert result.exit_code == 4
    assert result.destinations[0].state is State.MISMATCH
    assert trial.final(0).read_bytes() == trial.data
