"""Pure planning: what was found out about source and destinations, turned into a plan or a refusal.

Nothing here asks the operating system anything.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pfndispatchcopy.engine.crew import ChunkSizes, Digests
from pfndispatchcopy.engine.destination import Target
from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.events import PlanEvent, Volume
from pfndispatchcopy.fileio.readback import MEMORY_FILESYSTEMS
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.hashing import comparison_name
from pfndispatchcopy.model import Identity, SourceSnapshot, Strategy, Verify, VerifySource
from pfndispatchcopy.notices import amount
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.printable import printable
from pfndispatchcopy.workers import MEMORY_KEPT_FREE

__all__ = [
    "FAT_FILESYSTEMS",
    "LARGEST_FILE_OF_FAT",
    "Destination",
    "Plan",
    "choose_sizes",
    "choose_strategy",
    "fold",
    "make_plan",
    "memory_of",
    "require_memory",
]

# 256 KiB costs up to 1.3x of 1 MiB and 64 KiB 2x, for the hand-overs; 2 MiB takes 0.95x for 1 GiB to 3 destinations,
# but leaves too little to overlap in a small file; 8 MiB loses 1.2x (benchmarks/exp_chunk_size.py).
_CHUNK = 1 << 20
_CHUNK_OF_LARGE_FILE = 2 << 20
_CHUNKS_OF_A_FILE = 32
# Depths from 1 to 15 are within the noise of each other, 31 is slower; 7 rides out a hiccup
# (benchmarks/exp_queue_depth.py).
_QUEUE_DEPTH = 7
# All chunks together, when the chunk size is given and large: with this, 8 MiB chunks lose nothing
# (benchmarks/exp_chunk_size.py).
_POOL_BYTES = 16 << 20
# 256 KiB is slower in every run, 1 MiB about as fast; every destination has one (benchmarks/exp_read_back.py).
_READ_BACK = 512 << 10
# From these sizes on threads pay: one destination gains from 16 to 32 MiB on, two from 8 to 16, five from 4
# (benchmarks/exp_path_choice.py).
_CROSSOVER_ONE = 32 << 20
_CROSSOVER_MANY = 8 << 20
_PAGE = 4096

FAT_FILESYSTEMS = frozenset({"vfat", "msdos", "fat", "fat32", "msdosfs"})
LARGEST_FILE_OF_FAT = 2**32 - 1


class Destination(NamedTuple):
    """What was found out about one destination, before anything was written.

    Attributes:
        number: its place on the command line.
        label: as the caller spelled it.
        folder: path of the folder that the copy goes into.
        name: of the copy.
        anchor: identity of *folder*, or of the nearest folder above it that exists.
        missing: the folders that are missing between the two.
        existing: identity of what has the name already, links followed; None for nothing.
        existing_size: its size in bytes when it is a regular file, or None.
        mount: what it lies on.
        free: bytes free on its volume; None where the file system does not say.
        is_own_volume: whether it lies on another volume than the system itself.
    """

    number: int
    label: str
    folder: str
    name: str
    anchor: Identity
    missing: tuple[str, ...]
    existing: Identity | None
    existing_size: int | None
    mount: Mount
    free: int | None
    is_own_volume: bool

    @property
    def path(self) -> str:
        """Full path of the copy."""
        return os.path.join(self.folder, self.name)


class Plan(NamedTuple):
    """What will be done."""

    targets: tuple[Target, ...]
    strategy: Strategy
    sizes: ChunkSizes
    digests: Digests
    memory_bound: int
    event: PlanEvent


def make_plan(
    source_path: str,
    source: SourceSnapshot,
    source_folder: Identity | None,
    destinations: Sequence[Destination],
    options: CopyOptions,
    available_memory: int | None = None,
) -> Plan:
    """Plan the copying of one file.

    Args:
        source_path: as the caller spelled it.
        source: as it was found.
        source_folder: identity of the folder that it lies in; None for a stream.
        destinations: those that can be reached.
        options: what is asked for.
        available_memory: bytes that may be used; None where nobody can tell.

    Raises:
        RefusedError: it cannot be done, or would do harm.
        UsageError: the options contradict each other.
    """
    _require_announced_size(source_path, source, options)
    _require_other_than_source(source_path, source, source_folder, destinations)
    _require_distinct(destinations)
    if options.require_mount:
        _require_mounts(destinations)
    _require_room(options.expect_size if source.size is None else source.size, destinations)
    strategy, reason = choose_strategy(source.size, len(destinations), options)
    sizes = choose_sizes(source.size, len(destinations), options, strategy)
    bound = memory_of(sizes, len(destinations), options)
    require_memory(bound, available_memory)
    event = PlanEvent(
        files=1,
        bytes=source.size,
        strategy=strategy,
        chunk_size=sizes.chunk,
        queue_depth=max(sizes.buffers - 1, 1),
        jobs=1,
        memory_bound=bound,
        reason=reason,
        free_bytes=tuple((each.label, each.free) for each in destinations),
        volumes=tuple(Volume(each.label, each.anchor.device, *each.mount) for each in destinations),
    )
    targets = tuple(
        Target(
            number=each.number,
            label=each.label,
            folder=each.folder,
            name=each.name,
            is_memory=each.mount.filesystem in MEMORY_FILESYSTEMS,
            is_forced=each.label not in options.no_flush,
        )
        for each in destinations
    )
    digests = Digests(options.hashes, comparison_name(options.hashes))
    return Plan(targets, strategy, sizes, digests, bound, event)


def _require_announced_size(path: str, source: SourceSnapshot, options: CopyOptions) -> None:
    expected = options.expect_size
    if expected is not None and source.size is not None and source.size != expected:
        raise RefusedError(
            f"{printable(path)}: the source has {source.size} bytes, {expected} were expected; nothing was written",
            path=path,
            operation="expect-size",
        )


def fold(name: str) -> str:
    """A name as file systems see it that ignore case and Unicode's ways of composing."""
    return unicodedata.normalize("NFC", name).casefold()


def _require_other_than_source(
    path: str, source: SourceSnapshot, source_folder: Identity | None, destinations: Sequence[Destination]
) -> None:
    name = os.path.basename(path)
    for each in destinations:
        is_same_place = source_folder == each.anchor and not each.missing and each.name == name
        if each.existing == source.identity or (source_folder is not None and is_same_place):
            raise RefusedError(
                f"{printable(each.path)}: source and destination are the same file; nothing was written",
                path=each.path,
                operation="same-file",
            )


def _require_distinct(destinations: Sequence[Destination]) -> None:
    seen: dict[tuple[Identity, tuple[str, ...], str], Destination] = {}
    for each in destinations:
        key = (each.anchor, each.missing, each.name)
        if key in seen:
            other = seen[key]
            raise RefusedError(
                f"{printable(other.label)} and {printable(each.label)} are the same destination; nothing was written",
                path=each.path,
                operation="same-destination",
            )
        seen[key] = each


def may_collide(one: Destination, other: Destination) -> bool:
    """Whether two destinations could be one file, on a file system that hides that they are."""
    return fold(one.name) == fold(other.name)


def _require_mounts(destinations: Sequence[Destination]) -> None:
    for each in destinations:
        if not each.is_own_volume:
            raise RefusedError(
                f"{printable(each.path)}: not on a mounted volume of its own (--require-mount): mount its disk first;"
                " nothing was written",
                path=each.path,
                operation="require-mount",
            )


def require_memory(bound: int, available: int | None) -> None:
    """Refuse what needs more memory than there is.

    Args:
        bound: bytes that are needed.
        available: bytes that there are; None where nobody can tell.

    Raises:
        RefusedError: it is too much.
    """
    if available is not None and bound > available * (1 - MEMORY_KEPT_FREE):
        raise RefusedError(
            f"chunks of this size need {amount(bound)} of memory, {amount(available)} are available, of which a fifth"
            " is kept free; nothing was written",
            operation="memory",
            errno="ENOMEM",
        )


def _require_room(size: int | None, destinations: Sequence[Destination]) -> None:
    if size is None:
        return
    missing: dict[int, list[Destination]] = defaultdict(list)
    for each in destinations:
        if size > LARGEST_FILE_OF_FAT and each.mount.filesystem in FAT_FILESYSTEMS:
            raise RefusedError(
                f"{printable(each.label)}: its file system ({each.mount.filesystem}) holds files of at most 4 GiB,"
                f" the source has {amount(size)}; nothing was written",
                path=each.path,
                operation="space",
                errno="EFBIG",
            )
        if each.existing_size != size:  # one of the same size may turn out to be identical
            missing[each.anchor.device].append(each)
    for on_volume in missing.values():
        free = min((each.free for each in on_volume if each.free is not None), default=None)
        need = size * len(on_volume)
        if free is not None and need > free:
            paths = ", ".join(printable(each.path) for each in on_volume)
            raise RefusedError(
                f"{paths}: not enough space: {amount(need)} are needed, {amount(free)} are free: free some, or leave a"
                " destination out; nothing was written",
                path=on_volume[0].path,
                operation="space",
                errno="ENOSPC",
            )


def choose_strategy(size: int | None, count: int, options: CopyOptions) -> tuple[Strategy, str]:
    """Return the path for one file of *size* bytes (None for a stream) to *count* destinations, and why."""
    if options.strategy is Strategy.BATCH:
        return Strategy.SINGLE, "asked for: a batch of one file is one loop"
    if options.strategy is not Strategy.AUTO:
        return options.strategy, "asked for"
    if size is None:
        return Strategy.PARALLEL, "a stream may be of any size"
    crossover = _CROSSOVER_ONE if count == 1 else _CROSSOVER_MANY
    word = "destination" if count == 1 else "destinations"
    if size < crossover:
        return Strategy.SINGLE, f"below {amount(crossover)} a thread for each of {count} {word} does not pay"
    return Strategy.PARALLEL, f"from {amount(crossover)} on a thread for each of {count} {word} pays"


def memory_of(sizes: ChunkSizes, count: int, options: CopyOptions) -> int:
    """Upper bound in bytes of all buffers of one job with *count* destinations."""
    return sizes.chunk * sizes.buffers + sizes.read_back * _readers_back(count, options)


def _readers_back(count: int, options: CopyOptions) -> int:
    """How many buffers for reading back there may be at once."""
    return max(1, count) + (options.verify_source is not VerifySource.NONE)


def choose_sizes(size: int | None, count: int, options: CopyOptions, strategy: Strategy) -> ChunkSizes:
    """Return how the memory of one job is used.

    Raises:
        UsageError: the limit that was set is too small for what else was set.
    """
    read_back = _READ_BACK if options.verify is Verify.DESTINATION else _PAGE
    readers = _readers_back(count, options)
    limit = options.memory_limit
    if limit is not None:
        # At most a quarter goes to reading back; whole pages, for the sake of direct reads.
        read_back = max(_PAGE, min(read_back, limit // 4 // readers // _PAGE * _PAGE))
    for_chunks = (limit if limit is not None else _POOL_BYTES) - read_back * readers
    least = 1 if strategy is Strategy.SINGLE else 2
    chunk = options.chunk_size or _automatic_chunk(size, for_chunks // (least + 1))
    if strategy is Strategy.SINGLE:
        buffers = 1
    elif options.queue_depth is not None:
        buffers = options.queue_depth + 1
    else:
        buffers = max(least, min(_QUEUE_DEPTH + 1, for_chunks // chunk))
    needed = chunk * buffers + read_back * readers
    if limit is not None and needed > limit:
        raise UsageError(
            f"--memory-limit {limit} is too small: {buffers} chunks of {chunk} bytes and reading back from"
            f" {count} destinations need {needed} bytes"
        )
    return ChunkSizes(chunk=chunk, buffers=buffers, read_back=read_back)


def _automatic_chunk(size: int | None, most: int) -> int:
    """Whole pages: 1 to 2 MiB, less for a smaller file or for little memory."""
    wanted = _CHUNK
    if size is not None:
        wanted = min(max(_CHUNK, size // _CHUNKS_OF_A_FILE), _CHUNK_OF_LARGE_FILE, max(size, 1))
    pages = -(-min(wanted, max(most, _PAGE)) // _PAGE)
    return pages * _PAGE
