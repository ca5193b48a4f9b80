"""What do ten times as many files cost, each of them and in memory?

Method: whole processes, interleaved: a folder of small files to one destination, and one with ten times as many.

Decides that a tree is listed once, in few bytes for each file, and that its jobs are made as they are sent
(``pfndispatchcopy.tree``): neither the time nor the memory for each file may grow with their number.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.contest import enter, place_for
from benchmarks.machine import print_facts, temporary_folder
from benchmarks.peers import Work
from benchmarks.program import compile_package
from benchmarks.subjects import Sizes, SubjectName, make_subject
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio

_TIMES = 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_many_files", __doc__, rounds=5)
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="and ten times so many (default: 10000)")
    parser.add_argument("--size", type=size, default=1 << 10, help="of each file (default: 1KiB)")
    parser.add_argument("--on", metavar="memory|disk|PATH", help="(default: memory, if there is enough)")
    options = parser.parse_args(arguments)
    compile_package()
    subjects = {
        files: make_subject(SubjectName.SMALL, Sizes(small_files=files, small_file=options.size))
        for files in (options.files, options.files * _TIMES)
    }
    place = place_for(options.on, 2 * sum(each.needed for each in subjects.values()), prefers_memory=True)
    with ExitStack() as folders:
        entrants = {}
        for files, subject in subjects.items():
            folder = folders.enter_context(temporary_folder(place))
            entrants[files] = enter(subject.make(folder), Work.COPY, place, folder, 1)[0][0]
            entrants[files].prove()
        memory = {files: entrant.peak_memory().size_bytes for files, entrant in entrants.items()}
        samples = interleave(
            {str(files): entrant.seconds for files, entrant in entrants.items()}, options.rounds, warm_up=0
        )
    each_us = {files: [1e6 * seconds / files for seconds in samples[str(files)]] for files in entrants}
    few, many = entrants
    print_facts([place], each_file=size_name(options.size), destinations="1", rounds=str(options.rounds))
    print_table(
        ("files", "peak MiB", "median s", "min s", "max s", "us per file"),
        [
            (
                str(files),
                f"{memory[files] / 2**20:.1f}",
                *(f"{value:.3f}" for value in (median(seconds), min(seconds), max(seconds))),
                f"{median(each_us[files]):.1f}",
            )
            for files in entrants
            for seconds in (samples[str(files)],)
        ],
    )
    print(
        f"{_TIMES} times as many files take {memory[many] / memory[few]:.2f} times the memory,"
        f" and {median_ratio(each_us[many], each_us[few]):.2f} times as long for each of them."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
