"""The end of a tree: folders get their metadata when nothing is written into them any more."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.lanes import OperationWatch
from pfndispatchcopy.engine.second_reading import digest_again
from pfndispatchcopy.errors import MismatchError
from pfndispatchcopy.fileio.folders import DestinationFolder, OpenFolders
from pfndispatchcopy.fileio.metadata import apply_metadata
from pfndispatchcopy.fileio.readback import read_to_end
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import Identity, Notice, Preserve, SourceSnapshot, Symlinks
from pfndispatchcopy.notices import failure_notice, reason_of
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.tree.scan import Tree

__all__ = ["finish_folders", "prove_sources"]

_OPEN_FOLDERS = 128
_READ_SIZE = 1 << 20


def finish_folders(
    system: System,
    tree: Tree,
    sources: Sequence[FolderHandle],
    root: DestinationFolder,
    watch: OperationWatch,
    options: CopyOptions,
    *,
    fresh: frozenset[int],
    flushes: bool,
    warn: Callable[[str, str], None],
) -> None:
    """Make the folders of a tree that are missing on a destination, and carry their metadata over.

    The deepest come first, since whatever is done in a folder moves the time of that folder.

    Args:
        system: the calls.
        tree: what was copied.
        sources: the open folders of its roots.
        root: of the destination.
        watch: shows what is being done there.
        options: what is kept.
        fresh: roots of which nothing was there before: their top folder is this run's own.
        flushes: whether folders are forced to stable storage.
        warn: told of each path and what could not be kept of it.

    Raises:
        OSError: a folder cannot be made, opened or flushed.
    """
    follow = options.symlinks is Symlinks.FOLLOW
    source_folders = [OpenFolders(system, handle, follow=follow) for handle in sources]
    folders = OpenFolders(system, root.handle, make=True)
    try:
        for folder in reversed(tree.folders):
            source_root = tree.roots[folder.root]
            path = "/".join(part for part in (source_root.prefix, folder.path) if part)
            if source_root.only is not None:
                continue
            with watch("open the folder"):
                folders.trim(_OPEN_FOLDERS, keep=path)
                handle = folders.get(path)
            if folder.path or folder.root in fresh:
                with watch("set metadata"):
                    _keep(system, source_folders[folder.root], folder.path, handle, options, warn, path)
            if flushes:
                with watch("flush the folder"):
                    system.flush_folder(handle)
        if flushes:
            with watch("flush the folder"):
                # What a job has made, and was stopped before it could flush, no other job knows of.
                above = {path for each in tree.roots for path in _ways_up(each.prefix)}
                for parent in dict.fromkeys([*folders.take_parents_of_new(), *above]):
                    system.flush_folder(folders.get(parent))
        with watch("stat"):
            root.check_identity()
    finally:
        folders.close()
        for each in source_folders:
            each.close()


def _ways_up(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


def _keep(
    system: System,
    source_folders: OpenFolders,
    path: str,
    handle: FolderHandle,
    options: CopyOptions,
    warn: Callable[[str, str], None],
    shown: str,
) -> None:
    try:
        source_folders.trim(_OPEN_FOLDERS, keep=path)
        source = source_folders.get(path)
        if source.fd < 0:  # Windows has no descriptors for folders
            return
        status = system.status_of_file(source.fd)
        xattrs = system.xattrs(source.fd) if Preserve.XATTR in options.preserve else ()
    except OSError as error:
        warn(shown, f"the folder's metadata could not be read: {reason_of(error)}")
        return
    snapshot = SourceSnapshot(
        Identity(status.st_dev, status.st_ino),
        status.st_size,
        status.st_mode & 0o7777,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_atime_ns,
        status.st_uid,
        status.st_gid,
        xattrs,
    )
    for what, refusal in apply_metadata(system, handle.fd, snapshot, options.preserve, is_folder=True):
        warn(shown, f"{what} could not be kept: {reason_of(refusal)}")


def prove_sources(
    system: System,
    tree: Tree,
    sources: Sequence[FolderHandle],
    digests: Mapping[int, str],
    algorithm: str,
    watch: OperationWatch,
    cancel: threading.Event,
    *,
    follow: bool,
) -> Iterator[tuple[int, Notice, bool]]:
    """Read every source that was copied a second time, past the page cache; yield those that are not proven.

    What is yielded is the number of the file, what is wrong, and whether it gave other bytes.

    Args:
        system: the calls.
        tree: what was copied.
        sources: the open folders of its roots.
        digests: of the first reading, by number of the file.
        algorithm: their name.
        watch: shows what is being done.
        cancel: stops.
        follow: whether links are followed.
    """
    folders = [OpenFolders(system, handle, follow=follow) for handle in sources]
    is_followed = [follow or root.only is not None for root in tree.roots]
    buffer = page_aligned_buffer(_READ_SIZE)
    try:
        for number, digest in digests.items():
            file = tree.files[number]
            folder = tree.folders[file.folder]
            shown = os.path.join(tree.roots[folder.root].path, tree.path_of(file))
            if cancel.is_set():
                return
            try:
                folders[folder.root].trim(_OPEN_FOLDERS, keep=folder.path)
                with watch("open for the second reading"):
                    handle = folders[folder.root].get(folder.path)
                    again = digest_again(
                        system,
                        handle,
                        file.name,
                        lambda fd: _digest(system, fd, algorithm, buffer, watch),
                        follow=is_followed[folder.root],
                    )
                if again != digest:
                    raise MismatchError(
                        f"the second reading gave {algorithm}:{again}, the first one {algorithm}:{digest}"
                    )
            except (OSError, MismatchError) as error:
                yield (
                    number,
                    failure_notice(error, path=shown, operation="verify-source", aftermath=_aftermath(error)),
                    isinstance(error, MismatchError),
                )
    finally:
        for each in folders:
            each.close()


def _aftermath(error: OSError | MismatchError) -> str:
    if isinstance(error, MismatchError):
        return "No copy of it can be trusted: the card, its reader or the cable gives changing bytes."
    return "Its copies are those of the first reading, which nothing has confirmed."


def _digest(system: System, fd: int, algorithm: str, buffer: memoryview, watch: OperationWatch) -> str:
    calculator = HashCalculator([algorithm])
    views = read_to_end(system, fd, buffer)
    while True:
        watch("read again").beat()
        view = next(views, None)
        if view is None:
            return calculator.hexdigests()[algorithm]
        calculator.update(view)
