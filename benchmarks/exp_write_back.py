"""Is it worth while to start write-back early, and in which windows?

Method: one file to several destinations on a real disk until it is durable, in one warm process. ``flush at the
end`` never starts write-back before the last flush; the others start it behind the writer, a window at a time, and
wait for the oldest window when so many are on their way. The package's two constants are replaced in this process.

Decides ``pfndispatchcopy.fileio.partial._WRITE_BACK_WINDOW`` and
``pfndispatchcopy.fileio.partial._WINDOWS_IN_FLIGHT``.
"""

import os
from collections.abc import Sequence
from functools import partial
from statistics import median
from unittest import mock

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import find_place, make_file, print_facts, temporary_folder
from benchmarks.offloads import copy_paths, timed_offload
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio
from pfndispatchcopy.fileio import partial as partial_file
from pfndispatchcopy.model import Strategy, Verify
from pfndispatchcopy.options import CopyOptions

_WINDOWS = [4 << 20, 16 << 20, 64 << 20]
_IN_FLIGHT = (1, 4, 8)
_FLUSH_AT_THE_END = "flush at the end"
_NEVER = 1 << 60


def _run(source: str, copies: Sequence[str], options: CopyOptions, window: int, in_flight: int) -> float:
    with mock.patch.multiple(partial_file, _WRITE_BACK_WINDOW=window, _WINDOWS_IN_FLIGHT=in_flight):
        return timed_offload(source, copies, options)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_write_back", __doc__, rounds=3)
    parser.add_argument("--size", type=size, default=512 << 20, help="of the file (default: 512MiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--on", default="disk", metavar="disk|PATH", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    place = find_place(options.on)
    settings = {_FLUSH_AT_THE_END: (_NEVER, 1)} | {
        f"{size_name(window)}, {in_flight} in flight": (window, in_flight)
        for window in _WINDOWS
        for in_flight in _IN_FLIGHT
    }
    copying = CopyOptions(strategy=Strategy.PARALLEL, verify=Verify.NONE)
    with temporary_folder(place) as folder:
        source = make_file(os.path.join(folder, "source.bin"), options.size)
        copies = copy_paths(folder, options.destinations)
        samples = interleave(
            {name: partial(_run, source, copies, copying, *setting) for name, setting in settings.items()},
            options.rounds,
        )
    print_facts([place], file=size_name(options.size), destinations=str(options.destinations))
    ratios = {name: median_ratio(seconds, samples[_FLUSH_AT_THE_END]) for name, seconds in samples.items()}
    print_table(
        ("window", "median s", "min s", f"to {_FLUSH_AT_THE_END}"),
        [
            (name, f"{median(seconds):.3f}", f"{min(seconds):.3f}", f"{ratios[name]:.2f}")
            for name, seconds in samples.items()
        ],
    )
    best = min(ratios, key=ratios.__getitem__)
    print(f"The fastest is: {best}, at {ratios[best]:.2f} of the time of one {_FLUSH_AT_THE_END}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
