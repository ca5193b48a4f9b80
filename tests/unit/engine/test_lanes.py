"""Lanes and their supervisor: what hangs is given up, what is merely slow is not, and no thread is left."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from pfndispatchcopy.engine import lanes
from pfndispatchcopy.engine.lanes import AwakeClock, Lane, OperationWatch, Supervisor, Task
from pfndispatchcopy.errors import NoThreadError, OperationCancelledError, StalledError


class _Office:
    """A supervisor, and an event that ends what hangs in its lanes."""

    def __init__(self) -> None:
        self.cancel = threading.Event()
        self.release = threading.Event()
        self._made: list[Supervisor] = []

    def supervisor(self, stall_timeout_s: float = 0.2, on_tick: Callable[[], None] = lambda: None) -> Supervisor:
        made = Supervisor(stall_timeout_s, self.cancel, on_tick)
        self._made.append(made)
        return made

    def hang(self, watch: OperationWatch, operation: str = "write") -> None:
        with watch(operation):
            self.release.wait()

    def close(self) -> None:
        self.release.set()
        for each in self._made:
            each.close()


@pytest.fixture
def office() -> Iterator[_Office]:
    office = _Office()
    yield office
    office.close()


def _ends(lane: Lane) -> bool:
    lane._thread.join(5)
    return not lane._thread.is_alive()


def test_lane_runs_its_tasks_in_turn_in_a_thread_of_its_name(office: _Office) -> None:
    supervisor = office.supervisor()
    lane = supervisor.lane("pfn-test")
    seen: list[tuple[int, str]] = []
    tasks = [lane.submit(lambda n=n: seen.append((n, threading.current_thread().name))) for n in range(20)]  # type: ignore[misc]
    supervisor.wait(tasks)
    assert seen == [(number, "pfn-test") for number in range(20)]
    assert all(task.is_done and task.error is None for task in tasks)


@pytest.mark.parametrize("error", [OSError("broken"), RuntimeError("bug"), SystemExit(1)])
def test_what_a_task_raises_is_carried_over_and_the_lane_goes_on(error: BaseException, office: _Office) -> None:
    def fail() -> None:
        raise error

    supervisor = office.supervisor()
    lane = supervisor.lane("pfn-test")
    failing, next_one = lane.submit(fail), lane.submit(lambda: None)
    supervisor.wait([failing, next_one])
    assert failing.error is error
    assert next_one.error is None


def test_closing_waits_for_the_threads(office: _Office) -> None:
    supervisor = office.supervisor()
    made = [supervisor.lane(f"pfn-test-{number}") for number in range(3)]
    supervisor.close()
    assert not any(lane._thread.is_alive() for lane in made)
    assert not supervisor.has_given_up


def test_watch_is_busy_only_within_an_operation_even_one_that_fails() -> None:
    watch = OperationWatch("d", AwakeClock())
    with watch("write", 4096):
        assert (watch.is_busy, watch.operation, watch.offset) == (True, "write", 4096)
    assert not watch.is_busy
    with pytest.raises(OSError, match="broken"), watch("flush"):
        raise OSError("broken")
    assert (watch.is_busy, watch.operation, watch.offset) == (False, "flush", None)


@pytest.mark.fault(27)
def test_hung_operation_is_given_up_and_the_others_are_waited_for(office: _Office) -> None:
    supervisor = office.supervisor()
    watches = [supervisor.watch(f"d{number}") for number in range(2)]
    given_up = threading.Event()
    stalled: list[Task] = []

    def on_stall(task: Task) -> None:
        stalled.append(task)
        given_up.set()

    hung = supervisor.lane("pfn-hung").submit(lambda: office.hang(watches[0]), watches[0])
    waiting = supervisor.lane("pfn-waiting").submit(lambda: given_up.wait(5), watches[1])
    supervisor.wait([hung, waiting], on_stall)
    assert stalled == [hung]
    assert isinstance(hung.error, StalledError)
    assert "it hangs: nothing finished for 0.2 s" in str(hung.error)
    assert hung.hung_watch is watches[0]
    assert hung.lane.is_given_up
    assert supervisor.has_given_up
    assert (waiting.error, waiting.lane.is_given_up) == (None, False)


def test_given_up_lane_holds_nobody_and_ends_when_the_hang_does(office: _Office) -> None:
    supervisor = office.supervisor()
    watch = supervisor.watch("d")
    task = supervisor.lane("pfn-hung").submit(lambda: office.hang(watch), watch)
    supervisor.wait([task])
    error = task.error
    supervisor.close()
    assert task.lane._thread.is_alive()
    office.release.set()
    assert _ends(task.lane)
    assert task.error is error


def test_lane_that_is_busy_outside_the_operating_system_does_not_hang(office: _Office) -> None:
    ticks = threading.Semaphore(0)
    supervisor = office.supervisor(0.05, on_tick=ticks.release)
    watch = supervisor.watch("d")

    def compute() -> None:
        for _ in range(3):
            assert ticks.acquire(timeout=5)

    task = supervisor.lane("pfn-test").submit(compute, watch)
    supervisor.wait([task])
    assert task.error is None


def test_many_operations_that_take_long_together_are_no_hang(office: _Office) -> None:
    ticks = threading.Semaphore(0)
    supervisor = office.supervisor(0.4, on_tick=ticks.release)
    watch = supervisor.watch("d")

    def work() -> None:
        for number in range(5):
            with watch("write", number):
                assert ticks.acquire(timeout=5)

    task = supervisor.lane("pfn-test").submit(work, watch)
    supervisor.wait([task])
    assert supervisor.clock.now > 0.4
    assert task.error is None


def test_no_time_out_is_for_ever(office: _Office) -> None:
    ticks = threading.Semaphore(0)
    supervisor = office.supervisor(0, on_tick=ticks.release)
    watch = supervisor.watch("d")

    def work() -> None:
        with watch("write"):
            for _ in range(4):
                assert ticks.acquire(timeout=5)

    task = supervisor.lane("pfn-test").submit(work, watch)
    supervisor.wait([task])
    assert task.error is None
    assert not supervisor.has_given_up


def test_one_lane_is_seen_through_several_watches(office: _Office) -> None:
    supervisor = office.supervisor()
    watches = [supervisor.watch(f"d{number}") for number in range(3)]
    task = supervisor.lane("pfn-test").submit(lambda: office.hang(watches[2], "flush"), *watches)
    supervisor.wait([task])
    assert task.hung_watch is watches[2]
    assert task.hung_watch.operation == "flush"


@pytest.mark.fault(52)
def test_process_that_was_asleep_has_not_aged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(lanes, "monotonic", lambda: now)
    clock = AwakeClock()
    watch = OperationWatch("d", clock)
    with watch("write"):
        now += 0.125
        clock.advance()
        assert watch.seconds_busy() == pytest.approx(0.125)
        now += 3600
        clock.advance()
        assert watch.seconds_busy() == pytest.approx(0.375)
    assert watch.seconds_busy() == 0


def test_operation_may_finish_for_a_while_after_a_cancel_and_is_then_given_up(
    office: _Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "CANCEL_GRACE_S", 0.3)
    supervisor = office.supervisor(300)
    watch = supervisor.watch("d")
    task = supervisor.lane("pfn-test").submit(lambda: office.hang(watch, "flush"), watch)
    office.cancel.set()
    supervisor.wait([task])
    assert isinstance(task.error, OperationCancelledError)
    assert "flush" in str(task.error)
    assert supervisor.clock.now >= 0.3


def test_operation_that_ends_soon_after_a_cancel_is_not_given_up(office: _Office) -> None:
    ticks = threading.Semaphore(0)
    supervisor = office.supervisor(300, on_tick=ticks.release)
    watch = supervisor.watch("d")

    def work() -> None:
        with watch("flush"):
            for _ in range(3):
                assert ticks.acquire(timeout=5)

    office.cancel.set()
    task = supervisor.lane("pfn-test").submit(work, watch)
    supervisor.wait([task])
    assert task.error is None


def test_ticks_come_at_most_ten_times_a_second(office: _Office) -> None:
    times: list[float] = []
    enough = threading.Event()

    def tick() -> None:
        times.append(monotonic())
        if len(times) == 5:
            enough.set()

    supervisor = office.supervisor(0, tick)
    supervisor.wait([supervisor.lane("pfn-test").submit(lambda: enough.wait(5))])
    assert len(times) == 5
    assert all(later - earlier > 0.1 for earlier, later in pairwise(times))


@pytest.mark.fault(17, 62)
def test_supervisor_that_can_start_no_thread_says_so(office: _Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> Any:
        raise RuntimeError("can't start new thread")

    supervisor = office.supervisor()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(NoThreadError, match="can't start new thread"):
        supervisor.lane("pfn-test")
    assert not supervisor.has_given_up
