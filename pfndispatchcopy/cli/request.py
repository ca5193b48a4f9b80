"""What the command was asked for, in a form that goes from one process to the other."""

from typing import NamedTuple

from pfndispatchcopy.options import CopyOptions

__all__ = ["PROGRAM", "Request"]

PROGRAM = "pfndispatchcopy"


class Request(NamedTuple):
    """What the command line and the configuration ask for.

    Attributes:
        source: path, or ``-``.
        destinations: as spelled.
        options: how to copy.
        progress: ``auto``, ``bar``, ``plain`` or ``none``.
        log_file: path to append to, or None.
        on_finish: command to run at the end, or None.
    """

    source: str
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
