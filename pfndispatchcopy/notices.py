"""What went wrong, in words: where, at which byte, why, in what state things are, and what to do next."""

import errno
import os
import sys
from collections.abc import Iterable

from pfndispatchcopy.errors import PfnDispatchCopyError
from pfndispatchcopy.model import Notice
from pfndispatchcopy.printable import printable

__all__ = [
    "amount",
    "errno_name",
    "failure_notice",
    "note_left_behind",
    "reason_of",
    "refusal_text",
    "similar_to",
    "source_advice",
]

_ADVICE = {
    errno.ENOSPC: "Free some space on this volume and run the same command again.",
    errno.EDQUOT: "The quota is used up: free some of it, or have it raised, and run the same command again.",
    errno.EROFS: "The volume is read-only: check its switch and how it is mounted.",
    errno.EACCES: "Check who may write there.",
    errno.EPERM: "The system forbids it: check who may write there.",
    errno.ENOTDIR: "A file stands where a folder is needed: choose another destination.",
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
# Of a source: there is nothing to be written.
_SOURCE_ADVICE = {
    "EACCES": "Check who may read it",
    "EPERM": "The system forbids it: check who may read it",
    "EIO": "The device reports an error: check its cable, reader and card",
    "ENOENT": "Check the name, and whether the card is mounted",
    "ENOTDIR": "It is a file, or a file stands where a folder is meant",
}
# What macOS keeps from an app, with EPERM, until a person has allowed it.
_GUARDED = ("/Volumes/", "~/Desktop/", "~/Documents/", "~/Downloads/")
_FULL_DISK_ACCESS = (
    "macOS keeps this place from the app that began this (Terminal, or what runs it at night): allow it in System"
    " Settings, Privacy & Security, Full Disk Access, and run the same command again"
)
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


def _is_guarded(path: str) -> bool:
    """Whether macOS may keep a path from an app; from what runs by itself without a word."""
    system: str = sys.platform
    if system != "darwin":
        return False
    whole = os.path.join(os.path.abspath(path), "")
    return any(whole.startswith(os.path.expanduser(each)) for each in _GUARDED)


def source_advice(name: str | None, path: str) -> str:
    """Return what to do about a source that cannot be opened, as a sentence without its full stop; or nothing.

    Args:
        name: of the reason, such as ``EACCES``.
        path: of the source.
    """
    if name == "EPERM" and _is_guarded(path):
        return _FULL_DISK_ACCESS
    return _SOURCE_ADVICE.get(name or "", "")


def similar_to(word: str, known: Iterable[str]) -> str:
    """Return a question for somebody who may have mistyped: ``; did you mean --verify?``, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - 5 ms that no good run needs

    found = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {printable(found[0])}?" if found else ""


def refusal_text(message: str, state: str) -> str:
    """Return the message of a refusal with the state that things are in, unless it tells of that itself.

    Args:
        message: the reason.
        state: such as ``nothing was written``.
    """
    if state in message.lower():
        return message
    if message.endswith((".", "?")) and message[-2:-1].isalpha():  # the name of a folder may be a dot
        return f"{message} {state.capitalize()}"
    return f"{message}; {state}"


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
    if number == errno.EPERM and _is_guarded(path):
        sentences.append(f"{_FULL_DISK_ACCESS}.")
    elif destination is None and number in (errno.EACCES, errno.EPERM):
        sentences.append(f"{source_advice(errno_name(error), path)}.")
    else:
        sentences.append(_RUN_AGAIN if number is None else _ADVICE.get(number, _RUN_AGAIN))
    return Notice(
        message=printable(" ".join(sentence for sentence in sentences if sentence)),
        path=path,
        operation=operation,
        errno=errno_name(error),
        destination=destination,
    )
