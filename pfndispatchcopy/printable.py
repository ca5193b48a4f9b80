"""The one escaper for everything that is shown to people: terminal, log, messages.

A file name is any bytes but NUL and the separator. It may carry escape sequences, line breaks,
right-to-left marks and bytes that are no UTF-8; none of these may reach a terminal or a log raw.
"""

import unicodedata

__all__ = ["printable"]

# Cc: control characters; Cf: invisible formatting, with the bidirectional overrides;
# Cs: lone surrogates, which is how undecodable bytes arrive; Zl, Zp: line and paragraph separators.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: object) -> str:
    r"""Return *text* as one line that is safe on any terminal and in any encoding of Unicode.

    Args:
        text: anything with a ``str``; a path, a message, an exception.

    Returns:
        The text with every unsafe character written as ``\n``, ``\x1b``, ``\u202e`` or, for a byte
        that is no UTF-8, ``\xff``. A backslash stays as it is: the result is for eyes, not for parsing.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(_escape(character) for character in line)


def _escape(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: an undecodable byte
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
