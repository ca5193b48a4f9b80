"""Finding out about a destination without writing anything: one destination at a time, in its own lane."""

import errno
import os
import stat

from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.fileio.folders import split_at_existing
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.model import STANDARD_INPUT, Identity
from pfndispatchcopy.plan import Destination
from pfndispatchcopy.printable import printable

__all__ = ["examine", "folder_identity"]


def examine(system: System, number: int, label: str, source_path: str) -> Destination:
    """Look at one destination.

    Args:
        system: the calls.
        number: its place on the command line.
        label: the destination as the caller spelled it: an existing folder, or a path that ends in a
            separator, takes the file under its own name; anything else is the file's full path.
        source_path: the source as the caller spelled it.

    Raises:
        RefusedError: the label cannot name a file.
        OSError: the destination cannot be looked at.
    """
    folder, name = _resolve(system, label, source_path)
    anchor_path, missing = split_at_existing(system, folder)
    anchor = system.status(anchor_path)
    if not stat.S_ISDIR(anchor.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), anchor_path)
    existing: os.stat_result | None = None
    if not missing:
        existing = _status_or_none(system, os.path.join(folder, name))
    usage = system.usage(anchor_path)
    return Destination(
        number=number,
        label=label,
        folder=folder,
        name=name,
        anchor=Identity(anchor.st_dev, anchor.st_ino),
        missing=missing,
        existing=Identity(existing.st_dev, existing.st_ino) if existing else None,
        existing_size=existing.st_size if existing and stat.S_ISREG(existing.st_mode) else None,
        mount=system.mount(anchor_path),
        free=usage.free if usage else None,
        is_own_volume=anchor.st_dev != system.root_device(),
    )


def folder_identity(system: System, path: str) -> Identity:
    """Identity of the folder that a path's last name is in."""
    status = system.status(os.path.dirname(path) or os.curdir)
    return Identity(status.st_dev, status.st_ino)


def _resolve(system: System, label: str, source_path: str) -> tuple[str, str]:
    """Folder and name of the copy."""
    separators = tuple(each for each in (os.sep, os.altsep) if each)
    status = _status_or_none(system, label)
    names_no_file = label.endswith(separators) or os.path.basename(label) in (os.curdir, os.pardir)
    is_folder = names_no_file or (status is not None and stat.S_ISDIR(status.st_mode))
    if not is_folder:
        return os.path.dirname(label) or os.curdir, os.path.basename(label)
    if source_path == STANDARD_INPUT:
        raise RefusedError(
            f"{printable(label)}: a folder; what comes from standard input needs a file's full path",
            path=label,
            operation="open",
        )
    return label, os.path.basename(source_path)


def _status_or_none(system: System, path: str) -> os.stat_result | None:
    try:
        return system.status(path)
    except FileNotFoundError:
        return None
