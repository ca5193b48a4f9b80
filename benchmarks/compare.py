"""Side by side with cp, tee and dd: one file to several destinations, whole processes, the same work for all.

Run it as ``python -m benchmarks.compare`` or ``make bench``. How it is measured is said in ``contest.py``.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from benchmarks.arguments import size
from benchmarks.contest import Subject, contest_parser, hold
from benchmarks.machine import bytes_needed, make_file
from benchmarks.peers import Kind, Work
from benchmarks.table import size_name


def main(arguments: Sequence[str] | None = None) -> int:
    parser = contest_parser("compare", __doc__, list(Work))
    add = parser.add_argument
    add("--size", type=size, metavar="SIZE", help="of the file (default: 1GiB for copy, 256MiB for what goes to disk)")
    add("--past-cache", action="store_true", help="verified: the others read from the medium, too (needs GNU dd)")
    options = parser.parse_args(arguments)
    hold(options, partial(_subject, options))
    return 0


def _subject(options: argparse.Namespace, work: Work) -> Subject:
    """The file. What goes to a disk is smaller: some of the others take very long to be durable there."""
    file_size = int(options.size or (1 << 30 if work is Work.COPY else 256 << 20))
    return Subject(
        kind=Kind.FILE,
        make=partial(make_file, size=file_size),
        words=size_name(file_size),
        facts={"size_bytes": file_size},
        needed=bytes_needed(1, file_size),
    )


if __name__ == "__main__":
    raise SystemExit(main())
