"""Engines by name and as objects; and whether one is of use, found out before anything is written."""

import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, RefusedError, UsageError, copy_tree_with_multiple_destinations, engines
from pfndispatchcopy.dispatch import UnfitWorkerError
from pfndispatchcopy.engines import ENGINES, DaskExecutor, Engine, opened, parse_engine, require_fit
from pfndispatchcopy.errors import OperationCancelledError
from pfndispatchcopy.events import PlanEvent
from pfndispatchcopy.executors import SerialExecutor, count_workers
from tests.support.tree_trial import TreeTrial

_NEVER = threading.Event()


@pytest.fixture
def has_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "mpi4py.futures", ModuleType("mpi4py.futures"))


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("has_everything")
@pytest.mark.parametrize(
    ("name", "kind", "address"),
    [
        ("serial", "serial", ""),
        ("threads", "threads", ""),
        ("processes", "processes", ""),
        ("dask:tcp://host:8786", "dask", "tcp://host:8786"),
        ("dask", "dask", "tcp://from-environment:1"),
        ("mpi", "mpi", ""),
    ],
)
def test_engine_has_a_name(name: str, kind: str, address: str) -> None:
    environment = {"DASK_SCHEDULER_ADDRESS": "tcp://from-environment:1"}
    engine = parse_engine(name, environment)
    assert (engine.kind, engine.address, engine.executor) == (kind, address, None)
    assert engine.kind in ENGINES
    assert engine.is_elsewhere == (kind in ("dask", "mpi"))


def test_without_a_name_it_is_chosen_automatically() -> None:
    engine = parse_engine(None)
    assert not engine.kind
    assert not engine.is_elsewhere
    assert engine.words == ""
    with opened(engine) as executor:
        assert executor is None


@pytest.mark.parametrize("name", ["", "ray", "Dask", "serial:2", "mpi:4", "threads\n", "given"])
def test_engine_that_nobody_knows_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="choose from serial, threads, processes, dask, mpi, or dask:ADDRESS"):
        parse_engine(name)


@pytest.mark.parametrize(("name", "library"), [("dask:tcp://h:1", "distributed"), ("mpi", "mpi4py")])
def test_engine_that_is_not_installed_is_named_with_what_installs_it(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        parse_engine(name)
    assert str(error.value) == f"{library} is not installed: pip install 'pfndispatchcopy[{name.partition(':')[0]}]'"
    assert error.value.exit_code == 2


@pytest.mark.usefixtures("has_everything")
def test_dask_needs_an_address() -> None:
    with pytest.raises(UsageError, match=r"dask:tcp://HOST:8786, or \$DASK_SCHEDULER_ADDRESS"):
        parse_engine("dask", {})


@pytest.mark.usefixtures("has_everything")
def test_mpi_starts_before_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mpi4py.futures")
    with pytest.raises(UsageError, match=r"mpiexec -n 4 python -m mpi4py\.futures -m pfndispatchcopy"):
        parse_engine("mpi")


# -- objects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [3, object(), Executor, ["dask"]])
def test_what_has_no_submit_is_no_executor(given: object, tmp_path: Path) -> None:
    if given is Executor:
        given = type("NoExecutor", (), {"submit": None})()
    with pytest.raises(UsageError, match=r"is no executor: it has no submit\(\)"):
        copy_tree_with_multiple_destinations(tmp_path, tmp_path / "d", executor=given)  # type: ignore[arg-type]


def test_executors_within_this_process_are_not_elsewhere() -> None:
    with ThreadPoolExecutor(1) as threads:
        assert not parse_engine(threads).is_elsewhere
        assert not parse_engine(SerialExecutor()).is_elsewhere
        assert parse_engine(_Broken()).is_elsewhere
        with opened(parse_engine(threads)) as executor:
            assert executor is threads
        assert threads.submit(int).result() == 0  # it stays the caller's


def test_number_of_workers_is_what_an_executor_tells() -> None:
    with ThreadPoolExecutor(3) as threads:
        assert count_workers(threads) == 3
    assert count_workers(SerialExecutor()) == 1
    assert count_workers(_Broken()) is None


class _Client:
    """As far as Dask's client is asked for something."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_gone = False
        self.submitted: list[tuple[Any, ...]] = []

    def get_executor(self, *, pure: bool) -> Any:
        assert not pure  # the same job again is not the same result
        return self

    def submit(self, *call: Any) -> Future[Any]:
        if self.is_gone:
            raise OSError("the stream is closed")
        self.submitted.append(call)
        future: Future[Any] = Future()
        future.set_result(call[0](*call[1:]))
        return future

    def nthreads(self, *, callback_timeout: float) -> dict[str, int]:
        assert callback_timeout < 5
        self.asked += 1
        if self.is_gone:
            raise TimeoutError
        return {"tcp://a": 2, "tcp://b": 1}


def test_dask_gets_its_jobs_in_one_piece_and_is_not_asked_all_the_time() -> None:
    client = _Client()
    executor = DaskExecutor(client)
    assert executor.submit(divmod, 7, 2).result() == (3, 1)
    (call,) = client.submitted
    assert pickle.loads(call[1]) == (divmod, (7, 2), {})
    assert [count_workers(executor) for _ in range(5)] == [3] * 5
    assert client.asked == 1


def test_scheduler_that_is_gone_has_no_workers_and_takes_no_jobs() -> None:
    client = _Client()
    client.is_gone = True
    executor = DaskExecutor(client)
    assert count_workers(executor) == 0
    with pytest.raises(RuntimeError, match="takes no more jobs"):
        executor.submit(int)


def test_executor_that_dask_gives_a_caller_is_known() -> None:
    given = type("ClientExecutor", (_Client,), {"__module__": "distributed.cfexecutor"})()
    given._client = _Client()
    assert isinstance(parse_engine(given).executor, DaskExecutor)


# -- whether it is of use ---------------------------------------------------------------------------------------


class _Broken(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise BrokenExecutor("all its processes are dead")


class _Strange(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return "a future of another kind"


class _Unable(Executor):
    """Its workers cannot even load what they are to call."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(ModuleNotFoundError("No module named 'pfndispatchcopy'"))
        return future


class _Mute(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


def _unfit(reason: str) -> None:
    raise UnfitWorkerError(reason)


def _buggy(argument: object) -> None:
    raise ZeroDivisionError


def _fine(argument: object) -> None:
    pass


@pytest.mark.parametrize(
    ("executor", "call", "reason"),
    [
        (_Broken(), _fine, "takes no jobs: BrokenExecutor: all its processes are dead"),
        (_Strange(), _fine, r"submit\(\) of _Strange returns no future"),
        (_Unable(), _fine, "No module named 'pfndispatchcopy'"),
        (_Mute(), _fine, "no worker of the executor has taken a job within 0.05 s"),
        (SerialExecutor(), _unfit, "no worker can do it: no mount"),
        (SerialExecutor(), _buggy, "ZeroDivisionError"),
    ],
)
def test_executor_that_is_of_no_use_is_refused(executor: Executor, call: Callable[[Any], None], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as refusal:
        require_fit(executor, call, "no mount", patience_s=0.05, cancel=_NEVER)
    assert refusal.value.exit_code == 2
    assert "nothing was written" in str(refusal.value)


def test_one_worker_that_can_is_enough() -> None:
    calls: list[int] = []

    def call(argument: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise UnfitWorkerError("no mount")
        time.sleep(0.05)

    with ThreadPoolExecutor(2) as threads:
        assert require_fit(threads, call, None, patience_s=5, cancel=_NEVER) == ["no mount"]


def test_waiting_for_the_first_worker_can_be_cancelled() -> None:
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    with pytest.raises(OperationCancelledError):
        require_fit(_Mute(), _fine, None, patience_s=0, cancel=cancel)


@pytest.mark.parametrize("executor", [_Broken(), _Strange(), _Unable()])
def test_run_on_an_executor_of_no_use_writes_nothing(executor: Executor, tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path)
    with pytest.raises(RefusedError):
        trial.run(2, executor=executor)
    assert trial.names(0) == trial.names(1) == []
    trial.require_no_partials()


# -- what the plan says -----------------------------------------------------------------------------------------


def test_serial_is_one_job_at_a_time_in_this_process(tmp_path: Path) -> None:
    trial = TreeTrial(tmp_path, jobs=4)
    trial.require_good(trial.run(1, executor="serial"), 0)
    (plan,) = [event for event in trial.events if isinstance(event, PlanEvent)]
    assert plan.jobs == 1


def test_processes_are_not_to_be_had_in_a_library(tmp_path: Path) -> None:
    (tmp_path / "CARD").mkdir()
    (tmp_path / "CARD" / "file").write_bytes(b"1")
    with pytest.raises(UsageError, match="processes cannot be had here"):
        copy_tree_with_multiple_destinations(tmp_path / "CARD", tmp_path / "d", executor="processes")
    assert not (tmp_path / "d").exists()


@pytest.mark.usefixtures("has_everything")
def test_plan_says_who_does_it_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str) -> Any:
        raise AssertionError("it was asked")

    monkeypatch.setattr(engines, "_dask", refuse)
    trial = TreeTrial(tmp_path)
    with pytest.raises(AssertionError, match="it was asked"):
        trial.run(1, executor="dask:tcp://h:1")
    assert trial.offload is not None
    events = list(trial.events)
    trial.events.clear()
    plan = _dry_run(tmp_path)
    assert "done by Dask's workers at tcp://h:1" in plan.reason
    assert "more jobs or hosts will not help: it is a small job" in plan.reason
    assert [event for event in events if isinstance(event, PlanEvent)]


def _dry_run(root: Path) -> PlanEvent:
    from pfndispatchcopy.fileio import native_system
    from pfndispatchcopy.tree.session import TreeOffload

    events: list[Any] = []
    TreeOffload(
        [f"{root}/src/CARD"],
        [f"{root}/dry"],
        CopyOptions(),
        observer=events.append,
        cancel=threading.Event(),
        system=native_system(),
        executor="dask:tcp://h:1",
    ).run(dry_run=True)
    (plan,) = [event for event in events if isinstance(event, PlanEvent)]
    return plan


def test_engine_is_a_value() -> None:
    assert Engine() == parse_engine(None)
