"""Temporary names: where bytes live until they deserve their final name.

Each begins with ``.pfn.`` and ends with ``.partial``; only such names are ever swept. In between stand ten
characters for the final name and something random, so that the length does not depend on the final name.
"""

import os

from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.hashing import short_key

__all__ = [
    "is_record",
    "is_temporary",
    "is_temporary_of",
    "journal_name",
    "lock_name",
    "temporary_name",
    "temporary_name_with",
    "temporary_stem",
]

_PREFIX = ".pfn."
_SUFFIX = ".partial"
_JOURNAL = f"journal{_SUFFIX}"


def temporary_name(system: System, final_name: str) -> str:
    """Return a name that nobody can guess, of 32 characters."""
    return temporary_name_with(system.random_token(), final_name)


def temporary_name_with(token: str, final_name: str) -> str:
    """Return a temporary name with eight random characters that the caller has already."""
    return f"{_PREFIX}{short_key(os.fsencode(final_name))}.{token}{_SUFFIX}"


def lock_name(final_name: str) -> str:
    """Return the name of the lock of a file: the same for every run."""
    return f"{temporary_stem(final_name)}lock{_SUFFIX}"


def journal_name(key: str) -> str:
    """Return the name of the record of an unfinished offload."""
    return f"{temporary_stem(key)}{_JOURNAL}"


def is_temporary(name: str) -> bool:
    """Whether *name* has the form of a temporary name, whatever it belongs to."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def is_record(name: str) -> bool:
    """Whether *name* is that of the record of an unfinished offload."""
    return is_temporary(name) and name.endswith(_JOURNAL)


def is_temporary_of(name: str, final_name: str) -> bool:
    """Whether *name* is a temporary name that belongs to a file. The record of an offload belongs to none."""
    is_temporary_name = name.startswith(temporary_stem(final_name)) and name.endswith(_SUFFIX)
    return is_temporary_name and not is_record(name)


def temporary_stem(final_name: str) -> str:
    """Return what all temporary names of a file begin with."""
    return f"{_PREFIX}{short_key(os.fsencode(final_name))}."
