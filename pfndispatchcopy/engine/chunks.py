"""Chunks of the source, the pool of buffers that they live in, and the queues that they travel by.

The pool is what bounds memory: it is allocated once, a chunk is a view of one of its buffers, and a
buffer comes back when the last holder has released it. So no queue can ever hold more chunks than the
pool has buffers, and a reader that gets ahead of the slowest destination waits for a buffer.
"""

import mmap
import threading
from queue import Empty, SimpleQueue

from pfndispatchcopy.errors import IncompleteStreamError

__all__ = ["BufferPool", "ChunkData", "ChunkQueue", "page_aligned_buffer"]


def page_aligned_buffer(size: int) -> memoryview:
    """Allocate *size* bytes (at least one) of private memory that begins at a page."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return memoryview(mmap.mmap(-1, max(size, 1)))


class ChunkData:
    """One piece of the source: its place in the sequence, and a view of its bytes.

    Attributes:
        sequence: 0, 1, 2 … in the order of the source.
        data: the bytes, shared by all destinations; valid until the holder releases the chunk.
    """

    __slots__ = ("_buffer", "_holders", "_pool", "data", "sequence")

    def __init__(self, sequence: int, data: memoryview, pool: "BufferPool | None" = None) -> None:
        self.sequence = sequence
        self.data = data
        self._pool = pool
        self._buffer = data
        self._holders = 1

    def hold(self) -> None:
        """One holder more. Only who holds a chunk may pass it on."""
        if self._pool is not None:
            with self._pool.lock:
                self._holders += 1

    def release(self) -> None:
        """One holder less; the last one gives the buffer back to the pool."""
        pool = self._pool
        if pool is None:
            return
        with pool.lock:
            self._holders -= 1
            is_last = self._holders == 0
        if is_last:
            pool.give_back(self._buffer)


class BufferPool:
    """A fixed number of equal buffers, allocated once and used again and again.

    Args:
        chunk_size: bytes of one buffer.
        count: number of buffers.
    """

    def __init__(self, chunk_size: int, count: int) -> None:
        self.chunk_size = chunk_size
        self.count = count
        self.lock = threading.Lock()
        self._memory = page_aligned_buffer(chunk_size * count)
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for start in range(0, chunk_size * count, chunk_size):
            self._free.put(self._memory[start : start + chunk_size])

    def acquire(self, timeout_s: float) -> memoryview | None:
        """Take a free buffer, or None when there was none for *timeout_s* seconds."""
        try:
            return self._free.get(timeout=timeout_s)
        except Empty:
            return None

    def chunk(self, sequence: int, buffer: memoryview, length: int) -> ChunkData:
        """Make a chunk of the first *length* bytes of a buffer that was acquired; the caller holds it."""
        chunk = ChunkData(sequence, buffer[:length], self)
        chunk._buffer = buffer  # noqa: SLF001 - a chunk and its pool are one mechanism
        return chunk

    def give_back(self, buffer: memoryview) -> None:
        """A buffer that nobody holds any more."""
        self._free.put(buffer)

    @property
    def free_count(self) -> int:
        """Buffers that nobody holds at this moment."""
        return self._free.qsize()


class ChunkQueue:
    """The way of the chunks to one consumer; bounded by the pool that they come from.

    Putting never blocks: a consumer that has gone takes nothing, and what it had waiting is released.
    The end of the stream is :meth:`close`; its cause says whether the stream is whole.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[ChunkData | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_gone = False
        self._in_hand: ChunkData | None = None
        # Pessimistic: only reaching the end of the source clears it, so that no bug in a reader can
        # make a truncated stream look whole.
        self._cause: BaseException | None = IncompleteStreamError("the stream ended before the source did")
        self._is_closed = False

    def put(self, chunk: ChunkData) -> bool:
        """Pass a chunk on. Returns False when the consumer has gone."""
        with self._lock:
            if self._is_gone or self._is_closed:
                return False
            chunk.hold()
            self._queue.put(chunk)
            return True

    def close(self, cause: BaseException | None = None) -> None:
        """No more chunks. *cause* says why the stream ends before its end; the first call counts."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._cause = cause
            self._queue.put(None)

    def get(self) -> ChunkData | None:
        """Wait for the next chunk, after releasing the one before; None at the end of the whole stream.

        Raises:
            BaseException: the cause that the stream was closed with, when it is not whole.
        """
        self._release_in_hand()
        chunk = self._queue.get()
        if chunk is None:
            if self._is_gone:  # woken up by leave(): a clean end of the stream is none for who was given up
                raise IncompleteStreamError("given up while waiting for the next chunk")
            if self._cause is not None:
                raise self._cause
            return None
        with self._lock:
            self._in_hand = chunk
        if self._is_gone:
            self._release_in_hand()
            raise IncompleteStreamError("given up while waiting for the next chunk")
        return chunk

    def leave(self) -> None:
        """The consumer goes, or is given up from outside: everything that it holds is released."""
        with self._lock:
            if self._is_gone:
                return
            self._is_gone = True
        self._release_in_hand()
        while True:
            try:
                chunk = self._queue.get_nowait()
            except Empty:
                break
            if chunk is not None:
                chunk.release()
        self._queue.put(None)  # a consumer that still waits wakes up

    @property
    def is_gone(self) -> bool:
        """Whether the consumer has left."""
        return self._is_gone

    def _release_in_hand(self) -> None:
        with self._lock:
            chunk, self._in_hand = self._in_hand, None
        if chunk is not None:
            chunk.release()
