"""Wheel and sdist: complete, and the same bytes wherever and whenever they are built."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.project import ROOT, copy_of_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed"),
]


def _build(project: Path, **environment: str) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", "out"],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return project / "out"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(copy_of_project(tmp_path_factory.mktemp("first") / "project"))


def _wheel_names(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_builds_elsewhere_and_later_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    project = copy_of_project(tmp_path / "elsewhere")
    for path in project.rglob("*"):
        if path.is_file():
            os.utime(path, (10**9, 10**9))
            path.chmod(path.stat().st_mode & 0o700)
    again = _build(project, TZ="Asia/Tokyo")
    files = {path.name: path.read_bytes() for path in built.iterdir()}
    assert len(files) == 2
    assert {path.name: path.read_bytes() for path in again.iterdir()} == files


def test_date_of_a_build_can_be_told(tmp_path: Path) -> None:
    wheel = next(_build(copy_of_project(tmp_path / "p"), SOURCE_DATE_EPOCH="1700000000").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {2023}


def test_wheel_holds_the_package_and_what_shells_and_man_look_for(built: Path) -> None:
    names = _wheel_names(built)
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pfndispatchcopy").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("pfndispatchcopy/")} == {
        name for name in here if not name.endswith(".pyc")
    }
    share = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert share == {
        "share/bash-completion/completions/pfndispatchcopy",
        "share/fish/vendor_completions.d/pfndispatchcopy.fish",
        "share/man/man1/pfndispatchcopy.1",
        "share/zsh/site-functions/_pfndispatchcopy",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/", "examples/")) for name in names)


def test_sdist_holds_all_that_is_kept(built: Path) -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a clone")
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    wanted = {os.fsdecode(name) for name in kept.split(b"\0") if name}
    wanted = {name for name in wanted if (ROOT / name).exists() and not name.startswith(".ci/")}
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert wanted - names == set()
