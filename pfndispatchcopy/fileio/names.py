"""Temporary names: where bytes live until they deserve their final name.

Each begins with ``.pfn.`` and ends with ``.partial``; only such names are ever swept. In between stand ten
characters for the final name and something random, so that the length does not depend on the final name.
"""

import os

from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.hashing import short_key

__all__ = ["is_temporary_of", "lock_name", "temporary_name"]

_PREFIX = ".pfn."
_SUFFIX = ".partial"


def temporary_name(system: System, final_name: str) -> str:
    """Return a name that nobody can guess, of 32 characters."""
    return f"{_stem(final_name)}{system.random_token()}{_SUFFIX}"


def lock_name(final_name: str) -> str:
    """Return the name of the lock of a file: the same for every run."""
    return f"{_stem(final_name)}lock{_SUFFIX}"


def is_temporary_of(name: str, final_name: str) -> bool:
    """Whether *name* is a temporary name that belongs to a file."""
    return name.startswith(_stem(final_name)) and name.endswith(_SUFFIX)


def _stem(final_name: str) -> str:
    return f"{_PREFIX}{short_key(os.fsencode(final_name))}."
