"""A worker elsewhere shows that it sees the very same places before it does a job, and stops when all is over."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import RefusedError, State
from pfndispatchcopy.engine import elsewhere, workplace
from pfndispatchcopy.engine.jobs import Job, JobSetup
from pfndispatchcopy.engine.lanes import Supervisor
from pfndispatchcopy.events import FileEvent, ProgressEvent, WarningEvent
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.names import journal_name
from pfndispatchcopy.tree import plan as plan_module
from tests.support.files import partials
from tests.support.tree_trial import CARD, TreeSystem, TreeTrial, flip

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders have no inodes there")


class _OtherHost(Executor):
    """Workers that know nothing of the offload but what their jobs say; *seen* changes what one of them sees."""

    def __init__(self, *workers: Callable[[JobSetup], JobSetup]) -> None:
        self.num_workers = len(workers)
        self.jobs_of = [0] * len(workers)
        self._workers = workers
        self._idle = list(range(len(workers)))
        self._lock = threading.Condition()
        self._threads = ThreadPoolExecutor(len(workers), thread_name_prefix="other-host")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._do, fn, *args)

    def _do(self, fn: Callable[..., Any], call: Callable[..., Any], given: Any) -> Any:
        with self._lock:
            number = self._idle.pop(0)
        try:
            if isinstance(given, Job):
                self.jobs_of[number] += 1
                given = given._replace(setup=self._as_seen(number, given.setup))
            else:
                given = self._as_seen(number, given)
            return fn(call, given)
        finally:
            with self._lock:
                self._idle.append(number)

    def _as_seen(self, number: int, setup: JobSetup) -> JobSetup:
        return self._workers[number](setup._replace(key=f"{setup.key}-{id(self)}-{number}"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait)


def _sighted(setup: JobSetup) -> JobSetup:
    return setup


def _with_destination(path: Path) -> Callable[[JobSetup], JobSetup]:
    def see(setup: JobSetup) -> JobSetup:
        return setup._replace(targets=tuple(each._replace(path=str(path)) for each in setup.targets))

    return see


def _with_source(path: Path) -> Callable[[JobSetup], JobSetup]:
    def see(setup: JobSetup) -> JobSetup:
        return setup._replace(sources=tuple(each._replace(path=str(path)) for each in setup.sources))

    return see


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "_LOOK_S", 0.02)
    monkeypatch.setattr(elsewhere, "_HELD_BACK_S", 0.02)
    monkeypatch.setattr(plan_module, "_BATCH_FILES", 4)
    monkeypatch.setattr(plan_module, "LARGEST_SMALL_FILE", 100_000)
    monkeypatch.setattr(workplace, "native_system", TreeSystem)


def _trial(tmp_path: Path) -> TreeTrial:
    return TreeTrial(tmp_path, {"large": 150_000, **{f"f{number:02}": 100 for number in range(40)}}, jobs=2)


def _run(trial: TreeTrial, *workers: Callable[[JobSetup], JobSetup], **options: Any) -> tuple[Any, _OtherHost]:
    with _OtherHost(*workers) as executor:
        return trial.run_within(30, 2, executor=executor, **options), executor


def test_worker_that_sees_everything_does_the_jobs_and_forgets_the_offload(tmp_path: Path) -> None:
    trial = _trial(tmp_path)
    result, executor = _run(trial, _sighted, _sighted)
    trial.require_good(result, 0, 1)
    assert sum(executor.jobs_of) == 11
    trial.end()  # no thread is left that looks for tokens
    assert workplace._workplaces == {}
    trial.require_no_partials()
    assert not [path for call, path in trial.system.calls if call == "open_source_name"]  # none of it was done here
    progress = [event for event in trial.events if isinstance(event, ProgressEvent)]
    assert progress[-1].bytes_total == sum(map(len, trial.files.values()))
    assert [each.bytes_done for each in progress[-1].destinations] == [progress[-1].bytes_total] * 2


def test_mismatch_of_a_worker_is_a_result_and_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = _trial(tmp_path)
    flips: list[Any] = []

    def flipping() -> TreeSystem:
        system = TreeSystem()
        flips.append(system.rule("read", flip, where=f"/d1/{CARD}", nth=3))
        return system

    monkeypatch.setattr(workplace, "native_system", flipping)
    result, executor = _run(trial, _sighted)
    assert sum(rule.fired for rule in flips) == 1
    assert sum(executor.jobs_of) == 11
    assert result.exit_code == 4
    assert [each.state for each in result.destinations] == [State.VERIFIED, State.MISMATCH]
    trial.require_good(result, 0)
    trial.end()
    for path in partials(tmp_path):
        path.unlink()


def test_system_has_one_kernel() -> None:
    assert native_system().kernel()
    assert native_system().kernel() == native_system().kernel()


def test_tokens_lie_in_every_destination_while_jobs_are_done_and_no_longer(tmp_path: Path) -> None:
    trial = _trial(tmp_path)
    seen: list[int] = []

    def look(setup: JobSetup) -> JobSetup:
        assert setup.presence is not None
        for token in setup.presence.tokens:
            assert (tmp_path / f"d{token.destination}" / token.name).read_bytes() == token.content
            seen.append(token.destination)
        assert len({token.content for token in setup.presence.tokens}) == 2
        return setup

    trial.require_good(_run(trial, look)[0], 0, 1)
    assert set(seen) == {0, 1}
    trial.require_no_partials()


def _mirror(trial: TreeTrial) -> Path:
    """A folder that looks as the card does, down to the times: it is another one."""
    mirror = trial.root / "mirror"
    shutil.copytree(trial.card, mirror)
    return mirror


@pytest.mark.parametrize("blind", ["destination", "source", "mirror"])
def test_run_is_refused_before_a_byte_is_written_when_nobody_sees_the_places(blind: str, tmp_path: Path) -> None:
    trial = _trial(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    see = {
        "destination": lambda: _with_destination(other),
        "source": lambda: _with_source(other),
        "mirror": lambda: _with_source(_mirror(trial)),
    }[blind]()
    with pytest.raises(RefusedError, match=r"no worker can do it: .* cannot take part: .*(other|mirror)") as refusal:
        _run(trial, see, see)
    assert refusal.value.exit_code == 2
    assert trial.names(0) == trial.names(1) == []
    assert list(other.iterdir()) == []
    trial.end()


def test_worker_without_the_mount_is_told_of_once_and_its_jobs_go_elsewhere(tmp_path: Path) -> None:
    trial = _trial(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    result, executor = _run(trial, _with_destination(other), _sighted)
    trial.require_good(result, 0, 1)
    assert executor.jobs_of[0] >= 1
    told = [notice.message for notice in trial.notices(WarningEvent) if notice.operation == "executor"]
    assert len(told) == 1
    assert str(other) in told[0]
    assert list(other.iterdir()) == []
    trial.end()


def test_another_token_under_the_same_name_is_not_believed(tmp_path: Path) -> None:
    trial = _trial(tmp_path)

    def see(setup: JobSetup) -> JobSetup:
        assert setup.presence is not None
        tokens = tuple(token._replace(content=bytes(reversed(token.content))) for token in setup.presence.tokens)
        return setup._replace(presence=setup.presence._replace(tokens=tokens))

    with pytest.raises(RefusedError, match="another one's"):
        _run(trial, see)
    trial.end()


@pytest.mark.parametrize("change", ["size", "mtime_ns", "inode"])
def test_another_file_in_the_source_is_not_believed(change: str, tmp_path: Path) -> None:
    trial = _trial(tmp_path)

    def see(setup: JobSetup) -> JobSetup:
        assert setup.presence is not None
        (known,) = setup.presence.landmarks
        other = known._replace(**{change: getattr(known, change) + 1})
        return setup._replace(presence=setup.presence._replace(landmarks=(other,)))

    with pytest.raises(RefusedError, match="not the file that was listed"):
        _run(trial, see)
    trial.end()


def test_other_kernel_numbers_its_devices_otherwise(tmp_path: Path) -> None:
    trial = _trial(tmp_path)

    def see(setup: JobSetup) -> JobSetup:
        assert setup.presence is not None
        sources = tuple(
            each._replace(identity=each.identity and each.identity._replace(device=77)) for each in setup.sources
        )
        targets = tuple(each._replace(identity=None) for each in setup.targets)
        return setup._replace(
            sources=sources, targets=targets, presence=setup.presence._replace(kernel="another system")
        )

    trial.require_good(_run(trial, see)[0], 0, 1)
    trial.end()


def test_other_device_on_the_same_kernel_is_not_believed(tmp_path: Path) -> None:
    trial = _trial(tmp_path)

    def see(setup: JobSetup) -> JobSetup:
        sources = tuple(
            each._replace(identity=each.identity and each.identity._replace(device=77)) for each in setup.sources
        )
        return setup._replace(sources=sources)

    with pytest.raises(RefusedError, match="another folder"):
        _run(trial, see)
    trial.end()


def test_worker_that_cannot_start_threads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = _trial(tmp_path)

    def refuse(*arguments: Any) -> Any:
        raise RuntimeError("can't start new thread")

    def see(setup: JobSetup) -> JobSetup:
        monkeypatch.setattr(Supervisor, "lane", refuse)
        return setup

    with pytest.raises(RefusedError, match="no threads can be started there"):
        _run(trial, see)
    monkeypatch.undo()


def test_place_that_hangs_when_it_is_looked_at_is_no_place_to_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = _trial(tmp_path)
    systems: list[TreeSystem] = []

    def hanging() -> TreeSystem:
        system = TreeSystem()
        system.hang("open_folder", trial.release)
        systems.append(system)
        return system

    monkeypatch.setattr(workplace, "native_system", hanging)
    with pytest.raises(RefusedError, match="hangs"):
        _run(trial, _sighted, stall_timeout_s=0.3)
    assert systems
    trial.end()


def test_cancel_stops_workers_elsewhere_and_they_leave_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = _trial(tmp_path)
    writes: list[float] = []

    def slow() -> TreeSystem:
        system = TreeSystem()

        def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
            writes.append(time.monotonic())
            if len(writes) == 5:
                trial.cancel.set()
            time.sleep(0.1)
            return real()

        system.rule("write", slowly, where=f"/{CARD}", times=None)
        return system

    monkeypatch.setattr(workplace, "native_system", slow)
    monkeypatch.setattr(plan_module, "_BATCH_FILES", 200)
    begin = time.monotonic()
    result, _ = _run(trial, _sighted)
    assert time.monotonic() - begin < 4
    assert len(writes) < 40
    assert [each.state for each in result.destinations] == [State.CANCELLED] * 2
    trial.end()
    left = [path for path in partials(tmp_path) if path.name != journal_name(CARD)]
    for path in partials(tmp_path):
        path.unlink()
    assert left == []
    trial.require_nothing_false(2)


def test_worker_that_takes_the_offload_for_over_has_its_job_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has removed the tokens in the middle of a job: nothing is lost, and nothing is called cancelled."""
    trial = _trial(tmp_path)
    removed: list[Path] = []

    def slow() -> TreeSystem:
        system = TreeSystem()

        def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
            if not removed:
                for number in range(2):
                    for path in (tmp_path / f"d{number}").glob(".pfn.*"):
                        if len(path.read_bytes()) == 32:
                            path.unlink()
                            removed.append(path)
                time.sleep(0.2)
            return real()

        system.rule("write", slowly, where=f"/{CARD}", times=None)
        return system

    monkeypatch.setattr(workplace, "native_system", slow)
    result, _ = _run(trial, _sighted)
    assert len(removed) == 2
    trial.require_good(result, 0, 1)
    trial.end()
    trial.require_no_partials()


def test_failing_token_of_one_destination_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = _trial(tmp_path)
    fired: list[int] = []

    def sick() -> TreeSystem:
        system = TreeSystem()
        rule = system.fail("open_name", errno.EIO, where="/d1/.pfn.", nth=2, times=None)

        def slowly(real: Callable[[], Any], *arguments: Any) -> Any:
            time.sleep(0.05)
            fired.append(rule.fired)
            return real()

        system.rule("write", slowly, where=f"/d0/{CARD}", times=None)
        return system

    monkeypatch.setattr(workplace, "native_system", sick)
    result, _ = _run(trial, _sighted)
    assert max(fired) > 1
    trial.require_good(result, 0, 1)
    trial.end()


def test_copies_that_a_lost_job_has_made_are_this_runs_own(tmp_path: Path) -> None:
    """The worker has done it all, and died before it could say so: the report is the one of a run without that."""
    trial = _trial(tmp_path)
    lost: list[Job] = []

    class Forgetful(_OtherHost):
        def _do(self, fn: Callable[..., Any], call: Callable[..., Any], given: Any) -> Any:
            answer = super()._do(fn, call, given)
            if isinstance(given, Job) and len(lost) < 3:
                lost.append(given)
                raise ConnectionResetError("the worker is gone")
            return answer

    with Forgetful(_sighted) as executor:
        result = trial.run_within(30, 2, executor=executor)
    trial.require_good(result, 0, 1)
    assert len(lost) == 3
    told = [event for event in trial.events if isinstance(event, FileEvent)]
    assert sorted(event.path for event in told) == sorted(trial.files)
    assert {each.state for event in told for each in event.destinations} == {State.VERIFIED}
    trial.end()
    assert partials(tmp_path) == []
