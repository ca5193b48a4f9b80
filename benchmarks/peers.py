"""The command lines that are compared: this program, and what the system has for the same work."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import NamedTuple

from benchmarks.program import program

__all__ = ["OURS", "Command", "Contender", "Kind", "Steps", "Work", "contenders", "missing_tools", "run_steps"]

OURS = "pfndispatchcopy"

# The first one that is installed takes the digests. xxhsum takes XXH64, which is this program's default, too.
_SUM_TOOLS: Mapping[str, tuple[str, ...]] = {
    "xxhsum": ("xxhsum", "-q", "-H1"),
    "b2sum": ("b2sum",),
    "md5sum": ("md5sum",),
}
_BLOCK_BYTES = 1 << 20


class Kind(StrEnum):
    """What is copied: one file, or a folder with all that is in it."""

    FILE = "file"
    FOLDER = "folder"


class Work(StrEnum):
    """What has to be true of the copies when the clock stops.

    ``copy``: they are there. ``durable``: they are on the medium. ``verified``: they were also read back and
    their digests compared; the others read them from the page cache, unless they are told to drop it, this
    program from the medium.
    """

    COPY = "copy"
    DURABLE = "durable"
    VERIFIED = "verified"


class Command(NamedTuple):
    """One process: its arguments, and the files that stand in for its standard streams."""

    argv: tuple[str, ...]
    stdin: str | None = None
    stdout: str | None = None


# One step after another; the commands of a step run at the same time.
Steps = Sequence[Sequence[Command]]


class Contender(NamedTuple):
    """A way to do the work: its name in the table, and its command lines."""

    name: str
    steps: Steps


class _Job(NamedTuple):
    kind: Kind
    source: str
    destinations: tuple[str, ...]

    @property
    def copies(self) -> list[str]:
        return [os.path.join(destination, os.path.basename(self.source)) for destination in self.destinations]


def _one_after_another(commands: Sequence[Command]) -> Steps:
    return [[command] for command in commands]


def _at_once(commands: Sequence[Command]) -> Steps:
    return [commands]


def _cp(job: _Job) -> list[Command]:
    return [Command(("cp", job.source, destination)) for destination in job.destinations]


def _cp_archive(job: _Job) -> list[Command]:
    return [Command(("cp", "-a", job.source, destination)) for destination in job.destinations]


def _rsync(job: _Job) -> list[Command]:
    return [Command(("rsync", "-a", job.source, destination)) for destination in job.destinations]


def _dd(job: _Job) -> list[Command]:
    return [
        Command(("dd", f"if={job.source}", f"of={copy}", f"bs={_BLOCK_BYTES}", "status=none")) for copy in job.copies
    ]


def _tee(job: _Job) -> list[Command]:
    *others, last = job.copies
    return [Command(("tee", *others), stdin=job.source, stdout=last)]


class _Peer(NamedTuple):
    name: str
    tool: str
    commands: Callable[[_Job], list[Command]]
    order: Callable[[Sequence[Command]], Steps]


_PEERS: Mapping[Kind, tuple[_Peer, ...]] = {
    Kind.FILE: (
        _Peer("cp, one after another", "cp", _cp, _one_after_another),
        _Peer("cp, at once", "cp", _cp, _at_once),
        _Peer("tee", "tee", _tee, _one_after_another),
        _Peer("dd, one after another", "dd", _dd, _one_after_another),
    ),
    Kind.FOLDER: (
        _Peer("cp -a, one after another", "cp", _cp_archive, _one_after_another),
        _Peer("cp -a, at once", "cp", _cp_archive, _at_once),
        _Peer("rsync -a, one after another", "rsync", _rsync, _one_after_another),
    ),
}


def _sum_command() -> tuple[str, ...] | None:
    return next((command for tool, command in _SUM_TOOLS.items() if shutil.which(tool)), None)


def _missing_for_all(kind: Kind, work: Work) -> set[str]:
    """What is not installed, and without which nobody else can do the work."""
    needed = set() if work is Work.COPY else {"sync"}
    if work is Work.VERIFIED and kind is Kind.FOLDER:
        needed.add("find")
    missing = {tool for tool in needed if shutil.which(tool) is None}
    if work is Work.VERIFIED and _sum_command() is None:
        missing.add(" or ".join(_SUM_TOOLS))
    return missing


def missing_tools(kind: Kind, work: Work) -> list[str]:
    """What is not installed, and therefore left out."""
    missing = {peer.tool for peer in _PEERS[kind] if shutil.which(peer.tool) is None}
    return sorted(missing | _missing_for_all(kind, work))


def contenders(
    kind: Kind, work: Work, source: str, destinations: Sequence[str], *, is_memory: bool, past_cache: bool
) -> list[Contender]:
    """Everybody who can do *work* here; this program is the first.

    Args:
        kind: what the source is.
        work: what is to be true in the end.
        source: path of what is copied.
        destinations: paths of folders that do not hold a copy of it.
        is_memory: whether they lie in memory.
        past_cache: whether the others drop their copies from the page cache before they take digests; of a file.
    """
    job = _Job(kind, source, tuple(destinations))
    found = [Contender(OURS, [[Command(_our_arguments(work, job, is_memory=is_memory))]])]
    if _missing_for_all(kind, work):
        return found
    return found + [
        Contender(
            peer.name, [*peer.order(peer.commands(job)), *_further_steps(work, job, peer.order, past_cache=past_cache)]
        )
        for peer in _PEERS[kind]
        if shutil.which(peer.tool)
    ]


def _our_arguments(work: Work, job: _Job, *, is_memory: bool) -> tuple[str, ...]:
    options = ["-q"]
    if work is not Work.VERIFIED:
        options += ["--verify", "none"]
    if work is Work.COPY and not is_memory:  # what the others do not flush this one shall not either
        options += [word for destination in job.destinations for word in ("--no-flush", destination)]
    return (*program(), *options, job.source, *job.destinations)


def _further_steps(work: Work, job: _Job, order: Callable[[Sequence[Command]], Steps], *, past_cache: bool) -> Steps:
    """Flush the copies and take their digests, in the same order as they were made."""
    if work is Work.COPY:
        return []
    flush = order(_flush_commands(job))
    sums = _sum_command()
    if work is Work.DURABLE or sums is None:
        return flush
    # GNU dd drops a whole file from the cache when it is to read nothing of it.
    drop = [Command(("dd", f"if={copy}", "iflag=nocache", "count=0", "status=none")) for copy in job.copies]
    # The digest of the source as well: without it there is nothing to compare with.
    return [
        *flush,
        *(order(drop) if past_cache else []),
        *order([_sum_of(job.kind, sums, path) for path in (job.source, *job.copies)]),
    ]


def _flush_commands(job: _Job) -> list[Command]:
    """Flush each file; for a tree everything at once, which is faster than one file after another."""
    return [Command(("sync",))] if job.kind is Kind.FOLDER else [Command(("sync", copy)) for copy in job.copies]


def _sum_of(kind: Kind, sums: Sequence[str], path: str) -> Command:
    return Command(("find", path, "-type", "f", "-exec", *sums, "{}", "+") if kind is Kind.FOLDER else (*sums, path))


@contextmanager
def _stream(path: str | None, mode: str) -> Iterator[int]:
    with open(path or os.devnull, mode) as file:
        yield file.fileno()


def run_steps(steps: Steps, environment: Mapping[str, str]) -> None:
    """Run the steps; a step ends when all of its commands have. What they warn of is shown only when they fail.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    for commands in steps:
        with ExitStack() as streams:
            processes = [
                subprocess.Popen(
                    command.argv,
                    stdin=streams.enter_context(_stream(command.stdin, "rb")),
                    stdout=streams.enter_context(_stream(command.stdout, "wb")),
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    env=environment,
                )
                for command in commands
            ]
            messages = [process.communicate()[1] for process in processes]
        for command, process, message in zip(commands, processes, messages, strict=True):
            if process.returncode != 0:
                error = subprocess.CalledProcessError(process.returncode, command.argv)
                error.add_note(message)
                raise error
