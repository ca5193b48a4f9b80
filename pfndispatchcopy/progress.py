"""How far each destination is: counters, rates and the time that is left. Draws nothing."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from pfndispatchcopy.events import DestinationProgress, ProgressEvent
from pfndispatchcopy.model import Phase

__all__ = ["FileProgress", "ProgressTracker"]

# Rates are taken over this many seconds: long enough to ride over the bursts of a write cache,
# short enough that a disk that slows down is seen at once.
_RATE_WINDOW_S = 5.0


class _Counter:
    """One phase of one destination: bytes done, and samples of it for the rate."""

    __slots__ = ("_samples", "bytes_done", "typical_rate")

    def __init__(self) -> None:
        self.bytes_done = 0
        self.typical_rate = 0.0  # the last rate seen while it moved: what to expect when it moves again
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float) -> None:
        samples = self._samples
        samples.append((now, self.bytes_done))
        while len(samples) > 2 and now - samples[1][0] >= _RATE_WINDOW_S:
            samples.popleft()
        self.typical_rate = self.rate() or self.typical_rate

    def rate(self) -> float:
        """Bytes a second over the window; 0 while there is nothing to measure."""
        if len(self._samples) < 2:
            return 0.0
        (first_time, first_bytes), (last_time, last_bytes) = self._samples[0], self._samples[-1]
        return (last_bytes - first_bytes) / (last_time - first_time) if last_time > first_time else 0.0


class _Lane:
    """One destination."""

    __slots__ = ("alive", "counters", "name", "phase", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.phase = Phase.COPY
        self.state = "copying"
        self.counters = {Phase.COPY: _Counter(), Phase.VERIFY: _Counter()}


class ProgressTracker:
    """Lock-guarded progress of several destinations; knows the slowest that is still alive.

    Args:
        destinations: their names, in order; the methods take the index.
        bytes_total: size of the source in bytes; None when only its end will tell.
        verify: whether every destination will be read back, which the time left has to count.
        overlaps: whether files are read back while others are still copied.
        clock: seconds that never go backwards.
    """

    def __init__(
        self,
        destinations: Sequence[str],
        bytes_total: int | None = None,
        *,
        verify: bool = False,
        overlaps: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = [_Lane(name) for name in destinations]
        self._bytes_total = bytes_total
        self._verify = verify
        self._overlaps = overlaps
        self._clock = clock
        self._lock = threading.Lock()

    def advance(self, index: int, count: int, phase: Phase = Phase.COPY) -> None:
        """Count *count* more bytes of *phase* for one destination."""
        with self._lock:
            self._lanes[index].counters[phase].bytes_done += count

    def enter(self, index: int, state: str, phase: Phase = Phase.COPY) -> None:
        """Say in a word what a destination is doing, and which phase that belongs to."""
        with self._lock:
            lane = self._lanes[index]
            lane.state, lane.phase = state, phase

    def begin_again(self, index: int) -> None:
        """A destination starts from nothing once more."""
        with self._lock:
            self._lanes[index] = _Lane(self._lanes[index].name)

    def leave(self, index: int, state: str, *, failed: bool = False) -> None:
        """A destination is done. One that failed no longer counts for the minimum."""
        with self._lock:
            lane = self._lanes[index]
            lane.state = state
            lane.alive = not failed
            if not failed and self._bytes_total is not None:
                for counter in lane.counters.values():
                    counter.bytes_done = self._bytes_total

    def set_total(self, bytes_total: int) -> None:
        """The size has become known: the stream came to its end."""
        with self._lock:
            self._bytes_total = bytes_total

    def bytes_done(self, index: int, phase: Phase = Phase.COPY) -> int:
        """Bytes of *phase* that one destination has done."""
        with self._lock:
            return self._lanes[index].counters[phase].bytes_done

    def minimum(self, phase: Phase = Phase.COPY) -> int:
        """Bytes that every destination still alive has done; 0 when none is alive."""
        with self._lock:
            return self._minimum(phase)

    def _minimum(self, phase: Phase) -> int:
        return min((lane.counters[phase].bytes_done for lane in self._lanes if lane.alive), default=0)

    def snapshot(self) -> ProgressEvent:
        """Take a sample for the rates and return where things stand now."""
        with self._lock:
            now = self._clock()
            for lane in self._lanes:
                for phase, counter in lane.counters.items():
                    if self._overlaps or phase is lane.phase:
                        counter.sample(now)
            phase = self._phase()
            alive = [lane for lane in self._lanes if lane.alive]
            etas = [self._eta_s(lane) for lane in alive]
            known = [eta for eta in etas if eta is not None]
            return ProgressEvent(
                phase=phase,
                bytes_done=self._minimum(phase),
                bytes_total=self._bytes_total,
                rate=min((lane.counters[phase].rate() for lane in alive), default=0.0),
                eta_s=max(known) if known and len(known) == len(etas) else None,
                destinations=tuple(
                    DestinationProgress(
                        path=lane.name,
                        bytes_done=lane.counters[phase].bytes_done,
                        rate=lane.counters[lane.phase].rate(),
                        state=lane.state,
                    )
                    for lane in self._lanes
                ),
            )

    def _phase(self) -> Phase:
        if self._overlaps:
            is_copied = self._bytes_total is not None and self._minimum(Phase.COPY) >= self._bytes_total
            return Phase.VERIFY if is_copied and self._verify else Phase.COPY
        phases = {lane.phase for lane in self._lanes if lane.alive}
        return Phase.VERIFY if phases == {Phase.VERIFY} else Phase.COPY

    def _eta_s(self, lane: _Lane) -> float | None:
        """Seconds until this destination is done: what is left to copy, and to read back."""
        if self._bytes_total is None:
            return None
        copy, verify = lane.counters[Phase.COPY], lane.counters[Phase.VERIFY]
        copy_left = self._bytes_total - copy.bytes_done
        verify_left = self._bytes_total - verify.bytes_done if self._verify else 0
        # Until the reading back has begun, its best guess is the speed that the disk writes at.
        verify_rate = verify.typical_rate or copy.typical_rate
        parts: list[float] = []
        for left, rate in ((copy_left, copy.typical_rate), (verify_left, verify_rate)):
            if left <= 0:
                continue
            if rate <= 0:
                return None
            parts.append(left / rate)
        return max(parts, default=0.0) if self._overlaps else sum(parts)


class FileProgress(ProgressTracker):
    """Progress of one file of a tree: all that it does counts for the tree as well.

    Args:
        whole: the progress of the tree; None where nobody asks for it.
        numbers: the destinations that the file goes to, by their place in the tree's.
        size: of the file, in bytes.
        verify: whether it will be read back.
    """

    def __init__(self, whole: ProgressTracker | None, numbers: Sequence[int], size: int, *, verify: bool) -> None:
        super().__init__([""] * (max(numbers, default=0) + 1), size, verify=verify)
        self._whole = whole
        self._size = size

    def advance(self, index: int, count: int, phase: Phase = Phase.COPY) -> None:
        """Count bytes here and for the tree."""
        super().advance(index, count, phase)
        if self._whole is not None:
            self._whole.advance(index, count, phase)

    def enter(self, index: int, state: str, phase: Phase = Phase.COPY) -> None:
        """Say what a destination is doing, here and for the tree."""
        super().enter(index, state, phase)
        if self._whole is not None:
            self._whole.enter(index, state)

    def begin_again(self, index: int) -> None:
        """A destination starts this file from nothing once more."""
        if self._whole is not None:
            for phase in Phase:
                self._whole.advance(index, -self.bytes_done(index, phase), phase)
        super().begin_again(index)

    def leave(self, index: int, state: str, *, failed: bool = False) -> None:
        """The file is done there: whatever it did not do, because it had not to or could not, is over as well."""
        if self._whole is not None:
            for phase in Phase:
                self._whole.advance(index, self._size - self.bytes_done(index, phase), phase)
            self._whole.enter(index, "copying")
        super().leave(index, state, failed=failed)
