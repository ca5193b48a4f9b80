"""Finding out about the sources and destinations of a tree, without writing anything."""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.fileio.folders import OpenFolders, split_at_existing
from pfndispatchcopy.fileio.names import is_record, is_temporary, lock_name, temporary_stem
from pfndispatchcopy.fileio.storage import storage_of
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Identity
from pfndispatchcopy.notices import errno_name
from pfndispatchcopy.printable import printable
from pfndispatchcopy.tree.plan import FoundDestination, FoundSource
from pfndispatchcopy.tree.scan import SourceRoot, Tree

__all__ = ["Survey", "examine_destination", "examine_source", "survey"]

_OPEN_FOLDERS = 128


def examine_source(system: System, label: str) -> tuple[FoundSource, FolderHandle]:
    """Look at one source, and open its folder.

    Args:
        system: the calls.
        label: as the caller spelled it. A folder whose name ends in a separator stands for what is in it.

    Returns:
        What was found out, and the open folder, which the caller closes.

    Raises:
        RefusedError: it is neither a folder nor a regular file, or cannot be opened.
    """
    try:
        status = system.status(label)
        is_folder = stat.S_ISDIR(status.st_mode)
        if not is_folder and not stat.S_ISREG(status.st_mode):
            raise _no_source(label, "the source is neither a folder nor a regular file")
        name = _last_name(label)
        if not is_folder:
            root = SourceRoot(label, os.path.dirname(label) or os.curdir, "", only=os.path.basename(label))
        elif label.endswith(_separators()) or name in ("", os.curdir, os.pardir):
            root = SourceRoot(label, label, "")
        else:
            root = SourceRoot(label, label, name)
        mount = system.mount(root.path)
        ways_up = _ways_up(system, root.path)
        handle = system.open_folder(root.path)
    except OSError as error:
        raise RefusedError(
            f"{printable(label)}: cannot open the source: {error.strerror}",
            path=label,
            operation="open",
            errno=errno_name(error),
        ) from error
    found = FoundSource(
        root=root,
        identity=Identity(status.st_dev, status.st_ino),
        ways_up=ways_up,
        storage=storage_of(status.st_dev, mount.filesystem),
    )
    return found, handle


def _no_source(label: str, reason: str) -> RefusedError:
    return RefusedError(f"{printable(label)}: {reason}", path=label, operation="open")


def _separators() -> tuple[str, ...]:
    return tuple(each for each in (os.sep, os.altsep) if each)


def _last_name(path: str) -> str:
    return os.path.basename(path.rstrip("".join(_separators())))


def examine_destination(system: System, number: int, label: str, roots: Sequence[SourceRoot]) -> FoundDestination:
    """Look at one destination.

    Args:
        system: the calls.
        number: its place on the command line.
        label: the folder that the copies go into, as the caller spelled it.
        roots: of the sources.

    Raises:
        OSError: it cannot be looked at, or is no folder.
    """
    anchor_path, missing = split_at_existing(system, label)
    if os.pardir in missing:
        # What is to be made has no links yet: the way can be straightened, and may lead to what is there after all.
        straight = os.path.normpath(os.path.join(system.real_path(anchor_path), *missing))
        anchor_path, missing = split_at_existing(system, straight)
    missing = tuple(name for name in missing if name != os.curdir)
    anchor = system.status(anchor_path)
    if not stat.S_ISDIR(anchor.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), anchor_path)
    usage = system.usage(anchor_path)
    mount = system.mount(anchor_path)
    tops = tuple(_identity_or_none(system, anchor_path, missing, root) for root in roots)
    return FoundDestination(
        number=number,
        label=label,
        path=label,
        anchor=Identity(anchor.st_dev, anchor.st_ino),
        missing=missing,
        ways_up=_ways_up(system, anchor_path),
        tops=tops,
        mount=mount,
        storage=storage_of(anchor.st_dev, mount.filesystem),
        free=usage.free if usage else None,
        longest_name=system.longest_name(anchor_path),
        is_own_volume=anchor.st_dev != system.root_device(),
    )


def _identity_or_none(system: System, folder: str, missing: Sequence[str], root: SourceRoot) -> Identity | None:
    if missing:
        return None
    try:
        status = system.status(os.path.join(folder, root.prefix or root.only or os.curdir))
    except FileNotFoundError:
        return None
    return Identity(status.st_dev, status.st_ino)


def _ways_up(system: System, path: str) -> tuple[Identity, ...]:
    """Identities of a folder and of all folders above it."""
    found: list[Identity] = []
    current = system.real_path(path)
    while True:
        status = system.status(current)
        found.append(Identity(status.st_dev, status.st_ino))
        above = os.path.dirname(current)
        if above == current:
            return tuple(found)
        current = above


class Survey(NamedTuple):
    """What a destination holds already.

    Attributes:
        missing_bytes: of the files that are not there in their size, less what stale temporary files give back.
        stale: temporary files of dead runs: path of the folder below the root, and name.
        fresh: the roots of which nothing is there at all.
    """

    missing_bytes: int
    stale: tuple[tuple[str, str], ...]
    fresh: frozenset[int]


def survey(
    system: System, destination: FoundDestination, tree: Tree, going_on: Callable[[], None] = lambda: None
) -> Survey:
    """Find out what is missing on a destination.

    Args:
        system: the calls.
        destination: as it was found.
        tree: what is to be there.
        going_on: called for every folder; raises to stop.

    Raises:
        OSError: the destination cannot be read.
    """
    fresh = frozenset(number for number, top in enumerate(destination.tops) if top is None)
    # Beside a file that is a source, a dead run may have left something, also where no file is yet.
    empty = {number for number in fresh if tree.roots[number].only is None}
    if len(empty) == len(tree.roots) or destination.missing:
        return Survey(tree.bytes, (), frozenset(range(len(tree.roots))))
    files_in: dict[int, list[int]] = defaultdict(list)
    for number, file in enumerate(tree.files):
        files_in[file.folder].append(number)
    root = system.open_folder(destination.path)
    folders = OpenFolders(system, root)
    stale: list[tuple[str, str]] = []
    missing = 0
    try:
        for number, folder in enumerate(tree.folders):
            going_on()
            sizes = {tree.files[each].name: tree.files[each].size for each in files_in[number]}
            path = "/".join(part for part in (tree.roots[folder.root].prefix, folder.path) if part)
            folders.trim(_OPEN_FOLDERS, keep=path)
            try:
                handle = folders.get(path) if folder.root not in empty else None
            except (FileNotFoundError, NotADirectoryError):
                handle = None
            if handle is None:
                missing += sum(sizes.values())
                continue
            missing += _look_into(system, handle, sizes, path, stale)
    finally:
        folders.close()
        system.close_folder(root)
    return Survey(max(0, missing), tuple(stale), fresh)


def _look_into(
    system: System, handle: FolderHandle, sizes: Mapping[str, int], path: str, stale: list[tuple[str, str]]
) -> int:
    """Bytes that are missing in one folder."""
    missing = sum(sizes.values())
    temporary: list[str] = []
    for entry in system.entries(handle):
        if is_temporary(entry.name):
            if not is_record(entry.name):
                temporary.append(entry.name)
        elif entry.name in sizes:
            status = _status_or_none(system, handle, entry.name)
            if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == sizes[entry.name]:
                missing -= status.st_size
    if temporary:
        stems = {temporary_stem(name) for name in sizes}
        # A file that has a lock may be in the hands of a run that copies it alone.
        stems -= {temporary_stem(name) for name in sizes if lock_name(name) in temporary}
        for name in temporary:
            if _stem_of(name) in stems:
                stale.append((path, name))
                missing -= getattr(_status_or_none(system, handle, name), "st_blocks", 0) * 512
    return missing


def _status_or_none(system: System, handle: FolderHandle, name: str) -> os.stat_result | None:
    """Status of a name; None when it has vanished since it was listed."""
    try:
        return system.status_of_name(handle, name)
    except FileNotFoundError:
        return None


def _stem_of(name: str) -> str:
    """What a temporary name begins with: ``.pfn.`` and ten characters."""
    return name[: len(temporary_stem(""))]
