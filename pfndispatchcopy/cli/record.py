"""The log of a run: one line an event, to a file or to the system's log."""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from pfndispatchcopy.cli.jsonlines import exact_path
from pfndispatchcopy.cli.request import PROGRAM
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.model import STANDARD_INPUT
from pfndispatchcopy.printable import printable

__all__ = ["LogFile", "SystemLog", "log_line"]

_LEVELS = {"error": "ERROR", "crash": "ERROR", "warning": "WARNING"}
# Where the C library of Linux sends what is for the system's log; where nobody listens, it says nothing of that.
_SYSLOG_SOCKET = "/dev/log"
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)


def log_line(fields: dict[str, Any]) -> tuple[str, str] | None:
    """Return level and text of an event, or None when it is not for a log."""
    level = _LEVELS.get(fields["event"], "INFO")
    match fields["event"]:
        case "error" | "warning":
            text = fields["message"]
        case "crash":
            text = f"internal error: {fields['message']}: {fields['trace']}"
        case "start":
            to = ", ".join(exact_path(each) for each in fields["destinations"])
            text = f"start: {', '.join(exact_path(each) for each in fields['sources'])} to {to}"
        case "plan":
            text = f"plan: {fields['files']} files, {fields['bytes']} bytes, {fields['strategy']}: {fields['reason']}"
        case "file":
            states = ", ".join(
                f"{exact_path(each)} {each['state']} ({each['read_back']})" for each in fields["destinations"]
            )
            hashes = "".join(f", {name}:{value}" for name, value in fields["hashes"].items())
            text = f"file: {exact_path(fields)}, {fields['size']} bytes{hashes}: {states}"
        case "left_out":
            text = f"left out: {exact_path(fields)} ({fields['reason']})"
        case "summary":
            level = "INFO" if fields["ok"] else "ERROR"
            states = ", ".join(f"{exact_path(each)} {each['state']}" for each in fields["destinations"])
            text = f"end: exit code {fields['exit_code']}, {fields['elapsed_s']} s: {states}"
        case _:
            return None
    return level, printable(text)


class LogFile:
    """Appends lines to a file. Each is written in one call, so that two runs may share it.

    Args:
        path: of the file; made when it is missing.
        sources: what the run reads, and nobody may change meanwhile.

    Raises:
        UsageError: it cannot be opened, or lies in a source.
    """

    def __init__(self, path: str, sources: Sequence[str] = ()) -> None:
        for source in sources:
            if source != STANDARD_INPUT and _lies_in(path, source):
                raise UsageError(
                    f"{printable(path)}: the log would lie in {printable(source)}, which is being read:"
                    " choose another place, or leave it out with --exclude"
                )
        try:
            # A FIFO that nobody reads is refused, and one whose reader falls asleep ends the log and not the copy.
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | _NO_WAITING, 0o666)
        except OSError as error:
            raise UsageError(f"{printable(path)}: the log cannot be opened: {error.strerror}") from None

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Append the line of one event, if it has one."""
        del now
        found = log_line(fields)
        if found is not None:
            level, text = found
            stamp = fields.get("time") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = f"{stamp} {PROGRAM}[{os.getpid()}] {level} {text}\n".encode("utf-8", "backslashreplace")
            written = os.write(self._fd, line)
            if written < len(line):  # the disk is full; what comes next says so
                os.write(self._fd, line[written:])


def _lies_in(path: str, source: str) -> bool:
    """Whether a path is a source, or below it; judged by names, since a source on a dead disk would hold us."""
    whole = os.path.abspath(source)
    below = os.path.join(whole, "")
    return any(name == whole or name.startswith(below) for name in (os.path.abspath(path), os.path.realpath(path)))


class SystemLog:
    """Sends lines to the system's log.

    Raises:
        UsageError: there is none.
    """

    def __init__(self) -> None:
        try:
            import syslog  # noqa: PLC0415 - not on Windows
        except ImportError:
            raise UsageError("--syslog: this system has no such log") from None
        if sys.platform == "linux" and not os.path.exists(_SYSLOG_SOCKET):
            raise UsageError(f"--syslog: nothing listens at {_SYSLOG_SOCKET} here; --log-file FILE writes the same")
        self._syslog = syslog
        syslog.openlog(PROGRAM, syslog.LOG_PID, syslog.LOG_USER)

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Send the line of one event, if it has one."""
        del now
        found = log_line(fields)
        if found is not None:
            level, text = found
            priorities = {"ERROR": self._syslog.LOG_ERR, "WARNING": self._syslog.LOG_WARNING}
            self._syslog.syslog(priorities.get(level, self._syslog.LOG_INFO), text)
