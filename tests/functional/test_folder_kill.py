"""A folder offload that is killed at any moment: no final name is ever incomplete, and the next run completes it."""

import hashlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import run, start
from tests.support.files import make_file, partials


def _card(folder: Path) -> dict[str, bytes]:
    """600 files: most of them small, some empty, a few that take the path with threads."""
    chance = random.Random(7)
    for number in range(594):
        size = chance.choice([0, 100, 5_000, 20_000, 60_000])
        make_file(folder / f"d{number % 6}" / f"f{number:03}.jpg", size, seed=number)
    for number in range(6):
        make_file(folder / "clips" / f"c{number}.mov", 9_000_000, seed=number)
    return _digests(folder)


def _digests(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".pfn.")
    }


def _inodes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file() and path.name[:5] != ".pfn."}


def _kill_and_resume(tmp_path: Path, moments: int) -> None:
    wanted = _card(tmp_path / "card")
    began = time.monotonic()
    assert run("-q", "card", "a", cwd=tmp_path).returncode == 0
    whole_s = time.monotonic() - began
    chance = random.Random(11)
    found: list[int] = []
    for moment in range(moments):
        for name in ("a", "b"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        process = start("-q", "card", "a", "b", cwd=tmp_path, start_new_session=True)
        time.sleep(chance.uniform(0.05, 1.2 * whole_s))
        if moment % 2:
            process.kill()  # the front alone: everything behind it has to end by itself
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
        there = {}
        for name in ("a", "b"):
            copied = _digests(tmp_path / name / "card")
            assert copied.items() <= wanted.items()
            there.update(_inodes(tmp_path / name))
        found.append(len(there))
        done = run("-q", "card", "a", "b", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        for name in ("a", "b"):
            assert _digests(tmp_path / name / "card") == wanted
            assert partials(tmp_path / name) == []
        after = {**_inodes(tmp_path / "a"), **_inodes(tmp_path / "b")}
        assert there.items() <= after.items(), "something that was complete has been copied again"
    assert any(0 < count < 2 * len(wanted) for count in found), f"no run was killed in the middle: {found}"


@pytest.mark.fault(51)
@pytest.mark.timeout(120)
def test_kill_at_random_moments_loses_nothing_and_is_completed_by_the_next_run(tmp_path: Path) -> None:
    _kill_and_resume(tmp_path, moments=3)


@pytest.mark.fault(51)
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_at_thirty_random_moments_loses_nothing_and_is_completed_by_the_next_run(tmp_path: Path) -> None:
    _kill_and_resume(tmp_path, moments=30)
