"""How many processes check thousands of small files the fastest, and how does that compare with those who know them?

Method: whole processes on a folder of small files, interleaved: ``--check`` of a sum file with each number of jobs,
which reads past the page cache, and ``xxhsum -c`` of the same file, where there is one, which reads from it.

Decides ``pfndispatchcopy.check.session._WHILE_OTHERS_WAIT``.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.contents import write_sums
from benchmarks.machine import find_place, make_tree, print_facts, temporary_folder
from benchmarks.program import compile_package, program
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, seconds_of

_JOBS = (1, 2, 3, 4)


def _run(command: Sequence[str], folder: str) -> float:
    return seconds_of(lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_check_small", __doc__, rounds=9)
    parser.add_argument("--on", default="disk", metavar="FOLDER", help="where the files are made (default: a disk)")
    parser.add_argument("--files", type=int, default=10_000, help="in folders of a hundred (default: %(default)s)")
    parser.add_argument("--size", type=size, default=16 << 10, help="of each file (default: 16KiB)")
    options = parser.parse_args(arguments)
    place = find_place(options.on)
    compile_package()
    with temporary_folder(place) as above:
        folder = os.path.join(above, "files")
        make_tree(folder, options.files, options.size)
        sums = os.path.join(above, "all.xxh64")
        write_sums(sums, folder, "xxh64be")
        check = (*program(), "-q", "--check", sums)
        variants: dict[str, Callable[[], float]] = {
            "as it chooses": partial(_run, check, above),
            **{f"--jobs {jobs}": partial(_run, (*check, "--jobs", str(jobs)), above) for jobs in _JOBS},
        }
        if shutil.which("xxhsum"):
            variants["xxhsum -c"] = partial(_run, ("xxhsum", "-c", "-q", sums), above)
        samples = interleave(variants, options.rounds)
    print_facts([place], files=str(options.files), each_file=size_name(options.size))
    print_table(
        ("way", "median s", "min s"),
        [(name, f"{median(seconds):.3f}", f"{min(seconds):.3f}") for name, seconds in samples.items()],
    )
    best = min(_JOBS, key=lambda jobs: median(samples[f"--jobs {jobs}"]))
    print(f"The fastest is --jobs {best}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
