"""The entry of the command."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from pfndispatchcopy import __version__
from pfndispatchcopy.cli.streams import ERROR, Outlet, open_missing_streams, say

if TYPE_CHECKING:
    from pfndispatchcopy.cli.processes import WorkerProcess

__all__ = ["console", "main"]

_LACKING = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN})


def console() -> NoReturn:
    """The console script: run, and end the process with the exit code."""
    # Until the front has an answer of its own, an interrupt ends the process; Python would print where it was.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _read_names_as_utf8()
    exit_code = main(sys.argv[1:])
    if "mpi4py.MPI" in sys.modules:
        sys.exit(exit_code)  # MPI ends its other ranks when Python ends
    # Not sys.exit: nothing is left to be done, and a stream that nobody reads must not hold the command.
    os._exit(exit_code)


def _read_names_as_utf8() -> None:
    """Begin anew where the locale has Python take names for something else than UTF-8, as lists and JSON have them.

    Mostly it does not, and in the locale POSIX not even without one; where it was told to, the name of a file that a
    list has could not be opened.
    """
    if os.name != "posix" or sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode or not sys.executable:
        return
    # What is printed stays in the encoding of the terminal.
    encoding = getattr(sys.stdout or sys.stderr, "encoding", None) or "utf-8"
    environment = {"PYTHONIOENCODING": encoding, **os.environ}
    again = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, again, environment)  # noqa: S606 - this very command


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; nothing is raised."""
    missing_streams = open_missing_streams()
    if list(arguments) == ["--version"]:  # the parser alone costs as much as the interpreter's start
        failure = say(f"pfndispatchcopy {__version__}\n")
        if failure is None:
            return 0
        say(f"pfndispatchcopy: error: standard output could not be written: {failure.strerror}\n", fd=2)
        return 2
    worker: WorkerProcess | None = None
    try:
        from pfndispatchcopy.cli.processes import start_worker  # noqa: PLC0415 - --version needs none of this

        try:
            worker = start_worker(_serve_checks if "--check" in arguments else _serve)
        except OSError as error:
            say(f"pfndispatchcopy: error: cannot start the process that copies: {error.strerror}\n", fd=2)
            return 2
        return _run(arguments, worker, missing_streams)
    except Exception as error:  # noqa: BLE001 - the last place where it can still be told
        if worker is not None:
            worker.kill()
        return _break_down(error)


def _run(arguments: Sequence[str], worker: "WorkerProcess", missing_streams: frozenset[int]) -> int:
    from pfndispatchcopy.cli.arguments import parse  # noqa: PLC0415 - while the worker loads the engine
    from pfndispatchcopy.errors import PfnDispatchCopyError  # noqa: PLC0415

    try:
        request = parse(arguments)
        from pfndispatchcopy.cli.front import run  # noqa: PLC0415

        return run(request, worker, missing_streams)
    except SystemExit as ending:  # --help, --version
        worker.kill()
        return int(ending.code or 0)
    except PfnDispatchCopyError as error:
        worker.kill()
        return _refuse(error, is_json="--json" in arguments, is_check="--check" in arguments)


def _serve(event_fd: int, control_fd: int) -> None:
    from pfndispatchcopy.cli.worker import serve  # noqa: PLC0415 - in the worker only

    serve(event_fd, control_fd)


def _serve_checks(event_fd: int, control_fd: int) -> None:
    import pfndispatchcopy.check.session  # noqa: F401, PLC0415 - 30 ms, while the front reads the arguments

    _serve(event_fd, control_fd)


def _refuse(error: Exception, *, is_json: bool, is_check: bool) -> int:
    """Say in one line why nothing was done."""
    from pfndispatchcopy.cli.jsonlines import encode, refusal_summary  # noqa: PLC0415
    from pfndispatchcopy.errors import ExitCode, RefusedError  # noqa: PLC0415
    from pfndispatchcopy.notices import refusal_text  # noqa: PLC0415
    from pfndispatchcopy.printable import printable  # noqa: PLC0415

    message = refusal_text(printable(error), "nothing was checked" if is_check else "nothing was written")
    exit_code = int(getattr(error, "exit_code", ExitCode.FAILED))
    err, out = Outlet(2), Outlet(1)
    err.write(f"pfndispatchcopy: error: {message}\n", ERROR)
    if is_json:
        notice = {
            "message": message,
            "path": error.path if isinstance(error, RefusedError) else "",
            "operation": error.operation if isinstance(error, RefusedError) else "options",
            "errno": error.errno if isinstance(error, RefusedError) else None,
            "destination": None,
        }
        out.write(encode("error", notice).decode("ascii"))
        out.write(encode("summary", refusal_summary([], exit_code, message)).decode("ascii"))
    err.close()
    out.close()
    return exit_code


def _break_down(error: Exception) -> int:
    """Say that the command itself cannot go on; with the trace, unless the system lacks what it needs to begin."""
    lines = [f"pfndispatchcopy: internal error: {error!r}"]
    # What is missing here may be a module's file that could not be opened any more.
    if isinstance(error, MemoryError | ImportError) or getattr(error, "errno", None) in _LACKING:
        lines = [f"pfndispatchcopy: error: there is not enough memory, or too few files may be open: {error}"]
    else:
        import traceback  # noqa: PLC0415 - 5 ms that no good run needs

        lines += "".join(traceback.format_exception(error)).splitlines()
    say("".join(f"{_safe(line)}\n" for line in lines), fd=2)
    return 1


def _safe(line: str) -> str:
    try:
        from pfndispatchcopy.printable import printable  # noqa: PLC0415
    except (MemoryError, ImportError, OSError):
        return ascii(line)[1:-1]
    return printable(line)
