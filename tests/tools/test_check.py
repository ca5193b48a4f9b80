"""``--check``: lists that others have made, of folders that are as they say, and of folders that are not."""

import os
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tests.support.command import run
from tests.support.files import make_file
from tests.tools.commands import copy_card, make_card
from tests.tools.suite import MhlSuite
from tests.tools.trees import flip_a_bit, names_below

pytestmark = pytest.mark.tools

Sealer = Callable[[MhlSuite, Path], Path]
"""Makes a list of a folder by a tool of others; returns what ``--check`` is given."""


def _by_ascmhl(*formats: str) -> Sealer:
    def seal(suite: MhlSuite, root: Path) -> Path:
        options = [part for each in formats for part in ("-h", each)]
        (answer,) = suite.ascmhl(("create", *options, root))
        assert answer.code == 0, answer.said
        return root

    return seal


def _by_simple_mhl(name: str) -> Sealer:
    def seal(suite: MhlSuite, root: Path) -> Path:
        answer = suite.run("simple-mhl", "seal", "-a", name, root)
        assert answer.code == 0, answer.said
        (path,) = root.glob("*.mhl")
        return path

    return seal


def _by_sum_tool(suffix: str, *command: str) -> Sealer:
    def seal(suite: MhlSuite, root: Path) -> Path:
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        names = sorted(names_below(root))
        done = subprocess.run(
            [*command, *(f"./{name}" if name.startswith("-") else name for name in names)],
            cwd=root,
            stdout=subprocess.PIPE,
            timeout=30,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        path = root / f"CARD.{suffix}"
        path.write_bytes(done.stdout)
        return path

    return seal


SEALERS: dict[str, Sealer] = {
    "ascmhl xxh64": _by_ascmhl("xxh64"),
    "ascmhl c4, md5": _by_ascmhl("c4", "md5"),
    "ascmhl sha1, xxh3, xxh128": _by_ascmhl("sha1", "xxh3", "xxh128"),
    **{
        f"simple-mhl {name}": _by_simple_mhl(name)
        for name in ("md5", "sha1", "xxh64", "xxhash", "xxhash64", "xxhash64be")
    },
    "md5sum": _by_sum_tool("md5", "md5sum"),
    "md5sum --binary": _by_sum_tool("md5", "md5sum", "--binary"),
    "sha1sum --tag": _by_sum_tool("sha1", "sha1sum", "--tag"),
    "sha256sum": _by_sum_tool("sha256", "sha256sum"),
    "sha256sum --tag": _by_sum_tool("sha256", "sha256sum", "--tag"),
    "xxhsum -H0": _by_sum_tool("xxh32", "xxhsum", "-H0"),
    "xxhsum -H1": _by_sum_tool("xxh64", "xxhsum", "-H1"),
    "xxhsum -H2": _by_sum_tool("xxh128", "xxhsum", "-H2"),
    "xxhsum -H3": _by_sum_tool("xxh3", "xxhsum", "-H3"),
    "xxhsum --tag": _by_sum_tool("xxh64", "xxhsum", "--tag"),
}


@pytest.mark.parametrize("tool", ["ascmhl", "simple-mhl", "md5sum", "sha", "xxhsum"])
def test_folders_that_are_as_their_lists_say_pass(tool: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    paths = []
    for sealer, seal in SEALERS.items():
        if sealer.startswith(tool):
            (tmp_path / sealer).mkdir()
            paths.append(seal(mhl_suite, make_card(tmp_path / sealer, "plain")))
    assert len(paths) > 1
    done = run("--check", *paths)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": verified, 3 files") == len(paths)


@pytest.mark.parametrize(
    "sealer",
    [
        "ascmhl xxh64",
        "ascmhl c4, md5",
        "simple-mhl sha1",
        "simple-mhl xxhash64be",
        "md5sum",
        "sha256sum --tag",
        "xxhsum -H3",
    ],
)
def test_every_fault_is_found_and_named(sealer: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    path = SEALERS[sealer](mhl_suite, card)
    bad, good = card / "CLIPS/A002.mov", card / "CLIPS/A001.mov"

    flip_a_bit(bad)
    done = run("--check", path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "CLIPS/A002.mov" in done.stderr
    assert good.name not in done.stderr
    assert bad.exists()  # reported, never touched
    flip_a_bit(bad)  # back again

    make_file(card / "CLIPS/A003.mov", 10)
    done = run("--check", path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "CLIPS/A003.mov" in done.stderr
    assert bad.name not in done.stderr
    (card / "CLIPS/A003.mov").unlink()

    bad.unlink()
    done = run("--check", path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "CLIPS/A002.mov" in done.stderr
    assert good.name not in done.stderr

    flip_a_bit(good)
    assert run("--check", path).returncode == 4


@pytest.mark.parametrize(
    ("sealer", "kind"),
    [("ascmhl xxh64", "odd"), ("ascmhl c4, md5", "empty"), ("md5sum", "odd"), ("sha256sum --tag", "deep")],
)
def test_odd_folders_of_others_pass(sealer: str, kind: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, kind)
    done = run("--check", SEALERS[sealer](mhl_suite, card))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_name_that_a_list_spells_in_another_unicode_form_is_found(
    form: Literal["NFC", "NFD"], mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, "plain")
    make_file(card / unicodedata.normalize(form, "Caf\u00e9") / unicodedata.normalize(form, "\u00fcber.mov"), 10)
    path = _by_simple_mhl("md5")(mhl_suite, card)  # it writes all names in NFC
    done = run("--check", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("order", ["big", "little"])
def test_deprecated_digest_of_old_lists_is_understood_in_both_orders(
    order: str, mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, "plain")
    path = SEALERS["simple-mhl xxhash64be"](mhl_suite, card)

    def deprecated(match: re.Match[str]) -> str:
        digest = bytes.fromhex(match[1])
        return f"<xxhash64>{(digest if order == 'big' else digest[::-1]).hex()}</xxhash64>"

    text, count = re.subn("<xxhash64be>(.*?)</xxhash64be>", deprecated, path.read_text())
    assert count == 3
    path.write_text(text)
    done = run("--check", path)
    assert done.returncode == 0, done.stdout + done.stderr
    flip_a_bit(card / "notes.txt")
    assert run("--check", path).returncode == 4


@pytest.mark.parametrize("sealer", ["md5sum", "sha256sum --tag"])
def test_escaped_names_in_sum_files_are_understood(sealer: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for name in ("line\nbreak", "back\\slash", "both\\n\n"):
        make_file(card / name, 5)
    path = SEALERS[sealer](mhl_suite, card)
    done = run("--check", path)
    assert done.returncode == 0, done.stdout + done.stderr
    flip_a_bit(card / "line\nbreak")
    assert run("--check", path).returncode == 4


def test_patterns_of_a_history_are_honoured(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    (answer,) = mhl_suite.ascmhl(("create", "-h", "md5", "-i", "*.tmp", "-i", "/SCRATCH/", card))
    assert answer.code == 0, answer.said
    for name in ("CLIPS/a.tmp", "SCRATCH/b", ".DS_Store"):
        make_file(card / name, 3)
    done = run("--check", card)
    assert done.returncode == 0, done.stdout + done.stderr
    make_file(card / "CLIPS/SCRATCH/c", 3)
    assert run("--check", card).returncode == 3


def test_all_generations_and_nested_histories_count(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    make_file(card / "B001/SUB/clip.mov", 500)
    commands = [("create", "-h", "xxh64", card / "B001"), ("create", "-h", "md5", card)]
    assert [answer.code for answer in mhl_suite.ascmhl(*commands)] == [0, 0]
    make_file(card / "B001/new.mov", 500)
    assert [answer.code for answer in mhl_suite.ascmhl(("create", "-h", "c4", card))] == [0]
    done = run("--check", card)
    assert done.returncode == 0, done.stdout + done.stderr
    flip_a_bit(card / "B001/SUB/clip.mov")
    done = run("--check", card)
    assert done.returncode == 4
    assert "B001/SUB/clip.mov" in done.stderr


@pytest.mark.parametrize("harm", ["list", "chain", "lost list", "nested list"])
def test_history_that_was_tampered_with_is_not_trusted(harm: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    make_file(card / "B001/clip.mov", 500)
    commands = [("create", "-h", "xxh64", card / "B001"), ("create", "-h", "xxh64", card)]
    assert [answer.code for answer in mhl_suite.ascmhl(*commands)] == [0, 0]
    (path,) = (card / "ascmhl").glob("*.mhl")
    if harm == "list":
        path.write_bytes(path.read_bytes().replace(b"in-place", b"transfer"))
    elif harm == "chain":
        chain = card / "ascmhl/ascmhl_chain.xml"
        chain.write_bytes(chain.read_bytes().replace(b"<c4>c4", b"<c4>c41"))
    elif harm == "lost list":
        path.unlink()
    else:
        (nested,) = (card / "B001/ascmhl").glob("0002_*")
        nested.write_bytes(nested.read_bytes() + b"\n")
    done = run("--check", card)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "ascmhl" in done.stderr
    (theirs,) = mhl_suite.ascmhl(("verify", card))
    assert theirs.code != 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("odd", ("--mhl", "asc")),
        ("odd", ("--mhl", "legacy")),
        ("odd", ("--sums", "md5")),
        ("empty", ("--mhl", "asc", "--sums", "sha256")),
        ("deep", ("--mhl", "legacy", "--sums", "xxh128")),
    ],
    ids=str,
)
def test_own_copies_pass_and_a_flipped_bit_does_not(kind: str, options: tuple[str, ...], tmp_path: Path) -> None:
    card = make_card(tmp_path, kind)
    copies = copy_card(tmp_path, *options)
    done = run("--check", *copies)
    assert done.returncode == 0, done.stdout + done.stderr
    name = max(names_below(card), key=lambda each: (card / each).stat().st_size)
    flip_a_bit(copies[1] / name)
    done = run("--check", *copies)
    assert done.returncode == 4, done.stdout + done.stderr
    assert os.path.basename(name) in done.stderr
