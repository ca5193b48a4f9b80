"""Numbers of hash lists: plain decimal digits, and no more of them than there is any use for."""

import re

from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt

__all__ = ["generation_of", "size_of"]

# Eighteen digits are an exabyte, and fit every counter. int() alone would take "1_0", and digits of any script.
_SIZE = re.compile("[0-9]{1,18}")
_GENERATION = re.compile("[0-9]{1,9}")


def size_of(text: str) -> int:
    """Return the size of a file, in bytes.

    Raises:
        UntrustedListError: *text* is no whole number, or a negative or an endless one.
    """
    spelled = text.strip(" \t\r\n")
    if not _SIZE.fullmatch(spelled):
        raise UntrustedListError(f"not a size in bytes: {excerpt(spelled)}")
    return int(spelled)


def generation_of(text: str) -> int:
    """Return the number of a generation, from 1.

    Raises:
        UntrustedListError: *text* is none.
    """
    spelled = text.strip(" \t\r\n")
    if not _GENERATION.fullmatch(spelled) or int(spelled) == 0:
        raise UntrustedListError(f"not the number of a generation: {excerpt(spelled)}")
    return int(spelled)
