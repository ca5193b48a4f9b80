"""Makes the program, and all that it needs, one file that Python runs as it is: for machines without pip.

    python -m docs.making.pyz [FILE]        # what `make pyz` does

The file is for the version of Python and the kind of machine that it is made on; see ``pyz_entry.py``.
"""

import hashlib
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from docs.making.pyz_entry import fits

__all__ = ["make_pyz"]

_ROOT = Path(__file__).resolve().parents[2]
_REQUIRED = ("psutil", "tqdm", "xxhash")
_OPTIONAL = ("Jinja2", "MarkupSafe")  # of the extra "report"
_NOTES = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})
_SHEBANG = b"#!/usr/bin/env python3\n"
_FIRST_DAY_OF_ZIP = 315532800  # 1980


def make_pyz(path: Path) -> None:
    """Write the file.

    Raises:
        PackageNotFoundError: something that is needed is not installed.
    """
    files = dict(sorted(_files()))
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(b"%s %d\n%s" % (os.fsencode(name), len(data), data))
    files["MADE_FOR"] = f"{fits()}\n{digest.hexdigest()[:32]}\n".encode()
    files["__main__.py"] = (_ROOT / "docs" / "making" / "pyz_entry.py").read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Dates would make two files of the same content different.
    now = max(_FIRST_DAY_OF_ZIP, int(os.environ.get("SOURCE_DATE_EPOCH", "0")))
    with path.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                entry = zipfile.ZipInfo(name, time.gmtime(now)[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
    path.chmod(0o755)


def _files() -> Iterator[tuple[str, bytes]]:
    """Everything that belongs in it, by name."""
    for path in [*(_ROOT / "pfndispatchcopy").rglob("*"), _ROOT / "LICENSE"]:
        if path.is_file() and path.suffix != ".pyc":
            yield f"lib/{path.relative_to(_ROOT).as_posix()}", path.read_bytes()
    for name in (*_REQUIRED, *_OPTIONAL):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            if name in _REQUIRED:
                raise
            continue
        for each in found.files or ():
            # Commands lie outside; the installer's notes are about this machine.
            if each.suffix != ".pyc" and ".." not in each.parts and each.name not in _NOTES:
                yield f"lib/{each.as_posix()}", Path(str(each.locate())).read_bytes()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "dist" / "pfndispatchcopy.pyz"
    make_pyz(target)
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes, for {fits()}\n")
