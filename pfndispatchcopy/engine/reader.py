"""Reading the source once and handing every chunk to all consumers."""

import threading
from collections.abc import Callable, Sequence

from pfndispatchcopy.engine.chunks import BufferPool, ChunkQueue
from pfndispatchcopy.engine.source import BandwidthLimit, SourceEnd, SourceFile, SourceOutcome
from pfndispatchcopy.errors import IncompleteStreamError, OperationCancelledError
from pfndispatchcopy.hashing import HashCalculator

__all__ = ["fan_out", "require_size"]

# How often a reader that waits for a buffer looks whether it was cancelled.
_CANCEL_POLL_S = 0.1


def fan_out(
    source: SourceFile,
    pool: BufferPool,
    queues: Sequence[ChunkQueue],
    calculator: HashCalculator,
    comparison: str,
    outcome: SourceOutcome,
    *,
    expect_size: int | None,
    limit: BandwidthLimit,
    cancel: threading.Event,
    is_wanted: Callable[[], bool],
) -> None:
    """Read the source to its end; every chunk goes to all queues and into the fast digests.

    The queues are closed in any case: with no cause when the source was read whole and unchanged, and
    otherwise with what went wrong. A chunk is handed on when its digest was taken: memory that changes later is found
    by every destination that has written it, and the writers have the chunk before to work at meanwhile.

    Args:
        source: open, at its beginning.
        pool: where chunks live; waiting for one of its buffers is the back-pressure.
        queues: one for each consumer.
        calculator: the fast digests.
        comparison: the name of the one that copies are compared by.
        outcome: told of the end.
        expect_size: bytes that a stream has to have, or None.
        limit: keeps the reading slow where that is wished.
        cancel: ends the reading at the next chunk.
        is_wanted: whether any destination is left that waits for the source.

    Raises:
        SourceFailureError: what went wrong, after the queues were closed with it.
        OperationCancelledError: *cancel* was set, or nobody wants the source any more.
    """
    cause: BaseException | None = IncompleteStreamError("reading ended before the source did")
    try:
        sequence = 0
        while True:
            if cancel.is_set():
                raise OperationCancelledError("cancelled")
            if not is_wanted():
                raise OperationCancelledError("no destination is left that waits for the source")
            buffer = pool.acquire(_CANCEL_POLL_S)
            if buffer is None:
                continue
            length = source.fill(buffer)
            if length == 0:
                pool.give_back(buffer)
                break
            chunk = pool.chunk(sequence, buffer, length)
            sequence += 1
            calculator.update(chunk.data)
            for queue in queues:
                queue.put(chunk)
            chunk.release()
            if expect_size is not None and source.position > expect_size:
                break
            limit.pace(length)
        require_size(source, expect_size)
        source.require_unchanged()
        outcome.set_read(SourceEnd(source.position, calculator.hexdigests()[comparison]))
        cause = None
    except BaseException as error:
        cause = source.failure(error)
        raise cause from error
    finally:
        if cause is not None:
            outcome.fail(cause)
        for queue in queues:
            queue.close(cause)


def require_size(source: SourceFile, expect_size: int | None) -> None:
    """Make sure that the source had the size that was announced.

    Raises:
        IncompleteStreamError: it had another one.
    """
    if expect_size is not None and source.position != expect_size:
        more = "at least " if source.position > expect_size else ""
        raise IncompleteStreamError(f"{expect_size} bytes were expected, the source has {more}{source.position}")
