"""The manual page, made from the table of arguments.

python -m pfndispatchcopy.cli.manpage
"""

import sys
from collections.abc import Iterator
from textwrap import wrap

from pfndispatchcopy.cli.table import Manual, Option, read_manual

__all__ = ["ENVIRONMENT", "FILES", "manual_page"]

# Of the last change to what the page says beside the table.
_DATE = "2026-11-25"
ENVIRONMENT = {
    "PFNDISPATCHCOPY_CONFIG": "The configuration file, where --config names none.",
    "XDG_CONFIG_HOME, HOME": "Where the user's own configuration file is looked for.",
    "TERM": "Bars are drawn on every terminal but one that is called dumb.",
    "JOURNAL_STREAM": "Set by systemd: lines on standard error then begin with their priority.",
}
FILES = {
    "~/.config/pfndispatchcopy/config.toml": "Options that are always meant: the long ones without their dashes, as"
    " keys of TOML; those of --preset NAME in a table [preset.NAME].",
    ".pfn.*.partial": "Copies that are not yet complete and compared, and the record from which an interrupted run goes"
    " on. Running the same command again sweeps them.",
    "NAME.corrupt": "A copy that was read back with other bytes than those of the source.",
}
# The backslash first: the others bring some.
_ESCAPES = {"\\": "\\e", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "'": "\\(aq", "`": "\\(ga", "…": "..."}
_SEE_ALSO = "cp(1), rsync(1), xxhsum(1), md5sum(1), caffeinate(8), systemd-inhibit(1)"


def manual_page() -> str:
    """Return the page, for man and its kind."""
    return "\n".join(_lines(read_manual())) + "\n"


def _lines(manual: Manual) -> Iterator[str]:
    name = manual.program
    yield '.\\" Made from the table of arguments by `make manual`.'
    yield f'.TH {name.upper()} 1 {_DATE} "{name} {manual.version}" "User Commands"'
    yield ".SH NAME"
    yield f"{name} \\- copy to several destinations at once, verified"
    yield ".SH SYNOPSIS"
    for number, line in enumerate(manual.usage):
        if number:
            yield ".br"
        yield f".B {name}"
        yield from _wrapped(line)
    yield ".SH DESCRIPTION"
    for number, text in enumerate(manual.description):
        if number:
            yield ".PP"
        yield from _wrapped(text)
    yield ".SH OPTIONS"
    for group, options in manual.groups.items():
        yield f".SS {_escaped(group.capitalize())}"
        for option in options:
            yield from _option(option)
    for title in ("patterns", "sizes"):
        yield f".SH {title.upper()}"
        for text in manual.section(title).paragraphs:
            yield from _wrapped(text)
    yield ".SH EXIT STATUS"
    for line in manual.section("exit codes").lines:
        code, _, text = line.partition("  ")
        yield from _item(code, text.strip())
    yield ".SH ENVIRONMENT"
    for variable, text in ENVIRONMENT.items():
        yield from _item(variable, text)
    yield ".SH FILES"
    for path, text in FILES.items():
        yield from _item(path, text)
    yield ".SH EXAMPLES"
    yield ".nf"
    yield from map(_escaped, manual.section("examples").lines)
    yield ".fi"
    yield ".SH SEE ALSO"
    yield from _wrapped(_SEE_ALSO)


def _option(option: Option) -> Iterator[str]:
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in option.names)
    yield ".TP"
    yield f"{names} \\fI{_escaped(option.value)}\\fR" if option.value else names
    yield from _wrapped(option.text)


def _item(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{_escaped(term)}\\fR"
    yield from _wrapped(text)


def _wrapped(text: str) -> Iterator[str]:
    for line in wrap(text, 72, break_on_hyphens=False, break_long_words=False):
        yield _escaped(line)


def _escaped(text: str) -> str:
    """Return text that roff takes as it is; a dash stays one that can be searched and pasted."""
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    text = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    sys.stdout.write(manual_page())
