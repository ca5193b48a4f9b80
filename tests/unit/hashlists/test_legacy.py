"""Legacy media hash lists."""

import pytest

from pfndispatchcopy.hashlists.entries import ListedDigest, ListedFile, SealedDigest, UntrustedListError
from pfndispatchcopy.hashlists.legacy import LEGACY_DIGESTS, legacy_name, read_legacy, write_legacy
from tests.support.hash_lists import AT, CREATOR, cut, digest, sealed_file

# As mhl-tool 0.2.0 writes it.
_OF_MHL_TOOL = b"""<?xml version="1.0" encoding="UTF-8"?>
<hashlist version="1.1">

  <creatorinfo>
    <name>root</name>
    <username>root</username>
<hostname>vm</hostname>
    <tool>mhl ver. 0.2.0</tool>
    <startdate>2026-11-22T02:16:04Z</startdate>
    <finishdate>2026-11-22T02:16:04Z</finishdate>
  </creatorinfo>

  <hash>
    <file>Clips/A003C001.mov</file>
    <size>2</size>
    <lastmodificationdate>2026-11-22T02:16:04Z</lastmodificationdate>
    <xxhash64be>fbbde8981eccc855</xxhash64be>
    <hashdate>2026-11-22T02:16:04Z</hashdate>
  </hash>
</hashlist>
"""


def _read(entry: str, size: int = 1 << 20) -> list[ListedFile]:
    return list(read_legacy(cut(f'<hashlist version="1.1">\n{entry}\n</hashlist>'.encode(), size)))


def _refusal(entry: str) -> str:
    with pytest.raises(UntrustedListError) as caught:
        _read(entry)
    message = str(caught.value)
    assert message.startswith("line ")
    assert message.isprintable()
    return message


def _digests(elements: str) -> tuple[ListedDigest, ...]:
    (file,) = _read(f"<hash><file>a</file><size>1</size>{elements}</hash>")
    return file.digests


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_list_of_mhl_tool_is_read(size: int) -> None:
    assert list(read_legacy(cut(_OF_MHL_TOOL, size))) == [
        ListedFile("Clips/A003C001.mov", 2, (ListedDigest("xxh64be", ("fbbde8981eccc855",)),))
    ]


@pytest.mark.fault(84)
def test_list_that_is_cut_off_anywhere_is_refused() -> None:
    for length in range(len(_OF_MHL_TOOL) - 1):  # the last byte is a line feed
        with pytest.raises(UntrustedListError):
            list(read_legacy([_OF_MHL_TOOL[:length]]))


def test_list_is_written_in_the_order_of_the_schema() -> None:
    file = sealed_file("Clips/a & <b>.mov", b"a\n")
    written = b"".join(write_legacy(CREATOR, AT - 60, AT, [file])).decode()
    assert (
        written
        == f"""<?xml version="1.0" encoding="UTF-8"?>
<hashlist version="1.1">
  <creatorinfo>
    <name>Me &amp; &lt;You&gt;</name>
    <username>me</username>
    <hostname>a\ufffdhost</hostname>
    <tool>pfndispatchcopy ver. 1.2</tool>
    <startdate>2026-11-22T02:10:35Z</startdate>
    <finishdate>2026-11-22T02:11:35Z</finishdate>
  </creatorinfo>
  <hash>
    <file>Clips/a &amp; &lt;b&gt;.mov</file>
    <size>2</size>
    <lastmodificationdate>2026-11-22T02:11:35Z</lastmodificationdate>
    <xxhash64be>fbbde8981eccc855</xxhash64be>
    <md5>{digest("md5", b"a" + bytes([10]))}</md5>
    <sha1>{digest("sha1", b"a" + bytes([10]))}</sha1>
    <hashdate>2026-11-22T02:11:35Z</hashdate>
  </hash>
</hashlist>
"""
    )


def test_unknown_full_name_is_left_out() -> None:
    written = b"".join(write_legacy(CREATOR._replace(full_name=""), AT, AT, []))
    assert b"<name>" not in written
    assert list(read_legacy([written])) == []


@pytest.mark.parametrize("path", ["a\tb", "a\udcff", "a\x00"])
def test_path_that_a_list_cannot_hold_is_not_written(path: str) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        list(write_legacy(CREATOR, AT, AT, [sealed_file(path)]))


def test_file_without_a_digest_that_fits_is_not_written() -> None:
    with pytest.raises(ValueError, match="no digest of 'a'"):
        list(write_legacy(CREATOR, AT, AT, [sealed_file("a", names=("xxh3", "sha256"))]))


def test_every_element_has_its_digest() -> None:
    md5, sha1, c4 = digest("md5"), digest("sha1"), digest("c4")
    found = _digests(
        f"<md5>{md5.upper()}</md5><sha1>\n{sha1} </sha1><xxhash>46947589</xxhash>"
        f"<xxhash64be>EF46DB3751D8E999</xxhash64be><c4>{c4}</c4><crc>1</crc>"
    )
    assert found == (
        ListedDigest("md5", (md5,)),
        ListedDigest("sha1", (sha1,)),
        ListedDigest("xxh32", ("02cc5d05",)),
        ListedDigest("xxh64be", ("ef46db3751d8e999",)),
        ListedDigest("c4", (c4,)),
    )


def test_deprecated_element_may_have_either_order_of_bytes() -> None:
    assert _digests("<xxhash64>55c8cc1e98e8bdfb</xxhash64>") == (
        ListedDigest("xxh64be", ("55c8cc1e98e8bdfb", "fbbde8981eccc855")),
    )
    assert _digests("<xxhash64>0000000000000000</xxhash64>") == (ListedDigest("xxh64be", ("0" * 16,)),)
    both = "<xxhash64>55c8cc1e98e8bdfb</xxhash64><xxhash64be>fbbde8981eccc855</xxhash64be>"
    assert _digests(both) == (ListedDigest("xxh64be", ("fbbde8981eccc855",)),)


def test_null_and_unknown_digests_are_none() -> None:
    assert _digests("<null/>") == ()
    assert _digests("<sha512>0</sha512>") == ()
    assert _digests("") == ()


def test_size_may_be_missing() -> None:
    assert _read("<hash><file>a</file></hash>") == [ListedFile("a", None, ())]


def test_file_of_a_nested_element_is_not_the_file() -> None:
    assert "an entry without a file" in _refusal("<hash><metadata><file>a</file></metadata></hash>")


def test_names_are_read_with_every_space() -> None:
    assert [each.path for each in _read("<hash><file> a </file></hash><hash><file>b&#10;c</file></hash>")] == [
        " a ",
        "b\nc",
    ]


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("<size>1</size>", "an entry without a file"),
        ("<file/>", "an empty path"),
        ("<file>../a</file>", "leads out of the folder"),
        ("<file>/a</file>", "absolute path"),
        ("<file>C:\\a</file>", "drive"),
        ("<file>a</file><file>b</file>", "more than one <file>"),
        ("<file>a</file><size>1</size><size>2</size>", "more than one <size>"),
        ("<file>a</file><size>-1</size>", "not a size"),
        ("<file>a</file><size/>", "not a size"),
        ("<file>a</file><size>1.5</size>", "not a size"),
        ("<file>a</file><md5>00</md5>", "a digest by md5 has 32 characters"),
        (f"<file>a</file><md5>{'g' * 32}</md5>", "not a digest by md5"),
        (f"<file>a</file><sha1>{'0' * 39}</sha1>", "a digest by sha1 has 40"),
        ("<file>a</file><xxhash64be/>", "a digest by xxh64be has 16"),
        ("<file>a</file><xxhash64>0</xxhash64>", "a digest by xxh64be has 16"),
        ("<file>a</file><xxhash>4294967296</xxhash>", "not a decimal number"),
        ("<file>a</file><xxhash>02cc5d05</xxhash>", "not a decimal number"),
        ("<file>a</file><xxhash>-1</xxhash>", "not a decimal number"),
        ("<file>a</file><c4>c4</c4>", "a digest by c4 has 90"),
        (f"<file>a</file><md5>{'0' * 32}</md5><md5>{'1' * 32}</md5>", "contradict"),
        ("<file>a</file><xxhash64>00000000000000ff</xxhash64><xxhash64be>0000000000000000</xxhash64be>", "contradict"),
    ],
)
def test_what_no_honest_list_says_is_refused(inside: str, reason: str) -> None:
    assert reason in _refusal(f"<hash>{inside}</hash>")
    assert _refusal(f"<hash>{inside}</hash>").startswith("line 2: ")


@pytest.mark.fault(84)
def test_file_that_is_listed_twice_is_refused() -> None:
    assert "listed twice: a" in _refusal("<hash><file>a</file></hash>\n<hash><file>./a</file></hash>")


def test_list_of_the_other_kind_is_refused() -> None:
    with pytest.raises(UntrustedListError, match="unexpected root element"):
        list(read_legacy([b'<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0"/>']))


def test_name_of_a_list() -> None:
    assert legacy_name("A001", AT) == "A001_2026-11-22_021135.mhl"
    assert len(legacy_name("é" * 200, AT).encode()) in (254, 255)


def test_only_digests_of_the_schema_are_written() -> None:
    assert set(LEGACY_DIGESTS) == {"md5", "sha1", "xxh64be"}
    file = sealed_file("a")._replace(digests=(SealedDigest("xxh3", "0"), SealedDigest("md5", digest("md5"))))
    (read,) = read_legacy(write_legacy(CREATOR, AT, AT, [file]))
    assert [each.name for each in read.digests] == ["md5"]
