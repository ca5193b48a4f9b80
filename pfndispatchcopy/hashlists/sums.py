r"""Sum files: what ``md5sum``, ``sha1sum``, ``sha256sum`` and ``xxhsum`` print, and check with ``-c``.

There are two styles, ``DIGEST  NAME`` and, with a tag, ``XXH3 (NAME) = DIGEST``. A name with a line break in it is
escaped, and the line begins with a backslash then (coreutils 9; xxhsum 0.8.2: the one before, 0.8.1, has no way to
spell such a name, and passes over the line). A name with nothing worse than a backslash is written as it is, which
every version of every tool takes. xxhsum tells XXH3 by its tag only, and XXH128 has as many digits as MD5: both
are written with the tag.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from pfndispatchcopy.hashing import LISTED_ALGORITHMS, long_key
from pfndispatchcopy.hashlists.digests import digest_text
from pfndispatchcopy.hashlists.entries import ListedDigest, ListedFile, UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt
from pfndispatchcopy.hashlists.paths import safe_path

__all__ = ["SUM_DIGESTS", "read_sums", "write_sum_line"]

# The digests that a sum file can hold, by canonical name, and what its name ends in. No tool checks C4 IDs.
SUM_DIGESTS: Mapping[str, str] = {
    "md5": "md5",
    "sha1": "sha1",
    "sha256": "sha256",
    "xxh64be": "xxh64",
    "xxh3": "xxh3",
    "xxh128": "xxh128",
}

_WRITTEN_WITH_TAG = {"xxh3": b"XXH3", "xxh128": b"XXH128"}
_TAGS = {
    b"MD5": "md5",
    b"SHA1": "sha1",
    b"SHA256": "sha256",
    b"SHA2-256": "sha256",  # openssl dgst, since 3.0
    b"XXH3": "xxh3",
    b"XXH32": "xxh32",
    b"XXH64": "xxh64be",
    b"XXH128": "xxh128",
}
_BY_LENGTH = {8: "xxh32", 16: "xxh64be", 32: "md5", 40: "sha1", 64: "sha256"}
_HINT = re.compile(r"(?<![a-z0-9])(md5|sha1|sha256|xxh128|xxh64|xxh32|xxh3)(?:be)?(?:sums?)?(?![a-z0-9])")

# "MD5 (NAME) = DIGEST"; openssl leaves the spaces out.
_TAGGED = re.compile(rb"(\\?)([A-Z][A-Z0-9_-]*) ?\((.+)\) ?= ?([0-9A-Fa-f]+)", re.DOTALL)
# "DIGEST  NAME", "DIGEST *NAME"; the md5 of BSD and macOS, with -r, prints one space.
_PLAIN = re.compile(rb"(\\?)(XXH3_)?([0-9A-Fa-f]+)(?: [ *]| (?![ *]))(.+)", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_ESCAPED = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}

# Tools take these for their standard input.
_STANDARD_INPUT = frozenset({b"-", b"stdin"})
# Bytes. The longest path, two bytes a character and escaped; the digest and the tag are nothing against it.
_LONGEST_LINE = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def write_sum_line(name: str, digest: str, path: str) -> bytes:
    """Return one line of a sum file.

    Args:
        name: a key of :data:`SUM_DIGESTS`.
        digest: as that algorithm prints it.
        path: relative to the folder that the sum file lies in; it may have any bytes in it but NUL.

    Returns:
        The line with its end.
    """
    spelled = os.fsencode(path)
    if spelled in _STANDARD_INPUT:
        spelled = b"./" + spelled
    escape = b""
    if b"\n" in spelled or b"\r" in spelled:
        escape = b"\\"
        spelled = spelled.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    tag = _WRITTEN_WITH_TAG.get(name)
    if tag is not None:
        return b"%s%s (%s) = %s\n" % (escape, tag, spelled, digest.encode())
    return b"%s%s  %s\n" % (escape, digest.encode(), spelled)


def read_sums(chunks: Iterable[bytes], hint: str | None) -> Iterator[ListedFile]:
    """Read a sum file as it comes in.

    Args:
        chunks: its bytes, cut anywhere.
        hint: the file's own name, which tells the digest where the lines do not; None when there is none.

    Yields:
        The files, in the order of the lines, each with one digest. A file comes again for each further algorithm
        that it has a digest by.

    Raises:
        UntrustedListError: a line is none of any style, by an unknown algorithm, or contradicts another one.
            Where the tools only warn, the list as a whole is not trusted here.
    """
    hinted = _hinted(hint)
    seen = _SeenDigests()
    for number, line in enumerate(_lines(chunks), start=1):
        # md5sum and xxhsum pass over the one, everybody's editor makes the other.
        if line.startswith(b"#") or not line:
            continue
        try:
            file = _understand(line, hinted)
            is_new = seen.add(file)
        except UntrustedListError as error:
            raise UntrustedListError(f"line {number}: {error}") from None
        if is_new:
            yield file


def _hinted(hint: str | None) -> str | None:
    found = _HINT.findall(hint.lower()) if hint is not None else []
    return {"xxh64": "xxh64be"}.get(found[-1], found[-1]) if found else None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    number = 0
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield _without_ends(line, number)
        if len(rest) > _LONGEST_LINE:
            break  # and no more of it is read
    if rest:
        yield _without_ends(rest, number + 1)


def _without_ends(line: bytes, number: int) -> bytes:
    if len(line) > _LONGEST_LINE:
        raise UntrustedListError(f"line {number}: more than {_LONGEST_LINE} bytes")
    line = line.removesuffix(b"\r")
    return line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line


def _understand(line: bytes, hinted: str | None) -> ListedFile:
    match = _TAGGED.fullmatch(line)
    if match:
        escape, tag, path, digest = match.groups()
        if tag not in _TAGS:
            raise UntrustedListError(f"a digest by {excerpt(tag.decode())}, which is not known here")
        name = _TAGS[tag]
    else:
        match = _PLAIN.fullmatch(line)
        if not match:
            raise UntrustedListError(f"no line of a sum file: {_shown(line)}")
        escape, prefix, digest, path = match.groups()
        name = "xxh3" if prefix else _name_of(digest, hinted)
    if escape:
        path = _ESCAPE.sub(_unescape, path)
    text = digest_text(name, digest.decode())
    return ListedFile(safe_path(os.fsdecode(path)), None, (ListedDigest(name, (text,)),))


def _name_of(digest: bytes, hinted: str | None) -> str:
    if hinted is not None and LISTED_ALGORITHMS[hinted].digest_length == len(digest):
        return hinted
    name = _BY_LENGTH.get(len(digest))
    if name is None:
        raise UntrustedListError(f"a digest of {len(digest)} digits, which is not known here")
    return name


def _unescape(match: re.Match[bytes]) -> bytes:
    character = _ESCAPED.get(match[1])
    if character is None:
        raise UntrustedListError(f"not an escape of a sum file: {_shown(match[0])}")
    return character


def _shown(data: bytes) -> str:
    return excerpt(data[:400].decode("utf-8", "surrogateescape"))


class _SeenDigests:
    """The digests of one sum file so far, by algorithm: 16 bytes for the path and 60 bits for the digest."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, dict[bytes, int]] = {}

    def add(self, file: ListedFile) -> bool:
        """Remember *file*; tell whether it was new, or said before."""
        ((name, (text,), _),) = file.digests
        seen = self._seen.get(name)
        if seen is None:
            seen = self._seen[name] = {}
        value, count = int(text[-15:], 16), len(seen)
        if seen.setdefault(long_key(file.path.encode("utf-8", "surrogatepass")), value) != value:
            raise UntrustedListError(f"contradicts an earlier line: {excerpt(file.path)}")
        return len(seen) > count
