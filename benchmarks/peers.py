"""The command lines that are compared: this program, what others have for the same work, and the limit in C.

Everybody gets the quickest command line that does the whole work. What a tool cannot do itself is done by hand after
it: ``sync`` makes the copies durable, and ``xxhsum -c`` compares them with digests of the source that were taken
before the clock started. ocopy and rclone compare by themselves; dc3dd could, but only with slower digests.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import NamedTuple

from benchmarks.contents import write_sums
from benchmarks.program import program
from benchmarks.roofline import compiled_roofline

__all__ = ["OURS", "ROOFLINE", "Command", "Contender", "Job", "Steps", "Work", "contenders", "run_steps"]

OURS = "pfndispatchcopy"
ROOFLINE = "roofline in C"

# The first one that is installed compares digests: the digest, and the command before the name of the list.
_SUM_TOOLS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "xxhsum": ("xxh64be", ("xxhsum", "-q", "-c")),
    "md5sum": ("md5", ("md5sum", "--quiet", "-c")),
}
_BLOCK = "1M"
# `make bench` installs ocopy there, since it wants packages of its own.
_FURTHER_TOOLS = os.path.join(os.path.dirname(os.path.dirname(__file__)), ".venv-peers", "bin")


class Work(StrEnum):
    """What has to be true of the copies when the clock stops.

    ``copy``: they are there. ``durable``: they are on the medium. ``verified``: they were also read back and
    their digests compared; by the others from the page cache, unless they are told to drop it, by this program
    from the medium.
    """

    COPY = "copy"
    DURABLE = "durable"
    VERIFIED = "verified"


class Command(NamedTuple):
    """One process: its arguments, the files that stand in for its standard streams, and where it runs."""

    argv: tuple[str, ...]
    stdin: str | None = None
    stdout: str | None = None
    folder: str | None = None


# One step after another; the commands of a step run at the same time.
Steps = Sequence[Sequence[Command]]


class Contender(NamedTuple):
    """A way to do the work.

    Attributes:
        name: in the table.
        steps: its command lines.
        copies: paths of what comes out.
    """

    name: str
    steps: Steps
    copies: Sequence[str]


class Job(NamedTuple):
    """What is to be done.

    Attributes:
        work: what has to be true in the end.
        source: path of a folder, or of a file that is alone in its folder.
        destinations: paths of empty folders.
        is_memory: whether they lie in memory.
        past_cache: whether the others drop their copies from the page cache before they compare digests.
        sums: path to write a list of the source's digests to.
    """

    work: Work
    source: str
    destinations: Sequence[str]
    is_memory: bool
    past_cache: bool
    sums: str

    @property
    def is_folder(self) -> bool:
        """Whether the source is a folder."""
        return os.path.isdir(self.source)

    @property
    def copies(self) -> list[str]:
        """Where the copies usually come to lie."""
        return [os.path.join(each, os.path.basename(self.source)) for each in self.destinations]


def _one_after_another(commands: Sequence[Command]) -> Steps:
    return [[command] for command in commands]


def _at_once(commands: Sequence[Command]) -> Steps:
    return [commands]


def _cp(job: Job) -> list[Command]:
    options = ["-a"] if job.is_folder else []
    return [Command(("cp", *options, job.source, destination)) for destination in job.destinations]


def _rsync(job: Job) -> list[Command]:
    return [Command(("rsync", "-a", job.source, destination)) for destination in job.destinations]


def _rclone(job: Job) -> list[Command]:
    # It compares by itself, unless it is told not to.
    options = ["-q", "--config", os.devnull, *([] if job.work is Work.VERIFIED else ["--ignore-checksum"])]
    return [Command(("rclone", "copyto", *options, job.source, copy)) for copy in job.copies]


def _ocopy(job: Job) -> list[Command]:
    # It takes folders only, and compares by itself, with XXH64 and from the page cache.
    options = ["--no-mhl", *([] if job.work is Work.VERIFIED else ["--dont-verify"])]
    folder = job.source if job.is_folder else os.path.dirname(job.source)
    return [Command((_tool("ocopy") or "ocopy", *options, folder, *job.destinations))]


def _copies_of_ocopy(job: Job) -> list[str]:
    if job.is_folder:
        return job.copies
    folder, name = os.path.split(job.source)
    return [os.path.join(each, os.path.basename(folder), name) for each in job.destinations]


def _dd(job: Job) -> list[Command]:
    return [Command(("dd", f"if={job.source}", f"of={copy}", f"bs={_BLOCK}", "status=none")) for copy in job.copies]


def _dcfldd(job: Job) -> list[Command]:
    outputs = [f"of={copy}" for copy in job.copies]
    return [Command(("dcfldd", f"if={job.source}", *outputs, f"bs={_BLOCK}", "status=off"))]


def _dc3dd(job: Job) -> list[Command]:
    return [Command(("dc3dd", f"if={job.source}", *(f"of={copy}" for copy in job.copies), f"bufsz={_BLOCK}"))]


def _tee(job: Job) -> list[Command]:
    *others, last = job.copies
    return [Command(("tee", *others), stdin=job.source, stdout=last)]


class _Peer(NamedTuple):
    """Another program.

    Attributes:
        name: in the table.
        tool: its program.
        commands: what it is called with.
        order: of the commands, and of those that flush and compare.
        takes_folders: whether it can copy a folder.
        compares: whether it compares by itself.
    """

    name: str
    tool: str
    commands: Callable[[Job], list[Command]]
    order: Callable[[Sequence[Command]], Steps] = _one_after_another
    takes_folders: bool = False
    compares: bool = False


_PEERS = (
    _Peer("cp, one after another", "cp", _cp, takes_folders=True),
    _Peer("cp, at once", "cp", _cp, _at_once, takes_folders=True),
    _Peer("tee", "tee", _tee, _at_once),
    _Peer("dd, one after another", "dd", _dd),
    _Peer("rsync, one after another", "rsync", _rsync, takes_folders=True),
    _Peer("rclone, one after another", "rclone", _rclone, takes_folders=True, compares=True),
    _Peer("dcfldd", "dcfldd", _dcfldd, _at_once),
    _Peer("dc3dd", "dc3dd", _dc3dd, _at_once),
    _Peer("ocopy", "ocopy", _ocopy, takes_folders=True, compares=True),
)


def contenders(job: Job) -> tuple[list[Contender], dict[str, str]]:
    """Everybody who can do the work here, this program first; and who cannot, with the reason."""
    found = [Contender(OURS, [[Command(_our_arguments(job))]], job.copies)]
    absent: dict[str, str] = {}
    if not job.is_folder:
        roofline = compiled_roofline()
        if roofline is None:
            absent[ROOFLINE] = "there is no C compiler"
        else:
            found.append(Contender(ROOFLINE, [[Command((roofline, *_roofline_arguments(job)))]], job.copies))
    lacks = _lacking_for_all(job.work)
    sums = None
    for peer in _PEERS:
        if job.is_folder and not peer.takes_folders:
            continue
        if lacks or _tool(peer.tool) is None:
            absent[peer.name] = f"{lacks or peer.tool} is not installed"
            continue
        if job.work is Work.VERIFIED and not peer.compares and sums is None:
            sums = _write_sums(job)
        copies = _copies_of_ocopy(job) if peer.tool == "ocopy" else job.copies
        steps = [*peer.order(peer.commands(job)), *_further_steps(job, peer, copies, sums)]
        found.append(Contender(peer.name, steps, copies))
    return found, absent


def _tool(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_FURTHER_TOOLS)


def _lacking_for_all(work: Work) -> str:
    """What is not installed, and without which nobody else can do the work."""
    if work is not Work.COPY and shutil.which("sync") is None:
        return "sync"
    if work is Work.VERIFIED and not any(map(shutil.which, _SUM_TOOLS)):
        return " or ".join(_SUM_TOOLS)
    return ""


def _our_arguments(job: Job) -> tuple[str, ...]:
    options = ["-q"]
    if job.work is not Work.VERIFIED:
        options += ["--verify", "none"]
    if job.work is Work.COPY and not job.is_memory:  # what the others do not flush this one shall not either
        options += [word for destination in job.destinations for word in ("--no-flush", destination)]
    return (*program(), *options, job.source, *job.destinations)


def _roofline_arguments(job: Job) -> tuple[str, ...]:
    options = {Work.COPY: (), Work.DURABLE: ("--flush",), Work.VERIFIED: ("--flush", "--read-back")}
    return (*options[job.work], job.source, *job.copies)


def _further_steps(job: Job, peer: _Peer, copies: Sequence[str], sums: tuple[str, ...] | None) -> Steps:
    """Flush the copies and compare their digests, in the same order as they were made."""
    if job.work is Work.COPY:
        return []
    # A tree is flushed with everything at once, which is faster than one file after another.
    flush = [Command(("sync",))] if job.is_folder else [Command(("sync", copy)) for copy in copies]
    if job.work is Work.DURABLE or peer.compares or sums is None:
        return peer.order(flush)
    # GNU dd drops a whole file from the cache when it is to read nothing of it.
    drop = [Command(("dd", f"if={copy}", "iflag=nocache", "count=0", "status=none")) for copy in copies]
    compare = [Command(sums, folder=destination) for destination in job.destinations]
    return [
        *peer.order(flush),
        *(peer.order(drop) if job.past_cache and not job.is_folder else []),
        *peer.order(compare),
    ]


def _write_sums(job: Job) -> tuple[str, ...]:
    """Write the list of the source's digests; returns the command that compares a destination with it."""
    name, command = next(found for tool, found in _SUM_TOOLS.items() if shutil.which(tool))
    write_sums(job.sums, job.source, name)
    return (*command, job.sums)


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
                    cwd=command.folder,
                )
                for command in commands
            ]
            messages = [process.communicate()[1] for process in processes]
        for command, process, message in zip(commands, processes, messages, strict=True):
            if process.returncode != 0:
                error = subprocess.CalledProcessError(process.returncode, command.argv)
                error.add_note(message)
                raise error
