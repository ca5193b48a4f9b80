"""What is run, what fails in it, and how it is said that something does not hold."""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.support.faulty_system import Rule
from tests.support.tree_trial import HARMLESS, HINTS

__all__ = ["SCENARIOS", "Count", "Fault", "Scenario", "ViolationError", "fast_folder", "require"]


class Scenario(NamedTuple):
    """What is run: a folder of three files or one large file, to three destinations, with these options.

    Attributes:
        before: what the destinations hold already: nothing; or what a run has left whose source was pulled out after
            the first file, with its record; or what a run with lists has left, from which a file was lost later.
        share: every day one of so many calls fails in each way.
    """

    name: str
    is_folder: bool
    options: Mapping[str, Any]
    before: str = ""
    share: int = 1

    @property
    def has_asc(self) -> bool:
        return self.options.get("mhl") == "asc"

    @property
    def sums(self) -> Sequence[str]:
        return tuple(self.options.get("sums", ()))


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("folder", True, {}),
        Scenario("folder with lists", True, {"mhl": "asc", "sums": ("md5",)}, share=2),
        Scenario("folder with a record", True, {"sums": ("md5",)}, "record", 4),
        Scenario("folder with a history", True, {"mhl": "asc", "sums": ("md5",)}, "history", 4),
        Scenario("one file", False, {}),
        Scenario("one file with lists", False, {"mhl": "legacy", "sums": ("md5",)}),
    )
}


class Count(Protocol):
    """Tells the summary of the runs of a test."""

    def __call__(self, kind: str, runs: int, violations: int = 0) -> None:
        """Add so many runs with this kind of fault, and what was found wrong in them."""


class ViolationError(AssertionError):
    """Something that must hold does not."""


def require(condition: object, text: Callable[[], str] | str) -> None:
    if not condition:
        raise ViolationError(text if isinstance(text, str) else text())


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A temporary folder, in memory where that can be had."""
    memory = "/dev/shm"
    usable = os.path.isdir(memory) and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 200 << 20
    with tempfile.TemporaryDirectory(prefix="pfn-test-", dir=memory if usable else None) as name:
        yield Path(name).resolve()


@dataclass
class Fault(Rule):
    """The n-th of all calls that can fail and that concern one place fails, or all from then on.

    Attributes:
        error: number of the error.
        hit: the calls that failed, each with its path.
    """

    error: int = errno.EIO
    hit: list[tuple[str, str]] = field(default_factory=list)
    _here: threading.local = field(default_factory=threading.local)

    @classmethod
    def at(cls, where: str, nth: int, error: int, *, is_persistent: bool) -> "Fault":
        fault = cls("", where, lambda real: None, nth, None if is_persistent else 1, error=error)
        fault.action = fault._fail
        return fault

    def takes(self, call: str, path: str) -> bool:
        if call in HINTS or call in HARMLESS or not f"{path}/".startswith(f"{self.where}/"):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.seen > self.nth and self.times is not None):
            return False
        self.fired += 1
        self.hit.append((call, path))
        self._here.call = call
        return True

    def _fail(self, real: Callable[[], Any], *arguments: Any) -> Any:
        if self._here.call in ("close", "close_folder"):  # an error of close() leaves nothing open
            real()
        raise OSError(self.error, os.strerror(self.error))

    @property
    def told(self) -> str:
        call, path = self.hit[0] if self.hit else ("nothing", "")
        times = "once" if self.times is not None else "from then on"
        return f"call {self.nth} ({call} {path.rsplit('/', 2)[-2:]}) {errno.errorcode[self.error]} {times}"
