"""Reports in the command: noted by the front, written by a process of their own.

A volume may hang in the kernel while a report is written to it, as a destination may. So a third process looks at
the places before anything is copied, waits, and writes at the end; the front gives it up when nothing is heard
from it for as long as a destination may be silent.
"""

import json
import os
import select
import shlex
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from pfndispatchcopy.cli.processes import WorkerProcess, put_null_on, start_worker
from pfndispatchcopy.cli.request import PROGRAM, Request
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.notices import reason_of
from pfndispatchcopy.printable import printable
from pfndispatchcopy.report.notes import Notes
from pfndispatchcopy.report.writing import Errand, ReportPlace, find_place, read_contents, write_report

if TYPE_CHECKING:
    from pfndispatchcopy.report.contents import Contents

__all__ = ["Reports"]

_WRITE = b"w"
# What is killed ends at once, or hangs in the kernel and may never end.
_ENDING_S = 0.2
# What is nobody's business who gets a report: such a command may hold a password.
_PRIVATE = "--on-finish"


class Reports:
    """The reports of a run.

    Args:
        request: what was asked for.
        worker: the process that copies; the ends of its pipes are not for the process that writes reports.

    Raises:
        UsageError: a report cannot be written where it is to be.
    """

    def __init__(self, request: Request, worker: WorkerProcess) -> None:
        self._patience_s = request.options.stall_timeout_s or None
        self._labels = request.reports
        is_list = request.files_from is not None
        not_theirs = (worker.event_fd, worker.control_fd)
        try:
            self._spool: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the run
            serve = partial(_serve, request, self._spool.fileno(), os.getpid(), not_theirs)
            self._process = start_worker(serve)
        except OSError as error:
            raise UsageError(f"--report: no room for notes, or no process to write it: {reason_of(error)}") from None
        self._notes = Notes(self._spool, _command(request), is_check=request.check, is_list=is_list)
        self._answers = _Answers(self._process.event_fd)
        refusal = next(filter(None, map(self._ask, request.reports)), None)
        if refusal is not None or request.dry_run:
            self.close()
        if refusal is not None:
            raise UsageError(refusal)

    def _ask(self, label: str) -> str | None:
        """Why a report cannot be written, if so."""
        answer = self._answers.next(self._patience_s)
        if answer is None:
            return f"--report {printable(label)}: its place cannot be looked at: nothing answers there"
        refusal: str | None = answer.get("refused")
        return refusal

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Take note of one event.

        Raises:
            OSError: the notes cannot be kept.
        """
        self._notes.event(fields, now)

    def write(self) -> list[str]:
        """Write them all, and return what went wrong, in words."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            self._notes.close(stamp)
        except OSError as error:
            self._process.kill()
            return [self._unwritten(label, f"there is no room for notes: {reason_of(error)}") for label in self._labels]
        self._process.send(_WRITE)
        wrong: list[str] = []
        for label in self._labels:
            answer = self._answers.next(self._patience_s)
            if answer is None:
                self._process.kill()
                rest = self._labels[self._labels.index(label) :]
                return wrong + [self._unwritten(each, "nothing answers there") for each in rest]
            if "failed" in answer:
                wrong.append(self._unwritten(label, answer["failed"]))
        return wrong

    def close(self) -> None:
        """End the process, whatever it is doing, and let go of the notes."""
        if self._spool.closed:
            return
        self._process.kill()
        self._spool.close()
        os.close(self._process.event_fd)
        os.close(self._process.control_fd)
        until = time.monotonic() + _ENDING_S
        while not self._process.has_ended() and time.monotonic() < until:
            time.sleep(0.001)

    def _unwritten(self, label: str, reason: str) -> str:
        return f"the report {printable(label)} was not written: {reason}"


class _Answers:
    """The pipe from the process that writes: lines of JSON."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def next(self, patience_s: float | None) -> dict[str, Any] | None:
        """The next answer; None when there is none for so long, or will never be one."""
        while True:
            line, separator, rest = self._data.partition(b"\n")
            if not separator:
                # Windows waits for no pipe; there the process is a thread.
                if os.name == "posix" and not select.select([self._fd], [], [], patience_s)[0]:
                    return None
                more = os.read(self._fd, 65536)
                if not more:
                    return None
                self._data += more
                continue
            self._data = rest
            answer: dict[str, Any] = json.loads(line)
            if answer:  # an empty one says: I am still at it
                return answer


def _command(request: Request) -> str:
    """The command line, as a shell would take it."""
    words = [PROGRAM]
    for word in request.arguments:
        if words[-1] == _PRIVATE:
            words.append("…")
        else:
            words.append(f"{_PRIVATE}=…" if word.startswith(f"{_PRIVATE}=") else word)
    return shlex.join(words)


def _serve(
    request: Request, spool_fd: int, front: int, not_ours: Sequence[int], event_fd: int, control_fd: int
) -> None:
    """Look at the places, wait, and write."""
    if os.getpid() != front:  # else this is a thread of the front, and they are its own
        for fd in not_ours:
            os.close(fd)
        put_null_on(0, os.O_RDONLY)

    def say(**answer: str) -> None:
        with suppress(BrokenPipeError):
            os.write(event_fd, json.dumps(answer).encode("ascii") + b"\n")

    system = native_system()
    errand = Errand(request.sources, request.destinations, request.check, request.log_file)
    places: list[ReportPlace] = []
    for label in request.reports:
        try:
            places.append(find_place(system, label, errand))
        except UsageError as error:
            say(refused=str(error))
            return
        say(good=label)
    if os.read(control_fd, 1) != _WRITE:
        return
    contents: Contents | None = None
    with os.fdopen(os.dup(spool_fd), "rb") as spool:
        for place in places:
            try:
                contents = contents or read_contents(spool, say)
                write_report(system, place, contents, say)
            except Exception as error:  # noqa: BLE001 - whatever it is, the front has to know, and the next one is due
                say(failed=printable(reason_of(error)))
            else:
                say(written=place.label)
