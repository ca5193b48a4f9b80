"""Progress for eyes: bars on a terminal, or a plain line now and then."""

import os
from typing import Any

from pfndispatchcopy.cli.jsonlines import exact_path
from pfndispatchcopy.cli.streams import Outlet
from pfndispatchcopy.notices import amount
from pfndispatchcopy.printable import printable

__all__ = ["Bars", "PlainProgress"]

_PLAIN_PACE_S = 2.0
# Below this many columns a line tells less, so that something of the bar stays.
_FULL_WIDTH = 72


def _seconds(eta_s: float | None) -> str:
    if eta_s is None:
        return "--:--"
    minutes, seconds = divmod(round(eta_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


class PlainProgress:
    """A line every two seconds."""

    def __init__(self, err: Outlet) -> None:
        self._err = err
        self._last = float("-inf")

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Print a line when it is time for one."""
        if fields["event"] != "progress" or now - self._last < _PLAIN_PACE_S:
            return
        self._last = now
        total = fields["bytes_total"]
        percent = f" ({100 * fields['bytes_done'] // total}%)" if total else ""
        self._err.write(
            f"{fields['phase']}: {amount(fields['bytes_done'])}{percent},"
            f" {fields['rate'] / 1e6:.1f} MB/s, {_seconds(fields['eta_s'])} left\n"
        )


class Bars:
    """One bar for the whole and one for each destination, as many as the terminal has lines for.

    tqdm draws each line; where the lines go is decided here: a terminal that has become narrower has
    wrapped what was drawn before, and the next drawing begins where that began.

    Args:
        err: standard error, a terminal.
    """

    def __init__(self, err: Outlet) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - 118 ms that only a terminal needs (benchmarks/exp_startup.py)
        from tqdm.utils import disp_len, disp_trim  # noqa: PLC0415

        self._format = tqdm.format_meter
        self._width_of = disp_len
        self._trim = disp_trim
        self._err = err
        self._drawn: list[str] = []
        self._is_ascii = not err.encoding.lower().startswith("utf")

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Draw a progress event; what else is printed clears the bars first, see :meth:`clear`."""
        del now
        if fields["event"] == "progress" and not self._err.is_behind:
            columns, rows = self._size()
            lines = self._lines(fields, columns - 1)
            self._replace(lines[: max(1, rows - 1)], columns)

    def clear(self) -> None:
        """Take the bars off the screen, so that a line can be printed."""
        if self._drawn:
            self._replace([], self._size()[0])

    close = clear

    def _replace(self, lines: list[str], columns: int) -> None:
        """Draw over what was drawn last, however many rows that has by now."""
        rows = sum(max(1, -(-self._width_of(line) // columns)) for line in self._drawn)
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        self._err.write(f"\r{up}\x1b[J" + "\n".join(lines))
        self._drawn = lines

    def _lines(self, fields: dict[str, Any], width: int) -> list[str]:
        is_full = width >= _FULL_WIDTH
        name_width = 24 if is_full else max(8, width // 3)
        left, rate = f"{_seconds(fields['eta_s'])} left", f"{fields['rate'] / 1e6:.1f} MB/s"
        word = "verifying" if fields["phase"] == "verify" else "copying"
        total = fields["bytes_total"]
        words = f"{rate:>12}, {left}" if is_full else left
        lines = [self._line(word, name_width, fields["bytes_done"], total, words, width)]
        for each in fields["destinations"]:
            rate = f"{each['rate'] / 1e6:.1f} MB/s"
            words = f"{rate:>12}, {each['state']}" if is_full else each["state"]
            lines.append(self._line(exact_path(each), name_width, each["bytes_done"], total, words, width))
        return lines

    def _line(self, name: str, name_width: int, done: int, total: int | None, words: str, width: int) -> str:
        shown = self._fit(printable(name), name_width).replace("{", "{{").replace("}", "}}")
        if not total:
            return str(self._trim(f"{shown} {amount(done):>9} {words}", width))
        line = self._format(
            n=min(done, total),
            total=total,
            elapsed=1.0,
            ncols=width,
            ascii=self._is_ascii,
            bar_format=f"{shown} {{percentage:3.0f}}%|{{bar}}| {words}",
        )
        return str(self._trim(line, width))

    def _fit(self, name: str, width: int) -> str:
        """A name in exactly *width* columns: its end tells more than its beginning."""
        if self._width_of(name) > width:
            mark = "~" if self._is_ascii else "…"
            while self._width_of(name) > width - 1:
                name = name[1:]
            name = mark + name
        return name + " " * (width - self._width_of(name))

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._err.fd)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24
