"""Progress with a clock that the test turns: minimum, rates and the time that is left."""

import threading

import pytest

from pfndispatchcopy.model import Phase
from pfndispatchcopy.progress import ProgressTracker

_MB = 1_000_000


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _tracker(clock: _Clock, count: int = 2, total: int | None = 100 * _MB, *, verify: bool = False) -> ProgressTracker:
    names = [f"/{chr(97 + number)}" for number in range(count)]
    return ProgressTracker(names, total, verify=verify, clock=clock)


def test_progress_is_that_of_the_slowest_destination(clock: _Clock) -> None:
    tracker = _tracker(clock, 3)
    tracker.advance(0, 30)
    tracker.advance(1, 10)
    tracker.advance(2, 20)
    assert tracker.minimum() == 10
    assert tracker.snapshot().bytes_done == 10
    assert [each.bytes_done for each in tracker.snapshot().destinations] == [30, 10, 20]
    assert tracker.bytes_done(2) == 20


def test_failed_destination_no_longer_counts(clock: _Clock) -> None:
    tracker = _tracker(clock, 3)
    tracker.advance(0, 30)
    tracker.advance(1, 10)
    tracker.advance(2, 20)
    tracker.leave(1, "failed", failed=True)
    assert tracker.minimum() == 20
    snapshot = tracker.snapshot()
    assert snapshot.bytes_done == 20
    assert snapshot.destinations[1].state == "failed"
    assert snapshot.destinations[1].bytes_done == 10


def test_identical_destination_does_not_hold_the_minimum_down(clock: _Clock) -> None:
    tracker = _tracker(clock)
    tracker.advance(0, 40 * _MB)
    tracker.leave(1, "identical")
    assert tracker.minimum() == 40 * _MB


def test_minimum_of_nobody_is_nothing(clock: _Clock) -> None:
    tracker = _tracker(clock)
    tracker.advance(0, 5)
    tracker.advance(1, 5)
    tracker.leave(0, "failed", failed=True)
    tracker.leave(1, "failed", failed=True)
    assert tracker.minimum() == 0
    snapshot = tracker.snapshot()
    assert (snapshot.bytes_done, snapshot.rate, snapshot.eta_s) == (0, 0.0, None)


def test_rate_is_that_of_the_slowest_destination(clock: _Clock) -> None:
    tracker = _tracker(clock)
    assert tracker.snapshot().rate == 0.0
    clock.now += 2
    tracker.advance(0, 20 * _MB)
    tracker.advance(1, 4 * _MB)
    snapshot = tracker.snapshot()
    assert snapshot.rate == pytest.approx(2 * _MB)
    assert [each.rate for each in snapshot.destinations] == pytest.approx([10 * _MB, 2 * _MB])


def test_rate_forgets_what_is_long_past(clock: _Clock) -> None:
    tracker = _tracker(clock, 1)
    tracker.snapshot()
    clock.now += 1
    tracker.advance(0, 50 * _MB)
    assert tracker.snapshot().rate == pytest.approx(50 * _MB)
    for _ in range(80):  # the disk stands still for eight seconds
        clock.now += 0.1
        snapshot = tracker.snapshot()
    assert snapshot.rate == 0.0


def test_two_looks_at_the_same_moment_are_no_division_by_zero(clock: _Clock) -> None:
    tracker = _tracker(clock, 1)
    tracker.snapshot()
    tracker.advance(0, 5)
    assert tracker.snapshot().rate == 0.0


def test_time_left_is_that_of_the_slowest_destination(clock: _Clock) -> None:
    tracker = _tracker(clock)
    assert tracker.snapshot().eta_s is None
    clock.now += 1
    tracker.advance(0, 50 * _MB)
    tracker.advance(1, 10 * _MB)
    assert tracker.snapshot().eta_s == pytest.approx(9.0)


def test_time_left_counts_the_reading_back(clock: _Clock) -> None:
    tracker = _tracker(clock, 1, verify=True)
    tracker.snapshot()
    clock.now += 1
    tracker.advance(0, 50 * _MB)
    # 50 MB to write and 100 MB to read back, which is taken to be somewhat quicker until it was seen.
    assert tracker.snapshot().eta_s == pytest.approx(1.0 + 2 * 0.7)
    clock.now += 1
    tracker.advance(0, 50 * _MB)
    tracker.enter(0, "verifying", Phase.VERIFY)
    assert tracker.snapshot().eta_s == pytest.approx(2 * 0.7)


def test_rate_of_the_reading_back_counts_from_its_own_beginning(clock: _Clock) -> None:
    tracker = _tracker(clock, 1, verify=True)
    for _ in range(5):
        tracker.snapshot()
        clock.now += 1
        tracker.advance(0, 20 * _MB)
    tracker.enter(0, "verifying", Phase.VERIFY)
    tracker.snapshot()
    clock.now += 1
    tracker.advance(0, 50 * _MB, Phase.VERIFY)
    snapshot = tracker.snapshot()
    assert snapshot.rate == pytest.approx(50 * _MB)
    assert snapshot.eta_s == pytest.approx(1.0)


def test_time_left_is_known_while_a_flush_holds_everything_up(clock: _Clock) -> None:
    tracker = _tracker(clock, 1, verify=True)
    tracker.snapshot()
    clock.now += 1
    tracker.advance(0, 100 * _MB)
    tracker.snapshot()
    tracker.enter(0, "flushing")
    for _ in range(20):
        clock.now += 1
        snapshot = tracker.snapshot()
    assert snapshot.rate == 0.0
    assert snapshot.eta_s is not None
    assert snapshot.eta_s > 0


def test_nothing_is_left_when_all_are_done(clock: _Clock) -> None:
    tracker = _tracker(clock, verify=True)
    tracker.advance(0, 100 * _MB)
    tracker.leave(0, "verified")
    tracker.leave(1, "identical")
    snapshot = tracker.snapshot()
    assert snapshot.eta_s == 0.0
    assert snapshot.bytes_done == 100 * _MB


def test_failed_destination_does_not_hold_the_time_left_up(clock: _Clock) -> None:
    tracker = _tracker(clock)
    tracker.snapshot()
    clock.now += 1
    tracker.advance(0, 50 * _MB)
    tracker.advance(1, 1 * _MB)
    tracker.leave(1, "failed", failed=True)
    assert tracker.snapshot().eta_s == pytest.approx(1.0)


def test_stream_has_no_total_until_it_ends(clock: _Clock) -> None:
    tracker = _tracker(clock, 1, None)
    tracker.snapshot()
    clock.now += 1
    tracker.advance(0, 5)
    snapshot = tracker.snapshot()
    assert (snapshot.bytes_total, snapshot.eta_s, snapshot.bytes_done) == (None, None, 5)
    tracker.set_total(5)
    assert tracker.snapshot().bytes_total == 5
    assert tracker.snapshot().eta_s == 0.0


def test_phase_is_verify_only_when_all_that_live_verify(clock: _Clock) -> None:
    tracker = _tracker(clock, 3, verify=True)
    tracker.enter(0, "verifying", Phase.VERIFY)
    tracker.enter(1, "verifying", Phase.VERIFY)
    assert tracker.snapshot().phase is Phase.COPY
    tracker.leave(2, "failed", failed=True)
    assert tracker.snapshot().phase is Phase.VERIFY
    tracker.advance(0, 7, Phase.VERIFY)
    tracker.advance(1, 5, Phase.VERIFY)
    assert tracker.snapshot().bytes_done == 5


def test_counts_from_many_threads_all_arrive(clock: _Clock) -> None:
    tracker = _tracker(clock, 1, None)
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(2000):
            tracker.advance(0, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.minimum() == 8000
