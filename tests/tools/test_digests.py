"""Every digest against implementations that are not the package's own."""

import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pfndispatchcopy.hashing import ALGORITHMS, LISTED_ALGORITHMS, HashCalculator, digests_of
from tests.tools.suite import MhlSuite

pytestmark = pytest.mark.tools

MIB = 1 << 20
SIZES = (0, 1, 3, 31, 33, 239, 241, 1025, 65_537, MIB, MIB + 1)
"""Sizes about the borders at which xxHash changes its way, and about the chunks that files are read in."""

_IN_ASCMHL = {"xxh64be": "xxh64", "xxh3": "xxh3", "xxh128": "xxh128", "md5": "md5", "sha1": "sha1", "c4": "c4"}
_OF_XXHSUM = {"xxh64be": "-H1", "xxh128": "-H2", "xxh3": "-H3"}
_OF_COREUTILS = {"md5": "md5sum", "sha1": "sha1sum", "sha256": "sha256sum"}

# The vectors that the C4 project publishes with its implementations of SMPTE ST 2114.
_C4_VECTORS = {
    b"": "c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc1sFT",
    b"alfa": "c43zYcLni5LF9rR4Lg4B8h3Jp8SBwjcnyyeh4bc6gTPHndKuKdjUWx1kJPYhZxYt3zV6tQXpDs2shPsPYjgG81wZM1",
    b"bravo": "c42jd8KUQG9DKppN1qt5aWS3PAmdPmNutXyVTb8H123FcuU3shPxpUXsVdcouSALZ4PaDvMYzQSMYCWkb6rop9zhDa",
    b"charlie": "c44erLietE8C1iKmQ3y4ENqA9g82Exdkoxox3KEHops2ux5MTsuMjfbFRvUPsPdi9Pxc3C2MRvLxWT8eFw5XKbRQGw",
    b"delta": "c42Sv2Wi2Qo8AKbJKnUP6YTSdz8pt9aDaf2Ltx44HF1UDdXANM8Ltk6qEzpncvmVbw6FZxgBumw9Eo2jtGyaQ5gDSC",
    b"echo": "c41bviGCyTM2stoMYVTVKgBkfC6SitoLRFinp77BcmN9awdaeC9cxPy4zyFQBhmTvRzChawbECK1KBRnw3KnagA5be",
    b"foxtrot": "c427CsZdfUAHyQBS3hxDFrL9NqgKeRuKkuSkxuYTm26XG7AKAWCjViDuMhHaMmQBkvuHnsxojetbQU1DdxHjzyQw8r",
    b"golf": "c41yLiwAPdsjiBAAw8AFwQGG3cAWnNbDio21NtHE8yD1Fh5irRE4FsccZvm1WdJ4FNHtR1kt5kev7wERsgYomaQbfs",
    b"hotel": "c44nNyaFuVbt5MCfo2PYWHpwMkBpYTbt14C6TuoLCYH5RLvAFLngER3nqHfXC2GuttcoDxGBi3pY1j3pUF2W3rZD8N",
    b"india": "c41nJ6CvPN7m7UkUA3oS2yjXYNSZ7WayxEQXWPae6wFkWwW8WChQWTu61bSeuCERu78BDK1LUEny1qHZnye3oU7DtY",
    b"foo": "c45xZeXwMSpqXjpDumcHMA6mhoAmGHkUo7r9WmN2UgSEQzj9KjgseaQdkEJ11fGb5S1WEENcV3q8RFWwEeVpC7Fjk2",
    b"bar": "c45KgBYEvEE7Yfv16JAgnUT29bon2WsYAiBFZvnKNJiQR8kya2tRtEdfD6vi8bjvmmDDrepEGmkNvk88M8NWdeV9ig",
    b"baz": "c41hF4DAnW1q61imgv2q1kiuJ6DVsLXAHaBeCs2AG1XCuuPTQ5qWYgCAoD4eBcP2c1sz5x4oitFT7ERcmdXaoMmpFA",
    b"hello world": "c41yP4cqy7jmaRDzC2bmcGNZkuQb3VdftMk6YH7ynQ2Qw4zktKsyA9fk52xghNQNAdkpF9iFmFkKh2bNVG4kDWhsok",
    b"\n": "c44ooKUp8V54YNQ9R62vF14AAg83We1eYgddxZfs8bacNWnscbjZSYsEngoRCi7u7JBZJh7LA573FMMv8rBMYY9NLx",
    b"\0": "c44gXrHw1dqafC4Vo2RTmHpRK3d3x8aYXLg81BtsMBWrWgQu9n45JWDMTM5yGhR1Ug1Reo4sFi4apJe9Zmoexx9Tc9",
}


def _in_one(names: list[str], data: bytes) -> dict[str, str]:
    return digests_of(names, data)


def _in_chunks(names: list[str], data: bytes) -> dict[str, str]:
    calculator = HashCalculator(names)
    view = memoryview(data)
    start, size = 0, 1
    while start < len(data):
        calculator.update(view[start : start + size])
        start, size = start + size, size * 3 % 60_013 + 1
    return calculator.hexdigests()


WAYS = pytest.mark.parametrize("digests", [_in_one, _in_chunks], ids=["at once", "in chunks"])
Digests = Callable[[list[str], bytes], dict[str, str]]


def _sample(path: Path, size: int) -> bytes:
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    return data


def _said_by(*command: str | Path) -> list[str]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[0]} does not know {command[1]}")
    return done.stdout.replace("_", " ").split()


@WAYS
def test_ascmhl_takes_the_same_digests(digests: Digests, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    for size in SIZES:
        path = tmp_path / f"{size}"
        mine = digests(list(_IN_ASCMHL), _sample(path, size))
        theirs = mhl_suite.digests(path, *_IN_ASCMHL.values())
        assert mine == {name: theirs[other] for name, other in _IN_ASCMHL.items()}, f"{size} bytes"


@WAYS
@pytest.mark.parametrize("name", _OF_XXHSUM)
@pytest.mark.skipif(shutil.which("xxhsum") is None, reason="xxhsum is not installed")
def test_xxhsum_takes_the_same_digests(digests: Digests, name: str, tmp_path: Path) -> None:
    for size in SIZES:
        path = tmp_path / f"file-{size}"
        mine = digests([name], _sample(path, size))[name]
        assert mine in _said_by("xxhsum", _OF_XXHSUM[name], path), f"{size} bytes"


@pytest.mark.skipif(shutil.which("xxhsum") is None, reason="xxhsum is not installed")
def test_xxhsum_takes_the_same_digest_that_only_lists_of_others_hold(tmp_path: Path) -> None:
    for size in SIZES:
        hasher = LISTED_ALGORITHMS["xxh32"].new()
        hasher.update(_sample(tmp_path / f"file-{size}", size))
        assert hasher.hexdigest() in _said_by("xxhsum", "-H0", tmp_path / f"file-{size}"), f"{size} bytes"


@WAYS
@pytest.mark.parametrize("name", _OF_COREUTILS)
def test_sum_tools_take_the_same_digests(digests: Digests, name: str, tmp_path: Path) -> None:
    tool = _OF_COREUTILS[name]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    for size in SIZES:
        path = tmp_path / f"file-{size}"
        mine = digests([name], _sample(path, size))[name]
        assert mine == _said_by(tool, path)[0], f"{size} bytes"


@WAYS
@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
def test_hashlib_takes_the_same_digests(digests: Digests, name: str) -> None:
    for size in SIZES:
        data = random.Random(size).randbytes(size)
        assert digests([name], data) == {name: hashlib.new(name, data).hexdigest()}, f"{size} bytes"


@WAYS
@pytest.mark.parametrize("data", _C4_VECTORS, ids=repr)
def test_c4_ids_are_the_published_ones(digests: Digests, data: bytes) -> None:
    assert digests(["c4"], data) == {"c4": _C4_VECTORS[data]}


def test_both_ways_agree_on_every_digest_there_is() -> None:
    names = list(ALGORITHMS)
    for size in SIZES:
        data = random.Random(size).randbytes(size)
        assert _in_one(names, data) == _in_chunks(names, data), f"{size} bytes"
