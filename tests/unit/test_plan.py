"""Planning: refusals before anything is written, the copy path, and memory under the stated bound."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.model import Identity, SourceSnapshot, Strategy, Verify, VerifySource
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.plan import Destination, Plan, make_plan, may_collide

_MIB = 1 << 20
_SOURCE_FOLDER = Identity(1, 50)


def _source(size: int | None = 10 * _MIB) -> SourceSnapshot:
    return SourceSnapshot(Identity(1, 100), size)


def _destination(number: int = 0, **changes: Any) -> Destination:
    letter = chr(97 + number % 26)
    found = Destination(
        number=number,
        label=f"/{letter}{number}/",
        folder=f"/{letter}{number}",
        name="clip.mov",
        anchor=Identity(10 + number, 2),
        missing=(),
        existing=None,
        existing_size=None,
        mount=Mount("ext4", "/"),
        free=1 << 40,
        is_own_volume=True,
    )
    return found._replace(**changes)


def _plan(
    *destinations: Destination, size: int | None = 10 * _MIB, source_path: str = "/card/clip.mov", **options: Any
) -> Plan:
    folder = None if size is None else _SOURCE_FOLDER
    return make_plan(source_path, _source(size), folder, destinations or [_destination()], CopyOptions(**options))


# -- refusals -------------------------------------------------------------------------------------------


def _refusal(*destinations: Destination, **named: Any) -> RefusedError:
    with pytest.raises(RefusedError, match="nothing was written") as caught:
        _plan(*destinations, **named)
    return caught.value


def test_source_of_another_size_than_announced_is_refused() -> None:
    error = _refusal(size=5, expect_size=6)
    assert error.operation == "expect-size"
    assert "5" in str(error)
    assert "6" in str(error)
    assert _plan(size=5, expect_size=5).event.bytes == 5


def test_size_of_a_stream_is_not_known_yet_and_refuses_nothing() -> None:
    assert _plan(size=None, expect_size=6).event.bytes is None


@pytest.mark.fault(63)
def test_destination_that_is_the_source_is_refused() -> None:
    error = _refusal(_destination(existing=Identity(1, 100)))
    assert error.operation == "same-file"
    assert error.path == "/a0/clip.mov"


@pytest.mark.fault(64)
def test_same_name_in_the_sources_folder_is_the_source_whatever_the_inode_says() -> None:
    assert _refusal(_destination(anchor=_SOURCE_FOLDER)).operation == "same-file"
    assert _plan(_destination(anchor=_SOURCE_FOLDER, name="other.mov"))
    assert _plan(_destination(anchor=_SOURCE_FOLDER, missing=("sub",)))


@pytest.mark.fault(66)
def test_one_destination_twice_is_refused() -> None:
    one, other = _destination(0), _destination(1, anchor=Identity(10, 2))
    error = _refusal(one, other)
    assert error.operation == "same-destination"
    assert one.label in str(error)
    assert other.label in str(error)


def test_missing_folders_tell_destinations_apart() -> None:
    same = {"anchor": Identity(10, 2)}
    assert len(_plan(_destination(0, missing=("x",), **same), _destination(1, missing=("y",), **same)).targets) == 2
    error = _refusal(_destination(0, missing=("x",), **same), _destination(1, missing=("x",), **same))
    assert error.operation == "same-destination"


@pytest.mark.fault(67)
def test_names_that_some_file_systems_take_for_one_may_collide() -> None:
    assert may_collide(_destination(0, name="Clip.MOV"), _destination(1, name="clip.mov"))
    assert may_collide(_destination(0, name="e\u0301.mov"), _destination(1, name="\u00e9.mov"))
    assert not may_collide(_destination(0, name="a.mov"), _destination(1, name="b.mov"))


@pytest.mark.fault(23)
def test_volume_of_its_own_can_be_required() -> None:
    error = _refusal(_destination(0), _destination(1, is_own_volume=False), require_mount=True)
    assert error.operation == "require-mount"
    assert "/b1/" in str(error)
    assert _plan(_destination(0, is_own_volume=False))


def test_full_volume_is_refused_before_anything_is_written() -> None:
    error = _refusal(_destination(free=10 * _MIB - 1))
    assert (error.errno, error.operation) == ("ENOSPC", "space")
    assert _plan(_destination(free=10 * _MIB))


def test_two_destinations_on_one_volume_need_twice_the_room() -> None:
    volume = {"free": 15 * _MIB}
    pair = [_destination(n, anchor=Identity(7, n), **volume) for n in range(2)]
    assert _refusal(*pair).errno == "ENOSPC"
    assert _plan(*(_destination(n, anchor=Identity(7 + n, n), **volume) for n in range(2)))


def test_file_that_may_turn_out_identical_needs_no_room() -> None:
    assert _plan(_destination(free=0, existing=Identity(10, 9), existing_size=10 * _MIB))
    assert _refusal(_destination(free=0, existing=Identity(10, 9), existing_size=3)).errno == "ENOSPC"


def test_volume_that_does_not_say_its_space_is_taken_at_its_word() -> None:
    assert _plan(_destination(free=None)).event.free_bytes == (("/a0/", None),)


@pytest.mark.fault(5)
@pytest.mark.parametrize("filesystem", ["vfat", "msdos", "msdosfs", "fat32"])
def test_file_of_four_gib_is_refused_on_fat(filesystem: str) -> None:
    on_fat = _destination(mount=Mount(filesystem, "/a0"))
    assert _refusal(on_fat, size=1 << 32).errno == "EFBIG"
    assert _plan(on_fat, size=(1 << 32) - 1)
    assert _plan(_destination(mount=Mount("exfat", "/a0")), size=1 << 32)


# -- the copy path ----------------------------------------------------------------------------------------


def test_small_file_goes_without_threads_and_large_one_with_them() -> None:
    small, large = (
        _plan(_destination(0), _destination(1), size=_MIB),
        _plan(_destination(0), _destination(1), size=1 << 30),
    )
    assert (small.strategy, large.strategy) == (Strategy.SINGLE, Strategy.PARALLEL)
    assert "does not pay" in small.event.reason
    assert "pays" in large.event.reason
    assert small.event.strategy is small.strategy


def test_one_destination_gains_from_threads_later_than_several() -> None:
    def crossover(count: int) -> int:
        sizes = (1 << power for power in range(10, 40))
        found = [_destination(number) for number in range(count)]
        return next(size for size in sizes if _plan(*found, size=size).strategy is Strategy.PARALLEL)

    assert crossover(1) > crossover(2) == crossover(5)


def test_stream_may_be_large() -> None:
    assert _plan(size=None).strategy is Strategy.PARALLEL


@pytest.mark.parametrize("size", [0, 1 << 34, None])
@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.PARALLEL])
def test_path_can_be_forced(size: int | None, strategy: Strategy) -> None:
    plan = _plan(size=size, strategy=strategy)
    assert (plan.strategy, plan.event.reason) == (strategy, "asked for")


# -- memory -----------------------------------------------------------------------------------------------


def _data_memory(plan: Plan, count: int) -> int:
    """All that is allocated at once when every destination reads back while the last chunks are on their way."""
    return plan.sizes.chunk * plan.sizes.buffers + plan.sizes.read_back * count


_SIZES = st.none() | st.integers(0, 1 << 40)
_STRATEGIES = st.sampled_from(list(Strategy))


@given(
    count=st.integers(1, 400),
    size=_SIZES,
    limit=st.integers(1, 1 << 30),
    chunk=st.none() | st.integers(1, 1 << 26),
    depth=st.none() | st.integers(1, 64),
    strategy=_STRATEGIES,
    verify=st.sampled_from(list(Verify)),
)
def test_memory_stays_under_the_limit_for_any_number_of_destinations(
    count: int,
    size: int | None,
    limit: int,
    chunk: int | None,
    depth: int | None,
    strategy: Strategy,
    verify: Verify,
) -> None:
    found = [_destination(number, free=None) for number in range(count)]
    try:
        plan = _plan(
            *found,
            size=size,
            memory_limit=limit,
            chunk_size=chunk,
            queue_depth=depth,
            strategy=strategy,
            verify=verify,
        )
    except UsageError as error:
        assert "--memory-limit" in str(error)  # noqa: PT017 - either it fits, or it is refused
        return
    assert _data_memory(plan, count) <= plan.memory_bound <= limit
    assert plan.event.memory_bound == plan.memory_bound
    assert plan.sizes.chunk >= 1
    assert plan.sizes.buffers >= (1 if plan.strategy is Strategy.SINGLE else 2)
    assert plan.sizes.read_back >= 1
    if chunk is not None:
        assert plan.sizes.chunk == chunk


@given(count=st.integers(1, 400), size=_SIZES, strategy=_STRATEGIES)
def test_stated_bound_covers_what_is_allocated(count: int, size: int | None, strategy: Strategy) -> None:
    plan = _plan(*(_destination(number, free=None) for number in range(count)), size=size, strategy=strategy)
    assert _data_memory(plan, count) <= plan.memory_bound == plan.event.memory_bound
    assert plan.sizes.chunk % 4096 == 0


@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.PARALLEL])
def test_stated_bound_covers_the_second_reading_of_the_source(strategy: Strategy) -> None:
    plan = _plan(_destination(0), _destination(1), strategy=strategy, verify_source=VerifySource.PER_FILE)
    buffers_of_reading_back = 3 if strategy is Strategy.PARALLEL else 1
    assert _data_memory(plan, buffers_of_reading_back) <= plan.memory_bound


@pytest.mark.parametrize("count", [1, 2, 8])
def test_enough_memory_is_not_refused(count: int) -> None:
    plan = _plan(*(_destination(n) for n in range(count)), size=1 << 34, memory_limit=_MIB)
    assert plan.sizes.buffers >= 2


def test_limit_that_is_too_small_is_refused_with_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"--memory-limit 100 is too small.*need \d+ bytes"):
        _plan(memory_limit=100)


def test_chunk_fits_a_small_file_and_stays_in_the_cache_for_a_large_one() -> None:
    assert _plan(size=1).sizes.chunk == 4096
    assert _plan(size=0).sizes.chunk == 4096
    assert _plan(size=100_000).sizes.chunk == 102_400
    assert _plan(size=32 * _MIB).sizes.chunk == _MIB
    assert _plan(size=48 * _MIB).sizes.chunk == 48 * _MIB // 32
    assert _plan(size=1 << 40).sizes.chunk == 2 * _MIB
    assert _plan(size=None).sizes.chunk == _MIB


def test_chunk_size_and_queue_depth_are_taken_as_given() -> None:
    plan = _plan(chunk_size=12_345, queue_depth=3, strategy=Strategy.PARALLEL)
    assert plan.sizes.chunk == plan.event.chunk_size == 12_345
    assert plan.event.queue_depth == 3
    assert plan.sizes.buffers == 4


def test_parallel_path_has_a_buffer_to_read_into_while_one_is_written() -> None:
    plan = _plan(chunk_size=1 << 30, strategy=Strategy.PARALLEL)
    assert plan.sizes.buffers == 2


# -- what is told -----------------------------------------------------------------------------------------


def test_plan_tells_what_will_be_done() -> None:
    plan = _plan(_destination(0, free=1 << 30), _destination(1, free=None), hashes=("md5", "xxh3"))
    assert plan.event.files == 1
    assert plan.event.bytes == 10 * _MIB
    assert plan.event.jobs == 1
    assert plan.event.free_bytes == (("/a0/", 1 << 30), ("/b1/", None))
    assert plan.digests.asked == ("md5", "xxh3")
    assert plan.digests.comparison == "xxh3"


def test_targets_say_what_each_destination_can_and_must_do() -> None:
    plan = _plan(
        _destination(0, mount=Mount("tmpfs", "/a0")), _destination(3, name="x.mov"), no_flush=frozenset({"/d3/"})
    )
    first, second = plan.targets
    assert (first.is_memory, first.is_forced, first.path) == (True, True, "/a0/clip.mov")
    assert (second.is_memory, second.is_forced, second.path) == (False, False, "/d3/x.mov")
    assert [target.number for target in plan.targets] == [0, 3]


@pytest.mark.fault(78)
def test_refusal_shows_a_hostile_name_safely() -> None:
    error = _refusal(_destination(label="/a\x1b[2J/", free=0), _destination(1))
    assert str(error).isprintable()
