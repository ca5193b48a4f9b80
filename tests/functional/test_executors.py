"""Whoever does the jobs, what comes of them is the same: trees, digests, the report and the exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pfndispatchcopy.fileio.names import is_record
from tests.support.cluster_fixtures import cluster_environment, dask_cluster  # noqa: F401 - fixtures
from tests.support.command import PROGRAM, environment
from tests.support.files import make_file, partials
from tests.support.tree_trial import snapshot

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the engines are those of POSIX systems")

_ROOT = Path(__file__).parents[2]
_TIMES = (1_500_000_000 * 10**9, 1_600_000_000 * 10**9 + 7)
_SMALL_FILES = 250  # two batches
_PATIENCE_S = 100


class _Way(NamedTuple):
    """A command that copies, and the environment that it wants."""

    command: list[str]
    more: Mapping[str, str] = {}


def _named(name: str) -> Callable[[pytest.FixtureRequest], list[_Way]]:
    return lambda request: [_Way([PROGRAM, "--json", "--executor", name])]


def _object(name: str) -> Callable[[pytest.FixtureRequest], list[_Way]]:
    return lambda request: [_Way([sys.executable, "-m", "tests.support.offload_on", name])]


def _loky(request: pytest.FixtureRequest) -> list[_Way]:
    python = request.getfixturevalue("cluster_environment").python
    return [_Way([python, "-m", "tests.support.offload_on", "loky"])]


def _dask(request: pytest.FixtureRequest) -> list[_Way]:
    cluster = request.getfixturevalue("dask_cluster")
    program = request.getfixturevalue("cluster_environment").command
    return [
        _Way([*program, "--json", "--executor", f"dask:{cluster.address}"]),
        _Way([*program, "--json", "--executor", "dask"], {"DASK_SCHEDULER_ADDRESS": cluster.address}),
    ]


def _mpi(request: pytest.FixtureRequest) -> list[_Way]:
    tools = request.getfixturevalue("cluster_environment")
    commands = tools.mpi_commands()
    if not commands:
        pytest.skip("no Open MPI here (mpiexec)")
    program = ["-n", "3", tools.python, "-m", "mpi4py.futures", "-m", "pfndispatchcopy", "--json", "--executor", "mpi"]
    return [_Way([*command, *program], more) for command, more in commands.values()]


_WAYS: dict[str, Callable[[pytest.FixtureRequest], list[_Way]]] = {
    "serial": _named("serial"),
    "threads": _named("threads"),
    "processes": _named("processes"),
    "SerialExecutor": _object("SerialExecutor"),
    "ThreadPoolExecutor": _object("ThreadPoolExecutor"),
    "ProcessPoolExecutor": _object("ProcessPoolExecutor"),
}
_CLUSTER = [pytest.mark.cluster, pytest.mark.timeout(400)]
_CLUSTER_WAYS = {"loky": _loky, "dask": _dask, "mpi": _mpi}


def _forget_times(folder: Path) -> None:
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
        os.utime(path, ns=_TIMES, follow_symlinks=False)


def _make_card(folder: Path) -> None:
    """Small, large, empty and linked files, odd names, an empty folder, and one file that has a conflict waiting."""
    for number in range(_SMALL_FILES):
        make_file(folder / f"small/{number % 7}/f{number:03}", number % 50 * 100, number)
    make_file(folder / "large.mov", 5_000_000, 1001)
    make_file(folder / "deep/er/large.mov", 4_400_000, 1002)
    for number, name in enumerate(("new\nline", "e\u0301 and \u00e9", " ", "-rf", "\udcff no text", "x" * 255)):
        make_file(folder / "odd" / name, 100, number + 2000)
    (folder / "empty").write_bytes(b"")
    (folder / "empty folder").mkdir()
    (folder / "link").symlink_to("large.mov")
    (folder / "dangling").symlink_to("nowhere")
    make_file(folder / "conflict.mov", 3000, 3000)
    (folder / "small").chmod(0o750)
    _forget_times(folder)


def _copy(folder: Path, card: Path, way: _Way) -> dict[str, Any]:
    """What comes of it. All paths are relative, so that all ways say the same."""
    folder.mkdir()
    (folder / "CARD").symlink_to(card)
    taken = folder / "d1" / "CARD"
    make_file(taken / "conflict.mov", 3000, 99)
    _forget_times(taken)
    done = subprocess.run(
        [*way.command, "CARD", "d0", "d1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        env={**environment(), "PYTHONPATH": str(_ROOT), **way.more},
    )
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    told = {kind: [event for event in events if event["event"] == kind] for kind in ("file", "error", "summary")}
    assert told["summary"], done.stderr
    for event in events:
        for name in ("time", "elapsed_s", "speed_mb_sec"):
            event.pop(name, None)
        for each in event.get("destinations", ()):
            each.pop("speed_mb_sec", None)
    left = [path for path in partials(folder) if not is_record(path.name)]  # the conflict can be solved later
    for path in partials(folder):
        path.unlink()
    assert left == []
    return {
        "exit code": done.returncode,
        "files": sorted(told["file"], key=lambda event: str(event.get("path_b64") or event["path"])),
        "errors": told["error"],
        "summary": told["summary"],
        "trees": [snapshot(folder / f"d{number}" / "CARD") for number in range(2)],
    }


class _Expected(NamedTuple):
    card: Path
    came_of_it: dict[str, Any]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> _Expected:
    """The card, and what comes of it when nobody says who is to do the jobs."""
    folder = tmp_path_factory.mktemp("expected")
    card = folder / "src" / "CARD"
    _make_card(card)
    came_of_it = _copy(folder / "run", card, _Way([PROGRAM, "--json"]))
    assert came_of_it["exit code"] == 3
    assert len(came_of_it["files"]) == _SMALL_FILES + 12
    assert came_of_it["trees"][0] == snapshot(card)
    return _Expected(card, came_of_it)


@pytest.mark.parametrize("name", [*_WAYS, *(pytest.param(name, marks=_CLUSTER) for name in _CLUSTER_WAYS)])
def test_every_executor_gives_the_same_trees_the_same_report_and_the_same_exit_code(
    name: str, tmp_path: Path, expected: _Expected, request: pytest.FixtureRequest
) -> None:
    ways = {**_WAYS, **_CLUSTER_WAYS}[name](request)
    for number, way in enumerate(ways):
        found = _copy(tmp_path / f"found {number}", expected.card, way)
        for what, it in expected.came_of_it.items():
            assert found[what] == it, f"{what} by {' '.join(way.command)}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dask:tcp://127.0.0.1:1", r"pip install 'pfndispatchcopy\[dask\]'"),
        ("mpi", r"pip install 'pfndispatchcopy\[mpi\]'"),
        ("ray", "choose from serial, threads, processes, dask, mpi, or dask:ADDRESS"),
    ],
)
def test_engine_that_is_not_there_is_a_usage_error(name: str, reason: str, tmp_path: Path) -> None:
    import importlib.util
    import re

    if name != "ray" and importlib.util.find_spec("distributed" if name.startswith("dask") else "mpi4py"):
        pytest.skip("it is installed here")
    make_file(tmp_path / "CARD" / "file", 10)
    done = subprocess.run(
        [PROGRAM, "--executor", name, "CARD", "d0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert re.search(reason, done.stderr)
    assert not (tmp_path / "d0").exists()
