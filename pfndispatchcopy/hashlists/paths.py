"""The paths of hash lists: which may be believed, and which a list can hold."""

import re

from pfndispatchcopy.hashing import long_key
from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt
from pfndispatchcopy.hashlists.xml_writer import is_xml_text, without_unwritable

__all__ = ["LONGEST_PATH", "SeenPaths", "can_be_listed", "name_part", "safe_path", "stays_inside"]

# Characters. A folder may be deeper than the 4096 bytes that Linux takes in one call, but no camera, and no
# program that people work with, makes one sixteen times as deep.
LONGEST_PATH = 1 << 16

# Nearly every path is of this kind: no empty name, none that begins with a dot, no colon, backslash or NUL. One match
# tells what six looks would (a sixth of the time of reading a list).
_PLAIN = re.compile(r"(?:[^/\\\0:.][^/\\\0:]*/)*[^/\\\0:.][^/\\\0:]*")
_DRIVE = re.compile(r"[A-Za-z]:")
_SEPARATORS = re.compile(r"[/\\]")

# The longest name of a file on every system that volumes come from, in bytes.
_LONGEST_NAME = 255


def safe_path(text: str) -> str:
    r"""Prove that a listed path stays inside the folder that its list describes.

    Args:
        text: as the list has it, with ``/``. A backslash is part of a name, unless reading it as a separator
            would lead out of the folder.

    Returns:
        The path without ``.`` and empty components.

    Raises:
        UntrustedListError: it is empty or absolute, names a drive, has a ``..`` or a NUL, or is endless.
    """
    if len(text) > LONGEST_PATH:
        raise UntrustedListError(f"a path has {len(text)} characters, which is more than {LONGEST_PATH}")
    if _PLAIN.fullmatch(text):
        return text
    if text.startswith(("/", "\\")):
        raise UntrustedListError(f"absolute path {excerpt(text)}")
    if _DRIVE.match(text):
        raise UntrustedListError(f"path on a drive of its own: {excerpt(text)}")
    if "\0" in text:
        raise UntrustedListError(f"path with a NUL: {excerpt(text)}")
    if ".." in text and ".." in _SEPARATORS.split(text):
        raise UntrustedListError(f"path that leads out of the folder: {excerpt(text)}")
    path = "/".join([part for part in text.split("/") if part not in ("", ".")])
    if not path:
        raise UntrustedListError(f"a path that names nothing: {excerpt(text)}" if text else "an empty path")
    # "./C:/x" is "C:/x" now, and ".//\\x" is "\\x".
    return path if path == text or not (_DRIVE.match(path) or path[0] == "\\") else safe_path(path)


def stays_inside(path: str) -> bool:
    """Tell whether a reader would take *path* as it stands; false of names such as ``C:x``, legal as they are."""
    try:
        return safe_path(path) == path
    except UntrustedListError:
        return False


def can_be_listed(path: str) -> bool:
    """Tell whether a media hash list can hold *path*, so that its readers get it back as it is.

    Not among them: names with bytes that are no UTF-8, or with control characters, and what
    :func:`stays_inside` is false of.
    """
    return is_xml_text(path) and stays_inside(path)


def name_part(folder_name: str, room: int) -> str:
    """Return *folder_name* as a part of a list's own name.

    Args:
        folder_name: of the folder that is described; empty for the root of a volume.
        room: bytes that the rest of the name takes.

    Returns:
        The name without what a list cannot hold, cut to what fits.
    """
    name = without_unwritable(folder_name, "_").replace("/", "_").replace("\\", "_") or "root"
    return name.encode()[: _LONGEST_NAME - room].decode(errors="ignore")


class SeenPaths:
    """The paths of one list so far, 16 bytes each, so that a million of them take 100 MB and not 300."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        # 128 bits: a list of a million honest paths meets a collision once in 10^26 lists.
        self._seen: set[bytes] = set()

    def add(self, path: str) -> None:
        """Remember *path*.

        Raises:
            UntrustedListError: it was there before.
        """
        count = len(self._seen)
        self._seen.add(long_key(path.encode("utf-8", "surrogatepass")))
        if len(self._seen) == count:
            raise UntrustedListError(f"listed twice: {excerpt(path)}")
