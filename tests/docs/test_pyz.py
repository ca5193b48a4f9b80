"""The single file: runs with nothing but an interpreter, and says where it cannot."""

import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from docs.making.pyz import make_pyz
from docs.making.pyz_entry import fits
from tests.support.files import make_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="caches and modes of POSIX systems")

# The interpreter that the environment was made from: without the environment, it has no packages.
_PYTHON = str(Path(sys.executable).resolve())


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pyz") / "dist" / "pfndispatchcopy.pyz"
    make_pyz(path)
    return path


def _start(pyz: Path, folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    (folder / "home").mkdir(exist_ok=True)
    return subprocess.Popen(
        [_PYTHON, "-I", "-S", pyz, *arguments],
        cwd=folder,
        env={"HOME": str(folder / "home"), "PATH": os.defpath, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(pyz: Path, folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = _start(pyz, folder, *arguments, **environment)
    out, err = process.communicate(timeout=50)
    return process.returncode, out, err


def _unpacked(cache: Path) -> list[Path]:
    return list(cache.iterdir())


def test_single_file_copies_and_verifies_without_any_package(pyz: Path, tmp_path: Path) -> None:
    data = make_file(tmp_path / "s", 300_000)
    code, out, err = _run(pyz, tmp_path, "-t", "xxh64be,sha256", "s", "a/", "b/")
    assert (code, err) == (0, "")
    assert out.count(": verified, 1 file, 300000 bytes") == 2
    assert (tmp_path / "a/s").read_bytes() == data
    (place,) = _unpacked(tmp_path / "home/.cache/pfndispatchcopy")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    before = place.stat().st_mtime_ns
    assert _run(pyz, tmp_path, "-n", "s", "c/")[0] == 0
    assert place.stat().st_mtime_ns == before


@pytest.mark.slow
def test_single_file_has_what_folders_and_their_workers_need(pyz: Path, tmp_path: Path) -> None:
    for number in range(40):
        make_file(tmp_path / "card" / f"{number}", 1000, seed=number)
    code, out, err = _run(pyz, tmp_path, "-j", "2", "--mhl", "asc", "--progress", "bar", "card", "a", TERM="xterm")
    assert code == 0, err
    assert ": verified, 40 files" in out
    assert _run(pyz, tmp_path, "--check", "a/card")[0] == 0


def test_single_file_is_the_same_every_time(pyz: Path, tmp_path: Path) -> None:
    make_pyz(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()
    assert os.access(pyz, os.X_OK)
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")


@pytest.mark.slow
def test_two_first_starts_at_once_unpack_one_folder(pyz: Path, tmp_path: Path) -> None:
    make_file(tmp_path / "s", 10)
    started = [_start(pyz, tmp_path, "s", f"{letter}/") for letter in "abc"]
    ended = [(each.communicate(timeout=50)[1], each.returncode) for each in started]
    assert ended == [("", 0)] * 3
    assert len(_unpacked(tmp_path / "home/.cache/pfndispatchcopy")) == 1


@pytest.mark.slow
def test_without_a_home_it_is_unpacked_among_temporary_files(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    code, out, err = _run(pyz, tmp_path, "--version", HOME="/dev/null/home", TMPDIR=str(tmp_path / "tmp"))
    assert (code, err) == (0, "")
    assert out.startswith("pfndispatchcopy ")
    (folder,) = (tmp_path / "tmp").iterdir()
    assert folder.name == f"pfndispatchcopy-{os.getuid()}"


@pytest.mark.slow
def test_cache_that_others_can_write_to_is_not_trusted(pyz: Path, tmp_path: Path) -> None:
    cache = tmp_path / "home/.cache/pfndispatchcopy"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    (tmp_path / "tmp").mkdir()
    assert _run(pyz, tmp_path, "--version", TMPDIR=str(tmp_path / "tmp"))[0] == 0
    assert _unpacked(cache) == []
    (tmp_path / "tmp" / f"pfndispatchcopy-{os.getuid()}").chmod(0o777)
    code, out, err = _run(pyz, tmp_path, "--version", TMPDIR=str(tmp_path / "tmp"))
    assert (code, out) == (2, "")
    assert err.startswith("pfndispatchcopy: error: there is no folder to unpack to: ")


def _made_for(pyz: Path, path: Path, words: Sequence[str]) -> Path:
    """A file that was made elsewhere."""
    with zipfile.ZipFile(pyz) as old, zipfile.ZipFile(path, "w") as new:
        new.writestr("__main__.py", old.read("__main__.py"))
        new.writestr("MADE_FOR", f"{' '.join(words)}\n0123456789abcdef\n")
    return path


def test_file_for_another_machine_says_so(pyz: Path, tmp_path: Path) -> None:
    python, _, machine = fits().split()
    other = _made_for(pyz, tmp_path / "other.pyz", [python, ".cpython-311-other.so", machine])
    code, out, err = _run(other, tmp_path, "--version")
    assert (code, out) == (2, "")
    assert f"this file was made for {python} .cpython-311-other.so {machine}, and this is {fits()}" in err


def test_file_for_another_python_is_handed_to_it(pyz: Path, tmp_path: Path) -> None:
    other = _made_for(pyz, tmp_path / "other.pyz", ["python3.99", ".cpython-399.so", ""])
    code, _, err = _run(other, tmp_path, "--version")
    assert code == 2
    assert "this file was made for python3.99" in err
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3.99").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bin/python3.99").chmod(0o755)
    code, out, _ = _run(other, tmp_path, "-v", "a file", PATH=f"{tmp_path}/bin")
    assert (code, out) == (0, f"{other} -v a file\n")
