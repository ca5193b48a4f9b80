"""How many chunks should a destination be allowed to lag behind the reader?

Method: one file to several destinations by the parallel path with chunks of 1 MiB, in one warm process, for each
queue depth; on memory, where the destinations keep pace with each other, and on disk (made durable), where they
do not.

Decides ``pfndispatchcopy.plan._QUEUE_DEPTH``.
"""

import os
from collections.abc import Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import Place, find_place, make_file, print_facts, temporary_folder
from benchmarks.offloads import copy_paths, timed_offload
from benchmarks.table import print_table, size_name
from benchmarks.timing import Samples, interleave, median_ratio
from pfndispatchcopy.model import Strategy, Verify
from pfndispatchcopy.options import CopyOptions

_DEPTHS = (1, 3, 7, 15, 31)
_BASE = 7


def _measure(place: Place, count: int, file_size: int, rounds: int) -> Samples:
    with temporary_folder(place) as folder:
        source = make_file(os.path.join(folder, "source.bin"), file_size)
        copies = copy_paths(folder, count)
        return interleave(
            {
                str(depth): partial(
                    timed_offload,
                    source,
                    copies,
                    CopyOptions(strategy=Strategy.PARALLEL, chunk_size=1 << 20, queue_depth=depth, verify=Verify.NONE),
                )
                for depth in _DEPTHS
            },
            rounds,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_queue_depth", __doc__, rounds=7)
    parser.add_argument("--size", type=size, default=256 << 20, help="of the file (default: 256MiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    places = [find_place(wish) for wish in ("memory", "disk")]
    measured = [_measure(place, options.destinations, options.size, options.rounds) for place in places]
    print_facts(places, file=size_name(options.size), destinations=str(options.destinations))
    ratios = [
        {depth: median_ratio(samples[str(depth)], samples[str(_BASE)]) for depth in _DEPTHS} for samples in measured
    ]
    print_table(
        ("queue depth", *(f"{place.filesystem} s  to {_BASE}" for place in places)),
        [
            (
                str(depth),
                *(
                    f"{median(samples[str(depth)]):.3f}  {ratio[depth]:.2f}"
                    for samples, ratio in zip(measured, ratios, strict=True)
                ),
            )
            for depth in _DEPTHS
        ],
    )
    best = [min(_DEPTHS, key=lambda depth, ratio=ratio: ratio[depth]) for ratio in ratios]  # type: ignore[misc]
    words = [
        f"on {place.filesystem} it is {depth}, at {ratio[depth]:.2f} of the time of {_BASE}"
        for place, depth, ratio in zip(places, best, ratios, strict=True)
    ]
    print(f"The fastest depth: {'; '.join(words)}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
