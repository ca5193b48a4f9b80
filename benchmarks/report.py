"""Writes the page of the benchmarks, and its plots, from what ``benchmarks.compare --json`` found.

    python -m benchmarks.report FILE [FILE ...]         (make bench-report)

Of the same contest in several files the last one counts; all of it goes into one file beside the page. Plots
need matplotlib: ``pip install '.[bench]'``.
"""

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.goals import OTHER_SIZES, Goal, cells_of, goals_of
from benchmarks.peers import OURS, ROOFLINE
from benchmarks.table import size_name

__all__ = ["merged", "page"]

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs")
_PAGE = "benchmarks.md"
_RESULTS = "benchmarks.json"
_PLOT = "benchmarks.svg"
_PLOT_OF_DESTINATIONS = "benchmarks-destinations.svg"
_COLOUR_OF_OURS, _COLOUR_OF_OTHERS, _COLOUR_OF_LIMIT = "#1b6ca8", "#b8bec4", "#111111"

_Data = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="as benchmarks.compare --json wrote it")
    parser.add_argument("--into", default=_FOLDER, metavar="FOLDER", help="(default: docs)")
    options = parser.parse_args(arguments)
    found = []
    for path in options.files:
        with open(path, encoding="utf-8") as file:
            found.append(json.load(file))
    data = merged(found)
    _draw(data, options.into)
    with open(os.path.join(options.into, _RESULTS), "w", encoding="utf-8") as file:
        json.dump(data, file, indent=2)
        file.write("\n")
    path = os.path.join(options.into, _PAGE)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page(data))
    print(path)
    return 0


def merged(found: Sequence[_Data]) -> dict[str, Any]:
    """Put several results together.

    Raises:
        SystemExit: they are of different machines.
    """
    machines = [each["machine"] for each in found]
    if any(each != machines[0] for each in machines):
        raise SystemExit("these were measured on different machines, or by different versions of Python")
    together = {name: value for each in found for name, value in each.items()}
    contests = {_key(contest): contest for each in found for contest in each["contests"]}
    return {**together, "contests": list(contests.values())}


def page(data: _Data) -> str:
    """The page, in Markdown."""
    return "\n".join(_lines(data)) + "\n"


def _key(contest: _Data) -> tuple[Any, ...]:
    names = ("subject", "size_bytes", "where", "work", "destinations", "is_source_cold", "others_read_back_past_cache")
    return tuple(contest[name] for name in names)


def _lines(data: _Data) -> Iterator[str]:
    machine = ", ".join(f"{name} {value}" for name, value in data["machine"].items())
    yield "# Benchmarks"
    yield ""
    yield "`make bench` measures, `make bench-report` writes this page and its plots; nothing here is written by hand."
    yield ""
    yield f"{machine}. Measured at {data['measured_at']}."
    yield ""
    yield "Whole processes, every contender once a round, in a new order each round. A ratio is ours in terms of the"
    yield "other one, the median of the rounds; below 1 this program took less time. Each contender's copies were"
    yield "compared with the source before the clock ran. The others are made durable by `sync`, and compare digests"
    yield "from the page cache; this program reads back from the medium."
    if "goals" in data:
        yield from _goal_lines(goals_of(data), is_full_size=data["is_full_size"])
    if _has_contests(data):
        yield from ("", f"![Seconds of each contender]({_PLOT})")
    if any(len(counts) > 1 for counts in _by_destinations(data).values()):
        yield from ("", f"![Seconds by number of destinations]({_PLOT_OF_DESTINATIONS})")
    for contest in data["contests"]:
        yield from _contest_lines(contest)
    yield from _figure_lines(data)


def _goal_lines(goals: Sequence[Goal], *, is_full_size: bool) -> Iterator[str]:
    yield from ("", "## What is to be reached", "")
    if not is_full_size:
        yield from (OTHER_SIZES, "")
    yield from _table(
        ("work", "against", "goal", "measured", "spread", "rounds", ""),
        [(goal.work, goal.against, *cells_of(goal), str(goal.rounds or "-"), goal.verdict) for goal in goals],
    )


def _contest_lines(contest: _Data) -> Iterator[str]:
    yield from ("", f"## {_title(contest)}", "")
    ratios = contest["ours_to_theirs"]
    rows = []
    for name, seconds in sorted(contest["seconds"].items(), key=lambda item: median(item[1])):
        ratio = ratios.get(name)
        rows.append(
            (
                f"**{name}**" if name == OURS else name,
                *(f"{value:.3f}" for value in (median(seconds), min(seconds), max(seconds))),
                f"{ratio['median']:.2f}" if ratio else "-",
                f"{ratio['least']:.2f} to {ratio['most']:.2f}" if ratio else "-",
                str(len(seconds)),
            )
        )
    yield from _table(("", "median s", "min s", "max s", "ours/theirs", "spread", "rounds"), rows)
    memory = contest["peak_memory"]
    if memory is not None:
        yield from ("", f"Peak memory of {OURS}: {memory['size_bytes'] / 2**20:.1f} MiB, {memory['meaning']}.")
    if contest["absent"]:
        absent = "; ".join(f"{name} ({reason})" for name, reason in contest["absent"].items())
        yield from ("", f"Left out: {absent}.")


def _figure_lines(data: _Data) -> Iterator[str]:
    if "strategies" in data:
        yield from ("", "## The parallel path against the single one, in a warm process", "")
        yield from _table(
            ("file", "destinations", "single s", "parallel s", "parallel/single", "spread"),
            [
                (
                    size_name(each["size"]),
                    str(each["destinations"]),
                    *(f"{median(each['seconds'][name]):.4f}" for name in ("single", "parallel")),
                    f"{each['parallel_to_single']['median']:.2f}",
                    f"{each['parallel_to_single']['least']:.2f} to {each['parallel_to_single']['most']:.2f}",
                )
                for each in data["strategies"]
            ],
        )
    if "fan_out_time" in data:
        found = data["fan_out_time"]
        yield from ("", f"## {found['words']} to many destinations, memory, no verify", "")
        yield from _table(
            ("destinations", "median s", "min s", "max s"),
            [
                (count, *(f"{value:.3f}" for value in (median(seconds), min(seconds), max(seconds))))
                for count, seconds in found["seconds"].items()
            ],
        )
    if "fan_out_memory" in data:
        found = data["fan_out_memory"]
        yield from ("", f"## Peak memory, {found['words']}: {found['meaning']}", "")
        yield from _table(
            ("destinations", "median MiB", "min MiB", "max MiB"),
            [
                (str(count), *(f"{value / 2**20:.1f}" for value in (median(peaks), min(peaks), max(peaks))))
                for count, peaks in found["peak_bytes"].items()
            ],
        )


def _title(contest: _Data) -> str:
    count = contest["destinations"]
    cache = "" if contest["where"] == "memory" else ", source cold" if contest["is_source_cold"] else ", source warm"
    past = ", others past the page cache" if contest["others_read_back_past_cache"] else ""
    return (
        f"{contest['words']} to {count} destination{'' if count == 1 else 's'}, {contest['work']}"
        f" ({contest['file_system']} on {contest['storage']}{cache}{past})"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _has_contests(data: _Data) -> bool:
    return bool(data["contests"])


def _by_destinations(data: _Data) -> dict[str, dict[int, _Data]]:
    """Contests that differ in the number of destinations alone, by what they have in common."""
    found: dict[str, dict[int, _Data]] = defaultdict(dict)
    for contest in data["contests"]:
        found[f"{contest['words']}, {contest['work']}, {contest['where']}"][contest["destinations"]] = contest
    return found


def _draw(data: _Data, folder: str) -> None:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only plots need it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise SystemExit("plots need matplotlib: pip install '.[bench]'") from None
    # The same figures make the same file.
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 8})
    if _has_contests(data):
        figure = Figure(figsize=(8, 2.6 * len(data["contests"])), layout="constrained")
        for axes, contest in zip(
            figure.subplots(len(data["contests"]), squeeze=False)[:, 0], data["contests"], strict=True
        ):
            _draw_contest(axes, contest)
        figure.savefig(os.path.join(folder, _PLOT), metadata={"Date": None})
    groups = {words: counts for words, counts in _by_destinations(data).items() if len(counts) > 1}
    if groups:
        figure = Figure(figsize=(8, 3.4 * len(groups)), layout="constrained")
        for axes, (words, counts) in zip(
            figure.subplots(len(groups), squeeze=False)[:, 0], groups.items(), strict=True
        ):
            _draw_destinations(axes, words, counts)
        figure.savefig(os.path.join(folder, _PLOT_OF_DESTINATIONS), metadata={"Date": None})


def _draw_contest(axes: Any, contest: _Data) -> None:
    """Bars with the least and the most of the rounds; the limit is a line."""
    samples = sorted(contest["seconds"].items(), key=lambda item: -median(item[1]))
    medians = [median(seconds) for _, seconds in samples]
    spread = [
        [middle - min(seconds) for middle, (_, seconds) in zip(medians, samples, strict=True)],
        [max(seconds) - middle for middle, (_, seconds) in zip(medians, samples, strict=True)],
    ]
    colours = [_COLOUR_OF_OURS if name == OURS else _COLOUR_OF_OTHERS for name, _ in samples]
    axes.barh([name for name, _ in samples], medians, xerr=spread, color=colours, ecolor="#5b6268", capsize=2)
    if ROOFLINE in contest["seconds"]:
        axes.axvline(median(contest["seconds"][ROOFLINE]), color=_COLOUR_OF_LIMIT, linestyle="--", linewidth=1)
    axes.set_xlabel("seconds, median; least and most")
    axes.set_title(_title(contest), loc="left")


def _draw_destinations(axes: Any, words: str, counts: Mapping[int, _Data]) -> None:
    for name in dict.fromkeys(name for contest in counts.values() for name in contest["seconds"]):
        points = sorted(
            (count, median(contest["seconds"][name])) for count, contest in counts.items() if name in contest["seconds"]
        )
        is_ours = name == OURS
        axes.plot(
            [count for count, _ in points],
            [seconds for _, seconds in points],
            label=name,
            marker="o",
            markersize=3,
            linewidth=2.5 if is_ours else 1,
            linestyle="--" if name == ROOFLINE else "-",
            color=_COLOUR_OF_OURS if is_ours else _COLOUR_OF_LIMIT if name == ROOFLINE else None,
        )
    axes.set_xticks(sorted(counts))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("destinations")
    axes.set_ylabel("seconds, median")
    axes.set_title(words, loc="left")
    axes.legend()


if __name__ == "__main__":
    raise SystemExit(main())
