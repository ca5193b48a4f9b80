"""Directory hashes of ASC media hash lists: one digest for the bytes below a folder, one for the names as well.

As in the reference implementation (``DirectoryHashContext`` in ascmhl/hasher.py, 1.2): the content hash of a folder
is the digest of its children's content digests, sorted; its structure hash that of its children's structure digests,
sorted. The structure digest of a child is that of its name in UTF-8 and, for a file, its content digest or, for a
folder, its structure hash. Digests enter as bytes (a C4 ID as the 64 bytes that it stands for); that of nothing
stands for an empty folder.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pfndispatchcopy.hashing import ALGORITHMS, digest_bytes

__all__ = ["DirectoryHashes", "directory_hashes"]


class DirectoryHashes(NamedTuple):
    """The hashes of one folder, as pairs of canonical name and text.

    Attributes:
        content: of the bytes below.
        structure: of the names below.
    """

    content: tuple[tuple[str, str], ...]
    structure: tuple[tuple[str, str], ...]


def directory_hashes(
    algorithms: Sequence[str], files: Iterable[tuple[str, Mapping[str, str]]], folders: Iterable[str]
) -> dict[str, DirectoryHashes]:
    """Return the directory hashes of every folder, the one that is described included.

    Args:
        algorithms: canonical names; a digest by each is needed of every file.
        files: paths with ``/``, relative to the folder that is described, and their digests by canonical name.
        folders: paths of all folders. Those above a file may be left out, empty ones not.

    Returns:
        The hashes by path, from the root, which is called ``""``, downwards.

    Raises:
        ValueError: a file lacks a digest, or one is no digest of its kind.
    """
    tree = _Tree(algorithms)
    for path in folders:
        tree.open(path)
    for path, digests in files:
        tree.add_file(path, digests)
    return tree.close()


class _Tree:
    """What is known of the children of each folder: their digests, end to end, two strings for each algorithm.

    A file takes twice the length of its digest, for each algorithm, and no more: 16 bytes for XXH64.
    """

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._algorithms = algorithms
        self._children: dict[str, list[tuple[bytearray, bytearray]]] = {}
        self.open("")  # which all that are opened lead up to

    def open(self, path: str) -> list[tuple[bytearray, bytearray]]:
        above = path
        while above not in self._children:
            self._children[above] = [(bytearray(), bytearray()) for _ in self._algorithms]
            above = above.rpartition("/")[0]
        return self._children[path]

    def add_file(self, path: str, digests: Mapping[str, str]) -> None:
        folder, _, name = path.rpartition("/")
        for algorithm, (contents, structures) in zip(self._algorithms, self.open(folder), strict=True):
            text = digests.get(algorithm)
            if text is None:
                raise ValueError(f"{path!r} has no digest by {algorithm}")
            digest = digest_bytes(algorithm, text)
            contents.extend(digest)
            structures.extend(_digest(algorithm, _name_bytes(name) + digest)[0])

    def close(self) -> dict[str, DirectoryHashes]:
        found = {}
        # A folder's path sorts after those of the folders above it, so that backwards the children come first.
        for path in sorted(self._children, reverse=True):
            hashes = []
            children = self._children.pop(path)
            above, _, name = path.rpartition("/")
            for number, (algorithm, (contents, structures)) in enumerate(zip(self._algorithms, children, strict=True)):
                content, content_text = _digest_of_sorted(algorithm, contents)
                structure, structure_text = _digest_of_sorted(algorithm, structures)
                hashes.append(((algorithm, content_text), (algorithm, structure_text)))
                if path:
                    contents_above, structures_above = self._children[above][number]
                    contents_above.extend(content)
                    structures_above.extend(_digest(algorithm, _name_bytes(name) + structure)[0])
            found[path] = DirectoryHashes(tuple(each[0] for each in hashes), tuple(each[1] for each in hashes))
        return dict(reversed(found.items()))


def _name_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")  # the bytes on the medium, where a name is no UTF-8


def _digest(algorithm: str, data: bytes) -> tuple[bytes, str]:
    hasher = ALGORITHMS[algorithm].new()
    hasher.update(data)
    return hasher.digest(), hasher.hexdigest()


def _digest_of_sorted(algorithm: str, digests: bytearray) -> tuple[bytes, str]:
    # The specification sorts the texts. Hexadecimal digits and those of C4 rise with what they stand for, so that
    # the bytes sort the same.
    length = len(ALGORITHMS[algorithm].new().digest())
    whole = bytes(digests)
    return _digest(algorithm, b"".join(sorted([whole[at : at + length] for at in range(0, len(whole), length)])))
