"""The process that the shell waits for: it holds the streams and the terminal, and never touches a disk."""

import json
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from pfndispatchcopy.cli.awake import Awake
from pfndispatchcopy.cli.jsonlines import encode, exact_path, refusal_summary
from pfndispatchcopy.cli.processes import WorkerProcess, put_null_on
from pfndispatchcopy.cli.request import PROGRAM, Request
from pfndispatchcopy.cli.streams import WARNING, Outlet
from pfndispatchcopy.cli.text import TextLines
from pfndispatchcopy.errors import ExitCode, RefusedError
from pfndispatchcopy.printable import printable

if TYPE_CHECKING:
    from pfndispatchcopy.cli.reports import Reports

__all__ = ["run"]

# How long a worker that has said its last word may take to end, before the front ends without it.
_WORKER_PATIENCE_S = 2.0
# After a signal, how long the reader of a stream may take.
_READER_PATIENCE_S = 2.0
_READER_POLL_S = 0.1
# timeout(1) sends a signal twice within microseconds; who means it twice, even a script, takes longer than this.
_SAME_SIGNAL_S = 0.1
_INTERNAL = frozenset({"partial", "left_out", "end", "crash", "amended", "sample", "volumes"})


class _Printer(Protocol):
    def event(self, fields: dict[str, Any], now: float) -> None: ...


def run(request: Request, worker: WorkerProcess, missing_streams: frozenset[int]) -> int:
    """Give the worker its request, show what it tells, and return the exit code.

    Raises:
        RefusedError: there is no standard input to read.
        UsageError: a log cannot be opened, or a report cannot be written where it is to be.
    """
    if request.reads_standard_input and 0 in missing_streams:
        raise RefusedError("standard input is closed; nothing was written", path="-", operation="open")
    reports = _reports(request, worker)
    front = _Front(request, worker, _records(request), reports)
    packed = pickle.dumps(request)
    front.give(len(packed).to_bytes(4, "big") + packed)
    if request.reads_standard_input and worker.pid:
        put_null_on(0, os.O_RDONLY)
    awake = None if request.dry_run else Awake()
    try:
        with os.fdopen(worker.event_fd, "rb") as events:
            return front.listen(events)
    finally:
        if awake is not None:
            awake.close()


def _reports(request: Request, worker: WorkerProcess) -> "Reports | None":
    """What writes the reports. A dry run has none, but it, too, is refused where they could not be written."""
    if not request.reports:
        return None
    from pfndispatchcopy.cli.reports import Reports  # noqa: PLC0415 - rarely asked for

    reports = Reports(request, worker)
    return None if request.dry_run else reports


def _records(request: Request) -> list[_Printer]:
    records: list[_Printer] = []
    if request.log_file is not None or request.syslog:
        from pfndispatchcopy.cli.record import LogFile, SystemLog  # noqa: PLC0415 - rarely asked for

        if request.log_file is not None:
            may_be_left_out = bool(request.options.exclude or request.files_from)
            records.append(LogFile(request.log_file, () if may_be_left_out else request.sources))
        if request.syslog:
            records.append(SystemLog())
    return records


class _Front:
    """What the front knows of the run."""

    def __init__(
        self, request: Request, worker: WorkerProcess, records: list[_Printer], reports: "Reports | None"
    ) -> None:
        self._request = request
        self._worker = worker
        self._out, self._err = Outlet(1), Outlet(2)
        self._text = TextLines(request, self._out, self._err)
        self._records = records
        self._reports = reports
        self._progress = self._make_progress()
        self._partials: dict[str, None] = {}
        self._signals = 0
        self._has_given = False
        self._early_signals: list[int] = []
        self._first_signal: tuple[int, float] | None = None
        self._summary: bytes | None = None
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)):
            # What is ignored stays ignored: nohup, and the background jobs of a shell.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def give(self, packed: bytes) -> None:
        """Give the worker its request; the numbers of signals go behind it, and never into the midst of it."""
        self._worker.send(packed)
        self._has_given = True
        for number in self._early_signals:
            self._worker.send(bytes([number]))

    def _make_progress(self) -> Any:
        request = self._request
        if request.progress == "plain":
            from pfndispatchcopy.cli.bars import PlainProgress  # noqa: PLC0415

            return PlainProgress(self._err)
        is_wished = request.progress == "auto" and not (request.verbose or request.quiet or request.dry_run)
        is_terminal = self._err.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        if request.progress == "bar" or (is_wished and is_terminal):
            from pfndispatchcopy.cli.bars import Bars  # noqa: PLC0415

            return Bars(self._err)
        return None

    def listen(self, events: BinaryIO) -> int:
        """Show events until the worker has said its last word; returns the exit code."""
        end: dict[str, Any] | None = None
        for line in events:
            fields = json.loads(line)
            if fields["event"] == "end":
                end = fields
                break
            self._show(fields, line)
        if self._progress is not None and hasattr(self._progress, "close"):
            self._progress.close()
        if end is None:
            end = self._mourn()
        exit_code = int(end["exit_code"])
        self._write_reports()
        self._run_on_finish()
        self._let_read(self._out)
        self._warn_of_lost_output()
        self._let_read(self._err)
        self._dismiss(given_up=end["given_up"])
        return exit_code

    def _let_read(self, outlet: Outlet) -> None:
        """Wait until the reader of a stream has everything; but after a signal not for one who does not read."""
        waited_s = 0.0
        while not outlet.close(_READER_POLL_S) and waited_s < _READER_PATIENCE_S:
            if self._signals:
                waited_s += _READER_POLL_S

    def _show(self, fields: dict[str, Any], line: bytes) -> None:
        now = time.monotonic()
        kind = fields["event"]
        if kind == "partial":
            if fields["exists"]:
                self._partials[exact_path(fields)] = None
            else:
                self._partials.pop(exact_path(fields), None)
            return
        if kind == "summary":
            self._summary = line
        if self._request.json and kind not in _INTERNAL and not (kind == "progress" and self._out.is_behind):
            self._out.write(line.decode("ascii"))
        prints = kind in ("error", "warning", "summary", "crash")
        if prints and self._progress is not None and hasattr(self._progress, "clear"):
            if kind == "summary":
                self._progress.close()
                self._err.settle(_READER_PATIENCE_S)  # or the bars would be taken away with the summary
            else:
                self._progress.clear()
        self._text.event(fields, now)
        self._record(fields, now)
        self._note(fields, now)
        if self._progress is not None:
            self._progress.event(fields, now)

    def _record(self, fields: dict[str, Any], now: float) -> None:
        for record in tuple(self._records):
            try:
                record.event(fields, now)
            except OSError as error:  # a full disk under the log is no reason to stop the copy
                self._records.remove(record)
                self._warn(f"the log ends here, it cannot be written: {error.strerror}")

    def _note(self, fields: dict[str, Any], now: float) -> None:
        """Take note of an event for the reports."""
        if self._reports is None:
            return
        try:
            self._reports.event(fields, now)
        except OSError as error:
            self._reports = None
            self._warn(f"no report is written, its notes cannot be kept: {error.strerror}")

    def _write_reports(self) -> None:
        """Write the reports, before the command that may want to send them."""
        for message in self._reports.write() if self._reports is not None else ():
            self._warn(message)

    def _warn(self, text: str) -> None:
        self._err.write(f"{PROGRAM}: warning: {text}\n", WARNING)

    def _mourn(self) -> dict[str, Any]:
        """The worker ended without its last word: killed, or worse."""
        number = self._worker.wait_signal()
        how = "ended" if number is None else f"killed by signal {number}"
        left = "; ".join(printable(path) for path in self._partials) or "nothing"
        message = (
            f"the process that copies was {how} before it was done; under temporary names is left: {left}."
            " No final name holds an incomplete file. Run the same command again"
        )
        notice = {"message": message, "path": "", "operation": "copy", "errno": None, "destination": None}
        for kind, fields in (
            ("error", notice),
            ("summary", refusal_summary(self._request.destinations, ExitCode.FAILED, message)),
        ):
            line = encode(kind, fields)
            self._show(json.loads(line), line)
        return {"exit_code": ExitCode.FAILED, "given_up": False}

    def _run_on_finish(self) -> None:
        if self._request.on_finish is None or self._summary is None or self._request.dry_run:
            return
        import subprocess  # noqa: PLC0415 - rarely asked for

        try:
            # Standard output belongs to the summary or to the events.
            ended = subprocess.run(  # noqa: S602 - a command is what the user gives here
                self._request.on_finish, shell=True, input=self._summary, stdout=2, check=False
            )
        except OSError as error:
            self._warn(f"the --on-finish command could not be started: {error.strerror}")
            return
        if ended.returncode != 0:
            self._warn(f"the --on-finish command ended with {ended.returncode}")

    def _warn_of_lost_output(self) -> None:
        if self._out.failure is not None and not self._out.is_abandoned:
            reason = self._out.failure.strerror
            self._warn(f"standard output could not be written: {reason}")

    def _dismiss(self, *, given_up: bool) -> None:
        """Wait for the worker to end, but not for one that cannot."""
        if given_up:
            self._worker.kill()
        until = time.monotonic() + (0.0 if given_up else _WORKER_PATIENCE_S)
        while not self._worker.has_ended() and time.monotonic() < until:
            time.sleep(0.002)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._is_same_signal(number, time.monotonic()):
            return
        self._signals += 1
        if self._signals == 1:
            if self._has_given:
                self._worker.send(bytes([number]))
            else:
                self._early_signals.append(number)
            if self._progress is not None and hasattr(self._progress, "clear"):
                self._progress.clear()
            text = f"{signal.Signals(number).name}: stopping at the next chunk"
            if not self._request.quiet:
                self._err.write(f"{PROGRAM}: {text}; once more stops at once\n", WARNING)
            notice = {"message": text, "path": "", "operation": "signal", "errno": None, "destination": None}
            self._record(json.loads(encode("warning", notice)), time.monotonic())
            return
        # At once: no joining of threads, no waiting for streams that nobody reads.
        self._worker.kill()
        left = [printable(path) for path in self._partials]
        words = "left behind: " + "; ".join(left) if left else "no temporary file was left behind"
        if self._request.executor is not None and self._request.executor.startswith(("dask", "mpi")):
            words = "workers elsewhere end with what they have in hand, and the next run removes what they leave"
        with suppress(OSError):
            os.set_blocking(2, False)
            os.write(2, f"{PROGRAM}: stopped at once; {words}\n".encode(sys.getfilesystemencoding(), "replace"))
        os._exit(128 + number)

    def _is_same_signal(self, number: int, now: float) -> bool:
        """Whether this is the first signal once more: timeout(1) and others send it to us, and then to all of us."""
        if self._first_signal is None:
            self._first_signal = (number, now)
            return False
        first, at = self._first_signal
        return self._signals == 1 and first == number and now - at < _SAME_SIGNAL_S
