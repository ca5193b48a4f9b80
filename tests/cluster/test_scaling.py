"""Four workers, each with a line of its own, take about a quarter of the time of one."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.environment import DaskCluster, Environment
from tests.support.command import environment
from tests.support.files import make_file

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

_FILES, _SIZE = 24, 5_000_000
_RATE = "3M"
_LEAST_GAIN = 3.2


def _seconds(count: int, folder: Path, tools: Environment) -> float:
    cluster = DaskCluster(tools)
    try:
        for _ in range(count):
            cluster.add_worker()
        cluster.wait_for_workers(count)
        done = subprocess.run(
            [
                *tools.command,
                "--json",
                "--executor",
                f"dask:{cluster.address}",
                "--bwlimit",
                _RATE,
                "CARD",
                f"d{count}",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
            env=environment(),
        )
    finally:
        cluster.close()
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["files"] == _FILES
    return float(summary["elapsed_s"])


def test_four_workers_with_a_line_each_are_more_than_three_times_as_fast_as_one(
    tmp_path: Path, cluster_environment: Environment
) -> None:
    for number in range(_FILES):
        make_file(tmp_path / "CARD" / f"clip{number:02}.mov", _SIZE, number)
    one, four = (_seconds(count, tmp_path, cluster_environment) for count in (1, 4))
    assert one / four >= _LEAST_GAIN, f"{one:.2f} s with one worker, {four:.2f} s with four"
