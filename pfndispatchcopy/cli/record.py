"""The log of a run: one line an event, to a file or to the system's log."""

import os
import time
from typing import Any

from pfndispatchcopy.cli.jsonlines import exact_path
from pfndispatchcopy.cli.request import PROGRAM
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.printable import printable

__all__ = ["LogFile", "SystemLog", "log_line"]

_LEVELS = {"error": "ERROR", "crash": "ERROR", "warning": "WARNING"}


def log_line(fields: dict[str, Any]) -> tuple[str, str] | None:
    """Return level and text of an event, or None when it is not for a log."""
    level = _LEVELS.get(fields["event"], "INFO")
    match fields["event"]:
        case "error" | "warning" | "crash":
            text = fields["message"]
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
            states = ", ".join(f"{exact_path(each)} {each['state']}" for each in fields["destinations"])
            text = f"end: exit code {fields['exit_code']}, {fields['elapsed_s']} s: {states}"
        case _:
            return None
    return level, printable(text)


class LogFile:
    """Appends lines to a file. Each is written in one call, so that two runs may share it.

    Args:
        path: of the file; made when it is missing.

    Raises:
        UsageError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UsageError(f"{printable(path)}: the log cannot be opened: {error.strerror}") from None

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Append the line of one event, if it has one."""
        del now
        found = log_line(fields)
        if found is not None:
            level, text = found
            stamp = fields.get("time") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = f"{stamp} {PROGRAM}[{os.getpid()}] {level} {text}\n"
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))


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
