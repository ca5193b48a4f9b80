"""What a message quotes of a list: safe on a terminal, and never more than fits a line or two."""

from pfndispatchcopy.printable import printable

__all__ = ["excerpt"]

# Characters, escapes included: enough to recognise a path by.
_LONGEST = 160


def excerpt(text: str) -> str:
    """Return *text* as one safe line, cut where it is long."""
    shown = printable(text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
