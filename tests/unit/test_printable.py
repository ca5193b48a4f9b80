"""The escaper: nothing that a file name can carry reaches a terminal or a log raw."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.printable import printable


@pytest.mark.fault(78, 86)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip.mov", "clip.mov"),
        ("Größe 日本語 🎬", "Größe 日本語 🎬"),
        ("a b\u3000c\u00a0d", "a b\u3000c\u00a0d"),
        ("a\\b", "a\\b"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x7f\x80\x9b", r"\x7f\x80\x9b"),
        ("\x00", r"\x00"),
        ("\u202emov.exe", r"\u202emov.exe"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_unsafe_characters_are_written_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.fault(78, 86)
def test_byte_that_is_no_utf8_is_shown_as_this_byte() -> None:
    assert printable(os.fsdecode(b"caf\xe9.mov")) == r"caf\xe9.mov"


def test_anything_with_a_text_can_be_shown() -> None:
    assert printable(ValueError("a\nb")) == r"a\nb"
    assert printable(12) == "12"


@pytest.mark.fault(78, 86)
@given(st.text(st.characters()) | st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_result_is_one_safe_line(text: str) -> None:
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_readable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
