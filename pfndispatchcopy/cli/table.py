"""The table of arguments, read back from the parser: for completion, the manual page and the reference."""

import re
from typing import NamedTuple

from pfndispatchcopy import __version__
from pfndispatchcopy.cli.arguments import build_parser
from pfndispatchcopy.cli.request import PROGRAM
from pfndispatchcopy.engines import ENGINES
from pfndispatchcopy.hashing import ALGORITHMS
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS
from pfndispatchcopy.model import Preserve

__all__ = ["Manual", "Option", "read_manual"]

# What can be completed where the parser itself names no choices: by option.
_WORDS = {
    "--hash": tuple(ALGORITHMS),
    "--sums": tuple(SUM_DIGESTS),
    "--preserve": (*map(str, Preserve), "all", "none"),
    "--jobs": ("auto",),
    "--executor": ENGINES,
}
_LISTS = frozenset({"--hash", "--sums", "--preserve"})
_PATHS = frozenset({"FILE", "PATH"})
_TEXTS = frozenset({"BYTES", "COMMAND", "GLOB", "N", "NAME", "RATE", "SECONDS", "SIZE"})


class Option(NamedTuple):
    """One option.

    Attributes:
        names: as they are typed, the short one first.
        group: the heading that it stands under.
        value: what its value is called in the help, ``one|another`` where there are choices; empty for a flag.
        words: the values that there are, as far as they can be named.
        is_list: whether several of them go with commas in between.
        is_path: whether the value is a path.
        is_repeatable: whether it may be given more than once.
        is_ending: whether it prints something, and nothing else happens.
        text: what it does.
    """

    names: tuple[str, ...]
    group: str
    value: str
    words: tuple[str, ...]
    is_list: bool
    is_path: bool
    is_repeatable: bool
    is_ending: bool
    text: str

    @property
    def long_name(self) -> str:
        """The name with two dashes, or the only one."""
        return self.names[-1]

    @property
    def short_text(self) -> str:
        """The beginning of the text, for a list of options."""
        return re.split(r": | \(|; ", self.text)[0]


class Section(NamedTuple):
    """What stands below the options: text, or lines that each stand for themselves."""

    title: str
    paragraphs: tuple[str, ...]
    lines: tuple[str, ...]


class Manual(NamedTuple):
    """All that the parser knows.

    Attributes:
        program: its name.
        version: of it.
        usage: the ways to call it, without its name.
        description: what it does, and what its operands mean, in paragraphs.
        options: in the order of the help.
        sections: patterns, sizes, exit codes, examples.
    """

    program: str
    version: str
    usage: tuple[str, ...]
    description: tuple[str, ...]
    options: tuple[Option, ...]
    sections: tuple[Section, ...]

    @property
    def groups(self) -> dict[str, list[Option]]:
        """The options by their headings."""
        found: dict[str, list[Option]] = {}
        for each in self.options:
            found.setdefault(each.group, []).append(each)
        return found

    def section(self, title: str) -> Section:
        """Return one of the sections."""
        return next(each for each in self.sections if each.title == title)


def read_manual() -> Manual:
    """Read the table.

    Raises:
        LookupError: an option has a kind of value that nothing is known of; add it above.
    """
    parser = build_parser()
    options = []
    for group in parser._action_groups:  # noqa: SLF001 - argparse tells its table in no other way
        for action in group._group_actions:  # noqa: SLF001
            if not action.option_strings:
                continue
            names = tuple(action.option_strings)
            words = tuple(map(str, action.choices)) if action.choices else _WORDS.get(names[-1], ())
            takes_value = action.nargs != 0
            value = "|".join(words) if action.choices else str(action.metavar) if takes_value else ""
            is_path = value in _PATHS
            if takes_value and not (words or is_path or value in _TEXTS):
                raise LookupError(f"{names[-1]}: a value of unknown kind, {value}")
            options.append(
                Option(
                    names=names,
                    group=str(group.title),
                    value=value,
                    words=words,
                    is_list=names[-1] in _LISTS,
                    is_path=is_path,
                    is_repeatable=type(action).__name__ == "_AppendAction",
                    is_ending=type(action).__name__ in ("_HelpAction", "_VersionAction"),
                    text=str(action.help),
                )
            )
    paragraphs, sections = _split(str(parser.epilog))
    return Manual(
        program=PROGRAM,
        version=__version__,
        usage=tuple(line.strip().removeprefix(PROGRAM).strip() for line in str(parser.usage).splitlines()),
        description=(_joined(str(parser.description)), *paragraphs),
        options=tuple(options),
        sections=tuple(sections),
    )


def _joined(text: str) -> str:
    return " ".join(text.split())


def _split(epilog: str) -> tuple[list[str], list[Section]]:
    """Return plain paragraphs, and those that begin with a title and a colon."""
    plain: list[str] = []
    sections: list[Section] = []
    for paragraph in epilog.strip().split("\n\n"):
        title, colon, rest = paragraph.partition(":")
        if not colon or not re.fullmatch(r"[a-z ]+", title):
            plain.append(_joined(paragraph))
        elif rest.startswith("\n"):
            sections.append(Section(title, (), tuple(line.strip() for line in rest.strip().splitlines())))
        else:
            sections.append(Section(title, (_joined(rest),), ()))
    return plain, sections
