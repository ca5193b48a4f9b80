"""Sum files: what the tools that they are made for say of them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.files import make_file
from tests.tools.commands import copy_card, make_card
from tests.tools.trees import flip_a_bit, names_below

pytestmark = pytest.mark.tools

TOOLS = {
    "md5": "md5sum",
    "sha1": "sha1sum",
    "sha256": "sha256sum",
    "xxh64be": "xxhsum",
    "xxh3": "xxhsum",
    "xxh128": "xxhsum",
}


def _sum_file(copy: Path, card: Path) -> Path:
    (name,) = names_below(copy) - names_below(card)
    return copy / name


def _check(tool: str, path: Path) -> tuple[int, str]:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run(
        [tool, "-c", path.name],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=30,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", ["odd", "deep", "empty"])
@pytest.mark.parametrize("names", ["md5,sha1,sha256", "xxh64be,xxh3,xxh128"])
def test_its_tool_verifies_every_file_of_every_copy(names: str, kind: str, tmp_path: Path) -> None:
    card = make_card(tmp_path, kind)
    for copy in copy_card(tmp_path, "--sums", names):
        for name in names.split(","):
            code, said = _check(TOOLS[name], copy / f"CARD.{name.removesuffix('be')}")
            assert code == 0, said
            assert said.count(": OK") == len(names_below(card))


@pytest.mark.fault(78)
@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_names_that_need_escapes_are_escaped_as_the_tool_does(name: str, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for odd in ("line\nbreak", "back\\slash", "both\\n\n"):
        make_file(card / odd, 5)
    for copy in copy_card(tmp_path, "--sums", name):
        code, said = _check(TOOLS[name], _sum_file(copy, card))
        assert code == 0, said
        assert said.count(": OK") == len(names_below(card))


@pytest.mark.parametrize("name", ["md5", "xxh3"])
def test_its_tool_finds_a_flipped_bit(name: str, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    copy, _ = copy_card(tmp_path, "--sums", name)
    path = _sum_file(copy, card)
    flip_a_bit(copy / "CLIPS/A001.mov")
    code, said = _check(TOOLS[name], path)
    assert code != 0
    assert "CLIPS/A001.mov: FAILED" in said


def test_several_sum_files_are_written_at_once(tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for copy in copy_card(tmp_path, "--sums", "md5", "--sums", "sha256", "-t", "xxh3"):
        paths = sorted(names_below(copy) - names_below(card))
        assert len(paths) == 2
        for path in paths:
            code, said = _check("md5sum" if "md5" in path else "sha256sum", copy / path)
            assert (code, said.count(": OK")) == (0, 3), said


def test_single_file_gets_a_sum_file_beside_it(tmp_path: Path) -> None:
    make_file(tmp_path / "clip one.mov", 70_000)
    (tmp_path / "dst").mkdir()
    done = run("--sums", "md5", "clip one.mov", "dst", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "dst").glob("*.md5")
    assert _check("md5sum", path) == (0, "clip one.mov: OK\n")
