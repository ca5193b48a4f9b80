"""The parallel path against the single one, in this process, which is warm: the engine without the start of a command.

On memory and without verification, which leaves threads the least to gain.
"""

import os
from functools import partial
from typing import Any, NamedTuple

from benchmarks.contest import place_for
from benchmarks.machine import bytes_needed, make_file, temporary_folder
from benchmarks.offloads import copy_paths, timed_offload
from benchmarks.timing import Ratio, Samples, interleave, ratio_of
from pfndispatchcopy.model import Strategy, Verify
from pfndispatchcopy.options import CopyOptions

__all__ = ["CASES", "Case", "CaseResult", "measure_case"]


class Case(NamedTuple):
    """A file of so many bytes to so many destinations."""

    size: int
    destinations: int


CASES = (Case(30_000_000, 3), Case(50_000_000, 5), Case(256 << 20, 3))


class CaseResult(NamedTuple):
    """Seconds by strategy."""

    case: Case
    file_system: str
    seconds: Samples

    @property
    def ratio(self) -> Ratio:
        """Parallel in terms of single."""
        return ratio_of(self.seconds[Strategy.PARALLEL], self.seconds[Strategy.SINGLE])

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            **self.case._asdict(),
            "file_system": self.file_system,
            "seconds": self.seconds,
            "parallel_to_single": self.ratio._asdict(),
        }


def measure_case(case: Case, rounds: int, budget_s: float | None) -> CaseResult:
    """Measure one of them.

    Raises:
        NoRoomError: it does not fit.
    """
    place = place_for("memory", bytes_needed(1, case.size) * (case.destinations + 1), prefers_memory=True)
    with temporary_folder(place) as folder:
        source = make_file(os.path.join(folder, "source.bin"), case.size)
        copies = copy_paths(folder, case.destinations)
        samples = interleave(
            {
                str(each): partial(timed_offload, source, copies, CopyOptions(strategy=each, verify=Verify.NONE))
                for each in (Strategy.SINGLE, Strategy.PARALLEL)
            },
            rounds,
            budget_s=budget_s,
        )
    return CaseResult(case, place.filesystem, samples)
