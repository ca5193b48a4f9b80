"""ASC media hash lists and histories: what the reference implementation says of those that are written here."""

import re
from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.files import make_file
from tests.tools.commands import copy_card, make_card, require_sealed
from tests.tools.suite import MhlSuite
from tests.tools.trees import flip_a_bit, names_below

pytestmark = pytest.mark.tools

ALL_DIGESTS = ("-t", "xxh64be,md5,sha1,c4,xxh128,xxh3")


def _lists(root: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((root / "ascmhl").glob("*.mhl"))]


def _actions(text: str) -> set[str]:
    return set(re.findall(r'action="([^"]*)"', text))


def _listed(text: str) -> set[str]:
    """Paths of the entries of a list for files, as far as they need no escapes."""
    return set(re.findall(r"<hash>\s*<path[^>]*>([^<]*)</path>", text))


def _create(suite: MhlSuite, *roots: Path, options: tuple[str, ...] = ("-h", "xxh64")) -> None:
    commands: list[tuple[str | Path, ...]] = [("create", *options, root) for root in roots]
    for answer in suite.ascmhl(*commands):
        assert answer.code == 0, answer.said


# -- a first generation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "digests"),
    [
        ("plain", ALL_DIGESTS),
        ("odd", ()),
        ("empty", ("-t", "md5")),
        ("deep", ("-t", "sha256,c4")),
    ],
    ids=str,
)
def test_reference_tools_accept_the_lists_of_every_copy(
    kind: str, digests: tuple[str, ...], mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, kind)
    before = names_below(card)
    copies = copy_card(tmp_path, "--mhl", "asc", *digests)
    require_sealed(mhl_suite, *copies)
    assert not (card / "ascmhl").exists()
    assert [names_below(copy) for copy in copies] == [before, before]
    for copy in copies:
        (text,) = _lists(copy)
        assert _actions(text) == {"original"}


@pytest.mark.parametrize("how", ["single", "parallel", "batch"])
def test_every_way_of_copying_lists_the_same(how: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    require_sealed(mhl_suite, *copy_card(tmp_path, "--mhl", "asc", "--strategy", how))


def test_digests_in_a_list_are_those_of_the_files(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    copy, _ = copy_card(tmp_path, "--mhl", "asc", *ALL_DIGESTS)
    theirs = mhl_suite.digests(card / "CLIPS/A001.mov", "xxh64", "md5", "sha1", "c4", "xxh128", "xxh3")
    (entry,) = re.findall(r"<hash>\s*<path[^>]*>CLIPS/A001\.mov</path>.*?</hash>", _lists(copy)[0], re.DOTALL)
    assert dict(re.findall(r"<(c4|md5|sha1|xxh128|xxh3|xxh64) [^>]*>([^<]*)<", entry)) == theirs


def test_list_says_that_it_was_a_transfer(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    copy, _ = copy_card(tmp_path, "--mhl", "asc")
    (answer,) = mhl_suite.ascmhl(("info", "-v", copy))
    assert "ProcessInfo: transfer" in answer.said


def test_one_tool_that_checks_all_lists_below_a_folder_is_content(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "odd")
    copy_card(tmp_path, "--mhl", "asc")
    for options in ((), ("-s",)):
        answer = mhl_suite.run("mhlver", *options, tmp_path / "dst2")
        assert answer.code == 0, answer.said
        assert answer.said.count("ASC-MHL") == (2 if options else 1)  # with their schemas: the list and its chain


def test_folder_whose_content_goes_straight_into_a_destination_is_sealed_there(
    mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    make_card(tmp_path, "odd")
    done = run("--mhl", "asc", "CARD/", "a & b", "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    require_sealed(mhl_suite, tmp_path / "a & b", tmp_path / "c")


def test_two_cards_get_a_history_each(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    for name in ("A001", "A002"):
        make_file(tmp_path / name / "clip.mov", 1000, seed=len(name))
    done = run("--mhl", "asc", "-d", "dst", "A001", "A002", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    require_sealed(mhl_suite, tmp_path / "dst/A001", tmp_path / "dst/A002")


@pytest.mark.parametrize(
    "options",
    [
        ("--exclude", "*.tmp"),
        ("--exclude-system",),
        ("--exclude", "/SCRATCH/"),
        ("--exclude", "*.tmp", "--include", "keep.tmp"),
    ],
    ids=" ".join,
)
def test_what_was_left_out_is_known_to_the_list(options: tuple[str, ...], mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for name in ("CLIPS/a.tmp", "keep.tmp", "._notes.txt", "SCRATCH/a", "CLIPS/SCRATCH/a"):
        make_file(card / name, 10)
    if "--exclude-system" in options:
        make_file(card / "CLIPS/.DS_Store", 10)
    copies = copy_card(tmp_path, "--mhl", "asc", *options)
    require_sealed(mhl_suite, *copies)
    patterns = re.findall("<pattern>([^<]*)</pattern>", _lists(copies[0])[0])
    assert patterns[:3] == [".DS_Store", "ascmhl", "ascmhl/"]  # without them ascmhl takes its lists for new files
    if "--exclude" in options:
        assert options[1] in patterns


def test_sum_files_beside_a_history_are_no_strangers_to_it(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    copies = copy_card(tmp_path, "--mhl", "asc", "--sums", "md5", "--sums", "xxh128")
    for copy in copies:
        answers = mhl_suite.ascmhl(("verify", copy), ("diff", copy), ("verify", "-dh", copy))
        assert [answer.code for answer in answers] == [0, 0, 0], answers
        assert "ERROR" not in answers[2].said


def test_files_that_a_list_ignores_do_not_count_in_directory_hashes(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    _create(mhl_suite, card, options=("-h", "xxh64", "-i", "*.tmp"))
    for name in ("CLIPS/.DS_Store", "CLIPS/a.tmp", ".DS_Store"):
        make_file(card / name, 10)
    for copy in copy_card(tmp_path, "--mhl", "asc"):
        answers = mhl_suite.ascmhl(("verify", copy), ("verify", "-dh", copy), ("diff", copy))
        assert [answer.code for answer in answers] == [0, 0, 0], answers
        assert "ERROR" not in answers[1].said
        assert (copy / "CLIPS/a.tmp").exists()


def test_links_are_no_strangers_to_a_list(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for name, target in {
        "link": "notes.txt",
        "CLIPS/link to a folder": "../CLIPS",
        "CLIPS/[1] *?!#": "nowhere",
        "#dangling ": "nowhere",
    }.items():
        (card / name).symlink_to(target)
    copies = copy_card(tmp_path, "--mhl", "asc")
    _create(mhl_suite, *copies)
    for copy in copies:
        answers = mhl_suite.ascmhl(("verify", copy), ("verify", "-dh", copy), ("diff", copy))
        assert [answer.code for answer in answers] == [0, 0, 0], answers
        assert "ERROR" not in answers[1].said


def test_name_that_only_others_misread_is_listed_as_it_is(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for name in ("next\u0085line", "line\u2028separator", "\ufeffmark", "bidi\u202egnp.exe"):
        make_file(card / name, 7)
    require_sealed(mhl_suite, *copy_card(tmp_path, "--mhl", "asc"))


def test_lists_prove_a_flipped_bit_and_a_lost_file(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    first, second = copy_card(tmp_path, "--mhl", "asc")
    flip_a_bit(first / "CLIPS/A002.mov")
    (second / "notes.txt").unlink()
    bad, lost = mhl_suite.ascmhl(("verify", first), ("verify", second))
    assert (bad.code, lost.code) == (11, 10)
    assert "CLIPS/A002.mov" in bad.said
    assert "notes.txt" in lost.said


# -- the generations after it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["odd", "empty"])
def test_others_continue_our_history_and_we_theirs(kind: str, mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, kind)
    copies = copy_card(tmp_path, "--mhl", "asc")
    _create(mhl_suite, *copies)
    require_sealed(mhl_suite, *copies, generations=2)
    assert copy_card(tmp_path, "--mhl", "asc") == copies
    require_sealed(mhl_suite, *copies, generations=3)
    for copy in copies:
        first, second, third = _lists(copy)
        assert _actions(first) == {"original"}
        assert _actions(second) == _actions(third) == {"verified"}
        assert [name[:5] for name in sorted(path.name for path in (copy / "ascmhl").glob("*.mhl"))] == [
            "0001_",
            "0002_",
            "0003_",
        ]


def test_generation_of_another_format_verifies_by_the_one_that_is_known(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    copies = copy_card(tmp_path, "--mhl", "asc", "-t", "md5")
    _create(mhl_suite, *copies, options=("-h", "sha1"))
    copy_card(tmp_path, "--mhl", "asc", "-t", "xxh128")
    for copy in copies:
        *_, third = _lists(copy)
        assert _actions(third) == {"verified"}
        assert "<md5 " in third
    require_sealed(mhl_suite, *copies, generations=3)


def test_file_that_came_later_is_original_in_its_generation(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    copy_card(tmp_path, "--mhl", "asc")
    make_file(card / "CLIPS/A003.mov", 999)
    copies = copy_card(tmp_path, "--mhl", "asc")
    require_sealed(mhl_suite, *copies, generations=2, has_grown=True)
    for copy in copies:
        text = _lists(copy)[1]
        (entry,) = re.findall(r"A003\.mov</path>.*?</hash>", text, re.DOTALL)
        assert _actions(entry) == {"original"}
        assert _actions(text) == {"original", "verified"}


def test_history_of_the_source_is_carried_over_and_continued(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "odd")
    _create(mhl_suite, card, options=("-h", "md5", "-i", "*.tmp"))
    before = sorted(path.name for path in (card / "ascmhl").iterdir())
    copies = copy_card(tmp_path, "--mhl", "asc")
    assert sorted(path.name for path in (card / "ascmhl").iterdir()) == before
    require_sealed(mhl_suite, *copies, generations=2)
    for copy in copies:
        first, second = _lists(copy)
        assert first == _lists(card)[0]
        assert _actions(second) == {"verified"}
        assert "<pattern>*.tmp</pattern>" in second


def test_history_is_carried_over_and_not_continued_where_no_list_was_asked_for(
    mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, "plain")
    _create(mhl_suite, card)
    require_sealed(mhl_suite, *copy_card(tmp_path), generations=1)


def test_nested_histories_are_all_continued_and_refer_to_each_other(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    for name in ("B001/clip.mov", "B001/SUB/deep.mov", "B001/SUB/FOLDER/deeper.mov", "C001/clip.mov"):
        make_file(card / name, 500, seed=len(name))
    (card / "B001/EMPTY").mkdir()
    histories = ("B001/SUB", "B001", "C001", ".")
    _create(mhl_suite, card / "B001/SUB", card / "B001", card / "C001", card)
    copies = copy_card(tmp_path, "--mhl", "asc")
    generations = {"B001/SUB": 4, "B001": 3, "C001": 3, ".": 2}
    for copy in copies:
        answers = mhl_suite.ascmhl(
            ("verify", copy), ("verify", "-v", "-dh", copy), ("diff", copy), *mhl_suite.schema_commands(copy)
        )
        assert [answer.code for answer in answers] == [0] * len(answers), answers
        assert "ERROR" not in answers[1].said
        for name in histories:
            lists = _lists(copy / name)
            assert len(lists) == generations[name], name
            assert _actions(lists[-1]) == {"verified"}, name
        assert _listed(_lists(copy)[-1]) == {"CLIPS/A001.mov", "CLIPS/A002.mov", "notes.txt"}
        assert _listed(_lists(copy / "B001")[-1]) == {"clip.mov"}
        references = re.findall(r"<hashlistreference>\s*<path>([^<]*)</path>", _lists(copy)[-1])
        assert sorted(path[:16] for path in references) == ["B001/ascmhl/0003", "C001/ascmhl/0003"]
        (reference,) = re.findall(r"<hashlistreference>\s*<path>([^<]*)</path>", _lists(copy / "B001")[-1])
        assert reference.startswith("SUB/ascmhl/0004_SUB_")
    require_sealed(mhl_suite, *[copy / "B001/SUB" for copy in copies], generations=4)
    _create(mhl_suite, *copies)
    answers = mhl_suite.ascmhl(*[("verify", copy) for copy in copies])
    assert [answer.code for answer in answers] == [0, 0], answers


def test_nested_history_of_another_format_is_continued(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    make_file(card / "B001/SUB/clip.mov", 500)
    _create(mhl_suite, card / "B001", options=("-h", "md5"))
    copies = copy_card(tmp_path, "--mhl", "asc")
    for copy in copies:
        # With directory hashes: ascmhl falls over a format that the root folder has not.
        answers = mhl_suite.ascmhl(("verify", copy), ("verify", "-dh", copy), ("verify", copy / "B001"))
        assert [answer.code for answer in answers] == [0, 0, 0], answers
        assert len(_lists(copy / "B001")) == 2
        assert len(_lists(copy)) == 1


def test_what_a_nested_history_ignores_is_no_stranger_to_the_folder_above(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    # ascmhl asks but the list of the folder that it is given what to leave out, also far below.
    card = make_card(tmp_path, "plain")
    make_file(card / "B001/SUB/clip.mov", 500)
    _create(mhl_suite, card / "B001", options=("-h", "xxh64", "-i", "*.tmp"))
    make_file(card / "B001/SUB/a.tmp", 10)
    for copy in copy_card(tmp_path, "--mhl", "asc"):
        make_file(copy / "B001/SUB/came later.tmp", 10)
        answers = mhl_suite.ascmhl(("verify", copy), ("verify", "-dh", copy), ("diff", copy), ("verify", copy / "B001"))
        assert [answer.code for answer in answers] == [0, 0, 0, 0], answers
        assert "ERROR" not in answers[1].said


@pytest.mark.leaks  # the record of a run that failed
def test_file_that_is_not_what_its_history_says_is_told_and_listed_as_failed(
    mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, "plain")
    _create(mhl_suite, card)
    flip_a_bit(card / "CLIPS/A001.mov")
    done = run("--mhl", "asc", "CARD", "dst1", cwd=tmp_path)
    assert done.returncode == 4
    assert "CLIPS/A001.mov" in done.stderr
    copy = tmp_path / "dst1/CARD"
    (entry,) = re.findall(r"A001\.mov</path>.*?</hash>", _lists(copy)[1], re.DOTALL)
    assert _actions(entry) == {"failed"}
    (answer,) = mhl_suite.ascmhl(("verify", copy))
    assert answer.code == 11
    assert answer.said.count("ERROR") == 1


def test_history_that_was_tampered_with_is_refused_before_anything_is_written(
    mhl_suite: MhlSuite, tmp_path: Path
) -> None:
    card = make_card(tmp_path, "plain")
    _create(mhl_suite, card)
    (path,) = (card / "ascmhl").glob("*.mhl")
    path.write_bytes(path.read_bytes().replace(b"notes.txt", b"votes.txt"))
    done = run("--mhl", "asc", "CARD", "dst1", cwd=tmp_path)
    assert done.returncode == 2
    assert "ascmhl" in done.stderr
    assert not (tmp_path / "dst1").exists()


@pytest.mark.leaks  # the record of a run that failed
def test_histories_that_went_apart_leave_the_destination_as_it_was(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    card = make_card(tmp_path, "plain")
    _create(mhl_suite, card)
    copies = copy_card(tmp_path, "--mhl", "asc")
    _create(mhl_suite, card)  # another second generation than the one that the copies have
    done = run("--mhl", "asc", "CARD", "dst1", "dst2", cwd=tmp_path)
    assert done.returncode != 0
    assert "ascmhl" in done.stderr
    require_sealed(mhl_suite, *copies, generations=2)
    assert run("--check", *copies).returncode == 0


def test_earlier_generations_are_never_written_again(mhl_suite: MhlSuite, tmp_path: Path) -> None:
    make_card(tmp_path, "plain")
    copies = copy_card(tmp_path, "--mhl", "asc")
    before = [_lists(copy)[0] for copy in copies]
    copy_card(tmp_path, "--mhl", "asc")
    assert [_lists(copy)[0] for copy in copies] == before
    require_sealed(mhl_suite, *copies, generations=2)
