"""Pure planning of a tree: what was found out, turned into a plan or a refusal. Asks the system nothing."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pfndispatchcopy.engine.batch import LARGEST_SMALL_FILE, buffer_size
from pfndispatchcopy.engine.crew import ChunkSizes, Digests
from pfndispatchcopy.engine.jobs import Job, JobRow, JobSetup
from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.events import PlanEvent, Volume
from pfndispatchcopy.fileio.storage import Storage, StorageKind
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.hashing import comparison_name
from pfndispatchcopy.model import Identity, Notice, Strategy
from pfndispatchcopy.notices import amount
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.plan import (
    FAT_FILESYSTEMS,
    LARGEST_FILE_OF_FAT,
    choose_sizes,
    choose_strategy,
    fold,
    memory_of,
    require_memory,
)
from pfndispatchcopy.printable import printable
from pfndispatchcopy.tree.scan import SourceRoot, Tree
from pfndispatchcopy.workers import Jobs, Outline, advise, choose_jobs

__all__ = ["FoundDestination", "FoundSource", "Machine", "TreePlan", "advice", "make_jobs", "make_tree_plan"]

# Files and bytes of one batch: enough that handing it to another process costs nothing beside it, and few enough
# that the record of what is done, and the progress, keep up (benchmarks/exp_handed_over.py).
_BATCH_FILES = 200
_BATCH_BYTES = 64 << 20
# From so many small files on, starting processes for them is worth it (benchmarks/exp_processes.py).
_FILES_WORTH_PROCESSES = 400
# Names that are shorter fit on every file system; only longer ones are looked at.
_LEAST_LONGEST_NAME = 140
_MOST_BYTES_OF_A_CHARACTER = 4


class FoundSource(NamedTuple):
    """What was found out about one source.

    Attributes:
        root: where it is.
        identity: of the file or folder itself.
        ways_up: identities of its folder and of all above it.
        storage: what it is on.
    """

    root: SourceRoot
    identity: Identity
    ways_up: tuple[Identity, ...]
    storage: Storage


class FoundDestination(NamedTuple):
    """What was found out about one destination of a tree, before anything was written.

    Attributes:
        number: its place on the command line.
        label: as the caller spelled it.
        path: of its root folder.
        anchor: identity of that folder, or of the nearest one above it that exists.
        missing: names of the folders that are missing between the two.
        ways_up: identities of the anchor and of all above it.
        tops: for each source, identity of what has the top name of its copy already, or None.
        mount: what it lies on.
        storage: the same, as hardware.
        free: bytes free on its volume; None where the file system does not say.
        longest_name: bytes that a name may have there; None where it does not say.
        is_own_volume: whether it lies on another volume than the system itself.
    """

    number: int
    label: str
    path: str
    anchor: Identity
    missing: tuple[str, ...]
    ways_up: tuple[Identity, ...]
    tops: tuple[Identity | None, ...]
    mount: Mount
    storage: Storage
    free: int | None
    longest_name: int | None
    is_own_volume: bool


class Machine(NamedTuple):
    """What there is to work with.

    Attributes:
        cores: processors.
        available_memory: in bytes; None where nobody can tell.
        has_processes: whether processes can be had for batches.
        wants_processes: whether every job is to go to one.
        elsewhere: who does the jobs, in words, when it is neither this process nor one of its own.
    """

    cores: int
    available_memory: int | None
    has_processes: bool
    wants_processes: bool = False
    elsewhere: str = ""


class TreePlan(NamedTuple):
    """What will be done.

    Attributes:
        event: to tell of it.
        sizes: memory of one job.
        largest_small: bytes of the largest file that goes into a batch; -1 where there are none.
        digests: to take.
        jobs: how many at once.
        batch_processes: processes for batches, or for all jobs; 0 when they run in this one, or elsewhere.
        warnings: what a person should know before it begins.
    """

    event: PlanEvent
    sizes: ChunkSizes
    largest_small: int
    digests: Digests
    jobs: Jobs
    batch_processes: int
    warnings: tuple[Notice, ...]


def make_tree_plan(
    tree: Tree,
    sources: Sequence[FoundSource],
    destinations: Sequence[FoundDestination],
    needed: Mapping[int, int],
    options: CopyOptions,
    machine: Machine,
) -> TreePlan:
    """Plan the copying of a tree.

    Args:
        tree: what is to be copied.
        sources: where from.
        destinations: those that can be reached.
        needed: by number of the destination, bytes that are still missing there.
        options: what is asked for.
        machine: what there is to work with.

    Raises:
        RefusedError: it cannot be done, or would do harm.
        UsageError: the options contradict each other.
    """
    _require_apart(sources, destinations)
    _require_outside(tree, destinations)
    _require_distinct_tops(tree)
    if options.require_mount:
        _require_mounts(destinations)
    _require_names(tree, destinations)
    _require_room(tree, destinations, needed)
    count = len(destinations)
    sizes_of = [file.size for file in tree.files]
    jobs, sizes, largest_small = _choose_jobs(max(sizes_of, default=0), sources, destinations, options, machine)
    large = [size for size in sizes_of if size > largest_small]
    strategies = {_strategy_of(size, count, options) for size in large}
    if len(large) < len(sizes_of) or not sizes_of:
        strategies.add(Strategy.BATCH)
    bound = jobs.at_once * max(memory_of(sizes, count, options), buffer_size(largest_small))
    require_memory(bound, machine.available_memory)
    small_count = len(sizes_of) - len(large)
    processes = 0
    if machine.wants_processes or _pays_processes(small_count, jobs, options, machine):
        processes = jobs.at_once
    strategy = next(iter(strategies)) if len(strategies) == 1 else Strategy.MIXED
    event = PlanEvent(
        files=len(tree.files),
        bytes=tree.bytes,
        strategy=strategy,
        chunk_size=sizes.chunk,
        queue_depth=max(sizes.buffers - 1, 1),
        jobs=jobs.at_once,
        memory_bound=bound,
        reason=_reason(small_count, len(large), processes, jobs, options, machine),
        free_bytes=tuple((each.label, each.free) for each in destinations),
        is_tree=True,
        volumes=tuple(Volume(each.label, each.anchor.device, *each.mount) for each in destinations),
    )
    digests = Digests(options.hashes, comparison_name(options.hashes))
    return TreePlan(event, sizes, largest_small, digests, jobs, processes, tuple(_warnings(tree, destinations)))


def _largest_small(options: CopyOptions, jobs: int) -> int:
    """The largest file that goes into a batch, so that the batches of all jobs stay within the limit; -1 for none."""
    if not _has_batches(options):
        return -1
    if options.memory_limit is None:
        return LARGEST_SMALL_FILE
    return max(-1, min(LARGEST_SMALL_FILE, options.memory_limit // jobs - buffer_size(0)))


def _has_batches(options: CopyOptions) -> bool:
    """Whether small files go into batches."""
    return options.strategy in (Strategy.AUTO, Strategy.BATCH)


def _strategy_of(size: int, count: int, options: CopyOptions) -> Strategy:
    strategy = choose_strategy(size, count, options)[0]
    return Strategy.SINGLE if strategy is Strategy.BATCH else strategy


def _choose_jobs(
    largest: int,
    sources: Sequence[FoundSource],
    destinations: Sequence[FoundDestination],
    options: CopyOptions,
    machine: Machine,
) -> tuple[Jobs, ChunkSizes, int]:
    """How many jobs, and the memory of each, so that all of them together stay within the bound.

    Returns:
        The jobs, how a large file uses its memory, and the largest file that a batch may hold.
    """
    count = len(destinations)
    strategy = _strategy_of(largest, count, options)
    storages = [*(each.storage.kind for each in sources), *(each.storage.kind for each in destinations)]

    def sizes_for(jobs: int) -> ChunkSizes:
        limit = options.memory_limit
        share = options if limit is None else options.replacing(memory_limit=max(1, limit // jobs))
        return choose_sizes(largest or None, count, share, strategy)

    wanted = choose_jobs(
        options.jobs, cores=machine.cores, storages=storages, available=None, limit=None, bytes_each=1
    ).at_once
    sizes = (
        sizes_for(wanted) if options.memory_limit is None else choose_sizes(largest or None, count, options, strategy)
    )
    jobs = choose_jobs(
        options.jobs,
        cores=machine.cores,
        storages=storages,
        available=machine.available_memory,
        limit=options.memory_limit,
        bytes_each=memory_of(sizes, count, options),
    )
    return jobs, sizes_for(jobs.at_once), _largest_small(options, jobs.at_once)


def _pays_processes(small_count: int, jobs: Jobs, options: CopyOptions, machine: Machine) -> bool:
    return (
        machine.has_processes
        and jobs.at_once > 1
        and small_count >= _FILES_WORTH_PROCESSES
        and options.bandwidth_limit is None  # a limit is kept by one process
    )


def _reason(small: int, large: int, processes: int, jobs: Jobs, options: CopyOptions, machine: Machine) -> str:
    parts = []
    if options.strategy is not Strategy.AUTO:
        parts.append("strategy as asked for")
    if small:
        where = f"in {processes} processes" if processes else "" if machine.elsewhere else "in this process"
        parts.append(f"{small} small files in batches {where}".rstrip())
    if large:
        parts.append(f"{large} large files one by one")
    if machine.elsewhere:
        return "; ".join([*parts, f"done by {machine.elsewhere}, two jobs in flight for each worker"])
    return "; ".join([*parts, jobs.reason])


def advice(tree: Tree, sources: Sequence[FoundSource], destinations: Sequence[FoundDestination], jobs: Jobs) -> str:
    """Whether more jobs, or more hosts, would help, in words."""
    disks = [
        {disk for each in found for disk in each.storage.disk.split("+") if disk} for found in (sources, destinations)
    ]
    outline = Outline(
        files=len(tree.files),
        size=tree.bytes,
        sources=tuple(each.storage.kind for each in sources),
        destinations=tuple(each.storage.kind for each in destinations),
        shared_disk=min(disks[0] & disks[1], default=""),
    )
    return advise(outline, jobs)


# -- refusals ---------------------------------------------------------------------------------------------


def _refusal(message: str, path: str, operation: str, errno: str | None = None) -> RefusedError:
    return RefusedError(f"{message}; nothing was written", path=path, operation=operation, errno=errno)


def _require_apart(sources: Sequence[FoundSource], destinations: Sequence[FoundDestination]) -> None:
    """Refuse what would copy a tree into itself, or two copies onto each other."""
    for number, source in enumerate(sources):
        for each in destinations:
            _require_not_within(number, source, each)
    for place, one in enumerate(destinations):
        for other_one in destinations[:place]:
            _require_not_nested(one, other_one, sources)


def _require_outside(tree: Tree, destinations: Sequence[FoundDestination]) -> None:
    """Refuse a destination in a folder of a source that only the listing has shown, as through a bind mount."""
    for each in destinations:
        if each.anchor in tree.identities:
            raise _refusal(f"{printable(each.label)}: the destination is inside a source", each.label, "inside")


def _require_distinct_tops(tree: Tree) -> None:
    """Refuse sources that would go to the same name, also where one of them goes in as its content."""
    contents = [root for root in tree.roots if not root.prefix and root.only is None]
    seen: dict[str, str] = {}
    for number, root in enumerate(tree.roots):
        names = {fold(name) for name in tree.top_names(number)}
        clash = next((seen[name] for name in names if name in seen), None)
        if clash is None and root in contents[1:]:
            clash = contents[0].label
        if clash is not None:
            raise _refusal(
                f"{printable(clash)} and {printable(root.label)} would go to the same name",
                root.label,
                "same-destination",
            )
        seen.update(dict.fromkeys(names, root.label))


def _require_not_within(number: int, source: FoundSource, each: FoundDestination) -> None:
    if each.tops[number] == source.identity:
        raise _refusal(
            f"{printable(each.label)}: the source {printable(source.root.label)} and its copy there are the same",
            each.label,
            "same-file",
        )
    if source.root.only is not None:
        return
    if source.identity in each.ways_up:
        raise _refusal(
            f"{printable(each.label)}: the destination is inside the source {printable(source.root.label)}",
            each.label,
            "inside",
        )
    top = each.tops[number]
    if top is not None and top in source.ways_up:
        raise _refusal(
            f"{printable(source.root.label)}: the source is inside the destination {printable(each.label)}",
            each.label,
            "inside",
        )


def _require_not_nested(one: FoundDestination, other: FoundDestination, sources: Sequence[FoundSource]) -> None:
    if (one.anchor, one.missing) == (other.anchor, other.missing):
        raise _refusal(
            f"{printable(other.label)} and {printable(one.label)} are the same destination",
            one.label,
            "same-destination",
        )
    for number, source in enumerate(sources):
        if source.root.only is not None:  # a file has no inside
            continue
        for inner, outer in ((one, other), (other, one)):
            if _lies_within(inner, outer, number, source.root.prefix):
                raise _refusal(
                    f"{printable(inner.label)} is inside the copy on {printable(outer.label)}", inner.label, "inside"
                )


def _lies_within(inner: FoundDestination, outer: FoundDestination, number: int, prefix: str) -> bool:
    """Whether a destination's root is inside what another destination will hold of a source."""
    top = outer.tops[number]
    if top is not None and prefix:
        return top in inner.ways_up
    way = (*outer.missing, prefix) if prefix else outer.missing
    if not way:
        return outer.anchor in inner.ways_up
    return inner.anchor == outer.anchor and inner.missing[: len(way)] == way


def _require_mounts(destinations: Sequence[FoundDestination]) -> None:
    for each in destinations:
        if not each.is_own_volume:
            raise _refusal(
                f"{printable(each.label)}: not on a mounted volume of its own (--require-mount): mount its disk first",
                each.path,
                "require-mount",
            )


def _require_names(tree: Tree, destinations: Sequence[FoundDestination]) -> None:
    characters = max([len(file.name) for file in tree.files], default=0)
    characters = max(
        [characters, *(len(folder.path) for folder in tree.folders), *(len(root.prefix) for root in tree.roots)]
    )
    if characters * _MOST_BYTES_OF_A_CHARACTER <= _LEAST_LONGEST_NAME:
        return
    longest, path = max((len(os.fsencode(os.path.basename(path))), path) for path in _all_paths(tree))
    for each in destinations:
        if each.longest_name is not None and longest > each.longest_name:
            raise _refusal(
                f"{printable(each.label)}: a name may have {each.longest_name} bytes there, {printable(path)} has"
                f" {longest}",
                each.path,
                "names",
                "ENAMETOOLONG",
            )


def _all_paths(tree: Tree) -> Iterator[str]:
    """Paths of all files and folders; each of their names is the last one of some path."""
    yield from (tree.path_of(file) for file in tree.files)
    yield from (path for _, path in tree.folders)
    yield from (root.prefix for root in tree.roots)


def _require_room(tree: Tree, destinations: Sequence[FoundDestination], needed: Mapping[int, int]) -> None:
    largest = max(tree.files, key=lambda file: file.size, default=None)
    on_volume: dict[int, list[FoundDestination]] = defaultdict(list)
    for each in destinations:
        if largest is not None and largest.size > LARGEST_FILE_OF_FAT and each.mount.filesystem in FAT_FILESYSTEMS:
            raise _refusal(
                f"{printable(each.label)}: its file system ({each.mount.filesystem}) holds files of at most 4 GiB,"
                f" {printable(tree.path_of(largest))} has {amount(largest.size)}",
                each.path,
                "space",
                "EFBIG",
            )
        on_volume[each.anchor.device].append(each)
    for together in on_volume.values():
        free = min((each.free for each in together if each.free is not None), default=None)
        need = sum(needed.get(each.number, tree.bytes) for each in together)
        if free is not None and need > free:
            labels = ", ".join(printable(each.label) for each in together)
            raise _refusal(
                f"{labels}: not enough space: {amount(need)} are needed, {amount(free)} are free: free some, or leave a"
                " destination out",
                together[0].path,
                "space",
                "ENOSPC",
            )


# -- warnings ---------------------------------------------------------------------------------------------


def _warnings(tree: Tree, destinations: Sequence[FoundDestination]) -> Iterator[Notice]:
    if not tree.files and len(tree.folders) <= len(tree.roots) and not tree.failures:
        # The folder that a card is mounted on is empty while it is not.
        reason = "all of it is left out" if tree.left_out else "is the card mounted?"
        for root in tree.roots:
            yield Notice(f"{printable(root.label)}: there is nothing to copy: {reason}", root.label, "list the folder")
    unwished = [each for each in tree.left_out if not each.is_wished]
    for each in unwished:
        yield Notice(f"{printable(each.path)}: {each.reason}: not copied", each.path, "list the folder")
    if tree.hard_links:
        yield Notice(
            f"{tree.hard_links} files are hard links to each other: every copy is a file of its own",
            "",
            "list the folder",
        )
    if tree.sparse:
        yield Notice(f"{tree.sparse} files have holes: the copies are whole and need more room", "", "list the folder")
    yield from _shared_disks(destinations)


def _shared_disks(destinations: Sequence[FoundDestination]) -> Iterator[Notice]:
    for place, each in enumerate(destinations):
        for other in destinations[:place]:
            if StorageKind.MEMORY in (each.storage.kind, other.storage.kind):
                continue
            shared = set(filter(None, each.storage.disk.split("+"))) & set(other.storage.disk.split("+"))
            if each.anchor.device == other.anchor.device or shared:
                yield Notice(
                    f"{printable(other.label)} and {printable(each.label)} are on one disk: if it fails, both copies"
                    " are lost",
                    each.path,
                    "plan",
                    None,
                    each.label,
                )
                break


# -- jobs -------------------------------------------------------------------------------------------------


def make_jobs(tree: Tree, setup: JobSetup, missing: Mapping[int, tuple[int, ...]] | None) -> Iterator[Job]:
    """Yield the jobs of a tree, in its order.

    Args:
        tree: what is to be copied.
        setup: what all jobs have in common.
        missing: by number of the file, the destinations that it is still to be copied to; a file that is not in
            it goes to all of them, and so do all files when it is None.
    """
    everywhere = tuple(target.number for target in setup.targets)
    largest_small = setup.largest_small
    folders = tree.folders
    batch: list[JobRow] = []
    batch_of: tuple[int, tuple[int, ...]] = (-1, ())
    batch_bytes = 0
    for number, file in enumerate(tree.files):
        targets = everywhere if missing is None else missing.get(number, everywhere)
        if not targets:
            continue
        place, name, size, is_link = file
        root, folder = folders[place]
        row = (number, folder, name, size, is_link)
        if size > largest_small and not is_link:
            strategy = _strategy_of(size, len(targets), setup.options)
            yield Job(setup, root, strategy, (row,), targets)
            continue
        is_full = len(batch) >= _BATCH_FILES or batch_bytes + size > _BATCH_BYTES
        if batch and (is_full or batch_of != (root, targets)):
            yield Job(setup, batch_of[0], Strategy.BATCH, tuple(batch), batch_of[1])
            batch, batch_bytes = [], 0
        batch_of = (root, targets)
        batch.append(row)
        batch_bytes += size
    if batch:
        yield Job(setup, batch_of[0], Strategy.BATCH, tuple(batch), batch_of[1])
