"""Quotations in messages."""

from pfndispatchcopy.hashlists.excerpt import excerpt


def test_short_text_is_quoted_whole_and_safely() -> None:
    assert excerpt("Café\n\x1b[31m") == "Café\\n\\x1b[31m"
    assert excerpt("a" * 160) == "a" * 160


def test_long_text_is_cut_after_it_was_escaped() -> None:
    assert excerpt("a" * 161) == "a" * 160 + "…"
    assert excerpt("\0" * 10**6) == "\\x00" * 40 + "…"
