"""Digests: the names of the contract, and several of them taken in one pass.

Sources: xxHash, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md (the canonical,
big-endian form is what is printed); C4, SMPTE ST 2114:2017.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import xxhash

from pfndispatchcopy.errors import UsageError

__all__ = [
    "ALGORITHMS",
    "DEFAULT_HASH",
    "LISTED_ALGORITHMS",
    "Algorithm",
    "HashCalculator",
    "canonical_name",
    "comparison_name",
    "digest_bytes",
    "digests_of",
    "long_key",
    "short_key",
]

DEFAULT_HASH = "xxh64be"

_C4_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_C4_DIGITS = 88


class _Hasher(Protocol):
    def update(self, data: memoryview | bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


def _from_library(name: str) -> _Hasher:
    import hashlib  # noqa: PLC0415 - it loads all of OpenSSL, which xxHash does not need

    return hashlib.new(name, usedforsecurity=False)


class _C4:
    """A C4 ID: SHA-512 as a base-58 number of 88 digits behind ``c4`` (SMPTE ST 2114)."""

    def __init__(self) -> None:
        self._sha512 = _from_library("sha512")
        self.update = self._sha512.update

    def digest(self) -> bytes:
        return self._sha512.digest()

    def hexdigest(self) -> str:
        number = int.from_bytes(self.digest(), "big")
        digits: list[str] = []
        while number:
            number, digit = divmod(number, 58)
            digits.append(_C4_ALPHABET[digit])
        return "c4" + "".join(reversed(digits)).rjust(_C4_DIGITS, _C4_ALPHABET[0])


class Algorithm(NamedTuple):
    """One digest by its name.

    Attributes:
        name: the canonical name, which results are keyed by.
        new: makes an object with ``update`` and ``hexdigest``.
        is_fast: whether it keeps up with memory, so that it may run in the reader's thread
            (xxh64 8 GiB/s, xxh3 and xxh128 20 and more, against sha1 and sha256 1.4, md5 0.6:
            ``benchmarks/exp_hash.py``). The slow ones get a thread each.
        digest_length: of the printed form, in characters.
    """

    name: str
    new: Callable[[], _Hasher]
    is_fast: bool
    digest_length: int


ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("xxh64be", xxhash.xxh64, is_fast=True, digest_length=16),
        Algorithm("xxh3", xxhash.xxh3_64, is_fast=True, digest_length=16),
        Algorithm("xxh128", xxhash.xxh3_128, is_fast=True, digest_length=32),
        Algorithm("md5", lambda: _from_library("md5"), is_fast=False, digest_length=32),
        Algorithm("sha1", lambda: _from_library("sha1"), is_fast=False, digest_length=40),
        Algorithm("sha256", lambda: _from_library("sha256"), is_fast=False, digest_length=64),
        Algorithm("c4", _C4, is_fast=False, digest_length=90),
    )
}

# Hash lists of others may hold one more, which 32 bits make too weak to be offered for new copies.
LISTED_ALGORITHMS: Mapping[str, Algorithm] = {
    **ALGORITHMS,
    "xxh32": Algorithm("xxh32", xxhash.xxh32, is_fast=True, digest_length=8),
}

_ALIASES = {"xxh64": "xxh64be"}


def canonical_name(name: str) -> str:
    """Return the canonical spelling of a digest's name (``xxh64`` is ``xxh64be``; case does not matter).

    Raises:
        UsageError: no digest has this name; the message lists those there are.
    """
    lowered = name.strip().lower()
    canonical = _ALIASES.get(lowered, lowered)
    if canonical not in ALGORITHMS:
        known = ", ".join(["xxh64be (= xxh64)", *(each for each in ALGORITHMS if each != "xxh64be")])
        raise UsageError(f"unknown hash name {name!r}; known are: {known}")
    return canonical


def comparison_name(names: Iterable[str]) -> str:
    """Choose the digest that copies are compared by: the first fast one asked for, or else ``xxh128``.

    A slow digest would make the read-back wait for the processor instead of for the disk; ``xxh128``
    costs next to nothing beside it and is as good a proof against accidents.
    """
    return next((name for name in names if ALGORITHMS[name].is_fast), "xxh128")


_AT_ONCE: Mapping[str, Callable[[memoryview | bytes], str]] = {
    "xxh64be": xxhash.xxh64_hexdigest,
    "xxh3": xxhash.xxh3_64_hexdigest,
    "xxh128": xxhash.xxh3_128_hexdigest,
}


def digests_of(names: Iterable[str], data: memoryview | bytes) -> dict[str, str]:
    """Return the digests of *data*, by canonical name: for small files quicker than a :class:`HashCalculator`."""
    found: dict[str, str] = {}
    for name in names:
        at_once = _AT_ONCE.get(name)
        if at_once is not None:
            found[name] = at_once(data)
        else:
            hasher = LISTED_ALGORITHMS[name].new()
            hasher.update(data)
            found[name] = hasher.hexdigest()
    return found


def digest_bytes(name: str, text: str) -> bytes:
    """Return the bytes that a printed digest stands for: the inverse of ``hexdigest``.

    Args:
        name: a key of :data:`LISTED_ALGORITHMS`.
        text: as that algorithm prints it.

    Raises:
        ValueError: *text* has another length, or stands for no digest of this kind.
    """
    if len(text) != LISTED_ALGORITHMS[name].digest_length:
        raise ValueError(f"not as long as a digest by {name}")
    if name != "c4":
        if not text.isalnum():  # fromhex would pass over spaces
            raise ValueError("not hexadecimal")
        return bytes.fromhex(text)
    if not text.startswith("c4"):
        raise ValueError("not a C4 ID")
    number = 0
    for digit in text[2:]:
        number = number * 58 + _C4_ALPHABET.index(digit)
    if number.bit_length() > 512:
        raise ValueError("more than a C4 ID can be")
    return number.to_bytes(64, "big")


def short_key(data: bytes) -> str:
    """Return ten hexadecimal digits that stand for *data*, such as a name that is too long to be part of another."""
    return xxhash.xxh3_64_hexdigest(data)[:10]


def long_key(data: bytes) -> bytes:
    """Return 16 bytes that stand for *data*: two of a list of millions are alike for no honest reason."""
    return xxhash.xxh3_128_digest(data)


class HashCalculator:
    """Several digests of one stream of bytes, taken together.

    Args:
        names: digest names of the contract; aliases are understood, repetitions are dropped.

    Raises:
        UsageError: a name is unknown.

    Example:
        >>> calculator = HashCalculator(["xxh64be"])
        >>> calculator.update(b"")
        >>> calculator.hexdigests()
        {'xxh64be': 'ef46db3751d8e999'}
    """

    __slots__ = ("_hashers", "_updates")

    def __init__(self, names: Iterable[str] = (DEFAULT_HASH,)) -> None:
        canonical = dict.fromkeys(canonical_name(name) for name in names)
        self._hashers = {name: ALGORITHMS[name].new() for name in canonical}
        self._updates = tuple(hasher.update for hasher in self._hashers.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The canonical names, in the order asked for."""
        return tuple(self._hashers)

    def update(self, data: memoryview | bytes) -> None:
        """Take the next bytes of the stream into every digest."""
        for update in self._updates:
            update(data)

    def hexdigests(self) -> dict[str, str]:
        """Return the digests so far, by canonical name; hexadecimal, but a C4 ID for ``c4``."""
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}
