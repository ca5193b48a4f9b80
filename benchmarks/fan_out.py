"""Many destinations against one, by this program alone: time for each byte of a destination, and memory."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from benchmarks.contest import Entrant, enter, place_for
from benchmarks.machine import temporary_folder
from benchmarks.peers import Work
from benchmarks.subjects import Subject
from benchmarks.timing import Ratio, Samples, interleave, ratio_of

__all__ = ["FanOutMemory", "FanOutTime", "measure_memory", "measure_time"]


class FanOutTime(NamedTuple):
    """Seconds by number of destinations."""

    subject: Subject
    file_system: str
    seconds: Samples

    @property
    def ratio(self) -> Ratio:
        """Time for each byte that many destinations get, in terms of what it takes to one."""
        one, many = self.seconds
        return ratio_of([each / int(many) for each in self.seconds[many]], self.seconds[one])

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            **self.subject.facts(),
            "file_system": self.file_system,
            "seconds": self.seconds,
            "time_per_destination_byte": self.ratio._asdict(),
        }


class FanOutMemory(NamedTuple):
    """Peaks by number of destinations, in bytes, and what was counted."""

    subject: Subject
    peaks: Mapping[int, Sequence[int]]
    meaning: str

    @property
    def more_bytes(self) -> int:
        """What many destinations take beyond one; medians."""
        one, many = self.peaks
        return int(median(self.peaks[many]) - median(self.peaks[one]))

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            **self.subject.facts(),
            "peak_bytes": self.peaks,
            "meaning": self.meaning,
            "more_bytes": self.more_bytes,
        }


def measure_time(subject: Subject, many: int, rounds: int, budget_s: float | None) -> FanOutTime:
    """Copy to one destination and to *many*, in memory, without verification.

    Raises:
        NoRoomError: it does not fit.
    """
    with ExitStack() as stack:
        entrants = _entrants(subject, (1, many), stack)
        samples = interleave(
            {str(count): partial(entrant.seconds) for count, entrant in entrants.items()}, rounds, budget_s=budget_s
        )
    return FanOutTime(subject, entrants[1].place.filesystem, samples)


def measure_memory(subject: Subject, many: int, rounds: int) -> FanOutMemory:
    """The same for the peak of memory.

    Raises:
        NoRoomError: it does not fit.
    """
    with ExitStack() as stack:
        entrants = _entrants(subject, (1, many), stack)
        found = {count: [entrant.peak_memory() for _ in range(rounds)] for count, entrant in entrants.items()}
    peaks = {count: [each.size_bytes for each in several] for count, several in found.items()}
    return FanOutMemory(subject, peaks, found[1][0].meaning)


def _entrants(subject: Subject, counts: Sequence[int], stack: ExitStack) -> dict[int, Entrant]:
    place = place_for("memory", subject.needed * (max(counts) + 1), prefers_memory=True)
    folder = stack.enter_context(temporary_folder(place))
    source = subject.make(folder)
    return {count: enter(source, Work.COPY, place, folder, count)[0][0] for count in counts}
