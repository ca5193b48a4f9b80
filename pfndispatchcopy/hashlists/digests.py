"""The digests of hash lists: spelled as the algorithms print them, or not believed."""

import re
from collections.abc import Iterable

from pfndispatchcopy.hashing import LISTED_ALGORITHMS, digest_bytes
from pfndispatchcopy.hashlists.entries import ListedDigest, UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt

__all__ = ["digest_text", "reconciled"]

_HEX = re.compile("[0-9a-f]+")


def digest_text(name: str, text: str) -> str:
    """Return a listed digest as its algorithm prints it.

    Args:
        name: a key of ``hashing.LISTED_ALGORITHMS``.
        text: as the list has it; space around it and the case of hexadecimal digits do not matter.

    Raises:
        UntrustedListError: it has another length, or other characters.
    """
    spelled = text.strip(" \t\r\n")
    if name != "c4":
        spelled = spelled.lower()
    length = LISTED_ALGORITHMS[name].digest_length
    if len(spelled) != length:
        raise UntrustedListError(f"a digest by {name} has {length} characters, and not {len(spelled)}")
    if name == "c4":
        try:
            digest_bytes(name, spelled)
        except ValueError:
            raise UntrustedListError(f"not a C4 ID: {excerpt(spelled)}") from None
    elif not _HEX.fullmatch(spelled):
        raise UntrustedListError(f"not a digest by {name}: {excerpt(spelled)}")
    return spelled


def reconciled(digests: Iterable[ListedDigest]) -> tuple[ListedDigest, ...]:
    """Return the digests of one file, each name once, in the order of the list.

    Raises:
        UntrustedListError: two by the same name contradict each other.
    """
    given = tuple(digests)
    if len(given) < 2:
        return given
    found: dict[str, ListedDigest] = {}
    for digest in given:
        before = found.get(digest.name)
        if before is None:
            found[digest.name] = digest
            continue
        common = tuple(text for text in before.accepted if text in digest.accepted)
        if not common or digest.action != before.action:
            raise UntrustedListError(f"two digests by {digest.name} contradict each other")
        found[digest.name] = before._replace(accepted=common)
    return tuple(found.values())
