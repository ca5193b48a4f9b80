"""Where a report goes: looked at before anything is copied, and written at the end, whole or not at all.

A report does no harm to what is there: it is not written into a source, nor among the copies, whose lists do not
know it, nor over a file that is no report.
"""

import importlib.util
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.fileio.partial import PartialFile
from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import STANDARD_INPUT, Identity
from pfndispatchcopy.notices import reason_of
from pfndispatchcopy.printable import printable

if TYPE_CHECKING:
    from pfndispatchcopy.report.contents import Contents

__all__ = ["Errand", "ReportPlace", "find_place", "read_contents", "write_report"]

_BLOCK = 1 << 20
# How a report of each kind begins, so that nothing else is taken for one.
_BEGINNINGS = {
    ".html": b'<meta name="generator" content="pfndispatchcopy',
    ".json": b'{"program":"pfndispatchcopy","report":',
    ".csv": b"path,path_base64,size,",
}
_BEGINNING_SIZE = 400


class Errand(NamedTuple):
    """What a run is about, as far as the place of its report matters.

    Attributes:
        sources, destinations: as spelled.
        is_check: whether the sources are lists to be checked, or folders with some.
        log_file: that lines are appended to, or None.
    """

    sources: Sequence[str]
    destinations: Sequence[str]
    is_check: bool = False
    log_file: str | None = None


class ReportPlace(NamedTuple):
    """Where a report goes.

    Attributes:
        label: as spelled.
        folder: path of its folder.
        name: of the file.
        identity: of the folder; None where the run itself will make it.
    """

    label: str
    folder: str
    name: str
    identity: Identity | None

    @property
    def suffix(self) -> str:
        """Which kind of report it is."""
        return os.path.splitext(self.name)[1].lower()


def find_place(system: System, label: str, errand: Errand) -> ReportPlace:
    """Look at the place of a report, without writing anything.

    Args:
        system: the calls.
        label: path of the report, as spelled.
        errand: what the run is about.

    Raises:
        UsageError: no report can be written there, or it would do harm.
    """
    folder, name = os.path.dirname(label) or os.curdir, os.path.basename(label)
    if os.path.splitext(name)[1].lower() == ".html" and importlib.util.find_spec("jinja2") is None:
        raise _refusal(label, "a page needs jinja2, which is not installed: pip install 'pfndispatchcopy[report]'")
    identity: Identity | None = None
    try:
        status = system.status(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not any(_will_be_made(system, folder, each) for each in errand.destinations if not errand.is_check):
            raise _refusal(label, f"there is no folder {printable(folder)}") from error
    except OSError as error:
        raise _refusal(label, f"its folder cannot be looked at: {reason_of(error)}") from error
    else:
        if not stat.S_ISDIR(status.st_mode):
            raise _refusal(label, f"{printable(folder)} is no folder")
        identity = Identity(status.st_dev, status.st_ino)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _refusal(label, f"nothing can be written into the folder {printable(folder)}")
    _require_report_or_nothing(label)
    _require_outside(system, label, errand)
    return ReportPlace(label, folder, name, identity)


def _refusal(label: str, reason: str) -> UsageError:
    return UsageError(f"--report {printable(label)}: {reason}")


def _will_be_made(system: System, folder: str, destination: str) -> bool:
    """Whether a folder is a destination, or above one, and so will be there when the report is written."""
    wanted, made = system.real_path(folder), system.real_path(destination)
    return os.path.commonpath([wanted, made]) == wanted


def _require_report_or_nothing(label: str) -> None:
    """Refuse a name that something else has: a report takes the place of an older one, and of nothing else.

    Raises:
        UsageError: something else has it.
    """
    try:
        status = os.lstat(label)
        if stat.S_ISLNK(status.st_mode):
            raise _refusal(label, "is a symbolic link: name the file itself")
        if not stat.S_ISREG(status.st_mode):
            raise _refusal(label, "there is something else than a file")
        with open(label, "rb") as file:
            beginning = file.read(_BEGINNING_SIZE)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _refusal(label, f"what is there cannot be looked at: {reason_of(error)}") from error
    if beginning and _BEGINNINGS[os.path.splitext(label)[1].lower()] not in beginning:
        raise _refusal(label, "there is a file already that is no report of this kind: it was left as it is")


def _require_outside(system: System, label: str, errand: Errand) -> None:
    """Refuse a place in a source, among copies, or of a file that the run itself reads or writes."""
    path = _real(system, label)
    if errand.log_file is not None and _real(system, errand.log_file) == path:
        raise _refusal(label, "is the log, too")
    for source in errand.sources:
        if source == STANDARD_INPUT:
            continue
        top = _real(system, source)
        is_folder = os.path.isdir(source)
        if errand.is_check and not is_folder and not _is_of_one_file(source):
            top, is_folder = os.path.dirname(top), True
        if path == top or (is_folder and _is_within(system, path, top)):
            what = "it would be a file that no list knows" if errand.is_check else "a source is never written to"
            raise _refusal(label, f"is inside {printable(source)}, and {what}: put it elsewhere")
    if errand.is_check:
        return
    for destination in errand.destinations:
        for source in errand.sources:
            top = _copy_of(system, source, destination)
            if path == top or (os.path.isdir(source) and _is_within(system, path, top)):
                raise _refusal(
                    label,
                    f"is inside the copy {printable(top)}, where no list would know it: put it beside the copy",
                )


def _real(system: System, path: str) -> str:
    """A path without links, but for its last name."""
    return os.path.join(system.real_path(os.path.dirname(path) or os.curdir), os.path.basename(path))


def _is_of_one_file(path: str) -> bool:
    """Whether a list is that of the one file beside it, ``clip.mov.md5``: others of its folder mean nothing to it."""
    return os.path.isfile(os.path.splitext(path)[0])


def _is_within(system: System, path: str, top: str) -> bool:
    """Whether a file lies in a folder, however both are spelled."""
    top = system.real_path(top)
    try:
        wanted = system.status(top)
    except OSError:
        return os.path.commonpath([path, top]) == top
    folder = os.path.dirname(path)
    while True:
        with suppress(OSError):
            status = system.status(folder)
            if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
        above = os.path.dirname(folder)
        if above == folder:
            return False
        folder = above


def _copy_of(system: System, source: str, destination: str) -> str:
    """Where the copy of a source will be."""
    separators = "".join(each for each in (os.sep, os.altsep) if each)
    name = os.path.basename(source.rstrip(separators))
    if os.path.isdir(source):
        is_content = source[-1] in separators or name in ("", os.curdir, os.pardir)
        return system.real_path(destination if is_content else os.path.join(destination, name))
    is_folder = destination[-1:] in separators or os.path.isdir(destination)
    return _real(system, os.path.join(destination, name) if is_folder else destination)


# -- writing ----------------------------------------------------------------------------------------------


def read_contents(spool: BinaryIO, beat: Callable[[], None]) -> "Contents":
    """Read the notes of a run, once for all its reports.

    Args:
        spool: where they are.
        beat: called now and then, for whoever watches.

    Raises:
        OSError, ValueError: they are damaged.
    """
    from pfndispatchcopy.report.contents import Contents  # noqa: PLC0415 - while the run goes on, nobody needs it

    return Contents(spool, beat)


def write_report(system: System, place: ReportPlace, contents: "Contents", beat: Callable[[], None]) -> None:
    """Write a report to a temporary name, flush it, and give it its name.

    Args:
        system: the calls.
        place: where it goes.
        contents: what it says.
        beat: called after each operation, for whoever watches.

    Raises:
        OSError: it cannot be written; what had the name is as it was.
        UsageError: something else has the name by now.
    """
    folder = system.open_folder(place.folder)
    try:
        if place.identity is not None and folder.identity != place.identity:
            raise UsageError("its folder is not the one that was there at the beginning: was the volume unmounted?")
        _require_report_or_nothing(place.label)
        _write(system, folder, place, _pieces(place, contents), beat)
    finally:
        system.close_folder(folder)


def _write(
    system: System, folder: FolderHandle, place: ReportPlace, pieces: Iterable[bytes], beat: Callable[[], None]
) -> None:
    partial = PartialFile.create(system, folder, place.name)
    try:
        system.set_mode(partial.write_fd, system.default_mode())
        for block in _blocks(pieces):
            partial.write(memoryview(block))
            beat()
        partial.require_size(partial.bytes_written)
        is_memory = system.mount(folder.path).filesystem in MEMORY_FILESYSTEMS
        if not is_memory:
            partial.flush()
        beat()
        partial.commit(place.name, replace=_exists(system, folder, place.name))
    except BaseException as error:
        partial.discard_after(error)
        raise
    if not is_memory:
        system.flush_folder(folder)


def _exists(system: System, folder: FolderHandle, name: str) -> bool:
    try:
        system.status_of_name(folder, name)
    except FileNotFoundError:
        return False
    return True


def _pieces(place: ReportPlace, contents: "Contents") -> Iterator[bytes]:
    if place.suffix == ".json":
        from pfndispatchcopy.report.json_report import json_report  # noqa: PLC0415 - one of three is needed

        return json_report(contents)
    if place.suffix == ".csv":
        from pfndispatchcopy.report.csv_report import csv_report  # noqa: PLC0415

        return csv_report(contents)
    from pfndispatchcopy.report.html_report import html_report  # noqa: PLC0415 - jinja2 is an extra

    return html_report(contents)


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytearray]:
    """Pieces of any size, put together to what is worth a call."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _BLOCK:
            yield block
            block = bytearray()
    yield block
