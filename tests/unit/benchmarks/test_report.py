"""Goals and the page: both are made from what was measured, and from nothing else."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.goals import goals_of
from benchmarks.peers import OURS, ROOFLINE
from benchmarks.report import merged, page

DOCS = Path(__file__).resolve().parents[3] / "docs"


def _ratio(median: float) -> dict[str, float]:
    return {"median": median, "least": median - 0.1, "most": median + 0.1}


def _contest(destinations: int = 3, **ours_to_theirs: float) -> dict[str, Any]:
    names = {"cp": "cp, at once", "roofline": ROOFLINE}
    ratios = {names.get(name, name): _ratio(value) for name, value in ours_to_theirs.items()}
    return {
        "subject": "file",
        "words": "1 GiB",
        "files": 1,
        "size_bytes": 1 << 30,
        "work": "copy",
        "destinations": destinations,
        "where": "memory",
        "file_system": "tmpfs",
        "storage": "memory",
        "is_source_cold": False,
        "others_read_back_past_cache": False,
        "microseconds_to_create": None,
        "seconds": {OURS: [1.0, 1.1, 0.9], **{name: [2.0, 2.1, 1.9] for name in ratios}},
        "ours_to_theirs": {OURS: _ratio(1.0), **ratios},
        "peak_memory": {"size_bytes": 30 << 20, "meaning": "all of them"},
        "absent": {"ocopy": "ocopy is not installed"},
    }


@pytest.fixture
def data() -> dict[str, Any]:
    return {
        "measured_at": "2026-01-31T12:00:00+00:00",
        "machine": {"system": "Linux", "cores": "2"},
        "rounds": 3,
        "is_full_size": True,
        "contests": [_contest(cp=1.2, tee=0.7, roofline=1.1), _contest(8, cp=1.2)],
        "strategies": [
            {
                "size": 30_000_000,
                "destinations": 3,
                "file_system": "tmpfs",
                "seconds": {"single": [2.0] * 3, "parallel": [1.0] * 3},
                "parallel_to_single": _ratio(0.5),
            }
        ],
        "fan_out_time": {
            "words": "1 GiB",
            "seconds": {"1": [1.0] * 3, "8": [7.0] * 3},
            "time_per_destination_byte": _ratio(0.875),
        },
        "fan_out_memory": {
            "words": "256 MiB",
            "peak_bytes": {"1": [20 << 20] * 3, "12": [40 << 20] * 3},
            "meaning": "all of them",
            "more_bytes": 20 << 20,
        },
        "goals": [],
    }


def test_goals_are_met_missed_or_not_measured(data: dict[str, Any]) -> None:
    verdicts = {(goal.work, goal.against): goal.verdict for goal in goals_of(data)}

    assert verdicts["1 GiB to 3, memory, no verify", "cp, at once"] == "met"
    assert verdicts["1 GiB to 3, memory, no verify", ROOFLINE] == "met"
    assert verdicts["1 GiB to 3, memory, no verify", "tee"] == "missed"
    assert verdicts["1 GiB to 3, memory, no verify", "ocopy"] == "not measured"
    assert verdicts["30 MB to 3, memory, no verify, in a warm process", "single strategy"] == "met"
    assert verdicts["256 MiB to 3, memory, no verify, in a warm process", "single strategy"] == "not measured"
    assert verdicts["1 GiB to 8, memory, no verify", "time for each byte to 1"] == "met"
    assert verdicts["256 MiB to 12, memory, no verify", "peak memory to 1, more"] == "missed"
    assert len(verdicts) == 16


def test_cold_contest_is_no_answer_to_a_goal(data: dict[str, Any]) -> None:
    for contest in data["contests"]:
        contest["is_source_cold"] = True

    assert {goal.verdict for goal in goals_of(data)[:4]} == {"not measured"}


def test_goals_of_nothing_are_not_measured() -> None:
    goals = goals_of({})

    assert len(goals) == 16
    assert {goal.verdict for goal in goals} == {"not measured"}


def test_page_says_what_was_measured(data: dict[str, Any]) -> None:
    text = page(data)

    assert "system Linux, cores 2. Measured at 2026-01-31T12:00:00+00:00." in text
    assert "| 1 GiB to 3, memory, no verify | cp, at once | 1.25 | 1.20 | 1.10 to 1.30 | 3 | met |" in text
    assert f"| **{OURS}** | 1.000 | 0.900 | 1.100 | 1.00 | 0.90 to 1.10 | 3 |" in text
    assert "## 1 GiB to 8 destinations, copy (tmpfs on memory)" in text
    assert "Left out: ocopy (ocopy is not installed)." in text
    assert "Peak memory of pfndispatchcopy: 30.0 MiB, all of them." in text
    assert "![Seconds by number of destinations](benchmarks-destinations.svg)" in text
    assert "| 12 | 40.0 | 40.0 | 40.0 |" in text
    assert "verdicts say nothing" not in text


def test_page_says_when_the_verdicts_mean_nothing(data: dict[str, Any]) -> None:
    data["is_full_size"] = False

    assert "These are not the sizes that the goals are for: the verdicts say nothing." in page(data)


def test_later_results_replace_earlier_ones_of_the_same_contest(data: dict[str, Any]) -> None:
    later = {name: deepcopy(data[name]) for name in ("machine", "measured_at", "contests")}
    later["contests"] = [_contest(cp=9.0), _contest(5, cp=1.0)]

    together = merged([data, later])

    assert [contest["destinations"] for contest in together["contests"]] == [3, 8, 5]
    assert together["contests"][0]["ours_to_theirs"]["cp, at once"]["median"] == 9.0
    assert "strategies" in together


def test_different_machines_are_not_put_together(data: dict[str, Any]) -> None:
    other = deepcopy(data)
    other["machine"]["cores"] = "64"

    with pytest.raises(SystemExit, match="different machines"):
        merged([data, other])


def test_page_and_plots_are_written(data: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    (tmp_path / "results.json").write_text(json.dumps(data))

    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert report.main([str(tmp_path / "results.json"), "--into", str(tmp_path / folder)]) == 0

    assert (tmp_path / "one" / "benchmarks.md").read_text() == page(data)
    assert json.loads((tmp_path / "one" / "benchmarks.json").read_text()) == data
    for name in ("benchmarks.svg", "benchmarks-destinations.svg"):
        drawn = (tmp_path / "one" / name).read_text()
        assert OURS in drawn
        assert drawn == (tmp_path / "two" / name).read_text()


def test_page_in_the_documentation_is_that_of_its_results() -> None:
    if not (DOCS / "benchmarks.json").exists():
        pytest.skip("nothing was measured yet")

    data = merged([json.loads((DOCS / "benchmarks.json").read_text())])
    assert (DOCS / "benchmarks.md").read_text() == page(data)
