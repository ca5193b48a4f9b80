"""The patterns of what a list leaves out: spelled as other tools read them, and never wider than they are meant.

The reference implementation matches them as gitignore(5) has it, some against the path from the root of the system and
some against that below the folder of the list, and counts nothing that they take.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.handover.history import History
from pfndispatchcopy.hashlists.asc import DEFAULT_IGNORES
from pfndispatchcopy.hashlists.xml_writer import is_xml_text
from pfndispatchcopy.selection import Selection, check_pattern

__all__ = ["Ignored", "TakingAll", "ignored_before", "patterns_for", "spelled"]


class TakingAll:
    """Tells of patterns that would leave out everything, for tools that match them against names above as well."""

    def __init__(self, path: str) -> None:
        self._names = [name for name in path.split(os.sep) if name]

    def takes(self, pattern: str) -> bool:
        """Whether a pattern takes the folder, or one above it."""
        if pattern.startswith("!") or "/" in pattern.rstrip("/"):
            return False
        try:
            selection = Selection((pattern,), ())
        except UsageError:  # what others have written in their lists may be no pattern
            return False
        return any(selection.leaves_out(name, name, is_folder=True) for name in self._names)


class Ignored:
    """What the patterns of a list leave out: other tools count none of it, whether it is there or not."""

    def __init__(self, patterns: Sequence[str]) -> None:
        excluded = (*DEFAULT_IGNORES, *(each for each in patterns if not each.startswith("!")))
        self._selection = Selection(excluded, tuple(each[1:] for each in patterns if each.startswith("!")))
        self._folders: dict[str, bool] = {"": False}

    def has_folder(self, path: str) -> bool:
        """Whether a folder is left out, or one above it."""
        is_out = self._folders.get(path)
        if is_out is None:
            above, _, name = path.rpartition("/")
            above_is_out = self.has_folder(above)
            is_out = above_is_out or self._selection.leaves_out(path, name, is_folder=True)
            self._folders[path] = is_out
        return is_out

    def has_file(self, path: str) -> bool:
        """Whether a file is left out, or a folder above it."""
        above, _, name = path.rpartition("/")
        return self.has_folder(above) or self._selection.leaves_out(path, name, is_folder=False)


def patterns_for(path: str, title: str, names: Collection[str]) -> list[str]:
    """Patterns that take one path below a folder, and nothing that is listed.

    Other tools match some against the path from the root of the system, some against that below the folder.
    """
    if not is_xml_text(path):
        return []
    escaped = _escaped(path)
    if path.rpartition("/")[2] not in names:
        return [f"/**/{escaped}"]
    return [f"/{escaped}", f"/**/{_escaped(title)}/{escaped}"]


def spelled(pattern: str) -> str:
    """A pattern of this program's, as other tools read it: those for paths from the folder downwards."""
    if pattern.startswith(("#", "!")):  # a comment, or a negation, elsewhere
        pattern = f"\\{pattern}"
    if pattern.endswith(" "):  # which would pass for a slip
        pattern = f"{pattern[:-1]}\\ "
    if "/" in pattern.rstrip("/"):
        pattern = f"/{pattern.lstrip('/')}"
    return f"{pattern}/*" if pattern.endswith("/**") else pattern  # not the folder itself


def ignored_before(histories: Mapping[str, History]) -> Iterator[str]:
    """What histories leave out, as patterns below the topmost folder."""
    for below, history in histories.items():
        for pattern in history.ignores or ():
            with suppress(UsageError):  # what others have written there may be no pattern
                check_pattern(pattern)
                if not below:
                    yield pattern
                elif not pattern.startswith("!"):
                    is_for_path = "/" in pattern.rstrip("/")
                    yield f"/{below}/{pattern.lstrip('/')}" if is_for_path else f"/{below}/**/{pattern}"


def _escaped(path: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in "\\*?[]" else letter for letter in path)
    return f"{escaped[:-1]}\\ " if escaped.endswith(" ") else escaped  # a space at the end would pass for a slip
