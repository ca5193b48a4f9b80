"""What does a file cost besides its bytes, in terms of bytes?

Method: whole processes, interleaved: many small files, and about the same bytes in a few large ones; each less the
time of a single tiny file, which is the start. On memory copied only, on disk durable and verified.

Decides ``pfndispatchcopy.progress._BYTES_OF_A_FILE``, by which the time that is left is foreseen where small and
large files follow each other.
"""

from collections.abc import Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import find_place, make_tree, print_facts, temporary_folder
from benchmarks.offloads import Commands
from benchmarks.program import compile_package, program
from benchmarks.table import print_table, size_name
from benchmarks.timing import Samples, interleave

_LARGE = 32 << 20


def _cost(samples: Samples, files: int, each: int, large: int) -> int:
    """Bytes that take as long as a small file does beyond its own."""
    small_s, large_s = (
        median(one - start for one, start in zip(samples[name], samples["one"], strict=True))
        for name in ("small", "large")
    )
    return round(small_s / files * (large * _LARGE / large_s) - each)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_file_cost", __doc__, rounds=7)
    parser.add_argument("--files", type=int, default=5000, metavar="N", help="small ones (default: %(default)s)")
    parser.add_argument("--size", type=size, default=16 << 10, help="of each of them (default: 16KiB)")
    parser.add_argument("--large", type=int, default=8, metavar="N", help="files of 32 MiB (default: %(default)s)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", action="append", metavar="memory|disk|PATH", help="repeatable (default: both)")
    options = parser.parse_args(arguments)
    compile_package()
    places = [find_place(wish) for wish in options.on or ("memory", "disk")]
    rows = []
    for place in places:
        verify = ("--verify", "none") if place.is_memory else ()
        with temporary_folder(place) as folder:
            sources = {"one": (1, 1), "small": (options.files, options.size), "large": (options.large, _LARGE)}
            commands = Commands.to(options.destinations, place, folder, "")
            for name, (files, each) in sources.items():
                make_tree(f"{folder}/{name}", files, each)
            samples = interleave(
                {
                    name: partial(commands._replace(source=f"{folder}/{name}").seconds, program(), *verify)
                    for name in sources
                },
                options.rounds,
            )
        cost = _cost(samples, options.files, options.size, options.large)
        rows.append((place.filesystem, *(f"{median(samples[name]):.3f}" for name in sources), f"{cost:,}"))
    print_facts(places, small=f"{options.files} x {size_name(options.size)}", large=f"{options.large} x 32 MiB")
    print_table(("on", "one file s", "small files s", "large files s", "bytes that a file costs"), rows)
    print("A file costs as much as:", "; ".join(f"{row[-1]} bytes on {row[0]}" for row in rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
