"""Numbers, times and names as people read them."""

import os
from collections.abc import Sequence

from pfndispatchcopy.notices import amount
from pfndispatchcopy.printable import printable

__all__ = ["amount", "count", "duration", "moment", "rate", "short_names"]

_LONGEST_SHORT_NAME = 24


def count(number: int, word: str) -> str:
    """``1 file``, ``1,204 files``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``41 min 5 s``, ``3 h 7 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(megabytes: float) -> str:
    """Megabytes (10^6 bytes) a second: ``7.3 MB/s``, ``241 MB/s``."""
    return f"{megabytes:.1f} MB/s" if megabytes < 100 else f"{megabytes:,.0f} MB/s"


def moment(stamp: str) -> str:
    """A time as events have it, without the fractions of its second: ``2026-11-25 14:30:05 UTC``."""
    return f"{stamp[:10]} {stamp[11:19]} UTC"


def short_names(paths: Sequence[str]) -> list[str]:
    """What tells paths from each other: of ``/mnt/raid/day1`` and ``/mnt/shuttle/day1``, ``raid`` and ``shuttle``."""
    split = [[name for name in path.split(os.sep) if name] or [path] for path in paths]
    if len(split) > 1:
        while all(len(names) > 1 for names in split) and len({names[0] for names in split}) == 1:
            split = [names[1:] for names in split]
        while all(len(names) > 1 for names in split) and len({names[-1] for names in split}) == 1:
            split = [names[:-1] for names in split]
    else:
        split = [names[-1:] for names in split]
    short = [printable("/".join(names)) for names in split]
    short = [name if len(name) <= _LONGEST_SHORT_NAME else f"{name[: _LONGEST_SHORT_NAME - 1]}…" for name in short]
    is_told_apart = len(set(short)) == len(short)
    return short if is_told_apart else [f"{number}. {name}" for number, name in enumerate(short, 1)]
