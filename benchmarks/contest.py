"""A contest: everybody does the same work, in whole processes, and a table says how long each of them took.

Every contender runs once a round, in a new order each round; copies are cleared away between the runs, outside of
the time that counts. Before that, each of them is run once without the clock, and its copies are compared with the
source.

A ratio below 1 means that this program was faster; it is the median of the ratios within the rounds.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from benchmarks.machine import (
    Place,
    clear_away,
    drop_from_cache,
    files_of,
    find_place,
    free_bytes,
    machine_facts,
    microseconds_to_create,
    temporary_folder,
)
from benchmarks.peers import OURS, Contender, Kind, Work, contenders, missing_tools, run_steps
from benchmarks.program import compile_package, peak_memory
from benchmarks.table import print_table
from benchmarks.timing import Samples, interleave, median_ratio, seconds_of
from pfndispatchcopy.hashing import HashCalculator

__all__ = ["Entrant", "Subject", "contest_parser", "enter", "hold", "place_for", "print_as_json"]

_READ_BYTES = 1 << 20
# What else a measurement writes: folders, the other files' names.
_ROOM_BESIDES = 64 << 20
# The user's own configuration would change what is measured.
_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PFNDISPATCHCOPY")},
    "XDG_CONFIG_HOME": os.devnull,
}


class Subject(NamedTuple):
    """What is copied.

    Attributes:
        kind: a file or a folder.
        make: makes it, at a path.
        words: how large it is, for people.
        facts: the same for programs.
        needed: bytes that it takes on a medium.
    """

    kind: Kind
    make: Callable[[str], object]
    words: str
    facts: Mapping[str, int]
    needed: int


class Entrant(NamedTuple):
    """A contender with its source and its destinations in place, to be run as often as one likes.

    Attributes:
        contender: who it is.
        source: path of what is copied.
        copies: paths of what comes out.
        place: where that is.
        folder: that holds it all.
    """

    contender: Contender
    source: str
    copies: Sequence[str]
    place: Place
    folder: str

    def prove(self) -> None:
        """Run once without the clock.

        Raises:
            SystemExit: a copy is not what the source is.
        """
        run_steps(self.contender.steps, _ENVIRONMENT)
        expected = _contents(self.source)
        for copy in self.copies:
            if _contents(copy) != expected:
                raise SystemExit(f"{self.contender.name}: {copy} is not a copy of {self.source}")
        self._clear_copies()

    def seconds(self, *, is_cold: bool = False) -> float:
        """Run once; returns the seconds that it took."""
        if is_cold:
            for path in files_of(self.source):
                drop_from_cache(path)
        try:
            return seconds_of(partial(run_steps, self.contender.steps, _ENVIRONMENT))
        finally:
            self._clear_copies()

    def peak_memory(self) -> int:
        """Run its first command once; returns the peak of its largest process, in bytes resident."""
        try:
            return peak_memory(self.contender.steps[0][0].argv, _ENVIRONMENT)
        finally:
            self._clear_copies()

    def _clear_copies(self) -> None:
        clear_away(self.copies, self.place, self.folder)


class _Result(NamedTuple):
    """One kind of work, measured.

    Attributes:
        work: what was done.
        subject: to what.
        place: where.
        creation_us: what a new, empty file takes there, which matters where there are many.
        seconds: by contender.
        peak_memory: of this program, in bytes, where it took part.
        missing: tools that are not installed.
    """

    work: Work
    subject: Subject
    place: Place
    creation_us: float | None
    seconds: Samples
    peak_memory: int | None
    missing: list[str]


def contest_parser(name: str, documentation: str | None, works: Sequence[Work]) -> argparse.ArgumentParser:
    """A parser with what all contests have in common; *works* are done without a wish."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(documentation or "").split("\n")[0]
    )
    add = parser.add_argument
    usual = "all of them" if list(works) == list(Work) else " and ".join(works)
    add("--work", type=Work, action="append", choices=list(Work), help=f"repeatable (default: {usual})")
    add("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    add("--rounds", type=int, default=5, metavar="N", help="besides the one that warms up (default: %(default)s)")
    add("--on", metavar="memory|disk|PATH", help="where (default: memory for copy, disk for the others)")
    add("--cold", action="store_true", help="drop the source from the page cache before every run")
    add("--peers-only", action="store_true", help="without this program: what the others take on this machine")
    add("--json", action="store_true", help="print the raw seconds as JSON")
    parser.set_defaults(usual_works=list(works), past_cache=False)
    return parser


def hold(options: argparse.Namespace, subject_for: Callable[[Work], Subject]) -> None:
    """Measure every kind of work that *options* ask for, and print what came out."""
    compile_package()
    works: Sequence[Work] = options.work or options.usual_works
    results: list[_Result] = []
    for work in works:
        subject = subject_for(work)
        place = place_for(options.on, subject.needed * (options.destinations + 1), prefers_memory=work is Work.COPY)
        if not options.json:
            if not results:
                print(_header(subject.kind, options))
            title = f"{work}, {subject.words} on {place.filesystem}"
            print(f"\n{title}: {_explanation(work, past_cache=options.past_cache)}", flush=True)
        results.append(_measure(work, subject, place, options))
        if not options.json:
            _print_result(results[-1])
    if options.json:
        print_as_json(_as_data(results, options))


def place_for(wish: str | None, needed: int, *, prefers_memory: bool) -> Place:
    """Where to measure; without a wish memory only where there is enough of it.

    Raises:
        SystemExit: there is no room.
    """
    needed += _ROOM_BESIDES
    if wish is None and prefers_memory:
        with suppress(SystemExit):
            place = find_place("memory")
            if free_bytes(place) >= needed:
                return place
    place = find_place(wish or "disk")
    if free_bytes(place) < needed:
        raise SystemExit(f"{place.folder}: {needed / 2**20:.0f} MiB are needed; make it smaller with --size")
    return place


def enter(
    subject: Subject, work: Work, place: Place, folder: str, destinations: int, *, past_cache: bool = False
) -> list[Entrant]:
    """Make the source and the destinations in an empty *folder*; returns everybody, this program first."""
    source = os.path.join(folder, "source")
    subject.make(source)
    folders = [os.path.join(folder, f"destination-{number}") for number in range(destinations)]
    for each in folders:
        os.mkdir(each)
    copies = [os.path.join(each, os.path.basename(source)) for each in folders]
    everybody = contenders(subject.kind, work, source, folders, is_memory=place.is_memory, past_cache=past_cache)
    return [Entrant(contender, source, copies, place, folder) for contender in everybody]


def _measure(work: Work, subject: Subject, place: Place, options: argparse.Namespace) -> _Result:
    with temporary_folder(place) as folder:
        creation_us = microseconds_to_create(place, folder) if subject.kind is Kind.FOLDER else None
        everybody = enter(subject, work, place, folder, options.destinations, past_cache=options.past_cache)
        if options.peers_only:
            del everybody[0]
        for entrant in everybody:
            entrant.prove()
        memory = None if options.peers_only else everybody[0].peak_memory()
        samples = interleave(
            {entrant.contender.name: partial(entrant.seconds, is_cold=options.cold) for entrant in everybody},
            options.rounds,
            warm_up=0,
        )
    return _Result(work, subject, place, creation_us, samples, memory, missing_tools(subject.kind, work))


def _contents(path: str) -> dict[str, str]:
    """The digest of every file, by its name below *path*."""
    return {os.path.relpath(each, path): _digest(each) for each in files_of(path)}


def _digest(path: str) -> str:
    calculator = HashCalculator(["xxh128"])
    with open(path, "rb", buffering=0) as file:
        read: Callable[[], bytes] = partial(file.read, _READ_BYTES)
        for data in iter(read, b""):
            calculator.update(data)
    return calculator.hexdigests()["xxh128"]


def _header(kind: Kind, options: argparse.Namespace) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine_facts().items())
    cache = "cold" if options.cold else "warm"
    count = options.destinations
    return (
        f"{facts}\n"
        f"one {kind} to {count} destination{'' if count == 1 else 's'},"
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


def _ratios(samples: Samples) -> dict[str, float]:
    """What this program takes in terms of each contender; of nobody where it took no part."""
    ours = samples.get(OURS)
    return {name: median_ratio(ours, seconds) for name, seconds in samples.items()} if ours else {}


def _print_result(result: _Result) -> None:
    ratios = _ratios(result.seconds)
    rows = [
        (
            name,
            *(f"{value:.3f}" for value in (median(seconds), min(seconds), max(seconds))),
            f"{ratios[name]:.2f}" if ratios else "-",
        )
        for name, seconds in result.seconds.items()
    ]
    print_table(("", "median s", "min s", "max s", "ours/theirs"), rows)
    if result.peak_memory is not None:
        print(f"peak memory of {OURS}: {result.peak_memory / 2**20:.0f} MiB resident in its largest process")
    if result.creation_us is not None:
        print(f"a new, empty file takes {result.creation_us:.0f} us there")
    if result.missing:
        print(f"left out, not installed: {', '.join(result.missing)}")


def _as_data(results: Sequence[_Result], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "destinations": options.destinations,
        "is_source_cold": options.cold,
        "others_read_back_past_cache": options.past_cache,
        "results": [
            {
                "work": result.work,
                **result.subject.facts,
                "file_system": result.place.filesystem,
                **({} if result.creation_us is None else {"microseconds_to_create": result.creation_us}),
                "seconds": result.seconds,
                "ours_to_theirs": _ratios(result.seconds),
                "peak_memory_bytes": result.peak_memory,
                "not_installed": result.missing,
            }
            for result in results
        ],
    }


def print_as_json(data: Mapping[str, Any]) -> None:
    """Print *data* and the facts of the machine."""
    json.dump({"machine": machine_facts(), **data}, sys.stdout, indent=2)
    print()
