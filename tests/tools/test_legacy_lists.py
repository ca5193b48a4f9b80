"""Legacy media hash lists (1.1): what other tools say of those that are written here."""

import re
from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.files import make_file
from tests.tools.commands import copy_card, make_card
from tests.tools.suite import MhlSuite
from tests.tools.trees import flip_a_bit, names_below

pytestmark = pytest.mark.tools


def _list_of(copy: Path) -> Path:
    (path,) = copy.glob("*.mhl")
    return path


@pytest.mark.parametrize(
    ("kind", "digests"),
    [("plain", ("-t", "sha1,c4")), ("odd", ()), ("empty", ("-t", "md5,sha1,xxh64be")), ("deep", ("-t", "md5"))],
    ids=str,
)
def test_other_tools_verify_every_file_of_every_copy(
    kind: str, digests: tuple[str, ...], mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, kind)
    for copy in copy_card(tmp_path, "--mhl", "legacy", *digests):
        answer = mhl_suite.run("simple-mhl", "verify", "-v", _list_of(copy))
        assert answer.code == 0, answer.said
        assert answer.said.count("[OK] ") == len(names_below(card))
        if kind != "empty":  # the schema knows no file without a byte
            answer = mhl_suite.run("simple-mhl", "xsd-schema-check", _list_of(copy))
            assert answer.code == 0, answer.said


def test_one_tool_that_checks_all_lists_below_a_folder_is_content(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "odd")
    copies = copy_card(tmp_path, "--mhl", "legacy")
    for options in ((), ("-s",)):
        answer = mhl_suite.run("mhlver", *options, tmp_path)
        assert answer.code == 0, answer.said
        assert answer.said.count(_list_of(copies[0]).name) == 2


def test_every_digest_in_a_list_is_right(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    # The tools verify but the first digest of a file.
    card = make_card(tmp_path, "plain")
    copy, _ = copy_card(tmp_path, "--mhl", "legacy", "-t", "md5,sha1,xxh64be")
    theirs = mhl_suite.digests(card / "CLIPS/A001.mov", "md5", "sha1", "xxh64")
    (entry,) = re.findall(r"<hash>\s*<file>CLIPS/A001\.mov</file>.*?</hash>", _list_of(copy).read_text(), re.DOTALL)
    found = dict(re.findall(r"<(md5|sha1|xxhash64be)>([^<]*)<", entry))
    assert found == {"md5": theirs["md5"], "sha1": theirs["sha1"], "xxhash64be": theirs["xxh64"]}
    assert "<size>300001</size>" in entry


def test_list_of_a_single_file_lists_just_that_file(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_file(tmp_path / "clip & <1>.mov", 70_000)
    make_file(tmp_path / "dst1" / "other.mov", 10)
    (tmp_path / "dst2").mkdir()
    done = run("--mhl", "legacy", "clip & <1>.mov", "dst1", "dst2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for folder in ("dst1", "dst2"):
        path = _list_of(tmp_path / folder)
        answer = mhl_suite.run("simple-mhl", "verify", "-v", path)
        assert (answer.code, answer.said.splitlines()) == (0, ["[OK] clip & <1>.mov"])
        assert mhl_suite.run("simple-mhl", "xsd-schema-check", path).code == 0


def test_list_proves_a_flipped_bit_and_a_lost_file(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    first, second = copy_card(tmp_path, "--mhl", "legacy")
    flip_a_bit(first / "CLIPS/A002.mov")
    (second / "notes.txt").unlink()
    assert mhl_suite.run("simple-mhl", "verify", _list_of(first)).code == 40
    assert mhl_suite.run("simple-mhl", "verify", _list_of(second)).code == 30
