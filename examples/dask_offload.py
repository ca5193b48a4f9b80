"""Copy folders on the workers of a Dask cluster: each worker reads and writes over its own link to the storage.

    python examples/dask_offload.py tcp://SCHEDULER:8786 /shared/in/A001 /shared/a /shared/b
    python examples/dask_offload.py --local 3 CARD /tmp/a /tmp/b        # on this machine, with three workers

Needs `pip install 'pfndispatchcopy[dask]'` here and on the workers, in the same version, and the same paths everywhere:
a worker that does not see them is refused. Give each worker one thread (`dask worker --nthreads 1`).
"""

import argparse
import sys
from contextlib import ExitStack

from distributed import Client, LocalCluster

from pfndispatchcopy import CopyOptions, copy_tree_with_multiple_destinations
from pfndispatchcopy.errors import PfnDispatchCopyError
from pfndispatchcopy.events import ErrorEvent, Event, ProgressEvent, WarningEvent


def tell(event: Event) -> None:
    """Show on standard error what a person wants to know."""
    if isinstance(event, ErrorEvent | WarningEvent):
        print(event.notice.message, file=sys.stderr)
    elif isinstance(event, ProgressEvent) and sys.stderr.isatty():
        print(f"\r{event.bytes_done / 1e9:9.2f} GB, {event.rate / 1e6:7.1f} MB/s", end="", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--local", type=int, metavar="N", help="start N workers on this machine, and no other")
    parser.add_argument("paths", nargs="+", metavar="[ADDRESS] SOURCE DESTINATION", help="folders")
    arguments = parser.parse_args()
    address, paths = None, arguments.paths
    if not arguments.local:
        address, *paths = paths
    if len(paths) < 2:
        parser.error("a source and at least one destination are needed")
    with ExitStack() as stack:
        if arguments.local:
            cluster = LocalCluster(n_workers=arguments.local, threads_per_worker=1, dashboard_address=None)
            address = stack.enter_context(cluster)
        client = stack.enter_context(Client(address))
        try:
            result = copy_tree_with_multiple_destinations(
                paths[0],
                paths[1:],
                options=CopyOptions(hashes=("xxh64be",)),
                executor=client.get_executor(),
                observer=tell,
            )
        except PfnDispatchCopyError as error:
            print(error, file=sys.stderr)
            return int(error.exit_code)
    for each in result.destinations:
        print(f"{each.label}: {each.state}, {each.files_ok} files, {each.bytes_ok} bytes")
    return int(result.exit_code)


if __name__ == "__main__":
    sys.exit(main())
