"""The threads of a run, and what they work with: kept from the first look until the end."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pfndispatchcopy.engine.chunks import BufferPool
from pfndispatchcopy.engine.lanes import Lane, Supervisor
from pfndispatchcopy.engine.source import BandwidthLimit
from pfndispatchcopy.hashing import ALGORITHMS, HashCalculator

__all__ = ["ChunkSizes", "Crew", "Digests"]


class ChunkSizes(NamedTuple):
    """How memory for data is used; together the stated bound.

    Attributes:
        chunk: bytes of one chunk.
        buffers: chunks that exist at once.
        read_back: bytes that each destination reads back at a time.
    """

    chunk: int
    buffers: int
    read_back: int


class Crew:
    """One lane for the source, for each destination and for each slow digest, and who watches over them."""

    def __init__(
        self, supervisor: Supervisor, source_lane: Lane, lanes: Sequence[Lane], digest_lanes: Sequence[Lane] = ()
    ) -> None:
        self.supervisor = supervisor
        self.source_lane = source_lane
        self.lanes = lanes
        self.digest_lanes = digest_lanes
        self._pool: BufferPool | None = None

    def drop_pool(self) -> None:
        """Give the memory of the buffers back."""
        self._pool = None

    def pool(self, sizes: ChunkSizes) -> BufferPool:
        """The buffers for the chunks: those of the file before, where they fit and all have come back."""
        pool = self._pool
        if pool is None or (pool.chunk_size, pool.count, pool.free_count) != (sizes.chunk, sizes.buffers, pool.count):
            self._pool = None  # before there are two of them
            pool = self._pool = BufferPool(sizes.chunk, sizes.buffers)
        return pool


class Digests(NamedTuple):
    """Which digests are taken of the source, and how they are shared out.

    Attributes:
        asked: canonical names, in the order asked for.
        comparison: the one that copies are compared by.
    """

    asked: tuple[str, ...]
    comparison: str

    @property
    def fast(self) -> tuple[str, ...]:
        """Those that are taken where the bytes are read."""
        fast = [name for name in self.asked if ALGORITHMS[name].is_fast]
        return tuple(dict.fromkeys([*fast, self.comparison]))

    @property
    def slow(self) -> tuple[str, ...]:
        """Those that get a thread each."""
        return tuple(name for name in self.asked if not ALGORITHMS[name].is_fast)

    def in_order(self, calculators: Sequence[HashCalculator]) -> dict[str, str]:
        """Collect what was asked for, in the order asked for."""
        found: dict[str, str] = {}
        for calculator in calculators:
            found.update(calculator.hexdigests())
        return {name: found[name] for name in self.asked}


class Reading(NamedTuple):
    """How the source is to be read.

    Attributes:
        sizes: of chunks and buffers.
        digests: to take.
        expect_size: bytes that a stream has to have, or None.
        limit: keeps the reading slow where that is wished.
        proves_source: whether it is read a second time.
        on_read: called when the source was read to its end, or failed, while the copies are still to be
            made durable: the next source may be read meanwhile.
    """

    sizes: ChunkSizes
    digests: Digests
    expect_size: int | None
    limit: BandwidthLimit
    proves_source: bool
    on_read: Callable[[], None] = lambda: None
