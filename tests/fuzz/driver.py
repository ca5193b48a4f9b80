"""What the fuzz targets share: bytes are read or refused, and nothing else happens.

``pip install '.[fuzz]'``, then ``python -m tests.fuzz.fuzz_legacy -max_total_time=20``. Arguments are those of
libFuzzer; what made a target fail is left in ``crash-…`` in the working directory, or under ``-artifact_prefix=``.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pfndispatchcopy.hashing import LISTED_ALGORITHMS
from pfndispatchcopy.hashlists.entries import ListedDigest, ListedFile, ListedFolder, UntrustedListError
from pfndispatchcopy.hashlists.paths import safe_path
from pfndispatchcopy.printable import printable

Read = Callable[[bytes], Iterable[object]]


def attempt(read: Read, data: bytes) -> bool:
    """Read *data*, check all that comes out of it, and tell whether it was taken."""
    try:
        entries = list(read(data))
    except UntrustedListError as error:
        message = str(error)
        if message != printable(message) or len(message) > 600:
            raise AssertionError(message) from None
        return False
    for entry in entries:
        _check(entry)
    return True


def _check(entry: object) -> None:
    digests: tuple[ListedDigest, ...] = ()
    if isinstance(entry, ListedFile):
        digests = entry.digests
    elif isinstance(entry, ListedFolder):
        digests = entry.content + entry.structure
    else:
        return
    for path in (entry.path, entry.previous_path):
        if path is not None and (safe_path(path) != path or ".." in path.split("/") or path.startswith("/")):
            raise AssertionError(path)
    for digest in digests:
        length = LISTED_ALGORITHMS[digest.name].digest_length
        if not digest.accepted or any(len(text) != length for text in digest.accepted):
            raise AssertionError(digest)


def fuzz(module: str, function: str, arguments: tuple[object, ...], seeds: Iterable[bytes]) -> None:
    """Hand over to libFuzzer, which ends the process.

    Args:
        module: of the package, which has the reader.
        function: the reader, which takes chunks.
        arguments: what it takes besides.
        seeds: documents to begin with.
    """
    atheris = importlib.import_module("atheris")
    for name in [each for each in sys.modules if each.startswith("pfndispatchcopy.hashlists.")]:
        if not name.endswith((".entries", ".paths")):  # whose types are compared above
            del sys.modules[name]
    with atheris.instrument_imports(include=["pfndispatchcopy.hashlists"]):
        reader = getattr(importlib.import_module(module), function)

    def one(data: bytes) -> None:
        # The first byte says how the rest is cut.
        size = data[0] + 1 if data else 1
        attempt(lambda rest: reader([rest[at : at + size] for at in range(0, len(rest), size)], *arguments), data[1:])

    with tempfile.TemporaryDirectory(prefix="pfn-fuzz-") as corpus:
        for number, seed in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(b"\xff" + seed)
        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()
