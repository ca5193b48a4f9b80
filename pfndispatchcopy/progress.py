"""How far each destination is: counters, rates and the time that is left. Draws nothing."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from pfndispatchcopy.events import DestinationProgress, ProgressEvent
from pfndispatchcopy.model import Phase

__all__ = ["FileProgress", "ProgressTracker"]

# Rates are taken over this many seconds: long enough to ride over the bursts of a write cache,
# short enough that a disk that slows down is seen at once.
_RATE_WINDOW_S = 5.0
# What is left is done at the pace of this part of the time so far: flushes, stalls and the turns of large and small
# files are in it, and a disk that has become slower is believed soon.
_PACE_PART = 0.5
_LEAST_PACE_S = 5.0
_POINTS_OF_A_PACE = 64
# A pace is known after so long, and a standstill makes no less of it than this part of what it was over all.
_KNOWN_AFTER_S = 0.5
_LEAST_PART_OF_ALL = 0.125
# Time to read a byte back in terms of the time to copy it, until that was seen. Most media read as quickly as they are
# written, or up to twice so: with this, the end is foreseen within a fifth of the whole time for both.
_GUESSED_VERIFY_COST = 0.7
# Making, flushing and naming a file costs as much as so many bytes besides its own (benchmarks/exp_file_cost.py).
_BYTES_OF_A_FILE = 100_000
# So many of the largest files are looked at one by one.
_LUMPS = 16
_LEAST_LUMP = 4 << 20


class _Lump(NamedTuple):
    """A large file: it can be read back only when all of it was copied.

    Attributes:
        before: effort of all files before it.
        effort: of it.
    """

    before: int
    effort: int


class _Point(NamedTuple):
    """Where a destination stood: effort that was worked off."""

    time: float
    copied: int
    verified: int


class _Counter:
    """One phase of one destination: bytes and files done, and samples of it for the rate.

    Attributes:
        bytes_done: so far.
        files_done: so far, where files are counted.
        unworked: effort of what is over without having been done.
        streamed: bytes that were counted while they were done, not when they were over.
    """

    __slots__ = ("_looked_at", "_moving_s", "_samples", "bytes_done", "files_done", "streamed", "unworked")

    def __init__(self) -> None:
        self.bytes_done = 0
        self.files_done = 0
        self.unworked = 0
        self.streamed = 0
        self._samples: deque[tuple[float, int]] = deque()
        self._looked_at: tuple[float, int] | None = None
        self._moving_s = 0.0

    @property
    def effort(self) -> int:
        """Bytes done, and what their files cost besides."""
        return self.bytes_done + _BYTES_OF_A_FILE * self.files_done

    def sample(self, now: float) -> None:
        samples = self._samples
        samples.append((now, self.bytes_done))
        while len(samples) > 2 and now - samples[1][0] >= _RATE_WINDOW_S:
            samples.popleft()

    def rate(self) -> float:
        """Bytes a second over the window; 0 while there is nothing to measure."""
        if len(self._samples) < 2:
            return 0.0
        (first_time, first_bytes), (last_time, last_bytes) = self._samples[0], self._samples[-1]
        return (last_bytes - first_bytes) / (last_time - first_time) if last_time > first_time else 0.0

    def watch_streaming(self, now: float) -> None:
        """Take the time in which bytes moved."""
        if self._looked_at is not None and self.streamed > self._looked_at[1]:
            self._moving_s += now - self._looked_at[0]
        self._looked_at = (now, self.streamed)

    def moving_rate(self) -> float | None:
        """Bytes a second while they moved; None while nobody can tell."""
        return self.streamed / self._moving_s if self._moving_s >= _KNOWN_AFTER_S else None


class _Lane:
    """One destination."""

    __slots__ = ("_points", "alive", "counters", "name", "phase", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.phase = Phase.COPY
        self.state = "copying"
        self.counters = {Phase.COPY: _Counter(), Phase.VERIFY: _Counter()}
        self._points: list[_Point] = []

    @property
    def copied(self) -> int:
        """Effort of the copying so far."""
        return self.counters[Phase.COPY].effort

    @property
    def verified(self) -> int:
        """Effort of the reading back so far."""
        return self.counters[Phase.VERIFY].effort

    def look(self, now: float) -> None:
        """Remember where it stands."""
        for counter in self.counters.values():
            counter.watch_streaming(now)
        copy, verify = self.counters[Phase.COPY], self.counters[Phase.VERIFY]
        point = _Point(now, copy.effort - copy.unworked, verify.effort - verify.unworked)
        points = self._points
        if not points or (len(points) == 1 and point[1:] == points[0][1:]):
            self._points = [point]  # it has not begun
            return
        if now - points[-1].time >= max(_LEAST_PACE_S, now - points[0].time) / _POINTS_OF_A_PACE:
            points.append(point)
        if len(points) > 2 * _POINTS_OF_A_PACE:
            self._points = points[::2]  # the first one stays

    def verify_cost(self) -> float:
        """Time to read a byte back, in terms of the time to copy it."""
        copy_rate, verify_rate = (self.counters[phase].moving_rate() for phase in (Phase.COPY, Phase.VERIFY))
        return copy_rate / verify_rate if copy_rate and verify_rate else _GUESSED_VERIFY_COST

    def paces(self, now: float, left_at: Callable[[int, int], float]) -> tuple[float, float] | None:
        """What is done in a second, standstills included: over all, and over the later part of the time so far.

        Args:
            now: time.
            left_at: what is left when so much is copied and so much read back.
        """
        if not self._points:
            return None
        copy_unworked, verify_unworked = (self.counters[phase].unworked for phase in (Phase.COPY, Phase.VERIFY))
        left_now = left_at(self.copied, self.verified)

        def pace_since(point: _Point) -> float:
            left_then = left_at(point.copied + copy_unworked, point.verified + verify_unworked)
            return (left_then - left_now) / (now - point.time)

        first = self._points[0]
        if now - first.time < _KNOWN_AFTER_S or (over_all := pace_since(first)) <= 0:
            return None
        window = max(_LEAST_PACE_S, _PACE_PART * (now - first.time))
        begin = max((point for point in self._points if point.time <= now - window), default=first)
        return over_all, pace_since(begin)


class ProgressTracker:
    """Lock-guarded progress of several destinations; knows the slowest that is still alive.

    Args:
        destinations: their names, in order; the methods take the index.
        bytes_total: size of the source in bytes; None when only its end will tell.
        verify: whether every destination will be read back, which the time left has to count.
        sizes: of the files in their order, where there are many.
        at_once: how many of them may be in flight; with more than one, some are read back while others are copied.
        clock: seconds that never go backwards.
    """

    def __init__(
        self,
        destinations: Sequence[str],
        bytes_total: int | None = None,
        *,
        verify: bool = False,
        sizes: Iterable[int] | None = None,
        at_once: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = [_Lane(name) for name in destinations]
        self._bytes_total = bytes_total
        self._verify = verify
        self._is_tree = sizes is not None
        self._overlaps = at_once > 1
        self._files_total = 0
        self._lumps: list[_Lump] = []
        if sizes is not None:
            self._lumps = heapq.nlargest(_LUMPS, self._large_files(sizes), key=lambda lump: lump.effort)
        self._clock = clock
        self._lock = threading.Lock()

    def _large_files(self, sizes: Iterable[int]) -> Iterator[_Lump]:
        """Count the files, and yield the large ones."""
        before = 0
        for size in sizes:
            effort = size + _BYTES_OF_A_FILE
            if size >= _LEAST_LUMP:
                yield _Lump(before, effort)
            before += effort
            self._files_total += 1

    def advance(self, index: int, count: int, phase: Phase = Phase.COPY, *, files: int = 0) -> None:
        """Count *count* more bytes of *phase* for one destination, and *files* that are finished."""
        with self._lock:
            counter = self._lanes[index].counters[phase]
            counter.bytes_done += count
            counter.files_done += files
            if not files:
                counter.streamed += count

    def pass_over(self, index: int, count: int, phase: Phase, *, files: int = 0) -> None:
        """Count what is over without having been done, which says nothing of the speed."""
        with self._lock:
            counter = self._lanes[index].counters[phase]
            before = counter.effort
            counter.bytes_done += count
            counter.files_done += files
            counter.unworked += counter.effort - before

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
                    if self._is_tree or phase is lane.phase:
                        counter.sample(now)
                lane.look(now)
            phase = self._phase()
            alive = [lane for lane in self._lanes if lane.alive]
            return ProgressEvent(
                phase=phase,
                bytes_done=self._minimum(phase),
                bytes_total=self._bytes_total,
                rate=min((lane.counters[phase].rate() for lane in alive), default=0.0),
                eta_s=self._eta_s(alive, now),
                destinations=tuple(
                    DestinationProgress(
                        path=lane.name,
                        bytes_done=lane.counters[phase].bytes_done,
                        rate=lane.counters[lane.phase].rate(),
                        state=lane.state,
                        bytes_verified=lane.counters[Phase.VERIFY].bytes_done,
                    )
                    for lane in self._lanes
                ),
            )

    def _phase(self) -> Phase:
        if self._is_tree:
            is_copied = self._bytes_total is not None and self._minimum(Phase.COPY) >= self._bytes_total
            return Phase.VERIFY if is_copied and self._verify else Phase.COPY
        phases = {lane.phase for lane in self._lanes if lane.alive}
        return Phase.VERIFY if phases == {Phase.VERIFY} else Phase.COPY

    def _eta_s(self, alive: Sequence[_Lane], now: float) -> float | None:
        """Seconds until all that live are done: what is left to copy, and to read back."""
        if self._bytes_total is None or not alive:
            return None
        total = self._bytes_total + _BYTES_OF_A_FILE * self._files_total
        longest, eta = -1.0, 0.0
        for lane in alive:
            left_at = partial(self._left, total, lane.verify_cost() if self._verify else 0.0)
            left = left_at(lane.copied, lane.verified)
            if left <= 0:
                continue
            paces = lane.paces(now, left_at)
            if paces is None:
                return None
            over_all, of_late = paces
            # Only the slowest counts: one that waits for it seems to be slow when it stands still.
            at_its_own = left / (lane.counters[Phase.COPY].moving_rate() or over_all)
            if at_its_own > longest:
                longest, eta = at_its_own, left / max(of_late, _LEAST_PART_OF_ALL * over_all)
        return eta

    def _left(self, total: int, verify_cost: float, copied: int, verified: int) -> float:
        """What is left, in terms of bytes that are copied.

        Where files overlap, each is copied and read back as soon as it can be. So for every file, all up to it have
        to be copied first, and all from it on read back afterwards: the worst of them tells.
        """
        to_copy, to_verify = max(0, total - copied), max(0, total - verified)
        if not self._overlaps:
            return to_copy + to_verify * verify_cost
        return max(
            to_copy,
            to_verify * verify_cost,
            *(
                max(0, lump.before + lump.effort - copied) + min(to_verify, total - lump.before) * verify_cost
                for lump in self._lumps
            ),
        )


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

    def advance(self, index: int, count: int, phase: Phase = Phase.COPY, *, files: int = 0) -> None:
        """Count bytes here and for the tree."""
        super().advance(index, count, phase, files=files)
        if self._whole is not None:
            self._whole.advance(index, count, phase, files=files)

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
                self._whole.pass_over(index, self._size - self.bytes_done(index, phase), phase)
                self._whole.advance(index, 0, phase, files=1)
            self._whole.enter(index, "copying")
        super().leave(index, state, failed=failed)
