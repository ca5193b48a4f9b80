"""Chunks, their pool and their queues: bounded, shared, and given back whatever happens."""

import ctypes
import mmap
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from pfndispatchcopy.engine import chunks
from pfndispatchcopy.engine.chunks import BufferPool, ChunkData, ChunkQueue, page_aligned_buffer
from pfndispatchcopy.errors import IncompleteStreamError, SourceChangedError


def _chunk(pool: BufferPool, sequence: int = 0, length: int | None = None) -> ChunkData:
    buffer = pool.acquire(1)
    assert buffer is not None
    return pool.chunk(sequence, buffer, len(buffer) if length is None else length)


@contextmanager
def _thread(target: threading.Thread) -> Iterator[None]:
    target.start()
    yield
    target.join(5)
    assert not target.is_alive()


# -- the pool ---------------------------------------------------------------------------------------------


def test_pool_allocates_once_and_uses_its_buffers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    allocated: list[int] = []

    def counting(size: int) -> memoryview:
        allocated.append(size)
        return page_aligned_buffer(size)

    monkeypatch.setattr(chunks, "page_aligned_buffer", counting)
    pool = BufferPool(4096, 3)
    for sequence in range(100):
        _chunk(pool, sequence).release()
    assert allocated == [3 * 4096]
    assert pool.free_count == 3


def test_no_more_chunks_than_buffers_exist() -> None:
    pool = BufferPool(4096, 2)
    held = [_chunk(pool), _chunk(pool)]
    assert pool.acquire(0.001) is None
    held.pop().release()
    assert pool.acquire(1) is not None


def test_buffers_do_not_overlap_and_begin_at_pages() -> None:
    pool = BufferPool(mmap.PAGESIZE, 3)
    buffers = [buffer for buffer in (pool.acquire(1) for _ in range(3)) if buffer is not None]
    addresses = sorted(ctypes.addressof(ctypes.c_char.from_buffer(buffer)) for buffer in buffers)
    assert [address % mmap.PAGESIZE for address in addresses] == [0, 0, 0]
    assert [later - earlier for earlier, later in pairwise(addresses)] == [mmap.PAGESIZE] * 2


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_memory_is_fresh_and_at_least_as_large_as_asked_for(size: int) -> None:
    buffer = page_aligned_buffer(size)
    assert len(buffer) == max(size, 1)
    assert not any(buffer)


def test_buffer_comes_back_when_the_last_holder_has_released_it() -> None:
    pool = BufferPool(4096, 1)
    chunk = _chunk(pool)
    chunk.hold()
    chunk.hold()
    for _ in range(2):
        chunk.release()
        assert pool.free_count == 0
    chunk.release()
    assert pool.free_count == 1


def test_buffer_of_a_short_chunk_comes_back_whole() -> None:
    pool = BufferPool(4096, 1)
    short = _chunk(pool, length=10)
    assert len(short.data) == 10
    short.release()
    again = pool.acquire(1)
    assert again is not None
    assert len(again) == 4096


def test_chunk_without_a_pool_needs_no_release() -> None:
    chunk = ChunkData(7, memoryview(b"data"))
    chunk.hold()
    chunk.release()
    chunk.release()
    chunk.release()
    assert (chunk.sequence, bytes(chunk.data)) == (7, b"data")


# -- queues -----------------------------------------------------------------------------------------------


def test_consumers_share_the_memory_of_a_chunk() -> None:
    pool = BufferPool(4096, 1)
    queues = [ChunkQueue() for _ in range(5)]
    chunk = _chunk(pool)
    assert all(queue.put(chunk) for queue in queues)
    chunk.release()
    taken = [queue.get() for queue in queues]
    assert all(each is chunk for each in taken)
    assert pool.free_count == 0
    for queue in queues:
        queue.close()
        assert queue.get() is None
    assert pool.free_count == 1


def test_chunks_come_in_order_and_then_the_end() -> None:
    pool = BufferPool(4096, 3)
    queue = ChunkQueue()
    for sequence in range(3):
        chunk = _chunk(pool, sequence)
        queue.put(chunk)
        chunk.release()
    queue.close()
    assert [chunk.sequence for chunk in iter(queue.get, None)] == [0, 1, 2]
    assert pool.free_count == 3


def test_premature_end_comes_after_the_chunks_before_it() -> None:
    pool = BufferPool(4096, 1)
    queue = ChunkQueue()
    chunk = _chunk(pool)
    queue.put(chunk)
    chunk.release()
    queue.close(SourceChangedError("grown"))
    assert queue.get() is chunk
    with pytest.raises(SourceChangedError, match="grown"):
        queue.get()
    assert pool.free_count == 1


def test_first_close_counts() -> None:
    queue = ChunkQueue()
    queue.close(SourceChangedError("grown"))
    queue.close()
    with pytest.raises(SourceChangedError):
        queue.get()


def test_closed_queue_takes_nothing() -> None:
    pool = BufferPool(4096, 1)
    queue = ChunkQueue()
    queue.close()
    chunk = _chunk(pool)
    assert not queue.put(chunk)
    chunk.release()
    assert pool.free_count == 1


def test_putting_never_waits_for_a_consumer_that_takes_nothing() -> None:
    pool = BufferPool(16, 1000)
    queue = ChunkQueue()
    for sequence in range(1000):
        chunk = _chunk(pool, sequence)
        assert queue.put(chunk)
        chunk.release()
    assert pool.free_count == 0
    queue.leave()
    assert pool.free_count == 1000


def test_consumer_that_left_takes_nothing_and_has_released_everything() -> None:
    pool = BufferPool(4096, 4)
    queue = ChunkQueue()
    for sequence in range(3):
        chunk = _chunk(pool, sequence)
        queue.put(chunk)
        chunk.release()
    assert queue.get() is not None  # one in hand, two waiting
    queue.leave()
    queue.leave()
    assert queue.is_gone
    assert pool.free_count == 4
    chunk = _chunk(pool)
    assert not queue.put(chunk)
    chunk.release()
    assert pool.free_count == 4


def test_stream_that_nobody_closed_is_not_whole() -> None:
    queue = ChunkQueue()
    queue.leave()
    with pytest.raises(IncompleteStreamError):
        queue.get()


def test_consumer_that_waits_wakes_up_when_it_is_given_up() -> None:
    queue = ChunkQueue()
    raised: list[BaseException] = []

    def consume() -> None:
        try:
            queue.get()
        except IncompleteStreamError as error:
            raised.append(error)

    with _thread(threading.Thread(target=consume)):
        queue.leave()
    assert len(raised) == 1


def test_whole_stream_does_not_look_whole_to_a_consumer_that_was_given_up_before_its_end() -> None:
    pool = BufferPool(4096, 2)
    queue = ChunkQueue()
    for sequence in range(2):
        chunk = _chunk(pool, sequence)
        queue.put(chunk)
        chunk.release()
    queue.close()
    assert queue.get() is not None
    queue.leave()  # the second chunk is released unseen
    with pytest.raises(IncompleteStreamError):
        queue.get()


@pytest.mark.parametrize("seed", range(5))
def test_every_buffer_comes_back_whenever_consumers_leave(seed: int) -> None:
    pool = BufferPool(64, 4)
    queues = [ChunkQueue() for _ in range(4)]
    leaves_after = [random.Random(seed * 10 + number).choice([0, 1, 50, 1000]) for number in range(4)]

    def consume(queue: ChunkQueue, most: int) -> None:
        taken = 0
        while taken < most and queue.get() is not None:
            taken += 1
        queue.leave()

    threads = [
        threading.Thread(target=consume, args=[queue, most]) for queue, most in zip(queues, leaves_after, strict=True)
    ]
    for thread in threads:
        thread.start()
    for sequence in range(200):
        chunk = _chunk(pool, sequence)
        assert pool.free_count < 4
        for queue in queues:
            queue.put(chunk)
        chunk.release()
    for queue in queues:
        queue.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert pool.free_count == 4
