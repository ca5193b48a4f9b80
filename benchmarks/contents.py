"""What files hold: the digest of one, and of all below a folder."""

import os

from pfndispatchcopy.hashing import HashCalculator

__all__ = ["contents", "digest_of_file", "files_of", "sizes", "write_sums"]

_READ_BYTES = 1 << 20


def files_of(path: str) -> list[str]:
    """Paths of all files below a folder, in order; a file is its own only one."""
    if not os.path.isdir(path):
        return [path]
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)


def digest_of_file(path: str, algorithm: str = "xxh128") -> str:
    """The digest of a file, in hexadecimal digits."""
    calculator = HashCalculator([algorithm])
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            calculator.update(data)
    return calculator.hexdigests()[algorithm]


def contents(path: str) -> dict[str, str]:
    """The digest of every file, by its name below *path*."""
    return {os.path.relpath(each, path): digest_of_file(each) for each in files_of(path)}


def sizes(path: str) -> dict[str, int]:
    """The size of every file, by its name below *path*."""
    return {os.path.relpath(each, path): os.path.getsize(each) for each in files_of(path)}


def write_sums(path: str, source: str, algorithm: str) -> None:
    """Write a list of the digests of a file, or of all below a folder, as ``xxhsum -c`` and ``md5sum -c`` take it.

    The names in it are below the folder that *source* lies in.
    """
    above = os.path.dirname(source)
    with open(path, "w", encoding="utf-8") as lines:
        lines.writelines(
            f"{digest_of_file(each, algorithm)}  {os.path.relpath(each, above)}\n" for each in files_of(source)
        )
