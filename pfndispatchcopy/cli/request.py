"""What the command was asked for, in a form that goes from one process to the other."""

from typing import NamedTuple

from pfndispatchcopy.model import STANDARD_INPUT
from pfndispatchcopy.options import CopyOptions

__all__ = ["PROGRAM", "Request"]

PROGRAM = "pfndispatchcopy"


class Request(NamedTuple):
    """What the command line and the configuration ask for.

    Attributes:
        sources: paths, or ``-`` alone.
        destinations: as spelled.
        options: how to copy.
        progress: ``auto``, ``bar``, ``plain`` or ``none``.
        log_file: path to append to, or None.
        on_finish: command to run at the end, or None.
        files_from: what a list of files holds, and whether NULs separate its paths; None where there is none.
        check: whether the sources are hash lists, or folders with some, whose files are to be checked; nothing is
            copied then, and the destinations are the same paths.
        executor: name of the engine that does the jobs of a folder; None for an automatic choice.
        reports: paths of the reports to write at the end.
        arguments: the command line, for those who read a report.
        origins: of each option that was given, where: for those who ask for the plan and how it came about.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    options: CopyOptions
    dry_run: bool = False
    json: bool = False
    verbose: bool = False
    quiet: bool = False
    progress: str = "auto"
    log_file: str | None = None
    syslog: bool = False
    on_finish: str | None = None
    files_from: tuple[bytes, bool] | None = None
    origins: tuple[tuple[str, str, str], ...] = ()
    check: bool = False
    executor: str | None = None
    reports: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What to call the source, where there is room for one."""
        return self.sources[0]

    @property
    def reads_standard_input(self) -> bool:
        """Whether standard input is what is copied."""
        return self.sources == (STANDARD_INPUT,)
