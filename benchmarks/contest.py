"""A contest: everybody does the same work, in whole processes, and a table says how long each of them took.

Every contender runs once a round, in a new order each round; copies are cleared away between the runs, outside of
the time that counts. Before that, each of them is run once without the clock, and its copies are compared with the
source, by their digests; after each run that counts, by their names and sizes.

A ratio below 1 means that this program was faster; it is the median of the ratios within the rounds.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.contents import contents, digest_of_file, files_of, sizes
from benchmarks.machine import (
    Place,
    clear_away,
    drop_from_cache,
    find_place,
    free_bytes,
    microseconds_to_create,
    temporary_folder,
)
from benchmarks.memory import PeakMemory, peak_memory
from benchmarks.peers import OURS, Contender, Job, Work, contenders, run_steps
from benchmarks.program import ENVIRONMENT
from benchmarks.subjects import Subject
from benchmarks.table import print_table
from benchmarks.timing import Samples, interleave, ratio_of, seconds_of

__all__ = ["Contest", "Entrant", "NoRoomError", "Result", "enter", "measure", "place_for", "print_result"]

# What else a measurement writes: folders, the other files' names.
_ROOM_BESIDES = 64 << 20


class NoRoomError(Exception):
    """A medium is missing, or too small for what was to be measured on it."""


class Contest(NamedTuple):
    """What is measured.

    Attributes:
        subject: what is copied.
        work: what has to be true in the end.
        destinations: how many.
        where: ``memory``, ``disk``, the path of a folder; None for memory or a disk, as the work wants it.
        rounds: how often.
        is_cold: whether the source is dropped from the page cache before every run; if not, it is read before it.
        past_cache: whether the others drop a file from the page cache before they compare digests.
        only: words of which the name of a contender has to hold one; none for all.
    """

    subject: Subject
    work: Work
    destinations: int
    where: str | None = None
    rounds: int = 5
    is_cold: bool = False
    past_cache: bool = False
    only: Sequence[str] = ()


class Result(NamedTuple):
    """What came out.

    Attributes:
        contest: what was measured.
        place: where that was.
        creation_us: what a new, empty file takes there, which matters where there are many.
        seconds: by contender.
        memory: the peak of this program, where it took part.
        absent: contenders that took no part, and why.
    """

    contest: Contest
    place: Place
    creation_us: float | None
    seconds: Samples
    memory: PeakMemory | None
    absent: Mapping[str, str]

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        contest = self.contest
        ratios = {}
        if OURS in self.seconds:
            ratios = {name: ratio_of(self.seconds[OURS], theirs)._asdict() for name, theirs in self.seconds.items()}
        return {
            **contest.subject.facts(),
            "work": contest.work,
            "destinations": contest.destinations,
            "where": "memory" if self.place.is_memory else "disk",
            "file_system": self.place.filesystem,
            "storage": self.place.storage,
            "is_source_cold": contest.is_cold,
            "others_read_back_past_cache": contest.past_cache,
            "microseconds_to_create": self.creation_us,
            "seconds": self.seconds,
            "ours_to_theirs": ratios,
            "peak_memory": None if self.memory is None else self.memory._asdict(),
            "absent": dict(self.absent),
        }


class Entrant(NamedTuple):
    """A contender with its source and its destinations in place, to be run as often as one likes.

    Attributes:
        contender: who it is.
        source: path of what is copied.
        destinations: paths of the folders that the copies come into.
        place: where that is.
        folder: that holds it all.
    """

    contender: Contender
    source: str
    destinations: Sequence[str]
    place: Place
    folder: str

    def prove(self) -> None:
        """Run once without the clock.

        Raises:
            SystemExit: a copy is not what the source is.
        """
        run_steps(self.contender.steps, ENVIRONMENT)
        expected = contents(self.source)
        for copy in self.contender.copies:
            self._require(contents(copy) == expected, copy)
        self._clear_copies()

    def seconds(self, *, is_cold: bool = False) -> float:
        """Run once; returns the seconds that it took.

        Raises:
            SystemExit: a copy is not what the source is.
        """
        if not self.place.is_memory:
            for path in files_of(self.source):
                drop_from_cache(path) if is_cold else digest_of_file(path)
        try:
            seconds = seconds_of(partial(run_steps, self.contender.steps, ENVIRONMENT))
            expected = sizes(self.source)
            for copy in self.contender.copies:
                self._require(sizes(copy) == expected, copy)
            return seconds
        finally:
            self._clear_copies()

    def peak_memory(self) -> PeakMemory:
        """Run its first command once; returns the peak of all of its processes."""
        try:
            return peak_memory(self.contender.steps[0][0].argv, ENVIRONMENT)
        finally:
            self._clear_copies()

    def _require(self, is_true: bool, copy: str) -> None:
        if not is_true:
            raise SystemExit(f"{self.contender.name}: {copy} is not a copy of {self.source}")

    def _clear_copies(self) -> None:
        copies = [os.path.join(folder, name) for folder in self.destinations for name in os.listdir(folder)]
        clear_away(copies, self.place, self.folder)


def place_for(wish: str | None, needed: int, *, prefers_memory: bool) -> Place:
    """Where to measure; without a wish memory only where there is enough of it.

    Raises:
        NoRoomError: there is not enough, or no such place.
    """
    needed += _ROOM_BESIDES
    if wish is None and prefers_memory:
        with suppress(SystemExit):
            place = find_place("memory")
            if free_bytes(place) >= needed:
                return place
    try:
        place = find_place(wish or "disk")
    except SystemExit as error:
        raise NoRoomError(error) from None
    if free_bytes(place) < needed:
        raise NoRoomError(f"{place.folder}: {needed / 2**20:.0f} MiB are needed")
    return place


def enter(
    source: str, work: Work, place: Place, folder: str, destinations: int, *, past_cache: bool = False
) -> tuple[list[Entrant], dict[str, str]]:
    """Make destinations in a *folder*; returns everybody, this program first, and who cannot take part, and why."""
    folders = [os.path.join(folder, f"{destinations}-{number}") for number in range(destinations)]
    for each in folders:
        os.mkdir(each)
    job = Job(work, source, folders, place.is_memory, past_cache, os.path.join(folder, "sums"))
    everybody, absent = contenders(job)
    return [Entrant(contender, source, folders, place, folder) for contender in everybody], absent


def measure(contest: Contest, budget_s: float | None) -> Result:
    """Hold a contest.

    Args:
        contest: what to measure.
        budget_s: about how long it may take; at least one round is made.

    Raises:
        NoRoomError: it does not fit.
    """
    begun_at = perf_counter()
    subject, work = contest.subject, contest.work
    place = place_for(
        contest.where, subject.needed * (contest.destinations + 1), prefers_memory=contest.work is Work.COPY
    )
    with temporary_folder(place) as folder:
        creation_us = microseconds_to_create(place, folder) if subject.is_folder else None
        source = subject.make(folder)
        everybody, absent = enter(source, work, place, folder, contest.destinations, past_cache=contest.past_cache)
        if contest.only:
            everybody = [each for each in everybody if any(word in each.contender.name for word in contest.only)]
        for entrant in everybody:
            entrant.prove()
        memory = next((each.peak_memory() for each in everybody if each.contender.name == OURS), None)
        samples = interleave(
            {entrant.contender.name: partial(entrant.seconds, is_cold=contest.is_cold) for entrant in everybody},
            contest.rounds,
            warm_up=0,
            budget_s=None if budget_s is None else budget_s - (perf_counter() - begun_at),
        )
    return Result(contest, place, creation_us, samples, memory, absent)


def print_result(result: Result) -> None:
    """Print a table, and what it is about."""
    contest = result.contest
    count = contest.destinations
    cache = "in memory" if result.place.is_memory else "cold" if contest.is_cold else "warm"
    print(
        f"\n{contest.work}, {contest.subject.words} to {count} destination{'' if count == 1 else 's'}"
        f" on {result.place.filesystem} ({result.place.storage}), source {cache}: {_explanation(contest)}"
    )
    ours = result.seconds.get(OURS)
    rows = []
    for name, seconds in sorted(result.seconds.items(), key=lambda item: median(item[1])):
        ratio = ratio_of(ours, seconds) if ours else None
        rows.append(
            (
                name,
                *(f"{value:.3f}" for value in (median(seconds), min(seconds), max(seconds))),
                f"{ratio.median:.2f}" if ratio else "-",
                f"{ratio.least:.2f} to {ratio.most:.2f}" if ratio else "-",
                str(len(seconds)),
            )
        )
    print_table(("", "median s", "min s", "max s", "ours/theirs", "spread", "rounds"), rows)
    if result.memory is not None:
        print(f"peak memory of {OURS}: {result.memory.size_bytes / 2**20:.1f} MiB, {result.memory.meaning}")
    if result.creation_us is not None:
        print(f"a new, empty file takes {result.creation_us:.0f} us there")
    for name, reason in result.absent.items():
        print(f"left out: {name}: {reason}")


def _explanation(contest: Contest) -> str:
    if contest.work is Work.COPY:
        return "the copies are there; nothing is flushed or compared"
    if contest.work is Work.DURABLE:
        return "the copies are on the medium; the others are followed by sync"
    is_past = contest.past_cache and not contest.subject.is_folder
    where = "after dropping it from the page cache" if is_past else "from the page cache"
    return (
        "the copies are on the medium and were read back, by this program from the medium;\n"
        f"the others are followed by sync and compare the digest of every file, {where}"
    )
