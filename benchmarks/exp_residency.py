"""What does it cost to ask whether a small file is in the page cache?

Method: the files of a tree are opened and asked about one after another: by cachestat(2), which counts, and by
mincore(2), which has to have the file mapped; the two interleaved.

Decides that ``pfndispatchcopy.fileio.linux.LinuxSystem.is_cached`` asks cachestat first.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser
from benchmarks.contents import files_of
from benchmarks.machine import find_place, make_tree, print_facts, temporary_folder
from benchmarks.table import print_table
from benchmarks.timing import interleave, median_ratio, seconds_of
from pfndispatchcopy.fileio.residency import cached_pages_counter, is_resident

_FILES = 500
_SIZE = 16 << 10


def _ask(fds: Sequence[int], ask: Callable[[int], object]) -> None:
    for fd in fds:
        ask(fd)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_residency", __doc__, rounds=9)
    parser.add_argument("--on", default="disk", metavar="FOLDER", help="where the files are made (default: a disk)")
    options = parser.parse_args(arguments)
    place = find_place(options.on)
    libc = ctypes.CDLL(None, use_errno=True)
    count = cached_pages_counter(libc)
    with temporary_folder(place) as folder:
        make_tree(os.path.join(folder, "tree"), _FILES, _SIZE)
        fds = [os.open(path, os.O_RDONLY) for path in files_of(os.path.join(folder, "tree"))]
        if count(fds[0]) is None:
            print("This system has no cachestat.")
            return 0
        ways: dict[str, Callable[[int], object]] = {
            "cachestat": count,
            "mincore": lambda fd: is_resident(libc, fd, _SIZE),
        }
        samples = interleave(
            {name: partial(seconds_of, partial(_ask, fds, ask)) for name, ask in ways.items()}, options.rounds
        )
        for fd in fds:
            os.close(fd)
    print_facts([place], files=str(len(fds)))
    print_table(
        ("call", "microseconds a file"),
        [(name, f"{median(seconds) / len(fds) * 1e6:.1f}") for name, seconds in samples.items()],
    )
    ratio = median_ratio(samples["cachestat"], samples["mincore"])
    print(f"cachestat takes {ratio:.2f} of the time of mincore.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
