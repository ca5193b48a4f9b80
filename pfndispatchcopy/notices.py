"""What went wrong, in words: where, at which byte, why, in what state things are, and what to do next."""

import errno
import os

from pfndispatchcopy.errors import PfnDispatchCopyError
from pfndispatchcopy.model import Notice
from pfndispatchcopy.printable import printable

__all__ = ["amount", "errno_name", "failure_notice", "note_left_behind", "reason_of"]

_ADVICE = {
    errno.ENOSPC: "Free some space on this volume and run the same command again.",
    errno.EDQUOT: "The quota is used up: free some of it, or have it raised, and run the same command again.",
    errno.EROFS: "The volume is read-only: check its switch and how it is mounted.",
    errno.EACCES: "Check who may write there.",
    errno.EPERM: "The system forbids it: check who may write there, and on macOS the app's Full Disk Access.",
    errno.EFBIG: "The file system or a limit does not take files of this size: use another volume.",
    errno.EIO: "The device reports an error: do not trust it before its cable, reader and disk were checked.",
    errno.ENODEV: "The device is gone: connect it and run the same command again.",
    errno.ENXIO: "The device is gone: connect it and run the same command again.",
    errno.ENOTCONN: "The volume is gone: connect it and run the same command again.",
    errno.ESTALE: "Check what is mounted there and run the same command again.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENAMETOOLONG: "The file system there does not take so long a name.",
    errno.EILSEQ: "The file system there does not take this name.",
}
_RUN_AGAIN = "Run the same command again once the cause is mended."


def errno_name(error: BaseException | None) -> str | None:
    """Return the system's name for an error's reason, such as ``ENOSPC``; None when it has none."""
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number) if isinstance(number, int) else None


def reason_of(error: BaseException) -> str:
    """Return in words why something failed: the system's own text, or what the package says."""
    if isinstance(error, OSError) and error.errno is not None:
        name = errno_name(error)
        text = error.strerror or os.strerror(error.errno)
        return f"{text} ({name})" if name else text
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, PfnDispatchCopyError):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}"


def amount(count: int) -> str:
    """Return a number of bytes for people: ``812 bytes``, ``7.3 MB`` (10^6 bytes)."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def note_left_behind(error: BaseException, failure: OSError, path: str) -> None:
    """Let an error know that a temporary name was left, since it could not be removed either."""
    error.add_note(f"Left behind, because it could not be removed ({reason_of(failure)}): {path}.")


def failure_notice(
    error: BaseException,
    *,
    path: str,
    operation: str,
    destination: str | None = None,
    offset: int | None = None,
    size: int | None = None,
    aftermath: str = "",
) -> Notice:
    """Put a failure into words.

    Args:
        error: what was raised.
        path: what it is about.
        operation: what was being done.
        destination: the destination it concerns, as the caller spelled it.
        offset: the byte at which it happened.
        size: of the whole file in bytes, where known.
        aftermath: what is left, as a sentence; what the error itself has noted of that is said instead.
    """
    aftermath = " ".join(getattr(error, "__notes__", ())) or aftermath
    place = f" at byte {offset}" if offset is not None else ""
    sentences = [f"{path}: {operation} failed{place}: {reason_of(error)}."]
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) and offset is not None and size is not None:
        sentences.append(f"{amount(size - offset)} more are needed.")
    sentences.append(aftermath)
    sentences.append(_RUN_AGAIN if number is None else _ADVICE.get(number, _RUN_AGAIN))
    return Notice(
        message=printable(" ".join(sentence for sentence in sentences if sentence)),
        path=path,
        operation=operation,
        errno=errno_name(error),
        destination=destination,
    )
