"""Side by side with cp, tee and dd: one file to several destinations, whole processes, the same work for all.

Run it as ``python -m benchmarks.compare`` or ``make bench``. Every contender runs once a round, in a new order
each round; copies are removed between the runs, outside of the time that counts. Before that, each of them is
run once without the clock, and its copies are compared with the source.

A ratio below 1 means that this program was faster; it is the median of the ratios within the rounds.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from benchmarks.arguments import size
from benchmarks.machine import (
    Place,
    drop_from_cache,
    find_place,
    free_bytes,
    machine_facts,
    make_file,
    temporary_folder,
)
from benchmarks.peers import OURS, Contender, Work, contenders, missing_tools, run_steps
from benchmarks.program import compile_package, peak_memory
from benchmarks.table import print_table, size_name
from benchmarks.timing import Samples, interleave, median_ratio, seconds_of
from pfndispatchcopy.hashing import HashCalculator

_READ_BYTES = 1 << 20
# The user's own configuration would change what is measured.
_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PFNDISPATCHCOPY")},
    "XDG_CONFIG_HOME": os.devnull,
}


class Result(NamedTuple):
    """One kind of work, measured.

    Attributes:
        work: what was done.
        place: where.
        seconds: by contender.
        peak_memory: of this program, in bytes.
        missing: tools that are not installed.
    """

    work: Work
    place: Place
    seconds: Samples
    peak_memory: int
    missing: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    compile_package()
    results: list[Result] = []
    if not options.json:
        print(_header(options))
    for work in options.work or list(Work):
        place = _place_for(work, options)
        if not options.json:
            title = f"{work}, {size_name(_size_for(work, options))} on {place.filesystem}"
            print(f"\n{title}: {_explanation(work, past_cache=options.past_cache)}", flush=True)
        results.append(_measure(work, place, options))
        if not options.json:
            _print_result(results[-1])
    if options.json:
        json.dump(_as_data(results, options), sys.stdout, indent=2)
        print()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--work", type=Work, action="append", choices=list(Work), help="repeatable (default: all of them)")
    add("--size", type=size, metavar="SIZE", help="of the file (default: 1GiB for copy, 256MiB for what goes to disk)")
    add("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    add("--rounds", type=int, default=5, metavar="N", help="besides the one that warms up (default: %(default)s)")
    add("--on", metavar="memory|disk|PATH", help="where (default: memory for copy, disk for the others)")
    add("--cold", action="store_true", help="drop the source from the page cache before every run")
    add("--past-cache", action="store_true", help="verified: the others read from the medium, too (needs GNU dd)")
    add("--json", action="store_true", help="print the raw seconds as JSON")
    return parser


def _size_for(work: Work, options: argparse.Namespace) -> int:
    """Bytes of the file. What goes to a disk is smaller: some of the others take very long to be durable there."""
    return int(options.size or (1 << 30 if work is Work.COPY else 256 << 20))


def _place_for(work: Work, options: argparse.Namespace) -> Place:
    """Where to measure; without a wish memory only where there is enough of it."""
    needed = _size_for(work, options) * (options.destinations + 1) + (64 << 20)
    if options.on is None and work is Work.COPY:
        with suppress(SystemExit):
            place = find_place("memory")
            if free_bytes(place) >= needed:
                return place
    place = find_place(options.on or "disk")
    if free_bytes(place) < needed:
        raise SystemExit(f"{place.folder}: {size_name(needed)} are needed; make it smaller with --size")
    return place


def _measure(work: Work, place: Place, options: argparse.Namespace) -> Result:
    with temporary_folder(place) as folder:
        source = make_file(os.path.join(folder, "source.bin"), _size_for(work, options))
        copies = [os.path.join(folder, f"copy-{number}.bin") for number in range(options.destinations)]
        everybody = contenders(work, source, copies, is_memory=place.is_memory, past_cache=options.past_cache)
        for contender in everybody:
            run_steps(contender.steps, _ENVIRONMENT)
            _require_true_copies(contender, source, copies)
            _remove(copies)
        memory = peak_memory(everybody[0].steps[0][0].argv, _ENVIRONMENT)
        _remove(copies)
        variants = {
            contender.name: partial(_timed_run, contender, source, copies, is_cold=options.cold)
            for contender in everybody
        }
        samples = interleave(variants, options.rounds)
    return Result(work, place, samples, memory, missing_tools(work))


def _timed_run(contender: Contender, source: str, copies: Sequence[str], *, is_cold: bool) -> float:
    if is_cold:
        drop_from_cache(source)
    try:
        return seconds_of(partial(run_steps, contender.steps, _ENVIRONMENT))
    finally:
        _remove(copies)


def _remove(copies: Sequence[str]) -> None:
    for copy in copies:
        with suppress(FileNotFoundError):
            os.remove(copy)


def _require_true_copies(contender: Contender, source: str, copies: Sequence[str]) -> None:
    expected = _digest(source)
    for copy in copies:
        if _digest(copy) != expected:
            raise SystemExit(f"{contender.name}: {copy} is not a copy of {source}")


def _digest(path: str) -> dict[str, str]:
    calculator = HashCalculator(["xxh128"])
    with open(path, "rb", buffering=0) as file:
        read: Callable[[], bytes] = partial(file.read, _READ_BYTES)
        for data in iter(read, b""):
            calculator.update(data)
    return calculator.hexdigests()


def _header(options: argparse.Namespace) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine_facts().items())
    cache = "cold" if options.cold else "warm"
    count = options.destinations
    return (
        f"{facts}\n"
        f"one file to {count} destination{'' if count == 1 else 's'},"
        f" {options.rounds} interleaved round{'' if options.rounds == 1 else 's'}, source {cache} in the page cache"
    )


def _explanation(work: Work, *, past_cache: bool) -> str:
    if work is Work.COPY:
        return "the copies are there; nothing is flushed or compared"
    if work is Work.DURABLE:
        return "the copies are on the medium; the others are followed by sync"
    where = "after dropping it from the page cache" if past_cache else "read from the page cache"
    return (
        "the copies are on the medium and were read back, by this program from the medium;\n"
        f"the others are followed by sync and by the digest of every file, {where}"
    )


def _print_result(result: Result) -> None:
    ours = result.seconds[OURS]
    rows = [
        (
            name,
            *(f"{value:.3f}" for value in (median(seconds), min(seconds), max(seconds))),
            f"{median_ratio(ours, seconds):.2f}",
        )
        for name, seconds in result.seconds.items()
    ]
    print_table(("", "median s", "min s", "max s", "ours/theirs"), rows)
    print(f"peak memory of {OURS}: {result.peak_memory / 2**20:.0f} MiB resident in its largest process")
    if result.missing:
        print(f"left out, not installed: {', '.join(result.missing)}")


def _as_data(results: Sequence[Result], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "machine": machine_facts(),
        "destinations": options.destinations,
        "is_source_cold": options.cold,
        "others_read_back_past_cache": options.past_cache,
        "results": [
            {
                "work": result.work,
                "size_bytes": _size_for(result.work, options),
                "file_system": result.place.filesystem,
                "seconds": result.seconds,
                "ours_to_theirs": {
                    name: median_ratio(result.seconds[OURS], seconds) for name, seconds in result.seconds.items()
                },
                "peak_memory_bytes": result.peak_memory,
                "not_installed": result.missing,
            }
            for result in results
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main())
