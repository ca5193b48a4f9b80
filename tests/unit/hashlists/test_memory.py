"""Lists of any length are read, and written, in little memory."""

import subprocess
import sys

import pytest

# The largest growth that 200,000 entries may cause, in MiB. What is kept of an entry is that its path was seen:
# some 20 MiB of 16-byte digests in all; one that was kept whole would take 1 KiB, and all of them 200 MiB.
_BOUND = 60

_SCRIPT = """
import resource, sys
from pfndispatchcopy.hashlists.asc import read_asc, write_asc
from pfndispatchcopy.hashlists.directory_hashes import directory_hashes
from pfndispatchcopy.hashlists.legacy import read_legacy, write_legacy
from pfndispatchcopy.hashlists.sums import read_sums, write_sum_line
from tests.support.hash_lists import AT, CREATOR, gathered, sealed_file

first = sealed_file("first", b"x", ("md5", "xxh64be"))
md5, xxh64 = (each.text for each in first.digests)
paths = (f"Clips/A001/{number % 100:03d}/A001C{number:08d}_a_name_of_some_length.mov" for number in range(200_000))
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["legacy", "asc", "sums", "directory_hashes"])
def test_long_list_takes_little_memory(what: str) -> None:
    answer = subprocess.run([sys.executable, "-c", _SCRIPT, what], capture_output=True, text=True, check=True)
    count, growth = map(int, answer.stdout.split())
    assert count == (0 if what == "directory_hashes" else 200_000)
    assert growth < _BOUND
