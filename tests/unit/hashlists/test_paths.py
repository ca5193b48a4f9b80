"""Which paths of a list are believed, and which a list can hold."""

import pytest

from pfndispatchcopy.errors import ExitCode
from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.hashlists.paths import LONGEST_PATH, SeenPaths, can_be_listed, name_part, safe_path, stays_inside


@pytest.mark.parametrize(
    ("listed", "path"),
    [
        ("a.mov", "a.mov"),
        ("Clips/a.mov", "Clips/a.mov"),
        ("./Clips/./a.mov", "Clips/a.mov"),
        ("Clips//a.mov", "Clips/a.mov"),
        ("Clips/", "Clips"),
        (" a ", " a "),
        ("back\\slash", "back\\slash"),
        ("...", "..."),
        ("a..b/..c/d..", "a..b/..c/d.."),
        ("a/C:x", "a/C:x"),
        ("~/a", "~/a"),
        ("Café/\U0001f3ac\u2028", "Café/\U0001f3ac\u2028"),
        ("line\nbreak", "line\nbreak"),
        ("\udcff", "\udcff"),
    ],
)
def test_path_inside_the_folder_is_taken(listed: str, path: str) -> None:
    assert safe_path(listed) == path


@pytest.mark.fault(82)
@pytest.mark.parametrize(
    "listed",
    [
        "",
        ".",
        "./",
        "././/",
        "/",
        "/etc/passwd",
        "//server/share",
        "\\server",
        "\\\\server\\share",
        "./\\x",
        "C:\\x",
        "C:x",
        "c:/x",
        "./C:/x",
        ".//./C:",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "a\\..\\b",
        "a/..\\b",
        "..\\x",
        "a/b\\..",
        "a\0b",
        "a/" * LONGEST_PATH,
    ],
)
def test_path_that_could_lead_elsewhere_is_refused(listed: str) -> None:
    with pytest.raises(UntrustedListError) as caught:
        safe_path(listed)
    message = str(caught.value)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert message
    assert message.isprintable()
    assert len(message) < 300
    assert not stays_inside(listed)
    assert not can_be_listed(listed)


@pytest.mark.parametrize(
    "path", ["a", "a/b c", " a", "a ", "é\u0301", "a&b<c>\"'", "]]>", "\x7f\x85\u2028\ufffd", "a\\b"]
)
def test_names_that_a_list_can_hold(path: str) -> None:
    assert can_be_listed(path)


@pytest.mark.parametrize("path", ["a\tb", "a\nb", "a\rb", "\x01", "\x1b[31m", "\udcff", "a\ud83db", "\ufffe", "\uffff"])
def test_names_that_xml_cannot_carry(path: str) -> None:
    assert not can_be_listed(path)
    assert stays_inside(path)


def test_path_that_a_reader_would_change_is_not_listed() -> None:
    assert not can_be_listed("./a")
    assert not can_be_listed("a//b")


@pytest.mark.fault(84)
def test_path_that_is_listed_twice_is_refused() -> None:
    seen = SeenPaths()
    seen.add("a")
    seen.add("A")
    seen.add("a\udcff")
    seen.add("\ud83d")
    with pytest.raises(UntrustedListError, match=r"listed twice: a$"):
        seen.add("a")


def test_name_of_a_folder_becomes_part_of_a_name() -> None:
    assert name_part("A001", 20) == "A001"
    assert name_part("", 20) == "root"
    assert name_part("a/b\\c\nd\udcff", 20) == "a_b_c_d_"
    long = name_part("é" * 300, 20)
    assert long == "é" * 117
    assert len(long.encode()) <= 255 - 20
