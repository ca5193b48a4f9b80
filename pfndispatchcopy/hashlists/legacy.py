"""Legacy media hash lists: MHL 1.1, https://mediahashlist.org/mhl-specification, schema of 2016-05-20.

There is no namespace, paths are relative to the folder that the list lies in, and folders are not listed. Two
things are written that the schema does not allow, and that every verifier accepts: the size of an empty file, and
a list of nothing but such files. C4 IDs, which OffShoot writes, are read and never written.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from pfndispatchcopy.hashing import LISTED_ALGORITHMS
from pfndispatchcopy.hashlists.dates import name_date, seconds_with_z
from pfndispatchcopy.hashlists.digests import digest_text, reconciled
from pfndispatchcopy.hashlists.entries import Creator, ListedDigest, ListedFile, SealedFile, UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt
from pfndispatchcopy.hashlists.numbers import size_of
from pfndispatchcopy.hashlists.paths import SeenPaths, name_part, safe_path
from pfndispatchcopy.hashlists.xml_reader import Element, Shape, read_records
from pfndispatchcopy.hashlists.xml_writer import HEAD, described, exact

__all__ = ["LEGACY_DIGESTS", "legacy_name", "read_legacy", "write_legacy"]

# The digests that a list can hold, by canonical name, and the elements that they are written in.
LEGACY_DIGESTS: Mapping[str, str] = {"md5": "md5", "sha1": "sha1", "xxh64be": "xxhash64be"}

_CANONICAL = {element: name for name, element in LEGACY_DIGESTS.items()} | {"c4": "c4"}
_SHAPE = Shape(
    root=re.compile("hashlist"),
    records=frozenset({"hash"}),
    known=frozenset({*_CANONICAL, "file", "size", "xxhash", "xxhash64"}),
)
_DECIMAL = re.compile("[0-9]{1,10}")
_SUFFIX = "_2026-01-31_120000.mhl"


def read_legacy(chunks: Iterable[bytes]) -> Iterator[ListedFile]:
    """Read a legacy list as it comes in.

    Args:
        chunks: its bytes, cut anywhere.

    Yields:
        The files, in the order of the list. Only when all have been read is it known that the list can be trusted.

    Raises:
        UntrustedListError: it is damaged, or says what no honest list says.
    """
    seen = SeenPaths()

    def understand(record: Element) -> tuple[ListedFile]:
        file = record.only("file")
        if file is None:
            raise UntrustedListError("an entry without a file")
        path = safe_path(file.text)
        seen.add(path)
        size = record.only("size")
        digests = reconciled(_digests(record))
        return (ListedFile(path, None if size is None else size_of(size.text), digests),)

    return read_records(chunks, _SHAPE, understand)


def _digests(record: Element) -> Iterator[ListedDigest]:
    for element in record.children:
        if element.name in _CANONICAL:
            name = _CANONICAL[element.name]
            yield ListedDigest(name, (digest_text(name, element.text),))
        elif element.name == "xxhash64":
            # Deprecated for what it left open: little endian by the letter, but written in both orders.
            text = digest_text("xxh64be", element.text)
            swapped = bytes.fromhex(text)[::-1].hex()
            yield ListedDigest("xxh64be", (text,) if text == swapped else (text, swapped))
        elif element.name == "xxhash":
            yield ListedDigest("xxh32", (_from_decimal(element.text),))


def _from_decimal(text: str) -> str:
    spelled = text.strip()
    if not _DECIMAL.fullmatch(spelled) or int(spelled) >= 1 << 32:
        raise UntrustedListError(f"not a decimal number of 32 bits: {excerpt(spelled)}")
    return f"{int(spelled):0{LISTED_ALGORITHMS['xxh32'].digest_length}x}"


def write_legacy(
    creator: Creator, started_at: float, finished_at: float, files: Iterable[SealedFile]
) -> Iterator[bytes]:
    """Write a legacy list.

    Args:
        creator: who writes it.
        started_at: of the copying, seconds since the epoch.
        finished_at: the same.
        files: in the order in which they are to be listed; of their digests those are written that are in
            :data:`LEGACY_DIGESTS`. The schema wants at least one file.

    Yields:
        The bytes of the list, in pieces.

    Raises:
        ValueError: a path is one that ``paths.can_be_listed`` is false of, or a file has no digest that fits.
    """
    name = f"    <name>{described(creator.full_name)}</name>\n" if creator.full_name else ""
    yield (
        f'{HEAD}<hashlist version="1.1">\n'
        f"  <creatorinfo>\n{name}"
        f"    <username>{described(creator.user)}</username>\n"
        f"    <hostname>{described(creator.host)}</hostname>\n"
        f"    <tool>{described(creator.tool)} ver. {described(creator.version)}</tool>\n"
        f"    <startdate>{seconds_with_z(started_at)}</startdate>\n"
        f"    <finishdate>{seconds_with_z(finished_at)}</finishdate>\n"
        "  </creatorinfo>\n"
    ).encode()
    for file in files:
        digests = [(LEGACY_DIGESTS[each.name], each.text) for each in file.digests if each.name in LEGACY_DIGESTS]
        if not digests:
            raise ValueError(f"no digest of {file.path!r} fits a legacy list")
        lines = "".join([f"    <{element}>{text}</{element}>\n" for element, text in digests])
        yield (
            f"  <hash>\n    <file>{exact(file.path)}</file>\n"
            f"    <size>{file.size}</size>\n"
            f"    <lastmodificationdate>{seconds_with_z(file.mtime_ns // 10**9)}</lastmodificationdate>\n"
            f"{lines}    <hashdate>{seconds_with_z(file.hashed_at)}</hashdate>\n  </hash>\n"
        ).encode()
    yield b"</hashlist>\n"


def legacy_name(folder_name: str, at: float) -> str:
    """Return the name of a list, ``A001_2026-11-22_021604.mhl``.

    Args:
        folder_name: of the folder that it describes and lies in.
        at: seconds since the epoch; the name has them in UTC.
    """
    return f"{name_part(folder_name, len(_SUFFIX))}_{name_date(at)}.mhl"
