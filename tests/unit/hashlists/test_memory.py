"""Lists of any length are read, and written, in little memory."""

import subprocess
import sys

import pytest

# The largest growth that so many entries may cause, in MiB. What is kept of an entry is that its path was seen:
# of 200,000 some 20 MiB of 16-byte digests; one that was kept whole would take 1 KiB, and all of them 200 MiB.
_EVERYDAY, _BOUND = 40_000, 30
_MANY, _BOUND_OF_MANY = 200_000, 60

_SCRIPT = """
import resource, sys
from pfndispatchcopy.hashlists.asc import read_asc, write_asc
from pfndispatchcopy.hashlists.directory_hashes import directory_hashes
from pfndispatchcopy.hashlists.legacy import read_legacy, write_legacy
from pfndispatchcopy.hashlists.sums import read_sums, write_sum_line
from tests.support.hash_lists import AT, CREATOR, gathered, sealed_file

first = sealed_file("first", b"x", ("md5", "xxh64be"))
md5, xxh64 = (each.text for each in first.digests)
entries = int(sys.argv[2])
paths = (f"Clips/A001/{number % 100:03d}/A001C{number:08d}_a_name_of_some_length.mov" for number in range(entries))
files = (first._replace(path=path) for path in paths)
readers = {
    "legacy": lambda: read_legacy(gathered(write_legacy(CREATOR, AT, AT, files))),
    "asc": lambda: read_asc(gathered(write_asc(CREATOR, AT, None, (), files, ()))),
    "sums": lambda: read_sums(gathered(write_sum_line("md5", md5, path) for path in paths), None),
    "directory_hashes": lambda: paths if directory_hashes(
        ["xxh64be", "md5"], ((path, {"xxh64be": xxh64, "md5": md5}) for path in paths), []
    ) else (),
}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in readers[sys.argv[1]]())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
print(count, (after - before) // unit)
"""


def _require_little(what: str, entries: int, bound: int) -> None:
    command = [sys.executable, "-c", _SCRIPT, what, str(entries)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    count, growth = map(int, answer.stdout.split())
    assert count == (0 if what == "directory_hashes" else entries)
    assert growth < bound


_EACH = pytest.mark.parametrize("what", ["legacy", "asc", "sums", "directory_hashes"])


@pytest.mark.fault(84)
@_EACH
def test_list_takes_little_memory(what: str) -> None:
    _require_little(what, _EVERYDAY, _BOUND)


@pytest.mark.fault(84)
@pytest.mark.slow
@pytest.mark.timeout(120)
@_EACH
def test_long_list_takes_little_memory(what: str) -> None:
    _require_little(what, _MANY, _BOUND_OF_MANY)
