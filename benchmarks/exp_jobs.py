"""How many jobs at once copy a folder the fastest?

Method: whole processes, interleaved: many small files, and a card with a few large ones, with each number of jobs
and with the number that the program chooses; on memory, copied only, and on disk, durable and verified.

Decides ``pfndispatchcopy.workers._MOST``, and that ``pfndispatchcopy.workers.choose_jobs`` takes one job for each
processor, but two where heads or a line are shared.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import find_place, print_facts, temporary_folder
from benchmarks.offloads import Commands
from benchmarks.program import compile_package, program
from benchmarks.subjects import Sizes, SubjectName, make_subject
from benchmarks.table import print_table
from benchmarks.timing import Samples, interleave, median_ratio

_JOBS = ("1", "2", "3", "4", "5", "6", "7", "8")
_AUTO = "auto"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_jobs", __doc__, rounds=5)
    parser.add_argument("--files", type=int, default=5000, metavar="N", help="small ones, of 16 KiB (default: 5000)")
    parser.add_argument("--card", type=size, default=512 << 20, help="size of the card (default: 512MiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", action="append", metavar="memory|disk|PATH", help="repeatable (default: both)")
    options = parser.parse_args(arguments)
    compile_package()
    sizes = Sizes(card=options.card, small_files=options.files)
    measured: dict[str, Samples] = {}
    places = [find_place(wish) for wish in options.on or ("memory", "disk")]
    for place in places:
        verify = ("--verify", "none") if place.is_memory else ()
        for subject in (make_subject(name, sizes) for name in (SubjectName.SMALL, SubjectName.CARD)):
            with temporary_folder(place) as folder:
                commands = Commands.to(options.destinations, place, folder, subject.make(folder))
                variants: dict[str, Callable[[], float]] = {
                    jobs: partial(commands.seconds, program(), "--jobs", jobs, *verify) for jobs in (*_JOBS, _AUTO)
                }
                measured[f"{subject.words}, {place.filesystem}"] = interleave(variants, options.rounds)
    print_facts(places, destinations=str(options.destinations), rounds=str(options.rounds))
    ratios = {
        words: {jobs: median_ratio(seconds, samples[_AUTO]) for jobs, seconds in samples.items()}
        for words, samples in measured.items()
    }
    print_table(
        ("jobs", *(f"{words}: s  to {_AUTO}" for words in measured)),
        [
            (jobs, *(f"{median(measured[words][jobs]):.3f}  {ratios[words][jobs]:6.2f}" for words in measured))
            for jobs in (*_JOBS, _AUTO)
        ],
    )
    best = {words: min(_JOBS, key=lambda jobs, ratio=ratio: ratio[jobs]) for words, ratio in ratios.items()}  # type: ignore[misc]
    print("The fastest:", "; ".join(f"{jobs} for {words}" for words, jobs in best.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
