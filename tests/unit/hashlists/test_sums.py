"""Sum files, as the tools write them and as they check them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.hashlists.entries import ListedFile, UntrustedListError
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS, read_sums, write_sum_line
from tests.support.hash_lists import cut, digest

_MD5, _SHA1, _SHA256 = digest("md5"), digest("sha1"), digest("sha256")
_XXH64, _XXH3, _XXH128 = digest("xxh64be"), digest("xxh3"), digest("xxh128")


def _read(text: str | bytes, hint: str | None = None, size: int = 1 << 20) -> list[ListedFile]:
    return list(read_sums(cut(text if isinstance(text, bytes) else text.encode(), size), hint))


def _one(text: str | bytes, hint: str | None = None) -> tuple[str, str]:
    (file,) = _read(text, hint)
    (listed,) = file.digests
    assert file.size is None
    assert listed.action is None
    assert len(listed.accepted) == 1
    return file.path, listed.name


def _refusal(text: str | bytes, hint: str | None = None) -> str:
    with pytest.raises(UntrustedListError) as caught:
        _read(text, hint)
    message = str(caught.value)
    assert message.startswith("line ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("line", "path", "name"),
    [
        (f"{_MD5}  a b.mov\n", "a b.mov", "md5"),
        (f"{_MD5} *a.mov\n", "a.mov", "md5"),
        (f"{_MD5} a.mov\n", "a.mov", "md5"),
        (f"{_MD5.upper()}  a.mov\r\n", "a.mov", "md5"),
        (f"{_MD5}  a.mov", "a.mov", "md5"),
        (f"\ufeff{_MD5}  a.mov\n", "a.mov", "md5"),
        (f"{_MD5}  ./Clips/a.mov\n", "Clips/a.mov", "md5"),
        (f"{_MD5}   a\n", " a", "md5"),
        (f"{_MD5}  *a\n", "*a", "md5"),
        (f"{_MD5}  a \n", "a ", "md5"),
        (f"{_MD5}  a\\nb\n", "a\\nb", "md5"),
        (f"\\{_MD5}  a\\nb\\\\c\\r\n", "a\nb\\c\r", "md5"),
        (f"{_SHA1}  a\n", "a", "sha1"),
        (f"{_SHA256}  a\n", "a", "sha256"),
        (f"{_XXH64}  a\n", "a", "xxh64be"),
        ("02cc5d05  a\n", "a", "xxh32"),
        (f"XXH3_{_XXH3}  a\n", "a", "xxh3"),
        (f"\\XXH3_{_XXH3}  a\\n\n", "a\n", "xxh3"),
        (f"MD5 (a b) = {_MD5}\n", "a b", "md5"),
        (f"MD5(a)= {_MD5}\n", "a", "md5"),
        (f"SHA2-256(a)= {_SHA256}\r\n", "a", "sha256"),
        (f"SHA1 (a) = {_SHA1}\n", "a", "sha1"),
        (f"XXH3 (a) = b) = {_XXH3}\n", "a) = b", "xxh3"),
        (f"XXH64 ((a)) = {_XXH64}\n", "(a)", "xxh64be"),
        (f"XXH128 (a) = {_XXH128}\n", "a", "xxh128"),
        ("XXH32 (a) = 02cc5d05\n", "a", "xxh32"),
        (f"\\MD5 (a\\nb) = {_MD5}\n", "a\nb", "md5"),
        (f"# made by somebody\n\n{_MD5}  a\n\n\r\n", "a", "md5"),
    ],
)
def test_lines_of_every_style_are_read(line: str, path: str, name: str) -> None:
    assert _one(line) == (path, name)
    assert _read(line, None, 1) == _read(line)


@pytest.mark.parametrize(
    ("hint", "text", "name"),
    [
        ("card.md5", _XXH128, "md5"),
        ("card.xxh128", _XXH128, "xxh128"),
        ("card.xxh3", _XXH3, "xxh3"),
        ("card.xxh64", _XXH64, "xxh64be"),
        ("card.xxh64be", _XXH64, "xxh64be"),
        (".XXH3", _XXH3, "xxh3"),
        ("xxh3", _XXH3, "xxh3"),
        ("XXH128SUMS", _XXH128, "xxh128"),
        ("xxh128sum.txt", _XXH128, "xxh128"),
        ("A001.xxh3.txt", _XXH3, "xxh3"),
        ("md5 and xxh128", _XXH128, "xxh128"),
        ("xxh1280", _XXH128, "md5"),
        ("SHA256SUMS", _MD5, "md5"),  # told by its length, since the hint is impossible
        ("card.xxh3", _SHA1, "sha1"),
        ("list.txt", _XXH64, "xxh64be"),
        (None, _XXH3, "xxh64be"),
    ],
)
def test_name_of_the_file_tells_what_a_line_does_not(hint: str | None, text: str, name: str) -> None:
    assert _one(f"{text}  a\n", hint) == ("a", name)


def test_tag_beats_the_name_of_the_file() -> None:
    assert _one(f"XXH128 (a) = {_XXH128}\n", "card.md5") == ("a", "xxh128")


def test_name_that_is_no_utf_8_is_read() -> None:
    assert _one(_MD5.encode() + b"  \xff\xfe\n") == (os.fsdecode(b"\xff\xfe"), "md5")


@pytest.mark.fault(84)
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("garbage", "no line of a sum file"),
        (f"{_MD5}", "no line of a sum file"),
        (f"{_MD5}  ", "no line of a sum file"),
        (f"{_MD5}\ta", "no line of a sum file"),
        (f"; a comment of SFV\n{_MD5}  a", "no line of a sum file"),
        ("a.mov d41d8cd9", "no line of a sum file"),
        (f"{_MD5[:-1]}  a", "a digest of 31 digits"),
        (f"{'0' * 128}  a", "a digest of 128 digits"),
        (f"XXH3_{_XXH3}0  a", "a digest by xxh3 has 16"),
        (f"MD5 (a) = {_SHA1}", "a digest by md5 has 32"),
        (f"SHA512 (a) = {'0' * 128}", "a digest by SHA512, which is not known"),
        (f"XXH64_LE (a) = {_XXH64}", "a digest by XXH64_LE"),
        (f"MD5 () = {_MD5}", "no line of a sum file"),
        (f"\\{_MD5}  a\\tb", "not an escape"),
        (f"\\{_MD5}  a\\", "not an escape"),
        (f"{_MD5}  ../a", "leads out of the folder"),
        (f"{_MD5}  /a", "absolute path"),
        (f"{_MD5}  C:\\a", "drive"),
        (f"\\{_MD5}  a\\\\..\\\\b", "leads out of the folder"),
        (f"{_MD5}  .", "names nothing"),
        (f"{_MD5}  a\0b", "path with a NUL"),
        ("\0" * 40, "no line of a sum file"),
        ("\x1b[31m", "no line of a sum file"),
        (f"{_MD5}  a\rb\r{_MD5}  c\udcff".encode("utf-8", "surrogateescape") + b"\n" + b"\xff\xfe", "line 2"),
        (f"{_MD5}  a".encode("utf-16"), "no line of a sum file"),
    ],
)
def test_line_that_fits_nothing_is_refused(line: str | bytes, reason: str) -> None:
    assert reason in _refusal(line)
    data = line if isinstance(line, bytes) else line.encode()
    before = f"{_MD5}  good\n\n".encode()
    assert _refusal(before + data).startswith(("line 3: ", "line 4: "))


@pytest.mark.fault(84)
def test_endless_line_is_not_read_to_its_end() -> None:
    def chunks() -> Iterator[bytes]:
        yield f"{_MD5}  a\n{_MD5}  ".encode()
        for _ in range(100):
            yield b"a" * 65_536
        pytest.fail("read to the end")

    with pytest.raises(UntrustedListError, match=r"^line 2: more than 262144 bytes"):
        list(read_sums(chunks(), None))
    assert "more than 262144 bytes" in _refusal(f"{_MD5}  {'a' * 300_000}\n")


def test_many_empty_lines_are_no_end() -> None:
    assert len(_read(f"\n\n\n{_MD5}  a\n\n\n{_MD5}  b\n\n")) == 2


@pytest.mark.fault(84)
def test_line_that_comes_again_is_one_and_a_contradiction_is_refused() -> None:
    assert [each.path for each in _read(f"{_MD5}  a\n{_MD5}  b\n{_MD5}  ./a\n")] == ["a", "b"]
    zero = "0" * 32
    assert len(_read(f"{zero}  a\n{zero}  a\n")) == 1
    assert _refusal(f"{_MD5}  a\n{zero}  a\n").startswith("line 2: contradicts an earlier line: a")


def test_file_may_have_digests_by_several_algorithms() -> None:
    found = _read(f"MD5 (a) = {_MD5}\nSHA1 (a) = {_SHA1}\n")
    assert [(each.path, each.digests[0].name) for each in found] == [("a", "md5"), ("a", "sha1")]


def test_lines_are_written_as_the_tools_take_them() -> None:
    assert write_sum_line("md5", _MD5, "a b") == f"{_MD5}  a b\n".encode()
    assert write_sum_line("xxh64be", _XXH64, "a") == f"{_XXH64}  a\n".encode()
    assert write_sum_line("xxh3", _XXH3, "a") == f"XXH3 (a) = {_XXH3}\n".encode()
    assert write_sum_line("xxh128", _XXH128, "a") == f"XXH128 (a) = {_XXH128}\n".encode()
    assert write_sum_line("sha1", _SHA1, "a\\b") == f"{_SHA1}  a\\b\n".encode()
    assert write_sum_line("sha1", _SHA1, "a\\b\n") == f"\\{_SHA1}  a\\\\b\\n\n".encode()
    assert write_sum_line("xxh3", _XXH3, "a\r") == f"\\XXH3 (a\\r) = {_XXH3}\n".encode()
    assert write_sum_line("md5", _MD5, "-") == f"{_MD5}  ./-\n".encode()
    assert write_sum_line("xxh64be", _XXH64, "stdin") == f"{_XXH64}  ./stdin\n".encode()


_NAMES = (
    b"plain",
    b" lead",
    b"trail ",
    b"a  b",
    b"a\tb",
    b"*star",
    b"#hash",
    b"-",
    b"-dash",
    b"--",
    b"stdin",
    b"(a) = b",
    b"end)",
    b"x) = 0123456789abcdef",
    b"back\\slash",
    b"back\\nslash",
    "Café \U0001f3ac\u2028".encode(),
    b"bytes\xff\xfe",
    b"\x1b[31m",
)
_BROKEN_NAMES = (b"new\nline", b"\n", b"cr\rx", b"cr\r", b"all\n\r\\\\n\\")


def _check(tool: str, name: str, folder: Path, names: tuple[bytes, ...]) -> subprocess.CompletedProcess[bytes]:
    lines = []
    for each in names:
        (folder / os.fsdecode(each)).write_bytes(each)
        lines.append(write_sum_line(name, digest(name, each), os.fsdecode(each)))
    (folder / "SUMS").write_bytes(b"".join(lines))
    return subprocess.run([tool, "-c", "SUMS"], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)


_TOOLS = [("md5sum", "md5"), ("sha1sum", "sha1"), ("sha256sum", "sha256")] + [
    ("xxhsum", name) for name in ("xxh64be", "xxh3", "xxh128")
]


@pytest.mark.parametrize(("tool", "name"), _TOOLS)
def test_tools_find_every_file_good(tool: str, name: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    answer = _check(tool, name, tmp_path, _NAMES)
    assert answer.stderr == b""
    assert answer.returncode == 0
    assert answer.stdout.count(b": OK\n") == len(_NAMES)


@pytest.mark.parametrize(("tool", "name"), _TOOLS)
def test_tools_find_names_with_breaks_in_them(tool: str, name: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "a\nb").write_bytes(b"")
    spelling = subprocess.run([tool, "a\nb"], cwd=tmp_path, capture_output=True, check=False).stdout
    if not spelling.startswith(b"\\"):
        pytest.skip(f"this {tool} has no spelling for a line break")
    answer = _check(tool, name, tmp_path, _BROKEN_NAMES)
    assert answer.stderr == b""
    assert answer.returncode == 0


@pytest.mark.parametrize(("tool", "name"), _TOOLS)
@pytest.mark.parametrize("flags", [[], ["--tag"]])
def test_what_the_tools_print_is_read(tool: str, name: str, flags: list[str], tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if tool == "xxhsum":
        flags = [*flags, {"xxh64be": "-H1", "xxh128": "-H2", "xxh3": "-H3"}[name]]
    for each in _NAMES:
        (tmp_path / os.fsdecode(each)).write_bytes(each)
    names = [b"./" + each for each in _NAMES]
    answer = subprocess.run([tool, *flags, "--", *names], cwd=tmp_path, capture_output=True, check=True)
    found = {each.path: each.digests[0] for each in _read(answer.stdout, f"SUMS.{SUM_DIGESTS[name]}")}
    assert {path: (each.name, each.accepted) for path, each in found.items()} == {
        os.fsdecode(each): (name, (digest(name, each),)) for each in _NAMES
    }
