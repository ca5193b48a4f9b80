"""Digests: each against another implementation of it, or against known vectors."""

import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.hashing import ALGORITHMS, HashCalculator, canonical_name, comparison_name, short_key

_C4_OF_NOTHING = "c459dsjfscH38cYeXXYogktxf4Cd9ibshE3BHUo6a58hBXmRQdZrAkZzsWcbWtDg5oQstpDuni4Hirj75GEmTc1sFT"

_EMPTY = {
    "xxh64be": "ef46db3751d8e999",
    "xxh3": "2d06800538d394c2",
    "xxh128": "99aa06d3014798d86001c324468d497f",
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
    "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "c4": _C4_OF_NOTHING,
}


def _c4(data: bytes) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number = int(hashlib.sha512(data).hexdigest(), 16)
    digits = ""
    for power in range(87, -1, -1):
        digits += alphabet[number // 58**power % 58]
    return "c4" + digits


_ONE_SHOT: dict[str, Callable[[bytes], str]] = {
    "xxh64be": xxhash.xxh64_hexdigest,
    "xxh3": xxhash.xxh3_64_hexdigest,
    "xxh128": xxhash.xxh3_128_hexdigest,
    "md5": lambda data: hashlib.md5(data).hexdigest(),
    "sha1": lambda data: hashlib.sha1(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "c4": _c4,
}


def test_every_algorithm_of_the_contract_is_there() -> None:
    assert set(ALGORITHMS) == set(_EMPTY) == set(_ONE_SHOT)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_digest_of_nothing_is_the_known_one(name: str) -> None:
    assert HashCalculator([name]).hexdigests() == {name: _EMPTY[name]}


def test_known_vectors_of_abc() -> None:
    calculator = HashCalculator(["md5", "sha1", "sha256", "xxh64"])
    calculator.update(b"abc")
    assert calculator.hexdigests() == {
        "md5": "900150983cd24fb0d6963f7d28e17f72",
        "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "xxh64be": "44bc2cf5ad770999",
    }


@given(pieces=st.lists(st.binary(max_size=300), max_size=6))
def test_digests_do_not_depend_on_how_the_bytes_are_cut(pieces: list[bytes]) -> None:
    calculator = HashCalculator(ALGORITHMS)
    for piece in pieces:
        calculator.update(memoryview(piece))
    whole = b"".join(pieces)
    assert calculator.hexdigests() == {name: one_shot(whole) for name, one_shot in _ONE_SHOT.items()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_digest_has_the_stated_length_even_with_leading_zeros(name: str) -> None:
    for number in range(300):  # one digest in 16 begins with a zero, a C4 ID in 58 with its "1"
        calculator = HashCalculator([name])
        calculator.update(str(number).encode())
        assert len(calculator.hexdigests()[name]) == ALGORITHMS[name].digest_length


def test_c4_of_small_numbers_is_padded() -> None:
    class Zero:
        def digest(self) -> bytes:
            return bytes(63) + b"\x3a"  # 58: the digits "21"

    identifier = ALGORITHMS["c4"].new()
    identifier._sha512 = Zero()  # type: ignore[attr-defined]
    assert identifier.hexdigest() == "c4" + "1" * 86 + "21"


@pytest.mark.skipif(shutil.which("xxhsum") is None, reason="xxhsum is not installed")
@pytest.mark.parametrize(("name", "flag"), [("xxh64be", "-H1"), ("xxh128", "-H2"), ("xxh3", "-H3")])
def test_xxhsum_prints_the_same(name: str, flag: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(random.Random(3).randbytes(100_003))
    answer = subprocess.run(["xxhsum", flag, str(path)], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip(f"this xxhsum does not know {flag}")
    calculator = HashCalculator([name])
    calculator.update(path.read_bytes())
    assert calculator.hexdigests()[name] in answer.stdout.replace("_", " ").split()


def test_a_single_flipped_bit_changes_every_digest() -> None:
    data = bytearray(random.Random(4).randbytes(5000))
    before, after = HashCalculator(ALGORITHMS), HashCalculator(ALGORITHMS)
    before.update(bytes(data))
    data[2500] ^= 1
    after.update(bytes(data))
    assert all(before.hexdigests()[name] != after.hexdigests()[name] for name in ALGORITHMS)


def test_names_are_canonical_in_the_order_asked_for() -> None:
    calculator = HashCalculator(["md5", "XXH64", "xxh64be", " md5 ", "c4"])
    assert calculator.names == ("md5", "xxh64be", "c4")
    assert list(calculator.hexdigests()) == ["md5", "xxh64be", "c4"]
    assert canonical_name("xxh64") == canonical_name("Xxh64BE") == "xxh64be"


def test_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        HashCalculator(["md4"])
    assert "'md4'" in str(caught.value)
    for name in ALGORITHMS:
        assert name in str(caught.value)


def test_default_is_the_historic_digest() -> None:
    assert HashCalculator().names == ("xxh64be",)


def test_copies_are_compared_by_a_fast_digest() -> None:
    assert comparison_name(("md5", "xxh3", "xxh64be")) == "xxh3"
    assert comparison_name(("md5", "c4")) == "xxh128"
    assert ALGORITHMS[comparison_name(("sha256",))].is_fast


def test_digests_can_be_looked_at_on_the_way() -> None:
    calculator = HashCalculator(["md5", "c4"])
    calculator.update(b"ab")
    assert calculator.hexdigests() == {"md5": _ONE_SHOT["md5"](b"ab"), "c4": _c4(b"ab")}
    calculator.update(b"c")
    assert calculator.hexdigests() == {"md5": _ONE_SHOT["md5"](b"abc"), "c4": _c4(b"abc")}


def test_short_key_is_short_fixed_and_different() -> None:
    keys = {short_key(str(number).encode()) for number in range(500)}
    assert len(keys) == 500
    assert all(len(key) == 10 and int(key, 16) >= 0 for key in keys)
    assert short_key(b"clip.mov") == short_key(b"clip.mov")
