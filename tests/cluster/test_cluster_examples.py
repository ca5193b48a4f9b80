"""The examples for clusters run on one machine, by the commands that stand in them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster.environment import ROOT, DaskCluster, Environment
from tests.support.command import environment
from tests.support.files import make_file, partials
from tests.support.tree_trial import snapshot

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

_DASK = ROOT / "examples" / "dask_offload.py"
_SLURM = ROOT / "examples" / "slurm_offload.sh"


@pytest.fixture
def card(tmp_path: Path) -> Path:
    for number in range(300):
        make_file(tmp_path / "CARD" / f"{number % 3}" / f"f{number}", 100, number)
    make_file(tmp_path / "CARD" / "clip.mov", 5_000_000, 1000)
    return tmp_path / "CARD"


def _run(folder: Path, *command: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**environment(), **more},
    )


def _require_copied(card: Path) -> None:
    assert [snapshot(card.parent / name / "CARD") for name in ("a", "b")] == [snapshot(card)] * 2
    assert partials(card.parent) == []


def test_dask_script_starts_workers_of_its_own(card: Path, cluster_environment: Environment) -> None:
    done = _run(card.parent, cluster_environment.python, _DASK, "--local", 3, "CARD", "a", "b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name}: verified, 301 files, 5030000 bytes" for name in ("a", "b")]
    _require_copied(card)


def test_dask_script_takes_a_scheduler(card: Path, cluster_environment: Environment, dask_cluster: DaskCluster) -> None:
    done = _run(card.parent, cluster_environment.python, _DASK, dask_cluster.address, "CARD", "a", "b")
    assert done.returncode == 0, done.stderr
    _require_copied(card)
    refused = _run(card.parent, cluster_environment.python, _DASK, dask_cluster.address, "nothing", "c")
    assert refused.returncode == 2
    assert "nothing" in refused.stderr


def _mpi(tools: Environment) -> tuple[str, Mapping[str, str]]:
    commands = tools.mpi_commands()
    if not commands:
        pytest.skip("no Open MPI here (mpiexec)")
    command, more = commands.get("system") or commands["package"]
    return " ".join(command), more


def test_slurm_script_runs_without_slurm(card: Path, cluster_environment: Environment) -> None:
    mpiexec, more = _mpi(cluster_environment)
    settings = {"SLURM_NTASKS": "3", "MPIEXEC": mpiexec, "PYTHON": cluster_environment.python, **more}
    done = _run(card.parent, "sh", _SLURM, "CARD", "a", "b", **settings, OFFLOAD_OPTIONS="--sums md5 -v")
    assert done.returncode == 0, done.stderr
    assert ": verified, 301 files" in done.stdout
    assert [path.name for path in (card.parent / "a" / "CARD").glob("*.md5")] == ["CARD.md5"]
    for path in card.parent.glob("[ab]/CARD/*.md5"):
        path.unlink()
    assert [sorted(snapshot(card.parent / name / "CARD")) for name in ("a", "b")] == [sorted(snapshot(card))] * 2


def test_slurm_script_says_how_it_is_used() -> None:
    done = _run(ROOT, "sh", _SLURM, "CARD")
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert os.access(_SLURM, os.X_OK)
    lines = _SLURM.read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[:last])  # behind the first command, SLURM reads none
