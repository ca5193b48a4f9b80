"""What does a start of the command cost, and what in it?

Method: whole processes, interleaved: the bare interpreter, the command asked for nothing much, and a copy of three
bytes to three folders in memory. Imports are those of a fresh interpreter, less the bare one. Classes are made in
this process.

Decides which modules ``pfndispatchcopy`` imports only where they are used (``tqdm``, ``psutil``), that the front
forks before it reads its arguments (``pfndispatchcopy.cli.main``), and that the values of
``pfndispatchcopy.model`` are named tuples.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

from benchmarks.arguments import experiment_parser
from benchmarks.machine import find_place, make_file, print_facts, temporary_folder
from benchmarks.program import compile_package, program
from benchmarks.table import print_table
from benchmarks.timing import Samples, interleave, seconds_of

_BARE = "bare interpreter"
_MODULES = ("argparse", "dataclasses", "psutil", "tqdm", "xxhash")
_CLASSES = 20


def _process(argv: Sequence[str]) -> float:
    return seconds_of(partial(subprocess.run, argv, check=True, stdout=subprocess.DEVNULL))


def _copy(source: str, folders: Sequence[str]) -> float:
    seconds = _process([*program(), "-q", source, *folders])
    for folder in folders:
        os.remove(os.path.join(folder, os.path.basename(source)))
    return seconds


def _measure_processes(rounds: int) -> Samples:
    with temporary_folder(find_place("memory")) as root:
        source = make_file(os.path.join(root, "tiny.bin"), 3)
        folders = [os.path.join(root, name) for name in "abc"]
        for folder in folders:
            os.mkdir(folder)
        variants: dict[str, Callable[[], float]] = {
            _BARE: partial(_process, [sys.executable, "-c", "pass"]),
            "pfndispatchcopy --version": partial(_process, [*program(), "--version"]),
            "pfndispatchcopy --help": partial(_process, [*program(), "--help"]),
            "3 bytes to 3 folders": partial(_copy, source, folders),
        }
        for module in _MODULES:
            variants[f"import {module}"] = partial(_process, [sys.executable, "-c", f"import {module}"])
        return interleave(variants, rounds, warm_up=2)


def _make_data_classes() -> None:
    for _ in range(_CLASSES):

        @dataclass(frozen=True, slots=True)
        class _Value:
            name: str
            size: int
            label: str
            mode: int = 0


def _make_named_tuples() -> None:
    for _ in range(_CLASSES):

        class _Value(NamedTuple):
            name: str
            size: int
            label: str
            mode: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = experiment_parser("exp_startup", __doc__, rounds=25).parse_args(arguments)
    compile_package()
    samples = _measure_processes(options.rounds)
    beyond = {
        name: median(each - bare for each, bare in zip(seconds, samples[_BARE], strict=True))
        for name, seconds in samples.items()
    }
    classes = interleave(
        {
            "frozen, slotted data class": partial(seconds_of, _make_data_classes),
            "named tuple": partial(seconds_of, _make_named_tuples),
        },
        options.rounds,
    )
    print_facts([find_place("memory")])
    print_table(
        ("process", "median ms", "min ms", "beyond bare ms"),
        [
            (name, *(f"{1000 * each:.1f}" for each in (median(seconds), min(seconds), beyond[name])))
            for name, seconds in samples.items()
        ],
    )
    print()
    per_class = {name: median(seconds) / _CLASSES for name, seconds in classes.items()}
    print_table(
        ("making a class", "median ms"), [(name, f"{1000 * seconds:.2f}") for name, seconds in per_class.items()]
    )
    print(
        f"\nA copy takes {1000 * beyond['3 bytes to 3 folders']:.0f} ms beyond the bare interpreter; tqdm would add"
        f" {1000 * beyond['import tqdm']:.0f} ms, psutil {1000 * beyond['import psutil']:.0f} ms, and a data class"
        f" takes {per_class['frozen, slotted data class'] / per_class['named tuple']:.1f} times as long to make as"
        " a named tuple."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
