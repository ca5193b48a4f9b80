"""Notes of a run that goes on: what its reports are made of, kept so that a hundred thousand files cost no memory.

What there is one of for every file goes into a spool, a line of JSON each; what there is one of for the whole run
is kept, and goes into the spool at the end.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from pfndispatchcopy.exact_paths import exact_path

__all__ = ["END", "FILE", "LEFT_OUT", "NOTICE", "Notes"]

# What a line of the spool begins with.
FILE, NOTICE, LEFT_OUT, END = "f", "n", "l", "e"
# A curve of three hundred points is as smooth as a screen shows it; when there are twice as many, every other one goes.
_MOST_SAMPLES = 600


class Notes:
    """Takes notes of events.

    Args:
        spool: where lines go to.
        command: the command line, for those who read the report.
        is_check: whether lists are checked, and nothing is copied.
        is_list: whether only what a list names is copied.
    """

    def __init__(self, spool: BinaryIO, command: str, *, is_check: bool = False, is_list: bool = False) -> None:
        self._spool = spool
        self._is_check = is_check
        self._labels: list[str] = []
        self._heads: dict[str, int] = {}
        self._started_at: float | None = None
        self._end: dict[str, Any] = {
            "command": command,
            "is_check": is_check,
            "is_list": is_list,
            "start": None,
            "plan": None,
            "volumes": [],
            "summary": None,
            "samples": [],
        }
        self._samples: list[tuple[float, list[int | None], list[int], list[str]]] = []
        self._last_sample: tuple[float, list[int | None], list[int], list[str]] | None = None
        self._least_gap_s = 0.0

    def event(self, fields: Mapping[str, Any], now: float) -> None:
        """Take note of one event; *now* is in seconds of a clock that never goes back.

        Raises:
            OSError: the spool takes no more.
        """
        if self._started_at is None:
            self._started_at = now
        kind = fields["event"]
        if kind in ("file", "amended"):
            self._file(fields)
        elif kind in ("warning", "error", "crash"):
            self._notice(kind, fields)
        elif kind == "left_out":
            self._write([LEFT_OUT, exact_path(fields), fields["reason"]])
        elif kind == "sample":
            self._sample(fields, now - self._started_at)
        elif kind == "volumes":
            self._end["volumes"] = fields["volumes"]
        elif kind in ("start", "plan", "summary"):
            self._end[kind] = dict(fields)
            if kind == "start":
                self._labels = [exact_path(each) for each in fields["destinations"]]

    def close(self, ended: str) -> None:
        """Write down the rest; *ended* is the time, in the form that events have.

        Raises:
            OSError: the spool takes no more.
        """
        if self._last_sample is not None and self._samples[-1] is not self._last_sample:
            self._samples.append(self._last_sample)
        heads = sorted(self._heads, key=self._heads.__getitem__)
        self._write([END, {**self._end, "ended": ended, "heads": heads, "samples": self._samples}])
        self._spool.flush()

    def _write(self, line: list[Any]) -> None:
        # ASCII with escapes: a path of any bytes comes back as it was.
        self._spool.write(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")

    def _file(self, fields: Mapping[str, Any]) -> None:
        path = exact_path(fields)
        told = fields["destinations"]
        if self._is_check and told:  # two lists may have the same name in them
            path = exact_path(told[0])
        is_whole = len(told) == len(self._labels)
        outcomes = []
        for number, each in enumerate(told):
            where = exact_path(each)
            place = number if is_whole else self._place_of(where)
            # Most copies have the same path below their destination as the file below its source.
            at: int | str = where
            if where.endswith(path):
                at = self._heads.setdefault(where[: len(where) - len(path)], len(self._heads))
            outcome = [place, each["state"], each["read_back"], at]
            outcomes.append(outcome if each["error"] is None else [*outcome, each["error"]])
        self._write([FILE, path, fields["size"], fields["hashes"], outcomes])

    def _place_of(self, where: str) -> int:
        """Which destination a path is on: the longest label that it begins with, or the folder of a list."""
        best, length = 0, -1
        for number, label in enumerate(self._labels):
            for top in (label, os.path.dirname(label)):
                if where.startswith(os.path.join(top, "")) and len(top) > length:
                    best, length = number, len(top)
                    break
        return best

    def _notice(self, kind: str, fields: Mapping[str, Any]) -> None:
        is_crash = kind == "crash"
        where = exact_path(fields, "destination") if fields.get("destination") is not None else None
        self._write(
            [
                NOTICE,
                "warning" if kind == "warning" else "error",
                f"internal error: {fields['message']}" if is_crash else fields["message"],
                "" if is_crash else exact_path(fields),
                "copy" if is_crash else fields["operation"],
                None if is_crash else fields["errno"],
                where,
            ]
        )

    def _sample(self, fields: Mapping[str, Any], at_s: float) -> None:
        sample = (round(at_s, 3), list(fields["copied"]), list(fields["verified"]), list(fields["states"]))
        self._last_sample = sample
        if self._samples and at_s - self._samples[-1][0] < self._least_gap_s:
            return
        self._samples.append(sample)
        if len(self._samples) > _MOST_SAMPLES:
            del self._samples[1::2]
            self._least_gap_s = 2 * (self._least_gap_s or (at_s - self._samples[0][0]) / _MOST_SAMPLES)
