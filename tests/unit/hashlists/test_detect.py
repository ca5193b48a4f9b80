"""Kinds of lists, told by how they begin."""

import pytest

from pfndispatchcopy.hashlists.asc import DEFAULT_IGNORES, write_asc, write_chain
from pfndispatchcopy.hashlists.detect import ENOUGH, kind_of
from pfndispatchcopy.hashlists.entries import ListKind, UntrustedListError
from pfndispatchcopy.hashlists.legacy import write_legacy
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, write_sum_line
from tests.support.hash_lists import AT, CREATOR, digest, sealed_file

_FILES = [sealed_file(f"clip {number}.mov") for number in range(50)]
_LEGACY = b"".join(write_legacy(CREATOR, AT, AT, _FILES))
_ASC = b"".join(write_asc(CREATOR, AT, None, DEFAULT_IGNORES, _FILES, []))


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (_LEGACY, ListKind.LEGACY),
        (_ASC, ListKind.ASC),
        (b'<hashlist version="1.1">', ListKind.LEGACY),
        (b"<hashlist><hash>", ListKind.LEGACY),
        (b'<hashlist version="2.0">', ListKind.ASC),
        (b'<hashlist version="1.0" xmlns="urn:ASC:MHL:v1.0">', ListKind.ASC),
        (b'<a:hashlist version="2.0" xmlns:a="urn:ASC:MHL:v2.0">', ListKind.ASC),
    ],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
def test_media_hash_lists(document: bytes, kind: ListKind, before: bytes) -> None:
    assert kind_of((before + document)[:ENOUGH]) is kind


@pytest.mark.parametrize("name", SUM_DIGESTS)
@pytest.mark.parametrize("before", [b"", b"# a comment\n", b"\n\n", b"\xef\xbb\xbf"])
def test_sum_files(name: str, before: bytes) -> None:
    assert kind_of(before + write_sum_line(name, digest(name), "\udcff\n\\ <x>")) is ListKind.SUMS


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "the list is empty"),
        (b"\xef\xbb\xbf \r\n", "the list is empty"),
        (b"\x89PNG\r\n\0\0", "no text"),
        (_LEGACY.decode().encode("utf-16"), "no text"),
        (_LEGACY.decode().encode("utf-16-le"), "UTF-16"),
        (b"<html><body>", "its root element is html"),
        (b"<!DOCTYPE html><html>", "a document type"),
        (b"<hashlist", "no root element in the first 9 bytes"),
        (b"<hashlist xmlns='urn:other'>", "its root element is hashlist"),
        (b"<hashlist xmlns='urn:ASC:MHL:DIRECTORY:v2.0'>", "its root element is hashlist"),
        (write_chain([]), "the chain of a history"),
        (b"<\xff>", "not well-formed"),
        (b"<a\xc2\x85b/>", "not well-formed"),
    ],
)
def test_what_is_no_list_is_refused(document: bytes, reason: str) -> None:
    with pytest.raises(UntrustedListError) as caught:
        kind_of(document)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
