"""What goes wrong in a run: drawn by chance, and told in one line."""

import errno
import random
from dataclasses import dataclass

from tests.soak.card import Kind
from tests.soak.wish import Needs, Wish

__all__ = ["Fault", "Where", "draw_kinds", "needs_of"]


class Where:
    """Kinds of faults, by how they are made."""

    LIBRARY_DESTINATION = "call fails on a destination"
    LIBRARY_SOURCE = "call fails on the source"
    LIBRARY_HANG = "call hangs on a destination"
    LIBRARY_FLIP = "reading back gives another byte"
    LIBRARY_SHORT = "writes take less than they are given"
    LIBRARY_LOST = "a write is lost"
    LIBRARY_CANCEL = "cancelled at a call"
    LIBRARY_CHANGE = "source changes at a call"
    COMMAND_NOTHING = "nothing"
    COMMAND_DESTINATION = "call fails on a destination, in the command"
    COMMAND_SOURCE = "call fails on the source, in the command"
    COMMAND_CHANGE = "source changes in the middle"
    COMMAND_FULL = "volume fills up"
    COMMAND_SMALL = "volume is too small"
    KILL_GROUP = "SIGKILL to all processes"
    KILL_FRONT = "SIGKILL to the front"
    KILL_ANY = "SIGKILL to one of the processes"
    INTERRUPT = "SIGINT"
    TERMINATE = "SIGTERM"
    HANG_UP = "SIGHUP"
    TWICE = "SIGINT twice"
    STOP = "SIGSTOP for a while"


_ODDS = {
    Where.LIBRARY_DESTINATION: 14,
    Where.LIBRARY_SOURCE: 8,
    Where.LIBRARY_HANG: 1,
    Where.LIBRARY_FLIP: 4,
    Where.LIBRARY_SHORT: 2,
    Where.LIBRARY_LOST: 2,
    Where.LIBRARY_CANCEL: 5,
    Where.LIBRARY_CHANGE: 5,
    Where.COMMAND_NOTHING: 2,
    Where.COMMAND_DESTINATION: 7,
    Where.COMMAND_SOURCE: 4,
    Where.COMMAND_CHANGE: 4,
    Where.COMMAND_FULL: 4,
    Where.COMMAND_SMALL: 2,
    Where.KILL_GROUP: 8,
    Where.KILL_FRONT: 5,
    Where.KILL_ANY: 4,
    Where.INTERRUPT: 4,
    Where.TERMINATE: 3,
    Where.HANG_UP: 1,
    Where.TWICE: 2,
    Where.STOP: 1,
}
IN_LIBRARY = frozenset(value for name, value in vars(Where).items() if name.startswith("LIBRARY_"))
"""Kinds that are made in this process."""
CHANGES = frozenset({Where.LIBRARY_CHANGE, Where.COMMAND_CHANGE})
"""Kinds that change the source."""
ON_VOLUME = frozenset({Where.COMMAND_FULL, Where.COMMAND_SMALL})
"""Kinds that need a small volume to be mounted."""
ON_DESTINATION = frozenset(
    {
        Where.LIBRARY_DESTINATION,
        Where.LIBRARY_HANG,
        Where.LIBRARY_FLIP,
        Where.LIBRARY_LOST,
        Where.COMMAND_DESTINATION,
        *ON_VOLUME,
    }
)
"""Kinds that concern one destination, and no other."""
ON_SOURCE = frozenset({Where.LIBRARY_SOURCE, Where.COMMAND_SOURCE, *CHANGES})
"""Kinds that concern the source."""
HARMLESS = frozenset({Where.COMMAND_NOTHING, Where.LIBRARY_SHORT, Where.STOP})
"""Kinds that nobody may notice."""
_SIGNALS = frozenset(
    {
        *(Where.KILL_GROUP, Where.KILL_FRONT, Where.KILL_ANY, Where.INTERRUPT, Where.TERMINATE),
        *(Where.HANG_UP, Where.TWICE, Where.STOP),
    }
)
_DESTINATION_ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.ENOMEM, errno.ESTALE)
_SOURCE_ERRORS = (errno.EIO, errno.ENODEV, errno.EACCES, errno.ESTALE, errno.ENOMEM)
_HANGING = ("write", "read", "open_name", "close", "rename_to_free_name", "status_of_name", "list_names", "flush")
_CHANGES = ("longer", "shorter", "in place", "replaced")
# Few calls concern the whole run, and many each file: a run may end before a late one.
_MOST_CALLS = 400
_SHORTEST_S = 0.02


@dataclass
class Fault:
    """One fault.

    Attributes:
        kind: see :class:`Where`.
        victim: number of the destination that it concerns; -1 for none.
        nth: the call that it is for.
        error: number of the error.
        is_persistent: whether all calls from then on fail.
        call: name of the call that it is for; empty for any.
        at_s: the moment, in seconds from the start.
        changed: path on the card of what changes.
        how: it changes.
        share: of what is to be copied, how much a small volume takes.
        fired: how often it did.
    """

    kind: str
    victim: int = -1
    nth: int = 1
    error: int = errno.EIO
    is_persistent: bool = False
    call: str = ""
    at_s: float = 0.0
    changed: str = ""
    how: str = ""
    share: float = 0.0
    fired: int = 0

    @property
    def is_in_library(self) -> bool:
        return self.kind in IN_LIBRARY

    @property
    def is_signal(self) -> bool:
        return self.kind in _SIGNALS

    @classmethod
    def draw(cls, kind: str, chance: random.Random, wish: Wish, on_card: dict[str, Kind]) -> "Fault":
        """Draw what a kind leaves open."""
        fault = cls(kind, nth=int(_MOST_CALLS ** chance.random()), is_persistent=chance.random() < 0.5)
        if kind in ON_DESTINATION or kind == Where.LIBRARY_SHORT:
            fault.victim = wish.volume if kind in ON_VOLUME else chance.randrange(wish.count)
        errors = _SOURCE_ERRORS if kind in ON_SOURCE else _DESTINATION_ERRORS
        fault.error = chance.choice(errors)
        if kind == Where.LIBRARY_HANG:
            fault.call = chance.choice(_HANGING)
            fault.nth = chance.choice((1, 2, 3, 5))
        if kind in (Where.LIBRARY_FLIP, Where.LIBRARY_LOST):
            fault.call = "read" if kind == Where.LIBRARY_FLIP else "write"
            fault.nth = chance.choice((1, 2, 3, 5, 8, 20))
        if kind in CHANGES:
            changeable = [
                wish.on_card[path] for path, entry in wish.wanted.items() if entry.data and path in wish.on_card
            ]
            changeable = [path for path in changeable if on_card.get(path) is Kind.FILE]
            if changeable:
                ways = _CHANGES if wish.names_files else (*_CHANGES, "gone")
                fault.changed, fault.how = chance.choice(changeable), chance.choice(ways)
            else:
                fault.kind = Where.COMMAND_NOTHING if kind == Where.COMMAND_CHANGE else Where.LIBRARY_CANCEL
        # About as long as a run takes: what it has to do, and what it takes to begin.
        length_s = 0.15 + wish.bytes * wish.count / 300e6 + len(wish.wanted) * wish.count / 2000
        length_s += wish.bytes / wish.rate if wish.rate else 0
        fault.at_s = chance.uniform(_SHORTEST_S, 1.2 * length_s)
        fault.share = chance.uniform(0.05, 0.9)
        if kind == Where.COMMAND_FULL:  # there is room enough, as long as nobody else takes it
            fault.share += 1 + (4 << 20) / max(wish.bytes, 1)
            fault.at_s *= 0.8
        return fault

    def __str__(self) -> str:
        told = self.kind
        if self.victim >= 0:
            told += f" d{self.victim}"
        if self.kind in (
            Where.LIBRARY_DESTINATION,
            Where.LIBRARY_SOURCE,
            Where.COMMAND_DESTINATION,
            Where.COMMAND_SOURCE,
        ):
            told += f": {errno.errorcode[self.error]} in call {self.nth}"
            told += " and all after it" if self.is_persistent else ""
        elif self.is_in_library:
            told += f": {self.call or 'call'} {self.nth}"
        elif self.is_signal or self.kind == Where.COMMAND_CHANGE:
            told += f" after {self.at_s:.3f} s"
        elif self.kind in ON_VOLUME:
            told += f": {self.share:.2f} of it fits"
            told += f", until {self.at_s:.3f} s" if self.kind == Where.COMMAND_FULL else ""
        if self.changed:
            told += f": {self.changed!r} {self.how}"
        return told


def draw_kinds(chance: random.Random, *, has_volumes: bool) -> list[str]:
    """Draw one or more kinds; the last one may change the source, and only one of them mounts something."""
    odds = {kind: weight for kind, weight in _ODDS.items() if has_volumes or kind not in ON_VOLUME}
    count = chance.choices((1, 2, 3), (7, 2, 1))[0]
    drawn = chance.choices(list(odds), list(odds.values()), k=count)
    return [kind for kind in drawn[:-1] if kind not in CHANGES and kind not in ON_VOLUME] + drawn[-1:]


def needs_of(kinds: list[str]) -> Needs:
    """What these kinds ask of the options."""
    return Needs(
        changes_source=any(kind in CHANGES for kind in kinds),
        in_library=any(kind in IN_LIBRARY for kind in kinds),
        hangs=Where.LIBRARY_HANG in kinds,
        may_be_slow=any(kind in _SIGNALS or kind in (Where.COMMAND_CHANGE, Where.COMMAND_FULL) for kind in kinds),
        has_volume=any(kind in ON_VOLUME for kind in kinds),
    )
