"""The operating system with faults: every call goes through rules that count, fail, delay or change it."""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.system import FolderHandle, System

__all__ = ["FaultySystem", "Rule"]


@dataclass
class Rule:
    """One fault: the *nth* matching call and, with *times*, those after it.

    Attributes:
        call: name of the method of :class:`System`.
        where: part of the path that the call concerns; empty for any.
        action: takes the real call as a function without arguments, and its arguments; its result is returned.
        nth: the first matching call that it is for, from 1.
        times: for how many calls; None for all from then on.
        fired: how often it was for a call: a test has to look at it.
    """

    call: str
    where: str
    action: Callable[..., Any]
    nth: int = 1
    times: int | None = 1
    seen: int = 0
    fired: int = 0

    def takes(self, call: str, path: str) -> bool:
        if call != self.call or self.where not in path:
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.seen >= self.nth + self.times):
            return False
        self.fired += 1
        return True


@dataclass
class _State:
    rules: list[Rule] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    paths: dict[int, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class FaultySystem(type(native_system())):  # type: ignore[misc]
    """The native system, with rules."""

    def __init__(self) -> None:
        super().__init__()
        self.state = _State()

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Every call so far, with the path that it concerned."""
        return self.state.calls

    def rule(self, call: str, action: Callable[..., Any], where: str = "", nth: int = 1, times: int | None = 1) -> Rule:
        """Add a rule."""
        rule = Rule(call, where, action, nth, times)
        self.state.rules.append(rule)
        return rule

    def fail(self, call: str, number: int = errno.EIO, where: str = "", nth: int = 1, times: int | None = 1) -> Rule:
        """Let a call fail with an error number; the real call is not made."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            raise OSError(number, os.strerror(number))

        return self.rule(call, action, where, nth, times)

    def hang(self, call: str, release: threading.Event, where: str = "", nth: int = 1) -> Rule:
        """Let a call hang until *release* is set."""

        def action(real: Callable[[], Any], *arguments: Any) -> Any:
            release.wait()
            return real()

        return self.rule(call, action, where, nth, None)

    def _path_of(self, arguments: tuple[Any, ...]) -> str:
        if not arguments:
            return ""
        first = arguments[0]
        if isinstance(first, FolderHandle):
            name = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], str) else ""
            return os.path.join(first.path, name)
        if isinstance(first, int):
            return self.state.paths.get(first, "")
        return str(first)

    def _dispatch(self, call: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        path = self._path_of(arguments)
        with self.state.lock:
            self.state.calls.append((call, path))
            rule = next((each for each in self.state.rules if each.takes(call, path)), None)
        result = rule.action(lambda: real(*arguments), *arguments) if rule else real(*arguments)
        if call in ("open_name", "open_source", "open_direct") and isinstance(result, int):
            self.state.paths[result] = path
        return result


def _intercepted(name: str) -> Any:
    def method(self: FaultySystem, *arguments: Any, **named: Any) -> Any:
        real = getattr(super(FaultySystem, self), name)
        return self._dispatch(name, lambda *given: real(*given, **named), arguments)

    return method


for _name in dir(System):
    if not _name.startswith("_") and callable(getattr(System, _name)):
        setattr(FaultySystem, _name, _intercepted(_name))
