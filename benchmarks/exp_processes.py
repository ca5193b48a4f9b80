"""From how many small files on are processes of their own worth their start?

Method: whole processes, interleaved: folders with more and more small files are copied to memory without
verification, and checked against a list, once with processes from the first file on, and once without any. The
package's constants are replaced in these processes.

Decides ``pfndispatchcopy.tree.plan._FILES_WORTH_PROCESSES`` and
``pfndispatchcopy.check.session._FILES_FOR_PROCESSES``.
"""

import os
import subprocess
from collections.abc import Sequence
from functools import partial

from benchmarks.arguments import experiment_parser, size
from benchmarks.contents import write_sums
from benchmarks.machine import find_place, make_tree, print_facts, temporary_folder
from benchmarks.offloads import Commands
from benchmarks.program import ENVIRONMENT, compile_package, program_with
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio, seconds_of

_FILES = (100, 200, 400, 800, 1600, 3200)
_NEVER = 1 << 60
_COPY = "pfndispatchcopy.tree.plan._FILES_WORTH_PROCESSES"
_CHECK = "pfndispatchcopy.check.session._FILES_FOR_PROCESSES"
_NOISE = 0.03


def _check(command: Sequence[str], sums: str) -> float:
    argv = (*command, "-q", "--check", sums)
    return seconds_of(partial(subprocess.run, argv, check=True, capture_output=True, env=ENVIRONMENT))


def _smallest(ratios: dict[int, float]) -> str:
    found = "none"
    for files in sorted(ratios, reverse=True):
        if ratios[files] > 1 + _NOISE:
            break
        found = str(files)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_processes", __doc__, rounds=9)
    parser.add_argument("--most", type=int, default=max(_FILES), metavar="N", help="files (default: %(default)s)")
    parser.add_argument("--size", type=size, default=16 << 10, help="of each file (default: 16KiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", default="memory", metavar="memory|disk|PATH", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    compile_package()
    place = find_place(options.on)
    numbers = [files for files in _FILES if files <= options.most]
    ratios: dict[str, dict[int, float]] = {"copied": {}, "checked": {}}
    for files in numbers:
        with temporary_folder(place) as folder:
            source, sums = os.path.join(folder, "source"), os.path.join(folder, "all.xxh64")
            make_tree(source, files, options.size)
            write_sums(sums, source, "xxh64be")
            commands = Commands.to(options.destinations, place, folder, source)
            with_processes, without = ({_COPY: most, _CHECK: most} for most in (1, _NEVER))
            samples = interleave(
                {
                    "copied with": partial(commands.seconds, program_with(with_processes), "--verify", "none"),
                    "copied without": partial(commands.seconds, program_with(without), "--verify", "none"),
                    "checked with": partial(_check, program_with(with_processes), sums),
                    "checked without": partial(_check, program_with(without), sums),
                },
                options.rounds,
            )
        for way, by_number in ratios.items():
            by_number[files] = median_ratio(samples[f"{way} with"], samples[f"{way} without"])
    print_facts([place], each_file=size_name(options.size), destinations=str(options.destinations))
    print_table(
        ("files", *(f"{way}, with / without processes" for way in ratios)),
        [(str(files), *(f"{by_number[files]:.2f}" for by_number in ratios.values())) for files in numbers],
    )
    print("They pay from:", "; ".join(f"{_smallest(by_number)} {way}" for way, by_number in ratios.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
