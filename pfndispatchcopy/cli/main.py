"""The entry of the command."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pfndispatchcopy import __version__
from pfndispatchcopy.cli.streams import Outlet, open_missing_streams

__all__ = ["console", "main"]


def console() -> NoReturn:
    """The console script: run, and end the process with the exit code."""
    exit_code = main(sys.argv[1:])
    # Not sys.exit: nothing is left to be done, and a stream that nobody reads must not hold the command.
    os._exit(exit_code)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; nothing is raised."""
    missing_streams = open_missing_streams()
    if list(arguments) == ["--version"]:  # the parser alone costs as much as the interpreter's start
        return _print(f"pfndispatchcopy {__version__}\n")
    from pfndispatchcopy.cli.processes import start_worker  # noqa: PLC0415 - --version needs none of this

    try:
        worker = start_worker(_serve_checks if "--check" in arguments else _serve)
    except OSError as error:
        _print(f"pfndispatchcopy: error: cannot start the process that copies: {error.strerror}\n", fd=2)
        return 2
    from pfndispatchcopy.cli.arguments import parse  # noqa: PLC0415 - while the worker loads the engine
    from pfndispatchcopy.errors import PfnDispatchCopyError  # noqa: PLC0415

    try:
        request = parse(arguments)
        from pfndispatchcopy.cli.front import run  # noqa: PLC0415

        return run(request, worker, missing_streams)
    except SystemExit as ending:  # --help, --version
        worker.kill()
        sys.stdout.flush()
        return int(ending.code or 0)
    except PfnDispatchCopyError as error:
        worker.kill()
        return _refuse(error, is_json="--json" in arguments)


def _serve(event_fd: int, control_fd: int) -> None:
    from pfndispatchcopy.cli.worker import serve  # noqa: PLC0415 - in the worker only

    serve(event_fd, control_fd)


def _serve_checks(event_fd: int, control_fd: int) -> None:
    import pfndispatchcopy.check.session  # noqa: F401, PLC0415 - 30 ms, while the front reads the arguments

    _serve(event_fd, control_fd)


def _print(text: str, fd: int = 1) -> int:
    out = Outlet(fd)
    out.write(text)
    out.close()
    return 0


def _refuse(error: Exception, *, is_json: bool) -> int:
    """Say in one line why nothing was done."""
    from pfndispatchcopy.cli.jsonlines import encode, refusal_summary  # noqa: PLC0415
    from pfndispatchcopy.errors import ExitCode, RefusedError  # noqa: PLC0415
    from pfndispatchcopy.printable import printable  # noqa: PLC0415

    message = printable(error)
    exit_code = int(getattr(error, "exit_code", ExitCode.FAILED))
    err, out = Outlet(2), Outlet(1)
    err.write(f"pfndispatchcopy: error: {message}\n")
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
