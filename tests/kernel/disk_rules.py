"""What goes wrong on a disk that fails on demand; the rules can be changed while it is in use."""

import fnmatch
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Rule", "Rules", "spoiled"]


@dataclass
class Rule:
    """What goes wrong, and where.

    Attributes:
        operation: as ``fuse_disk.OPERATIONS`` calls it.
        pattern: of the path below the top, as fnmatch(3) knows it; for a rename of the old or the new path.
        action: the name of an error; ``hang``; ``delay:SECONDS``; of a write also ``lose``, ``short:BYTES``; of a read
            or a write ``flip``, ``zero:BYTES``, ``shift:BYTES`` (what belongs to the offset lies so far behind it).
        offset: only the read or write of this byte (an error stops a write just before it), or only what is done with
            a file that has it.
        skip: so many are let through first.
        times: and then so many are not; -1 is for ever.
    """

    operation: str
    pattern: str
    action: str
    offset: int = -1
    skip: int = 0
    times: int = -1

    def takes(self, paths: list[str], span: Callable[[], tuple[int, int]]) -> bool:
        if self.times == 0 or not any(fnmatch.fnmatchcase(path, self.pattern) for path in paths):
            return False
        if self.offset >= 0:
            start, length = span()
            if not start <= self.offset < start + length:
                return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= self.times > 0
        return True


class Rules:
    """The rules of a file, as it is at the moment; what they did is told of in a log."""

    def __init__(self, path: str, log: str) -> None:
        self._path = path
        self._stamp = (0, 0)
        self._rules: list[Rule] = []
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def have_changed(self) -> bool:
        """Read them, if that is needed."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return False
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        with open(self._path, encoding="utf-8") as file:
            self._rules = [Rule(**fields) for fields in json.load(file)]
        return True

    def first(self, operation: str, paths: Callable[[], list[str]], span: Callable[[], tuple[int, int]]) -> Rule | None:
        """The first rule that takes an operation; it is in the log before the caller hears of it.

        Args:
            operation: what is done.
            paths: to what.
            span: to which bytes: the first one, and how many.
        """
        mine = [rule for rule in self._rules if rule.operation == operation]
        names = paths() if mine else []
        rule = next((each for each in mine if each.takes(names, span)), None)
        if rule is not None:
            os.write(self._log, f"{json.dumps([operation, names[-1], rule.action])}\n".encode())
        return rule


def spoiled(data: bytes, action: str, at: int, length: int) -> bytes:
    """Data with a flipped byte, a hole or a block in the wrong place."""
    if action == "flip":
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
    if action == "zero":
        return (data[:at] + bytes(length) + data[at + length :])[: len(data)]
    assert action == "shift", action
    return (data[:at] + bytes(length) + data[at:])[: len(data)]
