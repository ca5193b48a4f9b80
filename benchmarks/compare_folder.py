"""Side by side with cp -a and rsync -a: a folder of many small files, whole processes, the same work for all.

Run it as ``python -m benchmarks.compare_folder``. How it is measured is said in ``contest.py``.

``--scale`` asks another question, of this program alone: what do ten times as many files cost, each of them and
in memory? It answers with the peak of memory and the time per file for both numbers of files.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks.arguments import size
from benchmarks.contest import Subject, contest_parser, enter, hold, place_for, print_as_json
from benchmarks.machine import bytes_needed, make_tree, print_facts, temporary_folder
from benchmarks.peers import OURS, Kind, Work
from benchmarks.program import compile_package
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio

_SCALE = 10


def main(arguments: Sequence[str] | None = None) -> int:
    parser = contest_parser("compare_folder", __doc__, [Work.COPY])
    add = parser.add_argument
    add("--files", type=int, default=10_000, metavar="N", help="in folders of a hundred (default: %(default)s)")
    add("--size", type=size, metavar="SIZE", help="of each file (default: 16KiB; 1KiB with --scale)")
    add("--scale", action="store_true", help=f"this program alone, to one destination: N files and {_SCALE} times N")
    options = parser.parse_args(arguments)
    if options.scale and (options.peers_only or options.cold or options.work):
        parser.error("--scale goes with none of --work, --cold, --peers-only")
    if options.scale:
        _measure_scale(options)
    else:
        file_size = 16 << 10 if options.size is None else options.size
        hold(options, lambda _: _subject(options.files, file_size))
    return 0


def _subject(files: int, file_size: int) -> Subject:
    return Subject(
        kind=Kind.FOLDER,
        make=partial(make_tree, files=files, size=file_size),
        words=_words(files, file_size),
        facts={"files": files, "size_bytes": file_size},
        needed=bytes_needed(files, file_size),
    )


def _words(files: int, file_size: int) -> str:
    return f"{files} file{'' if files == 1 else 's'} of {size_name(file_size)}"


def _measure_scale(options: argparse.Namespace) -> None:
    compile_package()
    file_size = 1 << 10 if options.size is None else options.size
    subjects = {files: _subject(files, file_size) for files in (options.files, options.files * _SCALE)}
    place = place_for(options.on, 2 * sum(each.needed for each in subjects.values()), prefers_memory=True)
    with ExitStack() as folders:
        entrants = {
            files: enter(subject, Work.COPY, place, folders.enter_context(temporary_folder(place)), 1)[0]
            for files, subject in subjects.items()
        }
        for entrant in entrants.values():
            entrant.prove()
        memory = {files: entrant.peak_memory() for files, entrant in entrants.items()}
        samples = interleave(
            {str(files): entrant.seconds for files, entrant in entrants.items()}, options.rounds, warm_up=0
        )
    each_us = {files: [1e6 * seconds / files for seconds in samples[str(files)]] for files in entrants}
    few, many = entrants
    slower = median_ratio(each_us[many], each_us[few])
    if options.json:
        results = [
            {
                **subjects[files].facts,
                "seconds": samples[str(files)],
                "microseconds_per_file": median(each_us[files]),
                "peak_memory_bytes": memory[files],
            }
            for files in entrants
        ]
        print_as_json({"file_system": place.filesystem, "results": results, "time_per_file_ratio": slower})
        return
    print_facts([place], each_file=size_name(file_size), destinations="1", rounds=str(options.rounds))
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
        f"With {_SCALE} times as many files {OURS} takes {memory[many] / memory[few]:.2f} times the memory"
        f" and {slower:.2f} times as long for each of them."
    )


if __name__ == "__main__":
    raise SystemExit(main())
