"""Any bytes, cut in any way, to any number of destinations: they arrive, and the digest is theirs."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pfndispatchcopy import CopyOptions, State
from pfndispatchcopy.model import Preserve, Strategy, Verify, VerifySource
from pfndispatchcopy.session import offload
from tests.support.files import partials

_ONE_SHOT: dict[str, Callable[[bytes], str]] = {
    "xxh64be": xxhash.xxh64_hexdigest,
    "xxh3": xxhash.xxh3_64_hexdigest,
    "xxh128": xxhash.xxh3_128_hexdigest,
    "md5": lambda data: hashlib.md5(data).hexdigest(),
    "sha1": lambda data: hashlib.sha1(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
}

# Sizes around the edges of chunks and pages matter more than what the bytes are.
_DATA = st.binary(max_size=600) | st.builds(
    lambda seed, size: (seed * (size // len(seed) + 1))[:size],
    st.binary(min_size=1, max_size=7),
    st.sampled_from([4095, 4096, 4097, 8192, 20_000]),
)


@settings(deadline=None, max_examples=40)
@given(
    data=_DATA,
    chunk_size=st.integers(1, 64) | st.sampled_from([4095, 4096, 4097, 1 << 20]),
    count=st.integers(1, 6),
    strategy=st.sampled_from(list(Strategy)),
    hashes=st.lists(st.sampled_from(sorted(_ONE_SHOT)), min_size=1, max_size=3, unique=True),
    queue_depth=st.none() | st.integers(1, 3),
    verify_source=st.sampled_from(list(VerifySource)),
)
def test_any_bytes_arrive_everywhere_with_their_digest(
    data: bytes,
    chunk_size: int,
    count: int,
    strategy: Strategy,
    hashes: list[str],
    queue_depth: int | None,
    verify_source: VerifySource,
) -> None:
    with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
        root = Path(name)
        source = root / "clip.mov"
        source.write_bytes(data)
        before = source.stat()
        options = CopyOptions(
            hashes=tuple(hashes),
            chunk_size=chunk_size,
            queue_depth=queue_depth,
            strategy=strategy,
            verify_source=verify_source,
            preserve=frozenset({Preserve.TIMES}),
        )
        result = offload(str(source), [f"{root}/{number}/" for number in range(count)], options)
        assert result.success
        assert result.size == len(data)
        assert result.hashes == {name: _ONE_SHOT[name](data) for name in hashes}
        assert list(result.hashes) == hashes
        assert [each.state for each in result.destinations] == [State.VERIFIED] * count
        for number, each in enumerate(result.destinations):
            assert (root / str(number) / "clip.mov").read_bytes() == data
            assert each.bytes_written == len(data)
        assert partials(root) == []
        after = source.stat()
        assert (after.st_mtime_ns, after.st_ctime_ns, after.st_mode) == (
            before.st_mtime_ns,
            before.st_ctime_ns,
            before.st_mode,
        )


@settings(deadline=None, max_examples=20)
@given(
    data=_DATA,
    count=st.integers(1, 4),
    first=st.sampled_from([Strategy.SINGLE, Strategy.PARALLEL]),
    second=st.sampled_from([Strategy.SINGLE, Strategy.PARALLEL]),
    verify=st.sampled_from(list(Verify)),
)
def test_second_run_finds_everything_identical_whichever_path_it_takes(
    data: bytes, count: int, first: Strategy, second: Strategy, verify: Verify
) -> None:
    with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
        root = Path(name)
        (root / "clip.mov").write_bytes(data)
        destinations = [f"{root}/{number}/" for number in range(count)]
        once = offload(str(root / "clip.mov"), destinations, CopyOptions(strategy=first, verify=verify))
        inodes = [(root / str(number) / "clip.mov").stat().st_ino for number in range(count)]
        again = offload(str(root / "clip.mov"), destinations, CopyOptions(strategy=second, verify=verify))
        assert [each.state for each in again.destinations] == [State.IDENTICAL] * count
        assert again.hashes == once.hashes
        assert [each.bytes_written for each in again.destinations] == [0] * count
        assert [(root / str(number) / "clip.mov").stat().st_ino for number in range(count)] == inodes
