"""ASC media hash lists and their chain."""

import pytest

from pfndispatchcopy.hashlists.asc import (
    ASC_CHAIN,
    ASC_DIGESTS,
    ASC_FOLDER,
    DEFAULT_IGNORES,
    AscEntry,
    manifest_name,
    parse_manifest_name,
    read_asc,
    read_chain,
    write_asc,
    write_chain,
)
from pfndispatchcopy.hashlists.entries import (
    Action,
    ChainLink,
    HistoryReference,
    IgnorePattern,
    ListedDigest,
    ListedFile,
    ListedFolder,
    RootHash,
    UntrustedListError,
)
from tests.support.hash_lists import AT, CREATOR, cut, digest, sealed_file, sealed_folder

# As ascmhl 1.2 writes it, but for the second generation of a file that was changed.
_OF_ASCMHL = b"""<?xml version="1.0" encoding="UTF-8"?>
<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">
  <creatorinfo>
    <creationdate>2026-11-22T02:11:35+00:00</creationdate>
    <hostname>vm</hostname>
    <tool version="1.2">ascmhl</tool>
  </creatorinfo>
  <processinfo>
    <process>in-place</process>
    <roothash>
      <content>
        <xxh64 hashdate="2026-11-22T02:11:35.522283+00:00">87ea0436a47e7b38</xxh64>
      </content>
      <structure>
        <xxh64 hashdate="2026-11-22T02:11:35.522283+00:00">cbecdca578543efc</xxh64>
      </structure>
    </roothash>
    <ignore>
      <pattern>.DS_Store</pattern>
      <pattern>ascmhl</pattern>
      <pattern>ascmhl/</pattern>
    </ignore>
  </processinfo>
  <hashes>
    <hash>
      <path size="6" lastmodificationdate="2026-11-22T02:11:34+00:00">Clips/A002C001.mov</path>
      <xxh64 action="failed" hashdate="2026-11-22T02:12:12.253676+00:00">d65030c0eaf3c3f8</xxh64>
    </hash>
    <directoryhash>
      <path lastmodificationdate="2026-11-22T02:11:34+00:00">empty</path>
      <content>
        <xxh64 hashdate="2026-11-22T02:11:35.522052+00:00">ef46db3751d8e999</xxh64>
      </content>
      <structure>
        <xxh64 hashdate="2026-11-22T02:11:35.522052+00:00">ef46db3751d8e999</xxh64>
      </structure>
    </directoryhash>
  </hashes>
</hashlist>
"""
_CHAIN_OF_ASCMHL = b"""<?xml version="1.0" encoding="UTF-8"?>
<ascmhldirectory xmlns="urn:ASC:MHL:DIRECTORY:v2.0">
  <hashlist sequencenr="1">
    <path>0001_A002_2026-11-22_021135Z.mhl</path>
    <c4>c45vS3bLMj4iC7evStaJJvh1hTmynMmMCyLbn8XNqe4VdtZ9udcGvYrgiPM2RcsUYVS6v6jr5ZTV15qw7bxmKsb3eQ</c4>
  </hashlist>
</ascmhldirectory>
"""


def _xxh64(text: str, action: Action | None = None) -> tuple[ListedDigest, ...]:
    return (ListedDigest("xxh64be", (text,), action),)


def _read(inside: str) -> list[AscEntry]:
    return list(read_asc([f'<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">\n{inside}</hashlist>'.encode()]))


def _refusal(inside: str) -> str:
    with pytest.raises(UntrustedListError) as caught:
        _read(inside)
    message = str(caught.value)
    assert message.startswith("line 2: ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_list_of_the_reference_implementation_is_read(size: int) -> None:
    assert list(read_asc(cut(_OF_ASCMHL, size))) == [
        RootHash(_xxh64("87ea0436a47e7b38"), _xxh64("cbecdca578543efc")),
        IgnorePattern(".DS_Store"),
        IgnorePattern("ascmhl"),
        IgnorePattern("ascmhl/"),
        ListedFile("Clips/A002C001.mov", 6, _xxh64("d65030c0eaf3c3f8", Action.FAILED)),
        ListedFolder("empty", _xxh64("ef46db3751d8e999"), _xxh64("ef46db3751d8e999")),
    ]


@pytest.mark.fault(84)
@pytest.mark.parametrize("document", [_OF_ASCMHL, _CHAIN_OF_ASCMHL])
def test_document_that_is_cut_off_anywhere_is_refused(document: bytes) -> None:
    for length in range(len(document) - 1):  # the last byte is a line feed
        with pytest.raises(UntrustedListError):
            read_chain([document[:length]]) if document is _CHAIN_OF_ASCMHL else list(read_asc([document[:length]]))


@pytest.mark.parametrize("namespace", ["urn:ASC:MHL:v2.0", "urn:ASC:MHL:v1.0", "urn:ASC:MHL:v2.1", ""])
def test_namespaces_of_other_versions_are_read_as_the_reference_implementation_does(namespace: str) -> None:
    document = _OF_ASCMHL.replace(b"urn:ASC:MHL:v2.0", namespace.encode())
    assert list(read_asc([document])) == list(read_asc([_OF_ASCMHL]))


@pytest.mark.parametrize("namespace", [b"urn:ASC:MHL:DIRECTORY:v2.0", b"urn:other", b"xurn:ASC:MHL:v2.0"])
def test_other_namespaces_are_refused(namespace: bytes) -> None:
    with pytest.raises(UntrustedListError, match="unexpected root element"):
        list(read_asc([_OF_ASCMHL.replace(b"urn:ASC:MHL:v2.0", namespace)]))


def test_list_is_written_in_the_order_of_the_schema() -> None:
    file = sealed_file("a & <b>.mov", b"a\n", action=Action.VERIFIED)._replace(previous_path="old")
    reference = HistoryReference("B001/ascmhl/0002_B001_2026-11-22_021135Z.mhl", digest("c4"))
    root = sealed_folder("", ("xxh128", "c4"))
    folder = sealed_folder("empty")._replace(mtime_ns=None)
    written = b"".join(write_asc(CREATOR, AT, root, DEFAULT_IGNORES, [file, folder], [reference])).decode()
    texts = {each.name: each.text for each in file.digests}
    attributes = 'action="verified" hashdate="2026-11-22T02:11:35.521651+00:00"'
    assert (
        written
        == f"""<?xml version="1.0" encoding="UTF-8"?>
<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">
  <creatorinfo>
    <creationdate>2026-11-22T02:11:35+00:00</creationdate>
    <hostname>a\ufffdhost</hostname>
    <tool version="1.2">pfndispatchcopy</tool>
    <author>Me &amp; &lt;You&gt;</author>
  </creatorinfo>
  <processinfo>
    <process>transfer</process>
    <roothash>
      <content>
        <c4 hashdate="2026-11-22T02:11:35.521651+00:00">{digest("c4")}</c4>
        <xxh128 hashdate="2026-11-22T02:11:35.521651+00:00">{digest("xxh128")}</xxh128>
      </content>
      <structure>
        <c4 hashdate="2026-11-22T02:11:35.521651+00:00">{digest("c4")}</c4>
        <xxh128 hashdate="2026-11-22T02:11:35.521651+00:00">{digest("xxh128")}</xxh128>
      </structure>
    </roothash>
    <ignore>
      <pattern>.DS_Store</pattern>
      <pattern>ascmhl</pattern>
      <pattern>ascmhl/</pattern>
    </ignore>
  </processinfo>
  <hashes>
    <hash>
      <path size="2" lastmodificationdate="2026-11-22T02:11:35+00:00">a &amp; &lt;b&gt;.mov</path>
      <c4 {attributes}>{texts["c4"]}</c4>
      <md5 {attributes}>{texts["md5"]}</md5>
      <sha1 {attributes}>{texts["sha1"]}</sha1>
      <xxh128 {attributes}>{texts["xxh128"]}</xxh128>
      <xxh3 {attributes}>{texts["xxh3"]}</xxh3>
      <xxh64 {attributes}>{texts["xxh64be"]}</xxh64>
      <previousPath>old</previousPath>
    </hash>
    <directoryhash>
      <path>empty</path>
      <content>
        <xxh64 hashdate="2026-11-22T02:11:35.521651+00:00">ef46db3751d8e999</xxh64>
      </content>
      <structure>
        <xxh64 hashdate="2026-11-22T02:11:35.521651+00:00">ef46db3751d8e999</xxh64>
      </structure>
    </directoryhash>
  </hashes>
  <references>
    <hashlistreference>
      <path>B001/ascmhl/0002_B001_2026-11-22_021135Z.mhl</path>
      <c4>{digest("c4")}</c4>
    </hashlistreference>
  </references>
</hashlist>
"""
    )
    assert [type(each) for each in read_asc([written.encode()])] == [
        RootHash,
        *([IgnorePattern] * 3),
        ListedFile,
        ListedFolder,
        HistoryReference,
    ]


def test_what_is_empty_is_left_out() -> None:
    no_hashes = sealed_folder("", ())
    for root in (None, no_hashes):
        written = b"".join(write_asc(CREATOR._replace(full_name=""), AT, root, [], [], []))
        for name in (b"<author", b"<roothash", b"<ignore", b"<hashes", b"<references", b"<pattern"):
            assert name not in written
        assert list(read_asc([written])) == []


def test_size_of_an_empty_file_is_written() -> None:
    assert b'size="0"' in b"".join(write_asc(CREATOR, AT, None, [], [sealed_file("a")], []))


def test_version_of_the_tool_may_have_quotes_in_it() -> None:
    written = b"".join(write_asc(CREATOR._replace(version='1 "<&>\n'), AT, None, [], [], []))
    assert '<tool version="1 &quot;&lt;&amp;&gt;\ufffd">'.encode() in written
    assert list(read_asc([written])) == []


def test_what_a_list_cannot_hold_is_not_written() -> None:
    for bad in ("a\nb", "a\udcff"):
        with pytest.raises(ValueError, match="cannot hold"):
            list(write_asc(CREATOR, AT, None, [], [sealed_file(bad)], []))
        with pytest.raises(ValueError, match="cannot hold"):
            list(write_asc(CREATOR, AT, None, [], [sealed_folder(bad)], []))
        with pytest.raises(ValueError, match="cannot hold"):
            list(write_asc(CREATOR, AT, None, [bad], [], []))
    with pytest.raises(ValueError, match="no digest of 'a'"):
        list(write_asc(CREATOR, AT, None, [], [sealed_file("a", names=("sha256",))], []))


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("<hash/>", "<hash> without a path"),
        ("<hash><path/></hash>", "an empty path"),
        ("<hash><path>.</path></hash>", "a path that names nothing"),
        ("<hash><path>../a</path></hash>", "leads out of the folder"),
        ("<hash><path>/a</path></hash>", "absolute path"),
        ("<hash><path>D:/a</path></hash>", "drive"),
        ("<hash><path>a</path><path>b</path></hash>", "more than one <path>"),
        ('<hash><path size="-1">a</path></hash>', "not a size"),
        ('<hash><path size="">a</path></hash>', "not a size"),
        ("<hash><path>a</path><previousPath>../b</previousPath></hash>", "leads out"),
        ("<hash><path>a</path><xxh64>0</xxh64></hash>", "a digest by xxh64be has 16"),
        (f"<hash><path>a</path><xxh128>{'x' * 32}</xxh128></hash>", "not a digest by xxh128"),
        (f"<hash><path>a</path><xxh3>{'0' * 16}</xxh3><xxh3>{'1' * 16}</xxh3></hash>", "contradict"),
        (f'<hash><path>a</path><xxh3 action="new">{"0" * 16}</xxh3></hash>', "unknown action new"),
        ("<directoryhash><content/></directoryhash>", "<directoryhash> without a path"),
        ("<directoryhash><path>a</path><content/><content/></directoryhash>", "more than one <content>"),
        ("<directoryhash><path>a</path><content><md5>0</md5></content></directoryhash>", "a digest by md5"),
        ("<hash><path>a</path></hash><hash><path>a</path></hash>", "listed twice"),
        ("<hash><path>a</path></hash><directoryhash><path>a</path></directoryhash>", "listed twice"),
    ],
)
def test_what_no_honest_list_says_is_refused(inside: str, reason: str) -> None:
    assert reason in _refusal(f"<hashes>{inside}</hashes>")


@pytest.mark.fault(82)
@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("<path>../x.mhl</path>", "leads out"),
        ("<path>x.mhl</path>", "without a C4 ID"),
        (f"<path>x.mhl</path><c4>{'c4' + 'z' * 88}</c4>", "not a C4 ID"),
    ],
)
def test_references_that_cannot_be_followed_are_refused(inside: str, reason: str) -> None:
    assert reason in _refusal(f"<references><hashlistreference>{inside}</hashlistreference></references>")


def test_metadata_and_unknown_formats_are_passed_over() -> None:
    (file,) = _read(
        "<metadata><hash><path>no</path></hash></metadata><hash><path>no</path></hash>"
        "<hashes><metadata/><hash><path>a</path><sha256>00</sha256><metadata><path>b</path></metadata></hash></hashes>"
    )
    assert file == ListedFile("a", None, ())


def test_moved_file_and_folder_say_where_they_were() -> None:
    file, folder = _read(
        "<hashes><hash><path>a</path><previousPath>b</previousPath></hash>"
        "<directoryhash><path>c</path><previousPath>./d</previousPath></directoryhash></hashes>"
    )
    assert file == ListedFile("a", None, (), "b")
    assert folder == ListedFolder("c", (), (), "d")


def test_name_of_a_manifest() -> None:
    assert (ASC_FOLDER, ASC_CHAIN) == ("ascmhl", "ascmhl_chain.xml")
    name = manifest_name(7, "A 1_x", AT)
    assert name == "0007_A 1_x_2026-11-22_021135Z.mhl"
    assert parse_manifest_name(name) == 7
    assert manifest_name(12345, "", AT) == "12345_root_2026-11-22_021135Z.mhl"
    assert len(manifest_name(12345, "é" * 200, AT).encode()) in (254, 255)


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("0001.mhl", 1),
        ("0002_x.mhl", 2),
        ("10000_x.mhl", 10000),
        ("0000_x.mhl", None),
        ("001_x.mhl", None),
        ("0001x.mhl", None),
        ("0001_x.MHL", None),
        ("0001_x.mhl.tmp", None),
        ("._0001_x.mhl", None),
        ("\u0660001_x.mhl", None),
        ("ascmhl_chain.xml", None),
        ("", None),
    ],
)
def test_generation_of_a_manifest(name: str, generation: int | None) -> None:
    assert parse_manifest_name(name) == generation


def test_chain_of_the_reference_implementation_is_read_and_written() -> None:
    links = read_chain(cut(_CHAIN_OF_ASCMHL, 7))
    c4 = "c45vS3bLMj4iC7evStaJJvh1hTmynMmMCyLbn8XNqe4VdtZ9udcGvYrgiPM2RcsUYVS6v6jr5ZTV15qw7bxmKsb3eQ"
    assert links == [ChainLink(1, "0001_A002_2026-11-22_021135Z.mhl", c4)]
    assert write_chain(links) == _CHAIN_OF_ASCMHL


def test_chain_may_have_gaps_and_be_empty() -> None:
    links = [ChainLink(number, f"{number:04d}_x.mhl", digest("c4")) for number in (2, 5, 12345)]
    assert read_chain([write_chain(links)]) == links
    assert read_chain([write_chain([])]) == []


@pytest.mark.fault(82)
@pytest.mark.parametrize(
    ("number", "name", "element", "reason"),
    [
        ("0", "0001_x.mhl", "c4", "not the number of a generation"),
        ("", "0001_x.mhl", "c4", "not the number of a generation"),
        ("1.5", "0001_x.mhl", "c4", "not the number of a generation"),
        ("1", "", "c4", "an empty path"),
        ("1", "../0001_x.mhl", "c4", "leads out"),
        ("1", "a/0001_x.mhl", "c4", "no name of a manifest"),
        ("1", "./0001_x.mhl", "c4", "no name of a manifest"),
        ("1", "0001_a\\x.mhl", "c4", "no name of a manifest"),
        ("1", "/0001_x.mhl", "c4", "absolute path"),
        ("1", "passwd", "c4", "no name of a manifest"),
        ("1", "0001_x.mhl", "md5", "without a C4 ID"),
    ],
)
def test_link_that_leads_elsewhere_is_refused(number: str, name: str, element: str, reason: str) -> None:
    chain = (
        f'<ascmhldirectory xmlns="urn:ASC:MHL:DIRECTORY:v2.0">\n<hashlist sequencenr="{number}">'
        f"<path>{name}</path><{element}>{digest('c4')}</{element}></hashlist></ascmhldirectory>"
    )
    with pytest.raises(UntrustedListError) as caught:
        read_chain([chain.encode()])
    assert str(caught.value).startswith("line 2: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1)])
def test_chain_out_of_order_is_refused(numbers: tuple[int, int]) -> None:
    links = [ChainLink(number, f"{position:04d}_x.mhl", digest("c4")) for position, number in enumerate(numbers, 1)]
    with pytest.raises(UntrustedListError, match="out of order"):
        read_chain([write_chain(links)])


@pytest.mark.fault(84)
def test_manifest_that_is_linked_twice_is_refused() -> None:
    links = [ChainLink(number, "0001_x.mhl", digest("c4")) for number in (1, 2)]
    with pytest.raises(UntrustedListError, match="listed twice"):
        read_chain([write_chain(links)])


@pytest.mark.fault(84)
def test_endless_chain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfndispatchcopy.hashlists.asc._MOST_GENERATIONS", 2)
    links = [ChainLink(number, f"{number:04d}_x.mhl", digest("c4")) for number in (1, 2, 3)]
    assert len(read_chain([write_chain(links[:2])])) == 2
    with pytest.raises(UntrustedListError, match="more than 2 generations"):
        read_chain([write_chain(links)])


def test_digests_are_in_the_order_of_the_schema() -> None:
    assert list(ASC_DIGESTS.values()) == ["c4", "md5", "sha1", "xxh128", "xxh3", "xxh64"]
