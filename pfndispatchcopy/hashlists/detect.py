"""Which kind of list a file is, by how it begins."""

from pfndispatchcopy.hashlists.entries import ListKind, UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt
from pfndispatchcopy.hashlists.xml_reader import root_of

__all__ = ["ENOUGH", "kind_of"]

# Bytes: what comes before the end of the root element's first tag, comments included, is never longer.
ENOUGH = 4096

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def kind_of(first_bytes: bytes) -> ListKind:
    """Tell a list's kind from its first :data:`ENOUGH` bytes, or all of them where there are less.

    Raises:
        UntrustedListError: it is empty, no text, or XML that is no list.
    """
    beginning = first_bytes.removeprefix(_BYTE_ORDER_MARK).lstrip(b" \t\r\n")
    if not beginning:
        raise UntrustedListError("the list is empty")
    if not beginning.startswith(b"<"):
        # UTF-16 ends here as well: every other byte of it is a NUL.
        if b"\0" in beginning or beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UntrustedListError("no list: it has bytes in it that no text in UTF-8 has")
        return ListKind.SUMS
    root = root_of(first_bytes)
    if root.name == "hashlist" and not root.namespace.startswith("urn:ASC:MHL:DIRECTORY"):
        version = root.attributes.get("version", "")
        if root.namespace.startswith("urn:ASC:MHL:") or (not root.namespace and version.startswith("2")):
            return ListKind.ASC
        if not root.namespace:
            return ListKind.LEGACY
    if root.name == "ascmhldirectory":
        raise UntrustedListError("the chain of a history, and no list itself")
    raise UntrustedListError(f"XML, but no media hash list: its root element is {excerpt(root.name)}")
