"""How many files should be made durable together?

Method: plain system calls, without the engine. Many small files are written to several destinations under temporary
names, flushed and renamed: each file for itself (a group of 1), or in groups: all of a group are written, write-back
is started for all of them, then each is flushed, then all are renamed. By one process, and by two that share the
files. ``--flush-folders`` flushes the folders of a group after its renames as well. On memory, where only the calls
count, and on disk, where they wait for the medium.

Decides ``pfndispatchcopy.engine.batch._GROUP_FILES``, and with ``--size 1MiB --files 200``
``pfndispatchcopy.engine.batch._GROUP_BYTES``.
"""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from statistics import median
from typing import NamedTuple

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import (
    Place,
    clear_away,
    find_place,
    make_folders,
    microseconds_to_create,
    print_facts,
    temporary_folder,
    tree_names,
)
from benchmarks.table import print_table, size_name
from benchmarks.timing import Samples, interleave, median_ratio, seconds_of
from pfndispatchcopy.fileio import native_system

_GROUPS = (1, 25, 50, 100, 200, 400)
_PROCESSES = (1, 2)
# A group counts as fast as the fastest up to this.
_NOISE = 0.05


class _Job(NamedTuple):
    """What is written: the same bytes into every file, below every root."""

    roots: Sequence[str]
    names: Sequence[str]
    data: bytes
    flushes_folders: bool


def _write_group(job: _Job, names: Sequence[str]) -> None:
    system = native_system()
    paths = [os.path.join(root, name) for name in names for root in job.roots]
    opened: list[int] = []
    for path in paths:
        opened.append(os.open(f"{path}.partial", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.write(opened[-1], job.data)
    if len(names) > 1:
        for fd in opened:
            system.start_write_back(fd, 0, 0)
    for fd in opened:
        system.flush(fd)
        os.close(fd)
    for path in paths:
        os.rename(f"{path}.partial", path)
    if job.flushes_folders:
        for folder in dict.fromkeys(map(os.path.dirname, paths)):
            handle = system.open_folder(folder)
            system.flush_folder(handle)
            system.close_folder(handle)


def _write_all(job: _Job, group: int) -> None:
    for start in range(0, len(job.names), group):
        _write_group(job, job.names[start : start + group])


def _in_processes(job: _Job, group: int, processes: int) -> None:
    if processes == 1:
        _write_all(job, group)
        return
    share = -(-len(job.names) // processes)
    fork = multiprocessing.get_context("fork")
    running = [
        fork.Process(target=_write_all, args=(job._replace(names=job.names[start : start + share]), group))
        for start in range(0, len(job.names), share)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise RuntimeError("a process failed, so that its time means nothing")


def _run(job: _Job, place: Place, folder: str, group: int, processes: int) -> float:
    for root in job.roots:
        make_folders(root, job.names)
    os.sync()
    try:
        return seconds_of(partial(_in_processes, job, group, processes))
    finally:
        clear_away(job.roots, place, folder)


def _measure(place: Place, job: _Job, destinations: int, rounds: int) -> Samples:
    with temporary_folder(place) as folder:
        print(f"\n{place.filesystem}, where a new, empty file takes {microseconds_to_create(place, folder):.0f} us:")
        roots = [os.path.join(folder, f"destination-{number}") for number in range(destinations)]
        return interleave(
            {
                f"{group} {processes}": partial(_run, job._replace(roots=roots), place, folder, group, processes)
                for group, processes in product(_GROUPS, _PROCESSES)
            },
            rounds,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_batch", __doc__, rounds=5)
    parser.add_argument("--files", type=int, default=2000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--size", type=size, default=16 << 10, help="of each file (default: 16KiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", action="append", metavar="memory|disk|PATH", help="repeatable (default: both)")
    parser.add_argument("--flush-folders", action="store_true", help="after each group; a flush more for each file")
    options = parser.parse_args(arguments)
    native_system().raise_descriptor_limit(max(_GROUPS) * options.destinations + 64)
    places = [find_place(wish) for wish in options.on or ("memory", "disk")]
    job = _Job((), tree_names(options.files), os.urandom(options.size), options.flush_folders)
    print_facts(
        places,
        files=f"{options.files} of {size_name(options.size)}",
        destinations=str(options.destinations),
        folders="flushed after each group" if options.flush_folders else "not flushed",
    )
    closing = []
    for place in places:
        samples = _measure(place, job, options.destinations, options.rounds)
        base = samples[f"1 {_PROCESSES[0]}"]
        ratios = {name: median_ratio(seconds, base) for name, seconds in samples.items()}
        print("seconds, the least, the most, and the ratio to each file for itself by one process", flush=True)
        print_table(
            ("files together", *(f"{_process_words(each)}:  median s    min    max  ratio" for each in _PROCESSES)),
            [
                (str(group), *(_cell(name, samples, ratios) for name in (f"{group} {each}" for each in _PROCESSES)))
                for group in _GROUPS
            ],
        )
        closing += [
            f"{_smallest_group(ratios, each)} by {_process_words(each)} on {place.filesystem}" for each in _PROCESSES
        ]
    print(f"\nThe smallest group that is within {_NOISE:.0%} of the fastest: {', '.join(closing)}.")
    return 0


def _process_words(count: int) -> str:
    return f"{count} process{'' if count == 1 else 'es'}"


def _cell(name: str, samples: Samples, ratios: Mapping[str, float]) -> str:
    seconds = samples[name]
    return f"{median(seconds):.3f}  {min(seconds):5.3f}  {max(seconds):5.3f}  {ratios[name]:5.2f}"


def _smallest_group(ratios: Mapping[str, float], processes: int) -> int:
    of_groups = {group: ratios[f"{group} {processes}"] for group in _GROUPS}
    return min(group for group, ratio in of_groups.items() if ratio <= min(of_groups.values()) * (1 + _NOISE))


if __name__ == "__main__":
    raise SystemExit(main())
