"""How is a large file read the fastest that is checked: in which blocks, and is the cache emptied behind the reader?

Method: files that were dropped from the page cache are read one after another in one thread, each block taken into
a digest, as ``--check`` does it; the variants interleaved, and ``dd iflag=nocache`` beside them.

Decides ``pfndispatchcopy.check.verify._BLOCK`` and ``pfndispatchcopy.check.verify._FORGOTTEN_AT_ONCE``.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import drop_from_cache, find_place, make_file, print_facts, temporary_folder
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, seconds_of
from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.hashing import HashCalculator

_BLOCKS = (1 << 20, 4 << 20)
_FORGOTTEN = (0, 32 << 20)


def _read(paths: Sequence[str], block: int, forgotten_at_once: int) -> None:
    system, buffer = native_system(), page_aligned_buffer(block)
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        system.advise_sequential(fd)
        calculator, count, forgotten = HashCalculator(), 0, 0
        while got := system.read(fd, buffer):
            calculator.update(buffer[:got])
            count += got
            if forgotten_at_once and count - forgotten >= forgotten_at_once:
                system.forget_range(fd, forgotten, count - forgotten)
                forgotten = count
        os.close(fd)


def _dd(paths: Sequence[str]) -> None:
    for path in paths:
        subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=1M", "iflag=nocache", "status=none"], check=True)


def _cold(paths: Sequence[str], read: Callable[[], None]) -> float:
    for path in paths:
        drop_from_cache(path)
    return seconds_of(read)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_check", __doc__, rounds=7)
    parser.add_argument("--on", default="disk", metavar="FOLDER", help="where the files are made (default: a disk)")
    parser.add_argument("--size", type=size, default=1 << 30, help="of each of two files (default: 1GiB)")
    options = parser.parse_args(arguments)
    place = find_place(options.on)
    with temporary_folder(place) as folder:
        paths = [make_file(os.path.join(folder, f"{number}"), options.size) for number in range(2)]
        variants: dict[str, Callable[[], float]] = {"dd": partial(_cold, paths, partial(_dd, paths))}
        for block in _BLOCKS:
            for forgotten in _FORGOTTEN:
                name = f"{size_name(block)}, {'forgotten' if forgotten else 'kept'}"
                variants[name] = partial(_cold, paths, partial(_read, paths, block, forgotten))
        samples = interleave(variants, options.rounds)
    print_facts([place], file=size_name(options.size))
    print_table(
        ("way", "MB/s"),
        [(name, f"{2 * options.size / 1e6 / median(seconds):.0f}") for name, seconds in samples.items()],
    )
    print(f"The fastest is: {min(samples, key=lambda name: median(samples[name]))}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
