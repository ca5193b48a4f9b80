"""Patterns: what each one means, and who has the last word when several speak about one name."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.selection import SYSTEM_PATTERNS, Selection, check_pattern


def _leaves_out(selection: Selection, path: str, *, parent_is_out: bool = False) -> bool:
    """Ask about a path; one that ends in a separator is a folder."""
    bare = path.rstrip("/")
    return selection.leaves_out(
        bare, bare.rpartition("/")[2], is_folder=path.endswith("/"), parent_is_out=parent_is_out
    )


def _takes(glob: str, path: str) -> bool:
    return _leaves_out(Selection(exclude=[glob]), path)


# -- one pattern ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "takes", "leaves"),
    [
        ("a.mov", ["a.mov", "x/a.mov", "x/y/a.mov", "a.mov/"], ["axmov", "a.mov2", "ba.mov", "A.MOV", "a.mov/x"]),
        ("*.mov", ["a.mov", ".mov", "x/y/a.mov", "a\nb.mov", "\udcff.mov"], ["a.mov.txt", "a.MOV", "a.mov/x"]),
        ("a*", ["a", "abc", "x/a\udcffb", "a\u0301"], ["ba", "a/b"]),
        ("a*b*c", ["abc", "a1b2c", "abbc"], ["acb", "ab"]),
        ("?", ["a", "\n", "\udcff", "\U0001f3a5", "x/a"], ["ab"]),
        ("a+(b){2}|^$.c", ["a+(b){2}|^$.c"], ["aab", "a+(b){2}|^$xc"]),
        ("\u00e9*", ["\u00e9t\u00e9"], ["e\u0301t\u00e9", "ete"]),
    ],
)
def test_pattern_without_a_separator_is_for_names(glob: str, takes: Sequence[str], leaves: Sequence[str]) -> None:
    assert [path for path in takes if not _takes(glob, path)] == []
    assert [path for path in leaves if _takes(glob, path)] == []


@pytest.mark.parametrize(
    ("glob", "takes", "leaves"),
    [
        ("[ab]", ["a", "b"], ["c", "ab", "[ab]"]),
        ("[a-c]9", ["a9", "b9", "c9"], ["d9", "-9"]),
        ("[!ab]", ["c", "!", "\n", "\udcff"], ["a", "b"]),
        ("[^ab]", ["c", "^"], ["a", "b"]),
        ("[a!]", ["a", "!"], ["b"]),
        ("[]]", ["]"], ["[", "[]"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[-a]", ["-", "a"], ["b"]),
        ("[*?]", ["*", "?"], ["a", "**"]),
        ("[.]a", [".a"], ["xa"]),
        ("[", ["["], ["a", "[["]),
        ("[ab", ["[ab"], ["a", "b"]),
        ("x/[!a]", ["x/b"], ["x/a", "x/b/c", "b"]),
    ],
)
def test_brackets_are_one_character_of_a_set(glob: str, takes: Sequence[str], leaves: Sequence[str]) -> None:
    assert [path for path in takes if not _takes(glob, path)] == []
    assert [path for path in leaves if _takes(glob, path)] == []


@pytest.mark.parametrize(
    ("glob", "takes", "leaves"),
    [
        ("[[]", ["["], ["a", "[["]),
        ("[a&&b]", ["a", "&", "b"], ["c"]),
        ("[!]a]", ["b"], ["]", "a", "]a"]),
        ("[[:digit:]]", ["7"], ["d", ":", "x"]),
        ("[\\]]", ["]"], ["\\", "\\]"]),
    ],
)
def test_brackets_are_read_as_gitignore_reads_them(glob: str, takes: Sequence[str], leaves: Sequence[str]) -> None:
    assert [path for path in takes if not _takes(glob, path)] == []
    assert [path for path in leaves if _takes(glob, path)] == []


@pytest.mark.parametrize(
    ("glob", "takes", "leaves"),
    [
        ("/a.mov", ["a.mov"], ["x/a.mov"]),
        ("/x/", ["x/"], ["x", "y/x/"]),
        ("x/a.mov", ["x/a.mov"], ["y/x/a.mov", "a.mov", "xx/a.mov"]),
        ("x/*.mov", ["x/a.mov"], ["x/y/a.mov", "x/.mov/a", "a.mov"]),
        ("x/?", ["x/a"], ["x/a/b", "x/"]),
        ("x/a?b", ["x/a-b", "x/a\nb"], ["x/a/b"]),
        ("*/a", ["x/a"], ["a", "x/y/a"]),
    ],
)
def test_pattern_with_a_separator_is_for_the_path_below_the_source(
    glob: str, takes: Sequence[str], leaves: Sequence[str]
) -> None:
    assert [path for path in takes if not _takes(glob, path)] == []
    assert [path for path in leaves if _takes(glob, path)] == []


@pytest.mark.parametrize(
    ("glob", "takes", "leaves"),
    [
        ("**/a", ["a", "x/a", "x/y/a", "x\ny/a"], ["xa", "x/ya", "a/b"]),
        ("**/x/a", ["x/a", "y/x/a"], ["a", "xx/a"]),
        ("x/**/a", ["x/a", "x/y/a", "x/y/z/a"], ["a", "xa", "x/ya", "y/x/a"]),
        ("x/**", ["x/a", "x/y/z", "x/y/"], ["x", "x/", "xy/a"]),
        ("**/x/", ["x/", "a/b/x/"], ["x", "a/x"]),
        ("**", ["a", "x/a", "x/"], []),
        ("**/.Trash-*/**", [".Trash-0/a", "v/.Trash-1000/files/a"], [".Trash-0", ".Trash/a"]),
    ],
)
def test_two_asterisks_span_folders(glob: str, takes: Sequence[str], leaves: Sequence[str]) -> None:
    assert [path for path in takes if not _takes(glob, path)] == []
    assert [path for path in leaves if _takes(glob, path)] == []


@pytest.mark.parametrize(("glob", "path"), [("x/a**b", "x/a/y/b"), ("a**/b", "ab"), ("a**/b", "a/y/b")])
def test_two_asterisks_within_a_name_stay_within_it(glob: str, path: str) -> None:
    assert not _takes(glob, path)


def test_pattern_that_ends_in_a_separator_is_for_folders() -> None:
    for path in ("x/", "a/b/x/"):
        assert _takes("x/", path)
    for path in ("x", "a/x", "x/y", "x/y/"):
        assert not _takes("x/", path)
    assert _takes("a/x//", "a/x/")


def test_backslash_takes_the_meaning_from_a_character() -> None:
    assert _takes(r"\*.mov", "*.mov")
    assert not _takes(r"\*.mov", "a.mov")
    assert _takes(r"a\\b", r"a\b")
    assert _takes(r"\[a]", "[a]")
    assert not _takes(r"\[a]", "a")
    assert _takes("a\\", "a\\")


@settings(deadline=None)
@given(st.text(min_size=1), st.text(min_size=1))
@example("a\n", "a")
@example("\\", "\\\\")
def test_name_that_is_escaped_takes_this_name_alone(name: str, other: str) -> None:
    name, other = name.replace("/", "-"), other.replace("/", "-")
    glob = "".join(f"\\{character}" for character in name)
    assert _takes(glob, name)
    assert _takes(glob, f"x/{name}")
    assert _takes(glob, other) == (name == other)


@pytest.mark.parametrize("glob", ["", "/", "//", "[z-a]", "x/[9-0].mov"])
def test_what_is_no_pattern_is_refused_and_shown(glob: str) -> None:
    for refuse in (check_pattern, lambda glob: Selection(exclude=[glob]), lambda glob: Selection(include=[glob])):
        with pytest.raises(UsageError) as caught:
            refuse(glob)
        assert repr(glob) in str(caught.value)


@settings(deadline=None)
@given(st.text(alphabet="ab*?[]!^-&\\/.", max_size=8))
@example("[[]")
def test_any_text_is_a_pattern_or_a_usage_error(glob: str) -> None:
    try:
        assert check_pattern(glob) == glob
    except UsageError:
        return
    _takes(glob, "a/b")


# -- several patterns -------------------------------------------------------------------------------------


def test_without_patterns_everything_is_copied() -> None:
    selection = Selection()
    assert selection.is_everything
    assert not selection.descends_everywhere
    assert not _leaves_out(selection, "any/thing")
    assert not Selection(exclude=["a"]).is_everything
    assert not Selection(include=["a"]).is_everything


def test_any_of_the_exclude_patterns_leaves_out() -> None:
    selection = Selection(exclude=["*.tmp", "cache/"])
    assert _leaves_out(selection, "x/a.tmp")
    assert _leaves_out(selection, "x/cache/")
    assert not _leaves_out(selection, "x/a.mov")
    assert not _leaves_out(selection, "cache")


def test_excluded_folder_needs_no_look_into_it() -> None:
    selection = Selection(exclude=["cache/"])
    assert not selection.descends_everywhere
    assert _leaves_out(selection, "cache/a.mov", parent_is_out=True)
    assert _leaves_out(selection, "cache/sub/", parent_is_out=True)


def test_include_pattern_lets_in_what_is_excluded() -> None:
    selection = Selection(exclude=["*.mov", "cache/"], include=["keep*.mov"])
    assert selection.descends_everywhere
    assert _leaves_out(selection, "a.mov")
    assert not _leaves_out(selection, "keep1.mov")
    assert not _leaves_out(selection, "a.txt")
    assert not _leaves_out(selection, "cache/keep1.mov", parent_is_out=True)
    assert _leaves_out(selection, "cache/a.txt", parent_is_out=True)


def test_order_of_the_patterns_does_not_matter() -> None:
    for exclude in (["*", "a*"], ["a*", "*"]):
        for include in (["ab", "ac"], ["ac", "ab"]):
            selection = Selection(exclude, include)
            assert not _leaves_out(selection, "ab")
            assert _leaves_out(selection, "ad")


def test_include_patterns_alone_let_in_nothing_else() -> None:
    selection = Selection(include=["*.mov", "/DCIM/*.jpg"])
    assert not _leaves_out(selection, "a.mov")
    assert not _leaves_out(selection, "x/y/a.mov")
    assert not _leaves_out(selection, "DCIM/a.jpg")
    assert _leaves_out(selection, "x/DCIM/a.jpg")
    assert _leaves_out(selection, "a.txt")


def test_include_patterns_alone_leave_no_folder_out_since_something_may_be_in_it() -> None:
    assert not _leaves_out(Selection(include=["*.mov"]), "DCIM/")


# -- what systems strew -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ".DS_Store",
        "x/y/.DS_Store",
        "._clip.mov",
        "x/._clip.mov",
        ".Spotlight-V100/",
        ".Trashes/",
        ".fseventsd/",
        "System Volume Information/",
        "$RECYCLE.BIN/",
        "x/Thumbs.db",
        "x/desktop.ini",
    ],
)
def test_what_operating_systems_strew_can_be_left_out(path: str) -> None:
    assert _leaves_out(Selection(exclude=SYSTEM_PATTERNS), path)


@pytest.mark.parametrize("path", ["DS_Store", "_clip.mov", ".clip.mov", "a._b", "RECYCLE.BIN/", "Trashes/", "x.db"])
def test_what_is_the_users_own_is_not_taken_for_strewn(path: str) -> None:
    assert not _leaves_out(Selection(exclude=SYSTEM_PATTERNS), path)
