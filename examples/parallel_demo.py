"""Parallel against sequential on this machine, through the library.

Each file goes to three folders in three ways: all at once, with a reader thread and a writer thread for each
destination; by the same program in one loop without threads; and with ``shutil.copyfile``, one after another.
The ways take turns, in a new order each round. A ratio below 1 means that parallel was faster.

    python examples/parallel_demo.py --sizes 1MiB 16MiB 64MiB --rounds 5 --folder /dev/shm
"""

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import median
from time import perf_counter

from pfndispatchcopy import (
    CopyOptions,
    CopyResult,
    UsageError,
    copy_with_multiple_destinations,
    copy_with_multiple_destinations_parallel,
)
from pfndispatchcopy.model import Strategy, Verify
from pfndispatchcopy.options import parse_size

_BLOCK = 1 << 20
_FOLDERS = ("a", "b", "c")


def copy_parallel(source: str, copies: Sequence[str]) -> None:
    # shutil neither flushes nor verifies; to compare like with like, the library is told not to, either.
    options = CopyOptions(verify=Verify.NONE, no_flush=frozenset(copies))
    _require_success(copy_with_multiple_destinations_parallel(source, copies, options=options))


def copy_in_one_loop(source: str, copies: Sequence[str]) -> None:
    options = CopyOptions(verify=Verify.NONE, no_flush=frozenset(copies), strategy=Strategy.SINGLE)
    _require_success(copy_with_multiple_destinations(source, copies, options=options))


def copy_one_after_another(source: str, copies: Sequence[str]) -> None:
    for copy in copies:
        shutil.copyfile(source, copy)


_WAYS: dict[str, Callable[[str, Sequence[str]], None]] = {
    "parallel": copy_parallel,
    "single": copy_in_one_loop,
    "shutil": copy_one_after_another,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=_size, nargs="+", default=[1 << 20, 16 << 20, 128 << 20], help="(default: 1MiB 16MiB 128MiB)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="besides the one that warms up (default: %(default)s)")
    parser.add_argument("--folder", help="where to copy (default: the system's temporary folder)")
    options = parser.parse_args()
    print(f"seconds to make {len(_FOLDERS)} copies: median of {options.rounds} interleaved rounds\n")
    print(f"{'file':>9}" + "".join(f"{name:>10}" for name in _WAYS) + "   to single   to shutil")
    with tempfile.TemporaryDirectory(prefix="pfndispatchcopy-demo-", dir=options.folder) as root:
        for size in options.sizes:
            samples = _measure(root, size, options.rounds)
            cells = [f"{median(samples[name]):10.3f}" for name in _WAYS]
            ratios = [_median_ratio(samples["parallel"], samples[name]) for name in ("single", "shutil")]
            print(f"{_size_name(size):>9}" + "".join(cells) + "".join(f"{ratio:12.2f}" for ratio in ratios), flush=True)
    print("\nOf the three only the library takes a digest, writes under temporary names, and keeps the times.")
    return 0


def _measure(root: str, size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, one for each round."""
    source = os.path.join(root, "source.bin")
    with open(source, "wb") as file:
        file.writelines(os.urandom(min(_BLOCK, size - offset)) for offset in range(0, size, _BLOCK))
    copies = [os.path.join(root, folder, "source.bin") for folder in _FOLDERS]
    for copy in copies:
        os.makedirs(os.path.dirname(copy), exist_ok=True)
    samples: dict[str, list[float]] = {name: [] for name in _WAYS}
    order = list(_WAYS)
    for number in range(rounds + 1):
        random.SystemRandom().shuffle(order)
        for name in order:
            started_at = perf_counter()
            _WAYS[name](source, copies)
            seconds = perf_counter() - started_at
            _remove(copies)
            if number:  # the first round warms up
                samples[name].append(seconds)
    return samples


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.remove(path)


def _require_success(results: CopyResult) -> None:
    if not results.success:
        raise SystemExit("; ".join(each.error.message for each in results.destinations if each.error))


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size_name(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else f"{size} B"


if __name__ == "__main__":
    raise SystemExit(main())
