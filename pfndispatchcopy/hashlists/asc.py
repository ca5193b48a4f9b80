"""ASC media hash lists, version 2.0: the manifests of a history, and the chain that ties them together.

Source: https://github.com/ascmitc/mhl-specification, and the schemas and the reference implementation in
https://github.com/ascmitc/mhl (1.2). A history lies in :data:`ASC_FOLDER`, directly below the folder that it
describes; paths are relative to that folder. Each generation is one manifest; none is ever changed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pfndispatchcopy.hashlists.dates import microseconds_with_offset, name_date, seconds_with_offset
from pfndispatchcopy.hashlists.digests import digest_text, reconciled
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    Creator,
    HistoryReference,
    IgnorePattern,
    ListedDigest,
    ListedFile,
    ListedFolder,
    RootHash,
    SealedFile,
    SealedFolder,
    UntrustedListError,
)
from pfndispatchcopy.hashlists.excerpt import excerpt
from pfndispatchcopy.hashlists.numbers import generation_of, size_of
from pfndispatchcopy.hashlists.paths import SeenPaths, name_part, safe_path
from pfndispatchcopy.hashlists.xml_reader import Element, Shape, read_records
from pfndispatchcopy.hashlists.xml_writer import HEAD, attribute, described, exact

__all__ = [
    "ASC_CHAIN",
    "ASC_DIGESTS",
    "ASC_FOLDER",
    "DEFAULT_IGNORES",
    "AscEntry",
    "manifest_name",
    "parse_manifest_name",
    "read_asc",
    "read_chain",
    "write_asc",
    "write_chain",
]

ASC_FOLDER = "ascmhl"
ASC_CHAIN = "ascmhl_chain.xml"

# What the reference implementation leaves out of every list, without being asked.
DEFAULT_IGNORES = (".DS_Store", "ascmhl", "ascmhl/")

# The digests that a list can hold, by canonical name, and the elements that they are written in. The order is
# that of the schema.
ASC_DIGESTS: Mapping[str, str] = {
    "c4": "c4",
    "md5": "md5",
    "sha1": "sha1",
    "xxh128": "xxh128",
    "xxh3": "xxh3",
    "xxh64be": "xxh64",
}

AscEntry = ListedFile | ListedFolder | RootHash | IgnorePattern | HistoryReference

_CANONICAL = {element: name for name, element in ASC_DIGESTS.items()}
_ACTIONS = {action.value: action for action in Action}
# The reference implementation looks at no namespace. Here it has to be one of the format, or none.
_SHAPE = Shape(
    root=re.compile(r"(urn:ASC:MHL:v[0-9.]+\})?hashlist"),
    records=frozenset({"processinfo", "hashes/hash", "hashes/directoryhash", "references/hashlistreference"}),
    known=frozenset({*_CANONICAL, "path", "previousPath", "content", "structure", "roothash", "ignore", "pattern"}),
)
_CHAIN_SHAPE = Shape(
    root=re.compile(r"(urn:ASC:MHL:DIRECTORY:v[0-9.]+\})?ascmhldirectory"),
    records=frozenset({"hashlist"}),
    known=frozenset({"path", "c4"}),
)
_MANIFEST = re.compile(r"([0-9]{4,9})(?:_.+)?\.mhl", re.DOTALL)
_SUFFIX = "_2026-01-31_120000Z.mhl"
# A history grows by one generation a copy or a check: ten for every day of thirty years.
_MOST_GENERATIONS = 100_000


def read_asc(chunks: Iterable[bytes]) -> Iterator[AscEntry]:
    """Read a manifest as it comes in.

    Args:
        chunks: its bytes, cut anywhere.

    Yields:
        What it says, in its order. Only when all has been read is it known that it can be trusted.

    Raises:
        UntrustedListError: it is damaged, or says what no honest list says.
    """
    seen = SeenPaths()

    def understand(record: Element) -> Iterable[AscEntry]:
        if record.name == "processinfo":
            return _process(record)
        if record.name == "hashlistreference":
            return (HistoryReference(safe_path(_path(record).text), _c4(record)),)
        element = _path(record)
        path = safe_path(element.text)
        seen.add(path)
        previous = record.only("previousPath")
        previous_path = None if previous is None else safe_path(previous.text)
        if record.name == "directoryhash":
            return (ListedFolder(path, _part(record, "content"), _part(record, "structure"), previous_path),)
        size = element.attributes.get("size")
        return (ListedFile(path, None if size is None else size_of(size), _digests(record), previous_path),)

    return read_records(chunks, _SHAPE, understand)


def _process(record: Element) -> Iterator[RootHash | IgnorePattern]:
    root = record.only("roothash")
    if root is not None:
        yield RootHash(_part(root, "content"), _part(root, "structure"))
    for ignore in record.children:
        if ignore.name == "ignore":
            for pattern in ignore.children:
                if pattern.name == "pattern":
                    yield IgnorePattern(pattern.text)


def _path(record: Element) -> Element:
    path = record.only("path")
    if path is None:
        raise UntrustedListError(f"<{record.name}> without a path")
    return path


def _c4(record: Element) -> str:
    element = record.only("c4")
    if element is None:
        raise UntrustedListError(f"<{record.name}> without a C4 ID")
    return digest_text("c4", element.text)


def _part(record: Element, name: str) -> tuple[ListedDigest, ...]:
    part = record.only(name)
    return () if part is None else _digests(part)


def _digests(record: Element) -> tuple[ListedDigest, ...]:
    found = []
    for element in record.children:
        name = _CANONICAL.get(element.name)
        if name is not None:
            action = element.attributes.get("action")
            if action is not None and action not in _ACTIONS:
                raise UntrustedListError(f"a digest with the unknown action {excerpt(action)}")
            digest = digest_text(name, element.text)
            found.append(ListedDigest(name, (digest,), None if action is None else _ACTIONS[action]))
    return reconciled(found)


def write_asc(
    creator: Creator,
    created_at: float,
    root: SealedFolder | None,
    ignore: Sequence[str],
    entries: Iterable[SealedFile | SealedFolder],
    references: Sequence[HistoryReference],
) -> Iterator[bytes]:
    """Write a manifest of a copy.

    Args:
        creator: who writes it.
        created_at: seconds since the epoch.
        root: the directory hashes of the folder that the list describes, or None.
        ignore: the patterns of what was left out, :data:`DEFAULT_IGNORES` included.
        entries: files and folders in the order in which they are to be listed; of their digests those are written
            that are in :data:`ASC_DIGESTS`.
        references: the manifests of histories below, each of this generation.

    Yields:
        The bytes of the manifest, in pieces.

    Raises:
        ValueError: a path or a pattern is one that ``paths.can_be_listed`` is false of, or a file has no digest
            that fits.
    """
    author = f"    <author>{described(creator.full_name)}</author>\n" if creator.full_name else ""
    yield (
        f'{HEAD}<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">\n'
        "  <creatorinfo>\n"
        f"    <creationdate>{seconds_with_offset(created_at)}</creationdate>\n"
        f"    <hostname>{described(creator.host)}</hostname>\n"
        f"    <tool version={attribute(creator.version)}>{described(creator.tool)}</tool>\n"
        f"{author}  </creatorinfo>\n"
        f"  <processinfo>\n    <process>transfer</process>\n{_roothash(root)}{_ignore(ignore)}  </processinfo>\n"
    ).encode()
    has_entries = False
    for entry in entries:
        if not has_entries:
            has_entries = True
            yield b"  <hashes>\n"
        text = _file(entry) if isinstance(entry, SealedFile) else _folder(entry)
        yield text.encode()
    if has_entries:  # the schema has no empty list
        yield b"  </hashes>\n"
    if references:
        lines = [
            "    <hashlistreference>\n"
            f"      <path>{exact(each.path)}</path>\n      <c4>{each.c4}</c4>\n"
            "    </hashlistreference>\n"
            for each in references
        ]
        yield f"  <references>\n{''.join(lines)}  </references>\n".encode()
    yield b"</hashlist>\n"


def _roothash(root: SealedFolder | None) -> str:
    if root is None or not (root.content or root.structure):
        return ""
    return f"    <roothash>\n{_parts(root)}    </roothash>\n"


def _ignore(patterns: Sequence[str]) -> str:
    lines = "".join([f"      <pattern>{exact(pattern)}</pattern>\n" for pattern in patterns])
    return f"    <ignore>\n{lines}    </ignore>\n" if lines else ""


def _file(file: SealedFile) -> str:
    hashdate = microseconds_with_offset(file.hashed_at)
    texts = {each.name: each for each in file.digests}
    digests = [
        f'      <{element} action="{texts[name].action}" hashdate="{hashdate}">{texts[name].text}</{element}>\n'
        for name, element in ASC_DIGESTS.items()
        if name in texts
    ]
    if not digests:
        raise ValueError(f"no digest of {file.path!r} fits an ASC list")
    modified = seconds_with_offset(file.mtime_ns // 10**9)
    previous = ""
    if file.previous_path is not None:
        previous = f"      <previousPath>{exact(file.previous_path)}</previousPath>\n"
    return (
        f'    <hash>\n      <path size="{file.size}" lastmodificationdate="{modified}">{exact(file.path)}</path>\n'
        f"{''.join(digests)}{previous}    </hash>\n"
    )


def _folder(folder: SealedFolder) -> str:
    modified = ""
    if folder.mtime_ns is not None:
        modified = f' lastmodificationdate="{seconds_with_offset(folder.mtime_ns // 10**9)}"'
    return (
        f"    <directoryhash>\n      <path{modified}>{exact(folder.path)}</path>\n"
        f"{_parts(folder)}    </directoryhash>\n"
    )


def _parts(folder: SealedFolder) -> str:
    hashdate = microseconds_with_offset(folder.hashed_at)
    lines = ""
    for part, digests in (("content", folder.content), ("structure", folder.structure)):
        texts = dict(digests)
        lines += f"      <{part}>\n"
        for name, element in ASC_DIGESTS.items():
            if name in texts:
                lines += f'        <{element} hashdate="{hashdate}">{texts[name]}</{element}>\n'
        lines += f"      </{part}>\n"
    return lines


def manifest_name(generation: int, folder_name: str, at: float) -> str:
    """Return the name of a manifest, ``0001_A001_2026-11-22_021604Z.mhl``.

    Args:
        generation: from 1.
        folder_name: of the folder that it describes.
        at: seconds since the epoch; the name has them in UTC.
    """
    number = f"{generation:04d}"
    return f"{number}_{name_part(folder_name, len(number) + 1 + len(_SUFFIX))}_{name_date(at)}Z.mhl"


def parse_manifest_name(name: str) -> int | None:
    """Return the generation of the manifest called *name*, or None when no manifest is called so."""
    match = _MANIFEST.fullmatch(name)
    return int(match[1]) or None if match else None


def read_chain(chunks: Iterable[bytes]) -> list[ChainLink]:
    """Read the chain of a history.

    Args:
        chunks: its bytes, cut anywhere.

    Returns:
        Its generations, by rising number. There may be gaps, which the reference implementation does not mind.

    Raises:
        UntrustedListError: it is damaged, names something that is no manifest beside it, or has a generation or
            a manifest twice.
    """
    links: list[ChainLink] = []
    names: set[str] = set()

    def understand(record: Element) -> tuple[ChainLink]:
        number = generation_of(record.attributes.get("sequencenr", ""))
        name = _path(record).text
        if safe_path(name) != name or "/" in name or "\\" in name or parse_manifest_name(name) is None:
            raise UntrustedListError(f"no name of a manifest: {excerpt(name)}")
        if name in names or (links and number <= links[-1].number):
            raise UntrustedListError(f"generation {number} is out of order, or its manifest is listed twice")
        names.add(name)
        return (ChainLink(number, name, _c4(record)),)

    for link in read_records(chunks, _CHAIN_SHAPE, understand):
        if len(links) == _MOST_GENERATIONS:
            raise UntrustedListError(f"a chain of more than {_MOST_GENERATIONS} generations")
        links.append(link)
    return links


def write_chain(links: Iterable[ChainLink]) -> bytes:
    """Return the bytes of the chain that has these generations.

    Raises:
        ValueError: XML cannot carry one of the names.
    """
    lines = [
        f'  <hashlist sequencenr="{link.number}">\n'
        f"    <path>{exact(link.name)}</path>\n    <c4>{link.c4}</c4>\n"
        "  </hashlist>\n"
        for link in links
    ]
    text = f'{HEAD}<ascmhldirectory xmlns="urn:ASC:MHL:DIRECTORY:v2.0">\n{"".join(lines)}</ascmhldirectory>\n'
    return text.encode()
