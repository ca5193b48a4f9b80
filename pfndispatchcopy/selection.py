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


# Named classes of characters, as in glob(7), for a set of a regular expression.
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


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
        piece, position = _translate(body, position)
        expression += piece
    try:
        return _Pattern(re.compile(expression, re.DOTALL), is_for_path, is_for_folders)
    except re.error as error:
        raise UsageError(f"{glob!r} is no pattern: {error}") from None


def _translate(body: str, position: int) -> tuple[str, int]:
    """Return the regular expression for what stands at *position* of a pattern, and where the rest begins."""
    character = body[position]
    is_start_of_name = position == 0 or body[position - 1] == "/"
    if is_start_of_name and body.startswith("**/", position):
        return "(?:.*/)?", position + 3
    if is_start_of_name and body[position:] == "**":
        return ".+" if position else ".*", position + 2
    if character == "*":
        while body.startswith("*", position):
            position += 1
        return "[^/]*", position
    if character == "?":
        return "[^/]", position + 1
    if character == "[":
        found = _translate_set(body, position)
        if found is not None:
            return found
    if character == "\\" and position + 1 < len(body):
        return re.escape(body[position + 1]), position + 2
    return re.escape(character), position + 1


def _translate_set(body: str, position: int) -> tuple[str, int] | None:
    """The same for a set in brackets; None where the bracket is never closed, and so is only a bracket."""
    at = position + 1
    is_negated = body[at : at + 1] in ("!", "^") and at < len(body)
    at += is_negated
    inside, first = "", at
    while at < len(body) and (body[at] != "]" or at == first):
        named = next((name for name in _CLASSES if body.startswith(f"[:{name}:]", at)), None)
        if named is not None:
            inside += _CLASSES[named]
            at += len(named) + 4
            continue
        if body[at] == "\\" and at + 1 < len(body):
            at += 1
            inside += re.escape(body[at])
        elif body[at] == "-" and first < at < len(body) - 1 and body[at + 1] != "]" and not inside.endswith("-"):
            inside += "-"
        else:
            inside += re.escape(body[at])
        at += 1
    if at >= len(body):
        return None
    return f"(?!/)[{'^' if is_negated else ''}{inside}]", at + 1


class Selection:
    """Decides about each name of a tree.

    What matches an *exclude* pattern is left out, unless it matches an *include* pattern, too. With include
    patterns alone, only what matches them is copied; of a folder that does, everything.

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

    def lets_in(self, path: str, name: str, *, is_folder: bool) -> bool:
        """Whether an include pattern takes something; see :meth:`leaves_out`."""
        return any(pattern.takes(path, name, is_folder=is_folder) for pattern in self._include)

    def leaves_out(
        self, path: str, name: str, *, is_folder: bool, parent_is_out: bool = False, parent_is_in: bool = False
    ) -> bool:
        """Whether something is left out.

        Args:
            path: relative to the source, with ``/`` between the names.
            name: its last name.
            is_folder: whether it is a folder.
            parent_is_out: whether the folder that it is in was left out.
            parent_is_in: whether that folder, or one above it, was let in by an include pattern.
        """
        if self.lets_in(path, name, is_folder=is_folder):
            return False
        if parent_is_out:
            return True
        if self._include and not self._exclude:
            return not is_folder and not parent_is_in
        return any(pattern.takes(path, name, is_folder=is_folder) for pattern in self._exclude)
