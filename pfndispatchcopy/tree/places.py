"""The destinations of a tree: locked, swept, and remembered in a record while the offload is unfinished."""

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from time import monotonic, strftime
from typing import TYPE_CHECKING, NamedTuple

from pfndispatchcopy.engine.jobs import Outcome
from pfndispatchcopy.engine.lanes import OperationWatch
from pfndispatchcopy.errors import LockedError, RefusedError
from pfndispatchcopy.fileio.folders import DestinationFolder, OpenFolders
from pfndispatchcopy.fileio.locks import FileLock
from pfndispatchcopy.fileio.names import is_temporary_of, journal_name, lock_name
from pfndispatchcopy.fileio.storage import StorageKind
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.journal import Journal, Proof, Record
from pfndispatchcopy.model import ReadBack, State, Symlinks, Verify, VerifySource
from pfndispatchcopy.notices import reason_of
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.places import Place
from pfndispatchcopy.printable import printable
from pfndispatchcopy.tree.scan import Tree
from pfndispatchcopy.tree.tally import Tally

if TYPE_CHECKING:
    from pfndispatchcopy.handover.history import History
    from pfndispatchcopy.tree.plan import FoundDestination
    from pfndispatchcopy.tree.preflight import Survey

__all__ = ["TreePlace", "Undertaking", "path_on_destination"]

_LOCK_POLL_S = 0.1
_OPEN_FOLDERS = 64
# exFAT counts time in these steps, FAT and HFS+ in coarser ones, of two seconds at the most.
_COARSE_NS = 10_000_000
_COARSEST_NS = 2_000_000_000


class Undertaking(NamedTuple):
    """What all destinations of a tree have to know of the offload.

    Attributes:
        system: the calls.
        options: how to copy.
        tree: what is copied.
        sources: the open folders of its roots.
        cancel: stops everything.
        keeps_records: whether what an earlier run has written down of its files is wanted afterwards.
    """

    system: System
    options: CopyOptions
    tree: Tree
    sources: Sequence[FolderHandle]
    cancel: threading.Event
    keeps_records: bool = False

    @property
    def lock_names(self) -> tuple[str, ...]:
        """What is locked: the top of each copy, and a folder that content goes straight into as such."""
        return tuple(dict.fromkeys(root.prefix or root.only or os.curdir for root in self.tree.roots))

    @property
    def key(self) -> str:
        """Tells this offload from others into the same folder."""
        return "/".join(sorted(self.lock_names))


def path_on_destination(tree: Tree, number: int) -> str:
    """Path of a file below a destination's root, with ``/`` between the names."""
    file = tree.files[number]
    root, folder = tree.folders[file.folder]
    return "/".join(part for part in (tree.roots[root].prefix, folder, file.name) if part)


class TreePlace(Place):
    """One destination of a tree.

    Attributes:
        found: what was found out about it.
        survey: what it holds already.
        ignores_case: whether names that differ only in case are one there.
        journal: the record of what is done.
        resumed: files that an earlier run has proven, by number.
        records: what its record says of them, where somebody wants to know.
        histories: of ASC media hash lists that were there before, by path of their folder.
        is_delivered: whether everything was complete and its lists are written.
        tally: what became of the files.
    """

    def __init__(self, number: int, label: str, watch: OperationWatch) -> None:
        super().__init__(number, label, watch)
        self.found: FoundDestination | None = None
        self.survey: Survey | None = None
        self.ignores_case = False
        self.journal: Journal | None = None
        self.resumed: dict[int, Outcome] = {}
        self.records: dict[int, Record] = {}
        self.histories: dict[str, History] = {}
        self.is_delivered = False
        self.tally = Tally()
        self._locks: list[FileLock] = []

    @property
    def is_memory(self) -> bool:
        """Whether the medium is memory."""
        return self.found is not None and self.found.storage.kind is StorageKind.MEMORY

    @property
    def fresh(self) -> frozenset[int]:
        """The roots of which nothing was there before."""
        return self.survey.fresh if self.survey is not None else frozenset()

    @property
    def open_folder(self) -> DestinationFolder:
        """Its root; only once it was entered."""
        assert self.folder is not None
        return self.folder

    def enter(self, system: System) -> None:
        """Open the root, made where it is missing, and see that it can be worked in.

        Raises:
            OSError: it cannot.
        """
        assert self.found is not None
        with self.watch("open the folder"):
            known = None if self.found.missing else self.found.anchor
            self.folder = DestinationFolder.open(system, self.found.path, known)
        with self.watch("create"):
            self.probe = self.folder.probe(self.probed_name)
            self.ignores_case = self.folder.has_name(self.probe.swapcase())

    def lock(self, work: Undertaking) -> None:
        """Take the locks, waiting for them as long as was asked.

        Raises:
            RefusedError: another run has one.
            OSError: nothing can be made there.
        """
        system = work.system
        owner = f"process {os.getpid()} on {system.host_name()}, since {strftime('%Y-%m-%d %H:%M:%S')}"
        give_up_at = monotonic() + work.options.lock_wait_s
        for name in work.lock_names:
            while True:
                try:
                    with self.watch("create"):
                        lock = FileLock.acquire(system, self.open_folder.handle, name, owner)
                    break
                except LockedError as error:
                    if monotonic() >= give_up_at or work.cancel.wait(_LOCK_POLL_S):
                        raise RefusedError(
                            f"{printable(self.label)}: {error}; nothing was written (--lock-wait SECONDS waits for it)",
                            path=self.label,
                            operation="lock",
                        ) from None
            self._locks.append(lock)

    def sweep(self, work: Undertaking) -> None:
        """Remove the temporary files that dead runs of this offload have left. Without locks nothing is removed."""
        if not all(lock.is_held for lock in self._locks):
            return
        for lock in self._locks:
            with self.watch("sweep"):
                lock.sweep()
        # The probe and the unfinished record of a killed run lie beside the copies.
        names = [".", journal_name(work.key)]
        kept = {self.probe, lock_name("."), *(lock.name for lock in self._locks)}
        with self.watch("sweep"):
            for name in work.system.list_names(self.open_folder.handle):
                if any(is_temporary_of(name, each) for each in names) and name not in kept:
                    with suppress(OSError):
                        work.system.remove_name(self.open_folder.handle, name)
        stale = self.survey.stale if self.survey is not None else ()
        folders = OpenFolders(work.system, self.open_folder.handle)
        for path, name in stale:
            with self.watch("sweep"), suppress(OSError):
                folders.trim(_OPEN_FOLDERS, keep=path)
                work.system.remove_name(folders.get(path), name)
        folders.close()

    def resume(self, work: Undertaking) -> str | None:
        """Read what an interrupted run has left, keep what is still true, and go on from there.

        Returns:
            What a person should know: why the record of an earlier run is not believed, or that none can be kept.
        """
        found: list[tuple[Proof, Record]] = []
        doubt = None
        # A record does not tell whether the source was read twice.
        if work.options.resume and work.options.verify_source is VerifySource.NONE:
            with self.watch("read the record"):
                found, doubt = Journal.read(work.system, self.open_folder.handle, work.key)
        kept = self._believe(work, found) if found else {}
        try:
            with self.watch("write the record"):
                self.journal = Journal.begin(
                    work.system,
                    self.open_folder.handle,
                    work.key,
                    kept,
                    is_forced=self.label not in work.options.no_flush and not self.is_memory,
                )
        except OSError as error:  # the copies can be made all the same
            return f"no record for a later run can be kept: {reason_of(error)}"
        return None if doubt is None else f"the record of an earlier run is not used: {doubt}"

    def _believe(self, work: Undertaking, found: Sequence[tuple[Proof, Record]]) -> dict[Proof, list[Record]]:
        """Those records that are about a file of this run, prove what is asked for, and whose copy is as it was."""
        tree, system = work.tree, work.system
        numbers = {path_on_destination(tree, number): number for number in range(len(tree.files))}
        folders = OpenFolders(system, self.open_folder.handle)
        follow = work.options.symlinks is Symlinks.FOLLOW
        source_folders = [OpenFolders(system, handle, follow=follow) for handle in work.sources]
        kept: dict[Proof, list[Record]] = defaultdict(list)
        try:
            for proof, record in found:
                number = numbers.get(record.path, -1)
                if "/" in record.name or record.name in (os.curdir, os.pardir):
                    continue
                if number < 0 or record.size != tree.files[number].size or not _is_enough(proof, work.options):
                    continue
                root, folder = tree.folders[tree.files[number].folder]
                above, _, name = record.path.rpartition("/")
                with self.watch("stat"), suppress(OSError):
                    folders.trim(_OPEN_FOLDERS, keep=above)
                    source_folders[root].trim(_OPEN_FOLDERS, keep=folder)
                    is_followed = follow or tree.roots[root].only is not None
                    look = system.followed_status_of_name if is_followed else system.status_of_name
                    source = look(source_folders[root].get(folder), name)
                    copy = system.status_of_name(folders.get(above), record.name or name)
                    if source.st_mtime_ns == record.mtime_ns and _is_as_it_was(copy, record):
                        kept[proof].append(record)
                        self.resumed[number] = Outcome(self.number, proof.state, proof.read_back, record.name)
                        if work.keeps_records:
                            self.records[number] = record
        finally:
            folders.close()
            for each in source_folders:
                each.close()
        return kept

    def leave(self, *, is_finished: bool) -> None:
        """Let go of everything; the record goes when there is nothing left to be remembered."""
        with self.watch("close"), ExitStack() as later:  # whatever becomes of one, the others are let go of
            if self.folder is not None:
                later.callback(self.folder.close)
            for lock in self._locks:
                later.callback(lock.release)
            if self.journal is not None:
                if is_finished or self.journal.count == 0:
                    with suppress(OSError):
                        self.journal.remove()
                else:
                    self.journal.close()


def _is_enough(proof: Proof, options: CopyOptions) -> bool:
    """Whether what was proven then is what is asked for now."""
    if proof.hashes != options.hashes:
        return False
    if options.verify is Verify.DESTINATION:
        return proof.read_back.is_proof
    is_by_time = proof.state is State.IDENTICAL and proof.read_back is ReadBack.NONE
    return options.quick_check or not is_by_time


def _is_as_it_was(copy: os.stat_result, record: Record) -> bool:
    """Whether a copy has the size and the time of its source; where time is counted coarsely, nearly the time."""
    if not stat.S_ISREG(copy.st_mode) or copy.st_size != record.size:
        return False
    if copy.st_mtime_ns == record.mtime_ns:
        return True
    return copy.st_mtime_ns % _COARSE_NS == 0 and abs(copy.st_mtime_ns - record.mtime_ns) <= _COARSEST_NS
