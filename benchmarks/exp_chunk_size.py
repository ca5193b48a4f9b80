"""Which chunk size is the fastest?

Method: one file to several destinations, in one warm process, for each chunk size: by the parallel path with the
automatic number of chunks (a large chunk gets fewer of them, since all together are bounded), by the parallel path
with the same queue depth for every size, and by the single path. On memory without verification, so that nothing
but moving bytes is measured.

Decides ``pfndispatchcopy.plan._CHUNK``, for a large file (``--size 1GiB``)
``pfndispatchcopy.plan._CHUNK_OF_LARGE_FILE``, for a small one ``pfndispatchcopy.plan._CHUNKS_OF_A_FILE``, and with
the first two columns ``pfndispatchcopy.plan._POOL_BYTES``.
"""

import os
from collections.abc import Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import find_place, make_file, print_facts, temporary_folder
from benchmarks.offloads import copy_paths, timed_offload
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio
from pfndispatchcopy.model import Strategy, Verify
from pfndispatchcopy.options import CopyOptions

_CHUNK_SIZES = [1 << power for power in range(16, 24)]
_BASE = 1 << 20
_QUEUE_DEPTH = 7


def _options(way: str, chunk_size: int) -> CopyOptions:
    return CopyOptions(
        strategy=Strategy.SINGLE if way == "single" else Strategy.PARALLEL,
        chunk_size=chunk_size,
        queue_depth=_QUEUE_DEPTH if way == "depth 7" else None,
        verify=Verify.NONE,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_chunk_size", __doc__, rounds=5)
    parser.add_argument("--size", type=size, default=128 << 20, help="of the file (default: 128MiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", default="memory", metavar="memory|disk|PATH", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    place = find_place(options.on)
    ways = ("parallel", "depth 7", "single")
    with temporary_folder(place) as folder:
        source = make_file(os.path.join(folder, "source.bin"), options.size)
        copies = copy_paths(folder, options.destinations)
        samples = interleave(
            {
                f"{way} {chunk}": partial(timed_offload, source, copies, _options(way, chunk))
                for way in ways
                for chunk in _CHUNK_SIZES
            },
            options.rounds,
        )
    print_facts([place], file=size_name(options.size), destinations=str(options.destinations))
    ratios = {
        (way, chunk): median_ratio(samples[f"{way} {chunk}"], samples[f"{way} {_BASE}"])
        for way in ways
        for chunk in _CHUNK_SIZES
    }
    print_table(
        ("chunk size", *(f"{way} s  to {size_name(_BASE)}" for way in ways)),
        [
            (
                size_name(chunk),
                *(f"{median(samples[f'{way} {chunk}']):.3f}  {ratios[way, chunk]:8.2f}" for way in ways),
            )
            for chunk in _CHUNK_SIZES
        ],
    )
    best = min(_CHUNK_SIZES, key=lambda chunk: ratios["parallel", chunk])
    print(
        f"By the parallel path {size_name(best)} is the fastest,"
        f" at {ratios['parallel', best]:.2f} of the time of {size_name(_BASE)}."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
