"""The exceptions of the package, each with the exit code that it ends the command with.

Failures of one destination or of one file are not exceptions for the caller: they are data
in the result (:class:`pfndispatchcopy.model.Failure`). What is raised means that nothing was
written (:class:`UsageError`, :class:`RefusedError`) or that the program itself failed.
"""

from enum import IntEnum

__all__ = [
    "ConflictError",
    "ExitCode",
    "IncompleteStreamError",
    "LockedError",
    "MismatchError",
    "NoThreadError",
    "OperationCancelledError",
    "PfnDispatchCopyError",
    "RefusedError",
    "SourceChangedError",
    "StalledError",
    "UsageError",
]


class ExitCode(IntEnum):
    """What the command ends with. A signal ends it with 128 + its number."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    PARTIAL = 3
    MISMATCH = 4


class PfnDispatchCopyError(Exception):
    """Anything that the package raises on purpose.

    Attributes:
        exit_code: what the command ends with when this is what went wrong.
    """

    exit_code: ExitCode = ExitCode.FAILED


class UsageError(PfnDispatchCopyError):
    """Arguments or options that cannot be used; nothing was touched."""

    exit_code = ExitCode.REFUSED


class RefusedError(PfnDispatchCopyError):
    """The plan was refused before anything was written.

    Attributes:
        path: what the refusal is about, as the caller spelled it.
        operation: what was being looked at, such as ``open`` or ``space``.
        errno: the system's name for the reason, such as ``EACCES``, or None.
    """

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, *, path: str = "", operation: str = "plan", errno: str | None = None):
        super().__init__(message)
        self.path = path
        self.operation = operation
        self.errno = errno


class LockedError(PfnDispatchCopyError):
    """Another run is writing the same file."""

    exit_code = ExitCode.REFUSED


class NoThreadError(PfnDispatchCopyError, RuntimeError):
    """The system has no thread left to give: a limit of processes, or of memory."""


class OperationCancelledError(PfnDispatchCopyError):
    """The caller cancelled; what was unfinished has been removed."""


# -- failures of one destination or of the source: raised and captured inside, data for the caller ------


class ConflictError(PfnDispatchCopyError):
    """Something else is there already, and the rule is to leave it alone."""


class MismatchError(PfnDispatchCopyError):
    """What was read back is not what was read from the source."""


class StalledError(PfnDispatchCopyError):
    """An operation did not finish within the stall time-out."""


class IncompleteStreamError(PfnDispatchCopyError):
    """The stream of chunks ended, and nobody said that it was whole."""


class SourceChangedError(PfnDispatchCopyError):
    """The source is not the file any more that it was when it was opened."""
