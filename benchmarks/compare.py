"""Side by side with everybody who is installed: cp, tee, dd, rsync, rclone, dcfldd, dc3dd, ocopy, and the limit in C.

    python -m benchmarks.compare                        large file, card and small files; copied, durable, verified
    python -m benchmarks.compare --destinations 1,8     how that changes with the number of destinations
    python -m benchmarks.compare --all --json FILE      what this program has to reach, and whether it does

How it is measured is said in ``contest.py``, and in ``peers.py`` what the others are called with. ``--json FILE``
writes what is found as soon as it is found; ``python -m benchmarks.report`` makes a page of it.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from benchmarks.arguments import size
from benchmarks.contest import Contest, NoRoomError, measure, print_result
from benchmarks.fan_out import measure_memory, measure_time
from benchmarks.goals import MANY_FOR_MEMORY, MANY_FOR_TIME, RACES, goals_of, print_goals
from benchmarks.machine import machine_facts
from benchmarks.peers import Work
from benchmarks.program import compile_package
from benchmarks.strategies import CASES, measure_case
from benchmarks.subjects import Sizes, SubjectName, make_subject
from benchmarks.timing import Budget

_QUICK = Sizes(file=16 << 20, card=16 << 20, small_files=200)
# A copy each to many destinations takes room.
_LARGEST_FOR_MEMORY = 256 << 20
_Name = TypeVar("_Name", bound=StrEnum)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or else it leaves its folders behind
    compile_package()
    report = _Report(options)
    report.say(", ".join(f"{name} {value}" for name, value in machine_facts().items()))
    (_measure_goals if options.all else _measure_contests)(options, _sizes(options), report)
    return 0


class _Report:
    """Says what was found, to people and into a file, as soon as it was found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._path: str | None = options.json
        self.prints = self._path != "-"
        self.data: dict[str, Any] = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine_facts(),
            "rounds": options.rounds,
            "contests": [],
        }
        self._write()

    def say(self, text: str) -> None:
        if self.prints:
            print(text, flush=True)

    def end(self) -> None:
        self._write()
        if not self.prints:
            json.dump(self.data, sys.stdout, indent=2)
            print()

    def contest(self, contest: Contest, budget_s: float | None) -> None:
        self._without_room(partial(self._contest, contest, budget_s), contest.subject.words)

    def figures(self, words: str, measured: Callable[[], None]) -> None:
        self.say(f"\n{words} …")
        self._without_room(measured, words)

    def _contest(self, contest: Contest, budget_s: float | None) -> None:
        result = measure(contest, budget_s)
        if self.prints:
            print_result(result)
            sys.stdout.flush()
        self.data["contests"].append(result.data())

    def _without_room(self, measured: Callable[[], None], words: str) -> None:
        try:
            measured()
        except NoRoomError as error:
            self.say(f"\nleft out: {words}: {error}")
        self._write()

    def _write(self) -> None:
        if self._path is None or not self.prints:
            return
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(self.data, file, indent=2)
            file.write("\n")
        os.replace(new, self._path)


def _measure_contests(options: argparse.Namespace, sizes: Sizes, report: _Report) -> None:
    contests = [
        Contest(
            make_subject(name, sizes),
            work,
            destinations,
            where,
            options.rounds,
            options.cold,
            options.past_cache,
            options.only,
        )
        for name in options.subject
        for destinations in options.destinations
        for work in options.work
        for where in options.on or [None]
    ]
    budget = Budget(options.budget_s)
    for number, contest in enumerate(contests):
        report.contest(contest, budget.share(len(contests) - number))
    report.end()


def _measure_goals(options: argparse.Namespace, sizes: Sizes, report: _Report) -> None:
    """The quick ones first: what they leave of the time is for those that come after them."""
    rounds, data = options.rounds, report.data
    budget = Budget(options.budget_s)
    to_come = len(CASES) + 2 + len(RACES)

    def share() -> float | None:
        nonlocal to_come
        to_come -= 1
        return budget.share(to_come + 1)

    def strategies() -> None:
        for case in CASES:
            smaller = case._replace(size=min(case.size, sizes.file))
            data.setdefault("strategies", []).append(measure_case(smaller, rounds, share()).data())

    def fan_out_time() -> None:
        subject = make_subject(SubjectName.FILE, sizes)
        data["fan_out_time"] = measure_time(subject, MANY_FOR_TIME, rounds, share()).data()

    def fan_out_memory() -> None:
        subject = make_subject(SubjectName.FILE, sizes._replace(file=min(sizes.file, _LARGEST_FOR_MEMORY)))
        share()
        data["fan_out_memory"] = measure_memory(subject, MANY_FOR_MEMORY, rounds).data()

    report.figures("the parallel path against the single one, in this process", strategies)
    report.figures(f"time for each byte to {MANY_FOR_TIME} destinations and to 1", fan_out_time)
    report.figures(f"memory to {MANY_FOR_MEMORY} destinations and to 1", fan_out_memory)
    for race in RACES:
        contest = Contest(make_subject(race.subject, sizes), race.work, race.destinations, race.where, rounds)
        report.contest(contest._replace(only=options.only), share())
    goals = goals_of(data)
    data["is_full_size"] = sizes == Sizes()
    data["goals"] = [{**goal._asdict(), "verdict": goal.verdict} for goal in goals]
    report.end()
    if report.prints:
        print_goals(goals, is_full_size=data["is_full_size"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--all", action="store_true", help="the table of what is to be reached, with the goals beside it")
    add("--subject", type=_names(SubjectName), default=list(SubjectName), help="of file,card,small (default: all)")
    add("--work", type=_names(Work), default=list(Work), help="of copy,durable,verified (default: all)")
    add("--on", type=_words, metavar="memory,disk,PATH", help="(default: memory for copy, disk for the others)")
    add("--destinations", type=_numbers, default=[3], metavar="1,2,3,5,8", help="how many (default: 3)")
    add("--only", type=_words, default=[], metavar="NAME,…", help="contenders whose names hold one of these words")
    add("--rounds", type=int, default=5, metavar="N", help="besides the one that warms up (default: %(default)s)")
    add(
        "--minutes",
        type=_seconds,
        dest="budget_s",
        metavar="N",
        help="no further rounds after about so long; at least one each",
    )
    add("--size", type=size, metavar="SIZE", help="of the large file, and of the card (default: 1GiB)")
    add("--files", type=int, metavar="N", help="small files of 16 KiB (default: 10000)")
    add("--quick", action="store_true", help="16 MiB, 200 files: to see that it works, not how fast")
    add("--cold", action="store_true", help="drop the source from the page cache before every run")
    add("--past-cache", action="store_true", help="others drop a file from the cache before they compare (GNU dd)")
    add("--json", nargs="?", const="-", metavar="FILE", help="write the raw seconds there; without FILE, print them")
    return parser


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = _QUICK if options.quick else Sizes()
    if options.size is not None:
        sizes = sizes._replace(file=options.size, card=options.size)
    return sizes if options.files is None else sizes._replace(small_files=options.files)


def _names(kind: type[_Name]) -> Callable[[str], list[_Name]]:
    def names(text: str) -> list[_Name]:
        try:
            return [kind(word) for word in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not of {', '.join(kind)}") from None

    return names


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _words(text: str) -> list[str]:
    return text.split(",")


def _seconds(minutes: str) -> float:
    return 60 * float(minutes)


if __name__ == "__main__":
    raise SystemExit(main())
