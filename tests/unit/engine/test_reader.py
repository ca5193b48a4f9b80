"""Reading once for all: every chunk to every consumer, and never an end that is none."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.engine.chunks import BufferPool, ChunkQueue
from pfndispatchcopy.engine.lanes import Supervisor
from pfndispatchcopy.engine.reader import fan_out, require_size
from pfndispatchcopy.engine.source import BandwidthLimit, SourceEnd, SourceFailureError, SourceFile, SourceOutcome
from pfndispatchcopy.errors import IncompleteStreamError, OperationCancelledError, PfnDispatchCopyError
from pfndispatchcopy.hashing import HashCalculator
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file

_SIZE = 10_000
_CHUNK = 1024


class _Reading:
    """A source, a pool, some consumers and what the reader is to tell them."""

    def __init__(self, system: FaultySystem, path: Path, consumers: int = 3, buffers: int = 4) -> None:
        self.data = make_file(path, _SIZE)
        self.cancel = threading.Event()
        self.source = SourceFile(system, str(path), Supervisor(0, self.cancel).watch(str(path)), self.cancel)
        self.pool = BufferPool(_CHUNK, buffers)
        self.queues = [ChunkQueue() for _ in range(consumers)]
        self.outcome = SourceOutcome()
        self.calculator = HashCalculator(["xxh64be", "xxh3"])
        self.taken: list[list[int]] = [[] for _ in self.queues]
        self.bytes_taken = [bytearray() for _ in self.queues]
        self.ends: list[object] = [None for _ in self.queues]

    def read(
        self,
        *,
        expect_size: int | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
        leaves: Sequence[int | None] = (None, None, None),
    ) -> None:
        """Read, while every consumer takes what it gets, but leaves after so many chunks."""
        threads = [
            threading.Thread(target=self._consume, args=[number, leaves[number]]) for number in range(len(self.queues))
        ]
        for thread in threads:
            thread.start()
        try:
            fan_out(
                self.source,
                self.pool,
                self.queues,
                self.calculator,
                "xxh3",
                self.outcome,
                expect_size=expect_size,
                limit=BandwidthLimit(None, self.cancel),
                cancel=self.cancel,
                is_wanted=is_wanted,
            )
        finally:
            for thread in threads:
                thread.join(5)
                assert not thread.is_alive()

    def _consume(self, number: int, most: int | None) -> None:
        queue = self.queues[number]
        try:
            while len(self.taken[number]) != most:
                chunk = queue.get()
                if chunk is None:
                    self.ends[number] = "whole"
                    return
                self.taken[number].append(chunk.sequence)
                self.bytes_taken[number] += chunk.data
        except PfnDispatchCopyError as error:
            self.ends[number] = error
        finally:
            queue.leave()

    def require_failed_everywhere(self, error: BaseException) -> None:
        assert self.ends == [error] * len(self.queues)
        for wait in (self.outcome.wait_read, self.outcome.wait_proven):
            with pytest.raises(type(error)):
                wait()


@pytest.fixture
def reading(faulty: FaultySystem, tmp_path: Path) -> Iterator[_Reading]:
    reading = _Reading(faulty, tmp_path / "clip.mov")
    yield reading
    reading.source.close()


def test_every_consumer_gets_all_bytes_in_order(reading: _Reading) -> None:
    reading.read()
    assert reading.taken == [list(range(10))] * 3
    assert reading.bytes_taken == [reading.data] * 3
    assert reading.ends == ["whole"] * 3
    right = HashCalculator(["xxh64be", "xxh3"])
    right.update(reading.data)
    assert reading.calculator.hexdigests() == right.hexdigests()
    assert reading.outcome.wait_read() == SourceEnd(_SIZE, right.hexdigests()["xxh3"])


def test_every_buffer_comes_back(reading: _Reading) -> None:
    reading.read()
    assert reading.pool.free_count == reading.pool.count


def test_consumers_that_leave_hold_nobody_back_and_nothing_fast(reading: _Reading) -> None:
    reading.read(leaves=(0, 3, None))
    assert [len(taken) for taken in reading.taken] == [0, 3, 10]
    assert reading.bytes_taken[2] == reading.data
    assert reading.pool.free_count == reading.pool.count


def test_reader_waits_for_the_slowest_consumer_and_no_longer(faulty: FaultySystem, tmp_path: Path) -> None:
    reading = _Reading(faulty, tmp_path / "clip.mov", consumers=2, buffers=3)
    reader_waits, positions = threading.Event(), []

    class _Pool(BufferPool):
        def acquire(self, timeout_s: float) -> memoryview | None:
            buffer = super().acquire(0.001)
            if buffer is None:
                reader_waits.set()
            return buffer

    reading.pool = _Pool(_CHUNK, 3)
    slow = reading.queues[0]
    take = slow.get

    def get_slowly() -> Any:
        assert reader_waits.wait(5) or reading.source.position == _SIZE
        positions.append(reading.source.position)
        reader_waits.clear() if reading.source.position < _SIZE - 3 * _CHUNK else reader_waits.set()
        return take()

    slow.get = get_slowly  # type: ignore[method-assign]
    reading.read(leaves=(None, None))
    assert positions[0] == 3 * _CHUNK  # the pool was empty before the slow one took its first
    assert reading.bytes_taken == [reading.data] * 2
    reading.source.close()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("nth", [1, 4, 11])
def test_whatever_ends_the_reading_early_is_no_end_of_the_stream(
    error: BaseException, nth: int, reading: _Reading, faulty: FaultySystem
) -> None:
    def explode(real: Callable[[], int], *arguments: Any) -> int:
        raise error

    rule = faulty.rule("read", explode, where="clip.mov", nth=nth)
    with pytest.raises(SourceFailureError) as caught:
        reading.read()
    assert rule.fired == 1
    reading.require_failed_everywhere(caught.value)


def test_bug_in_a_digest_is_no_end_of_the_stream(reading: _Reading) -> None:
    class _Broken(HashCalculator):
        def update(self, data: memoryview | bytes) -> None:
            raise RuntimeError("a bug")

    reading.calculator = _Broken(["xxh3"])
    with pytest.raises(SourceFailureError, match="internal error") as caught:
        reading.read()
    reading.require_failed_everywhere(caught.value)


def test_cancel_ends_the_reading_at_the_next_chunk(reading: _Reading, faulty: FaultySystem) -> None:
    def cancel(real: Callable[[], int], *arguments: Any) -> int:
        reading.cancel.set()
        return real()

    rule = faulty.rule("read", cancel, where="clip.mov", nth=3)
    with pytest.raises(OperationCancelledError) as caught:
        reading.read()
    assert rule.fired == 1
    assert reading.source.position == 3 * _CHUNK
    reading.require_failed_everywhere(caught.value)
    assert reading.pool.free_count == reading.pool.count


def test_cancel_is_heard_while_the_reader_waits_for_a_buffer(faulty: FaultySystem, tmp_path: Path) -> None:
    reading = _Reading(faulty, tmp_path / "clip.mov", consumers=0, buffers=2)
    held = [reading.pool.acquire(1), reading.pool.acquire(1)]
    assert None not in held
    threading.Timer(0.01, reading.cancel.set).start()
    with pytest.raises(OperationCancelledError):
        reading.read()
    assert reading.source.position == 0
    reading.source.close()


def test_reading_ends_when_nobody_wants_it_any_more(reading: _Reading) -> None:
    with pytest.raises(OperationCancelledError, match="no destination is left"):
        reading.read(is_wanted=lambda: reading.source.position < 2 * _CHUNK)
    assert reading.source.position == 2 * _CHUNK


@pytest.mark.parametrize(("expected", "word"), [(_SIZE + 1, "source has 10000"), (_CHUNK + 1, "at least 2048")])
def test_stream_of_another_size_than_announced_is_no_whole_stream(expected: int, word: str, reading: _Reading) -> None:
    with pytest.raises(SourceFailureError, match=word) as caught:
        reading.read(expect_size=expected)
    reading.require_failed_everywhere(caught.value)


def test_announced_size_is_required_exactly(reading: _Reading) -> None:
    reading.read(expect_size=_SIZE)
    require_size(reading.source, _SIZE)
    require_size(reading.source, None)
    with pytest.raises(IncompleteStreamError):
        require_size(reading.source, _SIZE - 1)


def test_empty_source_is_whole(faulty: FaultySystem, tmp_path: Path) -> None:
    reading = _Reading(faulty, tmp_path / "clip.mov")
    reading.source.close()
    (tmp_path / "empty").touch()
    watch = Supervisor(0, reading.cancel).watch("empty")
    reading.source = SourceFile(faulty, str(tmp_path / "empty"), watch, reading.cancel)
    reading.read()
    assert reading.ends == ["whole"] * 3
    assert reading.outcome.wait_read().size == 0
    reading.source.close()
