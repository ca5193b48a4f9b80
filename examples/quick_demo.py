"""Copies a real file to two destinations with the real command, and checks the copies independently.

Run it as ``make demo``, or ``python examples/quick_demo.py [SIZE]`` with a size such as ``200MB``.
Everything happens in a temporary folder, which is removed at the end.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile

_BLOCK = 1 << 20
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("size", type=_size, nargs="?", default=64_000_000, help="of the file (default: 64MB)")
    options = parser.parse_args()
    if importlib.util.find_spec("pfndispatchcopy") is None:
        parser.error("pfndispatchcopy is not installed for this interpreter; `make demo` sees to that")
    # Inside the folder, so that the paths that are printed are short.
    with tempfile.TemporaryDirectory(prefix="pfndispatchcopy-demo-") as folder, contextlib.chdir(folder):
        is_good = _demonstrate(options.size)
    if not is_good:
        print("\nSomething is off: see above.", file=sys.stderr)
        return 1
    print('\nWith your own file:         make offload SRC=clip.mov DEST="/mnt/a /mnt/b"')
    print("or, once it is installed:   pipx install . && pfndispatchcopy clip.mov /mnt/a /mnt/b")
    return 0


def _size(text: str) -> int:
    number, unit = text.upper(), 1
    for name, factor in _UNITS.items():
        if number.endswith(name):
            number, unit = number.removesuffix(name), factor
    try:
        return int(number) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write bytes, or a number with KB, MB, GB") from None


def _demonstrate(size: int) -> bool:
    source, destinations = "clip.mov", ("raid", "shuttle")
    _make_file(source, size)
    for destination in destinations:
        os.mkdir(destination)
    copies = [os.path.join(destination, source) for destination in destinations]

    _title(f"Copy {source} ({size:,} random bytes) to two folders at once")
    is_verified = _run(source, *destinations, expected="verified")

    _title("Compare the files without the program: size and SHA-256")
    is_true = _show([source, *copies])

    _title("The same command once more: nothing is left to do")
    is_identical = _run(source, *destinations, expected="identical")
    return is_verified and is_true and is_identical


def _make_file(path: str, size: int) -> None:
    with open(path, "wb") as file:
        file.writelines(os.urandom(min(_BLOCK, size - offset)) for offset in range(0, size, _BLOCK))


def _title(text: str) -> None:
    print(f"\n{text}", flush=True)


def _run(source: str, *destinations: str, expected: str) -> bool:
    """Run the command; returns whether every destination ended in the *expected* state."""
    print(f"$ pfndispatchcopy {source} {' '.join(destinations)}", flush=True)
    command = [sys.executable, "-m", "pfndispatchcopy", source, *destinations]
    ended = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603 - all our own words
    print(ended.stdout, end="", flush=True)
    if ended.returncode != 0:
        print(f"ended with exit code {ended.returncode}")
    return ended.returncode == 0 and ended.stdout.count(f": {expected},") == len(destinations)


def _show(paths: list[str]) -> bool:
    """Print size and digest of the source and its copies; returns whether all are the same."""
    facts = [_size_and_digest(path) for path in paths]
    width = max(map(len, paths))
    verdicts = ["the source", *("equal" if each == facts[0] else "DIFFERENT" for each in facts[1:])]
    for path, (size, digest), verdict in zip(paths, facts, verdicts, strict=True):
        print(f"{path:{width}}  {size:,} bytes  {digest[:16]}…  {verdict}")
    return all(each == facts[0] for each in facts)


def _size_and_digest(path: str) -> tuple[int, str]:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return os.path.getsize(path), digest
    except OSError as error:
        return -1, f"{error.strerror}"


if __name__ == "__main__":
    raise SystemExit(main())
