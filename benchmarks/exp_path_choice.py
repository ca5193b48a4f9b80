"""From which file size on does a thread for each destination pay?

Method: the same file by the single and by the parallel path, in one warm process, for growing sizes and numbers of
destinations: on memory without verification, which leaves threads the least to gain, and on disk durable and
verified, where they wait for the medium. The crossover is the smallest size from which on the parallel path is
never slower by more than what two runs of the same thing differ by. Small files get more rounds.

Decides ``pfndispatchcopy.plan._CROSSOVER_ONE`` and ``pfndispatchcopy.plan._CROSSOVER_MANY``.
"""

import os
from collections.abc import Sequence
from functools import partial

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import find_place, make_file, print_facts, temporary_folder
from benchmarks.offloads import copy_paths, timed_offload
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio
from pfndispatchcopy.model import Strategy, Verify
from pfndispatchcopy.options import CopyOptions

_SIZES = [1 << power for power in (16, 18, 20, 22, 23, 24, 25, 26, 28)]
_DESTINATIONS = (1, 2, 3, 5)
# Each ratio is measured with about so many bytes, in no more rounds than this.
_BYTES_EACH = 160 << 20
_MOST_ROUNDS = 9
_NOISE = 0.05


def _ratio(source: str, folder: str, count: int, verify: Verify, rounds: int) -> float:
    """Seconds of the parallel path, in terms of those of the single one."""
    copies = copy_paths(folder, count)
    samples = interleave(
        {
            str(strategy): partial(timed_offload, source, copies, CopyOptions(strategy=strategy, verify=verify))
            for strategy in (Strategy.SINGLE, Strategy.PARALLEL)
        },
        rounds,
    )
    return median_ratio(samples[Strategy.PARALLEL], samples[Strategy.SINGLE])


def _crossover(ratios: dict[int, float]) -> int | None:
    """The smallest size from which on no ratio is above 1, but for the noise."""
    found = None
    for file_size in sorted(ratios, reverse=True):
        if ratios[file_size] > 1 + _NOISE:
            break
        found = file_size
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_path_choice", __doc__, rounds=3)
    parser.add_argument("--largest", type=size, default=256 << 20, help="on memory (default: 256MiB)")
    parser.add_argument("--largest-on-disk", type=size, default=64 << 20, help="(default: 64MiB)")
    options = parser.parse_args(arguments)
    memory, disk = find_place("memory"), find_place("disk")
    print_facts([memory, disk])
    closing = []
    for place, verify, largest in (
        (memory, Verify.NONE, options.largest),
        (disk, Verify.DESTINATION, options.largest_on_disk),
    ):
        sizes = [each for each in _SIZES if each <= largest]
        ratios: dict[int, dict[int, float]] = {count: {} for count in _DESTINATIONS}
        with temporary_folder(place) as folder:
            for file_size in sizes:
                source = make_file(os.path.join(folder, f"source-{file_size}.bin"), file_size)
                for count in _DESTINATIONS:
                    rounds = max(options.rounds, min(_MOST_ROUNDS, _BYTES_EACH // (file_size * count)))
                    ratios[count][file_size] = _ratio(source, folder, count, verify, rounds)
        title = "durable and verified" if verify is Verify.DESTINATION else "not verified"
        print(f"\n{place.filesystem}, {title}: seconds of parallel / seconds of single, by number of destinations")
        crossovers = {count: _crossover(ratios[count]) for count in _DESTINATIONS}
        print_table(
            ("file size", *map(str, _DESTINATIONS)),
            [
                *((size_name(each), *(f"{ratios[count][each]:.2f}" for count in _DESTINATIONS)) for each in sizes),
                ("crossover", *(_name(crossovers[count]) for count in _DESTINATIONS)),
            ],
        )
        closing.append(
            f"on {place.filesystem} it is {_name(crossovers[1])} for one destination"
            f" and {_name(crossovers[3])} for three"
        )
    print(f"\nThe crossover: {'; '.join(closing)}.")
    return 0


def _name(crossover: int | None) -> str:
    return "none" if crossover is None else size_name(crossover)


if __name__ == "__main__":
    raise SystemExit(main())
