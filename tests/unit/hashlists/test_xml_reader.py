"""XML that nobody vouches for: it is read in bounds, or refused in one line."""

import re
from collections.abc import Callable, Iterable, Iterator

import pytest

from pfndispatchcopy.errors import ExitCode
from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.hashlists.xml_reader import Element, Shape, read_records, root_of
from tests.support.hash_lists import cut

_SHAPE = Shape(
    root=re.compile("(urn:x})?list"), records=frozenset({"hash", "deep/er/hash"}), known=frozenset({"path", "part"})
)


def _read(document: str | bytes, size: int = 1 << 20) -> list[Element]:
    data = document if isinstance(document, bytes) else document.encode()
    return list(read_records(cut(data, size), _SHAPE, lambda element: [element]))


def _paths(document: str | bytes, size: int = 1 << 20) -> list[str]:
    return [child.text for element in _read(document, size) for child in element.children]


def _refusal(document: str | bytes | Iterable[bytes]) -> str:
    chunks = (
        cut(document.encode() if isinstance(document, str) else document, 1 << 16)
        if isinstance(document, str | bytes)
        else document
    )
    with pytest.raises(UntrustedListError) as caught:
        for _ in read_records(chunks, _SHAPE, lambda element: [element]):
            pass
    message = str(caught.value)
    assert caught.value.exit_code is ExitCode.REFUSED
    assert message.isprintable()
    assert len(message) < 400
    return message


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_records_are_found_however_the_bytes_are_cut(size: int) -> None:
    document = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<!-- a --><list>\n<hash n="1" é="&lt;&#233;">\n'
        " <path> Café &amp; co \U0001f3ac&#13;\n<![CDATA[<]]> </path></hash>\n"
        "<deep><hash><path>not here</path></hash><er><hash><path>x</path></hash></er></deep></list>\n"
    )
    found = _read(document, size)
    assert [element.name for element in found] == ["hash", "hash"]
    assert found[0].attributes == {"n": "1", "é": "<é"}
    assert [element.line for element in found] == [3, 6]
    assert found[0].children[0].text == " Café & co \U0001f3ac\r\n< "
    assert found[1].children[0].text == "x"


def test_unknown_elements_are_passed_over_with_all_that_is_in_them() -> None:
    text = "x" * 200_000
    document = (
        f"<list><log>{text}</log><hash><other><path>no</path>{text}</other><path>yes</path><meta a='1'/></hash></list>"
    )
    assert _paths(document) == ["yes"]


def test_elements_of_other_namespaces_are_unknown() -> None:
    document = (
        '<l:list xmlns:l="urn:x" xmlns:o="urn:other" xmlns="urn:x}y"><l:hash><o:path>no</o:path><path>no</path>'
        "<l:path>yes</l:path></l:hash><o:hash><l:path>no</l:path></o:hash></l:list>"
    )
    assert _paths(document.replace(' xmlns="urn:x}y"', "")) == ["yes"]
    assert _paths("<list><hash><path xmlns='urn:x'>no</path><path>yes</path></hash></list>") == ["yes"]


def test_one_child_is_one() -> None:
    (element,) = _read("<list><hash><path>a</path><path>b</path><part/></hash></list>")
    part = element.only("part")
    assert part is not None
    assert part.text == ""
    assert part.only("path") is None
    with pytest.raises(UntrustedListError, match="<hash> has more than one <path>"):
        element.only("path")


def test_errors_of_a_record_get_its_line() -> None:
    def understand(element: Element) -> Iterator[str]:
        yield "first"
        raise UntrustedListError(f"bad {element.name}")

    found = read_records([b"<list>\n\n", b"<hash>\n</hash></list>"], _SHAPE, understand)
    with pytest.raises(UntrustedListError, match=r"^line 3: bad hash$"):
        next(found)


def test_records_come_before_the_document_has_ended() -> None:
    def endless() -> Iterator[bytes]:
        yield b"<list>"
        while True:
            yield b"<hash><path>a</path></hash>"

    found = read_records(endless(), _SHAPE, lambda element: [element])
    assert [next(found).name for _ in range(1000)] == ["hash"] * 1000


_BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE list [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]><list><hash><path>&a9;</path></hash></list>"
)


@pytest.mark.fault(83)
@pytest.mark.parametrize(
    "document",
    [
        _BILLION_LAUGHS,
        "<!DOCTYPE list><list/>",
        '<!DOCTYPE list SYSTEM "http://localhost/x.dtd"><list/>',
        '<!DOCTYPE list PUBLIC "-//X//Y" "x.dtd"><list/>',
        '<!DOCTYPE list [<!ENTITY x SYSTEM "file:///etc/passwd">]><list><hash><path>&x;</path></hash></list>',
        '<!DOCTYPE list [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><list/>',
        '<!DOCTYPE list [<!ATTLIST hash path CDATA "default">]><list><hash/></list>',
        f'<!DOCTYPE list [<!ENTITY a "{"x" * 60_000}">]><list><hash><path>{"&a;" * 60_000}</path></hash></list>',
    ],
)
def test_document_types_and_entities_are_refused(document: str) -> None:
    assert _refusal(document) == "line 1: a document type or an entity, which no list has"
    with pytest.raises(UntrustedListError, match="a document type or an entity"):
        root_of(document[:4096].encode())


@pytest.mark.fault(83)
def test_undeclared_entity_is_refused() -> None:
    assert _refusal("<list><hash><path>\n&nbsp;</path></hash></list>").startswith("line 2: not well-formed XML")


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    "document",
    [
        "<list/>".encode("utf-16"),
        "<list/>".encode("utf-16-le"),
        "<list/>".encode("utf-16-be"),
        "<list/>".encode("utf-32"),
        "<list/>".encode("utf-32-be"),
        b"\0\0\0\0",
    ],
)
def test_other_encodings_are_called_by_their_name(document: bytes) -> None:
    for chunks in ([document], list(cut(document, 1))):
        assert _refusal(chunks).startswith("the list is written in UTF-16 or UTF-32")
    with pytest.raises(UntrustedListError, match="UTF-16"):
        root_of(document)


@pytest.mark.fault(84)
@pytest.mark.parametrize("encoding", ["iso-8859-1", "UTF-16", "cp1252", "no-such", "utf-7", "x" * 150])
def test_declared_encodings_but_utf_8_are_refused(encoding: str) -> None:
    message = _refusal(f"<?xml version='1.0' encoding='{encoding}'?><list/>")
    assert message.startswith(f"line 1: written in {encoding}; UTF-8 is what can be read")


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-8", "US-ASCII"])
def test_declared_utf_8_is_read(encoding: str) -> None:
    assert _paths(f"<?xml version='1.0' encoding='{encoding}'?><list><hash><path>a</path></hash></list>") == ["a"]


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    "document",
    [
        b"<list><hash><path>\xff\xfe</path></hash></list>",
        b"<list><hash><path>\xed\xa0\x80</path></hash></list>",  # a surrogate
        b"<list><hash><path>\xc0\xaf</path></hash></list>",  # a slash that is longer than it may be
        b"<list><hash><path>a\0b</path></hash></list>",
        b"<list><hash><path>a\x01b</path></hash></list>",
        b"<list><hash><path>&#0;</path></hash></list>",
        b"<list><hash><path>&#xD800;</path></hash></list>",
        b"<list><hash><path>&#xFFFF;</path></hash></list>",
        b"<list><hash a='1' a='2'/></list>",
        b"<list><hash></list></hash>",
        b"<list><x:hash/></list>",
        b"<list/><list/>",
        b"<list/>garbage",
        b"<list/>\n\0",
        b"garbage<list/>",
        b"<list",
        b"<",
        b"",
        b" ",
    ],
)
def test_what_is_no_xml_is_refused(document: bytes) -> None:
    assert _refusal(document).startswith("line ")


@pytest.mark.parametrize("root", ["other", "x:list", "Lists"])
def test_another_root_is_refused(root: str) -> None:
    assert "unexpected root element" in _refusal(f"<{root} xmlns:x='urn:y'><hash/></{root}>")
    assert "\x1b" not in _refusal("<\u202eevil/>")


_DOCUMENT = "<list><hash n='é'><path>a&amp;b</path><!-- c --><part><![CDATA[x]]></part></hash></list>"


@pytest.mark.fault(84)
def test_document_that_is_cut_off_anywhere_is_refused() -> None:
    whole = _DOCUMENT.encode()
    assert len(_read(whole)) == 1
    for length in range(len(whole)):
        message = _refusal(whole[:length])
        assert message == "line 1: the list ends too early"


@pytest.mark.parametrize(
    "inside",
    [
        "a<part/>",
        "<part/>a",
        "a<other/>",
        "<other/>a",
        "a<!-- -->b",
        "a<!-- -->",
        "<!-- -->a",
        "a<?pi x?>b",
    ],
)
def test_text_that_readers_would_see_differently_is_refused(inside: str) -> None:
    message = _refusal(f"<list><hash><path>{inside}</path></hash></list>")
    assert message == "line 1: <path> has text and more than text in it"


def _endless(before: str, again: str, times: int = 1 << 20) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        yield before.encode()
        block = again.encode() * (1 + 100_000 // len(again))
        for _ in range(times // 1000):
            yield block
        pytest.fail("read to the end")

    return chunks


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        (_endless("<list>", "<a>"), "nested more than 64 deep"),
        (_endless("<list><hash>", "<path>"), "nested more than 64 deep"),
        (_endless("<list><hash><path>", "x"), "an entry of more than"),
        (_endless("<list><hash><path>", "&amp;"), "more than 1048576 bytes without a tag"),
        (_endless("<list><hash><path><![CDATA[", "x"), "an entry of more than"),
        (_endless("<list><hash>", "<path/>"), "an entry of more than"),
        (_endless("<list><hash>", "<path/> "), "an entry of more than"),
        (_endless("<list><hash>", f"<path a='{'x' * 10_000}'/> "), "an entry of more than"),
        (_endless("<list><hash a='", "x"), "more than 1048576 bytes without a tag"),
        (_endless("<list><hash ", "aaa"), "more than 1048576 bytes without a tag"),
        (_endless("<list><", "aaa"), "more than 1048576 bytes without a tag"),
        (_endless("<list><!--", "x"), "more than 1048576 bytes without a tag"),
        (_endless("<list><?p ", "x"), "more than 1048576 bytes without a tag"),
        (_endless("<!--", "x"), "more than 1048576 bytes without a tag"),
        (_endless("<list/>", " \n"), "more than 1048576 bytes without a tag"),
        (_endless("<list/>", "<!-- -->"), "more than 1048576 bytes without a tag"),
        (_endless("", "\n"), "more than 1048576 bytes without a tag"),
        (_endless("<!DOCTYPE ", "x"), ""),
    ],
)
def test_what_goes_on_for_ever_is_not_read_to_its_end(chunks: Callable[[], Iterator[bytes]], reason: str) -> None:
    assert reason in _refusal(chunks())


def test_long_text_of_no_interest_is_read() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"<list><log>"
        for _ in range(40):
            yield b"a line of a log\n" * 4096
        yield b"</log><hash><path>a</path></hash></list>"

    assert len(list(read_records(chunks(), _SHAPE, lambda element: [element]))) == 1


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (f"<list><hash a='{'x' * 70_000}'/></list>", "too many or too long attributes"),
        ("<list><hash " + " ".join(f"a{n}='1'" for n in range(65)) + "/></list>", "too many or too long attributes"),
        (f"<list><hash><path>{'x' * 65_537}</path></hash></list>", "more than 65536 characters"),
        ("<list>" + "".join(f"<a{n}/>" for n in range(1000)) + " " * 70_000 + "</list>", "more than 1000 names"),
        ("<list>" + "".join(f"<a xmlns:p{n}='x'/>" for n in range(1000)) + " " * 70_000 + "</list>", "1000 names"),
        ("<list>" + "".join(f"<a b{n}='x'/>" for n in range(1000)) + " " * 70_000 + "</list>", "1000 names"),
    ],
)
def test_limits(document: str, reason: str) -> None:
    assert reason in _refusal(document)


def test_longest_path_passes_in_its_longest_spelling() -> None:
    assert _paths(f"<list><hash><path>{'&#x00026;' * 65_536}</path></hash></list>") == ["&" * 65_536]


def test_root_is_found_in_a_beginning() -> None:
    root = root_of(b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x --><l:list xmlns:l="urn:x" version="2.0"><hash><pa')
    assert root == ("urn:x", "list", {"version": "2.0"})
    assert root_of(b"<list></other>") == ("", "list", {})


@pytest.mark.parametrize("beginning", [b"", b"<", b"<list", b"<!-- x -->", b"text", b"<list a='1' a='2'>"])
def test_beginning_without_a_root_is_refused(beginning: bytes) -> None:
    with pytest.raises(UntrustedListError):
        root_of(beginning)
