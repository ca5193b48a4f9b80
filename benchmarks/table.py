"""Tables of text."""

from collections.abc import Iterable, Sequence

__all__ = ["print_table", "size_name"]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns: the first one flush left, the others flush right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = (
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())


def size_name(size: int) -> str:
    """A size in bytes in the largest binary unit that leaves it whole: ``64 KiB``."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"
