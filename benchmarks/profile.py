"""Where the time of a run goes, thread by thread: for a look before a change and after it.

    python -m benchmarks.profile [--size 1GiB] [--destinations 3] [--on memory] [-- OPTIONS OF THE PROGRAM]
    python -m benchmarks.profile --files 10000          a folder of small files

Needs py-spy (``pip install py-spy``), which sees the lines of Python, or perf, which sees the calls of the system.
What waits is not counted: the shares are of the samples in which a thread was busy.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.arguments import size
from benchmarks.machine import find_place, print_facts, temporary_folder
from benchmarks.offloads import Commands
from benchmarks.program import ENVIRONMENT, compile_package, program
from benchmarks.subjects import Sizes, SubjectName, make_subject
from benchmarks.table import print_table

__all__ = ["samples_of_perf", "samples_of_py_spy"]

_RATE = 500
_ROWS = 6
_THREAD = re.compile(r"thread \((?:0x)?[0-9A-Fa-f]+\):? ?(.*)")
# perf script -F tid,comm,ip,sym: a line for the thread, then its frames, the innermost first.
_PERF_THREAD = re.compile(r"\s*(\S.*?)\s+(\d+)\s*$")
_PERF_FRAME = re.compile(r"\s+[0-9a-f]+ (.+)")
# Samples of each place in the program, by thread.
_Samples = Mapping[str, Counter[str]]


def samples_of_py_spy(raw: str) -> _Samples:
    """Read what ``py-spy record --format raw --threads`` wrote: frames, the outermost first, and a count."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        names = [match for frame in frames if (match := _THREAD.fullmatch(frame))]
        found[(names[-1][1] if names else "") or "main"][frames[-1]] += int(count)
    return found


def samples_of_perf(script: str) -> _Samples:
    """Read what ``perf script -F comm,tid,ip,sym`` wrote."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in script.split("\n\n"):
        lines = sample.strip("\n").split("\n")
        thread, frames = _PERF_THREAD.fullmatch(lines[0]), [_PERF_FRAME.fullmatch(line) for line in lines[1:]]
        symbols = [frame[1] for frame in frames if frame]
        if thread and symbols:
            found[f"{thread[1]} {thread[2]}"][symbols[0]] += 1
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    tool = options.tool or next((each for each in ("py-spy", "perf") if _find(each)), None)
    if tool is None or _find(tool) is None:
        raise SystemExit(f"{tool or 'neither py-spy nor perf'} is not installed")
    compile_package()
    place = find_place(options.on)
    sizes = Sizes(file=options.size, small_files=options.files or 0)
    subject = make_subject(SubjectName.SMALL if options.files else SubjectName.FILE, sizes)
    with temporary_folder(place) as folder:
        commands = Commands.to(options.destinations, place, folder, subject.make(folder))
        argv = (*program(), "-q", *options.options, commands.source, *commands.destinations)
        record = os.path.join(folder, "record")
        samples = (_with_py_spy if tool == "py-spy" else _with_perf)(argv, record)
    print_facts([place], copied=subject.words, destinations=str(options.destinations), tool=tool)
    _print(samples)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--size", type=size, default=1 << 30, help="of the file (default: 1GiB)")
    add("--files", type=int, metavar="N", help="a folder of so many small files instead")
    add("--destinations", type=int, default=3, metavar="N", help="(default: %(default)s)")
    add("--on", default="memory", metavar="memory|disk|PATH", help="(default: %(default)s)")
    add("--tool", choices=["py-spy", "perf"], help="(default: the first of them that is installed)")
    add("options", nargs="*", help="of the program, after --, such as: -- --verify none")
    return parser.parse_args(arguments)


def _find(tool: str) -> str | None:
    return shutil.which(tool) or shutil.which(tool, path=os.path.dirname(sys.executable))


def _with_py_spy(argv: Sequence[str], record: str) -> _Samples:
    options = ("--format", "raw", "--threads", "--subprocesses", "--rate", str(_RATE), "--output", record)
    _run([_find("py-spy") or "py-spy", "record", *options, "--", *argv])
    with open(record, encoding="utf-8") as raw:
        return samples_of_py_spy(raw.read())


def _with_perf(argv: Sequence[str], record: str) -> _Samples:
    # Not the processor's own counter of cycles: a virtual machine has none.
    _run(["perf", "record", "--event", "cpu-clock", "--freq", str(_RATE), "-g", "--output", record, "--", *argv])
    return samples_of_perf(_run(["perf", "script", "--input", record, "--fields", "comm,tid,ip,sym"]))


def _run(argv: Sequence[str]) -> str:
    ended = subprocess.run(argv, capture_output=True, text=True, errors="replace", env=ENVIRONMENT, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{argv[0]}: {ended.stderr.strip()}")
    return ended.stdout


def _print(samples: _Samples) -> None:
    total = sum(each.total() for each in samples.values())
    rows = []
    for thread, places in sorted(samples.items(), key=lambda item: -item[1].total()):
        rows.append((thread, f"{places.total() / total:.0%}", ""))
        rows += [("", f"{count / total:.0%}", place) for place, count in places.most_common(_ROWS)]
    print_table(("thread", "busy", "where"), rows)


if __name__ == "__main__":
    raise SystemExit(main())
