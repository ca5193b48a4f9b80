"""Text and attributes of XML 1.0, written so that every reader gets them back as they are."""

import re

__all__ = ["HEAD", "attribute", "described", "exact", "is_xml_text", "without_unwritable"]

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

# What XML 1.0 has no spelling for, and, of what it has one for, tab and line breaks: a break is read back changed
# by some tools, and breaks the lines of all of them.
_UNWRITABLE = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")


def is_xml_text(text: str) -> bool:
    """Tell whether every reader of XML 1.0 gets *text* back as it is."""
    return _UNWRITABLE.search(text) is None


def without_unwritable(text: str, replacement: str) -> str:
    """Return *text* with *replacement* for every character that XML cannot carry."""
    return _UNWRITABLE.sub(replacement, text)


def exact(text: str) -> str:
    """Return *text* for the inside of an element.

    Raises:
        ValueError: XML cannot carry it; whoever writes a list asks ``paths.can_be_listed`` first.
    """
    if not is_xml_text(text):
        raise ValueError(f"a list cannot hold {text!r}")
    return _escaped(text)


def described(text: str) -> str:
    """Return *text* that is there for people to read: what XML cannot carry becomes U+FFFD."""
    return _escaped(without_unwritable(text, "\ufffd"))


def attribute(text: str) -> str:
    """Return :func:`described` text with quotes around it, as the value of an attribute."""
    return '"' + described(text).replace('"', "&quot;") + '"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
