"""The command lines that are compared: this program, and what the system has for the same work."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import NamedTuple

from benchmarks.program import program

__all__ = ["OURS", "Command", "Contender", "Steps", "Work", "contenders", "missing_tools", "run_steps"]

OURS = "pfndispatchcopy"

# The first one that is installed takes the digests. xxhsum takes XXH64, which is this program's default, too.
_SUM_TOOLS: Mapping[str, tuple[str, ...]] = {
    "xxhsum": ("xxhsum", "-q", "-H1"),
    "b2sum": ("b2sum",),
    "md5sum": ("md5sum",),
}
_BLOCK_BYTES = 1 << 20


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
    source: str
    copies: tuple[str, ...]


def _one_after_another(commands: Sequence[Command]) -> Steps:
    return [[command] for command in commands]


def _at_once(commands: Sequence[Command]) -> Steps:
    return [commands]


def _cp(job: _Job) -> list[Command]:
    return [Command(("cp", job.source, copy)) for copy in job.copies]


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


_PEERS = (
    _Peer("cp, one after another", "cp", _cp, _one_after_another),
    _Peer("cp, at once", "cp", _cp, _at_once),
    _Peer("tee", "tee", _tee, _one_after_another),
    _Peer("dd, one after another", "dd", _dd, _one_after_another),
)


def _sum_command() -> tuple[str, ...] | None:
    return next((command for tool, command in _SUM_TOOLS.items() if shutil.which(tool)), None)


def missing_tools(work: Work) -> list[str]:
    """What is not installed, and therefore left out."""
    missing = {peer.tool for peer in _PEERS if shutil.which(peer.tool) is None}
    if work is not Work.COPY and shutil.which("sync") is None:
        missing.add("sync")
    if work is Work.VERIFIED and _sum_command() is None:
        missing.add(" or ".join(_SUM_TOOLS))
    return sorted(missing)


def contenders(work: Work, source: str, copies: Sequence[str], *, is_memory: bool, past_cache: bool) -> list[Contender]:
    """Everybody who can do *work* here; this program is the first.

    Args:
        work: what is to be true in the end.
        source: path of a file.
        copies: paths that do not exist.
        is_memory: whether they lie in memory.
        past_cache: whether the others drop their copies from the page cache before they take digests.
    """
    job = _Job(source, tuple(copies))
    found = [Contender(OURS, [[Command(_our_arguments(work, job, is_memory=is_memory))]])]
    if work is not Work.COPY and shutil.which("sync") is None:
        return found
    if work is Work.VERIFIED and _sum_command() is None:
        return found
    return found + [
        Contender(
            peer.name, [*peer.order(peer.commands(job)), *_further_steps(work, job, peer.order, past_cache=past_cache)]
        )
        for peer in _PEERS
        if shutil.which(peer.tool)
    ]


def _our_arguments(work: Work, job: _Job, *, is_memory: bool) -> tuple[str, ...]:
    options = ["-q"]
    if work is not Work.VERIFIED:
        options += ["--verify", "none"]
    if work is Work.COPY and not is_memory:  # what the others do not flush this one shall not either
        options += [word for copy in job.copies for word in ("--no-flush", copy)]
    return (*program(), *options, job.source, *job.copies)


def _further_steps(work: Work, job: _Job, order: Callable[[Sequence[Command]], Steps], *, past_cache: bool) -> Steps:
    """Flush the copies and take their digests, in the same order as they were made."""
    if work is Work.COPY:
        return []
    flush = order([Command(("sync", copy)) for copy in job.copies])
    sums = _sum_command()
    if work is Work.DURABLE or sums is None:
        return flush
    # GNU dd drops a whole file from the cache when it is to read nothing of it.
    drop = [Command(("dd", f"if={copy}", "iflag=nocache", "count=0", "status=none")) for copy in job.copies]
    # The digest of the source as well: without it there is nothing to compare with.
    return [
        *flush,
        *(order(drop) if past_cache else []),
        *order([Command((*sums, path)) for path in (job.source, *job.copies)]),
    ]


@contextmanager
def _stream(path: str | None, mode: str) -> Iterator[int]:
    with open(path or os.devnull, mode) as file:
        yield file.fileno()


def run_steps(steps: Steps, environment: Mapping[str, str]) -> None:
    """Run the steps; a step ends when all of its commands have.

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
                    env=environment,
                )
                for command in commands
            ]
            codes = [process.wait() for process in processes]
        for command, code in zip(commands, codes, strict=True):
            if code != 0:
                raise subprocess.CalledProcessError(code, command.argv)
