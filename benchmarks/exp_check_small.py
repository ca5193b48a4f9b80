"""How many processes check thousands of small files the fastest, and how does that compare with those who know them?

Method: whole processes on a folder of small files, interleaved: ``--check`` of a sum file with each number of jobs,
which reads past the page cache, and ``xxhsum -c`` of the same file, where there is one, which reads from it.

Decides ``_WHILE_OTHERS_WAIT`` in ``pfndispatchcopy.check.session``.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import files_of, find_place, make_tree, print_facts, temporary_folder
from benchmarks.program import compile_package, program
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, seconds_of
from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.hashlists.sums import write_sum_line

_JOBS = (1, 2, 3, 4)


def _write_sums(folder: str) -> str:
    path = os.path.join(folder, "all.xxh64")
    lines = []
    for file in sorted(files_of(folder)):
        with open(file, "rb") as opened:
            text = digests_of(("xxh64be",), opened.read())["xxh64be"]
        lines.append(write_sum_line("xxh64be", text, os.path.relpath(file, folder)))
    with open(path, "wb") as sums:
        sums.writelines(lines)
    return path


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
        sums = _write_sums(folder)
        check = (*program(), "-q", "--check", sums)
        variants: dict[str, Callable[[], float]] = {
            "as it chooses": partial(_run, check, folder),
            **{f"--jobs {jobs}": partial(_run, (*check, "--jobs", str(jobs)), folder) for jobs in _JOBS},
        }
        if shutil.which("xxhsum"):
            variants["xxhsum -c"] = partial(_run, ("xxhsum", "-c", "-q", sums), folder)
        samples = interleave(variants, options.rounds)
    print_facts([place], files=str(options.files), each_file=size_name(options.size))
    print_table(
        ("way", "median s", "min s"),
        [(name, f"{median(seconds):.3f}", f"{min(seconds):.3f}") for name, seconds in samples.items()],
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
