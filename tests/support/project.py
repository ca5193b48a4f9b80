"""The project itself, as a fresh clone would have it."""

import shutil
from pathlib import Path

__all__ = ["ROOT", "copy_of_project"]

ROOT = Path(__file__).resolve().parents[2]
_OWN = (".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.pyc", "dist", "build")


def copy_of_project(folder: Path) -> Path:
    """Copy all that is kept, and nothing that this clone has made for itself."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_OWN), symlinks=True)
    return folder
