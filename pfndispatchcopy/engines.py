"""Engines: other people's executors, by name or as an object, and whether one is of use.

The package brings no scheduler. Whoever has one, Dask or MPI, gives it the jobs: by ``--executor`` or, in Python, as an
object with the interface of :mod:`concurrent.futures`. Their libraries are imported only when they are asked for.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from pfndispatchcopy.dispatch import attempt
from pfndispatchcopy.errors import OperationCancelledError, RefusedError, UsageError
from pfndispatchcopy.executors import SerialExecutor, count_workers
from pfndispatchcopy.printable import printable

__all__ = ["AUTOMATIC", "ENGINES", "DaskExecutor", "Engine", "opened", "parse_engine", "require_fit"]

_T = TypeVar("_T")
ENGINES = ("serial", "threads", "processes", "dask", "mpi")
_ADDRESS = "DASK_SCHEDULER_ADDRESS"
# How long a scheduler may take to answer.
_CONNECTING_S = 15
# The number of Dask's workers is asked for so often at most.
_COUNTING_S = 5.0
_ANSWERING_S = 2.0
# Not more workers than so many are tried out before the first job.
_MOST_TRIALS = 32
_POLL_S = 0.1
_HOW_MPI_IS_RUN = "mpiexec -n 4 python -m mpi4py.futures -m pfndispatchcopy --executor mpi …"


class Engine(NamedTuple):
    """Where jobs are to run.

    Attributes:
        kind: one of :data:`ENGINES`, ``given`` for a caller's executor; empty for an automatic choice.
        address: of a scheduler.
        executor: of the caller.
    """

    kind: str = ""
    address: str = ""
    executor: Executor | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether jobs are done by processes that are not this one, nor its own."""
        return self.kind in ("dask", "mpi") or (
            self.kind == "given" and not isinstance(self.executor, ThreadPoolExecutor | SerialExecutor)
        )

    @property
    def words(self) -> str:
        """What to call it, where jobs are done elsewhere."""
        names = {"dask": f"Dask's workers at {self.address}", "mpi": "MPI's ranks", "given": "the given executor"}
        return names.get(self.kind, "")


AUTOMATIC = Engine()


def parse_engine(given: object, environment: Mapping[str, str] = os.environ) -> Engine:
    """Return the engine of this name, or for this executor. Nobody is asked yet.

    Args:
        given: ``serial``, ``threads``, ``processes``, ``dask``, ``dask:ADDRESS``, ``mpi``, an executor, or None.
        environment: where the address of a scheduler may stand.

    Raises:
        UsageError: there is no such engine, or it cannot be used here.
    """
    if given is None:
        return AUTOMATIC
    if not isinstance(given, str):
        if not callable(getattr(given, "submit", None)):
            raise UsageError(f"{type(given).__name__} is no executor: it has no submit()")
        return Engine("given", executor=_adapted(given))
    kind, _, address = given.partition(":")
    if kind not in ENGINES or (address and kind != "dask"):
        raise UsageError(f"{printable(given)!r}: choose from {', '.join(ENGINES)}, or dask:ADDRESS")
    if kind == "dask":
        address = address or environment.get(_ADDRESS, "")
        _require_library("distributed", "dask")
        if not address:
            raise UsageError(f"dask needs the address of a scheduler: dask:tcp://HOST:8786, or ${_ADDRESS}")
    if kind == "mpi":
        _require_library("mpi4py", "mpi")
        if "mpi4py.futures" not in sys.modules:  # it starts the ranks, before the command
            raise UsageError(f"mpi is for a program that MPI has started: {_HOW_MPI_IS_RUN}")
    return Engine(kind, address)


def _require_library(name: str, extra: str) -> None:
    from importlib.util import find_spec  # noqa: PLC0415 - rarely needed

    if find_spec(name) is None:
        raise UsageError(f"{name} is not installed: pip install 'pfndispatchcopy[{extra}]'")


def _adapted(executor: Any) -> Executor:
    """Dask's own executor does not tell how many workers it has."""
    client = getattr(executor, "_client", None)
    if type(executor).__module__.startswith("distributed.") and client is not None:
        return DaskExecutor(client)
    adapted: Executor = executor
    return adapted


class DaskExecutor(Executor):
    """Sends jobs to the workers of a Dask scheduler.

    Args:
        client: connected; it stays the caller's.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)  # a job that is lost is sent again, and done again
        self._count = 0
        self._counted_at = -_COUNTING_S

    @property
    def num_workers(self) -> int:
        """Number of jobs that the workers do at once, as of the last few seconds: workers come and go."""
        if monotonic() - self._counted_at >= _COUNTING_S:
            try:
                self._count = sum(self._client.nthreads(callback_timeout=_ANSWERING_S).values())
            except Exception:  # noqa: BLE001 - there are many ways to say that the scheduler is gone
                self._count = 0
            self._counted_at = monotonic()
        return self._count

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> "Future[_T]":
        """Have a worker call *fn*."""
        import pickle  # noqa: PLC0415 - rarely needed

        # In one piece: Dask would look for tasks in all that is a tuple, and make plain tuples of ours.
        packed = pickle.dumps((fn, args, kwargs))
        try:
            future: Future[_T] = self._executor.submit(_call_packed, packed)
        except Exception as error:  # what an executor raises that takes no more jobs
            raise RuntimeError(f"Dask takes no more jobs: {error!r}") from error
        return future


def _call_packed(packed: bytes) -> Any:
    import pickle  # noqa: PLC0415 - rarely needed

    call, arguments, named = pickle.loads(packed)  # noqa: S301 - from whoever may run code here anyway
    return call(*arguments, **named)


@contextmanager
def opened(engine: Engine) -> Iterator[Executor | None]:
    """The executor of an engine; None where it has none of its own.

    Raises:
        RefusedError: it cannot be had.
    """
    if engine.kind == "dask":
        with _dask(engine.address) as executor:
            yield executor
    elif engine.kind == "mpi":
        with _mpi() as executor:
            yield executor
    else:
        yield engine.executor


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    from importlib import import_module  # noqa: PLC0415 - rarely needed

    distributed = import_module("distributed")
    try:
        client = distributed.Client(address, timeout=_CONNECTING_S, set_as_default=False, name="pfndispatchcopy")
    except (OSError, ValueError) as error:
        raise _refusal(f"no Dask scheduler answers at {printable(address)}: {printable(error)}") from error
    try:
        yield DaskExecutor(client)
    finally:
        client.close()


@contextmanager
def _mpi() -> Iterator[Executor]:
    from importlib import import_module  # noqa: PLC0415 - rarely needed

    if import_module("mpi4py.MPI").COMM_WORLD.Get_size() < 2:
        raise _refusal(f"MPI has started this process alone: {_HOW_MPI_IS_RUN}")
    executor: Executor = import_module("mpi4py.futures").MPIPoolExecutor()
    try:
        yield executor
    finally:
        executor.shutdown()


def _refusal(message: str) -> RefusedError:
    return RefusedError(f"{message}; nothing was written", operation="executor")


def require_fit(
    executor: Executor,
    call: Callable[[_T], None],
    argument: _T,
    *,
    patience_s: float,
    cancel: threading.Event,
) -> list[str]:
    """Make sure that at least one worker of an executor can do the jobs.

    Args:
        executor: to be tried out.
        call: what every worker has to be able to do.
        argument: of the call.
        patience_s: how long the first worker may take to answer; 0 is for ever.
        cancel: stops the waiting.

    Returns:
        What those said that cannot.

    Raises:
        RefusedError: none can.
        OperationCancelledError: it was cancelled.
    """
    unfit: dict[str, None] = {}
    try:
        count = min(count_workers(executor) or 1, _MOST_TRIALS)
        waiting = {executor.submit(attempt, call, argument) for _ in range(count)}
    except Exception as error:
        raise _refusal(f"the executor takes no jobs: {type(error).__name__}: {printable(error)}") from error
    if not all(isinstance(future, Future) for future in waiting):
        raise _refusal(f"submit() of {type(executor).__name__} returns no future of concurrent.futures")
    until = monotonic() + (patience_s or float("inf"))
    try:
        while waiting:
            if cancel.is_set():
                raise OperationCancelledError("cancelled before anything was written")
            if monotonic() > until:
                raise _refusal(f"no worker of the executor has taken a job within {patience_s:g} s")
            done, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            is_fit = False
            for future in done:
                try:
                    answer = future.result()
                except Exception as error:  # noqa: BLE001 - whatever it is, this worker is of no use
                    unfit[f"{type(error).__name__}: {printable(error)}"] = None
                    continue
                if answer.unfit or answer.bug:
                    unfit[answer.unfit or answer.bug] = None
                else:
                    is_fit = True
            if is_fit:
                return list(unfit)
    finally:
        for future in waiting:
            future.cancel()
    raise _refusal(f"no worker can do it: {'; '.join(unfit)}")
