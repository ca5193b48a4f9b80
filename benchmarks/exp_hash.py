"""How fast is each digest on one core?

Method: ``HashCalculator`` over a file's worth of chunks of 1 MiB that rotate through eight buffers, as they do in
the engine; the algorithms interleaved.

Decides ``is_fast`` of each ``pfndispatchcopy.hashing.Algorithm``: which digests may be taken in the reader's thread.
"""

import os
from collections.abc import Sequence
from functools import partial
from statistics import median

from benchmarks.arguments import experiment_parser, size
from benchmarks.machine import print_facts
from benchmarks.table import print_table, size_name
from benchmarks.timing import interleave, seconds_of
from pfndispatchcopy.hashing import ALGORITHMS, HashCalculator

_CHUNK = 1 << 20
_BUFFERS = 8


def _hash(name: str, chunks: Sequence[memoryview]) -> None:
    calculator = HashCalculator([name])
    for chunk in chunks:
        calculator.update(chunk)
    calculator.hexdigests()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = experiment_parser("exp_hash", __doc__, rounds=7)
    parser.add_argument("--size", type=size, default=128 << 20, help="that is hashed (default: 128MiB)")
    options = parser.parse_args(arguments)
    buffers = [memoryview(os.urandom(_CHUNK)) for _ in range(_BUFFERS)]
    chunks = [buffers[number % _BUFFERS] for number in range(max(options.size // _CHUNK, 1))]
    samples = interleave(
        {name: partial(seconds_of, partial(_hash, name, chunks)) for name in ALGORITHMS}, options.rounds
    )
    speeds = {name: len(chunks) * _CHUNK / 2**30 / median(seconds) for name, seconds in samples.items()}
    print_facts([], hashed=size_name(len(chunks) * _CHUNK))
    print_table(
        ("digest", "GiB/s", "runs in"),
        [
            (name, f"{speed:.2f}", "the reader" if ALGORITHMS[name].is_fast else "a thread of its own")
            for name, speed in speeds.items()
        ],
    )
    slowest = min((name for name in speeds if ALGORITHMS[name].is_fast), key=speeds.__getitem__)
    quickest = max((name for name in speeds if not ALGORITHMS[name].is_fast), key=speeds.__getitem__)
    print(
        f"The slowest digest of the reader, {slowest}, is {speeds[slowest] / speeds[quickest]:.1f} times as fast as"
        f" {quickest}, the fastest of those that get a thread."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
