"""Installed by pip and by pipx, into places where nothing is, and run from there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.files import make_file
from tests.support.project import ROOT, copy_of_project

pytestmark = [
    pytest.mark.tools,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.name == "nt", reason="paths of POSIX systems"),
]


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("built")
    _run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


def _require_copying(program: Path, folder: Path) -> None:
    """A copy of a file, and a whole offload with lists, by what was installed alone."""
    data = make_file(folder / "s", 300_000)
    make_file(folder / "card/clip.mov", 1000)
    bare: dict[str, str] = {"HOME": str(folder), "PATH": os.defpath}
    for arguments in (["s", "a/"], ["--mhl", "asc", "--sums", "md5", "card", "b"], ["--check", "b/card"]):
        done = subprocess.run(
            [program, *arguments], cwd=folder, env=bare, capture_output=True, text=True, timeout=50, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert ": verified, " in done.stdout
    assert (folder / "a/s").read_bytes() == data


def _require_manual(prefix: Path) -> None:
    page = prefix / "share/man/man1/pfndispatchcopy.1"
    assert "EXIT STATUS" in page.read_text()
    assert (prefix / "share/bash-completion/completions/pfndispatchcopy").exists()
    assert (prefix / "share/zsh/site-functions/_pfndispatchcopy").exists()
    assert (prefix / "share/fish/vendor_completions.d/pfndispatchcopy.fish").exists()


@pytest.mark.parametrize("pattern", ["*.whl", pytest.param("*.tar.gz", marks=pytest.mark.slow)])
def test_pip_installs_it_into_a_fresh_environment(built: Path, tmp_path: Path, pattern: str) -> None:
    (archive,) = built.glob(pattern)
    _run(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    _run("env/bin/python", "-m", "pip", "install", "--quiet", archive, cwd=tmp_path)
    _require_copying(tmp_path / "env/bin/pfndispatchcopy", tmp_path)
    _require_manual(tmp_path / "env")


@pytest.mark.slow
def test_pipx_installs_it_from_the_project(tmp_path: Path) -> None:
    _run(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    try:
        _run("env/bin/python", "-m", "pip", "install", "--quiet", "pipx", cwd=tmp_path)
    except AssertionError as error:
        pytest.skip(f"pipx cannot be had: {error}")
    home: dict[str, str] = {
        "HOME": str(tmp_path / "home"),
        "PIPX_HOME": str(tmp_path / "home/pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "home/bin"),
        "PIPX_MAN_DIR": str(tmp_path / "home/share/man"),
        "PIPX_COMPLETION_DIR": str(tmp_path / "home/completions"),
    }
    install: list[str | Path] = ["env/bin/pipx", "install", "--python", sys.executable, ROOT]
    _run(*install, cwd=tmp_path, **home)
    _require_copying(tmp_path / "home/bin/pfndispatchcopy", tmp_path)
    assert (tmp_path / "home/share/man/man1/pfndispatchcopy.1").exists()


def test_fresh_clone_needs_two_commands_for_a_verified_offload(tmp_path: Path) -> None:
    clone = copy_of_project(tmp_path / "clone")
    data = make_file(tmp_path / "A001/clip.mov", 300_000)
    for disk in ("raid", "shuttle"):
        (tmp_path / disk).mkdir()
    fresh: dict[str, str] = {"HOME": str(tmp_path / "home"), "PYTHON": sys.executable, "PIP_NO_CACHE_DIR": "1"}
    shown = _run("make", "demo", cwd=clone, **fresh)
    assert shown.count(": verified, 1 file") == 2
    done = _run("make", "offload", "SRC=../A001", "DEST=../raid ../shuttle", cwd=clone, **fresh)
    assert done.count(": verified, 1 file, 300000 bytes") == 2
    for disk in ("raid", "shuttle"):
        assert (tmp_path / disk / "A001/clip.mov").read_bytes() == data
