"""How many small files should be handed to a process at once?

Method: whole processes, interleaved, on a folder of small files: copied, on memory without verification and on disk
durable and verified, and checked there against a list, with several sizes of what is handed over. The package's
constants are replaced in these processes. Files of ``--size 1MiB`` show the bound in bytes.

Decides ``pfndispatchcopy.tree.plan._BATCH_FILES`` and ``pfndispatchcopy.tree.plan._BATCH_BYTES``, and
``pfndispatchcopy.check.survey.BATCH_FILES`` and ``pfndispatchcopy.check.survey.BATCH_BYTES``.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.contents import write_sums
from benchmarks.machine import find_place, make_tree, print_facts, temporary_folder
from benchmarks.offloads import Commands
from benchmarks.program import ENVIRONMENT, compile_package, program_with
from benchmarks.table import print_table, size_name
from benchmarks.timing import Samples, interleave, median_ratio, seconds_of

_NUMBERS = (25, 50, 100, 200, 400, 800)
_BASE = 200
_WITHOUT_BOUND = 1 << 60
_COPY = "pfndispatchcopy.tree.plan._BATCH"
_CHECK = ("pfndispatchcopy.check.survey.BATCH", "pfndispatchcopy.check.session.BATCH")


def _check(command: Sequence[str], sums: str) -> float:
    argv = (*command, "-q", "--check", sums)
    return seconds_of(partial(subprocess.run, argv, check=True, capture_output=True, env=ENVIRONMENT))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_handed_over", __doc__, rounds=5)
    parser.add_argument("--files", type=int, default=5000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--size", type=size, default=16 << 10, help="of each file (default: 16KiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", action="append", metavar="memory|disk|PATH", help="repeatable (default: both)")
    options = parser.parse_args(arguments)
    compile_package()
    places = [find_place(wish) for wish in options.on or ("memory", "disk")]
    measured: dict[str, Samples] = {}
    for place in places:
        verify = ("--verify", "none") if place.is_memory else ()
        with temporary_folder(place) as folder:
            source, sums = os.path.join(folder, "source"), os.path.join(folder, "all.xxh64")
            make_tree(source, options.files, options.size)
            write_sums(sums, source, "xxh64be")
            commands = Commands.to(options.destinations, place, folder, source)
            copies: dict[str, Callable[[], float]] = {}
            checks: dict[str, Callable[[], float]] = {}
            for number in _NUMBERS:
                constants = {
                    f"{each}_{unit}": value
                    for each in (_COPY, *_CHECK)
                    for unit, value in (("FILES", number), ("BYTES", _WITHOUT_BOUND))
                }
                copies[str(number)] = partial(commands.seconds, program_with(constants), *verify)
                checks[str(number)] = partial(_check, program_with(constants), sums)
            measured[f"copied on {place.filesystem}"] = interleave(copies, options.rounds)
            measured[f"checked on {place.filesystem}"] = interleave(checks, options.rounds)
    print_facts(places, files=f"{options.files} of {size_name(options.size)}", destinations=str(options.destinations))
    ratios = {
        words: {number: median_ratio(seconds, samples[str(_BASE)]) for number, seconds in samples.items()}
        for words, samples in measured.items()
    }
    print_table(
        ("handed over", *(f"{words}: s  to {_BASE}" for words in measured)),
        [
            (number, *(f"{median(measured[words][number]):.3f}  {ratios[words][number]:6.2f}" for words in measured))
            for number in map(str, _NUMBERS)
        ],
    )
    best = {words: min(ratio, key=ratio.__getitem__) for words, ratio in ratios.items()}
    print("The fastest:", "; ".join(f"{number} {words}" for words, number in best.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
