"""What this program has to reach beside the others, and what was measured: the table that ``compare --all`` prints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.peers import ROOFLINE, Work
from benchmarks.strategies import CASES, Case
from benchmarks.subjects import SubjectName
from benchmarks.table import print_table, size_name

__all__ = [
    "MANY_FOR_MEMORY",
    "MANY_FOR_TIME",
    "OTHER_SIZES",
    "RACES",
    "Goal",
    "Race",
    "cells_of",
    "goals_of",
    "print_goals",
]

_WORDS_OF_WORK = {
    Work.COPY: "no verify",
    Work.DURABLE: "to durable",
    Work.VERIFIED: "durable and verified",
}
OTHER_SIZES = "These are not the sizes that the goals are for: the verdicts say nothing."
MANY_FOR_TIME = 8
_TIME_LIMIT = 1.0
MANY_FOR_MEMORY = 12
_MEMORY_LIMIT_MIB = 16
_STRATEGY_LIMITS: Mapping[Case, float] = dict(zip(CASES, (0.70, 0.65, 0.55), strict=True))


class Race(NamedTuple):
    """A contest with goals: this program in terms of others, by name, no more than so much."""

    subject: SubjectName
    where: str
    work: Work
    destinations: int
    limits: Mapping[str, float]


# The quicker ones first: what they leave of a budget is for those that come after them.
RACES = (
    Race(
        SubjectName.FILE,
        "memory",
        Work.COPY,
        3,
        {ROOFLINE: 1.10, "cp, at once": 1.25, "tee": 0.66, "ocopy": 0.70},
    ),
    Race(SubjectName.FILE, "disk", Work.DURABLE, 3, {"cp, at once": 0.80}),
    Race(SubjectName.FILE, "disk", Work.VERIFIED, 3, {"ocopy": 0.90}),
    Race(
        SubjectName.SMALL,
        "memory",
        Work.COPY,
        3,
        {
            "cp, one after another": 0.90,
            "cp, at once": 1.30,
            "rsync, one after another": 0.45,
            "ocopy": 0.05,
        },
    ),
    Race(SubjectName.SMALL, "disk", Work.VERIFIED, 3, {"cp, one after another": 0.90}),
)


class Goal(NamedTuple):
    """One line of the table.

    Attributes:
        work: what is done.
        against: what it is measured against.
        limit: no more than this.
        measured: the median; None where it was not measured.
        spread: the least and the most, or nothing.
        unit: of both; empty for a ratio.
        rounds: so many were measured.
    """

    work: str
    against: str
    limit: float
    measured: float | None
    spread: Sequence[float] = ()
    unit: str = ""
    rounds: int = 0

    @property
    def verdict(self) -> str:
        """In a word: ``met``, ``missed``, ``not measured``."""
        if self.measured is None:
            return "not measured"
        return "met" if self.measured <= self.limit else "missed"


def goals_of(data: Mapping[str, Any]) -> list[Goal]:
    """Hold results, in the form in which they are written down, against the goals."""
    return [
        *(goal for race in RACES for goal in _of_race(race, data.get("contests", []))),
        *_of_strategies(data.get("strategies", [])),
        _of_time(data.get("fan_out_time")),
        _of_memory(data.get("fan_out_memory")),
    ]


def print_goals(goals: Sequence[Goal], *, is_full_size: bool) -> None:
    """Print the table."""
    print("\nours in terms of the other one, the goal beside it:")
    if not is_full_size:
        print(OTHER_SIZES)
    print_table(
        ("work", "against", "goal", "measured", "spread", "rounds", ""),
        [(goal.work, goal.against, *cells_of(goal), str(goal.rounds or "-"), goal.verdict) for goal in goals],
    )


def cells_of(goal: Goal) -> tuple[str, str, str]:
    """Limit, median and spread of a goal, in words."""
    unit = f" {goal.unit}" if goal.unit else ""
    digits = 1 if goal.unit else 2
    measured = "-" if goal.measured is None else f"{goal.measured:.{digits}f}{unit}"
    spread = " to ".join(f"{each:.{digits}f}" for each in goal.spread) or "-"
    return f"{goal.limit:.{digits}f}{unit}", measured, spread


def _of_race(race: Race, contests: Sequence[Mapping[str, Any]]) -> Iterator[Goal]:
    key = (race.subject, race.where, race.work, race.destinations)
    found = [
        each
        for each in contests
        if (each["subject"], each["where"], each["work"], each["destinations"]) == key and not each["is_source_cold"]
    ]
    contest: Mapping[str, Any] = found[-1] if found else {"words": race.subject.value, "ours_to_theirs": {}}
    work = f"{contest['words']} to {race.destinations}, {race.where}, {_WORDS_OF_WORK[race.work]}"
    for name, limit in race.limits.items():
        ratio = contest["ours_to_theirs"].get(name)
        if ratio is None:
            yield Goal(work, name, limit, None)
        else:
            rounds = len(contest["seconds"][name])
            yield Goal(work, name, limit, ratio["median"], (ratio["least"], ratio["most"]), rounds=rounds)


def _of_strategies(results: Sequence[Mapping[str, Any]]) -> Iterator[Goal]:
    for number, (case, limit) in enumerate(_STRATEGY_LIMITS.items()):
        found = results[number] if number < len(results) else None
        size = case.size if found is None else found["size"]
        words = size_name(size) if size % 1_000_000 else f"{size // 1_000_000} MB"
        work = f"{words} to {case.destinations}, memory, no verify, in a warm process"
        if found is None:
            yield Goal(work, "single strategy", limit, None)
            continue
        ratio, rounds = found["parallel_to_single"], len(found["seconds"]["single"])
        spread = (ratio["least"], ratio["most"])
        yield Goal(work, "single strategy", limit, ratio["median"], spread, rounds=rounds)


def _of_time(found: Mapping[str, Any] | None) -> Goal:
    against = "time for each byte to 1"
    if found is None:
        return Goal(f"file to {MANY_FOR_TIME}, memory, no verify", against, _TIME_LIMIT, None)
    ratio = found["time_per_destination_byte"]
    work = f"{found['words']} to {MANY_FOR_TIME}, memory, no verify"
    spread, rounds = (ratio["least"], ratio["most"]), len(found["seconds"]["1"])
    return Goal(work, against, _TIME_LIMIT, ratio["median"], spread, rounds=rounds)


def _of_memory(found: Mapping[str, Any] | None) -> Goal:
    against, limit = "peak memory to 1, more", float(_MEMORY_LIMIT_MIB)
    if found is None:
        return Goal(f"file to {MANY_FOR_MEMORY}, memory, no verify", against, limit, None, unit="MiB")
    one, many = ([each / 2**20 for each in peaks] for peaks in found["peak_bytes"].values())
    differences = [after - before for before, after in zip(one, many, strict=True)]
    return Goal(
        f"{found['words']} to {MANY_FOR_MEMORY}, memory, no verify",
        against,
        limit,
        found["more_bytes"] / 2**20,
        (min(differences), max(differences)),
        "MiB",
        len(differences),
    )
