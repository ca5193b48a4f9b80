"""Sound documents of every kind, which mutation begins with."""

from pfndispatchcopy.hashlists.asc import DEFAULT_IGNORES, write_asc
from pfndispatchcopy.hashlists.entries import HistoryReference
from pfndispatchcopy.hashlists.legacy import write_legacy
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, write_sum_line
from tests.support.hash_lists import AT, CREATOR, digest, sealed_file, sealed_folder

_FILES = [sealed_file("Clips/a & b.mov", b"x"), sealed_file("é \\ ", b"")._replace(previous_path="old")]

LEGACY = (
    b"".join(write_legacy(CREATOR, AT, AT, _FILES)),
    b"".join(write_legacy(CREATOR, AT, AT, [])),
    b"<hashlist><hash><file>a</file><xxhash>1</xxhash><xxhash64>55c8cc1e98e8bdfb</xxhash64><null/></hash></hashlist>",
)
ASC = (
    b"".join(
        write_asc(
            CREATOR,
            AT,
            sealed_folder(""),
            DEFAULT_IGNORES,
            [*_FILES, sealed_folder("empty", ("c4", "md5"))],
            [HistoryReference("B/ascmhl/0001_B.mhl", digest("c4"))],
        )
    ),
    b"".join(write_asc(CREATOR, AT, None, (), (), ())),
)
SUMS = (
    b"\xef\xbb\xbf# x\r\n\r\nSHA2-256(a)= " + digest("sha256").encode() + b"\r\n",
    *(
        b"".join(write_sum_line(name, digest(name, path.encode()), path) for path in ("a b", "c\nd\\e", "f)(g"))
        for name in SUM_DIGESTS
    ),
)
