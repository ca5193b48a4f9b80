"""The process that copies. It holds no terminal and no stream that somebody else reads.

It talks to the front in JSON lines over one pipe, and listens to it over another: a byte is the number
of a signal that asks it to stop; the end of the pipe means that the front is dead, and then so is this.
"""

import os
import pickle
import threading
from io import RawIOBase
from typing import TYPE_CHECKING, Any

from pfndispatchcopy.cli.jsonlines import (
    check_summary_fields,
    encode,
    event_fields,
    path_fields,
    refusal_summary,
    report_fields,
    start_fields,
    summary_fields,
    tree_summary_fields,
)
from pfndispatchcopy.cli.processes import is_started_by_mpi, put_null_on
from pfndispatchcopy.cli.request import Request
from pfndispatchcopy.errors import ExitCode, PfnDispatchCopyError, RefusedError
from pfndispatchcopy.events import AmendedEvent, Event
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.model import CheckResult, CopyResult, TreeResult
from pfndispatchcopy.notices import reason_of, refusal_text, similar_to, source_advice
from pfndispatchcopy.nursery import Nursery
from pfndispatchcopy.offload import prepare_offload
from pfndispatchcopy.printable import printable

if TYPE_CHECKING:
    from pfndispatchcopy.check.session import Check
    from pfndispatchcopy.session import Offload
    from pfndispatchcopy.tree.session import TreeOffload

__all__ = ["END", "serve"]

# The last line, between the two processes only.
END = "end"


class _Line:
    """The pipe to the front.

    Args:
        fd: of the pipe.
        for_reports: whether what only a report wants to know is sent as well.
    """

    def __init__(self, fd: int, *, for_reports: bool = False) -> None:
        self._fd = fd
        self._for_reports = for_reports
        self._lock = threading.Lock()

    def send(self, event: str, fields: dict[str, Any]) -> None:
        """Send one event whole. A front that has gone hears nothing; the control pipe deals with that."""
        data = memoryview(encode(event, fields))
        with self._lock:
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except BrokenPipeError:
                    return

    def observe(self, event: Event) -> None:
        """An observer that sends everything; what only reports want to know, only for them."""
        if isinstance(event, AmendedEvent) and not self._for_reports:
            return
        self.send(*event_fields(event))
        more = report_fields(event) if self._for_reports else None
        if more is not None:
            self.send(*more)


class _Control:
    """The pipe from the front."""

    def __init__(self, fd: int) -> None:
        self.cancel = threading.Event()
        self.signal_number: int | None = None
        self._fd = fd
        threading.Thread(target=self._listen, name="pfn-control", daemon=True).start()

    def _listen(self) -> None:
        while order := os.read(self._fd, 1):
            self.signal_number = order[0]
            self.cancel.set()
        os._exit(ExitCode.FAILED)


def serve(event_fd: int, control_fd: int) -> None:
    """Wait for the request, and run it. A front that has none closes the pipe."""
    with os.fdopen(os.dup(control_fd), "rb", buffering=0) as pipe:
        size = int.from_bytes(_read_exactly(pipe, 4), "big")
        packed = _read_exactly(pipe, size)
    if not packed:
        return
    # Not from strangers: the bytes come from the process that this one was forked from.
    request: Request = pickle.loads(packed)  # noqa: S301
    nursery = None
    if not request.reads_standard_input:
        put_null_on(0, os.O_RDONLY)
        # Before there is any thread; an engine that has processes of its own needs none of ours.
        if not request.dry_run and request.executor in (None, "processes") and not is_started_by_mpi():
            preparing, on_cancel = _prepare_workers, _cancel_everything
            if request.check:
                preparing, on_cancel = _prepare_checkers, _cancel_checks
            nursery = Nursery.open(on_cancel, closing=(event_fd, control_fd), preparing=preparing)
    line = _Line(event_fd, for_reports=bool(request.reports))
    try:
        control = _Control(control_fd)
    except RuntimeError as error:
        reason = f"the system has no thread left: {error}; nothing was written"
        refuse(line, request, RefusedError(reason, operation="limits"), ExitCode.REFUSED)
        line.send(END, {"exit_code": int(ExitCode.REFUSED), "given_up": False})
        return
    work(request, line, control, nursery)


def _prepare_workers() -> None:
    """Load, in the nursery, what its workers will need, while this process looks at the sources."""
    import pfndispatchcopy.engine.workplace  # noqa: F401, PLC0415


def _cancel_everything() -> None:
    from pfndispatchcopy.engine.workplace import cancel_everything  # noqa: PLC0415 - loaded in the nursery by now

    cancel_everything()


def _prepare_checkers() -> None:
    import pfndispatchcopy.check.verify  # noqa: F401, PLC0415


def _cancel_checks() -> None:
    from pfndispatchcopy.check.verify import cancel_everything  # noqa: PLC0415

    cancel_everything()


def _read_exactly(pipe: RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := pipe.read(size - len(data))):
        data += more
    return data if len(data) == size else b""


def work(request: Request, line: "_Line", control: "_Control", nursery: Nursery | None) -> None:
    """Run *request*, and tell the front how it went; always ends with an ``end`` line."""
    offload: Offload | TreeOffload | Check | None = None
    exit_code: int = ExitCode.FAILED
    try:
        line.send("start", start_fields(request))
        offload = _prepare(request, line, control, nursery)
        result = offload.run(dry_run=request.dry_run)
        exit_code = result.exit_code
        if control.signal_number is not None:
            exit_code = 128 + control.signal_number
        line.send("summary", _summary_of(result, exit_code, dry_run=request.dry_run))
    except (PfnDispatchCopyError, MemoryError) as error:
        exit_code = getattr(error, "exit_code", ExitCode.FAILED) if offload is not None else ExitCode.REFUSED
        if control.signal_number is not None:
            exit_code = 128 + control.signal_number
        refuse(line, request, error, exit_code)
    except Exception as error:  # noqa: BLE001 - the last place where it can still be told
        import traceback  # noqa: PLC0415 - 5 ms that no good run needs

        trace = "".join(traceback.format_exception(error))
        line.send("crash", {"message": printable(repr(error)), "trace": trace})
        line.send("summary", refusal_summary(request.destinations, exit_code, printable(repr(error))))
    given_up = offload is not None and offload.has_given_up
    line.send(END, {"exit_code": int(exit_code), "given_up": given_up})


def _prepare(
    request: Request, line: _Line, control: _Control, nursery: Nursery | None
) -> "Offload | TreeOffload | Check":
    """Return what is to be run."""
    system = native_system()
    tells_files = (
        request.json or request.verbose or request.syslog or request.log_file is not None or bool(request.reports)
    )
    if request.check:
        from pfndispatchcopy.check.session import Check  # noqa: PLC0415 - what copies does not need it

        return Check(
            request.sources,
            request.options,
            observer=line.observe,
            cancel=control.cancel,
            system=system,
            nursery=nursery,
            tells_files=tells_files,
        )
    return prepare_offload(
        request.sources,
        request.destinations,
        request.options,
        observer=line.observe,
        cancel=control.cancel,
        system=system,
        files_from=request.files_from,
        executor=request.executor,
        nursery=nursery,
        tells_files=tells_files,
    )


def _summary_of(result: CopyResult | TreeResult | CheckResult, exit_code: int, *, dry_run: bool) -> dict[str, Any]:
    if isinstance(result, CheckResult):
        return check_summary_fields(result, exit_code, dry_run=dry_run)
    if isinstance(result, TreeResult):
        return tree_summary_fields(result, exit_code, dry_run=dry_run)
    return summary_fields(result, exit_code, dry_run=dry_run)


def refuse(line: _Line, request: Request, error: PfnDispatchCopyError | MemoryError, exit_code: int) -> None:
    """Tell of a refusal: an error event and a summary."""
    message = printable(reason_of(error))
    refusal = error if isinstance(error, RefusedError) else RefusedError(message, operation="options")
    path = refusal.path
    if path and printable(path) not in message:
        message = f"{printable(path)}: {message}"
    if path in request.sources:
        message = _advised(message, refusal.errno, path)
    if isinstance(error, PfnDispatchCopyError) and error.exit_code is ExitCode.REFUSED:
        message = refusal_text(message, "nothing was checked" if request.check else "nothing was written")
    fields = {
        "message": message,
        **path_fields(path),
        "operation": refusal.operation,
        "errno": refusal.errno,
        "destination": None,
    }
    line.send("error", fields)
    line.send("summary", refusal_summary(request.destinations, exit_code, message))


def _advised(message: str, reason: str | None, path: str) -> str:
    """Add to a message what to do about a source that cannot be opened."""
    if reason == "ENOENT":
        try:
            names = os.listdir(os.path.dirname(path.rstrip(os.sep)) or os.curdir)
        except OSError:
            names = []
        if similar := similar_to(os.path.basename(path.rstrip(os.sep)), names):
            return f"{message}{similar}"
    advice = source_advice(reason, path)
    return f"{message}. {advice}" if advice else message
