"""The parallel path: a reader thread, and for every destination a bounded queue and a writer thread."""

import threading
from collections.abc import Sequence
from functools import partial

from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.crew import Crew, Reading
from pfndispatchcopy.engine.destination import DestinationCopy
from pfndispatchcopy.engine.lanes import Task
from pfndispatchcopy.engine.reader import fan_out
from pfndispatchcopy.engine.source import SourceFile, SourceOutcome
from pfndispatchcopy.engine.writers import DigestWriter, ParallelWriter
from pfndispatchcopy.hashing import HashCalculator

__all__ = ["copy_parallel"]


def copy_parallel(
    source: SourceFile,
    copies: Sequence[DestinationCopy],
    crew: Crew,
    reading: Reading,
    cancel: threading.Event,
    *,
    is_second_pass: bool = False,
) -> dict[str, str]:
    """Copy one source to all *copies* at once; afterwards each of them is settled or wants a second pass.

    Args:
        source: open, at its beginning.
        copies: the destinations that take part.
        crew: its lanes do the work.
        reading: how the source is read.
        cancel: set from anywhere to stop at the next chunk.
        is_second_pass: the files that are there were compared already and are to be replaced.

    Returns:
        The digests asked for, in that order.

    Raises:
        SourceFailureError: the source failed; every destination that waited for it is settled.
        OperationCancelledError: *cancel* was set; likewise.
    """
    sizes, digests = reading.sizes, reading.digests
    outcome = SourceOutcome()
    calculator = HashCalculator(digests.fast)
    writers = [ParallelWriter(copy, outcome) for copy in copies]
    slow = [DigestWriter(name) for name in digests.slow]
    queues = [*(writer.queue for writer in writers), *(each.queue for each in slow)]
    pool = crew.pool(sizes)

    def read() -> None:
        try:
            try:
                fan_out(
                    source,
                    pool,
                    queues,
                    calculator,
                    digests.comparison,
                    outcome,
                    expect_size=reading.expect_size,
                    limit=reading.limit,
                    cancel=cancel,
                    is_wanted=lambda: any(not copy.is_settled for copy in copies),
                )
            finally:
                reading.on_read()
            if reading.proves_source and not source.is_stream:
                source.prove(outcome.wait_read(), digests.comparison, page_aligned_buffer(sizes.read_back))
            for each in slow:
                each.wait()
            outcome.set_proven()
        except BaseException as error:
            cause = source.failure(error)
            outcome.fail(cause)
            raise cause from error

    supervisor = crew.supervisor
    tasks: dict[Task, ParallelWriter] = {
        crew.lanes[writer.copy.target.number].submit(
            partial(writer.run, is_second_pass=is_second_pass), writer.copy.watch
        ): writer
        for writer in writers
    }
    hashing = [lane.submit(each.run) for lane, each in zip(crew.digest_lanes, slow, strict=True)]
    reader_task = crew.source_lane.submit(read, source.watch)

    def on_stall(task: Task) -> None:
        assert task.error is not None
        if task in tasks:
            tasks[task].give_up(task.error)
            return
        cause = source.failure(task.error)
        task.error = cause
        outcome.fail(cause)
        for queue in queues:
            queue.close(cause)

    supervisor.wait([*tasks, *hashing, reader_task], on_stall)
    if reader_task.error is not None:
        raise reader_task.error
    return digests.in_order([calculator, *(each.calculator for each in slow)])
