"""Which files of a folder are copied: patterns that leave out, and patterns that let in.

The patterns are those of gitignore(5): ``*``, ``?`` and ``[...]`` stay within a name, ``**/`` spans folders; a
pattern with a separator in it is matched against the path below the source, any other one against the name
alone; one that ends in a separator is for folders.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pfndispatchcopy.errors import UsageError

__all__ = ["SYSTEM_PATTERNS", "Selection", "check_pattern"]

# What operating systems strew on volumes; none of it is the user's.
SYSTEM_PATTERNS = (
    ".DS_Store",
    "._*",
    ".Spotlight-V100",
    ".Trashes",
    ".fseventsd",
    "System Volume Information",
    "$RECYCLE.BIN",
    "Thumbs.db",
    "desktop.ini",
)


class _Pattern(NamedTuple):
    """One pattern: what it is matched with, and against what."""

    match: re.Pattern[str]
    is_for_path: bool
    is_for_folders: bool

    def takes(self, path: str, name: str, *, is_folder: bool) -> bool:
        if self.is_for_folders and not is_folder:
            return False
        return self.match.fullmatch(path if self.is_for_path else name) is not None


def check_pattern(glob: str) -> str:
    """Return *glob* when it is a pattern.

    Raises:
        UsageError: it is empty, or its brackets make no set.
    """
    _compile(glob)
    return glob


def _compile(glob: str) -> _Pattern:
    is_for_folders = glob.endswith("/")
    body = glob.rstrip("/")
    is_for_path = "/" in body
    body = body.lstrip("/")
    if not body:
        raise UsageError(f"{glob!r} is no pattern: it names nothing")
    expression = ""
    position = 0
    while position < len(body):
        character = body[position]
        if body.startswith("**/", position):
            expression += "(?:.*/)?"
            position += 3
            continue
        if body.startswith("**", position):
            expression += ".*"
            position += 2
            continue
        if character == "*":
            expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "[" and (end := body.find("]", position + 2)) > 0:
            inside = body[position + 1 : end].replace("\\", "\\\\")
            negated = inside[0] in "!^"
            expression += f"[{'^/' if negated else ''}{inside[1:] if negated else inside}]"
            position = end
        elif character == "\\" and position + 1 < len(body):
            position += 1
            expression += re.escape(body[position])
        else:
            expression += re.escape(character)
        position += 1
    try:
        return _Pattern(re.compile(expression, re.DOTALL), is_for_path, is_for_folders)
    except re.error as error:
        raise UsageError(f"{glob!r} is no pattern: {error}") from None


class Selection:
    """Decides about each name of a tree.

    What matches an *exclude* pattern is left out, unless it matches an *include* pattern, too. With include
    patterns alone, only what matches them is copied.

    Args:
        exclude: patterns of what is left out; a folder is left out with all that is in it.
        include: patterns of what is copied all the same.

    Raises:
        UsageError: a pattern is none.
    """

    def __init__(self, exclude: Iterable[str] = (), include: Iterable[str] = ()) -> None:
        self._exclude = [_compile(glob) for glob in exclude]
        self._include = [_compile(glob) for glob in include]
        self.is_everything = not self._exclude and not self._include

    @property
    def descends_everywhere(self) -> bool:
        """Whether a folder that is left out is looked into: something in it may be let in."""
        return bool(self._include)

    def leaves_out(self, path: str, name: str, *, is_folder: bool, parent_is_out: bool = False) -> bool:
        """Whether something is left out.

        Args:
            path: relative to the source, with ``/`` between the names.
            name: its last name.
            is_folder: whether it is a folder.
            parent_is_out: whether the folder that it is in was left out.
        """
        if any(pattern.takes(path, name, is_folder=is_folder) for pattern in self._include):
            return False
        if parent_is_out:
            return True
        if self._include and not self._exclude:
            return not is_folder
        return any(pattern.takes(path, name, is_folder=is_folder) for pattern in self._exclude)
