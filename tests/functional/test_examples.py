"""The examples and the comparison run, and say what they promise to say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Thirteen processes and more, on a machine that may be busy.
PATIENCE_S = 60

pytestmark = [
    pytest.mark.timeout(PATIENCE_S + 30),
    pytest.mark.skipif(os.name == "nt", reason="the examples are shown on POSIX systems"),
]


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project's folder, with *tmp_path* as the place of temporary files."""
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "no-configuration"),
        "PYTHONUTF8": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
    )


def require_clean_end(ended: subprocess.CompletedProcess[str], tmp_path: Path) -> None:
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_quick_demo_shows_verified_then_equal_then_identical(tmp_path: Path) -> None:
    ended = run(tmp_path, "examples/quick_demo.py", "300KB")

    require_clean_end(ended, tmp_path)
    assert ended.stdout.count(": verified, 1 file, 300000 bytes") == 2
    assert ended.stdout.count("  equal\n") == 2
    assert ended.stdout.count(": identical, 1 file, 300000 bytes") == 2
    assert "make offload SRC=" in ended.stdout
    assert len(ended.stdout.splitlines()) < 25


def test_quick_demo_copies_an_empty_file(tmp_path: Path) -> None:
    ended = run(tmp_path, "examples/quick_demo.py", "0")

    require_clean_end(ended, tmp_path)
    assert ended.stdout.count("  equal\n") == 2


def test_quick_demo_fails_when_the_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PFNDISPATCHCOPY_CONFIG", str(tmp_path / "missing.toml"))

    ended = run(tmp_path, "examples/quick_demo.py", "1KB")

    assert ended.returncode == 1
    assert "Something is off" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_quick_demo_refuses_what_is_no_size(tmp_path: Path) -> None:
    ended = run(tmp_path, "examples/quick_demo.py", "huge")

    assert ended.returncode == 2
    assert "'huge' is not a size" in ended.stderr


def test_parallel_demo_prints_a_row_for_every_size(tmp_path: Path) -> None:
    ended = run(tmp_path, "examples/parallel_demo.py", "--sizes", "1KiB", "1MiB", "2MiB", "--rounds", "1")

    require_clean_end(ended, tmp_path)
    rows = [
        line.split() for line in ended.stdout.splitlines() if line.lstrip().startswith(("1024 B", "1 MiB", "2 MiB"))
    ]
    assert len(rows) == 3
    assert all(float(cell) > 0 for row in rows for cell in row[5:])


def test_comparison_measures_every_kind_of_work(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "-m", "benchmarks.compare", "--subject", "file", "--size", "100KiB", "--rounds", "1",
        "--destinations", "2", "--on", str(tmp_path), "--cold", "--only", "pfndispatchcopy,cp",
    )  # fmt: skip

    require_clean_end(ended, tmp_path)
    for work in ("copy", "durable", "verified"):
        assert f"\n{work}, 100 KiB to 2 destinations on " in ended.stdout
    assert ended.stdout.count("\npfndispatchcopy ") == 3
    assert ended.stdout.count("\ncp, at once ") == 3
    assert ended.stdout.count("peak memory of pfndispatchcopy: ") == 3


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no folder in memory")
def test_comparison_of_folders_tells_goals_and_writes_what_it_found(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    ended = run(
        tmp_path, "-m", "benchmarks.compare", "--all", "--quick", "--size", "64KiB", "--files", "20", "--rounds", "1",
        "--only", "pfndispatchcopy,cp", "--json", str(results),
    )  # fmt: skip

    found = json.loads(results.read_text())
    results.unlink()
    require_clean_end(ended, tmp_path)
    assert "the verdicts say nothing" in ended.stdout
    verdicts = [goal["verdict"] for goal in found["goals"]]
    assert len(verdicts) == 16
    assert set(verdicts) <= {"met", "missed", "not measured"}
    measured = [goal for goal in found["goals"] if goal["against"].startswith("cp, ")]
    assert "not measured" not in [goal["verdict"] for goal in measured]


def test_comparison_prints_raw_figures_as_json(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "-m", "benchmarks.compare", "--size", "1KiB", "--rounds", "2", "--destinations", "1",
        "--subject", "file", "--work", "copy", "--on", str(tmp_path), "--only", "pfndispatchcopy,cp", "--json",
    )  # fmt: skip

    require_clean_end(ended, tmp_path)
    (result,) = json.loads(ended.stdout)["contests"]
    assert result["work"] == "copy"
    assert result["ours_to_theirs"]["pfndispatchcopy"]["median"] == 1
    assert all(len(seconds) == 2 for seconds in result["seconds"].values())
    assert result["peak_memory"]["size_bytes"] > 1 << 20
