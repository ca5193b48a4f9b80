"""An environment with Dask, mpi4py and loky, beside the project's; and the processes of a cluster on this machine."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.environments import make_environment

__all__ = ["DaskCluster", "Environment", "install"]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-cluster"
# Beside what the project's extras ask for: a pool that is made like those of the library, and an MPI for mpi4py.
_MORE = ("loky>=3.4", "openmpi>=5; sys_platform == 'linux'")
_PATIENCE_S = 40
_PRELOAD = Path(__file__).with_name("preload_log.py")
# How long a scheduler waits for a sign of a worker that is connected and says nothing.
_WORKER_TTL = "4s"


class Environment:
    """Python with everything, and the project as it is in this checkout.

    Args:
        folder: of the environment.
    """

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.python = str(self.bin / "python")

    @property
    def command(self) -> list[str]:
        """The program."""
        return [self.python, "-m", "pfndispatchcopy"]

    def mpi_commands(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """What starts ranks, and the environment that it wants: the system's Open MPI, and the one of the packages."""
        root = {f"{name}_ALLOW_RUN_AS_ROOT{more}": "1" for name in ("OMPI", "PRTE") for more in ("", "_CONFIRM")}
        found = {}
        system = shutil.which("mpiexec", path="/usr/bin:/usr/local/bin")
        if system is not None and any(name in _said([system, "--version"]) for name in ("Open MPI", "OpenRTE")):
            found["system"] = ([system, "--oversubscribe"], {**root, "MPI4PY_LIBMPI": "libmpi.so.40"})
        own = self.bin / "mpiexec"
        if own.exists():
            found["package"] = ([str(own), "--oversubscribe"], root)
        return found


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False).stdout


def install(folder: Path = FOLDER) -> Environment:
    """Make the environment, unless it is there already.

    Raises:
        NotInstallableError: it cannot be made, for want of a network for instance.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dask"], *extras["mpi"], *_MORE]

    def see_checkout() -> None:
        (packages,) = folder.glob("lib/python3*/site-packages")
        (packages / "checkout.pth").write_text(f"{ROOT}\n")

    make_environment(folder, wanted, see_checkout)
    return Environment(folder)


class DaskCluster:
    """A scheduler and workers, each a process of its own, on loopback or wherever *prefix* puts them.

    Attributes:
        address: of the scheduler.
        scheduler: its process.
        workers: their processes.
    """

    def __init__(self, environment: Environment, *, host: str = "127.0.0.1", prefix: Sequence[str] = ()) -> None:
        self._environment = environment
        self._folder = Path(tempfile.mkdtemp(prefix="pfn-dask-"))
        self._log = self._folder / "jobs.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._told = self._folder / "scheduler.json"
        self.scheduler = self._start(
            [*prefix], "scheduler", "--host", host, "--port", "0", "--scheduler-file", str(self._told)
        )
        self.address = ""
        until = time.monotonic() + _PATIENCE_S
        while not self.address:
            assert time.monotonic() < until, "the scheduler has not started"
            time.sleep(0.05)
            with suppress(OSError, ValueError):
                self.address = json.loads(self._told.read_text())["address"]

    def add_worker(self, *, prefix: Sequence[str] = (), host: str = "127.0.0.1") -> subprocess.Popen[bytes]:
        """Start a worker that does one job at a time."""
        more = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--host", host, "--preload", str(_PRELOAD))
        worker = self._start([*prefix], "worker", self.address, *more, "--local-directory", str(self._folder))
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler knows so many."""
        script = (
            "import sys, distributed\n"
            "with distributed.Client(sys.argv[1], timeout=30) as client:\n"
            "    client.wait_for_workers(int(sys.argv[2]), 30)\n"
        )
        subprocess.run([self._environment.python, "-c", script, self.address, str(count)], check=True, timeout=60)

    def jobs(self, what: str) -> list[tuple[int, int]]:
        """Jobs that were begun, or ended: number of the process, and of the job's first file."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        words = [line.split() for line in lines]
        return [(int(pid), int(first)) for kind, pid, first in words if kind == what]

    def wait_for_busy_worker(self) -> subprocess.Popen[bytes]:
        """Wait until a worker is in the middle of a job; returns it."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            ended = set(self.jobs("end"))
            busy = {pid for pid, first in self.jobs("begin") if (pid, first) not in ended}
            for worker in self.workers:
                if worker.pid in busy and worker.poll() is None:
                    return worker
            time.sleep(0.02)
        raise AssertionError("no worker has begun a job")

    def _start(self, prefix: list[str], *arguments: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{len(self._processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [*prefix, str(self._environment.bin / "dask"), *arguments, "--no-dashboard"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": _WORKER_TTL,
                    "PFN_TEST_JOB_LOG": str(self._log),
                },
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End everything."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_PATIENCE_S)
        shutil.rmtree(self._folder, ignore_errors=True)
