"""Whatever a list can say is read back as it was written, and nothing else comes out of any bytes."""

import os
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfndispatchcopy.hashing import LISTED_ALGORITHMS
from pfndispatchcopy.hashlists.asc import (
    ASC_DIGESTS,
    manifest_name,
    parse_manifest_name,
    read_asc,
    read_chain,
    write_asc,
    write_chain,
)
from pfndispatchcopy.hashlists.detect import kind_of
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    Creator,
    HistoryReference,
    IgnorePattern,
    ListedDigest,
    ListedFile,
    ListedFolder,
    ListKind,
    RootHash,
    SealedDigest,
    SealedFile,
    SealedFolder,
    UntrustedListError,
)
from pfndispatchcopy.hashlists.legacy import LEGACY_DIGESTS, legacy_name, read_legacy, write_legacy
from pfndispatchcopy.hashlists.paths import can_be_listed, safe_path, stays_inside
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, read_sums, write_sum_line
from pfndispatchcopy.hashlists.xml_writer import is_xml_text
from pfndispatchcopy.printable import printable
from tests.support.hash_lists import cut

# Names that any of the formats could stumble over, and any others.
_NAMES = st.text(min_size=1, max_size=12) | st.sampled_from(
    [" ", "&amp;", "<!--", "]]>", "<![CDATA[", "..", "C:", "a\\b", "\x85", "\u2028", "\ufeff", "e\u0301", "\xe9", "-"]
)
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)
_LISTABLE = _PATHS.filter(can_be_listed)
_SIZES = st.integers(0, 10**18 - 1)
_TIMES = st.floats(-1e12, 1e12)
_CUTS = st.integers(1, 60) | st.just(1 << 20)
_CREATORS = st.builds(Creator, *[st.text(max_size=8)] * 5)


def _texts(name: str) -> st.SearchStrategy[str]:
    def printed(data: bytes) -> str:
        hasher = LISTED_ALGORITHMS[name].new()
        hasher.update(data)
        return hasher.hexdigest()

    return st.binary(max_size=4).map(printed)


def _digests(names: Iterable[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional={name: _texts(name) for name in names}).filter(bool)


@st.composite
def _sealed_files(draw: st.DrawFn, names: Sequence[str], paths: st.SearchStrategy[str] = _LISTABLE) -> list[SealedFile]:
    found = []
    for path in draw(st.lists(paths, max_size=5, unique=True)):
        digests = draw(_digests(names))
        sealed = tuple(SealedDigest(name, text, draw(st.sampled_from(Action))) for name, text in digests.items())
        previous = draw(st.none() | _LISTABLE)
        found.append(SealedFile(path, draw(_SIZES), draw(st.integers()), sealed, draw(_TIMES), previous))
    return found


@settings(deadline=None)
@given(creator=_CREATORS, files=_sealed_files(tuple(LEGACY_DIGESTS)), times=st.tuples(_TIMES, _TIMES), size=_CUTS)
def test_legacy_list_is_read_back(
    creator: Creator, files: list[SealedFile], times: tuple[float, float], size: int
) -> None:
    written = b"".join(write_legacy(creator, *times, files))
    assert kind_of(written[:4096]) is ListKind.LEGACY
    assert list(read_legacy(cut(written, size))) == [
        ListedFile(file.path, file.size, tuple(ListedDigest(each.name, (each.text,)) for each in file.digests))
        for file in files
    ]


def _listed(pairs: Iterable[tuple[str, str]]) -> tuple[ListedDigest, ...]:
    order = list(ASC_DIGESTS)
    return tuple(ListedDigest(name, (text,)) for name, text in sorted(pairs, key=lambda pair: order.index(pair[0])))


_FOLDERS = st.builds(
    SealedFolder,
    path=_LISTABLE,
    mtime_ns=st.none() | st.integers(),
    content=_digests(ASC_DIGESTS).map(lambda each: tuple(each.items())),
    structure=_digests(ASC_DIGESTS).map(lambda each: tuple(each.items())),
    hashed_at=_TIMES,
)


@settings(deadline=None)
@given(
    creator=_CREATORS,
    at=_TIMES,
    root=st.none() | _FOLDERS,
    ignore=st.lists(st.text(max_size=6).filter(is_xml_text), max_size=3),
    files=_sealed_files(tuple(ASC_DIGESTS)),
    folders=st.lists(_FOLDERS, max_size=3),
    references=st.lists(st.builds(HistoryReference, _LISTABLE, _texts("c4")), max_size=2),
    size=_CUTS,
)
def test_asc_list_is_read_back(
    creator: Creator,
    at: float,
    root: SealedFolder | None,
    ignore: list[str],
    files: list[SealedFile],
    folders: list[SealedFolder],
    references: list[HistoryReference],
    size: int,
) -> None:
    taken = {file.path for file in files}
    entries: list[SealedFile | SealedFolder] = [*files]
    for folder in folders:
        if folder.path not in taken:
            taken.add(folder.path)
            entries.append(folder)
    written = b"".join(write_asc(creator, at, root, ignore, entries, references))
    assert kind_of(written[:4096]) is ListKind.ASC
    expected: list[object] = [] if root is None else [RootHash(_listed(root.content), _listed(root.structure))]
    expected.extend(IgnorePattern(pattern) for pattern in ignore)
    for entry in entries:
        if isinstance(entry, SealedFolder):
            expected.append(ListedFolder(entry.path, _listed(entry.content), _listed(entry.structure)))
        else:
            actions = {each.name: each.action for each in entry.digests}
            digests = _listed((each.name, each.text) for each in entry.digests)
            known = tuple(each._replace(action=actions[each.name]) for each in digests)
            expected.append(ListedFile(entry.path, entry.size, known, entry.previous_path))
    expected.extend(references)
    assert list(read_asc(cut(written, size))) == expected


@settings(deadline=None)
@given(
    numbers=st.sets(st.integers(1, 10**6), max_size=6),
    folder=st.text(max_size=300),
    at=_TIMES,
    c4=_texts("c4"),
    size=_CUTS,
)
def test_chain_is_read_back_whatever_the_folder_is_called(
    numbers: set[int], folder: str, at: float, c4: str, size: int
) -> None:
    links = [ChainLink(number, manifest_name(number, folder, at), c4) for number in sorted(numbers)]
    assert [parse_manifest_name(link.name) for link in links] == sorted(numbers)
    assert all(len(link.name.encode()) <= 255 for link in links)
    assert read_chain(cut(write_chain(links), size)) == links


@given(folder=st.text(max_size=300), at=_TIMES)
def test_name_of_a_legacy_list_is_a_name_that_it_could_list(folder: str, at: float) -> None:
    name = legacy_name(folder, at)
    assert len(name.encode()) <= 255
    assert "/" not in name
    assert is_xml_text(name)


_ANY_BYTES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)
_ANY_PATHS = (_ANY_BYTES | _NAMES.filter(is_xml_text).map(os.fsencode)).map(os.fsdecode).filter(stays_inside)


@settings(deadline=None)
@given(data=st.data(), name=st.sampled_from(list(SUM_DIGESTS)), size=_CUTS)
def test_sum_file_is_read_back_with_any_names(data: st.DataObject, name: str, size: int) -> None:
    paths = data.draw(st.lists(_ANY_PATHS, min_size=1, max_size=5, unique=True))
    texts = [data.draw(_texts(name)) for _ in paths]
    written = b"".join(write_sum_line(name, text, path) for path, text in zip(paths, texts, strict=True))
    assert written.count(b"\n") == len(paths)
    assert kind_of(written[:4096]) is ListKind.SUMS
    assert list(read_sums(cut(written, size), f"x.{SUM_DIGESTS[name]}")) == [
        ListedFile(path, None, (ListedDigest(name, (text,)),)) for path, text in zip(paths, texts, strict=True)
    ]


@pytest.mark.fault(82)
@given(text=st.text() | _PATHS)
def test_path_is_refused_or_stays_inside(text: str) -> None:
    try:
        path = safe_path(text)
    except UntrustedListError:
        return
    assert path == safe_path(path)
    assert ".." not in path.replace("\\", "/").split("/")
    assert not path.startswith(("/", "\\"))
    assert os.path.normpath(os.path.join("/root", path)).startswith("/root/")


_READERS: list[Callable[[bytes], object]] = [
    lambda data: list(read_legacy([data])),
    lambda data: list(read_asc([data])),
    lambda data: read_chain([data]),
    lambda data: list(read_sums([data], None)),
    lambda data: kind_of(data[:4096]),
]
_TAGS = ("hashlist", "hash", "file", "hashes", "path", "md5", "size", "ascmhldirectory")
_MARKS = (
    "a",
    "0",
    "0" * 32,
    "../",
    "\n",
    "  ",
    "MD5 (",
    ") = ",
    "\\",
    "\ufeff",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "&#0;",
)
_DECLARATIONS = ("<!DOCTYPE x", "[<!ENTITY a 'b'>]", ">", "&a;", '<hashlist xmlns="urn:ASC:MHL:v2.0">')
_PIECES = st.lists(
    st.binary(max_size=3)
    | st.sampled_from([*_MARKS, *_DECLARATIONS, *(f"<{tag}>" for tag in _TAGS), *(f"</{tag}>" for tag in _TAGS)]).map(
        str.encode
    ),
    max_size=12,
).map(b"".join)


def _refusal(read: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        read(data)
    except UntrustedListError as error:
        return str(error)
    return None


@pytest.mark.fault(84)
@settings(deadline=None, max_examples=400)
@given(data=st.binary(max_size=200) | _PIECES, reader=st.sampled_from(_READERS))
def test_any_bytes_are_read_or_refused_in_one_line(data: bytes, reader: Callable[[bytes], object]) -> None:
    message = _refusal(reader, data)
    assert message is None or (message == printable(message) and 0 < len(message) < 600)


@pytest.mark.fault(84)
@settings(deadline=None)
@given(
    files=_sealed_files(("md5", "sha1", "xxh64be")),
    position=st.integers(0, 10**6),
    damage=st.binary(min_size=1, max_size=2),
    is_legacy=st.booleans(),
)
def test_damaged_list_is_refused_or_read(
    files: list[SealedFile], position: int, damage: bytes, is_legacy: bool
) -> None:
    creator = Creator("t", "1", "u", "", "h")
    written = bytearray(
        b"".join(write_legacy(creator, 0, 0, files) if is_legacy else write_asc(creator, 0, None, (), files, ()))
    )
    at = position % len(written)
    written[at : at + len(damage)] = damage
    found: list[object] = []
    message = _refusal(
        lambda data: found.extend(read_legacy([data]) if is_legacy else read_asc([data])), bytes(written)
    )
    assert message is None or message == printable(message)
    assert len(found) <= len(files)
