"""Copy a folder by the Python interface, on an executor: ``python -m tests.support.offload_on NAME SOURCE DEST …``.

Prints what the command prints with ``--json``, and ends as it does.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module

from pfndispatchcopy import copy_tree_with_multiple_destinations
from pfndispatchcopy.cli.jsonlines import encode, event_fields, tree_summary_fields
from pfndispatchcopy.events import Event
from pfndispatchcopy.executors import SerialExecutor

__all__ = ["EXECUTORS"]

EXECUTORS: dict[str, Callable[[], Executor]] = {
    "SerialExecutor": SerialExecutor,
    "ThreadPoolExecutor": lambda: ThreadPoolExecutor(2),
    "ProcessPoolExecutor": lambda: ProcessPoolExecutor(2),
    "loky": lambda: import_module("loky").ProcessPoolExecutor(2),
}


def main() -> int:
    """Do it."""
    name, source, *destinations = sys.argv[1:]

    writing = threading.Lock()

    def observe(event: Event) -> None:
        with writing:
            sys.stdout.write(encode(*event_fields(event)).decode())

    with EXECUTORS[name]() as executor:
        result = copy_tree_with_multiple_destinations(source, destinations, executor=executor, observer=observe)
    summary = tree_summary_fields(result, result.exit_code, dry_run=False)
    sys.stdout.write(encode("summary", summary).decode())
    return int(result.exit_code)


if __name__ == "__main__":
    sys.exit(main())
