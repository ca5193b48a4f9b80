"""Up to which size is a file of a folder better copied in a batch than by itself?

Method: whole processes, interleaved: folders with files of one size each, about the same bytes in all, are copied
with all of them in batches and with none; on memory without verification, and on disk durable and verified. The
package's constants are replaced in these processes.

Decides ``pfndispatchcopy.engine.batch.LARGEST_SMALL_FILE``, and with it
``pfndispatchcopy.check.survey.LARGEST_SMALL_FILE``.
"""

import os
from collections.abc import Sequence
from functools import partial
from itertools import takewhile

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import find_place, make_tree, print_facts, temporary_folder
from benchmarks.offloads import Commands
from benchmarks.program import compile_package, program, program_with
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio

_SIZES = [1 << power for power in range(18, 25)]
_LARGEST = "pfndispatchcopy.tree.plan.LARGEST_SMALL_FILE"
_NOISE = 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_small_file", __doc__, rounds=5)
    parser.add_argument("--bytes", type=size, default=256 << 20, help="of all files of a size (default: 256MiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", action="append", metavar="memory|disk|PATH", help="repeatable (default: both)")
    options = parser.parse_args(arguments)
    compile_package()
    places = [find_place(wish) for wish in options.on or ("memory", "disk")]
    ratios: dict[str, dict[int, float]] = {}
    for place in places:
        verify = ("--verify", "none") if place.is_memory else ()
        of_place = ratios.setdefault(place.filesystem, {})
        for each in _SIZES:
            with temporary_folder(place) as folder:
                source = os.path.join(folder, "source")
                make_tree(source, max(1, options.bytes // each), each)
                commands = Commands.to(options.destinations, place, folder, source)
                in_batches = program_with({_LARGEST: _SIZES[-1]})
                samples = interleave(
                    {
                        "in batches": partial(commands.seconds, in_batches, *verify),
                        "by itself": partial(commands.seconds, program(), "--strategy", "single", *verify),
                        "in parallel": partial(commands.seconds, program(), "--strategy", "parallel", *verify),
                    },
                    options.rounds,
                )
            of_place[each] = max(
                median_ratio(samples["in batches"], samples[way]) for way in ("by itself", "in parallel")
            )
    print_facts(places, bytes=size_name(options.bytes), destinations=str(options.destinations))
    print_table(
        ("size of a file", *(f"{words}: in batches / the better of one by one" for words in ratios)),
        [(size_name(each), *(f"{of_place[each]:.2f}" for of_place in ratios.values())) for each in _SIZES],
    )
    closing = []
    for words, of_place in ratios.items():
        good = list(takewhile(lambda each, of_place=of_place: of_place[each] <= 1 + _NOISE, _SIZES))  # type: ignore[misc]
        closing.append(f"{size_name(good[-1]) if good else 'none'} on {words}")
    print("Batches pay up to:", "; ".join(closing))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
