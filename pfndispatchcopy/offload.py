"""What kind of offload a request is: of one file, or of a tree. Decided once, here."""

import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pfndispatchcopy.engine.lanes import Supervisor
from pfndispatchcopy.errors import RefusedError, StalledError, UsageError
from pfndispatchcopy.events import Observer
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.model import STANDARD_INPUT
from pfndispatchcopy.notices import errno_name, reason_of
from pfndispatchcopy.nursery import Nursery
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.printable import printable
from pfndispatchcopy.session import Offload, require_usable

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pfndispatchcopy.tree.session import TreeOffload

__all__ = ["prepare_offload"]


def prepare_offload(
    sources: Sequence[str],
    destinations: Sequence[str],
    options: CopyOptions,
    *,
    observer: Observer,
    cancel: threading.Event,
    system: System,
    files_from: tuple[bytes, bool] | None = None,
    executor: "Executor | str | None" = None,
    nursery: Nursery | None = None,
    tells_files: bool = True,
) -> "Offload | TreeOffload":
    """Return the offload of these sources, ready to be run; see :class:`Offload` and :class:`TreeOffload`.

    Raises:
        UsageError: options or paths cannot be used.
        RefusedError: the source cannot be looked at.
    """
    if not sources:
        raise UsageError("at least one source is needed")
    if STANDARD_INPUT in sources and len(sources) > 1:
        raise UsageError("standard input cannot be one of several sources")
    for path in (*sources, *destinations):
        require_usable(path)
    if len(sources) == 1 and files_from is None and not _is_folder(system, sources[0], options, cancel):
        return Offload(sources[0], destinations, options, observer=observer, cancel=cancel, system=system)
    from pfndispatchcopy.tree.session import TreeOffload  # noqa: PLC0415 - 20 ms that a single file does not need

    return TreeOffload(
        sources,
        destinations,
        options,
        observer=observer,
        cancel=cancel,
        system=system,
        files_from=files_from,
        executor=executor,
        nursery=nursery,
        tells_files=tells_files,
    )


def _is_folder(system: System, source: str, options: CopyOptions, cancel: threading.Event) -> bool:
    """Ask in a lane, since even that may hang."""
    if source == STANDARD_INPUT:
        return False
    supervisor = Supervisor(options.stall_timeout_s, cancel)
    answer: list[bool] = []
    watch = supervisor.watch(source)

    def look() -> None:
        # What is not there is for the offload to say.
        with watch("stat"), suppress(FileNotFoundError, NotADirectoryError):
            answer.append(stat.S_ISDIR(system.status(source).st_mode))

    task = supervisor.lane("pfn-look").submit(look, watch)
    supervisor.wait([task])
    supervisor.close()
    if isinstance(task.error, OSError | StalledError):
        raise RefusedError(
            f"{printable(source)}: the source cannot be looked at: {reason_of(task.error)}; nothing was written",
            path=source,
            operation="stat",
            errno=errno_name(task.error),
        )
    if task.error is not None:
        raise task.error
    return answer == [True]
