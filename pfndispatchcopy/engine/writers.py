"""The writer of one destination: takes chunks from its queue, in a thread of its own."""

import threading

from pfndispatchcopy.engine.chunks import ChunkData, ChunkQueue
from pfndispatchcopy.engine.destination import DestinationCopy
from pfndispatchcopy.engine.source import SourceOutcome
from pfndispatchcopy.hashing import HashCalculator

__all__ = ["DigestWriter", "ParallelWriter"]


class ParallelWriter:
    """One destination's end of the fan-out: a bounded queue, and what its lane runs.

    A failure is captured in the destination's result. The writer then releases its chunks and leaves:
    the reader and the other writers do not notice.

    Args:
        copy: the steps of this destination.
        outcome: how reading the source ended.
    """

    def __init__(self, copy: DestinationCopy, outcome: SourceOutcome) -> None:
        self.copy = copy
        self.queue = ChunkQueue()
        self._outcome = outcome

    def put(self, chunk: ChunkData) -> bool:
        """Hand over a chunk; never blocks. Returns False when this writer has gone."""
        return self.queue.put(chunk)

    def close(self, cause: BaseException | None = None) -> None:
        """No more chunks; *cause* says why the stream is not whole."""
        self.queue.close(cause)

    def run(self, *, is_second_pass: bool = False) -> None:
        """Do everything for this destination, from the first look to the final name."""
        copy = self.copy
        try:
            with copy.capturing():
                copy.begin(is_known_to_differ=is_second_pass)
                if copy.wants_bytes:
                    while (chunk := self.queue.get()) is not None:
                        copy.write(chunk.data)
                    copy.finish(self._outcome.wait_read(), self._outcome)
                elif not copy.is_settled:
                    self.queue.leave()
                    copy.compare()
                    copy.judge(self._outcome.wait_read(), self._outcome)
        finally:
            self.queue.leave()
            copy.tidy()

    def give_up(self, error: BaseException) -> None:
        """The lane hangs in the kernel: release what it holds, and settle its destination from outside."""
        self.queue.leave()
        self.copy.give_up(error)


class DigestWriter:
    """A slow digest as one more consumer of the chunks, so that it does not hold the reader back."""

    def __init__(self, name: str) -> None:
        self.queue = ChunkQueue()
        self.calculator = HashCalculator([name])
        self._error: BaseException | None = None
        self._has_ended = threading.Event()

    def run(self) -> None:
        """Take all chunks."""
        try:
            while (chunk := self.queue.get()) is not None:
                self.calculator.update(chunk.data)
        except BaseException as error:  # noqa: BLE001 - told to who waits for the digest
            self._error = error
        finally:
            self.queue.leave()
            self._has_ended.set()

    def wait(self) -> None:
        """Wait until the digest has seen the whole stream.

        Raises:
            BaseException: it has not; what it holds is the digest of something else.
        """
        self._has_ended.wait()
        if self._error is not None:
            raise self._error
