"""Real workers that die, are stopped, are cut off or see something else: nothing is lost, and nothing made twice."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.fileio.names import is_record
from tests.cluster.environment import DaskCluster, Environment
from tests.support.command import _hear_signals, environment
from tests.support.files import make_file, partials
from tests.support.mounts import needs_namespace
from tests.support.tree_trial import snapshot

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

_FILES = 1200
_SIZE = 5000
# Six batches of a megabyte, each of which takes a worker so many bytes a second.
_SLOW = ("--bwlimit", "800K")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card of six batches, and a large file."""
    folder = tmp_path / "CARD"
    for number in range(_FILES):
        make_file(folder / f"{number % 10}/f{number:04}", _SIZE, number)
    make_file(folder / "large.mov", 4_400_000, 99_999)
    return folder


class _Run:
    """One run of the command, with its events."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.said = ""
        self.process = subprocess.Popen(
            [*command, "CARD", "d0", "d1"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            preexec_fn=_hear_signals,  # noqa: PLW1509 - nothing but this runs in the child before the command
        )

    def end(self, timeout_s: float = 120) -> int:
        out, self.said = self.process.communicate(timeout=timeout_s)
        self.events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return self.process.returncode

    def close(self) -> None:
        """End it, if it is still there."""
        for pid in [*_descendants(self.process.pid), self.process.pid]:
            if self.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def require_good(self, card: Path, code: int, *, partials_may_come: bool = False) -> None:
        """Complete, every file told of once and as verified, and nothing else is there."""
        assert code == 0, self.said
        source = snapshot(card)
        for number in range(2):
            assert snapshot(self.folder / f"d{number}" / "CARD") == source
        files = self.told("file")
        assert sorted(event["path"] for event in files) == sorted(
            str(path.relative_to(card)) for path in card.rglob("*") if path.is_file()
        )
        states = Counter(each["state"] for event in files for each in event["destinations"])
        assert states == {"verified": 2 * (_FILES + 1)}
        (summary,) = self.told("summary")
        assert [each["files_ok"] for each in summary["destinations"]] == [_FILES + 1] * 2
        if not partials_may_come:
            assert partials(self.folder) == []


@pytest.fixture
def start(tmp_path: Path, cluster_environment: Environment) -> Iterator[Callable[..., _Run]]:
    """Starts the command for a cluster; what has not ended is ended."""
    runs: list[_Run] = []

    def begin(cluster: DaskCluster, *options: str, prefix: Sequence[str] = ()) -> _Run:
        program = [*cluster_environment.command, "--json", "--executor", f"dask:{cluster.address}", *options]
        runs.append(_Run([*prefix, *program], tmp_path))
        return runs[-1]

    yield begin
    for each in runs:
        each.close()


@pytest.fixture
def run(start: Callable[..., _Run], dask_cluster: DaskCluster) -> Callable[..., _Run]:
    """Starts the command for the cluster with three workers."""
    return partial(start, dask_cluster)


def _wait_until(is_so: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def _done_again(cluster: DaskCluster) -> int:
    return sum(count - 1 for count in Counter(first for _, first in cluster.jobs("begin")).values())


def test_killed_worker_costs_no_more_than_the_job_it_was_doing(
    run: Callable[..., _Run], card: Path, dask_cluster: DaskCluster
) -> None:
    running = run(*_SLOW)
    victim = dask_cluster.wait_for_busy_worker()
    time.sleep(0.3)
    victim.send_signal(signal.SIGKILL)
    running.require_good(card, running.end())
    assert victim.wait(5) == -signal.SIGKILL
    assert len({first for _, first in dask_cluster.jobs("begin")}) == 7
    assert _done_again(dask_cluster) <= 1


def test_stopped_worker_is_done_without_and_makes_nothing_when_it_wakes_up(
    run: Callable[..., _Run], card: Path, dask_cluster: DaskCluster
) -> None:
    running = run(*_SLOW)
    victim = dask_cluster.wait_for_busy_worker()
    time.sleep(0.3)
    victim.send_signal(signal.SIGSTOP)
    running.require_good(card, running.end())
    assert dask_cluster.jobs("end").count((victim.pid, dict(dask_cluster.jobs("begin"))[victim.pid])) == 0
    victim.send_signal(signal.SIGCONT)
    time.sleep(3)
    running.require_good(card, 0)


def test_worker_that_comes_later_takes_part(run: Callable[..., _Run], card: Path, dask_cluster: DaskCluster) -> None:
    running = run(*_SLOW)
    for victim in dask_cluster.workers[1:]:
        victim.send_signal(signal.SIGKILL)
    dask_cluster.wait_for_busy_worker()
    late = dask_cluster.add_worker()
    running.require_good(card, running.end())
    assert late.pid in {pid for pid, _ in dask_cluster.jobs("begin")}


def test_all_workers_may_go_for_good(run: Callable[..., _Run], card: Path, dask_cluster: DaskCluster) -> None:
    running = run(*_SLOW, "--stall-timeout", "3")
    dask_cluster.wait_for_busy_worker()
    for victim in dask_cluster.workers:
        victim.send_signal(signal.SIGKILL)
    running.require_good(card, running.end())
    assert any("goes on alone" in event["message"] for event in running.told("warning"))


def test_scheduler_may_go_for_good(run: Callable[..., _Run], card: Path, dask_cluster: DaskCluster) -> None:
    running = run(*_SLOW, "--stall-timeout", "3")
    dask_cluster.wait_for_busy_worker()
    dask_cluster.scheduler.send_signal(signal.SIGKILL)
    running.require_good(card, running.end())


# -- signals ----------------------------------------------------------------------------------------------


def test_signal_stops_the_workers_and_the_next_run_goes_on(
    run: Callable[..., _Run], card: Path, tmp_path: Path, dask_cluster: DaskCluster
) -> None:
    first = run("--bwlimit", "200K")
    dask_cluster.wait_for_busy_worker()
    time.sleep(1)
    begin = time.monotonic()
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 130
    assert [event for event in first.told("warning") if event["operation"] == "executor"] == []
    assert time.monotonic() - begin < 8
    assert [path for path in partials(tmp_path) if not is_record(path.name)] == []
    second = run()
    assert second.end() == 0, second.said
    assert [snapshot(tmp_path / f"d{number}" / "CARD") for number in range(2)] == [snapshot(card)] * 2
    assert partials(tmp_path) == []


def test_killed_coordinator_leaves_workers_that_end_by_themselves_when_the_next_run_begins(
    run: Callable[..., _Run], card: Path, tmp_path: Path, dask_cluster: DaskCluster
) -> None:
    first = run("--bwlimit", "100K")
    dask_cluster.wait_for_busy_worker()
    time.sleep(1)
    for child in _children(first.process.pid):
        os.kill(child, signal.SIGKILL)
    assert first.end() == 1
    assert partials(tmp_path)
    second = run()
    assert second.end() == 0, second.said
    _wait_until(lambda: partials(tmp_path) == [])
    assert [snapshot(tmp_path / f"d{number}" / "CARD") for number in range(2)] == [snapshot(card)] * 2
    _wait_until(lambda: len(dask_cluster.jobs("begin")) == len(dask_cluster.jobs("end")))


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


# -- workers that see something else ----------------------------------------------------------------------------


@pytest.fixture
def empty_cluster(cluster_environment: Environment) -> Iterator[DaskCluster]:
    cluster = DaskCluster(cluster_environment)
    try:
        yield cluster
    finally:
        cluster.close()


def _without_mount(folder: Path) -> list[str]:
    """A worker for which something else is mounted there."""
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh"]


def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a worker without the mount needs root")
    needs_namespace()


@pytest.mark.parametrize("hidden", ["CARD", "d1"])
def test_worker_without_the_mount_is_refused_and_not_believed(
    hidden: str, card: Path, tmp_path: Path, empty_cluster: DaskCluster, start: Callable[..., _Run]
) -> None:
    _needs_root()
    (tmp_path / "d1").mkdir()
    blind = empty_cluster.add_worker(prefix=_without_mount(tmp_path / hidden))
    sighted = empty_cluster.add_worker()
    empty_cluster.wait_for_workers(2)
    running = start(empty_cluster, *_SLOW)
    running.require_good(card, running.end())
    assert {pid for pid, _ in empty_cluster.jobs("end")} == {sighted.pid}
    assert blind.pid not in {pid for pid, _ in empty_cluster.jobs("end")}
    told = [event["message"] for event in running.told("warning") if event["operation"] == "executor"]
    assert len(told) <= 1
    assert all(str(tmp_path / hidden) in message for message in told)


def test_run_is_refused_when_no_worker_has_the_mount(
    card: Path, tmp_path: Path, empty_cluster: DaskCluster, start: Callable[..., _Run]
) -> None:
    _needs_root()
    for number in range(2):
        (tmp_path / f"d{number}").mkdir()
    for _ in range(2):
        empty_cluster.add_worker(prefix=_without_mount(tmp_path / "d1"))
    empty_cluster.wait_for_workers(2)
    running = start(empty_cluster)
    assert running.end() == 2
    assert re.search(r"no worker can do it: .*d1", running.said)
    assert [list((tmp_path / f"d{number}").iterdir()) for number in range(2)] == [[], []]


# -- hosts of their own -----------------------------------------------------------------------------------------

_NETWORK = "10.231.77"


class _Hosts:
    """Network namespaces on one bridge."""

    def __init__(self, count: int) -> None:
        self.names = [f"pfn{os.getpid() % 100000}-{number}" for number in range(count)]
        self._bridge = f"pfnbr{os.getpid() % 100000}"

    def make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("link", "set", self._bridge, "up")
        for number, name in enumerate(self.names, 1):
            outer = f"{name}o"
            _ip("netns", "add", name)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", outer, "master", self._bridge, "up")
            _ip("-n", name, "addr", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def inside(self, number: int) -> list[str]:
        """What runs a command on one of the hosts."""
        return ["ip", "netns", "exec", self.names[number]]

    def address(self, number: int) -> str:
        return f"{_NETWORK}.{number + 1}"

    def cut_off(self, number: int) -> None:
        _ip("link", "set", f"{self.names[number]}o", "down")

    def connect(self, number: int) -> None:
        _ip("link", "set", f"{self.names[number]}o", "up")

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "link", "del", f"{name}o"], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no network namespaces here: ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[_Hosts]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and ip (iproute2)")
    hosts = _Hosts(4)
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()


def test_host_that_is_cut_off_in_mid_run_is_done_without(
    hosts: _Hosts, card: Path, tmp_path: Path, cluster_environment: Environment, start: Callable[..., _Run]
) -> None:
    cluster = DaskCluster(cluster_environment, host=hosts.address(0), prefix=hosts.inside(0))
    try:
        for number in range(1, 4):
            cluster.add_worker(prefix=hosts.inside(number), host=hosts.address(number))
        running = start(cluster, *_SLOW, prefix=hosts.inside(0))
        victim = cluster.wait_for_busy_worker()
        time.sleep(0.3)
        number = cluster.workers.index(victim) + 1
        hosts.cut_off(number)
        running.require_good(card, running.end(), partials_may_come=True)
        assert len({pid for pid, _ in cluster.jobs("end")}) >= 2
        # It goes on with what it has in hand, until it sees that nobody waits for it any more.
        _wait_until(lambda: partials(tmp_path) == [])
        hosts.connect(number)
        time.sleep(2)
        running.require_good(card, 0)
    finally:
        cluster.close()


# -- MPI --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["system", "package"])
def test_run_that_mpi_has_started_alone_is_refused(
    which: str, card: Path, tmp_path: Path, cluster_environment: Environment
) -> None:
    assert _run_mpi(which, 1, tmp_path, cluster_environment).returncode == 2
    assert not (tmp_path / "d0").exists()


@pytest.mark.parametrize("which", ["system", "package"])
def test_signal_to_the_first_rank_stops_all_and_leaves_nothing_half_done(
    which: str, card: Path, tmp_path: Path, cluster_environment: Environment
) -> None:
    command, more = _mpi(which, 3, cluster_environment)
    running = subprocess.Popen(
        [*command, "--bwlimit", "300K", "CARD", "d0", "d1"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment(), **more},
        preexec_fn=_hear_signals,  # noqa: PLW1509 - nothing but this runs in the child before the command
    )
    try:
        _wait_until(lambda: [path for path in partials(tmp_path) if path.parent.name not in ("d0", "d1")])
        first = min(pid for pid in _descendants(running.pid) if b"mpi4py.futures" in _command_line(pid))
        os.kill(first, signal.SIGINT)
        assert running.wait(30) == 130
    finally:
        running.kill()
        running.wait()
    left = [path for path in partials(tmp_path) if not is_record(path.name)]
    for path in partials(tmp_path):
        path.unlink()
    assert left == []


@pytest.mark.parametrize("which", ["system", "package"])
def test_killed_rank_ends_the_run_and_the_next_one_completes_it(
    which: str, card: Path, tmp_path: Path, cluster_environment: Environment
) -> None:
    command, more = _mpi(which, 3, cluster_environment)
    running = subprocess.Popen(
        [*command, "--bwlimit", "300K", "CARD", "d0", "d1"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment(), **more},
    )
    _wait_until(lambda: [path for path in partials(tmp_path) if path.parent.name not in ("d0", "d1")])
    ranks = [pid for pid in _descendants(running.pid) if b"mpi4py.futures" in _command_line(pid)]
    assert len(ranks) >= 3
    os.kill(max(ranks), signal.SIGKILL)
    assert running.wait(60) != 0
    assert _run_mpi(which, 3, tmp_path, cluster_environment).returncode == 0
    assert [snapshot(tmp_path / f"d{number}" / "CARD") for number in range(2)] == [snapshot(card)] * 2
    assert partials(tmp_path) == []


def _mpi(which: str, count: int, tools: Environment) -> tuple[list[str], dict[str, str]]:
    commands = tools.mpi_commands()
    if which not in commands:
        pytest.skip(f"no Open MPI of the {which} here (mpiexec)")
    command, more = commands[which]
    program = [tools.python, "-m", "mpi4py.futures", "-m", "pfndispatchcopy", "--executor", "mpi"]
    return [*command, "-n", str(count), *program], more


def _run_mpi(which: str, count: int, folder: Path, tools: Environment) -> subprocess.CompletedProcess[str]:
    command, more = _mpi(which, count, tools)
    return subprocess.run(
        [*command, "CARD", "d0", "d1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**environment(), **more},
    )


def _descendants(pid: int) -> list[int]:
    found = []
    for child in _children(pid):
        found += [child, *_descendants(child)]
    return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
