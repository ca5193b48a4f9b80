"""The writers: each failure stays with its destination, and what it held is free again at once."""

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from pfndispatchcopy.engine import crew
from pfndispatchcopy.engine.chunks import BufferPool
from pfndispatchcopy.engine.source import SourceEnd, SourceOutcome
from pfndispatchcopy.engine.writers import DigestWriter, ParallelWriter
from pfndispatchcopy.errors import IncompleteStreamError, SourceChangedError, StalledError
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import State, Strategy
from tests.support.trial import Trial

if TYPE_CHECKING:
    from pfndispatchcopy.engine.destination import DestinationCopy

_CHUNK = 64


class _Steps:
    """The steps of a destination, as far as a writer knows them; they write into memory."""

    def __init__(self, *, wants_bytes: bool = True) -> None:
        self.wants_bytes = wants_bytes
        self.is_settled = False
        self.is_complete = False
        self.written = bytearray()
        self.errors: list[BaseException] = []
        self.given_up: list[BaseException] = []
        self.on_write: Callable[[], None] = lambda: None

    @contextmanager
    def capturing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.errors.append(error)
            self.is_settled = True

    def begin(self, *, is_known_to_differ: bool = False) -> None:
        self.is_known_to_differ = is_known_to_differ

    def write(self, data: memoryview) -> None:
        self.on_write()
        self.written += data

    def finish(self, end: SourceEnd, outcome: SourceOutcome) -> None:
        outcome.wait_proven()
        self.is_complete = self.is_settled = True

    def compare(self) -> None:
        self.has_compared = True

    def tidy(self) -> None:
        pass

    def judge(self, end: SourceEnd, *arguments: Any) -> None:
        self.is_complete = self.is_settled = True

    def give_up(self, error: BaseException) -> None:
        self.given_up.append(error)
        self.is_settled = True


class _Line:
    """A pool, a writer in a thread, and its steps."""

    def __init__(self, steps: _Steps, buffers: int = 4) -> None:
        self.steps = steps
        self.pool = BufferPool(_CHUNK, buffers)
        self.outcome = SourceOutcome()
        self.writer = ParallelWriter(cast("DestinationCopy", steps), self.outcome)
        self.thread = threading.Thread(target=self.writer.run)
        self._sequence = 0

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.thread.join(5)
        assert not self.thread.is_alive()

    def put(self, count: int = 1) -> list[bool]:
        """Hand over chunks, each as soon as there is a buffer."""
        taken = []
        for _ in range(count):
            buffer = self.pool.acquire(5)
            assert buffer is not None, "the writer holds what it should have released"
            buffer[:] = bytes([self._sequence]) * _CHUNK
            chunk = self.pool.chunk(self._sequence, buffer, _CHUNK)
            self._sequence += 1
            taken.append(self.writer.put(chunk))
            chunk.release()
        return taken

    def end(self) -> None:
        """The source has come to its end."""
        self.outcome.set_read(SourceEnd(0, ""))
        self.outcome.set_proven()
        self.writer.close()


def test_writer_takes_all_chunks_in_order_and_finishes() -> None:
    with _Line(_Steps()) as line:
        assert all(line.put(10))
        line.end()
    assert line.steps.written == b"".join(bytes([number]) * _CHUNK for number in range(10))
    assert line.steps.is_complete
    assert line.pool.free_count == 4


@pytest.mark.fault(6, 17, 29)
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), RuntimeError("a bug"), MemoryError()])
def test_writer_that_fails_takes_nothing_more_and_releases_everything(error: BaseException) -> None:
    steps = _Steps()

    def fail() -> None:
        raise error

    with _Line(steps) as line:
        steps.on_write = fail
        line.put(20)  # five times as many as there are buffers: it never waits for the one that has gone
        line.thread.join(5)
        assert line.put(5) == [False] * 5
        line.end()
    assert steps.errors == [error]
    assert line.pool.free_count == 4


def test_writer_without_the_end_of_the_source_never_finishes() -> None:
    with _Line(_Steps()) as line:
        line.put(3)
        line.writer.close(SourceChangedError("grown"))
    assert [type(error) for error in line.steps.errors] == [SourceChangedError]
    assert not line.steps.is_complete
    assert line.pool.free_count == 4


def test_writer_does_not_finish_when_the_source_turns_out_bad_after_its_end() -> None:
    with _Line(_Steps()) as line:
        line.put(3)
        line.outcome.set_read(SourceEnd(0, ""))
        line.writer.close()
        line.outcome.fail(SourceChangedError("the second reading differs"))
    assert [type(error) for error in line.steps.errors] == [SourceChangedError]
    assert not line.steps.is_complete


@pytest.mark.fault(27)
def test_writer_that_hangs_releases_its_chunks_when_it_is_given_up() -> None:
    steps, release, hangs = _Steps(), threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        release.wait(5)

    steps.on_write = hang
    with _Line(steps) as line:
        line.put(4)
        assert hangs.wait(5)
        assert line.pool.free_count == 0
        stalled = StalledError("it hangs")
        line.writer.give_up(stalled)
        assert line.pool.free_count == 4
        assert line.put(2) == [False, False]
        release.set()
    assert steps.given_up == [stalled]
    assert [type(error) for error in steps.errors] == [IncompleteStreamError]
    assert len(steps.written) == _CHUNK


@pytest.mark.fault(27)
def test_writer_that_hung_in_front_of_the_last_chunks_does_not_take_the_end_for_its_own() -> None:
    steps, release, hangs = _Steps(), threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        release.wait(5)

    steps.on_write = hang
    with _Line(steps) as line:
        line.put(3)
        assert hangs.wait(5)
        line.end()
        line.writer.give_up(StalledError("it hangs"))
        release.set()
    assert not steps.is_complete
    assert [type(error) for error in steps.errors] == [IncompleteStreamError]


def test_destination_that_needs_no_bytes_holds_none() -> None:
    with _Line(_Steps(wants_bytes=False)) as line:
        line.put(20)
        line.end()
    assert line.steps.is_complete
    assert line.steps.has_compared
    assert line.steps.written == b""
    assert line.pool.free_count == 4


@pytest.mark.parametrize("is_second_pass", [False, True])
def test_second_pass_is_passed_on(is_second_pass: bool) -> None:
    steps = _Steps()
    writer = ParallelWriter(cast("DestinationCopy", steps), SourceOutcome())
    writer.close(SourceChangedError("gone"))
    writer.run(is_second_pass=is_second_pass)
    assert steps.is_known_to_differ is is_second_pass


def test_slow_digest_is_right_and_holds_nothing() -> None:
    pool, digest = BufferPool(_CHUNK, 2), DigestWriter("sha256")
    thread = threading.Thread(target=digest.run)
    thread.start()
    right = HashCalculator(["sha256"])
    for sequence in range(10):
        buffer = pool.acquire(5)
        assert buffer is not None
        buffer[:] = bytes([sequence]) * _CHUNK
        right.update(buffer)
        chunk = pool.chunk(sequence, buffer, _CHUNK)
        assert digest.queue.put(chunk)
        chunk.release()
    digest.queue.close()
    thread.join(5)
    assert not thread.is_alive()
    assert digest.calculator.hexdigests() == right.hexdigests()
    assert pool.free_count == 2


# -- in a whole run ---------------------------------------------------------------------------------------


def _explode(real: Callable[[], Any], *arguments: Any) -> Any:
    raise RuntimeError("a bug")


@pytest.mark.fault(29)
@pytest.mark.parametrize("call", ["write", "flush", "preallocate", "set_mode", "read", "rename_to_free_name"])
def test_bug_in_one_destination_is_its_failure_alone(call: str, trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    rule = trial.rule(call, _explode, 1)
    with caplog.at_level(logging.ERROR, "pfndispatchcopy"):
        result = trial.run_within(10)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    error = result.destinations[1].error
    assert result.destinations[1].state is State.FAILED
    assert error is not None
    assert "internal error: RuntimeError: a bug" in error.message
    assert any(record.exc_info for record in caplog.records)
    trial.require_nothing(1)
    assert result.exit_code == 3


@pytest.mark.parametrize("strategy", [Strategy.PARALLEL])
@pytest.mark.parametrize("fault", ["fails", "explodes", pytest.param("hangs", marks=pytest.mark.leaks)])
def test_every_buffer_comes_back_after_a_run(fault: str, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[BufferPool] = []

    def make(chunk_size: int, count: int) -> BufferPool:
        pools.append(BufferPool(chunk_size, count))
        return pools[-1]

    monkeypatch.setattr(crew, "BufferPool", make)
    if fault == "fails":
        rule = trial.fail("write", errno.ENOSPC, 1, nth=2)
    elif fault == "explodes":
        rule = trial.rule("write", _explode, 1, nth=2)
    else:
        rule = trial.hang("write", 1, nth=2)
    result = trial.run_within(10, hashes=("xxh64be", "md5"), stall_timeout_s=0.4 if fault == "hangs" else 30)
    assert rule.fired == 1
    trial.require_good(result, 0, 2)
    assert result.destinations[1].state is State.FAILED
    assert len(pools) == 1
    assert pools[0].free_count == pools[0].count


@pytest.mark.parametrize("strategy", [Strategy.PARALLEL])
def test_digest_that_broke_off_is_never_reported(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    update, fired = HashCalculator.update, threading.Event()

    def breaking(calculator: HashCalculator, data: memoryview | bytes) -> None:
        if calculator.names == ("sha256",) and data != memoryview(trial.data)[: len(data)]:
            fired.set()
            raise MemoryError
        update(calculator, data)

    monkeypatch.setattr(HashCalculator, "update", breaking)
    try:
        result = trial.run_within(10, hashes=("sha256",))
    except Exception:
        assert fired.is_set()
        trial.require_no_partials()
        return
    right = HashCalculator(["sha256"])
    update(right, trial.data)
    assert fired.is_set()
    assert result.hashes.get("sha256") in (None, right.hexdigests()["sha256"])
    assert result.success is False or "sha256" not in result.hashes
