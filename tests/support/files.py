"""Files and folders for the tests."""

import random
from pathlib import Path

__all__ = ["make_file", "partials"]


def make_file(path: Path, size: int, seed: int = 1) -> bytes:
    """Write *size* bytes that look random and are always the same; returns them."""
    data = random.Random(seed).randbytes(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def partials(folder: Path) -> list[Path]:
    """Every temporary name below a folder."""
    return sorted(folder.rglob(".pfn.*"))
