"""The parallel path: threads that have names and end, memory that has a bound, and digests that are right."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pfndispatchcopy.engine import chunks, crew, parallel
from pfndispatchcopy.engine.chunks import BufferPool, ChunkData, page_aligned_buffer
from pfndispatchcopy.engine.destination import DestinationCopy
from pfndispatchcopy.engine.lanes import Lane, Supervisor
from pfndispatchcopy.engine.source import SourceOutcome
from pfndispatchcopy.engine.writers import ParallelWriter
from pfndispatchcopy.errors import PfnDispatchCopyError
from pfndispatchcopy.hashing import ALGORITHMS, HashCalculator
from pfndispatchcopy.model import State, Strategy
from tests.support.trial import Trial


@pytest.fixture
def strategy() -> Strategy:
    return Strategy.PARALLEL


class _CountedPool(BufferPool):
    """Counts the chunks that are alive, and says when the reader had to wait for a buffer."""

    def __init__(self, chunk_size: int, count: int) -> None:
        super().__init__(chunk_size, count)
        self.most_alive = 0
        self.made = 0
        self.reader_waits = threading.Event()

    def acquire(self, timeout_s: float) -> memoryview | None:
        buffer = super().acquire(min(timeout_s, 0.005))
        if buffer is None:
            self.reader_waits.set()
        return buffer

    def chunk(self, sequence: int, buffer: memoryview, length: int) -> ChunkData:
        self.made += 1
        self.most_alive = max(self.most_alive, self.count - self.free_count)
        return super().chunk(sequence, buffer, length)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[_CountedPool]:
    made: list[_CountedPool] = []

    def make(chunk_size: int, count: int) -> _CountedPool:
        made.append(_CountedPool(chunk_size, count))
        return made[-1]

    monkeypatch.setattr(crew, "BufferPool", make)
    return made


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("depth", [1, 3])
def test_chunks_never_outnumber_the_pool_however_many_destinations_there_are(
    count: int, depth: int, trial: Trial, pools: list[_CountedPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    allocated: list[int] = []

    def counting(size: int) -> memoryview:
        allocated.append(size)
        return page_aligned_buffer(size)

    monkeypatch.setattr(chunks, "page_aligned_buffer", counting)
    trial.chunk_size = 512
    result = trial.run(count, queue_depth=depth)
    trial.require_good(result, *range(count))
    (pool,) = pools
    assert pool.made == -(-len(trial.data) // 512)
    assert pool.most_alive <= pool.count == depth + 1
    assert allocated == [512 * (depth + 1)]
    assert pool.free_count == pool.count


@pytest.mark.fault(26)
def test_very_slow_destination_holds_the_reader_back_and_grows_no_memory(
    trial: Trial, pools: list[_CountedPool]
) -> None:
    behind: list[int] = []

    def write_slowly(real: Callable[[], int], *arguments: Any) -> int:
        # As slow as can be: every write waits until the reader has nothing left to do but to wait for it.
        (pool,) = pools
        pool.reader_waits.clear()
        pool.reader_waits.wait(0.2)
        behind.append(pool.count - pool.free_count)
        return real()

    trial.chunk_size = 1024
    rule = trial.rule("write", write_slowly, 1, times=None)
    result = trial.run_within(20, queue_depth=3)
    assert rule.fired == 20
    trial.require_good(result, 0, 1, 2)
    (pool,) = pools
    assert max(behind) == pool.count == 4
    assert pool.most_alive <= 4
    assert pool.free_count == 4


def test_destinations_write_from_the_same_memory(trial: Trial) -> None:
    addresses: list[set[int]] = [set() for _ in range(3)]
    for number in range(3):

        def write(real: Callable[[], int], fd: int, data: memoryview, number: int = number) -> int:
            addresses[number].add(id(data.obj))
            return real()

        trial.rule("write", write, number, times=None)
    trial.require_good(trial.run(), 0, 1, 2)
    assert addresses[0] == addresses[1] == addresses[2]
    assert len(addresses[0]) == 1


def test_threads_have_names_and_none_is_left(trial: Trial) -> None:
    names: dict[str, set[str]] = {}

    def note(who: str) -> Callable[..., Any]:
        def act(real: Callable[[], Any], *arguments: Any) -> Any:
            names.setdefault(who, set()).add(threading.current_thread().name)
            return real()

        return act

    trial.rule("read", note("source"), times=None)
    for number in range(3):
        for call in ("write", "flush", "read", "rename_to_free_name", "close"):
            trial.rule(call, note(f"d{number}"), number, times=None)
    before = set(threading.enumerate())
    trial.require_good(trial.run(), 0, 1, 2)
    assert names == {"source": {"pfn-source"}, **{f"d{n}": {f"pfn-destination-{n}"} for n in range(3)}}
    assert set(threading.enumerate()) == before


def test_several_slow_digests_are_right_and_have_threads_of_their_own(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    lane = Supervisor.lane

    def noting(supervisor: Supervisor, name: str) -> Lane:
        made.append(name)
        return lane(supervisor, name)

    monkeypatch.setattr(Supervisor, "lane", noting)
    names = ["sha256", "xxh3", "md5", "c4", "xxh64be", "sha1", "xxh128"]
    result = trial.run(hashes=tuple(names))
    right = HashCalculator(names)
    right.update(trial.data)
    assert result.hashes == right.hexdigests()
    assert list(result.hashes) == names
    assert result.hash == right.hexdigests()["sha256"]
    trial.require_good(result, 0, 1, 2)
    slow = {f"pfn-digest-{name}" for name in names if not ALGORITHMS[name].is_fast}
    assert {name for name in made if "digest" in name} == slow


def test_digest_is_right_where_it_is_too_slow_to_compare_by(trial: Trial) -> None:
    result = trial.run(hashes=("sha256",))
    right = HashCalculator(["sha256"])
    right.update(trial.data)
    assert result.hashes == right.hexdigests()
    trial.require_good(result, 0, 1, 2)


def test_failing_destination_does_not_disturb_a_slow_digest(trial: Trial) -> None:
    rules = [trial.fail("write", 28, number, nth=2) for number in (0, 2)]
    result = trial.run(hashes=("md5", "sha256"))
    right = HashCalculator(["md5", "sha256"])
    right.update(trial.data)
    assert [rule.fired for rule in rules] == [1, 1]
    assert result.hashes == right.hexdigests()
    trial.require_good(result, 1)


def test_reading_stops_when_no_destination_is_left(trial: Trial) -> None:
    trial.chunk_size = 512
    rules = [trial.fail("write", 28, number) for number in range(3)]
    reads = trial.rule("read", lambda real, *arguments: real(), times=None)
    result = trial.run(queue_depth=1)
    assert [rule.fired for rule in rules] == [1, 1, 1]
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert reads.fired < 10
    assert (result.hashes, result.exit_code) == ({}, 1)


@pytest.mark.fault(17, 62)
def test_thread_that_cannot_be_started_does_not_leave_the_others_waiting(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane, fired = Supervisor.lane, threading.Event()

    def refusing(supervisor: Supervisor, name: str) -> Lane:
        if name.startswith("pfn-digest"):
            fired.set()
            raise RuntimeError("can't start new thread")
        return lane(supervisor, name)

    monkeypatch.setattr(Supervisor, "lane", refusing)
    writers: list[ParallelWriter] = []

    def make(copy: DestinationCopy, outcome: SourceOutcome) -> ParallelWriter:
        writers.append(ParallelWriter(copy, outcome))
        return writers[-1]

    monkeypatch.setattr(parallel, "ParallelWriter", make)

    def rescue() -> None:
        for writer in writers:
            writer.close(RuntimeError("rescued"))

    trial.rescue = rescue
    try:
        result = trial.run_within(5, hashes=("xxh64be", "sha256"))
    except (PfnDispatchCopyError, RuntimeError):
        pass
    else:
        assert not result.success
    assert fired.is_set()
    trial.require_nothing(0, 1, 2)


@pytest.mark.fault(17)
def test_memory_that_cannot_be_had_does_not_leave_anything_behind(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired = threading.Event()

    def refuse(chunk_size: int, count: int) -> BufferPool:
        fired.set()
        raise MemoryError

    monkeypatch.setattr(crew, "BufferPool", refuse)
    try:
        result = trial.run_within(5)
    except (PfnDispatchCopyError, MemoryError):
        pass
    else:
        assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert fired.is_set()
    trial.require_nothing(0, 1, 2)


def test_second_pass_is_for_those_alone_that_need_it(trial: Trial, pools: list[_CountedPool]) -> None:
    for number in (0, 2):
        (trial.folder(number) / "clip.mov").write_bytes(bytes(len(trial.data)))
    writes = [trial.rule("write", lambda real, *arguments: real(), number, times=None) for number in range(3)]
    result = trial.run(on_conflict="overwrite", hashes=("sha256", "xxh3"))
    trial.require_good(result, 0, 1, 2)
    assert [rule.fired for rule in writes] == [5, 5, 5]
    assert len(pools) == 1  # the buffers of the first pass serve the second
    assert all(pool.free_count == pool.count for pool in pools)
    right = HashCalculator(["sha256", "xxh3"])
    right.update(trial.data)
    assert result.hashes == right.hexdigests()


@pytest.mark.fault(43)
def test_memory_that_changes_after_the_reading_is_found_on_every_destination(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = chunks.ChunkQueue.put
    spoiled: list[int] = []

    def spoiling(queue: chunks.ChunkQueue, chunk: ChunkData) -> None:
        if not spoiled:
            spoiled.append(chunk.sequence)
            chunk.data[0] ^= 1
        put(queue, chunk)

    monkeypatch.setattr(chunks.ChunkQueue, "put", spoiling)
    result = trial.run()
    assert spoiled == [0]
    assert [each.state for each in result.destinations] == [State.MISMATCH] * 3
