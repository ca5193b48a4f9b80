"""In which pieces, and by which way past the page cache, are copies read back the fastest?

Method: several flushed files on a real disk are read back at once, each in a thread of its own and with its
digest, as the engine does it: after their pages were dropped (``evicted``), and around the cache (``direct``).
A reading counts only where the pages were gone before it.

Decides ``pfndispatchcopy.plan._READ_BACK``, and that ``pfndispatchcopy.fileio.readback.open_past_cache`` tries
eviction first.
"""

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import drop_from_cache, find_place, make_file, print_facts, temporary_folder
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, median_ratio, seconds_of
from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.readback import read_to_end
from pfndispatchcopy.hashing import HashCalculator

_BUFFER_SIZES = [1 << power for power in range(16, 23)]
_BASE = 256 << 10


def _open_evicted(path: str) -> int:
    system = native_system()
    fd = os.open(path, os.O_RDONLY)
    if system.is_cached(fd, os.fstat(fd).st_size):
        os.close(fd)
        raise RuntimeError(f"{path} cannot be dropped from the page cache")
    system.advise_sequential(fd)
    return fd


def _open_direct(path: str) -> int:
    system = native_system()
    folder = system.open_folder(os.path.dirname(path))
    try:
        return system.open_direct(folder, os.path.basename(path))
    finally:
        system.close_folder(folder)


def _read(path: str, open_file: Callable[[str], int], buffer_size: int) -> None:
    fd = open_file(path)
    try:
        calculator = HashCalculator()
        for view in read_to_end(native_system(), fd, page_aligned_buffer(buffer_size)):
            calculator.update(view)
    finally:
        os.close(fd)


def _run(paths: Sequence[str], open_file: Callable[[str], int], buffer_size: int) -> float:
    for path in paths:
        drop_from_cache(path)
    errors: list[Exception] = []

    def read(path: str) -> None:
        try:
            _read(path, open_file, buffer_size)
        except Exception as error:  # noqa: BLE001 - raised again where somebody hears it
            errors.append(error)

    def read_all() -> None:
        threads = [threading.Thread(target=read, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seconds = seconds_of(read_all)
    if errors:
        raise errors[0]
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_read_back", __doc__, rounds=7)
    parser.add_argument("--size", type=size, default=128 << 20, help="of each file (default: 128MiB)")
    parser.add_argument("--destinations", type=int, default=3, metavar="N", help="files (default: %(default)s)")
    parser.add_argument("--on", default="disk", metavar="disk|PATH", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    place = find_place(options.on)
    ways: dict[str, Callable[[str], int]] = {"evicted": _open_evicted, "direct": _open_direct}
    with temporary_folder(place) as folder:
        paths = [
            make_file(os.path.join(folder, f"copy-{number}.bin"), options.size)
            for number in range(options.destinations)
        ]
        samples = interleave(
            {
                f"{way} {buffer_size}": partial(_run, paths, open_file, buffer_size)
                for way, open_file in ways.items()
                for buffer_size in _BUFFER_SIZES
            },
            options.rounds,
        )
    print_facts([place], each_file=size_name(options.size), destinations=str(options.destinations))
    base = samples[f"evicted {_BASE}"]
    ratios = {name: median_ratio(seconds, base) for name, seconds in samples.items()}
    print_table(
        ("buffer", *(f"{way} s  ratio" for way in ways)),
        [
            (
                size_name(each),
                *(f"{median(samples[f'{way} {each}']):.3f}  {ratios[f'{way} {each}']:5.2f}" for way in ways),
            )
            for each in _BUFFER_SIZES
        ],
    )
    way, buffer_size = min(ratios, key=ratios.__getitem__).split()
    print(
        f"The fastest is {way} with {size_name(int(buffer_size))}, at {ratios[f'{way} {buffer_size}']:.2f}"
        f" of the time of evicted with {size_name(_BASE)}."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
