"""The single path: one loop and no hand-over between threads, where threads cannot pay."""

import threading
from collections.abc import Callable, Sequence

from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.crew import Crew, Reading
from pfndispatchcopy.engine.destination import DestinationCopy
from pfndispatchcopy.engine.reader import require_size
from pfndispatchcopy.engine.source import SourceEnd, SourceFile, SourceOutcome
from pfndispatchcopy.errors import OperationCancelledError
from pfndispatchcopy.hashing import HashCalculator

__all__ = ["copy_single"]


def copy_single(
    source: SourceFile,
    copies: Sequence[DestinationCopy],
    crew: Crew,
    reading: Reading,
    cancel: threading.Event,
    *,
    is_second_pass: bool = False,
    restart: Callable[[Sequence[DestinationCopy]], tuple[SourceFile, Sequence[DestinationCopy]]],
) -> dict[str, str]:
    """Copy one source to all *copies* in one loop; afterwards each is settled or wants a second pass.

    The loop runs in the source's lane, so that it can be given up: when one destination hangs, the others
    begin again without it.

    Args:
        source: open, at its beginning.
        copies: the destinations that take part.
        crew: its source lane does the work.
        reading: how the source is read.
        cancel: set from anywhere to stop at the next chunk.
        is_second_pass: the files that are there were compared already and are to be replaced.
        restart: opens the source anew and makes new copies for those given, to begin again.

    Returns:
        The digests asked for, in that order.

    Raises:
        SourceFailureError: the source failed; every destination that waited for it is settled.
        OperationCancelledError: *cancel* was set; likewise.
    """
    while True:
        calculator = HashCalculator((*reading.digests.fast, *reading.digests.slow))

        def loop(
            source: SourceFile = source,
            copies: Sequence[DestinationCopy] = copies,
            calculator: HashCalculator = calculator,
        ) -> None:
            _Loop(source, copies, calculator, reading, cancel).run(is_second_pass=is_second_pass)

        task = crew.source_lane.submit(loop, source.watch, *(copy.watch for copy in copies))
        crew.supervisor.wait([task])
        hung = task.hung_watch
        if hung is None:
            break
        error = task.error
        assert error is not None
        if hung is source.watch or isinstance(error, OperationCancelledError):
            cause = source.failure(error)
            for copy in copies:
                copy.give_up(cause)
            raise cause
        for copy in copies:
            if copy.watch is hung:
                copy.give_up(error)
        crew.source_lane.submit(source.close)  # when it comes back
        crew.source_lane = crew.supervisor.lane("pfn-source")
        unsettled = [copy for copy in copies if not copy.is_settled]
        if not unsettled:
            return {}
        source, copies = restart(unsettled)
    if task.error is not None:
        raise task.error
    return reading.digests.in_order([calculator])


class _Loop:
    """One go through the source."""

    def __init__(
        self,
        source: SourceFile,
        copies: Sequence[DestinationCopy],
        calculator: HashCalculator,
        reading: Reading,
        cancel: threading.Event,
    ) -> None:
        self._source = source
        self._copies = copies
        self._calculator = calculator
        self._reading = reading
        self._cancel = cancel

    def run(self, *, is_second_pass: bool) -> None:
        try:
            self._run(is_second_pass=is_second_pass)
        finally:
            for copy in self._copies:
                copy.tidy()

    def _run(self, *, is_second_pass: bool) -> None:
        for copy in self._copies:
            if not copy.is_settled:  # the others are looked after elsewhere, since this thread hung
                with copy.capturing():
                    copy.begin(is_known_to_differ=is_second_pass)
        try:
            try:
                end = self._read_and_write()
            finally:
                self._reading.on_read()
            outcome = SourceOutcome()
            outcome.set_read(end)
            if self._reading.proves_source and not self._source.is_stream:
                buffer = page_aligned_buffer(self._reading.sizes.read_back)
                self._source.prove(end, self._reading.digests.comparison, buffer)
            outcome.set_proven()
        except BaseException as error:
            cause = self._source.failure(error)
            for copy in self._copies:
                copy.fail(cause)
            raise cause from error
        self._finish(end, outcome)

    def _read_and_write(self) -> SourceEnd:
        source, reading = self._source, self._reading
        buffer = page_aligned_buffer(reading.sizes.chunk)
        while True:
            self._require_going_on()
            length = source.fill(buffer)
            if length == 0:
                break
            data = buffer[:length]
            # Before the writing: what changes the buffer meanwhile is no part of the digest, and is found.
            self._calculator.update(data)
            for copy in self._copies:
                if copy.wants_bytes and not copy.is_settled:
                    with copy.capturing():
                        copy.write(data)
            if reading.expect_size is not None and source.position > reading.expect_size:
                break
            reading.limit.pace(length)
        require_size(source, reading.expect_size)
        source.require_unchanged()
        return SourceEnd(source.position, self._calculator.hexdigests()[reading.digests.comparison])

    def _require_going_on(self) -> None:
        if self._cancel.is_set():
            raise OperationCancelledError("cancelled")
        if all(copy.is_settled for copy in self._copies):
            raise OperationCancelledError("no destination is left that waits for the source")

    def _finish(self, end: SourceEnd, outcome: SourceOutcome) -> None:
        for copy in self._copies:
            if not copy.is_settled:
                with copy.capturing():
                    copy.start_write_back()
        for copy in self._copies:
            if copy.is_settled:
                continue
            with copy.capturing():
                if copy.wants_bytes:
                    copy.finish(end, outcome)
                else:
                    copy.compare()
                    copy.judge(end, outcome)
