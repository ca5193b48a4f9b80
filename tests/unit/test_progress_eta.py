"""The time that is left is right early on, over runs that a simulation makes: clock, disks and files are its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from pfndispatchcopy.model import Phase
from pfndispatchcopy.progress import FileProgress, ProgressTracker

_MB = 1_000_000
_GB = 1000 * _MB
_TICK_S = 0.25
# A destination may be so far ahead of the slowest one: all share the same few buffers.
_AHEAD = 16 * _MB
_SMALL = 4 * _MB
_BATCH_FILES = 200


def _steady(rate: float) -> Callable[[float], float]:
    return lambda _: rate


@dataclass
class _Disk:
    """A destination: bytes a second at a time, seconds for a flush and for each small file."""

    write: Callable[[float], float]
    read: Callable[[float], float]
    flush_s: float = 0.2
    file_s: float = 0.0005


def _disk(write: float, read: float | None = None, **more: float) -> _Disk:
    return _Disk(_steady(write), _steady(write if read is None else read), **more)


_FAST = _disk(400 * _MB)
_SLOW = _disk(40 * _MB)


@dataclass
class _Run:
    """What the time left was said to be, over a run."""

    now: float = 0.0
    read_back_at: float = 0.0
    told: list[tuple[float, float | None]] = field(default_factory=list)

    def look(self, tracker: ProgressTracker) -> None:
        self.told.append((self.now, tracker.snapshot().eta_s))

    def worst(self, *, since: float = 0.2, since_s: float = 0.0) -> float:
        """The largest error of the end that was foreseen, as a part of the whole time, after this part of it."""
        late = [(at, left) for at, left in self.told if max(since * self.now, since_s) <= at < self.now]
        assert late
        assert all(left is not None for _, left in late)
        return max(abs(at + left - self.now) / self.now for at, left in late if left is not None)


# A step of a simulated job takes a tick each time it is asked for, and ends when it is done.
_Steps = Iterator[None]
_Job = Callable[["_Simulation"], _Steps]


class _Simulation:
    """Jobs that take turns in reading; what was copied is read back while the next one is copied."""

    def __init__(self, disks: Sequence[_Disk], tracker: ProgressTracker, run: _Run, at_once: int) -> None:
        self.disks = disks
        self.tracker = tracker
        self.run = run
        self.at_once = at_once
        self.reading: object | None = None
        self.verifying = [0] * len(disks)

    def go_through(self, jobs: Iterator[_Job]) -> None:
        active: list[_Steps] = []
        while True:
            while len(active) < self.at_once and (job := next(jobs, None)) is not None:
                active.append(job(self))
            if not active:
                return
            self.run.look(self.tracker)
            self.run.now += _TICK_S
            active = [steps for steps in active if next(steps, self) is None]

    def copy(self, progress: ProgressTracker, size: int) -> _Steps:
        """Write to all of them, none far ahead of the slowest."""
        me = object()
        while self.reading is not None:
            yield
        self.reading = me
        done = [0.0] * len(self.disks)
        while min(done) < size:
            limit = min(size, min(done) + max(_AHEAD, min(disk.write(self.run.now) for disk in self.disks) * _TICK_S))
            for number, disk in enumerate(self.disks):
                before = done[number]
                done[number] = min(limit, before + disk.write(self.run.now) * _TICK_S)
                progress.advance(number, int(done[number]) - int(before))
            yield
        self.reading = None

    def large(self, size: int, progress: ProgressTracker) -> _Steps:
        yield from self.copy(progress, size)
        proofs = [self._prove(number, progress, size) for number in range(len(self.disks))]
        while proofs:
            proofs = [proof for proof in proofs if next(proof, self) is None]
            if proofs:
                yield

    def _prove(self, number: int, progress: ProgressTracker, size: int) -> _Steps:
        disk = self.disks[number]
        progress.enter(number, "flushing")
        for _ in range(round(disk.flush_s / _TICK_S)):
            yield
        progress.enter(number, "verifying", Phase.VERIFY)
        self.run.read_back_at = self.run.read_back_at or self.run.now
        self.verifying[number] += 1
        done = 0.0
        while done < size:
            before, share = done, disk.read(self.run.now) / self.verifying[number]
            done = min(size, done + share * _TICK_S)
            progress.advance(number, int(done) - int(before), Phase.VERIFY)
            yield
        self.verifying[number] -= 1
        progress.leave(number, "verified")

    def batch(self, sizes: Sequence[int]) -> _Steps:
        """Small files, which are counted when all of them are over and done with."""
        while self.reading is not None:
            yield
        self.reading = object()
        yield from self._wait(
            max(len(sizes) * disk.file_s + sum(sizes) / disk.write(self.run.now) for disk in self.disks)
        )
        self.reading = None
        yield from self._wait(max(sum(sizes) / disk.read(self.run.now) for disk in self.disks))
        for number in range(len(self.disks)):
            for phase in Phase:
                self.tracker.advance(number, sum(sizes), phase, files=len(sizes))

    def _wait(self, seconds: float) -> _Steps:
        until = self.run.now + seconds - _TICK_S
        while self.run.now < until:
            yield


def _file(size: int, disks: Sequence[_Disk]) -> _Run:
    """One file, all of it copied and then read back."""
    run = _Run()
    tracker = ProgressTracker([f"/{each}" for each in range(len(disks))], size, verify=True, clock=lambda: run.now)
    _Simulation(disks, tracker, run, 1).go_through(iter([partial(_Simulation.large, size=size, progress=tracker)]))
    return run


def _tree(sizes: Sequence[int], disks: Sequence[_Disk], *, at_once: int = 2) -> _Run:
    """A folder: large files by themselves, small ones in batches, in their order."""
    run = _Run()
    names = [f"/{each}" for each in range(len(disks))]
    tracker = ProgressTracker(names, sum(sizes), verify=True, sizes=sizes, at_once=at_once, clock=lambda: run.now)

    def jobs() -> Iterator[_Job]:
        small: list[int] = []
        for size in [*sizes, None]:
            if small and (size is None or size > _SMALL or len(small) == _BATCH_FILES):
                batch, small = small, []
                yield partial(_Simulation.batch, sizes=batch)
            if size is not None and size <= _SMALL:
                small.append(size)
            elif size is not None:
                progress = FileProgress(tracker, range(len(disks)), size, verify=True)
                yield partial(_Simulation.large, size=size, progress=progress)

    _Simulation(disks, tracker, run, at_once).go_through(jobs())
    return run


def _at(when: float, before: float, after: float) -> Callable[[float], float]:
    return lambda now: before if now < when else after


def _with_pauses(rate: float) -> Callable[[float], float]:
    """A disk that stands still for six seconds of every twenty."""
    return lambda now: 0 if now % 20 > 14 else rate


_MIXED = [400 * _MB, *[1_200_000] * 60, *[16_000] * 60] * 12
_SMALL_FILES = [16_000] * 10_000

_FORESEEN: dict[str, Callable[[], _Run]] = {
    "one file": lambda: _file(2 * _GB, [_FAST, _FAST, _SLOW]),
    "one file, read back at twice the speed": lambda: _file(2 * _GB, [_FAST, _disk(40 * _MB, 80 * _MB)]),
    "one file, read back a little slower": lambda: _file(2 * _GB, [_FAST, _disk(40 * _MB, 37 * _MB)]),
    "one file, a slow flush": lambda: _file(2 * _GB, [_FAST, _disk(40 * _MB, flush_s=5)]),
    "one file, pauses": lambda: _file(4 * _GB, [_FAST, _Disk(_with_pauses(60 * _MB), _steady(60 * _MB))]),
    "twelve destinations": lambda: _tree([100 * _MB] * 20, [*[_FAST] * 11, _SLOW]),
    "many files": lambda: _tree([100 * _MB] * 100, [_FAST, _FAST, _SLOW]),
    "many files, pauses": lambda: _tree([100 * _MB] * 100, [_FAST, _Disk(_with_pauses(60 * _MB), _steady(60 * _MB))]),
    "many files, a disk that becomes slower": lambda: _tree(
        [100 * _MB] * 100, [_FAST, _Disk(_at(20, 80 * _MB, 40 * _MB), _at(20, 80 * _MB, 40 * _MB))]
    ),
    "small files": lambda: _tree(_SMALL_FILES * 2, [_FAST, _SLOW]),
    "small and large files in turns": lambda: _tree(_MIXED, [_FAST, _SLOW]),
    "large files before small ones": lambda: _tree(sorted(_MIXED, reverse=True), [_FAST, _SLOW]),
    "a huge file first": lambda: _tree([4 * _GB, *[100 * _MB] * 10], [_FAST, _SLOW]),
    "a huge file in the middle": lambda: _tree([*[100 * _MB] * 10, 4 * _GB, *[100 * _MB] * 10], [_FAST, _SLOW]),
    "a huge file last": lambda: _tree([*[100 * _MB] * 10, 4 * _GB], [_FAST, _SLOW]),
}


@pytest.mark.parametrize("run", _FORESEEN.values(), ids=_FORESEEN)
def test_end_is_foreseen_within_a_fifth_from_a_fifth_on(run: Callable[[], _Run]) -> None:
    assert run().worst() <= 0.2


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("quicker", [0.25, 0.5, 1, 2, 4])
@pytest.mark.parametrize("sizes", [[100 * _MB] * 30, [500 * _MB] * 8], ids=["many", "few"])
def test_end_is_foreseen_when_reading_back_is_quicker_or_slower(
    sizes: Sequence[int], quicker: float, at_once: int
) -> None:
    run = _tree(sizes, [_FAST, _disk(40 * _MB, 40 * _MB * quicker)], at_once=at_once)

    assert run.worst() <= 0.2


@pytest.mark.parametrize("quicker", [0.25, 0.5, 2, 4])
def test_end_of_one_file_is_foreseen_as_soon_as_the_reading_back_was_seen(quicker: float) -> None:
    """Before it has begun, nothing tells how quick it will be."""
    run = _file(2 * _GB, [_FAST, _disk(40 * _MB, 40 * _MB * quicker)])
    slow_one_reads_at = next(at for at, _ in run.told if at > run.read_back_at + 1)

    assert run.worst(since_s=slow_one_reads_at) <= 0.2


@pytest.mark.parametrize(("before", "after"), [(80, 40), (40, 80), (100, 20)])
def test_disk_that_becomes_slower_or_quicker_is_believed_before_as_much_time_again(before: int, after: int) -> None:
    speed = _at(60, before * _MB, after * _MB)
    run = _tree([100 * _MB] * 150, [_FAST, _Disk(speed, speed)])

    assert run.worst(since_s=120) <= 0.2


@pytest.mark.parametrize(
    "sizes",
    [[*_SMALL_FILES, *[500 * _MB] * 6], [*[500 * _MB] * 6, *_SMALL_FILES], sorted(_MIXED)],
    ids=["small ones first", "large ones first", "larger and larger"],
)
def test_small_files_do_not_make_the_large_ones_seem_endless(sizes: Sequence[int]) -> None:
    """What the others will take is a guess while only one kind was seen; by their bytes alone it would be ten times."""
    run = _tree(sizes, [_FAST, _disk(150 * _MB)])

    assert run.worst() <= 0.4


def test_what_is_passed_over_says_nothing_of_the_speed() -> None:
    run = _Run()
    tracker = ProgressTracker(["/a"], 100 * _MB, sizes=[10 * _MB] * 10, clock=lambda: run.now)
    progress = FileProgress(tracker, [0], 50 * _MB, verify=False)
    tracker.snapshot()
    run.now = 1.0
    tracker.advance(0, 10 * _MB)
    progress.leave(0, "skipped")

    eta_s = tracker.snapshot().eta_s
    assert eta_s == pytest.approx(4.0, rel=0.1)


def test_files_that_an_earlier_run_has_proven_say_nothing_of_the_speed() -> None:
    run = _Run()
    tracker = ProgressTracker(["/a"], 100 * _MB, verify=True, sizes=[10 * _MB] * 10, clock=lambda: run.now)
    for phase in Phase:
        tracker.advance(0, 80 * _MB, phase, files=8)
    assert tracker.snapshot().eta_s is None
    run.now = 1.0
    for phase in Phase:
        tracker.advance(0, 10 * _MB, phase, files=1)

    assert tracker.snapshot().eta_s == pytest.approx(1.0, rel=0.05)
